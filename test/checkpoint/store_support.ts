/** Shared by the store's and the transfer's tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { crc32 } from '../../lib/hash.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import type { Prng } from '../../lib/prng.ts';
import type { DonorConnection } from '../../checkpoint/fetch_report.ts';
import type { KeyValueStore, WriteBatch } from '../../checkpoint/key_value_store.ts';
import { LevelStore } from '../../checkpoint/level_store.ts';
import { rootOf } from '../../checkpoint/memory_record_store.ts';
import { RecordStore, type RecordStoreOptions } from '../../checkpoint/record_store.ts';
import { nodeKey } from '../../checkpoint/store_keys.ts';
import { unsealNode } from '../../checkpoint/stored_node.ts';
import { randomKey } from './tree_support.ts';

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vrfs-checkpoint-'));
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

export async function openStore(options: Partial<RecordStoreOptions> = {}): Promise<RecordStore> {
  const store = await RecordStore.open({ directory: options.directory ?? temporaryDirectory(), ...options });
  onTestFinished(() => store.close());
  return store;
}

/** A node with a checksum that is right. */
export function sealed(id: string, bytes: Buffer): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(bytes, crc32(Buffer.from(id, 'latin1'))));
  return Buffer.concat([bytes, crc]);
}

/** Changes nodes as they are stored, with checksums that are right; no RecordStore has them open. */
export async function changeNodes(store: KeyValueStore, changed: (id: string, node: Buffer) => Buffer): Promise<void> {
  const batch = store.batch();
  for await (const [key, value] of store.entries(Buffer.from('n'), Buffer.from('o'))) {
    const id = key.latin1Slice(1, key.length);
    batch.put(key, sealed(id, changed(id, value.subarray(0, value.length - 4))));
  }
  await batch.write();
}

/** Makes the records of a store that is closed such as a program had written that knew nothing of format 3. */
export async function asFormat2(directory: string): Promise<void> {
  const store = await LevelStore.open(directory, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 });
  await changeNodes(store, (id) => unsealNode(id, store.getSync(nodeKey(id)) ?? EMPTY));
  const meta = Buffer.from(store.getSync(Buffer.from('m')) ?? EMPTY);
  meta.writeUInt16BE(2, 'vrfs records'.length);
  meta.writeUInt32BE(crc32(meta.subarray(0, meta.length - 4)), meta.length - 4);
  const batch = store.batch();
  batch.put(Buffer.from('m'), meta);
  await batch.write();
  await store.close();
}

const ALL_START = EMPTY;
export const ALL_END: Buffer = Buffer.alloc(100, 0xff);

/** The store holds exactly what the model does, by range and by get. */
export function expectSame(store: RecordStore, model: MemoryTable): void {
  const records = store.range(ALL_START, ALL_END, Infinity);
  const hex = (all: Iterable<readonly [Buffer, Buffer]>): string[] => [...all].map(([k, v]) => `${k.toString('hex')}=${v.toString('hex')}`);
  expect(hex(records)).toEqual(hex(model.entries()));
  for (const [key, value] of model.entries()) expect(store.get(key)?.equals(value)).toBe(true);
}

export function modelRoot(model: MemoryTable, op: number, extra: Buffer = EMPTY): string {
  return rootOf(model.entries(), opNumber(op), extra);
}

/** Random changes to store and model alike. */
export function change(r: Prng, stores: readonly { put(k: Buffer, v: Buffer): void; delete(k: Buffer): void }[], model: MemoryTable, n: number): void {
  const known = [...model.entries()].map(([key]) => key);
  for (let i = 0; i < n; i++) {
    const old = known.length > 0 && r.chance(0.5);
    const key = old ? r.pick(known) : randomKey(r, 2000);
    const value = r.chance(0.35) ? null : r.bytes(r.below(60));
    for (const store of [...stores, model]) {
      if (value === null) store.delete(key);
      else store.put(key, value);
    }
  }
}

export function connect(name: string, store: RecordStore): DonorConnection {
  return { name, request: (body) => store.serve(body) };
}

/** A LevelDB under which the n-th write from now fails, without effect or after it; it counts the reads, and those for which the event loop waits. */
export class FailingStore implements KeyValueStore {
  readonly #inner: LevelStore;
  /** Writes that still succeed; then one fails. */
  remaining = Infinity;
  /** The failing write reaches the disk nevertheless: its outcome is not known to the caller. */
  failAfterWriting = false;
  reopened = 0;
  syncReads = 0;
  /** Keys that were asked for without a snapshot, and from one. */
  readonly manyRead = { live: 0, snapshot: 0 };
  /** Older values that stand in front of newer ones until what lies at their keys is settled; by key as latin1. */
  readonly stale = new Map<string, Buffer>();
  settled = 0;

  constructor(inner: LevelStore) {
    this.#inner = inner;
  }
  static async open(directory: string): Promise<FailingStore> {
    return new FailingStore(await LevelStore.open(directory, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 }));
  }
  getSync(key: Buffer): Buffer | undefined {
    this.syncReads++;
    return this.#inner.getSync(key);
  }
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    this.manyRead.live += keys.length;
    return this.#asRead(keys, this.#inner.getMany(keys));
  }
  async #asRead(keys: readonly Buffer[], values: Promise<(Buffer | undefined)[]>): Promise<(Buffer | undefined)[]> {
    return (await values).map((value, i) => this.stale.get((keys[i] as Buffer).latin1Slice()) ?? value);
  }
  async settle(key: Buffer): Promise<void> {
    this.settled++;
    await this.#inner.settle(key);
    this.stale.delete(key.latin1Slice());
  }
  entries(start: Buffer, end: Buffer): AsyncIterable<readonly [Buffer, Buffer]> {
    return this.#inner.entries(start, end);
  }
  snapshot(): ReturnType<KeyValueStore['snapshot']> {
    const snapshot = this.#inner.snapshot();
    return {
      getSync: (key) => {
        this.syncReads++;
        return snapshot.getSync(key);
      },
      getMany: (keys, options) => {
        this.manyRead.snapshot += keys.length;
        return this.#asRead(keys, snapshot.getMany(keys, options));
      },
      settle: (key) => this.settle(key),
      walk: (keys) => snapshot.walk(keys),
      close: () => snapshot.close(),
    };
  }
  isEmpty(): Promise<boolean> {
    return this.#inner.isEmpty();
  }
  reopen(): Promise<void> {
    this.reopened++;
    return this.#inner.reopen();
  }
  close(): Promise<void> {
    return this.#inner.close();
  }
  batch(): WriteBatch {
    const batch = this.#inner.batch();
    return {
      put: (key, value) => {
        batch.put(key, value);
      },
      delete: (key) => {
        batch.delete(key);
      },
      discard: () => batch.discard(),
      write: async () => {
        if (this.remaining > 0) {
          this.remaining--;
          return batch.write();
        }
        this.remaining = Infinity;
        if (this.failAfterWriting) await batch.write();
        else await batch.discard();
        throw new Error('ENOSPC: no space left on device');
      },
    };
  }
}
