/**
 * What changed since a checkpoint: the newest value of each key, null where it was deleted. Keys are latin1 strings,
 * whose code units order as the bytes do.
 */
import { lowerBound } from '../lib/sorted.ts';
import type { RecordValue } from '../lib/table.ts';

/** Bytes, or what they will be made of. */
export type Value = Buffer | RecordValue;

export function bytesOf(value: Value): Buffer {
  return value instanceof Uint8Array ? value : value.encode();
}

interface Cell {
  value: Value | null;
  bytes: number;
}

export class Overlay {
  readonly #cells = new Map<string, Cell>();
  readonly #keys = new SortedKeys();
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
    this.#cells.set(id, { value, bytes });
    this.#bytes += id.length + bytes;
    this.#keys.add(id);
    return true;
  }
  /** Keys from `start` on, in order. Invalid once a key was added. */
  cursor(start: string): SortedCursor {
    return this.#keys.cursor(start);
  }
}

const CHUNK = 512;
const PENDING = 1024;

/**
 * A set of strings in order, as sorted chunks. Additions gather in a list that is sorted in when someone looks or when
 * it grows long: who only writes pays for one sort of a thousand keys now and then, and nobody ever for one of all.
 */
class SortedKeys {
  readonly #chunks: string[][] = [];
  #pending: string[] = [];

  add(id: string): void {
    this.#pending.push(id);
    if (this.#pending.length >= PENDING) this.#flush();
  }

  cursor(start: string): SortedCursor {
    this.#flush();
    const c = this.#chunkOf(start);
    const chunk = this.#chunks[c];
    return new SortedCursor(this.#chunks, c, chunk === undefined ? 0 : lowerBound(chunk, start));
  }

  #flush(): void {
    if (this.#pending.length === 0) return;
    const pending = this.#pending.sort();
    this.#pending = [];
    for (const id of pending) this.#insert(id);
  }

  #insert(id: string): void {
    if (this.#chunks.length === 0) this.#chunks.push([]);
    const c = this.#chunkOf(id);
    const chunk = this.#chunks[c] as string[];
    if (chunk.length === 0 || id > (chunk[chunk.length - 1] as string)) {
      // Rising keys (new inodes, new blocks) fill their chunks instead of leaving halves.
      if (chunk.length < CHUNK) chunk.push(id);
      else this.#chunks.splice(c + 1, 0, [id]);
      return;
    }
    chunk.splice(lowerBound(chunk, id), 0, id);
    if (chunk.length > CHUNK) this.#chunks.splice(c + 1, 0, chunk.splice(CHUNK >> 1));
  }

  /** The last chunk whose first key is not above `id`, or the first. */
  #chunkOf(id: string): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (((this.#chunks[middle] as string[])[0] as string) <= id) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

export class SortedCursor {
  readonly #chunks: readonly string[][];
  #chunk: number;
  #at: number;

  constructor(chunks: readonly string[][], chunk: number, at: number) {
    this.#chunks = chunks;
    this.#chunk = chunk;
    this.#at = at;
  }

  next(): string | undefined {
    for (;;) {
      const chunk = this.#chunks[this.#chunk];
      if (chunk === undefined) return undefined;
      if (this.#at < chunk.length) return chunk[this.#at++];
      this.#chunk++;
      this.#at = 0;
    }
  }
}
