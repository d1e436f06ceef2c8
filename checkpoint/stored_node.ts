/**
 * A node as it lies in the database: its bytes as they are in memory, its hash, and a checksum over its id and them. The checksum says that this is what was written;
 * the hash, that it is the node that the tree has there now, not an older one.
 *
 *   node | hash 32 | crc32 u32 (of id, node and hash)
 *
 * In records of format 2 the hash was not there, nor, in an inner node, the hashes between its slots and its root: such a node is hashed when it is read.
 */
import { assert } from '../lib/assert.ts';
import { crc32, sha256Bytes } from '../lib/hash.ts';
import { HASH_BYTES } from './hashes.ts';
import { hashInner, isInMemory, isInnerId, sentInner, type HashedNode } from './inner_node.ts';
import { MAX_KEY_BYTES } from './key_bits.ts';
import { hashedPart, sentPage } from './page.ts';
import { StoreDamageError } from './store_damage.ts';

const CRC_BYTES = 4;

/** What `sealNode` gives; it grows to the largest page. */
let sealed = Buffer.allocUnsafeSlow(16 << 10);

/** What is stored of a node in memory; until the next call. */
export function sealNode(id: string, { bytes: node, hash }: HashedNode): Buffer {
  assert(!isInnerId(id) || isInMemory(node), 'an inner node is stored with the hashes between its slots and its root');
  const end = node.length + HASH_BYTES;
  if (end + CRC_BYTES > sealed.length) sealed = Buffer.allocUnsafeSlow(2 * (end + CRC_BYTES));
  node.copy(sealed);
  hash.copy(sealed, node.length);
  sealed.writeUInt32BE(checksum(id, sealed.subarray(0, end)), end);
  return sealed.subarray(0, end + CRC_BYTES);
}

/** The node as it is sent, a view; throws StoreDamageError when its checksum is wrong, or it is none. */
export function unsealNode(id: string, stored: Buffer): Buffer {
  const bytes = checked(id, stored);
  if (bytes === null) throw damaged(id, WRONG_CHECKSUM);
  const node = sentOf(id, bytes);
  if (node === null) throw damaged(id, NO_NODE);
  return node;
}

const WRONG_CHECKSUM = 'has a wrong checksum';
const NO_NODE = 'has the bytes of none';

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
  return required(id, nodeOf(id, hash, stored));
}

/** The same; null when that is not what is stored. */
export function nodeThere(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | null {
  const found = nodeOf(id, hash, stored);
  return typeof found === 'string' ? null : found;
}

/** As checkedNode, but the node is hashed, whatever is stored with it, and that compared too. */
export function auditedNode(id: string, hash: Buffer, stored: Buffer | undefined): Buffer {
  return required(id, audited(id, hash, stored));
}

/** The same; null when that is not what is stored. */
export function auditedNodeThere(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | null {
  const found = audited(id, hash, stored);
  return typeof found === 'string' ? null : found;
}

/** A string says what is wrong; so below. */
function nodeOf(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | string {
  if (stored === undefined) return 'is missing';
  const bytes = checked(id, stored);
  if (bytes === null) return WRONG_CHECKSUM;
  const end = bytes.length - HASH_BYTES;
  if (end > 0 && bytes.compare(hash, 0, HASH_BYTES, end) === 0) return bytes.subarray(0, end);
  return hashed(id, hash, bytes);
}

function audited(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | string {
  if (stored === undefined) return 'is missing';
  const bytes = checked(id, stored);
  if (bytes === null) return WRONG_CHECKSUM;
  const node = hashed(id, hash, bytes);
  if (typeof node === 'string' || bytes.length === sentOf(id, bytes)?.length) return node;
  return bytes.equals(Buffer.concat([node, hash])) ? node : 'has other hashes with it than its own';
}

/** The node that these bytes are of, or begin with, hashed anew: what is stored with it is passed over. */
function hashed(id: string, hash: Buffer, bytes: Buffer): Buffer | string {
  const sent = sentOf(id, bytes);
  if (sent === null) return NO_NODE;
  const found = isInnerId(id) ? hashInner(sent) : { bytes: sent, hash: sha256Bytes(hashedPart(sent)) };
  return found?.hash.equals(hash) === true ? found.bytes : 'is not the one that the node above it names';
}

function sentOf(id: string, bytes: Buffer): Buffer | null {
  return isInnerId(id) ? sentInner(bytes) : sentPage(bytes);
}

function required(id: string, found: Buffer | string): Buffer {
  if (typeof found === 'string') throw damaged(id, found);
  return found;
}

function damaged(id: string, how: string): StoreDamageError {
  return new StoreDamageError('node', `the node ${Buffer.from(id, 'latin1').toString('hex')} of the Merkle tree ${how}`);
}
