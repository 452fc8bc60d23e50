// JSON Schema: what a plugin declares with it, the TypeScript types that follow from it, and validation.

import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";

/** A JSON Schema (2020-12) of an object or any other value. `true` or `{}` accepts anything. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/**
 * A JSON Schema that says which TypeScript type it describes: `schema<Order>({...})`. TypeBox schemas say it by
 * themselves.
 */
export type SchemaOf<T> = JsonSchema & { readonly static: T };

/** Declares the type that a schema describes, where it cannot be inferred or has a name of its own. */
export function schema<T>(json: JsonSchema): SchemaOf<T> {
  return json as SchemaOf<T>;
}

/**
 * The type of the documents that fit a schema: what {@link schema} or TypeBox say, else what follows from `type`,
 * `properties`, `required`, `items`, `enum`, `const`, `anyOf` and `oneOf`; `unknown` for what is beyond these.
 */
export type FromSchema<S> = S extends { readonly static: infer T }
  ? T
  : S extends { readonly const: infer C }
    ? C
    : S extends { readonly enum: readonly (infer E)[] }
      ? E
      : S extends { readonly anyOf: readonly (infer A)[] } | { readonly oneOf: readonly (infer A)[] }
        ? A extends unknown
          ? FromSchema<A>
          : never
        : S extends { readonly type: infer K }
          ? FromType<S, K extends readonly (infer M)[] ? M : K>
          : unknown;

type FromType<S, K> = K extends "string"
  ? string
  : K extends "number" | "integer"
    ? number
    : K extends "boolean"
      ? boolean
      : K extends "null"
        ? null
        : K extends "array"
          ? S extends { readonly items: infer I }
            ? FromSchema<I>[]
            : unknown[]
          : K extends "object"
            ? FromObject<S>
            : unknown;

type FromObject<S> = S extends { readonly properties: infer P }
  ? Flat<
      { -readonly [N in keyof P as N extends RequiredOf<S, P> ? N : never]: FromSchema<P[N]> } & {
        -readonly [N in keyof P as N extends RequiredOf<S, P> ? never : N]?: FromSchema<P[N]>;
      }
    >
  : S extends { readonly additionalProperties: infer V extends { readonly [keyword: string]: unknown } }
    ? { [key: string]: FromSchema<V> }
    : { [key: string]: unknown };

// What has a default is there, whether it is required or not.
type RequiredOf<S, P> = (S extends { readonly required: readonly (infer R)[] } ? R : never) | { [N in keyof P]: P[N] extends { readonly default: unknown } ? N : never }[keyof P];

type Flat<T> = { [N in keyof T]: T[N] };

/** One place where a document does not fit. */
export interface Problem {
  /** JSON pointer to the place, "" = the whole document. */
  pointer: string;
  message: string;
}

/** A schema made ready to validate documents. */
export class Validator {
  readonly json: string;
  readonly #validate: ValidateFunction;
  readonly #object: boolean;

  /** Throws an Error that says what is wrong with the schema. */
  constructor(json: JsonSchema) {
    // A schema may be more than what JSON has: TypeBox marks its own with symbols.
    this.json = JSON.stringify(json);
    const plain = JSON.parse(this.json) as JsonSchema;
    this.#object = typeof plain === "object" && (plain["type"] === "object" || plain["$ref"] !== undefined);
    const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false, useDefaults: true, logger: false });
    this.#validate = ajv.compile(plain);
  }

  /**
   * Parses a document, sets the defaults of the schema, and returns it with the places where it does not fit. For an
   * object no document at all is read as {}.
   */
  accept(doc: string): { value: unknown; problems: Problem[] } {
    let value: unknown;
    try {
      value = this.#object && (doc === "" || doc === "null") ? {} : doc === "" ? null : JSON.parse(doc);
    } catch (error) {
      return { value: undefined, problems: [{ pointer: "", message: "no valid JSON: " + (error as Error).message }] };
    }
    return { value, problems: this.check(value) };
  }

  /** Returns the places where a value does not fit. */
  check(value: unknown): Problem[] {
    return this.#validate(value) ? [] : (this.#validate.errors ?? []).map(problem).sort(order);
  }
}

function problem(e: ErrorObject): Problem {
  const extra = (e.params as Record<string, unknown>)["additionalProperty"];
  const allowed = (e.params as Record<string, unknown>)["allowedValues"] ?? (e.params as Record<string, unknown>)["allowedValue"];
  let message = e.message ?? e.keyword;
  if (extra !== undefined) message = `additional property ${JSON.stringify(extra)} is not allowed`;
  if (allowed !== undefined) message += ": " + JSON.stringify(allowed);
  return { pointer: e.instancePath, message };
}

function order(a: Problem, b: Problem): number {
  return compare(a.pointer, b.pointer) || compare(a.message, b.message);
}

/** Orders texts by their code units. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Joins problems into one text. */
export function problemText(list: Problem[]): string {
  return list.map((p) => (p.pointer === "" ? p.message : p.pointer + ": " + p.message)).join("; ");
}

/** Makes a validator, undefined where the schema accepts anything. */
export function validator(json: JsonSchema | undefined): Validator | undefined {
  if (json === undefined || json === true || (typeof json === "object" && Object.keys(json).every((key) => key === "$schema"))) return undefined;
  return new Validator(json);
}
