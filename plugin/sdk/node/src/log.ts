// Log lines: of attempts and deliveries, which travel to the host in frames, and of the process, on standard error.

import type { Level, Logger } from "./context.js";
import { cut, document } from "./text.js";

/** Levels, lowest first. */
export const levels: readonly Level[] = ["trace", "debug", "info", "warn", "error"];

const maxMessage = 8 << 10;
const maxFields = 32 << 10;

/** A line on its way to the host. */
export interface Line {
  level: Level;
  message: string;
  fields: Uint8Array; // JSON, empty = none
}

/** Makes the wire's form of a line. */
export function line(level: Level, message: string, fields: Record<string, unknown>): Line {
  return {
    level,
    message: cut(String(message), maxMessage),
    fields: Object.keys(fields).length === 0 ? new Uint8Array() : document(fields, maxFields),
  };
}

/** A logger over a function. */
export class LineLogger implements Logger {
  readonly #write: (level: Level, message: string, fields: Record<string, unknown>) => void;
  readonly #fields: Record<string, unknown>;

  constructor(write: (level: Level, message: string, fields: Record<string, unknown>) => void, fields: Record<string, unknown> = {}) {
    this.#write = write;
    this.#fields = fields;
  }

  trace(message: string, fields: Record<string, unknown> = {}): void {
    this.#say("trace", message, fields);
  }

  debug(message: string, fields: Record<string, unknown> = {}): void {
    this.#say("debug", message, fields);
  }

  info(message: string, fields: Record<string, unknown> = {}): void {
    this.#say("info", message, fields);
  }

  warn(message: string, fields: Record<string, unknown> = {}): void {
    this.#say("warn", message, fields);
  }

  error(message: string, fields: Record<string, unknown> = {}): void {
    this.#say("error", message, fields);
  }

  with(fields: Record<string, unknown>): Logger {
    return new LineLogger(this.#write, { ...this.#fields, ...fields });
  }

  #say(level: Level, message: string, fields: Record<string, unknown>): void {
    this.#write(level, message, { ...this.#fields, ...fields });
  }
}

/** The log of the process: JSON lines in the form that hosts of go-plugin read. */
export class ProcessLog extends LineLogger {
  level: Level = "info";

  constructor(module: string, write: (text: string) => void) {
    super((level, message, fields) => {
      if (levels.indexOf(level) < levels.indexOf(this.level)) return;
      const { fields: doc } = line(level, message, fields);
      const more = doc.length === 0 ? "" : "," + Buffer.from(doc).toString().slice(1, -1);
      const head = JSON.stringify({ "@level": level, "@message": cut(String(message), maxMessage), "@module": module, "@timestamp": new Date().toISOString() });
      write(`${head.slice(0, -1)}${more}}\n`);
    });
  }
}
