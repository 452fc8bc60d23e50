import assert from "node:assert/strict";
import { test } from "node:test";

import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";

import { Deliveries, DeliverStream } from "../src/deliver.js";
import { Dispatcher } from "../src/dispatch.js";
import { EventSchema } from "../src/gen/tasker/event/v1/event_pb.js";
import { type DeliverRequest, DeliverRequestSchema, type DeliverResponse } from "../src/gen/tasker/plugin/v1/event_pb.js";
import { State } from "../src/gen/tasker/plugin/v1/plugin_pb.js";
import { Dedupe, on, subscriber, type Subscriber, unavailable } from "../src/index.js";
import { ProcessLog } from "../src/log.js";
import { Declaration } from "../src/manifest.js";
import { testPlugin } from "../src/testing.js";
import { plugin } from "./plugin.js";

const sample = testPlugin(plugin);
const task = "01J00000000000000000000000";
const failed = (code: string, of = task) => ({ type: "step.failed", task: of, step: "charge", payload: { step_name: "charge", error_code: code } });

test("each event has its answer", async () => {
  const got = await sample.deliver("failures", failed("fine"), failed("never"), failed("away", task + "b"), failed("again", task + "c"), failed("fine", task + "c"), { type: "task.started", task: task + "d" });
  assert.deepEqual(got, [
    { answer: "ack" },
    { answer: "reject", reason: "it cannot be told" },
    { answer: "retry", reason: "the pager is off", after: undefined, unavailable: true },
    { answer: "retry", reason: "later", after: 3000, unavailable: false },
    { answer: "held" },
    { answer: "ack" },
  ]);
});

test("an order that is global holds everything up", async () => {
  const p = testPlugin({
    name: "one",
    version: "1.0.0",
    subscriptions: {
      all: on<{ bad?: boolean }>("*", (event) => {
        if (event.payload.bad) throw new Error("no");
      }),
    },
  });
  const got = await p.deliver("all", { type: "a.b" }, { type: "a.c", payload: { bad: true } }, { type: "a.d" });
  assert.deepEqual(got.map((a) => a.answer), ["ack", "retry", "held"]);
});

/** A stream whose frames are seen. */
function open(sub: Subscriber, share = 0) {
  const decl = new Declaration({ name: "one", version: "1.0.0", subscriptions: { sub } });
  const disp = new Dispatcher(decl, new ProcessLog("one", () => undefined));
  const frames: DeliverResponse[] = [];
  let changed = (): void => undefined;
  const all = new Deliveries(disp);
  const stream = new DeliverStream(all, decl.subscription("sub")!, share, {
    write(frame, done) {
      frames.push(frame);
      setImmediate(() => {
        changed();
        done();
      });
    },
  });
  const send = (kind: NonNullable<MessageInitShape<typeof DeliverRequestSchema>["kind"]>): void => stream.receive(create(DeliverRequestSchema, { kind }) as DeliverRequest);
  const events = (...list: [seq: number, of: string, binding?: number, payload?: string][]): void =>
    send({
      case: "batch",
      value: {
        events: list.map(([seq, of, binding, payload]) => ({
          seq: BigInt(seq),
          delivery: 1,
          binding: binding ?? 0,
          event: toBinary(EventSchema, create(EventSchema, { id: `e${seq}`, type: "step.failed", taskId: of, step: "s", payload: Buffer.from(payload ?? "{}") })),
        })),
      },
    });
  const until = async (reached: (f: DeliverResponse[]) => boolean): Promise<void> => {
    while (!reached(frames)) await new Promise<void>((resolve) => (changed = resolve));
  };
  stream.bind(undefined);
  all.add(stream);
  return { stream, disp, frames, send, events, until, all };
}

const kinds = (frames: DeliverResponse[]): string[] => frames.map((f) => f.kind.case ?? "");

test("after a retry a lane is held until the restart, others go on", async () => {
  const seen: string[] = [];
  let fail = true;
  const s = open(
    subscriber({ order: "task" }, [
      on("*", (event) => {
        seen.push(event.id);
        if (event.id === "e1" && fail) throw new Error("not now");
      }),
    ]),
  );
  s.events([1, "a"], [2, "a"], [3, "b"]);
  await s.until((f) => f.some((one) => one.kind.case === "retry"));
  s.events([4, "a"]);
  assert.deepEqual(seen, ["e1", "e3"]);
  fail = false;
  s.send({ case: "restart", value: { taskId: "a" } });
  s.events([1, "a"], [2, "a"], [4, "a"]);
  await s.stream.rest();
  assert.deepEqual(seen, ["e1", "e3", "e1", "e2", "e4"]);
});

test("tasks are handled at once, the events of one in their order", async () => {
  let release!: () => void;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const seen: string[] = [];
  const s = open(
    subscriber({ order: "task", lanes: 2 }, [
      on("*", async (event) => {
        seen.push(event.id);
        if (event.task === "a") await gate;
      }),
    ]),
  );
  s.events([1, "a"], [2, "a"], [3, "b"], [4, "b"]);
  await s.until((f) => f.some((one) => one.kind.case === "ack" && one.kind.value.seqs.includes(4n)));
  assert.deepEqual(seen, ["e1", "e3", "e4"]);
  release();
  await s.stream.rest();
  assert.deepEqual(seen, ["e1", "e3", "e4", "e2"]);
});

