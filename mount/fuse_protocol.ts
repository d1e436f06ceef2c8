/**
 * The kernel's FUSE protocol, version 7 (linux/fuse.h): the structures that cross /dev/fuse, little-endian as on every machine that we run on. One read gives one
 * request: a 40-byte header, the operation's structure, then names, each ended by NUL. One write gives one reply: a 16-byte header and a body.
 */
import { ino as toIno } from '../lib/ids.ts';
import type { Ino } from '../lib/ids.ts';
import type { Attributes, FileSystemStatistics, SetAttributes, Timestamp } from '../fsservice/operations.ts';
import { NAME_MAX, READ_MAX, TIME_MAX, TIME_MIN } from '../fsservice/operations.ts';
import { IO_SIZE, typeBits } from './attributes.ts';

export const Opcode = {
  LOOKUP: 1, FORGET: 2, GETATTR: 3, SETATTR: 4, READLINK: 5, SYMLINK: 6, MKNOD: 8, MKDIR: 9, UNLINK: 10, RMDIR: 11, RENAME: 12, LINK: 13, OPEN: 14, READ: 15,
  WRITE: 16, STATFS: 17, RELEASE: 18, SETXATTR: 21, GETXATTR: 22, LISTXATTR: 23, REMOVEXATTR: 24, INIT: 26, OPENDIR: 27, READDIR: 28, RELEASEDIR: 29,
  ACCESS: 34, CREATE: 35, INTERRUPT: 36, DESTROY: 38, BATCH_FORGET: 42, READDIRPLUS: 44, RENAME2: 45, COPY_FILE_RANGE: 47,
} as const;

/** These have no reply. */
export function hasNoReply(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT;
}

export const InitFlag = {
  ASYNC_READ: 1 << 0, BIG_WRITES: 1 << 5, AUTO_INVAL_DATA: 1 << 12, DO_READDIRPLUS: 1 << 13, READDIRPLUS_AUTO: 1 << 14, ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18, MAX_PAGES: 1 << 22, HANDLE_KILLPRIV_V2: 1 << 28, INIT_EXT: 1 << 30,
} as const;
/** In flags2. */
export const InitFlag2 = { DIRECT_IO_ALLOW_MMAP: 1 << 4 } as const;
export const OpenFlag = { DIRECT_IO: 1 << 0 } as const;
/** In write_flags: from the page cache, on nobody's behalf in particular. */
export const WRITE_CACHE = 1 << 0;
export const WRITE_KILL_SUIDGID = 1 << 2;
export const FATTR_FH = 1 << 6;
const Fattr = { MODE: 1, UID: 2, GID: 4, SIZE: 8, ATIME: 16, MTIME: 32, ATIME_NOW: 128, MTIME_NOW: 256, KILL_SUIDGID: 2048 } as const;

const U32 = 2 ** 32;
const IN_HEADER = 40;
const OUT_HEADER = 16;
/** Room for any request: the largest write with its headers. */
export const REQUEST_MAX = IO_SIZE + 4096;

/** One request of the kernel; the fields of its structure are read at offsets behind the header. */
export class FuseRequest {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get opcode(): number {
    return this.#bytes.readUInt32LE(4);
  }
  get nodeId(): Ino {
    return toIno(this.#u64(16));
  }
  get uid(): number {
    return this.#bytes.readUInt32LE(24);
  }
  get gid(): number {
    return this.#bytes.readUInt32LE(28);
  }
  /** 0 when the caller lives in another pid namespace. */
  get pid(): number {
    return this.#bytes.readUInt32LE(32);
  }

  u32(at: number): number {
    return this.#bytes.readUInt32LE(IN_HEADER + at);
  }
  u64(at: number): number {
    return this.#u64(IN_HEADER + at);
  }
  #u64(at: number): number {
    return this.#bytes.readUInt32LE(at) + this.#bytes.readUInt32LE(at + 4) * U32;
  }

