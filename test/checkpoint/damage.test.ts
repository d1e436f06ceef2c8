/** Damaged databases: nothing of them is served, and what is missing after a repair is fetched, and little else. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { sha256Bytes } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { HASH_BYTES, PAGE, innerHashOf, rootHash } from '../../checkpoint/hashes.ts';
import { hashedInner, innerId } from '../../checkpoint/inner_node.ts';
import { StoreOpenError } from '../../checkpoint/key_value_store.ts';
import { PAGE_RECORDS } from '../../checkpoint/page.ts';
import { LevelStore } from '../../checkpoint/level_store.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { repairRecords } from '../../checkpoint/repair.ts';
import { isMarkedSalvaged } from '../../checkpoint/salvage_mark.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import { META_KEY, decodeMeta, encodeMeta, nodeKey } from '../../checkpoint/store_keys.ts';
import { unsealNode } from '../../checkpoint/stored_node.ts';
import { ALL_END, connect, expectSame, openStore, sealed, temporaryDirectory } from './store_support.ts';
import { fileKey, u32 } from './tree_support.ts';

const EXTRA = Buffer.from('extra');
const RECORDS = 3000;

function keyOf(i: number): Buffer {
  return fileKey(1 + (i % 40), 2, `file-${i}`);
}

type Raw = Level<Buffer, Buffer>;

/** Changes the database itself, behind the store's back. */
async function tamper(directory: string, change: (db: Raw) => Promise<void>): Promise<void> {
  const db: Raw = new Level(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  await change(db);
  await db.close();
}

function recordAt(key: Buffer): Buffer {
  return Buffer.concat([Buffer.from('r'), key]);
}

async function keysOf(db: Raw, first: string): Promise<Buffer[]> {
  return db.keys({ gte: Buffer.from(first), lt: Buffer.of(first.charCodeAt(0) + 1) }).all();
}

/** A donor and a copy of it, at the same checkpoint, taken in three steps so that there are older values too. */
class Pair {
  /** The newest state, and the states by checkpoint. */
  readonly model: MemoryTable;
  readonly models: readonly MemoryTable[];
  /** The checkpoint that the last `read` found. */
  readOp = -1;
  readonly directory: string;
  readonly donor: RecordStore;

  private constructor(directory: string, donor: RecordStore, models: readonly MemoryTable[]) {
    this.directory = directory;
    this.donor = donor;
    this.models = models;
    this.model = defined(models[3], 'state');
  }

  static async make(records = RECORDS): Promise<Pair> {
    const original = temporaryDirectory();
    let store = await RecordStore.open({ directory: original });
    const models = [new MemoryTable()];
    for (let op = 1; op <= 3; op++) {
      const model = defined(models[op - 1], 'state').clone();
      for (let i = op - 1; i < records; i += op) {
        const value = Buffer.concat([u32(i), Buffer.alloc(40, op)]);
        store.put(keyOf(i), value);
        model.put(keyOf(i), value);
      }
      models.push(model);
      await store.take(opNumber(op), EXTRA);
      if (op < 3) {
        // When it is opened the database makes a table of its log: the first two states are in tables, the third in the log.
        await store.close();
        store = await RecordStore.open({ directory: original });
      }
    }
    await store.close();
    const directory = temporaryDirectory();
    cpSync(original, directory, { recursive: true });
    return new Pair(directory, await openStore({ directory: original }), models);
  }

  /** Reads everything; resolves to the damage that was met, and checks that nothing wrong was read. */
  async read(): Promise<StoreDamageError | StoreOpenError | null> {
    let store: RecordStore;
    try {
      store = await RecordStore.open({ directory: this.directory });
    } catch (error) {
      if (error instanceof StoreOpenError) return error;
      throw error;
    }
    try {
      return this.#readAll(store);
    } finally {
      await store.close();
    }
  }

  #readAll(store: RecordStore): StoreDamageError | null {
    let met: StoreDamageError | null = null;
    const guarded = (read: () => void): void => {
      try {
        read();
      } catch (error) {
        if (!(error instanceof StoreDamageError)) throw error;
        met ??= error;
      }
    };
    // A database that has lost its end is at an older checkpoint, and says so.
    this.readOp = store.checkpoint?.op ?? -1;
    const model = defined(this.models[this.readOp], 'state of the checkpoint');
    for (const [key] of this.model.entries()) {
      guarded(() => { expect(store.get(key)?.toString('hex'), key.toString('hex')).toBe(model.get(key)?.toString('hex')); });
      guarded(() => { expect(store.get(Buffer.concat([key, Buffer.of(1)]))).toBeUndefined(); });
    }
    guarded(() => { expect(store.range(EMPTY, ALL_END, Infinity)).toEqual(model.range(EMPTY, ALL_END, Infinity)); });
    return met;
  }

  /** Repairs and fetches; afterwards all is as at the donor. Returns what travelled. */
  async mend(): Promise<{ bytesReceived: number; recordsChanged: number; report: Awaited<ReturnType<typeof repairRecords>> }> {
    const report = await repairRecords(this.directory);
    const store = await RecordStore.open({ directory: this.directory });
    try {
      expect(store.checkpoint, 'not taken for a state').toBeNull();
      const { bytesReceived, recordsChanged } = await store.fetch(defined(this.donor.checkpoint ?? undefined, 'checkpoint'), [connect('donor', this.donor)]);
      expect(store.checkpoint).toEqual(this.donor.checkpoint);
      expectSame(store, this.model);
      return { bytesReceived, recordsChanged, report };
    } finally {
      await store.close();
    }
  }

  /** The same where there may be nothing to repair; false: all had to be fetched. */
  async mendOrFetchAll(): Promise<boolean> {
    try {
      await this.mend();
      return true;
    } catch (error) {
      if (!(error instanceof StoreOpenError) && !(error instanceof StoreDamageError)) throw error;
    }
    rmSync(this.directory, { recursive: true });
    const store = await RecordStore.open({ directory: this.directory });
    await store.fetch(defined(this.donor.checkpoint ?? undefined, 'checkpoint'), [connect('donor', this.donor)]);
    expectSame(store, this.model);
    await store.close();
    return false;
  }
}

