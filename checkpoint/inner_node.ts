/**
 * An inner node: it stands at a prefix of whole nibbles, which all records below it share, and has 16 slots for the
 * next nibble. A slot holds nothing, another inner node, or a page; a page may span 1, 2, 4 or 8 aligned slots and
 * is then named in the first.
 *
 *   2 u8 | nibbles u16 | prefix | 16 shapes u8 | (nibbles u16, rest of the prefix)* | (hash 32, records u48, stamp u48, record bytes u48)*
 *   '----------- hashed head ---------------------- of each inner child ---------' '---- each child in slot order --------------------'
 *
 * The hash covers where everything below stands (the shapes, and the prefixes of inner children), so that a node that
 * has been verified says which ranges its children have. Of the rest it covers the children's hashes; the counts are
 * covered by the root's total.
 */
import { assert } from '../lib/assert.ts';
import { EMPTY, getU16, getU48, putU48 } from '../lib/bytes.ts';
import { ABSENT, BETWEEN_BYTES, HASH_BYTES, INNER, PAGE, changedRootIn, innerHashIn, slotsRootIn } from './hashes.ts';
import type { Allocate } from './page.ts';

export interface PageChild {
  readonly kind: 'page';
  /** Slots that it spans: 1, 2, 4, 8. */
  readonly span: number;
  readonly hash: Buffer;
  readonly records: number;
  /** The checkpoint that last changed anything below: a hint. */
  readonly stamp: number;
  /** Bytes of keys and values below. */
  readonly recordBytes: number;
}

export interface InnerChild {
  readonly kind: 'inner';
  readonly nibbles: number;
  /** ceil(nibbles / 2) bytes, the last low nibble zero when odd. */
  readonly prefix: Buffer;
  readonly hash: Buffer;
  readonly records: number;
  readonly stamp: number;
  readonly recordBytes: number;
  /** What innerId has made of prefix and nibbles, once it was asked. */
  id?: string | undefined;
}

export type Child = PageChild | InnerChild;
export type Slots = (Child | null)[];

export interface InnerNode {
  readonly nibbles: number;
  readonly prefix: Buffer;
  readonly slots: Slots;
}

export const INNER_SHAPE = 0x80;
const CHILD = HASH_BYTES + 18;

export function nodeId(kind: typeof PAGE | typeof INNER, prefix: Buffer, bits: number): string {
  return String.fromCharCode(kind, bits >> 8, bits & 0xff) + prefix.latin1Slice(0, (bits + 7) >> 3);
}
/** The first bytes of a node's id: its kind, and how many bits of the keys all below it have in common. */
export function depthOf(id: string): string {
  return id.slice(0, 3);
}
export function innerId(at: { readonly prefix: Buffer; readonly nibbles: number; id?: string | undefined }): string {
  return (at.id ??= nodeId(INNER, at.prefix, at.nibbles * 4));
}
export function isInnerId(id: string): boolean {
  return id.charCodeAt(0) === INNER;
}

export function nodeNibbles(bytes: Buffer): number {
  return bytes.readUInt16BE(1);
}
/** Where the 16 shapes begin. */
export function shapesAt(bytes: Buffer): number {
  return 3 + ((bytes.readUInt16BE(1) + 1) >> 1);
}

// Bytes that an inner child's own prefix takes in its parent, with its length.
function restLength(childNibbles: number, nibbles: number): number {
  return 2 + ((childNibbles + 1) >> 1) - (nibbles >> 1);
}

/**
 * What was decoded of a node that has inner ones below it, by its bytes, which change only where `overwriteInner` says so: most walks down the tree begin with the
 * same few nodes. Goes when the bytes go.
 */
const decoded = new WeakMap<Buffer, (Child | null | undefined)[]>();
/** What that takes for a node whose children have all been asked for, about. */
const DECODED_BYTES = 6000;
/** The many at the bottom have pages only, and decoded they take more memory than as bytes: of those as many as are in use at a time. */
const recent = new Map<Buffer, (Child | null | undefined)[]>();
const MAX_RECENT = 512;

/** What is kept in memory for the bytes of an inner node, beside them. */
export function besideInner(bytes: Buffer): number {
  return hasInnerChild(bytes) ? DECODED_BYTES : 0;
}

function hasInnerChild(bytes: Buffer): boolean {
  const shapes = shapesAt(bytes);
  for (let i = shapes; i < shapes + 16; i++) if (bytes[i] === INNER_SHAPE) return true;
  return false;
}

/**
 * Makes the bytes of a node those of a later version, where both take as much memory; false: they do not, and nothing has changed. For nodes in a cache: each new buffer
 * there costs several microseconds. Nobody may have a part of the bytes any more, a child's hash for example, who still wants the version before.
 */
