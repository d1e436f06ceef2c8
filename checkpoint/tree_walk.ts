/** Reading a tree: which page holds a key, the keys of a range in order, the nodes at given places. */
import { PAGE } from './hashes.ts';
import { childAt, decodeInner, innerId, nodeId, nodeNibbles, slotOf, type Child, type InnerChild, type PageChild, type Slots } from './inner_node.ts';
import { hasPrefix, keyNibble, matchingNibbles, prefixExtends, prefixNibble, prefixOf, slotBits, slotPrefix } from './key_bits.ts';
import { pageEntries, pageKeysFrom, type PageEntry } from './page.ts';
import type { NodeSource, Top } from './merkle_tree.ts';

export interface LocatedPage extends Range {
  readonly id: string;
  readonly hash: Buffer;
}

/** The page that a key belongs to; null when its range is empty. */
export function locatePage(source: NodeSource, top: Top, key: Buffer): LocatedPage | null {
  let child: Child | null = top;
  let bits = 0;
  let known = 0;
  while (child !== null && child.kind === 'inner') {
    if (matchingNibbles(key, child.prefix, child.nibbles, known) < child.nibbles) return null;
    const node = source(innerId(child), child.hash);
    const slot = slotOf(node, keyNibble(key, child.nibbles));
    if (slot < 0) return null;
    known = child.nibbles;
    const below = childAt(node, slot);
    if (below === null) return null;
    bits = below.kind === 'page' ? slotBits(child.nibbles, below.span) : 0;
    child = below;
  }
  if (child === null) return null;
  const prefix = prefixOf(key, bits);
  return { id: nodeId(PAGE, prefix, bits), hash: child.hash, prefix, bits };
}

/** The keys of a tree from `start` on, in order. Reads one page at a time, as it goes. */
export class KeyCursor {
  readonly #source: NodeSource;
  readonly #start: Buffer;
  // Nodes on the way, each with the next slot to visit.
  readonly #path: { node: Buffer; child: InnerChild; slot: number }[] = [];
  #keys: string[] = [];
  #at = 0;

  constructor(source: NodeSource, top: Top, start: Buffer) {
    this.#source = source;
    this.#start = start;
    if (top === null) return;
    if (top.kind === 'page') this.#keys = pageKeysFrom(source(nodeId(PAGE, Buffer.alloc(0), 0), top.hash), start);
    else this.#enter(top);
  }

