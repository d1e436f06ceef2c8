import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { digest, opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import type { DonorConnection, FetchReport } from '../../checkpoint/fetch_report.ts';
import { FetchFailed, TargetGone } from '../../checkpoint/fetch_report.ts';
import { PAGE_RECORDS } from '../../checkpoint/page.ts';
import { RecordStore, type RecordStoreOptions } from '../../checkpoint/record_store.ts';
import { FailingStore, change, connect, expectSame, modelRoot, openStore, temporaryDirectory } from './store_support.ts';
import { fileKey, u32 } from './tree_support.ts';

interface Pair {
  readonly donor: RecordStore;
  readonly fetcher: RecordStore;
  readonly model: MemoryTable;
}

/** Two stores at the same checkpoint (op 1) of `files` files with their directory entries. */
async function pair(files: number, options: Partial<RecordStoreOptions> = {}): Promise<Pair> {
  const donor = await openStore();
  const fetcher = await openStore(options);
  const model = new MemoryTable();
  for (const store of [donor, fetcher, model]) {
    for (let i = 0; i < files; i++) {
      const directory = 1 + Math.floor(i / 50) * 51;
      store.put(fileKey(directory, 1, `file-${i}.txt`), u32(i));
      store.put(fileKey(directory + 1 + (i % 50), 0), Buffer.alloc(60, i));
    }
  }
  await donor.take(opNumber(1), EMPTY);
  await fetcher.take(opNumber(1), EMPTY);
  expect(donor.checkpoint).toEqual(fetcher.checkpoint);
  return { donor, fetcher, model };
}

async function checkFetched(fetcher: RecordStore, donor: RecordStore, model: MemoryTable, donors: DonorConnection[] = [connect('d', donor)]): Promise<FetchReport> {
  const target = donor.checkpoint;
  if (target === null) throw new Error('the donor has a checkpoint');
  const report = await fetcher.fetch(target, donors);
  expect(fetcher.checkpoint).toEqual(target);
  expect(target.root).toBe(modelRoot(model, target.op, target.extra));
  expectSame(fetcher, model);
  expect(fetcher.status()).toMatchObject({ overlayRecords: 0, frozenRecords: 0, records: model.size });
  // Its tree is a right one: it can go on from there.
  return report;
}

describe('what is fetched', () => {
  test('takes the place of what was in memory, used often or large', async () => {
    const { donor, fetcher, model } = await pair(10);
    const often = fileKey(2, 0);
    const large = fileKey(900, 0);
    for (const store of [donor, fetcher]) {
      store.put(large, Buffer.alloc(9000, 1));
      await store.take(opNumber(2), EMPTY);
      for (let i = 0; i < 40; i++) {
        store.get(often);
        store.get(large);
      }
    }
    for (const store of [donor, model]) {
      store.put(often, Buffer.from('new'));
      store.put(large, Buffer.alloc(9000, 2));
    }
    await donor.take(opNumber(3), EMPTY);
    await checkFetched(fetcher, donor, model);
  });

  test('nothing changed but the op-number: one request, little to read', async () => {
    const { donor, fetcher, model } = await pair(2000);
    await donor.take(opNumber(2), Buffer.from('other'));
    fetcher.put(fileKey(77, 0), u32(77)); // executed since, and to be dropped
    const report = await checkFetched(fetcher, donor, model);
    expect(report.requests).toBe(1);
    expect(report.bytesReceived).toBeLessThan(2048);
    expect(report.recordsChanged).toBe(0);
  });

  test('the same checkpoint: no request', async () => {
    const { donor, fetcher, model } = await pair(200);
    fetcher.put(fileKey(77, 0), u32(77));
    expect((await checkFetched(fetcher, donor, model)).requests).toBe(0);
  });

  test.each([0, 1, PAGE_RECORDS, PAGE_RECORDS + 1, 1000])('%i records into an empty store, and back to none', async (n) => {
    const donor = await openStore();
    const fetcher = await openStore();
    const model = new MemoryTable();
    for (let i = 0; i < n; i++) for (const s of [donor, model]) s.put(fileKey(i, 0), u32(i));
    await donor.take(opNumber(1), Buffer.from('e'));
    const report = await checkFetched(fetcher, donor, model);
    expect(report.recordsChanged).toBe(n);
    expect(report.stateBytes).toBe(n * 11);
    for (let i = 0; i < n; i++) for (const s of [donor, model]) s.delete(fileKey(i, 0));
    await donor.take(opNumber(2), EMPTY);
    await checkFetched(fetcher, donor, model);
    expect(fetcher.status().records).toBe(0);
  });

  test('clustered: 200 files in one directory', async () => {
    const { donor, fetcher, model } = await pair(3000);
    for (let i = 0; i < 200; i++) {
      for (const s of [donor, model]) {
        s.put(fileKey(1, 1, `new-file-${i}.dat`), Buffer.alloc(9, i));
        s.put(fileKey(900_000 + i, 0), Buffer.alloc(96, i));
      }
    }
    await donor.take(opNumber(2), EMPTY);
    const report = await checkFetched(fetcher, donor, model);
    expect(report.recordsChanged).toBe(400);
    expect(report.requests).toBe(1);
    expect((report.bytesReceived + report.bytesSent) / report.recordBytes).toBeLessThan(1.2);
  });

  test('scattered: 100 inodes changed here and there', async () => {
    const { donor, fetcher, model } = await pair(3000);
    for (let i = 0; i < 100; i++) for (const s of [donor, model]) s.put(fileKey(2 + 51 * (i % 60), 0), Buffer.alloc(60, 200 + i));
    await donor.take(opNumber(2), EMPTY);
    const report = await checkFetched(fetcher, donor, model);
    expect(report.recordsChanged).toBeLessThanOrEqual(100);
    expect(report.requests).toBe(1);
    expect(report.bytesReceived).toBeLessThan(report.stateBytes / 10);
  });

  test('rm -r of a part, and of everything but a little', async () => {
    const { donor, fetcher, model } = await pair(3000);
    const remove = (from: number, to: number): void => {
      for (const [key] of model.range(fileKey(from, 0), fileKey(to, 0), Infinity)) for (const s of [donor, model]) s.delete(key);
    };
    remove(400, 900);
    await donor.take(opNumber(2), EMPTY);
    const part = await checkFetched(fetcher, donor, model);
    expect(part.bytesReceived).toBeLessThan(part.stateBytes / 10);
    remove(60, 10_000);
    await donor.take(opNumber(3), EMPTY);
    const most = await checkFetched(fetcher, donor, model);
    expect(most.bytesReceived).toBeLessThan(8192);
  });

  test('is right after any history, and the stores go on alike', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const r = new Prng(seed);
      // Installs after every few records, so that the tree changes under the walk.
      const fetcher = await openStore({ fetcher: { maxItems: r.between(1, 20), installBytes: r.between(1, 4000), maxAnswerBytes: r.between(1, 5000) } });
      const donor = await openStore();
      const model = new MemoryTable();
      let op = 0;
      for (let round = 0; round < 5; round++) {
        const common = r.chance(0.7) && donor.checkpoint?.root === fetcher.checkpoint?.root;
        const n = r.below(r.chance(0.3) ? 3000 : 100);
        if (common) {
          change(r, [donor, fetcher], model, n);
          op++;
          await donor.take(opNumber(op), EMPTY);
          await fetcher.take(opNumber(op), EMPTY);
          expect(fetcher.checkpoint).toEqual(donor.checkpoint);
        }
        for (let more = r.between(1, 3); more > 0; more--) {
          change(r, [donor], model, r.below(r.chance(0.2) ? 2000 : 60));
          await donor.take(opNumber(++op), u32(op));
        }
        await checkFetched(fetcher, donor, model);
      }
    }
  });

  test('hints that are of no use cost bytes, never a wrong record', async () => {
    const r = new Prng(3);
    const { donor, fetcher, model } = await pair(1500);
    // Their op 2 is not the same state: what changed before "op 2" is unknown to the donor's hints.
    change(r, [donor], model, 400);
    await donor.take(opNumber(2), EMPTY);
    change(r, [fetcher], new MemoryTable(), 400);
    for (let i = 0; i < 50; i++) fetcher.delete(fileKey(2 + i, 0));
    await fetcher.take(opNumber(2), EMPTY);
    change(r, [donor], model, 100);
    await donor.take(opNumber(3), EMPTY);
    await checkFetched(fetcher, donor, model);
  });
});