  /** The bytes behind the structure; a view. */
  tail(at: number): Buffer {
    return this.#bytes.subarray(IN_HEADER + at);
  }
  /** The name that starts at `at` and ends with NUL; a view. */
  name(at: number): Buffer {
    const start = IN_HEADER + at;
    return this.#bytes.subarray(start, this.#bytes.indexOf(0, start));
  }
  /** Two names, one behind the other. */
  names(at: number): [Buffer, Buffer] {
    const first = this.name(at);
    return [first, this.name(at + first.length + 1)];
  }

  /** A reply with room for `length` bytes of body (to be written from 16 on) out of a body of `total` bytes. */
  reply(error: number, length: number, total = length): Buffer {
    const out = Buffer.alloc(OUT_HEADER + length);
    out.writeUInt32LE(OUT_HEADER + total, 0);
    out.writeInt32LE(error, 4);
    this.#bytes.copy(out, 8, 8, 16);
    return out;
  }
}
export const BODY = OUT_HEADER;

function put64(out: Buffer, at: number, value: number): void {
  out.writeUInt32LE(value % U32, at);
  out.writeUInt32LE(Math.floor(value / U32), at + 4);
}

const ATTR_SIZE = 88;
export const ATTR_OUT_SIZE = 16 + ATTR_SIZE;
export const ENTRY_OUT_SIZE = 40 + ATTR_SIZE;
export const OPEN_OUT_SIZE = 16;
export const STATFS_OUT_SIZE = 80;
export const INIT_OUT_SIZE = 64;

/** fuse_attr, 88 bytes. */
function putAttributes(out: Buffer, at: number, a: Attributes): void {
  put64(out, at, a.ino);
  put64(out, at + 8, a.size);
  put64(out, at + 16, a.blocks);
  putTime(out, at + 24, at + 48, a.atime);
  putTime(out, at + 32, at + 52, a.mtime);
  putTime(out, at + 40, at + 56, a.ctime);
  out.writeUInt32LE(typeBits(a.type) | a.mode, at + 60);
  out.writeUInt32LE(a.nlink, at + 64);
  out.writeUInt32LE(a.uid, at + 68);
  out.writeUInt32LE(a.gid, at + 72);
  out.writeUInt32LE(a.rdev, at + 76);
  out.writeUInt32LE(IO_SIZE, at + 80);
}

/** Seconds are a signed 64-bit number on the kernel's side. */
function putTime(out: Buffer, secondsAt: number, nanosecondsAt: number, t: Timestamp): void {
  out.writeInt32LE(t.sec | 0, secondsAt);
  out.writeInt32LE(Math.floor(t.sec / U32), secondsAt + 4);
  out.writeUInt32LE(t.nsec, nanosecondsAt);
}

function putValidity(out: Buffer, secondsAt: number, nanosecondsAt: number, milliseconds: number): void {
  put64(out, secondsAt, Math.floor(milliseconds / 1000));
  out.writeUInt32LE((milliseconds % 1000) * 1_000_000, nanosecondsAt);
}

/** fuse_attr_out: attributes that the kernel may believe for `validMs`. */
export function putAttrOut(out: Buffer, at: number, a: Attributes, validMs: number): void {
  putValidity(out, at, at + 8, validMs);
  putAttributes(out, at + 16, a);
}

/** fuse_entry_out. Node ids are inode numbers, which are never reused: so there is one generation. */
export function putEntryOut(out: Buffer, at: number, a: Attributes, validMs: number): void {
  put64(out, at, a.ino);
  putValidity(out, at + 16, at + 32, validMs);
  putValidity(out, at + 24, at + 36, validMs);
  putAttributes(out, at + 40, a);
}

/** fuse_open_out. */
export function putOpenOut(out: Buffer, at: number, handle: number, openFlags: number): void {
  put64(out, at, handle);
  out.writeUInt32LE(openFlags, at + 8);
}

/** fuse_kstatfs. */
export function putStatfsOut(out: Buffer, at: number, s: FileSystemStatistics): void {
  const free = Math.max(0, Math.floor((s.maxBytes - s.bytes) / s.blockSize));
  put64(out, at, Math.ceil(s.maxBytes / s.blockSize));
  put64(out, at + 8, free);
  put64(out, at + 16, free);
  put64(out, at + 24, s.maxInodes);
  put64(out, at + 32, Math.max(0, s.maxInodes - s.inodes));
  out.writeUInt32LE(s.blockSize, at + 40);
  out.writeUInt32LE(NAME_MAX, at + 44);
  out.writeUInt32LE(s.blockSize, at + 48);
}

