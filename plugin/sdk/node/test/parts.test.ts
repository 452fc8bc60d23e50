import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { BinaryReader } from "@bufbuild/protobuf/wire";

import { selfSigned } from "../src/cert.js";
import { milliseconds, text, toWire } from "../src/duration.js";
import { CancelError, Dedupe, downstream, explain, handler, permanent, retryAfter, type FromSchema } from "../src/index.js";
import { ProcessLog } from "../src/log.js";
import { Declaration, matches } from "../src/manifest.js";
import { Validator } from "../src/schema.js";
import { Server } from "../src/server.js";
import { testPlugin } from "../src/testing.js";
import { cut, document } from "../src/text.js";
import { attemptSpan, parse, placeOf, stepSpan, taskSpan, within } from "../src/trace.js";
import { plugin } from "./plugin.js";

const task = "01JB0000000000000000000000";
const caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

test("ids of spans are those of plugin/sdk/event/trace", () => {
  const p = placeOf(task, "");
  assert.equal(p.trace, "8a9c82fcd1e6d9af10a79b355df3e4ee");
  assert.equal(taskSpan(p), "67f6182823ff9f2b");
  assert.equal(stepSpan(p, "charge", 0), "b69a4237fa40106f");
  assert.equal(stepSpan(p, "charge", 1), "cb19cf126e1bab16");
  assert.equal(attemptSpan(p, "charge", 1), "5ffdc33cb2280455");
  assert.equal(attemptSpan(p, "charge", 2), "c17ab11d5ab7342d");
  assert.equal(taskSpan(placeOf(task, caller)), taskSpan(p));
});

test("traceparents are read as W3C says", () => {
  assert.deepEqual(parse(caller), { trace: "4bf92f3577b34da6a3ce929d0e0e4736", span: "00f067aa0ba902b7", sampled: true });
  assert.equal(parse(caller.slice(0, -1) + "0")?.sampled, false);
  assert.ok(parse("01" + caller.slice(2) + "-more"));
  for (const bad of ["", caller + "-more", "ff" + caller.slice(2), caller.toUpperCase(), caller.slice(0, -3), caller.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0".repeat(32))]) {
    assert.equal(parse(bad), undefined, bad);
  }
  assert.equal(within("f".repeat(32), 0), false);
  assert.equal(within("f".repeat(32), 0.99), false);
  assert.equal(within("f".repeat(16) + "0".repeat(16), 0.01), true);
  assert.equal(within("f".repeat(32), 1), true);
});

test("the certificate is sound", () => {
  const { cert, der } = selfSigned();
  const x = new X509Certificate(cert);
  assert.deepEqual(x.raw, der);
  assert.ok(x.verify(x.publicKey));
  assert.equal(x.subjectAltName, "DNS:localhost");
  assert.equal(x.checkHost("localhost"), "localhost");
  assert.equal(x.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert.ok(Date.parse(x.validFrom) < Date.now() && Date.parse(x.validTo) > Date.now());
  assert.match(new X509Certificate(selfSigned(new Date("2045-06-01")).cert).validTo, /2055/);
});

test("durations are read and written", () => {
  for (const [d, ms] of [["1.5s", 1500], ["1h30m", 5_400_000], ["200ms", 200], ["10us", 0.01], ["0", 0], [42, 42]] as const) assert.equal(milliseconds(d), ms);
  for (const bad of ["", "5", "soon", "-1s", -1, NaN]) assert.throws(() => milliseconds(bad), RangeError);
  for (const [ms, want] of [[90_000, "1m30s"], [3_600_000, "1h0m0s"], [1500, "1.5s"], [200, "200ms"], [0.5, "500µs"], [0, "0s"]] as const) assert.equal(text(toWire(ms)), want);
});

test("patterns are those of the catalog", () => {
  assert.ok(matches("task.*", "task.started") && matches("*", "orders.paid") && matches("workflow.*", "workflow.no_viable_steps"));
  assert.ok(!matches("*", "workflow.no_viable_steps") && !matches("task.*", "step.failed") && !matches("task.started", "task.started_again"));
});

test("the outermost word about a failure counts", () => {
  const error = permanent(retryAfter(downstream(new Error("down")), "1s", { code: "a" }), { code: "b" });
  assert.deepEqual(explain(error), { verdict: "permanent", code: "b", retryAfter: "1s", source: "downstream" });
  assert.equal(error.message, "down");
  assert.deepEqual(explain("text"), {});
  assert.equal(new CancelError("timeout").reason, "timeout");
});

test("types follow from schemas", () => {
  type Order = FromSchema<{
    readonly type: "object";
    readonly properties: {
      readonly id: { readonly type: "string" };
      readonly kind: { readonly enum: readonly ["a", "b"] };
      readonly lines: { readonly type: "array"; readonly items: { readonly type: "integer" } };
      readonly note: { readonly type: readonly ["string", "null"] };
      readonly size: { readonly type: "number"; readonly default: 1 };
    };
    readonly required: readonly ["id", "lines"];
  }>;
  // The compiler is the test.
  const order: Order = { id: "1", lines: [1], size: 2 };
  const full: Required<Order> = { ...order, kind: "b", note: null, size: 2 };
  // @ts-expect-error: it is one of two words
  full.kind = "c";
  assert.equal(order.id, "1");
});

test("where a document does not fit is said by place", () => {
  const v = new Validator({ type: "object", properties: { a: { type: "integer" }, b: { enum: [1, 2] } }, required: ["c"], additionalProperties: false });
  assert.deepEqual(v.accept('{"a":"x","b":3,"d":1}').problems, [
    { pointer: "", message: 'additional property "d" is not allowed' },
    { pointer: "", message: "must have required property 'c'" },
    { pointer: "/a", message: "must be integer" },
    { pointer: "/b", message: "must be equal to one of the allowed values: [1,2]" },
  ]);
  assert.match(v.accept("{").problems[0]!.message, /^no valid JSON/);
});

test("texts and documents are bounded", () => {
  assert.equal(Buffer.byteLength(cut("ä".repeat(100), 51)), 50);
  assert.equal(cut("short", 5), "short");
  const said = (value: unknown): unknown => JSON.parse(Buffer.from(document(value, 20)).toString() || "null");
  assert.deepEqual(said({ a: 1n }), { a: "1" });
  assert.deepEqual(said("x".repeat(30)), { omitted: "32 bytes are more than 20" });
  const loop: Record<string, unknown> = {};
  loop["self"] = loop;
  assert.match((said(loop) as { omitted: string }).omitted, /^it cannot be written as JSON/);
  assert.equal(said(undefined), null);
});

test("lines of the process have the form that hosts read", () => {
  const lines: string[] = [];
  const log = new ProcessLog("sample", (line) => lines.push(line));
  log.debug("not wanted");
  log.with({ a: 1 }).warn("say", { error: new Error("bad") });
  assert.equal(lines.length, 1);
  const { "@timestamp": at, ...rest } = JSON.parse(lines[0]!) as Record<string, unknown>;
  assert.deepEqual(rest, { "@level": "warn", "@message": "say", "@module": "sample", a: 1, error: "bad" });
  assert.ok(!Number.isNaN(Date.parse(String(at))));
});

test("dedupe outlives the process", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "sdk-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "seen");
  const first = new Dedupe(2, path);
  for (let i = 0; i < 9; i++) first.add(`e${i}`);
  first.close();
  const second = new Dedupe(2, path);
  assert.deepEqual([second.has("e6"), second.has("e7"), second.has("e8")], [false, true, true]);
  second.close();
  assert.equal(readFileSync(path, "utf8"), "e7\ne8\n");
});

test("the types of events are those of the catalog", () => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../../scripts/generate-events.mjs", import.meta.url)), "--check"]);
});

