// The value that a plugin is: handlers, subscribers, events, configuration.

import type { Catalog, EventName } from "./catalog.js";
import type { AttemptContext, CheckContext, DeliveryContext } from "./context.js";
import type { Duration } from "./duration.js";
import type { FromSchema, JsonSchema } from "./schema.js";

/** The version of this SDK, as manifests report it. */
export const version = "0.1.0";

/** Everything that a plugin offers. Name, version and at least one handler or subscription are required. */
export interface Plugin {
  /** Identifies the plugin on a host: [a-z][a-z0-9-]{0,31}. Templates refer to handlers as "name/handler". */
  name: string;
  /** The plugin's own semantic version, such as "1.4.0". */
  version: string;
  /** One line for people. */
  title?: string;
  /** What the plugin is for, in plain text. */
  description?: string;
  vendor?: string;
  /** An SPDX licence expression. */
  licence?: string;
  homepage?: string;
  /** The handlers by name: [a-z][a-z0-9_-]{0,31}, or "name@N" to offer version N. */
  handlers?: Record<string, Handler>;
  /**
   * The subscribers by the name of their subscription, for which the host keeps a cursor: another name is another
   * subscription.
   */
  subscriptions?: Record<string, Subscriber>;
  /** The custom events that the handlers emit. */
  emits?: readonly CustomEvent<never>[];
  /** The plugin's configuration. Default: it takes none. */
  config?: Configuration<unknown>;
  /** How many attempts one process holds at once. Default: the host decides. */
  maxConcurrency?: number;
  /** What the plugin needs beside its own data directory. Default: nothing. */
  permissions?: Permissions;
}

/** What a plugin needs from the machine. The host shows it to the operator and may enforce it. */
export interface Permissions {
  /**
   * Paths that are read: absolute ones, or what the operator names: "config:/tls/ca_file" is the path that the plugin's
   * configuration has there (* in such a pointer is every member of a map or list), "config-dir:/path" the directory of
   * that file, "env:NAME" the path in a variable. "*" = all files, but for the host's own.
   */
  fsRead?: string[];
  /** Paths that are read and written, in the same forms. */
  fsWrite?: string[];
  /** How far the plugin talks. Default: "none". */
  network?: "none" | "loopback" | "any";
  /** Environment variables that it wants to see; "*" = all that the operator grants. */
  env?: string[];
  /** It starts processes of its own. */
  subprocess?: boolean;
}

/** How a handler is declared, and its function. */
export interface HandlerOptions<I extends JsonSchema = JsonSchema, O extends JsonSchema = JsonSchema, C extends JsonSchema = JsonSchema> {
  /** Templates may pin it with "plugin/handler@2". Default: 1. Raise it when input, config or results change shape. */
  version?: number;
  /** What the handler does, in plain text. */
  description?: string;
  /** JSON Schema of the input. What does not fit fails before the function is called. Default: anything. */
  input?: I;
  /** JSON Schema of what the function returns. What does not fit fails the attempt. Default: anything. */
  output?: O;
  /** JSON Schema of the step's config. What does not fit fails before the function is called. Default: anything. */
  config?: C;
  /** Default limit of one attempt. */
  timeout?: Duration;
  /** Default limit of silence between heartbeats. */
  heartbeatTimeout?: Duration;
  /** Default retry policy. What is left out is the host's. */
  retry?: Retry;
  /**
   * What running twice for one step does: "yes" = harmless; "keyed" (the default) = harmless when whatever is called
   * honours the idempotency key; "no" = not safe: an attempt that is lost with its process waits for an operator.
   */
  idempotent?: "yes" | "keyed" | "no";
  /** Attempts of this handler that one process holds at once. Default: the plugin's limit. */
  maxConcurrency?: number;
  /** The handler does not want the results of the dependencies, which saves their transport. */
  noResults?: boolean;
  /** The codes that its errors may carry, for documentation. */
  errorCodes?: string[];
  /** Executes one attempt and returns what the step results in. It runs many times at once. */
  run(input: FromSchema<I>, ctx: AttemptContext<FromSchema<C>>): FromSchema<O> | Promise<FromSchema<O>>;
  /** Is called once after the configuration was accepted; what it throws refuses the start and is shown to the operator. */
  check?(ctx: CheckContext): void | Promise<void>;
  /** Is called when the process ends. */
  close?(): void | Promise<void>;
}

