/**
 * The native half of `fuse-native`: libfuse 2 with every callback handed to the main thread. We speak to it directly, not through the package's
 * index.js, which cannot say entry_timeout=0 or use_ino, hands times back in Date, arms a timer an operation, and whose utimens loses the modification time.
 *
 * A handler gets `locals` (the C structure of the waiting libfuse thread, as a Buffer), the opcode, and the arguments below. That thread sleeps until
 * `fuse_native_signal_<op>(locals, result, ...)` is called, exactly once; result is what the libfuse callback returns: 0, a count, or a negative errno.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { ino as toIno } from '../lib/ids.ts';
import { typeBits, IO_SIZE } from './attributes.ts';
import type { Attributes, FileSystemStatistics, Timestamp } from '../fsservice/operations.ts';
import { NAME_MAX } from '../fsservice/operations.ts';

export type Locals = Buffer;
type Signal<A extends readonly unknown[] = []> = (locals: Locals, result: number, ...args: A) => void;

export interface FuseNativeAddon {
  readonly sizeof_fuse_thread_t: number;
  fuse_native_mount(
    mountpoint: string, options: string, thread: Buffer, context: object, allocate: (size: number) => Buffer, handlers: readonly unknown[], implemented: Uint32Array,
  ): void;
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
  fuse_native_signal_init: Signal;
  fuse_native_signal_access: Signal;
  fuse_native_signal_statfs: Signal<[statvfs: Uint32Array]>;
  fuse_native_signal_fgetattr: Signal<[stat: Uint32Array]>;
  fuse_native_signal_getattr: Signal<[stat: Uint32Array]>;
  fuse_native_signal_readdir: Signal<[names: readonly string[], stats: readonly Uint32Array[]]>;
  fuse_native_signal_truncate: Signal;
  fuse_native_signal_ftruncate: Signal;
  fuse_native_signal_utimens: Signal;
  fuse_native_signal_readlink: Signal<[target: string]>;
  fuse_native_signal_chown: Signal;
  fuse_native_signal_chmod: Signal;
  fuse_native_signal_mknod: Signal;
  fuse_native_signal_setxattr: Signal<[memory: ArrayBufferLike]>;
  fuse_native_signal_getxattr: Signal<[memory: ArrayBufferLike]>;
  fuse_native_signal_listxattr: Signal<[memory: ArrayBufferLike]>;
  fuse_native_signal_removexattr: Signal;
  fuse_native_signal_open: Signal<[handle: number]>;
  fuse_native_signal_read: Signal<[unused: number, memory: ArrayBufferLike]>;
  fuse_native_signal_write: Signal<[unused: number, memory: ArrayBufferLike]>;
  fuse_native_signal_release: Signal;
  fuse_native_signal_create: Signal<[handle: number]>;
  fuse_native_signal_unlink: Signal;
  fuse_native_signal_rename: Signal;
  fuse_native_signal_link: Signal;
  fuse_native_signal_symlink: Signal;
  fuse_native_signal_mkdir: Signal;
  fuse_native_signal_rmdir: Signal;
}

/** fuse-native.c, "Opcodes". */
export const Op = {
  init: 0, access: 2, statfs: 3, fgetattr: 4, getattr: 5, readdir: 9, truncate: 10, ftruncate: 11, utimens: 12, readlink: 13, chown: 14, chmod: 15, mknod: 16,
  setxattr: 17, getxattr: 18, listxattr: 19, removexattr: 20, open: 21, read: 23, write: 24, release: 25, create: 27, unlink: 28, rename: 29, link: 30,
  symlink: 31, mkdir: 32, rmdir: 33,
} as const;
export type OpName = keyof typeof Op;
/** The addon walks 35 slots. */
export const OP_SLOTS = 35;

/** Loads the addon; libfuse.so.2 must be where the dynamic linker looks (fuse_library.ts). @throws when it cannot be loaded */
export function loadFuseNative(): FuseNativeAddon {
  const packageFile = createRequire(import.meta.url).resolve('fuse-native/package.json');
  // Its own loader knows where its own binary is: built on this machine, or shipped with the package.
  const load = createRequire(packageFile)('node-gyp-build') as (directory: string) => FuseNativeAddon;
  return load(path.dirname(packageFile));
}

// fuse_thread_locals_t on a 64-bit machine: what the addon computes but does not pass on.
const LOCALS_OP = 8;
const LOCALS_ATIME = 104;
const LOCALS_MTIME = 112;

/**
 * The times of a utimens, in milliseconds since 1970: all that the addon keeps. It passes the access time twice, so that the modification time has to be read
 * from its structure; `atimeLow` (the low 32 bits as it passed them) shows that the structure is laid out as we think.
 */
export function utimensOf(locals: Locals, atimeLow: number): { atime: Timestamp; mtime: Timestamp } | undefined {
  if (locals.length < LOCALS_MTIME + 8 || locals.readUInt32LE(LOCALS_OP) !== Op.utimens || locals.readUInt32LE(LOCALS_ATIME) !== atimeLow) return undefined;
  return { atime: timestamp(Number(locals.readBigInt64LE(LOCALS_ATIME))), mtime: timestamp(Number(locals.readBigInt64LE(LOCALS_MTIME))) };
}

function timestamp(milliseconds: number): Timestamp {
  const sec = Math.floor(milliseconds / 1000);
  return { sec, nsec: (milliseconds - sec * 1000) * 1_000_000 };
}

const U32 = 2 ** 32;

function put64(to: Uint32Array, at: number, value: number): void {
  to[at] = value % U32;
  to[at + 1] = Math.floor(value / U32);
}

/** The addon takes unsigned milliseconds: times before 1970 are shown as 1970. */
function milliseconds(t: Timestamp): number {
  return Math.max(0, t.sec * 1000 + Math.floor(t.nsec / 1_000_000));
}

export const NO_STAT = new Uint32Array(18);

/** struct stat as the addon reads it. Inode numbers keep their low 32 bits. */
export function statArray(a: Attributes): Uint32Array {
  const out = new Uint32Array(18);
  out[0] = typeBits(a.type) | a.mode;
  out[1] = a.uid;
  out[2] = a.gid;
  put64(out, 3, a.size);
  out[6] = a.nlink;
  out[7] = a.ino;
  out[8] = a.rdev;
  out[9] = IO_SIZE;
  put64(out, 10, a.blocks);
  put64(out, 12, milliseconds(a.atime));
  put64(out, 14, milliseconds(a.mtime));
  put64(out, 16, milliseconds(a.ctime));
  return out;
}

/** A directory entry's stat: libfuse takes the inode number and the type from it. */
export function entryStatArray(inodeNumber: number, modeBits: number): Uint32Array {
  const out = new Uint32Array(18);
  out[0] = modeBits;
  out[6] = 1;
  out[7] = toIno(inodeNumber);
  return out;
}

export const NO_STATVFS = new Uint32Array(11);
const U32_MAX = U32 - 1;

/** struct statvfs as the addon reads it: 32-bit counts, so what is larger is shown as the largest. */
export function statvfsArray(s: FileSystemStatistics): Uint32Array {
  const blocks = Math.ceil(s.maxBytes / s.blockSize);
  const free = Math.max(0, Math.floor((s.maxBytes - s.bytes) / s.blockSize));
  const filesFree = Math.max(0, s.maxInodes - s.inodes);
  const values = [s.blockSize, s.blockSize, blocks, free, free, s.maxInodes, filesFree, filesFree, 0, 0, NAME_MAX];
  return Uint32Array.from(values, (n) => Math.min(n, U32_MAX));
}
