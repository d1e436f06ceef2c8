/** The one file that knows `level`. */
import { readdir } from 'node:fs/promises';
import { Level } from 'level';
import { ClassicLevel } from 'classic-level';
import { onlyTheMoment } from '../lib/promises.ts';
import { checkLogs, type LogDamage } from './level_logs.ts';
import { checkAllTables, checkLiveTables, isolateDamage, type TableDamage } from './level_tables.ts';
import { isMarkedSalvaged, markSalvaged } from './salvage_mark.ts';
import { Slices } from './slices.ts';
import { StoreDamageError } from './store_damage.ts';
import { MOVE_AWAY, StoreOpenError, type KeyValueStore, type ReadOptions, type StoreSnapshot, type WriteBatch } from './key_value_store.ts';

type Database = ClassicLevel<Buffer, Buffer>;
type DatabaseSnapshot = ReturnType<Database['snapshot']>;

export interface LevelOptions {
  /** LevelDB's own cache of blocks, in bytes. */
  readonly blockCacheBytes: number;
  /** What LevelDB gathers in memory (and in its log) before it writes a table file; it may hold two of them. */
  readonly writeBufferBytes: number;
}

/** Tables, logs and manifests. */
const HOLDS_DATA = /^(?:\d+\.(?:ldb|sst|log)|MANIFEST-\d+)$/;

/** What lies between two keys is walked through as far as it is shorter; so many records to a gap make a walk worth while. */
const GAP = 16;
/** Entries that come from LevelDB at a time: making buffers of them holds the event loop for about a millisecond. */
const WALK_ENTRIES = 512;
const WALK_BYTES = 256 << 10;

const SYNC = { sync: true } as const;
/** Of comparing a log with its checksums. */
const SLICE_MS = 2;
/** Tables are compacted away while they are being compared. */
const TABLE_TRIES = 10;
const SMALL: LevelOptions = { blockCacheBytes: 1 << 20, writeBufferBytes: 16 << 20 };

export class LevelStore implements KeyValueStore {
  readonly #directory: string;
  readonly #options: LevelOptions;
  #db: Database;
  #settling: Promise<void> = Promise.resolve();

  private constructor(directory: string, options: LevelOptions, db: Database) {
    this.#directory = directory;
    this.#options = options;
    this.#db = db;
  }

  /** Rejects with StoreOpenError, also when a table or a log of the database is damaged, or it was salvaged and its tree does not know yet. */
  static async open(directory: string, options: LevelOptions): Promise<LevelStore> {
    await refuseDamaged(directory);
    const log = await checkLogs(directory, new Slices(SLICE_MS));
    if (log !== null) throw new StoreOpenError('damaged', `${directory} is damaged (${described(log)}): ${MOVE_AWAY}`);
    if (await isMarkedSalvaged(directory)) throw new StoreOpenError('damaged', `${directory} is damaged (a repair of it was interrupted): ${MOVE_AWAY}`);
    return new LevelStore(directory, options, await openDatabase(directory, options));
  }

  /**
   * A database without what is damaged in its logs, which LevelDB leaves out; or what was saved by `salvage`. It is marked as such, durably, until the caller takes the mark away
   * (salvage_mark.ts). Rejects with StoreOpenError, also when a table is damaged.
   */
  static async openSalvaged(directory: string, options: LevelOptions): Promise<LevelStore> {
    await refuseDamaged(directory);
    await markSalvaged(directory);
    return new LevelStore(directory, options, await openDatabase(directory, options));
  }

  /**
   * What LevelDB can save of a database that it does not open any more: tables and logs as far as they can be read. Some of
   * it may be older than what was lost, so nothing of it is relied on unless a tree says so: it is marked as `openSalvaged` does. Rejects when it cannot.
   */
  static async salvage(directory: string): Promise<void> {
    await markSalvaged(directory);
    await isolateDamage(directory, await checkAllTables(directory));
    try {
      // Opening reads the log with its checksums and makes tables of it; LevelDB's repair would not look at them.
      await (await openDatabase(directory, SMALL)).close();
    } catch (error) {
      // It does not open: this is what the repair is for.
      if (!(error instanceof StoreOpenError) || error.code !== 'damaged') throw error;
    }
    await ClassicLevel.repair(directory);
  }