export function overwriteInner(bytes: Buffer, later: Buffer): boolean {
  if (bytes.length !== later.length || hasInnerChild(bytes) !== hasInnerChild(later)) return false;
  later.copy(bytes);
  decoded.delete(bytes);
  recent.delete(bytes);
  return true;
}

/** One slot of an encoded node, without decoding the others. */
export function childAt(bytes: Buffer, slot: number): Child | null {
  let slots = decoded.get(bytes) ?? recent.get(bytes);
  if (slots === undefined) {
    slots = new Array<Child | null | undefined>(16).fill(undefined);
    if (hasInnerChild(bytes)) {
      decoded.set(bytes, slots);
    } else {
      if (recent.size >= MAX_RECENT) recent.clear();
      recent.set(bytes, slots);
    }
  }
  const known = slots[slot];
  if (known !== undefined) return known;
  const child = decodeSlot(bytes, slot, Buffer.allocUnsafeSlow);
  slots[slot] = child;
  return child;
}

/** The same of a node that is not looked at again soon. */
export function decodeChild(bytes: Buffer, slot: number): Child | null {
  return decodeSlot(bytes, slot, Buffer.allocUnsafe);
}

function decodeSlot(bytes: Buffer, slot: number, allocate: (length: number) => Buffer): Child | null {
  const shapes = shapesAt(bytes);
  const shape = bytes[shapes + slot] as number;
  if (shape === 0) return null;
  const nibbles = nodeNibbles(bytes);
  let rank = 0;
  let rest = 0;
  let at = shapes + 16;
  for (let i = 0; i < 16; i++) {
    const other = bytes[shapes + i] as number;
    if (other === 0) continue;
    if (i < slot) rank++;
    if (i === slot) rest = at;
    if (other === INNER_SHAPE) at += restLength(bytes.readUInt16BE(at), nibbles);
  }
  at += CHILD * rank;
  return shape === INNER_SHAPE ? readInner(bytes, at, rest, nibbles, allocate(prefixBytes(bytes.readUInt16BE(rest)))) : readPage(bytes, at, shape);
}

function readPage(bytes: Buffer, at: number, span: number): PageChild {
  return {
    kind: 'page',
    span,
    hash: bytes.subarray(at, at + HASH_BYTES),
    records: getU48(bytes, at + 32),
    stamp: getU48(bytes, at + 38),
    recordBytes: getU48(bytes, at + 44),
  };
}
/** `prefix`: where its own prefix goes, as long as that is. */
function readInner(bytes: Buffer, at: number, rest: number, nibbles: number, prefix: Buffer): InnerChild {
  const shared = nibbles >> 1;
  // A few bytes: quicker so than by a call.
  for (let i = 0; i < shared; i++) prefix[i] = bytes[3 + i] as number;
  for (let i = shared; i < prefix.length; i++) prefix[i] = bytes[rest + 2 + i - shared] as number;
  return {
    kind: 'inner',
    nibbles: bytes.readUInt16BE(rest),
    prefix,
    hash: bytes.subarray(at, at + HASH_BYTES),
    records: getU48(bytes, at + 32),
    stamp: getU48(bytes, at + 38),
    recordBytes: getU48(bytes, at + 44),
    id: undefined,
  };
}

function prefixBytes(nibbles: number): number {
  return (nibbles + 1) >> 1;
}

export function decodeInner(bytes: Buffer): InnerNode {
  assert(bytes[0] === INNER, 'these are the bytes of an inner node');
  const nibbles = nodeNibbles(bytes);
  const shapes = shapesAt(bytes);
  let at = shapes + 16;
  let rest = at;
  let prefixes = 0;
  for (let i = 0; i < 16; i++) {
    if (bytes[shapes + i] !== INNER_SHAPE) continue;
    prefixes += prefixBytes(bytes.readUInt16BE(at));
    at += restLength(bytes.readUInt16BE(at), nibbles);
  }
  // One block for all of them: they live as long as each other.
  const block = prefixes === 0 ? EMPTY : Buffer.allocUnsafeSlow(prefixes);
  let blockAt = 0;
  const slots: Slots = new Array<Child | null>(16).fill(null);
  for (let i = 0; i < 16; i++) {
    const shape = bytes[shapes + i] as number;
    if (shape === 0) continue;
    if (shape === INNER_SHAPE) {
      const length = prefixBytes(bytes.readUInt16BE(rest));
      slots[i] = readInner(bytes, at, rest, nibbles, block.subarray(blockAt, blockAt + length));
      blockAt += length;
      rest += restLength(bytes.readUInt16BE(rest), nibbles);
    } else {
      slots[i] = readPage(bytes, at, shape);
    }
    at += CHILD;
  }
  return { nibbles, prefix: bytes.subarray(3, shapes), slots };
}

