/** How far a transfer says that it is. */
import { expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import type { FetchProgress, FetchReport } from '../../checkpoint/fetch_report.ts';
import type { RecordStore } from '../../checkpoint/record_store.ts';
import { connect, openStore } from './store_support.ts';
import { fileKey } from './tree_support.ts';

/** What is told on the way when one fetches the other's checkpoint. */
async function watched(donor: RecordStore, fetcher: RecordStore): Promise<{ seen: FetchProgress[]; report: FetchReport }> {
  const seen: FetchProgress[] = [];
  const target = donor.checkpoint;
  if (target === null) throw new Error('the donor has no checkpoint');
  const report = await fetcher.fetch(target, [connect('d', donor)], { onProgress: (p) => { seen.push(p); } });
  for (const [i, p] of seen.entries()) {
    expect(p.settled).toBeGreaterThanOrEqual(seen[i - 1]?.settled ?? 0);
    expect(p.verified).toBeGreaterThanOrEqual(seen[i - 1]?.verified ?? 0);
  }
  const last = seen.at(-1);
  expect(last?.settled).toBeCloseTo(1, 9);
  expect(last).toMatchObject({ wanted: 0, bytesReceived: report.bytesReceived });
  expect(last?.etaMs).toBeCloseTo(0, 3);
  return { seen, report };
}

const small = { fetcher: { maxAnswerBytes: 4000 } };

test('progress goes from nothing to all of it, and says what is left', async () => {
  const donor = await openStore();
  for (let i = 0; i < 4000; i++) donor.put(fileKey(i, 0), Buffer.alloc(80, i));
  await donor.take(opNumber(1), EMPTY);
  const { seen, report } = await watched(donor, await openStore(small));
  expect(seen[0]?.settled).toBeLessThan(0.2);
  const middle = seen[seen.length >> 1];
  expect(middle?.wanted).toBeGreaterThan(0);
  expect(middle?.etaMs).toBeGreaterThan(0);
  expect(report.recordsChanged).toBe(4000);
});

test('where most records lie in one corner of the tree, what else there is does not count for nearly all', async () => {
  const donor = await openStore();
  const fetcher = await openStore(small);
  const put = (stores: RecordStore[], corner: number, count: number): void => {
    for (let i = 0; i < count; i++) for (const store of stores) store.put(Buffer.from([corner << 4, ...fileKey(i, 0)]), Buffer.alloc(20, i));
  };
  put([donor, fetcher], 15, 1000);
  await fetcher.take(opNumber(1), EMPTY);
  await donor.take(opNumber(1), EMPTY);
  for (let corner = 0; corner < 15; corner++) put([donor], corner, corner === 0 ? 6000 : 10);
  await donor.take(opNumber(2), EMPTY);
  const { seen, report } = await watched(donor, fetcher);
  expect(seen.length).toBeGreaterThan(10);
  expect(report.recordsChanged).toBe(6140);
  for (const p of seen) {
    expect(p.settled).toBeLessThanOrEqual((1000 + p.recordsChanged) / 7140 + 1e-9);
  }
  // What is left takes as long for each as what has come.
  const early = seen.filter((p) => p.recordsChanged >= 140 && p.recordsChanged < 3000);
  expect(early.length).toBeGreaterThan(3);
  for (const p of early) expect(p.etaMs).toBeCloseTo(p.milliseconds * (6140 - p.recordsChanged) / p.recordsChanged, 6);
  expect(seen[seen.length >> 1]?.settled).toBeGreaterThan(0.3);
});

test('one that is resumed says of the whole what is here, and of the rest how long it takes', async () => {
  const donor = await openStore();
  for (let i = 0; i < 4000; i++) donor.put(fileKey(i, 0), Buffer.alloc(80, i));
  const target = await donor.take(opNumber(1), EMPTY);
  const fetcher = await openStore({ fetcher: { maxAnswerBytes: 4000, installBytes: 1000 } });
  const stop = new AbortController();
  const first = fetcher.fetch(target, [connect('d', donor)], { signal: stop.signal, onProgress: (p) => { if (p.recordsChanged > 3000) stop.abort(new Error('stopped')); } });
  await expect(first).rejects.toThrow('stopped');
  const { seen, report } = await watched(donor, fetcher);
  expect(report.recordsChanged).toBeLessThan(1100);
  const middle = seen.find((p) => p.recordsChanged >= report.recordsChanged / 2);
  expect(middle?.settled).toBeGreaterThan(0.8);
  expect(middle?.etaMs).toBeLessThan((middle?.milliseconds ?? 0) * 2);
});

test('what goes at the same time is not taken for what has come', async () => {
  const donor = await openStore();
  const fetcher = await openStore(small);
  const inCorner = (corner: number, i: number): Buffer => Buffer.from([corner << 4, ...fileKey(i, 0)]);
  for (let i = 0; i < 3000; i++) for (const store of [donor, fetcher]) store.put(inCorner(15, i), Buffer.alloc(20, i));
  for (const store of [donor, fetcher]) await store.take(opNumber(1), EMPTY);
  for (let i = 0; i < 3000; i++) donor.delete(inCorner(15, i));
  for (let corner = 0; corner < 15; corner++) for (let i = 0; i < (corner === 0 ? 6000 : 10); i++) donor.put(inCorner(corner, i), Buffer.alloc(20, i));
  await donor.take(opNumber(2), EMPTY);
  const { seen, report } = await watched(donor, fetcher);
  expect(report.recordsChanged).toBe(9140);
  // All that goes has gone, and of what comes there is little.
  const early = seen.filter((p) => p.recordsChanged > 3000 && p.recordsChanged <= 3200);
  expect(early.length).toBeGreaterThan(0);
  for (const p of early) expect(p.settled).toBeLessThan(0.6);
});

test('where little has changed it is the part of that which is here', async () => {
  const donor = await openStore();
  const fetcher = await openStore(small);
  for (let i = 0; i < 4000; i++) for (const store of [donor, fetcher]) store.put(fileKey(i, 0), Buffer.alloc(80, i));
  for (const store of [donor, fetcher]) await store.take(opNumber(1), EMPTY);
  for (let i = 0; i < 4000; i += 20) donor.put(fileKey(i, 0), Buffer.alloc(80, 255));
  await donor.take(opNumber(2), EMPTY);
  const { seen } = await watched(donor, fetcher);
  const middle = seen[seen.length >> 1];
  expect(middle?.settled).toBeGreaterThan(0.2);
  expect(middle?.settled).toBeLessThan(0.8);
});
