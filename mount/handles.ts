/** Open files and directories of one mount: small positive numbers, as the kernel and libfuse carry them (32 bits, never 0). */
import type { Ino } from '../lib/ids.ts';

export interface OpenFile {
  readonly ino: Ino;
  /** O_APPEND when it was opened: a write goes to the end of the file as it is then, unless the kernel says otherwise of that write. */
  readonly append: boolean;
  /** Whether the session holds the inode for it: an open file always, an open directory as long as there is room. */
  readonly held: boolean;
}

const HANDLE_MAX = 0x7fff_ffff;

export class HandleTable {
  readonly #files = new Map<number, OpenFile>();
  #next = 1;

  get size(): number {
    return this.#files.size;
  }

  add(file: OpenFile): number {
    // After 2^31 opens the numbers start again: those still open are stepped over.
    while (this.#files.has(this.#next)) this.#advance();
    const handle = this.#next;
    this.#files.set(handle, file);
    this.#advance();
    return handle;
  }

  get(handle: number): OpenFile | undefined {
    return this.#files.get(handle);
  }

  remove(handle: number): OpenFile | undefined {
    const file = this.#files.get(handle);
    this.#files.delete(handle);
    return file;
  }

  /** The handles in use, as they are now. */
  numbers(): number[] {
    return [...this.#files.keys()];
  }

  #advance(): void {
    this.#next = this.#next === HANDLE_MAX ? 1 : this.#next + 1;
  }
}
