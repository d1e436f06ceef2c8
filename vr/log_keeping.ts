/**
 * The log that the others keep for a member that takes a checkpoint over (KeepLog). A transfer may take longer than the log
 * reaches back: then what follows the checkpoint would be gone when it is done, and another transfer would have to follow, and
 * another, for as long as the group is busy. So whoever takes a checkpoint over tells the others of it, again and again until it
 * has the log up to the head, and they keep what is behind it. Not more than half of what a log may hold, not where that
 * leaves no room for clients, and not for somebody who is not heard of any more: then the next transfer has to do, which brings only what
 * has changed since.
 *
 * Nothing depends on it but time: a log that was collected all the same is what every other part reckons with.
 */
import { opNumber, type MemberId, type OpNumber } from '../lib/ids.ts';
import type { KeepLog } from './messages.ts';
import type { Replica } from './replica.ts';

/** Interval of KeepLog, while it is needed; and how long at least: who has just come to the head may fall behind again. */
const TELL_MS = 2000;
/** Whoever has not said it for so long does without. */
const FORGET_MS = 3 * TELL_MS;

export class LogKeeping {
  readonly #r: Replica;
  /** Behind which op each member needs the log, and when it has said so. */
  readonly #needs = new Map<MemberId, { readonly after: OpNumber; readonly at: number }>();
  /** What this replica has asked the others to keep; null: nothing. */
  #asked: OpNumber | null = null;
  #askedAt = 0;

  constructor(replica: Replica) {
    this.#r = replica;
  }

  // --- for others ------------------------------------------------------------------------------------------------------

  onKeepLog(from: MemberId, { after }: KeepLog): void {
    const r = this.#r;
    if (after === null) {
      this.#forget(from);
      return;
    }
    if (!this.#needs.has(from)) r.event('keeps-log', { member: from, after });
    this.#needs.set(from, { after, at: r.now });
  }

  #forget(member: MemberId): void {
    if (!this.#needs.delete(member)) return;
    this.#r.event('keeps-log-no-more', { member });
    this.#r.handOver.collectAgain();
  }

  /** The oldest entry that somebody needs is behind this one. */
  get #needed(): number {
    let oldest = Infinity;
    for (const { after } of this.#needs.values()) oldest = Math.min(oldest, after);
    return oldest;
  }

  /**
   * What of the log stays, of all that a checkpoint has made dispensable: the entries behind `after`, as long as the whole log
   * takes no more than `bytes`.
   */
  retained(): { readonly after: number; readonly bytes: number } {
    const { log, options, room } = this.#r;
    const always = { after: log.head - options.retainEntries, bytes: options.retainBytes };
    const kept = Math.max(this.#needed, log.head - this.mostEntries);
    // Clients come first: without room for their log nothing is kept for others beyond the ordinary.
    if (kept >= always.after || room.isFull()) return always;
    return { after: kept, bytes: Math.max(always.bytes, Math.floor(options.maxLogBytes / 2)) };
  }

  /** So many entries are kept for somebody, at most. */
  get mostEntries(): number {
    return Math.max(this.#r.options.retainEntries, Math.floor(this.#r.options.maxLogEntries / 2));
  }

  // --- for this replica ------------------------------------------------------------------------------------------------

  /** The others were asked to keep what is behind this op. */
  isAsked(op: OpNumber): boolean {
    return this.#asked !== null && this.#asked <= op;
  }

  /** From now on what follows `after` is needed: the checkpoint there is to be taken over. */
  ask(after: OpNumber): void {
    const r = this.#r;
    this.#asked = after;
    this.#askedAt = r.now;
    r.ports.network.broadcast(r.reconfiguration.everybody(), { type: 'keepLog', after });
  }

  tick(): void {
    const r = this.#r;
    for (const [member, { at }] of this.#needs) if (r.now - at > FORGET_MS) this.#forget(member);
    if (this.#asked === null || r.now - this.#askedAt < TELL_MS) return;
    if (r.phase === 'retired' || this.#hasAll()) {
      this.#asked = null;
      r.ports.network.broadcast(r.reconfiguration.everybody(), { type: 'keepLog', after: null });
      return;
    }
    // What has come since is needed no more. Between two transfers the one that failed says what the next one may begin at.
    const has = r.execution.ready && !r.handOver.fetching ? r.log.head : this.#asked;
    this.ask(opNumber(Math.max(has, this.#asked)));
  }

  /** All that the primary has told of is here. */
  #hasAll(): boolean {
    const r = this.#r;
    return r.phase === 'normal' && r.execution.ready && !r.handOver.fetching && !r.catchUp.running && !r.room.isFull();
  }
}
