/**
 * Records as the database has them, used only when the Merkle tree says the same. The tree knows which keys there are,
 * so a record that the database has lost is not taken for one that never was, and an absent one costs no read of the
 * database at all; a value has to hash to what its page says, so an older one that shows up again is found too.
 */
import { recordHash } from './hashes.ts';
import { hasPrefix } from './key_bits.ts';
import type { StoreReader } from './key_value_store.ts';
import type { NodeSource, Top } from './merkle_tree.ts';
import { hashOfRecord } from './page.ts';
import { StoreDamageError } from './store_damage.ts';
import { recordKeyOf } from './store_keys.ts';
import { locatePage, type LocatedPage } from './tree_walk.ts';

export class VerifiedReads {
  readonly #store: StoreReader;
  readonly #source: NodeSource;
  // Neighbours are read one after the other: the page of the last read, and the tree that it is of.
  #page: LocatedPage | null = null;
  #top: Top = null;

  constructor(store: StoreReader, source: NodeSource) {
    this.#store = store;
    this.#source = source;
  }

  /** Throws StoreDamageError when database and tree differ. */
  get(top: Top, key: Buffer): Buffer | undefined {
    const page = this.#locate(top, key);
    if (page === null) return undefined;
    const hash = hashOfRecord(this.#source(page.id, page.hash), key);
    if (hash === undefined) return undefined;
    const value = this.#store.getSync(recordKeyOf(key));
    return checkedRecord(key, hash, value);
  }

  #locate(top: Top, key: Buffer): LocatedPage | null {
    const last = this.#page;
    if (last !== null && this.#top === top && hasPrefix(key, last.prefix, last.bits)) return last;
    this.#page = locatePage(this.#source, top, key);
    this.#top = top;
    return this.#page;
  }
}

/** Whether a value is the record that a page says. `hash`: 32 code units, as a page has it. */
export function isRecord(key: Buffer, hash: string, value: Buffer | undefined): value is Buffer {
  return value !== undefined && recordHash(key, value) === hash;
}

/** The value, if it is that; throws StoreDamageError when it is not. */
export function checkedRecord(key: Buffer, hash: string, value: Buffer | undefined): Buffer {
  if (value === undefined) throw new StoreDamageError('record', `the record with the key ${key.toString('hex')} is missing`);
  if (recordHash(key, value) !== hash) throw new StoreDamageError('record', `the record with the key ${key.toString('hex')} is not what was written`);
  return value;
}
