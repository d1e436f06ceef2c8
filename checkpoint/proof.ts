/**
 * Proofs that a checkpoint holds a record, or holds none with that key, and their verification. Pure, and needs nothing of a
 * store: it is what a client runs against a root that it trusts. docs/PROOFS.md says it all again, for other programs.
 *
 * The way goes down from the root. Each inner node on it is proved by its head, which says which ranges its children have, and by
 * merkletreejs' proof of the slot in which the key falls; the page at its end by the keys and record hashes of all its records.
 * Where the way ends before a page (an empty slot, or a child whose longer prefix is not the key's), there is no such key.
 */
import { DecodeError, Reader } from '../lib/bytes.ts';
import { sha256Bytes } from '../lib/hash.ts';
import type { Digest, OpNumber } from '../lib/ids.ts';
import { HASH_BYTES, INNER, PAGE, SLOTS_DEPTH, innerHashOf, recordHash, rootHash, rootOfSlotsProof } from './hashes.ts';
import { INNER_SHAPE } from './inner_node.ts';
import { KEY_NIBBLES, MAX_KEY_BYTES, keyNibble, matchingNibbles } from './key_bits.ts';
import { PAGE_RECORDS } from './page.ts';

/** What a root is the hash of. `top` null: the checkpoint has no records. */
export interface ProvenCheckpoint {
  readonly op: OpNumber;
  readonly records: number;
  readonly extra: Buffer;
  readonly top: Buffer | null;
}

export interface ProofStep {
  /** The hashed head of the inner node (inner_node.ts). */
  readonly head: Buffer;
  /** Four hashes, when the way goes on in a slot; one, the root over the slots, when it ends here. */
  readonly beside: readonly Buffer[];
}

export interface KeyProof {
  readonly key: Buffer;
  /** Null: there is no such record. */
  readonly value: Buffer | null;
  readonly steps: readonly ProofStep[];
  /** The hashed part of the page (page.ts); null: the way ends before one. */
  readonly page: Buffer | null;
}

/** Why a proof is refused; null: it proves what it says. */
export type Refusal = string | null;

export function verifyRoot(checkpoint: ProvenCheckpoint, root: Digest): Refusal {
  const { op, records, extra, top } = checkpoint;
  return rootHash(op, records, extra, top) === root ? null : 'checkpoint and top do not hash to the root';
}

/** Against the top of a checkpoint whose root has been verified. */
export function verifyKey(top: Buffer | null, proof: KeyProof): Refusal {
  const { key, value, steps, page } = proof;
  if (key.length > MAX_KEY_BYTES) return `a key of ${key.length} bytes`;
  if (steps.length > KEY_NIBBLES) return `${steps.length} inner nodes on one way`;
  if (top === null) return steps.length === 0 && page === null && value === null ? null : 'there are no records, and the proof shows some';
  try {
    const slots = slotsOnTheWay(proof);
    const wrong = page === null ? null : verifyPage(page, key, value);
    if (wrong !== null) return wrong;
    return hashOfWay(proof, slots).equals(top) ? null : 'the proof does not hash to the top of the tree';
  } catch (error) {
    if (error instanceof DecodeError) return error.message;
    throw error;
  }
}

/** The slot in which the key falls at each step; null: the way ends there. Throws DecodeError where the steps do not follow from each other. */
function slotsOnTheWay({ key, value, steps, page }: KeyProof): (number | null)[] {
  let place: Below | null = null;
  const slots: (number | null)[] = [];
  for (const [i, { head, beside }] of steps.entries()) {
    const reader = new HeadReader(head, key);
    if (place?.kind === 'page') throw new DecodeError('an inner node where a page is due');
    if (place?.kind === 'inner' && (place.nibbles !== reader.nibbles || !place.prefix.equals(reader.prefix))) throw new DecodeError('an inner node at another place than the one above says');
    place = reader.below();
    const ends = place.kind === 'nothing';
    if (ends !== (page === null && i === steps.length - 1)) throw new DecodeError(ends ? 'the proof goes on where there is nothing' : 'the proof ends where there is something');
    if (beside.length !== (ends ? 1 : SLOTS_DEPTH)) throw new DecodeError(`${beside.length} hashes beside an inner node`);
    slots.push(place.kind === 'nothing' ? null : place.slot);
  }
  if (page === null && (steps.length === 0 || value !== null)) throw new DecodeError('the proof shows no page');
  if (page !== null && place?.kind === 'inner') throw new DecodeError('a page where an inner node is due');
  return slots;
}

