/**
 * Entries of a log that have been executed, in one piece of memory. What a log keeps for others is hardly ever asked for,
 * and as objects (an entry, its bytes, its hash) the last 20,000 would be copied by V8's collections again and again, and wait
 * for the long ones when they go.
 */
import { assert } from '../lib/assert.ts';
import { Reader } from '../lib/bytes.ts';
import { digest, opNumber, type Digest, type OpNumber } from '../lib/ids.ts';
import { decodeEntry, type Entry } from './entry.ts';

const HASH_BYTES = 32;

export class PackedEntries {
  readonly first: OpNumber;
  #count: number;
  /** The hashes, then the encoded entries. */
  readonly #memory: Buffer;
  /** Where each entry ends. */
  readonly #ends: Uint32Array;

  /** Without gaps, at least one. */
  constructor(entries: readonly Entry[]) {
    const [first] = entries;
    assert(first !== undefined, 'at least one entry');
    this.first = first.op;
    this.#count = entries.length;
    const hashes = entries.length * HASH_BYTES;
    this.#memory = Buffer.allocUnsafeSlow(entries.reduce((size, e) => size + e.bytes.length, hashes));
    this.#ends = new Uint32Array(entries.length);
    let end = hashes;
    for (const [i, { bytes, hash }] of entries.entries()) {
      this.#memory.latin1Write(hash, i * HASH_BYTES, HASH_BYTES);
      this.#memory.set(bytes, end);
      end += bytes.length;
      this.#ends[i] = end;
    }
  }

  get last(): OpNumber {
    return opNumber(this.first + this.#count - 1);
  }

  /** Drops everything behind `op`, which is not before the first. */
  truncate(op: OpNumber): void {
    this.#count = op - this.first + 1;
  }

  /** Bytes of the entries behind `after` up to `to`; both may lie outside. */
  bytesOf(after: number, to: number): number {
    const from = Math.max(after + 1, this.first) - this.first;
    const end = Math.min(to, this.last) - this.first;
    return end < from ? 0 : this.#end(end) - this.#end(from - 1);
  }

  hashAt(op: number): Digest {
    const at = (op - this.first) * HASH_BYTES;
    return digest(this.#memory.latin1Slice(at, at + HASH_BYTES));
  }

  /** A new object each time; `parent`: the hash before it. */
  at(op: number, parent: Digest): Entry {
    const i = op - this.first;
    return decodeEntry(new Reader(this.#memory.subarray(this.#end(i - 1), this.#end(i))), parent, this.hashAt(op));
  }

  #end(i: number): number {
    return i < 0 ? this.#ends.length * HASH_BYTES : this.#ends[i] as number;
  }
}
