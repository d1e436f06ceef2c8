/**
 * The mount's view of the namespace: directories and names to inodes, open files to handles, one call of the kernel to
 * one operation of the client. Both bindings stand on it; it knows nothing of FUSE.
 *
 * Write-through: when a method has resolved, the change is committed and executed, so that every other mount sees it and a
 * crash of this process loses nothing. There is nothing left for flush or fsync to do.
 *
 * Permissions: operations on names carry the caller's credentials. Reads and writes of an open file, and reads of an open directory, do
 * not: as POSIX has it, the right to them was settled when it was opened (`open` for writing, then chmod 0444, then `write` works; so does
 * `readdir` for a daemon that has given up root since), by the kernel (default_permissions); so they go out as the superuser's.
 */
import { setTimeout } from 'node:timers/promises';
import { OutcomeUnknown, TimedOut } from '../client/errors.ts';
import type { Ino } from '../lib/ids.ts';
import { EMPTY } from '../lib/bytes.ts';
import { Errno } from '../fsservice/errno.ts';
import { READ_MAX } from '../fsservice/operations.ts';
import type {
  At, Attributes, Credentials, DirectoryEntry, FileType, Result, SetAttributes,
} from '../fsservice/operations.ts';
import { inGroupOrRoot, S_ISGID, S_ISUID, S_IXGRP } from '../fsservice/permissions.ts';
import { HandleTable } from './handles.ts';
import type { NamespaceClient } from './namespace_client.ts';

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly errno: number };

export interface Opened {
  readonly handle: number;
  readonly attributes: Attributes;
}

export interface Listing {
  readonly ino: Ino;
  readonly parent: Ino;
  readonly entries: readonly DirectoryEntry[];
}

/** In an open file. */
export interface Place {
  readonly handle: number;
  readonly offset: number;
}

export interface WriteOptions {
  /** The writer may not keep set-uid and set-gid. */
  readonly dropSetId?: boolean;
  /** Who that is: asked where its groups make a difference. */
  readonly writer?: () => Credentials;
  /** What the kernel says of this write; default: as the file was opened (O_APPEND). */
  readonly append?: boolean;
}

/** How an operation that the group puts off for a while is tried again. */
export interface Patience {
  readonly requestTimeoutMs: number;
  /** Milliseconds, by a clock that nobody sets. */
  readonly now: () => number;
  readonly pause: (ms: number) => Promise<void>;
}

const PATIENCE: Patience = { requestTimeoutMs: 60_000, now: () => performance.now(), pause: (ms) => setTimeout(ms) };
/** A step of collecting takes a few milliseconds. */
const PAUSE_MIN_MS = 5;
const PAUSE_MAX_MS = 250;

const SUPERUSER: Credentials = { uid: 0, gid: 0, groups: [] };
/** Entries asked for at once: with attributes about 200 bytes each, well below a frame's bound. */
const READDIR_PAGE = 1000;
/** One logged operation carries at most this much, so that a large write never holds a Prepare for long. */
export const WRITE_MAX = 128 << 10;

// open(2) on Linux.
const O_ACCMODE = 0o3;
const O_RDONLY = 0;
const O_WRONLY = 1;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
const R_OK = 4;
const W_OK = 2;

/** This session holds as many files and directories open as a session may. */
const ENFILE = 23;
/** How often a name is tried that others make and remove all the time; the kernel tries twice. */
const CREATE_TRIES = 32;
const LOOK_AGAIN = { ok: false, errno: Errno.ESTALE } as const;
const BAD_HANDLE = { ok: false, errno: Errno.EBADF } as const;

export class Vfs {
  readonly #client: NamespaceClient;
  readonly #patience: Patience;
  readonly #handles = new HandleTable();

  constructor(client: NamespaceClient, patience: Partial<Patience> = {}) {
    this.#client = client;
    this.#patience = { ...PATIENCE, ...patience };
  }

  get openHandles(): number {
    return this.#handles.size;
  }

  // --- names ---------------------------------------------------------------------------------------------------

  getattr(credentials: Credentials, at: At): Promise<Result<'getattr'>> {
    return this.#client.query({ credentials, operation: { type: 'getattr', at, follow: false } });
  }

  /** `dropSetId`: the caller may not keep set-uid and set-gid. */
  setattr(credentials: Credentials, at: At, set: SetAttributes, dropSetId = false): Promise<Result<'setattr'>> {
    // The kernel lets 63 bits pass; no file reaches as far.
    if (set.size !== undefined && set.size > Number.MAX_SAFE_INTEGER) return Promise.resolve({ ok: false, errno: Errno.EFBIG });
    const submit = (): Promise<Result<'setattr'>> => this.#client.submit({ credentials, operation: { type: 'setattr', at, follow: false, set, ...dropping(dropSetId) } });
    return set.size === undefined ? submit() : this.#whenCollected(submit);
  }

