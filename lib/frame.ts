/**
 * Frames on a stream: `length u32 | crc32 u32 | payload`, length and checksum being the payload's. The checksum is against
 * accidents; a damaged, empty or oversized frame ends the connection, since nothing behind it can be trusted.
 */
import { EMPTY } from './bytes.ts';
import { crc32 } from './hash.ts';
import { assert } from './assert.ts';

export const FRAME_HEADER_BYTES = 8;
/** The longest payload that is sent or accepted, in bytes. */
export const MAX_FRAME_BYTES = 16 << 20;
/** Payloads from this size on travel in a buffer of their own instead of being copied behind the others. */
const LARGE_BYTES = 16 << 10;
const BLOCK_BYTES = 64 << 10;

export function encodeFrame(payload: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  putHeader(frame, 0, payload);
  payload.copy(frame, FRAME_HEADER_BYTES);
  return frame;
}

/** The same of a payload that lies in parts: one copy. */
export function encodeFrameOf(parts: readonly Buffer[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  let at = FRAME_HEADER_BYTES;
  for (const part of parts) at += part.copy(frame, at);
  putHeader(frame, 0, frame.subarray(FRAME_HEADER_BYTES));
  return frame;
}

function putHeader(into: Buffer, at: number, payload: Buffer): void {
  assert(payload.length > 0 && payload.length <= MAX_FRAME_BYTES, () => `a frame has 1 to ${MAX_FRAME_BYTES} bytes, not ${payload.length}`);
  into.writeUInt32BE(payload.length, at);
  into.writeUInt32BE(crc32(payload), at + 4);
}

/** Gathers the frames of one turn of the event loop into few buffers, so that they leave in one `writev`. */
export class FrameBatch {
  #full: Buffer[] = [];
  #block: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  #length = 0;

  /** Bytes gathered since the last `take`. */
  get length(): number {
    return this.#length;
  }

  add(payload: Buffer): void {
    const copied = payload.length < LARGE_BYTES ? FRAME_HEADER_BYTES + payload.length : FRAME_HEADER_BYTES;
    if (this.#end + copied > this.#block.length) this.#newBlock();
    putHeader(this.#block, this.#end, payload);
    if (copied > FRAME_HEADER_BYTES) payload.copy(this.#block, this.#end + FRAME_HEADER_BYTES);
    this.#end += copied;
    this.#length += FRAME_HEADER_BYTES + payload.length;
    if (payload.length >= LARGE_BYTES) {
      this.#close();
      this.#full.push(payload);
    }
  }

  /** What has gathered, in order; the batch starts anew. The buffers are not touched again. */
  take(): Buffer[] {
    this.#close();
    const out = this.#full;
    this.#full = [];
    this.#length = 0;
    return out;
  }

  #close(): void {
    if (this.#end > this.#start) this.#full.push(this.#block.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #newBlock(): void {
    this.#close();
    this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#start = 0;
    this.#end = 0;
  }
}

/**
 * Cuts a stream into payloads. A payload that lies whole within a chunk is handed on as a view of that chunk; one that
 * is spread over several is gathered in a buffer of its own, of exactly its size, once.
 */
export class FrameDecoder {
  #maxBytes: number;
  readonly #header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  #headerFilled = 0;
  /** The payload being gathered, and how much of it has come. */
  #partial: Buffer | null = null;
  #filled = 0;
  #failure: string | null = null;

  constructor(maxBytes = MAX_FRAME_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** From the next frame on: who it is that sends them may only show in the first. */
  set maxBytes(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Takes the next bytes of the stream and calls `sink` for each payload that they complete. Returns null, or the reason
   * why the stream cannot be followed any further; then, and in every later call, no more payloads come.
   */
  push(chunk: Buffer, sink: (payload: Buffer) => void): string | null {
    if (this.#failure !== null) return this.#failure;
    let at = 0;
    if (this.#partial !== null || this.#headerFilled > 0) {
      at = this.#resume(chunk, sink);
      if (this.#failure !== null || at === chunk.length) return this.#failure;
    }
    while (chunk.length - at >= FRAME_HEADER_BYTES) {
      const length = chunk.readUInt32BE(at);
      if (!this.#plausible(length)) return this.#failure;
      const start = at + FRAME_HEADER_BYTES;
      if (start + length > chunk.length) break;
      const payload = chunk.subarray(start, start + length);
      if (!this.#matches(payload, chunk.readUInt32BE(at + 4))) return this.#failure;
      sink(payload);
      at = start + length;
    }
    if (at < chunk.length) this.#keep(chunk, at);
    return this.#failure;
  }

  /** Bytes of an unfinished frame are held: a stream that ends here was cut off. */
  get pending(): boolean {
    return this.#partial !== null || this.#headerFilled > 0;
  }

  /** Goes on with the frame that the earlier chunks began; returns where in `chunk` the next one starts. */
  #resume(chunk: Buffer, sink: (payload: Buffer) => void): number {
    let at = 0;
    if (this.#partial === null) {
      const take = Math.min(FRAME_HEADER_BYTES - this.#headerFilled, chunk.length);
      chunk.copy(this.#header, this.#headerFilled, 0, take);
      this.#headerFilled += take;
      at = take;
      if (this.#headerFilled < FRAME_HEADER_BYTES || !this.#beginPartial()) return at;
    }
    const partial = this.#partial as Buffer | null;
    assert(partial !== null, 'a frame is being gathered');
    const take = Math.min(partial.length - this.#filled, chunk.length - at);
    chunk.copy(partial, this.#filled, at, at + take);
    this.#filled += take;
    at += take;
    if (this.#filled === partial.length) {
      this.#partial = null;
      this.#headerFilled = 0;
      if (this.#matches(partial, this.#header.readUInt32BE(4))) sink(partial);
    }
    return at;
  }

  /** Keeps the bytes from `at` on: a header, or the beginning of one, and part of its payload. */
  #keep(chunk: Buffer, at: number): void {
    const headerBytes = Math.min(FRAME_HEADER_BYTES, chunk.length - at);
    chunk.copy(this.#header, 0, at, at + headerBytes);
    this.#headerFilled = headerBytes;
    if (headerBytes < FRAME_HEADER_BYTES || !this.#beginPartial()) return;
    const partial = this.#partial as Buffer | null;
    assert(partial !== null, 'a frame is being gathered');
    this.#filled = chunk.copy(partial, 0, at + FRAME_HEADER_BYTES);
  }

  #beginPartial(): boolean {
    const length = this.#header.readUInt32BE(0);
    if (!this.#plausible(length)) return false;
    this.#partial = Buffer.allocUnsafeSlow(length);
    this.#filled = 0;
    return true;
  }

  #plausible(length: number): boolean {
    if (length === 0 || length > this.#maxBytes) {
      this.#failure = `a frame of ${length} bytes: 1 to ${this.#maxBytes} are allowed; is the other side speaking this protocol?`;
      return false;
    }
    return true;
  }

  #matches(payload: Buffer, checksum: number): boolean {
    if (crc32(payload) === checksum) return true;
    this.#failure = `the checksum of a frame of ${payload.length} bytes is wrong`;
    return false;
  }
}
