/** A group of one in memory behind the handlers: the real state machine over a table in memory, and a replica that says what a test wants. */
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import { assert } from '../../../lib/assert.ts';
import { epoch, memberId, opNumber, sessionId, view, type OpNumber } from '../../../lib/ids.ts';
import type { Proof } from '../../../checkpoint/proof_codec.ts';
import { ZERO_DIGEST } from '../../../lib/hash.ts';
import { MemoryTable } from '../../../lib/memory_table.ts';
import { encodeCall } from '../../../fsservice/operation_codec.ts';
import { decodeResult } from '../../../fsservice/result_codec.ts';
import { formatNamespace } from '../../../fsservice/records.ts';
import { FileSystemService } from '../../../fsservice/service.ts';
import type { Call, Credentials, OperationType, ReadOperation, Result, WriteOperation } from '../../../fsservice/operations.ts';
import { configuration } from '../../../vr/configuration.ts';
import { makeEntry } from '../../../vr/entry.ts';
import { buildHttp } from '../../../server/http/server.ts';
import type { FileSystemClient, HttpLimits, HttpLog, ReadOptions } from '../../../server/http/ports.ts';
import type { ProblemDetails } from '../../../server/http/problem.ts';
import type { CheckpointList, CheckpointParts, ClientMessages, Health, RunningReplica, ServerStatus, SessionPage, SessionStatus, Timings } from '../../../server/running_replica.ts';

export const CLUSTER_ID = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

/** Runs each operation at once. `before` may look at it, change the namespace, or throw. */
export class FakeClient implements FileSystemClient {
  lastOp = 0;
  readonly calls: Call[] = [];
  readonly reads: (ReadOptions | undefined)[] = [];
  before: ((call: Call) => void | Promise<void>) | null = null;
  readonly #table = new MemoryTable();
  readonly #service: FileSystemService;

  constructor() {
    formatNamespace(this.#table);
    this.#service = new FileSystemService(this.#table);
  }

  async submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>> {
    this.calls.push(call);
    await this.before?.(call);
    return this.apply(call);
  }

  async query<O extends ReadOperation>(call: Call<O>, options?: ReadOptions): Promise<Result<O['type']>> {
    this.calls.push(call);
    this.reads.push(options);
    await this.before?.(call);
    return this.#decoded<O['type']>(call.operation.type, this.#service.query(encodeCall(call), this.#time()));
  }

  /** Past `before`. */
  apply<O extends WriteOperation>(call: Call<O>): Result<O['type']> {
    this.lastOp++;
    const entry = makeEntry({ kind: 'request', epoch: epoch(0), view: view(0), op: opNumber(this.lastOp), time: this.#time(), session: sessionId(1), slot: 0, seq: this.lastOp, body: encodeCall(call) }, ZERO_DIGEST);
    return this.#decoded<O['type']>(call.operation.type, this.#service.execute(entry));
  }

  /** As root. */
  do<O extends WriteOperation>(operation: O): Result<O['type']> {
    return this.apply({ credentials: { uid: 0, gid: 0, groups: [] }, operation });
  }

  #time(): number {
    return 1_700_000_000_000_000 + this.lastOp * 1_000_000;
  }

  #decoded<T extends OperationType>(type: T, bytes: Buffer): Result<T> {
    const decoded = decodeResult(type, bytes);
    assert(decoded.ok, 'the state machine encodes what the client decodes');
    return decoded.value;
  }
}

export class FakeReplica implements RunningReplica {
  readonly clusterId = CLUSTER_ID;
  readonly memberId = 1;
  readonly address = '127.0.0.1:7101';
  readonly httpAddress = '127.0.0.1:7201';
  readonly stopped = Promise.resolve();
  healthNow: Health = { ok: true };
  served: Buffer[] = [];
  refuses: Error | null = null;

  readonly addresses = { address: '127.0.0.1:7101', httpAddress: '127.0.0.1:7201' };

  configuration(): ServerStatus['replica']['configuration'] {
    const member = (n: number) => ({ id: memberId(n), role: 'voter' as const, address: `127.0.0.1:710${n}`, httpAddress: `127.0.0.1:720${n}` });
    return configuration(epoch(0), [member(1), member(2), member(3)], 'disk');
  }