const SOME = keyOf(1235);

test('a tree with a hash in it that only a repair compares, and a root by it: a fetch notices, and a repair makes it anew', async () => {
  const pair = await Pair.make();
  await tamper(pair.directory, async (db) => {
    const meta = decodeMeta(defined(await db.get(META_KEY), 'the description'));
    if (meta === 'foreign' || 'version' in meta || !meta.ok || meta.value.state.kind !== 'checkpoint' || meta.value.top?.kind !== 'inner') throw new Error('a checkpoint with an inner node as its top');
    const { top, state: { info } } = meta.value;
    const stored = defined(await db.get(nodeKey(innerId(top))), 'the top');
    const body = Buffer.from(stored.subarray(0, stored.length - HASH_BYTES - 4));
    // The two hashes below the root over its slots: one of them is not made anew when one slot changes.
    const two = body.subarray(body.length - 2 * HASH_BYTES);
    two[0] = (two[0] ?? 0) ^ 1;
    two[HASH_BYTES] = (two[HASH_BYTES] ?? 0) ^ 1;
    const hash = innerHashOf(hashedInner(body).head, sha256Bytes(two));
    await db.put(nodeKey(innerId(top)), sealed(innerId(top), Buffer.concat([body, hash])));
    await db.put(META_KEY, encodeMeta({ top: { ...top, hash, id: undefined }, state: { kind: 'checkpoint', info: { ...info, root: rootHash(info.op, info.count, info.extra, hash) } } }));
  });
  expect(await pair.read()).toBeNull();

  const changed = Buffer.from('another');
  pair.donor.put(SOME, changed);
  pair.model.put(SOME, changed);
  await pair.donor.take(opNumber(4), EXTRA);
  const store = await RecordStore.open({ directory: pair.directory });
  await expect(store.fetch(defined(pair.donor.checkpoint ?? undefined, 'checkpoint'), [connect('donor', pair.donor)])).rejects.toMatchObject({ name: 'StoreDamageError', what: 'node' });
  await store.close();
  const { recordsChanged, report } = await pair.mend();
  expect(report).toMatchObject({ damagedNodes: 1, damagedRecords: 0, rebuilt: true });
  expect(recordsChanged).toBe(1);
});

