/**
 * What changed since a checkpoint: the newest value of each key, null where it was deleted. Keys are latin1 strings,
 * whose code units order as the bytes do.
 */
import { byCodeUnit, lowerBoundBy } from '../lib/sorted.ts';
import type { RecordValue } from '../lib/table.ts';

/** Bytes, or what they will be made of. */
export type Value = Buffer | RecordValue;

export function bytesOf(value: Value): Buffer {
  return value instanceof Uint8Array ? value : value.encode();
}

interface Cell {
  readonly id: string;
  value: Value | null;
  bytes: number;
}

export class Overlay {
  readonly #cells = new Map<string, Cell>();
  readonly #sorted = new SortedCells();
  #bytes = 0;

  get size(): number {
    return this.#cells.size;
  }
  /** Bytes of keys and values. */
  get bytes(): number {
    return this.#bytes;
  }
  /** undefined: unchanged; null: deleted. */
  get(id: string): Value | null | undefined {
    return this.#cells.get(id)?.value;
  }
  /** Returns whether the key is new here. */
  set(id: string, value: Value | null): boolean {
    const bytes = value === null ? 0 : value.byteLength;
    const cell = this.#cells.get(id);
    if (cell !== undefined) {
      this.#bytes += bytes - cell.bytes;
      cell.value = value;
      cell.bytes = bytes;
      return false;
    }
    const added = { id, value, bytes };
    this.#cells.set(id, added);
    this.#bytes += id.length + bytes;
    this.#sorted.add(added);
    return true;
  }
  /** Keys from `start` on, in order. Invalid once a key was added. */
  cursor(start: string): SortedCursor {
    return this.#sorted.cursor(start);
  }
}

const CHUNK = 512;
const PENDING = 1024;

/**
 * Cells in the order of their keys, as sorted chunks. Additions gather in a list that is sorted in when someone looks or when
 * it grows long: who only writes pays for one sort of a thousand keys now and then, and nobody ever for one of all.
 */
class SortedCells {
  readonly #chunks: Cell[][] = [];
  #pending: Cell[] = [];

  add(cell: Cell): void {
    this.#pending.push(cell);
    if (this.#pending.length >= PENDING) this.#flush();
  }

  cursor(start: string): SortedCursor {
    this.#flush();
    const c = this.#chunkOf(start);
    const chunk = this.#chunks[c];
    return new SortedCursor(this.#chunks, c, chunk === undefined ? 0 : lowerBoundBy(chunk, start, idOf));
  }

  #flush(): void {
    if (this.#pending.length === 0) return;
    const pending = this.#pending.sort((a, b) => byCodeUnit(a.id, b.id));
    this.#pending = [];
    for (const cell of pending) this.#insert(cell);
  }

  #insert(cell: Cell): void {
    if (this.#chunks.length === 0) this.#chunks.push([]);
    const c = this.#chunkOf(cell.id);
    const chunk = this.#chunks[c] as Cell[];
    if (chunk.length === 0 || cell.id > (chunk[chunk.length - 1] as Cell).id) {
      // Rising keys (new inodes, new blocks) fill their chunks instead of leaving halves.
      if (chunk.length < CHUNK) chunk.push(cell);
      else this.#chunks.splice(c + 1, 0, [cell]);
      return;
    }
    chunk.splice(lowerBoundBy(chunk, cell.id, idOf), 0, cell);
    if (chunk.length > CHUNK) this.#chunks.splice(c + 1, 0, chunk.splice(CHUNK >> 1));
  }

  /** The last chunk whose first key is not above `id`, or the first. */
  #chunkOf(id: string): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (((this.#chunks[middle] as Cell[])[0] as Cell).id <= id) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

const idOf = (cell: Cell): string => cell.id;

export class SortedCursor {
  readonly #chunks: readonly (readonly Cell[])[];
  #chunk: number;
  #at: number;
  #value: Value | null = null;

  constructor(chunks: readonly (readonly Cell[])[], chunk: number, at: number) {
    this.#chunks = chunks;
    this.#chunk = chunk;
    this.#at = at;
  }

  /** The next key. */
  next(): string | undefined {
    for (;;) {
      const chunk = this.#chunks[this.#chunk];
      if (chunk === undefined) return undefined;
      const cell = chunk[this.#at];
      if (cell !== undefined) {
        this.#at++;
        this.#value = cell.value;
        return cell.id;
      }
      this.#chunk++;
      this.#at = 0;
    }
  }

  /** Of the key that `next` has given last; null: it was deleted. */
  get value(): Value | null {
    return this.#value;
  }
}
