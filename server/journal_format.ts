/**
 * The bytes of the journal. A segment is a preallocated file: one page of header, then groups, each starting on a page.
 * A group is what one group commit wrote: one checksum over all of it, so that a torn write damages one group, the
 * last, and nothing else. Pages are not shared between groups: rewriting one can never tear what was durable before.
 *
 *   segment header  magic 8 | version u16 | cluster id 16 | member u32 | sequence u48 | first group u48 |
 *                   certain u8 | log-view u53 | head op u48 | head hash 32 | crc32 u32 | salt 8 | crc32 u32 (each of all before it)
 *   group           magic u32 | crc32 u32 (of all that follows) | payload length u32 | records u32 | number u48 |
 *                   durable watermark u48 | sequence u48 | 2 zero bytes | salt 8 | records ... | zeros up to the page
 *   seal            magic u32 | crc32 u32 (of all that follows) | sequence u48       at byte 2048 of the header's page, once the log goes on in the next segment
 *   record          1 | after u48    | parent 32    | count u32 | entries ...                    append
 *                   2 | log-view u53 | base u48 | base hash 32 | count u32 | entries ...         install
 *                   3                                                                            closed: a clean stop
 *
 * A group may have no records: it says with its watermark that the one before is durable, so that damage to that is not taken for a torn write.
 *
 * A reader looks for group headers at the beginning of each page, also inside of a group that is torn and behind the end,
 * where a reused file still has what was written in its former life. The contents of files lie there as well, byte for
 * byte, so anybody who writes into a file chooses what some pages begin with. The salt tells them apart: it is drawn when
 * a file becomes a segment, and nobody who writes can know it; former lives of the file have another.
 *
 * Version 2 had no salt (the header ended with its first checksum, a group's with the zero bytes). Its segments are read,
 * and none is written: what is opened goes on in a new one.
 */
