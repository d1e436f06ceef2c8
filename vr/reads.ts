/**
 * Reads. At the primary, under its lease (leases.ts): answered at once. Without one: the primary notes the commit-number when the read arrives, asks the group
 * in a round of heart-beats whether it is still the primary of the newest view, and answers once a quorum (itself
 * included) has confirmed a round that began later, on a state that includes what was noted. Any number of reads
 * share a round. A backup confirms only while it is normal in that view, so no later view can have committed anything
 * before the round began.
 */
import { sessionId, type MemberId, type OpNumber } from '../lib/ids.ts';
import { bodyBytes, MAX_HELD_BYTES, type Held } from './held_back.ts';
import type { ClientRequest, Read } from './messages.ts';
import type { ConnectionId } from './ports.ts';
import { Progress } from './quorum.ts';
import type { Replica } from './replica.ts';

interface Waiting {
  /** Answered when this round is confirmed and this op executed. */
  round: number;
  readonly op: OpNumber;
  readonly answer: () => void;
  /** To be asked elsewhere, or later, when it is not answered here; null: only the answer was left. */
  readonly read: Held | null;
}

const MAX_WAITING = 100_000;
/** When so many bytes were answered at once, the others wait for whatever comes next, a tick at the latest: else a primary that thousands have waited for says nothing to its backups for too long. */
const ANSWERED_AT_ONCE = 2 << 20;

export class Reads {
  readonly #r: Replica;
  readonly #confirmed = new Progress();
  #round = 0;
  /** Of the newest round; by the clock that the replica is ticked with. */
  #roundSentAt = 0;
  /** Arrived since the newest round was sent: need the next one. */
  #fresh: Waiting[] = [];
  #waiting: Waiting[] = [];
  /** Of the bodies of both. */
  #bytes = 0;
  /** Bytes of all answers so far. */
  #answeredBytes = 0;

  constructor(replica: Replica) {
    this.#r = replica;
  }

  get round(): number {
    return this.#round;
  }

  /** Reads that nobody will answer here any more. */
  takeHeld(): Held[] {
    const held = [...this.#waiting, ...this.#fresh].flatMap((w) => (w.read === null ? [] : [w.read]));
    this.#drop();
    return held;
  }

  reset(): void {
    this.#confirmed.clear();
    this.#r.leases.reset();
    this.#round = 0;
    this.#drop();
  }

  #drop(): void {
    this.#fresh = [];
    this.#waiting = [];
    this.#bytes = 0;
  }

  forget(member: MemberId): void {
    this.#confirmed.forget(member);
    this.#r.leases.forget(member);
  }

  onRead(connection: ConnectionId, m: Read): void {
    const r = this.#r;
    const outside = this.#outside;
    if (outside !== null && m.consistency !== 'linearizable') {
      this.#behind(connection, m, outside);
      return;
    }
    if (m.consistency !== 'linearizable') {
      // A witness has executed nothing.
      if (r.isWitness) {
        r.ports.network.reply(connection, r.redirect());
        return;
      }
      if (!r.execution.ready || r.executed < m.minOp) {
        this.#behind(connection, m, `op ${m.minOp} is not executed here yet (${r.executed} is)`);
        return;
      }
    }
    if (m.consistency === 'causal') {
      this.#answer(connection, m);
      return;
    }
    if (m.consistency === 'bounded' && !r.isPrimary) {
      this.#readBounded(connection, m);
      return;
    }
    if (!r.isPrimary) {
      r.ports.network.reply(connection, r.redirect());
      return;
    }
    if (r.executed >= r.commit && r.leases.held) {
      this.#answer(connection, m);
      return;
    }
    if (!this.#hasRoom(connection, m)) return;
    const cameAt = r.leases.now();
    this.#bytes += bodyBytes(m);
    this.#fresh.push({ round: 0, op: r.commit, answer: () => { this.#answerAsOf(cameAt, connection, m); }, read: { connection, message: m } });
  }

  /**
   * Why not even a read that any replica may answer is answered here, or null. What a causal read has to include is what its client has seen, and one that has seen
   * nothing yet would be shown the state before everything: of a node that was never made a member, or that has lost what it knew.
   */
  get #outside(): string | null {
    switch (this.#r.phase) {
      case 'joining': return 'this node waits to be made a member of the group: it answers no reads yet';
      case 'recovering': return 'this replica asks the others for what it has lost: it answers no reads before it has it';
      case 'retired': return 'this node is no longer a member of the group';
      case 'normal':
      case 'view-change':
      case 'transitioning': return null;
    }
  }

