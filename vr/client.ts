/**
 * The client's half of the protocol: pure, in virtual time, over ports (PROTOCOL section 1, "Sessions").
 *
 * A session has slots; each slot carries one request at a time, with a sequence number of its own, and is re-sent until it is
 * answered, so that every operation is executed exactly once. A request whose session ended before its answer came is
 * never sent again under another session unless it is certain that it was not executed: it fails as 'outcomeUnknown'.
 * Reads belong to no session and are repeated freely.
 *
 * Sending: to the presumed primary. What is not answered in time goes there again, and the oldest of it to every other
 * peer too, which either leads by now or says who does. Nothing here allocates a timer per operation: `tick` scans.
 */
import { Fifo } from '../lib/fifo.ts';
import { opNumber, type OpNumber, type SessionId, type View } from '../lib/ids.ts';
import { ClientPace } from './client_pace.ts';
import { ClientReads } from './client_reads.ts';
import { ClientRegistration } from './client_registration.ts';
import { ClientRoute } from './client_route.ts';
import { ClientSlots } from './client_slots.ts';
import type { Configuration } from './configuration.ts';
import { MAX_BODY_BYTES } from './entry.ts';
import { mayHaveHappened, type ClientFailure, type ClientOptions, type ClientPorts, type Consistency, type Pending, type PutOff, type ReadBounds } from './client_types.ts';
import type { Registered, Reject, ReplicaToClient, Reply } from './messages.ts';

export { DEFAULT_CLIENT_OPTIONS, type ClientFailure, type ClientOptions, type ClientPorts, type Consistency, type ReadBounds } from './client_types.ts';

export class ClientSession<Token> {
  readonly #ports: ClientPorts<Token>;
  readonly #options: ClientOptions;
  readonly #route: ClientRoute;
  #now: number;
  #closed = false;
  /** The presumed primary, when it has said that it does not lead, or not yet: what went there has to go again when it does. */
  #deniedBy = '';
  #lastOp: OpNumber = opNumber(0);

  readonly #registration: ClientRegistration;
  /** What was last heard of requests and registrations; null: an answer, or nothing. */
  #putOff: PutOff | null = null;
  readonly #slots: ClientSlots<Token>;
  readonly #waiting = new Fifo<Pending<Token>>();

  readonly #reads: ClientReads<Token>;
  readonly #pace: ClientPace;
  /** No deadline lies before this. */
  #nextDeadline = Infinity;

