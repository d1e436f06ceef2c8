/**
 * The files of the journal: `segment-<sequence>.journal`, full of zeros before the first byte is written, so that a
 * group commit changes no metadata of the file (an fdatasync of a growing file takes about twice as long). One
 * segment is always prepared ahead; a collected segment becomes the next prepared one instead of being made anew.
 */
import { constants } from 'node:fs';
import { open, readdir, readFile, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from './directories.ts';
import { encodeSeal, SEAL_AT } from './journal_format.ts';
import type { SegmentBytes } from './journal_scan.ts';

const SEGMENT = /^segment-(\d{12})\.journal$/;
const SPARE = 'spare.journal';
const PREPARING = 'preparing.journal';
const FILL_BYTES = 1 << 20;

export function segmentName(sequence: number): string {
  return `segment-${String(sequence).padStart(12, '0')}.journal`;
}

/** All segments, ascending. Rejects with ENOENT when the directory is absent. */
export async function readSegments(directory: string): Promise<SegmentBytes[]> {
  const segments: SegmentBytes[] = [];
  for (const name of (await readdir(directory)).sort()) {
    const match = SEGMENT.exec(name);
    if (match === null) continue;
    segments.push({ sequence: Number(match[1]), bytes: await readFile(join(directory, name)) });
  }
  return segments;
}

export class SegmentFiles {
  readonly #directory: string;
  readonly #bytes: number;
  #prepared: Promise<void> | null = null;

  constructor(directory: string, bytes: number) {
    this.#directory = directory;
    this.#bytes = bytes;
  }

  path(sequence: number): string {
    return join(this.#directory, segmentName(sequence));
  }

  /** Makes the next file ready in the background; `activate` waits for it. */
  prepare(): Promise<void> {
    this.#prepared ??= this.#makeSpare();
    return this.#prepared;
  }

  /**
   * Turns the prepared file into segment `sequence`, whose first page is `header`. When this returns, the segment with its
   * header is durable: a segment never has a torn header. The descriptor writes synchronously (O_DSYNC).
   */
  async activate(sequence: number, header: Buffer): Promise<FileHandle> {
    await this.prepare();
    const spare = join(this.#directory, SPARE);
    const handle = await open(spare, constants.O_RDWR | constants.O_DSYNC);
    await writeWhole(handle, header, 0);
    await rename(spare, this.path(sequence));
    await syncDirectory(this.#directory);
    this.#prepared = null;
    return handle;
  }

  /** Nothing is done in the background any more; whatever came of the next file, the next start finds out. */
  async settle(): Promise<void> {
    await this.#prepared?.catch(() => undefined);
  }

  /** The segment is not needed any more: it is kept as the next one, or removed. */
  async retire(sequence: number): Promise<void> {
    const path = this.path(sequence);
    const { size } = await stat(path);
    if (this.#prepared === null && size === this.#bytes) {
      this.#prepared = rename(path, join(this.#directory, SPARE));
      await this.#prepared;
      return;
    }
    await unlink(path);
  }

  /** The log goes on in the next segment, which is durable: were that file to go missing, it would be noticed. */
  seal(sequence: number): Promise<void> {
    return this.rewrite(sequence, SEAL_AT, encodeSeal(sequence));
  }

  /** Rewrites bytes in place and waits until they are durable. */
  async rewrite(sequence: number, at: number, bytes: Buffer): Promise<void> {
    const handle = await open(this.path(sequence), constants.O_RDWR | constants.O_DSYNC);
    try {
      await writeWhole(handle, bytes, at);
    } finally {
      await handle.close();
    }
  }

  async #makeSpare(): Promise<void> {
    const spare = join(this.#directory, SPARE);
    if ((await sizeOf(spare)) === this.#bytes) return;
    const preparing = join(this.#directory, PREPARING);
    const handle = await open(preparing, 'w');
    try {
      const zeros = Buffer.alloc(Math.min(FILL_BYTES, this.#bytes));
      for (let at = 0; at < this.#bytes; at += zeros.length) {
        await writeWhole(handle, zeros.subarray(0, Math.min(zeros.length, this.#bytes - at)), at);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(preparing, spare);
  }
}

/** A nearly full disk takes a part of a write; the next one then says so. */
async function writeWhole(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done);
    if (bytesWritten === 0) throw new Error('a write of 0 bytes');
    done += bytesWritten;
  }
}

/** Null: there is no such file. */
async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
