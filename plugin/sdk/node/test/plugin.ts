// A plugin that the tests run: in-process, as a process by hand, and below a host.

import { configuration, customEvent, handler, on, permanent, retryAfter, subscriber, unavailable, type Plugin } from "../src/index.js";

export const greeted = customEvent("sample.greeted", {
  schema: { type: "object", properties: { name: { type: "string" } }, required: ["name"] },
  example: { name: "Ada" },
  description: "Somebody was greeted.",
});

export const alarmed = customEvent("sample.alarmed", { schema: { type: "object" }, immediate: true });

export const settings = configuration(
  {
    type: "object",
    properties: { greeting: { type: "string", default: "Hello" }, token: { type: "string", writeOnly: true } },
    additionalProperties: false,
  },
  {
    check(config) {
      if (config.greeting === "refused") throw new Error("that is no greeting");
    },
  },
);

const guest = { type: "object", properties: { name: { type: "string", minLength: 1 }, times: { type: "integer", default: 1 } }, required: ["name"] } as const;

/** Waits until the signal is aborted, and throws its reason. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

export const plugin: Plugin = {
  name: "sample",
  version: "1.2.3",
  title: "A sample",
  config: settings,
  emits: [greeted, alarmed],
  handlers: {
    greet: handler({
      description: "Greets a guest.\nAs often as asked.",
      input: guest,
      output: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
      config: { type: "object", properties: { mark: { type: "string", default: "!" } }, additionalProperties: false },
      timeout: "1m30s",
      heartbeatTimeout: 30_000,
      retry: { limit: 5, backoff: "exponential", base: "200ms", factor: 2, cap: "10s" },
      idempotent: "yes",
      maxConcurrency: 200,
      errorCodes: ["rude"],
      run(input, ctx) {
        if (input.name === "rude") throw permanent("no manners", { code: "rude", details: { guest: input.name }, partial: { text: "H" } });
        ctx.log.info("greeting", { name: input.name });
        ctx.emit(greeted, { name: input.name });
        const once = `${settings.value.greeting}, ${input.name}${ctx.config.mark}`;
        return { text: new Array(input.times).fill(once).join(" ") };
      },
    }),
    "greet@2": handler({ run: (input) => ({ second: input }) }),
    echo: handler({ run: (input) => input }),
    print: handler({ run: (input) => console.log("this is not for standard output", input) }),
    whole: handler({
      async run(_input, ctx) {
        ctx.heartbeat(0.25, "a quarter");
        ctx.heartbeat(2, "all");
        ctx.checkpoint({ at: 1 });
        const sum = await ctx.result<{ n: number }>("sum");
        return { ...ctx.attempt, key: ctx.idempotencyKey, last: ctx.lastCheckpoint(), sum: sum.n, dependencies: ctx.dependencies, dir: ctx.dataDir };
      },
    }),
    wait: handler({
      async run(_input, ctx) {
        ctx.heartbeat(0, "waiting");
        await aborted(ctx.signal);
      },
    }),
    fail: handler({
      run(input: any, ctx) {
        ctx.emit(alarmed, {});
        const wait = input?.wait as number | undefined;
        if (wait !== undefined) throw retryAfter(new TypeError("not yet"), wait);
        throw new TypeError("something broke", { cause: new RangeError("deep") });
      },
    }),
    flood: handler({
      run() {
        for (let i = 0; i < 20_000; i++) process.stderr.write(`${i}: {"@message": 1} and more of what no host wants to read\n`);
        process.stderr.write("x".repeat(4 << 20) + "\n");
      },
    }),
    large: handler({ run: () => ({ text: "x".repeat(8 << 20) }) }),
    wrong: handler({ output: { type: "object", required: ["text"] }, run: () => ({}) }),
    endless: handler({ run: () => 10n }),
    spans: handler({
      async run(_input, ctx) {
        const outer = await ctx.span("outer", async (span) => {
          span.set("size", 3);
          return ctx.span("inner", (inner) => ({ inner: inner.traceparent, current: ctx.traceparent }));
        });
        await ctx.span("broken", () => Promise.reject(new Error("lost"))).catch(() => undefined);
        return { own: ctx.traceparent, ...outer };
      },
    }),
  },
  subscriptions: {
    failures: subscriber({ description: "Tells of failures.", order: "task", maxAttempts: 5, filter: 'event.step != "x"' }, [
      on("step.failed", (event, ctx) => {
        ctx.log.info("failed", { step: event.payload.step_name });
        switch (event.payload.error_code) {
          case "again":
            throw retryAfter("later", "3s");
          case "never":
            throw permanent("it cannot be told");
          case "away":
            throw unavailable("the pager is off");
        }
      }),
      on("task.*", () => undefined),
    ]),
    greetings: on(greeted, (event, ctx) => ctx.log.info(event.payload.name)),
  },
};