describe('a record in the database', () => {
  const damages: [string, (db: Raw) => Promise<void>][] = [
    ['with one bit flipped', async (db) => {
      const value = defined(await db.get(recordAt(SOME)), 'value');
      value[20] = (value[20] ?? 0) ^ 1;
      await db.put(recordAt(SOME), value);
    }],
    ['that is missing', (db) => db.del(recordAt(SOME))],
    ['that is as it was in an older checkpoint', (db) => db.put(recordAt(SOME), Buffer.concat([u32(1235), Buffer.alloc(40, 1)]))],
    ['that is empty', (db) => db.put(recordAt(SOME), EMPTY)],
  ];
  for (const [what, damage] of damages) {
    test(`${what} is never read, and its page alone is fetched`, async () => {
      const pair = await Pair.make();
      expect(await pair.read()).toBeNull();
      await tamper(pair.directory, damage);
      expect(await pair.read()).toMatchObject({ name: 'StoreDamageError', what: 'record', message: expect.stringContaining(SOME.toString('hex')) as string });
      const { bytesReceived, recordsChanged, report } = await pair.mend();
      expect(report).toMatchObject({ records: pair.model.size, damagedRecords: 1, damagedNodes: 0, rebuilt: false });
      expect(recordsChanged).toBe(1);
      // The page of the record in full, and the nodes on the way to it.
      expect(bytesReceived).toBeLessThan(2 * PAGE_RECORDS * (SOME.length + 44));
      expect(await pair.read()).toBeNull();
    });
  }

  test('is not donated: the donor finds its own damage', async () => {
    const pair = await Pair.make(500);
    await tamper(pair.directory, (db) => db.put(recordAt(keyOf(0)), Buffer.from('wrong')));
    const damaged = await RecordStore.open({ directory: pair.directory });
    const fetcher = await openStore();
    const errors: unknown[] = [];
    const donor = { name: 'damaged', request: (body: Buffer) => damaged.serve(body).catch((error: unknown) => { errors.push(error); throw error; }) };
    await expect(fetcher.fetch(defined(pair.donor.checkpoint ?? undefined, 'checkpoint'), [donor])).rejects.toMatchObject({ name: 'FetchFailed' });
    expect(errors[0]).toBeInstanceOf(StoreDamageError);
    await damaged.close();
  });

  test('stops a checkpoint only when it is in the way: a page that cannot be read', async () => {
    const pair = await Pair.make(500);
    await tamper(pair.directory, async (db) => {
      for (const key of await keysOf(db, 'n')) if (key[1] === PAGE) await db.put(key, Buffer.from('wrong'));
    });
    const store = await RecordStore.open({ directory: pair.directory });
    store.put(keyOf(0), u32(9));
    await expect(store.take(opNumber(4), EXTRA)).rejects.toThrow(StoreDamageError);
    expect(store.checkpoint?.op).toBe(3);
    await store.close();
    await pair.mend();
  });

  test('many of them, in many pages', async () => {
    const pair = await Pair.make();
    const r = new Prng(3);
    const keys = new Map<string, Buffer>();
    for (let i = 0; i < 100; i++) {
      const n = r.below(RECORDS);
      const key = keyOf(n);
      keys.set(key.toString('hex'), key);
    }
    await tamper(pair.directory, async (db) => { for (const key of keys.values()) await db.del(recordAt(key)); });
    const { recordsChanged, report } = await pair.mend();
    expect(report.damagedRecords).toBe(keys.size);
    expect(recordsChanged).toBe(keys.size);
  });
});

describe('a node of the tree', () => {
  // `sent`: where the hashes begin that are stored with it.
  const damages: [string, (node: Buffer, sent: number) => Buffer | null][] = [
    ['that is missing', () => null],
    ['with a flipped bit in what is hashed', (node) => flipped(node, 8)],
    ['with a flipped bit in its hints', (node, sent) => flipped(node, sent - 12)],
    ['with a flipped bit in the first hash that is stored with it', (node, sent) => flipped(node, sent)],
    ['with a flipped bit in its hash', (node) => flipped(node, node.length - 12)],
    ['with a flipped bit in its checksum', (node) => flipped(node, node.length - 1)],
    ['that is cut off', (node) => node.subarray(0, 2)],
  ];
  for (const kind of ['page', 'inner node'] as const) {
    for (const [what, damage] of damages) {
      test(`${what}, a ${kind}: nothing wrong is read, and the tree is made anew of the records`, async () => {
        const pair = await Pair.make();
        await tamper(pair.directory, async (db) => {
          const keys = (await keysOf(db, 'n')).filter((key) => (key[1] === PAGE) === (kind === 'page'));
          const key = defined(keys[keys.length >> 1], kind);
          const stored = defined(await db.get(key), 'node');
          const node = damage(stored, unsealNode(key.latin1Slice(1, key.length), stored).length);
          if (node === null) await db.del(key);
          else await db.put(key, node);
        });
        expect(await pair.read()).toMatchObject({ name: 'StoreDamageError', what: 'node' });
        const { recordsChanged, report } = await pair.mend();
        expect(report).toMatchObject({ damagedNodes: 1, rebuilt: true });
        expect(recordsChanged).toBe(0);
        expect(await pair.read()).toBeNull();
      });
    }
  }
});

