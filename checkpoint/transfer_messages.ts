/**
 * State transfer, as bytes: one request, one answer, no state between them. The fetcher names a checkpoint and asks for
 * nodes of its tree by place; the donor answers as many as fit, in their order.
 *
 *   request   1 u8 | op u48 | root 32 | since u48 | most bytes u32 | top u8 | n | item*n
 *   item      kind u8 (page, inner; 0x10: full) | bits or nibbles u16 | shared, rest of the prefix
 *   answer    0 u8 | has top u8 | [records u48 | extra | top] | node*            the top's own node first when asked for
 *             1 u8 | n u8 | (op u48, root 32)*n                                   gone; what there is instead
 *             2 u8 | text                                                         not understood
 *             3 u8 | milliseconds u32                                             not now: the donor gives no more than its rate
 *
 * Behind the nodes asked for come, as far as there is room, the children that the answered inner nodes told of, in the
 * order in which they were told; then those of these, and so on: most transfers take one round trip or two. Nodes asked
 * for in full have no such followers, unless `since` is 0.
 *
 * n, lengths and the like are varints. A node that is not asked for in full leaves out what has not changed since the
 * checkpoint `since` - 1: children by their hash, records altogether; see donor.ts and fetcher.ts.
 */
import { DecodeError, Reader, Writer, decodeAll, decodePart, type Decoded } from '../lib/bytes.ts';
import { digest, opNumber, type Digest, type OpNumber } from '../lib/ids.ts';
import { HASH_BYTES, INNER, MAX_EXTRA_BYTES, PAGE } from './hashes.ts';
import { INNER_SHAPE } from './inner_node.ts';
import { KEY_NIBBLES, MAX_KEY_BYTES, hasPrefix, slotBits, slotPrefix } from './key_bits.ts';
import { PAGE_RECORDS } from './page.ts';

const PROTOCOL = 1;
const FULL = 0x10;
export const MAX_ITEMS = 4096;

/** A node by its place. `bits` is four times the nibbles for an inner node. */
export interface NodePlace {
  readonly kind: 'page' | 'inner';
  readonly bits: number;
  /** ceil(bits / 8) bytes. */
  readonly prefix: Buffer;
}
export interface NodeRequest extends NodePlace {
  /** Everything, not only what changed since. */
  readonly full: boolean;
}

export interface TransferRequest {
  readonly op: OpNumber;
  readonly root: Digest;
  /** Lowest stamp of interest: the fetcher's checkpoint + 1; 0: it has none. */
  readonly since: number;
  /** The answer should not be longer, but has at least one node. */
  readonly maxBytes: number;
  readonly top: 'no' | 'changed' | 'full';
  readonly items: readonly NodeRequest[];
}

export interface AvailableCheckpoint {
  readonly op: OpNumber;
  readonly root: Digest;
}

export type AnswerSlot =
  | { readonly kind: 'page'; readonly span: number; readonly hash: Buffer | null }
  /** Unchanged (hash null): where it stands is not told either. */
  | { readonly kind: 'inner'; readonly hash: null }
  | { readonly kind: 'inner'; readonly hash: Buffer; readonly nibbles: number; readonly prefix: Buffer };

export interface InnerAnswer {
  readonly kind: 'inner';
  readonly slots: readonly (AnswerSlot | null)[];
}
export interface AnswerRecord {
  readonly key: Buffer;
  readonly value: Buffer;
}
export interface PageAnswer {
  readonly kind: 'page';
  readonly records: readonly AnswerRecord[];
  /** `records` are all that there are, not only those that changed. */
  readonly complete: boolean;
  /** The first 8 bytes of every record hash of the page, back to back: when records were deleted from it. */
  readonly fingerprints: Buffer | null;
}
export type NodeAnswer = InnerAnswer | PageAnswer | { readonly kind: 'missing' };

export interface TopAnswer {
  readonly count: number;
  readonly extra: Buffer;
  readonly top: { readonly place: NodePlace; readonly hash: Buffer } | null;
}

export type TransferAnswer =
  | { readonly type: 'nodes'; readonly top: TopAnswer | null; readonly nodes: AnswerNodes }
  | { readonly type: 'gone'; readonly available: readonly AvailableCheckpoint[] }
  | { readonly type: 'refused'; readonly reason: string }
  | { readonly type: 'wait'; readonly milliseconds: number };

export const FINGERPRINT_BYTES = 8;
// In place of the number of fingerprints.
const COMPLETE = PAGE_RECORDS + 1;

