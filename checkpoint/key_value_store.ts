/** What the record store asks of the database under it. level_store.ts implements it; tests wrap it to make it fail. */
import type { Slices } from './slices.ts';

/** Values that are read are the caller's own, also to write into. Rejects or throws with StoreDamageError when the database has noticed that it is damaged. */
export interface StoreReader {
  getSync(key: Buffer): Buffer | undefined;
  getMany(keys: Buffer[], options?: ReadOptions): Promise<(Buffer | undefined)[]>;
  /**
   * For a key that is not what was written there: makes the newest value the one that is found, if there is one. LevelDB up to 1.20, which `level` brings, can leave an
   * older value in front of a newer one when it compacts tables while snapshots are held, and then finds the older one (google/leveldb#320); nothing is lost by that, and compacting
   * what lies at the key puts its versions in order. Rejects with StoreDamageError when tables have rotted, and compacts nothing then.
   */
  settle(key: Buffer): Promise<void>;
}

/** What is at a key that was not what was written there, once that has been settled; between two slices. */
export async function readSettled(reader: StoreReader, key: Buffer, slices: Slices): Promise<Buffer | undefined> {
  slices.pause();
  await reader.settle(key);
  const [value] = await reader.getMany([key]);
  slices.begin();
  return value;
}

export interface ReadOptions {
  /** False: what is read does not push out of the database's cache what others use. Default true. */
  readonly fillCache: boolean;
}

/** The database as it was when the snapshot was made. */
export interface StoreSnapshot extends StoreReader {
  /**
   * As getMany, of keys in ascending order, without one twice: by walking from one to the next, as far as they lie close together. Takes more of the
   * event loop, but single reads by the thousand make LevelDB compact the tables that they go through.
   */
  walk(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  close(): Promise<void>;
}

export interface WriteBatch {
  /** Takes copies of both. */
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
  /** All of it or nothing, and on the disk when this resolves. Rejects with StoreDamageError as reads do. */
  write(): Promise<void>;
  /** For a batch that will not be written. */
  discard(): Promise<void>;
}

export interface KeyValueStore extends StoreReader {
  batch(): WriteBatch;
  snapshot(): StoreSnapshot;
  /**
   * All keys and values from `start` on, below `end`, in order; for repairs, which go on where the database itself finds
   * damage: what it cannot read it leaves out, and then rejects at the end.
   */
  entries(start: Buffer, end: Buffer): AsyncIterable<readonly [Buffer, Buffer]>;
  isEmpty(): Promise<boolean>;
  /**
   * After a failed write, before the next one: a write that failed may have left a torn record in the database's log,
   * behind which later ones could be lost; opening it again cuts it. Ends all snapshots.
   */
  reopen(): Promise<void>;
  close(): Promise<void>;
}

/** What helps against records that cannot be used: a store that is not there counts as a state that is not there (server/boot.ts). */
export const MOVE_AWAY = 'move this directory away, it alone, and start the replica again: it then fetches its state from the others, a majority of whom have to run';

/** A data directory that cannot be used, with what to do about it. */
export class StoreOpenError extends Error {
  override readonly name = 'StoreOpenError';
  /** full: room cures it. denied: the system does not let this process write there. */
  readonly code: 'locked' | 'foreign' | 'version' | 'damaged' | 'full' | 'denied' | 'failed';
  constructor(code: StoreOpenError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
