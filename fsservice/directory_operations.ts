/** create, mkdir, mknod, symlink, link, unlink, rmdir: what makes and removes names. rename has a file of its own. */
import { inodeOf, type Context, type Outcome } from './context.ts';
import { applySize, checkSize } from './data.ts';
import { Errno } from './errno.ts';
import { attributesOf, touchChange, touchContents, type Inode } from './inode.ts';
import { targetKey } from './keys.ts';
import { checkMake, makeChild, resolveForCreate, resolveNew } from './make.ts';
import { LINK_MAX, PATH_MAX, type At, type Operation, type Results } from './operations.ts';
import { dropLink } from './orphans.ts';
import { isRoot, MAY_WRITE, mayAccess, mayDelete } from './permissions.ts';
import { lookup, resolve, resolveParent, type Last } from './resolve.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

/** vfs_mkdir() takes these; set-uid and set-gid are not the caller's to give here. */
const MKDIR_MODE = 0o1777;

// --- making ----------------------------------------------------------------------------------------------------------

export function create(ctx: Context, o: Of<'create'>): Outcome<Results['create']> {
  const target = resolveForCreate(ctx, o.at, o.exclusive);
  if (typeof target === 'number') return target;
  if ('ino' in target) return openExisting(ctx, target, o.truncate);
  const forbidden = checkMake(ctx, target.dir, false);
  if (forbidden !== 0) return forbidden;
  const inode = makeChild(ctx, target, 'file', o.mode);
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode), created: true };
}

/** Whether the caller may read or write it is for the opener to ask (access); truncating is asked here. */
function openExisting(ctx: Context, inode: Inode, truncate: boolean): Outcome<Results['create']> {
  if (truncate && inode.type === 'file') {
    if (!mayAccess(inode, ctx.credentials, MAY_WRITE)) return Errno.EACCES;
    const impossible = checkSize(ctx, inode, 0);
    if (impossible !== 0) return impossible;
    applySize(ctx, inode, 0);
    ctx.records.putInode(inode);
  }
  return { attributes: attributesOf(inode), created: false };
}

export function mkdir(ctx: Context, o: Of<'mkdir'>): Outcome<Results['mkdir']> {
  const last = resolveNew(ctx, o.at, true);
  if (typeof last === 'number') return last;
  const forbidden = checkMake(ctx, last.dir, true);
  if (forbidden !== 0) return forbidden;
  const inode = makeChild(ctx, last, 'directory', o.mode & MKDIR_MODE);
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode) };
}

export function mknod(ctx: Context, o: Of<'mknod'>): Outcome<Results['mknod']> {
  if (o.fileType === 'directory') return Errno.EPERM;
  if (o.fileType === 'symlink') return Errno.EINVAL;
  const last = resolveNew(ctx, o.at, false);
  if (typeof last === 'number') return last;
  const isDevice = o.fileType === 'block' || o.fileType === 'character';
  if (isDevice && !isRoot(ctx.credentials)) return Errno.EPERM;
  const forbidden = checkMake(ctx, last.dir, false);
  if (forbidden !== 0) return forbidden;
  const inode = makeChild(ctx, last, o.fileType, o.mode);
  if (isDevice) inode.rdev = o.rdev;
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode) };
}

export function symlink(ctx: Context, o: Of<'symlink'>): Outcome<Results['symlink']> {
  if (o.target.length === 0) return Errno.ENOENT;
  // PATH_MAX counts the NUL behind it.
  if (o.target.length >= PATH_MAX) return Errno.ENAMETOOLONG;
  if (o.target.includes(0)) return Errno.EINVAL;
  const last = resolveNew(ctx, o.at, false);
  if (typeof last === 'number') return last;
  const forbidden = checkMake(ctx, last.dir, false);
  if (forbidden !== 0) return forbidden;
  const inode = makeChild(ctx, last, 'symlink', 0o777);
  inode.size = o.target.length;
  ctx.records.putInode(inode);
  ctx.records.table.put(targetKey(inode.ino), Buffer.from(o.target));
  return { attributes: attributesOf(inode) };
}

export function link(ctx: Context, o: Of<'link'>): Outcome<Results['link']> {
  const inode = resolve(ctx, o.from, o.follow);
  if (typeof inode === 'number') return inode;
  const last = resolveNew(ctx, o.to, false);
  if (typeof last === 'number') return last;
  if (inode.type === 'directory') return Errno.EPERM;
  // What lost its last name gets no new one: it may be on its way to be freed.
  if (inode.nlink === 0) return Errno.ENOENT;
  if (inode.nlink >= LINK_MAX) return Errno.EMLINK;
  const { dir, name } = last;
  inode.nlink++;
  touchChange(inode, ctx);
  dir.size++;
  touchContents(dir, ctx);
  ctx.records.putInode(inode);
  ctx.records.putInode(dir);
  ctx.records.putEntry(dir.ino, name, inode.ino, inode.type);
  return { attributes: attributesOf(inode) };
}

// --- removing --------------------------------------------------------------------------------------------------------

/** The name that rmdir and removeTree are to remove, and its inode: EBUSY for the root, EINVAL and ENOTEMPTY for '.' and '..'. */
export function resolveVictim(ctx: Context, at: At): Outcome<{ readonly last: Last; readonly victim: Inode }> {
  const last = resolveParent(ctx, at);
  if (typeof last === 'number') return last;
  switch (last.kind) {
    case 'none':
      return at.path.length === 0 ? Errno.ENOENT : Errno.EBUSY;
    case 'dot':
      return Errno.EINVAL;
    case 'dotdot':
      return Errno.ENOTEMPTY;
    case 'name': {
      const entry = lookup(ctx, last.dir, last.name);
      return entry === undefined ? Errno.ENOENT : { last, victim: inodeOf(ctx, entry.ino) };
    }
  }
}

/** After all checks: takes the name out of its directory. */
export function removeName(ctx: Context, last: Last, isDirectory: boolean): void {
  const { dir, name } = last;
  dir.size--;
  if (isDirectory) dir.nlink--;
  touchContents(dir, ctx);
  ctx.records.deleteEntry(dir.ino, name);
  ctx.records.putInode(dir);
}

export function unlink(ctx: Context, o: Of<'unlink'>): Outcome<Results['unlink']> {
  const last = resolveParent(ctx, o.at);
  if (typeof last === 'number') return last;
  if (last.kind !== 'name') return o.at.path.length === 0 ? Errno.ENOENT : Errno.EISDIR;
  const entry = lookup(ctx, last.dir, last.name);
  if (entry === undefined) return Errno.ENOENT;
  if (last.slash) return entry.type === 'directory' ? Errno.EISDIR : Errno.ENOTDIR;
  const inode = inodeOf(ctx, entry.ino);
  const forbidden = mayDelete(last.dir, inode, false, ctx.credentials);
  if (forbidden !== 0) return forbidden;
  removeName(ctx, last, false);
  dropLink(ctx, inode);
  return { ino: inode.ino, nlink: inode.nlink };
}

export function rmdir(ctx: Context, o: Of<'rmdir'>): Outcome<Results['rmdir']> {
  const found = resolveVictim(ctx, o.at);
  if (typeof found === 'number') return found;
  const { last, victim } = found;
  const forbidden = mayDelete(last.dir, victim, true, ctx.credentials);
  if (forbidden !== 0) return forbidden;
  if (victim.size > 0) return Errno.ENOTEMPTY;
  removeName(ctx, last, true);
  dropLink(ctx, victim);
  return { ino: victim.ino };
}
