/** A group for one client, in virtual time: three members, one of which leads; what it executes is counted. */
import { memberId, epoch, opNumber, sessionId, view, type OpNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { ClientSession, DEFAULT_CLIENT_OPTIONS, type ClientFailure, type ClientOptions } from '../../vr/client.ts';
import { configuration, primaryOf, type Configuration } from '../../vr/configuration.ts';
import type { ClientToReplica, RejectCode, ReplicaToClient } from '../../vr/messages.ts';

export type Outcome = { readonly result: string; readonly op: OpNumber } | { readonly failure: ClientFailure };

export const GROUP: Configuration = configuration(
  epoch(0),
  ['a:1', 'b:1', 'c:1'].map((address, i) => ({ id: memberId(i + 1), role: 'voter' as const, address, httpAddress: `${address}0` })),
  'disk',
);

interface Slot { seq: number; reply: ReplicaToClient }
interface Event { readonly at: number; readonly order: number; readonly run: () => void }

export class ClientHarness {
  readonly random: Prng;
  readonly client: ClientSession<string>;
  readonly outcomes = new Map<string, Outcome>();
  /** Bodies in the order of their execution. */
  readonly executed: string[] = [];
  readonly sessions = new Map<number, Map<number, Slot>>();
  readonly registrations = new Map<string, number>();
  readonly sent: { readonly to: string; readonly message: ClientToReplica }[] = [];
  readonly started: number[] = [];
  now = 0;
  op = 0;
  view = 0;
  configuration = GROUP;
  slots = 4;
  timeoutMs = 60_000;
  loss = 0;
  duplication = 0;
  maxDelayMs = 2;
  readonly down = new Set<string>();
  /** Members that answer nothing although they are connected. */
  readonly mute = new Set<string>();
  /** Answers a message in place of the group; null: say nothing; undefined: as usual. */
  intercept: (to: string, message: ClientToReplica) => ReplicaToClient | null | undefined = () => undefined;
  readonly #events: Event[] = [];
  #order = 0;

  constructor(seed = 1, options: Partial<ClientOptions> = {}) {
    this.random = new Prng(seed);
    const random = this.random.fork();
    this.client = new ClientSession<string>(
      {
        send: (to, message) => this.#send(to, message),
        uint32: () => random.uint32(),
        bytes: (n) => random.bytes(n),
        completed: (token, result, op) => { this.#outcome(token, { result: result.toString(), op }); },
        failed: (token, failure) => { this.#outcome(token, { failure }); },
        sessionStarted: (session) => { this.started.push(session); },
      },
      { ...DEFAULT_CLIENT_OPTIONS, servers: ['a:1', 'b:1', 'c:1'], ...options },
      0,
    );
  }

  get primary(): string {
    return primaryOf(this.configuration, view(this.view)).address;
  }

  submit(name: string): void {
    this.client.submit(Buffer.from(name), name);
  }
  read(name: string, consistency: 'linearizable' | 'causal' = 'linearizable'): void {
    this.client.read(Buffer.from(name), consistency, name);
  }
  result(name: string): string | undefined {
    const o = this.outcomes.get(name);
    return o === undefined ? undefined : 'result' in o ? o.result : `!${o.failure.code}`;
  }
  failure(name: string): ClientFailure {
    const o = this.outcomes.get(name);
    if (o === undefined || !('failure' in o)) throw new Error(`${name} did not fail`);
    return o.failure;
  }

  run(milliseconds: number): void {
    const end = this.now + milliseconds;
    while (this.now < end) {
      this.now += 1;
      this.#events.sort((x, y) => x.at - y.at || x.order - y.order);
      while (this.#events.length > 0 && (this.#events[0] as Event).at <= this.now) (this.#events.shift() as Event).run();
      this.client.tick(this.now);
    }
  }
  runUntil(condition: () => boolean, boundMs: number): void {
    const end = this.now + boundMs;
    while (!condition()) {
      if (this.now >= end) throw new Error(`not within ${boundMs} virtual ms`);
      this.run(1);
    }
  }

  kill(address: string): void {
    this.down.add(address);
    this.client.disconnected(address, this.now);
  }
  welcome(address: string): void {
    const self = this.configuration.members.find((m) => m.address === address)?.id ?? memberId(1);
    this.client.receive(address, { type: 'welcome', view: view(this.view), configuration: this.configuration, self, address: 'h:0', httpAddress: 'h:1', clusterId: Buffer.alloc(16) }, this.now);
  }
  expireSessions(): void {
    this.sessions.clear();
  }

  #outcome(token: string, outcome: Outcome): void {
    if (this.outcomes.has(token)) throw new Error(`${token} has two outcomes`);
    this.outcomes.set(token, outcome);
  }

  #send(to: string, message: ClientToReplica): boolean {
    if (this.down.has(to)) return false;
    this.sent.push({ to, message });
    this.#transfer(() => { this.#arrive(to, message); });
    return true;
  }

  #transfer(run: () => void): void {
    const copies = this.random.chance(this.loss) ? 0 : this.random.chance(this.duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      // A duplicate may come very late.
      const delay = i === 0 ? this.random.between(0, this.maxDelayMs) : this.random.between(0, 3000);
      this.#events.push({ at: this.now + delay, order: this.#order++, run });
    }
  }

  #arrive(to: string, message: ClientToReplica): void {
    if (this.down.has(to) || this.mute.has(to)) return;
    const answer = this.intercept(to, message);
    if (answer === null) return;
    const reply = answer ?? this.#answer(to, message);
    if (reply !== null) this.#transfer(() => { if (!this.down.has(to)) this.client.receive(to, reply, this.now); });
  }

  #answer(to: string, m: ClientToReplica): ReplicaToClient | null {
    if (m.type === 'hello') return null;
    if (m.type === 'read' && m.consistency === 'causal') {
      if (m.minOp > this.op) return { type: 'reject', code: 'behind', reason: 'behind', retryAfterMs: 5, session: sessionId(0), slot: 0, seq: 0, id: m.id };
      return { type: 'readReply', id: m.id, op: opNumber(this.op), result: Buffer.from(`${to}@${this.op}`) };
    }
    if (to !== this.primary) return this.redirect();
    switch (m.type) {
      case 'read': return { type: 'readReply', id: m.id, op: opNumber(this.op), result: Buffer.from(`read ${m.body.toString()}@${this.op}`) };
      case 'register': {
        const key = m.nonce.toString('hex');
        let session = this.registrations.get(key);
        if (session === undefined) {
          session = ++this.op;
          this.registrations.set(key, session);
          this.sessions.set(session, new Map());
        }
        return { type: 'registered', nonce: m.nonce, session: sessionId(session), slots: this.slots, timeoutMs: this.timeoutMs };
      }
      case 'request': return this.#execute(m);
      default: throw new Error(`${m.type} is not what this client sends`);
    }
  }

  #execute(m: Extract<ClientToReplica, { type: 'request' }>): ReplicaToClient | null {
    const session = this.sessions.get(m.session);
    if (session === undefined) return this.reject('noSession', m);
    const slot = session.get(m.slot);
    const last = slot?.seq ?? 0;
    if (m.seq === last && slot !== undefined) return slot.reply;
    if (m.seq <= last) return null;
    if (m.seq !== last + 1) return this.reject('invalid', m);
    this.executed.push(m.body.toString());
    this.op++;
    const reply: ReplicaToClient = {
      type: 'reply', session: m.session, slot: m.slot, seq: m.seq, view: view(this.view), op: opNumber(this.op), result: Buffer.from(`did ${m.body.toString()}`),
    };
    session.set(m.slot, { seq: m.seq, reply });
    return reply;
  }

  redirect(): ReplicaToClient {
    return { type: 'redirect', view: view(this.view), configuration: this.configuration };
  }

  reject(code: RejectCode, m: Extract<ClientToReplica, { type: 'request' }>, retryAfterMs = 0): ReplicaToClient {
    return { type: 'reject', code, reason: `because ${code}`, retryAfterMs, session: m.session, slot: m.slot, seq: m.seq, id: 0 };
  }
}
