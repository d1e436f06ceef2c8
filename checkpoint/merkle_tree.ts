/**
 * The Merkle tree over the records: a trie over the bits of the keys whose shape depends on the set of records alone.
 *
 *   a range with no record          nothing
 *   a range with <= PAGE_RECORDS    a page
 *   a range with more               an inner node at the longest prefix of whole nibbles that its records share; its 16
 *                                   slots are ranges again, and aligned slots that hold <= PAGE_RECORDS together are one page
 *
 * So equal records make equal trees, whatever the order in which they came, and what belongs together (a directory's
 * entries, keys that begin with one inode number) lies in few pages. A tree is a value: `applyChanges` reads the nodes
 * of one and yields the nodes in which the next one differs; nothing is overwritten here.
 *
 * The depth is bounded by the nibbles of a key, and each level of a deep branch costs PAGE_RECORDS records below it.
 */
import { assert } from '../lib/assert.ts';
import { sha256Bytes } from '../lib/hash.ts';
import { PAGE, recordHash } from './hashes.ts';
import { buildInner, decodeInner, innerId, nodeId, type Child, type InnerChild, type PageChild, type Slots } from './inner_node.ts';
import { commonNibbles, keyNibble, matchingNibbles, prefixNibble, prefixOf, slotBits, slotPrefix } from './key_bits.ts';
import {
  PAGE_RECORDS,
  buildPage,
  buildPageOf,
  entriesOfRuns,
  entryOfChange,
  firstKey,
  hashedPart,
  mergePage,
  wholeRun,
  type BuiltPage,
  type Change,
  type Entry,
  type Run,
} from './page.ts';

/** The bytes of a node of the tree that is being read; `hash` is what the node above says of it. Throws when there is no such node. */
export type NodeSource = (id: string, hash: Buffer) => Buffer;

/** A tree: its top node, or null when there are no records. A page as the top covers everything. */
export type Top = Child | null;

export interface TreeUpdate {
  readonly top: Top;
  /** Nodes to write and to remove, by id. */
  readonly puts: ReadonlyMap<string, Buffer>;
  readonly deletes: ReadonlySet<string>;
}

export function recordsOf(top: Top): number {
  return top === null ? 0 : top.records;
}

/** A record as a page has it: key length u16 | key | record hash. */
export function pageEntry(key: Buffer, value: Buffer): Buffer {
  const entry = Buffer.allocUnsafe(34 + key.length);
  entry.writeUInt16BE(key.length, 0);
  entry.set(key, 2);
  entry.latin1Write(recordHash(key, value), 2 + key.length, 32);
  return entry;
}
export function putChange(key: Buffer, value: Buffer): Change {
  return { key, entry: pageEntry(key, value), size: value.length };
}
export function deleteChange(key: Buffer): Change {
  return { key, entry: null, size: 0 };
}

/**
 * Applies changes, which are sorted by key and distinct. Yields after each page, so that a caller can give way to
 * others between any two; the result does not depend on when it does.
 */
export function* applyChanges(source: NodeSource, top: Top, changes: readonly Change[], stamp: number): Generator<void, TreeUpdate> {
  const update = new Update(source, changes, stamp);
  const newTop = yield* update.range(top, 0, 0, changes.length);
  return { top: newTop, puts: update.puts, deletes: update.deletes };
}

/** Runs a generator to its end. */
export function runToEnd<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

const ARENA = 1 << 20;

