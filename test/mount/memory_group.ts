/** A group of one in memory: the state machine itself behind the client's port, for the mount without processes and without a network. Calls and results cross as bytes, as they do for real. */
import { assert, defined } from '../../lib/assert.ts';
import { digest, epoch, opNumber, sessionId, view } from '../../lib/ids.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { decodeResult, encodeCall } from '../../fsservice/operation_codec.ts';
import type { Call, OperationType, ReadOperation, Result, WriteOperation } from '../../fsservice/operations.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { SESSION_HOLDS_OPENS } from '../../vr/messages.ts';
import type { Entry, EntryKind } from '../../vr/entry.ts';
import { OpenFiles } from '../../client/open_files.ts';
import type { NamespaceClient } from '../../mount/namespace_client.ts';

const SUPERUSER = { uid: 0, gid: 0, groups: [] };

export class MemoryGroup {
  readonly #service = new FileSystemService(new MemoryTable());
  /** Off: what is left to collect waits, as behind a primary that has more to do. */
  collecting = true;
  #op = 0;
  #time = 1_700_000_000_000_000;

  client(): MemoryClient {
    const entry = this.#entry('register', 0, EMPTY);
    this.#service.sessionStarted(entry, SESSION_HOLDS_OPENS);
    return new MemoryClient(this, entry.op);
  }

  get op(): number {
    return this.#op;
  }

  execute(session: number, body: Buffer): Buffer {
    const result = this.#service.execute(this.#entry('request', session, body));
    if (this.collecting) this.collect();
    return result;
  }

  collect(): void {
    for (let work = this.#service.housekeeping(); work !== undefined; work = this.#service.housekeeping()) {
      this.#service.execute(this.#entry('housekeeping', 0, work));
    }
  }

  query(body: Buffer): Buffer {
    return this.#service.query(body, this.#time);
  }

  endSession(session: number): void {
    this.#service.sessionEnded(this.#entry('expire', 0, EMPTY), session);
  }

  #entry(kind: EntryKind, session: number, body: Buffer): Entry {
    this.#op++;
    // The clock of a group never stands still, and is the machine's where that is ahead.
    this.#time = Math.max(this.#time + 1, Date.now() * 1000);
    const none = digest('\0'.repeat(32));
    return { kind, epoch: epoch(0), view: view(0), op: opNumber(this.#op), time: this.#time, session: sessionId(session), slot: 0, seq: 1, body, bytes: EMPTY, parent: none, hash: none };
  }
}

export class MemoryClient implements NamespaceClient {
  readonly openFiles: OpenFiles;
  readonly #group: MemoryGroup;
  readonly #session: number;
  /** Operations by type, to see what a call costs. */
  readonly counts = new Map<OperationType, number>();
  /** The next call is rejected with this instead of being answered. */
  failNext: Error | undefined;
  closed = false;

  constructor(group: MemoryGroup, session: number) {
    this.#group = group;
    this.#session = session;
    this.openFiles = new OpenFiles(() => { this.#keepAlive(); });
  }

  submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>> {
    return this.#call<O['type']>(call.operation.type, () => this.#group.execute(this.#session, encodeCall(call)));
  }

  query<O extends ReadOperation>(call: Call<O>): Promise<Result<O['type']>> {
    return this.#call<O['type']>(call.operation.type, () => this.#group.query(encodeCall(call)));
  }

  close(): Promise<void> {
    if (!this.closed) this.#group.endSession(this.#session);
    this.closed = true;
    return Promise.resolve();
  }

  /** What keep-alives do with time: everything open is told, so that unlinked files go. */
  #keepAlive(): void {
    const call: Call<WriteOperation> = { credentials: SUPERUSER, operation: { type: 'keepAlive', seenOp: this.#group.op, open: this.openFiles.list() } };
    this.#group.execute(this.#session, encodeCall(call));
  }

  async #call<T extends OperationType>(type: T, execute: () => Buffer): Promise<Result<T>> {
    this.counts.set(type, (this.counts.get(type) ?? 0) + 1);
    const failure = this.failNext;
    if (failure !== undefined) {
      this.failNext = undefined;
      throw failure;
    }
    assert(!this.closed, 'a closed client is not called');
    // The answer comes in a later turn, as over a network; its bytes are not the request's.
    await new Promise((resolve) => { setImmediate(resolve); });
    const decoded = decodeResult(type, Buffer.from(execute()));
    assert(decoded.ok, 'the service encodes what the client decodes');
    return defined(decoded.value, 'a result');
  }
}
