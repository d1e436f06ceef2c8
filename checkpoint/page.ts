/**
 * A page: up to PAGE_RECORDS records that share a bit prefix, as keys and record hashes in key order. Values lie
 * beside it under their own keys, so an update of a page reads no value.
 *
 *   1 u8 | n u16 | (key length u16, key, record hash 32)*n | (stamp u48, value bytes u32)*n | last delete u48
 *   '------------------ hashed ---------------------------' '------------- hints -----------------------'
 *
 * The hints are not hashed, and never trusted: a stamp is the checkpoint that last changed the record, "last delete" the
 * one that last removed any from this range.
 */
import { assert } from '../lib/assert.ts';
import { getU16, getU32, getU48, putU16 } from '../lib/bytes.ts';
import { HASH_BYTES, PAGE, recordHashIn } from './hashes.ts';

/** The threshold T of the trie: a range with more records is split, one with as many or fewer is a page. */
export const PAGE_RECORDS = 64;

const HEADER = 3;
const HINT = 10;
const TRAILER = 6;

/** A change to the set of records; `entry` is null for a delete. */
export interface Change {
  readonly key: Buffer;
  /** key length u16 | key | record hash */
  readonly entry: Buffer | null;
  /** Bytes of the value. */
  readonly size: number;
}

/** A record as a page has it. `id`: its key as a latin1 string. */
export function pageEntry(id: string, value: Buffer): Buffer {
  const { length } = id;
  const entry = Buffer.allocUnsafe(2 + length + HASH_BYTES);
  putU16(entry, length, 0);
  entry.latin1Write(id, 2, length);
  entry.latin1Write(recordHashIn(entry, 2, length, value), 2 + length, HASH_BYTES);
  return entry;
}

export function keyOfEntry(entry: Buffer): Buffer {
  return entry.subarray(2, entry.length - HASH_BYTES);
}

/** A run of records of a page to be copied into a new one, or a new record. */
export interface Run {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly count: number;
  /** Where in `bytes` their hints begin; of a new record, which has none: 0. */
  readonly hintsAt: number;
  readonly added: Change | null;
}

export interface PageEntry {
  readonly key: Buffer;
  readonly hash: Buffer;
  readonly stamp: number;
  readonly size: number;
}

export function pageCount(page: Buffer): number {
  return page.readUInt16BE(1);
}
function hintsOf(page: Buffer): number {
  return page.length - TRAILER - HINT * pageCount(page);
}
export function lastDelete(page: Buffer): number {
  return page.readUIntBE(page.length - TRAILER, 6);
}
/** Of a page as it is sent and in memory, or as it is stored without its checksum, the first: a view; null: these are not the bytes of one. */
export function sentPage(bytes: Buffer): Buffer | null {
  let end = HEADER;
  if (bytes.length < end) return null;
  const count = pageCount(bytes);
  for (let i = 0; i < count && end + 2 <= bytes.length; i++) end += 2 + getU16(bytes, end) + HASH_BYTES;
  end += HINT * count + TRAILER;
  return end === bytes.length || end + HASH_BYTES === bytes.length ? bytes.subarray(0, end) : null;
}
/** The part that the hash covers. */
export function hashedPart(page: Buffer): Buffer {
  return page.subarray(0, hintsOf(page));
}
export function wholeRun(page: Buffer): Run {
  const hintsAt = hintsOf(page);
  return { bytes: page, start: HEADER, end: hintsAt, count: pageCount(page), hintsAt, added: null };
}

export function pageEntries(page: Buffer): PageEntry[] {
  const count = pageCount(page);
  const out: PageEntry[] = new Array<PageEntry>(count);
  let at = HEADER;
  let hint = hintsOf(page);
  for (let i = 0; i < count; i++) {
    const length = page.readUInt16BE(at);
    const hashAt = at + 2 + length;
    const key = page.subarray(at + 2, hashAt);
    at = hashAt + HASH_BYTES;
    out[i] = { key, hash: page.subarray(hashAt, at), stamp: page.readUIntBE(hint, 6), size: page.readUInt32BE(hint + 6) };
    hint += HINT;
  }
  return out;
}

