/**
 * `npm run bench -- peers`: etcd, ZooKeeper and vrfs on this machine, up at once, driven in turn by this one process. Every comparison is of one run, and
 * of systems that were up together (pools.ts).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { report, type Report } from '../report.ts';
import { bytesPerCreate, type BytesRow } from './bytes_per_create.ts';
import { chart, type ChartSpec } from './chart.ts';
import { Cleanup } from './cleanup.ts';
import { syncMs, useDisk } from './disk.ts';
import { EtcdCluster } from './etcd_cluster.ts';
import { fill, measureInTurn, warmUp, type Cell, type Subject, type Workload } from './matrix.ts';
import { ETCD_PACKAGES, install, missing, PackageError, versionOf, ZOOKEEPER_PACKAGES } from './packages.ts';
import { poolsOf, type Pool, type SystemName } from './pools.ts';
import { ProbeCluster } from './probe_cluster.ts';
import type { Cluster } from './system.ts';
import { targetsOf, type Target } from './targets.ts';
import { VrfsCluster } from './vrfs_cluster.ts';
import { ZooKeeperCluster } from './zookeeper_cluster.ts';

export interface PeersOptions {
  readonly systems: readonly SystemName[];
  readonly workloads: readonly Workload[];
  readonly inFlight: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  /** Before the measurement of each round. */
  readonly warmUpSeconds: number;
  /** Full load of each system before the first round of a workload; 0: none. */
  readonly firstLoadSeconds: number;
  readonly connections: number;
  /** For the measurement of bytes; 0: none. */
  readonly byteCreates: number;
  /** False: what is missing is left out, and said. */
  readonly install: boolean;
  readonly directory: string | undefined;
  /** Where the plots go; undefined: none are drawn. */
  readonly plots: string | undefined;
  /** Where profiles of the replicas of vrfs go; undefined: none are taken. */
  readonly cpuProfiles: string | undefined;
  readonly say: (line: string) => void;
}

export interface PeersReport extends Omit<Report, 'rows'> {
  readonly versions: Readonly<Record<string, string>>;
  readonly cells: readonly Cell[];
  readonly targets: readonly Target[];
  readonly bytes: readonly BytesRow[];
  /** Systems that were asked for and could not be measured, with the reason. */
  readonly leftOut: readonly string[];
}

const PACKAGES: Partial<Record<SystemName, readonly string[]>> = { etcd: ETCD_PACKAGES, zookeeper: ZOOKEEPER_PACKAGES };
/** None within a run, and a log that takes it. */
const NO_CHECKPOINTS = { checkpointOps: 10_000_000, checkpointBytes: 2 ** 40, maxLogEntries: 100_000_000, maxLogBytes: 2 ** 40 };

async function start(pool: string, system: SystemName, commit: string, profiles: string | undefined): Promise<Cluster> {
  const cpuProfiles = profiles === undefined ? undefined : join(resolve(profiles), `${pool}-${system}`);
  switch (system) {
    case 'etcd': return EtcdCluster.start();
    case 'zookeeper': return ZooKeeperCluster.start();
    case 'vrfs': return VrfsCluster.start(commit, { cpuProfiles });
    case 'vrfs-memory': return VrfsCluster.start(commit, { durability: 'memory', cpuProfiles });
    case 'vrfs-5': return VrfsCluster.start(commit, { replicas: 5, cpuProfiles });
    case 'vrfs-no-checkpoints': return VrfsCluster.start(commit, { config: NO_CHECKPOINTS, note: 'no checkpoints', cpuProfiles });
    case 'probe': return ProbeCluster.start('disk');
    case 'probe-memory': return ProbeCluster.start('memory');
  }
}

/** What can be measured; what cannot is entered in `leftOut` with the reason. */
export function available(options: Pick<PeersOptions, 'systems' | 'install' | 'say'>, leftOut: string[], absent: (packages: readonly string[]) => string[] = missing): SystemName[] {
  return options.systems.filter((system) => {
    const packages = PACKAGES[system];
    if (packages === undefined) return true;
    try {
      if (options.install) install(packages, options.say);
      const still = absent(packages);
      if (still.length === 0) return true;
      leftOut.push(`${system}: ${still.join(', ')} ${still.length > 1 ? 'are' : 'is'} not installed, and this run installs nothing`);
    } catch (error) {
      if (!(error instanceof PackageError)) throw error;
      leftOut.push(`${system}: ${error.message}`);
    }
    return false;
  });
}