test("answers are merged, and a ping has its own", async () => {
  const s = open(on("*", () => undefined));
  s.send({ case: "ping", value: { nonce: 7n } });
  s.events(...Array.from({ length: 100 }, (_, i): [number, string] => [i + 1, "a"]));
  await s.stream.rest();
  assert.equal(s.frames[0]!.kind.case, "pong");
  const acks = s.frames.filter((f) => f.kind.case === "ack");
  assert.ok(acks.length < 50, `${acks.length} acks for 100 events`);
  const last = acks.at(-1)!.kind;
  assert.equal(last.case === "ack" && last.value.through, 100n);
});

test("a gap is told once and has no answer", async () => {
  const gaps: bigint[] = [];
  const s = open(subscriber({ onGap: (through) => gaps.push(through) }, [on("*", () => undefined)]));
  s.send({ case: "batch", value: { gapThrough: 9n, events: [] } });
  await s.stream.rest();
  assert.deepEqual(gaps, [9n]);
  assert.deepEqual(kinds(s.frames), []);
});

test("time runs out, and what was thrown then is tried again", async () => {
  const s = open(subscriber({ timeout: 5 }, [on("*", (_, ctx) => new Promise((_resolve, reject) => ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason as Error))))]));
  s.events([1, "a"]);
  await s.stream.rest();
  const kind = s.frames[0]!.kind;
  assert.equal(kind.case, "retry");
  assert.match(kind.case === "retry" ? kind.value.reason : "", /^not done within 5 ms/);
});

test("errors are as onError says", async () => {
  const s = open(
    subscriber({ onError: (error) => ((error as Error).message === "harmless" ? undefined : unavailable(error)) }, [
      on("*", (event) => {
        throw new Error(event.id === "e1" ? "harmless" : "bad");
      }),
    ]),
  );
  s.events([1, "a"], [2, "a"]);
  await s.stream.rest();
  assert.deepEqual(kinds(s.frames), ["ack", "retry"]);
});

test("bindings have configs, and one that does not fit holds its events up", async () => {
  const seen: unknown[] = [];
  const schema = { type: "object", properties: { to: { type: "string" }, level: { type: "string", default: "high" } }, required: ["to"] } as const;
  const s = open(subscriber({ order: "task", config: schema }, [on("*", (_, ctx) => seen.push(ctx.config))]));
  const config = (doc: object): Uint8Array => Buffer.from(JSON.stringify(doc));
  s.send({ case: "bindings", value: { bindings: [{ id: 1, config: config({ to: "ops" }) }, { id: 2, config: config({}) }] } });
  s.events([1, "a", 1], [2, "b", 2], [3, "c", 3]);
  await s.until((f) => f.length >= 3);
  assert.deepEqual(seen, [{ to: "ops", level: "high" }]);
  assert.deepEqual(kinds(s.frames).sort(), ["ack", "reject", "retry"]);
  assert.equal(s.disp.status().state, State.DEGRADED);
  assert.match(s.disp.status().message, /subscriber sub: the binding's config does not fit: must have required property 'to'/);
  s.send({ case: "bindings", value: { bindings: [] } });
  assert.equal(s.disp.status().state, State.READY);
});

test("large values are fetched", async () => {
  const got: unknown[] = [];
  const s = open(on<{ ref: { ref: string } }>("*", async (event, ctx) => got.push(await ctx.fetch(event.payload.ref))));
  s.events([1, "a", 0, '{"ref":{"ref":"blob/1"}}']);
  await s.until((f) => f.some((one) => one.kind.case === "fetch"));
  const ask = s.frames[0]!.kind;
  assert.ok(ask.case === "fetch" && ask.value.ref === "blob/1" && ask.value.taskId === "a");
  s.send({ case: "chunk", value: { fetchId: ask.value.id, data: Buffer.from('{"n"') } });
  s.send({ case: "chunk", value: { fetchId: ask.value.id, data: Buffer.from(":1}"), last: true } });
  await s.stream.rest();
  assert.deepEqual(got, [{ n: 1 }]);
});

test("draining lets nothing further be handled, and what was is answered", async () => {
  let release!: () => void;
  const gate = new Promise<void>((resolve) => (release = resolve));
  let handled = 0;
  const s = open(
    on("*", async () => {
      handled++;
      await gate;
    }),
  );
  s.events([1, "a"], [2, "a"]);
  s.all.drain();
  release();
  await s.all.untilIdle(new AbortController().signal);
  assert.equal(handled, 1);
  assert.deepEqual(kinds(s.frames), ["ack"]);
});

test("deliveries have spans where the host wants them", async () => {
  const s = open(on("*", (_, ctx) => ctx.span("tell", () => undefined)), 1);
  s.events([1, "a"]);
  await s.stream.rest();
  assert.deepEqual(kinds(s.frames), ["spans", "ack"]);
});

test("what was handled is remembered", () => {
  const seen = new Dedupe(2);
  for (const id of ["a", "b", "c"]) seen.add(id);
  assert.deepEqual(["a", "b", "c"].map((id) => seen.has(id)), [false, true, true]);
});
