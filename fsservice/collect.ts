/**
 * What is too much for one operation: removing a tree, freeing large contents, releasing many orphans. The operation
 * cuts it off at once and queues it; the primary proposes 'collect' operations, each one bounded step, until the queues are empty.
 */
import { EMPTY } from '../lib/bytes.ts';
import { assert, defined } from '../lib/assert.ts';
import { UNIT } from './block_store.ts';
import { inodeOf, type Context, type Outcome } from './context.ts';
import type { Counters } from './counters.ts';
import { removeName, resolveVictim } from './directory_operations.ts';
import { Errno } from './errno.ts';
import { touchChange, type Inode } from './inode.ts';
import {
  contentsKeyStart, detachedKey, detachedKeyEnd, detachedKeyStart, entryKeyAfter, entryKeyEnd, freeingKey, freeingKeyEnd, freeingKeyStart,
  inoOfQueueKey, xattrKeyEnd,
} from './keys.ts';
import { COLLECT_BLOCKS, COLLECT_RECORDS } from './limits.ts';
import type { Operation, Results } from './operations.ts';
import { dispose, dropHolds, dropLink, putFreeing, releaseOrphans } from './orphans.ts';
import { isRoot, mayDelete } from './permissions.ts';
import { decodeEntry } from './records.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

// --- removeTree ------------------------------------------------------------------------------------------------------

/**
 * Of a directory it is for root, whom no directory below could refuse. Those of anybody else would have to be asked one by one, which is
 * unbounded: others remove a tree name by name (client/remove_tree.ts).
 */
export function removeTree(ctx: Context, o: Of<'removeTree'>): Outcome<Results['removeTree']> {
  const found = resolveVictim(ctx, o.at);
  if (typeof found === 'number') return found;
  const { last, victim } = found;
  const isDirectory = victim.type === 'directory';
  if (last.slash && !isDirectory) return Errno.ENOTDIR;
  const forbidden = mayDelete(last.dir, victim, isDirectory, ctx.credentials);
  if (forbidden !== 0) return forbidden;
  if (isDirectory && !isRoot(ctx.credentials)) return Errno.EPERM;
  removeName(ctx, last, isDirectory);
  if (isDirectory) cutOff(ctx, victim);
  else dropLink(ctx, victim);
  return { ino: victim.ino };
}

/** A directory whose name is gone: what is below it follows in steps. */
function cutOff(ctx: Context, dir: Inode): void {
  if (dir.size === 0) {
    dropLink(ctx, dir);
    return;
  }
  dir.nlink = 0;
  touchChange(dir, ctx);
  ctx.records.putInode(dir);
  ctx.records.table.put(detachedKey(dir.ino), EMPTY);
  ctx.counters.detached++;
  ctx.countersChanged = true;
}

// --- collect ---------------------------------------------------------------------------------------------------------

export function hasGarbage(counters: Counters): boolean {
  return counters.releasable || counters.ended > 0 || counters.freeing > 0 || counters.detached > 0;
}

/** One step: about COLLECT_RECORDS records. Gives how many it met. */
export function collect(ctx: Context): Results['collect'] {
  let met = dropHolds(ctx, COLLECT_RECORDS);
  if (met < COLLECT_RECORDS) met += releaseOrphans(ctx, COLLECT_RECORDS - met);
  while (met < COLLECT_RECORDS && ctx.counters.freeing > 0) met += freeContents(ctx, COLLECT_RECORDS - met);
  while (met < COLLECT_RECORDS && ctx.counters.detached > 0) met += emptyDirectory(ctx, COLLECT_RECORDS - met);
  return { freed: met };
}

/** Of the first inode in the queue. */
function freeContents(ctx: Context, limit: number): number {
  const { counters, records } = ctx;
  const [first] = records.table.range(freeingKeyStart(), freeingKeyEnd(), 1);
  const [key, cursor] = defined(first, 'contents to be freed');
  const ino = inoOfQueueKey(key);
  const inode = records.inode(ino);
  let met = 1;
  if (inode === undefined) {
    const attributes = records.table.range(contentsKeyStart(ino), xattrKeyEnd(ino), limit);
    for (const [attribute] of attributes) records.table.delete(attribute);
    met += attributes.length;
    if (attributes.length === limit) return met;
  }
  const swept = ctx.blocks.sweep(ino, cursor.readUInt32BE(0), inode?.pending ?? null, Math.min(COLLECT_BLOCKS, limit));
  counters.bytes -= swept.units * UNIT;
  ctx.countersChanged = true;
  if (inode !== undefined) {
    inode.blocks -= swept.units;
    if (swept.next === null) inode.pending = [];
    records.putInode(inode);
  }
  if (swept.next !== null) {
    putFreeing(ctx, ino, swept.next);
    return COLLECT_RECORDS;
  }
  records.table.delete(freeingKey(ino));
  counters.freeing--;
  return met + swept.removed;
}

/** Removes entries of the first cut-off directory; subdirectories join the queue. */
function emptyDirectory(ctx: Context, limit: number): number {
  const { counters, records } = ctx;
  const [first] = records.table.range(detachedKeyStart(), detachedKeyEnd(), 1);
  const dir = inodeOf(ctx, inoOfQueueKey(defined(first, 'a cut-off directory')[0]));
  const entries = records.table.range(entryKeyAfter(dir.ino, EMPTY), entryKeyEnd(dir.ino), limit);
  for (const [key, value] of entries) {
    records.table.delete(key);
    dir.size--;
    const child = inodeOf(ctx, decodeEntry(value).ino);
    if (child.type === 'directory') cutOff(ctx, child);
    else dropLink(ctx, child);
  }
  if (entries.length === limit) {
    records.putInode(dir);
    return limit;
  }
  assert(dir.size === 0, 'a directory counts its entries');
  records.table.delete(detachedKey(dir.ino));
  counters.detached--;
  ctx.countersChanged = true;
  dispose(ctx, dir);
  return entries.length + 1;
}
