/**
 * A closed loop over a driver: keeps `inFlight` operations under way, warms up, measures what ends in a window of time, and lets what is under way end.
 */
import { percentile } from '../report.ts';
import { cpuMicrosecondsOf, ownCpuMicroseconds } from '../resources.ts';
import type { Done, Driver, Kind } from './system.ts';

export interface Load {
  readonly inFlight: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** What comes next, and its number. */
  readonly next: () => { readonly kind: Kind; readonly n: number };
}

export interface Measurement {
  readonly operations: number;
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** Microseconds of CPU per operation: all servers, and this process. */
  readonly serverCpu: number;
  readonly loadCpu: number;
  /** CPU of this process as a part of one core: near 1 the load is what limits. */
  readonly loadBusy: number;
}

/** Latencies as they come, in milliseconds. */
export class Samples {
  #values = new Float64Array(1 << 16);
  #length = 0;

  get length(): number {
    return this.#length;
  }
  add(ms: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Float64Array(2 * this.#length);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length++] = ms;
  }
  sorted(): Float64Array {
    return this.#values.slice(0, this.#length).sort();
  }
}

class Loop {
  readonly #driver: Driver;
  readonly #next: Load['next'];
  readonly #reject: (error: Error) => void;
  #running = 0;
  #stopping = false;
  #samples: Samples | null = null;
  #idle: () => void = () => undefined;

  constructor(driver: Driver, next: Load['next'], reject: (error: Error) => void) {
    this.#driver = driver;
    this.#next = next;
    this.#reject = reject;
  }

  start(inFlight: number): void {
    for (let i = 0; i < inFlight; i++) {
      this.#running++;
      new Slot(this).send();
    }
  }
  record(into: Samples | null): void {
    this.#samples = into;
  }
  stop(): Promise<void> {
    this.#stopping = true;
    return new Promise((resolve) => {
      this.#idle = resolve;
      if (this.#running === 0) resolve();
    });
  }

  // --- of slots --------------------------------------------------------------------------------------------------------

  send(done: Done): void {
    const { kind, n } = this.#next();
    this.#driver.run(kind, n, done);
  }
  /** Whether another is to follow. */
  ended(ms: number): boolean {
    this.#samples?.add(ms);
    if (!this.#stopping) return true;
    this.#running--;
    if (this.#running === 0) this.#idle();
    return false;
  }
  /** A benchmark of failures would mean nothing. */
  failed(error: Error): void {
    this.#stopping = true;
    this.#reject(error);
  }
}

class Slot implements Done {
  readonly #loop: Loop;
  #sentAt = 0;

  constructor(loop: Loop) {
    this.#loop = loop;
  }
  send(): void {
    this.#sentAt = performance.now();
    this.#loop.send(this);
  }
  completed(): void {
    if (this.#loop.ended(performance.now() - this.#sentAt)) this.send();
  }
  failed(error: Error): void {
    this.#loop.failed(error);
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, ms); });
}

/** `pids`: of the servers. Rejects when an operation fails. */
export async function measure(driver: Driver, pids: readonly number[], load: Load): Promise<Measurement> {
  const samples = new Samples();
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => { fail = reject; });
  const loop = new Loop(driver, load.next, fail);
  const run = async (): Promise<Measurement> => {
    loop.start(load.inFlight);
    await wait(load.warmUpMs);
    const [startedAt, servers, own] = [performance.now(), cpuMicrosecondsOf(pids), ownCpuMicroseconds()];
    loop.record(samples);
    await wait(load.measureMs);
    const [endedAt, serversAfter, ownAfter] = [performance.now(), cpuMicrosecondsOf(pids), ownCpuMicroseconds()];
    const operations = samples.length;
    // What is under way at the end took as long as it takes: a stall there belongs to the latencies, though not to the rate.
    await loop.stop();
    return summary(samples, endedAt - startedAt, serversAfter - servers, ownAfter - own, operations);
  };
  return await Promise.race([run(), failed]);
}

/** Of a window of `ms` milliseconds in which servers and load used so many microseconds of CPU; `samples` may have what was under way at its end beside the `operations` that ended in it. */
export function summary(samples: Samples, ms: number, serverCpu: number, loadCpu: number, operations = samples.length): Measurement {
  const sorted = samples.sorted();
  const n = operations;
  return {
    operations: n, perSecond: n / (ms / 1000),
    p50: percentile(sorted, 0.5), p95: percentile(sorted, 0.95), p99: percentile(sorted, 0.99), p999: percentile(sorted, 0.999), max: sorted.at(-1) ?? NaN,
    serverCpu: serverCpu / n, loadCpu: loadCpu / n, loadBusy: loadCpu / 1000 / ms,
  };
}