class Update {
  readonly puts = new Map<string, Buffer>();
  readonly deletes = new Set<string>();
  readonly #source: NodeSource;
  readonly #changes: readonly Change[];
  readonly #stamp: number;
  // Pages live until they are written: one allocation for many of them.
  #arena = Buffer.alloc(0);
  #arenaAt = 0;
  readonly #allocate = (length: number): Buffer => {
    if (length > ARENA >> 4) return Buffer.allocUnsafeSlow(length);
    if (this.#arenaAt + length > this.#arena.length) {
      // A small update shall not cost a large block.
      this.#arena = Buffer.allocUnsafeSlow(this.#arena.length === 0 ? ARENA >> 4 : ARENA);
      this.#arenaAt = 0;
    }
    const at = this.#arenaAt;
    this.#arenaAt += length;
    return this.#arena.subarray(at, at + length);
  };

  constructor(source: NodeSource, changes: readonly Change[], stamp: number) {
    this.#source = source;
    this.#changes = changes;
    this.#stamp = stamp;
  }

  #change(i: number): Change {
    return this.#changes[i] as Change;
  }
  #read(id: string, hash: Buffer): Buffer {
    return this.puts.get(id) ?? this.#source(id, hash);
  }
  #put(id: string, bytes: Buffer): void {
    this.puts.set(id, bytes);
    this.deletes.delete(id);
  }
  #delete(id: string): void {
    this.puts.delete(id);
    this.deletes.add(id);
  }

  /** The node of a range (the keys with a common prefix of `bits` bits) after the changes [i, j), which are all in it. */
  *range(child: Child | null, bits: number, i: number, j: number): Generator<void, Child | null> {
    if (i === j) return child;
    if (child === null) {
      const entries = this.#entries(i, j);
      return entries.length === 0 ? null : yield* this.#build(entries, 0, entries.length, bits, this.#stamp);
    }
    if (child.kind === 'inner') return yield* this.#inner(child, bits, i, j);
    const after = yield* this.#page(child, bits, i, j);
    if (!(after instanceof Overfull)) return after;
    return yield* this.#build(after.entries, 0, after.entries.length, bits, after.lastDelete);
  }

  *#page(child: PageChild, bits: number, i: number, j: number): Generator<void, PageChild | null | Overfull> {
    const id = nodeId(PAGE, prefixOf(this.#change(i).key, bits), bits);
    const merged = mergePage(this.#read(id, child.hash), this.#changes, i, j, this.#stamp);
    yield;
    if (!merged.changed) return child;
    if (merged.count === 0) {
      this.#delete(id);
      return null;
    }
    if (merged.count <= PAGE_RECORDS) {
      const built = buildPage(merged.runs, merged.count, merged.lastDelete, this.#stamp, this.#allocate);
      return this.#emitPage(id, built, merged.count, child.span);
    }
    this.#delete(id);
    return new Overfull(entriesOfRuns(merged.runs, this.#stamp), merged.lastDelete);
  }

  *#inner(child: InnerChild, bits: number, i: number, j: number): Generator<void, Child | null> {
    const known = bits >> 2;
    // A new record outside the node's prefix moves the branch up to where it parts from it.
    let nibbles = child.nibbles;
    for (let c = i; c < j; c++) {
      const change = this.#change(c);
      if (change.entry !== null) nibbles = Math.min(nibbles, matchingNibbles(change.key, child.prefix, nibbles, known));
    }
    const parted = nibbles < child.nibbles;
    let slots: Slots;
    if (parted) {
      slots = new Array<Child | null>(16).fill(null);
      // It stands in another slot now: a new stamp, so that a fetcher is told.
      slots[prefixNibble(child.prefix, nibbles)] = { ...child, stamp: this.#stamp };
    } else {
      slots = decodeInner(this.#read(innerId(child), child.hash)).slots;
    }
    let changed = parted;
    let shrunk = false;
    let c = i;
    while (c < j) {
      const { key } = this.#change(c);
      if (matchingNibbles(key, child.prefix, nibbles, known) < nibbles) {
        c++; // a delete of a record that is not there
        continue;
      }
      const unit = unitOf(slots, keyNibble(key, nibbles));
      let end = c + 1;
      while (end < j && this.#isIn(end, child.prefix, nibbles, known, unit)) end++;
      const before = recordsIn(slots, unit.slot, unit.span);
      if (yield* this.#unit(slots, nibbles, unit, c, end)) {
        changed = true;
        if (recordsIn(slots, unit.slot, unit.span) < before) shrunk = true;
      }
      c = end;
    }
    if (!changed) return child;
    const prefix = parted ? shortened(child.prefix, nibbles) : child.prefix;
    return this.#finish(slots, prefix, nibbles, bits, parted ? null : child, shrunk);
  }

  #isIn(c: number, prefix: Buffer, nibbles: number, known: number, unit: Unit): boolean {
    const { key } = this.#change(c);
    if (matchingNibbles(key, prefix, nibbles, known) < nibbles) return false;
    const nibble = keyNibble(key, nibbles);
    return nibble >= unit.slot && nibble < unit.slot + unit.span;
  }

  // Applies changes to one child, or to an empty range, in place in `slots`. False: they changed nothing.
  *#unit(slots: Slots, nibbles: number, { slot, span }: Unit, i: number, j: number): Generator<void, boolean> {
    const child = slots[slot] as Child | null;
    if (child === null) {
      const entries = this.#entries(i, j);
      yield* this.#place(slots, entries, 0, entries.length, nibbles, slot, span, this.#stamp);
      return entries.length > 0;
    }
    const after = child.kind === 'inner'
      ? yield* this.#inner(child, (nibbles + 1) * 4, i, j)
      : yield* this.#page(child, slotBits(nibbles, span), i, j);
    if (after === child) return false;
    slots[slot] = after instanceof Overfull ? null : after;
    if (after instanceof Overfull) yield* this.#place(slots, after.entries, 0, after.entries.length, nibbles, slot, span, after.lastDelete);
    return true;
  }

  #entries(i: number, j: number): Entry[] {
    const out: Entry[] = [];
    for (let c = i; c < j; c++) {
      const change = this.#change(c);
      if (change.entry !== null) out.push(entryOfChange(change, this.#stamp));
    }
    return out;
  }

  /** Places the records [a, b), which all fall into the empty slots [slot, slot + span), as pages and inner nodes. */
  *#place(slots: Slots, entries: Entry[], a: number, b: number, nibbles: number, slot: number, span: number, deleted: number): Generator<void, void> {
    if (a === b) return;
    if (b - a <= PAGE_RECORDS) {
      slots[slot] = this.#pageOf(entries, a, b, slotBits(nibbles, span), span, deleted);
      yield;
    } else if (span === 1) {
      slots[slot] = yield* this.#build(entries, a, b, (nibbles + 1) * 4, deleted);
    } else {
      const half = span >> 1;
      let middle = a;
      while (middle < b && keyNibble((entries[middle] as Entry).key, nibbles) < slot + half) middle++;
      yield* this.#place(slots, entries, a, middle, nibbles, slot, half, deleted);
      yield* this.#place(slots, entries, middle, b, nibbles, slot + half, half, deleted);
    }
  }

  /** The node of a range of `bits` bits that holds exactly the records [a, b). */
  *#build(entries: Entry[], a: number, b: number, bits: number, deleted: number): Generator<void, Child> {
    const first = (entries[a] as Entry).key;
    if (b - a <= PAGE_RECORDS) {
      yield;
      return this.#pageOf(entries, a, b, bits, 1, deleted);
    }
    const nibbles = commonNibbles(first, (entries[b - 1] as Entry).key, bits >> 2);
    const slots: Slots = new Array<Child | null>(16).fill(null);
    yield* this.#place(slots, entries, a, b, nibbles, 0, 16, deleted);
    return this.#emitInner(slots, prefixOf(first, nibbles * 4), nibbles);
  }

  #pageOf(entries: Entry[], a: number, b: number, bits: number, span: number, deleted: number): PageChild {
    const id = nodeId(PAGE, prefixOf((entries[a] as Entry).key, bits), bits);
    return this.#emitPage(id, buildPageOf(entries, a, b, deleted, this.#allocate), b - a, span);
  }

  #emitPage(id: string, built: BuiltPage, records: number, span: number): PageChild {
    this.#put(id, built.bytes);
    return { kind: 'page', span, hash: sha256Bytes(hashedPart(built.bytes)), records, stamp: this.#stamp, recordBytes: built.recordBytes };
  }
  #emitInner(slots: Slots, prefix: Buffer, nibbles: number): InnerChild {
    const built = buildInner(slots, prefix, nibbles, this.#stamp);
    this.#put(innerId(built.child), built.bytes);
    return built.child;
  }

  // Restores the shape after the slots changed: deletes may have left ranges that are pages now, or a lone child.
  #finish(slots: Slots, prefix: Buffer, nibbles: number, bits: number, was: InnerChild | null, shrunk: boolean): Child | null {
    const records = recordsIn(slots, 0, 16);
    if (records <= PAGE_RECORDS) {
      if (was !== null) this.#delete(innerId(was));
      if (records === 0) return null;
      return this.#fuse(slots, prefix, nibbles, 0, 16, bits, 1);
    }
    if (shrunk) {
      this.#normalize(slots, prefix, nibbles, 0, 8);
      this.#normalize(slots, prefix, nibbles, 8, 8);
    }
    const children = slots.filter((child) => child !== null);
    const lone = children[0];
    if (children.length === 1 && lone !== undefined) {
      assert(lone.kind === 'inner', 'a lone page has no more records than a page');
      if (was !== null) this.#delete(innerId(was));
      return { ...lone, stamp: this.#stamp };
    }
    return this.#emitInner(slots, prefix, nibbles);
  }

  #normalize(slots: Slots, prefix: Buffer, nibbles: number, slot: number, span: number): void {
    const records = recordsIn(slots, slot, span);
    if (records === 0) return;
    if (records > PAGE_RECORDS) {
      if (span === 1) return;
      this.#normalize(slots, prefix, nibbles, slot, span >> 1);
      this.#normalize(slots, prefix, nibbles, slot + (span >> 1), span >> 1);
      return;
    }
    const first = slots[slot] as Child | null;
    if (first !== null && first.kind === 'page' && first.span === span) return;
    const page = this.#fuse(slots, prefix, nibbles, slot, span, slotBits(nibbles, span), span);
    for (let i = slot; i < slot + span; i++) slots[i] = null;
    slots[slot] = page;
  }

  // One page of everything in the slots [slot, slot + span).
  #fuse(slots: Slots, prefix: Buffer, nibbles: number, slot: number, span: number, bits: number, pageSpan: number): PageChild {
    const runs: Run[] = [];
    this.#gather(runs, slots, prefix, nibbles, slot, slot + span);
    let count = 0;
    for (const run of runs) count += run.count;
    const key = firstKey((runs[0] as Run).bytes);
    const id = nodeId(PAGE, prefixOf(key, bits), bits);
    // Records were deleted from this range, and which pages they were in is no longer known.
    return this.#emitPage(id, buildPage(runs, count, this.#stamp, this.#stamp, this.#allocate), count, pageSpan);
  }

  #gather(runs: Run[], slots: Slots, prefix: Buffer, nibbles: number, from: number, to: number): void {
    for (let slot = from; slot < to; slot++) {
      const child = slots[slot] as Child | null;
      if (child === null) continue;
      if (child.kind === 'page') {
        const id = nodeId(PAGE, slotPrefix(prefix, nibbles, slot), slotBits(nibbles, child.span));
        runs.push(wholeRun(this.#read(id, child.hash)));
        this.#delete(id);
      } else {
        const id = innerId(child);
        this.#gather(runs, decodeInner(this.#read(id, child.hash)).slots, child.prefix, child.nibbles, 0, 16);
        this.#delete(id);
      }
    }
  }
}

/** The records of a page that has grown too large. */
class Overfull {
  readonly entries: Entry[];
  readonly lastDelete: number;
  constructor(entries: Entry[], deleted: number) {
    this.entries = entries;
    this.lastDelete = deleted;
  }
}

/** The first slot and the span of a child, or of the widest aligned range of empty slots around one. */
interface Unit {
  readonly slot: number;
  readonly span: number;
}

function unitOf(slots: Slots, nibble: number): Unit {
  for (let span = 8; span > 0; span >>= 1) {
    const slot = nibble & ~(span - 1);
    const child = slots[slot] as Child | null;
    if (child !== null && child.kind === 'page' && child.span === span) return { slot, span };
  }
  if (slots[nibble] !== null) return { slot: nibble, span: 1 };
  let unit: Unit = { slot: nibble, span: 1 };
  for (let span = 2; span <= 8; span <<= 1) {
    const slot = nibble & ~(span - 1);
    for (let i = slot; i < slot + span; i++) if (slots[i] !== null) return unit;
    unit = { slot, span };
  }
  return unit;
}

function recordsIn(slots: Slots, slot: number, span: number): number {
  let records = 0;
  for (let i = slot; i < slot + span; i++) records += recordsOf(slots[i] as Child | null);
  return records;
}

// The prefix of a node cut down to fewer nibbles.
function shortened(prefix: Buffer, nibbles: number): Buffer {
  const out = Buffer.from(prefix.subarray(0, (nibbles + 1) >> 1));
  if ((nibbles & 1) === 1) out[nibbles >> 1] = (out[nibbles >> 1] as number) & 0xf0;
  return out;
}
