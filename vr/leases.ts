/**
 * Leases (PROTOCOL row 18): for a while after a backup has answered it, a primary knows that no other view can begin,
 * and answers reads at once.
 *
 * A backup that takes a round of the primary's heart-beats binds itself: for `leaseMs` of its own clock from then on it votes in no
 * view change, unless that primary itself has left its view. The primary counts from when it sent that round, on its own clock, and so much less that the clocks may
 * differ: as long as a quorum is bound, every quorum that could vote has one in it that does not. Replicas may be configured
 * with different lengths, if only while an administrator changes it on one after the other: the answer says for how long its sender
 * is bound. A replica that has restarted does not know what it granted: it votes for nobody before a lease of the length that
 * it granted in its last life, which its superblock tells, is over.
 *
 * An epoch needs no vote to end. But its last entry is committed by the primary that still leads it, which leaves it at that
 * moment, or by one that came by a view change, for which the grants were waited out.
 *
 * The same answers tell a backup how old its state is: the primary, while it holds a lease, echoes each backup's own clock
 * together with the commit-number. What the backup has executed up to there includes everything that was acknowledged anywhere before
 * its clock showed that. No two clocks are ever compared.
 *
 * Who has granted reads the monotonic clock, on which too little time may pass (the machine was suspended): it is bound for longer then. Who
 * counts on a grant, or on the age of its state, counts such time (passing_time.ts).
 */
import type { MemberId, OpNumber, View } from '../lib/ids.ts';
import type { Commit, Echo } from './messages.ts';
import { PassingTime, UNNOTICED_MS } from './passing_time.ts';
import { quorumPoint } from './quorum.ts';
import type { Replica } from './replica.ts';

/** Rounds whose sending is remembered; an answer to an older one grants nothing. */
const REMEMBERED = 256;
/** A stamp is (incarnation mod STAMP_LIVES) * STAMP_SPAN + milliseconds of this process, below 2^53. */
const STAMP_SPAN = 2 ** 40;
const STAMP_LIVES = 2 ** 13;
/** Echoes that wait for the execution of what came with them. */
const WAITING_ECHOES = 64;

export class Leases {
  readonly #r: Replica;
  /** No vote before this, by the own clock. */
  #boundUntil: number;
  /** Of this life: to whom, as the primary of which view. */
  #boundTo: { readonly primary: MemberId; readonly view: View } | null = null;
  /** What it granted in its last life is over then. */
  readonly #lastLifeUntil: number;
  readonly #passing: PassingTime;
  // --- primary ---
  /** When each of the last rounds was sent first. */
  readonly #sent = new Map<number, number>();
  /** Until when the member is bound at least, by this clock: of the round that it has confirmed which binds it the longest. */
  readonly #granted = new Map<MemberId, number>();
  readonly #stamps = new Map<MemberId, number>();
  // --- backup ---
  /** Milliseconds of this process. */
  #asOf: number | null = null;
  readonly #bornAt: number;
  #echoes: { readonly commit: OpNumber; readonly stamp: number }[] = [];

  constructor(replica: Replica) {
    this.#r = replica;
    this.#passing = new PassingTime(replica.ports.clock);
    this.#bornAt = this.#passing.now();
    this.#lastLifeUntil = this.#clock() + replica.persistence.superblock.leaseMs * (1 + replica.options.maxClockDrift);
    this.#boundUntil = this.#lastLifeUntil;
  }

  /** For the first superblock of this life: the longest that anybody may count on, whatever was granted before and will be now. */
  get longest(): number {
    const { persistence, options } = this.#r;
    return Math.max(persistence.superblock.leaseMs, options.leaseMs);
  }

  /** Each tick. What was granted with another length is over: the next life need not wait for so long. */
  tick(): void {
    // The less time between two readings, the less can happen to the clocks unnoticed.
    this.#passing.now();
    const { persistence, options } = this.#r;
    if (persistence.superblock.leaseMs > options.leaseMs && this.#clock() >= this.#lastLifeUntil) persistence.writeSuperblock({ leaseMs: options.leaseMs });
  }

  #clock(): number {
    return this.#r.ports.clock.monotonic();
  }

