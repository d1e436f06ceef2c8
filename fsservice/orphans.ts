/**
 * The end of an inode's life. One whose last link went may still be open somewhere: while sessions live that hold
 * opens, it becomes an orphan, and each of them has to say (keepAlive), having seen the unlink, that it does not hold it.
 *
 * Each such session has spoken about everything up to its `seenOp`. The least of these is the horizon: orphans at or before
 * it leave the queue, in bounded collect steps; those that some session named as open stay, counted, until the last of these
 * lets go or ends. So no operation looks at more than it names itself.
 */
import { EMPTY } from '../lib/bytes.ts';
import { assert, defined } from '../lib/assert.ts';
import type { Ino } from '../lib/ids.ts';
import { blocksOf, UNIT } from './block_store.ts';
import type { Context, Outcome } from './context.ts';
import { Errno } from './errno.ts';
import { touchChange, type Inode } from './inode.ts';
import {
  confirmedKey, confirmedKeyEnd, confirmedKeyStart, endedKey, endedKeyEnd, endedKeyStart, freeingKey, heldKey, holderKey, holdKey, holdKeyEnd,
  holdKeyStart, inoOfHoldKey, inoOfOrphanKey, opOfConfirmedKey, opOfOrphanKey, orphanKey, orphanKeyBehind, orphanKeyEnd, orphanKeyStart,
  sessionOfEndedKey, targetKey,
} from './keys.ts';
import { INLINE_FREE_BLOCKS, KEEP_ALIVE_OPEN_MAX } from './limits.ts';
import type { Operation, Results } from './operations.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

// --- the last link goes ----------------------------------------------------------------------------------------------

/** One link of a draft has gone (an empty directory's: all). Puts the inode, makes it an orphan, or frees it. */
export function dropLink(ctx: Context, inode: Inode): void {
  inode.nlink = inode.type === 'directory' ? 0 : inode.nlink - 1;
  touchChange(inode, ctx);
  if (inode.nlink > 0) ctx.records.putInode(inode);
  else dispose(ctx, inode);
}

/** For an inode without links. */
export function dispose(ctx: Context, inode: Inode): void {
  const { counters, records } = ctx;
  if (counters.holders === 0) {
    free(ctx, inode);
    return;
  }
  inode.unlinkedAt = ctx.op;
  records.putInode(inode);
  records.table.put(orphanKey(ctx.op, inode.ino), EMPTY);
  counters.orphans++;
  counters.waiting++;
  ctx.countersChanged = true;
}

/** The inode goes now, and its contents too where they are few; else they are left to collect. */
function free(ctx: Context, inode: Inode): void {
  const { counters, records } = ctx;
  records.deleteInode(inode.ino);
  if (inode.type === 'symlink') records.table.delete(targetKey(inode.ino));
  counters.inodes--;
  ctx.countersChanged = true;
  if (inode.blocks === 0 && inode.xattrBytes === 0) {
    assert(inode.pending.length === 0 || records.table.get(freeingKey(inode.ino)) !== undefined, 'a pending truncation is queued');
    return;
  }
  const count = blocksOf(inode.size);
  if (inode.pending.length > 0 || inode.xattrBytes > 0 || count > INLINE_FREE_BLOCKS) {
    queueFreeing(ctx, inode.ino, 0);
    return;
  }
  for (let index = 0; index < count; index++) ctx.blocks.remove(inode, index);
  counters.bytes -= inode.blocks * UNIT;
}

/** Leaves the contents of an inode from block `from` on to collect: what its pending truncations cut off, or all once it is gone. */
export function queueFreeing(ctx: Context, ino: Ino, from: number): void {
  const { table } = ctx.records;
  const key = freeingKey(ino);
  const queued = table.get(key);
  if (queued === undefined) {
    ctx.counters.freeing++;
    ctx.countersChanged = true;
  } else if (queued.readUInt32BE(0) <= from) {
    return;
  }
  putFreeing(ctx, ino, from);
}

export function putFreeing(ctx: Context, ino: Ino, from: number): void {
  const cursor = Buffer.allocUnsafe(4);
  cursor.writeUInt32BE(from, 0);
  ctx.records.table.put(freeingKey(ino), cursor);
}

// --- sessions --------------------------------------------------------------------------------------------------------

function encodeOp(op: number): Buffer {
  const b = Buffer.allocUnsafe(6);
  b.writeUIntBE(op, 0, 6);
  return b;
}

/** A session that holds opens begins: it cannot hold what was unlinked before it. */
export function holderStarted(ctx: Context, session: number): void {
  const { table } = ctx.records;
  table.put(holderKey(session), encodeOp(ctx.op));
  table.put(confirmedKey(ctx.op, session), EMPTY);
  ctx.counters.holders++;
  ctx.countersChanged = true;
}

/** A session has ended; what it held goes in collect steps. Nothing to do for one that held no opens. */
export function holderEnded(ctx: Context, session: number): void {
  const { table } = ctx.records;
  const record = table.get(holderKey(session));
  if (record === undefined) return;
  table.delete(holderKey(session));
  table.delete(confirmedKey(record.readUIntBE(0, 6), session));
  table.put(endedKey(session), EMPTY);
  ctx.counters.holders--;
  ctx.counters.ended++;
  ctx.countersChanged = true;
  noteReleasable(ctx);
}

