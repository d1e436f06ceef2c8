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
import { endOfRun } from '../lib/sorted.ts';
import { PAGE } from './hashes.ts';
import { InnerDraft, buildInner, decodeInner, innerId, nodeId, type BuiltInner, type Child, type HashedNode, type InnerChild, type PageChild, type Slots } from './inner_node.ts';
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
  pageEntry,
  wholeRun,
  type BuiltPage,
  type Change,
  type Entry,
  type Run,
} from './page.ts';

/** The bytes of a node, as it is in memory, of the tree that is being read; `hash` is what the node above says of it. Throws when there is no such node. */
export type NodeSource = (id: string, hash: Buffer) => Buffer;

/** A tree: its top node, or null when there are no records. A page as the top covers everything. */
export type Top = Child | null;

export interface TreeUpdate {
  readonly top: Top;
  /** Nodes to write and to remove, by id. */
  readonly puts: ReadonlyMap<string, HashedNode>;
  readonly deletes: ReadonlySet<string>;
}

export function recordsOf(top: Top): number {
  return top === null ? 0 : top.records;
}

export function putChange(key: Buffer, value: Buffer): Change {
  return { key, entry: pageEntry(key.latin1Slice(), value), size: value.length };
}
export function deleteChange(key: Buffer): Change {
  return { key, entry: null, size: 0 };
}

/** Applies changes, which are sorted by key and distinct. */
export function applyChanges(source: NodeSource, top: Top, changes: readonly Change[], stamp: number): TreeUpdate {
  const draft = new TreeDraft(source, top, stamp);
  draft.begin(changes);
  while (draft.apply(AT_ONCE));
  return { top: draft.top, puts: draft.puts, deletes: draft.deletes };
}

/** Bounds the stack: a branch with changes at every level takes several times as much of it as one that is walked through. */
const AT_ONCE = 256;

const ARENA = 1 << 20;

/**
 * The same, some changes at a time, so that a caller can give way to others between any two. The tree does not depend on how many at a time; its hints do,
 * a little, and say rather too much has changed than too little.
 */
export class TreeDraft implements TreeUpdate {
  top: Top;
  readonly puts = new Map<string, HashedNode>();
  readonly deletes = new Set<string>();
  readonly #source: NodeSource;
  #changes: readonly Change[] = [];
  readonly #stamp: number;
  // Nodes live until they are written: one allocation for many of them.
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

  readonly #since: number;
  #renewed = 0;
  #applied = 0;

  /** `since`: records that had changed since are not counted in `renewed`. */
  constructor(source: NodeSource, top: Top, stamp: number, since = Infinity) {
    this.#source = source;
    this.top = top;
    this.#stamp = stamp;
    this.#since = since;
  }

  /** Of all records that were written those that are new, or had not changed since `since`. */
  get renewed(): number {
    return this.#renewed;
  }

  /** Changes to apply, sorted by key and distinct, of other keys than those before. */
  begin(changes: readonly Change[]): void {
    this.#changes = changes;
    this.#applied = 0;
  }

  /** Applies the next `count` of them, or what is left; false: that was the last. The nodes above them are made each time. */
  apply(count: number): boolean {
    const from = this.#applied;
    this.#applied = Math.min(from + count, this.#changes.length);
    this.top = this.#range(this.top, 0, from, this.#applied);
    return this.#applied < this.#changes.length;
  }

