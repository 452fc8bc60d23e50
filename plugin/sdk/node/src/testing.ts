// Runs a plugin's handlers and subscribers within a test: through the same code as under a host, without a process.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { Deliveries, DeliverStream } from "./deliver.js";
import { Dispatcher, WorkStream } from "./dispatch.js";
import { milliseconds, toWire, fromWire, type Duration } from "./duration.js";
import type { Verdict } from "./errors.js";
import { EventSchema } from "./gen/tasker/event/v1/event_pb.js";
import { BatchSchema, DeliverRequestSchema, type DeliverRequest, type DeliverResponse } from "./gen/tasker/plugin/v1/event_pb.js";
import { AttemptSchema, CancelSchema, type Error as WireError, ErrorKind, ErrorSource, type Update, WorkRequestSchema, WorkResponseSchema } from "./gen/tasker/plugin/v1/step_pb.js";
import { ProcessLog } from "./log.js";
import { Declaration } from "./manifest.js";
import { Settings, type Plugin } from "./plugin.js";
import { problemText } from "./schema.js";
import { bytesOf, encode, textOf } from "./text.js";

/** What a plugin is given before its tests. */
export interface Setup {
  /** The plugin's configuration. Throws where it does not fit. */
  config?: unknown;
  /** The plugin's data directory. Default: "". */
  dataDir?: string;
}

/** What an attempt is given. All is optional. */
export interface AttemptOptions {
  input?: unknown;
  /** The step's config. */
  config?: unknown;
  /** Results of dependencies by step; undefined = the step was skipped. */
  results?: Record<string, unknown>;
  /** The last checkpoint of an earlier attempt. */
  checkpoint?: unknown;
  number?: number;
  limit?: number;
  timeout?: Duration;
  task?: string;
  step?: string;
  tags?: string[];
  correlationId?: string;
  traceparent?: string;
  idempotencyKey?: string;
  /** Cancels the attempt when it is aborted. */
  signal?: AbortSignal;
}

/** How an attempt ended, and what it said on the way. */
export interface Outcome {
  /** What the step results in; undefined where the attempt failed. */
  output: any;
  /** Why the attempt failed; undefined where it succeeded. */
  error: AttemptError | undefined;
  /** The events that are recorded with its success, or were at once. */
  emits: { name: string; payload: any }[];
  logs: { level: string; message: string; fields: Record<string, unknown> }[];
  /** Of heartbeats in quick succession the last one counts. */
  heartbeats: { progress: number; note: string }[];
  /** The last checkpoint; undefined where there was none. */
  checkpoint: any;
  /** The spans, an encoded ExportTraceServiceRequest. Empty where nobody wants them. */
  spans: Uint8Array;
}

/** Why an attempt failed, as the host hears it. */
export interface AttemptError {
  verdict: Verdict;
  code: string;
  message: string;
  class: string;
  source: "plugin" | "downstream";
  details: any;
  partial: any;
  retryAfter: number | undefined; // milliseconds
  stack: string[];
}

/** An event to deliver. */
export interface TestEvent {
  type: string;
  payload?: unknown;
  id?: string;
  task?: string;
  step?: string;
  at?: Date;
  delivery?: number;
}

/** How a subscriber answered an event. Held = an earlier event of its lane has to come again first. */
export type Answer = { answer: "ack" } | { answer: "retry"; reason: string; after: number | undefined; unavailable: boolean } | { answer: "reject"; reason: string } | { answer: "held" };

/** A plugin in a test. */
export interface TestPlugin {
  /** Runs one attempt of a handler: "name", or "name@version". */
  attempt(handler: string, options?: AttemptOptions): Promise<Outcome>;
  /** Delivers events to a subscription, in order, and returns its answers. */
  deliver(subscription: string, ...events: TestEvent[]): Promise<Answer[]>;
}

/**
 * Makes a plugin ready to be tested. Throws a DeclarationError where it is declared wrongly.
 *
 *     const shop = testPlugin(plugin);
 *     const { output } = await shop.attempt("charge", { input: { amount: 5 } });
 */
export function testPlugin(plugin: Plugin, setup: Setup = {}): TestPlugin {
  const decl = new Declaration(plugin);
  const lines: string[] = [];
  const disp = new Dispatcher(decl, new ProcessLog(plugin.name, (text) => lines.push(text)));
  disp.level = "trace";
  disp.dataDir = setup.dataDir ?? "";
  if (plugin.config !== undefined) {
    const { value, problems } = decl.config?.accept(encode(setup.config ?? {})) ?? { value: setup.config ?? {}, problems: [] };
    if (problems.length > 0) throw new Error(`the configuration does not fit: ${problemText(problems)}`);
    (plugin.config as Settings<unknown>).set(value);
  }
  let attempts = 0;
  return {
    attempt: (handler, options = {}) => attempt(disp, `test/0/${++attempts}`, handler, options),
    deliver: (subscription, ...events) => deliver(disp, subscription, events),
  };
}

