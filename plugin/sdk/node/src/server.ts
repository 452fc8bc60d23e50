// The services of a plugin, without a process around them.

import { create } from "@bufbuild/protobuf";
import {
  type sendUnaryData,
  type Server as Transport,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from "@grpc/grpc-js";

import type { CheckContext, Level } from "./context.js";
import { Deliveries, DeliverStream } from "./deliver.js";
import { Dispatcher, WorkStream, type Outbound } from "./dispatch.js";
import { fromWire } from "./duration.js";
import { type DeliverRequest, type DeliverResponse, EventService } from "./gen/tasker/plugin/v1/event_pb.js";
import {
  type ConfigureRequest,
  type ConfigureResponse,
  ConfigureResponseSchema,
  type DescribeRequest,
  type DescribeResponse,
  DescribeResponseSchema,
  type DrainRequest,
  type DrainResponse,
  DrainResponseSchema,
  PluginService,
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from "./gen/tasker/plugin/v1/plugin_pb.js";
import { StepService, type WorkRequest } from "./gen/tasker/plugin/v1/step_pb.js";
import { levels, type ProcessLog } from "./log.js";
import type { Declaration } from "./manifest.js";
import { Settings } from "./plugin.js";
import { bufferOf, controller, health, serviceOf, serving } from "./rpc.js";
import type { Problem } from "./schema.js";
import { messageOf, textOf } from "./text.js";

/** How long cancelled attempts may take once the process is to end, in milliseconds. */
const stopGrace = 5000;

/** How long all that is to be closed may take, in milliseconds: what never ends must not keep the process. */
const closeGrace = 5000;

export class Server {
  readonly disp: Dispatcher;
  readonly subs: Deliveries;
  /** Drain has returned: signals end the process from now on. */
  drained = false;
  readonly #streams = new Set<{ end(): void }>(); // open calls
  #configured = false;
  #stopping: Promise<void> | undefined;

  /** Shutdown is called when the host asks for the end of the process. */
  constructor(
    readonly decl: Declaration,
    readonly log: ProcessLog,
    readonly shutdown: () => void = () => undefined,
  ) {
    this.disp = new Dispatcher(decl, log);
    this.subs = new Deliveries(this.disp);
  }

  /** Adds the services to a gRPC server. */
  register(transport: Transport): void {
    transport.addService(serviceOf(PluginService), {
      Describe: unary<DescribeRequest, DescribeResponse>(() => create(DescribeResponseSchema, { manifest: this.decl.manifest })),
      Configure: unary<ConfigureRequest, ConfigureResponse>((req) => this.configure(req)),
      Drain: unary<DrainRequest, DrainResponse>((req) => this.drain(req)),
      Watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) => this.#watch(call),
    });
    transport.addService(serviceOf(StepService, { Work: (frame) => bufferOf(frame as Uint8Array) }), {
      Work: (call: ServerDuplexStream<WorkRequest, Uint8Array>) => this.#work(call),
    });
    transport.addService(serviceOf(EventService), {
      Deliver: (call: ServerDuplexStream<DeliverRequest, DeliverResponse>) => this.#deliver(call),
    });
    transport.addService(health, {
      Check: (_: unknown, done: sendUnaryData<Buffer>) => done(null, serving),
      Watch: (call: ServerWritableStream<Buffer, Buffer>) => call.write(serving),
    });
    transport.addService(controller, {
      Shutdown: (_: unknown, done: sendUnaryData<Buffer>) => {
        done(null, Buffer.alloc(0));
        this.shutdown();
      },
    });
  }

  async configure(req: ConfigureRequest): Promise<ConfigureResponse> {
    if (this.#configured) throw new StatusError(status.FAILED_PRECONDITION, "the plugin is configured already");
    if (levels.includes(req.logLevel as Level)) this.disp.level = this.log.level = req.logLevel as Level;
    this.disp.dataDir = req.dataDir;
    const problems = await this.#problems(textOf(req.config));
    this.#configured = problems.length === 0;
    return create(ConfigureResponseSchema, { problems });
  }

  /** Takes the plugin's configuration and lets it and the handlers check themselves. */
  async #problems(config: string): Promise<Problem[]> {
    const { plugin, config: schema } = this.decl;
    if (plugin.config === undefined) {
      if (!["", "{}", "null"].includes(config)) return [{ pointer: "", message: "the plugin takes no configuration" }];
    } else {
      const { value, problems } = schema?.accept(config) ?? { value: config === "" ? {} : JSON.parse(config), problems: [] };
      if (problems.length > 0) return problems;
      if (plugin.config instanceof Settings) plugin.config.set(value);
    }
    const ctx: CheckContext = { signal: new AbortController().signal, log: this.log, dataDir: this.disp.dataDir };
    const checks: [string, (() => unknown) | undefined][] = [["config", () => plugin.config?.options.check?.(plugin.config.value, ctx)]];
    for (const s of this.decl.specs) checks.push([`handler ${s.name}@${s.version}`, () => s.options.check?.(ctx)]);
    const bad: Problem[] = [];
    for (const [place, check] of checks) {
      try {
        await check?.();
      } catch (error) {
        bad.push({ pointer: "", message: `check ${place}: ${messageOf(error)}` });
      }
    }
    return bad;
  }

  async drain(req: DrainRequest): Promise<DrainResponse> {
    this.disp.drain();
    this.subs.drain();
    const deadline = fromWire(req.deadline);
    const signal = deadline === undefined ? new AbortController().signal : AbortSignal.timeout(Math.min(deadline, 2 ** 31 - 1));
    const unfinished = await this.disp.untilIdle(signal);
    await this.subs.untilIdle(signal);
    this.drained = true;
    return create(DrainResponseSchema, { unfinished });
  }

  /** Cancels all attempts and deliveries, waits for them a while, and closes what can be closed. */
  stop(reason: string): Promise<void> {
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  async #stop(reason: string): Promise<void> {
    this.disp.drain();
    this.subs.drain();
    this.disp.cancelAll(reason);
    this.subs.cancelAll(reason);
    const signal = AbortSignal.timeout(stopGrace);
    await this.disp.untilIdle(signal);
    await this.subs.untilIdle(signal);
    await this.disp.open?.sent(signal);
    const closers = [this.decl.plugin.config?.options, ...this.decl.specs.map((s) => s.options), ...this.decl.subscriptions.map((s) => s.options)];
    await this.#close(new Set(closers));
    for (const call of this.#streams) call.end();
  }

  async #close(closers: Iterable<{ close?(): void | Promise<void> } | undefined>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => (timer = setTimeout(resolve, closeGrace, true)));
    for (const of of closers) {
      try {
        const closed = Promise.resolve(of?.close?.()).then(() => false);
        if (await Promise.race([closed, late])) {
          this.log.error("close takes too long: the process ends without it", { limit: `${closeGrace}ms` });
          break;
        }
      } catch (error) {
        this.log.error("close failed", { error });
      }
    }
    clearTimeout(timer);
  }

  /** Remembers a call as open until it is not, and calls back then. */
  #open(call: { end(): void; on(event: string, listener: () => void): unknown }, ended: () => void): void {
    this.#streams.add(call);
    for (const event of ["cancelled", "error", "close"]) {
      call.on(event, () => {
        this.#streams.delete(call);
        ended();
      });
    }
  }

  #watch(call: ServerWritableStream<WatchRequest, WatchResponse>): void {
    const stop = this.disp.watch((s) => call.write(create(WatchResponseSchema, { status: s })));
    this.#open(call, stop);
  }

  #work(call: ServerDuplexStream<WorkRequest, Uint8Array>): void {
    if (this.disp.open !== undefined) {
      call.emit("error", { code: status.ALREADY_EXISTS, details: "a work stream is open: there is one per process" });
      return;
    }
    const work = new WorkStream(this.disp, outbound(call));
    this.disp.open = work;
    call.on("data", (frame: WorkRequest) => work.receive(frame));
    call.on("end", () => {
      void work.rest().then(() => {
        work.end();
        call.end();
      });
    });
    this.#open(call, () => work.end());
  }

  #deliver(call: ServerDuplexStream<DeliverRequest, DeliverResponse>): void {
    let stream: DeliverStream | undefined;
    const refuse = (code: status, details: string): void => {
      call.removeAllListeners("data");
      call.emit("error", { code, details });
    };
    call.on("data", (frame: DeliverRequest) => {
      if (stream !== undefined) return stream.receive(frame);
      if (frame.kind.case !== "open") return refuse(status.INVALID_ARGUMENT, "the first frame of a Deliver stream is an Open");
      const open = frame.kind.value;
      const sub = this.decl.subscription(open.subscription);
      const { name, version } = this.decl.plugin;
      if (sub === undefined) return refuse(status.NOT_FOUND, `plugin ${name} ${version} has no subscription "${open.subscription}"`);
      stream = new DeliverStream(this.subs, sub, open.traceShare, outbound(call));
      stream.bind(open.bindings);
      this.subs.add(stream);
    });
    call.on("end", () => {
      const resting = stream?.rest() ?? Promise.resolve();
      void resting.then(() => {
        stream?.end("host_gone");
        call.end();
      });
    });
    this.#open(call, () => stream?.end("host_gone"));
  }
}

/** Brings frames to a call of gRPC. */
function outbound<T>(call: { write(frame: T, done: (error?: Error | null) => void): boolean }): Outbound<T> {
  return { write: (frame, done) => void call.write(frame, done) };
}

/** An error with a status of gRPC. */
class StatusError extends Error {
  constructor(
    readonly code: status,
    message: string,
  ) {
    super(message);
  }
}

/** Serves a call that has one answer. What is thrown is its status. */
function unary<Req, Res>(serve: (req: Req) => Res | Promise<Res>) {
  return (call: ServerUnaryCall<Req, Res>, done: sendUnaryData<Res>): void => {
    Promise.resolve()
      .then(() => serve(call.request))
      .then(
        (res) => done(null, res),
        (error: unknown) => done({ code: error instanceof StatusError ? error.code : status.INTERNAL, details: messageOf(error) }),
      );
  };
}
