/**
 * The superblock on a simulated disk: two copies, written one after the other, the worse one first; a write is complete when
 * both are durable. A crash leaves the copy under way old, new or torn. A flipped bit makes one copy unreadable, never both.
 */
import { assert } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import type { SuperblockStore } from '../../vr/ports.ts';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../../vr/superblock.ts';
import type { DiskTiming } from './journal.ts';

interface Copy {
  superblock: Superblock;
  sequence: number;
  whole: boolean;
}

export class SuperblockDisk {
  /** Told of each superblock that becomes durable, with the one before it. */
  onDurable: (before: Superblock, now: Superblock) => void = () => undefined;
  readonly #copies: readonly [Copy, Copy];

  constructor(initial: Superblock) {
    this.#copies = [{ superblock: initial, sequence: 1, whole: true }, { superblock: initial, sequence: 1, whole: true }];
  }

  /** What is found whatever happens to one copy: the older superblock of two whole copies, or the only one there is. */
  get current(): Superblock {
    const [a, b] = this.#copies;
    if (!a.whole || !b.whole) return this.#newest().superblock;
    return a.sequence < b.sequence ? a.superblock : b.superblock;
  }

  get nextSequence(): number {
    return Math.max(this.#copies[0].sequence, this.#copies[1].sequence) + 1;
  }

  /** The copy that is written first: never the only good one. */
  worse(): 0 | 1 {
    const [a, b] = this.#copies;
    if (a.whole !== b.whole) return a.whole ? 1 : 0;
    return a.sequence <= b.sequence ? 0 : 1;
  }

  /** @param whole false: the write was torn. */
  writeCopy(index: 0 | 1, superblock: Superblock, sequence: number, whole = true): void {
    const before = this.current;
    const copy = this.#copies[index];
    copy.superblock = superblock;
    copy.sequence = sequence;
    copy.whole = whole;
    assert(this.#copies.some((c) => c.whole), 'a write tears the only copy');
    const now = this.current;
    if (now !== before) this.onDurable(before, now);
  }

  /** Both copies at once. */
  put(superblock: Superblock): void {
    const sequence = this.nextSequence;
    this.writeCopy(0, superblock, sequence);
    this.writeCopy(1, superblock, sequence);
  }

  /** A bit of one copy flips. False when the other could not stand in for it. */
  damageCopy(random: Prng): boolean {
    if (!this.#copies.every((c) => c.whole)) return false;
    this.#copies[random.below(2) as 0 | 1].whole = false;
    return true;
  }

  /** As it is read back: the newest whole copy. */
  boot(): Superblock {
    const decoded = decodeSuperblock(encodeSuperblock(this.#newest().superblock));
    assert(decoded.ok, 'a superblock decodes');
    return decoded.value;
  }

  #newest(): Copy {
    const [a, b] = this.#copies;
    if (!a.whole) return b;
    return !b.whole || a.sequence >= b.sequence ? a : b;
  }
}

export interface SuperblockHost {
  readonly random: Prng;
  readonly timing: DiskTiming;
  later(delay: number, action: () => void): void;
  kernelLater(delay: number, action: () => void): void;
  superblockDurable(ticket: number): void;
}

interface Writing {
  readonly superblock: Superblock;
  readonly sequence: number;
  /** The copy that is being written. */
  copy: 0 | 1;
}

export class SimulatedSuperblockStore implements SuperblockStore {
  readonly #disk: SuperblockDisk;
  readonly #host: SuperblockHost;
  #tickets = 0;
  #queue: Superblock[] = [];
  #writing: Writing | null = null;

  constructor(disk: SuperblockDisk, host: SuperblockHost) {
    this.#disk = disk;
    this.#host = host;
  }

  write(superblock: Superblock): number {
    this.#queue.push(superblock);
    if (this.#writing === null) this.#start();
    return ++this.#tickets;
  }

  #start(): void {
    const first = this.#queue[0];
    if (first === undefined) return;
    // Writes that wait behind each other may be made one: the last.
    const coalesced = this.#host.random.chance(0.5) ? this.#queue.length : 1;
    const superblock = this.#queue[coalesced - 1] ?? first;
    this.#queue.splice(0, coalesced);
    const writing: Writing = { superblock, sequence: this.#disk.nextSequence, copy: this.#disk.worse() };
    this.#writing = writing;
    const delay = this.#host.timing.syncDelay();
    const half = Math.floor(delay / 2);
    this.#host.kernelLater(half, () => {
      this.#disk.writeCopy(writing.copy, superblock, writing.sequence);
      writing.copy = writing.copy === 0 ? 1 : 0;
      this.#host.kernelLater(delay - half, () => this.#finish(writing));
    });
  }

  #finish(writing: Writing): void {
    this.#disk.writeCopy(writing.copy, writing.superblock, writing.sequence);
    this.#writing = null;
    const durable = this.#tickets - this.#queue.length;
    this.#start();
    this.#host.later(0, () => this.#host.superblockDurable(durable));
  }

  crash(unsynced?: 'kept' | 'lost'): boolean {
    const writing = this.#writing;
    if (writing !== null) {
      const how = unsynced ?? this.#host.random.pick(['kept', 'lost', 'torn'] as const);
      if (how !== 'lost') this.#disk.writeCopy(writing.copy, writing.superblock, writing.sequence, how === 'kept');
    }
    this.#writing = null;
    this.#queue = [];
    return writing !== null;
  }
}
