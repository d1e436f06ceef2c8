/**
 * From a directory's inode number and a path to inodes, as fs/namei.c does: search permission in each directory, '.'
 * and '..', symbolic links (at most 40), trailing slashes. An absolute path or target starts at the namespace's root.
 */
import type { Ino } from '../lib/ids.ts';
import { inodeOf, presentInode, type Context, type Outcome } from './context.ts';
import { Errno, type ErrnoCode } from './errno.ts';
import type { Inode } from './inode.ts';
import { LEVELS_MAX } from './limits.ts';
import { NAME_MAX, PATH_MAX, ROOT_INO, SYMLINK_DEPTH_MAX, type At } from './operations.ts';
import { MAY_EXEC, mayAccess } from './permissions.ts';
import type { DirectoryEntryRecord } from './records.ts';

const SLASH = 0x2f;
const DOT = 0x2e;
const SLASHES = Buffer.from('/');

/** The last component of a path, not looked up yet, and the directory that it is in (one that may be searched). */
export interface Last {
  readonly dir: Inode;
  /** 'none': the path was empty or '/', and `dir` is what it names. */
  readonly kind: 'name' | 'dot' | 'dotdot' | 'none';
  readonly name: Buffer;
  /** Slashes follow it: it has to be a directory. */
  readonly slash: boolean;
  /** Symbolic links followed so far. */
  readonly links: number;
}

/** Everything but the last component. */
export function resolveParent(ctx: Context, at: At): Outcome<Last> {
  const { path } = at;
  if (path.length > PATH_MAX) return Errno.ENAMETOOLONG;
  if (path.includes(0)) return Errno.EINVAL;
  const start = ctx.records.present(path[0] === SLASH ? ROOT_INO : at.dir);
  if (start === undefined) return Errno.ESTALE;
  if (path.length > 0 && start.type === 'directory' && isGone(ctx, start)) return Errno.ENOENT;
  return walk(ctx, start, path, 0);
}

/** The inode that a path names. `follow`: a symbolic link as the last component is followed. */
export function resolve(ctx: Context, at: At, follow: boolean): Outcome<Inode> {
  let last = resolveParent(ctx, at);
  for (;;) {
    if (typeof last === 'number') return last;
    if (last.kind === 'none' || last.kind === 'dot') return last.dir;
    if (last.kind === 'dotdot') {
      const parent = parentOf(ctx, last.dir);
      return typeof parent === 'number' ? parent : parent.draft();
    }
    const entry = lookup(ctx, last.dir, last.name);
    if (entry === undefined) return Errno.ENOENT;
    if (entry.type === 'symlink' && (follow || last.slash)) {
      last = followLast(ctx, last, entry.ino);
      continue;
    }
    if (last.slash && entry.type !== 'directory') return Errno.ENOTDIR;
    return inodeOf(ctx, entry.ino);
  }
}

/** The entry `name` of a directory that resolveParent gave, and so is not gone. */
export function lookup(ctx: Context, dir: Readonly<Inode>, name: Buffer): DirectoryEntryRecord | undefined {
  return ctx.records.entry(dir.ino, name);
}

/** Goes on behind a last component that is the symbolic link `link`. */
export function followLast(ctx: Context, last: Last, link: Ino): Outcome<Last> {
  if (last.links >= SYMLINK_DEPTH_MAX) return Errno.ELOOP;
  const target = ctx.records.target(link);
  const path = last.slash ? Buffer.concat([target, SLASHES]) : target;
  const start = path[0] === SLASH ? presentInode(ctx, ROOT_INO) : last.dir;
  return walk(ctx, start, path, last.links + 1);
}

function skipSlashes(path: Buffer, from: number): number {
  let at = from;
  while (path[at] === SLASH) at++;
  return at;
}

/** What is on the way is read only; the directory that it ends in is the caller's own. */
function walk(ctx: Context, start: Readonly<Inode>, path: Buffer, linksBefore: number): Outcome<Last> {
  let dir = start;
  let rest = path;
  let links = linksBefore;
  let at = skipSlashes(rest, 0);
  if (at === rest.length) return { dir: dir.draft(), kind: 'none', name: rest.subarray(at), slash: false, links };
  for (;;) {
    const slash = rest.indexOf(SLASH, at);
    const end = slash === -1 ? rest.length : slash;
    const next = skipSlashes(rest, end);
    if (dir.type !== 'directory') return Errno.ENOTDIR;
    if (!mayAccess(dir, ctx.credentials, MAY_EXEC)) return Errno.EACCES;
    const length = end - at;
    if (length > NAME_MAX) return Errno.ENAMETOOLONG;
    const dots = rest[at] !== DOT ? 0 : length === 1 ? 1 : length === 2 && rest[at + 1] === DOT ? 2 : 0;
    const name = rest.subarray(at, end);
    if (next === rest.length) return { dir: dir.draft(), kind: dots === 0 ? 'name' : dots === 1 ? 'dot' : 'dotdot', name, slash: slash !== -1, links };
    at = next;
    if (dots === 1) continue;
    if (dots === 2) {
      const parent = parentOf(ctx, dir);
      if (typeof parent === 'number') return parent;
      dir = parent;
      continue;
    }
    const entry = lookup(ctx, dir, name);
    if (entry === undefined) return Errno.ENOENT;
    if (entry.type !== 'symlink') {
      // Only a directory can have something behind it; the next turn says ENOTDIR.
      dir = presentInode(ctx, entry.ino);
      continue;
    }
    if (++links > SYMLINK_DEPTH_MAX) return Errno.ELOOP;
    rest = Buffer.concat([ctx.records.target(entry.ino), SLASHES, rest.subarray(next)]);
    if (rest[0] === SLASH) dir = presentInode(ctx, ROOT_INO);
    at = skipSlashes(rest, 0);
  }
}

/** Where '..' leads from a directory that has a name. ENOENT: to one that was cut off, whose own parent may be gone (isGone does not look that far). */
function parentOf(ctx: Context, dir: Readonly<Inode>): Outcome<Readonly<Inode>> {
  if (dir.ino === ROOT_INO) return dir;
  const parent = presentInode(ctx, dir.parent);
  return parent.nlink === 0 ? Errno.ENOENT : parent;
}

/**
 * Whether `ancestor` is `dir` or above it. Linux walks up likewise: a directory cannot be moved into itself. Not beyond LEVELS_MAX: ENAMETOOLONG.
 */
export function isSelfOrAbove(ctx: Context, ancestor: Ino, dir: Readonly<Inode>): boolean | ErrnoCode {
  let at = dir;
  for (let level = 0; at.ino !== ancestor; level++) {
    if (at.ino === ROOT_INO) return false;
    if (level === LEVELS_MAX) return Errno.ENAMETOOLONG;
    const parent = parentOf(ctx, at);
    if (typeof parent === 'number') return parent;
    at = parent;
  }
  return true;
}

/**
 * Whether a directory was removed: itself, or (while a removed tree is still being collected) one above it. What is
 * below a cut-off directory is gone at once, although its records go step by step; but for what is more than LEVELS_MAX below: that goes when its turn comes.
 */
export function isGone(ctx: Context, dir: Readonly<Inode>): boolean {
  if (dir.nlink === 0) return true;
  if (ctx.counters.detached === 0) return false;
  let at = dir;
  for (let level = 0; level < LEVELS_MAX && at.ino !== ROOT_INO; level++) {
    at = presentInode(ctx, at.parent);
    if (at.nlink === 0) return true;
  }
  return false;
}
