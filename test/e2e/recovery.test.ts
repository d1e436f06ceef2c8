/**
 * Real `vrfs serve` processes that were down while the group went on: states of every size, every kind of change, donors that vanish in the midst of it, in both
 * modes; and a loop of `kill -9` at whoever is taking a checkpoint. In the end all have the root of a replica that was never down. A sample of it in
 * `npm test`, all of it in `npm run test:recovery`.
 */
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../client/file_system.ts';
import { Prng } from '../../lib/prng.ts';
import { until, type ProcessGroup } from '../support/process_group.ts';
import { LONG, sized } from '../recovery/size.ts';
import { ALL, BOUND_MS, caughtUp, equalRoots, keepsNoLog, makeGroup } from './transfer_support.ts';

const EVERY = 50;
const IN_FLIGHT = 64;
/** Files; each has three records. */
const SIZES = [0, 1, 21, 22, sized(1000, 33_400)];
const PER_DIRECTORY = 100;

const directoryOf = (i: number): string => `/d${Math.floor(i / PER_DIRECTORY)}`;
const pathOf = (i: number): string => `${directoryOf(i)}/file-${i}`;

/** Many at a time. */
async function each(numbers: Iterable<number>, work: (i: number) => Promise<void>): Promise<void> {
  const queue = numbers[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = queue.next(); next.done !== true; next = queue.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}
function range(from: number, to: number, step = 1): number[] {
  return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
}
async function write(fs: FileSystem, files: readonly number[], label: string): Promise<void> {
  for (const directory of new Set(files.map(directoryOf))) await fs.mkdir(directory, { recursive: true });
  await each(files, (i) => fs.writeFile(pathOf(i), `${label} ${i}`));
}

/** Each leaves `size` files there. */
const CHANGES: Readonly<Record<string, (fs: FileSystem, size: number) => Promise<void>>> = {
  none: () => Promise.resolve(),
  one: (fs, size) => write(fs, range(0, Math.min(1, size)), 'one'),
  clustered: (fs, size) => write(fs, range(0, Math.min(size, PER_DIRECTORY)), 'clustered'),
  scattered: (fs, size) => write(fs, range(0, size, 13), 'scattered'),
  'rm -r': async (fs, size) => {
    const directories = new Set(range(0, size, 3 * PER_DIRECTORY).map(directoryOf));
    for (const directory of directories) await fs.rm(directory, { recursive: true });
    await write(fs, range(0, size).filter((i) => directories.has(directoryOf(i)) && i % 2 === 0), 'again');
    await write(fs, range(0, size).filter((i) => directories.has(directoryOf(i)) && i % 2 === 1), 'again');
  },
  everything: async (fs, size) => {
    for (const directory of new Set(range(0, size).map(directoryOf))) await fs.rm(directory, { recursive: true });
    await write(fs, range(0, size), 'everything');
  },
};
const KINDS = Object.keys(CHANGES);

/** Until the log which the replica lacks is gone at the others: that of before their last checkpoint but one, and what they had kept for its last transfer. */
async function goOn(group: ProcessGroup, fs: FileSystem, others: readonly number[]): Promise<void> {
  const from = Math.max(...(await Promise.all(others.map((i) => group.status(i)))).map((s) => s?.op ?? 0));
  const taken = others.map(() => new Set<number>());
  await until('further checkpoints', BOUND_MS, async () => {
    for (let i = 0; i < EVERY / 2; i++) await fs.writeFile('/on', String(i));
    for (const [n, i] of others.entries()) {
      const op = (await group.status(i))?.checkpoint.op ?? 0;
      if (op > from) taken[n]?.add(op);
    }
    const keep = await Promise.all(others.map((i) => keepsNoLog(group, i)));
    return taken.every((ops) => ops.size >= 2) && keep.every((none) => none) ? true : undefined;
  });
}

/** `vanishes`: how one of the two that have the state goes while it is fetched. */
async function downWhile(group: ProcessGroup, fs: FileSystem, change: () => Promise<void>, vanishes: 'not' | 'killed' | 'paused'): Promise<void> {
  const primary = await group.primary();
  const last = (primary + 1) % 3;
  const donor = (primary + 2) % 3;
  await group.signal(last, 'SIGKILL');
  await change();
  await goOn(group, fs, [primary, donor]);
  group.start(last);
  const transferred = (under: boolean): Promise<true> => until('a transfer', BOUND_MS, async () => {
    const recovery = (await group.status(last))?.recovery;
    return recovery !== undefined && ((under && recovery.transfer !== null) || recovery.transfers > 0) ? true : undefined;
  });
  if (vanishes !== 'not') {
    await transferred(true);
    await group.signal(donor, vanishes === 'killed' ? 'SIGKILL' : 'SIGSTOP');
    if (vanishes === 'killed') {
      // The fetcher has a log of its own, and is the group together with it.
      group.start(donor);
      await caughtUp(group, donor);
    } else {
      await transferred(false);
      await group.signal(donor, 'SIGCONT');
    }
  }
  const { recovery } = await caughtUp(group, last);
  expect(recovery.transfers).toBeGreaterThan(0);
}

describe.each(['disk', 'memory'] as const)('durability %s', (durability) => {
  it('a replica that was down has the root of those that were not', async () => {
    const { group, fs } = await makeGroup(durability, { checkpointOps: EVERY, retainEntries: 0 });
    // In memory mode two that have both lost their logs would be one too many.
    const vanishes = durability === 'disk' ? 'killed' : 'paused';
    let here = 0;
    for (const [i, size] of SIZES.entries()) {
      await write(fs, range(here, size), 'new');
      here = size;
      // With each size two of the changes in the sample.
      const kinds = LONG ? KINDS : [KINDS[i % KINDS.length], KINDS[(i + 3) % KINDS.length]];
      for (const [n, kind] of kinds.entries()) {
        const change = CHANGES[kind ?? 'none'];
        await downWhile(group, fs, async () => { await change?.(fs, size); }, n % 2 === 0 ? 'not' : vanishes);
        await equalRoots(group, fs);
      }
      const names = await Promise.all([...new Set(range(0, size).map(directoryOf))].map((d) => fs.readdir(d)));
      expect(names.flat().length).toBe(size);
    }
  });

  it('replicas are killed again and again while they take checkpoints: each starts from a whole one, and nothing acknowledged is lost', async () => {
    const { group, fs } = await makeGroup(durability, { checkpointOps: 25, retainEntries: 5000 });
    const random = new Prng(durability.length);
    await fs.mkdir('/load');
    let stop = false;
    const written: string[] = [];
    const writers = Array.from({ length: 4 }, async (_, id) => {
      for (let i = 0; !stop; i++) {
        await fs.writeFile(`/load/${id}-${i}`, `content ${i}`);
        written.push(`${id}-${i}`);
      }
    });
    for (let kills = sized(durability === 'disk' ? 8 : 3, 100); kills > 0; kills--) {
      const victim = random.below(3);
      const checkpointOf = async (): Promise<number | undefined> => (await group.status(victim))?.checkpoint.op;
      const before = await until('a checkpoint to count from', BOUND_MS, checkpointOf);
      // Just after one, or some way to the next: each checkpoint is written within a few operations.
      const more = random.below(3);
      const seen = await until('further checkpoints', BOUND_MS, async () => {
        const op = await checkpointOf();
        return op !== undefined && op > before + 25 * more ? op : undefined;
      });
      await group.signal(victim, 'SIGKILL');
      group.start(victim);
      const { recovery } = await caughtUp(group, victim);
      expect(recovery.bootCheckpointOp).toBeGreaterThanOrEqual(seen);
    }
    stop = true;
    await Promise.all(writers);
    await equalRoots(group, fs);
    expect((await fs.readdir('/load')).sort()).toEqual(written.sort());
    for (const i of ALL) expect(group.log(i)).not.toMatch(/between two checkpoints|gone astray|damage/);
  });
});
