/** readdir, readlink, statfs. Reading never writes: access times change by setattr alone, as under noatime. */
import { inodeOf, type Context, type Outcome } from './context.ts';
import { Errno } from './errno.ts';
import { attributesOf } from './inode.ts';
import { entryKeyAfter, entryKeyEnd, nameOfEntryKey } from './keys.ts';
import { READDIR_MAX } from './limits.ts';
import { BLOCK_SIZE, NAME_MAX, type DirectoryEntry, type Operation, type Results } from './operations.ts';
import { MAY_EXEC, MAY_READ, mayAccess } from './permissions.ts';
import { decodeEntry } from './records.ts';
import { isGone, resolve } from './resolve.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

/**
 * Entries in the order of their names' bytes, at most READDIR_MAX. Attributes only for a caller who may search the
 * directory too: who may not could not stat them either.
 */
export function readdir(ctx: Context, o: Of<'readdir'>): Outcome<Results['readdir']> {
  if (o.limit === 0) return Errno.EINVAL;
  if (o.after.length > NAME_MAX) return Errno.ENAMETOOLONG;
  const dir = resolve(ctx, o.at, true);
  if (typeof dir === 'number') return dir;
  if (dir.type !== 'directory') return Errno.ENOTDIR;
  if (!mayAccess(dir, ctx.credentials, MAY_READ)) return Errno.EACCES;
  if (isGone(ctx, dir)) return Errno.ENOENT;
  const limit = Math.min(o.limit, READDIR_MAX);
  const withAttributes = o.attributes && mayAccess(dir, ctx.credentials, MAY_EXEC);
  // One more than asked for says whether this page is the last.
  const found = ctx.records.table.range(entryKeyAfter(dir.ino, o.after), entryKeyEnd(dir.ino), limit + 1);
  const end = found.length <= limit;
  if (!end) found.pop();
  const entries = found.map(([key, value]): DirectoryEntry => {
    const { ino, type } = decodeEntry(value);
    const name = nameOfEntryKey(key);
    return withAttributes ? { name, ino, type, attributes: attributesOf(inodeOf(ctx, ino)) } : { name, ino, type };
  });
  return { entries, end, ino: dir.ino, parent: dir.parent };
}

export function readlink(ctx: Context, o: Of<'readlink'>): Outcome<Results['readlink']> {
  const inode = resolve(ctx, o.at, false);
  if (typeof inode === 'number') return inode;
  return inode.type === 'symlink' ? { target: ctx.records.target(inode.ino) } : Errno.EINVAL;
}

export function statfs(ctx: Context): Results['statfs'] {
  const { counters, limits } = ctx;
  return {
    inodes: counters.inodes, maxInodes: limits.maxInodes, bytes: counters.bytes, maxBytes: limits.maxBytes, blockSize: BLOCK_SIZE, orphans: counters.orphans,
  };
}
