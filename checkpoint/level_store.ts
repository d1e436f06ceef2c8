/** The one file that knows `level`. */
import { readdir } from 'node:fs/promises';
import { Level } from 'level';
import type { ClassicLevel } from 'classic-level';
import { MOVE_AWAY, StoreOpenError, type KeyValueStore, type StoreSnapshot, type WriteBatch } from './key_value_store.ts';

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

const SYNC = { sync: true } as const;

export class LevelStore implements KeyValueStore {
  readonly #directory: string;
  readonly #options: LevelOptions;
  #db: Database;

  private constructor(directory: string, options: LevelOptions, db: Database) {
    this.#directory = directory;
    this.#options = options;
    this.#db = db;
  }

  static async open(directory: string, options: LevelOptions): Promise<LevelStore> {
    return new LevelStore(directory, options, await openDatabase(directory, options));
  }

  getSync(key: Buffer): Buffer | undefined {
    return this.#db.getSync(key);
  }
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#db.getMany(keys);
  }
  batch(): WriteBatch {
    return new LevelBatch(this.#db.batch());
  }
  snapshot(): StoreSnapshot {
    return new LevelSnapshot(this.#db, this.#db.snapshot());
  }
  async isEmpty(): Promise<boolean> {
    for await (const _key of this.#db.keys({ limit: 1 })) return false;
    return true;
  }
  async reopen(): Promise<void> {
    await this.#db.close();
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
    return this.#batch.write(SYNC);
  }
  discard(): Promise<void> {
    return this.#batch.close();
  }
}

class LevelSnapshot implements StoreSnapshot {
  readonly #db: Database;
  readonly #snapshot: DatabaseSnapshot;
  readonly #options: { readonly snapshot: DatabaseSnapshot };
  constructor(db: Database, snapshot: DatabaseSnapshot) {
    this.#db = db;
    this.#snapshot = snapshot;
    this.#options = { snapshot };
  }
  getSync(key: Buffer): Buffer | undefined {
    return this.#db.getSync(key, this.#options);
  }
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#db.getMany(keys, this.#options);
  }
  close(): Promise<void> {
    return this.#snapshot.close();
  }
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
    throw explain(directory, error);
  }
  return db;
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

function explain(directory: string, error: unknown): StoreOpenError {
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
  return new StoreOpenError('failed', `cannot open the database in ${directory}: ${detail}`, { cause: error });
}
