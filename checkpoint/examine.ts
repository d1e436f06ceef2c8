/**
 * What a record store that nobody has open holds, with every byte of it compared with the root: for who has to choose between copies, and
 * for who has made one. Changes nothing of what the store is at; the database under it may still tidy its own files when it is opened.
 */
import { readdir } from 'node:fs/promises';
import { EMPTY } from '../lib/bytes.ts';
import type { OpNumber } from '../lib/ids.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import { Inspection, sourceOf } from './inspection.ts';
import { StoreOpenError, type KeyValueStore } from './key_value_store.ts';
import { LevelStore } from './level_store.ts';
import { Slices } from './slices.ts';
import { StoreDamageError } from './store_damage.ts';
import { readMeta } from './store_meta.ts';
import { VerifiedReads } from './verified_reads.ts';

export type Examination =
  /** All of a checkpoint; `values` of the keys that were asked for. */
  | { readonly kind: 'whole'; readonly checkpoint: CheckpointInfo; readonly recordBytes: number; readonly values: readonly (Buffer | undefined)[] }
  /** A transfer was interrupted, or a repair: some records are newer than others. */
  | { readonly kind: 'between'; readonly base: OpNumber }
  /** There is no store, or an empty one. */
  | { readonly kind: 'none' }
  | { readonly kind: 'damaged'; readonly reason: string };

const LEVEL_OPTIONS = { blockCacheBytes: 16 << 20, writeBufferBytes: 16 << 20 } as const;
const SLICE_MS = 10;

/** Rejects with StoreOpenError when the store is in use, of another version or another program's. */
export async function examineRecords(directory: string, keys: readonly Buffer[]): Promise<Examination> {
  if (await isAbsent(directory)) return { kind: 'none' };
  let store: KeyValueStore | null = null;
  try {
    store = await LevelStore.open(directory, LEVEL_OPTIONS);
    return await examine(store, directory, keys);
  } catch (error) {
    if (error instanceof StoreDamageError || (error instanceof StoreOpenError && error.code === 'damaged')) return { kind: 'damaged', reason: error.message };
    throw error;
  } finally {
    await store?.close();
  }
}

/** LevelDB would make one. */
async function isAbsent(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length === 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true;
    throw error;
  }
}

async function examine(store: KeyValueStore, directory: string, keys: readonly Buffer[]): Promise<Examination> {
  if (await store.isEmpty()) return { kind: 'none' };
  // That the top hashes to the root is part of reading it.
  const { top, state } = await readMeta(store, directory, EMPTY);
  if (state.kind === 'between') return state;
  const found = await new Inspection(store, new Slices(SLICE_MS)).run(top);
  if (found.damagedNodes > 0 || found.damaged.length > 0) {
    return { kind: 'damaged', reason: `${found.damaged.length} of ${found.records} records and ${found.damagedNodes} of ${found.nodes} nodes of the Merkle tree are missing or not what they were` };
  }
  const reads = new VerifiedReads(store, sourceOf(store));
  const values = keys.map((key) => (top === null ? undefined : reads.get(top, key)));
  return { kind: 'whole', checkpoint: state.info, recordBytes: top?.recordBytes ?? 0, values };
}
