/** Extended attributes: fs/xattr.c's rules of the four name spaces. */
import { EMPTY } from '../lib/bytes.ts';
import type { Context, Outcome, Verdict } from './context.ts';
import { Errno } from './errno.ts';
import { touchChange, type Inode } from './inode.ts';
import { nameOfXattrKey, xattrKey, xattrKeyEnd, xattrKeyStart } from './keys.ts';
import { XATTR_TOTAL_MAX } from './limits.ts';
import { XATTR_NAME_MAX, XATTR_SIZE_MAX, type Operation, type Results } from './operations.ts';
import { isRoot, MAY_READ, MAY_WRITE, mayAccess, ownerOrRoot, S_ISVTX } from './permissions.ts';
import { resolve } from './resolve.ts';

type Of<T extends Operation['type']> = Extract<Operation, { type: T }>;

type NameSpace = 'user' | 'trusted' | 'security';
const PREFIXES: readonly (readonly [NameSpace, Buffer])[] = [
  ['user', Buffer.from('user.')],
  ['trusted', Buffer.from('trusted.')],
  ['security', Buffer.from('security.')],
];
const PREFIX_TRUSTED = Buffer.from('trusted.');
const CAPABILITY = Buffer.from('security.capability');

function startsWith(name: Buffer, prefix: Buffer): boolean {
  return name.length >= prefix.length && name.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}

/** ERANGE for a name that cannot be one; EOPNOTSUPP for a name space that is not kept (system.* among them: no ACLs); EINVAL for a bare prefix. */
function nameSpaceOf(name: Buffer): { readonly space: NameSpace } | typeof Errno.ERANGE | typeof Errno.EOPNOTSUPP | typeof Errno.EINVAL {
  if (name.length === 0 || name.length > XATTR_NAME_MAX) return Errno.ERANGE;
  if (name.includes(0)) return Errno.EINVAL;
  for (const [space, prefix] of PREFIXES) {
    if (startsWith(name, prefix)) return name.length === prefix.length ? Errno.EINVAL : { space };
  }
  return Errno.EOPNOTSUPP;
}

/** xattr_permission(), and what the security module asks for. */
function mayUse(ctx: Context, inode: Inode, space: NameSpace, write: boolean): Verdict {
  const { credentials } = ctx;
  switch (space) {
    case 'trusted':
      return isRoot(credentials) ? 0 : write ? Errno.EPERM : Errno.ENODATA;
    case 'security':
      return isRoot(credentials) || !write ? 0 : Errno.EPERM;
    case 'user':
      // Mode bits of links and devices do not say who may hang data on them.
      if (inode.type !== 'file' && inode.type !== 'directory') return write ? Errno.EPERM : Errno.ENODATA;
      if (write && inode.type === 'directory' && (inode.mode & S_ISVTX) !== 0 && !ownerOrRoot(inode, credentials)) return Errno.EPERM;
      return mayAccess(inode, credentials, write ? MAY_WRITE : MAY_READ) ? 0 : Errno.EACCES;
  }
}

export function setxattr(ctx: Context, o: Of<'setxattr'>): Outcome<Results['setxattr']> {
  const inode = resolve(ctx, o.at, o.follow);
  if (typeof inode === 'number') return inode;
  const named = nameSpaceOf(o.name);
  if (typeof named === 'number') return named;
  if (o.value.length > XATTR_SIZE_MAX) return Errno.E2BIG;
  const denied = mayUse(ctx, inode, named.space, true);
  if (denied !== 0) return denied;
  const { table } = ctx.records;
  const key = xattrKey(inode.ino, o.name);
  const old = inode.xattrBytes === 0 ? undefined : table.get(key);
  if (o.mode === 'create' && old !== undefined) return Errno.EEXIST;
  if (o.mode === 'replace' && old === undefined) return Errno.ENODATA;
  const total = inode.xattrBytes + o.value.length + (old === undefined ? o.name.length : -old.length);
  if (total > XATTR_TOTAL_MAX) return Errno.ENOSPC;
  table.put(key, o.value.length === 0 ? EMPTY : Buffer.from(o.value));
  inode.xattrBytes = total;
  touchChange(inode, ctx);
  ctx.records.putInode(inode);
  return {};
}

export function removexattr(ctx: Context, o: Of<'removexattr'>): Outcome<Results['removexattr']> {
  const inode = resolve(ctx, o.at, o.follow);
  if (typeof inode === 'number') return inode;
  const named = nameSpaceOf(o.name);
  if (typeof named === 'number') return named;
  const denied = mayUse(ctx, inode, named.space, true);
  if (denied !== 0) return denied;
  if (!remove(ctx, inode, o.name)) return Errno.ENODATA;
  touchChange(inode, ctx);
  ctx.records.putInode(inode);
  return {};
}

function remove(ctx: Context, inode: Inode, name: Buffer): boolean {
  if (inode.xattrBytes === 0) return false;
  const { table } = ctx.records;
  const key = xattrKey(inode.ino, name);
  const old = table.get(key);
  if (old === undefined) return false;
  table.delete(key);
  inode.xattrBytes -= name.length + old.length;
  return true;
}

/** File capabilities do not outlive a change of the file's data or owner. The caller puts the draft. */
export function dropCapabilities(ctx: Context, inode: Inode): void {
  if (inode.xattrBytes > 0) remove(ctx, inode, CAPABILITY);
}

export function getxattr(ctx: Context, o: Of<'getxattr'>): Outcome<Results['getxattr']> {
  const inode = resolve(ctx, o.at, o.follow);
  if (typeof inode === 'number') return inode;
  const named = nameSpaceOf(o.name);
  if (typeof named === 'number') return named;
  const denied = mayUse(ctx, inode, named.space, false);
  if (denied !== 0) return denied;
  const value = inode.xattrBytes === 0 ? undefined : ctx.records.table.get(xattrKey(inode.ino, o.name));
  return value === undefined ? Errno.ENODATA : { value };
}

/** In the order of the names' bytes; trusted.* is shown to root only. */
export function listxattr(ctx: Context, o: Of<'listxattr'>): Outcome<Results['listxattr']> {
  const inode = resolve(ctx, o.at, o.follow);
  if (typeof inode === 'number') return inode;
  if (inode.xattrBytes === 0) return { names: [] };
  const all = ctx.records.table.range(xattrKeyStart(inode.ino), xattrKeyEnd(inode.ino), XATTR_TOTAL_MAX);
  const names: Buffer[] = [];
  for (const [key] of all) {
    const name = nameOfXattrKey(key);
    if (isRoot(ctx.credentials) || !startsWith(name, PREFIX_TRUSTED)) names.push(name);
  }
  return { names };
}