  /** By the clock of `age`, milliseconds. */
  now(): number {
    return this.#passing.now();
  }
  /** What has passed since `now` was that, at most: this clock may be slow. Milliseconds. */
  age(since: number): number {
    return Math.max(0, this.#passing.now() - since) / (1 - this.#r.options.maxClockDrift);
  }

  // --- who grants ------------------------------------------------------------------------------------------------------

  /** The primary's round has just been taken. */
  bind(): void {
    const { primary, view } = this.#r;
    const { leaseMs } = this.#r.options;
    if (leaseMs === 0) return;
    this.#boundUntil = Math.max(this.#boundUntil, this.#clock() + leaseMs);
    if (this.#boundTo?.view !== view) this.#boundTo = { primary, view };
  }

  /**
   * `member` has given up every view below `left` and cannot go back: as the primary of one of them it counts on nothing any more. What was granted to primaries of
   * views before that one counts for nothing since it began, and what was granted in the last life, to whomever, is waited out.
   */
  onLeft(member: MemberId, left: View): void {
    if (this.#boundTo === null || this.#boundTo.primary !== member || left <= this.#boundTo.view) return;
    this.#boundTo = null;
    this.#boundUntil = this.#lastLifeUntil;
  }

  /** May not help a view change yet. */
  get bound(): boolean {
    return this.#clock() < this.#boundUntil;
  }

  // --- the primary -----------------------------------------------------------------------------------------------------

  /** The view is over, or begins. */
  reset(): void {
    this.#sent.clear();
    this.#granted.clear();
    this.#stamps.clear();
  }

  forget(member: MemberId): void {
    this.#granted.delete(member);
    this.#stamps.delete(member);
  }

  /** Before the round leaves: what is counted from has to lie before what the backups count from. */
  onRoundSent(round: number): void {
    this.#sent.set(round, this.#passing.now());
    this.#sent.delete(round - REMEMBERED);
  }

  /** @param leaseMs for which the member has bound itself, of its own clock, when it took that round. */
  onConfirmed(from: MemberId, round: number, leaseMs: number): void {
    const at = this.#sent.get(round);
    if (at !== undefined) this.#granted.set(from, Math.max(this.#granted.get(from) ?? -Infinity, at + this.#counted(leaseMs)));
  }

  /** The grantor's clock may run fast and this one slow. */
  #counted(leaseMs: number): number {
    const { maxClockDrift } = this.#r.options;
    return (leaseMs * (1 - maxClockDrift)) / (1 + maxClockDrift) - UNNOTICED_MS;
  }

  onStamp(from: MemberId, stamp: number): void {
    if (stamp > (this.#stamps.get(from) ?? -1)) this.#stamps.set(from, stamp);
  }

  /** For how long it still holds, milliseconds; 0: there is none. */
  get remaining(): number {
    const r = this.#r;
    const { leaseMs } = r.options;
    if (leaseMs === 0 || !r.normal.serving) return 0;
    const now = this.#passing.now();
    const times = [now + this.#counted(leaseMs)];
    for (const id of r.otherElectors) times.push(this.#granted.get(id) ?? -Infinity);
    return Math.max(0, quorumPoint(times, r.quorum) - now);
  }

  get held(): boolean {
    return this.remaining > 0;
  }

  /** What goes with a heart-beat. Nothing while an epoch ends: when its last entry is committed, others may be in the next one before this is. */
  echoes(): Echo[] {
    if (this.#stamps.size === 0 || this.#r.normal.closing || !this.held) return [];
    return [...this.#stamps].map(([member, stamp]) => ({ member, stamp }));
  }

  // --- how old the state is ----------------------------------------------------------------------------------------------

  #life(): number {
    return this.#r.persistence.superblock.incarnation % STAMP_LIVES;
  }

  /** For the primary to echo. It names this process: the machine's clock may begin anew, and an echo may outlive a restart. */
  stamp(): number {
    return this.#life() * STAMP_SPAN + Math.floor(this.#passing.now() - this.#bornAt);
  }

  onEchoes(m: Commit): void {
    const own = m.echoes.find((e) => e.member === this.#r.self);
    if (own === undefined || Math.floor(own.stamp / STAMP_SPAN) !== this.#life()) return;
    this.#echoes.push({ commit: m.commit, stamp: own.stamp % STAMP_SPAN });
    if (this.#echoes.length > WAITING_ECHOES) this.#echoes.splice(1, 1);
    this.#settle();
  }

  /** The state has become another: nothing is known of its age. */
  onStateReplaced(): void {
    this.#asOf = null;
    this.#echoes = [];
  }

  #settle(): void {
    const { executed } = this.#r;
    let done = 0;
    for (const e of this.#echoes) {
      if (e.commit > executed) break;
      this.#asOf = Math.max(this.#asOf ?? 0, e.stamp);
      done++;
    }
    if (done > 0) this.#echoes.splice(0, done);
  }

  /** The state here has everything that was acknowledged up to so many milliseconds ago; null: not known. */
  get staleness(): number | null {
    const r = this.#r;
    if (!r.execution.ready || r.isWitness) return null;
    if (r.isPrimary) return this.held && r.executed >= r.commit ? 0 : null;
    this.#settle();
    return this.#asOf === null ? null : this.age(this.#bornAt + this.#asOf);
  }
}
