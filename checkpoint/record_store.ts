/**
 * The table of all application state: what changed since the last durable checkpoint in memory, the rest in LevelDB
 * under the Merkle tree.
 *
 *   reads    live overlay -> frozen overlay (a checkpoint being written) -> caches -> LevelDB
 *   writes   the live overlay, nothing else
 *   take     freezes the live overlay at the call; it is written in the background as one atomic, synced batch with the
 *            nodes of the tree that change and the meta record; only then is it dropped
 *   fetch    replaces the state by a peer's checkpoint (fetcher.ts)
 *
 * Writes of the store itself never overlap: one take or fetch at a time.
 */
import { assert } from '../lib/assert.ts';
import { EMPTY } from '../lib/bytes.ts';
import { opNumber, type OpNumber } from '../lib/ids.ts';
import { onlyTheMoment } from '../lib/promises.ts';
import type { RecordValue, Table, TableRecord } from '../lib/table.ts';
import { ByteCache } from './byte_cache.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import { changesOf, partsOf, writeChanges, type RecordChange, type WriteRequest, type WriteResult } from './checkpoint_writer.ts';
import { Donor, type DonorStatus, type HeldCheckpoint, type PinnedCheckpoint } from './donor.ts';
import type { DonorConnection, FetchOptions, FetchReport } from './fetch_report.ts';
import { DEFAULT_FETCHER_LIMITS, Fetcher, type FetcherLimits, type FetchTarget, type OwnTree } from './fetcher.ts';
import { MAX_EXTRA_BYTES, rootHash } from './hashes.ts';
import { besideInner, isInnerId, overwriteInner, type HashedNode } from './inner_node.ts';
import { assertKeyLength } from './key_bits.ts';
import type { KeyValueStore, StoreReader } from './key_value_store.ts';
import { LevelStore } from './level_store.ts';
import { recordsOf, type NodeSource, type Top } from './merkle_tree.ts';
import { bytesOf, Overlay, type Value } from './overlay.ts';
import { Pace, type PaceOptions } from './pace.ts';
import { rangeOf } from './range.ts';
import { RecordCaches } from './record_caches.ts';
import { Slices } from './slices.ts';
import { StoreDamageError } from './store_damage.ts';
import { nodeKey, type Meta } from './store_keys.ts';
import { readMeta } from './store_meta.ts';
import { checkedNode } from './stored_node.ts';
import { TakeCostRecorder, type TakeCosts } from './take_costs.ts';
import { VerifiedReads } from './verified_reads.ts';

export interface RecordStoreOptions {
  readonly directory: string;
  /** For records (three quarters of it) and nodes of the tree, about; LevelDB's own buffers are beside it. Default 192 MiB. */
  readonly cacheBytes?: number;
  /** LevelDB's cache of blocks and its write buffer. Defaults 16 MiB each. */
  readonly blockCacheBytes?: number;
  readonly writeBufferBytes?: number;
  /** The `extra` of the checkpoint that a fresh directory is at. */
  readonly initialExtra?: Buffer;
  /** How long a checkpoint or a transfer may hold the event loop at a time, in milliseconds. Default 0.5 and 2: a checkpoint comes often, while clients wait. */
  readonly sliceMs?: number;
  /**
   * The newest checkpoints are kept for peers, default 8, and beside them up to 3 that peers are fetching, for half an hour at
   * most; one that nobody asks for goes after `servedIdleMs`, default 60 000.
   */
  readonly servedCheckpoints?: number;
  readonly servedIdleMs?: number;
  readonly servedPinnedMs?: number;
  /** What is given to all peers together; default: as fast as it goes, and as much of the event loop as there is. */
  readonly pace?: PaceOptions;
  readonly fetcher?: Partial<FetcherLimits>;
  /** Awaited before so many bytes are written; a rejection ends the checkpoint or the transfer, with nothing changed. */
  readonly room?: (bytes: number) => Promise<void>;
  /** For tests: opens the database under the store. */
  readonly openStore?: (directory: string) => Promise<KeyValueStore>;
}

export interface RecordStoreStatus {
  /** Records and bytes of keys and values as of the last durable write. */
  readonly records: number;
  readonly recordBytes: number;
  readonly overlayRecords: number;
  readonly overlayBytes: number;
  readonly frozenRecords: number;
  readonly frozenBytes: number;
  readonly cachedRecordBytes: number;
  readonly cachedNodeBytes: number;
  readonly takes: number;
  readonly failedTakes: number;
  readonly taking: boolean;
  readonly fetching: boolean;
  /** Of the last checkpoint: wall time, time on the event loop, its longest hold, records and bytes of nodes written. */
  readonly lastTakeMs: number;
  readonly lastTakeBusyMs: number;
  readonly lastTakeLongestMs: number;
  readonly lastTakeRecords: number;
  readonly lastTakeNodeBytes: number;
  /** Of checkpoints since the store was opened. */
  readonly costs: TakeCosts;
  readonly donor: DonorStatus;
}

