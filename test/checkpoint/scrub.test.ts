import { readFile, rm, writeFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { DirectReader, readBuffered } from '../../checkpoint/direct_file.ts';
import { examineRecords } from '../../checkpoint/examine.ts';
import { isInnerId, sentInner } from '../../checkpoint/inner_node.ts';
import { LevelStore } from '../../checkpoint/level_store.ts';
import { liveTableNames } from '../../checkpoint/level_tables.ts';
import type { RecordStore } from '../../checkpoint/record_store.ts';
import { scrubStretch, type ScrubCounts } from '../../checkpoint/scrub_walk.ts';
import { Slices } from '../../checkpoint/slices.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import { scrubTable, type TableReader } from '../../checkpoint/table_scrub.ts';
import { change, changeNodes, openStore, temporaryDirectory } from './store_support.ts';
import { fileKey } from './tree_support.ts';

function none(): ScrubCounts {
  return { pages: 0, innerNodes: 0, records: 0, bytes: 0 };
}

/** A whole walk; `between` runs between two stretches. */
async function walk(store: RecordStore, stretch: number, between: () => Promise<void> = () => Promise.resolve()): Promise<ScrubCounts> {
  const counts = none();
  for (let from: Buffer | null = EMPTY; from !== null; ) {
    const checkpoint = defined(store.pin() ?? undefined, 'a checkpoint');
    try {
      from = await scrubStretch(checkpoint, from, stretch, counts, new Slices(2));
    } finally {
      await checkpoint.release();
    }
    await between();
  }
  return counts;
}

async function filled(seed: number, records: number, directory = temporaryDirectory()): Promise<{ store: RecordStore; model: MemoryTable; directory: string }> {
  const store = await openStore({ directory });
  const model = new MemoryTable();
  change(new Prng(seed), [store], model, records);
  await store.take(opNumber(10), EMPTY);
  return { store, model, directory };
}

/** New records, and deletes of the new ones: pages split, fuse, and move on; what `model` has stays. */
function changing(store: RecordStore, model: MemoryTable): { readonly between: () => Promise<void>; readonly taken: () => number } {
  const stays = new Set([...model.entries()].map(([key]) => key.toString('hex')));
  const r = new Prng(5);
  let checkpoints = 0;
  const between = async (): Promise<void> => {
    for (let i = 0; i < 40; i++) store.put(fileKey(r.below(3000), 9, r.bytes(4)), r.bytes(30));
    // The first of all, of which none is damaged in any test.
    for (const [key] of store.range(EMPTY, Buffer.alloc(40, 0xff), 200)) if (!stays.has(key.toString('hex'))) store.delete(key);
    await store.take(opNumber(10 * (++checkpoints + 1)), EMPTY);
  };
  return { between, taken: () => checkpoints };
}

type Raw = Level<Buffer, Buffer>;
async function tamper(directory: string, act: (db: Raw) => Promise<void>): Promise<void> {
  const db: Raw = new Level(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  try {
    await act(db);
  } finally {
    await db.close();
  }
}

describe('a walk over a checkpoint', () => {
  test.each([1, 500, 20_000, Infinity])('in stretches of %d bytes meets every record once', async (stretch) => {
    for (const seed of [1, 2]) {
      const { store, model } = await filled(seed, 1500);
      const counts = await walk(store, stretch);
      expect(counts.records).toBe(model.size);
      expect(counts.bytes).toBeGreaterThan([...model.entries()].reduce((sum, [k, v]) => sum + k.length + v.length, 0));
    }
  });

  test('counts what lies in the database', async () => {
    const { store, directory } = await filled(3, 2000);
    const counts = await walk(store, Infinity);
    expect(counts.innerNodes).toBeGreaterThan(0);
    await store.close();
    let bytes = 0;
    await tamper(directory, async (db) => {
      for await (const [at, value] of db.iterator()) {
        if (at[0] === 0x6e) bytes += value.length;
        if (at[0] === 0x72) bytes += at.length - 1 + value.length;
      }
    });
    expect(counts.bytes).toBe(bytes);
  });

  test('of no records at all ends at once', async () => {
    const store = await openStore();
    expect(await walk(store, 1)).toEqual(none());
  });

  test('goes on in newer checkpoints, and meets all that was there from the beginning to the end', async () => {
    const { store, model } = await filled(4, 3000);
    const { between, taken } = changing(store, model);
    const counts = await walk(store, 4000, between);
    expect(counts.records).toBeGreaterThanOrEqual(model.size);
    expect(taken()).toBeGreaterThan(9);
  });

  // Each of them would be missed by a walk that leaves out where it lies.
  test.each([0.25, 0.6, 0.999])('goes on in newer checkpoints, and meets what lies at %d of all', async (where) => {
    const { store, model, directory } = await filled(4, 3000);
    await store.close();
    const [key] = defined([...model.entries()][Math.floor(where * model.size)], 'a record');
    await tamper(directory, (db) => db.put(Buffer.concat([Buffer.from('r'), key]), Buffer.from('other')));
    const again = await openStore({ directory });
    const error: unknown = await walk(again, 12_000, changing(again, model).between).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StoreDamageError);
    expect(String(error)).toContain(key.toString('hex'));
  });

  test.each([
    ['a record whose value has changed', async (db: Raw, key: Buffer) => { await db.put(key, Buffer.from('other')); }, /is not what was written/],
    ['a record that is lost', async (db: Raw, key: Buffer) => { await db.del(key); }, /is missing/],
  ])('finds %s', async (_what, spoil, message) => {
    const { store, model, directory } = await filled(6, 2000);
    await store.close();
    const [key] = defined([...model.entries()][1234 % model.size], 'a record');
    await tamper(directory, (db) => spoil(db, Buffer.concat([Buffer.from('r'), key])));
    const again = await openStore({ directory });
    const error: unknown = await walk(again, 10_000).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StoreDamageError);
    expect(String(error)).toMatch(message);
    expect(String(error)).toContain(key.toString('hex'));
  });

  test('finds every node that has changed, its hints too', async () => {
    const { store, directory } = await filled(7, 800);
    await store.close();
    const nodes: [Buffer, Buffer][] = [];
    await tamper(directory, async (db) => {
      for await (const [key, value] of db.iterator({ gte: Buffer.from('n'), lt: Buffer.from('o') })) nodes.push([key, value]);
    });
    expect(nodes.length).toBeGreaterThan(10);
    for (const [i, [key, value]] of nodes.entries()) {
      const damaged = Buffer.from(value);
      const at = (i * 37) % damaged.length;
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      await tamper(directory, async (db) => { await db.put(key, damaged); });
      const again = await openStore({ directory });
      await expect(walk(again, Infinity), `node ${key.toString('hex')}`).rejects.toThrow(StoreDamageError);
      await again.close();
      await tamper(directory, async (db) => { await db.put(key, value); });
    }
  });
});

