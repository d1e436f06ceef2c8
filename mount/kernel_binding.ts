/**
 * The mount in the kernel's own protocol: decode, call the Vfs, reply. Inode based, with the caller's credentials, nanoseconds, names of any bytes,
 * and the flags of open and renameat2. Node ids are inode numbers: stateless, so FORGET has nothing to forget.
 *
 * Not implemented on purpose: FLUSH, FSYNC, FSYNCDIR (every write is on a quorum before it is answered); GETLK and SETLK (locks hold within this mount, by the kernel);
 * FALLOCATE, LSEEK, IOCTL. The kernel asks once, gets ENOSYS, and does without.
 */
import { Errno } from '../fsservice/errno.ts';
import type { At, Attributes, Credentials } from '../fsservice/operations.ts';
import type { Ino } from '../lib/ids.ts';
import { typeOfMode } from './attributes.ts';
import { errnoOfRejection, MountError } from './binding.ts';
import type { Binding, MountLog } from './binding.ts';
import type { CallerCredentials } from './caller_credentials.ts';
import { DirectoryStream } from './directory_stream.ts';
import type { StreamEntry } from './directory_stream.ts';
import {
  ATTR_OUT_SIZE, BODY, direntSize, ENTRY_OUT_SIZE, hasNoReply, INIT_OUT_SIZE, InitFlag, InitFlag2, Opcode, OPEN_OUT_SIZE, OpenFlag, putAttrOut, putDirent, putEntryOut, putInitOut,
  putOpenOut, putStatfsOut, setattrOf, STATFS_OUT_SIZE, WRITE_CACHE, WRITE_KILL_SUIDGID,
} from './fuse_protocol.ts';
import type { FuseRequest } from './fuse_protocol.ts';
import { KernelDevice } from './kernel_device.ts';
import { unmountTree } from './mount_table.ts';
import { mountSource } from './mount_options.ts';
import type { MountOptions } from './mount_options.ts';
import { inode, O_APPEND } from './vfs.ts';
import type { Outcome, Vfs } from './vfs.ts';

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
const OUR_MINOR = 38;
/** Linux 3.15 (2014): the first with all that we rely on. */
const MINOR_MIN = 23;

export class KernelBinding implements Binding {
  readonly kind = 'kernel';
  readonly ended: Promise<void>;
  readonly #vfs: Vfs;
  readonly #mountpoint: string;
  readonly #options: MountOptions;
  readonly #log: MountLog;
  readonly #device: KernelDevice;
  readonly #callers: CallerCredentials;
  readonly #directories = new Map<number, DirectoryStream>();
  #openFlags = 0;
  #end: () => void = () => undefined;
  #initialised: () => void = () => undefined;
  #refused: (error: MountError) => void = () => undefined;

  /** @throws MountError */
  constructor(vfs: Vfs, callers: CallerCredentials, mountpoint: string, options: MountOptions, log: MountLog) {
    this.#vfs = vfs;
    this.#callers = callers;
    this.#mountpoint = mountpoint;
    this.#options = options;
    this.#log = log;
    this.#device = new KernelDevice();
    this.ended = new Promise((resolve) => { this.#end = resolve; });
  }

  async mount(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      this.#initialised = resolve;
      this.#refused = reject;
    });
    await this.#device.mount(this.#mountpoint, this.#options);
    this.#device.serve((q) => { this.#dispatch(q); }, (reason) => { this.#gone(reason); });
    await ready;
  }