/** What is hashed of a slot, beside the hash of what is below. */
export type Place = Pick<PageChild, 'kind' | 'span'> | Pick<InnerChild, 'kind' | 'nibbles' | 'prefix'>;

export function headBytes(places: readonly (Place | null)[], nibbles: number): number {
  let length = 3 + ((nibbles + 1) >> 1) + 16;
  for (const place of places) if (place !== null && place.kind === 'inner') length += restLength(place.nibbles, nibbles);
  return length;
}

/** Writes the hashed head into `bytes`; returns its length. */
export function writeHead(bytes: Buffer, places: readonly (Place | null)[], prefix: Buffer, nibbles: number): number {
  const prefixLength = (nibbles + 1) >> 1;
  const shared = nibbles >> 1;
  bytes[0] = INNER;
  bytes.writeUInt16BE(nibbles, 1);
  for (let i = 0; i < prefixLength; i++) bytes[3 + i] = prefix[i] as number;
  const shapes = 3 + prefixLength;
  let at = shapes + 16;
  for (let i = 0; i < 16; i++) {
    const place = places[i] as Place | null;
    bytes[shapes + i] = place === null ? 0 : place.kind === 'inner' ? INNER_SHAPE : place.span;
    if (place === null || place.kind === 'page') continue;
    bytes.writeUInt16BE(place.nibbles, at);
    for (let i = shared; i < place.prefix.length; i++) bytes[at + 2 + i - shared] = place.prefix[i] as number;
    at += restLength(place.nibbles, nibbles);
  }
  return at;
}

/** The length of the hashed head of an encoded node; -1: these bytes are none. */
function headLength(bytes: Buffer): number {
  if (bytes.length < 3 || bytes.length < shapesAt(bytes) + 16) return -1;
  const nibbles = nodeNibbles(bytes);
  const shapes = shapesAt(bytes);
  let at = shapes + 16;
  for (let i = shapes; i < shapes + 16; i++) {
    if (bytes[i] !== INNER_SHAPE) continue;
    const below = at + 2 <= bytes.length ? getU16(bytes, at) : 0;
    if (below <= nibbles) return -1;
    at += restLength(below, nibbles);
  }
  return at;
}

/** What is hashed of an encoded node: its head, and what stands in its slots. */
export function hashedInner(bytes: Buffer): { readonly head: Buffer; readonly hashes: readonly Buffer[] } {
  return { head: bytes.subarray(0, headLength(bytes)), hashes: decodeInner(bytes).slots.map((child) => child?.hash ?? ABSENT) };
}

/** Of the slots of the node that is being hashed where their hashes are; -1: the slot is empty. */
const places = new Int32Array(16);

/** Fills `places`; returns where the children end. */
function findPlaces(bytes: Buffer, head: number): number {
  const shapes = shapesAt(bytes);
  let at = head;
  for (let i = 0; i < 16; i++) {
    const isEmpty = bytes[shapes + i] === 0;
    places[i] = isEmpty ? -1 : at;
    if (!isEmpty) at += CHILD;
  }
  return at;
}

// A node as it is in memory and in the database has, behind its bytes as they are sent, the hashes between its slots and the root over them, so that a slot that
// changes costs the hashes above it only, and of a node that is read no slot is hashed. What reads nodes reads both; what goes from the one to the other says so.

/** A node, inner or page, as it is in memory, with its hash. */
export interface HashedNode {
  readonly bytes: Buffer;
  readonly hash: Buffer;
}

/** Of a node as it is sent, as it is in memory, or as it is stored without its checksum, the first: a view; null: these are not the bytes of one. */
export function sentInner(bytes: Buffer): Buffer | null {
  const head = headLength(bytes);
  if (head < 0) return null;
  const end = findPlaces(bytes, head);
  const behind = bytes.length - end;
  return behind === 0 || behind === BETWEEN_BYTES || behind === BETWEEN_BYTES + HASH_BYTES ? bytes.subarray(0, end) : null;
}

/** What `sentInner` gives of it is followed by the hashes between, and nothing else. */
export function isInMemory(bytes: Buffer): boolean {
  return (sentInner(bytes)?.length ?? NaN) + BETWEEN_BYTES === bytes.length;
}

/** A node as it is sent, as it is in memory, and its hash; null: no node has these bytes. Those that pass may be none either: then nobody has their hash. */
export function hashInner(sent: Buffer): HashedNode | null {
  const head = headLength(sent);
  if (head < 0 || findPlaces(sent, head) !== sent.length) return null;
  const bytes = Buffer.allocUnsafeSlow(sent.length + BETWEEN_BYTES);
  sent.copy(bytes);
  return { bytes, hash: innerHashIn(bytes, head, slotsRootIn(bytes, places, sent.length)) };
}

export interface BuiltInner {
  readonly bytes: Buffer;
  readonly child: InnerChild;
}

