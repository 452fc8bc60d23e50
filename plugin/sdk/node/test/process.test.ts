import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { create } from "@bufbuild/protobuf";
import { type ClientDuplexStream, credentials, makeGenericClientConstructor, type ServiceError } from "@grpc/grpc-js";

import { selfSigned } from "../src/cert.js";
import { type ConfigureResponse, ConfigureRequestSchema, DescribeRequestSchema, type DescribeResponse, DrainRequestSchema, PluginService, WatchRequestSchema } from "../src/gen/tasker/plugin/v1/plugin_pb.js";
import { StepService, type WorkRequest, WorkRequestSchema, type WorkResponse } from "../src/gen/tasker/plugin/v1/step_pb.js";
import { controller, health, serviceOf } from "../src/rpc.js";

const cookie = { TASKER_PLUGIN: "9d2c8a51e7c14c0f8c6a3f6ab35d1e0c" };
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

let dir: string;
let executable: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), "sdk-"));
  executable = join(dir, "bin", "tasker-plugin-sample");
  execFileSync(process.execPath, [at("../../bin/tasker-plugin-build.mjs"), at("main.js"), executable]);
});

after(() => rmSync(dir, { recursive: true }));

test("run by hand it explains itself", () => {
  const run = (...args: string[]) => spawnSync(executable, args, { encoding: "utf8" });
  const bare = run();
  assert.equal(bare.status, 2);
  assert.equal(bare.stdout, "");
  for (const line of [/^tasker-plugin-sample is a Tasker plugin, sample 1.2.3: a Tasker host starts it, not you.\nA sample\n/, /  sample\/greet +Greets a guest\.\n  sample\/greet@2\n/, /sample\/failures +step\.failed, task\.\* +Tells of failures\./, /sample\.greeted +Somebody was greeted\./]) assert.match(bare.stderr, line);
  assert.deepEqual([run("--version").stdout, run("--version").status], ["sample 1.2.3\n", 0]);
  const described = run("--describe");
  assert.equal(described.status, 0);
  const m = JSON.parse(described.stdout);
  assert.deepEqual(m.sdk, { language: "node", version: "0.1.0" });
  const { input_schema, output_schema, config_schema, ...greet } = m.handlers.find((h: { name: string; version: number }) => h.name === "greet" && h.version === 1);
  assert.deepEqual(greet, {
    name: "greet",
    version: 1,
    description: "Greets a guest.\nAs often as asked.",
    timeout: "1m30s",
    heartbeat_timeout: "30s",
    retry: { limit: 5, backoff: "exponential", base: "200ms", factor: 2, cap: "10s" },
    idempotent: "yes",
    max_concurrency: 200,
    results: "all",
    error_codes: ["rude"],
  });
  assert.ok(input_schema && output_schema && config_schema);
  assert.deepEqual(m.subscriptions[0], { name: "failures", description: "Tells of failures.", events: ["step.failed", "task.*"], filter: 'event.step != "x"', order: "task", max_attempts: 5 });
  assert.deepEqual(m.emits.map((e: { name: string }) => e.name), ["sample.alarmed", "sample.greeted"]);
});

test("a wrong declaration ends the process as one that no start mends", () => {
  const code = `import { serve } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)}; serve({ name: "X", version: "1.0.0" });`;
  const run = (env: object) => spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8", env: { ...process.env, ...env } });
  assert.equal(run(cookie).status, 78);
  assert.equal(run({}).status, 1);
  assert.match(run({}).stderr, /plugin "X" is declared wrongly:\n  name: "X" is no plugin name/);
});

test("it runs within a package of modules, too", () => {
  writeFileSync(join(dir, "package.json"), '{"type":"module"}');
  assert.equal(spawnSync(executable, ["--version"], { encoding: "utf8" }).stdout, "sample 1.2.3\n");
});

/** A process that is served as by a host. */
class Hosted {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly own = selfSigned();

  constructor(mtls: boolean) {
    const env = { ...process.env, ...cookie, PLUGIN_UNIX_SOCKET_DIR: dir, PLUGIN_PROTOCOL_VERSIONS: "1", PLUGIN_CLIENT_CERT: mtls ? this.own.cert : "" };
    this.child = spawn(executable, { env, stdio: "pipe" });
    this.child.stdout!.on("data", (text: Buffer) => (this.stdout += text.toString()));
    this.child.stderr!.on("data", (text: Buffer) => (this.stderr += text.toString()));
  }

  async handshake(): Promise<string[]> {
    while (!this.stdout.includes("\n")) await Promise.race([once(this.child.stdout!, "data"), once(this.child, "exit")]);
    return this.stdout.trimEnd().split("|");
  }

