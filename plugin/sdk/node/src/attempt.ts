// One execution of a step in this process. It is also the context that the handler gets.

import { create } from "@bufbuild/protobuf";

import type { Attribute, AttemptContext, AttemptInfo, Dependency, Logger, Previous, Span } from "./context.js";
import { abort, type WorkStream } from "./dispatch.js";
import { fromWire } from "./duration.js";
import { codes, limits, permanent, type Verdict } from "./errors.js";
import { failure, maxMessage } from "./failure.js";
import {
  type Attempt as WireAttempt,
  type Chunk,
  type Emit,
  EmitSchema,
  ErrorKind,
  HeartbeatSchema,
  type Result,
  ResultSchema,
  type Value,
} from "./gen/tasker/plugin/v1/step_pb.js";
import { LineLogger, line } from "./log.js";
import type { Spec } from "./manifest.js";
import type { CustomEvent } from "./plugin.js";
import { problemText } from "./schema.js";
import { failSpan, Recorder } from "./spans.js";
import { bytesOf, cut, encode, messageOf, textOf } from "./text.js";
import { attemptSpan, parse, placeOf, stepSpan } from "./trace.js";

const longestTimer = 2 ** 31 - 1;

export class Attempt implements AttemptContext {
  readonly id: string;
  /** The result is queued: nothing may follow it. */
  over = false;
  config: unknown;
  rawInput = "";

  readonly #wire: WireAttempt;
  readonly #spec: Spec;
  readonly #abort = new AbortController();
  readonly #began = performance.now();
  readonly #fetches = new Map<string, Fetch>();
  readonly #emits: Emit[] = [];
  #emitted = 0;
  #progress = 0;
  #note = "";
  #log: Logger | undefined;
  #info: AttemptInfo | undefined;
  #recorder: Recorder | undefined;

  constructor(
    readonly work: WorkStream,
    spec: Spec,
    wire: WireAttempt,
  ) {
    this.id = wire.attemptId;
    this.#spec = spec;
    this.#wire = wire;
  }

  // What the process does with the attempt.