/** EINVAL from a session that does not hold opens, or about the future. E2BIG cannot be: the codec bounds the list. */
export function keepAlive(ctx: Context, o: Of<'keepAlive'>): Outcome<Results['keepAlive']> {
  const { table } = ctx.records;
  const record = table.get(holderKey(ctx.session));
  if (record === undefined || o.seenOp >= ctx.op) return Errno.EINVAL;
  const before = record.readUIntBE(0, 6);
  // Overtaken by a later one of the same session: that one is what holds.
  if (o.seenOp < before) return { orphans: ctx.counters.orphans };
  if (ctx.counters.orphans > 0) updateHolds(ctx, o.open);
  if (o.seenOp > before) {
    table.put(holderKey(ctx.session), encodeOp(o.seenOp));
    table.delete(confirmedKey(before, ctx.session));
    table.put(confirmedKey(o.seenOp, ctx.session), EMPTY);
    noteReleasable(ctx);
  }
  return { orphans: ctx.counters.orphans };
}

/** Makes the session's holds exactly the orphans among `open`. */
function updateHolds(ctx: Context, open: readonly Ino[]): void {
  const { table } = ctx.records;
  const { session } = ctx;
  const stillOpen = new Set<Ino>(open);
  for (const [key] of table.range(holdKeyStart(session), holdKeyEnd(session), KEEP_ALIVE_OPEN_MAX)) {
    const ino = inoOfHoldKey(key);
    if (!stillOpen.delete(ino)) letGo(ctx, key, ino);
  }
  for (const ino of stillOpen) {
    const inode = ctx.records.inode(ino);
    if (inode === undefined || inode.unlinkedAt === 0) continue;
    table.put(holdKey(session, ino), EMPTY);
    putHeld(ctx, ino, heldCount(ctx, ino) + 1);
  }
}

function heldCount(ctx: Context, ino: Ino): number {
  return ctx.records.table.get(heldKey(ino))?.readUInt32BE(0) ?? 0;
}

function putHeld(ctx: Context, ino: Ino, count: number): void {
  if (count === 0) {
    ctx.records.table.delete(heldKey(ino));
    return;
  }
  const b = Buffer.allocUnsafe(4);
  b.writeUInt32BE(count, 0);
  ctx.records.table.put(heldKey(ino), b);
}

/** One session's hold on an orphan ends; the last one's end frees it, unless others have yet to speak about it. */
function letGo(ctx: Context, key: Buffer, ino: Ino): void {
  const { records } = ctx;
  records.table.delete(key);
  const count = heldCount(ctx, ino) - 1;
  putHeld(ctx, ino, count);
  if (count > 0) return;
  const inode = defined(records.inode(ino), 'an inode that is held');
  if (records.table.get(orphanKey(inode.unlinkedAt, ino)) !== undefined) return;
  freeOrphan(ctx, inode);
}

function freeOrphan(ctx: Context, inode: Inode): void {
  ctx.counters.orphans--;
  free(ctx, inode);
}

// --- release ---------------------------------------------------------------------------------------------------------

/** Up to which op every live session that holds opens has spoken. */
function horizon(ctx: Context): number {
  if (ctx.counters.holders === 0) return ctx.op;
  const [first] = ctx.records.table.range(confirmedKeyStart(), confirmedKeyEnd(), 1);
  return opOfConfirmedKey(defined(first, 'a live session that holds opens')[0]);
}

/** Keeps `releasable` true to its meaning after the horizon or the queue has changed. */
function noteReleasable(ctx: Context): void {
  const { counters } = ctx;
  let releasable = false;
  if (counters.waiting > 0) {
    const [first] = ctx.records.table.range(orphanKeyStart(), orphanKeyEnd(), 1);
    releasable = opOfOrphanKey(defined(first, 'a waiting orphan')[0]) <= horizon(ctx);
  }
  if (releasable === counters.releasable) return;
  counters.releasable = releasable;
  ctx.countersChanged = true;
}

/** Takes up to `limit` orphans at or before the horizon out of the queue; frees those that nobody holds. Returns how many it met. */
export function releaseOrphans(ctx: Context, limit: number): number {
  if (!ctx.counters.releasable) return 0;
  const { counters, records } = ctx;
  const ready = records.table.range(orphanKeyStart(), orphanKeyBehind(horizon(ctx)), limit);
  for (const [key] of ready) {
    const ino = inoOfOrphanKey(key);
    records.table.delete(key);
    counters.waiting--;
    if (heldCount(ctx, ino) === 0) freeOrphan(ctx, defined(records.inode(ino), 'an orphan'));
  }
  ctx.countersChanged = true;
  noteReleasable(ctx);
  return ready.length;
}

/** Drops up to `limit` holds of ended sessions. Returns how many it met. */
export function dropHolds(ctx: Context, limit: number): number {
  const { counters, records } = ctx;
  if (counters.ended === 0) return 0;
  const [first] = records.table.range(endedKeyStart(), endedKeyEnd(), 1);
  const session = sessionOfEndedKey(defined(first, 'an ended session')[0]);
  const holds = records.table.range(holdKeyStart(session), holdKeyEnd(session), limit);
  for (const [key] of holds) letGo(ctx, key, inoOfHoldKey(key));
  if (holds.length < limit) {
    records.table.delete(endedKey(session));
    counters.ended--;
    ctx.countersChanged = true;
  }
  return holds.length + 1;
}
