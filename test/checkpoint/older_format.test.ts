/** Stores that an earlier program has written. */
import { cpSync } from 'node:fs';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { examineRecords } from '../../checkpoint/examine.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { repairRecords } from '../../checkpoint/repair.ts';
import { asFormat2, change, connect, expectSame, modelRoot, openStore, temporaryDirectory } from './store_support.ts';

describe('records of format 2, whose nodes had no hashes with them', () => {
  const versionIn = async (directory: string): Promise<number | undefined> => {
    const db = new Level<string, Buffer>(directory, { valueEncoding: 'buffer' });
    const meta = await db.get('m');
    await db.close();
    return meta?.readUInt16BE('vrfs records'.length);
  };

  test('are read, repaired and written on; the first checkpoint makes them format 3', async () => {
    const r = new Prng(11);
    const directory = temporaryDirectory();
    const model = new MemoryTable();
    const store = await RecordStore.open({ directory });
    for (let i = 0; i < 60; i++) change(r, [store], model, 40);
    await store.take(opNumber(1), EMPTY);
    await store.close();
    await asFormat2(directory);
    expect(await versionIn(directory)).toBe(2);

    const examined = await examineRecords(directory, []);
    expect(examined).toMatchObject({ kind: 'whole', checkpoint: { op: 1, root: modelRoot(model, 1) } });
    const copy = temporaryDirectory();
    cpSync(directory, copy, { recursive: true });
    expect(await repairRecords(copy)).toMatchObject({ damagedNodes: 0, damagedRecords: 0, rebuilt: false });

    const again = await RecordStore.open({ directory });
    expectSame(again, model);
    await again.close();
    expect(await versionIn(directory)).toBe(2);
    for (let op = 2; op < 6; op++) {
      const mixed = await RecordStore.open({ directory });
      change(r, [mixed], model, 3);
      expect((await mixed.take(opNumber(op), EMPTY)).root).toBe(modelRoot(model, op));
      // Nodes of both formats are given to others, too.
      const other = await openStore();
      await other.fetch(defined(mixed.checkpoint ?? undefined, 'a checkpoint'), [connect('donor', mixed)]);
      expectSame(other, model);
      await mixed.close();
      expect(await versionIn(directory)).toBe(3);
      expect(await examineRecords(directory, [])).toMatchObject({ kind: 'whole', checkpoint: { root: modelRoot(model, op) } });
    }
  });
});