/** What the page and the steps, from the last up to the first, hash to. */
function hashOfWay({ steps, page }: KeyProof, slots: readonly (number | null)[]): Buffer {
  let hash = page === null ? null : sha256Bytes(page);
  for (let i = steps.length - 1; i >= 0; i--) {
    const { head, beside } = steps[i] as ProofStep;
    const slot = slots[i] as number | null;
    hash = innerHashOf(head, hash === null || slot === null ? (beside[0] as Buffer) : rootOfSlotsProof(hash, slot, beside));
  }
  return hash as Buffer;
}

/** A page lists all the keys of its range. */
function verifyPage(page: Buffer, key: Buffer, value: Buffer | null): Refusal {
  const r = new Reader(page);
  if (r.u8() !== PAGE) return 'this is no page';
  const count = r.u16();
  if (count === 0 || count > PAGE_RECORDS) return `a page of ${count} records`;
  let found: string | null = null;
  for (let i = 0; i < count; i++) {
    const listed = r.bytes16();
    const hash = r.latin1(HASH_BYTES);
    if (listed.equals(key)) found = hash;
  }
  r.done();
  if (value === null) return found === null ? null : 'the page lists the key that is said not to be there';
  if (found === null) return 'the page does not list the key';
  return recordHash(key, value) === found ? null : 'the record does not hash to what the page says';
}

/** What a head says of the slot in which the key falls. */
type Below =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'page'; readonly slot: number }
  | { readonly kind: 'inner'; readonly slot: number; readonly nibbles: number; readonly prefix: Buffer };

/** The head of an inner node, checked as far as the way of one key needs it. */
class HeadReader {
  readonly nibbles: number;
  readonly prefix: Buffer;
  readonly #key: Buffer;
  readonly #shapes: Buffer;
  readonly #rest: Reader;

  constructor(head: Buffer, key: Buffer) {
    const r = new Reader(head);
    if (r.u8() !== INNER) throw new DecodeError('this is no inner node');
    this.nibbles = r.u16();
    if (this.nibbles >= KEY_NIBBLES) throw new DecodeError(`an inner node at ${this.nibbles} nibbles`);
    this.prefix = r.raw((this.nibbles + 1) >> 1);
    this.#shapes = r.raw(16);
    this.#rest = r;
    this.#key = key;
  }

  /** What the key leads to. */
  below(): Below {
    const places = this.#innerPlaces();
    // Only the top can stand where the key does not lead: the node above it would have said so.
    if (matchingNibbles(this.#key, this.prefix, this.nibbles, 0) < this.nibbles) return { kind: 'nothing' };
    const nibble = keyNibble(this.#key, this.nibbles);
    const inner = places.get(nibble);
    if (inner !== undefined) {
      const matches = matchingNibbles(this.#key, inner.prefix, inner.nibbles, 0) === inner.nibbles;
      return matches ? { kind: 'inner', slot: nibble, ...inner } : { kind: 'nothing' };
    }
    for (let span = 1; span <= 8; span <<= 1) {
      const slot = nibble & ~(span - 1);
      if (this.#shapes[slot] === span) return { kind: 'page', slot };
    }
    return { kind: 'nothing' };
  }

  /** Where the inner children stand, by slot. Throws DecodeError when the head is none. */
  #innerPlaces(): Map<number, { readonly nibbles: number; readonly prefix: Buffer }> {
    const places = new Map<number, { readonly nibbles: number; readonly prefix: Buffer }>();
    const shared = this.nibbles >> 1;
    let covered = 0;
    for (const [slot, shape] of this.#shapes.entries()) {
      if (shape === 0) continue;
      const span = shape === INNER_SHAPE ? 1 : shape;
      if (![1, 2, 4, 8].includes(span) || slot % span !== 0 || slot < covered) throw new DecodeError('the slots of an inner node overlap, or are none');
      covered = slot + span;
      if (shape !== INNER_SHAPE) continue;
      const nibbles = this.#rest.u16();
      if (nibbles <= this.nibbles || nibbles >= KEY_NIBBLES) throw new DecodeError(`an inner node at ${nibbles} nibbles below one at ${this.nibbles}`);
      const rest = this.#rest.raw(((nibbles + 1) >> 1) - shared);
      places.set(slot, { nibbles, prefix: Buffer.concat([this.prefix.subarray(0, shared), rest]) });
    }
    this.#rest.done();
    return places;
  }
}