  async unmount(): Promise<void> {
    await unmountTree(this.#mountpoint, mountSource(process.pid), this.#log);
    await this.ended;
  }

  #gone(reason: string | null): void {
    if (reason !== null) this.#log.error({ reason }, 'the kernel cannot be heard any more');
    this.#device.close().then(this.#end, (error: unknown) => {
      this.#log.error({ err: error }, 'closing /dev/fuse');
      this.#end();
    });
  }

  #dispatch(q: FuseRequest): void {
    switch (q.opcode) {
      case Opcode.LOOKUP: return this.#entry(q, this.#vfs.getattr(this.#who(q), child(q.nodeId, q.name(0))));
      case Opcode.GETATTR: return this.#attributes(q, this.#vfs.getattr(this.#who(q), inode(q.nodeId)));
      case Opcode.SETATTR: return this.#setattr(q);
      case Opcode.READLINK: return this.#run(q, this.#vfs.readlink(this.#who(q), inode(q.nodeId)), ({ target }) => { this.#bytes(q, target); });
      case Opcode.SYMLINK: return this.#symlink(q);
      case Opcode.MKNOD: return this.#mknod(q);
      case Opcode.MKDIR: return this.#entry(q, this.#vfs.mkdir(this.#who(q), child(q.nodeId, q.name(8)), q.u32(0) & 0o7777));
      case Opcode.UNLINK: return this.#plain(q, this.#vfs.unlink(this.#who(q), child(q.nodeId, q.name(0))));
      case Opcode.RMDIR: return this.#plain(q, this.#vfs.rmdir(this.#who(q), child(q.nodeId, q.name(0))));
      case Opcode.RENAME: return this.#rename(q, 8, 0);
      case Opcode.RENAME2: return this.#rename(q, 16, q.u32(8));
      case Opcode.LINK: return this.#entry(q, this.#vfs.link(this.#who(q), inode(q.u64(0) as Ino), child(q.nodeId, q.name(8))));
      case Opcode.CREATE: return this.#create(q);
      case Opcode.OPEN: return this.#open(q);
      case Opcode.READ: return this.#run(q, this.#vfs.read(q.u64(0), q.u64(8), q.u32(16)), (data) => { this.#bytes(q, data); });
      case Opcode.WRITE: return this.#write(q);
      case Opcode.COPY_FILE_RANGE: return this.#copyFileRange(q);
      case Opcode.RELEASE: return this.#release(q);
      case Opcode.STATFS: return this.#statfs(q);
      case Opcode.ACCESS: return this.#plain(q, this.#vfs.access(this.#who(q), inode(q.nodeId), q.u32(0)));
      case Opcode.SETXATTR: return this.#setxattr(q);
      case Opcode.GETXATTR: return this.#run(q, this.#vfs.getxattr(this.#who(q), inode(q.nodeId), q.name(8)), ({ value }) => { this.#sized(q, value); });
      case Opcode.LISTXATTR: return this.#listxattr(q);
      case Opcode.REMOVEXATTR: return this.#plain(q, this.#vfs.removexattr(this.#who(q), inode(q.nodeId), q.name(0)));
      case Opcode.OPENDIR: return this.#opendir(q);
      case Opcode.READDIR: return this.#readdir(q);
      case Opcode.RELEASEDIR: return this.#releasedir(q);
      case Opcode.INIT: return this.#init(q);
      case Opcode.DESTROY: return this.#done(q);
      default: if (!hasNoReply(q.opcode)) this.#fail(q, Errno.ENOSYS);
    }
  }

  // --- the mount itself ----------------------------------------------------------------------------------------

  #init(q: FuseRequest): void {
    const major = q.u32(0);
    const minor = q.u32(4);
    if (major !== 7 || minor < MINOR_MIN) {
      this.#fail(q, Errno.EPROTO);
      this.#refused(new MountError(`this kernel speaks FUSE ${major}.${minor}; 7.${MINOR_MIN} is the oldest that will do`, 'use a kernel of 2014 or later, or --binding fuse-native'));
      return;
    }
    const offered = q.u32(12);
    const offered2 = offered & InitFlag.INIT_EXT ? q.u32(16) : 0;
    const wanted = InitFlag.ASYNC_READ | InitFlag.BIG_WRITES | InitFlag.AUTO_INVAL_DATA | InitFlag.ASYNC_DIO | InitFlag.PARALLEL_DIROPS | InitFlag.MAX_PAGES
      | InitFlag.HANDLE_KILLPRIV_V2 | InitFlag.INIT_EXT;
    const flags2 = offered2 & InitFlag2.DIRECT_IO_ALLOW_MMAP;
    // Strict contents: past the page cache, where the kernel (6.6) still allows shared mappings then; on older ones through the cache, which AUTO_INVAL_DATA checks at each read.
    if (this.#options.cache === 'strict' && flags2 !== 0) this.#openFlags = OpenFlag.DIRECT_IO;
    const out = q.reply(0, INIT_OUT_SIZE);
    putInitOut(out, BODY, { minor: Math.min(minor, OUR_MINOR), maxReadahead: q.u32(8), flags: offered & wanted, flags2 });
    this.#device.reply(out);
    this.#initialised();
  }

  #statfs(q: FuseRequest): void {
    this.#run(q, this.#vfs.statfs(this.#who(q)), (statistics) => {
      const out = q.reply(0, STATFS_OUT_SIZE);
      putStatfsOut(out, BODY, statistics);
      this.#device.reply(out);
    });
  }

  // --- names and attributes ------------------------------------------------------------------------------------

  #setattr(q: FuseRequest): void {
    const { set, handle, kill } = setattrOf(q);
    // ftruncate(2): the right to it came with the descriptor. Never anything else beside the size there.
    if (handle !== undefined && set.size !== undefined) this.#attributes(q, this.#vfs.ftruncate(handle, set.size, kill, () => this.#who(q)));
    else if (Object.keys(set).length === 0) this.#attributes(q, this.#vfs.chownNothing(this.#who(q), inode(q.nodeId)));
    else this.#attributes(q, this.#vfs.setattr(this.#who(q), inode(q.nodeId), set, kill));
  }

  #symlink(q: FuseRequest): void {
    const [name, target] = q.names(0);
    this.#entry(q, this.#vfs.symlink(this.#who(q), child(q.nodeId, name), target));
  }

  #mknod(q: FuseRequest): void {
    const mode = q.u32(0);
    const type = typeOfMode(mode);
    if (type === undefined || type === 'directory' || type === 'symlink') return this.#fail(q, Errno.EINVAL);
    this.#entry(q, this.#vfs.mknod(this.#who(q), child(q.nodeId, q.name(16)), type, mode & 0o7777, q.u32(4)));
  }

  #rename(q: FuseRequest, namesAt: number, bits: number): void {
    const flags = bits === 0 ? 'none' : bits === RENAME_NOREPLACE ? 'noreplace' : bits === RENAME_EXCHANGE ? 'exchange' : undefined;
    if (flags === undefined) return this.#fail(q, Errno.EINVAL);
    const [from, to] = q.names(namesAt);
    this.#plain(q, this.#vfs.rename(this.#who(q), child(q.nodeId, from), child(q.u64(0) as Ino, to), flags));
  }

  #setxattr(q: FuseRequest): void {
    const size = q.u32(0);
    const mode = q.u32(4) === XATTR_CREATE ? 'create' : q.u32(4) === XATTR_REPLACE ? 'replace' : 'any';
    const name = q.name(8);
    const value = q.tail(8 + name.length + 1).subarray(0, size);
    this.#plain(q, this.#vfs.setxattr(this.#who(q), inode(q.nodeId), name, value, mode));
  }

  #listxattr(q: FuseRequest): void {
    this.#run(q, this.#vfs.listxattr(this.#who(q), inode(q.nodeId)), ({ names }) => {
      this.#sized(q, Buffer.concat(names.flatMap((name) => [name, Buffer.of(0)])));
    });
  }

  // --- files and directories -----------------------------------------------------------------------------------

  #create(q: FuseRequest): void {
    const flags = q.u32(0);
    const at = child(q.nodeId, q.name(16));
    this.#run(q, this.#vfs.create(this.#who(q), at, q.u32(4) & 0o7777, flags), ({ handle, attributes }) => {
      const out = q.reply(0, ENTRY_OUT_SIZE + OPEN_OUT_SIZE);
      putEntryOut(out, BODY, attributes, this.#options.attributeCacheMs);
      putOpenOut(out, BODY + ENTRY_OUT_SIZE, handle, this.#openFlags);
      this.#device.reply(out);
    });
  }

  #open(q: FuseRequest): void {
    const opened = this.#vfs.openInode(q.nodeId, q.u32(0));
    if (opened.ok) this.#opened(q, opened.value, this.#openFlags);
    else this.#fail(q, opened.errno);
  }

  #write(q: FuseRequest): void {
    const data = q.tail(40).subarray(0, q.u32(16));
    const bits = q.u32(20);
    // The flags of the descriptor as they are now. A page that was mapped, then written, has its place whatever they say.
    const append = (bits & WRITE_CACHE) === 0 && (q.u32(32) & O_APPEND) !== 0;
    this.#run(q, this.#vfs.write(q.u64(0), q.u64(8), data, { dropSetId: (bits & WRITE_KILL_SUIDGID) !== 0, writer: () => this.#who(q), append }), (written) => { this.#written(q, written); });
  }

  /** No flag says who may not keep set-id bits, other than for a write. Answered here because the kernel's own way reads its page cache, which may be older than what another mount has written. */
  #copyFileRange(q: FuseRequest): void {
    const copied = this.#vfs.copy({ handle: q.u64(0), offset: q.u64(8) }, { handle: q.u64(24), offset: q.u64(32) }, q.u64(40), { dropSetId: q.uid !== 0, writer: () => this.#who(q) });
    this.#run(q, copied, (length) => { this.#written(q, length); });
  }

  #written(q: FuseRequest, length: number): void {
    const out = q.reply(0, 8);
    out.writeUInt32LE(length, BODY);
    this.#device.reply(out);
  }

  #release(q: FuseRequest): void {
    this.#vfs.release(q.u64(0));
    this.#done(q);
  }

  #opendir(q: FuseRequest): void {
    const handle = this.#vfs.openDirectory(q.nodeId);
    this.#directories.set(handle, new DirectoryStream((after, limit) => this.#vfs.readdirPage(handle, after, limit)));
    this.#opened(q, handle, 0);
  }

  #releasedir(q: FuseRequest): void {
    this.#directories.delete(q.u64(0));
    this.#release(q);
  }

  #readdir(q: FuseRequest): void {
    const stream = this.#directories.get(q.u64(0));
    if (stream === undefined) return this.#fail(q, Errno.EBADF);
    const position = q.u64(8);
    this.#run(q, stream.from(position), (entries) => { this.#bytes(q, dirents(entries, position, q.u32(16))); });
  }

  // --- replies -------------------------------------------------------------------------------------------------

  #who(q: FuseRequest): Credentials {
    return this.#callers.of(q.uid, q.gid, q.pid);
  }

  #run<T>(q: FuseRequest, outcome: Promise<Outcome<T>>, ok: (value: T) => void): void {
    outcome.then(
      (result) => { if (result.ok) ok(result.value); else this.#fail(q, result.errno); },
      (error: unknown) => {
        this.#log.error({ err: error, opcode: q.opcode }, 'no answer from the group: the call fails');
        this.#fail(q, errnoOfRejection(error));
      },
    ).catch((error: unknown) => {
      // A fault of ours, after which a caller may wait for ever: end the process, so that the kernel ends the mount.
      queueMicrotask(() => { throw error; });
    });
  }

  #plain(q: FuseRequest, outcome: Promise<Outcome<unknown>>): void {
    this.#run(q, outcome, () => { this.#done(q); });
  }

  #entry(q: FuseRequest, outcome: Promise<Outcome<{ readonly attributes: Attributes }>>): void {
    this.#run(q, outcome, ({ attributes }) => {
      const out = q.reply(0, ENTRY_OUT_SIZE);
      putEntryOut(out, BODY, attributes, this.#options.attributeCacheMs);
      this.#device.reply(out);
    });
  }

  #attributes(q: FuseRequest, outcome: Promise<Outcome<{ readonly attributes: Attributes }>>): void {
    this.#run(q, outcome, ({ attributes }) => {
      const out = q.reply(0, ATTR_OUT_SIZE);
      putAttrOut(out, BODY, attributes, this.#options.attributeCacheMs);
      this.#device.reply(out);
    });
  }

  #opened(q: FuseRequest, handle: number, openFlags: number): void {
    const out = q.reply(0, OPEN_OUT_SIZE);
    putOpenOut(out, BODY, handle, openFlags);
    this.#device.reply(out);
  }

  #bytes(q: FuseRequest, bytes: Buffer): void {
    this.#device.reply(q.reply(0, 0, bytes.length), bytes);
  }

  /** getxattr(2) and listxattr(2): a size of 0 asks for the length only. */
  #sized(q: FuseRequest, value: Buffer): void {
    const room = q.u32(0);
    if (room === 0) {
      const out = q.reply(0, 8);
      out.writeUInt32LE(value.length, BODY);
      this.#device.reply(out);
    } else if (value.length > room) this.#fail(q, Errno.ERANGE);
    else this.#bytes(q, value);
  }

  #done(q: FuseRequest): void {
    this.#device.reply(q.reply(0, 0));
  }

  #fail(q: FuseRequest, errno: number): void {
    this.#device.reply(q.reply(-errno, 0));
  }
}

function child(dir: Ino, name: Buffer): At {
  return { dir, path: name };
}

/** As many directory entries as fit into `room` bytes. */
function dirents(entries: readonly StreamEntry[], position: number, room: number): Buffer {
  let size = 0;
  let count = 0;
  for (const entry of entries) {
    const more = direntSize(entry.name.length);
    if (size + more > room) break;
    size += more;
    count++;
  }
  const out = Buffer.alloc(size);
  let at = 0;
  entries.slice(0, count).forEach((entry, i) => {
    putDirent(out, at, { ino: entry.ino, offset: position + i + 1, type: entry.type, name: entry.name });
    at += direntSize(entry.name.length);
  });
  return out;
}
