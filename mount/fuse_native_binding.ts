/**
 * The mount through `fuse-native` (libfuse 2, path based): decode, call the Vfs, reply. Everything runs as the user who mounted, because libfuse's
 * context (the caller's uid and gid) is not passed on; docs/MOUNT.md says what else falls short.
 *
 * Not implemented on purpose: flush, fsync, fsyncdir, opendir, releasedir. Every write is on a quorum before it is answered, so they have nothing to
 * do; libfuse then answers ENOSYS once and the kernel stops asking.
 */
import { Errno } from '../fsservice/errno.ts';
import { GROUPS_MAX } from '../fsservice/limits.ts';
import { ROOT_INO } from '../fsservice/operations.ts';
import type { At, Credentials, SetAttributes } from '../fsservice/operations.ts';
import { typeBits, typeOfMode } from './attributes.ts';
import { errnoOfRejection, MountError } from './binding.ts';
import type { Binding, MountLog } from './binding.ts';
import {
  entryStatArray, loadFuseNative, NO_STAT, NO_STATVFS, Op, OP_SLOTS, statArray, statvfsArray, utimensOf,
} from './fuse_native_addon.ts';
import type { FuseNativeAddon, Locals, OpName } from './fuse_native_addon.ts';
import { isMounted, unmountTree } from './mount_table.ts';
import type { MountOptions } from './mount_options.ts';
import { fuseOptions, mountSource } from './mount_options.ts';
import { O_EXCL } from './vfs.ts';
import type { Listing, Outcome, Vfs } from './vfs.ts';

type Handler = (locals: Locals, op: number, ...args: never[]) => void;

/** EILSEQ: the path has bytes that are not UTF-8; the addon has replaced them, so the name that was meant is lost. */
const EILSEQ = 84;
const UID_UNCHANGED = 0xffff_ffff;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
const U32 = 2 ** 32;
/** How often the mount table is looked at, to notice an unmount from outside; libfuse's `destroy` is not passed on. */
const WATCH_MS = 500;

export class FuseNativeBinding implements Binding {
  readonly kind = 'fuse-native';
  readonly ended: Promise<void>;
  readonly #vfs: Vfs;
  readonly #mountpoint: string;
  readonly #options: MountOptions;
  readonly #log: MountLog;
  readonly #credentials: Credentials;
  readonly #addon: FuseNativeAddon;
  readonly #thread: Buffer;
  // The C structures of libfuse's threads live in these Buffers: they must never be collected.
  readonly #pinned: Buffer[] = [];
  readonly #end: () => void;
  #watch: NodeJS.Timeout | undefined;
  #initialised: () => void = () => undefined;

  /** @throws MountError when the native module cannot be loaded */
  constructor(vfs: Vfs, mountpoint: string, options: MountOptions, log: MountLog) {
    this.#vfs = vfs;
    this.#mountpoint = mountpoint;
    this.#options = options;
    this.#log = log;
    this.#credentials = ownCredentials();
    this.#addon = loadAddon();
    this.#thread = Buffer.alloc(this.#addon.sizeof_fuse_thread_t);
    const { promise, resolve } = withResolver();
    this.ended = promise;
    this.#end = resolve;
  }

