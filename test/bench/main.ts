/** `npm run bench -- NAME [options]`. Speed is shown here, never asserted in a test. */
import { spawnSync } from 'node:child_process';
import { Command, InvalidArgumentError } from 'commander';
import { REPLICA_NODE_ARGUMENTS } from '../../cli/compiled_main.ts';
import type { Durability } from '../../vr/configuration.ts';
import { backup } from './backup.ts';
import { benchCheckpoint } from './checkpoint.ts';
import { local } from './local.ts';
import { WORKLOADS, type Workload } from './peers/matrix.ts';
import { OUTAGE_SYSTEMS, outageText, transferPeers, type OutageSystem } from './peers/outage.ts';
import { peers, type PeersOptions, type PeersReport } from './peers/peers.ts';
import { peersText } from './peers/peers_text.ts';
import { SYSTEMS, type SystemName } from './peers/pools.ts';
import { print } from './report.ts';
import { scale } from './scale.ts';
import { soak } from './soak.ts';
import { benchTransfer } from './transfer.ts';
import { wan } from './wan.ts';

function positive(text: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n <= 0) throw new InvalidArgumentError('a number above 0');
  return n;
}
function notNegative(text: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n < 0) throw new InvalidArgumentError('0 or a number above it');
  return n;
}
function list(text: string): number[] {
  return text.split(',').map(positive);
}
function modes(text: string): Durability[] {
  return text.split(',').map((m) => {
    if (m !== 'disk' && m !== 'memory') throw new InvalidArgumentError('disk, memory or both with a comma');
    return m;
  });
}
function among<T extends string>(allowed: readonly T[]): (text: string) => T[] {
  return (text) => text.split(',').map((t) => {
    const found = allowed.find((a) => a === t);
    if (found === undefined) throw new InvalidArgumentError(`some of ${allowed.join(', ')}, with commas`);
    return found;
  });
}

interface LocalFlags {
  readonly replicas: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly inFlight: number[];
  readonly durability: Durability[];
  readonly checkpointOps?: number;
  readonly node: string[];
  readonly cpuProf?: string;
  readonly json?: boolean;
}

/** What measures a replica's code in this process, or in one that this forks. */
const IN_THIS_PROCESS: readonly (string | undefined)[] = ['backup', 'checkpoint', 'transfer'];

