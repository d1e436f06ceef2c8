/** Which inodes this client holds open, counted: what its keep-alives tell the group (see the operation 'keepAlive'). */
import { KEEP_ALIVE_OPEN_MAX } from '../fsservice/limits.ts';
import type { Ino } from '../lib/ids.ts';

export class OpenFiles {
  readonly #counts = new Map<Ino, number>();
  readonly #released: () => void;

  /** `released` is called when an inode is held no more. */
  constructor(released: () => void) {
    this.#released = released;
  }

  get size(): number {
    return this.#counts.size;
  }

  /** @throws RangeError when the client holds as many inodes as one keep-alive can name */
  open(ino: Ino): void {
    const count = this.#counts.get(ino) ?? 0;
    if (count === 0 && this.#counts.size >= KEEP_ALIVE_OPEN_MAX) throw new RangeError(`${KEEP_ALIVE_OPEN_MAX} inodes are open: one client may hold no more`);
    this.#counts.set(ino, count + 1);
  }

  /** One for each `open`. */
  release(ino: Ino): void {
    const count = this.#counts.get(ino);
    if (count === undefined) throw new RangeError(`inode ${ino} is released but was not open`);
    if (count > 1) {
      this.#counts.set(ino, count - 1);
      return;
    }
    this.#counts.delete(ino);
    this.#released();
  }

  list(): Ino[] {
    return [...this.#counts.keys()];
  }
}
