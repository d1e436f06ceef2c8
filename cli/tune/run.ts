/**
 * One run at one interval: a new group, files in it, the load; when it has run warm it is measured; then one backup is killed while the load goes
 * on, started again, and waited for until it says that it is up to date.
 */
import { setTimeout as after } from 'node:timers/promises';
import { VrfsClient } from '../../client/client.ts';
import { defined } from '../../lib/assert.ts';
import { EnvironmentError } from '../failure.ts';
import { LocalGroup, NotInTime, type ReplicaFigures } from './local_group.ts';
import { ClosedLoop, type LoadResult, type Workload } from './load.ts';
import type { RunFigures } from './figures.ts';
import { configOf, type Interval, type TuneSettings } from './settings.ts';
import { CREDENTIALS, FILLING, preparation, workload } from './workloads.ts';

export interface RunContext {
  readonly settings: TuneSettings;
  /** Where the group's directory is made. */
  readonly parent: string;
  readonly main: string;
  readonly signal: AbortSignal;
  /** What is being done now. */
  readonly phase: (what: string) => void;
}

const WARM_MS = 1500;
const SAMPLE_MS = 250;
/** How long a replica may take to come up to date. */
export const RECOVERY_BOUND_S = 120;
/** Files are made in this many at once. */
const FILL_IN_FLIGHT = 128;

export async function run(interval: Interval, context: RunContext): Promise<RunFigures> {
  const { settings, parent, main, signal } = context;
  context.phase('starting a group');
  const group = await LocalGroup.start({ replicas: settings.replicas, durability: settings.durability, parent, config: configOf(settings, interval), main, signal });
  try {
    const client = await VrfsClient.connect({ servers: group.servers, name: 'tune', requestTimeoutMs: 60_000 });
    try {
      return await new Run(group, client, context).measure();
    } finally {
      await client.close();
    }
  } finally {
    await group.destroy();
  }
}

class Run {
  readonly #group: LocalGroup;
  readonly #client: VrfsClient;
  readonly #context: RunContext;
  #journal = 0;

  constructor(group: LocalGroup, client: VrfsClient, context: RunContext) {
    this.#group = group;
    this.#client = client;
    this.#context = context;
  }

  async measure(): Promise<RunFigures> {
    const { settings } = this.#context;
    await this.#prepare();
    return await this.#with(workload(settings.load), settings.inFlight, settings.files, Infinity, async (load) => await this.#measureUnder(load));
  }

