/** rename: vfs_rename() of Linux, with RENAME_NOREPLACE and RENAME_EXCHANGE, in one atomic step. */
import { inodeOf, type Context, type Outcome, type Verdict } from './context.ts';
import { Errno } from './errno.ts';
import { touchChange, touchContents, type Inode } from './inode.ts';
import { LINK_MAX, type At, type Operation, type Results } from './operations.ts';
import { dropLink } from './orphans.ts';
import { MAY_WRITE, mayAccess, mayCreate, mayDelete } from './permissions.ts';
import { isSelfOrAbove, lookup, resolveParent, type Last } from './resolve.ts';

type Rename = Extract<Operation, { type: 'rename' }>;

/** Both names, looked up. When both are in one directory, `from.dir` and `to.dir` are the same draft. */
interface Plan {
  readonly from: Last;
  readonly to: Last;
  readonly source: Inode;
  readonly target: Inode | null;
  readonly exchange: boolean;
}

export function rename(ctx: Context, o: Rename): Outcome<Results['rename']> {
  const plan = prepare(ctx, o);
  if (typeof plan === 'number') return plan;
  // Two links of one inode (or one and the same name): nothing happens, says POSIX.
  if (plan.target !== null && plan.target.ino === plan.source.ino) return {};
  const forbidden = check(ctx, plan);
  if (forbidden !== 0) return forbidden;
  if (plan.exchange && plan.target !== null) exchange(ctx, plan, plan.target);
  else move(ctx, plan);
  return {};
}

function prepare(ctx: Context, o: Rename): Outcome<Plan> {
  const from = resolveParent(ctx, o.from);
  if (typeof from === 'number') return from;
  const toFound = resolveParent(ctx, o.to);
  if (typeof toFound === 'number') return toFound;
  if (from.kind !== 'name') return noName(o.from, Errno.EBUSY);
  if (toFound.kind !== 'name') return noName(o.to, o.flags === 'noreplace' ? Errno.EEXIST : Errno.EBUSY);
  const to = toFound.dir.ino === from.dir.ino ? { ...toFound, dir: from.dir } : toFound;
  const sourceEntry = lookup(ctx, from.dir, from.name);
  if (sourceEntry === undefined) return Errno.ENOENT;
  const targetEntry = lookup(ctx, to.dir, to.name);
  const isExchange = o.flags === 'exchange';
  if (o.flags === 'noreplace' && targetEntry !== undefined) return Errno.EEXIST;
  if (isExchange && targetEntry === undefined) return Errno.ENOENT;
  const source = inodeOf(ctx, sourceEntry.ino);
  const target = targetEntry === undefined ? null : inodeOf(ctx, targetEntry.ino);
  const misplaced = checkPlaces(ctx, from, to, source, target, isExchange);
  return misplaced !== 0 ? misplaced : { from, to, source, target, exchange: isExchange };
}

function noName(at: At, errno: typeof Errno.EBUSY | typeof Errno.EEXIST): typeof errno | typeof Errno.ENOENT {
  return at.path.length === 0 ? Errno.ENOENT : errno;
}

/** Slashes behind names that are no directories; a directory into itself, or to where that is too deep to tell; onto a directory above. */
function checkPlaces(ctx: Context, from: Last, to: Last, source: Inode, target: Inode | null, isExchange: boolean): Verdict {
  if (isExchange && to.slash && target?.type !== 'directory') return Errno.ENOTDIR;
  if (source.type !== 'directory') {
    if (from.slash || (!isExchange && to.slash)) return Errno.ENOTDIR;
  }
  if (from.dir.ino === to.dir.ino) return 0;
  if (source.type === 'directory') {
    const into = isSelfOrAbove(ctx, source.ino, to.dir);
    if (into !== false) return into === true ? Errno.EINVAL : into;
  }
  // An empty one is above nothing: so whatever lies deeper than is walked can be moved in its place.
  if (target?.type === 'directory' && (isExchange || target.size > 0)) {
    const onto = isSelfOrAbove(ctx, target.ino, from.dir);
    if (onto !== false) return onto !== true ? onto : isExchange ? Errno.EINVAL : Errno.ENOTEMPTY;
  }
  return 0;
}

function check(ctx: Context, { from, to, source, target, exchange: isExchange }: Plan): Verdict {
  const { credentials } = ctx;
  const sourceIsDirectory = source.type === 'directory';
  const targetIsDirectory = target?.type === 'directory';
  let forbidden = mayDelete(from.dir, source, sourceIsDirectory, credentials);
  if (forbidden !== 0) return forbidden;
  if (target === null) forbidden = mayCreate(to.dir, credentials);
  else forbidden = mayDelete(to.dir, target, isExchange ? targetIsDirectory : sourceIsDirectory, credentials);
  if (forbidden !== 0) return forbidden;
  if (from.dir.ino !== to.dir.ino) {
    // Its '..' changes, so the directory itself has to be writable.
    if (sourceIsDirectory && !mayAccess(source, credentials, MAY_WRITE)) return Errno.EACCES;
    if (isExchange && target !== null && targetIsDirectory && !mayAccess(target, credentials, MAY_WRITE)) return Errno.EACCES;
    if (sourceIsDirectory && !targetIsDirectory && to.dir.nlink >= LINK_MAX) return Errno.EMLINK;
    if (isExchange && !sourceIsDirectory && targetIsDirectory && from.dir.nlink >= LINK_MAX) return Errno.EMLINK;
  }
  return !isExchange && target !== null && targetIsDirectory && target.size > 0 ? Errno.ENOTEMPTY : 0;
}

function reparent(inode: Inode, from: Inode, to: Inode): void {
  if (inode.type !== 'directory') return;
  inode.parent = to.ino;
  from.nlink--;
  to.nlink++;
}

function move(ctx: Context, { from, to, source, target }: Plan): void {
  const { records } = ctx;
  from.dir.size--;
  if (target === null) to.dir.size++;
  else if (target.type === 'directory') to.dir.nlink--;
  reparent(source, from.dir, to.dir);
  records.deleteEntry(from.dir.ino, from.name);
  records.putEntry(to.dir.ino, to.name, source.ino, source.type);
  finish(ctx, from.dir, to.dir, source);
  if (target !== null) dropLink(ctx, target);
}

function exchange(ctx: Context, { from, to, source }: Plan, target: Inode): void {
  const { records } = ctx;
  reparent(source, from.dir, to.dir);
  reparent(target, to.dir, from.dir);
  records.putEntry(from.dir.ino, from.name, target.ino, target.type);
  records.putEntry(to.dir.ino, to.name, source.ino, source.type);
  touchChange(target, ctx);
  records.putInode(target);
  finish(ctx, from.dir, to.dir, source);
}

function finish(ctx: Context, fromDir: Inode, toDir: Inode, source: Inode): void {
  touchContents(fromDir, ctx);
  ctx.records.putInode(fromDir);
  if (toDir !== fromDir) {
    touchContents(toDir, ctx);
    ctx.records.putInode(toDir);
  }
  touchChange(source, ctx);
  ctx.records.putInode(source);
}
