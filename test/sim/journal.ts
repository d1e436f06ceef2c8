/**
 * A journal on a simulated disk, with group commit: what is appended while a write and its sync are under way goes
 * into the next group. A crash keeps some prefix of the group under way (as if the rest was dropped or torn, which
 * the checksums of a real journal find) and nothing of the queue behind it.
 *
 * Two lives: `JournalDisk` survives crashes; `SimulatedJournal` is the port of one process.
 */
import { assert, defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view, type Digest, type OpNumber, type View } from '../../lib/ids.ts';
import type { Prng } from '../../lib/prng.ts';
import type { Entry } from '../../vr/entry.ts';
import type { Journal, JournalRecord } from '../../vr/ports.ts';
import type { BootState } from '../../vr/replica_types.ts';

/** How a simulated disk behaves; numbers in milliseconds. */
export interface DiskTiming {
  /** Time that a write and its sync take. */
  syncDelay(): number;
}

/** What is durable. */
export class JournalDisk {
  base: OpNumber = opNumber(0);
  baseHash: Digest = ZERO_DIGEST;
  entries: Entry[] = [];
  logView: View = view(0);
  /** False after damage that is not a torn tail, until an install has replaced everything from the damage on. */
  intact = true;

  get head(): OpNumber {
    return opNumber(this.base + this.entries.length);
  }

  /** Chain hash at `op`, when the log holds it. */
  hashAt(op: number): Digest | undefined {
    return op === this.base ? this.baseHash : this.entries[op - this.base - 1]?.hash;
  }

  apply(record: JournalRecord): void {
    if (record.type === 'append') {
      const first = defined(record.entries[0], 'entries of an append');
      assert(this.hashAt(this.head) === first.parent && first.op === this.head + 1, `append of op ${first.op} behind ${this.head}`);
      for (const e of record.entries) this.entries.push(e);
      return;
    }
    if (this.hashAt(record.base) === record.baseHash) {
      this.entries.length = record.base - this.base;
    } else {
      // A log that does not hold the base: it starts anew there, as after a checkpoint was taken over.
      this.base = record.base;
      this.baseHash = record.baseHash;
      this.entries = [];
    }
    this.logView = record.logView;
    this.intact = true;
    for (const e of record.entries) this.entries.push(e);
  }

  collect(op: OpNumber): void {
    if (op <= this.base) return;
    const to = Math.min(op, this.head);
    this.baseHash = defined(this.hashAt(to), 'hash of the collected head');
    this.entries.splice(0, to - this.base);
    this.base = opNumber(to);
  }

  /** Damages the entry at `index` for good: what is behind it can no longer be read as one chain. */
  damage(index: number): void {
    this.entries.length = index;
    this.intact = false;
  }

  boot(): BootState['log'] {
    return { base: this.base, baseHash: this.baseHash, entries: this.entries.slice(), logView: this.logView, intact: this.intact };
  }
}

export interface JournalHost {
  readonly random: Prng;
  readonly timing: DiskTiming;
  /** Runs `action` after a delay, unless the process has died; while it is paused, at its end. */
  later(delay: number, action: () => void): void;
  /** Runs `action` after a delay, in the kernel: a paused process does not hold it up, its death does. */
  kernelLater(delay: number, action: () => void): void;
  journalDurable(ticket: number): void;
}

export class SimulatedJournal implements Journal {
  readonly #disk: JournalDisk;
  readonly #host: JournalHost;
  #tickets = 0;
  #queue: JournalRecord[] = [];
  #inFlight: JournalRecord[] = [];

  constructor(disk: JournalDisk, host: JournalHost) {
    this.#disk = disk;
    this.#host = host;
  }

  append(record: JournalRecord): number {
    assert(record.type === 'install' || record.entries.length > 0, 'an append without entries');
    this.#queue.push(record);
    if (this.#inFlight.length === 0) this.#write();
    return ++this.#tickets;
  }

  #write(): void {
    this.#inFlight = this.#queue;
    this.#queue = [];
    this.#host.kernelLater(this.#host.timing.syncDelay(), () => {
      for (const record of this.#inFlight) this.#disk.apply(record);
      this.#inFlight = [];
      const durable = this.#tickets - this.#queue.length;
      if (this.#queue.length > 0) this.#write();
      this.#host.later(0, () => this.#host.journalDurable(durable));
    });
  }

  collect(op: OpNumber): void {
    // Whole segments go: a part of what may go stays.
    this.#disk.collect(opNumber(Math.max(0, op - this.#host.random.below(40))));
  }

  /** The process or the machine dies. Returns the number of records that were lost with it. */
  crash(unsynced?: 'kept' | 'lost'): number {
    const written = this.#inFlight.length;
    const kept = unsynced === undefined ? this.#host.random.between(0, written) : unsynced === 'kept' ? written : 0;
    for (const record of this.#inFlight.slice(0, kept)) this.#disk.apply(record);
    const torn = this.#inFlight[kept];
    // Of a batch that is torn, the first entries may be whole. An install is one step: all of it or nothing.
    if (unsynced === undefined && torn?.type === 'append' && torn.entries.length > 1) {
      const whole = torn.entries.slice(0, this.#host.random.below(torn.entries.length));
      if (whole.length > 0) this.#disk.apply({ type: 'append', entries: whole });
    }
    const lost = this.#inFlight.length - kept + this.#queue.length;
    this.#inFlight = [];
    this.#queue = [];
    return lost;
  }
}

/** Memory mode: keeps nothing, and completes in a later turn. */
export class MemoryJournal implements Journal {
  readonly #host: JournalHost;
  #tickets = 0;

  constructor(host: JournalHost) {
    this.#host = host;
  }

  append(): number {
    const ticket = ++this.#tickets;
    this.#host.later(0, () => this.#host.journalDurable(ticket));
    return ticket;
  }

  collect(): void {
    // There is nothing on disk to collect.
  }

  crash(): number {
    return 0;
  }
}
