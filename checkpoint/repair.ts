/**
 * Makes a damaged store one that the others can complete. Every node and every record is compared with what the tree
 * says above it, and what differs is taken out of the tree. What is left says truly which records are here, so the
 * transfer that follows fetches the pages in which something is missing and no others.
 *
 * First of all the store is marked as being between two checkpoints, durably: whatever happens from then on, it is not
 * taken for a state again until a transfer has made it whole. Where LevelDB has to save what it can before that can be
 * written, a file says so until then (salvage_mark.ts).
 */
import { EMPTY } from '../lib/bytes.ts';
import { opNumber, type OpNumber } from '../lib/ids.ts';
import { partsOf, recordChange, writeChanges } from './checkpoint_writer.ts';
import { Inspection, sourceOf } from './inspection.ts';
import { MAX_KEY_BYTES } from './key_bits.ts';
import { StoreOpenError, type KeyValueStore } from './key_value_store.ts';
import { LevelStore } from './level_store.ts';
import { TreeDraft, putChange, type NodeSource, type Top } from './merkle_tree.ts';
import type { Change } from './page.ts';
import { Slices } from './slices.ts';
import { unmarkSalvaged } from './salvage_mark.ts';
import { StoreDamageError } from './store_damage.ts';
import { META_KEY, NODES_END, NODES_START, RECORDS_END, RECORDS_START, encodeMeta, keyOfRecord, nodeKey } from './store_keys.ts';
import { readMeta, writeMeta } from './store_meta.ts';
import { sealNode } from './stored_node.ts';

export interface RepairReport {
  /** What was compared with the tree, and how much of it was damaged or missing. */
  readonly nodes: number;
  readonly records: number;
  readonly damagedNodes: number;
  readonly damagedRecords: number;
  /** Reads that the database itself refused. */
  readonly databaseErrors: number;
  /** The tree was made anew from the records that could be read. */
  readonly rebuilt: boolean;
  readonly milliseconds: number;
}

const LEVEL_OPTIONS = { blockCacheBytes: 16 << 20, writeBufferBytes: 16 << 20 } as const;
const SLICE_MS = 2;
/** Records, or nodes, in one batch of a rebuild. */
const REBUILD_CHUNK = 8192;

/**
 * The store must not be open. When this resolves it can be opened, and is between two checkpoints. Rejects with
 * StoreOpenError (code 'damaged', 'foreign') or StoreDamageError when there is nothing to be made of it, with the database's error when it cannot write.
 */
export async function repairRecords(directory: string): Promise<RepairReport> {
  const startedAt = performance.now();
  const opened = await openOrSalvage(directory);
  let { store } = opened;
  try {
    if (opened.salvaged && (await store.isEmpty())) throw new StoreOpenError('damaged', `nothing in ${directory} can be read`);
    const meta = await readMeta(store, directory, EMPTY);
    const base = meta.state.kind === 'checkpoint' ? meta.state.info.op : meta.state.base;
    await writeMeta(store, { top: meta.top, state: { kind: 'between', base } });
    if (opened.salvaged) await unmarkSalvaged(directory);
    const slices = new Slices(SLICE_MS);
    const found = await new Inspection(store, slices).run(meta.top);
    const rebuilt = found.damagedNodes > 0 || found.databaseErrors > 0;
    if (found.databaseErrors > 0) {
      // A compaction that meets the damage would make the database refuse all writes.
      await store.close();
      await LevelStore.salvage(directory);
      store = await LevelStore.openSalvaged(directory, LEVEL_OPTIONS);
    }
    if (rebuilt) await rebuild(store, base, slices);
    else await remove(store, meta.top, base, found.damaged, slices);
    if (found.databaseErrors > 0) await unmarkSalvaged(directory);
    const { nodes, records, damagedNodes, damaged, databaseErrors } = found;
    return { nodes, records, damagedNodes, damagedRecords: damaged.length, databaseErrors, rebuilt, milliseconds: Math.round(performance.now() - startedAt) };
  } finally {
    await store.close();
  }
}

