/**
 * What a journal says after a crash. Pure: from the bytes of the segments to the log, and to whether it can be
 * trusted. PROTOCOL section 2, "torn tails": the last group, when it is damaged and nothing valid lies behind it, was
 * being written when the power went; nobody was told that it was durable, so it is cut. Damage anywhere else is
 * corruption: the log counts as uncertain from there on, until a record that says all of the log's position anew
 * (an install record, or the header of a later segment), and nothing is cut.
 */
import { opNumber, type Digest, type OpNumber, type View } from '../lib/ids.ts';
import type { Entry } from '../vr/entry.ts';
import {
  decodeSegmentHeader, isSealed, PAGE_BYTES, peekGroup, readGroup, readRecords, shownKey,
  type Group, type JournalIdentity, type LogPosition, type SegmentHeader, type SegmentKey, type StoredRecord,
} from './journal_format.ts';

export interface SegmentBytes {
  readonly sequence: number;
  readonly bytes: Buffer;
}

export interface ScannedSegment {
  readonly sequence: number;
  readonly header: SegmentHeader | null;
  /** The groups from the first on without a gap in numbers or damage. */
  readonly groups: readonly Group[];
  /** A later group than the one that should follow lies behind the end of `groups`. */
  readonly validBehind: boolean;
  /** The highest number that a group header shows behind the end of `groups`; -1: there is none. */
  readonly highestBehind: number;
  /** Length of the group behind the end of `groups`, as far as its header says; 0: none shows there. */
  readonly lengthBehind: number;
  /** Why nothing of the segment may be used: it is another group's, member's or version's. */
  readonly foreignHeader: string | null;
}

export interface ScanResult extends LogPosition {
  /** The log: `entries` behind `base`, an unbroken chain, as far as it can be read. `headOp`, `headHash` are its end. */
  readonly base: OpNumber;
  readonly baseHash: Digest;
  readonly entries: readonly Entry[];
  /** The log was stopped cleanly: nothing was under way. */
  readonly closed: boolean;
  /** Number of the last valid group; the next one to be written is one more. */
  readonly lastGroup: number;
  /** The last segment's last valid group, which may be in the page cache only. */
  readonly tail: { readonly sequence: number; readonly group: Group } | null;
  /** Length of the torn group that was cut, as far as it says; 0: none. */
  readonly tornBytes: number;
  /** What was found damaged, in words; empty when nothing was. */
  readonly damage: readonly string[];
  /** Where the log stood at the start of each segment, for collection; null: its header is damaged. */
  readonly segments: readonly { readonly sequence: number; readonly start: LogPosition | null }[];
}

/** A segment of another group, member or version: nothing of it may be used. */
export class ForeignJournalError extends Error {
  override readonly name = 'ForeignJournalError';
}

export function scanSegment(segment: SegmentBytes, identity: JournalIdentity, expectedFirst: number | null): ScannedSegment {
  const { bytes, sequence } = segment;
  const nothing = { sequence, header: null, groups: [], validBehind: false, highestBehind: -1, lengthBehind: 0, foreignHeader: null };
  const decoded = decodeSegmentHeader(bytes, identity);
  if (!decoded.ok && decoded.kind === 'foreign') return { ...nothing, foreignHeader: decoded.reason };
  const header = decoded.ok && decoded.value.sequence === sequence ? decoded.value : null;
  const key = header ?? shownKey(bytes, sequence);
  if (key === null) return nothing;
  const groups: Group[] = [];
  let at = PAGE_BYTES;
  let expected = header?.firstGroup ?? expectedFirst;
  for (;;) {
    const group = readGroup(bytes, at, key);
    if (group === null || (expected !== null && group.number !== expected)) break;
    groups.push(group);
    at = group.end;
    expected = group.number + 1;
  }
  const highest = highestBehind(bytes, at, key);
  return {
    ...nothing, header, groups, highestBehind: highest,
    validBehind: readGroup(bytes, at, key) !== null || highest > (expected ?? 0),
    lengthBehind: at + PAGE_BYTES > bytes.length ? 0 : peekGroup(bytes, at, key)?.length ?? 0,
  };
}

/**
 * The highest number that the header of a group of this segment shows behind `at`, or -1. The header is enough: only one
 * group is ever under way, so a later one was begun when everything before it was durable.
 */
function highestBehind(bytes: Buffer, at: number, key: SegmentKey): number {
  let highest = -1;
  for (let page = at; page + PAGE_BYTES <= bytes.length; page += PAGE_BYTES) {
    highest = Math.max(highest, peekGroup(bytes, page, key)?.number ?? -1);
  }
  return highest;
}

/** The log as the records build it up. */
class LogBuilder {
  certain = false;
  logView: View;
  base: OpNumber;
  baseHash: Digest;
  entries: Entry[] = [];
  readonly damage: string[] = [];

  constructor(start: { logView: View; base: OpNumber; baseHash: Digest }) {
    this.logView = start.logView;
    this.base = start.base;
    this.baseHash = start.baseHash;
  }

  get headOp(): OpNumber {
    return opNumber(this.base + this.entries.length);
  }
  get headHash(): Digest {
    return this.entries[this.entries.length - 1]?.hash ?? this.baseHash;
  }
  position(): LogPosition {
    return { certain: this.certain, logView: this.logView, headOp: this.headOp, headHash: this.headHash };
  }

  /** Certain on both sides that the log stands here. */
  isAt(p: LogPosition): boolean {
    return this.certain && p.certain && p.headOp === this.headOp && p.headHash === this.headHash;
  }

