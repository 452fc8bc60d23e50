import assert from "node:assert/strict";
import { test } from "node:test";

import { DeclarationError, handler, on, PluginError, subscriber } from "../src/index.js";
import { testPlugin, type Outcome } from "../src/testing.js";
import { plugin } from "./plugin.js";

const sample = testPlugin(plugin);

test("a handler gets its input with defaults and answers", async () => {
  const got = await sample.attempt("greet@1", { input: { name: "Ada" }, config: { mark: "?" } });
  assert.deepEqual(got.output, { text: "Hello, Ada?" });
  assert.equal(got.error, undefined);
  assert.deepEqual(got.emits, [{ name: "sample.greeted", payload: { name: "Ada" } }]);
  assert.deepEqual(got.logs, [{ level: "info", message: "greeting", fields: { name: "Ada" } }]);
});

test("the highest version is the one without a number", async () => {
  assert.deepEqual((await sample.attempt("greet", { input: 1 })).output, { second: 1 });
});

test("documents travel as they are", async () => {
  for (const doc of [null, 0, "", "text", [1, [2]], { a: { b: null } }, "ä\u2028😀"]) {
    assert.deepEqual((await sample.attempt("echo", { input: doc })).output, doc);
  }
  assert.equal((await sample.attempt("echo")).output, null);
});

