/** What a benchmark against other systems sees of each of them: servers that run, and a driver of their operations. */

/**
 * `createFull`: with CONTENT_BYTES of content, in one operation. `update`: other content of the same length for what `createFull` has made.
 * `readAny`: at whichever replica, perhaps a little behind.
 */
export type Kind = 'create' | 'createFull' | 'update' | 'read' | 'readAny';

export const CONTENT_BYTES = 64;
export const CONTENT = Buffer.alloc(CONTENT_BYTES, 'sixty-four bytes ');

/** Content that no entry has had. */
export class NewContent {
  #made = 0;

  next(): Buffer {
    const content = Buffer.from(CONTENT);
    content.writeUInt32BE(++this.#made);
    return content;
  }
}

/** Takes the outcome of one operation: exactly one of the two, once. */
export interface Done {
  completed(): void;
  failed(error: Error): void;
}

export interface Driver {
  /** Begins an operation on file, znode or key number `n`. Reads are of what `create` has made. */
  run(kind: Kind, n: number, done: Done): void;
  close(): Promise<void>;
}

export interface Cluster {
  readonly name: string;
  readonly version: string;
  /** Of the servers. */
  readonly pids: readonly number[];
  /** `connections` to whoever leads; `readAny` uses as many to each server. Makes the directories that `run` needs. */
  connect(connections: number): Promise<Driver>;
  /** Ends all servers and removes their data. */
  stop(): Promise<void>;
}

export const DIRECTORIES = 1000;
const FILES_PER_DIRECTORY = 1000;

export function directoryOf(n: number): string {
  return `d${Math.floor(n / FILES_PER_DIRECTORY) % DIRECTORIES}`;
}
/** The same path in every system, without a slash before it. */
export function pathOf(kind: Kind, n: number): string {
  return `${directoryOf(n)}/${kind === 'createFull' || kind === 'update' ? 'full' : 'file'}-${String(n).padStart(8, '0')}`;
}

/** Next of `items`, over and over. */
export class RoundRobin<T> {
  readonly #items: readonly T[];
  #at = 0;

  constructor(items: readonly [T, ...T[]]) {
    this.#items = items;
  }
  next(): T {
    const item = this.#items[this.#at] as T;
    this.#at = this.#at + 1 === this.#items.length ? 0 : this.#at + 1;
    return item;
  }
}

export function nonEmpty<T>(items: readonly T[], what: string): readonly [T, ...T[]] {
  const [first, ...rest] = items;
  if (first === undefined) throw new Error(`no ${what}`);
  return [first, ...rest];
}

/** Runs operations on the numbers that `next` gives until it gives none, so many at once. Rejects when one fails. */
export async function runMany(driver: Driver, kind: Kind, inFlight: number, next: () => number | undefined): Promise<void> {
  const one = (n: number): Promise<void> => new Promise((resolve, reject) => { driver.run(kind, n, { completed: resolve, failed: reject }); });
  const lane = async (): Promise<void> => {
    for (let n = next(); n !== undefined; n = next()) await one(n);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
}
