// Durations: milliseconds as a number, or a text as Tasker's files have it.

/** A duration: a number of milliseconds, or a text such as "200ms", "1.5s", "2m" or "1h30m". */
export type Duration = number | string;

const units: Record<string, number> = { ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const shape = /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/;

/** Returns a duration in milliseconds. Throws a RangeError that says what a duration looks like. */
export function milliseconds(d: Duration): number {
  if (typeof d === "number" && Number.isFinite(d) && d >= 0) return d;
  if (d === "0") return 0;
  if (typeof d !== "string" || !shape.test(d)) {
    throw new RangeError(`${JSON.stringify(d)} is no duration; want milliseconds as a number, or a text such as "200ms", "1.5s" or "2m"`);
  }
  let sum = 0;
  for (const [, amount, , unit] of d.matchAll(/(\d+(\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) sum += Number(amount) * units[unit as string]!;
  return sum;
}

/** The wire's form of a duration. */
export interface WireDuration {
  seconds: bigint;
  nanos: number;
}

/** Brings milliseconds into the wire's form. */
export function toWire(ms: number): WireDuration {
  const nanos = BigInt(Math.round(ms * 1e6));
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) };
}

/** Brings the wire's form into milliseconds, undefined where there is none. */
export function fromWire(d: WireDuration | undefined): number | undefined {
  return d === undefined ? undefined : Number(d.seconds) * 1000 + d.nanos / 1e6;
}

/** Writes a duration as Go does: "1m30s", "200ms", "1.5s". Empty where there is none. */
export function text(d: WireDuration | undefined): string {
  if (d === undefined) return "";
  const nanos = d.seconds * 1_000_000_000n + BigInt(d.nanos);
  if (nanos === 0n) return "0s";
  for (const [unit, size] of [["ns", 1n], ["µs", 1000n], ["ms", 1_000_000n]] as const) {
    if (nanos < size * 1000n) return decimal(nanos, size) + unit;
  }
  const hours = nanos / 3_600_000_000_000n;
  const minutes = (nanos / 60_000_000_000n) % 60n;
  const seconds = decimal(nanos % 60_000_000_000n, 1_000_000_000n) + "s";
  if (hours > 0n) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0n ? `${minutes}m${seconds}` : seconds;
}

function decimal(n: bigint, size: bigint): string {
  const rest = (n % size).toString().padStart(size.toString().length - 1, "0").replace(/0+$/, "");
  return rest === "" || size === 1n ? `${n / size}` : `${n / size}.${rest}`;
}