  spoil(what: string): void {
    this.damage.push(what);
    this.certain = false;
  }

  #hashAt(op: number): Digest | undefined {
    return op === this.base ? this.baseHash : this.entries[op - this.base - 1]?.hash;
  }

  /** The log now ends at `op` with this hash; what is held before it stays only if it is the same chain. */
  cutTo(op: OpNumber, hash: Digest): void {
    if (this.#hashAt(op) === hash) {
      this.entries.length = op - this.base;
      return;
    }
    this.base = op;
    this.baseHash = hash;
    this.entries = [];
  }

  segment(h: SegmentHeader): void {
    if (!h.certain) {
      this.certain = false;
      return;
    }
    // Certain so far, and yet this segment continues another log: some group of the one before is not what it was.
    if (this.certain && (h.headOp !== this.headOp || h.headHash !== this.headHash)) {
      this.damage.push(`segment ${h.sequence} continues from op ${h.headOp}, the one before ends at op ${this.headOp}`);
    }
    this.cutTo(h.headOp, h.headHash);
    this.logView = h.logView;
    this.certain = true;
  }

  record(record: StoredRecord, group: number): void {
    switch (record.type) {
      case 'closed': return;
      case 'install':
        this.cutTo(record.base, record.baseHash);
        for (const e of record.entries) this.entries.push(e);
        this.logView = record.logView;
        this.certain = true;
        return;
      case 'append':
        if (record.after === this.headOp && record.parent === this.headHash) {
          for (const e of record.entries) this.entries.push(e);
        } else if (this.certain) {
          this.spoil(`group ${group} continues from op ${record.after}, the log ends at op ${this.headOp}`);
        }
        return;
    }
  }
}

function replayGroups(log: LogBuilder, s: ScannedSegment): boolean {
  let closed = false;
  for (const group of s.groups) {
    const records = readRecords(group);
    if (!records.ok) {
      log.spoil(`group ${group.number} cannot be read: ${records.reason}`);
      continue;
    }
    for (const record of records.value) {
      log.record(record, group.number);
      closed = record.type === 'closed';
    }
  }
  return closed;
}

/**
 * Reads all segments, ascending by sequence. `checkpoint` is where a log that holds nothing would start.
 * Throws ForeignJournalError when a segment belongs to another group, member or version.
 */
export function scanJournal(
  segments: readonly SegmentBytes[],
  identity: JournalIdentity,
  checkpoint: { readonly op: OpNumber; readonly entryHash: Digest },
): ScanResult {
  const log = new LogBuilder({ logView: 0 as View, base: checkpoint.op, baseHash: checkpoint.entryHash });
  const starts: { sequence: number; start: LogPosition | null }[] = [];
  let lastGroup = 0;
  let shownBehind = -1;
  let tail: ScanResult['tail'] = null;
  let tornBytes = 0;
  let closed = false;
  if (segments.length === 0) log.spoil('there is no segment');
  for (const [i, segment] of segments.entries()) {
    const s = scanSegment(segment, identity, i === 0 ? null : lastGroup + 1);
    if (s.foreignHeader !== null) throw new ForeignJournalError(`journal segment ${s.sequence} may not be used: ${s.foreignHeader}`);
    const previous = segments[i - 1];
    if (previous !== undefined && previous.sequence + 1 !== s.sequence) log.spoil(`segments between ${previous.sequence} and ${s.sequence} are missing`);
    if (s.header === null) log.spoil(`the header of segment ${s.sequence} is damaged`);
    else {
      // The header of a segment that was opened behind a torn write says the same position, and leaves out the number of what was torn.
      if (i > 0 && s.header.firstGroup !== lastGroup + 1 && !log.isAt(s.header)) log.spoil(`groups ${lastGroup + 1} to ${s.header.firstGroup - 1} before segment ${s.sequence} are damaged or missing`);
      log.segment(s.header);
    }
    starts.push({ sequence: s.sequence, start: s.header });
    closed = replayGroups(log, s);
    const last = s.groups[s.groups.length - 1];
    lastGroup = Math.max(lastGroup, last?.number ?? (s.header?.firstGroup ?? 1) - 1);
    if (last !== undefined) tail = { sequence: s.sequence, group: last };
    if (s.validBehind) log.spoil(`group ${lastGroup + 1} in segment ${s.sequence} is damaged, and valid ones lie behind it`);
    else if (i === segments.length - 1) tornBytes = s.lengthBehind;
    shownBehind = s.highestBehind;
  }
  const newest = segments[segments.length - 1];
  if (newest !== undefined && isSealed(newest.bytes, newest.sequence)) log.spoil(`segment ${newest.sequence + 1}, in which the log goes on, is missing`);
  return {
    ...log.position(), base: log.base, baseHash: log.baseHash, entries: log.entries,
    // Numbers are never used twice, also not those of groups behind damage.
    closed, lastGroup: Math.max(lastGroup, shownBehind), tail, tornBytes, damage: log.damage, segments: starts,
  };
}

/** The hash of the log at `op`, if it holds it. */
export function hashAt(scan: ScanResult, op: OpNumber): Digest | undefined {
  return op === scan.base ? scan.baseHash : scan.entries[op - scan.base - 1]?.hash;
}

/** Whether the log can be continued from a checkpoint: PROTOCOL, "one contiguous hash chain from the checkpoint, and its head is certain". */
export function intactFrom(scan: ScanResult, checkpoint: { readonly op: OpNumber; readonly entryHash: Digest }): boolean {
  return scan.certain && hashAt(scan, checkpoint.op) === checkpoint.entryHash;
}
