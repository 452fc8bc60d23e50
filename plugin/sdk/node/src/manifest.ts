// Checks a plugin's declaration and makes its manifest.

import { create, type MessageInitShape } from "@bufbuild/protobuf";

import { families } from "./catalog.js";
import { milliseconds, toWire, type Duration } from "./duration.js";
import {
  DeliveryOrder,
  type EventSpecSchema,
  type HandlerSpecSchema,
  Idempotency,
  type Manifest,
  ManifestSchema,
  ResultsWanted,
  type SubscriptionSpecSchema,
} from "./gen/tasker/plugin/v1/plugin_pb.js";
import {
  version as sdkVersion,
  type CustomEvent,
  type Handler,
  type HandlerOptions,
  type Plugin,
  type Retry,
  type Route,
  type Subscriber,
  type SubscriberOptions,
} from "./plugin.js";
import { compare, problemText, type JsonSchema, validator, type Validator } from "./schema.js";

const pluginNames = /^[a-z][a-z0-9-]{0,31}$/;
const handlerNames = /^[a-z][a-z0-9_-]{0,31}$/;
const versions = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;
const eventNames = /^[a-z][a-z0-9_-]*\.[a-z][a-z0-9_]*$/;
const eventPatterns = /^(\*|[a-z][a-z0-9_-]*\.([a-z][a-z0-9_]*)?\*)$/;
const times = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

// Limits of declarations; hosts have the same.
const maxSubscriptions = 64;
const maxEvents = 256;
const maxEventName = 128;
const maxWindow = 64;
const maxDeliveries = 1000;
const maxLanes = 1024;
const maxText = 4096;
const maxCount = 2 ** 31 - 1;

/** Lists what is wrong with a plugin's declaration, each with its place. */
export class DeclarationError extends Error {
  constructor(
    plugin: string,
    readonly problems: readonly string[],
  ) {
    super(`plugin ${JSON.stringify(plugin)} is declared wrongly:\n  ${problems.join("\n  ")}`);
  }

  override get name(): string {
    return "DeclarationError";
  }
}

/** A declared handler. */
export interface Spec {
  readonly name: string;
  readonly version: number;
  readonly options: HandlerOptions;
  readonly input: Validator | undefined;
  readonly config: Validator | undefined;
  readonly output: Validator | undefined;
}

/** A declared subscription. */
export interface Subscription {
  readonly name: string;
  readonly options: SubscriberOptions;
  readonly exact: ReadonlyMap<string, Route>;
  readonly patterns: readonly Route[]; // the longest first
  readonly config: Validator | undefined;
  readonly timeout: number; // milliseconds
}

/** A declared custom event. */
export interface DeclaredEvent {
  readonly event: CustomEvent<never>;
  readonly schema: Validator;
}

type Report = (place: string, problem: string) => void;

/** A plugin whose declaration was found sound. */
export class Declaration {
  readonly specs: Spec[];
  readonly subscriptions: Subscription[];
  readonly events: Map<string, DeclaredEvent>;
  readonly config: Validator | undefined;
  readonly manifest: Manifest;

  /** Throws a {@link DeclarationError}. */
  constructor(readonly plugin: Plugin) {
    const problems: string[] = [];
    const report: Report = (place, problem) => problems.push(`${place}: ${problem}`);
    checkPlugin(plugin, report);
    this.config = plugin.config === undefined ? undefined : attempted("config", report, () => validator(plugin.config!.schema));
    this.specs = Object.entries(plugin.handlers ?? {})
      .map(([key, h]) => attempted(`handlers[${JSON.stringify(key)}]`, report, () => newSpec(key, h)))
      .filter((s) => s !== undefined)
      .sort((a, b) => compare(a.name, b.name) || a.version - b.version);
    this.specs.forEach((s, i, all) => {
      if (i > 0 && all[i - 1]!.name === s.name && all[i - 1]!.version === s.version) report("handlers", `version ${s.version} of ${s.name} is declared twice`);
    });
    this.subscriptions = Object.entries(plugin.subscriptions ?? {})
      .map(([name, sub]) => attempted(`subscriptions[${JSON.stringify(name)}]`, report, () => newSubscription(name, sub)))
      .filter((s) => s !== undefined)
      .sort((a, b) => compare(a.name, b.name));
    this.events = newEvents(plugin, report);
    if (problems.length > 0) throw new DeclarationError(plugin.name, problems);
    this.manifest = this.#build();
  }