export interface InitAnswer {
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
}

/** fuse_init_out: how many requests may be in flight, how large they may be, and times to the nanosecond. */
export function putInitOut(out: Buffer, at: number, init: InitAnswer): void {
  out.writeUInt32LE(7, at);
  out.writeUInt32LE(init.minor, at + 4);
  out.writeUInt32LE(init.maxReadahead, at + 8);
  out.writeUInt32LE(init.flags >>> 0, at + 12);
  out.writeUInt16LE(MAX_BACKGROUND, at + 16);
  out.writeUInt16LE((MAX_BACKGROUND * 3) / 4, at + 18);
  out.writeUInt32LE(IO_SIZE, at + 20);
  out.writeUInt32LE(1, at + 24);
  out.writeUInt16LE(PAGES_MAX, at + 28);
  out.writeUInt32LE(init.flags2 >>> 0, at + 32);
}
const MAX_BACKGROUND = 64;
/**
 * Pages of memory that one request's data may lie in: what one read operation gives. A write's bytes fill 32 of them, but each piece of a writev takes one at least, and one more for each
 * border of pages in it. The kernel allows no more by default (fs.fuse.max_pages_limit).
 */
const PAGES_MAX = READ_MAX / 4096;

/** fuse_setattr_in: what is to be set, and whether set-uid and set-gid have to go (the caller may not keep them). */
export function setattrOf(q: FuseRequest): { readonly set: SetAttributes; readonly handle: number | undefined; readonly kill: boolean } {
  const valid = q.u32(0);
  const set: { -readonly [K in keyof SetAttributes]: SetAttributes[K] } = {};
  if (valid & Fattr.SIZE) set.size = q.u64(16);
  if (valid & Fattr.ATIME_NOW) set.atime = 'now';
  else if (valid & Fattr.ATIME) set.atime = timestamp(q, 32, 56);
  if (valid & Fattr.MTIME_NOW) set.mtime = 'now';
  else if (valid & Fattr.MTIME) set.mtime = timestamp(q, 40, 60);
  if (valid & Fattr.MODE) set.mode = q.u32(68) & 0o7777;
  if (valid & Fattr.UID) set.uid = q.u32(76);
  if (valid & Fattr.GID) set.gid = q.u32(80);
  return { set, handle: valid & FATTR_FH ? q.u64(8) : undefined, kill: (valid & Fattr.KILL_SUIDGID) !== 0 };
}

/** The nearest time that an inode can have, as other file systems do with what they cannot hold. */
function timestamp(q: FuseRequest, secondsAt: number, nanosecondsAt: number): Timestamp {
  const high = q.u32(secondsAt + 4) | 0;
  const sec = high * U32 + q.u32(secondsAt);
  if (sec < TIME_MIN) return { sec: TIME_MIN, nsec: 0 };
  if (sec > TIME_MAX) return { sec: TIME_MAX, nsec: 0 };
  return { sec, nsec: q.u32(nanosecondsAt) };
}

const DIRENT_HEADER = 24;
export interface Dirent {
  readonly ino: number;
  /** Where the directory goes on behind this entry. */
  readonly offset: number;
  /** DT_* of readdir(3): st_mode >> 12. */
  readonly type: number;
  readonly name: Buffer;
}

export function direntSize(nameLength: number): number {
  return (DIRENT_HEADER + nameLength + 7) & ~7;
}

/** fuse_dirent; `out` is zeroed already. */
export function putDirent(out: Buffer, at: number, d: Dirent): void {
  put64(out, at, d.ino);
  put64(out, at + 8, d.offset);
  out.writeUInt32LE(d.name.length, at + 16);
  out.writeUInt32LE(d.type, at + 20);
  d.name.copy(out, at + DIRENT_HEADER);
}
