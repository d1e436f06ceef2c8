/**
 * A node as it lies in the database: its bytes as they are in memory, its hash, and a checksum over its id and them. The checksum says that this is what was written;
 * the hash, that it is the node that the tree has there now, not an older one.
 *
 *   node | hash 32 | crc32 u32 (of id, node and hash)
 *
 * In records of format 2 the hash was not there, nor, in an inner node, the hashes between its slots and its root: such a node is hashed when it is read.
 */
import { crc32, sha256Bytes } from '../lib/hash.ts';
import { HASH_BYTES } from './hashes.ts';
import { hashInner, isInnerId, sentInner, type HashedNode } from './inner_node.ts';
import { MAX_KEY_BYTES } from './key_bits.ts';
import { hashedPart, sentPage } from './page.ts';
import { StoreDamageError } from './store_damage.ts';

const CRC_BYTES = 4;

/** What `sealNode` gives; it grows to the largest page. */
let sealed = Buffer.allocUnsafeSlow(16 << 10);

/** What is stored of a node in memory; until the next call. */
export function sealNode(id: string, { bytes: node, hash }: HashedNode): Buffer {
  const end = node.length + HASH_BYTES;
  if (end + CRC_BYTES > sealed.length) sealed = Buffer.allocUnsafeSlow(2 * (end + CRC_BYTES));
  node.copy(sealed);
  hash.copy(sealed, node.length);
  sealed.writeUInt32BE(checksum(id, sealed.subarray(0, end)), end);
  return sealed.subarray(0, end + CRC_BYTES);
}

/** The node as it is sent, a view; throws StoreDamageError when the checksum is wrong. */
export function unsealNode(id: string, stored: Buffer): Buffer {
  const bytes = checked(id, stored);
  const node = bytes === null ? null : sentOf(id, bytes);
  if (node === null) throw damagedNode(id, WRONG_CHECKSUM);
  return node;
}

const WRONG_CHECKSUM = 'has a wrong checksum';

/** What the checksum is over; null: it is another one. */
function checked(id: string, stored: Buffer): Buffer | null {
  const length = stored.length - CRC_BYTES;
  if (length < 0) return null;
  const bytes = stored.subarray(0, length);
  return stored.readUInt32BE(length) === checksum(id, bytes) ? bytes : null;
}

/** An id has three bytes before its prefix, and that at most as many as the longest key and its length. */
const idBytes = Buffer.allocUnsafeSlow(3 + MAX_KEY_BYTES + 2);

function checksum(id: string, bytes: Buffer): number {
  return crc32(bytes, crc32(idBytes.subarray(0, idBytes.latin1Write(id))));
}

/** The node `id` as the node above names it; throws StoreDamageError when that is not what is stored. May be a view of `stored`. */
export function checkedNode(id: string, hash: Buffer, stored: Buffer | undefined): Buffer {
  const found = nodeOf(id, hash, stored);
  if (typeof found === 'string') throw damagedNode(id, found);
  return found;
}

/** The same; null when that is not what is stored. */
export function nodeThere(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | null {
  const found = nodeOf(id, hash, stored);
  return typeof found === 'string' ? null : found;
}

/** The same with the node hashed, whatever is stored with it. */
export function auditedNode(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | null {
  const node = nodeThere(id, hash, stored);
  if (node === null) return null;
  const found = hashed(id, node);
  return found?.hash.equals(hash) === true && found.bytes.equals(node) ? node : null;
}

/** A string says what is wrong. */
function nodeOf(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | string {
  if (stored === undefined) return 'is missing';
  const bytes = checked(id, stored);
  if (bytes === null) return WRONG_CHECKSUM;
  const end = bytes.length - HASH_BYTES;
  if (end > 0 && bytes.compare(hash, 0, HASH_BYTES, end) === 0) return bytes.subarray(0, end);
  const found = hashed(id, bytes);
  return found?.hash.equals(hash) === true ? found.bytes : 'is not the one that the node above it names';
}

/** A node in memory, or as it was stored, and its hash, by what is sent of it alone; null: no node has these bytes. */
function hashed(id: string, bytes: Buffer): HashedNode | null {
  const sent = sentOf(id, bytes);
  if (sent === null) return null;
  return isInnerId(id) ? hashInner(sent) : { bytes: sent, hash: sha256Bytes(hashedPart(sent)) };
}

function sentOf(id: string, bytes: Buffer): Buffer | null {
  return isInnerId(id) ? sentInner(bytes) : sentPage(bytes);
}

/** `how`: what is wrong with what is stored of it. */
export function damagedNode(id: string, how: string): StoreDamageError {
  return new StoreDamageError('node', `the node ${Buffer.from(id, 'latin1').toString('hex')} of the Merkle tree ${how}`);
}
