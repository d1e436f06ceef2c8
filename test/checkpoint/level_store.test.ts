import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Prng } from '../../lib/prng.ts';
import { LevelStore } from '../../checkpoint/level_store.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import { temporaryDirectory } from './store_support.ts';

const key = (n: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(n);
  return out;
};

async function filled(): Promise<LevelStore> {
  const store = await LevelStore.open(temporaryDirectory(), { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 });
  onTestFinished(() => store.close());
  const batch = store.batch();
  // Every third number, and none from 6000 to 9000.
  for (let n = 0; n < 15_000; n += 3) if (n < 6000 || n > 9000) batch.put(key(n), Buffer.from(`value of ${n}`));
  await batch.write();
  return store;
}

const range = (from: number, to: number, step: number): number[] => Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

test('a walk reads what single reads do: neighbours, runs with gaps between them, scattered ones, ones that there are none of', async () => {
  const store = await filled();
  const snapshot = store.snapshot();
  onTestFinished(() => snapshot.close());
  const random = new Prng(5);
  const cases: number[][] = [
    [], [0], [1], [20_000], range(0, 15_000, 3), range(0, 15_000, 1), range(0, 15_000, 999), range(3000, 12_000, 3),
    [...range(0, 900, 3), ...range(4500, 4530, 3), ...range(12_000, 12_900, 3), 14_999, 15_001],
    ...Array.from({ length: 50 }, () => {
      const chosen = new Set<number>();
      for (let run = random.below(12); run >= 0; run--) {
        const from = random.below(15_500);
        for (const n of range(from, from + random.below(600), 1 + random.below(5))) chosen.add(n);
      }
      return [...chosen].sort((a, b) => a - b);
    }),
  ];
  for (const numbers of cases) expect(await snapshot.walk(numbers.map(key))).toEqual(await snapshot.getMany(numbers.map(key)));
});

test('a batch has copies of keys and values', async () => {
  const store = await filled();
  const batch = store.batch();
  const [scratch, value] = [key(1), Buffer.from('first')];
  batch.put(scratch, value);
  scratch.writeUInt32BE(2);
  value.write('other');
  batch.put(scratch, value);
  scratch.fill(0xff);
  value.fill(0xff);
  await batch.write();
  expect([store.getSync(key(1)), store.getSync(key(2)), store.getSync(scratch)].map(String)).toEqual(['first', 'other', 'undefined']);
});

test('a walk reads the database as it was', async () => {
  const store = await filled();
  const snapshot = store.snapshot();
  onTestFinished(() => snapshot.close());
  const batch = store.batch();
  for (let n = 0; n < 3000; n += 3) batch.put(key(n), Buffer.from('later'));
  batch.put(key(1), Buffer.from('later'));
  await batch.write();
  const values = await snapshot.walk(range(0, 30, 1).map(key));
  expect(values.map(String)).toEqual(range(0, 30, 1).map((n) => (n % 3 === 0 ? `value of ${n}` : 'undefined')));
});

test('what lies at a key is not compacted where a table has rotted: that would give the damage a good checksum', async () => {
  const directory = temporaryDirectory();
  const limits = { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 };
  const filled = await LevelStore.open(directory, limits);
  const batch = filled.batch();
  for (let i = 0; i < 1000; i++) batch.put(Buffer.from(`k${i}`), Buffer.alloc(100, i));
  await batch.write();
  await filled.close();
  // Opened again it makes a table of its log.
  const store = await LevelStore.open(directory, limits);
  await store.settle(Buffer.from('k7'));
  expect(await store.getMany([Buffer.from('k7')])).toEqual([Buffer.alloc(100, 7)]);
  const [table] = readdirSync(directory).filter((name) => name.endsWith('.ldb'));
  if (table === undefined) throw new Error('there is a table');
  const bytes = readFileSync(join(directory, table));
  bytes[100] = (bytes[100] as number) ^ 1;
  writeFileSync(join(directory, table), bytes);
  await expect(store.settle(Buffer.from('k7'))).rejects.toThrow(StoreDamageError);
  expect(readFileSync(join(directory, table))).toEqual(bytes);
  // One that was refused is in nobody's way.
  bytes[100] = (bytes[100] as number) ^ 1;
  writeFileSync(join(directory, table), bytes);
  await store.settle(Buffer.from('k7'));
  await store.close();
});
