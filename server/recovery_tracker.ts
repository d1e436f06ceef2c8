/** How a replica came up to date after its boot, for the log and the status: what it fetched against the size of the state. */
import type { FetchProgress } from '../checkpoint/fetch_report.ts';
import type { BootState, ReplicaStatus } from '../vr/replica_types.ts';
import type { ReplicaMessage } from '../vr/messages.ts';
import type { Log } from './log.ts';
import type { RecoveryReport, TransferProgress, TransferReport } from './running_replica.ts';

/** A transfer says in the log how far it is once in so many milliseconds. */
const PROGRESS_MS = 5000;

export class RecoveryTracker {
  readonly #log: Log;
  readonly #boot: Pick<RecoveryReport, 'startedAt' | 'bootCheckpointOp' | 'bootLogEntries' | 'bootLogIntact' | 'bootTornBytes'>;
  readonly #started = performance.now();
  readonly #stateBytes: () => number;
  #transfers = 0;
  #bytesReceived = 0;
  #lastTransfer: TransferReport | null = null;
  /** The one under way. */
  #transfer: TransferProgress | null = null;
  #toldAt = -Infinity;
  #logBytesReceived = 0;
  #commitHeard = -1;
  #caughtUpMs: number | null = null;

  constructor(log: Log, boot: BootState, tornBytes: number, stateBytes: () => number) {
    this.#log = log;
    this.#stateBytes = stateBytes;
    this.#boot = {
      startedAt: Date.now(),
      bootCheckpointOp: boot.state?.op ?? 0,
      bootLogEntries: boot.log.entries.length,
      bootLogIntact: boot.log.intact,
      bootTornBytes: tornBytes,
    };
  }

  /** A message of a peer, `bytes` long. */
  onMessage(message: ReplicaMessage, bytes: number): void {
    if (message.type === 'newState' || message.type === 'startView') this.#logBytesReceived += bytes;
    if (this.#caughtUpMs === null && (message.type === 'commit' || message.type === 'prepare')) {
      this.#commitHeard = Math.max(this.#commitHeard, message.commit);
    }
  }

  onProgress(op: number, p: FetchProgress): void {
    const milliseconds = Math.round(p.milliseconds);
    this.#transfer = {
      op, startedAt: Date.now() - milliseconds, milliseconds,
      requests: p.requests, bytesReceived: p.bytesReceived, recordBytes: p.recordBytes, recordsChanged: p.recordsChanged,
      nodesVerified: p.verified, nodesWanted: p.wanted, settled: p.settled,
      bytesPerSecond: milliseconds === 0 ? 0 : Math.round(p.bytesReceived * 1000 / milliseconds),
      etaMs: p.etaMs === null ? null : Math.round(p.etaMs),
    };
    const now = performance.now();
    if (now - this.#toldAt < PROGRESS_MS) return;
    this.#toldAt = now;
    const { settled, bytesReceived, bytesPerSecond, etaMs } = this.#transfer;
    this.#log.info({ ...this.#transfer }, `state transfer: ${Math.floor(settled * 100)} % of the checkpoint of op ${op} is here, ${bytesReceived} bytes fetched at ${bytesPerSecond} bytes/s${etaMs === null ? '' : `, about ${Math.ceil(etaMs / 1000)} s to go`}`);
  }

  /** What it received counts; another one follows, and begins with what is here. */
  onTransferFailed(): void {
    this.#bytesReceived += this.#transfer?.bytesReceived ?? 0;
    this.#transfer = null;
  }

  onTransfer(report: TransferReport): void {
    this.#transfers++;
    this.#transfer = null;
    this.#bytesReceived += report.bytesReceived;
    this.#lastTransfer = report;
    this.#log.info({ ...report }, `state taken over from a peer: ${report.bytesReceived} bytes fetched of a state of ${report.stateBytes} bytes`);
  }

  /** Called now and then until the replica has caught up. */
  get watching(): boolean {
    return this.#caughtUpMs === null;
  }

  watch(s: ReplicaStatus): void {
    if (s.status !== 'normal' || s.transferring || s.executed < s.commit) return;
    if (!s.isPrimary && (this.#commitHeard < 0 || s.executed < this.#commitHeard)) return;
    this.#caughtUpMs = Math.round(performance.now() - this.#started);
    const { bytesReceived, logBytesReceived, stateBytes } = this.report();
    this.#log.info({ view: s.view, op: s.op, commit: s.commit, bytesReceived, logBytesReceived, stateBytes, ms: this.#caughtUpMs },
      `up to date: fetched ${bytesReceived + logBytesReceived} bytes from peers; the state has ${stateBytes} bytes`);
  }

  report(): RecoveryReport {
    return {
      ...this.#boot,
      transfers: this.#transfers,
      bytesReceived: this.#bytesReceived,
      transfer: this.#transfer,
      lastTransfer: this.#lastTransfer,
      logBytesReceived: this.#logBytesReceived,
      stateBytes: this.#stateBytes(),
      caughtUpMs: this.#caughtUpMs,
    };
  }
}
