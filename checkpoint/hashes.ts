/**
 * Every hash of the tree, domain separated by its first byte (H is sha256):
 *
 *   record  H(0, key length u16, key, value)
 *   page    H(1, n u16, (key length u16, key, record hash)*)          the first part of the page's bytes
 *   inner   H(2, nibbles u16, prefix, 16 shape bytes, prefixes of inner children, M)
 *                                                                     M: the root of a Merkle tree over the 16 child hashes
 *   root    H(3, op u48, records u48, extra length u16, extra, top)   top: 32 zero bytes when there are no records
 *
 * M is the root of `merkletreejs`' MerkleTree, whose proofs are proofs of a record's membership to a client.
 */
import { MerkleTree } from 'merkletreejs/MerkleTree';
import { assert } from '../lib/assert.ts';
import { Writer, putU16 } from '../lib/bytes.ts';
import { digestToBytes, hashInput, sha256, sha256Bytes } from '../lib/hash.ts';
import { digest, type Digest, type OpNumber } from '../lib/ids.ts';

export const HASH_BYTES = 32;
export const MAX_EXTRA_BYTES = 256;
/** Levels of the tree over 16 slots. */
export const SLOTS_DEPTH = 4;
export const ABSENT: Buffer = Buffer.alloc(HASH_BYTES);

const RECORD = 0;
export const PAGE = 1;
export const INNER = 2;
const ROOT = 3;

export function recordHash(key: Buffer, value: Buffer): Digest {
  return recordHashIn(key, 0, key.length, value);
}

/** The same of a key of `length` bytes that begins at `at`. */
export function recordHashIn(bytes: Buffer, at: number, length: number, value: Buffer): Digest {
  const input = hashInput(3 + length + value.length);
  input[0] = RECORD;
  putU16(input, length, 1);
  // Without a view for it.
  for (let i = 0; i < length; i++) input[3 + i] = bytes[at + i] as number;
  input.set(value, 3 + length);
  return sha256(input);
}

const pair = Buffer.allocUnsafeSlow(2 * HASH_BYTES);
// merkletreejs joins pairs with Buffer.concat unless told otherwise: half of the time of a small tree.
const options = {
  concatenator: (two: Buffer[]): Buffer => {
    pair.set(two[0] as Buffer, 0);
    pair.set(two[1] as Buffer, HASH_BYTES);
    return pair;
  },
};

/** The hashes between the slots and the root, level by level: of 8 pairs, of 4 pairs of these, of 2 of those. */
export const BETWEEN_BYTES: number = 14 * HASH_BYTES;
/** Where a level begins, in hashes. */
const LEVEL_AT: readonly number[] = [0, 8, 12];

const slotHashes = Buffer.allocUnsafeSlow(16 * HASH_BYTES);
/** Of the tree that was hashed last. */
const between = Buffer.allocUnsafeSlow(BETWEEN_BYTES);
const pairsOf = (level: Buffer, at: number, count: number): Buffer[] => Array.from({ length: count }, (_, i) => level.subarray((at + 2 * i) * HASH_BYTES, (at + 2 * i + 2) * HASH_BYTES));
/** What is hashed at each level, a view of each pair. */
const pairs: readonly (readonly Buffer[])[] = [pairsOf(slotHashes, 0, 8), pairsOf(between, 0, 4), pairsOf(between, 8, 2), pairsOf(between, 12, 1)];
/** The hash over nothing but empty slots, by level: half of all slots are empty. */
const EMPTY_HASHES: readonly Digest[] = emptyHashes();

function emptyHashes(): Digest[] {
  const hashes = [digest(ABSENT.latin1Slice())];
  for (let i = 0; i < SLOTS_DEPTH; i++) hashes.push(sha256(Buffer.concat([digestToBytes(hashes[i] as Digest), digestToBytes(hashes[i] as Digest)])));
  return hashes;
}

/** The Merkle root over the hashes of the 16 slots, ABSENT where a slot is empty: what `new MerkleTree(hashes, sha256).getRoot()` gives, in a third of the time. */
export function slotsRoot(hashes: readonly Buffer[]): Buffer {
  assert(hashes.length === 16, 'an inner node has 16 slots');
  let empty = 0;
  for (let i = 0; i < 16; i++) {
    const hash = hashes[i] as Buffer;
    if (hash === ABSENT) empty |= 1 << i;
    slotHashes.set(hash, i * HASH_BYTES);
  }
  return digestToBytes(rootOfSlots(empty));
}

/**
 * The same of hashes that lie in `bytes`. `places`: of each slot where; -1: it is empty. From `betweenAt` on, the hashes between the slots and
 * the root are put there.
 */
export function slotsRootIn(bytes: Buffer, places: ArrayLike<number>, betweenAt: number): Digest {
  let empty = 0;
  for (let i = 0; i < 16; i++) {
    const place = places[i] as number;
    if (place < 0) empty |= 1 << i;
    putSlotHash(bytes, place, i);
  }
  const root = rootOfSlots(empty);
  bytes.set(between, betweenAt);
  return root;
}

