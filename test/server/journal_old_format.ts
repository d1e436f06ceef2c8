/** The bytes of a journal as version 2 of its format had them. */
import { crc32 } from '../../lib/hash.ts';
import { Writer } from '../../lib/bytes.ts';
import type { Digest } from '../../lib/ids.ts';
import type { Entry } from '../../vr/entry.ts';
import { PAGE_BYTES, type JournalIdentity, type LogPosition } from '../../server/journal_format.ts';

/** The first 36 bytes of a group header, which version 3 has as well; the checksum is left out. */
export function headerBytes(number: number, sequence: number, payloadLength = 100, records = 1): Buffer {
  const w = new Writer(36);
  w.latin1('VRJG').u32(0).u32(payloadLength).u32(records).u48(number).u48(0).u48(sequence).u16(0);
  return w.finish();
}

/** A whole group with a checksum that is right, padded to whole pages. */
export function oldGroup(number: number, sequence: number, payload: Buffer, records = 1): Buffer {
  const bytes = Buffer.concat([headerBytes(number, sequence, payload.length, records), payload]);
  bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4);
  return Buffer.concat([bytes, Buffer.alloc(Math.ceil(bytes.length / PAGE_BYTES) * PAGE_BYTES - bytes.length)]);
}

/** The payload of a group that appends `entries`. */
export function appendPayload(after: number, parent: Digest, entries: readonly Entry[]): Buffer {
  const w = new Writer(64).u8(1).u48(after).latin1(parent).u32(entries.length);
  return Buffer.concat([w.finish(), ...entries.map((e) => e.bytes)]);
}

/** The header's page of a segment. `version` is written as it is given. */
export function oldSegmentHeader(h: JournalIdentity & LogPosition & { sequence: number; firstGroup: number }, version = 2): Buffer {
  const w = new Writer(128);
  w.latin1('VRFSJRNL').u16(version).raw(h.clusterId).u32(h.memberId).u48(h.sequence).u48(h.firstGroup);
  w.bool(h.certain).u53(h.logView).u48(h.headOp).latin1(h.headHash);
  const fields = w.finish();
  const page = Buffer.alloc(PAGE_BYTES);
  fields.copy(page);
  page.writeUInt32BE(crc32(fields), fields.length);
  return page;
}
