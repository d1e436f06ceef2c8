/**
 * Which records differ between two checkpoints, from their trees: a subtree that has the same hash on both sides is not entered, so the
 * cost is that of what differs. The two sides may be at different replicas, and of different shape: what is a page on one side may be
 * many below an inner node on the other. Since all ranges come from one trie, two of them are nested or apart; so both sides are kept
 * as lists in key order, cut into groups (a range, and what the other side has within it), and of a group that differs the widest
 * ranges are replaced by what is below them, until there are only records.
 *
 * Pure, and trusts nobody: each node has to hash to what the node above it says, each value to what its page says.
 */
import { EMPTY } from '../lib/bytes.ts';
import { AssertionError, defined } from '../lib/assert.ts';
import { sha256Bytes } from '../lib/hash.ts';
import { INNER, PAGE, recordHash } from './hashes.ts';
import { decodeInner, hashInner, innerId, isInnerId, nodeId } from './inner_node.ts';
import { hasPrefix, keyByte, prefixExtends, slotBits, slotPrefix } from './key_bits.ts';
import { hashedPart, pageEntries } from './page.ts';

/** A node: its id (inner_node.ts) says where it stands, its hash what it is. */
export interface TreeNode {
  readonly id: string;
  readonly hash: Buffer;
}

/** A checkpoint that can be read, wherever it is. */
export interface TreeSource {
  /** Null: it has no records. */
  readonly top: TreeNode | null;
  /** The bytes of nodes and the values of records; null: there is none. In the order asked for. */
  nodes(ids: readonly string[]): Promise<readonly (Buffer | null)[]>;
  records(keys: readonly Buffer[]): Promise<readonly (Buffer | null)[]>;
}

export interface RecordDifference {
  readonly key: Buffer;
  /** Record hashes; null: it has no such record. */
  readonly before: Buffer | null;
  readonly after: Buffer | null;
}

/** Keys that begin with these bytes. */
export interface DiffOptions {
  readonly within?: Buffer;
}

/** What a source gave is not what the tree above it says: it is damaged, or it lies. */
export class TreeSourceError extends Error {
  override readonly name = 'TreeSourceError';
}

export const NO_RECORDS: TreeSource = {
  top: null,
  nodes: (ids) => Promise.resolve(ids.map(() => null)),
  records: (keys) => Promise.resolve(keys.map(() => null)),
};

/** Nodes read at a time. */
const BATCH = 256;
const RECORDS_AT_A_TIME = 256;

type Range = { readonly kind: 'node'; readonly node: TreeNode; readonly prefix: Buffer; readonly bits: number };
type Item = Range | { readonly kind: 'record'; readonly key: Buffer; readonly hash: Buffer };
/** A range and what the other side has in it: one of the two has one item at most. */
interface Group {
  readonly before: readonly Item[];
  readonly after: readonly Item[];
}

/** In the order of their keys, many at a time. Rejects with TreeSourceError. */
export async function* diffTrees(before: TreeSource, after: TreeSource, options: DiffOptions = {}): AsyncGenerator<RecordDifference[]> {
  const within = options.within ?? EMPTY;
  let todo = groupsOf(rangeOf(before.top), rangeOf(after.top), within);
  while (todo.length > 0) {
    const settled = todo.findIndex((group) => differenceOf(group) === null);
    const ready = settled < 0 ? todo : todo.slice(0, settled);
    if (ready.length > 0) yield ready.map((group) => defined(differenceOf(group) ?? undefined, 'a difference'));
    if (settled < 0) return;
    const { first, rest } = firstOf(todo.slice(settled));
    const [old, now] = await Promise.all([below(before, first.flatMap(({ before: items, after: others }) => widest(items, others))), below(after, first.flatMap(({ before: others, after: items }) => widest(items, others)))]);
    const entered = first.flatMap((group) => (differenceOf(group) !== null ? [group] : groupsOf(entering(group.before, old), entering(group.after, now), within)));
    todo = entered.concat(rest);
  }
}

