import { cpSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { EMPTY, Writer } from '../../lib/bytes.ts';
import { crc32 } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import type { RecordValue } from '../../lib/table.ts';
import type { CheckpointInfo } from '../../checkpoint/checkpoint_info.ts';
import { stepsOf } from '../../checkpoint/checkpoint_writer.ts';
import { PAGE } from '../../checkpoint/hashes.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { ALL_END, FailingStore, change, expectSame, modelRoot, openStore, temporaryDirectory } from './store_support.ts';
import { fileKey, randomKey, u32 } from './tree_support.ts';

describe('opening', () => {
  test('a fresh directory is at op 0 with nothing in it, and stays so', async () => {
    const directory = temporaryDirectory();
    const first = await RecordStore.open({ directory, initialExtra: Buffer.from('x') });
    const { checkpoint } = first;
    expect(checkpoint).toEqual({ op: 0, root: modelRoot(new MemoryTable(), 0, Buffer.from('x')), extra: Buffer.from('x'), count: 0 });
    first.put(fileKey(1, 0), u32(1));
    await first.close();
    const second = await openStore({ directory });
    expect(second.checkpoint).toEqual(checkpoint);
    expect(second.get(fileKey(1, 0))).toBeUndefined();
  });

  test('the initial state can be put into the checkpoint of op 0', async () => {
    const directory = temporaryDirectory();
    const store = await RecordStore.open({ directory });
    store.put(fileKey(1, 0), u32(1));
    const info = await store.take(opNumber(0), Buffer.from('e'));
    expect(info).toMatchObject({ op: 0, count: 1, extra: Buffer.from('e') });
    await store.close();
    const again = await openStore({ directory });
    expect(again.checkpoint).toEqual(info);
    expect(again.get(fileKey(1, 0))).toEqual(u32(1));
  });

  test('a directory in use, of another program, of another version, damaged', async () => {
    const directory = temporaryDirectory();
    await openStore({ directory });
    await expect(RecordStore.open({ directory })).rejects.toMatchObject({ name: 'StoreOpenError', code: 'locked' });

    const foreign = temporaryDirectory();
    const other = new Level(foreign);
    await other.put('key', 'value');
    await other.close();
    await expect(RecordStore.open({ directory: foreign })).rejects.toMatchObject({ code: 'foreign' });

    for (const version of [1, 9]) {
      const another = temporaryDirectory();
      const db = new Level<string, Buffer>(another, { valueEncoding: 'buffer' });
      const meta = Buffer.concat([Buffer.from('vrfs records\u0000'), Buffer.of(version)]);
      // Version 1 had no checksum; all later ones have.
      await db.put('m', version === 1 ? meta : Buffer.concat([meta, new Writer(4).u32(crc32(meta)).finish()]));
      await db.close();
      await expect(RecordStore.open({ directory: another })).rejects.toMatchObject({
        code: 'version', message: expect.stringMatching(new RegExp(`has records of format ${version}, this program reads formats 2 and 3: use the program that wrote it`)) as string,
      });
    }

    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    await expect(RecordStore.open({ directory: file })).rejects.toThrow();
  });
});

/** A value that is bytes when it is wanted. */
class Text implements RecordValue {
  readonly text: string;
  constructor(bytes: Buffer) {
    this.text = bytes.toString('latin1');
  }
  static decode(this: void, bytes: Buffer): Text {
    return new Text(bytes);
  }
  get byteLength(): number {
    return this.text.length;
  }
  encode(): Buffer {
    return Buffer.from(this.text, 'latin1');
  }
}

describe('as a table', () => {
  test('is the model under random operations, checkpoints under way, and small caches', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const r = new Prng(seed);
      const directory = temporaryDirectory();
      const cacheBytes = seed % 2 === 0 ? 20_000 : 1 << 20;
      let store = await RecordStore.open({ directory, cacheBytes, sliceMs: 0 });
      const model = new MemoryTable();
      let op = 0;
      let taking: Promise<unknown> | null = null;
      for (let step = 0; step < 400; step++) {
        switch (r.below(8)) {
          case 0:
            if (taking === null) {
              const root = modelRoot(model, ++op);
              taking = store.take(opNumber(op), EMPTY).then((info) => {
                expect(info.root).toBe(root);
                taking = null;
              });
            }
            break;
          case 1: {
            const a = randomKey(r, 2000);
            const b = randomKey(r, 2000);
            const [start, end] = Buffer.compare(a, b) < 0 ? [a, b] : [b, a];
            const limit = r.below(30);
            expect(store.range(start, end, limit)).toEqual(model.range(start, end, limit));
            break;
          }
          case 2:
            await new Promise((resolve) => setImmediate(resolve));
            break;
          case 3: {
            const key = randomKey(r, 2000);
            expect(store.get(key)).toEqual(model.get(key));
            break;
          }
          case 4:
            if (r.chance(0.1)) expectSame(store, model);
            break;
          default:
            change(r, [store], model, r.below(40));
        }
        if (r.chance(0.01)) {
          await taking;
          await store.take(opNumber(++op), EMPTY);
          await store.close();
          store = await RecordStore.open({ directory, cacheBytes, sliceMs: 0 });
        }
      }
      await taking;
      expectSame(store, model);
      const info = await store.take(opNumber(++op), EMPTY);
      expect(info).toMatchObject({ root: modelRoot(model, op), count: model.size });
      expectSame(store, model);
      await store.close();
      const reopened = await openStore({ directory });
      expect(reopened.checkpoint).toEqual(info);
      expectSame(reopened, model);
    }
  });

  test('a record is one, decoded or as bytes, small or large, used often or not', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const r = new Prng(seed);
      const store = await openStore({ cacheBytes: seed % 2 === 0 ? 40_000 : 1 << 20, sliceMs: 0 });
      const model = new MemoryTable();
      const keys = Array.from({ length: 12 }, (_, i) => fileKey(i, 0, `name ${i}\xff`));
      const given: { readonly value: Buffer; readonly copy: Buffer }[] = [];
      const see = (value: Buffer | undefined, expected: Buffer | undefined): void => {
        expect(value).toEqual(expected);
        if (value !== undefined && given.length < 500) given.push({ value, copy: Buffer.from(value) });
      };
      let op = 0;
      let taking: Promise<unknown> | null = null;
      for (let step = 0; step < 4000; step++) {
        const key = r.pick(keys);
        const id = key.toString('latin1');
        // Many reads between two changes, so that a record is used often.
        switch (r.below(40)) {
          case 0: {
            const value = r.bytes(r.chance(0.2) ? 5000 + r.below(3000) : r.below(100));
            store.put(key, value);
            model.put(key, value);
            break;
          }
          case 1: {
            const value = new Text(r.bytes(r.below(100)));
            store.store(id, value);
            model.store(id, value);
            break;
          }
          case 2:
            store.delete(key);
            model.delete(key);
            break;
          case 3:
            see(store.range(key, ALL_END, 1)[0]?.[1], model.range(key, ALL_END, 1)[0]?.[1]);
            break;
          case 4:
            if (taking === null && r.chance(0.3)) {
              taking = store.take(opNumber(++op), EMPTY).then(() => { taking = null; });
            }
            break;
          case 5:
            await new Promise((resolve) => setImmediate(resolve));
            break;
          default:
            if (r.chance(0.5)) see(store.get(key), model.get(key));
            else expect(store.find(id, Text.decode)?.encode()).toEqual(model.get(key));
        }
      }
      await taking;
      // What was given out may be kept.
      for (const { value, copy } of given) expect(value).toEqual(copy);
      expect((await store.take(opNumber(++op), EMPTY)).root).toBe(modelRoot(model, op));
    }
  });

  test('what is written while a checkpoint is under way is not in it', async () => {
    const directory = temporaryDirectory();
    const store = await RecordStore.open({ directory });
    store.put(fileKey(1, 0), u32(1));
    store.put(fileKey(2, 0), u32(2));
    const taken = store.take(opNumber(1), EMPTY);
    store.put(fileKey(1, 0), u32(7));
    store.delete(fileKey(2, 0));
    expect(() => store.take(opNumber(2), EMPTY)).toThrow(/during a take/);
    expect((await taken).count).toBe(2);
    expect(store.get(fileKey(1, 0))).toEqual(u32(7));
    await store.close();
    const again = await openStore({ directory });
    expect(again.get(fileKey(1, 0))).toEqual(u32(1));
    expect(again.get(fileKey(2, 0))).toEqual(u32(2));
  });

  test('a checkpoint that waits for its turn is of the state when it was asked for', async () => {
    const store = await openStore();
    const model = new MemoryTable();
    const put = (i: number, value: number): void => {
      for (const table of [store, model]) table.put(fileKey(i, 0), u32(value));
    };
    for (let i = 0; i < 300; i++) put(i, 1);
    const root = modelRoot(model, 1);
    let begin = (): void => undefined;
    const taken = store.take(opNumber(1), EMPTY, new Promise<void>((resolve) => { begin = resolve; }));
    for (let i = 0; i < 300; i += 2) put(i, 2);
    // Longer than it takes to write one.
    const other = await openStore();
    for (let i = 0; i < 600; i++) other.put(fileKey(i, 0), u32(i));
    await other.take(opNumber(1), EMPTY);
    expect(store.status()).toMatchObject({ taking: true, frozenRecords: 300, overlayRecords: 150, takes: 0 });
    expect(store.checkpoint?.op).toBe(0);
    expectSame(store, model);
    begin();
    expect((await taken).root).toBe(root);
    expectSame(store, model);
    expect((await store.take(opNumber(2), EMPTY)).root).toBe(modelRoot(model, 2));
  });

  test('keys longer than the tree reads are refused', async () => {
    const store = await openStore();
    expect(() => {
      store.put(Buffer.alloc(513), EMPTY);
    }).toThrow(/at most 512/);
    store.put(Buffer.alloc(512), EMPTY);
    expect((await store.take(opNumber(1), EMPTY)).count).toBe(1);
  });
});

