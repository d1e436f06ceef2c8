/**
 * Writes changes, the nodes in which the tree changes by them, and the meta record as one synced batch. The tree is
 * worked out in slices of some milliseconds with the event loop free between them.
 */
import { PAGE } from './hashes.ts';
import { childAt, innerId, nodeId, type InnerChild } from './inner_node.ts';
import { keyNibble, matchingNibbles, prefixOf, slotBits } from './key_bits.ts';
import type { KeyValueStore } from './key_value_store.ts';
import { applyChanges, pageEntry, type NodeSource, type Top, type TreeUpdate } from './merkle_tree.ts';
import type { Change } from './page.ts';
import { Slices } from './slices.ts';
import { checkedNode, sealNode } from './stored_node.ts';
import { META_KEY, encodeMeta, keyOfRecord, nodeKey, recordKey, recordKeyOf, type Meta } from './store_keys.ts';
import { slotOf } from './tree_walk.ts';

/** A change with what is written of it. */
export interface RecordChange extends Change {
  /** The record's key in the database. */
  readonly at: Buffer;
  readonly value: Buffer | null;
}

/** `id`: the key as a latin1 string; `value` null: the record goes. */
export function recordChange(id: string, value: Buffer | null): RecordChange {
  const at = recordKey(id);
  const key = keyOfRecord(at);
  return value === null ? { key, entry: null, size: 0, at, value } : { key, entry: pageEntry(key, value), size: value.length, at, value };
}

/** The same of a record whose entry is known. */
export function verifiedChange(record: Buffer, value: Buffer | null, entry: Buffer | null): RecordChange {
  const at = recordKeyOf(record);
  return { key: keyOfRecord(at), entry, size: value?.length ?? 0, at, value };
}

export interface WriteRequest {
  readonly store: KeyValueStore;
  readonly source: NodeSource;
  /** Whether a node is in memory, so that it need not be fetched ahead. */
  readonly isCached: (id: string) => boolean;
  readonly top: Top;
  /** Sorted by key, distinct. */
  readonly changes: readonly RecordChange[];
  readonly stamp: number;
  /** The meta record for the tree's new top. */
  readonly meta: (top: Top) => Meta;
  readonly slices: Slices;
  /** Awaited before anything is written, with the bytes of all that is; when it rejects, nothing was. */
  readonly room?: ((bytes: number) => Promise<void>) | undefined;
}

export interface WriteResult {
  readonly update: TreeUpdate;
  readonly meta: Meta;
  readonly nodeBytes: number;
}

/** Rejects with the database's error when it cannot write, and with StoreDamageError when the tree cannot be read; nothing has changed then. */
export async function writeChanges(request: WriteRequest): Promise<WriteResult> {
  const { store, changes, slices } = request;
  const update = await nextTree(request);
  const meta = request.meta(update.top);
  const batch = store.batch();
  let nodeBytes = 0;
  let recordBytes = 0;
  let written = 0;
  try {
    for (const { at, value } of changes) {
      if (value === null) batch.delete(at);
      else batch.put(at, value);
      recordBytes += at.length + (value?.length ?? 0);
      if ((++written & 31) === 0 && slices.over) await slices.giveWay();
    }
    for (const [id, bytes] of update.puts) {
      batch.put(nodeKey(id), sealNode(id, bytes));
      nodeBytes += id.length + bytes.length;
      if ((++written & 31) === 0 && slices.over) await slices.giveWay();
    }
    for (const id of update.deletes) {
      batch.delete(nodeKey(id));
      if ((++written & 31) === 0 && slices.over) await slices.giveWay();
    }
    batch.put(META_KEY, encodeMeta(meta));
    slices.pause();
    await request.room?.(recordBytes + nodeBytes);
  } catch (error) {
    await batch.discard();
    throw error;
  }
  await batch.write();
  slices.begin();
  return { update, meta, nodeBytes };
}

async function nextTree(request: WriteRequest): Promise<TreeUpdate> {
  const { source, top, changes, stamp, slices } = request;
  const ahead = await readAhead(request);
  const steps = applyChanges((id, hash) => ahead.get(id) ?? source(id, hash), top, changes, stamp);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (slices.over) await slices.giveWay();
  }
}

const READ_AHEAD = 64;

/** An inner node with the changes [from, to) in its range; `known`: nibbles that their keys have in common with its prefix anyway. */
interface Branch {
  readonly child: InnerChild;
  readonly known: number;
  readonly from: number;
  readonly to: number;
}

/** The nodes that the changes fall into, as far as they are not in memory, read off the event loop: level by level, many at a time. */
async function readAhead({ store, source, isCached, top, changes, slices }: WriteRequest): Promise<Map<string, Buffer>> {
  const ahead = new Map<string, Buffer>();
  const read = async (wanted: readonly { readonly id: string; readonly hash: Buffer }[]): Promise<void> => {
    for (let i = 0; i < wanted.length; i += READ_AHEAD) {
      const nodes = wanted.slice(i, i + READ_AHEAD);
      slices.pause();
      const found = await store.getMany(nodes.map(({ id }) => nodeKey(id)));
      slices.begin();
      for (const [at, { id, hash }] of nodes.entries()) ahead.set(id, checkedNode(id, hash, found[at]));
      if (slices.over) await slices.giveWay();
    }
  };
  const pages: { id: string; hash: Buffer }[] = [];
  let level: Branch[] = top?.kind === 'inner' && changes.length > 0 ? [{ child: top, known: 0, from: 0, to: changes.length }] : [];
  while (level.length > 0) {
    await read(level.map(({ child }) => ({ id: innerId(child), hash: child.hash })).filter(({ id }) => !isCached(id)));
    const next: Branch[] = [];
    for (const branch of level) {
      const { child } = branch;
      const id = innerId(child);
      const node = ahead.get(id) ?? source(id, child.hash);
      for (const { slot, from, to } of parts(node, branch, changes)) {
        const below = childAt(node, slot);
        if (below?.kind === 'inner') {
          next.push({ child: below, known: child.nibbles, from, to });
        } else if (below !== null) {
          const bits = slotBits(child.nibbles, below.span);
          const page = nodeId(PAGE, prefixOf(keyAt(changes, from), bits), bits);
          if (!isCached(page)) pages.push({ id: page, hash: below.hash });
        }
      }
      if (slices.over) await slices.giveWay();
    }
    level = next;
  }
  await read(pages);
  return ahead;
}

interface Part {
  /** The slot that names the child. */
  readonly slot: number;
  readonly from: number;
  readonly to: number;
}

/** The changes of a branch by the child that they fall into; those that fall into none are left out. */
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
    if (slot === lastSlot && slot >= 0) end = to;
    else while (end < to && slotAt(end) === slot) end++;
    if (slot >= 0) out.push({ slot, from: c, to: end });
    c = end;
  }
  return out;
}

function keyAt(changes: readonly Change[], at: number): Buffer {
  return (changes[at] as Change).key;
}
