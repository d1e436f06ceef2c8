/**
 * The contents of files: blocks of 64 KiB, absent where the file has a hole. The interface is the seam at which the
 * contents of large files may go elsewhere later, with only references in the log.
 *
 * Record: generation 32 | bytes up to the last one written. What lies behind them in the block is zeros. A block whose
 * generation is below that of a pending truncation in front of it no longer counts; collect frees it.
 */
import { EMPTY } from '../lib/bytes.ts';
import type { Ino } from '../lib/ids.ts';
import type { Table } from '../lib/table.ts';
import type { Inode, PendingTruncation } from './inode.ts';
import { blockKey, blockKeyEnd, indexOfBlockKey } from './keys.ts';
import { BLOCK_SIZE } from './operations.ts';

export interface StoredBlock {
  /** Live bytes from the block's start; shorter than the block where zeros follow. Not to be changed. */
  readonly content: Buffer;
  /** What it takes, in units of 512 bytes; more than 0 also for one that was cut off and waits to be freed. */
  readonly units: number;
}

export interface Sweep {
  readonly removed: number;
  readonly units: number;
  /** Where to go on; null: nothing is left. */
  readonly next: number | null;
}

export interface BlockStore {
  read(inode: Inode, index: number): StoredBlock;
  /** Lays `data` at `offset` of the block over what `old` (as read before) has. */
  write(inode: Inode, index: number, old: StoredBlock, offset: number, data: Buffer): void;
  /** Keeps the first `length` bytes of `old`. */
  shorten(inode: Inode, index: number, old: StoredBlock, length: number): void;
  remove(inode: Inode, index: number): void;
  /** Looks at up to `limit` blocks from `from` on, and removes those that `pending` cut off; null: all. */
  sweep(ino: Ino, from: number, pending: readonly PendingTruncation[] | null, limit: number): Sweep;
}

export const UNIT = 512;
const HEADER = 4;
const HOLE: StoredBlock = Object.freeze({ content: EMPTY, units: 0 });

export function unitsOf(length: number): number {
  return Math.ceil(length / UNIT);
}

export function blocksOf(size: number): number {
  return Math.ceil(size / BLOCK_SIZE);
}

function isCutOff(index: number, generation: number, pending: readonly PendingTruncation[]): boolean {
  for (const p of pending) {
    if (index >= p.from && generation < p.generation) return true;
  }
  return false;
}

/** Blocks in the same table as everything else, written through the log. */
export class TableBlocks implements BlockStore {
  readonly #table: Table;

  constructor(table: Table) {
    this.#table = table;
  }

  read(inode: Inode, index: number): StoredBlock {
    if (inode.blocks === 0) return HOLE;
    // Live blocks end with the file: appending need not look.
    if (inode.pending.length === 0 && index * BLOCK_SIZE >= inode.size) return HOLE;
    const value = this.#table.get(blockKey(inode.ino, index));
    if (value === undefined) return HOLE;
    const units = unitsOf(value.length - HEADER);
    if (inode.pending.length > 0 && isCutOff(index, value.readUInt32BE(0), inode.pending)) return { content: EMPTY, units };
    return { content: value.subarray(HEADER), units };
  }

  write(inode: Inode, index: number, old: StoredBlock, offset: number, data: Buffer): void {
    const { content } = old;
    const end = offset + data.length;
    const length = Math.max(content.length, end);
    const value = Buffer.allocUnsafe(HEADER + length);
    value.writeUInt32BE(inode.generation, 0);
    if (offset > 0) {
      const kept = Math.min(content.length, offset);
      content.copy(value, HEADER, 0, kept);
      if (kept < offset) value.fill(0, HEADER + kept, HEADER + offset);
    }
    value.set(data, HEADER + offset);
    if (content.length > end) content.copy(value, HEADER + end, end);
    this.#table.put(blockKey(inode.ino, index), value);
  }

  shorten(inode: Inode, index: number, old: StoredBlock, length: number): void {
    const value = Buffer.allocUnsafe(HEADER + length);
    value.writeUInt32BE(inode.generation, 0);
    old.content.copy(value, HEADER, 0, length);
    this.#table.put(blockKey(inode.ino, index), value);
  }

  remove(inode: Inode, index: number): void {
    this.#table.delete(blockKey(inode.ino, index));
  }

  sweep(ino: Ino, from: number, pending: readonly PendingTruncation[] | null, limit: number): Sweep {
    const found = this.#table.range(blockKey(ino, from), blockKeyEnd(ino), limit);
    let removed = 0;
    let units = 0;
    let next = from;
    for (const [key, value] of found) {
      const index = indexOfBlockKey(key);
      next = index + 1;
      if (pending !== null && !isCutOff(index, value.readUInt32BE(0), pending)) continue;
      removed++;
      units += unitsOf(value.length - HEADER);
      this.#table.delete(key);
    }
    return { removed, units, next: found.length < limit ? null : next };
  }
}