  status(): ServerStatus {
    const link = (member: number) => ({ member, connected: true, queuedBytes: 0, sentBytes: 10 * member, receivedBytes: 5, dropped: 0, refused: null });
    const peer = (n: number) => ({ id: memberId(n), role: 'voter' as const, address: `127.0.0.1:710${n}`, httpAddress: `127.0.0.1:720${n}`, acked: n === 2 ? opNumber(41) : null, checkpoint: null, silentMs: n === 2 ? 12 : null });
    return {
      clusterId: CLUSTER_ID.toString('hex'), version: '0.1.0', pid: 4711, uptimeMs: 90_061_000, clientConnections: 2,
      replica: {
        memberId: memberId(1), epoch: epoch(0), status: 'normal', view: view(3), logView: view(3), primary: memberId(1), isPrimary: true, primarySilentMs: 0,
        op: opNumber(42), commit: opNumber(41), executed: opNumber(41), checkpointInterval: { ops: 1000, bytes: 64 << 20, since: opNumber(0) }, checkpointing: true, transferring: false, lacksLog: false, recoveryImpossible: false, cramped: true, sessions: 4, maxSessions: 4096,
        checkpoint: { op: opNumber(40), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(3), time: 5 },
        configuration: this.configuration(), role: 'voter' as const, epochComplete: true, leaseMs: 0, stalenessMs: null, peers: [peer(2), peer(3)],
      },
      recovery: { startedAt: 1, bootCheckpointOp: 30, bootLogEntries: 2, bootLogIntact: true, bootTornBytes: 0, transfers: 1, bytesReceived: 2048, stateBytes: 1 << 20, caughtUpMs: 15, transfer: { op: 90, startedAt: 2, milliseconds: 4000, requests: 7, bytesReceived: 4_000_000, recordBytes: 3_500_000, recordsChanged: 900, nodesVerified: 60, nodesWanted: 40, settled: 0.41, bytesPerSecond: 1_000_000, etaMs: 5800 }, lastTransfer: { op: 60, bytesReceived: 2048, recordBytes: 1800, recordsChanged: 20, stateBytes: 1 << 20, requests: 3, milliseconds: 9, donors: ['2'] }, logBytesReceived: 100 },
      donor: { requests: 12, bytesSent: 34_567, deferred: 3, checkpoints: [60, 90] },
      store: { records: 1000, bytes: 76_000, overlayRecords: 3, overlayBytes: 300, takes: 4, lastTakeMs: 7, waitingForRoom: { since: 9, neededBytes: 5000, freeBytes: 2000 }, roomWaits: 2, damages: 0, lastDamage: null },
      checkpointCost: {
        last: { records: 30, recordBytes: 3000, nodeBytes: 1500, busyMs: 4, longestMs: 2, wallMs: 7 }, takes: 4,
        recent: { spanMs: 300_000, takes: 2, mean: { records: 25, recordBytes: 2500, nodeBytes: 1200, busyMs: 3, longestMs: 2.5, wallMs: 6 }, share: 0.02, busyShare: 0.01 },
        total: { records: 100, recordBytes: 10_000, nodeBytes: 5000, busyMs: 12, longestMs: 2.5, wallMs: 24 }, logOpsSince: 2, logBytesSince: 200,
      },
      scrub: { rate: 1 << 18, state: 'resting', pass: null, last: null, lastCompleteAt: 1_700_000_000_000, passes: 2, pages: 30, records: 1000, bytes: 90_000, damages: 0, rewrittenTables: 0, unwrittenTables: 1, failures: 0, lastDamage: null },
      journal: { segments: 1, bytes: 4096, groups: 9, records: 40, bytesWritten: 4000, syncMs: 80 },
      links: [link(2), link(3)],
      namespace: { inodes: 120, maxInodes: 4_294_967_296, bytes: 51_200, maxBytes: 70_368_744_177_664, blockSize: 65_536, orphans: 1 },
    };
  }

