/** What a transfer takes at a time, of memory and of the event loop, whatever the target looks like and whatever a donor says. */
import { describe, expect, test } from 'vitest';
import { EMPTY, Writer } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import type { CheckpointInfo } from '../../checkpoint/checkpoint_info.ts';
import type { RecordChange } from '../../checkpoint/checkpoint_writer.ts';
import { FetchFailed, type DonorConnection } from '../../checkpoint/fetch_report.ts';
import { slotBits, slotPrefix } from '../../checkpoint/key_bits.ts';
import { MemoryRecordStore, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import type { NodeSource } from '../../checkpoint/merkle_tree.ts';
import type { RecordStore } from '../../checkpoint/record_store.ts';
import { Slices } from '../../checkpoint/slices.ts';
import { beginAnswer, decodeRequest, encodeRequest, putInner, putPage, type AnswerSlot, type NodePlace } from '../../checkpoint/transfer_messages.ts';
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

describe('what a donor tells', () => {
  /** Tells more and more below a top that has not the content it tells; no hash of it is right, and each byte of it becomes a hundred when all of it is decoded. */
  function inflated(target: MemoryCheckpoint): Buffer {
    const nibbles = 1000;
    const hash = target.top?.hash ?? EMPTY;
    const under = (slot: number): AnswerSlot => ({ kind: 'inner', hash, nibbles: nibbles + 1, prefix: slotPrefix(Buffer.alloc(500), nibbles, slot) });
    const place: NodePlace = { kind: 'inner', bits: nibbles * 4, prefix: Buffer.alloc(500) };
    const w = new Writer();
    beginAnswer(w, { count: target.count, extra: target.extra, top: { place, hash } });
    const inner = Array.from({ length: 16 }, (_, slot) => under(slot));
    const pages = Array.from({ length: 16 }, (): AnswerSlot => ({ kind: 'page', span: 1, hash }));
    putInner(w, inner, nibbles);
    for (let i = 0; i < 16; i++) putInner(w, pages, nibbles + 1);
    for (let i = 0; i < 16; i++) {
      const prefix = slotPrefix(Buffer.alloc(500), nibbles, i);
      for (let slot = 0; slot < 16; slot++) {
        const at: NodePlace = { kind: 'page', bits: slotBits(nibbles + 1, 1), prefix: slotPrefix(prefix, nibbles + 1, slot) };
        putPage(w, { kind: 'page', complete: true, fingerprints: null, records: Array.from({ length: 64 }, (_, n) => ({ key: Buffer.concat([at.prefix, Buffer.from([n])]), value: EMPTY })) }, at);
      }
    }
    return w.finish();
  }

  test('below a node that does not hash right is not decoded', async () => {
    const target = (await pair(300)).memory.checkpoint;
    const answer = inflated(target);
    const own = new MemoryOwn(new MemoryRecordStore().checkpoint);
    let before = 0;
    const failed: unknown = await own.fetch(target, [{
      name: 'liar',
      request: () => {
        before = process.memoryUsage().arrayBuffers;
        return Promise.resolve(answer);
      },
    }]).catch((error: unknown) => error);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * answer.length);
    expect(failed).toBeInstanceOf(FetchFailed);
    expect(String(failed)).toContain('does not hash');
  });

  test('beyond what was asked for is not used, and it is asked no more', async () => {
    const { donor, memory } = await pair(6000, (i) => Buffer.alloc(100, i));
    const target = memory.checkpoint;
    const talkative: DonorConnection = {
      name: 'talkative',
      request: (body) => {
        const request = decodeRequest(body);
        if (!request.ok) throw new Error(request.reason);
        return donor.serve(encodeRequest({ ...request.value, maxBytes: 8 << 20 }));
      },
    };
    const limits = { maxAnswerBytes: 4000 };
    await expect(new MemoryOwn(new MemoryRecordStore().checkpoint).fetch(target, [talkative], limits)).rejects.toThrow('more than 4000 bytes, which were asked for');
    const own = new MemoryOwn(new MemoryRecordStore().checkpoint);
    const report = await own.fetch(target, [talkative, connect('honest', donor)], limits);
    expect(own.final?.root).toBe(target.root);
    expect(report.donors.map(({ error }) => error === null)).toEqual([false, true]);
  });

  test('of itself, whole, and wrongly is a lie although only changes were asked for', async () => {
    const { donor, memory } = await pair(40);
    const before = memory.checkpoint;
    for (const table of [donor, memory]) for (let i = 0; i < 40; i++) table.put(fileKey(i, 0), u32(i + 1));
    await donor.take(opNumber(2), EMPTY);
    const target = memory.take(opNumber(2), EMPTY);
    const liar: DonorConnection = {
      name: 'liar',
      request: async (body) => {
        const answer = Buffer.from(await donor.serve(body));
        answer[answer.length - 1] = 0xff - (answer.at(-1) as number);
        return answer;
      },
    };
    const own = new MemoryOwn(before);
    const report = await own.fetch(target, [liar, connect('honest', donor)], { requestsPerDonor: 1 });
    expect(own.final?.root).toBe(target.root);
    expect(report.donors[0]).toMatchObject({ requests: 1, error: 'its page at 0 bits does not hash to what the node above says' });
  });

  test('and is not used takes no memory until the next write', async () => {
    const { donor, memory } = await pair(6000, (i) => (i % 60 === 0 ? u32(i) : Buffer.alloc(2000, i)));
    const before = memory.checkpoint;
    for (const table of [donor, memory]) for (let i = 0; i < 6000; i += 60) table.put(fileKey(i, 0), u32(i + 1));
    const target = memory.take(opNumber(2), EMPTY);
    // It has the state by a transfer, so that all of it is of op 2 as far as it knows.
    const second = await openStore();
    await second.fetch(await donor.take(opNumber(2), EMPTY), [connect('d', donor)]);
    let held = 0;
    class HoldingOwn extends MemoryOwn {
      override install(changes: readonly RecordChange[], final: CheckpointInfo | null): Promise<void> {
        const blocks = new Set(changes.flatMap(({ key, value, entry }) => [key, value, entry]).map((bytes) => bytes?.buffer));
        held = Math.max(held, [...blocks].reduce((sum, block) => sum + (block?.byteLength ?? 0), 0));
        return super.install(changes, final);
      }
    }
    const own = new HoldingOwn(before);
    const report = await own.fetch(target, [connect('second', second)]);
    expect(own.final?.root).toBe(target.root);
    expect(report.recordsChanged).toBe(100);
    expect(report.bytesReceived).toBeGreaterThan(10_000_000);
    expect(held).toBeLessThan(50_000);
  });
});
