/** `npm run bench -- NAME [options]`. Speed is shown here, never asserted in a test. */
import { Command, InvalidArgumentError } from 'commander';
import type { Durability } from '../../vr/configuration.ts';
import { benchCheckpoint } from './checkpoint.ts';
import { local } from './local.ts';
import { print } from './report.ts';

function positive(text: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n <= 0) throw new InvalidArgumentError('a number above 0');
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
  .command('checkpoint')
  .description('what a checkpoint and a state transfer cost, for three shapes of change')
  .option('--records <n>', 'records in the store', positive, 100_000)
  .option('--json', 'one JSON object')
  .action(async (f: { readonly records: number; readonly json?: boolean }) => {
    print(await benchCheckpoint(f.records), f.json === true);
  });

await program.parseAsync();
