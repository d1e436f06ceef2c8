/**
 * LevelDB's own log, which holds what no table has yet: on a small store nearly everything. When LevelDB opens a database it
 * leaves out of its logs what does not check, and says nothing: what was written before and behind is there then, and what was
 * in between is not. So the logs are compared with their checksums before that; afterwards they are gone.
 *
 *   log      blocks of 32 KiB, of fragments (level_manifest.ts); zeros where fewer than 7 bytes are left of a block
 *   record   a whole fragment, or a first one, others, and a last one: sequence number u64 | entries u32 | entries   little endian
 *
 * Each record is on the disk before the next is begun. So the last one may be torn by a crash in any way (cut off, zeros in
 * its place, a piece from its middle missing) and was promised to nobody: the database is then at the record before it. One
 * that another begins behind was whole once, and is damaged when it is not.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c, unmasked } from './crc32c.ts';
import { BLOCK_BYTES, HEADER_BYTES, RecordType, liveFiles } from './level_manifest.ts';
import { namesIn } from './level_tables.ts';
import type { Slices } from './slices.ts';

const LOG = /^\d+\.log$/;
const READ_BYTES = 32 * BLOCK_BYTES;
/** Sequence number and number of entries of a record. */
const HEAD_BYTES = 12;

export interface LogDamage {
  readonly name: string;
  /** Where the first piece is that does not check. Null: the disk cannot read it. */
  readonly at: number | null;
}

/** Of the logs that LevelDB will read when it opens the database. Null: nothing is wrong, or nobody can say which they are; then LevelDB does not open either. */
export async function checkLogs(directory: string, slices: Slices): Promise<LogDamage | null> {
  const names = await namesIn(directory);
  const live = await liveFiles(directory, names);
  if (live === null) return null;
  const numbered = names.filter((name) => LOG.test(name)).map((name) => ({ name, number: Number.parseInt(name, 10) }));
  const check = new LogCheck();
  for (const { name, number } of numbered.sort((a, b) => a.number - b.number)) {
    if (number < live.firstLog && number !== live.previousLog) continue;
    check.begin(name);
    if (!(await readBlocks(join(directory, name), (block) => { check.block(block); }, slices))) return { name, at: null };
    check.end();
    if (check.damage !== null) return check.damage;
  }
  return null;
}

