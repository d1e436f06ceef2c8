/**
 * The bits of a key, as the trie sees them.
 *
 * The trie needs keys of which none is a prefix of another. So a key is read as if it were padded with 0x00 to
 * MAX_KEY_BYTES and followed by its length (16 bits): `61` and `61 00` agree in every padded byte and part at the
 * length. That reading keeps the bytewise order of the keys, and path compression makes the padding cost nothing.
 *
 *   nibble  0 ......................... 1023 | 1024 .. 1027
 *           key, then zeros                  | length
 */
import { assert } from '../lib/assert.ts';

/** The longest key: a name of 255 bytes behind an inode number and a kind takes 262. */
export const MAX_KEY_BYTES = 512;
const LENGTH_NIBBLE = MAX_KEY_BYTES * 2;
export const KEY_NIBBLES = LENGTH_NIBBLE + 4;

export function assertKeyLength(length: number): void {
  if (length > MAX_KEY_BYTES) assert(false, `a key has at most ${MAX_KEY_BYTES} bytes, not ${length}`);
}

/** Byte `at` of the padded key with its length behind it. */
export function keyByte(key: Buffer, at: number): number {
  if (at < key.length) return key[at] as number;
  if (at < MAX_KEY_BYTES) return 0;
  return at === MAX_KEY_BYTES ? key.length >> 8 : key.length & 0xff;
}

export function keyNibble(key: Buffer, at: number): number {
  const byte = keyByte(key, at >> 1);
  return (at & 1) === 1 ? byte & 15 : byte >> 4;
}

/** How many nibbles two keys share; the first `known` are known to agree. KEY_NIBBLES: the same key. */
export function commonNibbles(a: Buffer, b: Buffer, known: number): number {
  const shared = Math.min(a.length, b.length);
  const longest = Math.max(a.length, b.length);
  let byte = known >> 1;
  while (byte < shared && a[byte] === b[byte]) byte++;
  while (byte >= shared && byte < longest && keyByte(a, byte) === keyByte(b, byte)) byte++;
  if (byte < longest) return 2 * byte + ((keyByte(a, byte) ^ keyByte(b, byte)) < 16 ? 1 : 0);
  const difference = a.length ^ b.length;
  for (let i = 0; i < 4; i++) if (((difference >> (12 - 4 * i)) & 15) !== 0) return LENGTH_NIBBLE + i;
  return KEY_NIBBLES;
}

/** In how many of the `nibbles` of `prefix` the key agrees; the first `known` are known to. */
export function matchingNibbles(key: Buffer, prefix: Buffer, nibbles: number, known: number): number {
  const whole = nibbles >> 1;
  for (let byte = known >> 1; byte < whole; byte++) {
    const difference = keyByte(key, byte) ^ (prefix[byte] as number);
    if (difference !== 0) return 2 * byte + (difference < 16 ? 1 : 0);
  }
  if ((nibbles & 1) === 1 && keyByte(key, whole) >> 4 !== (prefix[whole] as number) >> 4) return nibbles - 1;
  return nibbles;
}

/** The first `bits` bits of a key: ceil(bits / 8) bytes, the unused low bits zero. */
export function prefixOf(key: Buffer, bits: number): Buffer {
  const length = (bits + 7) >> 3;
  const out = Buffer.allocUnsafeSlow(length);
  for (let i = 0; i < length; i++) out[i] = keyByte(key, i);
  if ((bits & 7) !== 0) out[length - 1] = (out[length - 1] as number) & (0xff << (8 - (bits & 7)));
  return out;
}

/** Whether a key begins with a bit prefix. */
export function hasPrefix(key: Buffer, prefix: Buffer, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (keyByte(key, i) !== prefix[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (keyByte(key, whole) ^ (prefix[whole] as number)) >> (8 - rest) === 0;
}

/** Whether bit prefix `inner` (at least as long) begins with bit prefix `outer`. */
export function prefixExtends(inner: Buffer, innerBits: number, outer: Buffer, outerBits: number): boolean {
  if (innerBits < outerBits) return false;
  const whole = outerBits >> 3;
  for (let i = 0; i < whole; i++) if (inner[i] !== outer[i]) return false;
  const rest = outerBits & 7;
  return rest === 0 || ((inner[whole] as number) ^ (outer[whole] as number)) >> (8 - rest) === 0;
}

/** The bit prefix of the slots [slot, slot + span) under an inner node. */
export function slotPrefix(prefix: Buffer, nibbles: number, slot: number): Buffer {
  const at = nibbles >> 1;
  const out = Buffer.allocUnsafeSlow(at + 1);
  prefix.copy(out, 0, 0, at);
  out[at] = (nibbles & 1) === 1 ? ((prefix[at] as number) & 0xf0) | slot : slot << 4;
  return out;
}

/** Bits of the prefix that `span` aligned slots (1, 2, 4, 8) share under a node at `nibbles`. */
export function slotBits(nibbles: number, span: number): number {
  return nibbles * 4 + 4 - (31 - Math.clz32(span));
}

/** Nibble `at` of a bit prefix that is long enough. */
export function prefixNibble(prefix: Buffer, at: number): number {
  const byte = prefix[at >> 1] as number;
  return (at & 1) === 1 ? byte & 15 : byte >> 4;
}