  /** Returns a handler, the highest version for 0. */
  find(name: string, version: number): Spec | undefined {
    return this.specs.findLast((s) => s.name === name && (s.version === version || version === 0));
  }

  subscription(name: string): Subscription | undefined {
    return this.subscriptions.find((s) => s.name === name);
  }

  /** Lists the handlers, for people. */
  offered(): string {
    return this.specs.map((s) => `${s.name}@${s.version}`).join(", ");
  }

  #build(): Manifest {
    const p = this.plugin;
    const need = p.permissions ?? {};
    return create(ManifestSchema, {
      name: p.name,
      version: p.version,
      title: p.title ?? "",
      description: p.description ?? "",
      vendor: p.vendor ?? "",
      licence: p.licence ?? "",
      homepage: p.homepage ?? "",
      sdk: { language: "node", version: sdkVersion },
      features: ["step.checkpoint.v1", "step.fetch.v1"],
      handlers: this.specs.map(handlerSpec),
      subscriptions: this.subscriptions.map(subscriptionSpec),
      emits: [...this.events.values()].sort((a, b) => compare(a.event.name, b.event.name)).map(eventSpec),
      configSchema: json(this.config),
      limits: { maxConcurrency: p.maxConcurrency ?? 0 },
      permissions: {
        fsRead: need.fsRead ?? [],
        fsWrite: need.fsWrite ?? [],
        network: need.network ?? "",
        env: need.env ?? [],
        subprocess: need.subprocess ?? false,
      },
    });
  }
}

/** Returns what receives the events of a name. */
export function routeOf(s: Subscription, name: string): Route | undefined {
  return s.exact.get(name) ?? s.patterns.find((r) => matches(r.pattern, name));
}

/** Reports whether an event's name fits a pattern: a wildcard alone does not stand for the family workflow. */
export function matches(pattern: string, name: string): boolean {
  if (!pattern.endsWith("*")) return pattern === name;
  const prefix = pattern.slice(0, -1);
  if (name.startsWith("workflow.") && !prefix.startsWith("workflow.")) return false;
  return name.startsWith(prefix);
}

function attempted<T>(place: string, report: Report, make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    report(place, (error as Error).message);
    return undefined;
  }
}

function checkPlugin(p: Plugin, report: Report): void {
  if (!pluginNames.test(p.name)) report("name", `${JSON.stringify(p.name)} is no plugin name; want [a-z][a-z0-9-]{0,31}`);
  if (!versions.test(p.version)) report("version", `${JSON.stringify(p.version)} is no semantic version; want one such as "1.0.0"`);
  if (!isCount(p.maxConcurrency)) report("maxConcurrency", `${p.maxConcurrency} is out of range; want 0 (the host decides) or more`);
  if (!["none", "loopback", "any", undefined].includes(p.permissions?.network)) {
    report("permissions.network", `${JSON.stringify(p.permissions?.network)} is unknown; want none, loopback or any`);
  }
  const subscriptions = Object.keys(p.subscriptions ?? {}).length;
  if (Object.keys(p.handlers ?? {}).length === 0 && subscriptions === 0) report("handlers", "there are none, and no subscriptions");
  if (subscriptions > maxSubscriptions) report("subscriptions", `there are ${subscriptions}; want at most ${maxSubscriptions}`);
}

function isCount(n: number | undefined, most = maxCount): boolean {
  return n === undefined || (Number.isInteger(n) && n >= 0 && n <= most);
}

function wantCount(name: string, n: number | undefined, most = maxCount): void {
  if (!isCount(n, most)) throw new Error(`option ${name}: ${n} is out of range; want a number from 0 to ${most}`);
}

function wantDuration(name: string, d: Duration | undefined): void {
  if (d === undefined) return;
  try {
    milliseconds(d);
  } catch (error) {
    throw new Error(`option ${name}: ${(error as Error).message}`, { cause: error });
  }
}

function wantSchema(name: string, json: JsonSchema | undefined): Validator | undefined {
  try {
    return validator(json);
  } catch (error) {
    throw new Error(`option ${name}: it is no JSON Schema: ${(error as Error).message}`, { cause: error });
  }
}

