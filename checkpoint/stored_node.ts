/**
 * A node as it lies in the database: its bytes, and a checksum over its id and them. The checksum covers the hints and
 * counts, which the hash leaves out; the hash says in addition that it is the node that the tree has there now, not an older one.
 *
 *   node | crc32 u32 (of id and node)
 */
import { crc32, sha256Bytes } from '../lib/hash.ts';
import { hashInner, isInnerId, storedInner } from './inner_node.ts';
import { MAX_KEY_BYTES } from './key_bits.ts';
import { hashedPart, type Allocate } from './page.ts';
import { StoreDamageError } from './store_damage.ts';

const CRC_BYTES = 4;

/** What `sealNode` gives; it grows to the largest page. */
let sealed = Buffer.allocUnsafeSlow(16 << 10);

/** What is stored of a node in memory; until the next call. */
export function sealNode(id: string, bytes: Buffer): Buffer {
  const node = isInnerId(id) ? storedInner(bytes) : bytes;
  if (node.length + CRC_BYTES > sealed.length) sealed = Buffer.allocUnsafeSlow(2 * (node.length + CRC_BYTES));
  node.copy(sealed);
  sealed.writeUInt32BE(checksum(id, node), node.length);
  return sealed.subarray(0, node.length + CRC_BYTES);
}

/** The node as it is stored; null when the checksum is wrong. */
export function unsealNode(id: string, stored: Buffer): Buffer | null {
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

/** The node `id` as the node above names it; throws StoreDamageError when that is not what is stored. `allocate`: for its bytes in memory; default: memory of their own. */
export function checkedNode(id: string, hash: Buffer, stored: Buffer | undefined, allocate?: Allocate): Buffer {
  const found = nodeOf(id, hash, stored, allocate);
  if (typeof found === 'string') throw damaged(id, found);
  return found;
}

/** The same; null when that is not what is stored. */
export function nodeThere(id: string, hash: Buffer, stored: Buffer | undefined, allocate?: Allocate): Buffer | null {
  const found = nodeOf(id, hash, stored, allocate);
  return typeof found === 'string' ? null : found;
}

/** A string says what is wrong. */
function nodeOf(id: string, hash: Buffer, stored: Buffer | undefined, allocate: Allocate | undefined): Buffer | string {
  if (stored === undefined) return 'is missing';
  const bytes = unsealNode(id, stored);
  if (bytes === null) return 'has a wrong checksum';
  const found = isInnerId(id) ? hashInner(bytes, allocate) : { bytes, hash: sha256Bytes(hashedPart(bytes)) };
  return found?.hash.equals(hash) === true ? found.bytes : 'is not the one that the node above it names';
}

function damaged(id: string, how: string): StoreDamageError {
  return new StoreDamageError('node', `the node ${Buffer.from(id, 'latin1').toString('hex')} of the Merkle tree ${how}`);
}