  /** The round was sent after that moment; but the process may have been stopped since, and a bound counts until the answer. */
  #answerAsOf(cameAt: number, connection: ConnectionId, m: Read): void {
    const age = this.#r.leases.age(cameAt);
    if (m.consistency !== 'bounded' || age <= m.maxStalenessMs) this.#answer(connection, m);
    else this.#behind(connection, m, `the state here may be ${Math.ceil(age)} ms old`);
  }

  #readBounded(connection: ConnectionId, m: Read): void {
    const { staleness } = this.#r.leases;
    if (staleness !== null && staleness <= m.maxStalenessMs) this.#answer(connection, m);
    else this.#behind(connection, m, staleness === null ? 'how old the state here is, is not known' : `the state here may be ${Math.ceil(staleness)} ms old`);
  }

  /** Turns the message away when it has none: of all that waits for a round, whatever it is, so much and no more. */
  #hasRoom(connection: ConnectionId, m: ClientRequest): boolean {
    const count = this.#fresh.length + this.#waiting.length;
    if (count < MAX_WAITING && this.#bytes + bodyBytes(m) <= MAX_HELD_BYTES) return true;
    this.#r.turnAway(connection, m, `${count} requests wait already until a majority of the group confirms who leads it`);
    return false;
  }

  /** Runs `answer` to this message once it is certain that this was the primary at some moment after this call; turns it away when too many wait. */
  whenConfirmed(connection: ConnectionId, m: ClientRequest, answer: () => void): void {
    if (!this.#hasRoom(connection, m)) return;
    this.#fresh.push({ round: 0, op: this.#r.commit, answer, read: null });
  }

  #answer(connection: ConnectionId, m: Read): void {
    const r = this.#r;
    const result = r.ports.stateMachine.query(m.body, r.execution.time);
    this.#answeredBytes += result.length;
    r.ports.network.reply(connection, { type: 'readReply', id: m.id, op: r.executed, result });
  }

  #behind(connection: ConnectionId, m: Read, reason: string): void {
    // Who takes this replica for the primary would ask it again and again.
    if (!this.#r.isPrimary) this.#r.ports.network.reply(connection, this.#r.redirect());
    this.#r.ports.network.reply(connection, { type: 'reject', code: 'behind', reason, retryAfterMs: this.#r.options.heartbeatMs, session: sessionId(0), slot: 0, seq: 0, id: m.id });
  }

  /** A round is under way as long as the newest is not confirmed; what arrives meanwhile shares the next. */
  flush(): void {
    const r = this.#r;
    if (!r.normal.open || !r.isPrimary) return;
    if (this.#fresh.length > 0 && this.#confirmedRound() >= this.#round) {
      r.normal.sendCommit();
    }
    this.#release();
  }

  /** A round begins with the message that is about to be sent: all reads that have come share it. */
  begin(): number {
    this.#round++;
    for (const w of this.#fresh) {
      w.round = this.#round;
      this.#waiting.push(w);
    }
    this.#fresh = [];
    this.#roundSentAt = this.#r.now;
    this.#r.leases.onRoundSent(this.#round);
    return this.#round;
  }

  /** The round for a Prepare: under load no heart-beat is sent, and the lease has to be renewed all the same. */
  roundForPrepare(): number {
    const r = this.#r;
    return r.now - this.#roundSentAt >= r.options.heartbeatMs ? this.begin() : this.#round;
  }

  onConfirmed(from: MemberId, round: number, leaseMs: number): void {
    this.#r.leases.onConfirmed(from, round, leaseMs);
    if (this.#confirmed.record(from, round)) this.flush();
  }

  #confirmedRound(): number {
    return this.#confirmed.point(this.#r.quorum, this.#round);
  }

  #release(): void {
    if (this.#waiting.length === 0 || !this.#r.normal.serving) return;
    const round = this.#confirmedRound();
    const { executed } = this.#r;
    const enough = this.#answeredBytes + ANSWERED_AT_ONCE;
    let done = 0;
    for (const w of this.#waiting) {
      if (w.round > round || w.op > executed || this.#answeredBytes >= enough) break;
      w.answer();
      if (w.read !== null) this.#bytes -= bodyBytes(w.read.message);
      done++;
    }
    if (done > 0) this.#waiting = this.#waiting.slice(done);
  }

  /** The question or its answers may have been lost. */
  tick(): void {
    const r = this.#r;
    if (!r.normal.open || !r.isPrimary) return;
    this.flush();
    if (this.#waiting.length > 0 && r.now - this.#roundSentAt >= r.options.heartbeatMs) {
      r.normal.sendCommit();
    }
  }
}

