/** A tree that is brought to a target, in memory: thousands of transfers a second, for tests of what donors may say. */
import { assert } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber, type OpNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import type { RecordChange } from '../../checkpoint/checkpoint_writer.ts';
import type { CheckpointInfo } from '../../checkpoint/checkpoint_info.ts';
import { Fetcher, DEFAULT_FETCHER_LIMITS, type FetcherLimits, type OwnTree } from '../../checkpoint/fetcher.ts';
import type { DonorConnection, FetchOptions, FetchReport } from '../../checkpoint/fetch_report.ts';
import { sourceOf, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { applyChanges, type NodeSource, type Top } from '../../checkpoint/merkle_tree.ts';
import { Slices } from '../../checkpoint/slices.ts';

export class MemoryOwn implements OwnTree {
  readonly table: MemoryTable;
  readonly #nodes: Map<string, Buffer>;
  /** What the tree itself reads; a test may watch what others do. */
  protected readonly unwatched: NodeSource;
  readonly source: NodeSource;
  base: OpNumber | null;
  isMixed = false;
  final: CheckpointInfo | null = null;
  installs = 0;
  #top: Top;

  constructor(at: MemoryCheckpoint) {
    this.table = at.records.clone();
    this.#nodes = new Map(at.nodes);
    this.unwatched = sourceOf(this.#nodes);
    this.source = this.unwatched;
    this.#top = at.top;
    this.base = at.top === null ? null : at.op;
  }

  top(): Top {
    return this.#top;
  }

  install(changes: readonly RecordChange[], final: CheckpointInfo | null): Promise<void> {
    this.installs++;
    for (const { key, value } of changes) {
      if (value === null) this.table.delete(key);
      else this.table.put(key, value);
    }
    const update = applyChanges(this.unwatched, this.#top, changes, opNumber(1000));
    for (const id of update.deletes) this.#nodes.delete(id);
    for (const [id, { bytes }] of update.puts) this.#nodes.set(id, bytes);
    this.#top = update.top;
    this.isMixed = true;
    this.final = final;
    return Promise.resolve();
  }

  fetch(target: MemoryCheckpoint | CheckpointInfo, donors: readonly DonorConnection[], limits: Partial<FetcherLimits> = {}, options: FetchOptions = {}, slices = new Slices(1000)): Promise<FetchReport> {
    assert(this.final === null, 'one transfer a tree');
    return new Fetcher(target, this, donors, options, { ...DEFAULT_FETCHER_LIMITS, ...limits }, slices).run();
  }
}

export function recordsOfTable(table: MemoryTable): Map<string, string> {
  return new Map([...table.entries()].map(([key, value]) => [key.toString('hex'), value.toString('hex')]));
}

export const NO_EXTRA: Buffer = EMPTY;
