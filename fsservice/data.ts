/** read, write, putFile, and the change of a file's size. */
import { EMPTY } from '../lib/bytes.ts';
import { defined } from '../lib/assert.ts';
import { blocksOf, UNIT, unitsOf, type StoredBlock } from './block_store.ts';
import type { Context, Outcome, Verdict } from './context.ts';
import { checkMake, makeChild, resolveForCreate } from './make.ts';
import { Errno } from './errno.ts';
import { attributesOf, touchChange, touchContents, type Inode } from './inode.ts';
import { INLINE_FREE_BLOCKS, PENDING_TRUNCATIONS_MAX } from './limits.ts';
import { BLOCK_SIZE, READ_MAX, type Operation, type Results } from './operations.ts';
import { queueFreeing } from './orphans.ts';
import { MAY_READ, MAY_WRITE, mayAccessData, modeAfterWrite, modeWithoutSetId } from './permissions.ts';
import { resolve } from './resolve.ts';
import { dropCapabilities } from './xattr.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

/** Data belongs to regular files: EISDIR, EINVAL for the rest. */
function checkData(ctx: Context, inode: Inode, mask: number, byInode: boolean): Verdict {
  if (inode.type === 'directory') return Errno.EISDIR;
  if (inode.type !== 'file') return Errno.EINVAL;
  return mayAccessData(inode, ctx.credentials, mask, byInode) ? 0 : Errno.EACCES;
}

// --- read ------------------------------------------------------------------------------------------------------------

export function read(ctx: Context, o: Of<'read'>): Outcome<Results['read']> {
  const inode = resolve(ctx, o.at, true);
  if (typeof inode === 'number') return inode;
  const denied = checkData(ctx, inode, MAY_READ, o.at.path.length === 0);
  if (denied !== 0) return denied;
  const end = Math.min(inode.size, o.offset + Math.min(o.length, READ_MAX));
  return { data: end <= o.offset ? EMPTY : readRange(ctx, inode, o.offset, end), size: inode.size };
}

function readRange(ctx: Context, inode: Inode, start: number, end: number): Buffer {
  const first = Math.floor(start / BLOCK_SIZE);
  const last = Math.floor((end - 1) / BLOCK_SIZE);
  if (first === last) {
    // The usual case, without a copy.
    const { content } = ctx.blocks.read(inode, first);
    const base = first * BLOCK_SIZE;
    if (end - base <= content.length) return content.subarray(start - base, end - base);
  }
  const out = Buffer.alloc(end - start);
  for (let index = first; index <= last; index++) {
    const { content } = ctx.blocks.read(inode, index);
    const base = index * BLOCK_SIZE;
    const from = Math.max(start, base);
    const to = Math.min(end, base + content.length);
    if (to > from) content.copy(out, from - start, from - base, to - base);
  }
  return out;
}

// --- write -----------------------------------------------------------------------------------------------------------

export function write(ctx: Context, o: Of<'write'>): Outcome<Results['write']> {
  const inode = resolve(ctx, o.at, true);
  if (typeof inode === 'number') return inode;
  const denied = checkData(ctx, inode, MAY_WRITE, o.at.path.length === 0);
  if (denied !== 0) return denied;
  if (o.data.length === 0) return { attributes: attributesOf(inode) };
  const offset = o.offset === 'end' ? inode.size : o.offset;
  if (offset + o.data.length > ctx.limits.maxFileSize) return Errno.EFBIG;
  const old = readBlocks(ctx, inode, offset, o.data.length);
  const delta = growth(old, offset, o.data.length);
  if (delta > 0 && ctx.counters.bytes + delta * UNIT > ctx.limits.maxBytes) return Errno.ENOSPC;
  layData(ctx, inode, offset, o.data, old, delta);
  changed(ctx, inode);
  if (o.dropSetId === true) inode.mode = modeWithoutSetId(inode);
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode) };
}

/** The blocks that a write touches, as they are. */
function readBlocks(ctx: Context, inode: Inode, offset: number, length: number): StoredBlock[] {
  const first = Math.floor(offset / BLOCK_SIZE);
  const last = Math.floor((offset + length - 1) / BLOCK_SIZE);
  const out: StoredBlock[] = [];
  for (let index = first; index <= last; index++) out.push(ctx.blocks.read(inode, index));
  return out;
}

/** Units that the write adds. */
function growth(old: readonly StoredBlock[], offset: number, length: number): number {
  const first = Math.floor(offset / BLOCK_SIZE);
  const end = offset + length;
  let delta = 0;
  old.forEach((block, i) => {
    const written = Math.min(BLOCK_SIZE, end - (first + i) * BLOCK_SIZE);
    delta += unitsOf(Math.max(block.content.length, written)) - block.units;
  });
  return delta;
}

function layData(ctx: Context, inode: Inode, offset: number, data: Buffer, old: readonly StoredBlock[], delta: number): void {
  const first = Math.floor(offset / BLOCK_SIZE);
  let at = 0;
  for (let i = 0; i < old.length; i++) {
    const inBlock = i === 0 ? offset - first * BLOCK_SIZE : 0;
    const length = Math.min(BLOCK_SIZE - inBlock, data.length - at);
    ctx.blocks.write(inode, first + i, defined(old[i], 'a block read before'), inBlock, data.subarray(at, at + length));
    at += length;
  }
  account(ctx, inode, delta);
  inode.size = Math.max(inode.size, offset + data.length);
}