  mount(): Promise<void> {
    const handlers: Handler[] = new Array<Handler>(OP_SLOTS).fill(() => undefined);
    const implemented = new Uint32Array(OP_SLOTS);
    for (const [name, handler] of Object.entries(this.#handlers()) as [OpName, Handler][]) {
      handlers[Op[name]] = handler;
      implemented[Op[name]] = 1;
    }
    const ready = withResolver();
    this.#initialised = ready.resolve;
    const allocate = (size: number): Buffer => {
      const buffer = Buffer.alloc(size);
      this.#pinned.push(buffer);
      return buffer;
    };
    try {
      this.#addon.fuse_native_mount(this.#mountpoint, `-o${fuseOptions(this.#options)}`, this.#thread, this, allocate, handlers, implemented);
    } catch (error) {
      throw new MountError(
        `libfuse could not mount at ${this.#mountpoint} (its own message is above)`,
        'as root check that /dev/fuse may be opened; as another user install fusermount (Debian: apt-get install fuse3), and for --allow-other put user_allow_other into /etc/fuse.conf',
        { cause: error },
      );
    }
    this.#watch = setInterval(() => { this.#lookWhetherMounted(); }, WATCH_MS);
    return ready.promise;
  }

  async unmount(): Promise<void> {
    await unmountTree(this.#mountpoint, mountSource(process.pid), this.#log);
    this.#finish();
  }

  #lookWhetherMounted(): void {
    if (!isMounted(this.#mountpoint, mountSource(process.pid))) this.#finish();
  }

  #finish(): void {
    if (this.#watch === undefined) return;
    clearInterval(this.#watch);
    this.#watch = undefined;
    this.#addon.fuse_native_unmount(this.#mountpoint, this.#thread);
    this.#end();
  }

  #handlers(): Partial<Record<OpName, Handler>> {
    return { ...this.#nameHandlers(), ...this.#attributeHandlers(), ...this.#xattrHandlers(), ...this.#fileHandlers() } as Partial<Record<OpName, Handler>>;
  }

  #nameHandlers() {
    const a = this.#addon;
    const vfs = this.#vfs;
    const who = this.#credentials;
    const plain = <T>(signal: (l: Locals, result: number) => void, l: Locals, path: string, run: (at: At) => Promise<Outcome<T>>): void => {
      this.#call(path, run, () => { signal(l, 0); }, (errno) => { signal(l, -errno); });
    };
    return {
      init: (l: Locals) => {
        a.fuse_native_signal_init(l, 0);
        this.#initialised();
      },
      mkdir: (l: Locals, _op: number, path: string, mode: number) => {
        plain(a.fuse_native_signal_mkdir, l, path, (at) => vfs.mkdir(who, at, mode & 0o7777));
      },
      mknod: (l: Locals, _op: number, path: string, mode: number, rdev: number) => {
        const type = typeOfMode(mode);
        if (type === undefined || type === 'directory' || type === 'symlink') a.fuse_native_signal_mknod(l, -Errno.EINVAL);
        else plain(a.fuse_native_signal_mknod, l, path, (at) => vfs.mknod(who, at, type, mode & 0o7777, rdev));
      },
      unlink: (l: Locals, _op: number, path: string) => {
        plain(a.fuse_native_signal_unlink, l, path, (at) => vfs.unlink(who, at));
      },
      rmdir: (l: Locals, _op: number, path: string) => {
        plain(a.fuse_native_signal_rmdir, l, path, (at) => vfs.rmdir(who, at));
      },
      // The kernel has refused RENAME_NOREPLACE and RENAME_EXCHANGE before they come here: libfuse 2 knows no flags.
      rename: (l: Locals, _op: number, path: string, destination: string) => {
        plain(a.fuse_native_signal_rename, l, path + destination, () => vfs.rename(who, at(path), at(destination), 'none'));
      },
      link: (l: Locals, _op: number, path: string, destination: string) => {
        plain(a.fuse_native_signal_link, l, path + destination, () => vfs.link(who, at(path), at(destination)));
      },
      // symlink(target, linkpath): the target comes first.
      symlink: (l: Locals, _op: number, target: string, path: string) => {
        plain(a.fuse_native_signal_symlink, l, path + target, () => vfs.symlink(who, at(path), Buffer.from(target, 'utf8')));
      },
      readlink: (l: Locals, _op: number, path: string) => {
        this.#call(path, (at) => vfs.readlink(who, at), ({ target }) => {
          a.fuse_native_signal_readlink(l, 0, target.toString('utf8'));
        }, (errno) => { a.fuse_native_signal_readlink(l, -errno, ''); });
      },
      readdir: (l: Locals, _op: number, path: string) => {
        this.#call(path, (at) => vfs.readdirAll(who, at), (listing) => {
          const { names, stats } = listingArrays(listing);
          a.fuse_native_signal_readdir(l, 0, names, stats);
        }, (errno) => { a.fuse_native_signal_readdir(l, -errno, [], []); });
      },
    };
  }

  #attributeHandlers() {
    const a = this.#addon;
    const vfs = this.#vfs;
    const who = this.#credentials;
    const set = (signal: (l: Locals, result: number) => void, l: Locals, path: string, values: SetAttributes): void => {
      this.#call(path, (at) => vfs.setattr(who, at, values), () => { signal(l, 0); }, (errno) => { signal(l, -errno); });
    };
    return {
      getattr: (l: Locals, _op: number, path: string) => {
        this.#call(path, (at) => vfs.getattr(who, at), ({ attributes }) => {
          a.fuse_native_signal_getattr(l, 0, statArray(attributes));
        }, (errno) => { a.fuse_native_signal_getattr(l, -errno, NO_STAT); });
      },
      fgetattr: (l: Locals, _op: number, _path: string, handle: number) => {
        this.#run(vfs.fgetattr(handle), ({ attributes }) => {
          a.fuse_native_signal_fgetattr(l, 0, statArray(attributes));
        }, (errno) => { a.fuse_native_signal_fgetattr(l, -errno, NO_STAT); });
      },
      chmod: (l: Locals, _op: number, path: string, mode: number) => {
        set(a.fuse_native_signal_chmod, l, path, { mode: mode & 0o7777 });
      },
      chown: (l: Locals, _op: number, path: string, uid: number, gid: number) => {
        set(a.fuse_native_signal_chown, l, path, {
          ...(uid === UID_UNCHANGED ? {} : { uid }),
          ...(gid === UID_UNCHANGED ? {} : { gid }),
        });
      },
      utimens: (l: Locals, _op: number, path: string, atimeLow: number) => {
        const times = utimensOf(l, atimeLow);
        if (times !== undefined) return set(a.fuse_native_signal_utimens, l, path, times);
        // Better no change than a modification time that was never asked for.
        this.#log.error({ path }, 'fuse-native lays its structures out in another way here: utimens is refused');
        a.fuse_native_signal_utimens(l, -Errno.ENOSYS);
      },
      truncate: (l: Locals, _op: number, path: string, low: number, high: number) => {
        set(a.fuse_native_signal_truncate, l, path, { size: low + high * U32 });
      },
      ftruncate: (l: Locals, _op: number, _path: string, handle: number, low: number, high: number) => {
        this.#run(vfs.ftruncate(handle, low + high * U32), () => { a.fuse_native_signal_ftruncate(l, 0); }, (errno) => { a.fuse_native_signal_ftruncate(l, -errno); });
      },
      access: (l: Locals, _op: number, path: string, mask: number) => {
        this.#call(path, (at) => vfs.access(who, at, mask), () => { a.fuse_native_signal_access(l, 0); }, (errno) => { a.fuse_native_signal_access(l, -errno); });
      },
      statfs: (l: Locals) => {
        this.#run(vfs.statfs(who), (s) => { a.fuse_native_signal_statfs(l, 0, statvfsArray(s)); }, (errno) => { a.fuse_native_signal_statfs(l, -errno, NO_STATVFS); });
      },
    };
  }

  #xattrHandlers() {
    const a = this.#addon;
    const vfs = this.#vfs;
    const who = this.#credentials;
    return {
      // The value is the kernel's memory: it is gone once the call has been answered, so the operation gets a copy.
      setxattr: (l: Locals, _op: number, path: string, name: string, value: Buffer, _position: number, flags: number) => {
        const done = (result: number): void => { a.fuse_native_signal_setxattr(l, result, value.buffer); };
        const mode = flags === XATTR_CREATE ? 'create' : flags === XATTR_REPLACE ? 'replace' : 'any';
        this.#call(path, (at) => vfs.setxattr(who, at, Buffer.from(name, 'utf8'), Buffer.from(value), mode), () => { done(0); }, (errno) => { done(-errno); });
      },
      // An empty buffer asks for the length only.
      getxattr: (l: Locals, _op: number, path: string, name: string, room: Buffer) => {
        const done = (result: number): void => { a.fuse_native_signal_getxattr(l, result, room.buffer); };
        this.#call(path, (at) => vfs.getxattr(who, at, Buffer.from(name, 'utf8')), ({ value }) => { done(fill(room, value)); }, (errno) => { done(-errno); });
      },
      listxattr: (l: Locals, _op: number, path: string, room: Buffer) => {
        const done = (result: number): void => { a.fuse_native_signal_listxattr(l, result, room.buffer); };
        this.#call(path, (at) => vfs.listxattr(who, at), ({ names }) => { done(fill(room, nulTerminated(names))); }, (errno) => { done(-errno); });
      },
      removexattr: (l: Locals, _op: number, path: string, name: string) => {
        this.#call(path, (at) => vfs.removexattr(who, at, Buffer.from(name, 'utf8')), () => {
          a.fuse_native_signal_removexattr(l, 0);
        }, (errno) => { a.fuse_native_signal_removexattr(l, -errno); });
      },
    };
  }

  #fileHandlers() {
    const a = this.#addon;
    const vfs = this.#vfs;
    const who = this.#credentials;
    return {
      open: (l: Locals, _op: number, path: string, flags: number) => {
        this.#call(path, (at) => vfs.open(who, at, flags), ({ handle }) => { a.fuse_native_signal_open(l, 0, handle); }, (errno) => { a.fuse_native_signal_open(l, -errno, 0); });
      },
      // The flags are not passed on, so O_EXCL is assumed: the kernel has just seen that the name is free, and a lock file that two mounts both "made" would be worse than an EEXIST.
      create: (l: Locals, _op: number, path: string, mode: number) => {
        this.#call(path, (at) => vfs.create(who, at, mode & 0o7777, O_EXCL), ({ handle }) => { a.fuse_native_signal_create(l, 0, handle); }, (errno) => { a.fuse_native_signal_create(l, -errno, 0); });
      },
      read: (l: Locals, _op: number, _path: string, handle: number, into: Buffer, length: number, low: number, high: number) => {
        const done = (result: number): void => { a.fuse_native_signal_read(l, result, 0, into.buffer); };
        this.#run(vfs.read(handle, low + high * U32, length), (data) => { done(data.copy(into)); }, (errno) => { done(-errno); });
      },
      write: (l: Locals, _op: number, _path: string, handle: number, data: Buffer, _length: number, low: number, high: number) => {
        const done = (result: number): void => { a.fuse_native_signal_write(l, result, 0, data.buffer); };
        this.#run(vfs.write(handle, low + high * U32, data), done, (errno) => { done(-errno); });
      },
      release: (l: Locals, _op: number, _path: string, handle: number) => {
        vfs.release(handle);
        a.fuse_native_signal_release(l, 0);
      },
    };
  }

  /** Runs an operation on a path; a path that has lost bytes on the way here is refused. */
  #call<T>(path: string, run: (at: At) => Promise<Outcome<T>>, ok: (value: T) => void, failed: (errno: number) => void): void {
    if (path.includes('\ufffd')) failed(EILSEQ);
    else this.#run(run(at(path)), ok, failed);
  }

  #run<T>(outcome: Promise<Outcome<T>>, ok: (value: T) => void, failed: (errno: number) => void): void {
    outcome.then(
      (result) => { if (result.ok) ok(result.value); else failed(result.errno); },
      (error: unknown) => {
        this.#log.error({ err: error }, 'no answer from the group: the call fails');
        failed(errnoOfRejection(error));
      },
    ).catch((error: unknown) => {
      // A fault of ours, after which a libfuse thread may wait for ever: end the process, so that the kernel ends the mount.
      queueMicrotask(() => { throw error; });
    });
  }
}

