/** What all operations that make a name have in common: where it goes, whether it may, and the new inode. */
import { inodeOf, nextIno, type Context, type Outcome, type Verdict } from './context.ts';
import { Errno } from './errno.ts';
import { newInode, touchContents, type Inode } from './inode.ts';
import { LINK_MAX, type At, type FileType } from './operations.ts';
import { mayCreate, ownershipIn } from './permissions.ts';
import { followLast, lookup, resolveParent, type Last } from './resolve.ts';

/**
 * filename_create(): the place of a name that must not exist yet. A slash behind it is right for a directory only:
 * EEXIST, ENOENT (a slash), EACCES.
 */
export function resolveNew(ctx: Context, at: At, isDirectory: boolean): Outcome<Last> {
  const last = resolveParent(ctx, at);
  if (typeof last === 'number') return last;
  if (last.kind !== 'name') return at.path.length === 0 ? Errno.ENOENT : Errno.EEXIST;
  if (lookup(ctx, last.dir, last.name) !== undefined) return Errno.EEXIST;
  if (last.slash && !isDirectory) return Errno.ENOENT;
  const forbidden = mayCreate(last.dir, ctx.credentials);
  return forbidden !== 0 ? forbidden : last;
}

/**
 * open(O_CREAT): the file of that name, or the place where it is to be made; follows symbolic links, dangling ones
 * too, unless `exclusive`. EISDIR for a directory and for a name with a slash behind it.
 */
export function resolveForCreate(ctx: Context, at: At, exclusive: boolean): Outcome<Last | Inode> {
  if (at.path.length === 0) return Errno.ENOENT;
  let last = resolveParent(ctx, at);
  for (;;) {
    if (typeof last === 'number') return last;
    if (last.kind !== 'name') return exclusive ? Errno.EEXIST : Errno.EISDIR;
    if (last.slash) return Errno.EISDIR;
    const entry = lookup(ctx, last.dir, last.name);
    if (entry === undefined) return last;
    if (exclusive) return Errno.EEXIST;
    if (entry.type === 'directory') return Errno.EISDIR;
    if (entry.type !== 'symlink') return inodeOf(ctx, entry.ino);
    last = followLast(ctx, last, entry.ino);
  }
}

/** Whether one more inode may be made in `dir`: EACCES, EMLINK, ENOSPC. */
export function checkMake(ctx: Context, dir: Inode, isDirectory: boolean): Verdict {
  const forbidden = mayCreate(dir, ctx.credentials);
  if (forbidden !== 0) return forbidden;
  if (isDirectory && dir.nlink >= LINK_MAX) return Errno.EMLINK;
  return ctx.counters.inodes >= ctx.limits.maxInodes ? Errno.ENOSPC : 0;
}

/** After checkMake: the inode and its entry. The caller completes the inode and puts it. */
export function makeChild(ctx: Context, last: Last, type: FileType, mode: number): Inode {
  const { dir, name } = last;
  const { credentials } = ctx;
  const isDirectory = type === 'directory';
  const owned = ownershipIn(dir, isDirectory, mode, credentials);
  const inode = newInode(nextIno(ctx), type, owned.mode, credentials.uid, owned.gid, ctx);
  if (isDirectory) {
    inode.parent = dir.ino;
    dir.nlink++;
  }
  dir.size++;
  touchContents(dir, ctx);
  ctx.records.putEntry(dir.ino, name, inode.ino, type);
  ctx.records.putInode(dir);
  return inode;
}