/** `prefix` has ceil(nibbles / 2) bytes with a zero low nibble when odd. */
export function buildInner(slots: Slots, prefix: Buffer, nibbles: number, stamp: number, allocate: Allocate): BuiltInner {
  let length = headBytes(slots, nibbles);
  for (const child of slots) if (child !== null) length += CHILD;
  const bytes = allocate(length + BETWEEN_BYTES);
  const head = writeHead(bytes, slots, prefix, nibbles);
  let records = 0;
  let recordBytes = 0;
  let at = head;
  for (const child of slots) {
    if (child === null) continue;
    putChild(bytes, at, child);
    records += child.records;
    recordBytes += child.recordBytes;
    at += CHILD;
  }
  assert(at === length && findPlaces(bytes, head) === length, 'an inner node fills its bytes');
  const hash = innerHashIn(bytes, head, slotsRootIn(bytes, places, length));
  // The child may outlive the bytes.
  return { bytes, child: { kind: 'inner', nibbles, prefix: Buffer.from(bytes.subarray(3, shapesAt(bytes))), hash, records, stamp, recordBytes, id: undefined } };
}

function putChild(bytes: Buffer, at: number, child: Child): void {
  bytes.set(child.hash, at);
  putU48(bytes, child.records, at + 32);
  putU48(bytes, child.stamp, at + 38);
  putU48(bytes, child.recordBytes, at + 44);
}

/**
 * A node whose children are being replaced. As long as each is replaced by one that stands at the same place, as in most changes, the others are
 * not looked at; else all are decoded.
 */
export class InnerDraft {
  readonly #was: InnerChild;
  readonly #bytes: Buffer;
  readonly #replaced = new Array<Child | undefined>(16).fill(undefined);
  /** A bit for each slot. */
  #changed = 0;
  #records: number;
  #recordBytes: number;

  /** `bytes`: of the node `was`, as it is in memory. */
  constructor(was: InnerChild, bytes: Buffer) {
    this.#was = was;
    this.#bytes = bytes;
    this.#records = was.records;
    this.#recordBytes = was.recordBytes;
  }

  /** The child whose range a nibble falls into, and its first slot; undefined: there is none. Of a place that was not replaced yet. */
  childOf(nibble: number): { readonly slot: number; readonly child: Child } | undefined {
    const slot = slotOf(this.#bytes, nibble);
    const child = slot < 0 ? null : decodeChild(this.#bytes, slot);
    return child === null ? undefined : { slot, child };
  }

  /** False: that changes the node's shape, and has to be done in its slots. */
  replace(slot: number, was: Child, child: Child | null): boolean {
    if (child === null || child.records < was.records || !isInPlaceOf(child, was)) return false;
    this.#replaced[slot] = child;
    this.#changed |= 1 << slot;
    this.#records += child.records - was.records;
    this.#recordBytes += child.recordBytes - was.recordBytes;
    return true;
  }

  /** All children, as they are by now, for changes of another kind; the draft has served its purpose. */
  open(): Slots {
    const { slots } = decodeInner(this.#bytes);
    for (const [slot, child] of this.#replaced.entries()) if (child !== undefined) slots[slot] = child;
    return slots;
  }

  /** The node with what was replaced; `stamp`: of the checkpoint that does so. */
  build(stamp: number, allocate: Allocate): BuiltInner {
    const from = this.#bytes;
    const head = headLength(from);
    const end = findPlaces(from, head);
    assert(from.length === end + BETWEEN_BYTES, 'a node in memory has the hashes between its slots and its root');
    const bytes = allocate(from.length);
    from.copy(bytes);
    for (let slot = 0; slot < 16; slot++) if ((this.#changed & (1 << slot)) !== 0) putChild(bytes, places[slot] as number, this.#replaced[slot] as Child);
    const hash = innerHashIn(bytes, head, changedRootIn(bytes, places, end, this.#changed));
    const { nibbles, prefix, id } = this.#was;
    return { bytes, child: { kind: 'inner', nibbles, prefix, hash, records: this.#records, stamp, recordBytes: this.#recordBytes, id } };
  }
}

function isInPlaceOf(child: Child, was: Child): boolean {
  if (child.kind === 'page') return was.kind === 'page' && child.span === was.span;
  return was.kind === 'inner' && child.nibbles === was.nibbles && (child.prefix === was.prefix || child.prefix.equals(was.prefix));
}

/** The slot that names the child in which a nibble falls; -1 when it is empty there. */
export function slotOf(node: Buffer, nibble: number): number {
  const shapes = shapesAt(node);
  if (node[shapes + nibble] === INNER_SHAPE) return nibble;
  for (let span = 1; span <= 8; span <<= 1) {
    const slot = nibble & ~(span - 1);
    if (node[shapes + slot] === span) return slot;
  }
  return -1;
}
