/** Which checkpoints stay readable: the newest few that are asked for, and those that somebody holds on to. */
import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import type { RecordStore } from '../../checkpoint/record_store.ts';
import { openStore } from './store_support.ts';

const HOUR = 3_600_000;

async function take(store: RecordStore, op: number): Promise<void> {
  store.put(Buffer.from('k'), Buffer.from(`${op}`));
  await store.take(opNumber(op), EMPTY);
}
function ops(store: RecordStore): number[] {
  return store.held().map(({ info }) => info.op);
}

describe('a checkpoint that is held on to', () => {
  test('stays when others go, as it was, and goes when it is let go of', async () => {
    const store = await openStore({ servedIdleMs: 0 });
    await take(store, 1);
    expect(store.keep(opNumber(1), HOUR)).toBe('kept');
    for (const op of [2, 3, 4, 5, 6]) await take(store, op);
    expect(ops(store)).toEqual([6, 1]);
    expect(store.held().map(({ keptMs }) => keptMs > HOUR / 2)).toEqual([false, true]);
    const at = store.pin(opNumber(1));
    expect(at?.info.op).toBe(1);
    await at?.release();
    expect(store.keep(opNumber(1), 0)).toBe('kept');
    await take(store, 7);
    expect(ops(store)).toEqual([7]);
    expect(store.keep(opNumber(1), HOUR)).toBe('gone');
  });

  test('takes no room from those that transfers ask for', async () => {
    const store = await openStore({ servedCheckpoints: 2, servedIdleMs: HOUR });
    await take(store, 1);
    store.keep(opNumber(1), HOUR);
    for (const op of [2, 3, 4]) await take(store, op);
    expect(ops(store)).toEqual([4, 3, 1]);
  });

  test('is one of four at most; time may be added to each of them', async () => {
    const store = await openStore({ servedIdleMs: 0 });
    for (const op of [1, 2, 3, 4]) {
      await take(store, op);
      expect(store.keep(opNumber(op), HOUR)).toBe('kept');
    }
    await take(store, 5);
    expect(store.keep(opNumber(5), HOUR)).toBe('too many');
    expect(store.keep(opNumber(2), 2 * HOUR)).toBe('kept');
    expect(store.keep(opNumber(1), 0)).toBe('kept');
    expect(store.keep(opNumber(5), HOUR)).toBe('kept');
  });
});