  /** The next key as a latin1 string, or undefined at the end. */
  next(): string | undefined {
    for (;;) {
      if (this.#at < this.#keys.length) return this.#keys[this.#at++];
      const here = this.#path.at(-1);
      if (here === undefined) return undefined;
      if (here.slot > 15) {
        this.#path.pop();
        continue;
      }
      const slot = here.slot++;
      const child = childAt(here.node, slot);
      if (child === null) continue;
      if (child.kind === 'inner') {
        this.#enter(child);
        continue;
      }
      here.slot = slot + child.span;
      const id = nodeId(PAGE, slotPrefix(here.child.prefix, here.child.nibbles, slot), slotBits(here.child.nibbles, child.span));
      this.#keys = pageKeysFrom(this.#source(id, child.hash), this.#start);
      this.#at = 0;
    }
  }

  // A node that lies wholly before the start is not entered; one around it is entered at the start's slot.
  #enter(child: InnerChild): void {
    const node = this.#source(innerId(child), child.hash);
    const shared = matchingNibbles(this.#start, child.prefix, child.nibbles, 0);
    let slot = 0;
    if (shared === nodeNibbles(node)) {
      const nibble = keyNibble(this.#start, child.nibbles);
      const covering = slotOf(node, nibble);
      slot = covering < 0 ? nibble : covering;
    } else if (keyNibble(this.#start, shared) > prefixNibble(child.prefix, shared)) {
      return;
    }
    this.#path.push({ node, child, slot });
  }
}

/** The inner node that stands at exactly a prefix. */
export function findInner(source: NodeSource, top: Top, prefix: Buffer, nibbles: number): InnerChild | null {
  let child: Child | null = top;
  while (child !== null && child.kind === 'inner') {
    if (child.nibbles > nibbles || !prefixExtends(prefix, nibbles * 4, child.prefix, child.nibbles * 4)) return null;
    if (child.nibbles === nibbles) return child;
    child = childAt(source(innerId(child), child.hash), prefixNibble(prefix, child.nibbles));
  }
  return null;
}

/** The page that covers exactly the range of a bit prefix. */
export function findPage(source: NodeSource, top: Top, prefix: Buffer, bits: number): PageChild | null {
  if (top === null) return null;
  if (top.kind === 'page') return bits === 0 ? top : null;
  let child: Child | null = top;
  while (child !== null && child.kind === 'inner') {
    const own: number = child.nibbles * 4;
    if (own >= bits || !prefixExtends(prefix, bits, child.prefix, own)) return null;
    const node = source(innerId(child), child.hash);
    const below: Child | null = childAt(node, prefixNibble(prefix, child.nibbles));
    if (bits - own <= 4) return below !== null && below.kind === 'page' && slotBits(child.nibbles, below.span) === bits ? below : null;
    child = below;
  }
  return null;
}

export type RangeRecord = Pick<PageEntry, 'key' | 'hash'>;

export interface Range {
  readonly prefix: Buffer;
  readonly bits: number;
}

/** Which records of a tree: those in `range` outside of `except`, behind the key `after`. */
export interface Selection {
  readonly range: Range;
  readonly except: Range | null;
  readonly after: Buffer | null;
}

/** Own records of a selection, in key order: at most `limit` and the rest of a page. For comparing with what a peer holds there. */
export function recordsInRange(source: NodeSource, top: Top, selection: Selection, limit: number): RangeRecord[] {
  const out: RangeRecord[] = [];
  if (top === null) return out;
  if (top.kind === 'page') collectPage(source(nodeId(PAGE, Buffer.alloc(0), 0), top.hash), selection, out);
  else collect(source, top, selection, limit, out);
  return out;
}

function collectPage(page: Buffer, { range, except, after }: Selection, out: RangeRecord[]): void {
  for (const entry of pageEntries(page)) {
    const { key } = entry;
    if (!hasPrefix(key, range.prefix, range.bits) || (except !== null && hasPrefix(key, except.prefix, except.bits))) continue;
    if (after === null || key.compare(after) > 0) out.push(entry);
  }
}

function meets(prefix: Buffer, bits: number, range: Range): boolean {
  return bits >= range.bits ? prefixExtends(prefix, bits, range.prefix, range.bits) : prefixExtends(range.prefix, range.bits, prefix, bits);
}

function collect(source: NodeSource, at: InnerChild, selection: Selection, limit: number, out: RangeRecord[]): void {
  const { range, except, after } = selection;
  const wanted = (prefix: Buffer, bits: number): boolean =>
    meets(prefix, bits, range) && (except === null || !prefixExtends(prefix, bits, except.prefix, except.bits)) && (after === null || prefix.compare(prefixOf(after, bits)) >= 0);
  if (!wanted(at.prefix, at.nibbles * 4)) return;
  const slots: Slots = decodeInner(source(innerId(at), at.hash)).slots;
  for (let slot = 0; slot < 16 && out.length < limit; slot++) {
    const child = slots[slot] as Child | null;
    if (child === null) continue;
    if (child.kind === 'inner') {
      collect(source, child, selection, limit, out);
      continue;
    }
    const prefix = slotPrefix(at.prefix, at.nibbles, slot);
    const bits = slotBits(at.nibbles, child.span);
    if (wanted(prefix, bits)) collectPage(source(nodeId(PAGE, prefix, bits), child.hash), selection, out);
  }
}
