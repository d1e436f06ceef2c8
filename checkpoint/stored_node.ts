/**
 * A node as it lies in the database: its bytes, and a checksum over its id and them. The checksum covers the hints and
 * counts, which the hash leaves out; the hash says in addition that it is the node that the tree has there now, not an older one.
 *
 *   node | crc32 u32 (of id and node)
 */
import { crc32, sha256Bytes } from '../lib/hash.ts';
import { hashOfInner, isInnerId } from './inner_node.ts';
import { hashedPart } from './page.ts';
import { StoreDamageError } from './store_damage.ts';

const CRC_BYTES = 4;

export function sealNode(id: string, bytes: Buffer): Buffer {
  const stored = Buffer.allocUnsafe(bytes.length + CRC_BYTES);
  bytes.copy(stored);
  stored.writeUInt32BE(checksum(id, bytes), bytes.length);
  return stored;
}

/** The node; null when the checksum is wrong. */
export function unsealNode(id: string, stored: Buffer): Buffer | null {
  const length = stored.length - CRC_BYTES;
  if (length < 0) return null;
  const bytes = stored.subarray(0, length);
  return stored.readUInt32BE(length) === checksum(id, bytes) ? bytes : null;
}

function checksum(id: string, bytes: Buffer): number {
  return crc32(bytes, crc32(Buffer.from(id, 'latin1')));
}

/** The node `id` as the node above names it; throws StoreDamageError when that is not what is stored. */
export function checkedNode(id: string, hash: Buffer, stored: Buffer | undefined): Buffer {
  if (stored === undefined) throw damaged(id, 'is missing');
  const bytes = unsealNode(id, stored);
  if (bytes === null) throw damaged(id, 'has a wrong checksum');
  const found = isInnerId(id) ? hashOfInner(bytes) : sha256Bytes(hashedPart(bytes));
  if (!found.equals(hash)) throw damaged(id, 'is not the one that the node above it names');
  return bytes;
}

function damaged(id: string, how: string): StoreDamageError {
  return new StoreDamageError('node', `the node ${Buffer.from(id, 'latin1').toString('hex')} of the Merkle tree ${how}`);
}
