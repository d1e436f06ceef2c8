/**
 * The part of the log that is kept in memory: entries behind `base`, one contiguous hash chain. What lies at or
 * below the base is in a durable checkpoint.
 */
import { assert, defined } from '../lib/assert.ts';
import { opNumber, type Digest, type OpNumber } from '../lib/ids.ts';
import type { Entry } from './entry.ts';

export class Log {
  #base: OpNumber;
  #baseHash: Digest;
  // entries[i] is op base + 1 + i - #start; a prefix of the array may be collected already.
  #entries: Entry[] = [];
  #start = 0;
  #bytes = 0;

  constructor(base: OpNumber, baseHash: Digest) {
    this.#base = base;
    this.#baseHash = baseHash;
  }

  get base(): OpNumber {
    return this.#base;
  }
  get head(): OpNumber {
    return (this.#base + this.#entries.length - this.#start) as OpNumber;
  }
  get headHash(): Digest {
    return defined(this.hashAt(this.head), 'hash of the head');
  }
  /** Bytes of the entries held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes of the entries behind `op`. */
  bytesAfter(op: OpNumber): number {
    let bytes = 0;
    for (let i = Math.max(op, this.#base) + 1; i <= this.head; i++) bytes += defined(this.at(i), 'entry').bytes.length;
    return bytes;
  }

  at(op: number): Entry | undefined {
    if (op <= this.#base) return undefined;
    return this.#entries[this.#start + op - this.#base - 1];
  }

  /** The chain hash at `op`, from the base on. */
  hashAt(op: number): Digest | undefined {
    return op === this.#base ? this.#baseHash : this.at(op)?.hash;
  }

  append(entry: Entry): void {
    assert(entry.op === this.head + 1, () => `op ${entry.op} appended behind ${this.head}`);
    assert(entry.parent === this.headHash, () => `op ${entry.op} does not continue the chain`);
    this.#entries.push(entry);
    this.#bytes += entry.bytes.length;
  }

  /** Drops everything behind `op`. */
  truncate(op: OpNumber): void {
    assert(op >= this.#base && op <= this.head, () => `truncate to ${op} outside of ${this.#base}..${this.head}`);
    for (let i = this.#start + op - this.#base; i < this.#entries.length; i++) {
      this.#bytes -= defined(this.#entries[i], 'entry').bytes.length;
    }
    this.#entries.length = this.#start + op - this.#base;
  }

  /**
   * Replaces everything behind `keep` by `entries`, which continue the log there. They may have been collected over some time, in
   * which a checkpoint has moved the base past `keep`: what lies at or below the base is committed and stays away.
   * Returns what is really there now: the op kept, its hash and the entries behind it.
   */
  replaceBehind(keep: OpNumber, entries: readonly Entry[]): { readonly keep: OpNumber; readonly hash: Digest; readonly entries: readonly Entry[] } {
    const kept = opNumber(Math.max(keep, this.#base));
    const fresh = entries.filter((e) => e.op > kept);
    this.truncate(kept);
    const hash = this.headHash;
    for (const e of fresh) this.append(e);
    return { keep: kept, hash, entries: fresh };
  }

  /** Forgets everything at or below `op`. */
  collect(op: OpNumber): void {
    if (op <= this.#base) return;
    const hash = defined(this.hashAt(op), () => `collect up to ${op}, head ${this.head}`);
    for (let i = this.#base + 1; i <= op; i++) this.#bytes -= defined(this.at(i), 'entry').bytes.length;
    this.#start += op - this.#base;
    this.#base = op;
    this.#baseHash = hash;
    // Moving the array down only when a quarter of it is dead keeps this linear over all collections.
    if (this.#start * 4 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Begins anew behind a checkpoint. */
  reset(base: OpNumber, baseHash: Digest): void {
    this.#base = base;
    this.#baseHash = baseHash;
    this.#entries = [];
    this.#start = 0;
    this.#bytes = 0;
  }

  /** Entries after `after` up to `to`, at least one, then as many as fit into `byteLimit`. */
  slice(after: OpNumber, to: OpNumber, byteLimit: number): Entry[] {
    const out: Entry[] = [];
    let bytes = 0;
    for (let op = after + 1; op <= to; op++) {
      const entry = defined(this.at(op), () => `op ${op} of a slice`);
      bytes += entry.bytes.length;
      if (out.length > 0 && bytes > byteLimit) break;
      out.push(entry);
    }
    return out;
  }

  /** The last entries of (after, head] that fit into `byteLimit`; may be none. */
  suffix(after: OpNumber, byteLimit: number): Entry[] {
    let first = this.head + 1;
    let bytes = 0;
    while (first - 1 > after) {
      bytes += defined(this.at(first - 1), 'entry').bytes.length;
      if (bytes > byteLimit) break;
      first--;
    }
    return this.slice(opNumber(first - 1), this.head, Infinity);
  }
}