test("the context carries what belongs to the attempt", async () => {
  const got = await sample.attempt("whole", {
    task: "01JB0000000000000000000000",
    number: 2,
    limit: 4,
    timeout: "2m",
    tags: ["a"],
    checkpoint: { at: 0 },
    results: { sum: { n: 7 }, skipped: undefined },
  });
  assert.equal(got.error, undefined);
  const { id, previous, ...rest } = got.output;
  assert.match(id, /^test\//);
  assert.equal(previous, undefined);
  assert.deepEqual(rest, {
    task: "01JB0000000000000000000000",
    namespace: "default",
    template: "test",
    templateVersion: "1.0.0",
    step: "whole",
    handler: "whole",
    handlerVersion: 1,
    number: 2,
    limit: 4,
    timeout: 120_000,
    tags: ["a"],
    correlationId: "01JB0000000000000000000000",
    traceparent: "",
    tracestate: "",
    key: "01JB0000000000000000000000/0",
    last: { at: 0 },
    sum: 7,
    dependencies: [
      { step: "sum", status: "complete", size: 7 },
      { step: "skipped", status: "skipped", size: 0 },
    ],
    dir: "",
  });
  // What waits is merged: one heartbeat with what was said last.
  assert.deepEqual(got.heartbeats, [{ progress: 1, note: "all" }]);
  assert.deepEqual(got.checkpoint, { at: 1 });
});

const failures: [string, () => Promise<Outcome>, object][] = [
  ["a permanent error", () => sample.attempt("greet@1", { input: { name: "rude" } }), { verdict: "permanent", code: "rude", message: "no manners", details: { guest: "rude" }, partial: { text: "H" } }],
  ["an ordinary error", () => sample.attempt("fail"), { verdict: "retryable", code: "", message: "something broke", class: "RangeError", source: "plugin" }],
  ["a wait", () => sample.attempt("fail", { input: { wait: 1500 } }), { verdict: "retryable", message: "not yet", class: "TypeError", retryAfter: 1500 }],
  ["an input that does not fit", () => sample.attempt("greet@1", { input: { name: "" } }), { verdict: "permanent", code: "invalid_input" }],
  ["no input", () => sample.attempt("greet@1"), { verdict: "permanent", code: "invalid_input" }],
  ["a config that does not fit", () => sample.attempt("greet@1", { input: { name: "a" }, config: { other: 1 } }), { verdict: "permanent", code: "invalid_config" }],
  ["a result that does not fit", () => sample.attempt("wrong"), { verdict: "permanent", code: "invalid_result" }],
  ["a result that JSON cannot say", () => sample.attempt("endless"), { verdict: "permanent", code: "invalid_result" }],
  ["an unknown handler", () => sample.attempt("nothing"), { verdict: "permanent", code: "unknown_handler" }],
  ["an unknown version", () => sample.attempt("echo@7"), { verdict: "permanent", code: "unknown_handler" }],
  ["a missing dependency", () => sample.attempt("whole"), { verdict: "retryable", message: 'step "sum": no such dependency result: there are results of []' }],
  ["a time limit", () => sample.attempt("wait", { timeout: "5ms" }), { verdict: "retryable", code: "timeout", class: "CancelError" }],
  ["a cancel", () => sample.attempt("wait", { signal: AbortSignal.abort() }), { verdict: "cancelled", code: "cancel_requested" }],
];

for (const [name, run, want] of failures) {
  test(`failure: ${name}`, async () => {
    const { error, output } = await run();
    assert.equal(output, undefined);
    for (const [key, value] of Object.entries(want)) assert.deepEqual(error?.[key as keyof typeof error], value, `${key} of ${JSON.stringify(error)}`);
  });
}

test("an ordinary error has frames, a verdict has none", async () => {
  assert.match((await sample.attempt("fail")).error!.stack[0]!, /plugin\.js/);
  assert.deepEqual((await sample.attempt("greet@1", { input: { name: "rude" } })).error!.stack, []);
});

test("an immediate event goes out though the attempt fails, another does not", async () => {
  assert.deepEqual((await sample.attempt("fail")).emits, [{ name: "sample.alarmed", payload: {} }]);
});

test("hundreds of attempts at once have one result each", async () => {
  const all = await Promise.all(Array.from({ length: 300 }, (_, i) => sample.attempt("echo", { input: i })));
  assert.deepEqual(all.map((one) => one.output), Array.from({ length: 300 }, (_, i) => i));
});

test("what a plugin may not hand over is refused", async () => {
  const large = "x".repeat(70 << 10);
  const p = testPlugin({
    name: "large",
    version: "1.0.0",
    handlers: {
      checkpoint: handler({ run: (_, ctx) => ctx.checkpoint(large) }),
      undeclared: handler({ run: (_, ctx) => ctx.emit({ name: "large.x", options: { schema: {} } }, {}) }),
      result: handler({ run: () => "x".repeat(15 << 20) }),
      details: handler({
        run() {
          throw Object.assign(new Error("x".repeat(20 << 10)), {});
        },
      }),
    },
  });
  assert.match((await p.attempt("checkpoint")).error!.message, /the limit is 65536/);
  assert.equal((await p.attempt("undeclared")).error!.code, "invalid_event");
  assert.equal((await p.attempt("result")).error!.code, "result_too_large");
  assert.ok((await p.attempt("details")).error!.message.length <= 8 << 10);
});

test("a wrong declaration says what is wrong, all at once", () => {
  const declare = () =>
    testPlugin({
      name: "Large",
      version: "1",
      handlers: { "a b": handler({ run: () => 1 }), t: handler({ timeout: "soon", run: () => 1 }), s: handler({ input: { type: "nothing" }, run: () => 1 }) },
      subscriptions: { none: { options: {}, routes: [] } },
      emits: [{ name: "task.mine", options: { schema: { type: "object" } } }],
    });
  assert.throws(declare, (error: DeclarationError) => {
    assert.equal(error.problems.length, 7, error.message);
    return true;
  });
});

test("whatever is thrown fails its own attempt, and its own event", async () => {
  const odd: Record<string, () => unknown> = {
    message: () => Object.assign(new Error(), { message: { a: 1 } }),
    stack: () => Object.assign(new Error("x"), { stack: [1] }),
    name: () => Object.assign(new Error("x"), { name: 5 }),
    wait: () => new PluginError("x", { retryAfter: "soon" }),
    bare: () => Object.create(null),
    trap: () => Object.defineProperty(new Error("x"), "cause", { get: () => assert.fail("not for you") }),
  };
  for (const [name, make] of Object.entries(odd)) {
    const fails = (): never => {
      throw make();
    };
    const p = testPlugin({ name: "odd", version: "1.0.0", handlers: { fails: handler({ run: fails }) }, subscriptions: { fails: subscriber({}, [on("step.failed", fails)]) } });
    const { error } = await p.attempt("fails");
    assert.deepEqual([error?.verdict, typeof error?.message], ["retryable", "string"], name);
    assert.deepEqual((await p.deliver("fails", { type: "step.failed", task: "t", payload: {} })).map((a) => a.answer), ["retry"], name);
  }
});
