/** The application's records by their meaning: one method a record, over the Table of bytes. */
import { assert, defined } from '../lib/assert.ts';
import { getU48, putU48 } from '../lib/bytes.ts';
import { ino as asIno, type Ino } from '../lib/ids.ts';
import type { RecordValue, Table } from '../lib/table.ts';
import { Counters, decodeCounters } from './counters.ts';
import { decodeInode, fileTypeCode, fileTypeOfCode, rootInode, type Inode } from './inode.ts';
import { COUNTERS_ID, entryId, entryKey, inodeId, inodeKey, targetKey } from './keys.ts';
import { ROOT_INO, type FileType } from './operations.ts';

const ENTRY_BYTES = 7;

export class DirectoryEntryRecord implements RecordValue {
  readonly ino: Ino;
  readonly type: FileType;

  constructor(number: Ino, type: FileType) {
    this.ino = number;
    this.type = type;
  }

  get byteLength(): number {
    return ENTRY_BYTES;
  }

  encode(): Buffer {
    const b = Buffer.allocUnsafe(ENTRY_BYTES);
    putU48(b, this.ino, 0);
    b[6] = fileTypeCode(this.type);
    return b;
  }
}

export function decodeEntry(b: Buffer): DirectoryEntryRecord {
  assert(b.length === ENTRY_BYTES, 'a directory entry record is whole');
  return new DirectoryEntryRecord(asIno(getU48(b, 0)), defined(fileTypeOfCode(b.readUInt8(6)), 'the type of a directory entry'));
}

/**
 * Writes what an empty namespace consists of: the root directory and the counters. Does nothing where they are.
 * Execution does it by itself at its first operation, so that every replica has it at the same op.
 */
export function formatNamespace(table: Table): void {
  if (table.find(COUNTERS_ID, decodeCounters) !== undefined) return;
  table.store(COUNTERS_ID, new Counters());
  table.store(inodeId(ROOT_INO), rootInode());
}

export class Records {
  readonly table: Table;
  #wanted: Ino = ROOT_INO;
  /** Of the inode that is being looked for: one function for all of them. */
  readonly #decode = (bytes: Buffer): Inode => decodeInode(this.#wanted, bytes);

  constructor(table: Table) {
    this.table = table;
  }

  /** The present totals, for reading; undefined before the namespace was formatted. */
  counters(): Readonly<Counters> | undefined {
    return this.table.find(COUNTERS_ID, decodeCounters);
  }

  putCounters(counters: Counters): void {
    this.table.store(COUNTERS_ID, counters);
  }

  /** For reading: it is the table's. */
  present(ino: Ino): Readonly<Inode> | undefined {
    this.#wanted = ino;
    return this.table.find(inodeId(ino), this.#decode) ?? (ino === ROOT_INO ? rootInode() : undefined);
  }

  /** A fresh draft, the caller's own until it is put. */
  inode(ino: Ino): Inode | undefined {
    return this.present(ino)?.draft();
  }

  /** The draft is the table's from here on. */
  putInode(inode: Inode): void {
    this.table.store(inodeId(inode.ino), inode);
  }

  deleteInode(ino: Ino): void {
    this.table.delete(inodeKey(ino));
  }

  entry(dir: Ino, name: Buffer): DirectoryEntryRecord | undefined {
    return this.table.find(entryId(dir, name), decodeEntry);
  }

  putEntry(dir: Ino, name: Buffer, ino: Ino, type: FileType): void {
    this.table.store(entryId(dir, name), new DirectoryEntryRecord(ino, type));
  }

  deleteEntry(dir: Ino, name: Buffer): void {
    this.table.delete(entryKey(dir, name));
  }

  target(ino: Ino): Buffer {
    return defined(this.table.get(targetKey(ino)), 'the target of a symbolic link');
  }
}
