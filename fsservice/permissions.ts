/**
 * Who may do what: the rules of Linux's fs/namei.c and fs/attr.c, in one place. uid 0 has the capabilities that they
 * ask for (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_FSETID, CAP_MKNOD, CAP_SYS_ADMIN).
 */
import type { Verdict } from './context.ts';
import { Errno } from './errno.ts';
import type { Inode } from './inode.ts';
import type { Credentials } from './operations.ts';

export const MAY_READ = 4;
export const MAY_WRITE = 2;
export const MAY_EXEC = 1;

export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;
export const S_IXGRP = 0o0010;
const S_IXUGO = 0o0111;

export function isRoot(c: Credentials): boolean {
  return c.uid === 0;
}

export function inGroup(c: Credentials, gid: number): boolean {
  return c.gid === gid || c.groups.includes(gid);
}

/** Owner, or CAP_FOWNER. */
export function ownerOrRoot(inode: Inode, c: Credentials): boolean {
  return c.uid === inode.uid || isRoot(c);
}

/** All of `mask`. Exactly one of the three classes of bits counts: a group member is not 'other', even where other may more. */
export function mayAccess(inode: Readonly<Inode>, c: Credentials, mask: number): boolean {
  if (isRoot(c)) {
    // CAP_DAC_OVERRIDE: everything, but a file that nobody may execute.
    return inode.type === 'directory' || (mask & MAY_EXEC) === 0 || (inode.mode & S_IXUGO) !== 0;
  }
  let bits = inode.mode;
  if (c.uid === inode.uid) bits >>= 6;
  else if (inGroup(c, inode.gid)) bits >>= 3;
  return (bits & mask) === mask;
}

/**
 * Access to a file's data. A file that is named by its inode number alone is one that the caller has opened: its
 * owner may go on whatever the mode says by now, as open(O_CREAT | O_WRONLY, 0444) and NFS servers have it.
 */
export function mayAccessData(inode: Inode, c: Credentials, mask: number, byInode: boolean): boolean {
  return mayAccess(inode, c, mask) || (byInode && c.uid === inode.uid);
}

/** In a sticky directory only the owner of the file, of the directory, or root may remove or rename. */
function stickyForbids(dir: Inode, victim: Inode, c: Credentials): boolean {
  return (dir.mode & S_ISVTX) !== 0 && c.uid !== victim.uid && c.uid !== dir.uid && !isRoot(c);
}

/** may_delete(): removing (or renaming away) `victim` from `dir`, by a call for directories or for others. */
export function mayDelete(dir: Inode, victim: Inode, asDirectory: boolean, c: Credentials): Verdict {
  if (!mayAccess(dir, c, MAY_WRITE | MAY_EXEC)) return Errno.EACCES;
  if (stickyForbids(dir, victim, c)) return Errno.EPERM;
  if (asDirectory && victim.type !== 'directory') return Errno.ENOTDIR;
  if (!asDirectory && victim.type === 'directory') return Errno.EISDIR;
  return 0;
}

/** may_create(): adding a name to `dir`. */
export function mayCreate(dir: Inode, c: Credentials): Verdict {
  return mayAccess(dir, c, MAY_WRITE | MAY_EXEC) ? 0 : Errno.EACCES;
}

/** CAP_FSETID, or a member of that group: may have a set-gid bit for it. */
export function inGroupOrRoot(gid: number, c: Credentials): boolean {
  return inGroup(c, gid) || isRoot(c);
}

/** setattr_should_drop_sgid(). */
function dropsSetGid(inode: Inode, c: Credentials): boolean {
  if ((inode.mode & S_ISGID) === 0) return false;
  return (inode.mode & S_IXGRP) !== 0 || !inGroupOrRoot(inode.gid, c);
}

/** The mode of a file after its owner or group was changed, by whomever. */
export function modeAfterChown(inode: Inode, c: Credentials): number {
  if (inode.type === 'directory') return inode.mode;
  return inode.mode & ~S_ISUID & (dropsSetGid(inode, c) ? ~S_ISGID : ~0);
}

/** The mode of a file after its data was changed: root keeps the set-id bits. */
export function modeAfterWrite(inode: Inode, c: Credentials): number {
  if (isRoot(c) || inode.type !== 'file') return inode.mode;
  return inode.mode & ~S_ISUID & (dropsSetGid(inode, c) ? ~S_ISGID : ~0);
}

/** The mode of a file without set-uid, and without set-gid where its group may execute it (elsewhere that bit once meant something else): the kernel's FUSE_WRITE_KILL_SUIDGID. */
export function modeWithoutSetId(inode: Inode): number {
  if (inode.type !== 'file') return inode.mode;
  return inode.mode & ~S_ISUID & ((inode.mode & S_IXGRP) !== 0 ? ~S_ISGID : ~0);
}

/** inode_init_owner() and mode_strip_sgid(): group and mode of what is made in `dir`. */
export function ownershipIn(dir: Inode, isDirectory: boolean, mode: number, c: Credentials): { readonly gid: number; readonly mode: number } {
  if ((dir.mode & S_ISGID) === 0) return { gid: c.gid, mode };
  if (isDirectory) return { gid: dir.gid, mode: mode | S_ISGID };
  const bits = S_ISGID | S_IXGRP;
  const strip = (mode & bits) === bits && !inGroupOrRoot(dir.gid, c);
  return { gid: dir.gid, mode: strip ? mode & ~S_ISGID : mode };
}