/** The spans of an encoded ExportTraceServiceRequest: name, id, parent. */
function spansOf(otlp: Uint8Array): { name: string; id: string; parent: string; trace: string }[] {
  const fields = (bytes: Uint8Array): [number, Uint8Array][] => {
    const r = new BinaryReader(bytes);
    const all: [number, Uint8Array][] = [];
    while (r.pos < r.len) {
      const [field, wire] = r.tag();
      if ((wire as number) === 2) all.push([field, r.bytes()]);
      else r.skip(wire);
    }
    return all;
  };
  const inner = (bytes: Uint8Array, field: number): Uint8Array[] => fields(bytes).filter(([f]) => f === field).map(([, b]) => b);
  const hex = (b: Uint8Array | undefined): string => Buffer.from(b ?? []).toString("hex");
  return inner(otlp, 1)
    .flatMap((resource) => inner(resource, 2))
    .flatMap((scope) => inner(scope, 2))
    .map((span) => ({ trace: hex(inner(span, 1)[0]), id: hex(inner(span, 2)[0]), parent: hex(inner(span, 4)[0]), name: Buffer.from(inner(span, 5)[0]!).toString() }));
}

test("an attempt's spans are in its task's trace", async () => {
  const p = placeOf(task, "");
  const traceparent = `00-${p.trace}-${stepSpan(p, "charge", 0)}-01`;
  const { output, spans } = await testPlugin(plugin).attempt("spans", { task, step: "charge", number: 2, traceparent });
  const all = spansOf(spans);
  assert.deepEqual(all.map((s) => s.name), ["handler.process", "outer", "inner", "broken"]);
  const [own, outer, inner, broken] = all;
  assert.ok(all.every((s) => s.trace === p.trace));
  assert.equal(own!.id, "c17ab11d5ab7342d");
  assert.equal(own!.parent, "b69a4237fa40106f");
  assert.deepEqual([outer!.parent, inner!.parent, broken!.parent], [own!.id, outer!.id, own!.id]);
  assert.equal(output.own, `00-${p.trace}-${own!.id}-01`);
  assert.equal(output.inner, `00-${p.trace}-${inner!.id}-01`);
  assert.equal(output.current, output.inner);
});

test("an attempt that makes no spans, in a trace that nobody records, sends none", async () => {
  const sample = testPlugin(plugin);
  assert.equal((await sample.attempt("echo", { traceparent: caller.slice(0, -1) + "0" })).spans.length, 0);
  assert.equal(spansOf((await sample.attempt("spans", { traceparent: caller.slice(0, -1) + "0" })).spans).length, 4);
  assert.equal(spansOf((await sample.attempt("echo", { traceparent: caller })).spans).length, 1);
});

test("what never closes does not keep the process, and what fails to close keeps nobody", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let lines = "";
  let closed = 0;
  const closing = (close: () => void | Promise<void>) => handler({ run: () => null, close });
  const decl = new Declaration({
    name: "stuck",
    version: "1.0.0",
    handlers: {
      fails: closing(() => Promise.reject(new Error("no"))),
      fine: closing(() => void closed++),
      never: closing(() => new Promise<void>(() => undefined)),
    },
  });
  const stopped = new Server(decl, new ProcessLog("stuck", (text) => void (lines += text))).stop("test");
  await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(5000);
  await stopped;
  assert.equal(closed, 1);
  assert.match(lines, /close failed/);
  assert.match(lines, /close takes too long/);
});
