/**
 * Recovery (VRR 4.3) of a replica that cannot trust its log: a restart in memory mode, a damaged journal, an
 * interrupted transfer. It has no vote and no voice (row 11) until it holds the log of the newest view from that view's primary.
 *
 * A fresh 128-bit nonce (row 10) ties the responses to this attempt. Q of them, from distinct members and the primary of the
 * highest view among them, are needed; a view below the floor that this replica has durably spoken for is not taken (row 1).
 */
import { view as viewOf, type MemberId, type View } from '../lib/ids.ts';
import { primaryOf } from './configuration.ts';
import type { Recovery as RecoveryMessage, RecoveryResponse } from './messages.ts';
import type { Replica } from './replica.ts';
import { Backoff } from './timeouts.ts';

export class Recovery {
  readonly #r: Replica;
  readonly #resend: Backoff;
  /** The present attempt. */
  #asking: RecoveryMessage | null = null;
  readonly #responses = new Map<MemberId, RecoveryResponse>();
  /** When each of the others asked last, in need of a recovery itself. */
  readonly #asked = new Map<MemberId, number>();
  #impossible = false;

  constructor(replica: Replica) {
    this.#r = replica;
    this.#resend = new Backoff(replica.options.resendMs * 2, replica.ports.random);
  }

  /** Views below this were spoken for: the recovery must not end in one. */
  floor(): View {
    const { view, promisedView } = this.#r.persistence.superblock;
    return viewOf(Math.max(view, promisedView, this.#r.logView));
  }

  begin(): void {
    const r = this.#r;
    r.catchUp.cancel();
    this.#asking = { type: 'recovery', nonce: r.ports.random.bytes(16), checkpoint: r.executed, floor: this.floor() };
    this.#responses.clear();
    if (!this.#resend.running) this.#resend.start(r.now);
    r.event('recovering', { checkpoint: r.executed, floor: this.floor() });
    r.broadcast(this.#asking);
  }

  forget(member: MemberId): void {
    this.#responses.delete(member);
    this.#asked.delete(member);
  }

  /** The same attempt, whose responses count on: a new one with each connection could come before the last one was answered, and so for ever. */
  onConnected(): void {
    const r = this.#r;
    if (this.#asking !== null && r.phase === 'recovering' && !r.handOver.fetching && r.catchUp.gathering === null) r.broadcast(this.#asking);
  }

  tick(): void {
    const r = this.#r;
    if (r.phase !== 'recovering' || r.handOver.fetching) return;
    if (r.now - r.catchUp.progressAt < r.options.viewChangeMs * 4) return;
    if (!this.#resend.due(r.now)) return;
    this.#judge();
    this.begin();
  }

  /**
   * At a replica that is not recovering itself. Who lacks only the log of a view that works answers too: what it has promised is what it
   * would have promised with that log, and what it lacks may have to come from the very one that asks.
   */
  onRecovery(from: MemberId, m: RecoveryMessage): void {
    const r = this.#r;
    if (!r.isElector || (r.phase !== 'normal' && !r.viewChange.follows)) return;
    if (m.floor > r.view && r.reconfiguration.isElector(from)) {
      r.viewChange.passFloor(m.floor);
      return;
    }
    if (r.isPrimary && !r.normal.open) return;
    const state = r.isPrimary ? { op: r.log.head, commit: r.commit, checkpoint: r.handOver.told } : null;
    r.send(from, { type: 'recoveryResponse', view: r.view, nonce: m.nonce, state });
  }

  /** Another one is recovering too. */
  onRecoveryOfPeer(from: MemberId): void {
    if (this.#r.reconfiguration.isElector(from)) this.#asked.set(from, this.#r.now);
  }

  /** Nobody has answered for a while: when too many recover, nobody can (row 12), and the operator has to know. */
  #judge(): void {
    const r = this.#r;
    const before = this.#impossible;
    this.#impossible = r.isElector && r.otherElectors.length - this.#askingNow() < r.quorum;
    if (this.#impossible && !before) r.event('group-cannot-recover', { recovering: this.#askingNow() + 1, quorum: r.quorum, durability: r.configuration.durability });
  }

  /** Too few are left who could answer, as it looked when this one asked last. */
  get impossible(): boolean {
    const r = this.#r;
    return this.#impossible && r.phase === 'recovering' && !r.handOver.fetching;
  }

  /** Who asks goes on asking until it has been answered. One that answers itself has recovered; one that is silent fetches what it needs for that, or is down. */
  #askingNow(): number {
    const { now, otherElectors } = this.#r;
    return otherElectors.filter((id) => now - (this.#asked.get(id) ?? -Infinity) <= this.#resend.longest * 2).length;
  }

  onRecoveryResponse(from: MemberId, m: RecoveryResponse): void {
    const r = this.#r;
    this.#asked.delete(from);
    if (this.#asking === null || !m.nonce.equals(this.#asking.nonce) || r.handOver.fetching || r.catchUp.gathering !== null) return;
    if (!r.reconfiguration.isElector(from)) return;
    this.#responses.set(from, m);
    if (this.#responses.size < r.quorum) return;
    let newest = viewOf(0);
    for (const response of this.#responses.values()) if (response.view > newest) newest = response.view;
    const primary = primaryOf(r.configuration, newest).id;
    const answer = this.#responses.get(primary);
    if (newest < this.floor() || answer?.view !== newest || answer.state === null) return;
    if (!r.execution.ready) {
      r.handOver.fetch(answer.state.checkpoint, primary);
      return;
    }
    // What a witness's log was filled with is not in the journal yet.
    const { base, head, headHash } = r.log;
    r.catchUp.gather({ view: newest, keep: base, entries: r.log.slice(base, head, Infinity), after: head, parent: headHash });
  }
}