  getSync(key: Buffer): Buffer | undefined {
    try {
      return this.#db.getSync(key);
    } catch (error) {
      throw noticed(error);
    }
  }
  getMany(keys: Buffer[], options?: ReadOptions): Promise<(Buffer | undefined)[]> {
    return this.#db.getMany(keys, { ...options }).catch(rethrown);
  }
  /** One at a time: each takes a thread of the few that there are, and LevelDB does one after the other anyway. */
  settle(key: Buffer): Promise<void> {
    const done = this.#settling.then(() => this.#settle(key));
    this.#settling = done.then(onlyTheMoment, onlyTheMoment);
    return done;
  }
  async #settle(key: Buffer): Promise<void> {
    // To compact a block that has rotted would give it a good checksum, or end in a database that refuses all writes.
    const [damaged] = await this.#damagedTables();
    if (damaged !== undefined) throw new StoreDamageError('database', `the table ${damaged.name} has blocks with wrong checksums`);
    await this.#db.compactRange(key, key).catch(rethrown);
  }
  async #damagedTables(): Promise<TableDamage[]> {
    for (let tries = 1; ; tries++) {
      try {
        return await checkLiveTables(this.#directory);
      } catch (error) {
        // LevelDB has compacted a table away between the list and the reading.
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
        if (tries === TABLE_TRIES) throw new StoreDamageError('database', `its tables could not be compared with their checksums: ${TABLE_TRIES} times one was compacted away meanwhile`, { cause: error });
      }
    }
  }
  async *entries(start: Buffer, end: Buffer): AsyncGenerator<readonly [Buffer, Buffer]> {
    try {
      yield* this.#db.iterator({ gte: start, lt: end, fillCache: false });
    } catch (error) {
      throw noticed(error);
    }
  }
  batch(): WriteBatch {
    return new LevelBatch(this.#db.batch());
  }
  snapshot(): StoreSnapshot {
    return new LevelSnapshot(this.#db, this.#db.snapshot(), (key) => this.settle(key));
  }
  async isEmpty(): Promise<boolean> {
    for await (const _key of this.#db.keys({ limit: 1 })) return false;
    return true;
  }
  async reopen(): Promise<void> {
    await this.#db.close();
    const log = await checkLogs(this.#directory, new Slices(SLICE_MS));
    if (log !== null) throw new StoreDamageError('database', described(log));
    this.#db = await openDatabase(this.#directory, this.#options);
  }
  close(): Promise<void> {
    return this.#db.close();
  }
}

class LevelBatch implements WriteBatch {
  // Chained, not an array: an array batch is copied in one go and holds the event loop 5 to 10 times longer.
  readonly #batch: ReturnType<Database['batch']>;
  constructor(batch: ReturnType<Database['batch']>) {
    this.#batch = batch;
  }
  put(key: Buffer, value: Buffer): void {
    this.#batch.put(key, value);
  }
  delete(key: Buffer): void {
    this.#batch.del(key);
  }
  write(): Promise<void> {
    return this.#batch.write(SYNC).catch(rethrownByWrite);
  }
  discard(): Promise<void> {
    return this.#batch.close();
  }
}

class LevelSnapshot implements StoreSnapshot {
  readonly #db: Database;
  readonly #snapshot: DatabaseSnapshot;
  readonly #options: { readonly snapshot: DatabaseSnapshot };
  readonly settle: (key: Buffer) => Promise<void>;
  constructor(db: Database, snapshot: DatabaseSnapshot, settle: (key: Buffer) => Promise<void>) {
    this.settle = settle;
    this.#db = db;
    this.#snapshot = snapshot;
    this.#options = { snapshot };
  }
  getSync(key: Buffer): Buffer | undefined {
    try {
      return this.#db.getSync(key, this.#options);
    } catch (error) {
      throw noticed(error);
    }
  }
  getMany(keys: Buffer[], options?: ReadOptions): Promise<(Buffer | undefined)[]> {
    return this.#db.getMany(keys, { ...this.#options, ...options }).catch(rethrown);
  }
  async walk(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    const values = keys.length === 0 ? [] : await this.#walk(keys).catch(rethrown);
    if (values.length === keys.length) return values;
    return [...values, ...await this.getMany(keys.slice(values.length))];
  }
  /** Of the first keys, up to where they turn out to be scattered. */
  async #walk(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    const iterator = this.#db.iterator({ gte: keys[0] as Buffer, lte: keys.at(-1) as Buffer, ...this.#options, fillCache: false, highWaterMarkBytes: WALK_BYTES });
    const values: (Buffer | undefined)[] = [];
    let gaps = 0;
    let strangers = 0;
    let size = GAP;
    try {
      for (let read = await iterator.nextv(size); read.length > 0; read = await iterator.nextv(size)) {
        for (const [key, value] of read) {
          let order = (keys[values.length] as Buffer).compare(key);
          for (; order < 0; order = (keys[values.length] as Buffer).compare(key)) values.push(undefined);
          if (order === 0) values.push(value);
          strangers = order === 0 ? 0 : strangers + 1;
        }
        size = Math.min(size * 4, WALK_ENTRIES);
        const next = keys[values.length];
        if (next === undefined || strangers < GAP) continue;
        if (++gaps * GAP > values.length + GAP * 2) return values;
        iterator.seek(next);
        strangers = 0;
        size = GAP;
      }
    } finally {
      await iterator.close();
    }
    while (values.length < keys.length) values.push(undefined);
    return values;
  }
  close(): Promise<void> {
    return this.#snapshot.close();
  }
}

/** An error of reading: a block that LevelDB finds corrupt, a sector that the disk cannot read, a table that has gone. */
function noticed(error: unknown): unknown {
  return asDamage(error, (at) => hasCode(at, 'LEVEL_CORRUPTION') || (/IO error/.test(at.message) && !/Too many open files/.test(at.message)));
}
function rethrown(error: unknown): never {
  throw noticed(error);
}
/** A write is refused with "corruption" once a compaction has met it; its I/O errors are those of writing. */
function rethrownByWrite(error: unknown): never {
  throw asDamage(error, (at) => hasCode(at, 'LEVEL_CORRUPTION'));
}
function hasCode(error: Error, code: string): boolean {
  return 'code' in error && error.code === code;
}
function asDamage(error: unknown, isDamage: (at: Error) => boolean): unknown {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (isDamage(at)) return new StoreDamageError('database', `the database says: ${at.message}`, { cause: error });
  }
  return error;
}

async function openDatabase(directory: string, options: LevelOptions): Promise<Database> {
  await refuseHeadless(directory);
  const db = new Level(directory, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    cacheSize: options.blockCacheBytes,
    writeBufferSize: options.writeBufferBytes,
  }) as unknown as Database; // on Node, `Level` is ClassicLevel; its types tell only what browsers have too
  try {
    await db.open();
  } catch (error) {
    throw openFailure(directory, error);
  }
  return db;
}

