/**
 * The namespace in the shape of Node's fs/promises.
 *
 *   const client = await VrfsClient.connect({ servers: ['127.0.0.1:7101'] });
 *   const fs = new FileSystem(client);
 *   await fs.mkdir('/jobs/7', { recursive: true });
 *   await fs.writeFile('/jobs/7/state', 'running');
 *
 * Refusals are thrown as FsError (code 'ENOENT', ...); where there is no answer, as a VrfsError (errors.ts), which
 * says whether the change may have happened. What Node's calls have and these do not is refused as InvalidCall (node_options.ts). Paths: '/a/b' or 'a/b', both from the root; strings are UTF-8.
 */
import type { Attributes, Credentials, DirectoryEntry, FileSystemStatistics, FileType, SetAttributes } from '../fsservice/operations.ts';
import { GROUPS_MAX } from '../fsservice/limits.ts';
import { EMPTY } from '../lib/bytes.ts';
import type { Ino } from '../lib/ids.ts';
import { atPath, Caller, type OperationClient } from './caller.ts';
import type { QueryOptions } from './client.ts';
import { ATOMIC_BYTES, contentBytes, readStream, readWhole, writeWhole, type Content } from './file_content.ts';
import { InvalidCall, WrongArgument } from './errors.ts';
import { FsError, isFsError } from './fs_error.ts';
import { checkOptions, encodingOf, isExclusiveCopy, withEncoding } from './node_options.ts';
import { isRootPath, parentPath, pathBytes, type PathLike } from './paths.ts';
import { removeTree } from './remove_tree.ts';
import { Dirent, Stats, timestamp } from './stats.ts';

export interface FileSystemOptions {
  /** Default: this process's user and groups. */
  readonly credentials?: Credentials;
  /** Taken off the mode of new files and directories. Default 0o022. */
  readonly umask?: number;
  /** How consistent reads are. Default: linearizable. */
  readonly read?: QueryOptions;
}

export interface WriteFileOptions {
  /** Of a content that is text, any of Node's. Default 'utf8'. */
  readonly encoding?: BufferEncoding | null;
  /** Of a new file, before the umask. Default 0o666. */
  readonly mode?: number;
  /** 'w' (default) replaces, 'wx' fails when something exists there, be it a symbolic link that leads nowhere, 'a' appends. */
  readonly flag?: 'w' | 'wx' | 'a';
  /** Fail with EAGAIN unless the file is at this version (Stats.version); 0: fail with EEXIST unless nothing is there, as with flag 'wx'. Up to 1 MiB, and with flag 'w' only. */
  readonly ifVersion?: number;
  /**
   * Ends the write with the signal's reason: the file stays as it is, and a temporary one is removed, for which the answers to what was sent are awaited. The
   * source of the content is let go of, also while it has nothing to give. An operation that was sent may be executed all the same, so a file of up to 1 MiB
   * may have been written although this rejects, and with flag 'a' a part appended. A signal that is given when the last step of more than 1 MiB is under way
   * comes too late: then the file is written, and this resolves.
   */
  readonly signal?: AbortSignal;
}

export interface ReadFileOptions {
  /** Any of Node's: the content as text. Null (default): as bytes. */
  readonly encoding?: BufferEncoding | null;
  /** Ends the read with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface ReaddirOptions {
  readonly withFileTypes?: boolean;
  /** Of the names; an entry with its type has their bytes too. */
  readonly encoding?: 'utf8' | 'utf-8';
}

export type AppendFileOptions = Pick<WriteFileOptions, 'encoding' | 'mode' | 'signal'>;
type NoOptions = Readonly<Record<string, never>>;

/** access(2): 4 read, 2 write, 1 execute, 0 existence. */
const F_OK = 0;
const READDIR_PAGE = 1024;
const WRITE_FLAGS: ReadonlySet<string> = new Set(['w', 'wx', 'a']);
const RENAME_FLAGS: ReadonlySet<string> = new Set(['none', 'noreplace', 'exchange']);
const XATTR_PREFIX = 'user.';

export class FileSystem {
  readonly #caller: Caller;
  readonly #umask: number;

  constructor(client: OperationClient, options: FileSystemOptions = {}) {
    this.#caller = new Caller(client, options.credentials ?? processCredentials(), options.read ?? {});
    this.#umask = modeBits(options.umask ?? 0o022);
  }

  // --- what is there -------------------------------------------------------------------------------------------------