/** A default retry policy. */
export interface Retry {
  /** Failures allowed, from 1. */
  limit?: number;
  /** How waits grow. Default: the host's, or "list" where there is a list. */
  backoff?: "exponential" | "linear" | "constant" | "list";
  /** The first wait. */
  base?: Duration;
  /** The growth of exponential backoff. */
  factor?: number;
  /** The longest wait. */
  cap?: Duration;
  /** The waits of listed backoff; the last one repeats. */
  list?: Duration[];
}

/** A handler, as {@link handler} makes it. */
export interface Handler {
  readonly options: HandlerOptions;
}

/**
 * Makes a handler. The types of its input, config and result follow from the schemas:
 *
 *     handler({
 *       input: { type: "object", properties: { name: { type: "string" } }, required: ["name"] },
 *       run(input) { return { text: `Hello, ${input.name}!` }; },
 *     })
 */
export function handler<const I extends JsonSchema = JsonSchema, const O extends JsonSchema = JsonSchema, const C extends JsonSchema = JsonSchema>(
  options: HandlerOptions<I, O, C>,
): Handler {
  return { options: options as unknown as HandlerOptions };
}

/** A custom event, as {@link customEvent} makes it. P is the type of its payload. */
export interface CustomEvent<P> {
  readonly name: string;
  readonly options: CustomEventOptions;
  /** Only for the type. */
  readonly payload?: (payload: P) => void;
}

/** How a custom event is declared. */
export interface CustomEventOptions<S extends JsonSchema = JsonSchema> {
  /** JSON Schema of the payload, an object. */
  schema: S;
  /** A payload, for people and for `tasker event send`. */
  example?: FromSchema<S>;
  /** The version of the payload's shape. Default: 1. */
  version?: number;
  /** What the event means, in plain text. */
  description?: string;
  /** Recorded at once, whatever becomes of the attempt. Default: with the attempt's success, exactly once. */
  immediate?: boolean;
}

/** Declares a custom event, named "plugin.event": the plugin's name, a dot, and [a-z][a-z0-9_]*. */
export function customEvent<const S extends JsonSchema>(name: string, options: CustomEventOptions<S>): CustomEvent<FromSchema<S>> {
  return { name, options: options as unknown as CustomEventOptions };
}

/** One event as a subscriber receives it. Events may come more than once, with the same id. */
export interface Event<P = unknown> {
  /** The same at every delivery: "task/number", or "host/epoch/number" for events without a task. */
  readonly id: string;
  /** The event's name, such as "step.completed". */
  readonly type: string;
  /** Its place in the log; increasing, with gaps. That of a trial is no place. */
  readonly seq: bigint;
  /** When it was recorded. */
  readonly at: Date;
  /** The id of the task; "" for events without one. */
  readonly task: string;
  /** Its number within its task, from 1 without gaps. 0 without a task. */
  readonly taskSeq: number;
  /** The step's name; "" for events that are not about a step. */
  readonly step: string;
  /** The template that the task runs; "" without a task. */
  readonly namespace: string;
  readonly template: string;
  readonly version: string;
  /** Belongs with every call that is made for the event. */
  readonly correlationId: string;
  /** W3C trace context of what caused the event. May be "". */
  readonly traceparent: string;
  /** Counts the deliveries of this event, from 1. */
  readonly delivery: number;
  /** An operator tries the subscriber out (tasker event send): the event is in no log. */
  readonly trial: boolean;
  /** What the event says. */
  readonly payload: P;
}

/** What is done with the events of a name or pattern, as {@link on} makes it. */
export interface Route {
  readonly pattern: string;
  readonly run: (event: Event<never>, ctx: DeliveryContext<never>) => unknown;
}

/**
 * Says what is done with the events of a name, or of a pattern: "orders.*" for all of a family, "*" for all but those
 * of the family workflow. The payloads of Tasker's own events and of events declared with {@link customEvent} are typed.
 *
 * A function that returns is done with the event. What it throws has the event delivered again later, and what follows
 * in its order waits; a `permanent` error makes it a dead letter.
 */
export function on<N extends EventName>(name: N, run: (event: Event<Catalog[N]>, ctx: DeliveryContext<any>) => unknown): Route;
export function on<P>(event: CustomEvent<P>, run: (event: Event<P>, ctx: DeliveryContext<any>) => unknown): Route;
export function on<P = unknown>(pattern: string, run: (event: Event<P>, ctx: DeliveryContext<any>) => unknown): Route;
export function on(what: string | CustomEvent<never>, run: Route["run"]): Route {
  return { pattern: typeof what === "string" ? what : what.name, run };
}

