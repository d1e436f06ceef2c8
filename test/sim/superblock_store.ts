/** The superblock on a simulated disk. A crash leaves either the old or the new copy of the write under way, whole. */
import { assert } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import type { SuperblockStore } from '../../vr/ports.ts';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../../vr/superblock.ts';
import type { DiskTiming } from './journal.ts';

export class SuperblockDisk {
  current: Superblock;
  /** Told of each superblock that becomes durable, with the one before it. */
  onDurable: (before: Superblock, now: Superblock) => void = () => undefined;

  constructor(initial: Superblock) {
    this.current = initial;
  }

  put(superblock: Superblock): void {
    const before = this.current;
    this.current = superblock;
    this.onDurable(before, superblock);
  }

  /** As it is read back. */
  boot(): Superblock {
    const decoded = decodeSuperblock(encodeSuperblock(this.current));
    assert(decoded.ok, 'a superblock decodes');
    return decoded.value;
  }
}

export interface SuperblockHost {
  readonly random: Prng;
  readonly timing: DiskTiming;
  later(delay: number, action: () => void): void;
  kernelLater(delay: number, action: () => void): void;
  superblockDurable(ticket: number): void;
}

export class SimulatedSuperblockStore implements SuperblockStore {
  readonly #disk: SuperblockDisk;
  readonly #host: SuperblockHost;
  #tickets = 0;
  #queue: Superblock[] = [];
  #inFlight: Superblock | null = null;

  constructor(disk: SuperblockDisk, host: SuperblockHost) {
    this.#disk = disk;
    this.#host = host;
  }

  write(superblock: Superblock): number {
    this.#queue.push(superblock);
    if (this.#inFlight === null) this.#start();
    return ++this.#tickets;
  }

  #start(): void {
    const first = this.#queue[0];
    if (first === undefined) return;
    // Writes that wait behind each other may be made one: the last.
    const coalesced = this.#host.random.chance(0.5) ? this.#queue.length : 1;
    const superblock = this.#queue[coalesced - 1] ?? first;
    this.#queue.splice(0, coalesced);
    this.#inFlight = superblock;
    this.#host.kernelLater(this.#host.timing.syncDelay(), () => {
      this.#disk.put(superblock);
      this.#inFlight = null;
      const durable = this.#tickets - this.#queue.length;
      this.#start();
      this.#host.later(0, () => this.#host.superblockDurable(durable));
    });
  }

  crash(unsynced?: 'kept' | 'lost'): boolean {
    const torn = this.#inFlight;
    const kept = unsynced === undefined ? this.#host.random.chance(0.5) : unsynced === 'kept';
    if (torn !== null && kept) this.#disk.put(torn);
    this.#inFlight = null;
    this.#queue = [];
    return torn !== null;
  }
}
