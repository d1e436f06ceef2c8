/**
 * An inode and its record.
 *
 * A decoded Inode is a private, mutable draft: an operation checks everything, changes its drafts, and puts
 * them at the end. Nothing that is shared is ever changed.
 *
 * Record: type 8 | mode 16 | nlink 32 | uid 32 | gid 32 | size 64 | atime, mtime, ctime, birthtime (sec 48 signed, nsec 32)
 *   | version 48 | unlinkedAt 48 | xattrBytes 32, and behind it
 *   directory: parent 48
 *   file: blocks 64 | generation 32 | (from 32, generation 32)*
 *   block, character: rdev 32
 */
import { assert, defined } from '../lib/assert.ts';
import { getU16, getU32, getU48, putU16, putU32, putU48 } from '../lib/bytes.ts';
import type { Ino } from '../lib/ids.ts';
import { ino as asIno } from '../lib/ids.ts';
import { DIRECTORY_ENTRY_SIZE } from './limits.ts';
import { ROOT_INO, type Attributes, type FileType } from './operations.ts';

/** Positions are the codes in records and messages; 0 is none. */
const TYPES: readonly (FileType | null)[] = [null, 'file', 'directory', 'symlink', 'fifo', 'socket', 'block', 'character'];
const CODES: Readonly<Record<FileType, number>> = { file: 1, directory: 2, symlink: 3, fifo: 4, socket: 5, block: 6, character: 7 };

export function fileTypeCode(type: FileType): number {
  return CODES[type];
}
/** undefined: no such code. */
export function fileTypeOfCode(code: number): FileType | undefined {
  return TYPES[code] ?? undefined;
}

/** Blocks from `from` on whose generation is below `generation` were cut off by a truncation, and are still to be freed. */
export interface PendingTruncation {
  readonly from: number;
  readonly generation: number;
}

export interface Inode {
  readonly ino: Ino;
  readonly type: FileType;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  /** Bytes; of a directory: its number of entries. */
  size: number;
  /** Stored contents, in units of 512 bytes, those that wait to be freed included. */
  blocks: number;
  atimeSec: number;
  atimeNsec: number;
  mtimeSec: number;
  mtimeNsec: number;
  ctimeSec: number;
  ctimeNsec: number;
  birthSec: number;
  birthNsec: number;
  version: number;
  /** The op-number at which its last link went; 0: it is linked. */
  unlinkedAt: number;
  /** Names and values of its extended attributes. */
  xattrBytes: number;
  /** Of a directory: where '..' leads. */
  parent: Ino;
  /** Of a file: blocks written now carry it; grows with each truncation that leaves blocks to be freed. */
  generation: number;
  /** Ascending in both fields. */
  pending: readonly PendingTruncation[];
}

const NO_PENDING: readonly PendingTruncation[] = Object.freeze([]);
const U32 = 0x1_0000_0000;
const COMMON_BYTES = 1 + 2 + 4 + 4 + 4 + 8 + 4 * 10 + 6 + 6 + 4;
const NO_INO = 0 as Ino;

function writeU64(b: Buffer, n: number, at: number): void {
  putU32(b, Math.floor(n / U32), at);
  putU32(b, n >>> 0, at + 4);
}
function readU64(b: Buffer, at: number): number {
  return getU32(b, at) * U32 + getU32(b, at + 4);
}
function writeTime(b: Buffer, sec: number, nsec: number, at: number): void {
  b.writeInt16BE(Math.floor(sec / U32), at);
  putU32(b, sec >>> 0, at + 2);
  putU32(b, nsec, at + 6);
}
function readSec(b: Buffer, at: number): number {
  return b.readInt16BE(at) * U32 + getU32(b, at + 2);
}

const LEAST_TAIL: Readonly<Record<FileType, number>> = { directory: 6, file: 12, block: 4, character: 4, symlink: 0, fifo: 0, socket: 0 };

function tailBytes(inode: Inode): number {
  return LEAST_TAIL[inode.type] + 8 * inode.pending.length;
}

export function encodeInode(inode: Inode): Buffer {
  const b = Buffer.allocUnsafe(COMMON_BYTES + tailBytes(inode));
  b[0] = CODES[inode.type];
  putU16(b, inode.mode, 1);
  putU32(b, inode.nlink, 3);
  putU32(b, inode.uid, 7);
  putU32(b, inode.gid, 11);
  writeU64(b, inode.size, 15);
  writeTime(b, inode.atimeSec, inode.atimeNsec, 23);
  writeTime(b, inode.mtimeSec, inode.mtimeNsec, 33);
  writeTime(b, inode.ctimeSec, inode.ctimeNsec, 43);
  writeTime(b, inode.birthSec, inode.birthNsec, 53);
  putU48(b, inode.version, 63);
  putU48(b, inode.unlinkedAt, 69);
  putU32(b, inode.xattrBytes, 75);
  let at = COMMON_BYTES;
  if (inode.type === 'directory') {
    putU48(b, inode.parent, at);
  } else if (inode.type === 'file') {
    writeU64(b, inode.blocks, at);
    putU32(b, inode.generation, at + 8);
    at += 12;
    for (const p of inode.pending) {
      putU32(b, p.from, at);
      putU32(b, p.generation, at + 4);
      at += 8;
    }
  } else if (inode.type === 'block' || inode.type === 'character') {
    putU32(b, inode.rdev, at);
  }
  return b;
}

