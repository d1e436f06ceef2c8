/**
 * Byte codecs. All integers are big-endian, so that encoded keys sort as their numbers do.
 *
 * `Writer` grows one buffer; `Reader` checks every bound and throws `DecodeError`, which the codec's
 * outermost function turns into a reason. A codec value has both directions: `{ encode, decode }`.
 */

/** What a peer, a client or a file said that cannot be decoded. Bad input, not a fault of ours. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}

export const EMPTY: Buffer = Buffer.alloc(0);

// Node's own readUInt32BE and the like take several times as long, and records have a dozen of integers each. The caller has seen to
// it that the bytes are there; numbers that do not fit are refused all the same.

const U32 = 0x1_0000_0000;

function refuse(n: number, bits: number): never {
  throw new RangeError(`${n} is no integer of ${bits} bits`);
}
export function putU16(b: Buffer, n: number, at: number): void {
  if ((n & 0xffff) !== n) refuse(n, 16);
  b[at] = n >>> 8;
  b[at + 1] = n;
}
export function putU32(b: Buffer, n: number, at: number): void {
  if (n >>> 0 !== n) refuse(n, 32);
  b[at] = n >>> 24;
  b[at + 1] = n >>> 16;
  b[at + 2] = n >>> 8;
  b[at + 3] = n;
}
export function putU48(b: Buffer, n: number, at: number): void {
  const high = Math.floor(n / U32);
  if ((high & 0xffff) !== high) refuse(n, 48);
  putU16(b, high, at);
  putU32(b, n - high * U32, at + 2);
}
export function getU16(b: Buffer, at: number): number {
  return ((b[at] as number) << 8) | (b[at + 1] as number);
}
export function getU32(b: Buffer, at: number): number {
  const n = getI32(b, at);
  return n >= 0 ? n : n >>> 0;
}
export function getU48(b: Buffer, at: number): number {
  return joined(getU16(b, at), getI32(b, at + 2));
}
function getI32(b: Buffer, at: number): number {
  return ((b[at] as number) << 24) | ((b[at + 1] as number) << 16) | ((b[at + 2] as number) << 8) | (b[at + 3] as number);
}
/** Of an upper part and the lower 32 bits. */
function joined(high: number, low: number): number {
  return high === 0 && low >= 0 ? low : high * U32 + (low >>> 0);
}

/**
 * The same integer. V8 keeps one of at most 31 bits in a field as it is, and any other result of arithmetic in an object of its own; once a field had one
 * of these, it always does. So what is computed for the fields of records that there are many of goes through here, as what is read by the functions above.
 */
export function unboxed(n: number): number {
  return (n | 0) === n ? n | 0 : n;
}

export class Writer {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  // Called before `this.#buffer` is read: it may replace the buffer.
  #reserve(n: number): number {
    const at = this.#length;
    const end = at + n;
    if (end > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#length = end;
    return at;
  }

