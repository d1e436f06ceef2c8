/**
 * Normal operation (VRR 4.1). The primary orders requests into batches, sends each as a Prepare with the entries'
 * encoded bytes, and commits what a quorum has acknowledged, its own journal included. Backups append in order,
 * acknowledge what is durable, and execute what the primary says is committed.
 */
import { defined } from '../lib/assert.ts';
import { opNumber, type MemberId, type OpNumber, type SessionId } from '../lib/ids.ts';
import { encodeExpireBody, encodeRegisterBody, type Slot } from './client_table.ts';
import { GROUP, makeEntry, MAX_BODY_BYTES, type Entry, type EntryKind } from './entry.ts';
import { HeldBack, RETRY_MS, type Held } from './held_back.ts';
import { SESSION_NAME_BYTES, type ClientRequest, type Commit, type EndSession, type Prepare, type PrepareOk, type Register, type RejectCode, type Request } from './messages.ts';
import type { ConnectionId } from './ports.ts';
import { Progress } from './quorum.ts';
import type { Replica } from './replica.ts';

interface Gathered {
  readonly kind: EntryKind;
  readonly session: SessionId;
  readonly slot: number;
  readonly seq: number;
  readonly body: Buffer;
}

/** Requests that wait for a place in the log; above it clients are told to come again. */
const MAX_GATHERED = 100_000;
const MAX_GATHERED_BYTES = 64 << 20;
const EXPIRY_SCAN_MS = 1000;

export class NormalCase {
  readonly #r: Replica;
  // --- primary ---
  #gathered: Gathered[] = [];
  #gatheredBytes = 0;
  /** Requests that came before the inherited log was executed: the client table is not up to date yet. */
  readonly #early = new HeldBack(MAX_GATHERED);
  readonly #registrations = new Map<string, ConnectionId>();
  /** Last op of each batch under way. */
  readonly #batches: OpNumber[] = [];
  readonly #acks = new Progress();
  /** Acknowledgements of those without a vote. */
  readonly #observed = new Progress();
  /** A Reconfiguration is in the log or on its way there: nothing may follow it in this epoch. */
  #closing = false;
  /** What the primary inherited when its view began: once it is executed, the primary may answer. */
  #viewStart: OpNumber = opNumber(0);
  /** The install record of this view is durable and StartView is out: Prepares may follow. */
  #open = false;
  #openedAt = 0;
  #sentAt = 0;
  #housekeeping = false;
  #expiryAt = 0;
  // --- backup ---
  /** The newest round that the primary of this view sent: echoed in each PrepareOk. */
  #round = 0;
  #ackDue = false;

  constructor(replica: Replica) {
    this.#r = replica;
  }

  /** Begins to act in the present view: status is normal and the log is the view's. */
  enter(): void {
    const r = this.#r;
    this.#reset();
    r.viewChange.onNormal();
    if (!r.isPrimary) {
      this.#ackDue = true;
      this.onDurable();
      return;
    }
    this.#viewStart = r.log.head;
    this.#openedAt = r.now;
    this.#closing = this.epochEnds();
    for (let op = r.executed + 1; op <= r.log.head; op++) r.clients.markInFlight(defined(r.log.at(op), 'inherited entry'));
    const started = r.view;
    r.persistence.afterJournal(() => {
      if (r.view !== started || !r.isPrimary || this.#open) return;
      this.#open = true;
      this.#openedAt = r.now;
      if (r.view > 0) r.viewChange.sendStartViews();
      this.#advanceCommit();
      r.execution.run();
    });
  }

  /** Row 20: from the log, so that a Reconfiguration that a view change has dropped closes nothing. */
  epochEnds(): boolean {
    const { log, configuration } = this.#r;
    const last = log.at(log.head);
    return last?.kind === 'reconfiguration' && last.epoch === configuration.epoch;
  }

  /** The view is over: what clients still wait for they ask again, elsewhere. */
  leave(): void {
    this.#r.reconfiguration.leave();
    this.#r.intervals.leave();
    this.#reset();
  }

  #reset(): void {
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#early.take();
    this.#registrations.clear();
    this.#batches.length = 0;
    this.#acks.clear();
    this.#observed.clear();
    this.#closing = false;
    this.#open = false;
    this.#housekeeping = false;
    this.#round = 0;
    this.#ackDue = false;
    this.#r.clients.clearVolatile();
    this.#r.reads.reset();
  }

  /** The member restarted: what it said before does not count. */
  forget(member: MemberId): void {
    this.#acks.forget(member);
    this.#observed.forget(member);
    this.#r.reads.forget(member);
  }