/** False: there is a sector that the disk cannot read. That is no torn write. */
async function readBlocks(path: string, each: (block: Buffer) => void, slices: Slices): Promise<boolean> {
  slices.pause();
  const handle = await open(path, 'r');
  try {
    const memory = Buffer.allocUnsafeSlow(READ_BYTES);
    for (let position = 0, length = READ_BYTES; length === READ_BYTES; position += length) {
      length = await fill(handle, memory, position);
      slices.begin();
      for (let at = 0; at < length; at += BLOCK_BYTES) {
        each(memory.subarray(at, Math.min(at + BLOCK_BYTES, length)));
        if (slices.over) await slices.giveWay();
      }
      slices.pause();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EIO') return false;
    throw error;
  } finally {
    await handle.close();
    slices.begin();
  }
}

/** As many bytes as there are from a position on, or as there is room for. */
async function fill(handle: FileHandle, memory: Buffer, position: number): Promise<number> {
  let length = 0;
  while (length < memory.length) {
    const { bytesRead } = await handle.read(memory, length, memory.length - length, position + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

/** Goes through the blocks of logs, in the order in which they were written. */
export class LogCheck {
  /** Set when it is known that something was lost. */
  damage: LogDamage | null = null;
  #name = '';
  /** Where the block begins in this log, and in all of them. */
  #offset = 0;
  #position = 0;
  /** The first piece that does not check: damaged if a record begins behind it. */
  #suspect: LogDamage | null = null;
  /** Behind the last whole record: the sequence number that comes next, and where that record ends in all logs. */
  #next: number | null = null;
  #wholeEnd = 0;
  /** Where the record begins that has no end yet, and its first bytes. */
  #open: number | null = null;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headLength = 0;

  begin(name: string): void {
    this.#name = name;
    this.#offset = 0;
  }

  /** All of them are of 32 KiB but the last. */
  block(bytes: Buffer): void {
    let at = 0;
    while (at + HEADER_BYTES <= bytes.length) {
      if (fragmentChecks(bytes, at)) {
        this.#fragment(bytes, at);
        at = endOf(bytes, at);
      } else {
        this.#suspectAt(this.#offset + at);
        at = this.#resume(bytes, at);
      }
    }
    // The header of the next one was cut off.
    if (at < bytes.length && bytes.length < BLOCK_BYTES) this.#suspectAt(this.#offset + at);
    this.#offset += bytes.length;
    this.#position += bytes.length;
  }

  end(): void {
    if (this.#open !== null) this.#suspectAt(this.#open);
  }

  #suspectAt(at: number): void {
    this.#suspect ??= { name: this.#name, at };
    this.#open = null;
  }

  #fragment(bytes: Buffer, at: number): void {
    const type = bytes[at + 6];
    const begins = type === RecordType.whole || type === RecordType.first;
    if (begins) {
      // The one before it has no end.
      if (this.#open !== null) this.#suspectAt(this.#open);
      this.#open = this.#offset + at;
      this.#headLength = 0;
    } else if (this.#open === null) {
      this.#suspectAt(this.#offset + at);
      return;
    }
    const end = endOf(bytes, at);
    if (this.#headLength < HEAD_BYTES) {
      this.#headLength += bytes.copy(this.#head, this.#headLength, at + HEADER_BYTES, end);
      if (this.#headLength === HEAD_BYTES && this.#follows(at)) this.damage ??= this.#suspect;
    }
    if (type !== RecordType.whole && type !== RecordType.last) return;
    this.#open = null;
    if (this.#suspect !== null || this.#headLength < HEAD_BYTES) return;
    this.#next = this.#sequence() + this.#head.readUInt32LE(8);
    this.#wholeEnd = this.#position + end;
  }

  /**
   * Whether the record that begins was written behind the last whole one. What lies in a torn piece may be anything, also
   * records of another log: a file of which somebody has stored a copy, or one that was deleted. Each entry takes more than a byte.
   */
  #follows(at: number): boolean {
    if (this.#next === null) return true;
    const lost = this.#sequence() - this.#next;
    return lost >= 0 && lost <= this.#position + at - this.#wholeEnd;
  }

  /**
   * Where to go on behind a fragment that does not check: where it says that it ends, or wherever another record begins in this block. LevelDB goes on with the next
   * block, so what is found in this one tells of damage and is in nobody's state. Without a whole record before nobody could say whether it is one of this log.
   */
  #resume(bytes: Buffer, at: number): number {
    const end = endOf(bytes, at);
    if (end + HEADER_BYTES > bytes.length ? end <= bytes.length : fragmentChecks(bytes, end)) return end;
    if (this.#next === null) return bytes.length;
    for (let next = at + 1; next + HEADER_BYTES <= bytes.length; next++) {
      const type = bytes[next + 6];
      if ((type === RecordType.whole || type === RecordType.first) && fragmentChecks(bytes, next)) return next;
    }
    return bytes.length;
  }

  #sequence(): number {
    return Number(this.#head.readBigUInt64LE(0));
  }
}

function endOf(bytes: Buffer, at: number): number {
  return at + HEADER_BYTES + bytes.readUInt16LE(at + 4);
}

function fragmentChecks(bytes: Buffer, at: number): boolean {
  const type = bytes[at + 6] as number;
  if (type < RecordType.whole || type > RecordType.last) return false;
  const end = endOf(bytes, at);
  return end <= bytes.length && unmasked(bytes.readUInt32LE(at)) === crc32c(bytes, at + 6, end);
}