function putVarint(w: Writer, n: number): void {
  let rest = n;
  while (rest > 0x7f) {
    w.u8((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  w.u8(rest);
}
function varint(r: Reader): number {
  let n = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = r.u8();
    n |= (byte & 0x7f) << shift;
    if (byte < 0x80) return n;
  }
  throw new DecodeError('a length of more than 28 bits');
}
function countOf(r: Reader, limit: number, what: string): number {
  const n = varint(r);
  if (n > limit) throw new DecodeError(`${n} ${what}, at most ${limit}`);
  return n;
}

function shared(a: Buffer, b: Buffer): number {
  const length = Math.min(a.length, b.length);
  let n = 0;
  while (n < length && a[n] === b[n]) n++;
  return n;
}

const TOP = ['no', 'changed', 'full'] as const;

export function encodeRequest(request: TransferRequest): Buffer {
  const w = new Writer(128 + request.items.length * 12);
  w.u8(PROTOCOL).u48(request.op).latin1(request.root).u48(request.since).u32(request.maxBytes).u8(TOP.indexOf(request.top));
  putVarint(w, request.items.length);
  let last: Buffer = Buffer.alloc(0);
  for (const { kind, full, bits, prefix } of request.items) {
    w.u8((kind === 'page' ? PAGE : INNER) | (full ? FULL : 0)).u16(kind === 'page' ? bits : bits >> 2);
    const n = shared(last, prefix);
    putVarint(w, n);
    w.raw(prefix.subarray(n));
    last = prefix;
  }
  return w.finish();
}

export function decodeRequest(bytes: Buffer): Decoded<TransferRequest> {
  return decodeAll(bytes, (r) => {
    const version = r.u8();
    if (version !== PROTOCOL) throw new DecodeError(`state transfer version ${version}; this replica speaks ${PROTOCOL}`);
    const head = { op: opNumber(r.u48()), root: digest(r.latin1(32)), since: r.u48(), maxBytes: r.u32() };
    const top = TOP[r.u8()];
    if (top === undefined) throw new DecodeError('unknown way to ask for the top');
    const count = countOf(r, MAX_ITEMS, 'nodes asked for');
    const items: NodeRequest[] = [];
    let last: Buffer = Buffer.alloc(0);
    for (let i = 0; i < count; i++) {
      const code = r.u8();
      const kind = kindOf(code & ~FULL);
      const bits = r.u16() * (kind === 'inner' ? 4 : 1);
      if (bits > KEY_NIBBLES * 4) throw new DecodeError(`a place of ${bits} bits`);
      last = readPrefix(r, last, (bits + 7) >> 3);
      items.push({ kind, bits, prefix: last, full: (code & FULL) !== 0 });
    }
    return { ...head, top, items };
  });
}

function kindOf(code: number): 'page' | 'inner' {
  if (code === PAGE) return 'page';
  if (code === INNER) return 'inner';
  throw new DecodeError(`unknown kind of node: ${code}`);
}

function readPrefix(r: Reader, last: Buffer, length: number): Buffer {
  const n = varint(r);
  if (n > last.length || n > length) throw new DecodeError('a prefix shares more than there is');
  return Buffer.concat([last.subarray(0, n), r.raw(length - n)]);
}

/** Begins an answer with nodes; the donor adds them with `putInner` and `putPage`. */
export function beginAnswer(w: Writer, top: TopAnswer | null): void {
  w.u8(0).bool(top !== null);
  if (top === null) return;
  w.u48(top.count).bytes16(top.extra);
  if (top.top === null) {
    w.u8(0);
    return;
  }
  const { place, hash } = top.top;
  w.u8(place.kind === 'page' ? PAGE : INNER).raw(hash);
  if (place.kind === 'inner') w.u16(place.bits >> 2).raw(place.prefix);
}
export function encodeGone(available: readonly AvailableCheckpoint[]): Buffer {
  const w = new Writer().u8(1).u8(available.length);
  for (const { op, root } of available) w.u48(op).latin1(root);
  return w.finish();
}
export function encodeRefused(reason: string): Buffer {
  return new Writer().u8(2).string16(reason).finish();
}

export function encodeWait(milliseconds: number): Buffer {
  return new Writer(8).u8(3).u32(milliseconds).finish();
}

// Shapes as 4 bits each on the wire: index in this list.
const SHAPES = [0, 1, 2, 4, 8, INNER_SHAPE] as const;

export function putMissing(w: Writer): void {
  w.u8(0);
}

export function putInner(w: Writer, slots: readonly (AnswerSlot | null)[], nibbles: number): void {
  w.u8(INNER);
  let told = 0;
  for (let i = 0; i < 16; i += 2) w.u8((shapeCode(slots[i]) << 4) | shapeCode(slots[i + 1]));
  for (let i = 0; i < 16; i++) if (slots[i]?.hash) told |= 1 << i;
  w.u16(told);
  for (const slot of slots) {
    if (slot === null || slot.hash === null) continue;
    w.raw(slot.hash);
    if (slot.kind === 'inner') w.u16(slot.nibbles).raw(slot.prefix.subarray(nibbles >> 1));
  }
}
function shapeCode(slot: AnswerSlot | null | undefined): number {
  const shape = slot === null || slot === undefined ? 0 : slot.kind === 'inner' ? INNER_SHAPE : slot.span;
  return SHAPES.indexOf(shape as (typeof SHAPES)[number]);
}

/** Keys are front-coded, against the page's prefix first. */
export function putPage(w: Writer, page: PageAnswer, place: NodePlace): void {
  w.u8(PAGE);
  const prints = page.fingerprints;
  putVarint(w, page.complete ? COMPLETE : prints === null ? 0 : prints.length / FINGERPRINT_BYTES);
  if (prints !== null) w.raw(prints);
  putVarint(w, page.records.length);
  let last: Buffer = place.prefix.subarray(0, place.bits >> 3);
  for (const { key, value } of page.records) {
    const n = shared(last, key);
    putVarint(w, n);
    putVarint(w, key.length - n);
    w.raw(key.subarray(n));
    putVarint(w, value.length);
    w.raw(value);
    last = key;
  }
}

/** Whether a donor goes on with the children of a node, unasked. */
export function isFollowed(request: Pick<TransferRequest, 'since'>, item: NodeRequest): boolean {
  return !item.full || request.since === 0;
}

/** The places of the children that an answered inner node tells of, in slot order. */
export function toldChildren(place: NodePlace, slots: readonly (AnswerSlot | null)[]): NodeRequest[] {
  const nibbles = place.bits >> 2;
  const out: NodeRequest[] = [];
  for (const [slot, told] of slots.entries()) {
    if (told === null || told.hash === null) continue;
    if (told.kind === 'inner') out.push({ kind: 'inner', bits: told.nibbles * 4, prefix: told.prefix, full: false });
    else out.push({ kind: 'page', bits: slotBits(nibbles, told.span), prefix: slotPrefix(place.prefix, nibbles, slot), full: false });
  }
  return out;
}

/** The answer to `request`, but for its nodes, which are read when what lies above them was found right. */
export function decodeAnswer(bytes: Buffer, request: TransferRequest): Decoded<TransferAnswer> {
  return decodeAll(bytes, (r): TransferAnswer => {
    const type = r.u8();
    if (type === 1) {
      const available: AvailableCheckpoint[] = [];
      for (let n = r.u8(); n > 0; n--) available.push({ op: opNumber(r.u48()), root: digest(r.latin1(32)) });
      return { type: 'gone', available };
    }
    if (type === 2) return { type: 'refused', reason: r.string16() };
    if (type === 3) return { type: 'wait', milliseconds: r.u32() };
    if (type !== 0) throw new DecodeError(`unknown type of answer: ${type}`);
    const top = r.bool() ? readTop(r) : null;
    if ((top !== null) !== (request.top !== 'no')) throw new DecodeError('the top is told if and only if asked for');
    return { type: 'nodes', top, nodes: new AnswerNodes(r.raw(r.remaining), request.maxBytes) };
  });
}

/** By so much the last node but one may go beyond what was asked for: a donor adds up what it reads, not what it writes of it. */
const OVERRUN = 128 << 10;

/**
 * The nodes of an answer, first those asked for and then those that follow, read one at a time: decoded they take many
 * times as much memory as a liar has to send for them.
 */
export class AnswerNodes {
  readonly #r: Reader;
  readonly #mostBytes: number;

  constructor(bytes: Buffer, maxBytes: number) {
    this.#r = new Reader(bytes);
    this.#mostBytes = maxBytes + OVERRUN;
  }

  get isDone(): boolean {
    return this.#r.remaining === 0;
  }

  /** The next one, which stands at `place`; undefined: there is no such place. A page that is not of interest is passed over: null. */
  next(place: NodeRequest | undefined, isOfInterest = true): Decoded<NodeAnswer | null> {
    return decodePart(this.#r, (r) => {
      if (place === undefined) throw new DecodeError('more nodes than asked for');
      if (r.offset > this.#mostBytes) throw new DecodeError(`more than ${this.#mostBytes - OVERRUN} bytes, which were asked for`);
      return readNode(r, place, isOfInterest);
    });
  }
}

function readTop(r: Reader): TopAnswer {
  const count = r.u48();
  const extra = Buffer.from(r.bytes16());
  if (extra.length > MAX_EXTRA_BYTES) throw new DecodeError(`${extra.length} bytes beside the root, at most ${MAX_EXTRA_BYTES}`);
  const code = r.u8();
  if (code === 0) return { count, extra, top: null };
  const kind = kindOf(code);
  const hash = Buffer.from(r.raw(HASH_BYTES));
  const nibbles = kind === 'page' ? 0 : r.u16();
  if (nibbles >= KEY_NIBBLES) throw new DecodeError(`a node at ${nibbles} nibbles`);
  return { count, extra, top: { place: { kind, bits: nibbles * 4, prefix: Buffer.from(r.raw((nibbles + 1) >> 1)) }, hash } };
}

function readNode(r: Reader, place: NodePlace, isOfInterest: boolean): NodeAnswer | null {
  const code = r.u8();
  if (code === 0) return { kind: 'missing' };
  if (kindOf(code) !== place.kind) throw new DecodeError('a node of another kind than asked for');
  if (place.kind === 'inner') return readInnerAnswer(r, place);
  if (isOfInterest) return readPageAnswer(r, place);
  skipPage(r);
  return null;
}

function readInnerAnswer(r: Reader, place: NodePlace): InnerAnswer {
  const nibbles = place.bits >> 2;
  const shapes: number[] = [];
  for (let i = 0; i < 8; i++) {
    const two = r.u8();
    shapes.push(readShape(two >> 4), readShape(two & 15));
  }
  const told = r.u16();
  const slots: (AnswerSlot | null)[] = [];
  let covered = 0;
  for (let i = 0; i < 16; i++) {
    const shape = shapes[i] as number;
    const isTold = (told & (1 << i)) !== 0;
    if (shape === 0) {
      if (isTold) throw new DecodeError('a hash for an empty slot');
      slots.push(null);
      continue;
    }
    const span = shape === INNER_SHAPE ? 1 : shape;
    if (i < covered || i % span !== 0) throw new DecodeError('slots overlap');
    covered = i + span;
    const hash = isTold ? r.raw(HASH_BYTES) : null;
    if (shape !== INNER_SHAPE) slots.push({ kind: 'page', span, hash });
    else if (hash === null) slots.push({ kind: 'inner', hash });
    else slots.push({ kind: 'inner', hash, ...readInnerPlace(r, place.prefix, nibbles) });
  }
  return { kind: 'inner', slots };
}
function readShape(code: number): number {
  const shape = SHAPES[code];
  if (shape === undefined) throw new DecodeError(`unknown shape ${code}`);
  return shape;
}
function readInnerPlace(r: Reader, parent: Buffer, parentNibbles: number): { nibbles: number; prefix: Buffer } {
  const nibbles = r.u16();
  if (nibbles <= parentNibbles || nibbles >= KEY_NIBBLES) throw new DecodeError(`a node at ${nibbles} nibbles under one at ${parentNibbles}`);
  const kept = parentNibbles >> 1;
  return { nibbles, prefix: Buffer.concat([parent.subarray(0, kept), r.raw(((nibbles + 1) >> 1) - kept)]) };
}

interface PageHead {
  readonly complete: boolean;
  readonly fingerprints: Buffer | null;
  readonly count: number;
}

function readPageHead(r: Reader): PageHead {
  const prints = countOf(r, COMPLETE, 'records in a page');
  const complete = prints === COMPLETE;
  const fingerprints = complete || prints === 0 ? null : r.raw(prints * FINGERPRINT_BYTES);
  return { complete, fingerprints, count: countOf(r, PAGE_RECORDS, 'records of a page') };
}

function readPageAnswer(r: Reader, place: NodePlace): PageAnswer {
  const { complete, fingerprints, count } = readPageHead(r);
  const records: AnswerRecord[] = [];
  let last: Buffer = place.prefix.subarray(0, place.bits >> 3);
  for (let i = 0; i < count; i++) {
    const n = varint(r);
    if (n > last.length) throw new DecodeError('a key shares more than there is');
    const length = countOf(r, MAX_KEY_BYTES - n, 'bytes of a key');
    const key = Buffer.concat([last.subarray(0, n), r.raw(length)]);
    if (!hasPrefix(key, place.prefix, place.bits)) throw new DecodeError('a key outside of its page');
    if (i > 0 && key.compare(last) <= 0) throw new DecodeError('keys of a page that do not ascend');
    records.push({ key, value: r.raw(varint(r)) });
    last = key;
  }
  return { kind: 'page', records, complete, fingerprints };
}

function skipPage(r: Reader): void {
  const { count } = readPageHead(r);
  for (let i = 0; i < count; i++) {
    varint(r);
    r.skip(varint(r));
    r.skip(varint(r));
  }
}

/** Whether the node can be judged by what is told of it alone: if it does not hash right, it is a lie. */
export function tellsAll(answer: NodeAnswer): boolean {
  if (answer.kind === 'page') return answer.complete;
  return answer.kind === 'inner' && answer.slots.every((slot) => slot === null || slot.hash !== null);
}
