// Spans of attempts and deliveries. They are recorded here and travel to the host in frames, encoded as OTLP, so that a
// plugin needs no exporter.

import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";

import { BinaryWriter } from "@bufbuild/protobuf/wire";

import type { Attribute, Span } from "./context.js";
import { type Error as WireError, ErrorSource } from "./gen/tasker/plugin/v1/step_pb.js";
import { version } from "./plugin.js";
import { cut, messageOf } from "./text.js";
import { write } from "./trace.js";

// Limits of what is recorded of an attempt, and of a delivery. What is left out is counted.
const maxSpans = 128;
const maxBytes = 64 << 10;
const maxText = 2 << 10;
const maxAttributes = 128;
const maxEvents = 128;

/** Who makes the spans: the resource. */
export interface Service {
  readonly name: string;
  readonly version: string;
}

/** Another span that a span refers to. */
export interface Link {
  trace: string;
  span: string;
  sampled: boolean;
  kind: string;
}

/** How a recording begins. Ids are hexadecimal digits; no parent = the span begins its trace. */
export interface Begin {
  trace: string;
  span: string;
  parent: string;
  sampled: boolean;
  state: string;
  name: string;
  consumer?: boolean;
  links?: Link[];
  attributes: Record<string, Attribute>;
}

/** Gathers the spans of one attempt or delivery. Its own span is the first one. */
export class Recorder {
  readonly own: Recorded;
  readonly sampled: boolean;
  readonly #spans: Recorded[] = [];
  readonly #trace: string;
  readonly #state: string;
  readonly #wall = BigInt(Date.now()) * 1_000_000n;
  readonly #clock: number;
  readonly #given: number;
  #begun = 1;
  #dropped = 0;
  #over = false;

