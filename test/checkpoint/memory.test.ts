import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { digestToHex } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { ByteCache } from '../../checkpoint/byte_cache.ts';
import { MemoryRecordStore, emptyCheckpoint, rootOf } from '../../checkpoint/memory_record_store.ts';
import { Overlay } from '../../checkpoint/overlay.ts';
import { RecordRing } from '../../checkpoint/record_ring.ts';
import { openStore } from './store_support.ts';
import { fileKey, randomKey, u32 } from './tree_support.ts';

describe('the store in memory', () => {
  test('has the roots of the one on disk', async () => {
    const r = new Prng(1);
    const memory = new MemoryRecordStore();
    const disk = await openStore();
    expect(memory.checkpoint.root).toBe(disk.checkpoint?.root);
    for (let op = 1; op <= 6; op++) {
      for (let i = 0; i < 300; i++) {
        const key = randomKey(r, 300);
        const value = r.bytes(10);
        for (const store of [memory, disk]) {
          if (value[0] as number < 80) store.delete(key);
          else store.put(key, value);
        }
      }
      expect((await disk.take(opNumber(op), u32(op))).root).toBe(memory.take(opNumber(op), u32(op)).root);
    }
  });

  test('installs a peer\'s checkpoint, drops its own changes, and shares nothing that changes', () => {
    const a = new MemoryRecordStore();
    a.put(fileKey(1, 0), u32(1));
    const taken = a.take(opNumber(5), EMPTY);
    const b = new MemoryRecordStore(emptyCheckpoint());
    b.put(fileKey(2, 0), u32(2));
    b.install(taken);
    expect(b.get(fileKey(2, 0))).toBeUndefined();
    b.put(fileKey(3, 0), u32(3));
    expect(a.get(fileKey(3, 0))).toBeUndefined();
    expect(taken.records.size).toBe(1);
    b.delete(fileKey(3, 0));
    expect(b.take(opNumber(5), EMPTY).root).toBe(taken.root);
  });

  test('golden roots: the format of the hashes does not change unnoticed', () => {
    const records = (n: number): [Buffer, Buffer][] => Array.from({ length: n }, (_, i) => [fileKey(i * 37, 0), u32(i)]);
    expect(digestToHex(rootOf([], opNumber(0), EMPTY))).toMatchInlineSnapshot(`"c7933310387e0e8c0aa06b4586191abfbeaa8cc171c4d6c9963c8a3a141dc746"`);
    expect(digestToHex(rootOf(records(1), opNumber(1), EMPTY))).toMatchInlineSnapshot(`"3aeefecb39ac1fca5ecff2ba9eec00a0cacf676cdd6d60cca285ba00f6f5d4be"`);
    expect(digestToHex(rootOf(records(1000), opNumber(9), Buffer.from('extra')))).toMatchInlineSnapshot(`"de095bbf02e652c0b3b848db4d1e59485541b060cc1f1f695691d7ed356622a8"`);
  });
});

describe('the overlay', () => {
  test('keeps keys in order, however they come', () => {
    const r = new Prng(4);
    const overlay = new Overlay();
    const model = new Set<string>();
    for (let i = 0; i < 6000; i++) {
      const id = i % 3 === 0 ? String.fromCharCode(200) + String(i).padStart(6, '0') : r.bytes(3).toString('latin1');
      expect(overlay.set(id, i % 5 === 0 ? null : u32(i))).toBe(!model.has(id));
      model.add(id);
      if (i % 500 === 0) {
        const start = r.bytes(2).toString('latin1');
        const cursor = overlay.cursor(start);
        const want = [...model].filter((key) => key >= start).sort().slice(0, 20);
        expect(want.map(() => cursor.next())).toEqual(want);
      }
    }
    const cursor = overlay.cursor('');
    const got: string[] = [];
    for (let id = cursor.next(); id !== undefined; id = cursor.next()) got.push(id);
    expect(got).toEqual([...model].sort());
    expect(overlay.size).toBe(model.size);
  });

  test('counts the bytes that it holds', () => {
    const overlay = new Overlay();
    overlay.set('ab', u32(1));
    overlay.set('ab', Buffer.alloc(10));
    overlay.set('cd', null);
    expect(overlay.bytes).toBe(14);
    overlay.set('ab', null);
    expect(overlay.bytes).toBe(4);
  });
});