/** The same where the hashes from `betweenAt` on are those of before, and only some slots have changed. `changed`: a bit for each of them; none of these is empty. */
export function changedRootIn(bytes: Buffer, places: ArrayLike<number>, betweenAt: number, changed: number): Digest {
  bytes.copy(between, 0, betweenAt, betweenAt + BETWEEN_BYTES);
  let dirty = changed;
  for (let depth = 0; depth < SLOTS_DEPTH - 1; depth++) {
    const below = dirty;
    dirty = 0;
    for (let i = 0; i < 8 >> depth; i++) {
      if (((below >> (2 * i)) & 3) === 0) continue;
      dirty |= 1 << i;
      if (depth === 0) {
        putSlotHash(bytes, places[2 * i] as number, 2 * i);
        putSlotHash(bytes, places[2 * i + 1] as number, 2 * i + 1);
      }
      between.latin1Write(sha256(pairAt(depth, i)), ((LEVEL_AT[depth] as number) + i) * HASH_BYTES, HASH_BYTES);
    }
  }
  bytes.set(between, betweenAt);
  return sha256(pairAt(SLOTS_DEPTH - 1, 0));
}

function pairAt(depth: number, i: number): Buffer {
  return (pairs[depth] as readonly Buffer[])[i] as Buffer;
}

function putSlotHash(bytes: Buffer, place: number, slot: number): void {
  const to = slot * HASH_BYTES;
  // Without a view for each.
  if (place < 0) slotHashes.fill(0, to, to + HASH_BYTES);
  else for (let b = 0; b < HASH_BYTES; b++) slotHashes[to + b] = bytes[place + b] as number;
}

/** Of the hashes of 16 slots in `slotHashes`; `noneAt`: a bit for each slot that is empty. */
function rootOfSlots(noneAt: number): Digest {
  let empty = noneAt;
  for (let depth = 0; depth < SLOTS_DEPTH - 1; depth++) {
    const below = empty;
    empty = 0;
    for (let i = 0; i < 8 >> depth; i++) {
      const areEmpty = ((below >> (2 * i)) & 3) === 3;
      if (areEmpty) empty |= 1 << i;
      between.latin1Write(areEmpty ? EMPTY_HASHES[depth + 1] as Digest : sha256(pairAt(depth, i)), ((LEVEL_AT[depth] as number) + i) * HASH_BYTES, HASH_BYTES);
    }
  }
  return empty === 3 ? EMPTY_HASHES[SLOTS_DEPTH] as Digest : sha256(pairAt(SLOTS_DEPTH - 1, 0));
}

/** merkletreejs' proof of one slot: the four hashes beside the way from it to the root, the lowest first. */
export function slotsProof(hashes: readonly Buffer[], slot: number): Buffer[] {
  const leaf = hashes[slot];
  assert(hashes.length === 16 && leaf !== undefined, 'an inner node has 16 slots');
  // By its place: several slots are empty alike.
  return new MerkleTree(hashes as Buffer[], sha256Bytes, options).getProof(leaf, slot).map(({ data }) => data);
}

/** The root that such a proof leads to. Sound since every tree has 16 leaves: four steps, whose sides the slot says. */
export function rootOfSlotsProof(leaf: Buffer, slot: number, siblings: readonly Buffer[]): Buffer {
  assert(siblings.length === SLOTS_DEPTH && slot >= 0 && slot < 16, 'a tree of 16 leaves has four levels');
  return siblings.reduce((hash, sibling, level) => sha256Bytes(Buffer.concat(((slot >> level) & 1) === 0 ? [hash, sibling] : [sibling, hash])), leaf);
}

/** `head` is the hashed part of an inner node's bytes (inner_node.ts). */
export function innerHash(head: Buffer, hashes: readonly Buffer[]): Buffer {
  return innerHashOf(head, slotsRoot(hashes));
}

/** The same from the root over the slots. */
export function innerHashOf(head: Buffer, root: Buffer): Buffer {
  const input = hashInput(head.length + root.length);
  input.set(head, 0);
  input.set(root, head.length);
  return sha256Bytes(input);
}

/** The same of a head that is the first part of `bytes`. */
export function innerHashIn(bytes: Buffer, head: number, root: Digest): Buffer {
  const input = hashInput(head + HASH_BYTES);
  bytes.copy(input, 0, 0, head);
  input.latin1Write(root, head, HASH_BYTES);
  return sha256Bytes(input);
}

/** The root that replicas compare: a function of the records, the op-number and the replica's `extra` bytes. */
export function rootHash(op: OpNumber, records: number, extra: Buffer, top: Buffer | null): Digest {
  assert(extra.length <= MAX_EXTRA_BYTES, () => `extra has at most ${MAX_EXTRA_BYTES} bytes, not ${extra.length}`);
  return sha256(new Writer(320).u8(ROOT).u48(op).u48(records).bytes16(extra).raw(top ?? ABSENT).finish());
}