  async stat(path: PathLike, options: NoOptions = {}): Promise<Stats> {
    checkOptions('stat', options, []);
    return new Stats((await this.#caller.query({ type: 'getattr', at: atPath(pathBytes(path)), follow: true })).attributes);
  }

  async lstat(path: PathLike, options: NoOptions = {}): Promise<Stats> {
    checkOptions('lstat', options, []);
    return new Stats((await this.#caller.query({ type: 'getattr', at: atPath(pathBytes(path)), follow: false })).attributes);
  }

  /** ENOENT and ENOTDIR as false; whatever else prevents an answer is thrown. */
  async exists(path: PathLike): Promise<boolean> {
    try {
      await this.stat(path);
      return true;
    } catch (error) {
      if (isFsError(error, 'ENOENT', 'ENOTDIR')) return false;
      throw error;
    }
  }

  async access(path: PathLike, mask: number = F_OK): Promise<void> {
    await this.#caller.query({ type: 'access', at: atPath(pathBytes(path)), mask });
  }

  async statfs(): Promise<FileSystemStatistics> {
    return this.#caller.query({ type: 'statfs' });
  }

  // --- directories -----------------------------------------------------------------------------------------------------

  readdir(path: PathLike, options: ReaddirOptions & { readonly withFileTypes: true }): Promise<Dirent[]>;
  readdir(path: PathLike, options?: ReaddirOptions | 'utf8' | 'utf-8' | null): Promise<string[]>;
  async readdir(path: PathLike, options: ReaddirOptions | BufferEncoding | null = null): Promise<string[] | Dirent[]> {
    const wanted = withEncoding<ReaddirOptions>(options);
    checkOptions('readdir', wanted, ['withFileTypes', 'encoding']);
    if (!/^utf-?8$/i.test(wanted.encoding ?? 'utf8')) throw new InvalidCall(`readdir gives names as UTF-8, not '${wanted.encoding}': withFileTypes, and nameBytes of each entry, gives their bytes`);
    const entries: Dirent[] = [];
    for await (const entry of this.opendir(path)) entries.push(entry);
    return wanted.withFileTypes === true ? entries : entries.map((e) => e.name);
  }

  /**
   * The entries of a directory, however large, in its stable order, without '.' and '..'. `attributes`: each with its
   * Stats, at no further round trip.
   */
  async *opendir(path: PathLike, options: { readonly attributes?: boolean } = {}): AsyncGenerator<Dirent, void, void> {
    checkOptions('opendir', options, ['attributes']);
    let at = atPath(pathBytes(path));
    let after: Buffer = EMPTY;
    for (;;) {
      const page = await this.#caller.query({ type: 'readdir', at, after, limit: READDIR_PAGE, attributes: options.attributes === true });
      for (const e of page.entries) yield direntOf(e);
      const last = page.entries.at(-1);
      if (page.end || last === undefined) return;
      after = last.name;
      // From the inode on: a rename of the directory does not disturb the listing.
      at = { dir: page.ino, path: EMPTY };
    }
  }

  /** With `recursive`: the missing directories above too, and no error when it exists. Resolves to the first path made. A number is the mode. */
  async mkdir(path: PathLike, options: number | { readonly recursive?: boolean; readonly mode?: number } | null = {}): Promise<string | undefined> {
    const wanted = typeof options === 'number' ? { mode: options } : options ?? {};
    checkOptions('mkdir', wanted, ['recursive', 'mode']);
    const bytes = pathBytes(path);
    const mode = modeBits(wanted.mode ?? 0o777) & ~this.#umask;
    if (wanted.recursive === true) return (await this.#makeDirectories(bytes, mode))?.toString();
    await this.#caller.submit({ type: 'mkdir', at: atPath(bytes), mode });
    return undefined;
  }

  /** Tries the deepest first: usually all but the last are there. */
  async #makeDirectories(path: Buffer, mode: number): Promise<Buffer | undefined> {
    try {
      await this.#caller.submit({ type: 'mkdir', at: atPath(path), mode });
      return path;
    } catch (error) {
      if (isFsError(error, 'EEXIST') && (await this.stat(path)).isDirectory()) return undefined;
      if (!isFsError(error, 'ENOENT') || isRootPath(parentPath(path))) throw error;
    }
    const first = await this.#makeDirectories(parentPath(path), mode);
    return (await this.#makeDirectories(path, mode)) === undefined ? first : first ?? path;
  }

  async rmdir(path: PathLike, options: NoOptions = {}): Promise<void> {
    checkOptions('rmdir', options, []);
    await this.#caller.submit({ type: 'rmdir', at: atPath(pathBytes(path)) });
  }

  /**
   * `recursive`: a directory with all that is in it; for root in one step, however large it is, for others name by name, until the first that they may not
   * remove. `force`: no error when there is nothing.
   */
  async rm(path: PathLike, options: { readonly recursive?: boolean; readonly force?: boolean } = {}): Promise<void> {
    checkOptions('rm', options, ['recursive', 'force']);
    try {
      if (options.recursive === true) await this.#removeTree(pathBytes(path));
      else await this.#caller.submit({ type: 'unlink', at: atPath(pathBytes(path)) });
    } catch (error) {
      if (options.force !== true || !isFsError(error, 'ENOENT')) throw error;
    }
  }

  async #removeTree(path: Buffer): Promise<void> {
    if (this.#caller.credentials.uid === 0) {
      await this.#caller.submit({ type: 'removeTree', at: atPath(path) });
      return;
    }
    const refusal = await removeTree(this.#caller.operations, path);
    if (refusal !== null) throw new FsError(refusal.errno, refusal.syscall, refusal.path);
  }

  // --- names -----------------------------------------------------------------------------------------------------------

  async unlink(path: PathLike): Promise<void> {
    await this.#caller.submit({ type: 'unlink', at: atPath(pathBytes(path)) });
  }

  /** 'noreplace': EEXIST instead of replacing. 'exchange': both exist and change places. */
  async rename(from: PathLike, to: PathLike, options: { readonly flags?: 'none' | 'noreplace' | 'exchange' } = {}): Promise<void> {
    checkOptions('rename', options, ['flags']);
    if (!RENAME_FLAGS.has(options.flags ?? 'none')) throw new InvalidCall(`rename has no flags '${options.flags}': there are ${[...RENAME_FLAGS].join(', ')}`);
    await this.#caller.submit({ type: 'rename', from: atPath(pathBytes(from)), to: atPath(pathBytes(to)), flags: options.flags ?? 'none' });
  }

  /** As link(2): a symbolic link at `existing` is itself linked, unless `follow`. */
  async link(existing: PathLike, path: PathLike, options: { readonly follow?: boolean } = {}): Promise<void> {
    checkOptions('link', options, ['follow']);
    await this.#caller.submit({ type: 'link', from: atPath(pathBytes(existing)), to: atPath(pathBytes(path)), follow: options.follow ?? false });
  }

  async symlink(target: PathLike, path: PathLike): Promise<void> {
    await this.#caller.submit({ type: 'symlink', at: atPath(pathBytes(path)), target: pathBytes(target) });
  }

  readlink(path: PathLike, options: 'buffer' | { readonly encoding: 'buffer' }): Promise<Buffer>;
  readlink(path: PathLike, options?: BufferEncoding | { readonly encoding?: BufferEncoding | null } | null): Promise<string>;
  async readlink(path: PathLike, options: BufferEncoding | 'buffer' | { readonly encoding?: BufferEncoding | 'buffer' | null } | null = null): Promise<string | Buffer> {
    const wanted = withEncoding(options);
    checkOptions('readlink', wanted, ['encoding']);
    const encoding = encodingOf(wanted.encoding ?? 'utf8');
    const { target } = await this.#caller.query({ type: 'readlink', at: atPath(pathBytes(path)) });
    return encoding === null ? target : target.toString(encoding);
  }

  async mknod(path: PathLike, fileType: FileType, options: { readonly mode?: number; readonly rdev?: number } = {}): Promise<void> {
    await this.#caller.submit({ type: 'mknod', at: atPath(pathBytes(path)), fileType, mode: this.#newFileMode(options), rdev: options.rdev ?? 0 });
  }

  // --- contents --------------------------------------------------------------------------------------------------------

  /** One state of the file: when it changes meanwhile it is read anew, and after some attempts that is a FileChanged. */
  readFile(path: PathLike, options: BufferEncoding | (ReadFileOptions & { readonly encoding: BufferEncoding })): Promise<string>;
  readFile(path: PathLike, options?: (ReadFileOptions & { readonly encoding?: null }) | null): Promise<Buffer>;
  async readFile(path: PathLike, options: BufferEncoding | ReadFileOptions | null = null): Promise<string | Buffer> {
    const wanted = withEncoding<ReadFileOptions>(options);
    checkOptions('readFile', wanted, ['encoding', 'signal']);
    const encoding = encodingOf(wanted.encoding);
    const bytes = await readWhole(this.#caller.until(wanted.signal), pathBytes(path));
    return encoding === null ? bytes : bytes.toString(encoding);
  }

  /**
   * The bytes from `start` up to, not including, `end`, in pieces of up to 1 MiB. A stream that ends in order gave one state of the file; it throws
   * FileChanged when the file changes meanwhile, attributes included, and the reason of `signal` when that is given.
   */
  readStream(path: PathLike, options: { readonly start?: number; readonly end?: number; readonly signal?: AbortSignal } = {}): AsyncGenerator<Buffer, void, void> {
    return readStream(this.#caller.until(options.signal), pathBytes(path), options.start, options.end);
  }

  /** At most 1 MiB from `offset`; shorter at the end of the file. */
  async read(path: PathLike, offset: number, length: number): Promise<Buffer> {
    return (await this.#caller.query({ type: 'read', at: atPath(pathBytes(path)), offset, length })).data;
  }

  /** Atomic, whatever the length: readers see the old content or the new. A file above 1 MiB is another inode afterwards, with the mode, the owner and the extended attributes that it had. */
  async writeFile(path: PathLike, content: Content, options: WriteFileOptions | BufferEncoding | null = null): Promise<void> {
    const wanted = withEncoding<WriteFileOptions>(options);
    checkOptions('writeFile', wanted, ['encoding', 'mode', 'flag', 'ifVersion', 'signal']);
    const { encoding, ifVersion, ...rest } = wanted;
    const flag = wanted.flag ?? 'w';
    // From JavaScript any of Node's may come: what cannot be kept must not replace the file.
    if (!WRITE_FLAGS.has(flag)) throw new InvalidCall(`flag '${flag}' is not known here: there are 'w', 'wx' and 'a'`);
    if ((ifVersion ?? null) !== null && flag !== 'w') throw new InvalidCall(`ifVersion goes with flag 'w', not with '${flag}'`);
    const encoded = typeof content === 'string' ? textBytes(content, encoding) : content;
    if (flag === 'a') {
      if (!(encoded instanceof Uint8Array)) throw new InvalidCall("flag 'a' takes a string or bytes");
      return this.appendFile(path, encoded, rest);
    }
    await writeWhole(this.#caller, pathBytes(path), encoded, {
      mode: this.#newFileMode(rest),
      exclusive: flag === 'wx',
      ifVersion: ifVersion ?? null,
      signal: rest.signal,
    });
  }

  /** Up to 1 MiB at `offset` of an existing file, as pwrite(2). */
  async write(path: PathLike, offset: number, data: Uint8Array): Promise<void> {
    await this.#caller.submit({ type: 'write', at: atPath(pathBytes(path)), offset, data: contentBytes(data) });
  }

  /** Appends up to 1 MiB whole, and more in steps of 1 MiB, whoever else appends at the same time; the file is made when absent. */
  async appendFile(path: PathLike, content: string | Uint8Array, options: AppendFileOptions | BufferEncoding | null = null): Promise<void> {
    const wanted = withEncoding<AppendFileOptions>(options);
    checkOptions('appendFile', wanted, ['encoding', 'mode', 'signal']);
    const data = typeof content === 'string' ? textBytes(content, wanted.encoding) : contentBytes(content);
    const caller = this.#caller.until(wanted.signal);
    const ino = await this.#appendFirst(caller, pathBytes(path), data.subarray(0, ATOMIC_BYTES), this.#newFileMode(wanted));
    // All steps go to the file that the first one found.
    for (let at = ATOMIC_BYTES; at < data.length; at += ATOMIC_BYTES) {
      await caller.submit({ type: 'write', at: { dir: ino, path: EMPTY }, offset: 'end', data: data.subarray(at, at + ATOMIC_BYTES) });
    }
  }

  /** A file that is absent is made with `data` in it, but for one that a symbolic link leads to. */
  async #appendFirst(caller: Caller, path: Buffer, data: Buffer, mode: number): Promise<Ino> {
    const at = atPath(path);
    for (;;) {
      try {
        return (await caller.submit({ type: 'write', at, offset: 'end', data })).attributes.ino;
      } catch (error) {
        if (!isFsError(error, 'ENOENT')) throw error;
      }
      try {
        return (await caller.submit({ type: 'putFile', at, mode, data, ifVersion: 0 })).attributes.ino;
      } catch (error) {
        if (!isFsError(error, 'EEXIST')) throw error;
      }
      // Somebody made it in between, or a symbolic link leads to where it is to be: empty first, what is there stays.
      await caller.submit({ type: 'create', at, mode, exclusive: false, truncate: false });
    }
  }

  async truncate(path: PathLike, size = 0): Promise<void> {
    await this.#setattr(path, true, { size });
  }

  /** Within the namespace; `exclusive` is Node's COPYFILE_EXCL, which is taken too. A new file has the source's mode, whatever the umask, and the caller as its owner. */
  async copyFile(from: PathLike, to: PathLike, options: number | { readonly exclusive?: boolean } = {}): Promise<void> {
    const exclusive = isExclusiveCopy(options);
    const { attributes } = await this.stat(from);
    await writeWhole(this.#caller, pathBytes(to), this.readStream(from), { mode: attributes.mode & 0o777, exclusive, ifVersion: null });
  }

  /** Sets the times of whatever is there to now; makes an empty file when nothing is. */
  async touch(path: PathLike): Promise<void> {
    const now: SetAttributes = { atime: 'now', mtime: 'now' };
    try {
      await this.#setattr(path, true, now);
      return;
    } catch (error) {
      if (!isFsError(error, 'ENOENT')) throw error;
    }
    const { created } = await this.#caller.submit({ type: 'create', at: atPath(pathBytes(path)), mode: this.#newFileMode({}), exclusive: false, truncate: false });
    // Somebody made it in between.
    if (!created) await this.#setattr(path, true, now);
  }

  // --- attributes --------------------------------------------------------------------------------------------------------

  async chmod(path: PathLike, mode: number): Promise<void> {
    await this.#setattr(path, true, { mode: modeBits(mode) });
  }

  /** -1 leaves an id as it is, as in chown(2). */
  async chown(path: PathLike, uid: number, gid: number): Promise<void> {
    await this.#setattr(path, true, owner(uid, gid));
  }

  async lchown(path: PathLike, uid: number, gid: number): Promise<void> {
    await this.#setattr(path, false, owner(uid, gid));
  }

  /** Dates, seconds since 1970, or 'now': the time of the operation. */
  async utimes(path: PathLike, atime: Date | number | 'now', mtime: Date | number | 'now'): Promise<void> {
    await this.#setattr(path, true, { atime: timestamp(atime), mtime: timestamp(mtime) });
  }

  async lutimes(path: PathLike, atime: Date | number | 'now', mtime: Date | number | 'now'): Promise<void> {
    await this.#setattr(path, false, { atime: timestamp(atime), mtime: timestamp(mtime) });
  }

  async #setattr(path: PathLike, follow: boolean, set: SetAttributes): Promise<Attributes> {
    return (await this.#caller.submit({ type: 'setattr', at: atPath(pathBytes(path)), follow, set })).attributes;
  }

  // --- extended attributes; names with their namespace, as 'user.note' -------------------------------------------------------

  async getxattr(path: PathLike, name: string): Promise<Buffer> {
    return (await this.#caller.query({ type: 'getxattr', at: atPath(pathBytes(path)), follow: true, name: xattrName(name) })).value;
  }

  async setxattr(path: PathLike, name: string, value: string | Uint8Array, options: { readonly mode?: 'any' | 'create' | 'replace' } = {}): Promise<void> {
    await this.#caller.submit({ type: 'setxattr', at: atPath(pathBytes(path)), follow: true, name: xattrName(name), value: contentBytes(value), mode: options.mode ?? 'any' });
  }

  async listxattr(path: PathLike): Promise<string[]> {
    return (await this.#caller.query({ type: 'listxattr', at: atPath(pathBytes(path)), follow: true })).names.map((n) => n.toString('utf8'));
  }

  async removexattr(path: PathLike, name: string): Promise<void> {
    await this.#caller.submit({ type: 'removexattr', at: atPath(pathBytes(path)), follow: true, name: xattrName(name) });
  }

  #newFileMode(options: { readonly mode?: number }): number {
    return modeBits(options.mode ?? 0o666) & ~this.#umask;
  }
}

/** Without the bits of the type, which `Stats.mode` has, as chmod(2) takes it. @throws InvalidCall: text is no mode, '0644' would count as 644 */
function modeBits(mode: number): number {
  if (!Number.isInteger(mode) || mode < 0 || mode > 0xffff) throw new InvalidCall(`${mode} is no mode: it is a number of 16 bits, as 0o644`);
  return mode & 0o7777;
}

function textBytes(text: string, encoding: unknown): Buffer {
  return Buffer.from(text, encodingOf(encoding) ?? 'utf8');
}

function direntOf(e: DirectoryEntry): Dirent {
  return new Dirent(e.name, e.ino, e.type, e.attributes);
}

function owner(uid: number, gid: number): SetAttributes {
  return { ...(uid < 0 ? {} : { uid }), ...(gid < 0 ? {} : { gid }) };
}

function xattrName(name: string): Buffer {
  if (!name.includes('.')) throw new WrongArgument(`the name of an extended attribute has a namespace: '${XATTR_PREFIX}${name}'?`);
  return Buffer.from(name, 'utf8');
}

/** The user and groups of this process, as many as a call carries; root where the platform has none. */
export function processCredentials(): Credentials {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, groups: (process.getgroups?.() ?? []).slice(0, GROUPS_MAX) };
}