test('the cache stays within its bytes and keeps what is used', () => {
  const cache = new ByteCache(100_000);
  cache.set('hot', u32(7));
  for (let i = 0; i < 5000; i++) {
    cache.set(`k${i}`, Buffer.alloc(100));
    expect(cache.get('hot')).toEqual(u32(7));
    expect(cache.bytes).toBeLessThanOrEqual(100_500);
  }
  expect(cache.get('k0')).toBeUndefined();
  cache.delete('hot');
  expect(cache.get('hot')).toBeUndefined();
  cache.clear();
  expect(cache.bytes).toBe(0);
  expect(cache.size).toBe(0);
});

test('the cache counts what is kept beside a value', () => {
  const cache = new ByteCache(100_000, (id) => (id.startsWith('n') ? 6000 : 0));
  for (let i = 0; i < 100; i++) cache.set(`n${i}`, u32(i));
  expect(cache.bytes).toBeLessThanOrEqual(106_300);
  expect(cache.size).toBeLessThan(18);
  cache.delete('n99');
  expect(cache.get('n99')).toBeUndefined();
});

describe('the ring of records', () => {
  const idOf = (key: Buffer): string => key.toString('latin1');

  test('gives what was set last or nothing, whatever it forgets', () => {
    const r = new Prng(11);
    const ring = new RecordRing(40_000);
    const model = new Map<string, Buffer>();
    let found = 0;
    for (let i = 0; i < 50_000; i++) {
      const key = randomKey(r, 300);
      const id = idOf(key);
      const value = r.bytes(i % 7 === 0 ? 400 : 20);
      if (i % 11 === 0) {
        ring.delete(key);
        model.delete(id);
      } else if (i % 3 === 0) {
        ring.set(key, value);
        model.set(id, value);
      }
      const other = randomKey(r, 300);
      const got = ring.get(idOf(other));
      if (got === undefined) continue;
      found++;
      expect(got).toEqual(model.get(idOf(other)));
    }
    expect(found).toBeGreaterThan(2000);
    ring.clear();
    for (const id of model.keys()) expect(ring.get(id)).toBeUndefined();
  });

  test('keeps nearly all while there is room, and the newest when there is not', () => {
    const ring = new RecordRing(1 << 20);
    for (let i = 0; i < 5000; i++) ring.set(fileKey(i, 0), u32(i));
    const keptOf = (from: number, to: number): number => {
      let kept = 0;
      for (let i = from; i < to; i++) if (ring.get(idOf(fileKey(i, 0)))?.equals(u32(i)) === true) kept++;
      return kept;
    };
    // Of a full bucket even the index forgets one.
    expect(keptOf(0, 5000)).toBeGreaterThan(4950);
    expect(ring.bytes).toBeLessThan(1 << 20);
    for (let i = 5000; i < 100_000; i++) ring.set(fileKey(i, 0), u32(i));
    expect(ring.bytes).toBeLessThanOrEqual(1 << 20);
    expect(ring.get(idOf(fileKey(0, 0)))).toBeUndefined();
    expect(keptOf(95_000, 100_000)).toBeGreaterThan(4500);
  });

  test('a record that is too large for it takes the place of the smaller one before', () => {
    const ring = new RecordRing(100_000);
    ring.set(fileKey(1, 0), u32(1));
    ring.set(fileKey(1, 0), Buffer.alloc(50_000));
    expect(ring.get(idOf(fileKey(1, 0)))).toBeUndefined();
  });

  test('of hardly any bytes keeps nothing', () => {
    for (const limit of [0, 1, 95, 96, 97, 200]) {
      const ring = new RecordRing(limit);
      ring.set(fileKey(1, 0), u32(1));
      ring.set(EMPTY, EMPTY);
      ring.delete(fileKey(1, 0));
      expect(ring.get(idOf(fileKey(1, 0)))).toBeUndefined();
      // An index has one bucket at least.
      expect(ring.bytes).toBeLessThanOrEqual(Math.max(limit, 96));
    }
  });

  test('more than node gives one buffer is not asked for', () => {
    const ring = new RecordRing(2 ** 40);
    ring.set(fileKey(1, 0), EMPTY);
    expect(ring.get(idOf(fileKey(1, 0)))).toEqual(EMPTY);
  });

  test('tells what is used often', () => {
    const ring = new RecordRing(100_000);
    ring.set(fileKey(1, 0), u32(1));
    const often = Array.from({ length: 32 }, () => {
      ring.get(idOf(fileKey(1, 0)));
      return ring.isUsedOften;
    });
    expect(often.filter((o) => o)).toHaveLength(2);
  });
});
