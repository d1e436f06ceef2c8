/**
 * A node as it lies in the database: its bytes as they are in memory, and a checksum over its id and them. The checksum says that they are what was written, hints
 * and counts too, which the hash leaves out; the hash says in addition that it is the node that the tree has there now, not an older one.
 *
 *   node | crc32 u32 (of id and node)
 */
import { crc32, sha256Bytes } from '../lib/hash.ts';
import { hashInner, isInnerId, sentInner, storedInner } from './inner_node.ts';
import { MAX_KEY_BYTES } from './key_bits.ts';
import { hashedPart } from './page.ts';
import { StoreDamageError } from './store_damage.ts';

const CRC_BYTES = 4;

/** What `sealNode` gives; it grows to the largest page. */
let sealed = Buffer.allocUnsafeSlow(16 << 10);

/** What is stored of a node in memory; until the next call. */
export function sealNode(id: string, node: Buffer): Buffer {
  if (node.length + CRC_BYTES > sealed.length) sealed = Buffer.allocUnsafeSlow(2 * (node.length + CRC_BYTES));
  node.copy(sealed);
  sealed.writeUInt32BE(checksum(id, node), node.length);
  return sealed.subarray(0, node.length + CRC_BYTES);
}

/** The node as it is sent, a view; throws StoreDamageError when the checksum is wrong. */
export function unsealNode(id: string, stored: Buffer): Buffer {
  const bytes = unsealed(id, stored);
  const node = bytes === null || !isInnerId(id) ? bytes : sentInner(bytes);
  if (node === null) throw damagedNode(id, WRONG_CHECKSUM);
  return node;
}

const WRONG_CHECKSUM = 'has a wrong checksum';

function unsealed(id: string, stored: Buffer): Buffer | null {
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

/** The same with every hash in it compared: of an inner node the other two go by the checksum for those between its slots and its root. */
export function auditedNode(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | null {
  const node = nodeThere(id, hash, stored);
  if (node === null || !isInnerId(id)) return node;
  return hashInner(sentInner(node) as Buffer)?.bytes.equals(node) === true ? node : null;
}

/** A string says what is wrong. */
function nodeOf(id: string, hash: Buffer, stored: Buffer | undefined): Buffer | string {
  if (stored === undefined) return 'is missing';
  const bytes = unsealed(id, stored);
  if (bytes === null) return WRONG_CHECKSUM;
  const found = isInnerId(id) ? storedInner(bytes) : { bytes, hash: sha256Bytes(hashedPart(bytes)) };
  return found?.hash.equals(hash) === true ? found.bytes : 'is not the one that the node above it names';
}

/** `how`: what is wrong with what is stored of it. */
export function damagedNode(id: string, how: string): StoreDamageError {
  return new StoreDamageError('node', `the node ${Buffer.from(id, 'latin1').toString('hex')} of the Merkle tree ${how}`);
}