describe('donors', () => {
  test('one that flips any bit is given up, and no wrong byte is installed', async () => {
    const r = new Prng(21);
    const { donor, fetcher, model } = await pair(600, { fetcher: { maxAnswerBytes: 1500 } });
    let lies = 0;
    for (let round = 2; round < 60; round++) {
      change(r, [donor], model, 40);
      await donor.take(opNumber(round), u32(round));
      let budget = r.below(4);
      const liar: DonorConnection = {
        name: 'liar',
        request: async (body) => {
          const answer = Buffer.from(await donor.serve(body));
          if (budget-- > 0) return answer;
          lies++;
          const bit = r.below(answer.length * 8);
          answer[bit >> 3] = (answer[bit >> 3] as number) ^ (1 << (bit & 7));
          return answer;
        },
      };
      await checkFetched(fetcher, donor, model, [liar, connect('honest', donor)]);
    }
    expect(lies).toBeGreaterThan(40);
  });

  test('a lone liar: the fetch fails, and what is installed until then is right', async () => {
    const r = new Prng(22);
    const { donor, fetcher, model } = await pair(600, { fetcher: { installBytes: 1, maxItems: 4, maxAnswerBytes: 600 } });
    change(r, [donor], model, 300);
    await donor.take(opNumber(2), EMPTY);
    let asked = 0;
    const liar: DonorConnection = {
      name: 'liar',
      request: async (body) => {
        const answer = Buffer.from(await donor.serve(body));
        if (asked++ > 3) answer.fill(r.below(256), answer.length >> 1);
        return answer;
      },
    };
    const target = donor.checkpoint;
    if (target === null) throw new Error('the donor has a checkpoint');
    await expect(fetcher.fetch(target, [liar])).rejects.toThrow(FetchFailed);
    expect(fetcher.checkpoint).toBeNull();
    await checkFetched(fetcher, donor, model);
  });

  test('garbage, refusals, truncations and connections that break', async () => {
    const { donor, fetcher, model } = await pair(300);
    change(new Prng(4), [donor], model, 100);
    await donor.take(opNumber(2), EMPTY);
    const bad = (name: string, request: (body: Buffer) => Promise<Buffer>): DonorConnection => ({ name, request });
    const report = await checkFetched(fetcher, donor, model, [
      bad('garbage', () => Promise.resolve(Buffer.from('<html>'))),
      bad('nothing', () => Promise.resolve(EMPTY)),
      bad('gone', () => Promise.reject(new Error('ECONNREFUSED'))),
      bad('cut', async (body) => (await donor.serve(body)).subarray(0, -1)),
      bad('refuses', (body) => donor.serve(Buffer.concat([Buffer.from([9]), body]))),
      connect('good', donor),
    ]);
    expect(report.donors.map(({ name, error }) => [name, error !== null])).toEqual([
      ['garbage', true],
      ['nothing', true],
      ['gone', true],
      ['cut', true],
      ['refuses', true],
      ['good', false],
    ]);
  });

  test('one that vanishes in the middle: the next goes on', async () => {
    const { donor, fetcher, model } = await pair(1000, { fetcher: { maxItems: 8, maxAnswerBytes: 600 } });
    change(new Prng(4), [donor], model, 600);
    await donor.take(opNumber(2), EMPTY);
    let left = 4;
    const vanishing: DonorConnection = {
      name: 'vanishing',
      request: (body) => (left-- > 0 ? donor.serve(body) : Promise.reject(new Error('socket hang up'))),
    };
    const report = await checkFetched(fetcher, donor, model, [vanishing, connect('other', donor)]);
    expect(report.donors[0]).toMatchObject({ name: 'vanishing', error: 'socket hang up' });
    expect(report.donors[1]?.requests).toBeGreaterThan(3);
  });

  test('all fail: an error that says why each did; the state is as before', async () => {
    const { donor, fetcher, model } = await pair(100);
    await donor.take(opNumber(2), EMPTY);
    const before = fetcher.checkpoint;
    fetcher.put(fileKey(9, 9), u32(9));
    const failing = { name: 'one', request: () => Promise.reject(new Error('ECONNRESET')) };
    const target = { op: opNumber(2), root: digest('x'.repeat(32)) };
    await expect(fetcher.fetch(target, [failing])).rejects.toThrow(/one: ECONNRESET/);
    await expect(fetcher.fetch(target, [])).rejects.toThrow(FetchFailed);
    expect(fetcher.checkpoint).toEqual(before);
    expect(fetcher.get(fileKey(9, 9))).toEqual(u32(9));
    expect(model.get(fileKey(9, 9))).toBeUndefined();
  });

  test('serve a checkpoint that is being fetched however many newer ones they take', async () => {
    const r = new Prng(8);
    const donor = await openStore({ servedCheckpoints: 3 });
    const fetcher = await openStore({ fetcher: { maxItems: 4, maxAnswerBytes: 600, requestsPerDonor: 1 } });
    const model = new MemoryTable();
    change(r, [donor], model, 900);
    const target = await donor.take(opNumber(1), EMPTY);
    const atTarget = model.clone();
    let op: number = target.op;
    const busy: DonorConnection = {
      name: 'busy',
      request: async (body) => {
        change(r, [donor], model, 50);
        await donor.take(opNumber(++op), EMPTY);
        return donor.serve(body);
      },
    };
    await fetcher.fetch(target, [busy]);
    expect(op).toBeGreaterThan(10);
    expect(fetcher.checkpoint).toEqual(target);
    expectSame(fetcher, atTarget);
    // The newest three, and the one that was fetched.
    expect(donor.status().donor.checkpoints.map(({ op: at }) => at)).toEqual([1, op - 2, op - 1, op]);
  });

  test('say what they have when they no longer have it', async () => {
    const { donor, fetcher, model } = await pair(300);
    const target = await donor.take(opNumber(2), EMPTY);
    for (let op = 3; op <= 12; op++) {
      change(new Prng(op), [donor], model, 30);
      await donor.take(opNumber(op), EMPTY);
    }
    const failure: unknown = await fetcher.fetch(target, [connect('d', donor)]).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TargetGone);
    const { available } = failure as TargetGone;
    expect(available.map(({ op }) => op)).toEqual([12, 11, 10, 9, 8, 7, 6, 5]);
    await fetcher.fetch(available[0] as (typeof available)[number], [connect('d', donor)]);
    expectSame(fetcher, model);
  });

  test('no more than three that are fetched are kept beside the newest, and none for ever', async () => {
    const donor = await openStore({ servedCheckpoints: 1 });
    const targets = [];
    for (let op = 1; op <= 5; op++) {
      targets.push(await donor.take(opNumber(op), u32(op)));
      const late = await openStore();
      await late.fetch(targets.at(-1) as (typeof targets)[number], [connect('d', donor)]);
    }
    await donor.take(opNumber(6), EMPTY);
    expect(donor.status().donor.checkpoints.map(({ op }) => op)).toEqual([3, 4, 5, 6]);
    const impatient = await openStore({ servedCheckpoints: 1, servedPinnedMs: 0 });
    const first = await impatient.take(opNumber(1), u32(1));
    await (await openStore()).fetch(first, [connect('d', impatient)]);
    await impatient.take(opNumber(2), EMPTY);
    await impatient.take(opNumber(3), EMPTY);
    expect(impatient.status().donor.checkpoints.map(({ op }) => op)).toEqual([3]);
  });

  test('those that nobody asks for go when they are old, the newest never', async () => {
    const donor = await openStore({ servedIdleMs: 0 });
    for (let op = 1; op <= 4; op++) await donor.take(opNumber(op), EMPTY);
    await donor.serve(Buffer.from([0]));
    expect(donor.status().donor.checkpoints.map(({ op }) => op)).toEqual([4]);
  });
});