async function attempt(disp: Dispatcher, id: string, handler: string, o: AttemptOptions): Promise<Outcome> {
  const updates: Update[] = [];
  const work = new WorkStream(disp, {
    write(frame, done) {
      updates.push(...fromBinary(WorkResponseSchema, frame).updates);
      setImmediate(done);
    },
  });
  const doc = (value: unknown): Uint8Array => (value === undefined ? new Uint8Array() : bytesOf(encode(value)));
  const [name = "", version = "0"] = handler.split("@");
  const task = o.task ?? "01J00000000000000000000000";
  work.receive(
    create(WorkRequestSchema, {
      attempts: [
        create(AttemptSchema, {
          attemptId: id,
          taskId: task,
          template: { namespace: "default", name: "test", version: "1.0.0" },
          step: o.step ?? name,
          handler: name,
          handlerVersion: Number(version) || (disp.decl.find(name, 0)?.version ?? 0),
          number: o.number ?? 1,
          limit: o.limit ?? 3,
          idempotencyKey: o.idempotencyKey ?? `${task}/0`,
          input: { inline: doc(o.input), size: BigInt(doc(o.input).length) },
          config: doc(o.config),
          results: Object.entries(o.results ?? {}).map(([step, value]) => ({
            step,
            status: value === undefined ? "skipped" : "complete",
            ...(value === undefined ? {} : { value: { inline: doc(value) } }),
          })),
          checkpoint: doc(o.checkpoint),
          ...(o.timeout === undefined ? {} : { timeout: toWire(milliseconds(o.timeout)) }),
          tags: o.tags ?? [],
          correlationId: o.correlationId ?? task,
          traceparent: o.traceparent ?? "",
        }),
      ],
    }),
  );
  const cancel = (): void => work.receive(create(WorkRequestSchema, { cancels: [create(CancelSchema, { attemptId: id, reason: "cancel_requested" })] }));
  if (o.signal?.aborted === true) cancel();
  o.signal?.addEventListener("abort", cancel, { once: true });
  await work.rest();
  o.signal?.removeEventListener("abort", cancel);
  return outcome(updates);
}

function outcome(updates: Update[]): Outcome {
  const out: Outcome = { output: undefined, error: undefined, emits: [], logs: [], heartbeats: [], checkpoint: undefined, spans: new Uint8Array() };
  const emitted = (e: { name: string; payload: Uint8Array }): void => void out.emits.push({ name: e.name, payload: parsed(e.payload) });
  for (const { kind } of updates) {
    switch (kind.case) {
      case "log":
        out.logs.push({ level: kind.value.level, message: kind.value.message, fields: (parsed(kind.value.fields) ?? {}) as Record<string, unknown> });
        break;
      case "heartbeat":
        out.heartbeats.push({ progress: kind.value.progress, note: kind.value.note });
        out.checkpoint = parsed(kind.value.checkpoint) ?? out.checkpoint;
        break;
      case "emit":
        emitted(kind.value);
        break;
      case "spans":
        out.spans = kind.value.otlp;
        break;
      case "result":
        kind.value.emits.forEach(emitted);
        if (kind.value.outcome.case === "error") out.error = errorOf(kind.value.outcome.value);
        else out.output = parsed(kind.value.outcome.value ?? new Uint8Array());
        break;
      default: // nothing to tell of
    }
  }
  return out;
}

const verdicts: Record<number, Verdict> = { [ErrorKind.PERMANENT]: "permanent", [ErrorKind.CANCELLED]: "cancelled" };

function errorOf(e: WireError): AttemptError {
  return {
    verdict: verdicts[e.kind] ?? "retryable",
    code: e.code,
    message: e.message,
    class: e.class,
    source: e.source === ErrorSource.DOWNSTREAM ? "downstream" : "plugin",
    details: parsed(e.details),
    partial: parsed(e.partial),
    retryAfter: fromWire(e.retryAfter),
    stack: e.stack,
  };
}

async function deliver(disp: Dispatcher, subscription: string, events: TestEvent[]): Promise<Answer[]> {
  const sub = disp.decl.subscription(subscription);
  if (sub === undefined) throw new Error(`the plugin has no subscription "${subscription}"`);
  const frames: DeliverResponse[] = [];
  const stream = new DeliverStream(new Deliveries(disp), sub, 0, {
    write(frame, done) {
      frames.push(frame);
      setImmediate(done);
    },
  });
  stream.receive(batch(events));
  stream.start(false);
  await stream.rest();
  stream.end("stopped");
  return answers(events.length, frames);
}

function batch(events: TestEvent[]): DeliverRequest {
  const value = create(BatchSchema, {
    events: events.map((e, i) => ({
      seq: BigInt(i + 1),
      delivery: e.delivery ?? 1,
      event: toBinary(
        EventSchema,
        create(EventSchema, {
          id: e.id ?? `${e.task ?? "host"}/${i + 1}`,
          type: e.type,
          at: BigInt((e.at ?? new Date()).getTime()) * 1_000_000n,
          taskId: e.task ?? "",
          taskSeq: BigInt(e.task === undefined ? 0 : i + 1),
          step: e.step ?? "",
          payload: bytesOf(encode(e.payload ?? {})),
        }),
      ),
    })),
  });
  return create(DeliverRequestSchema, { kind: { case: "batch", value } });
}

/** What the frames say of events that are numbered from 1. */
function answers(n: number, frames: DeliverResponse[]): Answer[] {
  const all = new Array<Answer>(n).fill({ answer: "held" });
  const set = (seq: bigint, a: Answer): void => void (all[Number(seq) - 1] = a);
  for (const { kind } of frames) {
    switch (kind.case) {
      case "ack":
        kind.value.seqs.forEach((seq) => set(seq, { answer: "ack" }));
        for (let seq = 1n; seq <= kind.value.through; seq++) if (all[Number(seq) - 1]!.answer === "held") set(seq, { answer: "ack" });
        break;
      case "retry":
        set(kind.value.seq, { answer: "retry", reason: kind.value.reason, after: fromWire(kind.value.after), unavailable: kind.value.unavailable });
        break;
      case "reject":
        set(kind.value.seq, { answer: "reject", reason: kind.value.reason });
        break;
      default: // no answer
    }
  }
  return all;
}

function parsed(doc: Uint8Array): unknown {
  return doc.length === 0 ? undefined : JSON.parse(textOf(doc));
}
