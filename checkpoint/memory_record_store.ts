/** The same tree with everything in memory, synchronous: for the simulator and as the tests' yardstick. */
import { assert } from '../lib/assert.ts';
import { EMPTY } from '../lib/bytes.ts';
import { opNumber, type Digest, type OpNumber } from '../lib/ids.ts';
import { MemoryTable } from '../lib/memory_table.ts';
import { ByteTable, type TableRecord } from '../lib/table.ts';
import { rootHash } from './hashes.ts';
import { applyChanges, deleteChange, putChange, recordsOf, type NodeSource, type Top } from './merkle_tree.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import type { Change } from './page.ts';

/** A checkpoint as a value: nobody changes it afterwards, so that peers may share it. */
export interface MemoryCheckpoint extends CheckpointInfo {
  readonly records: MemoryTable;
  readonly nodes: ReadonlyMap<string, Buffer>;
  readonly top: Top;
}

export function sourceOf(nodes: ReadonlyMap<string, Buffer>): NodeSource {
  return (id) => {
    const bytes = nodes.get(id);
    assert(bytes !== undefined, () => `the tree has no node ${Buffer.from(id, 'latin1').toString('hex')}`);
    return bytes;
  };
}

export function emptyCheckpoint(extra: Buffer = EMPTY): MemoryCheckpoint {
  return { op: opNumber(0), root: rootHash(opNumber(0), 0, extra, null), extra, count: 0, records: new MemoryTable(), nodes: new Map(), top: null };
}

export class MemoryRecordStore extends ByteTable {
  #checkpoint: MemoryCheckpoint;
  #table: MemoryTable;
  // Keys that may differ from the checkpoint.
  #touched = new Map<string, Buffer>();

  constructor(checkpoint: MemoryCheckpoint = emptyCheckpoint()) {
    super();
    this.#checkpoint = checkpoint;
    this.#table = checkpoint.records.clone();
  }

  get checkpoint(): MemoryCheckpoint {
    return this.#checkpoint;
  }
  get(key: Buffer): Buffer | undefined {
    return this.#table.get(key);
  }
  put(key: Buffer, value: Buffer): void {
    this.#touched.set(key.latin1Slice(0, key.length), key);
    this.#table.put(key, value);
  }
  delete(key: Buffer): void {
    this.#touched.set(key.latin1Slice(0, key.length), key);
    this.#table.delete(key);
  }
  range(start: Buffer, end: Buffer, limit: number): TableRecord[] {
    return this.#table.range(start, end, limit);
  }

  /** Makes the present state the checkpoint of `op`, at a cost in the tree that grows with the changes only. */
  take(op: OpNumber, extra: Buffer): MemoryCheckpoint {
    const changes: Change[] = [];
    for (const id of [...this.#touched.keys()].sort()) {
      const key = this.#touched.get(id) as Buffer;
      const value = this.#table.get(key);
      changes.push(value === undefined ? deleteChange(key) : putChange(key, value));
    }
    const { nodes, top } = this.#checkpoint;
    const update = applyChanges(sourceOf(nodes), top, changes, op);
    const newNodes = new Map(nodes);
    for (const id of update.deletes) newNodes.delete(id);
    for (const [id, { bytes }] of update.puts) newNodes.set(id, bytes);
    const count = recordsOf(update.top);
    this.#checkpoint = {
      op,
      root: rootHash(op, count, extra, update.top?.hash ?? null),
      extra,
      count,
      records: this.#table.clone(),
      nodes: newNodes,
      top: update.top,
    };
    this.#touched = new Map();
    return this.#checkpoint;
  }

  /** Replaces the whole state by a checkpoint. */
  install(checkpoint: MemoryCheckpoint): void {
    this.#checkpoint = checkpoint;
    this.#table = checkpoint.records.clone();
    this.#touched = new Map();
  }
}

/** The root over records in key order, from nothing. */
export function rootOf(records: Iterable<TableRecord>, op: OpNumber, extra: Buffer): Digest {
  const changes: Change[] = [];
  for (const [key, value] of records) changes.push(putChange(key, value));
  const { top } = applyChanges(sourceOf(new Map()), null, changes, op);
  return rootHash(op, recordsOf(top), extra, top?.hash ?? null);
}