  async #measureUnder(load: ClosedLoop): Promise<RunFigures> {
    const { settings, phase } = this.#context;
    load.start();
    phase('warming up');
    await load.during(this.#sleep(WARM_MS));
    phase('measuring');
    const before = await load.during(this.#group.allFigures());
    const result = await load.measure(this.#sampling(settings.seconds * 1000));
    const behind = await load.during(this.#group.allFigures());
    const recovery = settings.outage > 0 ? await this.#outage(load) : {};
    await load.stop();
    return { ...latencies(result), ...costs(before, behind), journal: this.#journal, ...recovery };
  }

  /** A load, which ends with an error when the whole is to end. */
  async #with<T>(what: Workload, inFlight: number, first: number, end: number, use: (load: ClosedLoop) => Promise<T>): Promise<T> {
    const { signal } = this.#context;
    const load = new ClosedLoop(this.#client, what, inFlight, first, end);
    const onAbort = (): void => { load.failed(signal.reason instanceof Error ? signal.reason : new Error('aborted')); };
    signal.addEventListener('abort', onAbort);
    try {
      signal.throwIfAborted();
      return await use(load);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #prepare(): Promise<void> {
    const { settings, phase } = this.#context;
    for (const [i] of this.#group.members.entries()) await this.#group.until(i, 'it is healthy', (f) => f.healthy);
    phase('making files');
    for (const step of preparation(settings.load)) {
      const results = await Promise.all(step.map((operation) => this.#client.submit({ credentials: CREDENTIALS, operation })));
      const refused = results.find((r) => !r.ok);
      if (refused !== undefined && !refused.ok) throw new Error(`the group refuses what the load needs: errno ${refused.errno}`);
    }
    await this.#with(FILLING, FILL_IN_FLIGHT, 0, settings.files, async (filling) => {
      filling.start();
      await filling.idle();
    });
  }

  /** Waits so long, and looks at the journals meanwhile. */
  async #sampling(ms: number): Promise<void> {
    const end = performance.now() + ms;
    for (;;) {
      const left = end - performance.now();
      if (left <= 0) return;
      await this.#sleep(Math.min(left, SAMPLE_MS));
      for (const [i] of this.#group.members.entries()) {
        const figures = await this.#group.figures(i);
        if (figures !== undefined) this.#journal = Math.max(this.#journal, figures.journal.bytes);
      }
    }
  }

  async #outage(load: ClosedLoop): Promise<Pick<RunFigures, 'recovery' | 'recoveryBytes'>> {
    const { settings, phase } = this.#context;
    const all = await load.during(this.#group.allFigures());
    const victim = all.findLastIndex((f) => !f.isPrimary);
    phase(`outage of replica ${victim + 1}`);
    await load.during(this.#group.killReplica(victim));
    await load.during(this.#sampling(settings.outage * 1000));
    phase(`waiting for replica ${victim + 1}`);
    const startedAt = Date.now();
    await load.during(this.#group.startReplica(victim));
    try {
      const { recovery } = await load.during(this.#group.until(victim, 'it is up to date', (f) => f.recovery.caughtUpMs !== null, RECOVERY_BOUND_S * 1000));
      // By its own watch from where that began, so that it does not matter how often it is asked.
      return { recovery: (recovery.startedAt + (recovery.caughtUpMs ?? 0) - startedAt) / 1000, recoveryBytes: recovery.bytesReceived + recovery.logBytesReceived };
    } catch (error) {
      // One that has ended is no figure.
      if (!(error instanceof NotInTime)) throw error;
      return { recovery: Infinity, recoveryBytes: Infinity };
    }
  }

  async #sleep(ms: number): Promise<void> {
    await after(ms, undefined, { signal: this.#context.signal });
  }
}

function latencies(r: LoadResult): Pick<RunFigures, 'throughput' | 'p50' | 'p99' | 'p999'> {
  if (r.operations === 0) throw new EnvironmentError('not one operation ended while it was measured', 'is the disk much too slow? Give more time: --seconds');
  return { throughput: r.perSecond, p50: r.p50, p99: r.p99, p999: r.p999 };
}

/** Between two looks at all replicas, in the mean of them. The interval between the looks is a little longer than that of the load. */
export function costs(before: readonly ReplicaFigures[], behind: readonly ReplicaFigures[]): Pick<RunFigures, 'cpu' | 'hold' | 'written' | 'checkpoints'> {
  const sums = { cpu: 0, written: 0, checkpoints: 0 };
  let hold = 0;
  for (const [i, b] of behind.entries()) {
    const a = defined(before[i], 'figures of the same replica');
    const operations = Math.max(1, b.executed - a.executed);
    sums.cpu += ((b.checkpointCost.total.busyMs - a.checkpointCost.total.busyMs) / operations) * 1000;
    sums.written += (b.checkpointCost.total.recordBytes + b.checkpointCost.total.nodeBytes - a.checkpointCost.total.recordBytes - a.checkpointCost.total.nodeBytes) / operations;
    sums.checkpoints += b.checkpointCost.takes - a.checkpointCost.takes;
    hold = Math.max(hold, b.checkpointCost.total.longestMs);
  }
  const n = behind.length;
  return { cpu: sums.cpu / n, hold, written: sums.written / n, checkpoints: sums.checkpoints / n };
}
