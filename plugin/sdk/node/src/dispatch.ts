// The attempts of the process, and the stream on which they come and go.

import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryWriter } from "@bufbuild/protobuf/wire";

import { Attempt } from "./attempt.js";
import type { Level } from "./context.js";
import { CancelError, codes, permanent } from "./errors.js";
import { failure } from "./failure.js";
import { State } from "./gen/tasker/plugin/v1/plugin_pb.js";
import {
  type Attempt as WireAttempt,
  type Heartbeat,
  type Result,
  ResultSchema,
  UpdateSchema,
  type WorkRequest,
} from "./gen/tasker/plugin/v1/step_pb.js";
import { levels, type ProcessLog } from "./log.js";
import type { Declaration } from "./manifest.js";
import { compare } from "./schema.js";
import { cut, messageOf } from "./text.js";

// Bounds of a frame; one is larger only when it holds a single update that is.
const maxFrameItems = 64;
const maxFrameBytes = 1 << 20;

/** Log lines that wait for a slow host; further ones are counted and dropped. */
export const maxQueuedLogs = 4096;

/** How often Watch reports while attempts run; the host gives up after 15 s of silence. */
const tick = 3000;

/** A stream towards the host. Done is called when the frame is on its way, with an error when it will never be. */
export interface Outbound<T> {
  write(frame: T, done: (error?: Error | null) => void): void;
}

/** How the process is. */
export interface Status {
  state: State;
  message: string;
  inFlight: number;
}

/** Holds the attempts of the process. */
export class Dispatcher {
  readonly attempts = new Map<string, Attempt>();
  level: Level = "info";
  dataDir = "";
  open: WorkStream | undefined;
  #state = State.READY;
  readonly #troubles = new Map<object, string>();
  readonly #watchers = new Set<() => void>();
  #idle: (() => void)[] = [];

  constructor(
    readonly decl: Declaration,
    readonly log: ProcessLog,
  ) {}

  wants(level: Level): boolean {
    return levels.indexOf(level) >= levels.indexOf(this.level);
  }

  get draining(): boolean {
    return this.#state === State.DRAINING;
  }

  /** Registers an attempt. False = one of that id runs already. */
  begin(a: Attempt): boolean {
    if (this.attempts.has(a.id)) return false;
    this.attempts.set(a.id, a);
    if (this.attempts.size === 1) this.#tell();
    return true;
  }