  /** Began is when the span began, by performance.now. */
  constructor(begin: Begin, began: number) {
    this.sampled = begin.sampled;
    this.#trace = begin.trace;
    this.#state = begin.state;
    this.#clock = performance.now();
    this.own = new Recorded(this, begin.span, begin.parent, begin.name, this.now() - BigInt(Math.round((this.#clock - began) * 1e6)));
    this.own.consumer = begin.consumer ?? false;
    this.own.remoteParent = begin.parent !== "";
    this.own.links = begin.links ?? [];
    for (const [key, value] of Object.entries(begin.attributes)) if (value !== "") this.own.set(key, value);
    this.#given = this.own.attributes.size;
    this.#spans.push(this.own);
  }

  /** Nanoseconds since 1970, by a clock that does not jump. */
  now(): bigint {
    return this.#wall + BigInt(Math.round((performance.now() - this.#clock) * 1e6));
  }

  traceparent(span: string): string {
    return write(this.#trace, span, this.sampled);
  }

  /** Runs something as a span below the current one. */
  async run<T>(name: string, run: (span: Span) => T | Promise<T>, attributes: Record<string, Attribute>): Promise<T> {
    const parent = this.current();
    if (this.#over || this.#begun >= maxSpans) {
      if (!this.#over) this.#dropped++;
      return run(new Unrecorded(parent.traceparent));
    }
    this.#begun++;
    const span = new Recorded(this, randomBytes(8).toString("hex"), parent.id, name, this.now());
    for (const [key, value] of Object.entries(attributes)) span.set(key, value);
    this.#spans.push(span);
    try {
      return await current.run(span, () => run(span));
    } catch (error) {
      const message = cut(messageOf(error), maxText);
      span.fail(message, { "exception.type": error instanceof Error ? error.name : typeof error, "exception.message": message });
      throw error;
    } finally {
      span.end();
    }
  }

  /** The innermost span of this recording that is open where it is called. */
  current(): Recorded {
    const open = current.getStore();
    return open?.recorder === this ? open : this.own;
  }

  /** Reports whether the author's code has made spans, or said something about the own one. */
  touched(): boolean {
    return this.#begun > 1 || this.own.events.length > 0 || this.own.attributes.size > this.#given;
  }

  /** Ends the own span and returns what has ended, encoded, and how many spans that is. */
  close(service: Service): { otlp: Uint8Array; count: number } {
    this.#over = true;
    this.own.end();
    let ended = this.#spans.filter((s) => s.ended !== 0n);
    let dropped = this.#dropped + this.#begun - ended.length;
    let encoded = ended.map((s) => s.encode(this.#trace, this.#state));
    let size = encoded.reduce((sum, s) => sum + s.length + 4, 256);
    while (size > maxBytes && ended.length > 1) {
      // Those that began last go first: none loses its parent.
      size -= encoded.pop()!.length + 4;
      ended = ended.slice(0, -1);
      dropped++;
    }
    if (dropped > 0) {
      this.own.set("spans.dropped", dropped);
      encoded = [this.own.encode(this.#trace, this.#state), ...encoded.slice(1)];
    }
    return { otlp: request(service, encoded), count: encoded.length };
  }
}

const current = new AsyncLocalStorage<Recorded>();

/** A span that is recorded. */
class Recorded implements Span {
  readonly attributes = new Map<string, Attribute>();
  readonly events: { name: string; at: bigint; attributes: Record<string, Attribute> }[] = [];
  links: Link[] = [];
  consumer = false;
  remoteParent = false;
  ended = 0n;
  #error: string | undefined;
  #droppedAttributes = 0;
  #droppedEvents = 0;

  constructor(
    readonly recorder: Recorder,
    readonly id: string,
    readonly parent: string,
    readonly name: string,
    readonly began: bigint,
  ) {}

  get traceparent(): string {
    return this.recorder.traceparent(this.id);
  }

  set(key: string, value: Attribute): void {
    if (this.attributes.size >= maxAttributes && !this.attributes.has(key)) this.#droppedAttributes++;
    else this.attributes.set(key, typeof value === "string" ? cut(value, maxText) : value);
  }

  event(name: string, attributes: Record<string, Attribute> = {}): void {
    if (this.events.length >= maxEvents) this.#droppedEvents++;
    else this.events.push({ name, at: this.recorder.now(), attributes });
  }

  fail(message: string, exception: Record<string, Attribute>): void {
    this.#error = message;
    this.event("exception", Object.fromEntries(Object.entries(exception).filter(([, value]) => value !== "")));
  }

  end(): void {
    const now = this.recorder.now();
    if (this.ended === 0n) this.ended = now > this.began ? now : this.began + 1n;
  }

  encode(trace: string, state: string): Uint8Array {
    const w = new BinaryWriter();
    w.tag(1, 2).bytes(Buffer.from(trace, "hex"));
    w.tag(2, 2).bytes(Buffer.from(this.id, "hex"));
    if (state !== "") w.tag(3, 2).string(state);
    if (this.parent !== "") w.tag(4, 2).bytes(Buffer.from(this.parent, "hex"));
    w.tag(5, 2).string(this.name);
    w.tag(6, 0).int32(this.consumer ? 5 : 1);
    w.tag(7, 1).fixed64(this.began);
    w.tag(8, 1).fixed64(this.ended);
    attributesTo(w, 9, this.attributes);
    if (this.#droppedAttributes > 0) w.tag(10, 0).uint32(this.#droppedAttributes);
    for (const e of this.events) {
      w.tag(11, 2).fork();
      w.tag(1, 1).fixed64(e.at);
      w.tag(2, 2).string(e.name);
      attributesTo(w, 3, Object.entries(e.attributes));
      w.join();
    }
    if (this.#droppedEvents > 0) w.tag(12, 0).uint32(this.#droppedEvents);
    for (const l of this.links) {
      w.tag(13, 2).fork();
      w.tag(1, 2).bytes(Buffer.from(l.trace, "hex"));
      w.tag(2, 2).bytes(Buffer.from(l.span, "hex"));
      attributesTo(w, 4, [["link.kind", l.kind]]);
      w.tag(6, 5).fixed32((l.sampled ? 1 : 0) | 0x300);
      w.join();
    }
    if (this.#error !== undefined) {
      w.tag(15, 2).fork();
      w.tag(2, 2).string(this.#error);
      w.tag(3, 0).int32(2);
      w.join();
    }
    w.tag(16, 5).fixed32((this.recorder.sampled ? 1 : 0) | (this.remoteParent ? 0x300 : 0x100));
    return w.finish();
  }
}

/** A span for which there was no room. */
class Unrecorded implements Span {
  constructor(readonly traceparent: string) {}
  set(): void {}
  event(): void {}
}

function attributesTo(w: BinaryWriter, field: number, attributes: Iterable<[string, Attribute]>): void {
  for (const [key, value] of attributes) {
    w.tag(field, 2).fork();
    w.tag(1, 2).string(key);
    w.tag(2, 2).fork();
    if (typeof value === "boolean") w.tag(2, 0).bool(value);
    else if (typeof value !== "number") w.tag(1, 2).string(cut(String(value), maxText));
    else if (Number.isSafeInteger(value)) w.tag(3, 0).int64(value);
    else w.tag(4, 1).double(value);
    w.join().join();
  }
}

/** An ExportTraceServiceRequest of encoded spans. */
function request(service: Service, spans: Uint8Array[]): Uint8Array {
  const w = new BinaryWriter();
  w.tag(1, 2).fork();
  w.tag(1, 2).fork();
  attributesTo(w, 1, [
    ["service.name", service.name],
    ["service.version", service.version],
  ]);
  w.join();
  w.tag(2, 2).fork();
  w.tag(1, 2).fork();
  w.tag(1, 2).string("@tasker-engine/sdk");
  w.tag(2, 2).string(version);
  w.join();
  for (const s of spans) w.tag(2, 2).bytes(s);
  w.join().join();
  return w.finish();
}

/** Says on a span why what it stands for failed. */
export function failSpan(span: Recorded, e: WireError): void {
  const message = cut(e.message, maxText);
  span.fail(message, { "exception.type": e.class, "exception.message": message, "exception.stacktrace": cut(e.stack.join("\n"), maxText) });
  if (e.class !== "") span.set("error.type", e.class);
  if (e.code !== "") span.set("error.code", e.code);
  span.set("error.source", e.source === ErrorSource.DOWNSTREAM ? "downstream" : "plugin");
}

export type { Recorded };
