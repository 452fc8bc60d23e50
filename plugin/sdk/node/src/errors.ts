// What handlers and subscribers throw to say more than "it failed".

import { milliseconds, type Duration } from "./duration.js";

/** Codes of the failures that the SDK itself reports. A handler's own codes are its own. */
export const codes = {
  /** The input does not fit the handler's input schema. */
  invalidInput: "invalid_input",
  /** The step's config does not fit the handler's config schema. */
  invalidConfig: "invalid_config",
  /** What the handler returned does not fit its output schema, or cannot be written as JSON. */
  invalidResult: "invalid_result",
  /** What the handler returned is over {@link limits}.value. */
  tooLarge: "result_too_large",
  /** The plugin has no such handler, or not in that version. */
  unknownHandler: "unknown_handler",
  /** A custom event is not declared, does not fit its schema, or is too large. */
  invalidEvent: "invalid_event",
  /** The attempt ran out of time. */
  timeout: "timeout",
} as const;

/** Sizes in bytes of what an attempt may hand over, as JSON. */
export const limits = {
  value: 15 << 20,
  checkpoint: 64 << 10,
  details: 4 << 10,
  partial: 64 << 10,
  emits: 1000,
  emitBytes: 1 << 20,
} as const;

/** What shall follow a failure. */
export type Verdict = "retryable" | "permanent" | "cancelled";

/** What can be said about a failure beside its message. */
export interface Failure {
  /** What shall follow. Default: said further in, else "retryable". */
  verdict?: Verdict;
  /** A short code that templates, dashboards and people can rely on, such as "card_declined". */
  code?: string;
  /** Facts: anything that is at most 4 KiB of JSON. */
  details?: unknown;
  /** Output that was produced before the failure: anything that is at most 64 KiB of JSON. */
  partial?: unknown;
  /** Whose fault it is. Default: the plugin's. */
  source?: "plugin" | "downstream";
  /** The least wait before the next attempt, or the next delivery. */
  retryAfter?: Duration;
  /** For subscribers: what is needed is not there, which is not the event's fault; see {@link unavailable}. */
  unavailable?: boolean;
}

/**
 * An error with a verdict. Write it directly to set several fields, or let {@link permanent}, {@link retryAfter},
 * {@link unavailable} or {@link downstream} make one around another error. Along a chain of causes the outermost
 * setting of each field counts.
 */
export class PluginError extends Error {
  readonly failure: Failure;

  constructor(message: string, failure: Failure = {}, options?: ErrorOptions) {
    super(message, options);
    if (failure.retryAfter !== undefined) milliseconds(failure.retryAfter); // a wait that is none is said here
    this.failure = failure;
  }

  override get name(): string {
    return "PluginError";
  }
}

/** Says that another attempt would fail too: the step fails at once, the event becomes a dead letter. */
export function permanent(error: unknown, failure: Omit<Failure, "verdict"> = {}): PluginError {
  return around(error, { ...failure, verdict: "permanent" });
}

/** Says that another attempt makes sense after a wait, and not earlier: `throw retryAfter(error, "30s")`. */
export function retryAfter(error: unknown, after: Duration, failure: Omit<Failure, "verdict" | "retryAfter"> = {}): PluginError {
  return around(error, { ...failure, verdict: "retryable", retryAfter: after });
}

/** Says that the fault lies with something that the handler called. */
export function downstream(error: unknown, failure: Omit<Failure, "source"> = {}): PluginError {
  return around(error, { ...failure, source: "downstream" });
}

/**
 * Says that what a subscriber needs is not there, such as a server that does not answer: it is not the event's fault.
 * The event comes again until the need is met and never becomes a dead letter for it; meanwhile no other event comes
 * through the same binding. In an attempt it is an ordinary error whose source is "downstream".
 */
export function unavailable(error: unknown, failure: Omit<Failure, "unavailable" | "verdict" | "source"> = {}): PluginError {
  return around(error, { ...failure, verdict: "retryable", source: "downstream", unavailable: true });
}

function around(error: unknown, failure: Failure): PluginError {
  return error instanceof Error ? new PluginError(error.message, failure, { cause: error }) : new PluginError(String(error), failure);
}

/** Why an attempt's or a delivery's signal was aborted: its reason. */
export class CancelError extends Error {
  /** A code such as "cancel_requested"; the SDK's own are "timeout", "host_gone" and "stopped". */
  readonly reason: string;

  constructor(reason: string) {
    super("attempt cancelled: " + reason);
    this.reason = reason;
  }

  override get name(): string {
    return "CancelError";
  }
}

/** Gathers what a chain of errors says about a failure: how the host will see it. For unit tests of handlers. */
export function explain(error: unknown): Failure {
  const all: Failure = {};
  for (const link of chain(error)) {
    if (!(link instanceof PluginError)) continue;
    const said = Object.entries(link.failure).filter(([key, value]) => value !== undefined && !(key in all));
    Object.assign(all, Object.fromEntries(said));
  }
  return all;
}

/** The error and all its causes, outermost first. */
export function chain(error: unknown): unknown[] {
  const links: unknown[] = [];
  const visit = (link: unknown): void => {
    if (link === undefined || link === null || links.includes(link)) return;
    links.push(link);
    if (link instanceof AggregateError) link.errors.forEach(visit);
    if (link instanceof Error) visit(link.cause);
  };
  visit(error);
  return links;
}
