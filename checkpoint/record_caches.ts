/**
 * Records of the present tree in memory: small ones as bytes in a ring, those of them that are used often as they were decoded, large ones.
 * What changed since the last durable checkpoint is in an overlay, which is asked first. `changed` takes a record out of the last
 * two; the ring gets the new one by `written`.
 */
import { ByteCache } from './byte_cache.ts';
import type { Value } from './overlay.ts';
import { MAX_RING_VALUE, RecordRing } from './record_ring.ts';

export class RecordCaches {
  readonly #small: RecordRing;
  readonly #often: ByteCache<Value>;
  readonly #large: ByteCache;

  /** `limit` in bytes, for all of them. */
  constructor(limit: number) {
    const part = limit / 12;
    this.#small = new RecordRing(part * 8);
    this.#often = new ByteCache(part);
    this.#large = new ByteCache(part * 3);
  }

  get bytes(): number {
    return this.#small.bytes + this.#often.bytes + this.#large.bytes;
  }

  /** As it is in memory, or else made of the bytes by `decode`, which may not keep any of them; null: bytes that the caller may keep. */
  get(id: string, decode: ((bytes: Buffer) => Value) | null): Value | undefined {
    const often = this.#often.get(id);
    if (often !== undefined) return often;
    const small = this.#small.get(id);
    if (small === undefined) return this.#large.get(id);
    const value = decode === null ? Buffer.from(small) : decode(small);
    if (this.#small.isUsedOften) this.#often.set(id, value);
    return value;
  }

  /** What the database has of a record that is not here. */
  add(key: Buffer, id: string, value: Buffer): void {
    if (value.length > MAX_RING_VALUE) this.#large.set(id, value);
    else this.#small.set(key, value);
  }

  /** The record differs from the tree's from now on. */
  changed(id: string): void {
    if (this.#often.size > 0) this.#often.delete(id);
    if (this.#large.size > 0) this.#large.delete(id);
  }

  /** The tree has this value now; null: it has no such record. */
  written(key: Buffer, value: Buffer | null): void {
    if (value === null) this.#small.delete(key);
    else this.#small.set(key, value);
  }

  clear(): void {
    this.#small.clear();
    this.#often.clear();
    this.#large.clear();
  }
}
