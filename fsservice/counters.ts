/**
 * The one record of totals: what an operation must know without counting. Every field is exact after every
 * operation (test/fsservice/invariants.ts recounts them).
 */
import { decodeAll, Writer, type Reader } from '../lib/bytes.ts';
import { assert } from '../lib/assert.ts';
import type { RecordValue } from '../lib/table.ts';
import { ROOT_INO } from './operations.ts';

const COUNTERS_BYTES = 53;

export class Counters implements RecordValue {
  /** The next inode number to be given out; they are never reused. */
  nextIno: number = ROOT_INO + 1;
  /** Inode records. */
  inodes = 1;
  /** 512 × the units of all block records, those that wait to be freed included. */
  bytes = 0;
  /** Unlinked inodes that a session may still hold open. */
  orphans = 0;
  /** Those of them that some session has not yet spoken about since the unlink: the orphan queue's length. */
  waiting = 0;
  /** Live sessions that hold opens. */
  holders = 0;
  /** Ended sessions whose holds are still to be dropped. */
  ended = 0;
  /** Inodes (gone ones too) with contents to be freed. */
  freeing = 0;
  /** Cut-off directories with entries to be removed. */
  detached = 0;
  /** The orphan queue begins with one that every live session has spoken about. */
  releasable = false;

  get byteLength(): number {
    return COUNTERS_BYTES;
  }

  encode(): Buffer {
    return new Writer(COUNTERS_BYTES)
      .u48(this.nextIno).u48(this.inodes).u53(this.bytes).u48(this.orphans).u48(this.waiting)
      .u32(this.holders).u32(this.ended).u48(this.freeing).u48(this.detached).bool(this.releasable)
      .finish();
  }

  /** A draft of one's own. */
  draft(): Counters {
    const copy = new Counters();
    copy.nextIno = this.nextIno;
    copy.inodes = this.inodes;
    copy.bytes = this.bytes;
    copy.orphans = this.orphans;
    copy.waiting = this.waiting;
    copy.holders = this.holders;
    copy.ended = this.ended;
    copy.freeing = this.freeing;
    copy.detached = this.detached;
    copy.releasable = this.releasable;
    return copy;
  }
}

function read(r: Reader): Counters {
  const c = new Counters();
  c.nextIno = r.u48();
  c.inodes = r.u48();
  c.bytes = r.u53();
  c.orphans = r.u48();
  c.waiting = r.u48();
  c.holders = r.u32();
  c.ended = r.u32();
  c.freeing = r.u48();
  c.detached = r.u48();
  c.releasable = r.bool();
  return c;
}

export function decodeCounters(bytes: Buffer): Counters {
  const decoded = decodeAll(bytes, read);
  assert(decoded.ok, 'the counters record is whole');
  return decoded.value;
}
