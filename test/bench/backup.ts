/**
 * `npm run bench -- backup`: CPU of one create in its parts, without sockets and journal, in one process: what the primary does to make
 * its entry, and what every replica does to decode and execute it and to take a checkpoint every 1000 operations. Steady
 * within some percent also on a busy machine, so that a change of a microsecond can be seen.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type Operation } from '../../fsservice/operations.ts';
import { assert, defined } from '../../lib/assert.ts';
import { EMPTY, Reader } from '../../lib/bytes.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, opNumber, sessionId, view, type Digest, type SessionId } from '../../lib/ids.ts';
import { ClientTable } from '../../vr/client_table.ts';
import { decodeEntry, makeEntry, type Entry, type EntryFields } from '../../vr/entry.ts';
import { report, row, type Report } from './report.ts';
import { ownCpuMicroseconds } from './resources.ts';

const CHECKPOINT_OPS = 1000;
const SLOTS = 256;
const WARM_UP = 20;
const credentials = { uid: 0, gid: 0, groups: [] };

/** µs for each operation of one interval between checkpoints. */
interface Costs { readonly make: number; readonly decode: number; readonly execute: number; readonly checkpoint: number }

class Backup {
  readonly #store: RecordStore;
  readonly #service: FileSystemService;
  readonly #clients: ClientTable;
  readonly #session: SessionId;
  #op = 0;
  #hash: Digest = ZERO_DIGEST;
  #requests = 0;

  constructor(store: RecordStore) {
    this.#store = store;
    this.#service = new FileSystemService(store);
    this.#clients = new ClientTable(store);
    this.#clients.load();
    const register = this.#make('register', sessionId(0), 0, 0, EMPTY);
    this.#session = this.#clients.register(register, { nonce: Buffer.alloc(16, 1), flags: 0, name: 'bench', maxSessions: 8 }, () => undefined).session;
    this.#execute(this.#request({ type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from('d') }, mode: 0o755 }));
  }

  #make(kind: EntryFields['kind'], session: SessionId, slot: number, seq: number, body: Buffer): Entry {
    const op = ++this.#op;
    const entry = makeEntry({ kind, epoch: epoch(0), view: view(0), op: opNumber(op), time: 1.7e15 + op, session, slot, seq, body }, this.#hash);
    this.#hash = entry.hash;
    return entry;
  }

  #request(operation: Operation): Entry {
    const n = this.#requests++;
    return this.#make('request', this.#session, n % SLOTS, 1 + Math.floor(n / SLOTS), encodeCall({ credentials, operation }));
  }

  /** As vr/execution.ts. */
  #execute(entry: Entry): void {
    assert(this.#clients.executed(entry) === undefined && this.#clients.session(entry.session) !== undefined, 'a new request of a live session');
    const result = this.#service.execute(entry);
    assert(result[0] === 0, 'it is executed');
    this.#clients.record(entry, result);
  }

  async interval(): Promise<Costs> {
    const names = Array.from({ length: CHECKPOINT_OPS }, (_, i) => Buffer.from(`d/f${this.#op}-${i}`));
    const started = ownCpuMicroseconds();
    const made = names.map((path) => this.#request({ type: 'create', at: { dir: ROOT_INO, path }, mode: 0o644, exclusive: true, truncate: false }));
    const afterMake = ownCpuMicroseconds();
    const reader = new Reader(Buffer.concat(made.map((e) => e.bytes)));
    const beforeDecode = ownCpuMicroseconds();
    let { parent } = defined(made[0], 'an entry');
    const entries = made.map(() => {
      const entry = decodeEntry(reader, parent);
      parent = entry.hash;
      return entry;
    });
    const afterDecode = ownCpuMicroseconds();
    for (const entry of entries) this.#execute(entry);
    const afterExecute = ownCpuMicroseconds();
    await this.#store.take(opNumber(this.#op), EMPTY);
    const afterTake = ownCpuMicroseconds();
    const each = (from: number, to: number): number => (to - from) / CHECKPOINT_OPS;
    return { make: each(started, afterMake), decode: each(beforeDecode, afterDecode), execute: each(afterDecode, afterExecute), checkpoint: each(afterExecute, afterTake) };
  }
}

export async function backup(intervals: number): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), 'vrfs-bench-'));
  const store = await RecordStore.open({ directory });
  try {
    const replica = new Backup(store);
    for (let i = 0; i < WARM_UP; i++) await replica.interval();
    const costs: Costs[] = [];
    for (let i = 0; i < intervals; i++) costs.push(await replica.interval());
    return report({ intervals, checkpointOps: CHECKPOINT_OPS, what: 'CPU of this process, threads included' }, [
      row('making the call and its entry (primary)', 'µs per create', costs.map((c) => c.make)),
      row('decoding the entry (backup)', 'µs per create', costs.map((c) => c.decode)),
      row('executing it', 'µs per create', costs.map((c) => c.execute)),
      row('its part of a checkpoint every 1000 operations', 'µs per create', costs.map((c) => c.checkpoint)),
    ]);
  } finally {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
