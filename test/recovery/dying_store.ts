/** A LevelDB whose process dies at a chosen step: what was done until then is on the disk, nothing comes after it. */
import type { KeyValueStore, StoreSnapshot, WriteBatch } from '../../checkpoint/key_value_store.ts';
import { LevelStore } from '../../checkpoint/level_store.ts';

export class Died extends Error {
  override readonly name = 'Died';
}

export interface Death {
  /** What is done at the step that is not taken any more. */
  die(): never;
  /** A write has begun, and the step behind it is not taken any more. */
  whileWriting(): void;
}
const BY_ERROR: Death = {
  die: () => {
    throw new Died('the process is gone');
  },
  whileWriting: () => undefined,
};

export class DyingStore implements KeyValueStore {
  readonly #inner: LevelStore;
  readonly #death: Death;
  /** Steps that are still taken; a step is a read, a change that is put into a batch, a write begun, a write done. */
  left = Infinity;
  steps = 0;

  private constructor(inner: LevelStore, death: Death) {
    this.#inner = inner;
    this.#death = death;
  }
  static async open(directory: string, death: Death = BY_ERROR): Promise<DyingStore> {
    return new DyingStore(await LevelStore.open(directory, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 }), death);
  }

  #step(): void {
    if (this.left <= 0) this.#death.die();
    this.left--;
    this.steps++;
  }
  getSync(key: Buffer): Buffer | undefined {
    this.#step();
    return this.#inner.getSync(key);
  }
  async getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    this.#step();
    return this.#inner.getMany(keys);
  }
  settle(key: Buffer): Promise<void> {
    return this.#inner.settle(key);
  }
  entries(start: Buffer, end: Buffer): AsyncIterable<readonly [Buffer, Buffer]> {
    return this.#inner.entries(start, end);
  }
  snapshot(): StoreSnapshot {
    return this.#inner.snapshot();
  }
  isEmpty(): Promise<boolean> {
    return this.#inner.isEmpty();
  }
  reopen(): Promise<void> {
    return Promise.reject(new Died('the process is gone'));
  }
  close(): Promise<void> {
    return this.#inner.close();
  }
  batch(): WriteBatch {
    const batch = this.#inner.batch();
    return {
      put: (key, value) => {
        this.#step();
        batch.put(key, value);
      },
      delete: (key) => {
        this.#step();
        batch.delete(key);
      },
      discard: () => batch.discard(),
      write: async () => {
        if (this.left <= 0) await batch.discard();
        this.#step();
        const written = batch.write();
        if (this.left <= 0) this.#death.whileWriting();
        await written;
        this.#step();
      },
    };
  }
}