function flipped(bytes: Buffer, at: number): Buffer {
  const out = Buffer.from(bytes);
  out[at] = (out[at] ?? 0) ^ 0x10;
  return out;
}

test('nodes of records that are lost do not stay when the state has become smaller meanwhile', async () => {
  const pair = await Pair.make();
  await tamper(pair.directory, async (db) => {
    const [node] = await keysOf(db, 'n');
    const records = await keysOf(db, 'r');
    await db.batch([defined(node, 'node'), ...records].map((key) => ({ type: 'del', key })));
  });
  for (const [i, [key]] of [...pair.model.entries()].entries()) {
    if (i < 20) continue;
    pair.donor.delete(key);
    pair.model.delete(key);
  }
  await pair.donor.take(opNumber(4), EXTRA);
  const { report } = await pair.mend();
  expect(report).toMatchObject({ rebuilt: true, damagedNodes: 1 });
  await pair.donor.close();
  const nodes = async (directory: string): Promise<string[]> => {
    let ids: string[] = [];
    await tamper(directory, async (db) => { ids = (await keysOf(db, 'n')).map((key) => key.toString('hex')); });
    return ids;
  };
  expect(await nodes(pair.directory)).toEqual(await nodes(pair.donor.directory));
});

test('what a repair left undone is not taken for a state', async () => {
  const pair = await Pair.make(500);
  await repairRecords(pair.directory);
  const store = await openStore({ directory: pair.directory });
  expect(store.checkpoint).toBeNull();
});

describe('a flipped bit in any file of the database', () => {
  const STEP = 487;

  test('is noticed or does not matter, and what it cost is fetched', async () => {
    const pair = await Pair.make(400);
    const files = new Map(readdirSync(pair.directory).filter((name) => name !== 'LOCK' && !name.startsWith('LOG')).map((name) => [name, readFileSync(join(pair.directory, name))]));
    expect(new Set([...files.keys()].map((name) => name.replace(/\d+/, '')))).toEqual(new Set(['.ldb', '.log', 'CURRENT', 'MANIFEST-']));
    const seen = { noticed: 0, harmless: 0, older: 0, setAside: 0 };
    let n = 0;
    for (const [name, bytes] of files) {
      for (let at = n % STEP; at < bytes.length; at += bytes.length < 1000 ? 23 : STEP) {
        rmSync(pair.directory, { recursive: true });
        mkdirSync(pair.directory);
        for (const [other, content] of files) writeFileSync(join(pair.directory, other), other === name ? flipped(content, at) : content);
        const met = await pair.read();
        if (met === null) seen[pair.readOp === 3 ? 'harmless' : 'older']++;
        else seen.noticed++;
        // Fetching what was lost takes longer than finding it: every seventh.
        if (met !== null && n % 7 === 0 && !(await pair.mendOrFetchAll())) seen.setAside++;
        n++;
      }
    }
    expect(n).toBeGreaterThan(120);
    expect(seen.noticed).toBeGreaterThan(n / 4);
    // One in the log can cost its last checkpoint, whole.
    expect(seen.older).toBeGreaterThan(0);
    expect(seen.setAside).toBeLessThan(n / 20);
  });

  test('of its tables costs the block that it is in: the others are not fetched', async () => {
    const pair = await Pair.make();
    // The newest: what the older ones hold was overwritten.
    const table = defined(readdirSync(pair.directory).filter((name) => name.endsWith('.ldb')).sort().at(-1), 'table');
    const path = join(pair.directory, table);
    const whole = readFileSync(path);
    // Records lie behind nodes, and of the nodes in there none is in use any more.
    writeFileSync(path, flipped(whole, Math.floor(whole.length * 0.85)));
    expect(await pair.read()).toMatchObject({ name: 'StoreOpenError', code: 'damaged', message: expect.stringContaining(`the table ${table} has 1 blocks with wrong checksums`) as string });
    const { bytesReceived, recordsChanged, report } = await pair.mend();
    expect(report.rebuilt || report.damagedRecords > 0).toBe(true);
    const stateBytes = pair.donor.status().recordBytes;
    expect(recordsChanged).toBeLessThan(pair.model.size / 4);
    expect(bytesReceived).toBeLessThan(stateBytes / 3);
    expect(await pair.read()).toBeNull();
  });
});