/** The values of records, each compared with its hash. Rejects with TreeSourceError. */
export async function readRecords(source: TreeSource, records: readonly { readonly key: Buffer; readonly hash: Buffer }[]): Promise<Buffer[]> {
  const values: Buffer[] = [];
  for (let at = 0; at < records.length; at += RECORDS_AT_A_TIME) {
    const some = records.slice(at, at + RECORDS_AT_A_TIME);
    const read = await source.records(some.map(({ key }) => key));
    for (const [i, { key, hash }] of some.entries()) {
      const value = read[i] ?? null;
      if (value === null || recordHash(key, value) !== hash.latin1Slice()) throw new TreeSourceError(`the record with the key ${key.toString('hex')} is not what its page says`);
      values.push(value);
    }
  }
  return values;
}

/** As many groups as may be entered at a time. */
function firstOf(todo: readonly Group[]): { readonly first: readonly Group[]; readonly rest: readonly Group[] } {
  let nodes = 0;
  let end = 0;
  while (end < todo.length && nodes < BATCH) {
    const { before, after } = todo[end++] as Group;
    nodes += widest(before, after).length + widest(after, before).length;
  }
  return { first: todo.slice(0, end), rest: todo.slice(end) };
}

/** Null: there is still a node in it. */
function differenceOf({ before, after }: Group): RecordDifference | null {
  const old = before[0];
  const now = after[0];
  if (before.length > 1 || after.length > 1 || old?.kind === 'node' || now?.kind === 'node') return null;
  const { key } = defined(old ?? now, 'a record on one side');
  return { key, before: old?.hash ?? null, after: now?.hash ?? null };
}

/** The node of a group's side that is to be entered next: the one that is as wide as the group. */
function widest(items: readonly Item[], others: readonly Item[]): Range[] {
  const [item] = items;
  if (item?.kind !== 'node' || items.length > 1) return [];
  const [other] = others;
  if (others.length === 1 && other?.kind === 'node' && other.bits < item.bits) return [];
  return [item];
}

function entering(items: readonly Item[], entered: ReadonlyMap<Item, readonly Item[]>): Item[] {
  return items.flatMap((item) => entered.get(item) ?? [item]);
}

/** Reads nodes: what is below each. */
async function below(source: TreeSource, ranges: readonly Range[]): Promise<Map<Item, readonly Item[]>> {
  const entered = new Map<Item, readonly Item[]>();
  if (ranges.length === 0) return entered;
  const read = await source.nodes(ranges.map(({ node }) => node.id));
  for (const [i, range] of ranges.entries()) {
    const bytes = verified(range.node, read[i] ?? null);
    entered.set(range, isInnerId(range.node.id) ? childrenOf(bytes) : pageEntries(bytes).map(({ key, hash }) => ({ kind: 'record', key, hash })));
  }
  return entered;
}

/** Anything may come instead of a node: what cannot be decoded does not hash right either. */
function verified({ id, hash }: TreeNode, bytes: Buffer | null): Buffer {
  const name = Buffer.from(id, 'latin1').toString('hex');
  if (bytes === null) throw new TreeSourceError(`the node ${name} is missing`);
  let found: Buffer | undefined;
  try {
    found = isInnerId(id) ? hashInner(bytes)?.hash : sha256Bytes(hashedPart(bytes));
  } catch (error) {
    if (error instanceof RangeError || error instanceof AssertionError) throw new TreeSourceError(`the node ${name} is none: ${error.message}`, { cause: error });
    throw error;
  }
  if (found?.equals(hash) !== true) throw new TreeSourceError(`the node ${name} is not the one that the node above it names`);
  // Of the top nobody says where it stands but the source.
  if (isInnerId(id) && innerId(decodeInner(bytes)) !== id) throw new TreeSourceError(`the node ${name} stands at another place`);
  return bytes;
}