/** libfuse gives absolute paths below the mountpoint. */
function at(path: string): At {
  return { dir: ROOT_INO, path: Buffer.from(path.slice(1), 'utf8') };
}

function listingArrays(listing: Listing): { names: string[]; stats: Uint32Array[] } {
  const names = ['.', '..'];
  const stats = [entryStatArray(listing.ino, typeBits('directory')), entryStatArray(listing.parent, typeBits('directory'))];
  for (const entry of listing.entries) {
    names.push(entry.name.toString('utf8'));
    stats.push(entry.attributes === undefined ? entryStatArray(entry.ino, typeBits(entry.type)) : statArray(entry.attributes));
  }
  return { names, stats };
}

function nulTerminated(names: readonly Buffer[]): Buffer {
  return Buffer.concat(names.flatMap((name) => [name, Buffer.of(0)]));
}

/** What getxattr(2) and listxattr(2) answer: the length, or ERANGE where a buffer was given and is too small. */
function fill(room: Buffer, value: Buffer): number {
  if (room.length === 0) return value.length;
  if (value.length > room.length) return -Errno.ERANGE;
  return value.copy(room);
}

function ownCredentials(): Credentials {
  const { getuid, getgid, getgroups } = process;
  if (getuid === undefined || getgid === undefined || getgroups === undefined) throw new MountError('this platform has no user ids', 'mount on Linux');
  return { uid: getuid(), gid: getgid(), groups: getgroups().slice(0, GROUPS_MAX) };
}

function loadAddon(): FuseNativeAddon {
  try {
    return loadFuseNative();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new MountError(`the native module of fuse-native cannot be loaded: ${reason}`, 'run npm ci again on this machine; its libfuse.so.2 comes with the package fuse-shared-library', { cause: error });
  }
}

function withResolver(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => { resolve = done; });
  return { promise, resolve };
}
