/** What a transfer takes at a time, of memory and of the event loop, whatever the target looks like and whatever a donor says. */
import { expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import type { CheckpointInfo } from '../../checkpoint/checkpoint_info.ts';
import type { RecordChange } from '../../checkpoint/checkpoint_writer.ts';
import { MemoryRecordStore, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import type { NodeSource } from '../../checkpoint/merkle_tree.ts';
import type { RecordStore } from '../../checkpoint/record_store.ts';
import { Slices } from '../../checkpoint/slices.ts';
import { MemoryOwn, recordsOfTable } from './memory_own.ts';
import { FailingStore, connect, expectSame, openStore, temporaryDirectory } from './store_support.ts';
import { fileKey, u32 } from './tree_support.ts';

interface Pair {
  readonly donor: RecordStore;
  readonly memory: MemoryRecordStore;
}

/** The same records at a donor and in memory, at op 1. */
async function pair(records: number, value: (i: number) => Buffer = u32): Promise<Pair> {
  const donor = await openStore();
  const memory = new MemoryRecordStore();
  for (const table of [donor, memory]) for (let i = 0; i < records; i++) table.put(fileKey(i, 0), value(i));
  await donor.take(opNumber(1), EMPTY);
  memory.take(opNumber(1), EMPTY);
  return { donor, memory };
}

/** Gives way as often as it may, and has the nodes counted that were read since. */
class Turns extends Slices {
  reads = 0;
  mostReads = 0;
  constructor() {
    super(0);
  }
  override async giveWay(): Promise<void> {
    this.mostReads = Math.max(this.mostReads, this.reads);
    this.reads = 0;
    await super.giveWay();
  }
}

/** Remembers how much was installed at a time, and how many nodes were read for the walk in one turn. */
class WatchedOwn extends MemoryOwn {
  readonly turns = new Turns();
  mostChanges = 0;
  override readonly source: NodeSource = (id, hash) => {
    this.turns.reads++;
    return this.unwatched(id, hash);
  };
  override install(changes: readonly RecordChange[], final: CheckpointInfo | null): Promise<void> {
    this.mostChanges = Math.max(this.mostChanges, changes.length);
    return super.install(changes, final);
  }
}

const RECORDS = 16_000;
const LIMITS = { installBytes: 256 << 10 };
/** A change counts for 128 bytes; beside that a portion, of pages that are full. */
const CHANGES_AT_ONCE = LIMITS.installBytes / 128 + 1024 + 64;
/** The nodes of a portion, and those above them. */
const READS_AT_ONCE = 200;

/** All but some files are deleted at the donor while the other was away. */
async function deleted(stays: (i: number) => boolean): Promise<Pair & { readonly before: MemoryCheckpoint; readonly target: MemoryCheckpoint }> {
  const { donor, memory } = await pair(RECORDS);
  const before = memory.checkpoint;
  for (const table of [donor, memory]) {
    for (let i = 0; i < RECORDS; i++) {
      if (!stays(i)) table.delete(fileKey(i, 0));
      else if (i % 2000 < 1000) table.put(fileKey(i, 0), u32(i + 1));
    }
  }
  await donor.take(opNumber(2), EMPTY);
  const target = memory.take(opNumber(2), EMPTY);
  expect(donor.checkpoint?.root).toBe(target.root);
  return { donor, memory, before, target };
}

const REMAINS: readonly (readonly [string, (i: number) => boolean])[] = [
  ['sixteen files', (i) => i % 1000 === 7],
  ['every 200th file', (i) => i % 200 === 0],
  ['one file', (i) => i === 12_345],
];

test.each(REMAINS)('all was deleted but %s: bounded in one turn and in one write', async (_name, stays) => {
  const { donor, before, target } = await deleted(stays);
  const own = new WatchedOwn(before);
  await own.fetch(target, [connect('d', donor)], LIMITS, {}, own.turns);
  expect(own.final?.root).toBe(target.root);
  expect(recordsOfTable(own.table)).toEqual(recordsOfTable(target.records));
  expect(own.mostChanges).toBeLessThanOrEqual(CHANGES_AT_ONCE);
  expect(own.turns.mostReads).toBeLessThan(READS_AT_ONCE);
});

test('a transfer that ends in the middle of a mass deletion goes on with what is left of it', async () => {
  const { donor, target } = await deleted((i) => i % 1000 === 7);
  for (const [remaining, failAfterWriting] of [[1, false], [3, true]] as const) {
    const directory = temporaryDirectory();
    const failing = await FailingStore.open(directory);
    const fetcher = await openStore({ directory, openStore: () => Promise.resolve(failing), fetcher: LIMITS });
    for (let i = 0; i < RECORDS; i++) fetcher.put(fileKey(i, 0), u32(i));
    await fetcher.take(opNumber(1), EMPTY);
    failing.remaining = remaining;
    failing.failAfterWriting = failAfterWriting;
    await expect(fetcher.fetch(target, [connect('d', donor)])).rejects.toThrow('ENOSPC');
    expect(failing.remaining).toBe(Infinity);
    await fetcher.fetch(target, [connect('d', donor)]);
    expect(fetcher.checkpoint).toEqual(donor.checkpoint);
    expectSame(fetcher, target.records);
  }
});
