// One event on its way through a subscriber. It is also the context that the subscriber gets.

import { randomBytes } from "node:crypto";

import { fromBinary } from "@bufbuild/protobuf";

import { untilAborted } from "./attempt.js";
import type { Attribute, DeliveryContext, Level, Logger, Span } from "./context.js";
import type { DeliverStream } from "./deliver.js";
import { abort } from "./dispatch.js";
import { milliseconds } from "./duration.js";
import { CancelError, codes, explain, permanent, unavailable } from "./errors.js";
import { failure, maxMessage, unreadable } from "./failure.js";
import { type Event as WireEvent, EventSchema } from "./gen/tasker/event/v1/event_pb.js";
import type { Item } from "./lanes.js";
import { LineLogger, line } from "./log.js";
import { routeOf, type Subscription } from "./manifest.js";
import type { Event } from "./plugin.js";
import { problemText } from "./schema.js";
import { failSpan, Recorder } from "./spans.js";
import { cut, messageOf, textOf } from "./text.js";
import { placeOf, stepSpan, taskSpan, within } from "./trace.js";
/** The first sequence of the events that are in no log. */
const firstTrial = 1n << 63n;

/** How an event ended. */
export interface Answer {
  failed: boolean; // else it is done
  final: boolean; // it failed and shall not come again
  away: boolean; // it failed for no fault of its own
  after: number; // milliseconds
  reason: string;
}

const done: Answer = { failed: false, final: false, away: false, after: 0, reason: "" };

/** What ties a subscription to a template, or to all tasks. */
export class Binding {
  value: unknown;
  #usable = false;

  constructor(
    readonly sub: Subscription,
    readonly config: string,
  ) {}

  /** Parses and checks the config, once: what has failed is tried anew by the next event. Throws what is wrong. */
  async ready(stream: DeliverStream): Promise<void> {
    if (this.#usable) return;
    const { config: schema, options, name } = this.sub;
    const d = stream.all.disp;
    try {
      const set = schema?.accept(this.config) ?? { value: {}, problems: [] };
      if (set.problems.length > 0 && (this.config !== "" || options.check !== undefined)) {
        throw new Error(`the binding's config does not fit: ${problemText(set.problems)}`);
      }
      if (options.check !== undefined && schema !== undefined) {
        const signal = AbortSignal.any([stream.signal, AbortSignal.timeout(this.sub.timeout)]);
        await untilAborted(Promise.resolve(options.check(set.value, { signal, log: d.log, dataDir: d.dataDir })), signal);
      }
      this.value = set.value;
      this.#usable = true;
      d.report(this, undefined);
    } catch (error) {
      if (this !== stream.declared && !stream.signal.aborted) d.report(this, `subscriber ${name}: ${messageOf(error)}`);
      throw error;
    }
  }
}

export class Delivery implements DeliveryContext {
  readonly #stream: DeliverStream;
  readonly #item: Item;
  readonly #abort = new AbortController();
  #event: WireEvent | undefined;
  #log: Logger | undefined;
  #recorder: Recorder | undefined;
  #timedOut = false;

  constructor(stream: DeliverStream, item: Item) {
    this.#stream = stream;
    this.#item = item;
  }

