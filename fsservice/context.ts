/** What one operation runs in: who asks, when, and the records. Lives as long as the operation. */
import { assert } from '../lib/assert.ts';
import { ino as asIno, type Ino } from '../lib/ids.ts';
import type { BlockStore } from './block_store.ts';
import type { Counters } from './counters.ts';
import type { ErrnoCode } from './errno.ts';
import type { Inode, Moment } from './inode.ts';
import type { Limits } from './limits.ts';
import type { Credentials } from './operations.ts';
import type { Records } from './records.ts';

/**
 * What the functions of an operation return: the value, or the errno as a bare number. A number is never a value here, so
 * `typeof outcome === 'number'` tells; failing costs no exception and no allocation.
 */
export type Outcome<T extends object> = T | ErrnoCode;

/** A check: the errno, or 0. */
export type Verdict = ErrnoCode | 0;

export interface Context extends Moment {
  readonly records: Records;
  readonly blocks: BlockStore;
  readonly limits: Limits;
  readonly credentials: Credentials;
  /** The session whose operation this is; 0: the group's own. */
  readonly session: number;
  /** The present totals. An operation that changes them (after all its checks) sets `countersChanged`. */
  readonly counters: Counters;
  countersChanged: boolean;
}

/** For an inode that a record names: it must be there. */
export function inodeOf(ctx: Context, ino: Ino): Inode {
  return presentInode(ctx, ino).draft();
}

/** The same for reading. */
export function presentInode(ctx: Context, ino: Ino): Readonly<Inode> {
  const inode = ctx.records.present(ino);
  if (inode === undefined) assert(false, `inode ${ino}`);
  return inode;
}

/** Gives out the next inode number. */
export function nextIno(ctx: Context): Ino {
  const { counters } = ctx;
  ctx.countersChanged = true;
  counters.inodes++;
  return asIno(counters.nextIno++);
}
