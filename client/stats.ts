/** Attributes and directory entries in the shape of Node's fs.Stats and fs.Dirent. */
import { BLOCK_SIZE, type Attributes, type FileType, type Timestamp } from '../fsservice/operations.ts';
import type { Ino } from '../lib/ids.ts';

/** The type bits of st_mode. */
const TYPE_BITS: Readonly<Record<FileType, number>> = {
  file: 0o100000, directory: 0o040000, symlink: 0o120000, fifo: 0o010000, socket: 0o140000, block: 0o060000, character: 0o020000,
};

abstract class Typed {
  abstract readonly type: FileType;
  isFile(): boolean {
    return this.type === 'file';
  }
  isDirectory(): boolean {
    return this.type === 'directory';
  }
  isSymbolicLink(): boolean {
    return this.type === 'symlink';
  }
  isFIFO(): boolean {
    return this.type === 'fifo';
  }
  isSocket(): boolean {
    return this.type === 'socket';
  }
  isBlockDevice(): boolean {
    return this.type === 'block';
  }
  isCharacterDevice(): boolean {
    return this.type === 'character';
  }
}

export class Stats extends Typed {
  readonly attributes: Attributes;

  constructor(attributes: Attributes) {
    super();
    this.attributes = attributes;
  }

  get type(): FileType {
    return this.attributes.type;
  }
  get ino(): Ino {
    return this.attributes.ino;
  }
  /** With the type bits, as st_mode. */
  get mode(): number {
    return TYPE_BITS[this.type] | this.attributes.mode;
  }
  get nlink(): number {
    return this.attributes.nlink;
  }
  get uid(): number {
    return this.attributes.uid;
  }
  get gid(): number {
    return this.attributes.gid;
  }
  get rdev(): number {
    return this.attributes.rdev;
  }
  /** Bytes. */
  get size(): number {
    return this.attributes.size;
  }
  get blksize(): number {
    return BLOCK_SIZE;
  }
  /** Of 512 bytes. */
  get blocks(): number {
    return this.attributes.blocks;
  }
  /** The op-number of the last change: for `ifVersion` of writeFile. */
  get version(): number {
    return this.attributes.version;
  }
  get atimeMs(): number {
    return milliseconds(this.attributes.atime);
  }
  get mtimeMs(): number {
    return milliseconds(this.attributes.mtime);
  }
  get ctimeMs(): number {
    return milliseconds(this.attributes.ctime);
  }
  get birthtimeMs(): number {
    return milliseconds(this.attributes.birthtime);
  }
  get atime(): Date {
    return new Date(this.atimeMs);
  }
  get mtime(): Date {
    return new Date(this.mtimeMs);
  }
  get ctime(): Date {
    return new Date(this.ctimeMs);
  }
  get birthtime(): Date {
    return new Date(this.birthtimeMs);
  }
}

export class Dirent extends Typed {
  /** As UTF-8; `nameBytes` is exact. */
  readonly name: string;
  readonly nameBytes: Buffer;
  readonly ino: Ino;
  readonly type: FileType;
  /** When the listing asked for attributes. */
  readonly stats: Stats | undefined;

  constructor(name: Buffer, ino: Ino, type: FileType, attributes: Attributes | undefined) {
    super();
    this.nameBytes = name;
    this.name = name.toString('utf8');
    this.ino = ino;
    this.type = type;
    this.stats = attributes === undefined ? undefined : new Stats(attributes);
  }
}

function milliseconds(t: Timestamp): number {
  return t.sec * 1000 + t.nsec / 1e6;
}

/** A Date, seconds since 1970 (fractions allowed, as in Node) or 'now', as the operation has it. @throws RangeError */
export function timestamp(time: Date | number | 'now'): Timestamp | 'now' {
  if (time === 'now') return 'now';
  const ms = typeof time === 'number' ? time * 1000 : time.getTime();
  if (!Number.isFinite(ms)) throw new RangeError('a time is a Date, seconds since 1970, or "now"');
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: Math.min(999_999_999, Math.round((ms - sec * 1000) * 1e6)) };
}