  #change(i: number): Change {
    return this.#changes[i] as Change;
  }
  #read(id: string, hash: Buffer): Buffer {
    return this.puts.get(id)?.bytes ?? this.#source(id, hash);
  }
  #put(id: string, bytes: Buffer, hash: Buffer): void {
    this.puts.set(id, { bytes, hash });
    this.deletes.delete(id);
  }
  #delete(id: string): void {
    this.puts.delete(id);
    this.deletes.add(id);
  }

  /** The node of a range (the keys with a common prefix of `bits` bits) after the changes [i, j), which are all in it. */
  #range(child: Child | null, bits: number, i: number, j: number): Child | null {
    if (i === j) return child;
    if (child === null) {
      const entries = this.#entries(i, j);
      return entries.length === 0 ? null : this.#build(entries, 0, entries.length, bits, this.#stamp);
    }
    if (child.kind === 'inner') return this.#inner(child, bits, i, j);
    const after = this.#page(child, bits, i, j);
    if (!(after instanceof Overfull)) return after;
    return this.#build(after.entries, 0, after.entries.length, bits, after.lastDelete);
  }

  #page(child: PageChild, bits: number, i: number, j: number): PageChild | null | Overfull {
    const id = nodeId(PAGE, prefixOf(this.#change(i).key, bits), bits);
    const merged = mergePage(this.#read(id, child.hash), this.#changes, i, j, this.#stamp, this.#since);
    if (!merged.changed) return child;
    this.#renewed += merged.renewed;
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

  #inner(child: InnerChild, bits: number, i: number, j: number): Child | null {
    const known = bits >> 2;
    // A new record outside the node's prefix moves the branch up to where it parts from it.
    let { nibbles } = child;
    // Sorted: what the first and the last share with the prefix, those between them do too.
    const areInside = this.#shares(i, child, known) && this.#shares(j - 1, child, known);
    for (let c = areInside ? j : i; c < j; c++) {
      const change = this.#change(c);
      if (change.entry !== null) nibbles = Math.min(nibbles, matchingNibbles(change.key, child.prefix, nibbles, known));
    }
    if (nibbles < child.nibbles) return this.#parted(child, nibbles, known, bits, i, j);
    const at: Place = { prefix: child.prefix, nibbles, known, bits };
    const draft = new InnerDraft(child, this.#read(innerId(child), child.hash));
    let changed = false;
    for (let c = i; c < j; ) {
      const { key } = this.#change(c);
      if (matchingNibbles(key, child.prefix, nibbles, known) < nibbles) {
        c++; // a delete of a record that is not there
        continue;
      }
      const place = draft.childOf(keyNibble(key, nibbles));
      if (place === undefined) return this.#reshaped(draft.open(), at, child, c, j, changed, false);
      const { slot, child: below } = place;
      const span = below.kind === 'page' ? below.span : 1;
      const end = this.#endOf(c, j, at, { slot, span });
      const after = below.kind === 'inner' ? this.#inner(below, (nibbles + 1) * 4, c, end) : this.#page(below, slotBits(nibbles, span), c, end);
      if (after !== below) {
        changed = true;
        if (after instanceof Overfull || !draft.replace(slot, below, after)) {
          const slots = draft.open();
          this.#setUnit(slots, after, nibbles, slot, span);
          return this.#reshaped(slots, at, child, end, j, true, recordsIn(slots, slot, span) < below.records);
        }
      }
      c = end;
    }
    if (!changed) return child;
    return this.#emit(draft.build(this.#stamp, this.#allocate));
  }

  #shares(i: number, { prefix, nibbles }: InnerChild, known: number): boolean {
    return matchingNibbles(this.#change(i).key, prefix, nibbles, known) === nibbles;
  }

  /** The branch moves up to where a new record parts from it. */
  #parted(child: InnerChild, nibbles: number, known: number, bits: number, i: number, j: number): Child | null {
    const slots: Slots = new Array<Child | null>(16).fill(null);
    // It stands in another slot now: a new stamp, so that a fetcher is told.
    slots[prefixNibble(child.prefix, nibbles)] = { ...child, stamp: this.#stamp };
    return this.#reshaped(slots, { prefix: shortened(child.prefix, nibbles), nibbles, known, bits }, null, i, j, true, false);
  }

  /** Applies the changes [i, j) in `slots`, and makes the node of them. `was`: the one before, null: there was none here. What was done to the slots already: `wasChanged`, `wasShrunk`. */
  #reshaped(slots: Slots, at: Place, was: InnerChild | null, i: number, j: number, wasChanged: boolean, wasShrunk: boolean): Child | null {
    const { prefix, nibbles, known, bits } = at;
    let changed = wasChanged;
    let shrunk = wasShrunk;
    let c = i;
    while (c < j) {
      const { key } = this.#change(c);
      if (matchingNibbles(key, prefix, nibbles, known) < nibbles) {
        c++; // a delete of a record that is not there
        continue;
      }
      const unit = unitOf(slots, keyNibble(key, nibbles));
      const end = this.#endOf(c, j, at, unit);
      const before = recordsIn(slots, unit.slot, unit.span);
      if (this.#unit(slots, nibbles, unit, c, end)) {
        changed = true;
        if (recordsIn(slots, unit.slot, unit.span) < before) shrunk = true;
      }
      c = end;
    }
    return changed ? this.#finish(slots, prefix, nibbles, bits, was, shrunk) : was;
  }

  /** Behind the last of the changes from `c` on that fall into a unit. */
  #endOf(c: number, j: number, { prefix, nibbles, known }: Place, { slot, span }: Unit): number {
    return endOfRun(c, j, (at) => {
      const { key } = this.#change(at);
      if (matchingNibbles(key, prefix, nibbles, known) < nibbles) return false;
      const nibble = keyNibble(key, nibbles);
      return nibble >= slot && nibble < slot + span;
    });
  }

  // Applies changes to one child, or to an empty range, in place in `slots`. False: they changed nothing.
  #unit(slots: Slots, nibbles: number, { slot, span }: Unit, i: number, j: number): boolean {
    const child = slots[slot] as Child | null;
    if (child === null) {
      const entries = this.#entries(i, j);
      this.#place(slots, entries, 0, entries.length, nibbles, slot, span, this.#stamp);
      return entries.length > 0;
    }
    const after = child.kind === 'inner' ? this.#inner(child, (nibbles + 1) * 4, i, j) : this.#page(child, slotBits(nibbles, span), i, j);
    if (after === child) return false;
    this.#setUnit(slots, after, nibbles, slot, span);
    return true;
  }

  #setUnit(slots: Slots, after: Child | null | Overfull, nibbles: number, slot: number, span: number): void {
    slots[slot] = after instanceof Overfull ? null : after;
    if (after instanceof Overfull) this.#place(slots, after.entries, 0, after.entries.length, nibbles, slot, span, after.lastDelete);
  }

  #entries(i: number, j: number): Entry[] {
    const out: Entry[] = [];
    for (let c = i; c < j; c++) {
      const change = this.#change(c);
      if (change.entry !== null) out.push(entryOfChange(change, this.#stamp));
    }
    this.#renewed += out.length;
    return out;
  }

  /**
   * Places the records [a, b), which all fall into the empty slots [slot, slot + span), as pages and inner nodes: the widest aligned ranges that
   * are pages, and what is left of single slots. In a loop: a deep branch takes enough of the stack as it is.
   */
  #place(slots: Slots, entries: Entry[], a: number, b: number, nibbles: number, slot: number, span: number, deleted: number): void {
    let from = a;
    for (let at = slot; from < b; ) {
      let wide = span;
      while (at % wide !== 0) wide >>= 1;
      let to = this.#endOfSlots(entries, from, b, nibbles, at + wide);
      while (wide > 1 && to - from > PAGE_RECORDS) {
        wide >>= 1;
        to = this.#endOfSlots(entries, from, to, nibbles, at + wide);
      }
      if (to - from > PAGE_RECORDS) slots[at] = this.#build(entries, from, to, (nibbles + 1) * 4, deleted);
      else if (to > from) slots[at] = this.#pageOf(entries, from, to, slotBits(nibbles, wide), wide, deleted);
      from = to;
      at += wide;
    }
  }

  /** Behind the last of the records [a, b) that fall below a slot. */
  #endOfSlots(entries: Entry[], a: number, b: number, nibbles: number, slot: number): number {
    let end = a;
    while (end < b && keyNibble((entries[end] as Entry).key, nibbles) < slot) end++;
    return end;
  }

  /** The node of a range of `bits` bits that holds exactly the records [a, b). */
  #build(entries: Entry[], a: number, b: number, bits: number, deleted: number): Child {
    const first = (entries[a] as Entry).key;
    if (b - a <= PAGE_RECORDS) {
      return this.#pageOf(entries, a, b, bits, 1, deleted);
    }
    const nibbles = commonNibbles(first, (entries[b - 1] as Entry).key, bits >> 2);
    const slots: Slots = new Array<Child | null>(16).fill(null);
    this.#place(slots, entries, a, b, nibbles, 0, 16, deleted);
    return this.#emitInner(slots, prefixOf(first, nibbles * 4), nibbles);
  }

  #pageOf(entries: Entry[], a: number, b: number, bits: number, span: number, deleted: number): PageChild {
    const id = nodeId(PAGE, prefixOf((entries[a] as Entry).key, bits), bits);
    return this.#emitPage(id, buildPageOf(entries, a, b, deleted, this.#allocate), b - a, span);
  }

  #emitPage(id: string, built: BuiltPage, records: number, span: number): PageChild {
    const hash = sha256Bytes(hashedPart(built.bytes));
    this.#put(id, built.bytes, hash);
    return { kind: 'page', span, hash, records, stamp: this.#stamp, recordBytes: built.recordBytes };
  }
  #emitInner(slots: Slots, prefix: Buffer, nibbles: number): InnerChild {
    return this.#emit(buildInner(slots, prefix, nibbles, this.#stamp, this.#allocate));
  }
  #emit({ bytes, child }: BuiltInner): InnerChild {
    this.#put(innerId(child), bytes, child.hash);
    return child;
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

/** Where an inner node stands, and the range that it is of: of so many bits, `known` whole nibbles. */
interface Place {
  readonly prefix: Buffer;
  readonly nibbles: number;
  readonly known: number;
  readonly bits: number;
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