/** The record hash of a key, as 32 code units; undefined: the page has no such record. */
export function hashOfRecord(page: Buffer, key: Buffer): string | undefined {
  const { length } = key;
  const last = key[length - 1];
  const end = hintsOf(page);
  for (let at = HEADER; at < end; ) {
    const found = page.readUInt16BE(at);
    const hashAt = at + 2 + found;
    // Most keys of a page differ in length or in the last byte: a native call for the few others.
    if (found === length && (length === 0 || page[hashAt - 1] === last) && page.compare(key, 0, length, at + 2, hashAt) === 0) {
      return page.latin1Slice(hashAt, hashAt + HASH_BYTES);
    }
    at = hashAt + HASH_BYTES;
  }
  return undefined;
}

/** The first key of a page that is not empty. */
export function firstKey(page: Buffer): Buffer {
  return page.subarray(HEADER + 2, HEADER + 2 + page.readUInt16BE(HEADER));
}

/** Keys of a page from `start` on, as latin1 strings. */
export function pageKeysFrom(page: Buffer, start: Buffer): string[] {
  const count = pageCount(page);
  const out: string[] = [];
  let at = HEADER;
  for (let i = 0; i < count; i++) {
    const end = at + 2 + page.readUInt16BE(at);
    if (out.length > 0 || page.compare(start, 0, start.length, at + 2, end) >= 0) out.push(page.latin1Slice(at + 2, end));
    at = end + HASH_BYTES;
  }
  return out;
}

/** A record that a page is built of: where its bytes lie, and its hints. */
export interface Entry {
  readonly key: Buffer;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly stamp: number;
  readonly size: number;
}

export function entryOfChange(change: Change, stamp: number): Entry {
  const bytes = change.entry as Buffer;
  return { key: change.key, bytes, start: 0, end: bytes.length, stamp, size: change.size };
}

/** The records of some runs, in their order. */
export function entriesOfRuns(runs: readonly Run[], stamp: number): Entry[] {
  const out: Entry[] = [];
  for (const run of runs) {
    const { bytes, added } = run;
    if (added !== null) {
      out.push(entryOfChange(added, stamp));
      continue;
    }
    let at = run.start;
    for (let i = 0; i < run.count; i++) {
      const end = at + 2 + getU16(bytes, at) + HASH_BYTES;
      const hint = run.hintsAt + HINT * i;
      out.push({ key: bytes.subarray(at + 2, end - HASH_BYTES), bytes, start: at, end, stamp: getU48(bytes, hint), size: getU32(bytes, hint + 6) });
      at = end;
    }
  }
  return out;
}

export interface Merged {
  readonly runs: readonly Run[];
  readonly count: number;
  readonly lastDelete: number;
  /** False: the changes say what the page already holds. */
  readonly changed: boolean;
  /** Records that are new, or had not changed since `since`. */
  readonly renewed: number;
}