  done(a: Attempt): void {
    this.attempts.delete(a.id);
    if (this.attempts.size > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  drain(): void {
    this.#state = State.DRAINING;
    this.#tell();
  }

  cancelAll(reason: string): void {
    for (const a of this.attempts.values()) a.cancel(reason);
  }

  /** Waits until no attempt is left, or until the signal is aborted, and returns how many there still are. */
  async untilIdle(signal: AbortSignal): Promise<number> {
    if (this.attempts.size > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#idle.push(resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    return this.attempts.size;
  }

  /** Notes what is wrong with something, such as the config of a binding; undefined = nothing. */
  report(of: object, trouble: string | undefined): void {
    if (this.#troubles.get(of) === trouble) return;
    if (trouble === undefined) this.#troubles.delete(of);
    else this.#troubles.set(of, trouble);
    this.#tell();
  }

  status(): Status {
    const inFlight = this.attempts.size;
    if (this.#state !== State.READY || this.#troubles.size === 0) return { state: this.#state, message: "", inFlight };
    const all = [...new Set(this.#troubles.values())].sort(compare);
    return { state: State.DEGRADED, message: cut(all.join("; "), 8 << 10), inFlight };
  }

  /**
   * Reports the status: at once, when the state changes, and while attempts run. Ends when the function returned is
   * called. While no attempt runs there is no timer.
   */
  watch(send: (status: Status) => void): () => void {
    let said: Status | undefined;
    let due = false; // a tick has passed; while idle it stays due, so that the next attempt is reported at once
    let timer: NodeJS.Timeout | undefined;
    const look = (): void => {
      const status = this.status();
      if (said?.state !== status.state || said.message !== status.message || (due && status.inFlight > 0)) {
        send(status);
        said = status;
        due = false;
        clearTimeout(timer);
        timer = undefined;
      }
      if (status.inFlight > 0 && !due && timer === undefined) {
        timer = setTimeout(() => {
          timer = undefined;
          due = true;
          look();
        }, tick);
      }
    };
    this.#watchers.add(look);
    look();
    return () => {
      this.#watchers.delete(look);
      clearTimeout(timer);
    };
  }

  #tell(): void {
    for (const look of this.#watchers) look();
  }
}

type Kind = NonNullable<MessageInitShape<typeof UpdateSchema>["kind"]>;

/** An update that waits to be sent. */
interface Queued {
  id: string;
  kind: Kind;
  encoded?: Uint8Array;
}

/** One Work stream. */
export class WorkStream {
  #queue: Queued[] = [];
  readonly #beats = new Map<string, Queued>(); // heartbeats that wait, which later ones are merged into
  #logs = 0;
  #dropped = 0;
  #ended = false;
  #sending = false;
  #scheduled = false;
  #running = 0;
  #onSettled: { reached: () => boolean; resolve: () => void }[] = [];

  constructor(
    readonly d: Dispatcher,
    readonly out: Outbound<Uint8Array>,
  ) {}

  receive(frame: WorkRequest): void {
    for (const at of frame.attempts) this.#start(at);
    for (const c of frame.cancels) this.#attempt(c.attemptId)?.cancel(c.reason);
    for (const c of frame.chunks) this.#attempt(c.attemptId)?.chunk(c);
  }

  #attempt(id: string): Attempt | undefined {
    const a = this.d.attempts.get(id);
    return a?.work === this ? a : undefined;
  }

  #start(wire: WireAttempt): void {
    const spec = this.d.decl.find(wire.handler, wire.handlerVersion);
    if (spec === undefined) return this.#refuse(wire);
    const a = new Attempt(this, spec, wire);
    if (!this.d.begin(a)) {
      this.d.log.warn("attempt is running already, ignoring it", { attempt: wire.attemptId });
      return;
    }
    this.#running++;
    void a.run();
  }

  /** Answers an attempt at something that the plugin does not have. */
  #refuse(wire: WireAttempt): void {
    const { plugin } = this.d.decl;
    const known = this.d.decl.find(wire.handler, 0) !== undefined;
    const what = known ? `version ${wire.handlerVersion} of handler "${wire.handler}"` : `handler "${wire.handler}"`;
    const error = permanent(`plugin ${plugin.name} ${plugin.version} has no ${what}; it has ${this.d.decl.offered()}`, { code: codes.unknownHandler });
    const value = create(ResultSchema, { outcome: { case: "error", value: failure(new AbortController().signal, error) } });
    this.#push({ id: wire.attemptId, kind: { case: "result", value } });
  }

  /** Queues an update of an attempt that is not over. Log lines beyond the limit are dropped. */
  send(a: Attempt, kind: Kind): void {
    if (this.#ended || a.over) return;
    if (kind.case === "log") {
      if (this.#logs >= maxQueuedLogs) {
        this.#dropped++;
        return;
      }
      this.#logs++;
      if (this.#dropped > 0) {
        const message = `${this.#dropped} log lines of this process were dropped: the host did not keep up`;
        this.#dropped = 0;
        this.#logs++;
        this.#push({ id: a.id, kind: { case: "log", value: { level: "warn", message } } });
      }
    }
    this.#push({ id: a.id, kind });
  }

  /** Queues a heartbeat, merged into one that still waits. */
  beat(a: Attempt, value: Heartbeat): void {
    if (this.#ended || a.over) return;
    const waiting = this.#beats.get(a.id);
    if (waiting === undefined) {
      const queued: Queued = { id: a.id, kind: { case: "heartbeat", value } };
      this.#beats.set(a.id, queued);
      this.#push(queued);
      return;
    }
    const earlier = waiting.kind.value as Heartbeat;
    if (value.checkpoint.length === 0) value.checkpoint = earlier.checkpoint;
    waiting.kind = { case: "heartbeat", value };
    delete waiting.encoded;
  }

  /** Queues the result of an attempt and forgets it. */
  finish(a: Attempt, result: Result): void {
    a.over = true;
    this.#push({ id: a.id, kind: { case: "result", value: result } });
    this.d.done(a);
    this.#running--;
    this.#settle();
  }

  #push(q: Queued): void {
    if (this.#ended) return;
    this.#queue.push(q);
    this.#schedule();
  }

  // A frame is made once what else is ready in this turn of the event loop has had its say: nothing is delayed to fill it.
  #schedule(): void {
    if (this.#scheduled || this.#sending) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#sending || this.#ended || this.#queue.length === 0) return this.#settle();
    this.#sending = true;
    this.out.write(this.#frame(), (error) => {
      this.#sending = false;
      if (error) return this.end();
      this.#flush();
    });
  }

  /** Takes the next frame from the queue, encoded. */
  #frame(): Uint8Array {
    const frame = new BinaryWriter();
    let n = 0;
    let size = 0;
    for (; n < this.#queue.length && n < maxFrameItems; n++) {
      const q = this.#queue[n]!;
      q.encoded ??= toBinary(UpdateSchema, create(UpdateSchema, { attemptId: q.id, kind: q.kind }));
      if (n > 0 && size + q.encoded.length > maxFrameBytes) break;
      size += q.encoded.length;
      frame.tag(1, 2).bytes(q.encoded);
      if (q.kind.case === "log") this.#logs--;
      if (this.#beats.get(q.id) === q) this.#beats.delete(q.id); // nothing is merged into what is on its way
    }
    this.#queue = this.#queue.slice(n);
    return frame.finish();
  }

  /** Waits until the attempts have ended and everything queued is sent. */
  rest(): Promise<void> {
    return this.#until(() => this.#running === 0 && this.#idle);
  }

  /** Waits until everything queued is sent, or the signal is aborted. */
  sent(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#settle(), { once: true });
    return this.#until(() => this.#idle || signal.aborted);
  }

  get #idle(): boolean {
    return this.#queue.length === 0 && !this.#sending;
  }

  #until(reached: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#onSettled.push({ reached, resolve });
      this.#settle();
    });
  }

  #settle(): void {
    const over = this.#onSettled.filter((w) => this.#ended || w.reached());
    this.#onSettled = this.#onSettled.filter((w) => !over.includes(w));
    for (const w of over) w.resolve();
  }

  /** Stops taking updates, cancels what still runs and lets another stream be opened. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue = [];
    for (const a of this.d.attempts.values()) if (a.work === this) a.cancel("host_gone");
    if (this.d.open === this) this.d.open = undefined;
    this.#settle();
  }
}

/** Aborts with a reason, once. What listens and throws is no concern of the process. */
export function abort(controller: AbortController, reason: string, log: ProcessLog): void {
  if (controller.signal.aborted) return;
  try {
    controller.abort(new CancelError(reason));
  } catch (error) {
    log.warn("a listener of an abort signal failed", { error: messageOf(error) });
  }
}
