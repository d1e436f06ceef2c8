import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClassicLevel } from 'classic-level';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import { crc32c } from '../../checkpoint/crc32c.ts';
import { checkAllTables, checkLiveTables, checkTable } from '../../checkpoint/level_tables.ts';
import { liveFiles } from '../../checkpoint/level_manifest.ts';
import { temporaryDirectory } from './store_support.ts';

test('crc32c of what its specification gives (RFC 3720, B.4)', () => {
  const of = (bytes: Buffer): string => crc32c(bytes, 0, bytes.length).toString(16);
  expect(of(Buffer.from('123456789'))).toBe('e3069283');
  expect(of(Buffer.alloc(32))).toBe('8a9136aa');
  expect(of(Buffer.alloc(32, 0xff))).toBe('62a8ab43');
  expect(of(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))).toBe('46dd794e');
});

async function table(compression: boolean): Promise<{ directory: string; bytes: Buffer }> {
  const directory = join(temporaryDirectory(), 'db');
  const r = new Prng(1);
  const options = { keyEncoding: 'buffer', valueEncoding: 'buffer', compression } as const;
  let db = new Level<Buffer, Buffer>(directory, options);
  for (let i = 0; i < 200; i++) await db.put(Buffer.from(`key-${i}`), i % 3 === 0 ? r.bytes(300) : Buffer.alloc(300, i));
  await db.close();
  // A table is made of the log when the database is opened.
  db = new Level<Buffer, Buffer>(directory, options);
  await db.open();
  await db.close();
  return { directory, bytes: readFileSync(join(directory, defined(readdirSync(directory).find((name) => name.endsWith('.ldb')), 'table'))) };
}

describe.each([true, false])('a table (compressed: %s)', (compression) => {
  test('as it was written has no damage', async () => {
    const { directory, bytes } = await table(compression);
    expect(await checkAllTables(directory)).toEqual([]);
    expect(await checkLiveTables(directory)).toEqual([]);
    expect(checkTable(bytes)).toEqual([]);
  });

  test('with any byte changed has, but for the padding of its footer', async () => {
    const { bytes } = await table(compression);
    const unnoticed: number[] = [];
    for (let at = 0; at < bytes.length; at += at < bytes.length - 400 ? 37 : 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 0x20;
      if (checkTable(damaged)?.length === 0) unnoticed.push(at - bytes.length);
    }
    // Zeros between the two handles and the magic: nobody reads them.
    expect(unnoticed.every((at) => at >= -48 + 4 && at < -8), unnoticed.join()).toBe(true);
    expect(unnoticed.length).toBeLessThan(40);
  });

  test('cut off anywhere cannot be read', async () => {
    const { bytes } = await table(compression);
    for (let length = 0; length < bytes.length; length += 71) expect(checkTable(bytes.subarray(0, length))).toBeNull();
  });
});

test('a table that is no part of the database does not count: a crash in a compaction leaves it unfinished', async () => {
  const { directory, bytes } = await table(true);
  writeFileSync(join(directory, '000999.ldb'), bytes.subarray(0, 1000));
  expect(await checkLiveTables(directory)).toEqual([]);
  expect(await checkAllTables(directory)).toEqual([{ name: '000999.ldb', trailers: null }]);
  const db = new Level<string, string>(directory);
  await db.open();
  await db.close();
  expect(readdirSync(directory)).not.toContain('000999.ldb');
  // One that is: it is missed neither in part nor as a whole.
  const [live] = readdirSync(directory).filter((name) => name.endsWith('.ldb'));
  truncateSync(join(directory, live ?? ''), bytes.length - 1);
  expect(await checkLiveTables(directory)).toEqual([{ name: live, trailers: null }]);
});

test('the tables of a database are those that its manifest names, after compactions and many starts', async () => {
  const directory = join(temporaryDirectory(), 'db');
  for (let start = 0; start < 12; start++) {
    const db = new Level<string, Buffer>(directory, { valueEncoding: 'buffer' });
    for (let i = 0; i < 300; i++) await db.put(`key-${(i * 7 + start) % 500}`, Buffer.alloc(400, start));
    if (start % 4 === 3) await (db as unknown as ClassicLevel<string, Buffer>).compactRange('', '~');
    await db.close();
    // Closed at rest, so there is none that is not finished.
    const there = readdirSync(directory).filter((name) => name.endsWith('.ldb')).map((name) => Number.parseInt(name, 10));
    expect([...(await liveFiles(directory, readdirSync(directory)))?.tables ?? []].sort((a, b) => a - b)).toEqual(there.sort((a, b) => a - b));
  }
});

test('a manifest with any byte changed says nothing, but where a record seems to be cut off by the end of the file: then it knows fewer tables, and checks all logs', async () => {
  const { directory } = await table(true);
  const names = readdirSync(directory);
  const path = join(directory, defined(names.find((name) => name.startsWith('MANIFEST')), 'manifest'));
  const whole = readFileSync(path);
  const before = defined((await liveFiles(directory, names)) ?? undefined, 'what is live');
  // checksum u32 | length u16, little-endian | type u8 | content
  const highLengthBytes: number[] = [];
  for (let at = 0; at < whole.length; at += 7 + whole.readUInt16LE(at + 4)) highLengthBytes.push(at + 5);
  const cutOff: number[] = [];
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 0x20;
    writeFileSync(path, damaged);
    const found = await liveFiles(directory, names);
    if (found === null) continue;
    cutOff.push(at);
    expect([...before.tables]).toEqual(expect.arrayContaining([...found.tables]));
    expect([found.firstLog <= before.firstLog, found.previousLog <= before.previousLog]).toEqual([true, true]);
  }
  expect(cutOff).toEqual(highLengthBytes);
});

test('a directory that is empty, or is not there, has no damaged tables', async () => {
  const directory = join(temporaryDirectory(), 'none');
  expect(await checkLiveTables(directory)).toEqual([]);
  mkdirSync(directory);
  expect(await checkLiveTables(directory)).toEqual([]);
});
