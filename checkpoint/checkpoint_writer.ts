/**
 * Writes changes, the nodes in which the tree changes by them, and the meta record as one synced batch. All of it is
 * worked out in slices, with the event loop free between them, and some changes at a time from the first step to the last: most of
 * what is made for them is garbage before V8 collects it the next time, and need not be copied.
 */
import { defined } from '../lib/assert.ts';
import { endOfRun } from '../lib/sorted.ts';
import { PAGE } from './hashes.ts';
import { decodeChild, innerId, nodeId, slotOf, type InnerChild } from './inner_node.ts';
import { keyNibble, matchingNibbles, prefixOf, slotBits } from './key_bits.ts';
import { readSettled, type KeyValueStore, type StoreReader } from './key_value_store.ts';
import { TreeDraft, type NodeSource, type Top, type TreeUpdate } from './merkle_tree.ts';
import { bytesOf, type Overlay } from './overlay.ts';
import { keyOfEntry, pageEntry, type Change } from './page.ts';
import type { Slices } from './slices.ts';
import { checkedNode, nodeThere, sealNode } from './stored_node.ts';
import { META_KEY, encodeMeta, nodeKey, recordKeyOf, recordKeyToCopy, type Meta } from './store_keys.ts';

/** A change with what is written of it. */
export interface RecordChange extends Change {
  readonly value: Buffer | null;
}

/** `id`: the key as a latin1 string; `value` null: the record goes. */
export function recordChange(id: string, value: Buffer | null): RecordChange {
  if (value === null) return { key: Buffer.from(id, 'latin1'), entry: null, size: 0, value };
  const entry = pageEntry(id, value);
  return { key: keyOfEntry(entry), entry, size: value.length, value };
}

/** So many changes, or bytes of values, go together; a single one may have more. */
const PART_CHANGES = 256;
const PART_BYTES = 64 << 10;

/** What changed since the last checkpoint, in the order of the keys, a part at a time. */
export function* changesOf(overlay: Overlay): Generator<readonly RecordChange[]> {
  const cursor = overlay.cursor('');
  let part: RecordChange[] = [];
  let bytes = 0;
  for (let id = cursor.next(); id !== undefined; id = cursor.next()) {
    const { value } = cursor;
    const change = recordChange(id, value === null ? null : bytesOf(value));
    part.push(change);
    bytes += change.size;
    if (part.length < PART_CHANGES && bytes < PART_BYTES) continue;
    yield part;
    part = [];
    bytes = 0;
  }
  if (part.length > 0) yield part;
}

/** The same of changes that are all there. */
export function* partsOf(changes: readonly RecordChange[]): Generator<readonly RecordChange[]> {
  for (let from = 0; from < changes.length; from += PART_CHANGES) yield changes.slice(from, from + PART_CHANGES);
}

export interface WriteRequest {
  readonly store: KeyValueStore;
  /**
   * Has the nodes of the tree that changes. Better a snapshot than the store: without one LevelDB makes one for each read, for which it waits on the event loop while
   * its own thread has the database locked, to delete files for example.
   */
  readonly reader: StoreReader;
  readonly source: NodeSource;
  /** A node that is in memory, and so need not be fetched ahead. */
  readonly cached: (id: string) => Buffer | undefined;
  readonly top: Top;
  /** Sorted by key, distinct; each part is done with before the next is asked for. */
  readonly changes: Iterable<readonly RecordChange[]>;
  readonly stamp: number;
  /** What `renewed` of the result leaves out: records that a checkpoint after this op has changed before. Without it nothing is left out. */
  readonly since?: number;
  /** The meta record for the tree's new top. */
  readonly meta: (top: Top) => Meta;
  readonly slices: Slices;
  /** Called with each change, before anything is written. */
  readonly onChange?: (change: RecordChange) => void;
  /** Awaited before anything is written, with the bytes of all that is; when it rejects, nothing was. */
  readonly room?: ((bytes: number) => Promise<void>) | undefined;
}

export interface WriteResult {
  readonly update: TreeUpdate;
  readonly meta: Meta;
  /** Changes. */
  readonly records: number;
  /** Records that are new, or had not changed since `since`. */
  readonly renewed: number;
  readonly nodeBytes: number;
}

/** Rejects with the database's error when it cannot write, and with StoreDamageError when the tree cannot be read; nothing has changed then. */
export async function writeChanges(request: WriteRequest): Promise<WriteResult> {
  const { store, source, slices } = request;
  let ahead: ReadonlyMap<string, Buffer> = new Map();
  const draft = new TreeDraft((id, hash) => ahead.get(id) ?? source(id, hash), request.top, request.stamp, request.since);
  const batch = store.batch();
  let records = 0;
  let recordBytes = 0;
  let nodeBytes = 0;
  let written = 0;
  let meta: Meta;
  try {
    for (const changes of request.changes) {
      const { nodes, starts } = await readAhead(request, draft, changes);
      ahead = nodes;
      draft.begin(changes);
      for (const count of stepsOf(starts, changes.length)) {
        draft.apply(count);
        if (slices.over) await slices.giveWay();
      }
      // By index: what `for of` makes for each is not optimized away in here.
      for (let i = 0; i < changes.length; i++) {
        const change = changes[i] as RecordChange;
        const { key, value } = change;
        if (value === null) batch.delete(recordKeyOf(key));
        else batch.put(recordKeyToCopy(key), value);
        request.onChange?.(change);
        recordBytes += 1 + key.length + (value?.length ?? 0);
        if ((i & 31) === 31 && slices.over) await slices.giveWay();
      }
      records += changes.length;
    }
    for (const [id, node] of draft.puts) {
      const stored = sealNode(id, node);
      batch.put(nodeKey(id), stored);
      nodeBytes += id.length + stored.length;
      if ((++written & 31) === 0 && slices.over) await slices.giveWay();
    }
    for (const id of draft.deletes) {
      batch.delete(nodeKey(id));
      if ((++written & 31) === 0 && slices.over) await slices.giveWay();
    }
    meta = request.meta(draft.top);
    batch.put(META_KEY, encodeMeta(meta));
    slices.pause();
    await request.room?.(recordBytes + nodeBytes);
  } catch (error) {
    await batch.discard();
    throw error;
  }
  await batch.write();
  slices.begin();
  // Not the draft: what was read for it may go.
  return { update: { top: draft.top, puts: draft.puts, deletes: draft.deletes }, meta, records, renewed: draft.renewed, nodeBytes };
}