import { randomBytes } from 'node:crypto';
import { assert } from '../lib/assert.ts';
import { DecodeError, decodeAll, Reader, Writer, type Decoded } from '../lib/bytes.ts';
import { crc32 } from '../lib/hash.ts';
import { digest, memberId, opNumber, view, type Digest, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { decodeEntries, type Entry } from '../vr/entry.ts';
import type { JournalRecord } from '../vr/ports.ts';

export const PAGE_BYTES = 4096;
export const JOURNAL_VERSION = 3;
const UNSALTED_VERSION = 2;
const SALT_BYTES = 8;
const NO_SALT = Buffer.alloc(0);
const SEGMENT_MAGIC = 'VRFSJRNL';
const GROUP_MAGIC = 0x56524a47;
const SEAL_MAGIC = 0x56525345;
const SEAL_BYTES = 14;
const GROUP_SALT_AT = 4 + 4 + 4 + 4 + 6 + 6 + 6 + 2;
export const GROUP_HEADER_BYTES = GROUP_SALT_AT + SALT_BYTES;

export const RecordKind = { append: 1, install: 2, closed: 3 } as const;

export interface JournalIdentity {
  /** 16 bytes. */
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
}

/** Where a log stands: what a reader has to know that begins with this segment. */
export interface LogPosition {
  /** False: what the segments before held was damaged; only an install record makes the log certain again. */
  readonly certain: boolean;
  readonly logView: View;
  readonly headOp: OpNumber;
  readonly headHash: Digest;
}

/** What a group header has to show to count as one of this segment. */
export interface SegmentKey {
  /** Of the segment: 1, 2, 3 ... */
  readonly sequence: number;
  /** Empty: the segment is one of version 2. */
  readonly salt: Buffer;
}

export interface SegmentHeader extends JournalIdentity, LogPosition, SegmentKey {
  /** Number of the first group in it; the segments before hold exactly the groups below. */
  readonly firstGroup: number;
}

/** Rounded up to whole pages. */
export function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

/** Of a segment that is to be written, drawn anew for each. */
export function newSegmentKey(sequence: number): SegmentKey {
  return { sequence, salt: randomBytes(SALT_BYTES) };
}

/** One page. */
export function encodeSegmentHeader(h: SegmentHeader): Buffer {
  assert(h.salt.length === SALT_BYTES, 'a segment that is written has a salt');
  const w = new Writer(PAGE_BYTES);
  w.latin1(SEGMENT_MAGIC).u16(JOURNAL_VERSION).raw(h.clusterId).u32(h.memberId).u48(h.sequence).u48(h.firstGroup);
  w.bool(h.certain).u53(h.logView).u48(h.headOp).latin1(h.headHash);
  const fields = w.finish();
  const page = Buffer.alloc(PAGE_BYTES);
  fields.copy(page);
  // Here, where version 2 has it too: a program that does not know the rest can still say which version this is.
  let end = page.writeUInt32BE(crc32(fields), fields.length);
  end += h.salt.copy(page, end);
  page.writeUInt32BE(crc32(page.subarray(0, end)), end);
  return page;
}

/** `damaged`: the page does not check; `foreign`: it checks, but this program may not read it. */
export type HeaderResult =
  | { readonly ok: true; readonly value: SegmentHeader }
  | { readonly ok: false; readonly kind: 'damaged' | 'foreign'; readonly reason: string };

export function decodeSegmentHeader(bytes: Buffer, identity: JournalIdentity): HeaderResult {
  const decoded = decodeAll(bytes.subarray(0, PAGE_BYTES), (r) => {
    if (r.latin1(8) !== SEGMENT_MAGIC) throw new DecodeError('it does not begin as a journal segment');
    const version = r.u16();
    const fields = {
      clusterId: Buffer.from(r.raw(16)), memberId: memberId(r.u32()), sequence: r.u48(), firstGroup: r.u48(),
      certain: r.bool(), logView: view(r.u53()), headOp: opNumber(r.u48()), headHash: digest(r.latin1(32)),
    };
    expectChecksum(r);
    const salt = version === JOURNAL_VERSION ? Buffer.from(r.raw(SALT_BYTES)) : NO_SALT;
    if (version === JOURNAL_VERSION) expectChecksum(r);
    r.offset = r.end;
    return { version, value: { ...fields, salt } };
  });
  if (!decoded.ok) return { ok: false, kind: 'damaged', reason: decoded.reason };
  const { version, value } = decoded.value;
  if (version !== JOURNAL_VERSION && version !== UNSALTED_VERSION) {
    return { ok: false, kind: 'foreign', reason: `its format is version ${version}; this program reads versions ${UNSALTED_VERSION} and ${JOURNAL_VERSION}` };
  }
  if (!value.clusterId.equals(identity.clusterId) || value.memberId !== identity.memberId) {
    return { ok: false, kind: 'foreign', reason: `it was written by member ${value.memberId} of group ${value.clusterId.toString('hex')}` };
  }
  return { ok: true, value };
}

/** Reads a checksum of everything before it. */
function expectChecksum(r: Reader): void {
  const end = r.offset;
  if (r.u32() !== crc32(r.buffer.subarray(0, end))) throw new DecodeError('the checksum of its header is wrong');
}

/** Where the seal is. Its page has the header too, whose bytes are written anew as they are: a torn write of it changes nothing. */
export const SEAL_AT = PAGE_BYTES / 2;

export function encodeSeal(sequence: number): Buffer {
  const fields = new Writer(6).u48(sequence).finish();
  return new Writer(16).u32(SEAL_MAGIC).u32(crc32(fields)).raw(fields).finish();
}

/** Whether the segment says that the log goes on in the next one. A reused file may have the seal of its former life. */
export function isSealed(segment: Buffer, sequence: number): boolean {
  return segment.length >= PAGE_BYTES && segment.subarray(SEAL_AT, SEAL_AT + SEAL_BYTES).equals(encodeSeal(sequence));
}

export interface GroupHeader extends SegmentKey {
  readonly number: number;
  /** The group up to which everything was known to be durable when this one was written. */
  readonly watermark: number;
  readonly records: number;
  readonly payloadLength: number;
}

/** Writes the header but for its checksum, which `sealGroup` puts in when all bytes are there. */
export function putGroupHeader(into: Buffer, at: number, h: GroupHeader): void {
  into.writeUInt32BE(GROUP_MAGIC, at);
  into.writeUInt32BE(0, at + 4);
  into.writeUInt32BE(h.payloadLength, at + 8);
  into.writeUInt32BE(h.records, at + 12);
  into.writeUIntBE(h.number, at + 16, 6);
  into.writeUIntBE(h.watermark, at + 22, 6);
  into.writeUIntBE(h.sequence, at + 28, 6);
  into.writeUInt16BE(0, at + 34);
  h.salt.copy(into, at + GROUP_SALT_AT);
}

/** `chunks`: the whole group in order, without the padding, the header at the start of the first. */
export function sealGroup(chunks: readonly Buffer[]): void {
  let sum = 0;
  for (const [i, chunk] of chunks.entries()) sum = crc32(i === 0 ? chunk.subarray(8) : chunk, sum);
  chunks[0]?.writeUInt32BE(sum, 4);
}

export interface Group extends GroupHeader {
  /** Offsets in the segment: of its header, and behind its padding. */
  readonly start: number;
  readonly end: number;
  /** A view of the segment's bytes. */
  readonly payload: Buffer;
}

/** Whether there is a header of a group of this segment at `at`. Content cannot look like one: it does not know the salt. */
function showsGroup(segment: Buffer, at: number, { sequence, salt }: SegmentKey): boolean {
  const saltAt = at + GROUP_SALT_AT;
  return saltAt + salt.length <= segment.length && segment.readUInt32BE(at) === GROUP_MAGIC && segment.readUIntBE(at + 28, 6) === sequence
    && segment.compare(salt, 0, salt.length, saltAt, saltAt + salt.length) === 0;
}

/** The group that begins at `at`, when there is a whole and undamaged one of this segment. */
export function readGroup(segment: Buffer, at: number, key: SegmentKey): Group | null {
  if (!showsGroup(segment, at, key)) return null;
  const payloadLength = segment.readUInt32BE(at + 8);
  const payloadStart = at + GROUP_SALT_AT + key.salt.length;
  const payloadEnd = payloadStart + payloadLength;
  if (payloadEnd > segment.length || crc32(segment.subarray(at + 8, payloadEnd)) !== segment.readUInt32BE(at + 4)) return null;
  return {
    sequence: key.sequence,
    salt: key.salt,
    number: segment.readUIntBE(at + 16, 6),
    watermark: segment.readUIntBE(at + 22, 6),
    records: segment.readUInt32BE(at + 12),
    payloadLength,
    start: at,
    end: pages(payloadEnd),
    payload: segment.subarray(payloadStart, payloadEnd),
  };
}

/** What the group header at `at` says if one of this segment shows there, whether or not the bytes of the group check. */
export function peekGroup(segment: Buffer, at: number, key: SegmentKey): { readonly number: number; readonly length: number } | null {
  if (!showsGroup(segment, at, key)) return null;
  return { number: segment.readUIntBE(at + 16, 6), length: GROUP_SALT_AT + key.salt.length + segment.readUInt32BE(at + 8) };
}

/**
 * The key of a segment whose header is damaged, as its first group has it, if that is sound. The first page behind the
 * header begins with a group in every life of a file, never with content; the sequence says that it is one of this life.
 * (Of a segment of version 2 nothing is read without its header.)
 */
export function shownKey(segment: Buffer, sequence: number): SegmentKey | null {
  const salt = segment.subarray(PAGE_BYTES + GROUP_SALT_AT, PAGE_BYTES + GROUP_HEADER_BYTES);
  const key = { sequence, salt };
  return salt.length === SALT_BYTES && readGroup(segment, PAGE_BYTES, key) !== null ? key : null;
}

/** A record as it is read back. `append` says where it continues the log, which an empty `entries` could not. */
export type StoredRecord =
  | { readonly type: 'append'; readonly after: OpNumber; readonly parent: Digest; readonly entries: readonly Entry[] }
  | Extract<JournalRecord, { type: 'install' }>
  | { readonly type: 'closed' };

function readRecord(r: Reader): StoredRecord {
  const kind = r.u8();
  switch (kind) {
    case RecordKind.append: {
      const after = opNumber(r.u48());
      const parent = digest(r.latin1(32));
      return { type: 'append', after, parent, entries: decodeEntries(r, after, parent) };
    }
    case RecordKind.install: {
      const logView = view(r.u53());
      const base = opNumber(r.u48());
      const baseHash = digest(r.latin1(32));
      return { type: 'install', logView, base, baseHash, entries: decodeEntries(r, base, baseHash) };
    }
    case RecordKind.closed: return { type: 'closed' };
    default: throw new DecodeError(`unknown journal record ${kind}`);
  }
}

/** The records of a group; their buffers are views of the group's payload. */
export function readRecords(group: Group): Decoded<StoredRecord[]> {
  return decodeAll(group.payload, (r) => {
    const records: StoredRecord[] = [];
    for (let i = 0; i < group.records; i++) records.push(readRecord(r));
    return records;
  });
}