/** How a subscriber is declared. */
export interface SubscriberOptions<C extends JsonSchema = JsonSchema> {
  /** What the subscriber does with the events, in plain text. */
  description?: string;
  /** A CEL expression over the event, such as `event.step == "charge"`: others are not delivered. */
  filter?: string;
  /** What is kept in order: all events (the default), or the events of each task, different tasks at once. */
  order?: "global" | "task";
  /** Where a new subscription starts: "now" (the default), "beginning" or an RFC 3339 time. */
  start?: string;
  /** Batches that the host sends ahead of answers. Default: the host decides. */
  window?: number;
  /** How often an event is delivered before it becomes a dead letter. Default: the host decides. */
  maxAttempts?: number;
  /** How long one event may take: then its signal is aborted. Default: one minute. */
  timeout?: Duration;
  /** Receives events only through bindings in templates or in the host's configuration. */
  bound?: boolean;
  /** JSON Schema of the config that a binding may carry; its `default`s count. Default: bindings carry none. */
  config?: C;
  /** Is asked about the config of each binding. While it throws, the events of that binding wait. */
  check?(config: FromSchema<C>, ctx: CheckContext): void | Promise<void>;
  /** Tasks that are handled at once in the order "task". Default: 16. */
  lanes?: number;
  /** Deliveries get no spans, whatever the host asks for. */
  untraced?: boolean;
  /** Decides about what was thrown: return undefined for what does not matter, else what counts. */
  onError?(error: unknown, ctx: DeliveryContext<FromSchema<C>>): unknown;
  /** Is told of events that were cut from the log before they could be delivered, up to a sequence. */
  onGap?(through: bigint): void;
  /** Is called when the process ends. */
  close?(): void | Promise<void>;
}

/** A subscriber, as {@link subscriber} makes it; a single {@link Route} is one, too. */
export type Subscriber = Route | { readonly options: SubscriberOptions; readonly routes: readonly Route[] };

/**
 * Puts routes under one subscription: one cursor, one order. Each event goes to one of them: the one that names it,
 * else the one with the longest pattern that it matches.
 *
 *     subscriber({ order: "task" }, [
 *       on("step.failed", async (event, ctx) => { ... }),
 *       on("task.*", async (event, ctx) => { ... }),
 *     ])
 */
export function subscriber<const C extends JsonSchema = JsonSchema>(options: SubscriberOptions<C>, routes: readonly Route[]): Subscriber {
  return { options: options as unknown as SubscriberOptions, routes };
}

/** A plugin's configuration, as {@link configuration} makes it. */
export interface Configuration<T> {
  readonly schema: JsonSchema;
  readonly options: ConfigurationOptions<T>;
  /** What the host has handed over. Throws before that: read it in handlers and subscribers. */
  readonly value: T;
}

/** The optional powers of a configuration. */
export interface ConfigurationOptions<T> {
  /** Is called once before any work; what it throws refuses the start and is shown to the operator. */
  check?(config: T, ctx: CheckContext): void | Promise<void>;
  /** Is called when the process ends. */
  close?(): void | Promise<void>;
}

/**
 * Declares the plugin's configuration by its JSON Schema, whose `default`s count; `writeOnly: true` marks secrets:
 *
 *     const settings = configuration({
 *       type: "object",
 *       properties: { url: { type: "string" }, token: { type: "string", writeOnly: true } },
 *       required: ["url"],
 *       additionalProperties: false,
 *     });
 *     serve({ ..., config: settings }); // and in a handler: settings.value.url
 */
export function configuration<const S extends JsonSchema>(
  schema: S,
  options: ConfigurationOptions<FromSchema<S>> = {},
): Configuration<FromSchema<S>> {
  return new Settings(schema, options);
}

/** A configuration that the server fills in. */
export class Settings<T> implements Configuration<T> {
  #value: { is: T } | undefined;

  constructor(
    readonly schema: JsonSchema,
    readonly options: ConfigurationOptions<T>,
  ) {}

  get value(): T {
    if (this.#value === undefined) throw new Error("the plugin is not configured yet");
    return this.#value.is;
  }

  /** Takes what the host has handed over, or what a test wants. */
  set(value: T): void {
    this.#value = { is: value };
  }
}