  constructor(ports: ClientPorts<Token>, options: ClientOptions, now: number) {
    this.#ports = ports;
    this.#options = options;
    this.#route = new ClientRoute(options.servers);
    this.#pace = new ClientPace(options, () => ports.uint32());
    const deadline = (at: number): void => { this.#deadline(at); };
    this.#slots = new ClientSlots(ports, this.#route, this.#pace, deadline);
    this.#reads = new ClientReads(ports, this.#route, this.#pace, options, deadline);
    this.#registration = new ClientRegistration(ports, this.#route, this.#pace, options, { deadline, heard: (putOff) => { this.#putOff = putOff; } }, now);
    this.#now = now;
  }

  /** The causal token: the highest op-number that any answer has shown. */
  get lastOp(): OpNumber {
    return this.#lastOp;
  }
  get session(): SessionId | null {
    return this.#registration.session;
  }
  get configuration(): Configuration | null {
    return this.#route.configuration;
  }
  get view(): View {
    return this.#route.view;
  }
  /** The address of the presumed primary. */
  get primary(): string {
    return this.#route.primary;
  }
  get peers(): readonly string[] {
    return this.#route.peers;
  }
  /** Operations without an outcome. */
  get outstanding(): number {
    return this.#slots.busy + this.#waiting.length + this.#reads.outstanding;
  }

  /** Something has to be done when time goes by: `tick` has to be called. */
  get waits(): boolean {
    return this.outstanding > 0 || this.#registration.isUnderWay;
  }

  /** Begins a session now; else the first request does. */
  register(): void {
    if (!this.#closed) this.#registration.begin(this.#now);
  }

  /** An operation that changes state: executed exactly once, if `completed` follows. */
  submit(body: Buffer, token: Token): void {
    const refusal = this.#refusal(body, this.#waiting.length);
    if (refusal !== null) return this.#ports.failed(token, refusal);
    const p = this.#pending(token, body, null, {});
    if (this.session !== null && this.#slots.haveFree && this.#waiting.length === 0) {
      this.#slots.occupy(p, this.#now);
      return;
    }
    this.#waiting.push(p);
    this.#deadline(p.expires);
    this.register();
  }

  read(body: Buffer, consistency: Consistency, token: Token, bounds: ReadBounds = {}): void {
    const refusal = this.#refusal(body, this.#reads.waiting.length);
    if (refusal !== null) return this.#ports.failed(token, refusal);
    this.#reads.add(this.#pending(token, body, consistency, bounds), this.#now);
  }

  receive(from: string, message: ReplicaToClient, now: number): void {
    this.#now = now;
    if (this.#closed) return;
    switch (message.type) {
      case 'reply': return this.#onReply(from, message);
      case 'readReply': {
        const p = this.#reads.find(message.id);
        if (p === undefined) return;
        if (p.consistency === 'linearizable' && this.#route.answered(from, null)) this.#onMoved();
        this.#pace.answered(p, this.#now);
        if (message.op > this.#lastOp) this.#lastOp = message.op;
        this.#reads.remove(p, now);
        return this.#complete(p, message.result, message.op);
      }
      case 'registered': return this.#onRegistered(from, message);
      case 'welcome':
        this.#route.welcome(from, message.view, message.configuration, message.self);
        // A connection has just been made: what was waiting for it can leave, even when the primary is who it was.
        return this.#onMoved();
      case 'redirect':
        if (this.#route.learn(message.view, message.configuration)) this.#onMoved();
        else if (from === this.#route.primary) this.#deniedBy = from;
        return this.#reads.redirected(from, now);
      case 'reject': return this.#onReject(from, message);
      case 'newEpoch':
      case 'interval':
      case 'refused': return; // to an administrator, which this is not
    }
  }

  /** The connection to `from` has gone, or could not be made: what it has not answered goes out again soon. */
  disconnected(from: string, now: number): void {
    this.#now = now;
    if (this.#closed) return;
    const soon = now + this.#pace.afterDisconnect();
    for (const p of this.#underWay()) {
      if (p.sentTo !== from) continue;
      p.sentTo = '';
      p.due = Math.min(p.due, soon);
    }
    this.#registration.onDisconnected(soon);
    if (from === this.#route.primary) this.#route.rotate();
    this.#reads.disconnected(from);
    this.#deadline(soon);
  }

  /** Call it every 10 to 50 milliseconds while anything is waited for (`waits`). Cheap when nothing is due. */
  tick(now: number): void {
    this.#now = now;
    if (now < this.#nextDeadline || this.#closed) return;
    this.#expire();
    this.#registration.tick(now);
    if (this.#registration.isEnding) this.#giveUpUnanswered();
    this.#resendDue();
    this.#nextDeadline = this.#earliestDeadline();
  }

  /** The session will end unless something is submitted soon. */
  needsKeepAlive(now: number): boolean {
    return this.#slots.busy === 0 && this.#registration.isFading(now);
  }

  /** Fails everything that is outstanding. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const all = [...this.#underWay(), ...drain(this.#waiting), ...drain(this.#reads.waiting)];
    this.#reads.clear();
    this.#slots.clear();
    for (const p of all) this.#fail(p, { code: 'closed', mayHaveHappened: mayHaveHappened(p), reason: 'the client was closed' });
  }

  // --- the session -------------------------------------------------------------------------------------------------

  #onRegistered(from: string, m: Registered): void {
    if (!this.#registration.onRegistered(m, this.#now)) return;
    this.#slots.reset(m.session, m.slots);
    if (this.#route.answered(from, null)) this.#onMoved();
    this.#ports.sessionStarted(m.session, m.timeoutMs);
    this.#fillSlots();
  }

  /** `p` was denied because the group does not know its session (any more). */
  #onNoSession(from: string, p: Pending<Token>): void {
    if (!this.#registration.onDenied(from)) return;
    this.#slots.giveUp(p);
    // Of a single copy, this denial is the only answer that there will ever be.
    this.#afterSession(p, p.sends === 1 && this.#options.deliveredOnce);
    this.#endSessionWhenIdle();
  }

  #afterSession(p: Pending<Token>, certainlyNot: boolean): void {
    if (p.token === undefined) return;
    if (certainlyNot) {
      p.sends = 0;
      p.sentTo = '';
      this.#waiting.unshift(p);
    } else {
      this.#fail(p, {
        code: 'outcomeUnknown',
        mayHaveHappened: true,
        reason: 'the session ended before the answer came; the operation may or may not have been carried out',
      });
    }
  }

  /** The session ends: nothing is sent any more; who is overdue has no answer to expect. */
  #giveUpUnanswered(): void {
    for (const p of [...this.#slots]) {
      if (p.due > this.#now) continue;
      this.#slots.giveUp(p);
      this.#afterSession(p, p.sends === 0);
    }
    this.#endSessionWhenIdle();
  }

  /** When every slot of the session has been given up, the next one begins. */
  #endSessionWithoutSlots(): void {
    if (this.#slots.areUsedUp) this.#registration.onUsedUp();
    this.#endSessionWhenIdle();
  }

  #endSessionWhenIdle(): void {
    if (!this.#registration.isEnding || this.#slots.busy > 0) return;
    this.#registration.onIdle();
    // Who holds files open has to say so again soon; anybody else needs a session only to write.
    if (this.#waiting.length > 0 || this.#options.flags !== 0) this.register();
  }

  // --- requests ----------------------------------------------------------------------------------------------------

  #refusal(body: Buffer, queued: number): ClientFailure | null {
    if (this.#closed) return { code: 'closed', mayHaveHappened: false, reason: 'the client is closed' };
    if (body.length > MAX_BODY_BYTES) {
      return { code: 'invalid', mayHaveHappened: false, reason: `an operation has at most ${MAX_BODY_BYTES} bytes, not ${body.length}` };
    }
    if (queued < this.#options.maxQueued) return null;
    return { code: 'overloaded', mayHaveHappened: false, reason: `${queued} operations are waiting already` };
  }

  #pending(token: Token, body: Buffer, consistency: Consistency | null, bounds: ReadBounds): Pending<Token> {
    const { minOp = this.#lastOp, maxStalenessMs = 0, behindMs = Infinity } = bounds;
    const expires = this.#now + this.#options.requestTimeoutMs;
    return {
      token, body, consistency, minOp, maxStalenessMs, expires, behindExpires: this.#now + behindMs,
      id: 0, seq: 0, sends: 0, overdue: 0, postponed: false, putOff: null, turnedAway: false, askOthers: false, sentTo: '', sentAt: 0, due: 0,
    };
  }

  #fillSlots(): void {
    while (this.session !== null && this.#slots.haveFree) {
      const p = this.#waiting.shift();
      if (p === undefined) return;
      this.#slots.occupy(p, this.#now);
    }
  }

  #onReply(from: string, m: Reply): void {
    if (!this.#registration.isOf(m.session)) return;
    const p = this.#slots.find(m.slot, m.seq);
    if (p === undefined) return;
    this.#pace.answered(p, this.#now);
    this.#registration.onAlive(this.#now);
    if (m.op > this.#lastOp) this.#lastOp = m.op;
    this.#slots.release(p);
    if (this.#route.answered(from, m.view)) this.#onMoved();
    if (this.#waiting.length > 0) this.#fillSlots();
    this.#endSessionWithoutSlots();
    this.#complete(p, m.result, m.op);
  }

  #onReject(from: string, m: Reject): void {
    if (m.session === 0) {
      const p = this.#reads.find(m.id);
      if (p !== undefined) this.#onReadRejected(from, p, m);
      else if (m.id === 0) this.#onRegistrationRejected(m);
      return;
    }
    if (!this.#registration.isOf(m.session)) return;
    const p = this.#slots.find(m.slot, m.seq);
    if (p === undefined) return;
    switch (m.code) {
      case 'busy':
      case 'behind': return this.#retryLater(p, putOffBy(m));
      case 'noSession': return this.#onNoSession(from, p);
      case 'invalid':
        // The slot is given up: a late copy of this answer must not meet another request under the same number.
        this.#slots.giveUp(p);
        // Another copy may have come to a replica that is configured otherwise, and was not refused there.
        if (p.sends > 1) this.#fail(p, { code: 'outcomeUnknown', mayHaveHappened: true, reason: `sent again it was refused (${m.reason}); what was sent before may or may not have been carried out` });
        else this.#fail(p, { code: 'invalid', mayHaveHappened: false, reason: m.reason });
        return this.#endSessionWithoutSlots();
    }
  }

  #onRegistrationRejected(m: Reject): void {
    if (m.code !== 'invalid') return this.#registration.onPutOff(putOffBy(m), this.#now);
    if (!this.#registration.onRefused()) return;
    for (const p of drain(this.#waiting)) this.#fail(p, { code: 'invalid', mayHaveHappened: false, reason: `no session: ${m.reason}` });
  }

  /** Not before the time that the replica asked for, spread a little so that its clients do not all come back at once. */
  #retryLater(p: Pending<Token>, putOff: PutOff): void {
    p.postponed = true;
    p.putOff = putOff;
    if (p.consistency === null) this.#putOff = putOff;
    // That copy has been answered for good: nothing was done.
    if (this.#options.deliveredOnce && p.sends > 0) p.sends--;
    p.due = this.#now + this.#pace.afterPutOff(putOff.retryAfterMs);
    this.#deadline(p.due);
  }

  // --- reads -------------------------------------------------------------------------------------------------------

  #onReadRejected(from: string, p: Pending<Token>, m: Reject): void {
    if (m.code === 'behind') {
      p.turnedAway = true;
      this.#reads.setAside(from, this.#now);
      // Who is taken for the primary may be a node that waits at the address of a member that is gone, and says this for ever.
      if (from === this.#route.primary) p.askOthers = true;
    }
    const putOff = putOffBy(m);
    const givenUp = m.code === 'behind' && this.#now >= p.behindExpires;
    if (!givenUp && (m.code === 'busy' || m.code === 'behind')) return this.#retryLater(p, putOff);
    this.#reads.remove(p, this.#now);
    this.#fail(p, givenUp ? { code: 'behind', mayHaveHappened: false, reason: m.reason, putOff } : { code: 'invalid', mayHaveHappened: false, reason: m.reason });
  }

  // --- outcomes ----------------------------------------------------------------------------------------------------

  #complete(p: Pending<Token>, result: Buffer, op: OpNumber): void {
    const token = p.token;
    if (token === undefined) return;
    p.token = undefined;
    this.#ports.completed(token, result, op);
  }

  #fail(p: Pending<Token>, failure: ClientFailure): void {
    const token = p.token;
    if (token === undefined) return;
    p.token = undefined;
    this.#ports.failed(token, failure);
  }

  // --- time --------------------------------------------------------------------------------------------------------

  *#underWay(): IterableIterator<Pending<Token>> {
    yield* this.#slots;
    yield* this.#reads;
  }

  /** The primary is another, or can be reached again: what it has not been sent goes there now. */
  #onMoved(): void {
    const { primary } = this.#route;
    const denied = this.#deniedBy === primary;
    this.#deniedBy = '';
    this.#registration.onMoved(this.#now);
    if (this.session !== null) {
      for (const p of this.#slots) if (denied || p.sentTo !== primary) this.#slots.transmit(p, this.#now);
    }
    for (const p of this.#reads) {
      if ((denied || p.sentTo !== primary) && (p.consistency === 'linearizable' || p.sentTo === '')) this.#reads.transmit(p, this.#now);
    }
  }

  /** To the primary again; and the longest overdue to all others, one of which may lead by now. */
  #resendDue(): void {
    const now = this.#now;
    const primary = this.#route.primary;
    const hasSession = this.session !== null;
    let oldest: Pending<Token> | null = null;
    const toOthers: Pending<Token>[] = [];
    for (const p of this.#underWay()) {
      if (p.due > now || (p.consistency === null && !hasSession)) continue;
      if (p.askOthers) toOthers.push(p);
      p.askOthers = false;
      if (p.postponed) p.postponed = false;
      else {
        if (oldest === null || p.expires < oldest.expires) oldest = p;
        if (p.sentTo !== '') {
          p.overdue++;
          if (p.consistency !== null) this.#reads.setAside(p.sentTo, now);
        }
        p.putOff = null;
        if (p.consistency === null) this.#putOff = null;
      }
      p.sentTo = '';
      if (p.consistency !== null) this.#reads.transmit(p, now);
      else this.#slots.transmit(p, now);
    }
    if (oldest !== null && !toOthers.includes(oldest)) toOthers.push(oldest);
    for (const p of toOthers) this.#sendToOthers(p, primary);
  }

  #sendToOthers(p: Pending<Token>, primary: string): void {
    const { sentTo } = p;
    for (const peer of this.#route.peers) {
      if (peer === primary) continue;
      if (p.consistency !== null) this.#reads.sendTo(peer, p, this.#now);
      else this.#slots.sendTo(peer, p, this.#now);
    }
    // Whether the primary has it decides what happens when the primary is heard of again.
    p.sentTo = sentTo;
  }

  /** Operations that have waited for requestTimeoutMs fail. A request under way keeps its slot, and is re-sent until it is answered. */
  #expire(): void {
    const now = this.#now;
    const expired: Pending<Token>[] = [];
    for (const queue of [this.#waiting, this.#reads.waiting]) {
      for (let p = queue.peek(); p !== undefined && p.expires <= now; p = queue.peek()) {
        queue.shift();
        expired.push(p);
      }
    }
    // What waits for a slot or a session of this client waits for the same as those that have one.
    for (const p of expired) if (p.consistency === null) p.putOff = this.#putOff;
    for (const p of this.#underWay()) if (p.expires <= now && p.token !== undefined) expired.push(p);
    for (const p of expired) {
      if (p.consistency !== null) this.#reads.remove(p, now);
      if (p.consistency === null && p.sends === 0 && !p.turnedAway && this.#slots.carries(p)) {
        this.#slots.withdraw(p);
        this.#fillSlots();
        this.#endSessionWhenIdle();
      }
      this.#fail(p, {
        code: 'timedOut',
        mayHaveHappened: mayHaveHappened(p),
        reason: `no answer within ${this.#options.requestTimeoutMs} ms`,
        putOff: p.putOff,
      });
    }
  }

  #earliestDeadline(): number {
    let at = Math.min(this.#waiting.peek()?.expires ?? Infinity, this.#reads.waiting.peek()?.expires ?? Infinity, this.#registration.due);
    for (const p of this.#underWay()) at = Math.min(at, p.due, p.token === undefined ? Infinity : p.expires);
    return at;
  }

  #deadline(at: number): void {
    if (at < this.#nextDeadline) this.#nextDeadline = at;
  }
}

function putOffBy({ code, reason, retryAfterMs }: Reject): PutOff {
  return { code: code === 'busy' ? code : 'behind', reason, retryAfterMs };
}

function drain<T>(queue: Fifo<T>): T[] {
  const out: T[] = [];
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) out.push(item);
  return out;
}