  async logs(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.stderr)) await once(this.child.stderr!, "data");
  }

  async ended(): Promise<number | null> {
    if (this.child.exitCode === null) await once(this.child, "exit");
    return this.child.exitCode;
  }

  kill(): void {
    this.child.kill("SIGKILL");
  }

  /** A client of a service. It shows its certificate, or none. */
  async client(definition: Parameters<typeof makeGenericClientConstructor>[0], show = true) {
    const [, , , socket, , der] = await this.handshake();
    const pem = der === "" ? "" : new X509Certificate(Buffer.from(der!, "base64")).toString();
    const creds = der === "" ? credentials.createInsecure() : show ? credentials.createSsl(Buffer.from(pem), Buffer.from(this.own.key), Buffer.from(this.own.cert)) : credentials.createSsl(Buffer.from(pem));
    const Client = makeGenericClientConstructor(definition, "client");
    return new Client(`unix:${socket}`, creds, { "grpc.ssl_target_name_override": "localhost", "grpc.default_authority": "localhost" }) as any;
  }
}

function call<T>(client: any, method: string, request: unknown): Promise<T> {
  return new Promise((resolve, reject) => client[method](request, (error: ServiceError | null, response: T) => (error ? reject(error) : resolve(response))));
}

for (const mtls of [false, true]) {
  test(`it is served to a host ${mtls ? "with" : "without"} mTLS`, async (t) => {
    const hosted = new Hosted(mtls);
    t.after(() => hosted.kill());
    const [core, app, network, socket, kind, der] = await hosted.handshake();
    assert.deepEqual([core, app, network, kind, der !== ""], ["1", "1", "unix", "grpc", mtls]);
    assert.doesNotMatch(der!, /=/);
    assert.equal(statSync(socket!).mode & 0o777, 0o600);

    if (mtls) {
      const stranger = await hosted.client(health, false);
      await assert.rejects(call(stranger, "Check", Buffer.alloc(0)));
      stranger.close();
    }
    const pluginClient = await hosted.client(serviceOf(PluginService));
    const described = await call<DescribeResponse>(pluginClient, "Describe", create(DescribeRequestSchema));
    assert.equal(described.manifest?.name, "sample");
    const configure = (doc: string) => call<ConfigureResponse>(pluginClient, "Configure", create(ConfigureRequestSchema, { config: Buffer.from(doc), logLevel: "debug", dataDir: dir }));
    const { problems } = await configure('{"greting":"Hi"}');
    assert.deepEqual(problems.map((p) => p.message), ['additional property "greting" is not allowed']);
    assert.deepEqual((await configure('{"greeting":"refused"}')).problems.map((p) => p.message), ["check config: that is no greeting"]);
    assert.deepEqual((await configure('{"greeting":"Hi"}')).problems, []);
    await assert.rejects(configure("{}"), /configured already/);
    const healthClient = await hosted.client(health);
    assert.deepEqual(await call(healthClient, "Check", Buffer.alloc(0)), Buffer.from([8, 1]));

    const states: number[] = [];
    const watch = pluginClient.Watch(create(WatchRequestSchema)).on("data", (w: { status: { state: number } }) => states.push(w.status.state));
    watch.on("error", () => undefined);
    const stepClient = await hosted.client(serviceOf(StepService));
    const work = stepClient.Work() as ClientDuplexStream<WorkRequest, WorkResponse>;
    work.on("error", () => undefined);
    const send = (attemptId: string, handler: string) => work.write(create(WorkRequestSchema, { attempts: [{ attemptId, taskId: "t", step: "s", handler, number: 1, handlerVersion: 1, input: { inline: Buffer.from('{"name":"Ada"}') } }] }));
    const results = new Map<string, string>();
    const kinds: string[] = [];
    const until = async (reached: () => boolean): Promise<void> => {
      while (!reached()) await once(work, "data");
    };
    work.on("data", (frame: WorkResponse) => {
      for (const { attemptId, kind } of frame.updates) {
        kinds.push(`${attemptId} ${kind.case}`);
        if (kind.case === "result") results.set(attemptId, kind.value.outcome.case === "error" ? kind.value.outcome.value.code : Buffer.from(kind.value.outcome.value!).toString());
      }
    });
    send("1", "greet");
    send("2", "print");
    send("3", "wait");
    await until(() => results.has("1") && results.has("2") && kinds.includes("3 heartbeat"));
    assert.deepEqual([results.get("1"), results.get("2")], ['{"text":"Hi, Ada!"}', "null"]);
    const second = stepClient.Work();
    const [refused] = (await once(second, "error")) as [ServiceError];
    assert.equal(refused.code, 6);

    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      hosted.child.kill(signal);
      await hosted.logs(new RegExp(`ignoring a signal.*${signal}`));
    }
    const drained = await call<{ unfinished: number }>(pluginClient, "Drain", create(DrainRequestSchema, { deadline: { seconds: 0n, nanos: 1_000_000 } }));
    assert.equal(drained.unfinished, 1);
    assert.equal(states[0], 1);
    if (mtls) {
      hosted.child.stdin!.end(); // the lifeline
      await until(() => results.has("3"));
      assert.equal(results.get("3"), "host_gone");
    } else {
      const controllerClient = await hosted.client(controller);
      await call(controllerClient, "Shutdown", Buffer.alloc(0));
      await until(() => results.has("3"));
      assert.equal(results.get("3"), "stopped");
    }
    assert.equal(await hosted.ended(), 0);
    assert.equal(existsSync(socket!), false);
    assert.equal(hosted.stdout.split("\n").length, 2);
    assert.match(hosted.stderr, /this is not for standard output/);
  });
}
