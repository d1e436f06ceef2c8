/**
 * The replica's checkpoints over the record store: taken in the background, and fetched from peers over HTTP, so that
 * bulk data is never in front of a Prepare. Bad or vanished donors are told to the replica, which asks the group anew;
 * an error of the own database ends the process.
 */
import { Agent, request } from 'undici';
import type { CheckpointInfo } from '../checkpoint/checkpoint_info.ts';
import { FetchFailed, TargetGone, type DonorConnection, type FetchOptions, type FetchProgress, type FetchReport } from '../checkpoint/fetch_report.ts';
import { StoreDamageError } from '../checkpoint/store_damage.ts';
import { assert } from '../lib/assert.ts';
import type { Digest, MemberId, OpNumber } from '../lib/ids.ts';
import type { Table } from '../lib/table.ts';
import type { Member } from '../vr/configuration.ts';
import type { CheckpointPort } from '../vr/ports.ts';
import type { CheckpointId } from '../vr/superblock.ts';
import { decodeExtra, encodeExtra } from '../lib/checkpoint_extra.ts';
import { CheckpointTurns } from './checkpoint_turns.ts';
import { CHECKPOINT_BODY_MAX, CHECKPOINT_PATH, CLUSTER_ID_HEADER, type TransferReport } from './running_replica.ts';
import { WaitEnded, waitUnlessEnded } from './wait.ts';

const CONNECT_MS = 3_000;

/** What the port needs of checkpoint/record_store.ts. */
export interface CheckpointStore extends Table {
  /** Null: its records are between two checkpoints. */
  readonly checkpoint: CheckpointInfo | null;
  /** Of the present state; the work on it begins when `turn` resolves. */
  take(op: OpNumber, extra: Buffer, turn: Promise<void>): Promise<CheckpointInfo>;
  fetch(target: { readonly op: OpNumber; readonly root: Digest }, donors: readonly DonorConnection[], options: FetchOptions): Promise<FetchReport>;
}

/** The identity of a checkpoint from what the store keeps of it. A store that was written by this program always has one. */
export function checkpointId(info: CheckpointInfo): CheckpointId {
  const extra = decodeExtra(info.extra);
  assert(extra.ok, () => `the checkpoint of op ${info.op} does not say where its log goes on`);
  return { op: info.op, root: info.root, ...extra.value };
}

