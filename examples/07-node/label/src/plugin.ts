// Prices and labels parcels, and keeps a journal of what happens to them: the part of the example that is written in
// TypeScript.

import { appendFile } from "node:fs/promises";
import { join } from "node:path";

import { customEvent, handler, on, permanent, subscriber, type Plugin } from "@tasker-engine/sdk";

export const printed = customEvent("label.printed", {
  description: "A label was printed.",
  schema: {
    type: "object",
    properties: { order_id: { type: "string" }, tracking: { type: "string" }, cents: { type: "integer" } },
    required: ["order_id", "tracking", "cents"],
  },
  example: { order_id: "1001", tracking: "LBL-1001", cents: 495 },
});

const print = handler({
  description: "Prices a parcel by its weight and prints its label.",
  input: {
    type: "object",
    properties: { order_id: { type: "string" }, to: { type: "string", minLength: 1 } },
    required: ["order_id", "to"],
  },
  config: {
    type: "object",
    properties: { most: { type: "integer", default: 30_000, description: "Grams that the carrier takes." } },
    additionalProperties: false,
  },
  output: {
    type: "object",
    properties: { tracking: { type: "string" }, cents: { type: "integer" }, label: { type: "string" } },
    required: ["tracking", "cents", "label"],
  },
  errorCodes: ["too_heavy"],
  async run(input, ctx) {
    const { grams } = await ctx.result<{ grams: number }>("weigh");
    if (grams > ctx.config.most) {
      throw permanent(`${grams} g are more than the carrier takes`, { code: "too_heavy", details: { grams, most: ctx.config.most } });
    }
    const cents = await ctx.span("price", (span) => {
      span.set("grams", grams);
      return 295 + 100 * Math.ceil(grams / 1000);
    });
    const tracking = `LBL-${input.order_id}`;
    ctx.log.info("printed a label", { tracking });
    ctx.emit(printed, { order_id: input.order_id, tracking, cents });
    return { tracking, cents, label: `${input.to} / ${grams} g / ${tracking}` };
  },
});

const journal = subscriber({ description: "Keeps a journal in the data directory.", order: "task" }, [
  on(printed, (event, ctx) => write(ctx.dataDir, `${event.payload.tracking} for ${event.payload.cents} cents`)),
  on("step.failed", (event, ctx) => write(ctx.dataDir, `${event.step} failed: ${event.payload.error_message}`)),
  on("task.completed", (event, ctx) => write(ctx.dataDir, `${event.template} is done`)),
]);

async function write(dir: string, line: string): Promise<void> {
  await appendFile(join(dir, "journal.txt"), line + "\n");
}

export const plugin: Plugin = {
  name: "label",
  version: "1.0.0",
  title: "Labels for parcels",
  handlers: { print },
  subscriptions: { journal },
  emits: [printed],
};
