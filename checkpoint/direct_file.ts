/**
 * Reading a file past the kernel's page cache, so that what is compared is what the disk holds and not what was written
 * hours ago and is still in memory. Linux has O_DIRECT for it; its reads need memory at an aligned address, which
 * JavaScript cannot ask for, so the place in a larger buffer is found by trying. Where a file system has no such reads
 * (tmpfs, some network file systems), or another system is under it, the page cache has to do, and the caller is told.
 */
import { constants, open, type FileHandle } from 'node:fs/promises';

/** Multiples of it satisfy every block device. */
const ALIGN = 4096;
const CHUNK = 256 << 10;

export interface DiskRead {
  readonly bytes: Buffer;
  /** They came from the disk, not from the page cache. */
  readonly direct: boolean;
}

/** Reads whole files, one at a time. */
export class DirectReader {
  readonly #memory = Buffer.allocUnsafeSlow(CHUNK + ALIGN);
  /** Where in `#memory` an aligned address lies; null: not known yet. */
  #aligned: number | null = null;

  /** Rejects as `readFile` does: ENOENT for a file that has gone, EIO for a sector that cannot be read. */
  async read(path: string): Promise<DiskRead> {
    const handle = await openDirect(path);
    if (handle === null) return { bytes: await readBuffered(path), direct: false };
    try {
      const bytes = await this.#readAll(handle);
      return bytes === null ? { bytes: await readBuffered(path), direct: false } : { bytes, direct: true };
    } finally {
      await handle.close();
    }
  }

  /** Null: this file system opens files so, and then does not read them. */
  async #readAll(handle: FileHandle): Promise<Buffer | null> {
    const { size } = await handle.stat();
    const bytes = Buffer.allocUnsafeSlow(size);
    let at = 0;
    while (at < size) {
      const n = await this.#chunk(handle, at);
      if (n === null) return null;
      if (n === 0) break;
      this.#memory.copy(bytes, at, this.#aligned ?? 0, (this.#aligned ?? 0) + n);
      at += n;
      // A short read that does not end on a block is the end of the file.
      if (n % ALIGN !== 0) break;
    }
    return bytes.subarray(0, at);
  }

  async #chunk(handle: FileHandle, at: number): Promise<number | null> {
    if (this.#aligned !== null) return readAt(handle, this.#memory, this.#aligned, at);
    // Memory of this size begins at a multiple of 16.
    for (let offset = 0; offset < ALIGN; offset += 16) {
      const n = await readAt(handle, this.#memory, offset, at);
      if (n === null) continue;
      this.#aligned = offset;
      return n;
    }
    return null;
  }
}

/** Null: not so aligned. */
async function readAt(handle: FileHandle, memory: Buffer, offset: number, at: number): Promise<number | null> {
  try {
    return (await handle.read(memory, offset, CHUNK, at)).bytesRead;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return null;
    throw error;
  }
}

const O_DIRECT: number | undefined = constants.O_DIRECT;

async function openDirect(path: string): Promise<FileHandle | null> {
  if (O_DIRECT === undefined) return null;
  try {
    return await open(path, constants.O_RDONLY | O_DIRECT);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EINVAL' || code === 'EOPNOTSUPP') return null;
    throw error;
  }
}

/** Through the page cache. */
export async function readBuffered(path: string): Promise<Buffer> {
  const handle = await open(path, 'r');
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}