function decodePending(b: Buffer): readonly PendingTruncation[] {
  const start = COMMON_BYTES + 12;
  if (b.length === start) return NO_PENDING;
  const out: PendingTruncation[] = [];
  for (let at = start; at < b.length; at += 8) out.push({ from: getU32(b, at), generation: getU32(b, at + 4) });
  return out;
}

/** Of a record that this code wrote: damage below is the checkpoint's to find, so here it asserts. */
export function decodeInode(number: Ino, b: Buffer): Inode {
  assert(b.length >= COMMON_BYTES, 'an inode record is whole');
  const type = defined(fileTypeOfCode(b.readUInt8(0)), 'the type of an inode record');
  const isFile = type === 'file';
  assert(b.length >= COMMON_BYTES + LEAST_TAIL[type], 'what an inode record has for its type is there');
  return {
    ino: number,
    type,
    mode: getU16(b, 1),
    nlink: getU32(b, 3),
    uid: getU32(b, 7),
    gid: getU32(b, 11),
    rdev: type === 'block' || type === 'character' ? getU32(b, COMMON_BYTES) : 0,
    size: readU64(b, 15),
    blocks: isFile ? readU64(b, COMMON_BYTES) : 0,
    atimeSec: readSec(b, 23),
    atimeNsec: getU32(b, 29),
    mtimeSec: readSec(b, 33),
    mtimeNsec: getU32(b, 39),
    ctimeSec: readSec(b, 43),
    ctimeNsec: getU32(b, 49),
    birthSec: readSec(b, 53),
    birthNsec: getU32(b, 59),
    version: getU48(b, 63),
    unlinkedAt: getU48(b, 69),
    xattrBytes: getU32(b, 75),
    parent: type === 'directory' ? asIno(getU48(b, COMMON_BYTES)) : NO_INO,
    generation: isFile ? getU32(b, COMMON_BYTES + 8) : 0,
    pending: isFile ? decodePending(b) : NO_PENDING,
  };
}

/** The moment of an operation: its predetermined time and its op-number. */
export interface Moment {
  readonly op: number;
  readonly sec: number;
  readonly nsec: number;
}

export function newInode(number: Ino, type: FileType, mode: number, uid: number, gid: number, at: Moment): Inode {
  return {
    ino: number, type, mode, nlink: type === 'directory' ? 2 : 1, uid, gid, rdev: 0, size: 0, blocks: 0,
    atimeSec: at.sec, atimeNsec: at.nsec, mtimeSec: at.sec, mtimeNsec: at.nsec, ctimeSec: at.sec, ctimeNsec: at.nsec,
    birthSec: at.sec, birthNsec: at.nsec, version: at.op, unlinkedAt: 0, xattrBytes: 0, parent: NO_INO, generation: 0, pending: NO_PENDING,
  };
}

/** What '/' is before anything has happened. */
export function rootInode(): Inode {
  const root = newInode(ROOT_INO, 'directory', 0o755, 0, 0, { op: 0, sec: 0, nsec: 0 });
  root.parent = ROOT_INO;
  return root;
}

/** A change of attributes. */
export function touchChange(inode: Inode, at: Moment): void {
  inode.ctimeSec = at.sec;
  inode.ctimeNsec = at.nsec;
  inode.version = at.op;
}

/** A change of contents: a directory's entries, a file's data. */
export function touchContents(inode: Inode, at: Moment): void {
  inode.mtimeSec = at.sec;
  inode.mtimeNsec = at.nsec;
  touchChange(inode, at);
}

export function attributesOf(inode: Inode): Attributes {
  return {
    ino: inode.ino,
    type: inode.type,
    mode: inode.mode,
    nlink: inode.nlink,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    size: inode.type === 'directory' ? inode.size * DIRECTORY_ENTRY_SIZE : inode.size,
    blocks: inode.blocks,
    atime: { sec: inode.atimeSec, nsec: inode.atimeNsec },
    mtime: { sec: inode.mtimeSec, nsec: inode.mtimeNsec },
    ctime: { sec: inode.ctimeSec, nsec: inode.ctimeNsec },
    birthtime: { sec: inode.birthSec, nsec: inode.birthNsec },
    version: inode.version,
  };
}
