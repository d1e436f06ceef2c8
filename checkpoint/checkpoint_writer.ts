/**
 * Writes changes, the nodes in which the tree changes by them, and the meta record as one synced batch. The tree is
 * worked out in slices of some milliseconds with the event loop free between them.
 */
import { hasPrefix } from './key_bits.ts';
import type { KeyValueStore } from './key_value_store.ts';
import { applyChanges, pageEntry, type NodeSource, type Top, type TreeUpdate } from './merkle_tree.ts';
import type { Change } from './page.ts';
import { Slices } from './slices.ts';
import { checkedNode, sealNode } from './stored_node.ts';
import { META_KEY, encodeMeta, keyOfRecord, nodeKey, recordKey, type Meta } from './store_keys.ts';
import { locatePage, type LocatedPage } from './tree_walk.ts';

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

async function nextTree({ store, source, isCached, top, changes, stamp, slices }: WriteRequest): Promise<TreeUpdate> {
  const ahead = await readAhead(store, source, isCached, top, changes, slices);
  const steps = applyChanges((id, hash) => ahead.get(id) ?? source(id, hash), top, changes, stamp);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (slices.over) await slices.giveWay();
  }
}

const READ_AHEAD = 64;

// The pages that the changes fall into, read off the event loop.
async function readAhead(
  store: KeyValueStore,
  source: NodeSource,
  isCached: (id: string) => boolean,
  top: Top,
  changes: readonly Change[],
  slices: Slices,
): Promise<Map<string, Buffer>> {
  const ahead = new Map<string, Buffer>();
  const wanted: LocatedPage[] = [];
  let last: LocatedPage | null = null;
  let seen = 0;
  for (const { key } of changes) {
    // Sorted changes: those of one page follow each other.
    if (last !== null && hasPrefix(key, last.prefix, last.bits)) continue;
    last = locatePage(source, top, key);
    if (last !== null && !isCached(last.id)) wanted.push(last);
    if ((++seen & 31) === 0 && slices.over) await slices.giveWay();
  }
  for (let i = 0; i < wanted.length; i += READ_AHEAD) {
    const pages = wanted.slice(i, i + READ_AHEAD);
    slices.pause();
    const found = await store.getMany(pages.map(({ id }) => nodeKey(id)));
    slices.begin();
    for (const [at, { id, hash }] of pages.entries()) ahead.set(id, checkedNode(id, hash, found[at]));
  }
  return ahead;
}