  /** Executes the attempt and queues its one result, whatever the author's code does. */
  async run(): Promise<void> {
    const limit = fromWire(this.#wire.timeout);
    const timer = limit === undefined ? undefined : setTimeout(() => this.cancel(codes.timeout), Math.min(limit, longestTimer));
    let result: Result;
    try {
      result = this.#success(await this.#execute());
    } catch (error) {
      result = create(ResultSchema, { outcome: { case: "error", value: failure(this.signal, error) } });
    } finally {
      clearTimeout(timer);
    }
    result.tookNanos = BigInt(Math.max(1, Math.round((performance.now() - this.#began) * 1e6)));
    this.#sendSpans(result);
    this.work.finish(this, result);
  }

  cancel(reason: string): void {
    abort(this.#abort, reason, this.work.d.log);
  }

  chunk(c: Chunk): void {
    this.#fetches.get(c.ref)?.add(c);
  }

  /** Fetches what there is to fetch, calls the handler, and writes what it returns. */
  async #execute(): Promise<string> {
    const { name, options, input, config, output } = this.#spec;
    const wire = this.#wire;
    this.rawInput = wire.input === undefined ? "" : await this.#value(wire.input);
    const given = input?.accept(this.rawInput) ?? { value: parsed(this.rawInput), problems: [] };
    if (given.problems.length > 0) {
      throw permanent(`the input does not fit handler ${name}: ${problemText(given.problems)}`, { code: codes.invalidInput });
    }
    const raw = textOf(wire.config);
    const set = config?.accept(raw) ?? { value: raw === "" ? {} : parsed(raw), problems: [] };
    if (set.problems.length > 0) {
      throw permanent(`the step's config does not fit handler ${name}: ${problemText(set.problems)}`, { code: codes.invalidConfig });
    }
    this.config = set.value;
    const returned = await options.run(given.value, this);
    let doc: string;
    try {
      doc = encode(returned);
    } catch (error) {
      throw permanent(`the result cannot be written as JSON: ${messageOf(error)}`, { code: codes.invalidResult });
    }
    const bad = output?.accept(doc).problems ?? [];
    if (bad.length > 0) throw permanent(`the result does not fit handler ${name}: ${problemText(bad)}`, { code: codes.invalidResult });
    return doc;
  }

  #success(doc: string): Result {
    const output = bytesOf(doc);
    const size = this.#emitted + output.length;
    if (size > limits.value) {
      throw permanent(`the result and what it emits have ${size} bytes, the limit is ${limits.value}: store it elsewhere and return where`, { code: codes.tooLarge });
    }
    return create(ResultSchema, { outcome: { case: "output", value: output }, emits: this.#emits });
  }

  // What the handler sees.

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get log(): Logger {
    this.#log ??= new LineLogger((level, message, fields) => {
      if (this.work.d.wants(level)) this.work.send(this, { case: "log", value: line(level, message, fields) });
    });
    return this.#log;
  }

  get dataDir(): string {
    return this.work.d.dataDir;
  }

  get idempotencyKey(): string {
    return this.#wire.idempotencyKey;
  }

  get attempt(): AttemptInfo {
    this.#info ??= infoOf(this.#wire);
    return this.#info;
  }

  get dependencies(): Dependency[] {
    return this.#wire.results.map((r) => ({ step: r.step, status: r.status, size: sizeOf(r.value) }));
  }

  heartbeat(progress?: number, note?: string): void {
    if (progress !== undefined) this.#progress = Number.isNaN(progress) ? 0 : Math.min(Math.max(progress, 0), 1);
    if (note !== undefined) this.#note = cut(note, maxMessage);
    this.work.beat(this, create(HeartbeatSchema, { progress: this.#progress, note: this.#note }));
  }

  checkpoint(value: unknown): void {
    const checkpoint = bytesOf(encode(value));
    if (checkpoint.length > limits.checkpoint) {
      throw new RangeError(`checkpoint of ${checkpoint.length} bytes, the limit is ${limits.checkpoint}`);
    }
    this.work.beat(this, create(HeartbeatSchema, { progress: this.#progress, note: this.#note, checkpoint }));
  }

  lastCheckpoint<T>(): T | undefined {
    return this.#wire.checkpoint.length === 0 ? undefined : (parsed(textOf(this.#wire.checkpoint)) as T);
  }

  async result<T>(step: string): Promise<T> {
    const r = this.#wire.results.find((one) => one.step === step);
    if (r === undefined) {
      throw new Error(`step "${step}": no such dependency result: there are results of [${this.#wire.results.map((one) => one.step).join(" ")}]`);
    }
    return parsed(r.value === undefined ? "" : await this.#value(r.value)) as T;
  }

  emit<P>(event: CustomEvent<P>, payload: P): void {
    try {
      this.#emit(event.name, payload);
    } catch (error) {
      throw permanent(`emit ${event.name}: ${messageOf(error)}`, { code: codes.invalidEvent });
    }
  }

  get traceparent(): string {
    return this.#spans().current().traceparent;
  }

  span<T>(name: string, run: (span: Span) => T | Promise<T>, attributes: Record<string, Attribute> = {}): Promise<T> {
    return this.#spans().run(name, run, attributes);
  }

  #emit(name: string, payload: unknown): void {
    const declared = this.work.d.decl.events.get(name);
    if (declared === undefined) throw new Error("it is not declared: add it to the plugin's emits");
    const doc = encode(payload);
    const bad = declared.schema.accept(doc).problems;
    if (bad.length > 0) throw new Error(`the payload does not fit its schema: ${problemText(bad)}`);
    const out = create(EmitSchema, { name, payload: bytesOf(doc) });
    const size = out.payload.length;
    if (size > limits.emitBytes) throw new Error(`${size} bytes, the limit is ${limits.emitBytes}`);
    if (declared.event.options.immediate) {
      this.work.send(this, { case: "emit", value: out });
      return;
    }
    if (this.#emits.length === limits.emits) throw new Error(`the attempt has emitted ${limits.emits} already`);
    if (this.#emitted + size > limits.emitBytes) throw new Error(`with it the attempt emits ${this.#emitted + size} bytes, the limit is ${limits.emitBytes}`);
    this.#emits.push(out);
    this.#emitted += size;
  }

  /** Returns a document that may have to be fetched; each is fetched once per attempt. */
  async #value(v: Value): Promise<string> {
    if (v.ref === "") return textOf(v.inline);
    let f = this.#fetches.get(v.ref);
    if (f === undefined) {
      f = new Fetch(v.ref);
      this.#fetches.set(v.ref, f);
      this.work.send(this, { case: "fetch", value: { ref: v.ref } });
    }
    return untilAborted(f.document, this.signal);
  }

  /** The attempt's spans. They are begun when they are first asked for: most attempts never ask. */
  #spans(): Recorder {
    if (this.#recorder !== undefined) return this.#recorder;
    const w = this.#wire;
    const within = parse(w.traceparent);
    const place = placeOf(w.taskId, w.traceparent);
    const link = (n: number) => ({ trace: place.trace, span: attemptSpan(place, w.step, n), sampled: place.sampled, kind: "earlier_attempt" });
    this.#recorder = new Recorder(
      {
        trace: place.trace,
        span: attemptSpan(place, w.step, w.number),
        parent: within?.span ?? stepSpan(place, w.step, 0),
        sampled: within?.sampled ?? false,
        state: w.tracestate,
        name: "handler.process",
        links: w.number > 1 ? [link(w.number - 1)] : [],
        attributes: {
          "task.id": w.taskId,
          "task.namespace": w.template?.namespace ?? "",
          "task.template": w.template?.name ?? "",
          "task.template_version": w.template?.version ?? "",
          "workflow.correlation_id": w.correlationId,
          "step.name": w.step,
          "step.handler": `${this.work.d.decl.plugin.name}/${w.handler}`,
          "attempt.number": w.number,
          "attempt.input_size": sizeOf(w.input),
        },
      },
      this.#began,
    );
    return this.#recorder;
  }

  /** Queues the spans of an attempt that has ended, if somebody wants them. */
  #sendSpans(result: Result): void {
    const sampled = parse(this.#wire.traceparent)?.sampled ?? false;
    if (!sampled && this.#recorder?.touched() !== true) return;
    const recorder = this.#spans();
    if (result.outcome.case === "error") failSpan(recorder.own, result.outcome.value);
    else recorder.own.set("attempt.result_size", result.outcome.value?.length ?? 0);
    this.work.send(this, { case: "spans", value: { otlp: recorder.close(this.work.d.decl.plugin).otlp } });
  }
}

/** A document on its way from the host. */
export class Fetch {
  readonly document: Promise<string>;
  readonly #parts: Uint8Array[] = [];
  #size = 0;
  #over = false;
  #resolve!: (doc: string) => void;
  #reject!: (error: Error) => void;

  constructor(readonly ref: string) {
    this.document = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.document.catch(() => undefined); // who still waits hears of it
  }

  /** Takes a part of the document. True = it was the last one. */
  add(part: { data: Uint8Array; last: boolean; error: string }): boolean {
    if (this.#over) return true;
    this.#parts.push(part.data);
    this.#size += part.data.length;
    this.#over = true;
    if (part.error !== "") this.#reject(new Error(`the host cannot hand over ${this.ref}: ${part.error}`));
    else if (this.#size > limits.value) this.#reject(new RangeError(`${this.ref}: value too large`));
    else if (part.last) this.#resolve(Buffer.concat(this.#parts).toString("utf8"));
    else this.#over = false;
    return this.#over;
  }
}

/** Waits for something, but not after the signal was aborted: then it throws the signal's reason. */
export async function untilAborted<T>(what: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([what, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function parsed(doc: string): unknown {
  return doc === "" ? null : JSON.parse(doc);
}

function sizeOf(v: Value | undefined): number {
  return v === undefined ? 0 : Math.max(Number(v.size), v.inline.length);
}

const verdicts: Record<number, Verdict> = { [ErrorKind.PERMANENT]: "permanent", [ErrorKind.CANCELLED]: "cancelled" };

function infoOf(w: WireAttempt): AttemptInfo {
  const e = w.previousError;
  const previous: Previous | undefined = e && {
    verdict: verdicts[e.kind] ?? "retryable",
    code: e.code,
    message: e.message,
    class: e.class,
    details: parsed(textOf(e.details)),
    partial: parsed(textOf(e.partial)),
  };
  return {
    id: w.attemptId,
    task: w.taskId,
    namespace: w.template?.namespace ?? "",
    template: w.template?.name ?? "",
    templateVersion: w.template?.version ?? "",
    step: w.step,
    handler: w.handler,
    handlerVersion: w.handlerVersion,
    number: w.number,
    limit: w.limit,
    timeout: fromWire(w.timeout),
    heartbeatTimeout: fromWire(w.heartbeatTimeout),
    tags: w.tags,
    correlationId: w.correlationId,
    traceparent: w.traceparent,
    tracestate: w.tracestate,
    previous,
  };
}
