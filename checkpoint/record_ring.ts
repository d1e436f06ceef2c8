/**
 * A bounded cache of small records as bytes, outside of the garbage collector's heap: what was read or written last, in the
 * order in which it came, in one ring of bytes. Millions of records cost the collector nothing, and a record takes little more than its
 * bytes. The oldest go as new ones come; what is asked for often is the caller's to keep elsewhere.
 *
 * The index is a table of buckets: a key may be in any place of its bucket, and takes that of the oldest one there. So it can lose a
 * record that the ring still has, and never gives a wrong one: the bytes of the key are compared.
 *
 *   entry   uses 8 | 0 8 | length of the key 16 | length of the value 32 | key | value
 */
import { randomBytes } from 'node:crypto';
import { getU16, getU32, putU16, putU32 } from '../lib/bytes.ts';

/** Values up to this length, in bytes; a few blocks of files would take the place of thousands of names. */
export const MAX_RING_VALUE = 4096;

/** Places of a bucket. */
const WAYS = 8;
/** Of the index: a hash and a position. */
const PLACE_BYTES = 12;
/** Of an entry with its place in the index, about; what an index of so many places is made for. */
const USUAL_BYTES = 64;
const HEADER = 8;
/** No record takes more than this part of the ring. */
const LARGEST_PART = 16;
/** Below what node gives one buffer. */
const MAX_BYTES = 2 ** 31;
const NOWHERE = -1;

export class RecordRing {
  readonly #ring: Buffer;
  readonly #hashes: Uint32Array;
  /** One more than where the entry began, counted in all bytes ever written; 0: nowhere. */
  readonly #positions: Float64Array;
  readonly #bucketMask: number;
  /** Keys come from clients, who are not to know which of them meet in a bucket. */
  readonly #seed = randomBytes(4).readUInt32BE(0);
  /** Bytes ever written, those that were left free at the end of the ring included. */
  #head = 0;
  /** What was written before is gone. */
  #floor = 0;
  #often = false;

  /** `limit` in bytes, the index included; more than 2 GiB are not used. The index, a tenth or so, is there at once, the rest as it is filled. */
  constructor(limit: number) {
    const bytes = Math.min(Math.floor(limit), MAX_BYTES);
    const buckets = 2 ** Math.max(0, Math.floor(Math.log2(bytes / (USUAL_BYTES * WAYS))));
    const places = buckets * WAYS;
    this.#bucketMask = buckets - 1;
    // Written to, so that they are in memory from the start: else for a while nearly every record costs a page fault or two.
    this.#hashes = new Uint32Array(places).fill(0);
    this.#positions = new Float64Array(places).fill(0);
    this.#ring = Buffer.allocUnsafeSlow(Math.max(0, bytes - places * PLACE_BYTES));
  }

  /** Of records in it, the index included. */
  get bytes(): number {
    return Math.min(this.#head - this.#floor, this.#ring.length) + this.#hashes.length * PLACE_BYTES;
  }

  /** A view of the value, until the next `set`. `id`: the key as a latin1 string. */
  get(id: string): Buffer | undefined {
    const at = this.#find(id);
    if (at === NOWHERE) return undefined;
    const uses = ((this.#ring[at] as number) + 1) % OFTEN;
    this.#ring[at] = uses;
    this.#often = uses === 0;
    const start = at + HEADER + id.length;
    return this.#ring.subarray(start, start + getU32(this.#ring, at + 4));
  }

  /** Of the record that `get` has given last: true at each sixteenth use. */
  get isUsedOften(): boolean {
    return this.#often;
  }

  /** Copies the record; one that is too large is not kept. Either way the one before is gone. */
  set(key: Buffer, value: Buffer): void {
    const length = HEADER + key.length + value.length;
    const hash = this.#hashOfBytes(key);
    const place = this.#placeFor(hash);
    if (value.length > MAX_RING_VALUE || length > this.#ring.length / LARGEST_PART) {
      if (this.#hashes[place] === hash) this.#positions[place] = 0;
      return;
    }
    let at = this.#head % this.#ring.length;
    if (at + length > this.#ring.length) {
      this.#head += this.#ring.length - at;
      at = 0;
    }
    const ring = this.#ring;
    ring[at] = 0;
    ring[at + 1] = 0;
    putU16(ring, key.length, at + 2);
    putU32(ring, value.length, at + 4);
    ring.set(key, at + HEADER);
    ring.set(value, at + HEADER + key.length);
    this.#hashes[place] = hash;
    this.#positions[place] = this.#head + 1;
    this.#head += length;
  }

  delete(key: Buffer): void {
    const hash = this.#hashOfBytes(key);
    const place = this.#placeFor(hash);
    if (this.#hashes[place] === hash) this.#positions[place] = 0;
  }

  clear(): void {
    this.#floor = this.#head;
  }

  /** Where the entry is in the ring. */
  #find(id: string): number {
    const hash = this.#hashOf(id);
    const oldest = Math.max(this.#head - this.#ring.length, this.#floor);
    const first = (hash & this.#bucketMask) * WAYS;
    for (let place = first; place < first + WAYS; place++) {
      if (this.#hashes[place] !== hash) continue;
      const position = (this.#positions[place] as number) - 1;
      if (position < oldest) continue;
      const at = position % this.#ring.length;
      if (this.#hasKey(at, id)) return at;
    }
    return NOWHERE;
  }

  #hasKey(at: number, id: string): boolean {
    const ring = this.#ring;
    if (getU16(ring, at + 2) !== id.length) return false;
    for (let i = 0; i < id.length; i++) if (ring[at + HEADER + i] !== id.charCodeAt(i)) return false;
    return true;
  }

  /** Of a hash: its own place, or else the one of the oldest. Two keys of one hash take it from one another. */
  #placeFor(hash: number): number {
    const first = (hash & this.#bucketMask) * WAYS;
    let oldest = first;
    for (let place = first; place < first + WAYS; place++) {
      if (this.#hashes[place] === hash) return place;
      if ((this.#positions[place] as number) < (this.#positions[oldest] as number)) oldest = place;
    }
    return oldest;
  }

  #hashOf(id: string): number {
    let hash = this.#seed;
    for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), FNV_PRIME);
    return mixed(hash);
  }

  #hashOfBytes(key: Buffer): number {
    let hash = this.#seed;
    for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ (key[i] as number), FNV_PRIME);
    return mixed(hash);
  }
}

const OFTEN = 16;
const FNV_PRIME = 0x01000193;

/** FNV leaves the upper bytes of a key in the upper bits; the bucket is taken from the lower. */
function mixed(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
