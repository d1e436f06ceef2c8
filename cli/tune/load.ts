/** A closed loop: keeps so many operations under way until it is stopped, and measures those that end in a window of time. */
import type { Completion } from '../../client/completion.ts';
import type { VrfsClient } from '../../client/client.ts';
import { LatencyHistogram } from './statistics.ts';

/** The encoded call number `n`, and whether it goes through the log. */
export interface Workload {
  readonly next: (n: number) => { readonly write: boolean; readonly body: Buffer };
}

export interface LoadResult {
  readonly operations: number;
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

type Target = Pick<VrfsClient, 'submitEncoded' | 'queryEncoded'>;

interface Window {
  readonly histogram: LatencyHistogram;
  readonly startedAt: number;
}

export class ClosedLoop {
  readonly #client: Target;
  readonly #workload: Workload;
  readonly #inFlight: number;
  readonly #end: number;
  #next: number;
  #running = 0;
  #stopping = false;
  #window: Window | null = null;
  /** Rejects when an operation fails: figures of a load that does not do what it says mean nothing. */
  readonly #failed: Promise<never>;
  #fail: (error: Error) => void = () => undefined;
  #idle: () => void = () => undefined;

  /** @param first number of the first operation; `end`: of the one that is not begun any more */
  constructor(client: Target, workload: Workload, inFlight: number, first: number, end = Infinity) {
    this.#client = client;
    this.#workload = workload;
    this.#inFlight = inFlight;
    this.#end = end;
    this.#next = first;
    this.#failed = new Promise<never>((_, reject) => { this.#fail = reject; });
    // Whoever waits for something of this load is told; nobody may be waiting now.
    this.#failed.catch(() => undefined);
  }

  /** Number of the next operation. */
  get next(): number {
    return this.#next;
  }

  start(): void {
    for (let i = 0; i < this.#inFlight && this.#next < this.#end; i++) {
      this.#running++;
      new Slot(this).send();
    }
  }

  /** Rejects when an operation fails, or with the reason of `wait`. */
  async during<T>(wait: Promise<T>): Promise<T> {
    return await Promise.race([wait, this.#failed]);
  }

  /** Measures what ends while `wait` lasts. */
  async measure(wait: Promise<unknown>): Promise<LoadResult> {
    const window: Window = { histogram: new LatencyHistogram(), startedAt: performance.now() };
    this.#window = window;
    try {
      await this.during(wait);
    } finally {
      this.#window = null;
    }
    const { histogram, startedAt } = window;
    const seconds = (performance.now() - startedAt) / 1000;
    return {
      operations: histogram.total, perSecond: histogram.total / seconds,
      p50: histogram.percentile(0.5), p99: histogram.percentile(0.99), p999: histogram.percentile(0.999), max: histogram.max,
    };
  }

  /** Resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.idle();
  }

  /** The same without stopping it: when it has come to its end. */
  async idle(): Promise<void> {
    if (this.#running === 0) return;
    await this.during(new Promise<void>((resolve) => { this.#idle = resolve; }));
  }

  // --- of slots --------------------------------------------------------------------------------------------------------

  submit(slot: Completion): void {
    const { write, body } = this.#workload.next(this.#next++);
    if (write) this.#client.submitEncoded(body, slot);
    else this.#client.queryEncoded(body, slot);
  }

  /** Whether another is to follow. */
  ended(result: Buffer, ms: number): boolean {
    // Results start with an errno.
    if (result.readUInt8(0) !== 0) {
      this.#fail(new Error(`an operation of the load was refused: result ${result.toString('hex').slice(0, 32)}`));
      return false;
    }
    this.#window?.histogram.record(ms);
    if (!this.#stopping && this.#next < this.#end) return true;
    this.#running--;
    if (this.#running === 0) this.#idle();
    return false;
  }

  /** Everybody who waits for this load, now or later, is told. */
  failed(error: Error): void {
    this.#fail(error);
  }
}

class Slot implements Completion {
  readonly #load: ClosedLoop;
  #sentAt = 0;

  constructor(load: ClosedLoop) {
    this.#load = load;
  }
  send(): void {
    this.#sentAt = performance.now();
    this.#load.submit(this);
  }
  completed(result: Buffer): void {
    if (this.#load.ended(result, performance.now() - this.#sentAt)) this.send();
  }
  failed(error: Error): void {
    this.#load.failed(error);
  }
}
