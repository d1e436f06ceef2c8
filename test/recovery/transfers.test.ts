/** Transfers of every size, after every kind of change, from good and bad donors: always the root of who was never down. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import type { DonorConnection } from '../../checkpoint/fetch_report.ts';
import { PAGE_RECORDS } from '../../checkpoint/page.ts';
import { RecordStore, type RecordStoreOptions } from '../../checkpoint/record_store.ts';
import { encodeGone } from '../../checkpoint/transfer_messages.ts';
import { ALL_END, connect, modelRoot, openStore, temporaryDirectory } from '../checkpoint/store_support.ts';
import { fileKey, u32 } from '../checkpoint/tree_support.ts';
import { LONG } from './size.ts';

const SIZES = [0, 1, PAGE_RECORDS, PAGE_RECORDS + 1, LONG ? 100_000 : 3000];
const DIRECTORY = 50;

type Change = (r: Prng, size: number, put: (key: Buffer, value: Buffer) => void, remove: (key: Buffer) => void) => void;
/** The i-th record: 50 inodes a directory, next to each other. */
const keyOf = (i: number): Buffer => fileKey(1 + i, 0);
const some = (size: number): number => Math.min(1000, Math.max(1, size >> 2));

const CHANGES: Readonly<Record<string, Change>> = {
  none: () => undefined,
  one: (r, size, put) => { put(keyOf(r.below(size + 1)), r.bytes(40)); },
  clustered: (r, size, put) => {
    const from = r.below(Math.max(1, size - some(size)));
    for (let i = 0; i < some(size); i++) put(keyOf(from + i), r.bytes(40));
  },
  scattered: (r, size, put, remove) => {
    for (let i = 0; i < some(size); i++) {
      const key = keyOf(r.below(2 * size + 1));
      if (r.chance(0.3)) remove(key);
      else put(key, r.bytes(r.below(60)));
    }
  },
  'rm -r': (r, size, _put, remove) => {
    const directories = Math.max(1, Math.floor(size / DIRECTORY));
    for (let n = 0; n < Math.min(50, directories); n++) {
      const first = r.below(directories) * DIRECTORY;
      for (let i = 0; i < DIRECTORY; i++) remove(keyOf(first + i));
    }
  },
  everything: (r, size, put, remove) => {
    for (let i = 0; i < size; i++) {
      if (i % 3 === 0) remove(keyOf(i));
      else put(keyOf(i), u32(r.below(2 ** 31)));
      if (i % 5 === 0) put(keyOf(2 * size + i), r.bytes(30));
    }
  },
};

/** What is asked of the fetcher beside a good donor: nothing wrong is installed, and the good one is enough. */
const BAD: Readonly<Record<string, (donor: RecordStore, r: Prng) => DonorConnection[]>> = {
  'none bad': () => [],
  'one lies': (donor, r) => [{
    name: 'liar',
    request: async (body) => {
      const answer = Buffer.from(await donor.serve(body));
      const at = r.below(answer.length);
      answer[at] = (answer[at] as number) ^ (1 << r.below(8));
      return answer;
    },
  }],
  'one lies now and then': (donor, r) => [{
    name: 'unsteady',
    request: async (body) => {
      const answer = Buffer.from(await donor.serve(body));
      const at = r.below(answer.length);
      if (r.chance(0.3)) answer[at] = (answer[at] as number) ^ (1 << r.below(8));
      return answer;
    },
  }],
  'one vanishes': (donor) => {
    let left = 1;
    return [{ name: 'vanishing', request: (body) => (left-- > 0 ? donor.serve(body) : Promise.reject(new Error('ECONNRESET'))) }];
  },
  'one stalls': (donor) => {
    let left = 1;
    return [{ name: 'stalling', request: (body) => (left-- > 0 ? donor.serve(body) : new Promise<Buffer>(() => undefined)) }];
  },
  'one collects it': (donor) => {
    let left = 1;
    return [{ name: 'collecting', request: (body) => (left-- > 0 ? donor.serve(body) : Promise.resolve(encodeGone([]))) }];
  },
};

