/** The checksums of LevelDB's logs: what is damaged, and what a crash may have torn. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import { crc32c } from '../../checkpoint/crc32c.ts';
import { LogCheck, checkLogs, type LogDamage } from '../../checkpoint/level_logs.ts';
import { Slices } from '../../checkpoint/slices.ts';
import { temporaryDirectory } from './store_support.ts';

const BLOCK = 32 << 10;
const HEADER = 7;
const ENTRIES = 3;
/** In a database. */
const BATCHES = 120;

/** A record as LevelDB's log has it: sequence number, number of entries, entries. */
function record(sequence: number, bytes: number): Buffer {
  const out = new Prng(sequence + 1).bytes(12 + bytes);
  out.writeBigUInt64LE(BigInt(sequence), 0);
  out.writeUInt32LE(ENTRIES, 8);
  return out;
}

function masked(crc: number): number {
  return ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) >>> 0;
}

interface MadeLog {
  readonly bytes: Buffer;
  /** Where the fragments of each record lie. */
  readonly records: readonly (readonly { readonly at: number; readonly end: number }[])[];
}

/** What LevelDB would write; a real one is compared with it below. */
function logOf(records: readonly Buffer[]): MadeLog {
  const parts: Buffer[] = [];
  const places: { at: number; end: number }[][] = [];
  let at = 0;
  const push = (part: Buffer): void => {
    parts.push(part);
    at += part.length;
  };
  for (const whole of records) {
    const fragments: { at: number; end: number }[] = [];
    for (let from = 0, first = true; first || from < whole.length; first = false) {
      if (BLOCK - (at % BLOCK) < HEADER) push(Buffer.alloc(BLOCK - (at % BLOCK)));
      const payload = whole.subarray(from, from + BLOCK - (at % BLOCK) - HEADER);
      from += payload.length;
      const last = from === whole.length;
      const fragment = Buffer.concat([Buffer.alloc(HEADER), payload]);
      fragment.writeUInt16LE(payload.length, 4);
      fragment[6] = first ? (last ? 1 : 2) : last ? 4 : 3;
      fragment.writeUInt32LE(masked(crc32c(fragment, 6, fragment.length)), 0);
      fragments.push({ at, end: at + fragment.length });
      push(fragment);
    }
    places.push(fragments);
  }
  return { bytes: Buffer.concat(parts), records: places };
}

function check(...logs: readonly Buffer[]): LogDamage | null {
  const made = new LogCheck();
  for (const [i, log] of logs.entries()) {
    made.begin(`${i}.log`);
    for (let at = 0; at < log.length; at += BLOCK) made.block(log.subarray(at, at + BLOCK));
    made.end();
  }
  return made.damage;
}

function changed(bytes: Buffer, at: number, mask = 0x10): Buffer {
  const out = Buffer.from(bytes);
  out[at] = (out[at] ?? 0) ^ mask;
  return out;
}

function sequenceOf(sizes: readonly number[], from = 1): Buffer[] {
  return sizes.map((bytes, i) => record(from + i * ENTRIES, bytes));
}

/** Small ones, one that ends where a block has 3 bytes left, one whose first fragment is empty, large ones, small ones. */
const SIZES = [40, 300, 90, BLOCK - (40 + 300 + 90 + 3 * 19) - 19 - 3, 100_000, 500, (BLOCK - ((BLOCK - 3) % BLOCK)) + 20, 70_000, 60, 0, 200];
const RECORDS = sequenceOf(SIZES);
const WHOLE = logOf(RECORDS);
const LAST = defined(WHOLE.records.at(-1), 'record');
const LAST_AT = defined(LAST[0], 'fragment').at;

test('a whole log, an empty one, several one after the other', () => {
  expect(check(WHOLE.bytes)).toBeNull();
  expect(check(Buffer.alloc(0))).toBeNull();
  expect(check(WHOLE.bytes, Buffer.alloc(0), logOf(sequenceOf([100, 70_000], 1 + SIZES.length * ENTRIES)).bytes)).toBeNull();
});

