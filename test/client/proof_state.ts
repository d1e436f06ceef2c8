/** A real namespace in a real store, with checkpoints: what proofs are made of in tests. */
import { onTestFinished } from 'vitest';
import type { TrustedRoot } from '../../client/path_proof.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type WriteOperation } from '../../fsservice/operations.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { encodeExtra } from '../../lib/checkpoint_extra.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, opNumber, sessionId, view } from '../../lib/ids.ts';
import { makeEntry } from '../../vr/entry.ts';
import { temporaryDirectory } from '../checkpoint/store_support.ts';

export const TIME = 1_700_000_000_000_000;

export class State {
  readonly store: RecordStore;
  readonly #service: FileSystemService;
  #op = 0;

  private constructor(store: RecordStore) {
    this.store = store;
    this.#service = new FileSystemService(store);
  }
  static async make(): Promise<State> {
    const store = await RecordStore.open({ directory: temporaryDirectory() });
    onTestFinished(() => store.close());
    return new State(store);
  }
  do(operation: WriteOperation): void {
    this.#op++;
    const body = encodeCall({ credentials: { uid: 0, gid: 0, groups: [] }, operation });
    this.#service.execute(makeEntry({ kind: 'request', epoch: epoch(0), view: view(0), op: opNumber(this.#op), time: TIME + this.#op, session: sessionId(1), slot: 0, seq: this.#op, body }, ZERO_DIGEST));
  }
  async checkpoint(): Promise<TrustedRoot> {
    return this.store.take(opNumber(this.#op), encodeExtra({ entryHash: ZERO_DIGEST, view: view(0), time: TIME + this.#op }));
  }
}

export function at(path: string): { dir: typeof ROOT_INO; path: Buffer } {
  return { dir: ROOT_INO, path: Buffer.from(path, 'latin1') };
}
