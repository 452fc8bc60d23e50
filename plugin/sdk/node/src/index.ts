// The SDK of Tasker plugins in TypeScript and JavaScript. README.md is its guide.

export type { Catalog, EventName } from "./catalog.js";
export { eventNames } from "./catalog.js";
export type * from "./catalog.js";
export type {
  AttemptContext,
  AttemptInfo,
  Attribute,
  CheckContext,
  Context,
  DeliveryContext,
  Dependency,
  Level,
  Logger,
  Previous,
  Span,
} from "./context.js";
export { Dedupe } from "./dedupe.js";
export type { Duration } from "./duration.js";
export { CancelError, codes, downstream, explain, limits, permanent, PluginError, retryAfter, unavailable, type Failure, type Verdict } from "./errors.js";
export { DeclarationError } from "./manifest.js";
export {
  configuration,
  customEvent,
  handler,
  on,
  subscriber,
  version,
  type Configuration,
  type ConfigurationOptions,
  type CustomEvent,
  type CustomEventOptions,
  type Event,
  type Handler,
  type HandlerOptions,
  type Permissions,
  type Plugin,
  type Retry,
  type Route,
  type Subscriber,
  type SubscriberOptions,
} from "./plugin.js";
export { schema, type FromSchema, type JsonSchema, type SchemaOf } from "./schema.js";
export { serve } from "./serve.js";
