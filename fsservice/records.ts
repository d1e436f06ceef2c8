/** The application's records by their meaning: one method a record, over the Table of bytes. */
import { assert, defined } from '../lib/assert.ts';
import { getU48, putU48 } from '../lib/bytes.ts';
import { ino as asIno, type Ino } from '../lib/ids.ts';
import type { Table } from '../lib/table.ts';
import { decodeCounters, encodeCounters, initialCounters, type Counters } from './counters.ts';
import { decodeInode, encodeInode, fileTypeCode, fileTypeOfCode, rootInode, type Inode } from './inode.ts';
import { COUNTERS_KEY, entryKey, inodeKey, targetKey } from './keys.ts';
import { ROOT_INO, type FileType } from './operations.ts';

export interface DirectoryEntryRecord {
  readonly ino: Ino;
  readonly type: FileType;
}

const ENTRY_BYTES = 7;

function encodeEntry(ino: Ino, type: FileType): Buffer {
  const b = Buffer.allocUnsafe(ENTRY_BYTES);
  putU48(b, ino, 0);
  b[6] = fileTypeCode(type);
  return b;
}

export function decodeEntry(b: Buffer): DirectoryEntryRecord {
  assert(b.length === ENTRY_BYTES, 'a directory entry record is whole');
  return { ino: asIno(getU48(b, 0)), type: defined(fileTypeOfCode(b.readUInt8(6)), 'the type of a directory entry') };
}

/**
 * Writes what an empty namespace consists of: the root directory and the counters. Does nothing where they are.
 * Execution does it by itself at its first operation, so that every replica has it at the same op.
 */
export function formatNamespace(table: Table): void {
  if (table.get(COUNTERS_KEY) !== undefined) return;
  table.put(COUNTERS_KEY, encodeCounters(initialCounters()));
  table.put(inodeKey(ROOT_INO), encodeInode(rootInode()));
}

export class Records {
  readonly table: Table;
  // The decoded form of exactly this buffer: buffers never change once the table has them, so identity is enough, also
  // across a state transfer that replaces the table's contents.
  #countersBytes: Buffer | undefined;
  #counters: Counters = initialCounters();

  constructor(table: Table) {
    this.table = table;
  }

  /** The present totals; undefined before the namespace was formatted. Only an executing operation may change them, and then puts them. */
  counters(): Counters | undefined {
    const bytes = this.table.get(COUNTERS_KEY);
    if (bytes === undefined) return undefined;
    if (bytes !== this.#countersBytes) {
      this.#counters = decodeCounters(bytes);
      this.#countersBytes = bytes;
    }
    return this.#counters;
  }

  putCounters(counters: Counters): void {
    const bytes = encodeCounters(counters);
    this.#counters = counters;
    this.#countersBytes = bytes;
    this.table.put(COUNTERS_KEY, bytes);
  }

  /** A fresh draft, the caller's own. */
  inode(ino: Ino): Inode | undefined {
    const bytes = this.table.get(inodeKey(ino));
    if (bytes !== undefined) return decodeInode(ino, bytes);
    return ino === ROOT_INO ? rootInode() : undefined;
  }

  putInode(inode: Inode): void {
    this.table.put(inodeKey(inode.ino), encodeInode(inode));
  }

  deleteInode(ino: Ino): void {
    this.table.delete(inodeKey(ino));
  }

  entry(dir: Ino, name: Buffer): DirectoryEntryRecord | undefined {
    const bytes = this.table.get(entryKey(dir, name));
    return bytes === undefined ? undefined : decodeEntry(bytes);
  }

  putEntry(dir: Ino, name: Buffer, ino: Ino, type: FileType): void {
    this.table.put(entryKey(dir, name), encodeEntry(ino, type));
  }

  deleteEntry(dir: Ino, name: Buffer): void {
    this.table.delete(entryKey(dir, name));
  }

  target(ino: Ino): Buffer {
    return defined(this.table.get(targetKey(ino)), 'the target of a symbolic link');
  }
}
