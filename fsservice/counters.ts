/**
 * The one record of totals: what an operation must know without counting. Every field is exact after every
 * operation (test/fsservice/invariants.ts recounts them).
 */
import { decodeAll, Writer, type Reader } from '../lib/bytes.ts';
import { assert } from '../lib/assert.ts';
import { ROOT_INO } from './operations.ts';

export interface Counters {
  /** The next inode number to be given out; they are never reused. */
  nextIno: number;
  /** Inode records. */
  inodes: number;
  /** 512 × the units of all block records, those that wait to be freed included. */
  bytes: number;
  /** Unlinked inodes that a session may still hold open. */
  orphans: number;
  /** Those of them that some session has not yet spoken about since the unlink: the orphan queue's length. */
  waiting: number;
  /** Live sessions that hold opens. */
  holders: number;
  /** Ended sessions whose holds are still to be dropped. */
  ended: number;
  /** Inodes (gone ones too) with contents to be freed. */
  freeing: number;
  /** Cut-off directories with entries to be removed. */
  detached: number;
  /** The orphan queue begins with one that every live session has spoken about. */
  releasable: boolean;
}

export function initialCounters(): Counters {
  return {
    nextIno: ROOT_INO + 1, inodes: 1, bytes: 0, orphans: 0, waiting: 0, holders: 0, ended: 0, freeing: 0, detached: 0, releasable: false,
  };
}

export function encodeCounters(c: Counters): Buffer {
  return new Writer(54)
    .u48(c.nextIno).u48(c.inodes).u53(c.bytes).u48(c.orphans).u48(c.waiting)
    .u32(c.holders).u32(c.ended).u48(c.freeing).u48(c.detached).bool(c.releasable)
    .finish();
}

function read(r: Reader): Counters {
  return {
    nextIno: r.u48(), inodes: r.u48(), bytes: r.u53(), orphans: r.u48(), waiting: r.u48(),
    holders: r.u32(), ended: r.u32(), freeing: r.u48(), detached: r.u48(), releasable: r.bool(),
  };
}

export function decodeCounters(bytes: Buffer): Counters {
  const decoded = decodeAll(bytes, read);
  assert(decoded.ok, 'the counters record is whole');
  return decoded.value;
}