async function refuseDamaged(directory: string): Promise<void> {
  const [first, ...more] = await checkLiveTables(directory);
  if (first === undefined) return;
  const where = first.trailers === null ? 'cannot be read' : `has ${first.trailers.length} blocks with wrong checksums`;
  throw new StoreOpenError('damaged', `${directory} is damaged (the table ${first.name} ${where}${more.length > 0 ? `, and ${more.length} others are damaged too` : ''}): ${MOVE_AWAY}`);
}

function described({ name, at }: LogDamage): string {
  return at === null ? `the log ${name} of the database cannot be read` : `the log ${name} of the database has a record that does not check at byte ${at}, and later ones behind it`;
}

/** LevelDB takes a directory without CURRENT for a new database, and removes the tables that it finds in it. */
async function refuseHeadless(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw new StoreOpenError('failed', `cannot read ${directory}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  if (names.includes('CURRENT') || !names.some((name) => HOLDS_DATA.test(name))) return;
  throw new StoreOpenError('damaged', `${directory} is damaged (it has no file CURRENT): ${MOVE_AWAY}`);
}

/** What LevelDB says when it does not open, which is text, so that others need not read it. */
export function openFailure(directory: string, error: unknown): StoreOpenError {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const detail = cause instanceof Error ? cause.message : String(error);
  if (code === 'LEVEL_LOCKED') {
    return new StoreOpenError('locked', `${directory} is in use by another process: stop that one, or choose another data directory`, { cause: error });
  }
  // Of its own files one is missing: where there is none at all it makes a new database.
  if (code === 'LEVEL_CORRUPTION' || detail.endsWith('No such file or directory')) {
    return new StoreOpenError(
      'damaged',
      `${directory} is damaged (${detail}): ${MOVE_AWAY}`,
      { cause: error },
    );
  }
  const kind = /: (?:No space left on device|Disk quota exceeded)$/.test(detail) ? 'full'
    : /: (?:Permission denied|Operation not permitted|Read-only file system)$/.test(detail) ? 'denied' : 'failed';
  return new StoreOpenError(kind, `cannot open the database in ${directory}: ${detail}`, { cause: error });
}