  /** Brings the event to what receives it, and returns how that ended. It never throws. */
  async handle(): Promise<{ answer: Answer; spans: { otlp: Uint8Array; count: number } | undefined }> {
    const { sub, signal } = this.#stream;
    const forward = (): void => {
      abort(this.#abort, signal.reason instanceof CancelError ? signal.reason.reason : "host_gone", this.#stream.all.disp.log);
    };
    if (signal.aborted) forward();
    signal.addEventListener("abort", forward, { once: true });
    const timer = setTimeout(() => {
      this.#timedOut = true;
      abort(this.#abort, codes.timeout, this.#stream.all.disp.log);
    }, Math.min(sub.timeout, 2 ** 31 - 1));
    let thrown: { error: unknown } | undefined;
    try {
      await this.#bring();
    } catch (error) {
      thrown = { error };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", forward);
    }
    return { answer: thrown === undefined ? done : this.#answer(thrown.error), spans: this.#endSpan(thrown) };
  }

  async #bring(): Promise<void> {
    const sub = this.#stream.sub;
    const e = this.#parse();
    const route = routeOf(sub, e.type);
    if (route === undefined) {
      // A host that knows its subscriptions does not send it.
      this.#say("warn", "nothing receives this event", { type: e.type });
      return;
    }
    const binding = this.#item.binding;
    if (binding === undefined) throw permanent("the event came through a binding that the host has not announced");
    try {
      await binding.ready(this.#stream);
    } catch (error) {
      throw unavailable(error, { code: codes.invalidConfig }); // whoever mends the config gets the event
    }
    const event = this.#decoded(e);
    try {
      const run = route.run as (event: Event, ctx: DeliveryContext) => unknown;
      await run(event, this);
    } catch (error) {
      if (sub.options.onError === undefined) throw error;
      const counts = sub.options.onError(error, this as DeliveryContext<unknown> as DeliveryContext<never>);
      if (counts !== undefined && counts !== null) throw counts;
    }
  }

  #parse(): WireEvent {
    try {
      this.#event = fromBinary(EventSchema, this.#item.event);
    } catch {
      throw permanent("it is no event: its envelope cannot be read");
    }
    if (this.#event.type === "") throw permanent("it is no event: its envelope cannot be read");
    this.#beginSpan(this.#event);
    return this.#event;
  }

  #decoded(e: WireEvent): Event {
    let payload: unknown;
    try {
      payload = e.payload.length === 0 ? null : JSON.parse(textOf(e.payload));
    } catch (error) {
      throw permanent(`the payload of ${e.type} is no JSON: ${messageOf(error)}`);
    }
    return {
      id: e.id,
      type: e.type,
      seq: this.#item.seq,
      at: new Date(Number(e.at / 1_000_000n)),
      task: e.taskId,
      taskSeq: Number(e.taskSeq),
      step: e.step,
      namespace: e.namespace,
      template: e.template,
      version: e.version,
      correlationId: e.correlationId,
      traceparent: e.traceparent,
      delivery: this.#item.number,
      trial: this.#item.seq >= firstTrial,
      payload,
    };
  }

  /** Translates what was thrown into the answer that the host gets. It never throws. */
  #answer(error: unknown): Answer {
    try {
      return this.#translate(error);
    } catch (failed) {
      return { ...done, failed: true, reason: unreadable(failed) };
    }
  }

  #translate(error: unknown): Answer {
    const said = explain(error);
    let reason = messageOf(error);
    if (this.#timedOut) reason = `not done within ${this.#stream.sub.timeout} ms: ${reason}`;
    return {
      failed: true,
      final: said.verdict === "permanent",
      away: said.unavailable ?? false,
      after: said.retryAfter === undefined ? 0 : milliseconds(said.retryAfter),
      reason: cut(reason, maxMessage),
    };
  }

  // What the subscriber sees.

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get config(): unknown {
    return this.#item.binding?.value;
  }

  get dataDir(): string {
    return this.#stream.all.disp.dataDir;
  }

  get log(): Logger {
    this.#log ??= new LineLogger((level, message, fields) => this.#say(level, message, fields));
    return this.#log;
  }

  get traceparent(): string {
    return this.#recorder?.current().traceparent ?? "";
  }

  async span<T>(name: string, run: (span: Span) => T | Promise<T>, attributes: Record<string, Attribute> = {}): Promise<T> {
    if (this.#recorder !== undefined) return this.#recorder.run(name, run, attributes);
    return run({ traceparent: "", set: () => undefined, event: () => undefined });
  }

  async fetch<T>(ref: { ref: string }): Promise<T> {
    const f = this.#stream.fetch(this.#event?.taskId ?? "", ref.ref);
    try {
      return JSON.parse(await untilAborted(f.document, this.signal)) as T;
    } finally {
      this.#stream.forget(f);
    }
  }

  /** Queues one line, with the event's id. */
  #say(level: Level, message: string, fields: Record<string, unknown>): void {
    if (!this.#stream.all.disp.wants(level)) return;
    const id = this.#event?.id ?? "";
    this.#stream.log(line(level, message, id === "" ? fields : { event: id, ...fields }));
  }

  /** Begins the delivery's own span, if the host wants it. It has a trace of its own and links to what it is about. */
  #beginSpan(e: WireEvent): void {
    const { share, sub } = this.#stream;
    if (share <= 0 || sub.options.untraced || e.taskId === "" || this.#item.seq >= firstTrial) return;
    const place = placeOf(e.taskId, e.traceparent);
    if (!place.sampled || !within(place.trace, share)) return;
    const about = e.step === "" ? taskSpan(place) : stepSpan(place, e.step, roundOf(e));
    this.#recorder = new Recorder(
      {
        trace: randomBytes(16).toString("hex"),
        span: randomBytes(8).toString("hex"),
        parent: "",
        sampled: true,
        state: "",
        name: "subscriber.handle",
        consumer: true,
        links: [{ trace: place.trace, span: about, sampled: true, kind: "handled" }],
        attributes: {
          "event.name": e.type,
          "event.seq": Number(this.#item.seq),
          "subscriber.name": `${this.#stream.all.disp.decl.plugin.name}/${sub.name}`,
          "delivery.number": this.#item.number,
          "task.id": e.taskId,
          "step.name": e.step,
          "workflow.correlation_id": e.correlationId,
        },
      },
      performance.now(),
    );
  }

  #endSpan(thrown: { error: unknown } | undefined): { otlp: Uint8Array; count: number } | undefined {
    if (this.#recorder === undefined) return undefined;
    if (thrown !== undefined) failSpan(this.#recorder.own, failure(this.#stream.signal, thrown.error));
    return this.#recorder.close(this.#stream.all.disp.decl.plugin);
  }
}

/** The round of the step that the event is about. */
function roundOf(e: WireEvent): number {
  const payload = textOf(e.payload);
  if (!payload.includes('"round":')) return 0;
  try {
    const round = (JSON.parse(payload) as { round?: unknown }).round;
    return typeof round === "number" && Number.isSafeInteger(round) && round >= 0 ? round : 0;
  } catch {
    return 0;
  }
}
