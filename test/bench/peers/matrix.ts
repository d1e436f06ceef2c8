/** Which cells there are, and their measurement in turn: A B C A B C, so that what the machine does meanwhile falls on all alike. */
import { median } from '../report.ts';
import { measure, type Measurement } from './closed_loop.ts';
import { runMany, type Cluster, type Driver, type Kind } from './system.ts';

/** `mixed`: nine linearizable reads to one create. */
export const WORKLOADS = ['create', 'createFull', 'read', 'readAny', 'mixed'] as const;
export type Workload = (typeof WORKLOADS)[number];

/** A cluster with a driver that is connected to it, and how many entries that has made. */
export interface Subject {
  readonly cluster: Cluster;
  readonly driver: Driver;
  /** A system that only makes entries. */
  readonly createsOnly: boolean;
  readonly made: { create: number; createFull: number };
}

export interface Timing {
  readonly rounds: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface Cell {
  /** Systems that were up at the same time and measured in turn: only these are compared. */
  readonly pool: string;
  readonly system: string;
  readonly workload: Workload;
  readonly inFlight: number;
  readonly rounds: readonly Measurement[];
  /** How many of them had no operation that ended. */
  readonly roundsOfNothing: number;
  /** Of the rounds, each figure by itself. */
  readonly median: Measurement;
  readonly leastPerSecond: number;
  readonly mostPerSecond: number;
}

/** Neighbours in time are no neighbours in the tree. */
const STRIDE = 7919;
/** Entries that are read, if so many were made. */
export const MOST_READ = 100_000;
const READS_TO_A_CREATE = 9;

function nextOf(subject: Subject, workload: Workload): () => { readonly kind: Kind; readonly n: number } {
  const { made } = subject;
  // What is made meanwhile may not be there yet. All systems read as many entries, or the one that made the most would have the most to keep in memory.
  const existing = Math.min(made.create, MOST_READ);
  let reads = 0;
  let turns = 0;
  const read = (kind: 'read' | 'readAny') => ({ kind, n: (reads++ * STRIDE) % existing });
  switch (workload) {
    case 'create': return () => ({ kind: 'create', n: made.create++ });
    case 'createFull': return () => ({ kind: 'createFull', n: made.createFull++ });
    case 'read': return () => read('read');
    case 'readAny': return () => read('readAny');
    case 'mixed': return () => (turns++ % (READS_TO_A_CREATE + 1) === READS_TO_A_CREATE ? { kind: 'create', n: made.create++ } : read('read'));
  }
}

/** What the first reads of a run read. */
export const FIRST_ENTRIES = 2000;
const FIRST_IN_FLIGHT = 64;

/** So that there is something to read, and each server has run its code before. */
export async function fill(subject: Subject, entries = FIRST_ENTRIES): Promise<void> {
  const { driver, made } = subject;
  await runMany(driver, 'create', FIRST_IN_FLIGHT, () => (made.create < entries ? made.create++ : undefined));
}

/** A round in which nothing ended counts as a rate of 0, and has no latency and no cost of an operation: those are of the other rounds, NaN where there are none. */
function medians(rounds: readonly Measurement[]): Measurement {
  const some = rounds.filter((r) => r.operations > 0);
  const of = (figure: keyof Measurement): number => median(some.map((r) => r[figure]));
  const ofAll = (figure: keyof Measurement): number => median(rounds.map((r) => r[figure]));
  return {
    operations: ofAll('operations'), perSecond: ofAll('perSecond'), p50: of('p50'), p95: of('p95'), p99: of('p99'), p999: of('p999'), max: of('max'),
    serverCpu: of('serverCpu'), loadCpu: of('loadCpu'), loadBusy: ofAll('loadBusy'),
  };
}

export function cellOf(pool: string, system: string, workload: Workload, inFlight: number, rounds: readonly Measurement[]): Cell {
  const rates = rounds.map((r) => r.perSecond);
  return { pool, system, workload, inFlight, rounds, roundsOfNothing: rounds.filter((r) => r.operations === 0).length, median: medians(rounds), leastPerSecond: Math.min(...rates), mostPerSecond: Math.max(...rates) };
}

/** Full load before a workload is measured: V8 and the JVM compile what they run for tens of seconds, and a service runs for longer than that. */
export async function warmUp(subjects: readonly Subject[], workload: Workload, ms: number): Promise<void> {
  await measureInTurn('warming up', subjects, workload, FIRST_IN_FLIGHT, { rounds: 1, warmUpMs: 0, measureMs: ms });
}

/** Nobody is always behind the same other, whose compactions and collections go on into what comes next: every other round goes backwards, and each two begin with the next one. */
export function turns<T>(all: readonly T[], round: number): T[] {
  const first = (round >> 1) % Math.max(1, all.length);
  const order = [...all.slice(first), ...all.slice(0, first)];
  return round % 2 === 0 ? order : order.reverse();
}

/** All cells of one workload and number in flight, each system's rounds in turn with the others'. */
export async function measureInTurn(pool: string, subjects: readonly Subject[], workload: Workload, inFlight: number, timing: Timing): Promise<Cell[]> {
  const able = subjects.filter((s) => !s.createsOnly || workload === 'create');
  const measured = new Map<Subject, Measurement[]>(able.map((s) => [s, []]));
  for (let round = 0; round < timing.rounds; round++) {
    for (const [subject, into] of turns([...measured], round)) {
      const { cluster, driver } = subject;
      try {
        into.push(await measure(driver, cluster.pids, { inFlight, warmUpMs: timing.warmUpMs, measureMs: timing.measureMs, next: nextOf(subject, workload) }));
      } catch (error) {
        throw new Error(`${cluster.name}, ${workload}, ${inFlight} in flight: ${(error as Error).message}`, { cause: error });
      }
    }
  }
  return [...measured].map(([s, rounds]) => cellOf(pool, s.cluster.name, workload, inFlight, rounds));
}