/** Starts this program anew as a replica is started, and ends with it. */
function startAsReplica(): void {
  const { error, status } = spawnSync(process.execPath, [...REPLICA_NODE_ARGUMENTS, ...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit' });
  if (error !== undefined) throw error;
  process.exit(status ?? 1);
}

const program = new Command('bench').description('Benchmarks. Each prints a table, or with --json one object.');

program
  .command('local')
  .description('creates/s and stats/s of a group on this machine')
  .option('--replicas <n>', 'replicas', positive, 3)
  .option('--rounds <n>', 'runs of each measurement; the median is reported', positive, 3)
  .option('--seconds <n>', 'length of a run', positive, 4)
  .option('--in-flight <list>', 'operations under way at once', list, [1, 16, 64, 256])
  .option('--durability <modes>', 'disk, memory or both', modes, ['disk', 'memory'])
  .option('--checkpoint-ops <n>', 'operations between checkpoints', positive)
  .option('--node <argument...>', 'for node, before the program of each replica: --node=--max-semi-space-size=32', [])
  .option('--cpu-prof <dir>', 'run the replicas with --cpu-prof and keep the profiles here')
  .option('--json', 'one JSON object')
  .action(async (f: LocalFlags) => {
    const { replicas, rounds, seconds, inFlight } = f;
    print(await local({ replicas, rounds, seconds, inFlight, modes: f.durability, checkpointOps: f.checkpointOps, nodeArguments: f.node, cpuProfiles: f.cpuProf }), f.json === true);
  });

program
  .command('backup')
  .description('CPU of one create in its parts, in one process: what can be seen of a change of a microsecond')
  .option('--intervals <n>', 'checkpoints, each of 1000 creates; the median is reported', positive, 60)
  .option('--json', 'one JSON object')
  .action(async (f: { readonly intervals: number; readonly json?: boolean }) => {
    print(await backup(f.intervals), f.json === true);
  });

program
  .command('checkpoint')
  .description('what a checkpoint costs, for three shapes of change')
  .option('--records <n>', 'records in the store', positive, 1_000_000)
  .option('--growth-from <n>', 'compare with so many records', positive)
  .option('--json', 'one JSON object')
  .action(async (f: { readonly records: number; readonly growthFrom?: number; readonly json?: boolean }) => {
    print(await benchCheckpoint(f.records, f.growthFrom ?? null, say), f.json === true);
  });

const QUICK_TRANSFER = { records: 20_000, changed: 200, rounds: 2, loss: { files: 3000, inFlight: 64, seconds: 1 } };
const FULL_TRANSFER = { records: 1_000_000, changed: 1000, rounds: 5, loss: { files: 150_000, inFlight: 64, seconds: 25 } };

program
  .command('transfer')
  .description('what a state transfer moves against what has changed, how long it takes, and what clients of its donors lose meanwhile')
  .option('--records <n>', `records in the store (default: ${FULL_TRANSFER.records})`, positive)
  .option('--rounds <n>', `runs of each measurement; the median is reported (default: ${FULL_TRANSFER.rounds})`, positive)
  .option('--quick', 'a smoke test: a small state, two rounds')
  .option('--json', 'one JSON object')
  .action(async (f: { readonly records?: number; readonly rounds?: number; readonly quick?: boolean; readonly json?: boolean }) => {
    const preset = f.quick === true ? QUICK_TRANSFER : FULL_TRANSFER;
    print(await benchTransfer({ ...preset, records: f.records ?? preset.records, rounds: f.rounds ?? preset.rounds, say }), f.json === true);
  });

program
  .command('scale')
  .description('what a large tree costs: throughput beside an empty one, memory, stalls of the event loop, start and fail-over')
  .option('--inodes <n>', 'files in the tree', positive, 5_000_000)
  .option('--seconds <n>', 'length of a measurement of throughput, of which there are three', positive, 5)
  .option('--rounds <n>', 'starts and fail-overs; the median is reported', positive, 3)
  .option('--json', 'one JSON object')
  .action(async (f: { readonly inodes: number; readonly seconds: number; readonly rounds: number; readonly json?: boolean }) => {
    print(await scale({ inodes: f.inodes, seconds: f.seconds, rounds: f.rounds, say }), f.json === true);
  });

program
  .command('soak')
  .description('full load for an hour: rates, memory and view changes by the minute')
  .option('--minutes <n>', 'how long', positive, 60)
  .option('--in-flight <n>', 'operations under way at once', positive, 64)
  .option('--json', 'one JSON object')
  .action(async (f: { readonly minutes: number; readonly inFlight: number; readonly json?: boolean }) => {
    print(await soak({ minutes: f.minutes, inFlight: f.inFlight, say }), f.json === true);
  });

program
  .command('wan')
  .description('replicas far from one another, in the virtual time of the simulator')
  .option('--delays <list>', 'one way between two sites, milliseconds', list, [1, 5, 20, 50, 100])
  .option('--in-flight <n>', 'operations of the client under way at once', positive, 64)
  .option('--json', 'one JSON object')
  .action((f: { readonly delays: number[]; readonly inFlight: number; readonly json?: boolean }) => {
    print(wan({ delaysMs: f.delays, inFlight: f.inFlight }), f.json === true);
  });

interface PeersFlags {
  readonly only?: SystemName[];
  readonly workloads: Workload[];
  readonly inFlight?: number[];
  readonly rounds?: number;
  readonly seconds?: number;
  readonly firstLoad?: number;
  readonly connections: number;
  readonly byteCreates?: number;
  readonly directory?: string;
  readonly plots: string | false;
  readonly cpuProf?: string;
  readonly quick?: boolean;
  readonly json?: boolean;
}

/** Progress goes where it does not mix with the result. */
function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
function printPeers(r: PeersReport, json: boolean): void {
  process.stdout.write(json ? `${JSON.stringify(r)}\n` : peersText(r));
  // What was asked for is not all there: a script has to see that.
  if (r.leftOut.length > 0) process.exitCode = 1;
}

const QUICK = { rounds: 1, seconds: 0.5, warmUpSeconds: 0.2, firstLoadSeconds: 0, inFlight: [1, 64], byteCreates: 0 };
const FULL = { rounds: 3, seconds: 3, warmUpSeconds: 1, firstLoadSeconds: 15, inFlight: [1, 16, 64, 256], byteCreates: 20_000 };

function peersOptions(f: PeersFlags): PeersOptions {
  const preset = f.quick === true ? QUICK : FULL;
  return {
    systems: f.only ?? SYSTEMS, workloads: f.workloads, inFlight: f.inFlight ?? preset.inFlight, rounds: f.rounds ?? preset.rounds, seconds: f.seconds ?? preset.seconds,
    warmUpSeconds: preset.warmUpSeconds, firstLoadSeconds: f.firstLoad ?? preset.firstLoadSeconds, connections: f.connections, byteCreates: f.byteCreates ?? preset.byteCreates, install: f.quick !== true,
    directory: f.directory, cpuProfiles: f.cpuProf, plots: f.plots === false || f.quick === true ? undefined : f.plots, say,
  };
}

program
  .command('peers')
  .description('etcd, ZooKeeper and vrfs in one run; installs their Debian packages where they are missing, as root')
  .option('--only <systems>', `some of ${SYSTEMS.join(', ')}`, among(SYSTEMS))
  .option('--workloads <list>', `some of ${WORKLOADS.join(', ')}`, among(WORKLOADS), [...WORKLOADS])
  .option('--in-flight <list>', `operations under way at once (default: ${FULL.inFlight.join(',')})`, list)
  .option('--rounds <n>', `runs of each measurement, in turn with the other systems'; the median is reported (default: ${FULL.rounds})`, positive)
  .option('--seconds <n>', `length of a run (default: ${FULL.seconds})`, positive)
  .option('--first-load <seconds>', `full load of each system before the first run of a workload, so that it has warmed up (default: ${FULL.firstLoadSeconds})`, notNegative)
  .option('--connections <n>', 'connections to the one that leads, and to each for reads at any', positive, 1)
  .option('--byte-creates <n>', `creates of which the bytes are counted (default: ${FULL.byteCreates})`, positive)
  .option('--directory <dir>', 'where the data of the servers lies, on a disk; default: the folder for temporary files')
  .option('--plots <dir>', 'where the plots go', 'docs/bench')
  .option('--no-plots', 'draw none')
  .option('--cpu-prof <dir>', 'run the replicas of vrfs with --cpu-prof, which slows them down, and keep the profiles here')
  .option('--quick', 'a smoke test: short runs, nothing installed, no plots')
  .option('--json', 'one JSON object')
  .action(async (f: PeersFlags) => { printPeers(await peers(peersOptions(f)), f.json === true); });

program
  .command('ceiling')
  .description('what three Node processes and this load could reach at most: batches, group commit, coalesced replies, and no service')
  .option('--rounds <n>', 'runs of each measurement; the median is reported', positive, FULL.rounds)
  .option('--seconds <n>', 'length of a run', positive, FULL.seconds)
  .option('--in-flight <list>', 'operations under way at once', list, FULL.inFlight)
  .option('--directory <dir>', 'where the journals lie, on a disk; default: the folder for temporary files')
  .option('--json', 'one JSON object')
  .action(async (f: { readonly rounds: number; readonly seconds: number; readonly inFlight: number[]; readonly directory?: string; readonly json?: boolean }) => {
    const { rounds, seconds, inFlight, directory } = f;
    printPeers(await peers({ systems: ['probe', 'probe-memory'], workloads: ['create'], inFlight, rounds, seconds, warmUpSeconds: FULL.warmUpSeconds, firstLoadSeconds: FULL.firstLoadSeconds, connections: 1, byteCreates: 0, install: false, directory, plots: undefined, cpuProfiles: undefined, say }), f.json === true);
  });

program
  .command('transfer-peers')
  .description('bytes sent to a follower that was down while entries were changed: etcd, ZooKeeper and vrfs; as root')
  .option('--only <systems>', `some of ${OUTAGE_SYSTEMS.join(', ')}`, among(OUTAGE_SYSTEMS), [...OUTAGE_SYSTEMS])
  .option('--entries <n>', 'entries that there are, each with 64 bytes of content', positive, 100_000)
  .option('--changed <n>', 'entries that are changed, evenly spread', positive, 1000)
  .option('--times <list>', 'how often each is changed; an outage for each number', list, [1, 100])
  .option('--rounds <n>', 'outages of each kind', positive, 5)
  .option('--directory <dir>', 'where the data of the servers lies, on a disk; default: the folder for temporary files')
  .option('--json', 'one JSON object')
  .action(async (f: { readonly only: OutageSystem[]; readonly entries: number; readonly changed: number; readonly times: number[]; readonly rounds: number; readonly directory?: string; readonly json?: boolean }) => {
    const result = await transferPeers({ systems: f.only, entries: f.entries, changed: f.changed, times: f.times, rounds: f.rounds }, f.directory, say);
    process.stdout.write(f.json === true ? `${JSON.stringify(result)}\n` : outageText(result));
  });

if (IN_THIS_PROCESS.includes(process.argv[2]) && !REPLICA_NODE_ARGUMENTS.every((argument) => process.execArgv.includes(argument))) startAsReplica();
await program.parseAsync();