/** What is said in the end of who fails at the second question. */
const FAILS: Readonly<Record<string, RegExp>> = { 'one vanishes': /^ECONNRESET$/, 'one stalls': /^no whole answer within 250 ms$/, 'one collects it': /^it no longer has the checkpoint of op 2$/ };

/** Without `expect` on each: there are many. */
function isSame(store: RecordStore, model: MemoryTable): boolean {
  const records = store.range(EMPTY, ALL_END, Infinity);
  if (records.length !== model.size) return false;
  let at = 0;
  for (const [key, value] of model.entries()) {
    const [ownKey, ownValue] = records[at++] as (typeof records)[number];
    if (!ownKey.equals(key) || !ownValue.equals(value)) return false;
  }
  return true;
}

describe.each(SIZES)('of %i records', (size) => {
  test.each(Object.entries(CHANGES))('changed: %s', async (name, change) => {
    const root = temporaryDirectory();
    const before = new MemoryTable();
    const behind = join(root, 'behind');
    const first = await RecordStore.open({ directory: behind });
    for (let i = 0; i < size; i++) for (const table of [first, before]) table.put(keyOf(i), u32(i));
    await first.take(opNumber(1), EMPTY);
    await first.close();
    const directory = join(root, 'donor');
    cpSync(behind, directory, { recursive: true });

    // The donor was never down: it has the state by executing.
    const donor = await openStore({ directory });
    const model = before.clone();
    change(new Prng(size + name.length), size, (k, v) => { for (const t of [donor, model]) t.put(k, v); }, (k) => { for (const t of [donor, model]) t.delete(k); });
    const target = await donor.take(opNumber(2), Buffer.from('extra'));
    expect(target.root).toBe(modelRoot(model, 2, Buffer.from('extra')));

    // Small answers, so that there is a middle in which donors fail; who answers late on a busy machine is not one that stalls.
    const options = (which: string): Partial<RecordStoreOptions> => ({ fetcher: { ...(which === 'one stalls' ? { answerMs: 250 } : {}), ...(size > 10_000 ? {} : { maxAnswerBytes: 8192, maxItems: 64 }), installBytes: 64 << 10 } });
    for (const [which, bad] of Object.entries(BAD)) {
      for (const from of ['behind', 'empty'] as const) {
        const own = join(root, `${which}-${from}`);
        if (from === 'behind') cpSync(behind, own, { recursive: true });
        const fetcher = await RecordStore.open({ ...options(which), directory: own });
        const report = await fetcher.fetch(target, [...bad(donor, new Prng(7)), connect('good', donor)]);
        expect(fetcher.checkpoint, `${which}, ${from}`).toEqual(target);
        expect(isSame(fetcher, model), `${which}, ${from}: the records`).toBe(true);
        // The bad one was asked; and asked again where there is enough to ask for. (A lie may be put right without a word: what does not hash is asked for in full.)
        const worst = report.donors[0];
        if (which !== 'none bad') expect(worst?.requests, `${which}, ${from}`).toBeGreaterThan(0);
        if (size > 1000 && name === 'everything' && which in FAILS) expect(worst?.error, `${which}, ${from}`).toMatch(defined(FAILS[which], which));
        if (from === 'behind' && name === 'none' && which === 'none bad') expect([report.requests, report.recordsChanged]).toEqual([1, 0]);
        // It goes on like one that was never down.
        fetcher.put(keyOf(3), u32(77));
        const next = await fetcher.take(opNumber(3), EMPTY);
        const later = model.clone();
        later.put(keyOf(3), u32(77));
        if (size <= 10_000 || which === 'none bad') expect(next.root).toBe(modelRoot(later, 3));
        await fetcher.close();
      }
    }
  }, 300_000);
});
