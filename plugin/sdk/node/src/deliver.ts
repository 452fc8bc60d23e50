// The Deliver streams of the process: one per subscription.

import { create } from "@bufbuild/protobuf";

import { Fetch } from "./attempt.js";
import { type Answer, Binding, Delivery } from "./delivery.js";
import { abort, type Dispatcher, maxQueuedLogs, type Outbound } from "./dispatch.js";
import { toWire } from "./duration.js";
import { type Ack, AckSchema, type Batch, type Bindings, type DeliverRequest, type DeliverResponse, DeliverResponseSchema } from "./gen/tasker/plugin/v1/event_pb.js";
import { type Item, type Lane, Lanes } from "./lanes.js";
import type { Line } from "./log.js";
import type { Subscription } from "./manifest.js";
import { textOf } from "./text.js";

const defaultLanes = 16;
const ackEvents = 256; // for how many events one Ack stands before it is sent
const turnMillis = 8; // after so long the event loop gets its turn: Watch ticks and pings are answered
const maxSpans = 128; // in one frame
const maxQueuedSpans = 8 << 20; // bytes
const maxFetches = 32; // under way at once
const patience = 5000; // milliseconds that an older stream has to end what it handles

type Kind = NonNullable<DeliverResponse["kind"]>;

/** The number of the field task_id in the envelope of an event. */
const taskField = 4;

/** Holds the Deliver streams. */
export class Deliveries {
  readonly #streams = new Map<string, DeliverStream>();
  #draining = false;

  constructor(readonly disp: Dispatcher) {}

