// Where a task, its steps and its attempts stand in a trace: ids that follow from what they stand for, by SHA-256, so
// that the host and plugins in any language give one span the same id. It is plugin/sdk/event/trace in TypeScript.

import { createHash } from "node:crypto";

/** The place of a task in a trace. Ids are lower-case hexadecimal digits. */
export interface Place {
  readonly task: string;
  readonly trace: string;
  readonly sampled: boolean;
}

/** A parsed W3C traceparent. */
export interface Traceparent {
  readonly trace: string;
  readonly span: string;
  readonly sampled: boolean;
}

/** The place of a task: in the trace of the traceparent, else in one that follows from the task's id. */
export function placeOf(task: string, traceparent: string): Place {
  const caller = parse(traceparent);
  if (caller !== undefined) return { task, trace: caller.trace, sampled: caller.sampled };
  return { task, trace: digest("trace", task, "", 0).slice(0, 32), sampled: true };
}

/** The id of the task's span. */
export function taskSpan(p: Place): string {
  return digest("task", p.task, "", 0).slice(0, 16);
}

/** The id of a step's span; round is how often an operator has begun the step anew. */
export function stepSpan(p: Place, step: string, round: number): string {
  return digest("step", p.task, step, round).slice(0, 16);
}

/** The id of the span of a step's n-th attempt, from 1. */
export function attemptSpan(p: Place, step: string, n: number): string {
  return digest("attempt", p.task, step, n).slice(0, 16);
}

const shape = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/s;

/** Reads a W3C traceparent; undefined where it is none. */
export function parse(traceparent: string): Traceparent | undefined {
  const [, version, trace, span, flags, more] = shape.exec(traceparent) ?? [];
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (/^0+$/.test(trace!) || /^0+$/.test(span!)) return undefined;
  return { trace: trace!, span: span!, sampled: (parseInt(flags!, 16) & 1) === 1 };
}

/** Writes a W3C traceparent. */
export function write(trace: string, span: string, sampled: boolean): string {
  return `00-${trace}-${span}-${sampled ? "01" : "00"}`;
}

/** Reports whether a trace is among the given share of all, as the sampler traceidratio of OpenTelemetry decides it. */
export function within(trace: string, share: number): boolean {
  if (share >= 1) return true;
  if (share <= 0) return false;
  return BigInt("0x" + trace.slice(16)) >> 1n < BigInt(Math.trunc(share * 2 ** 63));
}

/** SHA-256 of kind, task and step, each with its length before it in four bytes, and n in eight. */
function digest(kind: string, task: string, step: string, n: number): string {
  const hash = createHash("sha256");
  for (const part of [kind, task, step]) {
    const bytes = Buffer.from(part);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  }
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(n));
  return hash.update(number).digest("hex");
}