  u8(n: number): this {
    const at = this.#reserve(1);
    this.#buffer.writeUInt8(n, at);
    return this;
  }
  u16(n: number): this {
    const at = this.#reserve(2);
    putU16(this.#buffer, n, at);
    return this;
  }
  u32(n: number): this {
    const at = this.#reserve(4);
    putU32(this.#buffer, n, at);
    return this;
  }
  /** 48 bits: op-numbers, session ids, inode numbers. */
  u48(n: number): this {
    const at = this.#reserve(6);
    putU48(this.#buffer, n, at);
    return this;
  }
  /** A non-negative integer below 2^53, as 8 bytes. */
  u53(n: number): this {
    const at = this.#reserve(8);
    putU32(this.#buffer, Math.floor(n / U32), at);
    putU32(this.#buffer, n % U32, at + 4);
    return this;
  }
  i64(n: bigint): this {
    const at = this.#reserve(8);
    this.#buffer.writeBigInt64BE(n, at);
    return this;
  }
  f64(n: number): this {
    const at = this.#reserve(8);
    this.#buffer.writeDoubleBE(n, at);
    return this;
  }
  bool(b: boolean): this {
    return this.u8(b ? 1 : 0);
  }
  /** Raw bytes, no length. */
  raw(b: Uint8Array): this {
    const at = this.#reserve(b.length);
    this.#buffer.set(b, at);
    return this;
  }
  /** A latin1 string as raw bytes, no length (digests). */
  latin1(s: string): this {
    const at = this.#reserve(s.length);
    this.#buffer.latin1Write(s, at, s.length);
    return this;
  }
  /** Bytes behind a 16-bit length. */
  bytes16(b: Uint8Array): this {
    return this.u16(b.length).raw(b);
  }
  /** Bytes behind a 32-bit length. */
  bytes32(b: Uint8Array): this {
    return this.u32(b.length).raw(b);
  }
  /** UTF-8 text behind a 16-bit length of bytes. */
  string16(s: string): this {
    return this.bytes16(Buffer.from(s, 'utf8'));
  }

  /** The bytes written so far; the writer may not be used afterwards. */
  finish(): Buffer {
    return this.#length === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#length);
  }

}

export class Reader {
  readonly buffer: Buffer;
  offset: number;
  readonly end: number;

  constructor(buffer: Buffer, offset = 0, end = buffer.length) {
    this.buffer = buffer;
    this.offset = offset;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  #take(n: number): number {
    const at = this.offset;
    if (at + n > this.end) throw new DecodeError(`truncated: ${n} bytes wanted at ${at}, ${this.end - at} left`);
    this.offset = at + n;
    return at;
  }

  u8(): number {
    return this.buffer.readUInt8(this.#take(1));
  }
  u16(): number {
    return getU16(this.buffer, this.#take(2));
  }
  u32(): number {
    return getU32(this.buffer, this.#take(4));
  }
  u48(): number {
    return getU48(this.buffer, this.#take(6));
  }
  u53(): number {
    const at = this.#take(8);
    const high = getU32(this.buffer, at);
    if (high >= 0x20_0000) throw new DecodeError(`integer at ${at} is not below 2^53`);
    return joined(high, getI32(this.buffer, at + 4));
  }
  i64(): bigint {
    return this.buffer.readBigInt64BE(this.#take(8));
  }
  f64(): number {
    return this.buffer.readDoubleBE(this.#take(8));
  }
  bool(): boolean {
    const n = this.u8();
    if (n > 1) throw new DecodeError(`a boolean is 0 or 1, not ${n}`);
    return n === 1;
  }
  /** Passes over the next `n` bytes. */
  skip(n: number): void {
    this.#take(n);
  }
  /** A view of the next `n` bytes, not a copy. */
  raw(n: number): Buffer {
    const at = this.#take(n);
    return this.buffer.subarray(at, at + n);
  }
  latin1(n: number): string {
    const at = this.#take(n);
    return this.buffer.latin1Slice(at, at + n);
  }
  bytes16(): Buffer {
    return this.raw(this.u16());
  }
  bytes32(): Buffer {
    return this.raw(this.u32());
  }
  /** Text that is written again as the same bytes; what is no UTF-8 would become longer, and fit no more where it came from. */
  string16(): string {
    const at = this.offset;
    const bytes = this.bytes16();
    const text = bytes.toString('utf8');
    if (!Buffer.from(text, 'utf8').equals(bytes)) throw new DecodeError(`text that is not UTF-8 at ${at}`);
    return text;
  }
  /** Every codec ends with this: bytes behind the value are an error. */
  done(): void {
    if (this.offset !== this.end) throw new DecodeError(`${this.end - this.offset} bytes too many`);
  }
}

export type Decoded<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** Runs a decoder over all of `bytes` and turns a DecodeError into a reason; any other error is ours and passes. */
export function decodeAll<T>(bytes: Buffer, decode: (r: Reader) => T): Decoded<T> {
  return decodePart(new Reader(bytes), (r) => {
    const value = decode(r);
    r.done();
    return value;
  });
}

/** The same of what comes next. */
export function decodePart<T>(reader: Reader, decode: (r: Reader) => T): Decoded<T> {
  try {
    return { ok: true, value: decode(reader) };
  } catch (error) {
    if (error instanceof DecodeError) return { ok: false, reason: error.message };
    throw error;
  }
}
