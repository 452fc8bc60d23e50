// What the author's code is given beside its input or its event.

import type { CustomEvent } from "./plugin.js";
import type { Verdict } from "./errors.js";

/** Levels of log lines, lowest first. */
export type Level = "trace" | "debug" | "info" | "warn" | "error";

/** Writes log lines. Fields are anything that JSON can say; errors are written with their message. */
export interface Logger {
  trace(message: string, fields?: Record<string, unknown>): void;
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** Returns a logger whose lines have further fields. */
  with(fields: Record<string, unknown>): Logger;
}

/** A value of a span's attribute. */
export type Attribute = string | number | boolean;

/** A span that is being recorded. */
export interface Span {
  /** W3C trace context of what happens below the span: send it with calls. */
  readonly traceparent: string;
  set(key: string, value: Attribute): void;
  /** Adds something that happened at this moment. */
  event(name: string, attributes?: Record<string, Attribute>): void;
}

/** What attempts and deliveries have in common. */
export interface Context {
  /**
   * Is aborted when the attempt is cancelled, runs out of time, or the host is gone. Its reason is a `CancelError`.
   * Hand it to whatever can be aborted: `fetch(url, { signal: ctx.signal })`.
   */
  readonly signal: AbortSignal;
  /** Writes lines that the host keeps with the attempt, or with the event. */
  readonly log: Logger;
  /** The plugin's own directory, where it may keep files: the same one over restarts and versions. */
  readonly dataDir: string;
  /** W3C trace context of the current span. "" where there is none. */
  readonly traceparent: string;
  /** Runs something as a span below the current one, which is ended when it ends and marked when it throws. */
  span<T>(name: string, run: (span: Span) => T | Promise<T>, attributes?: Record<string, Attribute>): Promise<T>;
}

/** What a handler is given beside its input. C is the type of the step's config. */
export interface AttemptContext<C = unknown> extends Context {
  /** Which attempt of which step this is. */
  readonly attempt: AttemptInfo;
  /** The same for all attempts of the step and for no other step: hand it to whatever must not happen twice. */
  readonly idempotencyKey: string;
  /** The step's config. */
  readonly config: C;
  /** The dependencies whose results the attempt was given, in the order of the template. */
  readonly dependencies: readonly Dependency[];
  /** The input as it came, for documents with numbers that JavaScript cannot hold. "" where there is none. */
  readonly rawInput: string;
  /** Says that the attempt is alive: progress from 0 to 1, and a note for people. */
  heartbeat(progress?: number, note?: string): void;
  /**
   * Hands over how far the attempt is, for the next one to continue from, should there be one. It is also a heartbeat.
   * Throws where the value is more than 64 KiB of JSON. Of checkpoints in quick succession the last one counts.
   */
  checkpoint(value: unknown): void;
  /** The last checkpoint of an earlier attempt of the step, undefined where there is none. */
  lastCheckpoint<T = unknown>(): T | undefined;
  /**
   * The results of a dependency; large ones are fetched from the host, once per attempt. Those of a skipped step are
   * null. Throws where the step depends on no step of that name.
   */
  result<T = unknown>(step: string): Promise<T>;
  /**
   * Records a custom event about the attempt's step: with the attempt's success, or at once where its declaration says
   * so. Throws a permanent error where the event is not declared, does not fit its schema, or there is too much of it.
   */
  emit<P>(event: CustomEvent<P>, payload: P): void;
}

/** Which attempt of which step this is. */
export interface AttemptInfo {
  /** "task/ordinal/number". */
  readonly id: string;
  /** The id of the task. */
  readonly task: string;
  /** The template that the task runs. */
  readonly namespace: string;
  readonly template: string;
  readonly templateVersion: string;
  /** The step's name. */
  readonly step: string;
  readonly handler: string;
  readonly handlerVersion: number;
  /** From 1. Lost attempts count. */
  readonly number: number;
  /** The number of failures that the step is allowed. */
  readonly limit: number;
  /** Milliseconds; undefined = no limit. */
  readonly timeout: number | undefined;
  readonly heartbeatTimeout: number | undefined;
  /** The task's tags. */
  readonly tags: readonly string[];
  /** Belongs with every call that the handler makes. */
  readonly correlationId: string;
  /** W3C trace context of the step. May be "". */
  readonly traceparent: string;
  readonly tracestate: string;
  /** Why the attempt before failed; undefined = this is the first one, or the last one was lost. */
  readonly previous: Previous | undefined;
}

/** The failure of an earlier attempt, as that attempt reported it. */
export interface Previous {
  readonly verdict: Verdict;
  readonly code: string;
  readonly message: string;
  readonly class: string;
  readonly details: unknown;
  readonly partial: unknown;
}

/** A step that the attempt's step depends on. */
export interface Dependency {
  readonly step: string;
  readonly status: "complete" | "resolved_manually" | "skipped" | (string & {});
  /** Bytes of its results, as JSON. */
  readonly size: number;
}

/** What a subscriber is given beside its event. C is the type of a binding's config. */
export interface DeliveryContext<C = unknown> extends Context {
  /** The config of the binding through which the event came, with the defaults of its schema. */
  readonly config: C;
  /** Gets a value that is too large to travel inside its event: `ctx.fetch(event.payload.results_ref)`. */
  fetch<T = unknown>(ref: { ref: string }): Promise<T>;
}

/** What the checks of a configuration are given. */
export interface CheckContext {
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly dataDir: string;
}
