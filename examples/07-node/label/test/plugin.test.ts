import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { testPlugin } from "@tasker-engine/sdk/testing";

import { plugin } from "../src/plugin.js";

const order = { order_id: "7", to: "Ada" };

test("a label has its price", async () => {
  const got = await testPlugin(plugin).attempt("print", { input: order, results: { weigh: { grams: 1200 } } });
  assert.deepEqual(got.output, { tracking: "LBL-7", cents: 495, label: "Ada / 1200 g / LBL-7" });
  assert.deepEqual(got.emits, [{ name: "label.printed", payload: { order_id: "7", tracking: "LBL-7", cents: 495 } }]);
});

test("what is too heavy is not tried again", async () => {
  const { error } = await testPlugin(plugin).attempt("print", { input: order, config: { most: 1000 }, results: { weigh: { grams: 1200 } } });
  assert.deepEqual([error?.verdict, error?.code], ["permanent", "too_heavy"]);
});

test("the journal tells", async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), "label-"));
  t.after(() => rmSync(dataDir, { recursive: true }));
  const answers = await testPlugin(plugin, { dataDir }).deliver("journal", {
    type: "step.failed",
    task: "01J00000000000000000000000",
    step: "weigh",
    payload: { error_message: "there is nothing in the parcel" },
  });
  assert.deepEqual(answers, [{ answer: "ack" }]);
  assert.equal(readFileSync(join(dataDir, "journal.txt"), "utf8"), "weigh failed: there is nothing in the parcel\n");
});
