/**
 * Builds the bytes of one group. Small entries are gathered in blocks that the next group uses again (only one group
 * is ever being written); large ones are written from where they lie. Entries that lie one behind the other, as
 * those of one received Prepare do, are copied in one go.
 */
import { assert, defined } from '../lib/assert.ts';
import { viewEpoch, viewNumber } from '../lib/ids.ts';
import type { Entry } from '../vr/entry.ts';
import type { JournalRecord } from '../vr/ports.ts';
import { GROUP_HEADER_BYTES, PAGE_BYTES, pages, putGroupHeader, RecordKind, sealGroup, type SegmentKey } from './journal_format.ts';

const BLOCK_BYTES = 256 << 10;
/** Runs of bytes from this length on are not copied. */
const LARGE_BYTES = 32 << 10;
/** Blocks kept for the next group; a larger group allocates anew. */
const KEPT_BLOCKS = 8;
const ZEROS = Buffer.alloc(PAGE_BYTES);

export class GroupBuilder {
  readonly #blocks: Buffer[] = [];
  #blockIndex = -1;
  #block: Buffer = ZEROS;
  #start = 0;
  #end = 0;
  #chunks: Buffer[] = [];
  #length = 0;
  #records = 0;

  /** Bytes of the group so far, header included. */
  get length(): number {
    return this.#length;
  }
  get records(): number {
    return this.#records;
  }

  /** Begins a group. The chunks of the one before may be overwritten from now on. */
  begin(): void {
    this.#blocks.length = Math.min(this.#blocks.length, KEPT_BLOCKS);
    this.#blockIndex = -1;
    this.#chunks = [];
    this.#length = 0;
    this.#records = 0;
    this.#nextBlock();
    this.#room(GROUP_HEADER_BYTES);
  }

  add(record: JournalRecord): void {
    this.#records++;
    if (record.type === 'append') {
      const first = defined(record.entries[0], 'an append record has entries');
      const at = this.#room(1 + 6 + 32 + 4);
      this.#block[at] = RecordKind.append;
      this.#block.writeUIntBE(first.op - 1, at + 1, 6);
      this.#block.latin1Write(first.parent, at + 7, 32);
      this.#block.writeUInt32BE(record.entries.length, at + 39);
    } else {
      const at = this.#room(1 + 8 + 6 + 32 + 4);
      this.#block[at] = RecordKind.install;
      this.#block.writeUInt32BE(viewEpoch(record.logView), at + 1);
      this.#block.writeUInt32BE(viewNumber(record.logView), at + 5);
      this.#block.writeUIntBE(record.base, at + 9, 6);
      this.#block.latin1Write(record.baseHash, at + 15, 32);
      this.#block.writeUInt32BE(record.entries.length, at + 47);
    }
    this.#entries(record.entries);
  }

  /** The record of a clean stop. */
  addClosed(): void {
    this.#records++;
    this.#block[this.#room(1)] = RecordKind.closed;
  }

  /** The finished group, padded to whole pages. */
  finish(number: number, watermark: number, key: SegmentKey): Buffer[] {
    this.#close();
    const first = defined(this.#chunks[0], 'a group has a header');
    const payloadLength = this.#length - GROUP_HEADER_BYTES;
    putGroupHeader(first, 0, { ...key, number, watermark, records: this.#records, payloadLength });
    sealGroup(this.#chunks);
    const padding = pages(this.#length) - this.#length;
    if (padding > 0) this.#chunks.push(ZEROS.subarray(0, padding));
    return this.#chunks;
  }

  #entries(entries: readonly Entry[]): void {
    for (let i = 0; i < entries.length; ) {
      const { bytes } = defined(entries[i], 'entry');
      const from = bytes.byteOffset;
      let to = from + bytes.length;
      let next = i + 1;
      for (; next < entries.length; next++) {
        const following = defined(entries[next], 'entry').bytes;
        if (following.byteOffset !== to || following.buffer !== bytes.buffer) break;
        to += following.length;
      }
      this.#bytes(next === i + 1 ? bytes : Buffer.from(bytes.buffer, from, to - from));
      i = next;
    }
  }

  #bytes(run: Buffer): void {
    if (run.length >= LARGE_BYTES) {
      this.#close();
      this.#chunks.push(run);
      this.#length += run.length;
      return;
    }
    const at = this.#room(run.length);
    run.copy(this.#block, at);
  }

  /** Space for the next `n` bytes in `this.#block`; returns where. */
  #room(n: number): number {
    assert(n <= BLOCK_BYTES, 'large runs are not copied');
    if (this.#end + n > this.#block.length) {
      this.#close();
      this.#nextBlock();
    }
    const at = this.#end;
    this.#end += n;
    this.#length += n;
    return at;
  }

  #close(): void {
    if (this.#end > this.#start) this.#chunks.push(this.#block.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #nextBlock(): void {
    this.#blockIndex++;
    const kept = this.#blocks[this.#blockIndex];
    const block = kept ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
    if (kept === undefined) this.#blocks.push(block);
    this.#block = block;
    this.#start = 0;
    this.#end = 0;
  }
}
