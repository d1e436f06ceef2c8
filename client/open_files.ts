/** Which inodes this client holds open, counted: what its keep-alives tell the group (see the operation 'keepAlive'). */
import { KEEP_ALIVE_OPEN_MAX } from '../fsservice/limits.ts';
import type { Ino } from '../lib/ids.ts';

export class OpenFiles {
  readonly #counts = new Map<Ino, number>();
  readonly #released: () => void;
  #reserved = 0;

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
    if (count === 0) this.#assertRoom();
    this.#counts.set(ino, count + 1);
  }

  /** Keeps a place for an inode that has no number yet, until `unreserve`; then `open` takes it, in the same turn. @throws RangeError as `open` does */
  reserve(): void {
    this.#assertRoom();
    this.#reserved++;
  }

  /** One for each `reserve`. */
  unreserve(): void {
    if (this.#reserved === 0) throw new RangeError('no place is reserved');
    this.#reserved--;
  }

  #assertRoom(): void {
    if (this.#counts.size + this.#reserved >= KEEP_ALIVE_OPEN_MAX) throw new RangeError(`${KEEP_ALIVE_OPEN_MAX} inodes are open: one client may hold no more`);
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