/** The tree is worked on so many pages, or changes of one page, at a time before the clock is looked at: a millisecond or less. */
const STEP_PAGES = 16;
const STEP_CHANGES = 512;

/** How many changes to apply at a time. `starts`: the first change of each range that is a page, or has none. */
export function stepsOf(starts: readonly number[], changes: number): number[] {
  const steps: number[] = [];
  let from = 0;
  for (let page = STEP_PAGES; from < changes; page += STEP_PAGES) {
    const end = starts[page] ?? changes;
    for (; from < end; from = Math.min(from + STEP_CHANGES, end)) steps.push(Math.min(STEP_CHANGES, end - from));
  }
  return steps;
}

const READ_AHEAD = 64;

/** An inner node with the changes [from, to) in its range; `known`: nibbles that their keys have in common with its prefix anyway. */
interface Branch {
  readonly child: InnerChild;
  readonly known: number;
  readonly from: number;
  readonly to: number;
}

interface Ahead {
  readonly nodes: ReadonlyMap<string, Buffer>;
  /** Of each page, and of each range without one, the first change that falls into it, ascending. */
  readonly starts: readonly number[];
}

/** The nodes that the changes fall into; those that are not in memory are read off the event loop, level by level, many at a time. */
async function readAhead({ reader, cached, slices }: WriteRequest, { top, puts }: TreeUpdate, changes: readonly RecordChange[]): Promise<Ahead> {
  const ahead = new Map<string, Buffer>();
  const read = async (wanted: readonly { readonly id: string; readonly hash: Buffer }[]): Promise<void> => {
    for (let i = 0; i < wanted.length; i += READ_AHEAD) {
      const nodes = wanted.slice(i, i + READ_AHEAD);
      slices.pause();
      const found = await reader.getMany(nodes.map(({ id }) => nodeKey(id)));
      slices.begin();
      for (const [at, { id, hash }] of nodes.entries()) ahead.set(id, nodeThere(id, hash, found[at]) ?? checkedNode(id, hash, await readSettled(reader, nodeKey(id), slices)));
      if (slices.over) await slices.giveWay();
    }
  };
  const isMissing = ({ id }: { readonly id: string }): boolean => {
    const bytes = puts.get(id)?.bytes ?? cached(id);
    if (bytes !== undefined) ahead.set(id, bytes);
    return bytes === undefined;
  };
  const pages: { id: string; hash: Buffer }[] = [];
  const starts: number[] = [];
  let level: Branch[] = top?.kind === 'inner' && changes.length > 0 ? [{ child: top, known: 0, from: 0, to: changes.length }] : [];
  while (level.length > 0) {
    await read(level.map(({ child }) => ({ id: innerId(child), hash: child.hash })).filter(isMissing));
    const next: Branch[] = [];
    for (const branch of level) {
      const { child } = branch;
      const node = defined(ahead.get(innerId(child)), 'a node that was read');
      for (const { slot, from, to } of parts(node, branch, changes)) {
        const below = slot < 0 ? null : decodeChild(node, slot);
        if (below?.kind === 'inner') {
          next.push({ child: below, known: child.nibbles, from, to });
          continue;
        }
        starts.push(from);
        if (below !== null) {
          const bits = slotBits(child.nibbles, below.span);
          pages.push({ id: nodeId(PAGE, prefixOf(keyAt(changes, from), bits), bits), hash: below.hash });
        }
      }
      if (slices.over) await slices.giveWay();
    }
    level = next;
  }
  await read(pages.filter(isMissing));
  return { nodes: ahead, starts: starts.sort((a, b) => a - b) };
}

interface Part {
  /** The slot that names the child; -1: there is none. */
  readonly slot: number;
  readonly from: number;
  readonly to: number;
}

/** The changes of a branch by the child that they fall into. */
function parts(node: Buffer, { child, known, from, to }: Branch, changes: readonly Change[]): Part[] {
  const slotAt = (c: number): number => {
    const key = keyAt(changes, c);
    return matchingNibbles(key, child.prefix, child.nibbles, known) < child.nibbles ? -1 : slotOf(node, keyNibble(key, child.nibbles));
  };
  const out: Part[] = [];
  const last = to - 1;
  const lastSlot = slotAt(last);
  for (let c = from; c < to; ) {
    const slot = slotAt(c);
    let end = c + 1;
    // Sorted: what lies between two of one child is of that child too.
    if (slot >= 0) end = slot === lastSlot ? to : endOfRun(c, to, (at) => slotAt(at) === slot);
    else while (end < to && slotAt(end) === slot) end++;
    out.push({ slot, from: c, to: end });
    c = end;
  }
  return out;
}

function keyAt(changes: readonly Change[], at: number): Buffer {
  return (changes[at] as Change).key;
}