describe('an interrupted transfer', () => {
  test('aborted at any request resumes, also against a newer checkpoint, after a restart', async () => {
    const r = new Prng(31);
    for (const stopAt of [0, 1, 2, 4, 7]) {
      const directory = temporaryDirectory();
      const limits = { fetcher: { maxItems: 6, installBytes: 500, maxAnswerBytes: 600 } };
      const { donor, model } = await pair(1200);
      let fetcher = await RecordStore.open({ directory, ...limits });
      change(r, [donor], model, 700);
      const first = await donor.take(opNumber(2), EMPTY);
      const controller = new AbortController();
      let asked = 0;
      const stopping: DonorConnection = {
        name: 'stopping',
        request: (body) => {
          if (asked++ < stopAt) return donor.serve(body);
          controller.abort(new Error('enough'));
          return new Promise<Buffer>(() => undefined); // never answers
        },
      };
      await expect(fetcher.fetch(first, [stopping], { signal: controller.signal })).rejects.toThrow('enough');
      const wasBetween = fetcher.checkpoint === null;
      if (wasBetween) expect(() => fetcher.take(opNumber(3), EMPTY)).toThrow(/between/);
      await fetcher.close();
      fetcher = await RecordStore.open({ directory, ...limits });
      expect(fetcher.checkpoint === null).toBe(wasBetween);
      change(r, [donor], model, 200);
      await donor.take(opNumber(3), EMPTY);
      const kept = fetcher.status().records;
      const report = await checkFetched(fetcher, donor, model);
      expect(report.recordsChanged).toBeLessThanOrEqual(model.size + kept);
      if (stopAt >= 7) expect(kept).toBeGreaterThan(0);
      await fetcher.close();
    }
  });

  test('by a full disk: nothing is lost, and the next fetch goes on', async () => {
    for (const [remaining, failAfterWriting] of [[0, false], [2, true], [5, false], [9, true]] as const) {
      const directory = temporaryDirectory();
      const failing = await FailingStore.open(directory);
      const { donor, model } = await pair(1200);
      const fetcher = await openStore({ directory, openStore: () => Promise.resolve(failing), fetcher: { maxItems: 6, installBytes: 500, maxAnswerBytes: 600 } });
      const target = donor.checkpoint;
      if (target === null) throw new Error('the donor has a checkpoint');
      failing.remaining = remaining;
      failing.failAfterWriting = failAfterWriting;
      await expect(fetcher.fetch(target, [connect('d', donor)])).rejects.toThrow('ENOSPC');
      await checkFetched(fetcher, donor, model);
    }
  });
});
