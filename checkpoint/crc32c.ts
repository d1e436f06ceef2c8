/** CRC-32C (Castagnoli), which LevelDB uses; node:zlib has the other one only. */
import { crc32c as ofBytes } from '@node-rs/crc32';

/** Of the bytes [from, to). */
export function crc32c(bytes: Buffer, from: number, to: number): number {
  return ofBytes(bytes.subarray(from, to));
}

/** LevelDB stores checksums masked, so that one of bytes with checksums in them is not special. */
export function unmasked(stored: number): number {
  const rotated = (stored - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}
