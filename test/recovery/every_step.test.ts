/** A process that dies at any step of a checkpoint, or of a transfer, leaves a store that is whole, and goes on from there. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { RecordStore, type RecordStoreOptions } from '../../checkpoint/record_store.ts';
import { change, connect, expectSame, modelRoot, openStore, temporaryDirectory } from '../checkpoint/store_support.ts';
import { Died, DyingStore } from './dying_store.ts';
import { sized } from './size.ts';

/** The state of a directory at its checkpoint, to be copied for each death. */
interface Made {
  readonly directory: string;
  readonly model: MemoryTable;
}

async function made(seed: number, records: number): Promise<Made> {
  const directory = temporaryDirectory();
  const store = await RecordStore.open({ directory });
  const model = new MemoryTable();
  change(new Prng(seed), [store], model, records);
  await store.take(opNumber(1), EMPTY);
  await store.close();
  return { directory, model };
}

function copyOf({ directory }: Made, root: string, name: string): string {
  const copy = join(root, name);
  cpSync(directory, copy, { recursive: true });
  return copy;
}

async function openDying(directory: string, left: number, options: Partial<RecordStoreOptions> = {}): Promise<{ store: RecordStore; dying: DyingStore }> {
  const dying = await DyingStore.open(directory);
  const store = await RecordStore.open({ directory, ...options, openStore: () => Promise.resolve(dying) });
  dying.left = left;
  dying.steps = 0;
  return { store, dying };
}

describe('a process that dies', () => {
  test('at any step of a checkpoint: the store is at that one or the one before, whole, and takes it again', async () => {
    const base = await made(3, sized(300, 1500));
    const root = temporaryDirectory();
    const after = base.model.clone();
    change(new Prng(4), [], after, sized(60, 300));
    const wanted = modelRoot(after, 2);
    const seen = { before: 0, after: 0 };
    for (let left = 0, died = true; died; left++) {
      const directory = copyOf(base, root, String(left));
      const { store, dying } = await openDying(directory, left);
      change(new Prng(4), [store], base.model.clone(), sized(60, 300));
      died = await store.take(opNumber(2), EMPTY).then(() => false, (error: unknown) => {
        expect(error).toBeInstanceOf(Died);
        return true;
      });
      expect(dying.steps).toBe(died ? left : dying.steps);
      await store.close();
      const again = await RecordStore.open({ directory });
      const isAfter = again.checkpoint?.op === 2;
      seen[isAfter ? 'after' : 'before']++;
      if (!isAfter) {
        expect(again.checkpoint).toMatchObject({ op: 1, root: modelRoot(base.model, 1) });
        expectSame(again, base.model);
        change(new Prng(4), [again], base.model.clone(), sized(60, 300));
        await again.take(opNumber(2), EMPTY);
      }
      expect(again.checkpoint).toMatchObject({ op: 2, root: wanted });
      expectSame(again, after);
      await again.close();
    }
    expect(seen.before).toBeGreaterThan(60);
    // One that died after the write, and one that lived.
    expect(seen.after).toBe(2);
  });

  test('at any step of a transfer: what it holds is right, the next fetches what is left, in the end the root is the donor\'s', async () => {
    const base = await made(5, 400);
    const root = temporaryDirectory();
    const limits = { fetcher: { maxItems: 6, installBytes: 600, maxAnswerBytes: 900, requestsPerDonor: 1 } };
    const donor = await openStore({ directory: copyOf(base, root, 'donor') });
    const model = base.model.clone();
    change(new Prng(6), [donor], model, 250);
    const target = await donor.take(opNumber(2), EMPTY);
    const whole = await openStore({ directory: copyOf(base, root, 'whole'), ...limits });
    const { bytesReceived: all } = await whole.fetch(target, [connect('d', donor)]);
    const stride = sized(7, 1);
    let between = 0;
    let least = Infinity;
    for (let left = 0, died = true; died; left += stride) {
      const directory = copyOf(base, root, String(left));
      const { store } = await openDying(directory, left, limits);
      died = await store.fetch(target, [connect('d', donor)]).then(() => false, (error: unknown) => {
        expect(error).toBeInstanceOf(Died);
        return true;
      });
      await store.close();
      const again = await RecordStore.open({ directory, ...limits });
      if (again.checkpoint === null) between++;
      else if (again.checkpoint.op === 1) expectSame(again, base.model);
      else expect(again.checkpoint).toEqual(target);
      const { bytesReceived } = await again.fetch(target, [connect('d', donor)]);
      // Full nodes are asked for where a part may be here, so little more than all of it at the worst.
      expect(bytesReceived).toBeLessThan(all * 1.5);
      if (died) least = Math.min(least, bytesReceived);
      expect(again.checkpoint).toEqual(target);
      expectSame(again, model);
      await again.close();
    }
    expect(between).toBeGreaterThan(5);
    // One that died late had most of it.
    expect(least).toBeLessThan(all / 2);
  });
});