  /**
   * Takes a stream as that of its subscription. An older one ends, and is given time to end what it handles: the host
   * opens a new one when it has given up the old one.
   */
  add(s: DeliverStream): void {
    const older = this.#streams.get(s.sub.name);
    this.#streams.set(s.sub.name, s);
    if (older === undefined) return s.start(this.#draining);
    older.end("stopped");
    const signal = AbortSignal.timeout(patience);
    void older.settled(signal).then(() => {
      if (signal.aborted) this.disp.log.warn("a subscriber goes on after its signal was aborted: the same events are handled beside it", { subscription: s.sub.name });
      s.start(this.#draining);
    });
  }

  /** Forgets a stream that has ended, unless it still handles something. */
  remove(s: DeliverStream): void {
    if (!s.busy && this.#streams.get(s.sub.name) === s) this.#streams.delete(s.sub.name);
  }

  /** Lets no further event be handled. */
  drain(): void {
    this.#draining = true;
    for (const s of this.#streams.values()) s.halt();
  }

  cancelAll(reason: string): void {
    for (const s of this.#streams.values()) s.cancel(reason);
  }

  /** Waits until no event is being handled and all answers are on their way, or the signal is aborted. */
  async untilIdle(signal: AbortSignal): Promise<void> {
    await Promise.all([...this.#streams.values()].map((s) => s.settled(signal).then(() => s.sent(signal))));
  }
}

/** One Deliver stream. */
export class DeliverStream {
  readonly declared: Binding;
  readonly share: number;
  readonly #abort = new AbortController();
  readonly #lanes: Lanes;
  #bindings = new Map<number, Binding>();

  // What is handled.
  #started = false;
  #stopped = false; // nothing further is handled
  #closing = false; // nothing further comes
  #workers = 0;
  #lastTurn = performance.now();
  #onChange: (() => void)[] = [];

  // What waits to be sent.
  #queue: DeliverResponse[] = [];
  #ack: Ack | undefined; // the last answer in the queue, which further ones are merged into
  #acks = 0;
  #spanFrame: { otlp: Uint8Array } | undefined; // the last one in the queue, which further ones are added to
  #spanCount = 0;
  #spanBytes = 0;
  #spansLost = 0;
  #logs = 0;
  #dropped = 0;
  #sending = false;
  #scheduled = false;
  #ended = false;

  readonly #fetches = new Map<bigint, Fetch>();
  readonly #fetchIds = new Map<Fetch, bigint>();
  readonly #fetchQueue: { f: Fetch; task: string }[] = [];
  #lastFetch = 0n;

  constructor(
    readonly all: Deliveries,
    readonly sub: Subscription,
    share: number,
    readonly out: Outbound<DeliverResponse>,
  ) {
    this.share = share;
    this.declared = new Binding(sub, "");
    this.#bindings.set(0, this.declared);
    const byTask = sub.options.order === "task";
    this.#lanes = new Lanes(byTask, byTask ? sub.options.lanes || defaultLanes : 1);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get busy(): boolean {
    return this.#workers > 0;
  }

  /** Takes a frame. It never waits for what is handled. */
  receive(frame: DeliverRequest): void {
    switch (frame.kind.case) {
      case "batch":
        this.#take(frame.kind.value);
        break;
      case "ping":
        this.#say({ case: "pong", value: { $typeName: "tasker.plugin.v1.Pong", nonce: frame.kind.value.nonce } });
        break;
      case "restart":
        this.#lanes.restart(frame.kind.value.taskId);
        this.#employ();
        break;
      case "bindings":
        this.bind(frame.kind.value);
        break;
      case "chunk": {
        const f = this.#fetches.get(frame.kind.value.fetchId);
        if (f?.add(frame.kind.value)) this.forget(f);
        break;
      }
      default: // of a later host
    }
  }

  /** Takes the bindings that later events come through. Those that stay as they are keep what they have parsed. */
  bind(list: Bindings | undefined): void {
    const old = this.#bindings;
    this.#bindings = new Map([[0, this.declared]]);
    for (const b of list?.bindings ?? []) {
      if (b.id === 0) continue;
      const config = textOf(b.config);
      let is = old.get(b.id);
      if (is === undefined || is.config !== config) {
        is = new Binding(this.sub, config);
        if (this.sub.config !== undefined) is.ready(this).catch(() => undefined); // reported
      }
      this.#bindings.set(b.id, is);
    }
    for (const [id, was] of old) if (this.#bindings.get(id) !== was) this.all.disp.report(was, undefined);
  }

  #take(batch: Batch): void {
    if (this.#stopped) return;
    if (batch.gapThrough > 0n) this.#lanes.add("", { seq: 0n, event: new Uint8Array(), number: 0, binding: this.declared, gap: batch.gapThrough });
    for (const e of batch.events) {
      const item: Item = { seq: e.seq, event: e.event, number: e.delivery, binding: this.#bindings.get(e.binding), gap: 0n };
      this.#lanes.add(this.#lanes.byTask ? taskOf(e.event) : "", item);
    }
    this.#employ();
  }

  /** Lets events be handled, unless the plugin is being drained. */
  start(draining: boolean): void {
    this.#started = true;
    if (draining) this.halt();
    this.#employ();
  }

  /** Lets no further event be handled. */
  halt(): void {
    this.#stopped = true;
    this.#lanes.clear();
    this.#changed();
  }

  cancel(reason: string): void {
    abort(this.#abort, reason, this.all.disp.log);
  }

  // Finds workers for the lanes that have something.
  #employ(): void {
    while (this.#started && !this.#stopped && this.#workers < this.#lanes.limit) {
      const lane = this.#lanes.take();
      if (lane === undefined) break;
      this.#workers++;
      void this.#work(lane);
    }
  }

  /** Handles the oldest event that waits, then the next, until none does. */
  async #work(first: Lane): Promise<void> {
    let lane: Lane | undefined = first;
    while (lane !== undefined) {
      if (performance.now() - this.#lastTurn > turnMillis) {
        await new Promise((resolve) => setImmediate(resolve));
        this.#lastTurn = performance.now();
      }
      const item = this.#stopped ? undefined : lane.queue.shift();
      if (item !== undefined) await this.#handle(lane, item);
      this.#lanes.release(lane);
      lane = this.#stopped ? undefined : this.#lanes.take();
    }
    this.#workers--;
    this.#changed();
  }

  /** Handles one event and queues the answer. */
  async #handle(lane: Lane, item: Item): Promise<void> {
    const turn = lane.turn;
    if (item.gap > 0n) return this.#gap(item.gap);
    const { answer, spans } = await new Delivery(this, item).handle();
    if (spans !== undefined) this.#tell(spans);
    const retry = answer.failed && !answer.final;
    if (lane.turn !== turn || (retry && this.signal.aborted)) return; // it comes again
    this.#answered(item.seq, answer);
    lane.held = retry;
    if (retry) lane.drop();
  }

  /** Tells the author's code, or the log, of a gap. */
  #gap(through: bigint): void {
    const log = this.all.disp.log;
    try {
      if (this.sub.options.onGap !== undefined) this.sub.options.onGap(through);
      else this.log({ level: "warn", message: `events were cut from the log before they could be delivered, through ${through}`, fields: new Uint8Array() });
    } catch (error) {
      log.error("onGap failed", { subscription: this.sub.name, error });
    }
  }

  /** Answers keep their order: an Ack stands for all that was sent before it and has no answer. */
  #answered(seq: bigint, a: Answer): void {
    if (!a.failed) return this.#acked(seq);
    this.#ack = undefined;
    if (a.final) this.#say({ case: "reject", value: { $typeName: "tasker.plugin.v1.Reject", seq, reason: a.reason } });
    else {
      const value = { $typeName: "tasker.plugin.v1.Retry" as const, seq, reason: a.reason, unavailable: a.away };
      this.#say({ case: "retry", value: a.after > 0 ? { ...value, after: { $typeName: "google.protobuf.Duration", ...toWire(a.after) } } : value });
    }
  }

  /** Queues an Ack, or merges it into the last answer. */
  #acked(seq: bigint): void {
    if (this.#ended) return;
    if (this.#ack === undefined || this.#acks >= ackEvents) {
      this.#ack = create(AckSchema);
      this.#acks = 0;
      this.#say({ case: "ack", value: this.#ack });
    }
    if (this.#lanes.byTask) this.#ack.seqs.push(seq);
    else this.#ack.through = seq;
    this.#acks++;
  }

  /** Queues spans, in one frame with those that wait already. They go before the answer that follows. */
  #tell(of: { otlp: Uint8Array; count: number }): void {
    if (this.#ended || of.otlp.length === 0) return;
    if (this.#spanBytes + of.otlp.length > maxQueuedSpans) {
      this.#spansLost += of.count;
      return;
    }
    if (this.#spansLost > 0) {
      this.#sayLog({ level: "warn", message: `${this.#spansLost} spans of this subscription were dropped: the host did not keep up`, fields: new Uint8Array() });
      this.#spansLost = 0;
    }
    if (this.#spanFrame === undefined || this.#spanCount + of.count > maxSpans) {
      const value = { $typeName: "tasker.plugin.v1.Spans" as const, otlp: new Uint8Array() };
      this.#spanFrame = value;
      this.#spanCount = 0;
      this.#ack = undefined;
      this.#say({ case: "spans", value });
    }
    // One encoded message after the other is both in one.
    this.#spanFrame.otlp = Buffer.concat([this.#spanFrame.otlp, of.otlp]);
    this.#spanCount += of.count;
    this.#spanBytes += of.otlp.length;
  }

  /** Queues a log line. Those beyond the limit are dropped. */
  log(line: Line): void {
    if (this.#logs >= maxQueuedLogs) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) {
      this.#sayLog({ level: "warn", message: `${this.#dropped} log lines of this subscription were dropped: the host did not keep up`, fields: new Uint8Array() });
      this.#dropped = 0;
    }
    this.#sayLog(line);
    this.#logs++;
  }

  #sayLog(line: Line): void {
    this.#say({ case: "log", value: { $typeName: "tasker.plugin.v1.Log", ...line } });
  }

  /** Asks the host for a document. */
  fetch(task: string, ref: string): Fetch {
    const f = new Fetch(ref);
    this.#fetchQueue.push({ f, task });
    this.#ask();
    return f;
  }

  #ask(): void {
    while (this.#fetches.size < maxFetches && this.#fetchQueue.length > 0) {
      const { f, task } = this.#fetchQueue.shift()!;
      const id = ++this.#lastFetch;
      this.#fetches.set(id, f);
      this.#fetchIds.set(f, id);
      this.#say({ case: "fetch", value: { $typeName: "tasker.plugin.v1.EventFetch", id, taskId: task, ref: f.ref } });
    }
  }

  /** Lets the rest of a document pass by. */
  forget(f: Fetch): void {
    const id = this.#fetchIds.get(f);
    if (id !== undefined) this.#fetches.delete(id);
    this.#fetchIds.delete(f);
    const waiting = this.#fetchQueue.findIndex((one) => one.f === f);
    if (waiting >= 0) this.#fetchQueue.splice(waiting, 1);
    this.#ask();
  }

  #say(kind: Kind): void {
    if (this.#ended) return;
    this.#queue.push(create(DeliverResponseSchema, { kind }));
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#sending) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#sending || this.#ended || this.#queue.length === 0) return this.#changed();
    const frames = this.#queue;
    this.#queue = [];
    this.#ack = undefined;
    this.#spanFrame = undefined;
    this.#spanBytes = 0;
    this.#logs = 0;
    this.#sending = true;
    let left = frames.length;
    for (const frame of frames) {
      this.out.write(frame, (error) => {
        if (error) this.end("host_gone");
        if (--left > 0) return;
        this.#sending = false;
        this.#flush();
      });
    }
  }

  /** Waits until all that the host has sent is handled and answered. */
  async rest(): Promise<void> {
    this.#closing = true;
    const never = new AbortController().signal;
    await this.settled(never);
    this.#stopped = true;
    await this.sent(never);
  }

  /** Waits until nothing is handled and nothing will be, or until the signal is aborted. */
  settled(signal: AbortSignal): Promise<void> {
    return this.#until(signal, () => this.#workers === 0 && (this.#stopped || (this.#closing && this.#started && !this.#lanes.waiting)));
  }

  /** Waits until all that is queued is sent, or until the signal is aborted. */
  sent(signal: AbortSignal): Promise<void> {
    return this.#until(signal, () => this.#ended || (this.#queue.length === 0 && !this.#sending));
  }

  #until(signal: AbortSignal, reached: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!reached() && !signal.aborted) return;
        this.#onChange = this.#onChange.filter((other) => other !== look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      this.#onChange.push(look);
      signal.addEventListener("abort", look, { once: true });
      look();
    });
  }

  #changed(): void {
    for (const look of this.#onChange) look();
  }

  /** Stops taking answers, cancels what is being handled and drops what is not. */
  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue = [];
    this.#ack = undefined;
    this.cancel(reason);
    this.halt();
    for (const b of this.#bindings.values()) this.all.disp.report(b, undefined);
    this.all.remove(this);
  }
}

/** The task of an encoded event. Empty = none, or it cannot be read. */
function taskOf(raw: Uint8Array): string {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  let pos = 0;
  const varint = (): number => {
    let n = 0;
    for (let factor = 1; pos < bytes.length; factor *= 128) {
      const b = bytes[pos++]!;
      n += (b & 0x7f) * factor;
      if (b < 0x80) return n;
    }
    return NaN;
  };
  while (pos < bytes.length) {
    const tag = varint();
    switch (tag % 8) {
      case 0:
        varint();
        break;
      case 1:
        pos += 8;
        break;
      case 2: {
        const length = varint();
        if (Math.floor(tag / 8) === taskField) return bytes.toString("utf8", pos, pos + length);
        pos += length;
        break;
      }
      case 5:
        pos += 4;
        break;
      default:
        return "";
    }
    if (Number.isNaN(pos)) return "";
  }
  return "";
}