test('a checkpoint reads the nodes that it changes beside the event loop, also where none is in memory', async () => {
  const directory = temporaryDirectory();
  const filled = await RecordStore.open({ directory });
  const model = new MemoryTable();
  const put = (store: RecordStore, i: number, value: number): void => {
    for (const table of [store, model]) table.put(fileKey(i, 0), u32(value));
  };
  for (let i = 0; i < 20_000; i++) put(filled, i * 7, i);
  await filled.take(opNumber(1), EMPTY);
  await filled.close();
  const level = await FailingStore.open(directory);
  const store = await openStore({ directory, openStore: () => Promise.resolve(level) });
  for (let i = 0; i < 200; i++) put(store, i * 7 * 97, 1);
  level.syncReads = 0;
  const { root } = await store.take(opNumber(2), EMPTY);
  expect(level.syncReads).toBe(0);
  // From a snapshot: LevelDB makes one for each other read, on the event loop, behind whatever has the database locked.
  expect(level.manyRead.live).toBe(0);
  expect(level.manyRead.snapshot).toBeGreaterThan(0);
  expect(root).toBe(modelRoot(model, 2));
});

test('reads are of the new tree as soon as there is one, while the cache of its nodes follows', async () => {
  const store = await openStore({ sliceMs: 0 });
  const model = new MemoryTable();
  const put = (i: number, value: number): void => {
    for (const table of [store, model]) table.put(fileKey(i, 0), u32(value));
  };
  // So many that none of their pages are kept: of what is in the cache, the inner nodes, all have changed.
  const records = 60_000;
  for (let i = 0; i < records; i++) put(i, 1);
  await store.take(opNumber(1), EMPTY);
  for (let i = 0; i < records; i += 10) put(i, 2);
  let taken = false;
  const taking = store.take(opNumber(2), EMPTY).then(() => { taken = true; });
  let between = 0;
  for (let turn = 0; !taken; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (store.checkpoint?.op !== 2 || !store.status().taking) continue;
    between++;
    const start = fileKey((turn * 997) % records, 0);
    expect(store.range(start, ALL_END, 100)).toEqual(model.range(start, ALL_END, 100));
  }
  await taking;
  expect(between).toBeGreaterThan(5);
  expectSame(store, model);
});

