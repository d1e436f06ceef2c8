/**
 * Which bytes of a replica's files its next start certainly compares with a checksum, and tells of when they are not what was
 * written. A flip in others proves nothing: in what fills a page up, in what is left of a file's former life, in the last
 * group of a journal, which may have been torn.
 */
import { memberId } from '../../lib/ids.ts';
import { HEADER_BYTES } from '../../checkpoint/level_manifest.ts';
import { GROUP_HEADER_BYTES, PAGE_BYTES, decodeSegmentHeader, readGroup } from '../../server/journal_format.ts';

/** Of bytes, from the first up to, not including, the second. */
export type Stretch = readonly [number, number];

const FOOTER_BYTES = 48;
/** Magic, version, cluster, member, and where the segment and the log stand: the shortest that this can be. */
const SEGMENT_FIELDS_BYTES = 88;

export function whole(bytes: Buffer): Stretch[] {
  return [[0, bytes.length]];
}

/** Blocks lie side by side up to the footer, a part of which says nothing. */
export function ofTable(table: Buffer): Stretch[] {
  return [[0, table.length - FOOTER_BYTES]];
}

/** The first record of the manifest: the last one may be torn. */
export function ofManifest(manifest: Buffer): Stretch[] {
  return [[0, HEADER_BYTES + manifest.readUInt16LE(4)]];
}

/** Magic, sequence, length, as much as that says, checksum: a longer one that was there before may have left its end. */
export function ofSuperblock(copy: Buffer): Stretch[] {
  return [[0, 14 + 4 + copy.readUInt32BE(14) + 4]];
}

/** The header, and each group but the last one; nothing of a segment that is damaged already. */
export function ofSegment(segment: Buffer): Stretch[] {
  const header = decodeSegmentHeader(segment, { clusterId: segment.subarray(10, 26), memberId: memberId(segment.readUInt32BE(26)) });
  if (!header.ok) return [];
  const groups: Stretch[] = [];
  for (let group = readGroup(segment, PAGE_BYTES, header.value); group !== null; group = readGroup(segment, group.end, header.value)) {
    groups.push([group.start, group.start + GROUP_HEADER_BYTES + group.payloadLength]);
  }
  return [[0, SEGMENT_FIELDS_BYTES], ...groups.slice(0, -1)];
}