test('an empty first fragment, where a block has room for a header and no more', () => {
  const made = logOf(sequenceOf([BLOCK - 19 - HEADER, 500, 100]));
  expect(made.records[1]).toEqual([{ at: BLOCK - HEADER, end: BLOCK }, { at: BLOCK, end: BLOCK + HEADER + 512 }]);
  expect(check(made.bytes)).toBeNull();
  for (let at = BLOCK - HEADER; at < BLOCK + 40; at++) expect(check(changed(made.bytes, at))?.name, `${at}`).toBe('0.log');
});

describe('a flipped bit', () => {
  const fragments = WHOLE.records.flatMap((all, i) => all.map((fragment) => ({ ...fragment, last: i === WHOLE.records.length - 1 })));
  test('anywhere in a record with others behind it is damage, at the fragment that it is in; in the last record it may be a torn write', () => {
    for (const { at, end, last } of fragments) {
      for (let byte = at; byte < end; byte += byte < at + HEADER + 16 ? 1 : 211) {
        for (const mask of [0x01, 0x80]) {
          expect(check(changed(WHOLE.bytes, byte, mask)), `byte ${byte - at} of the fragment at ${at}`).toEqual(last ? null : { name: '0.log', at });
        }
      }
    }
  });

  test('in the zeros at the end of a block is nobody\'s', () => {
    const end = defined(WHOLE.records[3]?.[0], 'fragment').end;
    expect(end).toBe(BLOCK - 3);
    for (let at = end; at < BLOCK; at++) expect(check(changed(WHOLE.bytes, at))).toBeNull();
  });

  test('in the last record of a log is damage when a later log goes on', () => {
    const next = logOf(sequenceOf([50], 1 + SIZES.length * ENTRIES)).bytes;
    expect(check(changed(WHOLE.bytes, LAST_AT + 30), next)).toEqual({ name: '0.log', at: LAST_AT });
    expect(check(WHOLE.bytes.subarray(0, LAST_AT + 30), next)).toEqual({ name: '0.log', at: LAST_AT });
    expect(check(WHOLE.bytes.subarray(0, LAST_AT + 3), next)).toEqual({ name: '0.log', at: LAST_AT });
    expect(check(WHOLE.bytes.subarray(0, LAST_AT + 30), Buffer.alloc(0))).toBeNull();
  });
});

describe('a torn tail is no damage', () => {
  test('cut off anywhere', () => {
    for (let length = 0; length < WHOLE.bytes.length; length += length < 600 || length > LAST_AT - 200 ? 1 : 293) expect(check(WHOLE.bytes.subarray(0, length)), `${length}`).toBeNull();
  });

  test('zeros in the place of what is cut off, and beyond it', () => {
    for (let length = 0; length < WHOLE.bytes.length; length += length < 100 ? 1 : 4999) {
      const cut = Buffer.from(WHOLE.bytes);
      cut.fill(0, length);
      expect(check(cut), `${length}`).toBeNull();
      expect(check(Buffer.concat([cut.subarray(0, length), Buffer.alloc(3 * BLOCK)])), `${length}`).toBeNull();
    }
  });

  test('pieces of the last record that were not written, with others behind them that were', () => {
    const { bytes, records } = logOf(sequenceOf([500, 200_000]));
    for (const { at, end } of defined(records[1], 'record')) {
      const torn = Buffer.from(bytes);
      torn.fill(0, at, Math.min(at + 4096, end));
      expect(check(torn), `${at}`).toBeNull();
    }
  });

  test('in which a log lies that somebody has stored, or an older one that was deleted', () => {
    const stored = logOf(sequenceOf([50, 60], 1)).bytes;
    const other = logOf(sequenceOf([50, 60], 5_000_000)).bytes;
    for (const inner of [stored, other]) {
      for (const before of [[], [400, 500]]) {
        const all = sequenceOf([...before, 2000], 1000);
        inner.copy(defined(all.at(-1), 'record'), 100);
        const { bytes, records } = logOf(all);
        const { at } = defined(records.at(-1)?.[0], 'fragment');
        expect(check(bytes.subarray(0, bytes.length - 10))).toBeNull();
        expect(check(changed(bytes, at + 20))).toBeNull();
        expect(check(changed(bytes, at + 4))).toBeNull();
      }
    }
  });
});