test('a walk and an examination find what the hash that is stored with a node does not tell of: hashes between the slots of a node and its root that are not those of its slots, whatever its checksum says', async () => {
  const { store, directory } = await filled(8, 3000);
  await store.close();
  expect(await examineRecords(directory, [])).toMatchObject({ kind: 'whole' });
  const db = await LevelStore.open(directory, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 });
  let nodes = 0;
  await changeNodes(db, (id, node) => {
    if (!isInnerId(id)) return node;
    const other = Buffer.from(node);
    // The first of them: of the first two slots.
    const at = (sentInner(node) ?? node).length;
    other[at] = (other[at] ?? 0) ^ 1;
    nodes++;
    return other;
  });
  await db.close();
  expect(nodes).toBeGreaterThan(0);
  expect(await examineRecords(directory, [])).toMatchObject({ kind: 'damaged' });
  await expect(walk(await openStore({ directory }), Infinity)).rejects.toThrow(StoreDamageError);
});

describe('a table', () => {
  const direct = new DirectReader();
  const reader: TableReader = { read: (path) => direct.read(path), cached: readBuffered };

  async function table(): Promise<string> {
    const { store, directory } = await filled(8, 2000);
    await store.close();
    // Opened once more, so that the log becomes a table.
    await tamper(directory, async () => { /* opened and closed */ });
    return join(directory, defined((await liveTableNames(directory))?.[0], 'a table'));
  }
  async function flip(path: string): Promise<Buffer> {
    const bytes = await readFile(path);
    const damaged = Buffer.from(bytes);
    damaged[bytes.length >> 1] = (damaged[bytes.length >> 1] ?? 0) ^ 1;
    return damaged;
  }

  test('as it was written is sound', async () => {
    const path = await table();
    const { length } = await readFile(path);
    expect(await scrubTable(path, reader, new Slices(2))).toMatchObject({ kind: 'sound', bytes: length });
  });

  test('with a flipped bit is damage', async () => {
    const path = await table();
    await writeFile(path, await flip(path));
    await expect(scrubTable(path, reader, new Slices(2))).rejects.toThrow(/the table .* has 1 blocks with wrong checksums/);
    await writeFile(path, (await readFile(path)).subarray(0, 100));
    await expect(scrubTable(path, reader, new Slices(2))).rejects.toThrow(/cannot be read/);
  });

  test('that only the page cache still has is written again', async () => {
    const path = await table();
    const good = await readFile(path);
    const bad = await flip(path);
    const result = await scrubTable(path, { read: () => Promise.resolve({ bytes: bad, direct: true }), cached: readBuffered }, new Slices(2));
    expect(result).toEqual({ kind: 'rewritten', bytes: good.length });
    expect((await readFile(path)).equals(good)).toBe(true);
    const unreadable = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
    expect(await scrubTable(path, { read: () => Promise.reject(unreadable), cached: readBuffered }, new Slices(2))).toMatchObject({ kind: 'rewritten' });
    await expect(scrubTable(path, { read: () => Promise.reject(unreadable), cached: () => Promise.reject(unreadable) }, new Slices(2))).rejects.toThrow(StoreDamageError);
  });

  test('that the disk does not take again is no damage: it is whole in memory', async () => {
    const good = await readFile(await table());
    const bad = Buffer.from(good);
    bad[bad.length >> 1] = (bad[bad.length >> 1] ?? 0) ^ 1;
    // Writes to it fail as on a full disk.
    const result = await scrubTable('/dev/full', { read: () => Promise.resolve({ bytes: bad, direct: true }), cached: () => Promise.resolve(good) }, new Slices(2));
    expect(result).toMatchObject({ kind: 'unwritten', bytes: good.length, error: { code: 'ENOSPC' } });
  });

  test('that goes while it is to be written again is gone', async () => {
    const path = await table();
    const good = await readFile(path);
    const bad = await flip(path);
    const cached = async (): Promise<Buffer> => {
      await rm(path);
      return good;
    };
    expect(await scrubTable(path, { read: () => Promise.resolve({ bytes: bad, direct: true }), cached }, new Slices(2))).toEqual({ kind: 'gone' });
  });

  test('without reads past the page cache is damage at once: there is no better copy', async () => {
    const path = await table();
    const bad = await flip(path);
    await expect(scrubTable(path, { read: () => Promise.resolve({ bytes: bad, direct: false }), cached: readBuffered }, new Slices(2))).rejects.toThrow(StoreDamageError);
  });

  test('that a compaction has replaced meanwhile is gone', async () => {
    const path = await table();
    await rm(path);
    expect(await scrubTable(path, reader, new Slices(2))).toEqual({ kind: 'gone' });
  });
});

test.each([0, 1, 511, 512, 4096, 4097, 262_143, 262_144, 262_145, 600_001])('%d bytes past the page cache are those of the file', async (length) => {
  const path = join(temporaryDirectory(), 'file');
  const bytes = new Prng(length).bytes(length);
  await writeFile(path, bytes);
  const reader = new DirectReader();
  for (let i = 0; i < 2; i++) expect((await reader.read(path)).bytes.equals(bytes)).toBe(true);
  await expect(reader.read(`${path}-absent`)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(readdirSync(join(path, '..'))).toEqual(['file']);
});
