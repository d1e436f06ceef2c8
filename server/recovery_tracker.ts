/** How a replica came up to date after its boot, for the log and the status: what it fetched against the size of the state. */
import type { BootState, ReplicaStatus } from '../vr/replica_types.ts';
import type { ReplicaMessage } from '../vr/messages.ts';
import type { Log } from './log.ts';
import type { RecoveryReport, TransferReport } from './running_replica.ts';

export class RecoveryTracker {
  readonly #log: Log;
  readonly #boot: Pick<RecoveryReport, 'startedAt' | 'bootCheckpointOp' | 'bootLogEntries' | 'bootLogIntact' | 'bootTornBytes'>;
  readonly #started = performance.now();
  readonly #stateBytes: () => number;
  #transfers = 0;
  #bytesReceived = 0;
  #lastTransfer: TransferReport | null = null;
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

  onTransfer(report: TransferReport): void {
    this.#transfers++;
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
      lastTransfer: this.#lastTransfer,
      logBytesReceived: this.#logBytesReceived,
      stateBytes: this.#stateBytes(),
      caughtUpMs: this.#caughtUpMs,
    };
  }
}
