/**
 * An inode and its record.
 *
 * What an operation gets is a draft of its own (records.ts): it checks everything, changes its drafts, and puts
 * them at the end. From then on they are the table's, and nobody changes them any more.
 *
 * Record: type 8 | mode 16 | nlink 32 | uid 32 | gid 32 | size 64 | atime, mtime, ctime, birthtime (sec 48 signed, nsec 32)
 *   | version 48 | unlinkedAt 48 | xattrBytes 32, and behind it
 *   directory: parent 48
 *   file: blocks 64 | generation 32 | (from 32, generation 32)*
 *   block, character: rdev 32
 */
import { assert, defined } from '../lib/assert.ts';
import { getU16, getU32, getU48, putU16, putU32, putU48, unboxed } from '../lib/bytes.ts';
import type { Ino } from '../lib/ids.ts';
import { ino as asIno } from '../lib/ids.ts';
import type { RecordValue } from '../lib/table.ts';
import { DIRECTORY_ENTRY_SIZE } from './limits.ts';
import { ROOT_INO, type Attributes, type FileType } from './operations.ts';

/** Positions are the codes in records and messages; 0 is none. */
const TYPES: readonly (FileType | null)[] = [null, 'file', 'directory', 'symlink', 'fifo', 'socket', 'block', 'character'];
const CODES: Readonly<Record<FileType, number>> = { file: 1, directory: 2, symlink: 3, fifo: 4, socket: 5, block: 6, character: 7 };