/** How long a checkpoint holds the event loop at a time, milliseconds. */
const TAKE_SLICE_MS = 0.5;
/** Of the nodes that one write made, as they are stored; the pages of so many are kept until the next one. */
const MAX_RECENT_BYTES = 2 << 20;
const NO_NODES: ReadonlyMap<string, Pick<HashedNode, 'bytes'>> = new Map();
/** A whole answer beside what a page of large values adds; HTTP bodies stay bounded. */
const MAX_ANSWER_BYTES = 8 << 20;

export class RecordStore implements Table {
  readonly #store: KeyValueStore;
  readonly #options: RecordStoreOptions;
  readonly #sliceMs: number;
  readonly #donor: Donor;
  readonly #pace: Pace;
  readonly #records: RecordCaches;
  #live = new Overlay();
  #frozen: Overlay | null = null;
  readonly #nodes: ByteCache;
  /** Newer than the cache, until that has followed: what the last write made of the tree. Then the pages stay unless they are large: what changed is what will change again, new records at the end of a range above all. */
  #recent: typeof NO_NODES = NO_NODES;
  #top: Top;
  #state: Meta['state'];
  // While a batch is being written, nodes are read as of the checkpoint before it.
  #nodeReader: StoreReader;
  #busy: 'take' | 'fetch' | null = null;
  #working: Promise<unknown> = Promise.resolve();
  #needsReopen = false;
  readonly #costs = new TakeCostRecorder(performance.now());
  #failedTakes = 0;
  readonly #source: NodeSource = (id, hash) => this.#node(id, hash);
  readonly #reads: VerifiedReads;

