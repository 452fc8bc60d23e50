// The process around a plugin: the handshake with the host, and the end.

import { randomBytes } from "node:crypto";
import { chmodSync, fstatSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Server as Transport, ServerCredentials } from "@grpc/grpc-js";

import { selfSigned } from "./cert.js";
import { describe, explain } from "./describe.js";
import { ProcessLog } from "./log.js";
import { Declaration, DeclarationError } from "./manifest.js";
import type { Plugin } from "./plugin.js";
import { Server } from "./server.js";
import { messageOf } from "./text.js";

/** What tells a plugin that a Tasker host started it. It is a courtesy and no security measure. */
const cookie = { key: "TASKER_PLUGIN", value: "9d2c8a51e7c14c0f8c6a3f6ab35d1e0c" };

/** The major version of the wire. */
const protocol = 1;

const maxMessageBytes = 16 << 20;

/** How long the last frames may take to be read, in milliseconds. */
const flushGrace = 500;

// Exit codes of a plugin.
const exitDone = 0;
const exitFailed = 1;
const exitByHand = 2;
const exitDeclaration = 78; // it is declared wrongly: another start would end the same way

/**
 * Runs the plugin: it is all that the main module does. Started by a Tasker host, it serves until the host says so or
 * is gone. Started by hand, it explains the plugin; the options are --describe (the manifest as JSON) and --version.
 */
export function serve(plugin: Plugin): void {
  const hosted = process.env[cookie.key] === cookie.value;
  let decl: Declaration;
  try {
    decl = new Declaration(plugin);
  } catch (error) {
    process.stderr.write(messageOf(error) + "\n");
    process.exitCode = hosted && error instanceof DeclarationError ? exitDeclaration : exitFailed;
    return;
  }
  if (!hosted) {
    process.exitCode = byHand(decl, process.argv.slice(2));
    return;
  }
  new Process(decl).run().then(
    () => process.exit(exitDone),
    (error: unknown) => {
      process.stderr.write(`ended with an error: ${messageOf(error)}\n`, () => process.exit(exitFailed));
    },
  );
}

/** Answers a person who runs the executable. */
function byHand(decl: Declaration, args: string[]): number {
  switch (args.join(" ")) {
    case "--describe":
      process.stdout.write(JSON.stringify(describe(decl.manifest), null, 2) + "\n");
      return exitDone;
    case "--version":
      process.stdout.write(`${decl.plugin.name} ${decl.plugin.version}\n`);
      return exitDone;
    default:
      process.stderr.write(explain(decl, process.argv[1] ?? decl.plugin.name));
      return exitByHand;
  }
}

/** A process that a host has started. */
class Process {
  readonly #log: ProcessLog;
  readonly #server: Server;
  readonly #end: Promise<string>;
  #ending!: (reason: string) => void;

  constructor(decl: Declaration) {
    this.#log = new ProcessLog(decl.plugin.name, (text) => process.stderr.write(text));
    this.#end = new Promise((resolve) => (this.#ending = resolve));
    this.#server = new Server(decl, this.#log, () => this.#ending("stopped"));
  }

  /** Serves until the host asks for the end, the lifeline breaks, or a signal comes after Drain. */
  async run(): Promise<void> {
    divertOutput();
    this.#watchSignals();
    this.#watchLifeline();
    const transport = new Transport({
      "grpc.max_receive_message_length": maxMessageBytes,
      "grpc.max_send_message_length": maxMessageBytes,
    });
    this.#server.register(transport);
    const socket = await this.#listen(transport);
    const reason = await this.#end;
    await this.#server.stop(reason);
    await closed(transport);
    rmSync(socket, { force: true });
  }

  /** Listens, and says where: the handshake line is all that goes to standard output. */
  async #listen(transport: Transport): Promise<string> {
    const client = process.env["PLUGIN_CLIENT_CERT"] ?? "";
    let credentials = ServerCredentials.createInsecure();
    let certificate = "";
    if (client !== "") {
      const own = selfSigned();
      credentials = ServerCredentials.createSsl(Buffer.from(client), [{ private_key: Buffer.from(own.key), cert_chain: Buffer.from(own.cert) }], true);
      certificate = own.der.toString("base64").replace(/=+$/, "");
    }
    const dir = process.env["PLUGIN_UNIX_SOCKET_DIR"] || tmpdir();
    const socket = join(dir, `plugin${randomBytes(6).toString("hex")}`);
    await new Promise<void>((resolve, reject) => {
      transport.bindAsync(`unix:${socket}`, credentials, (error) => (error ? reject(error) : resolve()));
    });
    chmodSync(socket, 0o600);
    writeSync(1, `1|${protocol}|unix|${socket}|grpc|${certificate}\n`);
    return socket;
  }

  // Interrupts and requests to terminate often go to a whole process group; the host decides in which order its plugins
  // end. They are ignored until it has drained this one.
  #watchSignals(): void {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (this.#server.drained) this.#ending("stopped");
        else this.#log.debug("ignoring a signal: the host has not drained this plugin", { signal });
      });
    }
  }

  // The host holds the other end of standard input: its end means that the host is gone. Only a pipe says so.
  #watchLifeline(): void {
    const stdin = fstatSync(0);
    if (!stdin.isFIFO() && !stdin.isSocket()) return;
    for (const event of ["end", "close", "error"]) process.stdin.on(event, () => this.#ending("host_gone"));
    process.stdin.resume();
  }
}

/** Closes the connections once what is on its way has arrived, or a little later by force. */
function closed(transport: Transport): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => {
      transport.forceShutdown();
      resolve();
    }, flushGrace);
    transport.tryShutdown(() => {
      clearTimeout(force);
      resolve();
    });
  });
}

/** Keeps stray output away from the protocol: what is printed goes to standard error, which the host logs. */
function divertOutput(): void {
  process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
  // A host that is gone does not read any more; a line there must not end the process before it has ended in order.
  process.stderr.on("error", () => undefined);
}
