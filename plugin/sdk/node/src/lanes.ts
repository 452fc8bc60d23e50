// What waits to be handled on one Deliver stream: lanes, each strictly in order. The order "task" has a lane per task,
// the order "global" has one.

import type { Binding } from "./delivery.js";

/** One event that waits in a lane; or, with a gap, news of events that will never come. */
export interface Item {
  seq: bigint;
  event: Uint8Array;
  number: number;
  binding: Binding | undefined;
  gap: bigint; // 0 = none
}

/** A lane. */
export class Lane {
  queue: Item[] = [];
  /** From a Retry to the host's Restart, what comes is dropped. */
  held = false;
  busy = false;
  /** Raised by a Restart: what is handled meanwhile has no answer. */
  turn = 0;

  constructor(readonly task: string) {}

  /** Empties the queue but for news of gaps, which come once. */
  drop(): void {
    this.queue = this.queue.filter((it) => it.gap > 0n);
  }
}

/** The lanes of a stream. The host takes it that the oldest event without an answer is at work: it comes first. */
export class Lanes {
  readonly #byTask = new Map<string, Lane>();

  constructor(
    readonly byTask: boolean,
    readonly limit: number,
  ) {}

  /** Puts an item into its lane. */
  add(task: string, item: Item): void {
    const lane = this.#lane(this.byTask ? task : "");
    if (!lane.held || item.gap > 0n) lane.queue.push(item);
  }

  #lane(task: string): Lane {
    let lane = this.#byTask.get(task);
    if (lane === undefined) {
      lane = new Lane(task);
      this.#byTask.set(task, lane);
    }
    return lane;
  }

  /** Takes the lane that nobody works on and whose first item is the oldest. */
  take(): Lane | undefined {
    let oldest: Lane | undefined;
    for (const lane of this.#byTask.values()) {
      if (lane.busy || lane.queue.length === 0) continue;
      if (oldest === undefined || lane.queue[0]!.seq < oldest.queue[0]!.seq) oldest = lane;
    }
    if (oldest !== undefined) oldest.busy = true;
    return oldest;
  }

  /** Gives a lane back. */
  release(lane: Lane): void {
    lane.busy = false;
    this.#forget(lane);
  }

  /** Drops what waits in a lane and lets it go on with what comes from now on. */
  restart(task: string): void {
    const lane = this.#byTask.get(this.byTask ? task : "");
    if (lane === undefined) return;
    lane.drop();
    lane.held = false;
    lane.turn++;
    this.#forget(lane);
  }

  /** Drops everything. */
  clear(): void {
    this.#byTask.clear();
  }

  /** Reports whether any lane that nobody works on has something. */
  get waiting(): boolean {
    for (const lane of this.#byTask.values()) if (!lane.busy && lane.queue.length > 0) return true;
    return false;
  }

  #forget(lane: Lane): void {
    if (!lane.busy && !lane.held && lane.queue.length === 0 && this.#byTask.get(lane.task) === lane) this.#byTask.delete(lane.task);
  }
}