function childrenOf(bytes: Buffer): Range[] {
  const { slots, nibbles, prefix } = decodeInner(bytes);
  return slots.flatMap((child, slot): Range[] => {
    if (child === null) return [];
    if (child.kind === 'inner') return [{ kind: 'node', node: { id: innerId(child), hash: child.hash }, prefix: child.prefix, bits: child.nibbles * 4 }];
    const bits = slotBits(nibbles, child.span);
    const at = slotPrefix(prefix, nibbles, slot);
    return [{ kind: 'node', node: { id: nodeId(PAGE, at, bits), hash: child.hash }, prefix: at, bits }];
  });
}

function rangeOf(top: TreeNode | null): Range[] {
  if (top === null) return [];
  const head = Buffer.from(top.id, 'latin1');
  const isPage = head.length === 3 && head[0] === PAGE && head.readUInt16BE(1) === 0;
  const isInner = head.length >= 3 && head[0] === INNER && head.length === 3 + ((head.readUInt16BE(1) + 7) >> 3);
  if (!isPage && !isInner) throw new TreeSourceError('the top of the tree is no node');
  return [{ kind: 'node', node: top, prefix: head.subarray(3), bits: head.readUInt16BE(1) }];
}

/** Two lists in key order as groups, without those that are the same on both sides, and what lies outside of `within`. */
function groupsOf(before: readonly Item[], after: readonly Item[], within: Buffer): Group[] {
  const old = before.filter((item) => overlaps(item, within));
  const now = after.filter((item) => overlaps(item, within));
  const groups: Group[] = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < now.length) {
    const a = old[i];
    const b = now[j];
    const how = a === undefined ? 'behind' : b === undefined ? 'before' : relationOf(a, b);
    const startA = i;
    const startB = j;
    if (how !== 'behind') i++;
    if (how !== 'before') j++;
    if (how === 'around') while (j < now.length && relationOf(a as Item, now[j] as Item) === 'around') j++;
    if (how === 'inside') while (i < old.length && relationOf(old[i] as Item, b as Item) === 'inside') i++;
    const group = { before: old.slice(startA, i), after: now.slice(startB, j) };
    if (!isSame(group)) groups.push(group);
  }
  return groups;
}

/** Equal hashes: the same records, at whatever place. */
function isSame({ before, after }: Group): boolean {
  const [a] = before;
  const [b] = after;
  return before.length === 1 && after.length === 1 && a?.kind === b?.kind && hashOf(a) !== null && hashOf(a)?.equals(hashOf(b) ?? EMPTY) === true;
}

function hashOf(item: Item | undefined): Buffer | null {
  return item === undefined ? null : item.kind === 'node' ? item.node.hash : item.hash;
}

function overlaps(item: Item, within: Buffer): boolean {
  const bits = within.length * 8;
  if (item.kind === 'record') return item.key.length >= within.length && hasPrefix(item.key, within, bits);
  return item.bits >= bits ? prefixExtends(item.prefix, item.bits, within, bits) : prefixExtends(within, bits, item.prefix, item.bits);
}

/** Where `a` lies as seen from `b`; the same range counts as around. */
function relationOf(a: Item, b: Item): 'before' | 'behind' | 'around' | 'inside' {
  if (a.kind === 'record' && b.kind === 'record') {
    const order = Buffer.compare(a.key, b.key);
    return order < 0 ? 'before' : order > 0 ? 'behind' : 'around';
  }
  const bitsA = a.kind === 'node' ? a.bits : Infinity;
  const bitsB = b.kind === 'node' ? b.bits : Infinity;
  const bits = Math.min(bitsA, bitsB);
  const length = (bits + 7) >> 3;
  for (let i = 0; i < length; i++) {
    const mask = i === length - 1 && (bits & 7) !== 0 ? 0xff << (8 - (bits & 7)) : 0xff;
    const difference = (byteOf(a, i) & mask) - (byteOf(b, i) & mask);
    if (difference !== 0) return difference < 0 ? 'before' : 'behind';
  }
  return bitsA <= bitsB ? 'around' : 'inside';
}

function byteOf(item: Item, at: number): number {
  return item.kind === 'record' ? keyByte(item.key, at) : (item.prefix[at] as number);
}