  private constructor(store: KeyValueStore, meta: Meta, options: RecordStoreOptions) {
    this.#store = store;
    this.#reads = new VerifiedReads(store, this.#source);
    this.#nodeReader = store;
    this.#options = options;
    this.#sliceMs = options.sliceMs ?? 2;
    this.#top = meta.top;
    this.#state = meta.state;
    const cacheBytes = options.cacheBytes ?? 192 << 20;
    this.#records = new RecordCaches((cacheBytes / 4) * 3);
    this.#nodes = new ByteCache(cacheBytes / 4, (id, bytes) => (isInnerId(id) ? besideInner(bytes) : 0));
    this.#pace = new Pace(options.pace ?? { bytesPerSecond: 0, othersMs: null });
    this.#donor = new Donor({
      maxCheckpoints: options.servedCheckpoints ?? 8,
      maxPinned: 3,
      maxPinnedMs: options.servedPinnedMs ?? 1_800_000,
      maxIdleMs: options.servedIdleMs ?? 60_000,
      maxAnswerBytes: MAX_ANSWER_BYTES,
      sliceMs: this.#sliceMs,
      pace: this.#pace,
    });
  }

  /** Opens or creates the store; rejects with StoreOpenError, which says what is wrong and what to do. */
  static async open(options: RecordStoreOptions): Promise<RecordStore> {
    const { directory } = options;
    const openLevel = (): Promise<KeyValueStore> =>
      LevelStore.open(directory, { blockCacheBytes: options.blockCacheBytes ?? 16 << 20, writeBufferBytes: options.writeBufferBytes ?? 16 << 20 });
    const store = await (options.openStore?.(directory) ?? openLevel());
    try {
      const meta = await readMeta(store, directory, options.initialExtra ?? EMPTY);
      const records = new RecordStore(store, meta, options);
      await records.#serveNewest();
      return records;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** The newest durable checkpoint; null: an interrupted transfer left the records between two, and only `fetch` may follow. */
  get checkpoint(): CheckpointInfo | null {
    return this.#state.kind === 'checkpoint' ? this.#state.info : null;
  }

  get directory(): string {
    return this.#options.directory;
  }

  /** Holds a checkpoint that is served, the newest without an op-number, for reading beside everything else; null: there is none. */
  pin(op?: OpNumber): PinnedCheckpoint | null {
    return this.#donor.pin(op);
  }

  /** The checkpoints that can be read, newest first. */
  held(): HeldCheckpoint[] {
    return this.#donor.held();
  }

  /** See Donor.keep. */
  keep(op: OpNumber, ms: number): ReturnType<Donor['keep']> {
    return this.#donor.keep(op, ms);
  }

  get(key: Buffer): Buffer | undefined {
    const id = key.latin1Slice(0, key.length);
    const changed = this.#changed(id);
    if (changed === null) return undefined;
    const value = changed ?? this.#durable(id, null);
    return value === undefined ? undefined : bytesOf(value);
  }

  find<T extends RecordValue>(id: string, decode: (bytes: Buffer) => T): T | undefined {
    const changed = this.#changed(id);
    if (changed === null) return undefined;
    const value = changed ?? this.#durable(id, decode);
    // All records of a kind of key have one decoder.
    return value instanceof Uint8Array ? decode(value) : (value as T | undefined);
  }

  put(key: Buffer, value: Buffer): void {
    this.#change(key.latin1Slice(0, key.length), value);
  }

  delete(key: Buffer): void {
    this.#change(key.latin1Slice(0, key.length), null);
  }

  store(id: string, value: RecordValue): void {
    this.#change(id, value);
  }

  range(start: Buffer, end: Buffer, limit: number): TableRecord[] {
    return rangeOf(
      {
        overlays: this.#frozen === null ? [this.#live] : [this.#live, this.#frozen],
        source: this.#source,
        top: this.#top,
        value: (id) => this.#durable(id, null),
      },
      start,
      end,
      limit,
    );
  }

  #change(id: string, value: Value | null): void {
    assertKeyLength(id.length);
    if (this.#live.set(id, value)) this.#records.changed(id);
  }

  // undefined: as in the last checkpoint; null: deleted.
  #changed(id: string): Value | null | undefined {
    const live = this.#live.get(id);
    return live !== undefined ? live : this.#frozen?.get(id);
  }

  // With `decode` perhaps decoded by it; without it a value that the caller may keep.
  #durable(id: string, decode: ((bytes: Buffer) => Value) | null): Value | undefined {
    if (this.#top === null) return undefined;
    const cached = this.#records.get(id, decode);
    if (cached !== undefined) return cached;
    const key = Buffer.from(id, 'latin1');
    const value = this.#reads.get(this.#top, key);
    if (value !== undefined) this.#records.add(key, id, value);
    return value;
  }

  // Verified when it comes into the cache; what is in there is of the present tree.
  #node(id: string, hash: Buffer): Buffer {
    const cached = this.#cached(id);
    if (cached !== undefined) return cached;
    const bytes = checkedNode(id, hash, this.#nodeReader.getSync(nodeKey(id)));
    this.#nodes.set(id, bytes);
    return bytes;
  }

  #cached(id: string): Buffer | undefined {
    return this.#recent.get(id)?.bytes ?? this.#nodes.get(id);
  }

  /**
   * Makes the present state the checkpoint of `op`. The state is frozen at the call, and written when `turn` resolves; the promise resolves when the
   * checkpoint is durable. Rejects with the database's error when it could not be written: then the last checkpoint is
   * as it was and everything stays readable, but no other may be taken until the store was opened anew. One at a time.
   */
  take(op: OpNumber, extra: Buffer, turn: Promise<void> = Promise.resolve()): Promise<CheckpointInfo> {
    assert(this.#busy === null, () => `a checkpoint may not be taken during a ${this.#busy ?? ''}`);
    assert(this.#frozen === null, 'after a checkpoint that could not be written the store is opened anew before the next is taken');
    assert(this.#state.kind === 'checkpoint', 'records between two checkpoints cannot be made one');
    const last = this.#state.info.op;
    assert(op >= last, () => `checkpoints do not go back: ${op} after ${last}`);
    assert(extra.length <= MAX_EXTRA_BYTES, () => `extra has at most ${MAX_EXTRA_BYTES} bytes, not ${extra.length}`);
    const overlay = this.#live;
    this.#frozen = overlay;
    this.#live = new Overlay();
    return this.#exclusively('take', async () => {
      await turn;
      return this.#writeFrozen(overlay, op, extra);
    });
  }

  /**
   * Replaces the state by the checkpoint `target`, whose root is trusted. From the call on the table may not be used;
   * when it resolves, the store is at the target and the overlay empty. On a rejection (TargetGone, FetchFailed, the
   * signal's reason, a database error) `checkpoint` says whether anything was replaced: null means that only another
   * `fetch` may follow, which goes on from what is there; otherwise the state is as before the call.
   */
  async fetch(target: FetchTarget, donors: readonly DonorConnection[], options: FetchOptions = {}): Promise<FetchReport> {
    // A checkpoint that is being written ends first, well or badly.
    await this.#working;
    assert(this.#busy === null, 'one fetch at a time');
    return this.#exclusively('fetch', () => this.#fetch(target, donors, options));
  }

  /** Answers a peer's request for parts of a checkpoint; see transfer_messages.ts. */
  serve(request: Buffer): Promise<Buffer> {
    return this.#donor.serve(request);
  }

  status(): RecordStoreStatus {
    return {
      records: recordsOf(this.#top),
      recordBytes: this.#top?.recordBytes ?? 0,
      overlayRecords: this.#live.size,
      overlayBytes: this.#live.bytes,
      frozenRecords: this.#frozen?.size ?? 0,
      frozenBytes: this.#frozen?.bytes ?? 0,
      cachedRecordBytes: this.#records.bytes,
      cachedNodeBytes: this.#nodes.bytes,
      taking: this.#busy === 'take',
      fetching: this.#busy === 'fetch',
      donor: this.#donor.status(),
      ...takeFields(this.#costs.costs(performance.now())),
      failedTakes: this.#failedTakes,
    };
  }

  /** Waits for what is being written, then closes. */
  async close(): Promise<void> {
    await this.#working;
    await this.#donor.clear();
    await this.#store.close();
  }

  #exclusively<T>(kind: 'take' | 'fetch', work: () => Promise<T>): Promise<T> {
    this.#busy = kind;
    const done = work().finally(() => {
      this.#busy = null;
    });
    // Whoever waits for the store to be idle does not care how it ended; the caller of `done` does.
    this.#working = done.then(onlyTheMoment, onlyTheMoment);
    return done;
  }

  async #writeFrozen(overlay: Overlay, op: OpNumber, extra: Buffer): Promise<CheckpointInfo> {
    this.#costs.begin(performance.now());
    const slices = new Slices(this.#options.sliceMs ?? TAKE_SLICE_MS);
    try {
      await slices.giveWay();
      const info = (top: Top): CheckpointInfo => {
        const count = recordsOf(top);
        return { op, root: rootHash(op, count, extra, top?.hash ?? null), extra, count };
      };
      const { records, renewed, nodeBytes } = await this.#write({
        changes: changesOf(overlay),
        stamp: op,
        since: this.#pace.newest,
        meta: (top) => ({ top, state: { kind: 'checkpoint', info: info(top) } }),
        slices,
        // It stays in memory, in place of what was there before. Until it is durable, and for good if it never is, `#frozen` is asked first.
        onChange: ({ key, value }) => { this.#records.written(key, value); },
      });
      this.#frozen = null;
      slices.pause();
      this.#costs.end(performance.now(), { records, recordBytes: overlay.bytes, nodeBytes, busyMs: slices.busyMs, longestMs: slices.longestMs });
      this.#pace.changed(renewed);
      await this.#serveNewest();
    } catch (error) {
      this.#failedTakes++;
      this.#costs.fail();
      throw error;
    }
    assert(this.#state.kind === 'checkpoint', 'a checkpoint was written');
    return this.#state.info;
  }

  /** Writes changes and makes the tree that results the own one. */
  async #write(request: Pick<WriteRequest, 'changes' | 'stamp' | 'since' | 'meta' | 'slices' | 'onChange'>): Promise<WriteResult> {
    assert(!this.#needsReopen, 'a database whose write failed is opened again before the next one');
    // The batch becomes visible at some moment before we learn of it. Until then `range` reads the nodes of before,
    // from the newest checkpoint's snapshot. A fetch has no readers, and its tree may be between two checkpoints.
    if (this.#busy === 'take') this.#nodeReader = this.#donor.newest ?? this.#store;
    try {
      const result = await writeChanges({
        store: this.#store,
        reader: this.#nodeReader,
        source: this.#source,
        cached: (id) => this.#cached(id),
        top: this.#top,
        room: this.#options.room,
        ...request,
      });
      // In one turn tree, state and what is read change together; the cache follows.
      this.#recent = result.update.puts;
      this.#top = result.update.top;
      this.#state = result.meta.state;
      this.#nodeReader = this.#store;
      await this.#cacheNodes(result, request.slices);
      return result;
    } catch (error) {
      // Whether the write took effect is not known: nodes are read from the snapshot until the database was opened again.
      this.#needsReopen = true;
      throw error;
    }
  }

  /** Brings the cache of nodes to what was written, which is asked before it until then. */
  async #cacheNodes({ update, nodeBytes }: WriteResult, slices: Slices): Promise<void> {
    for (const id of update.deletes) this.#nodes.delete(id);
    let cached = 0;
    for (const [id, { bytes }] of update.puts) {
      // What was written is a part of a large block, which a copy does not keep alive.
      const known = this.#nodes.get(id);
      if (isInnerId(id)) {
        // A fetch has hashes in hand that are parts of what is in the cache.
        if (known === undefined || this.#busy !== 'take' || !overwriteInner(known, bytes)) this.#nodes.set(id, ownCopy(bytes));
      } else if (known !== undefined) {
        // Pages are cached when they are read: most of them never are. One that was goes on being used.
        this.#nodes.set(id, ownCopy(bytes));
      }
      if ((++cached & 31) === 0 && slices.over) await slices.giveWay();
    }
    // The inner ones are in the cache now, in memory of their own.
    this.#recent = nodeBytes > MAX_RECENT_BYTES ? NO_NODES : new Map([...update.puts].filter(([id]) => !isInnerId(id)).map(([id, { bytes }]) => [id, { bytes }]));
  }

  async #fetch(target: FetchTarget, donors: readonly DonorConnection[], options: FetchOptions): Promise<FetchReport> {
    await this.#reopenIfNeeded();
    const slices = new Slices(this.#sliceMs);
    const own: OwnTree = {
      source: this.#source,
      base: this.#base(),
      isMixed: this.#state.kind === 'between',
      top: () => this.#top,
      install: (changes, final) => this.#install(target, changes, final, slices),
    };
    const startedAt = performance.now();
    const { checkpoint } = this;
    if (checkpoint?.op === target.op && checkpoint.root === target.root) {
      this.#forget();
      const none = { bytesReceived: 0, bytesSent: 0, recordBytes: 0, recordsChanged: 0, requests: 0, donors: [] };
      return { ...none, stateBytes: this.#top?.recordBytes ?? 0, milliseconds: performance.now() - startedAt };
    }
    const report = await new Fetcher(target, own, donors, options, { ...DEFAULT_FETCHER_LIMITS, ...this.#options.fetcher }, slices).run();
    await this.#serveNewest();
    return report;
  }

  #base(): OpNumber | null {
    // An empty tree has nothing in common with the donor's, and hints relative to it are of no use.
    if (this.#top === null) return null;
    return this.#state.kind === 'checkpoint' ? this.#state.info.op : this.#state.base;
  }

  async #install(target: FetchTarget, changes: readonly RecordChange[], final: CheckpointInfo | null, slices: Slices): Promise<void> {
    const base = this.#base() ?? opNumber(0);
    const meta = (top: Top): Meta => {
      if (final === null) return { top, state: { kind: 'between', base } };
      const root = rootHash(final.op, recordsOf(top), final.extra, top?.hash ?? null);
      // Each record was compared with the target's tree, so it is the own tree that is not that of its records: it may have a hash in it that nothing but a scrub or a repair compares.
      if (root !== target.root) throw new StoreDamageError('node', 'the records that were fetched are those of the root that was asked for, and the tree over them has another');
      return { top, state: { kind: 'checkpoint', info: final } };
    };
    await this.#write({ changes: partsOf(changes), stamp: target.op, meta, slices });
    this.#forget();
  }

  // Everything in memory that belongs to the state before a transfer.
  #forget(): void {
    this.#live = new Overlay();
    this.#frozen = null;
    this.#records.clear();
  }

  async #serveNewest(): Promise<void> {
    if (this.#state.kind === 'checkpoint') await this.#donor.publish(this.#state.info, this.#top, this.#store.snapshot());
  }

  async #reopenIfNeeded(): Promise<void> {
    if (!this.#needsReopen) return;
    await this.#donor.clear();
    await this.#store.reopen();
    // The write may have gone through after all, as far as the database is concerned.
    const meta = await readMeta(this.#store, this.#options.directory, EMPTY);
    this.#top = meta.top;
    this.#state = meta.state;
    this.#nodes.clear();
    this.#recent = NO_NODES;
    this.#nodeReader = this.#store;
    this.#needsReopen = false;
    await this.#serveNewest();
  }
}

function takeFields(costs: TakeCosts): Pick<RecordStoreStatus, 'takes' | 'lastTakeMs' | 'lastTakeBusyMs' | 'lastTakeLongestMs' | 'lastTakeRecords' | 'lastTakeNodeBytes' | 'costs'> {
  const { last } = costs;
  return {
    takes: costs.takes, lastTakeMs: last?.wallMs ?? 0, lastTakeBusyMs: last?.busyMs ?? 0, lastTakeLongestMs: last?.longestMs ?? 0,
    lastTakeRecords: last?.records ?? 0, lastTakeNodeBytes: last?.nodeBytes ?? 0, costs,
  };
}

/** With memory of its own, not a slice of what is shared. */
function ownCopy(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