describe('a flipped bit in the log of the database, which holds many checkpoints', () => {
  const OPS = 12;
  const LEVEL_OPTIONS = { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 };

  /** A donor, and a copy of it that nobody has opened since. */
  async function logged(): Promise<{ donor: RecordStore; model: MemoryTable; directory: string; path: string; log: Buffer }> {
    const original = temporaryDirectory();
    const written = await RecordStore.open({ directory: original });
    const model = new MemoryTable();
    for (let op = 1; op <= OPS; op++) {
      for (let i = op; i < 2000; i += OPS) {
        const value = Buffer.concat([u32(i), Buffer.alloc(40, op)]);
        written.put(keyOf(i), value);
        model.put(keyOf(i), value);
      }
      await written.take(opNumber(op), EXTRA);
    }
    await written.close();
    const directory = temporaryDirectory();
    cpSync(original, directory, { recursive: true });
    const path = join(directory, defined(readdirSync(directory).find((name) => name.endsWith('.log')), 'log'));
    return { donor: await openStore({ directory: original }), model, directory, path, log: readFileSync(path) };
  }

  async function mend({ donor, model, directory }: Awaited<ReturnType<typeof logged>>): Promise<{ recordsChanged: number; report: Awaited<ReturnType<typeof repairRecords>> }> {
    const report = await repairRecords(directory);
    expect(await isMarkedSalvaged(directory)).toBe(false);
    const store = await RecordStore.open({ directory });
    try {
      expect(store.checkpoint, 'not taken for a state').toBeNull();
      const { recordsChanged } = await store.fetch(defined(donor.checkpoint ?? undefined, 'checkpoint'), [connect('donor', donor)]);
      expect(store.checkpoint).toEqual(donor.checkpoint);
      expectSame(store, model);
      return { recordsChanged, report };
    } finally {
      await store.close();
    }
  }

  test('is known when it is opened, before anything is read, and what was lost is fetched', async () => {
    for (const part of [0.1, 0.3, 0.5, 0.8]) {
      const pair = await logged();
      expect(pair.log.length).toBeGreaterThan(10 << 15);
      writeFileSync(pair.path, flipped(pair.log, Math.floor(pair.log.length * part)));
      const refused = { name: 'StoreOpenError', code: 'damaged', message: expect.stringMatching(/the log \d+\.log of the database has a record that does not check at byte \d+/) as string };
      await expect(RecordStore.open({ directory: pair.directory })).rejects.toMatchObject(refused);
      // It was not touched by that.
      await expect(RecordStore.open({ directory: pair.directory })).rejects.toMatchObject(refused);
      const { recordsChanged, report } = await mend(pair);
      expect(report.damagedNodes + report.damagedRecords).toBeGreaterThan(0);
      // Of the batch that was lost, and of what lay in the same block.
      expect(recordsChanged).toBeLessThan(pair.model.size / 2);
    }
  });

  test('in its last record costs the last checkpoint, as a torn one does, and is no damage', async () => {
    const { directory, path, log } = await logged();
    for (const bytes of [flipped(log, log.length - 100), log.subarray(0, log.length - 100), Buffer.concat([log.subarray(0, log.length - 3000), Buffer.alloc(5000)])]) {
      const copy = temporaryDirectory();
      cpSync(directory, copy, { recursive: true });
      writeFileSync(join(copy, basename(path)), bytes);
      const store = await RecordStore.open({ directory: copy });
      expect(store.checkpoint?.op).toBe(OPS - 1);
      expect(store.range(EMPTY, ALL_END, Infinity).length).toBeGreaterThan(1000);
      await store.close();
    }
  });

  test('is still known when the repair was interrupted after the database had been opened', async () => {
    const pair = await logged();
    writeFileSync(pair.path, flipped(pair.log, pair.log.length >> 1));
    await (await LevelStore.openSalvaged(pair.directory, LEVEL_OPTIONS)).close();
    await expect(RecordStore.open({ directory: pair.directory })).rejects.toMatchObject({ name: 'StoreOpenError', code: 'damaged', message: expect.stringContaining('a repair of it was interrupted') as string });
    await mend(pair);
    await (await RecordStore.open({ directory: pair.directory })).close();
  });

  test('is noticed when the database is opened again after a write that failed', async () => {
    const directory = temporaryDirectory();
    const store = await LevelStore.open(directory, LEVEL_OPTIONS);
    for (let i = 0; i < 5; i++) {
      const batch = store.batch();
      batch.put(u32(i), Buffer.alloc(20_000, i));
      await batch.write();
    }
    const path = join(directory, defined(readdirSync(directory).find((name) => name.endsWith('.log')), 'log'));
    writeFileSync(path, flipped(readFileSync(path), 50_000));
    await expect(store.reopen()).rejects.toMatchObject({ name: 'StoreDamageError', what: 'database' });
    await store.close();
  });
});