export async function peers(options: PeersOptions): Promise<PeersReport> {
  useDisk(options.directory);
  const leftOut: string[] = [];
  const systems = available(options, leftOut);
  for (const l of leftOut) options.say(`left out: ${l}`);
  const { machine, commit } = report({}, []);
  const before = { syncMs: Number(syncMs().toPrecision(3)), load: loadavg()[0] ?? NaN };
  const all: Measured = { cells: [], bytes: [], versions: {} };
  for (const pool of poolsOf(systems)) await measurePool(pool, options, commit, all);
  const conditions = {
    rounds: options.rounds, seconds: options.seconds, warmUpSeconds: options.warmUpSeconds, firstLoadSeconds: options.firstLoadSeconds, connections: options.connections, transport: 'TCP, loopback, one load process',
    fdatasyncMs: before.syncMs, loadAverageBefore: before.load, loadAverageAfter: loadavg()[0] ?? NaN,
  };
  const result = { machine, commit, conditions, versions: all.versions, cells: all.cells, targets: targetsOf(all.cells), bytes: all.bytes, leftOut };
  if (options.plots !== undefined) drawPlots(options.plots, result);
  return result;
}

interface Measured {
  readonly cells: Cell[];
  readonly bytes: BytesRow[];
  readonly versions: Record<string, string>;
}

/** Its systems are up only meanwhile. */
async function measurePool(pool: Pool, options: PeersOptions, commit: string, into: Measured): Promise<void> {
  const cleanup = new Cleanup();
  try {
    const subjects: Subject[] = [];
    for (const system of pool.systems) {
      options.say(`starting ${system} ...`);
      const cluster = await cleanup.started(() => start(pool.name, system, commit, options.cpuProfiles), (c) => c.stop());
      const driver = await cleanup.started(() => cluster.connect(options.connections), (d) => d.close());
      const subject = { cluster, driver, createsOnly: cluster instanceof ProbeCluster, made: { create: 0, createFull: 0 } };
      await fill(subject);
      subjects.push(subject);
      into.versions[cluster.name] = versionShown(system, cluster.version);
    }
    into.cells.push(...await measureAll(pool.name, subjects, options));
    for (const s of subjects) {
      if (options.byteCreates === 0 || s.createsOnly || into.bytes.some((b) => b.system === s.cluster.name)) continue;
      options.say(`bytes of ${options.byteCreates} creates, ${s.cluster.name} ...`);
      into.bytes.push(...await bytesPerCreate(s, options.byteCreates));
    }
  } finally {
    await cleanup.run();
  }
}

function versionShown(system: SystemName, own: string): string {
  const [first] = PACKAGES[system] ?? [];
  return first === undefined ? own : `${first} ${versionOf(first)}`;
}

async function measureAll(pool: string, subjects: readonly Subject[], options: PeersOptions): Promise<Cell[]> {
  const timing = { rounds: options.rounds, warmUpMs: options.warmUpSeconds * 1000, measureMs: options.seconds * 1000 };
  const cells: Cell[] = [];
  for (const workload of options.workloads) {
    if (options.firstLoadSeconds > 0) {
      options.say(`${workload}: ${options.firstLoadSeconds} s of load for each system, to warm up ...`);
      await warmUp(subjects, workload, options.firstLoadSeconds * 1000);
    }
    for (const inFlight of options.inFlight) {
      const measured = await measureInTurn(pool, subjects, workload, inFlight, timing);
      for (const c of measured) options.say(`${workload}, ${inFlight} in flight, ${c.system}: ${Math.round(c.median.perSecond)}/s (${Math.round(c.leastPerSecond)}–${Math.round(c.mostPerSecond)}), p50 ${c.median.p50.toFixed(2)} ms, p99 ${c.median.p99.toFixed(2)} ms`);
      cells.push(...measured);
    }
  }
  return cells;
}

const TITLES: Readonly<Record<Workload, string>> = {
  create: 'creates', createFull: 'creates with 64 bytes of content', read: 'linearizable reads', readAny: 'reads at any replica', mixed: '90 % linearizable reads, 10 % creates',
};

function drawPlots(directory: string, r: PeersReport): void {
  mkdirSync(directory, { recursive: true });
  const draw = (file: string, workload: Workload, yLabel: string, figure: 'perSecond' | 'p99'): void => {
    const cells = r.cells.filter((c) => c.workload === workload && c.median.operations > 0);
    if (cells.length === 0) return;
    const spec: ChartSpec = {
      title: `${TITLES[workload]}: ${yLabel}`, xLabel: 'operations in flight', yLabel,
      // What is in several pools is drawn as in the first.
      series: [...new Map(cells.toReversed().map((c) => [c.system, c.pool]))].reverse().map(([name, pool]) => ({
        name,
        points: cells.filter((c) => c.system === name && c.pool === pool).map((c) => {
          // A round in which nothing was done has a rate, 0, and no latencies.
          const values = c.rounds.filter((m) => figure === 'perSecond' || m.operations > 0).map((m) => m[figure]);
          return { x: c.inFlight, y: c.median[figure], least: Math.min(...values), most: Math.max(...values) };
        }),
      })),
    };
    writeFileSync(join(directory, file), chart(spec));
  };
  for (const workload of new Set(r.cells.map((c) => c.workload))) {
    draw(`peers-${workload}-rate.svg`, workload, 'per second', 'perSecond');
    draw(`peers-${workload}-p99.svg`, workload, 'p99, ms', 'p99');
  }
}
