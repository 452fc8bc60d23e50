// Remembers which events were handled.

import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";

/**
 * Remembers the ids of events that were handled, the last ones of them. Ask it before an event is handled and tell it
 * afterwards; what fails is not remembered, and comes again:
 *
 *     if (seen.has(event.id)) return;
 *     ...
 *     seen.add(event.id);
 *
 * It makes redelivery harmless where doing something twice is not too bad: between what is done and `add`, a process
 * may still end.
 */
export class Dedupe {
  readonly #size: number;
  #ids = new Set<string>();
  #file: number | undefined;
  #path = "";
  #lines = 0;

  /** Remembers the last ids in memory, and with a path in a file, too, which outlives the process. */
  constructor(size: number, path?: string) {
    this.#size = Math.max(1, size);
    if (path === undefined) return;
    this.#path = path;
    let doc = "";
    try {
      doc = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    // What was not written to its end is not remembered.
    for (const id of doc.split("\n").slice(0, -1)) this.#remember(id);
    this.#rewrite();
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string): void {
    if (!this.#remember(id) || this.#file === undefined) return;
    if (++this.#lines > 2 * this.#size) this.#rewrite();
    else writeSync(this.#file, id + "\n");
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** Adds an id in place of the oldest one. False = it was there. */
  #remember(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > this.#size) this.#ids.delete(this.#ids.values().next().value!);
    return true;
  }

  #rewrite(): void {
    const temporary = this.#path + ".new";
    writeFileSync(temporary, [...this.#ids].map((id) => id + "\n").join(""), { mode: 0o600 });
    this.close();
    renameSync(temporary, this.#path);
    this.#file = openSync(this.#path, "a", 0o600);
    this.#lines = this.#ids.size;
  }
}