function newSpec(key: string, h: Handler): Spec {
  const at = key.indexOf("@");
  const name = at < 0 ? key : key.slice(0, at);
  if (!handlerNames.test(name)) throw new Error(`${JSON.stringify(name)} is no handler name; want [a-z][a-z0-9_-]{0,31}`);
  const o = h?.options;
  if (typeof o?.run !== "function") throw new Error("it is no handler; want handler({ run(input, ctx) { ... } })");
  let version = o.version ?? 1;
  if (at >= 0) {
    const pinned = Number(key.slice(at + 1));
    if (!Number.isInteger(pinned) || pinned < 1) throw new Error(`${JSON.stringify(key.slice(at + 1))} is no version; want a number from 1`);
    if (o.version !== undefined && o.version !== pinned) throw new Error(`the name says version ${pinned}, the options say ${o.version}`);
    version = pinned;
  }
  if (version < 1) throw new Error(`option version: ${version} is out of range; want a number from 1`);
  wantCount("version", version);
  wantCount("maxConcurrency", o.maxConcurrency);
  wantDuration("timeout", o.timeout);
  wantDuration("heartbeatTimeout", o.heartbeatTimeout);
  if (!["yes", "keyed", "no", undefined].includes(o.idempotent)) throw new Error(`option idempotent: ${JSON.stringify(o.idempotent)} is unknown; want yes, keyed or no`);
  checkRetry(o.retry);
  return { name, version, options: o, input: wantSchema("input", o.input), config: wantSchema("config", o.config), output: wantSchema("output", o.output) };
}

function checkRetry(r: Retry | undefined): void {
  if (r === undefined) return;
  wantCount("retry.limit", r.limit);
  wantDuration("retry.base", r.base);
  wantDuration("retry.cap", r.cap);
  r.list?.forEach((d) => wantDuration("retry.list", d));
  if (!["exponential", "linear", "constant", "list", undefined].includes(r.backoff)) {
    throw new Error(`option retry.backoff: ${JSON.stringify(r.backoff)} is unknown; want exponential, linear, constant or list`);
  }
  if (r.backoff !== undefined && (r.backoff === "list") !== (r.list ?? []).length > 0) {
    throw new Error("option retry: backoff and list do not go together: list needs a list, and nothing else has one");
  }
}

function newSubscription(name: string, sub: Subscriber): Subscription {
  if (!handlerNames.test(name)) throw new Error(`${JSON.stringify(name)} is no name of a subscription; want [a-z][a-z0-9_-]{0,31}`);
  const { options, routes } = "routes" in sub ? sub : { options: {} as SubscriberOptions, routes: [sub] };
  if (routes.length === 0) throw new Error("it receives no event");
  if (routes.length > maxEvents) throw new Error(`it receives ${routes.length} names and patterns; want at most ${maxEvents}`);
  const exact = new Map<string, Route>();
  const patterns: Route[] = [];
  for (const r of routes) {
    if (r.pattern.length > maxEventName || !(eventNames.test(r.pattern) || eventPatterns.test(r.pattern))) {
      throw new Error(`${JSON.stringify(r.pattern)} is no event; want a name such as step.failed, or a pattern such as task.*`);
    }
    if (exact.has(r.pattern) || patterns.some((other) => other.pattern === r.pattern)) throw new Error(`${r.pattern} is received twice`);
    if (r.pattern.endsWith("*")) patterns.push(r);
    else exact.set(r.pattern, r);
  }
  patterns.sort((a, b) => b.pattern.length - a.pattern.length);
  checkSubscriber(options);
  return { name, options, exact, patterns, config: wantSchema("config", options.config), timeout: milliseconds(options.timeout ?? "1m") || 60_000 };
}

function checkSubscriber(o: SubscriberOptions): void {
  if (!["global", "task", undefined].includes(o.order)) throw new Error(`option order: ${JSON.stringify(o.order)} is unknown; want global or task`);
  wantCount("window", o.window, maxWindow);
  wantCount("maxAttempts", o.maxAttempts, maxDeliveries);
  wantCount("lanes", o.lanes, maxLanes);
  wantDuration("timeout", o.timeout);
  if ((o.lanes ?? 0) > 0 && o.order !== "task") throw new Error('option lanes: there is one lane in the order "global"; want order "task" with it');
  if (Buffer.byteLength(o.filter ?? "") > maxText) throw new Error(`option filter: want at most ${maxText} bytes`);
  if (Buffer.byteLength(o.description ?? "") > maxText) throw new Error(`option description: want at most ${maxText} bytes`);
  if (!["now", "beginning", undefined].includes(o.start) && !(times.test(o.start!) && !Number.isNaN(Date.parse(o.start!)))) {
    throw new Error(`option start: ${JSON.stringify(o.start)} is no start; want "now", "beginning" or a time such as "2006-01-02T15:04:05Z"`);
  }
}

