/** getattr, access, setattr. The order of the checks is Linux's: size, then owner, group, mode, times (setattr_prepare). */
import type { Context, Outcome, Verdict } from './context.ts';
import { applySize, checkSize } from './data.ts';
import { Errno } from './errno.ts';
import { attributesOf, touchChange, type Inode } from './inode.ts';
import type { Operation, Results, SetAttributes } from './operations.ts';
import { inGroup, inGroupOrRoot, isRoot, MAY_WRITE, mayAccess, mayAccessData, modeAfterChown, modeWithoutSetId, ownerOrRoot, S_ISGID } from './permissions.ts';
import { resolve } from './resolve.ts';
import { dropCapabilities } from './xattr.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

/** (uid_t) -1 means "no change" to the system call, and is nobody's. */
const NO_ID = 0xffff_ffff;

export function getattr(ctx: Context, o: Of<'getattr'>): Outcome<Results['getattr']> {
  const inode = resolve(ctx, o.at, o.follow);
  return typeof inode === 'number' ? inode : { attributes: attributesOf(inode) };
}

export function access(ctx: Context, o: Of<'access'>): Outcome<Results['access']> {
  if (o.mask > 7) return Errno.EINVAL;
  const inode = resolve(ctx, o.at, true);
  if (typeof inode === 'number') return inode;
  return mayAccess(inode, ctx.credentials, o.mask) ? {} : Errno.EACCES;
}

export function setattr(ctx: Context, o: Of<'setattr'>): Outcome<Results['setattr']> {
  const inode = resolve(ctx, o.at, o.follow);
  if (typeof inode === 'number') return inode;
  const { set } = o;
  const denied = checkSet(ctx, inode, set, o.at.path.length === 0);
  if (denied !== 0) return denied;
  if (isEmpty(set) && o.dropSetId !== true) return { attributes: attributesOf(inode) };
  applySet(ctx, inode, set);
  if (o.dropSetId === true) inode.mode = modeWithoutSetId(inode);
  ctx.records.putInode(inode);
  return { attributes: attributesOf(inode) };
}

function checkSet(ctx: Context, inode: Inode, set: SetAttributes, byInode: boolean): Verdict {
  const { credentials } = ctx;
  if (set.size !== undefined) {
    if (inode.type === 'directory') return Errno.EISDIR;
    if (inode.type !== 'file') return Errno.EINVAL;
    if (!mayAccessData(inode, credentials, MAY_WRITE, byInode)) return Errno.EACCES;
    const impossible = checkSize(ctx, inode, set.size);
    if (impossible !== 0) return impossible;
  }
  if (set.uid === NO_ID || set.gid === NO_ID) return Errno.EINVAL;
  const isOwner = credentials.uid === inode.uid;
  if (!isRoot(credentials)) {
    if (set.uid !== undefined && !(isOwner && set.uid === inode.uid)) return Errno.EPERM;
    if (set.gid !== undefined && !(isOwner && (set.gid === inode.gid || inGroup(credentials, set.gid)))) return Errno.EPERM;
  }
  if (set.mode !== undefined) {
    if (inode.type === 'symlink') return Errno.EOPNOTSUPP;
    if (!ownerOrRoot(inode, credentials)) return Errno.EPERM;
  }
  return checkTimes(ctx, inode, set);
}

/**
 * Both times 'now' is a touch, which whoever may write may do; any other time is the owner's to set. A change of size, whose
 * permission was checked, may bring its own 'now'.
 */
function checkTimes(ctx: Context, inode: Inode, set: SetAttributes): Verdict {
  const { atime, mtime } = set;
  if ((atime === undefined && mtime === undefined) || ownerOrRoot(inode, ctx.credentials)) return 0;
  if (set.size !== undefined && (atime ?? 'now') === 'now' && (mtime ?? 'now') === 'now') return 0;
  if (atime !== 'now' || mtime !== 'now') return Errno.EPERM;
  return mayAccess(inode, ctx.credentials, MAY_WRITE) ? 0 : Errno.EACCES;
}

function isEmpty(set: SetAttributes): boolean {
  return set.mode === undefined && set.uid === undefined && set.gid === undefined && set.size === undefined && set.atime === undefined && set.mtime === undefined;
}

/** An empty set is chown(-1, -1). */
function applySet(ctx: Context, inode: Inode, set: SetAttributes): void {
  const { credentials } = ctx;
  if (set.size !== undefined) applySize(ctx, inode, set.size);
  if (set.uid !== undefined || set.gid !== undefined || isEmpty(set)) {
    inode.mode = modeAfterChown(inode, credentials);
    dropCapabilities(ctx, inode);
    inode.uid = set.uid ?? inode.uid;
    inode.gid = set.gid ?? inode.gid;
  }
  if (set.mode !== undefined) {
    // Silently, as chmod(2) does: no set-gid for a group that one is not in.
    inode.mode = inGroupOrRoot(inode.gid, credentials) ? set.mode : set.mode & ~S_ISGID;
  }
  if (set.atime !== undefined) {
    inode.atimeSec = set.atime === 'now' ? ctx.sec : set.atime.sec;
    inode.atimeNsec = set.atime === 'now' ? ctx.nsec : set.atime.nsec;
  }
  if (set.mtime !== undefined) {
    inode.mtimeSec = set.mtime === 'now' ? ctx.sec : set.mtime.sec;
    inode.mtimeNsec = set.mtime === 'now' ? ctx.nsec : set.mtime.nsec;
  }
  touchChange(inode, ctx);
}