  acked(member: MemberId): OpNumber | null {
    return this.#r.isPrimary ? opNumber(this.#acks.get(member) ?? this.#observed.get(member) ?? 0) : null;
  }

  /** The primary may answer clients: it has executed all that it inherited. */
  get serving(): boolean {
    return this.#open && this.#r.isPrimary && this.#r.execution.ready && this.#r.executed >= this.#viewStart;
  }

  // --- primary: clients ----------------------------------------------------------------------------------------------

  /** Before it is held back anywhere: whoever means harm sends long ones. True: it is answered. */
  refuses(connection: ConnectionId, m: Register): boolean {
    const bytes = Buffer.byteLength(m.name);
    if (bytes <= SESSION_NAME_BYTES) return false;
    this.#reject(connection, 'invalid', `a session's name has at most ${SESSION_NAME_BYTES} bytes, not ${bytes}`, GROUP, 0, 0);
    return true;
  }

  onRegister(connection: ConnectionId, m: Register): void {
    if (this.#deferred(connection, m)) return;
    const full = this.fullness;
    if (full !== null) {
      this.#reject(connection, 'busy', full, GROUP, 0, 0);
      return;
    }
    const body = encodeRegisterBody({ nonce: m.nonce, flags: m.flags, name: m.name, maxSessions: this.#r.options.maxSessions });
    const nonce = m.nonce.latin1Slice();
    const known = this.#registrations.has(nonce);
    this.#registrations.set(nonce, connection);
    if (!known) this.#gather({ kind: 'register', session: GROUP, slot: 0, seq: 0, body });
  }

  onRequest(connection: ConnectionId, m: Request): void {
    const r = this.#r;
    if ((this.#closing || !this.serving) && this.#deferred(connection, m)) return;
    const session = r.clients.session(m.session);
    if (session === undefined) {
      // Only a primary that is still one may say so: a newer view may know the session.
      r.reads.whenConfirmed(connection, m, this.#denial(connection, m.session, m.slot, m.seq));
      return;
    }
    if (m.slot >= r.options.sessionSlots || m.seq === 0 || m.body.length > MAX_BODY_BYTES) {
      this.#reject(connection, 'invalid', `slots are below ${r.options.sessionSlots}, sequence numbers start at 1, operations have at most ${MAX_BODY_BYTES} bytes`, m.session, m.slot, m.seq);
      return;
    }
    const slot = r.clients.slot(session, m.slot);
    if (m.seq < slot.seq) return;
    slot.connection = connection;
    if (m.seq === slot.seq) this.#reply(session.id, m.slot, slot);
    else if (m.seq > slot.inFlight) {
      const full = this.fullness;
      if (full !== null) {
        this.#reject(connection, 'busy', full, m.session, m.slot, m.seq);
        return;
      }
      slot.inFlight = m.seq;
      this.#gather({ kind: 'request', session: session.id, slot: m.slot, seq: m.seq, body: m.body });
    }
  }

  /** Made apart from the request, so that what waits to be confirmed does not hold on to its body. */
  #denial(connection: ConnectionId, session: SessionId, slot: number, seq: number): () => void {
    return () => { this.#reject(connection, 'noSession', `session ${session} has ended or never was`, session, slot, seq); };
  }

  onEndSession(m: EndSession): void {
    const r = this.#r;
    if (!this.serving || this.#closing || r.clients.session(m.session) === undefined || this.fullness !== null) return;
    this.#gather({ kind: 'expire', session: GROUP, slot: 0, seq: 0, body: encodeExpireBody({ session: m.session, unlessSince: null }) });
  }

  /** Redirects unless primary; holds back until the client table is up to date, and while an epoch ends. */
  #deferred(connection: ConnectionId, message: ClientRequest): boolean {
    const r = this.#r;
    if (!r.isPrimary) {
      r.ports.network.reply(connection, r.redirect());
      return true;
    }
    if (this.serving && !this.#closing) return false;
    this.hold(connection, message);
    return true;
  }

  /** Until the primary may answer. */
  hold(connection: ConnectionId, message: ClientRequest): void {
    if (this.#early.push({ connection, message })) return;
    this.#r.turnAway(connection, message, `the primary has just begun or changes its members, and ${this.#early.length} requests wait for it already`);
  }

  /** What is held back; it is for somebody else to answer. */
  takeHeld(): readonly Held[] {
    return this.#early.take();
  }

  get closing(): boolean {
    return this.#closing;
  }
  /** When this view began here. */
  get openedAt(): number {
    return this.#openedAt;
  }

  /** The primary's own entry. */
  propose(kind: 'reconfiguration' | 'checkpointInterval', body: Buffer): void {
    if (kind === 'reconfiguration') this.#closing = true;
    this.#gather({ kind, session: GROUP, slot: 0, seq: 0, body });
  }

  /** Why nothing more may be taken in at present, or null. */
  get fullness(): string | null {
    if (this.#gathered.length >= MAX_GATHERED || this.#gatheredBytes >= MAX_GATHERED_BYTES) {
      return `${this.#gathered.length} requests of ${this.#gatheredBytes} bytes wait for a place in the log already`;
    }
    const { room } = this.#r;
    return room.isFull(this.#gathered.length, this.#gatheredBytes) ? room.reason : null;
  }

  #gather(g: Gathered): void {
    this.#gathered.push(g);
    this.#gatheredBytes += g.body.length;
  }

  #reject(connection: ConnectionId, code: RejectCode, reason: string, session: SessionId, slot: number, seq: number): void {
    this.#r.event('rejected', { code });
    this.#r.ports.network.reply(connection, { type: 'reject', code, reason, retryAfterMs: code === 'busy' ? RETRY_MS : 0, session, slot, seq, id: 0 });
  }

  #reply(session: SessionId, index: number, slot: Slot): void {
    const { network } = this.#r.ports;
    network.reply(slot.connection, { type: 'reply', session, slot: index, seq: slot.seq, view: this.#r.view, op: slot.op, result: slot.reply });
  }

  onExecuted(entry: Entry, slot: Slot): void {
    if (slot.inFlight <= entry.seq) slot.inFlight = 0;
    if (slot.connection >= 0 && this.#r.isPrimary) this.#reply(entry.session, entry.slot, slot);
  }

  onSessionGone(entry: Entry): void {
    this.#r.event('session-gone', { session: entry.session, op: entry.op });
  }

  onRegistered(nonce: Buffer, session: SessionId): void {
    const key = nonce.latin1Slice();
    const connection = this.#registrations.get(key);
    if (connection === undefined) return;
    this.#registrations.delete(key);
    const { options } = this.#r;
    this.#r.ports.network.reply(connection, { type: 'registered', nonce, session, slots: options.sessionSlots, timeoutMs: options.sessionTimeoutMs });
  }

  onHousekeepingExecuted(): void {
    this.#housekeeping = false;
  }

  // --- primary: batches ----------------------------------------------------------------------------------------------

  flush(): void {
    const r = this.#r;
    if (!this.#open || !r.isPrimary) return;
    if (this.#early.length > 0 && this.serving && !this.#closing) {
      for (const { connection, message } of this.takeHeld()) r.receive(connection, message);
    }
    while (this.#gathered.length > 0 && this.#batches.length < r.options.pipeline) this.#sendBatch();
  }

  #sendBatch(): void {
    const r = this.#r;
    const after = r.log.head;
    const parent = r.log.headHash;
    const entries: Entry[] = [];
    let time = r.log.at(after)?.time ?? r.execution.time;
    const wall = r.ports.clock.wall();
    let bytes = 0;
    let taken = 0;
    for (const g of this.#gathered) {
      if (taken === r.options.batchEntries || bytes >= r.options.batchBytes) break;
      time = this.timeAfter(time, wall);
      const { kind, session, slot, seq, body } = g;
      const entry = makeEntry({ kind, epoch: r.configuration.epoch, view: r.view, op: opNumber(r.log.head + 1), time, session, slot, seq, body }, r.log.headHash);
      r.log.append(entry);
      entries.push(entry);
      bytes += entry.bytes.length;
      this.#gatheredBytes -= g.body.length;
      taken++;
    }
    this.#gathered = taken === this.#gathered.length ? [] : this.#gathered.slice(taken);
    this.#batches.push(r.log.head);
    r.persistence.append(entries);
    this.#sentAt = r.now;
    r.broadcast({ type: 'prepare', view: r.view, commit: r.commit, round: r.reads.roundForPrepare(), after, parent, entries });
  }

  /** Row 19: the time of the entry behind one of time `last`: never back, whatever the clock says and whoever was primary before. */
  timeAfter(last: number, wall: number): number {
    return Math.max(wall, last + 1);
  }

  onPrepareOk(from: MemberId, m: PrepareOk): void {
    const r = this.#r;
    if (!r.isPrimary || m.view !== r.view || !this.#open) return;
    if (m.op > r.log.head) {
      // It has taken over the state of a later view: this primary is deposed and will hear of it.
      r.event('acknowledged-beyond-head', { member: from, op: m.op, head: r.log.head });
      return;
    }
    r.leases.onStamp(from, m.stamp);
    if (!r.reconfiguration.isElector(from)) {
      this.#observed.record(from, m.op);
      return;
    }
    // A witness on which nobody may count yet has none of what came before the epoch to give.
    if (m.op > 0) r.reconfiguration.started(from);
    r.reads.onConfirmed(from, m.round, m.leaseMs);
    if (this.#acks.record(from, m.op)) this.#advanceCommit();
  }

  #advanceCommit(): void {
    const r = this.#r;
    const { durable } = r.persistence;
    const own = durable.logView === r.view ? Math.min(durable.op, r.log.head) : 0;
    const point = this.#acks.point(r.quorum, own);
    if (point <= r.commit) return;
    r.commit = opNumber(point);
    while (this.#batches[0] !== undefined && this.#batches[0] <= r.commit) this.#batches.shift();
    this.flush();
  }

  /** Journal records became durable: acknowledge, or count oneself. */
  onDurable(): void {
    const r = this.#r;
    if (r.phase !== 'normal') return;
    if (r.isPrimary) {
      if (this.#open) this.#advanceCommit();
      return;
    }
    const { durable } = r.persistence;
    if (durable.logView !== r.view) return;
    this.#ackDue = false;
    // Row 21: what is not in a witness's log has to be in the state of all who may need it, before anybody counts on the witness.
    this.#acknowledge(r.handOver.counts ? Math.min(durable.op, r.log.head) : 0);
  }

  #acknowledge(op: number): void {
    const r = this.#r;
    r.send(r.primary, { type: 'prepareOk', view: r.view, op: opNumber(op), round: this.#round, leaseMs: r.options.leaseMs, stamp: r.leases.stamp() });
  }

  /** A message to all that tells the commit-number: heart-beat, and the question of a read round. */
  sendCommit(): void {
    const r = this.#r;
    this.#sentAt = r.now;
    r.broadcast({ type: 'commit', view: r.view, commit: r.commit, head: r.log.head, round: r.reads.begin(), echoes: r.leases.echoes() });
  }

  get open(): boolean {
    return this.#open;
  }

  tick(): void {
    const r = this.#r;
    if (!r.isPrimary || !this.#open) return;
    if (r.now - this.#sentAt >= r.options.heartbeatMs) this.sendCommit();
    r.abdication.tick();
    if (!this.serving || this.#closing) return;
    if (!this.#housekeeping) {
      const body = r.ports.stateMachine.housekeeping();
      if (body !== undefined) {
        this.#housekeeping = true;
        this.#gather({ kind: 'housekeeping', session: GROUP, slot: 0, seq: 0, body });
      }
    }
    this.#proposeExpiries();
  }

  #proposeExpiries(): void {
    const r = this.#r;
    if (r.now < this.#expiryAt) return;
    this.#expiryAt = r.now + EXPIRY_SCAN_MS;
    for (const expiry of r.clients.silent(r.now, r.options.sessionTimeoutMs)) {
      this.#gather({ kind: 'expire', session: GROUP, slot: 0, seq: 0, body: encodeExpireBody(expiry) });
    }
  }

  // --- backup --------------------------------------------------------------------------------------------------------

  onPrepare(from: MemberId, m: Prepare): void {
    const r = this.#r;
    if (!r.viewChange.fromPrimary(from, m.view)) return;
    this.#takeRound(m.round);
    if (m.after > r.log.head) {
      r.catchUp.behind();
    } else if (m.after + m.entries.length <= r.log.head) {
      this.#ackDue = true;
    } else if (!r.room.isFull()) {
      const fresh = m.entries.slice(r.log.head - m.after);
      for (const e of fresh) r.log.append(e);
      r.persistence.append(fresh);
    }
    this.learnCommit(m.commit);
    if (this.#ackDue) this.onDurable();
  }

  onCommit(from: MemberId, m: Commit): void {
    const r = this.#r;
    if (!r.viewChange.fromPrimary(from, m.view)) return;
    this.#takeRound(m.round);
    if (m.head > r.log.head) r.catchUp.behind();
    this.learnCommit(m.commit);
    if (r.phase !== 'normal') return; // the epoch has ended
    r.leases.onEchoes(m);
    if (r.persistence.durable.logView === r.view) this.onDurable();
    // The disk is still busy with the view's log: nothing is acknowledged, but the primary hears that this backup is with it.
    else this.#acknowledge(0);
  }

  /** Echoed in each PrepareOk from now on: with that this replica binds itself to the primary. */
  #takeRound(round: number): void {
    if (round <= this.#round) return;
    this.#round = round;
    this.#r.leases.bind();
  }

  /** Row 17: called in the view's own log only. What is committed is executed at the end of the turn. */
  learnCommit(commit: OpNumber): void {
    const r = this.#r;
    if (commit > r.commit) r.commit = opNumber(Math.max(r.commit, Math.min(commit, r.log.head)));
  }
}