function account(ctx: Context, inode: Inode, units: number): void {
  if (units === 0) return;
  inode.blocks += units;
  ctx.counters.bytes += units * UNIT;
  ctx.countersChanged = true;
}

/** What every change of data does beside it: times, set-id bits, file capabilities. */
function changed(ctx: Context, inode: Inode): void {
  touchContents(inode, ctx);
  inode.mode = modeAfterWrite(inode, ctx.credentials);
  dropCapabilities(ctx, inode);
}

// --- size ------------------------------------------------------------------------------------------------------------

/** EFBIG beyond the limit; EAGAIN while too many truncations of this file wait to be collected (the mount tries again then: POSIX has no such error here). */
export function checkSize(ctx: Context, inode: Inode, size: number): Verdict {
  if (size > ctx.limits.maxFileSize) return Errno.EFBIG;
  if (leavesBlocks(inode, size) && pendingBefore(inode, size).length >= PENDING_TRUNCATIONS_MAX) return Errno.EAGAIN;
  return 0;
}

/** Whether a truncation leaves more blocks than one operation may remove. */
function leavesBlocks(inode: Inode, size: number): boolean {
  return inode.blocks > 0 && blocksOf(inode.size) - blocksOf(size) > INLINE_FREE_BLOCKS;
}

function pendingBefore(inode: Inode, size: number): Inode['pending'] {
  const keep = blocksOf(size);
  return inode.pending.filter((p) => p.from < keep);
}

/** After checkSize. Changes the draft, and times; the caller puts it. */
export function applySize(ctx: Context, inode: Inode, size: number): void {
  if (size < inode.size && inode.blocks > 0) cutOff(ctx, inode, size);
  inode.size = size;
  changed(ctx, inode);
}

function cutOff(ctx: Context, inode: Inode, size: number): void {
  const keep = blocksOf(size);
  const had = blocksOf(inode.size);
  const tail = size % BLOCK_SIZE;
  let freed = 0;
  if (tail > 0) {
    // What is cut from the last block must read as zeros when the file grows again.
    const block = ctx.blocks.read(inode, keep - 1);
    if (block.content.length > tail) {
      ctx.blocks.shorten(inode, keep - 1, block, tail);
      freed += block.units - unitsOf(tail);
    }
  }
  if (leavesBlocks(inode, size)) {
    inode.generation++;
    inode.pending = [...pendingBefore(inode, size), { from: keep, generation: inode.generation }];
    queueFreeing(ctx, inode.ino, keep);
  } else {
    for (let index = keep; index < had; index++) {
      const block = ctx.blocks.read(inode, index);
      if (block.units === 0) continue;
      ctx.blocks.remove(inode, index);
      freed += block.units;
    }
  }
  account(ctx, inode, -freed);
}

// --- whole files -----------------------------------------------------------------------------------------------------

/** `ifVersion: 0` is O_EXCL: a symbolic link is something that exists, wherever it leads. Else who puts the link decides where a lock file is made. */
export function putFile(ctx: Context, o: Of<'putFile'>): Outcome<Results['putFile']> {
  const target = o.at.path.length === 0 ? resolve(ctx, o.at, true) : resolveForCreate(ctx, o.at, o.ifVersion === 0);
  if (typeof target === 'number') return target;
  if ('ino' in target) return replaceContents(ctx, target, o);
  if (o.ifVersion !== null && o.ifVersion !== 0) return Errno.ENOENT;
  const forbidden = checkMake(ctx, target.dir, false);
  if (forbidden !== 0) return forbidden;
  if (o.data.length > ctx.limits.maxFileSize) return Errno.EFBIG;
  if (!hasRoomFor(ctx, o.data)) return Errno.ENOSPC;
  const inode = makeChild(ctx, target, 'file', o.mode);
  layWhole(ctx, inode, o.data);
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode), created: true };
}

function replaceContents(ctx: Context, inode: Inode, o: Of<'putFile'>): Outcome<Results['putFile']> {
  if (o.ifVersion === 0) return Errno.EEXIST;
  const denied = checkData(ctx, inode, MAY_WRITE, o.at.path.length === 0);
  if (denied !== 0) return denied;
  if (o.ifVersion !== null && o.ifVersion !== inode.version) return Errno.EAGAIN;
  if (o.data.length > ctx.limits.maxFileSize) return Errno.EFBIG;
  const impossible = checkSize(ctx, inode, 0);
  if (impossible !== 0) return impossible;
  // The new contents have to fit beside the old ones.
  if (!hasRoomFor(ctx, o.data)) return Errno.ENOSPC;
  applySize(ctx, inode, 0);
  layWhole(ctx, inode, o.data);
  touchChange(inode, ctx);
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode), created: false };
}

function unitsOfWhole(length: number): number {
  const whole = Math.floor(length / BLOCK_SIZE);
  return whole * unitsOf(BLOCK_SIZE) + unitsOf(length - whole * BLOCK_SIZE);
}

function hasRoomFor(ctx: Context, data: Buffer): boolean {
  return data.length === 0 || ctx.counters.bytes + unitsOfWhole(data.length) * UNIT <= ctx.limits.maxBytes;
}

/** Into an empty file. */
function layWhole(ctx: Context, inode: Inode, data: Buffer): void {
  if (data.length === 0) return;
  const old = readBlocks(ctx, inode, 0, data.length);
  layData(ctx, inode, 0, data, old, growth(old, 0, data.length));
}