function newEvents(p: Plugin, report: Report): Map<string, DeclaredEvent> {
  const events = new Map<string, DeclaredEvent>();
  const all = p.emits ?? [];
  if (all.length > maxEvents) report("emits", `there are ${all.length}; want at most ${maxEvents}`);
  all.forEach((event, i) => {
    const place = `emits[${i}]`;
    const declared = attempted(place, report, () => newEvent(p, event));
    if (declared === undefined) return;
    if (events.has(event.name)) report(place, `${event.name} is declared twice`);
    events.set(event.name, declared);
  });
  return events;
}

function newEvent(p: Plugin, event: CustomEvent<never>): DeclaredEvent {
  const [family = "", rest = ""] = event.name.split(".");
  if (event.name.length > maxEventName || !eventNames.test(event.name)) {
    throw new Error(`${JSON.stringify(event.name)} is no name of an event; want ${JSON.stringify(p.name)}, a dot and [a-z][a-z0-9_]*`);
  }
  if (families.includes(family)) throw new Error(`${event.name} is in the family ${family}, whose events are Tasker's own; want one of the plugin's own, such as ${p.name}.${rest}`);
  if (family !== p.name) throw new Error(`${event.name} is in the family of another plugin; want ${p.name}.${rest}`);
  const o = event.options;
  wantCount("version", o.version);
  const schema = wantSchema("schema", o.schema);
  if (schema === undefined) throw new Error("option schema: it accepts anything; want the schema of an object");
  if (o.example !== undefined) {
    const bad = schema.check(structuredClone(o.example));
    if (bad.length > 0) throw new Error(`the example does not fit the event's own schema: ${problemText(bad)}`);
  }
  return { event, schema };
}

const encoder = new TextEncoder();

function json(v: Validator | undefined): Uint8Array {
  return v === undefined ? new Uint8Array() : encoder.encode(v.json);
}

/** The field of a message for a duration that may not be there. */
function durationField<K extends string>(name: K, d: Duration | undefined): { [N in K]?: ReturnType<typeof toWire> } {
  const ms = d === undefined ? 0 : milliseconds(d);
  return (ms === 0 ? {} : { [name]: toWire(ms) }) as { [N in K]?: ReturnType<typeof toWire> };
}

function handlerSpec(s: Spec): MessageInitShape<typeof HandlerSpecSchema> {
  const o = s.options;
  return {
    name: s.name,
    version: s.version,
    description: o.description ?? "",
    inputSchema: json(s.input),
    configSchema: json(s.config),
    outputSchema: json(s.output),
    results: o.noResults ? ResultsWanted.NONE : ResultsWanted.ALL,
    errorCodes: o.errorCodes ?? [],
    ...durationField("timeout", o.timeout),
    ...durationField("heartbeatTimeout", o.heartbeatTimeout),
    ...(o.retry === undefined ? {} : { retry: retryPolicy(o.retry) }),
    idempotency: { yes: Idempotency.YES, keyed: Idempotency.KEYED, no: Idempotency.NO }[o.idempotent ?? "keyed"],
    maxConcurrency: o.maxConcurrency ?? 0,
  };
}

function retryPolicy(r: Retry): NonNullable<MessageInitShape<typeof HandlerSpecSchema>["retry"]> {
  return {
    limit: r.limit ?? 0,
    backoff: r.backoff ?? (r.list ? "list" : ""),
    factor: r.factor ?? 0,
    ...durationField("base", r.base),
    ...durationField("cap", r.cap),
    list: (r.list ?? []).map((d) => toWire(milliseconds(d))),
  };
}

function subscriptionSpec(s: Subscription): MessageInitShape<typeof SubscriptionSpecSchema> {
  const o = s.options;
  return {
    name: s.name,
    description: o.description ?? "",
    events: [...s.exact.keys(), ...s.patterns.map((r) => r.pattern)].sort(compare),
    filter: o.filter ?? "",
    order: o.order === "task" ? DeliveryOrder.TASK : DeliveryOrder.GLOBAL,
    window: o.window ?? 0,
    maxAttempts: o.maxAttempts ?? 0,
    start: o.start ?? "",
    bound: o.bound ?? false,
    configSchema: json(s.config),
    ...durationField("timeout", o.timeout),
  };
}

function eventSpec(e: DeclaredEvent): MessageInitShape<typeof EventSpecSchema> {
  const o = e.event.options;
  return {
    name: e.event.name,
    version: o.version ?? 1,
    description: o.description ?? "",
    schema: json(e.schema),
    example: o.example === undefined ? new Uint8Array() : encoder.encode(JSON.stringify(o.example)),
    immediate: o.immediate ?? false,
  };
}
