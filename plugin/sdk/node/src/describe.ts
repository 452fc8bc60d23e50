// What the executable says to a person who runs it: the manifest as JSON, or what it is for.

import { basename, dirname, resolve } from "node:path";

import { text as durationText, type WireDuration } from "./duration.js";
import { DeliveryOrder, Idempotency, type Manifest, ResultsWanted, type RetryPolicy } from "./gen/tasker/plugin/v1/plugin_pb.js";
import type { Declaration } from "./manifest.js";
import { textOf } from "./text.js";

/** The JSON form of a manifest, with the keys that plugins in every language have. What is empty is left out. */
export function describe(m: Manifest): object {
  const need = m.permissions;
  return filled({
    name: m.name,
    version: m.version,
    title: m.title,
    description: m.description,
    vendor: m.vendor,
    licence: m.licence,
    homepage: m.homepage,
    sdk: { language: m.sdk?.language, version: m.sdk?.version },
    features: keep(m.features),
    handlers: keep(
      m.handlers.map((h) =>
        filled({
          name: h.name,
          version: h.version,
          description: h.description,
          timeout: durationText(h.timeout),
          heartbeat_timeout: durationText(h.heartbeatTimeout),
          retry: retry(h.retry),
          idempotent: Idempotency[h.idempotency]?.toLowerCase(),
          max_concurrency: h.maxConcurrency,
          results: ResultsWanted[h.results]?.toLowerCase(),
          error_codes: h.errorCodes,
          input_schema: json(h.inputSchema),
          config_schema: json(h.configSchema),
          output_schema: json(h.outputSchema),
        }),
      ),
    ),
    subscriptions: m.subscriptions.map((s) =>
      filled({
        name: s.name,
        description: s.description,
        events: keep(s.events),
        filter: s.filter,
        order: DeliveryOrder[s.order]?.toLowerCase(),
        start: s.start,
        window: s.window,
        max_attempts: s.maxAttempts,
        timeout: durationText(s.timeout),
        bound: s.bound,
        config_schema: json(s.configSchema),
      }),
    ),
    emits: m.emits.map((e) =>
      filled({ name: e.name, version: e.version, description: e.description, immediate: e.immediate, schema: json(e.schema), example: json(e.example) }),
    ),
    config_schema: json(m.configSchema),
    max_concurrency: m.limits?.maxConcurrency,
    permissions: keep(filled({ fs_read: need?.fsRead, fs_write: need?.fsWrite, network: need?.network, env: need?.env, subprocess: need?.subprocess })),
  });
}

/** Marks what is there even when it is empty. */
class Kept {
  constructor(readonly value: unknown) {}
}

const keep = (value: unknown): Kept => new Kept(value);

function filled(all: Record<string, unknown>): object {
  const empty = (v: unknown): boolean => v === undefined || v === "" || v === 0 || v === false || (Array.isArray(v) && v.length === 0);
  return Object.fromEntries(
    Object.entries(all)
      .filter(([, v]) => !empty(v))
      .map(([key, v]) => [key, v instanceof Kept ? v.value : v]),
  );
}

function json(doc: Uint8Array): unknown {
  return doc.length === 0 ? undefined : JSON.parse(textOf(doc));
}

function retry(r: RetryPolicy | undefined): object | undefined {
  const duration = (d: WireDuration | undefined): string => durationText(d);
  return r && filled({ limit: r.limit, backoff: r.backoff, base: duration(r.base), factor: r.factor, cap: duration(r.cap), list: r.list.map(duration) });
}

/** Says what the executable is and how to use it. */
export function explain(d: Declaration, path: string): string {
  const p = d.plugin;
  const program = basename(path);
  const about = [p.title, p.description].filter((line) => line !== undefined && line !== "");
  const handlers = d.specs.map((s) => [`${p.name}/${s.name}${s.version === 1 ? "" : `@${s.version}`}`, firstLine(s.options.description)]);
  const subscriptions = d.manifest.subscriptions.map((s) => [`${p.name}/${s.name}`, s.events.join(", "), firstLine(s.description)]);
  const events = d.manifest.emits.map((e) => [e.name, firstLine(e.description)]);
  const how = handlers.length > 0 ? "name a handler in a template and tell Tasker where the plugin is:\n  tasker run TEMPLATE" : "tell Tasker where the plugin is:\n  tasker serve";
  return `${[`${program} is a Tasker plugin, ${p.name} ${p.version}: a Tasker host starts it, not you.`, ...about].join("\n")}
${table("Handlers", handlers)}${table("Subscriptions", subscriptions)}${table("Events", events)}
To use it, ${how} --plugin-dir ${dirname(resolve(path))}

To look into it:
  ${program} --describe   the manifest: handlers, subscriptions, schemas, limits, as JSON
  ${program} --version    name and version
`;
}

function firstLine(text: string | undefined): string {
  return (text ?? "").split("\n")[0]!;
}

function table(title: string, rows: string[][]): string {
  if (rows.length === 0) return "";
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const lines = rows.map((row) => ("  " + row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ")).trimEnd());
  return `\n${title}:\n${lines.join("\n")}\n`;
}
