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
import { Writer } from '../lib/bytes.ts';
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
  const bytes = hashInput(3 + key.length + value.length);
  bytes[0] = RECORD;
  bytes.writeUInt16BE(key.length, 1);
  bytes.set(key, 3);
  bytes.set(value, 3 + key.length);
  return sha256(bytes);
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

// A level of the tree at a time, from the leaves up, each in the place of the first half of the one before.
const level = Buffer.allocUnsafeSlow(16 * HASH_BYTES);
const pairs = Array.from({ length: 8 }, (_, i) => level.subarray(i * 2 * HASH_BYTES, (i + 1) * 2 * HASH_BYTES));
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
    level.set(hash, i * HASH_BYTES);
  }
  return rootOfLevel(empty);
}

/** The same of hashes that lie in `bytes`. `places`: of each slot where; -1: it is empty. */
export function slotsRootIn(bytes: Buffer, places: ArrayLike<number>): Buffer {
  let empty = 0;
  for (let i = 0; i < 16; i++) {
    const place = places[i] as number;
    if (place < 0) empty |= 1 << i;
    // Without a view for each.
    for (let b = 0; b < HASH_BYTES; b++) level[i * HASH_BYTES + b] = place < 0 ? 0 : (bytes[place + b] as number);
  }
  return rootOfLevel(empty);
}

/** Of the hashes of 16 slots in `level`; `noneAt`: a bit for each slot that is empty. */
function rootOfLevel(noneAt: number): Buffer {
  let empty = noneAt;
  for (let depth = 1; depth <= SLOTS_DEPTH; depth++) {
    const below = empty;
    empty = 0;
    for (let i = 0; i < 16 >> depth; i++) {
      const areEmpty = ((below >> (2 * i)) & 3) === 3;
      if (areEmpty) empty |= 1 << i;
      level.latin1Write(areEmpty ? EMPTY_HASHES[depth] as Digest : sha256(pairs[i] as Buffer), i * HASH_BYTES, HASH_BYTES);
    }
  }
  return Buffer.from(level.subarray(0, HASH_BYTES));
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
  const bytes = hashInput(head.length + HASH_BYTES);
  bytes.set(head, 0);
  bytes.set(root, head.length);
  return sha256Bytes(bytes);
}

/** The root that replicas compare: a function of the records, the op-number and the replica's `extra` bytes. */
export function rootHash(op: OpNumber, records: number, extra: Buffer, top: Buffer | null): Digest {
  assert(extra.length <= MAX_EXTRA_BYTES, () => `extra has at most ${MAX_EXTRA_BYTES} bytes, not ${extra.length}`);
  return sha256(new Writer(320).u8(ROOT).u48(op).u48(records).bytes16(extra).raw(top ?? ABSENT).finish());
}