  health(): Health {
    return this.healthNow;
  }
  async serveCheckpoint(request: Buffer): Promise<Buffer> {
    if (this.refuses !== null) throw this.refuses;
    this.served.push(request);
    return Buffer.concat([Buffer.from('answer to '), request]);
  }
  checkpointsNow: CheckpointList = { held: [], known: [] };
  proof: Proof | null = null;
  provedPaths: { readonly names: readonly string[]; readonly op: number | null }[] = [];
  checkpoints(): CheckpointList {
    return this.checkpointsNow;
  }
  async provePath(names: readonly Buffer[], op: OpNumber | null): Promise<Proof | null> {
    this.provedPaths.push({ names: names.map((name) => name.toString('latin1')), op });
    return this.proof;
  }
  parts: CheckpointParts | null = null;
  readParts: { readonly op: number; readonly ids: readonly string[]; readonly keys: readonly string[] }[] = [];
  async readCheckpoint(op: OpNumber, ids: readonly string[], keys: readonly Buffer[]): Promise<CheckpointParts | null> {
    this.readParts.push({ op, ids: ids.map((id) => Buffer.from(id, 'latin1').toString('hex')), keys: keys.map((key) => key.toString('hex')) });
    return this.parts;
  }
  keeping: 'kept' | 'gone' | 'too many' = 'kept';
  kept: { readonly op: number; readonly ms: number }[] = [];
  keepCheckpoint(op: OpNumber, ms: number): 'kept' | 'gone' | 'too many' {
    this.kept.push({ op, ms });
    return this.keeping;
  }
  scrubs: (number | undefined)[] = [];
  scrub(rate?: number): number {
    return this.scrubs.push(rate);
  }
  eventCounts(): ReadonlyMap<string, number> {
    return new Map([['view-change', 3]]);
  }
  timings(): Timings {
    return { journalWrites: { bounds: [0.001, 0.01], counts: [5, 3, 1], seconds: 0.08 }, requests: { bounds: [0.0025, 0.25], counts: [100, 20, 0], seconds: 0.75 } };
  }
  clientMessages(): ClientMessages {
    return { request: 130, read: 40, register: 2, endSession: 1, reconfigure: 0, checkEpoch: 0, askInterval: 0 };
  }
  /** Null: no state to read them from. */
  sessionsNow: SessionStatus[] | null = [];
  sessions(after: number, limit: number): SessionPage | null {
    if (this.sessionsNow === null) return null;
    const behind = this.sessionsNow.filter((s) => s.id > after);
    return { executed: opNumber(41), sessions: behind.slice(0, limit), last: behind.length <= limit };
  }
  async stop(): Promise<void> {
    await this.stopped;
  }
}

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error';
  readonly data: object;
  readonly message: string;
}

export class FakeLog implements HttpLog {
  readonly lines: LogLine[] = [];
  info(data: object, message: string): void {
    this.lines.push({ level: 'info', data, message });
  }
  warn(data: object, message: string): void {
    this.lines.push({ level: 'warn', data, message });
  }
  error(data: object, message: string): void {
    this.lines.push({ level: 'error', data, message });
  }
}

export interface Api {
  readonly app: FastifyInstance;
  readonly client: FakeClient;
  readonly replica: FakeReplica;
  readonly log: FakeLog;
  request(method: InjectOptions['method'], url: string, options?: Omit<InjectOptions, 'method' | 'url'>): Promise<LightMyRequestResponse>;
  close(): Promise<void>;
}

export async function openApi(limits: Partial<HttpLimits> = {}): Promise<Api> {
  const client = new FakeClient();
  const replica = new FakeReplica();
  const log = new FakeLog();
  const app = await buildHttp({ running: replica, client, log, limits });
  return {
    app, client, replica, log,
    request: async (method, url, options = {}) => await app.inject({ method, url, ...options }),
    close: async () => {
      await app.close();
    },
  };
}

/** The problem of an answer, after checking that it is one. */
export function problemOf(response: LightMyRequestResponse): ProblemDetails {
  assert(String(response.headers['content-type']).startsWith('application/problem+json'), `not a problem: ${response.statusCode} ${response.body}`);
  const p = JSON.parse(response.body) as ProblemDetails;
  assert(p.status === response.statusCode, 'the problem repeats the status');
  assert(p.detail.length > 10 && p.remedy.length > 10, 'a problem says what was wrong and what to do');
  return p;
}

export function as(credentials: Credentials): Record<string, string> {
  return { 'x-vrfs-uid': String(credentials.uid), 'x-vrfs-gid': String(credentials.gid), 'x-vrfs-groups': credentials.groups.join(',') };
}