async function openOrSalvage(directory: string): Promise<{ store: KeyValueStore; salvaged: boolean }> {
  try {
    return { store: await LevelStore.open(directory, LEVEL_OPTIONS), salvaged: false };
  } catch (error) {
    if (!isDamaged(error)) throw error;
  }
  try {
    // Where nothing but a log is damaged, LevelDB leaves out what does not check, and the rest stays in its order.
    return { store: await LevelStore.openSalvaged(directory, LEVEL_OPTIONS), salvaged: true };
  } catch (error) {
    if (!isDamaged(error)) throw error;
  }
  try {
    await LevelStore.salvage(directory);
  } catch (error) {
    throw new StoreOpenError('damaged', `${directory} cannot be repaired: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return { store: await LevelStore.openSalvaged(directory, LEVEL_OPTIONS), salvaged: true };
}

function isDamaged(error: unknown): boolean {
  return error instanceof StoreOpenError && error.code === 'damaged';
}

/** Takes records out of a tree whose nodes are all good. */
async function remove(store: KeyValueStore, top: Top, base: OpNumber, keys: readonly Buffer[], slices: Slices): Promise<void> {
  if (keys.length === 0) return;
  const changes = [...keys].sort((a, b) => Buffer.compare(a, b)).map((key) => recordChange(key.latin1Slice(0, key.length), null));
  await writeChanges({
    store, reader: store, source: sourceOf(store), cached: () => undefined, top, changes: partsOf(changes), stamp: base, slices,
    meta: (next) => ({ top: next, state: { kind: 'between', base } }),
  });
}

/**
 * A tree of the records as they lie in the database, whatever they are: those that are not what they were will differ
 * from the others' and be fetched. The stamps are lost, so what this store donates later is a little more than needed.
 */
async function rebuild(store: KeyValueStore, base: OpNumber, slices: Slices): Promise<void> {
  const source = sourceOf(store);
  let top: Top = null;
  let changes: Change[] = [];
  const flush = async (): Promise<void> => {
    top = await writeNodes(store, source, top, changes, base, slices);
    changes = [];
  };
  await writeMeta(store, { top, state: { kind: 'between', base: opNumber(base) } });
  await removeNodes(store, slices);
  try {
    for await (const [at, value] of store.entries(RECORDS_START, RECORDS_END)) {
      const key = keyOfRecord(at);
      if (key.length <= MAX_KEY_BYTES) changes.push(putChange(key, value));
      if (changes.length >= REBUILD_CHUNK) await flush();
      if (slices.over) await slices.giveWay();
    }
  } catch (error) {
    // The rest could not be read: it is missing, as everything else that is damaged.
    if (!(error instanceof StoreDamageError)) throw error;
  }
  await flush();
}

/** All of them, once nothing names them: where the new tree has no node at the place of an old one, that would stay for ever. */
async function removeNodes(store: KeyValueStore, slices: Slices): Promise<void> {
  let keys: Buffer[] = [];
  const flush = async (): Promise<void> => {
    const batch = store.batch();
    for (const key of keys) batch.delete(key);
    keys = [];
    await batch.write();
  };
  try {
    for await (const [key] of store.entries(NODES_START, NODES_END)) {
      keys.push(key);
      if (keys.length >= REBUILD_CHUNK) await flush();
      if (slices.over) await slices.giveWay();
    }
  } catch (error) {
    // Those that cannot be read only take room.
    if (!(error instanceof StoreDamageError)) throw error;
  }
  await flush();
}

/** Changes that are worked on before the clock is looked at. */
const REPAIR_STEP = 64;

async function writeNodes(store: KeyValueStore, source: NodeSource, top: Top, changes: readonly Change[], base: OpNumber, slices: Slices): Promise<Top> {
  const update = new TreeDraft(source, top, base);
  update.begin(changes);
  while (update.apply(REPAIR_STEP)) if (slices.over) await slices.giveWay();
  const batch = store.batch();
  for (const id of update.deletes) batch.delete(nodeKey(id));
  for (const [id, node] of update.puts) batch.put(nodeKey(id), sealNode(id, node));
  batch.put(META_KEY, encodeMeta({ top: update.top, state: { kind: 'between', base } }));
  await batch.write();
  return update.top;
}