export function fileTypeCode(type: FileType): number {
  // Nearly all are files: without asking a table by a name.
  return type === 'file' ? CODES.file : CODES[type];
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

const NO_PENDING: readonly PendingTruncation[] = Object.freeze([]);
const U32 = 0x1_0000_0000;
const COMMON_BYTES = 1 + 2 + 4 + 4 + 4 + 8 + 4 * 10 + 6 + 6 + 4;
const NO_INO = 0 as Ino;
/** Bytes behind the common ones, at least. */
function leastTail(type: FileType): number {
  switch (type) {
    case 'file': return 12;
    case 'directory': return 6;
    case 'block':
    case 'character': return 4;
    case 'symlink':
    case 'fifo':
    case 'socket': return 0;
  }
}

export class Inode implements RecordValue {
  readonly ino: Ino;
  readonly type: FileType;
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  rdev = 0;
  /** Bytes; of a directory: its number of entries. */
  size = 0;
  /** Stored contents, in units of 512 bytes, those that wait to be freed included. */
  blocks = 0;
  atimeSec = 0;
  atimeNsec = 0;
  mtimeSec = 0;
  mtimeNsec = 0;
  ctimeSec = 0;
  ctimeNsec = 0;
  birthSec = 0;
  birthNsec = 0;
  version = 0;
  /** The op-number at which its last link went; 0: it is linked. */
  unlinkedAt = 0;
  /** Names and values of its extended attributes. */
  xattrBytes = 0;
  /** Of a directory: where '..' leads. */
  parent: Ino = NO_INO;
  /** Of a file: blocks written now carry it; grows with each truncation that leaves blocks to be freed. */
  generation = 0;
  /** Ascending in both fields. */
  pending: readonly PendingTruncation[] = NO_PENDING;

  constructor(number: Ino, type: FileType) {
    this.ino = number;
    this.type = type;
  }

  get byteLength(): number {
    return COMMON_BYTES + leastTail(this.type) + 8 * this.pending.length;
  }

  encode(): Buffer {
    return encodeInode(this);
  }

  /** A draft of one's own. */
  draft(): Inode {
    const copy = new Inode(this.ino, this.type);
    copy.mode = this.mode;
    copy.nlink = this.nlink;
    copy.uid = this.uid;
    copy.gid = this.gid;
    copy.rdev = this.rdev;
    copy.size = this.size;
    copy.blocks = this.blocks;
    copy.atimeSec = this.atimeSec;
    copy.atimeNsec = this.atimeNsec;
    copy.mtimeSec = this.mtimeSec;
    copy.mtimeNsec = this.mtimeNsec;
    copy.ctimeSec = this.ctimeSec;
    copy.ctimeNsec = this.ctimeNsec;
    copy.birthSec = this.birthSec;
    copy.birthNsec = this.birthNsec;
    copy.version = this.version;
    copy.unlinkedAt = this.unlinkedAt;
    copy.xattrBytes = this.xattrBytes;
    copy.parent = this.parent;
    copy.generation = this.generation;
    copy.pending = this.pending;
    return copy;
  }
}

function writeU64(b: Buffer, n: number, at: number): void {
  putU32(b, Math.floor(n / U32), at);
  putU32(b, n >>> 0, at + 4);
}
function readU64(b: Buffer, at: number): number {
  return unboxed(getU32(b, at) * U32 + getU32(b, at + 4));
}
function writeTime(b: Buffer, sec: number, nsec: number, at: number): void {
  b.writeInt16BE(Math.floor(sec / U32), at);
  putU32(b, sec >>> 0, at + 2);
  putU32(b, nsec, at + 6);
}
function readSec(b: Buffer, at: number): number {
  return unboxed(b.readInt16BE(at) * U32 + getU32(b, at + 2));
}

export function encodeInode(inode: Inode): Buffer {
  const b = Buffer.allocUnsafe(inode.byteLength);
  b[0] = fileTypeCode(inode.type);
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
  const at = COMMON_BYTES;
  if (inode.type === 'directory') {
    putU48(b, inode.parent, at);
  } else if (inode.type === 'file') {
    writeU64(b, inode.blocks, at);
    putU32(b, inode.generation, at + 8);
    putPending(b, inode.pending, at + 12);
  } else if (inode.type === 'block' || inode.type === 'character') {
    putU32(b, inode.rdev, at);
  }
  return b;
}

function putPending(b: Buffer, pending: readonly PendingTruncation[], from: number): void {
  let at = from;
  for (let i = 0; i < pending.length; i++, at += 8) {
    const p = pending[i] as PendingTruncation;
    putU32(b, p.from, at);
    putU32(b, p.generation, at + 4);
  }
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
  assert(b.length >= COMMON_BYTES + leastTail(type), 'what an inode record has for its type is there');
  const inode = new Inode(number, type);
  inode.mode = getU16(b, 1);
  inode.nlink = getU32(b, 3);
  inode.uid = getU32(b, 7);
  inode.gid = getU32(b, 11);
  inode.rdev = type === 'block' || type === 'character' ? getU32(b, COMMON_BYTES) : 0;
  inode.size = readU64(b, 15);
  inode.blocks = isFile ? readU64(b, COMMON_BYTES) : 0;
  inode.atimeSec = readSec(b, 23);
  inode.atimeNsec = getU32(b, 29);
  inode.mtimeSec = readSec(b, 33);
  inode.mtimeNsec = getU32(b, 39);
  inode.ctimeSec = readSec(b, 43);
  inode.ctimeNsec = getU32(b, 49);
  inode.birthSec = readSec(b, 53);
  inode.birthNsec = getU32(b, 59);
  inode.version = getU48(b, 63);
  inode.unlinkedAt = getU48(b, 69);
  inode.xattrBytes = getU32(b, 75);
  inode.parent = type === 'directory' ? asIno(getU48(b, COMMON_BYTES)) : NO_INO;
  inode.generation = isFile ? getU32(b, COMMON_BYTES + 8) : 0;
  inode.pending = isFile ? decodePending(b) : NO_PENDING;
  return inode;
}

/** The moment of an operation: its predetermined time and its op-number. */
export interface Moment {
  readonly op: number;
  readonly sec: number;
  readonly nsec: number;
}

export function newInode(number: Ino, type: FileType, mode: number, uid: number, gid: number, at: Moment): Inode {
  const inode = new Inode(number, type);
  inode.mode = mode;
  inode.nlink = type === 'directory' ? 2 : 1;
  inode.uid = uid;
  inode.gid = gid;
  inode.atimeSec = inode.mtimeSec = inode.ctimeSec = inode.birthSec = at.sec;
  inode.atimeNsec = inode.mtimeNsec = inode.ctimeNsec = inode.birthNsec = at.nsec;
  inode.version = at.op;
  return inode;
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