  /**
   * chown(2) of neither owner nor group. Where a file has set-id bits the kernel says the same before a write through its page cache and a copy, of whoever writes, and asks nobody
   * whether the caller may: so they go where it is the owner or root, and for others by the write itself.
   */
  async chownNothing(credentials: Credentials, at: At): Promise<Outcome<{ readonly attributes: Attributes }>> {
    const found = await this.getattr(credentials, at);
    if (!found.ok) return found;
    const { type, uid, mode } = found.value.attributes;
    const losesBits = type !== 'directory' && (mode & (S_ISUID | S_ISGID)) !== 0;
    if (losesBits && credentials.uid !== 0 && credentials.uid !== uid) return found;
    return this.setattr(credentials, at, {}, true);
  }

  /**
   * EAGAIN says that so many truncations of the file wait to be collected that the group takes no more of them. It has done nothing then, and no program expects
   * this of truncate(2); the group collects by itself, so that it is a matter of waiting, for as long as a request waits for its answer.
   */
  async #whenCollected(submit: () => Promise<Result<'setattr'>>): Promise<Result<'setattr'>> {
    let answer = await submit();
    if (answer.ok || answer.errno !== Errno.EAGAIN) return answer;
    const { requestTimeoutMs, now, pause } = this.#patience;
    const deadline = now() + requestTimeoutMs;
    for (let ms = PAUSE_MIN_MS; !answer.ok && answer.errno === Errno.EAGAIN; ms = Math.min(2 * ms, PAUSE_MAX_MS)) {
      const left = deadline - now();
      if (left <= 0) throw new TimedOut(`for ${requestTimeoutMs} ms too many truncations of the file have waited to be collected; nothing was done`);
      await pause(Math.min(ms, left));
      answer = await submit();
    }
    return answer;
  }

  access(credentials: Credentials, at: At, mask: number): Promise<Result<'access'>> {
    return this.#client.query({ credentials, operation: { type: 'access', at, mask } });
  }

  mkdir(credentials: Credentials, at: At, mode: number): Promise<Result<'mkdir'>> {
    return this.#client.submit({ credentials, operation: { type: 'mkdir', at, mode } });
  }

  mknod(credentials: Credentials, at: At, fileType: FileType, mode: number, rdev: number): Promise<Result<'mknod'>> {
    return this.#client.submit({ credentials, operation: { type: 'mknod', at, fileType, mode, rdev } });
  }

  symlink(credentials: Credentials, at: At, target: Buffer): Promise<Result<'symlink'>> {
    return this.#client.submit({ credentials, operation: { type: 'symlink', at, target } });
  }

  readlink(credentials: Credentials, at: At): Promise<Result<'readlink'>> {
    return this.#client.query({ credentials, operation: { type: 'readlink', at } });
  }

  link(credentials: Credentials, from: At, to: At): Promise<Result<'link'>> {
    return this.#client.submit({ credentials, operation: { type: 'link', from, to, follow: false } });
  }

  unlink(credentials: Credentials, at: At): Promise<Result<'unlink'>> {
    return this.#client.submit({ credentials, operation: { type: 'unlink', at } });
  }

  rmdir(credentials: Credentials, at: At): Promise<Result<'rmdir'>> {
    return this.#client.submit({ credentials, operation: { type: 'rmdir', at } });
  }

  rename(credentials: Credentials, from: At, to: At, flags: 'none' | 'noreplace' | 'exchange'): Promise<Result<'rename'>> {
    return this.#client.submit({ credentials, operation: { type: 'rename', from, to, flags } });
  }

  getxattr(credentials: Credentials, at: At, name: Buffer): Promise<Outcome<{ readonly value: Buffer }>> {
    const never = neverHeld(name);
    if (never !== undefined) return Promise.resolve({ ok: false, errno: never.get });
    return this.#client.query({ credentials, operation: { type: 'getxattr', at, follow: false, name } });
  }

  listxattr(credentials: Credentials, at: At): Promise<Result<'listxattr'>> {
    return this.#client.query({ credentials, operation: { type: 'listxattr', at, follow: false } });
  }

  setxattr(credentials: Credentials, at: At, name: Buffer, value: Buffer, mode: 'any' | 'create' | 'replace'): Promise<Outcome<unknown>> {
    const never = neverHeld(name);
    if (never !== undefined) return Promise.resolve({ ok: false, errno: Errno.EOPNOTSUPP });
    return this.#client.submit({ credentials, operation: { type: 'setxattr', at, follow: false, name, value, mode } });
  }

  removexattr(credentials: Credentials, at: At, name: Buffer): Promise<Result<'removexattr'>> {
    return this.#client.submit({ credentials, operation: { type: 'removexattr', at, follow: false, name } });
  }

  statfs(credentials: Credentials): Promise<Result<'statfs'>> {
    return this.#client.query({ credentials, operation: { type: 'statfs' } });
  }

  /** A whole directory: pages until the end, each behind the last name, so that entries that neither come nor go meanwhile are met exactly once. */
  async readdirAll(credentials: Credentials, at: At): Promise<Outcome<Listing>> {
    const entries: DirectoryEntry[] = [];
    let after = EMPTY;
    for (;;) {
      const page = await this.#client.query({ credentials, operation: { type: 'readdir', at, after, limit: READDIR_PAGE, attributes: true } });
      if (!page.ok) return page;
      for (const entry of page.value.entries) entries.push(entry);
      const last = page.value.entries.at(-1);
      if (page.value.end || last === undefined) return { ok: true, value: { ino: page.value.ino, parent: page.value.parent, entries } };
      after = last.name;
    }
  }

  // --- open files ----------------------------------------------------------------------------------------------

  /** Opens an existing regular file by name. */
  async open(credentials: Credentials, at: At, flags: number): Promise<Outcome<Opened>> {
    const found = await this.getattr(credentials, at);
    if (!found.ok) return found;
    return this.#opened(found.value.attributes, flags);
  }

  /** Opens an inode that the kernel has just looked up: no round trip. The value is the handle. */
  openInode(ino: Ino, flags: number): Outcome<number> {
    if (!this.#hold(ino)) return { ok: false, errno: ENFILE };
    return { ok: true, value: this.#handles.add({ ino, append: (flags & O_APPEND) !== 0, held: true }) };
  }

  /**
   * Opens a directory that the kernel has just looked up, to be released like a file. Beyond what a session may hold it opens all the same: only one that is removed
   * while it is open is missed then, and what walks through a tree should not fail for it.
   */
  openDirectory(ino: Ino): number {
    return this.#handles.add({ ino, append: false, held: this.#hold(ino) });
  }

  /** False when this session holds as many inodes as it may. */
  #hold(ino: Ino): boolean {
    return hasRoom(() => { this.#client.openFiles.open(ino); });
  }

  /**
   * open(O_CREAT) of a name that the kernel has looked up and not found: it takes what this returns for a new file of that name, without another look. The place among the open files is kept
   * from before the file is made: ENFILE leaves nothing behind.
   */
  async create(credentials: Credentials, at: At, mode: number, flags: number): Promise<Outcome<Opened>> {
    for (let tries = 1; tries <= CREATE_TRIES; tries++) {
      const made = await this.#createNew(credentials, at, mode, flags);
      if (made.ok || made.errno !== Errno.EEXIST || (flags & O_EXCL) !== 0) return made;
      const own = await this.#openOwn(credentials, at, flags);
      if (own !== 'removed again') return own;
    }
    return LOOK_AGAIN;
  }

  async #createNew(credentials: Credentials, at: At, mode: number, flags: number): Promise<Outcome<Opened>> {
    const { openFiles } = this.#client;
    if (!hasRoom(() => { openFiles.reserve(); })) return { ok: false, errno: ENFILE };
    let made: Result<'create'>;
    try {
      made = await this.#client.submit({ credentials, operation: { type: 'create', at, mode, exclusive: true, truncate: false } });
    } finally {
      openFiles.unreserve();
    }
    return made.ok ? this.#opened(made.value.attributes, flags) : made;
  }

  /**
   * What has come to a name since the kernel looked, for O_CREAT without O_EXCL. ESTALE makes the kernel look again, and open, follow or refuse it by its own rules (O_NOFOLLOW, sticky
   * directories, what is no regular file). It does that once: so a regular file of the caller's own, which none of these rules is about, is opened here, or programs on two mounts
   * that make and remove one name all the time would meet ESTALE.
   */
  async #openOwn(credentials: Credentials, at: At, flags: number): Promise<Outcome<Opened> | 'removed again'> {
    const found = await this.getattr(credentials, at);
    if (!found.ok && found.errno === Errno.ENOENT) return 'removed again';
    if (!found.ok || found.value.attributes.type !== 'file' || found.value.attributes.uid !== credentials.uid) return LOOK_AGAIN;
    const opened = this.#opened(found.value.attributes, flags);
    if (!opened.ok) return opened;
    let kept = false;
    try {
      const allowed = await this.#permitted(credentials, opened.value, flags);
      kept = allowed.ok;
      return allowed;
    } finally {
      if (!kept) this.release(opened.value.handle);
    }
  }

  /** What the kernel does when it opens a file that it has looked up: asks for permission, cuts it off. */
  async #permitted(credentials: Credentials, opened: Opened, flags: number): Promise<Outcome<Opened>> {
    const at = inode(opened.attributes.ino);
    const allowed = await this.access(credentials, at, accessMask(flags));
    if (!allowed.ok) return allowed;
    if ((flags & O_TRUNC) === 0) return { ok: true, value: opened };
    const cut = await this.setattr(credentials, at, { size: 0 }, credentials.uid !== 0);
    return cut.ok ? { ok: true, value: { handle: opened.handle, attributes: cut.value.attributes } } : cut;
  }

  /** A page of an open directory behind `after`, with attributes. */
  readdirPage(handle: number, after: Buffer, limit: number): Promise<Result<'readdir'>> {
    const directory = this.#handles.get(handle);
    if (directory === undefined) return Promise.resolve(BAD_HANDLE);
    return this.#client.query({ credentials: SUPERUSER, operation: { type: 'readdir', at: inode(directory.ino), after, limit, attributes: true } });
  }

  /** Idempotent for an unknown handle, as close is after a mount went: there is no one to tell. */
  release(handle: number): void {
    const file = this.#handles.remove(handle);
    if (file?.held === true) this.#client.openFiles.release(file.ino);
  }

  /** At the end of the mount: whatever the kernel did not release. */
  releaseAll(): void {
    for (const handle of this.#handles.numbers()) this.release(handle);
  }

  fgetattr(handle: number): Promise<Result<'getattr'>> {
    const file = this.#handles.get(handle);
    if (file === undefined) return Promise.resolve(BAD_HANDLE);
    return this.getattr(SUPERUSER, inode(file.ino));
  }

  async ftruncate(handle: number, size: number, dropSetId = false, writer?: () => Credentials): Promise<Result<'setattr'>> {
    const file = this.#handles.get(handle);
    if (file === undefined) return BAD_HANDLE;
    const cut = await this.setattr(SUPERUSER, inode(file.ino), { size }, dropSetId);
    return cut.ok ? this.#withoutSetGid(cut.value.attributes, { dropSetId, writer }) : cut;
  }

  /**
   * What was written on behalf of somebody outside of its group loses a set-gid bit without group execute too. The kernel leaves that to the file system, and the operation itself, which
   * is the superuser's, does not know of the writer's groups. A step of its own, as on a local disk: of a chmod that comes between it takes set-id bits and nothing else.
   */
  async #withoutSetGid(attributes: Attributes, { dropSetId, writer }: WriteOptions): Promise<Result<'setattr'>> {
    if (dropSetId !== true || writer === undefined || (attributes.mode & (S_ISGID | S_IXGRP)) !== S_ISGID) return { ok: true, value: { attributes } };
    const credentials = writer();
    if (inGroupOrRoot(attributes.gid, credentials)) return { ok: true, value: { attributes } };
    try {
      return await this.setattr(credentials, inode(attributes.ino), {}, true);
    } catch (error) {
      // Whatever became of this, the data is there.
      throw new OutcomeUnknown('the data was written, and whether the set-gid bit of the file went, as it had to, is not known', { cause: error });
    }
  }

  /** Up to `length` bytes; fewer only at the end of the file. */
  read(handle: number, offset: number, length: number): Promise<Outcome<Buffer>> {
    const file = this.#handles.get(handle);
    if (file === undefined) return Promise.resolve(BAD_HANDLE);
    // The kernel lets 63 bits pass; no file reaches as far.
    if (offset + length > Number.MAX_SAFE_INTEGER) return Promise.resolve({ ok: true, value: EMPTY });
    return length <= READ_MAX ? this.#readOnce(file.ino, offset, length) : this.#readLong(file.ino, offset, length);
  }

  async #readOnce(ino: Ino, offset: number, length: number): Promise<Outcome<Buffer>> {
    const answer = await this.#client.query({ credentials: SUPERUSER, operation: { type: 'read', at: inode(ino), offset, length } });
    return answer.ok ? { ok: true, value: answer.value.data } : answer;
  }

  async #readLong(ino: Ino, offset: number, length: number): Promise<Outcome<Buffer>> {
    const parts: Buffer[] = [];
    for (let done = 0; done < length; ) {
      const want = Math.min(READ_MAX, length - done);
      const part = await this.#readOnce(ino, offset + done, want);
      if (!part.ok) return part;
      parts.push(part.value);
      done += part.value.length;
      if (part.value.length < want) break;
    }
    return { ok: true, value: Buffer.concat(parts) };
  }

  /**
   * All of `data` at `offset`, or at the end of the file as it is then, in logged operations of up to WRITE_MAX bytes. The value is the number of bytes written: fewer than
   * `data.length` when a later part failed (the caller's next write then meets the error itself, as write(2) has it).
   */
  write(handle: number, offset: number, data: Buffer, options: WriteOptions = {}): Promise<Outcome<number>> {
    const file = this.#handles.get(handle);
    if (file === undefined) return Promise.resolve(BAD_HANDLE);
    // The kernel's idea of the end of the file may be older than another mount's last write.
    if (options.append ?? file.append) return this.#write(file.ino, 'end', data, options);
    // The kernel lets 63 bits pass.
    if (offset + data.length > Number.MAX_SAFE_INTEGER) return Promise.resolve({ ok: false, errno: Errno.EFBIG });
    return this.#write(file.ino, offset, data, options);
  }

  async #write(ino: Ino, offset: number | 'end', data: Buffer, options: WriteOptions): Promise<Outcome<number>> {
    let done = 0;
    do {
      const part = data.length <= WRITE_MAX ? data : data.subarray(done, done + WRITE_MAX);
      const answer = await this.#client.submit({ credentials: SUPERUSER, operation: { type: 'write', at: inode(ino), offset: offset === 'end' ? offset : offset + done, data: part, ...dropping(options.dropSetId) } });
      if (!answer.ok) return done > 0 ? { ok: true, value: done } : answer;
      const dropped = await this.#withoutSetGid(answer.value.attributes, options);
      if (!dropped.ok) return dropped;
      done += part.length;
    } while (done < data.length);
    return { ok: true, value: done };
  }

  /** Up to `length` bytes from one open file to another; fewer at the end of the file, or where it is more than one operation reads. The value is how many. */
  async copy(from: Place, to: Place, length: number, options: WriteOptions = {}): Promise<Outcome<number>> {
    const data = await this.read(from.handle, from.offset, Math.min(length, READ_MAX));
    if (!data.ok) return data;
    return data.value.length === 0 ? { ok: true, value: 0 } : this.write(to.handle, to.offset, data.value, { ...options, append: false });
  }

  #opened(attributes: Attributes, flags: number): Outcome<Opened> {
    const opened = this.openInode(attributes.ino, flags);
    return opened.ok ? { ok: true, value: { handle: opened.value, attributes } } : opened;
  }
}