test('new records behind those of the last checkpoint need no node read', async () => {
  const level = await FailingStore.open(temporaryDirectory());
  const store = await openStore({ openStore: () => Promise.resolve(level) });
  const add = (from: number): Promise<CheckpointInfo> => {
    for (let i = from; i < from + 1000; i++) store.put(fileKey(i, 0), u32(i));
    return store.take(opNumber(from + 1000), EMPTY);
  };
  for (let from = 0; from < 5000; from += 1000) await add(from);
  level.manyRead.snapshot = 0;
  for (let from = 5000; from < 10_000; from += 1000) await add(from);
  expect(level.manyRead).toEqual({ live: 0, snapshot: 0 });
});

describe('a checkpoint of many changes, which go through it a part at a time', () => {
  test.each([0, 1, 255, 256, 257, 512, 1500])('%i of them, some with values of more than a part', async (count) => {
    const store = await openStore({ cacheBytes: 1 << 20 });
    const model = new MemoryTable();
    for (const op of [1, 2, 3]) {
      for (let i = 0; i < count; i++) {
        const value = i % 400 === 7 ? Buffer.alloc(70_000, op) : u32(op * i);
        for (const table of [store, model]) {
          if (op === 2 && i % 3 === 0) table.delete(fileKey(i, 0));
          else table.put(fileKey(i, 0), value);
        }
      }
      expect((await store.take(opNumber(op), EMPTY)).root).toBe(modelRoot(model, op));
      expectSame(store, model);
    }
  });

  test('one of whose last part meets damage writes nothing', async () => {
    const directory = temporaryDirectory();
    const filled = await RecordStore.open({ directory });
    for (let i = 0; i < 20_000; i++) filled.put(fileKey(i, 0), u32(i));
    const first = await filled.take(opNumber(1), EMPTY);
    await filled.close();
    const db = new Level<Buffer, Buffer>(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
    // Behind 'n', the kind, and the length of the prefix.
    let lastPage: Buffer = Buffer.alloc(4);
    for await (const key of db.keys()) if (key[0] === 'n'.charCodeAt(0) && key[1] === PAGE && key.subarray(4).compare(lastPage, 4) > 0) lastPage = key;
    await db.del(lastPage);
    await db.close();
    const store = await openStore({ directory });
    for (let i = 0; i < 20_000; i += 20) store.put(fileKey(i, 0), u32(1));
    await expect(store.take(opNumber(2), EMPTY)).rejects.toMatchObject({ name: 'StoreDamageError', what: 'node' });
    expect(store.checkpoint).toEqual(first);
    for (let i = 0; i < 20_000; i += 20) expect(store.get(fileKey(i, 0))).toEqual(u32(1));
    await store.close();
    const again = await openStore({ directory });
    expect(again.checkpoint).toEqual(first);
    expect(again.get(fileKey(20, 0))).toEqual(u32(20));
  });
});

describe('a checkpoint that cannot be written', () => {
  test.each([false, true])('leaves everything readable, and a whole checkpoint on the disk (the write took effect: %s)', async (failAfterWriting) => {
    const directory = temporaryDirectory();
    const failing = await FailingStore.open(directory);
    const store = await RecordStore.open({ directory, openStore: () => Promise.resolve(failing) });
    const model = new MemoryTable();
    const r = new Prng(5);
    change(r, [store], model, 600);
    const first = await store.take(opNumber(1), EMPTY);
    const firstModel = model.clone();
    change(r, [store], model, 600);
    failing.remaining = 0;
    failing.failAfterWriting = failAfterWriting;
    const root = modelRoot(model, 2);
    const secondModel = model.clone();
    await expect(store.take(opNumber(2), EMPTY)).rejects.toThrow('ENOSPC');
    expect(store.checkpoint).toEqual(first);
    expectSame(store, model);
    change(r, [store], model, 300);
    expectSame(store, model);
    expect(() => store.take(opNumber(3), EMPTY)).toThrow(/opened anew/);
    await store.close();
    const again = await openStore({ directory });
    if (failAfterWriting) expect(again.checkpoint).toMatchObject({ op: 2, root });
    else expect(again.checkpoint).toEqual(first);
    expectSame(again, failAfterWriting ? secondModel : firstModel);
  });
});

describe('a crash', () => {
  test('at any byte of the database log leaves one of the checkpoints, whole', async () => {
    const r = new Prng(11);
    const directory = temporaryDirectory();
    const store = await openStore({ directory });
    const states: { root: string; model: MemoryTable }[] = [];
    const model = new MemoryTable();
    for (let op = 0; op <= 4; op++) {
      change(r, [store], model, 200);
      const info = await store.take(opNumber(op), EMPTY);
      states.push({ root: info.root, model: model.clone() });
    }
    const log = readdirSync(directory).find((name) => name.endsWith('.log'));
    expect(log).toBeDefined();
    const size = statSync(join(directory, log as string)).size;
    const seen = new Set<number>();
    for (let i = 0; i <= 40; i++) {
      const copy = temporaryDirectory();
      cpSync(directory, copy, { recursive: true, filter: (source) => !source.endsWith('LOCK') });
      truncateSync(join(copy, log as string), i === 40 ? size : r.below(size));
      const crashed = await RecordStore.open({ directory: copy });
      const { checkpoint } = crashed;
      expect(checkpoint).not.toBeNull();
      const at = states.find(({ root }) => root === checkpoint?.root);
      if (at === undefined) expect(checkpoint).toMatchObject({ op: 0, count: 0 });
      expectSame(crashed, at?.model ?? new MemoryTable());
      seen.add(states.findIndex((s) => s === at));
      await crashed.close();
    }
    expect(seen.size).toBeGreaterThan(2);
    expect(seen.has(4)).toBe(true);
  });

  test('while a checkpoint is under way leaves the one before or the one after', async () => {
    const r = new Prng(12);
    const directory = temporaryDirectory();
    const store = await openStore({ directory, sliceMs: 0 });
    const model = new MemoryTable();
    change(r, [store], model, 800);
    await store.take(opNumber(1), EMPTY);
    const before = model.clone();
    change(r, [store], model, 800);
    let done = false;
    const taking = store.take(opNumber(2), EMPTY).then(() => {
      done = true;
    });
    const copies: string[] = [];
    while (!done) {
      await new Promise((resolve) => setImmediate(resolve));
      if (copies.length < 60) {
        const copy = temporaryDirectory();
        cpSync(directory, copy, { recursive: true, filter: (source) => !source.endsWith('LOCK') });
        copies.push(copy);
      }
    }
    await taking;
    expect(copies.length).toBeGreaterThan(3);
    for (const copy of copies) {
      const crashed = await RecordStore.open({ directory: copy });
      expectSame(crashed, crashed.checkpoint?.op === 1 ? before : model);
      await crashed.close();
    }
  });
});

test('figures for metrics', async () => {
  const store = await openStore();
  for (let i = 0; i < 200; i++) store.put(fileKey(i, 0), u32(i));
  expect(store.status()).toMatchObject({ records: 0, overlayRecords: 200, overlayBytes: 200 * 11, takes: 0, taking: false });
  const taking = store.take(opNumber(1), EMPTY);
  expect(store.status()).toMatchObject({ frozenRecords: 200, overlayRecords: 0, taking: true });
  await taking;
  expect(store.status()).toMatchObject({ records: 200, recordBytes: 200 * 11, frozenRecords: 0, takes: 1, lastTakeRecords: 200 });
});

test('a tree is worked on a few pages, or some hundred changes of one, at a time', () => {
  const each = Array.from({ length: 100 }, (_, i) => i);
  expect(stepsOf(each, 100)).toEqual([...Array.from({ length: 6 }, () => 16), 4]);
  // A thousand changes of the first page, then one of each.
  expect(stepsOf([0, 1000, ...each.map((i) => 1001 + i)], 1101)).toEqual([512, 503, ...Array.from({ length: 5 }, () => 16), 6]);
  expect(stepsOf([], 600)).toEqual([512, 88]);
  expect(stepsOf([], 0)).toEqual([]);
  for (const steps of [stepsOf([0, 5, 9], 700), stepsOf([3, 300, 301], 302)]) expect(steps.every((n) => n > 0 && n <= 512)).toBe(true);
});
