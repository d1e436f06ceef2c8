/** LevelDB 1.20 finds an older value of a key now and then (docs/DATA_LAYOUT.md): here it is put in front of the newer one. */
import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Inspection } from '../../checkpoint/inspection.ts';
import { proveKey } from '../../checkpoint/prove.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { scrubStretch } from '../../checkpoint/scrub_walk.ts';
import { Slices } from '../../checkpoint/slices.ts';
import { readMeta } from '../../checkpoint/store_meta.ts';
import { FailingStore, connect, modelRoot, openStore, temporaryDirectory } from './store_support.ts';
import { fileKey, u32 } from './tree_support.ts';

describe('where the database finds an older value in front of a newer one', () => {
  /** A store at its second checkpoint; of all that the second one changed the first one's values come in front. */
  const staleStore = async (): Promise<{ level: FailingStore; store: RecordStore; model: MemoryTable }> => {
    const directory = temporaryDirectory();
    const filled = await RecordStore.open({ directory });
    const model = new MemoryTable();
    const put = (i: number, value: number): void => {
      for (const table of [filled, model]) table.put(fileKey(i, 0), u32(value));
    };
    for (let i = 0; i < 3000; i++) put(i, 1);
    await filled.take(opNumber(1), EMPTY);
    await filled.close();
    const before = await allOf(directory);
    const again = await RecordStore.open({ directory });
    for (let i = 0; i < 3000; i += 1000) for (const table of [again, model]) table.put(fileKey(i, 0), u32(2));
    await again.take(opNumber(2), EMPTY);
    await again.close();
    const after = await allOf(directory);
    const level = await FailingStore.open(directory);
    const store = await openStore({ directory, openStore: () => Promise.resolve(level) });
    for (const [id, value] of before) {
      const isData = id.startsWith('n') || id.startsWith('r');
      if (isData && after.get(id)?.equals(value) === false) level.stale.set(id, value);
    }
    expect(level.stale.size).toBeGreaterThan(6);
    return { level, store, model };
  };
  const allOf = async (directory: string): Promise<Map<string, Buffer>> => {
    const level = await FailingStore.open(directory);
    const all = new Map<string, Buffer>();
    for await (const [key, value] of level.entries(Buffer.from('a'), Buffer.from('z'))) all.set(key.latin1Slice(), value);
    await level.close();
    return all;
  };

  test('a checkpoint has it put in order, and goes on', async () => {
    const { level, store, model } = await staleStore();
    for (let i = 0; i < 3000; i += 500) for (const table of [store, model]) table.put(fileKey(i, 0), u32(3));
    const { root } = await store.take(opNumber(3), EMPTY);
    expect(root).toBe(modelRoot(model, 3));
    expect(level.settled).toBeGreaterThan(0);
  });

  test('an inspection finds no damage, and the records as they are', async () => {
    const { level } = await staleStore();
    const { top } = await readMeta(level, 'there', EMPTY);
    const found = await new Inspection(level, new Slices(2)).run(top);
    expect(found).toMatchObject({ records: 3000, damagedNodes: 0, damaged: [] });
    expect(level.stale.size).toBe(0);
  });

  test('a scrub finds no damage', async () => {
    const { level, store } = await staleStore();
    const counts = { pages: 0, innerNodes: 0, records: 0, bytes: 0 };
    const pinned = store.pin();
    if (pinned === null) throw new Error('a checkpoint is served');
    expect(await scrubStretch(pinned, EMPTY, Infinity, counts, new Slices(2))).toBeNull();
    await pinned.release();
    expect(counts.records).toBe(3000);
    expect(level.stale.size).toBe(0);
  });

  test('a proof is of the newer record', async () => {
    const { level, store } = await staleStore();
    const pinned = store.pin();
    if (pinned === null) throw new Error('a checkpoint is served');
    for (let i = 0; i < 3000; i += 1000) expect((await proveKey(pinned, fileKey(i, 0))).value).toEqual(u32(2));
    await pinned.release();
    expect(level.stale.size).toBe(0);
  });

  test('a donor gives the newer records', async () => {
    const { level, store, model } = await staleStore();
    for (const id of [...level.stale.keys()]) if (id.startsWith('n')) level.stale.delete(id);
    expect(level.stale.size).toBe(3);
    const fetcher = await openStore();
    const { checkpoint } = store;
    if (checkpoint === null) throw new Error('it is at a checkpoint');
    await fetcher.fetch(checkpoint, [connect('donor', store)]);
    expect(fetcher.checkpoint?.root).toBe(modelRoot(model, 2));
    expect(level.settled).toBe(3);
  });

  test('what is damaged for good stays so after that', async () => {
    const { level } = await staleStore();
    const { top } = await readMeta(level, 'there', EMPTY);
    level.settle = () => Promise.resolve();
    const found = await new Inspection(level, new Slices(2)).run(top);
    expect(found.damagedNodes).toBe(1);
  });
});
