/** sha256 in the two shapes that the code uses. The one place that knows the hash function. */
import { hash } from 'node:crypto';
import { crc32 as zlibCrc32 } from 'node:zlib';
import { digest, type Digest } from './ids.ts';

/** sha256 of `data`, as a latin1 string of 32 code units. */
export function sha256(data: Uint8Array): Digest {
  // 'binary' is latin1: 0.45 µs for 150 bytes, where 'buffer' takes 1 µs.
  return hash('sha256', data, 'binary') as Digest;
}

/** sha256 of `data`, as 32 bytes. */
export function sha256Bytes(data: Uint8Array): Buffer {
  return Buffer.from(sha256(data), 'latin1');
}

export function digestToBytes(d: Digest): Buffer {
  return Buffer.from(d, 'latin1');
}
export function digestToHex(d: Digest): string {
  return Buffer.from(d, 'latin1').toString('hex');
}

let input = Buffer.allocUnsafeSlow(4096);
/** Views of the beginning of `input`, by length, so that none is made for each hash. */
let views: (Buffer | undefined)[] = [];
const KEPT_VIEWS = 1024;

/** Bytes to be filled with what is to be hashed, and hashed before anybody else asks for some. */
export function hashInput(length: number): Buffer {
  if (length > input.length) {
    input = Buffer.allocUnsafeSlow(length * 2);
    views = [];
  }
  if (length >= KEPT_VIEWS) return input.subarray(0, length);
  return (views[length] ??= input.subarray(0, length));
}

export const ZERO_DIGEST: Digest = digest('\0'.repeat(32));

/** CRC-32 (IEEE), for frames and journal records: against accidents, not against adversaries. */
export function crc32(data: Uint8Array, seed = 0): number {
  return zlibCrc32(data, seed);
}