/** HTTP connections to donors; one agent keeps them open between requests. */
export class DonorClient {
  readonly #clusterId: string;
  readonly #agent = new Agent({
    // How long an answer may take is up to the transfer (checkpoint/donor_pool.ts). What goes beyond two requests waits here, ready to be sent: with four
    // connections a donor works at four answers at once, and each takes longer.
    connect: { timeout: CONNECT_MS }, connections: 2, headersTimeout: 0, bodyTimeout: 0, maxResponseSize: CHECKPOINT_BODY_MAX,
  });

  constructor(clusterId: Buffer) {
    this.#clusterId = clusterId.toString('hex');
  }

  /** Its requests reject with what the donor, or the network, said. */
  connection(name: string, httpAddress: string, lastResort = false): DonorConnection {
    return { name, lastResort, request: (body, signal, arrived) => this.#post(httpAddress, body, signal, arrived) };
  }

  async #post(httpAddress: string, body: Buffer, signal: AbortSignal, arrived: (bytes: number) => void): Promise<Buffer> {
    const answer = await request(`http://${httpAddress}${CHECKPOINT_PATH}`, {
      method: 'POST', body, signal, dispatcher: this.#agent,
      headers: { 'content-type': 'application/octet-stream', [CLUSTER_ID_HEADER]: this.#clusterId },
    });
    if (answer.statusCode !== 200) {
      const text = await answer.body.text();
      throw new Error(`${httpAddress} answered ${answer.statusCode}: ${text.slice(0, 300)}`);
    }
    const chunks: Buffer[] = [];
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      arrived(chunk.length);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

export interface StoreCheckpointsOptions {
  readonly store: CheckpointStore;
  readonly self: MemberId;
  readonly donors: Pick<DonorClient, 'connection'>;
  readonly onDurable: (id: CheckpointId) => void;
  readonly onInstalled: (id: CheckpointId, report: TransferReport) => void;
  /** `intact`: nothing of what was fetched has replaced anything. */
  readonly onFetchFailed: (reason: string, intact: boolean) => void;
  /** How far the transfer of this checkpoint is; often. */
  readonly onProgress: (op: OpNumber, progress: FetchProgress) => void;
  /** A StoreDamageError, which the process has a remedy for, or what it ends with. */
  readonly fatal: (error: Error) => void;
  /** For tests: milliseconds of a monotonic clock, and `waitUnlessEnded`. */
  readonly now?: () => number;
  readonly wait?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

export class StoreCheckpoints implements CheckpointPort {
  readonly table: Table;
  readonly #options: StoreCheckpointsOptions;
  readonly #abort = new AbortController();
  /** What is under way, for an orderly end. */
  readonly #running = new Set<Promise<void>>();

  #members: readonly Member[] = [];
  readonly #now: () => number;
  readonly #turns: CheckpointTurns;

  constructor(options: StoreCheckpointsOptions) {
    this.#options = options;
    this.table = options.store;
    this.#now = options.now ?? (() => performance.now());
    this.#turns = new CheckpointTurns(options.self);
  }

  /** Where the donors are, and who else takes checkpoints. */
  setMembers(members: readonly Member[]): void {
    this.#members = members;
  }

  take(at: Omit<CheckpointId, 'root'>, leftOut: number): void {
    const { store, onDurable, fatal } = this.#options;
    let began = 0;
    const turn = this.#turn(leftOut).then(() => { began = this.#now(); });
    this.#track(store.take(at.op, encodeExtra(at), turn).then(
      (info) => {
        this.#turns.took(this.#now() - began);
        if (!this.#abort.signal.aborted) onDurable({ ...at, root: info.root });
      },
      (error: unknown) => {
        // It was not begun, and what belongs into it is in the journal.
        if (error instanceof WaitEnded) return;
        fatal(error instanceof StoreDamageError ? error : new Error(`the checkpoint of op ${at.op} could not be written: ${reasonOf(error)}. What was acknowledged is in the journal; make room or check the disk, then start the replica again`, { cause: error }));
      },
    ));
  }

  /** Until it may be written. Rejects with WaitEnded when the replica is being stopped. */
  async #turn(leftOut: number): Promise<void> {
    const milliseconds = this.#turns.reached(this.#members, this.#now(), leftOut);
    if (milliseconds > 0) await (this.#options.wait ?? waitUnlessEnded)(milliseconds, this.#abort.signal);
  }

  fetch({ donors, lastResort, target }: Parameters<CheckpointPort['fetch']>[0]): void {
    const { store, onInstalled, onFetchFailed, onProgress, fatal } = this.#options;
    const connections: DonorConnection[] = [];
    for (const member of this.#members) {
      if (donors.includes(member.id)) connections.push(this.#options.donors.connection(`member ${member.id}`, member.httpAddress, member.id === lastResort));
    }
    const options: FetchOptions = { signal: this.#abort.signal, onProgress: (progress) => { onProgress(target.op, progress); } };
    this.#track(store.fetch({ op: target.op, root: target.root }, connections, options).then(
      (report) => { onInstalled(target, transferReport(target.op, report)); },
      (error: unknown) => {
        if (this.#abort.signal.aborted) return;
        if (error instanceof TargetGone || error instanceof FetchFailed) onFetchFailed(error.message, store.checkpoint !== null);
        else fatal(error instanceof StoreDamageError ? error : new Error(`the state could not be taken over from the peers: ${reasonOf(error)}`, { cause: error }));
      },
    ));
  }

  /** Breaks a transfer off (it resumes after the next start), drops a checkpoint that waits for its turn, and waits for one that is being written. */
  async close(): Promise<void> {
    this.#abort.abort(new Error('the replica is being stopped'));
    await Promise.all(this.#running);
  }

  #track(work: Promise<void>): void {
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function transferReport(op: OpNumber, r: FetchReport): TransferReport {
  return {
    op,
    bytesReceived: r.bytesReceived, recordBytes: r.recordBytes, recordsChanged: r.recordsChanged, stateBytes: r.stateBytes,
    requests: r.requests, milliseconds: Math.round(r.milliseconds),
    donors: r.donors.filter((donor) => donor.bytesReceived > 0).map((donor) => donor.name),
  };
}