/**
 * Extended attributes that the mount never keeps, and so answers for without a round trip: the kernel asks for file capabilities at every write and exec, `ls -l` and `cp -a`
 * for ACLs at every file. Capabilities would have to be dropped by each write, ACLs be enforced; kept as dead bytes, either would promise what nobody does.
 */
function neverHeld(name: Buffer): { readonly get: number } | undefined {
  const text = name.latin1Slice();
  if (text === 'security.capability') return { get: Errno.ENODATA };
  if (text === 'system.posix_acl_access' || text === 'system.posix_acl_default') return { get: Errno.EOPNOTSUPP };
  return undefined;
}

/** What access(2) would ask about for these flags of open(2). */
function accessMask(flags: number): number {
  const mode = flags & O_ACCMODE;
  const mask = mode === O_RDONLY ? R_OK : mode === O_WRONLY ? W_OK : R_OK | W_OK;
  return (flags & O_TRUNC) === 0 ? mask : mask | W_OK;
}

/** False when the session refuses to hold more. */
function hasRoom(take: () => void): boolean {
  try {
    take();
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
  return true;
}

const DROPS_SET_ID = { dropSetId: true } as const;
const KEEPS_SET_ID = {};

/** In the operation itself: a second one would undo the chmod of somebody else that came between. */
function dropping(dropSetId = false): { readonly dropSetId?: true } {
  return dropSetId ? DROPS_SET_ID : KEEPS_SET_ID;
}

/** The inode itself, however it is named now, or no longer. */
export function inode(ino: Ino): At {
  return { dir: ino, path: EMPTY };
}