/** A page with the changes [from, to) made, as runs of its bytes and of theirs. */
export function mergePage(page: Buffer, changes: readonly Change[], from: number, to: number, stamp: number, since: number): Merged {
  const total = pageCount(page);
  const hintsAt = hintsOf(page);
  const runs: Run[] = [];
  let count = 0;
  let removed = false;
  let changed = false;
  let renewed = 0;
  let at = HEADER;
  let index = 0;
  let runAt = at;
  let runIndex = 0;
  const endRun = (): void => {
    if (index === runIndex) return;
    runs.push({ bytes: page, start: runAt, end: at, count: index - runIndex, hintsAt: hintsAt + HINT * runIndex, added: null });
    count += index - runIndex;
  };
  for (let c = from; c < to; c++) {
    const change = changes[c] as Change;
    const { key, entry } = change;
    let order = 1;
    let length = 0;
    while (index < total) {
      length = page.readUInt16BE(at);
      order = compareIn(page, at + 2, length, key);
      if (order >= 0) break;
      at += 2 + length + HASH_BYTES;
      index++;
    }
    const match = index < total && order === 0;
    if (!match && entry === null) continue;
    const end = at + 2 + length + HASH_BYTES;
    // The same value again is no change: it keeps its stamp, and the run goes on over it.
    if (match && entry !== null && page.compare(entry, 2 + length, entry.length, at + 2 + length, end) === 0) continue;
    changed = true;
    if (entry !== null && (!match || page.readUIntBE(hintsAt + HINT * index, 6) <= since)) renewed++;
    endRun();
    if (match) {
      at = end;
      index++;
    }
    runAt = at;
    runIndex = index;
    if (entry === null) {
      removed = true;
    } else {
      runs.push({ bytes: entry, start: 0, end: entry.length, count: 1, hintsAt: 0, added: change });
      count++;
    }
  }
  at = hintsAt;
  index = total;
  endRun();
  return { runs, count, lastDelete: removed ? stamp : lastDelete(page), changed, renewed };
}

/** How the `length` bytes from `at` on stand to the key. A few bytes mostly: quicker so than by a call. */
function compareIn(page: Buffer, at: number, length: number, key: Buffer): number {
  const shared = Math.min(length, key.length);
  for (let i = 0; i < shared; i++) {
    const order = (page[at + i] as number) - (key[i] as number);
    if (order !== 0) return order;
  }
  return length - key.length;
}

export interface BuiltPage {
  readonly bytes: Buffer;
  /** Keys and values of its records, in bytes. */
  readonly recordBytes: number;
}

export type Allocate = (length: number) => Buffer;

export function buildPage(runs: readonly Run[], count: number, deleted: number, stamp: number, allocate: Allocate): BuiltPage {
  assert(count > 0 && count <= PAGE_RECORDS, () => `a page of ${count} records`);
  let length = 0;
  for (const run of runs) length += run.end - run.start;
  const page = allocate(HEADER + length + HINT * count + TRAILER);
  page[0] = PAGE;
  page.writeUInt16BE(count, 1);
  let at = HEADER;
  const hintsAt = HEADER + length;
  let hint = hintsAt;
  for (const run of runs) {
    run.bytes.copy(page, at, run.start, run.end);
    at += run.end - run.start;
    if (run.added === null) {
      run.bytes.copy(page, hint, run.hintsAt, run.hintsAt + HINT * run.count);
    } else {
      page.writeUIntBE(stamp, hint, 6);
      page.writeUInt32BE(run.added.size, hint + 6);
    }
    hint += HINT * run.count;
  }
  page.writeUIntBE(deleted, hint, 6);
  let recordBytes = length - count * (2 + HASH_BYTES);
  for (let i = 0; i < count; i++) recordBytes += page.readUInt32BE(hintsAt + HINT * i + 6);
  return { bytes: page, recordBytes };
}

/** The same from single records. */
export function buildPageOf(entries: readonly Entry[], from: number, to: number, deleted: number, allocate: Allocate): BuiltPage {
  const count = to - from;
  assert(count > 0 && count <= PAGE_RECORDS, () => `a page of ${count} records`);
  let length = 0;
  for (let i = from; i < to; i++) length += (entries[i] as Entry).end - (entries[i] as Entry).start;
  const page = allocate(HEADER + length + HINT * count + TRAILER);
  page[0] = PAGE;
  page.writeUInt16BE(count, 1);
  let at = HEADER;
  let hint = HEADER + length;
  let recordBytes = length - count * (2 + HASH_BYTES);
  for (let i = from; i < to; i++) {
    const entry = entries[i] as Entry;
    entry.bytes.copy(page, at, entry.start, entry.end);
    at += entry.end - entry.start;
    page.writeUIntBE(entry.stamp, hint, 6);
    page.writeUInt32BE(entry.size, hint + 6);
    hint += HINT;
    recordBytes += entry.size;
  }
  page.writeUIntBE(deleted, hint, 6);
  return { bytes: page, recordBytes };
}
