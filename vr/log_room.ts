/**
 * Whether the log may grow. What is behind the newest durable checkpoint is in memory, in the log and in the overlay of changed
 * records, and in the journal: when a checkpoint takes long, or waits for room on the disk, this has to end somewhere. The same with
 * what was given to the journal, when the disk writes more slowly than requests come.
 *
 * A primary then tells its clients to come again. A backup takes no more into its log, as if messages had been lost: the others go
 * on, as long as they are a quorum, and it asks for what it lacks when its checkpoint is done.
 */
import { view } from '../lib/ids.ts';
import type { Replica } from './replica.ts';

/** A primary without room for its log leaves its place to another when that has lasted so long, and not again for so long. */
const YIELD_MS = 2000;
const YIELD_AGAIN_MS = 30_000;

export class LogRoom {
  readonly #r: Replica;
  /** The disk has hardly room for the journal. */
  #cramped = false;
  /** Since when the log may not grow, for whichever reason. */
  #fullSince: number | null = null;
  #yieldedAt = -Infinity;

  constructor(replica: Replica) {
    this.#r = replica;
  }

  /** The disk has hardly room for the log itself, or has it again. */
  set cramped(is: boolean) {
    if (is === this.#cramped) return;
    this.#cramped = is;
    this.#r.event(is ? 'log-cramped' : 'log-has-room', { op: this.#r.log.head });
  }
  get cramped(): boolean {
    return this.#cramped;
  }

  /**
   * Nothing more may be taken in, with so much waiting for a place in the log already. The log waits for a checkpoint only while one is
   * being written. Otherwise it must be let grow to the next checkpoint point, however long it is: the one before may have been left out.
   */
  isFull(gathered = 0, gatheredBytes = 0): boolean {
    const { log, options, handOver, persistence } = this.#r;
    if (this.cramped || this.#journalLags) return true;
    if (!handOver.taking) return false;
    const ahead = log.head - persistence.superblock.checkpoint.op + gathered;
    return ahead >= options.maxLogEntries || log.bytes + gatheredBytes >= options.maxLogBytes;
  }

  /**
   * So much has been collected beside the log that it has to go into the log and be executed before more is: there a checkpoint lets it be
   * forgotten. A witness has no checkpoints, and all of it in its log in the end.
   */
  isEnough(collected: number, collectedBytes: number): boolean {
    const { isWitness, log, options } = this.#r;
    return !isWitness && (log.head - log.base + collected >= options.maxLogEntries || log.bytes + collectedBytes >= options.maxLogBytes);
  }

  /** What has come before has been executed, and there is room for more to be collected. */
  get mayCollect(): boolean {
    const { executed, commit, isWitness } = this.#r;
    return isWitness || (executed >= commit && !this.isFull());
  }

  get #journalLags(): boolean {
    const { log, options, persistence, phase } = this.#r;
    // On the way into an epoch nothing is journaled until all of it is here.
    if (phase === 'transitioning') return false;
    return log.head - persistence.durable.op >= options.maxLogEntries || persistence.pendingBytes >= options.maxLogBytes;
  }

  /** For clients that are told to come again. */
  get reason(): string {
    if (this.cramped) return 'the primary\'s disk is full';
    return this.#journalLags ? 'the primary\'s disk does not keep up with the log' : 'a checkpoint is not written yet and the log behind it has become long';
  }

  /** Another member's disk may have room. When none has, each tries now and then; nothing is lost by it, and nothing gained. */
  tick(): void {
    const r = this.#r;
    // What is kept for a peer that takes a checkpoint over (log_keeping.ts) goes before a client has to wait.
    if (this.isFull()) r.handOver.collectAgain();
    this.#fullSince = this.isFull() ? (this.#fullSince ?? r.now) : null;
    const since = this.#fullSince;
    if (since === null || !r.isPrimary || !r.normal.open) return;
    if (r.now - Math.max(since, r.normal.openedAt) < YIELD_MS || r.now - this.#yieldedAt < YIELD_AGAIN_MS) return;
    this.#yieldedAt = r.now;
    r.event('yields-for-room', { view: r.view });
    r.viewChange.leaveFor(view(r.view + 1));
  }
}
