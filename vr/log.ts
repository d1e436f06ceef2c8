/**
 * The part of the log that is kept in memory: entries behind `base`, one contiguous hash chain. What lies at or
 * below the base is in a durable checkpoint. The newest are objects; what has been executed is packed (packed_entries.ts).
 */
import { assert, defined } from '../lib/assert.ts';
import { opNumber, type Digest, type OpNumber } from '../lib/ids.ts';
import type { Entry } from './entry.ts';
import { PackedEntries } from './packed_entries.ts';

/** So many entries are packed at a time, and about so many bytes. */
const PACK_ENTRIES = 256;
const PACK_BYTES = 256 << 10;

export class Log {
  #base: OpNumber;
  #baseHash: Digest;
  /** In order, without gaps. The first may begin at or below the base. */
  #packed: PackedEntries[] = [];
  /** Entries behind this one are in `#recent`. */
  #packedUpTo: OpNumber;
  #recent: Entry[] = [];
  #bytes = 0;
  readonly #packEntries: number;

  /** `packEntries`: so many are packed at a time. */
  constructor(base: OpNumber, baseHash: Digest, packEntries = PACK_ENTRIES) {
    this.#packEntries = packEntries;
    this.#base = base;
    this.#baseHash = baseHash;
    this.#packedUpTo = base;
  }

  get base(): OpNumber {
    return this.#base;
  }
  get head(): OpNumber {
    return (this.#packedUpTo + this.#recent.length) as OpNumber;
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
    const after = Math.max(op, this.#base);
    let bytes = 0;
    for (const piece of this.#packed) bytes += piece.bytesOf(after, this.#packedUpTo);
    for (let i = Math.max(0, after - this.#packedUpTo); i < this.#recent.length; i++) bytes += defined(this.#recent[i], 'entry').bytes.length;
    return bytes;
  }

  /** The first op from `from` to `to` with so many bytes behind it at most; `to` if there is none. */
  firstWithin(bytes: number, from: OpNumber, to: OpNumber): OpNumber {
    if (this.bytesAfter(from) <= bytes) return from;
    let low: number = from;
    for (let high: number = to; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.bytesAfter(opNumber(middle)) <= bytes) high = middle;
      else low = middle + 1;
    }
    return opNumber(low);
  }

  at(op: number): Entry | undefined {
    if (op <= this.#base) return undefined;
    if (op > this.#packedUpTo) return this.#recent[op - this.#packedUpTo - 1];
    return this.#packedAt(op).at(op, defined(this.hashAt(op - 1), 'hash of the entry before'));
  }

  /** The chain hash at `op`, from the base on. */
  hashAt(op: number): Digest | undefined {
    if (op === this.#base) return this.#baseHash;
    if (op < this.#base) return undefined;
    return op > this.#packedUpTo ? this.#recent[op - this.#packedUpTo - 1]?.hash : this.#packedAt(op).hashAt(op);
  }

  #lengthAt(op: number): number {
    if (op > this.#packedUpTo) return defined(this.#recent[op - this.#packedUpTo - 1], 'entry').bytes.length;
    return this.#packedAt(op).bytesOf(op - 1, op);
  }

  /** The piece with `op`, which is packed. */
  #packedAt(op: number): PackedEntries {
    let low = 0;
    for (let high = this.#packed.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if (defined(this.#packed[middle], 'piece').last < op) low = middle + 1;
      else high = middle;
    }
    return defined(this.#packed[low], 'piece');
  }

  append(entry: Entry): void {
    assert(entry.op === this.head + 1, () => `op ${entry.op} appended behind ${this.head}`);
    assert(entry.parent === this.headHash, () => `op ${entry.op} does not continue the chain`);
    this.#recent.push(entry);
    this.#bytes += entry.bytes.length;
  }

  /** Nobody here needs what is up to `op` any more: it is executed. Some of it may stay as it is until there is more. */
  pack(op: OpNumber): void {
    let start = 0;
    while (op - this.#packedUpTo - start >= this.#packEntries) {
      let end = start;
      for (let bytes = 0; end - start < this.#packEntries && bytes < PACK_BYTES; end++) bytes += defined(this.#recent[end], 'executed entry').bytes.length;
      this.#packed.push(new PackedEntries(this.#recent.slice(start, end)));
      start = end;
    }
    if (start === 0) return;
    this.#recent = this.#recent.slice(start);
    this.#packedUpTo = opNumber(this.#packedUpTo + start);
  }

  /** Drops everything behind `op`. */
  truncate(op: OpNumber): void {
    assert(op >= this.#base && op <= this.head, () => `truncate to ${op} outside of ${this.#base}..${this.head}`);
    this.#bytes -= this.bytesAfter(op);
    this.#recent.length = Math.max(0, op - this.#packedUpTo);
    if (op >= this.#packedUpTo) return;
    while ((this.#packed.at(-1)?.first ?? 0) > op) this.#packed.pop();
    this.#packed.at(-1)?.truncate(op);
    this.#packedUpTo = op;
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
    this.#bytes = this.bytesAfter(op);
    this.#base = op;
    this.#baseHash = hash;
    const first = this.#packed.findIndex((piece) => piece.last > op);
    this.#packed = first === -1 ? [] : this.#packed.slice(first);
    if (op > this.#packedUpTo) {
      this.#recent = this.#recent.slice(op - this.#packedUpTo);
      this.#packedUpTo = op;
    }
  }

  /** Begins anew behind a checkpoint. */
  reset(base: OpNumber, baseHash: Digest): void {
    this.#base = base;
    this.#baseHash = baseHash;
    this.#packed = [];
    this.#packedUpTo = base;
    this.#recent = [];
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
      bytes += this.#lengthAt(first - 1);
      if (bytes > byteLimit) break;
      first--;
    }
    return this.slice(opNumber(first - 1), this.head, Infinity);
  }
}