test('zeros in the place of a sector, or of whole blocks, with records behind them are damage', () => {
  for (const [from, to] of [[0, 512], [BLOCK, BLOCK + 512], [BLOCK, 3 * BLOCK], [2 * BLOCK + 4096, 2 * BLOCK + 8192]] as const) {
    const damaged = Buffer.from(WHOLE.bytes);
    damaged.fill(0, from, to);
    expect(check(damaged)?.name, `${from}`).toBe('0.log');
  }
});

describe('the logs of a database', () => {
  type Database = Level<Buffer, Buffer>;
  const slices = new Slices(2);
  function database(directory: string): Database {
    return new Level(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer', writeBufferSize: 16 << 20 });
  }
  async function filled(): Promise<{ directory: string; path: string }> {
    const directory = join(temporaryDirectory(), 'db');
    const db = database(directory);
    await db.open();
    for (let i = 0; i < BATCHES; i++) {
      const batch = db.batch();
      for (let n = 0; n <= i % 7; n++) batch.put(Buffer.from(`k${i}-${n}`), new Prng(i).bytes(i === 50 ? 100_000 : 700));
      await batch.write();
    }
    await db.close();
    const logs = readdirSync(directory).filter((name) => name.endsWith('.log'));
    expect(logs.length).toBe(1);
    return { directory, path: join(directory, defined(logs[0], 'log')) };
  }

  test('as they were written, in one that is not there, and in an empty one', async () => {
    const { directory, path } = await filled();
    expect(readFileSync(path).length).toBeGreaterThan(10 * BLOCK);
    expect(await checkLogs(directory, slices)).toBeNull();
    expect(await checkLogs(join(directory, 'none'), slices)).toBeNull();
    const db = database(directory);
    await db.open();
    await db.close();
    expect(await checkLogs(directory, slices)).toBeNull();
  });

  test('what LevelDB would leave out from its middle is damage, what it leaves out at the end is not', async () => {
    const { directory, path } = await filled();
    const whole = readFileSync(path);
    const name = basename(path);
    for (const at of [30, whole.length >> 2, whole.length >> 1, 5 * BLOCK + 3]) {
      writeFileSync(path, changed(whole, at));
      expect(await checkLogs(directory, slices), `${at}`).toMatchObject({ name });
    }
    for (const log of [changed(whole, whole.length - 100), whole.subarray(0, whole.length - 100)]) {
      writeFileSync(path, log);
      expect(await checkLogs(directory, slices)).toBeNull();
    }
  });

  test('one that is in tables already does not count: a crash has left it there', async () => {
    const { directory, path } = await filled();
    const damaged = changed(readFileSync(path), 3 * BLOCK);
    const db = database(directory);
    await db.open();
    await db.close();
    writeFileSync(path, damaged);
    expect(await checkLogs(directory, slices)).toBeNull();
  });

  test('where nothing is called damage LevelDB has all records up to one, and none behind it', async () => {
    const { directory, path } = await filled();
    const whole = readFileSync(path);
    const r = new Prng(11);
    const seen = { damaged: 0, prefix: 0 };
    for (let n = 0; n < 60; n++) {
      const copy = join(temporaryDirectory(), 'db');
      cpSync(directory, copy, { recursive: true });
      // As often near the end as anywhere.
      const from = n % 2 === 0 ? r.below(whole.length) : whole.length - r.below(9000);
      const to = Math.min(whole.length, from + 1 + r.below(n % 3 === 0 ? 1 : 70_000));
      const bytes = n % 5 === 0 ? whole.subarray(0, from) : Buffer.from(whole);
      if (n % 5 === 1) bytes.fill(0, from, to);
      else if (n % 5 === 2) r.bytes(to - from).copy(bytes, from);
      else if (n % 5 > 2) changed(whole, from, 1 << (n & 7)).copy(bytes);
      writeFileSync(join(copy, basename(path)), bytes);
      if ((await checkLogs(copy, slices)) !== null) {
        seen.damaged++;
        continue;
      }
      const db = database(copy);
      await db.open();
      const there = await Promise.all(Array.from({ length: BATCHES }, (_, i) => db.get(Buffer.from(`k${i}-0`))));
      await db.close();
      const first = there.findIndex((value) => value === undefined);
      expect(first === -1 || there.slice(first).every((value) => value === undefined), `case ${n}`).toBe(true);
      seen.prefix++;
    }
    expect(Math.min(seen.damaged, seen.prefix)).toBeGreaterThan(10);
  });
});
