/**
 * A machine with a client: the product's client state machine, connections to the replicas as TCP gives them, and a
 * caller that keeps some operations in flight. The client may crash and come back with a new session.
 */
import { assert } from '../../lib/assert.ts';
import { opNumber, type OpNumber } from '../../lib/ids.ts';
import type { Prng } from '../../lib/prng.ts';
import { ClientSession, DEFAULT_CLIENT_OPTIONS, type ClientFailure, type Consistency } from '../../vr/client.ts';
import type { ClientToReplica, Message, ReplicaToClient } from '../../vr/messages.ts';
import { ensure } from '../checkers/violation.ts';
import type { EventQueue } from './event_queue.ts';

/** One operation from its invocation to its outcome. */
export interface Invocation {
  readonly id: number;
  readonly body: Buffer;
  /** Null: a write. */
  readonly read: Consistency | null;
  /** What answers had shown to its client's process when it was invoked. */
  readonly minOp: OpNumber;
  /** What had been acknowledged to anybody when it was invoked. */
  readonly floor: number;
  /** Of bounded reads: what was acknowledged so many milliseconds before the answer has to be in it. */
  readonly maxStalenessMs: number;
}

export interface ClientWorld {
  readonly queue: EventQueue;
  /** Where a client that starts now looks for the group. */
  seeds(): readonly string[];
  /** Who is at an address now, or null. */
  indexOf(address: string): number | null;
  addressOf(index: number): string;
  /** Sends to the replica `index`. */
  send(client: SimulatedClient, index: number, message: ClientToReplica): void;
  floor(): number;
  completed(client: SimulatedClient, invocation: Invocation, result: Buffer, op: number): void;
  failed(client: SimulatedClient, invocation: Invocation, failure: ClientFailure): void;
  /** A new operation for this client to do, or null: none now. */
  nextOperation(client: SimulatedClient): { readonly body: Buffer; readonly read: Consistency | null; readonly maxStalenessMs?: number } | null;
  keepAlive(client: SimulatedClient): Buffer;
}

export interface ClientSettings {
  readonly flags: number;
  readonly inFlight: number;
  readonly requestTimeoutMs: number;
}

export type ClientConstructor = typeof ClientSession<Invocation>;

export class SimulatedClient {
  readonly endpoint: number;
  /** Number of the present process, unique in the simulation; null: crashed. */
  process: number | null = null;
  session: ClientSession<Invocation>;
  /** Invocations without an outcome. */
  readonly open = new Set<Invocation>();
  readonly #world: ClientWorld;
  readonly #random: Prng;
  readonly #settings: ClientSettings;
  readonly #Session: ClientConstructor;
  /** By replica: connected, or when the last attempt was made. */
  readonly #connected = new Set<number>();
  readonly #attemptedAt = new Map<number, number>();
  #invocations = 0;
  /** The highest op that an answer has shown to the present process: of its own, beside what the product remembers. */
  #seen = opNumber(0);

  constructor(endpoint: number, world: ClientWorld, settings: ClientSettings, random: Prng, Session: ClientConstructor = ClientSession) {
    this.endpoint = endpoint;
    this.#world = world;
    this.#settings = settings;
    this.#random = random;
    this.#Session = Session;
    this.session = this.#newSession();
  }

  start(process: number): void {
    assert(this.process === null, 'a client that runs');
    this.process = process;
    this.#seen = opNumber(0);
    this.session = this.#newSession();
    this.#connected.clear();
    this.#attemptedAt.clear();
    this.#loop(process);
  }

  /** Everything in flight stays without an answer; whether it was executed, nobody will know. */
  crash(): void {
    assert(this.process !== null, 'a client that has crashed');
    this.process = null;
    this.open.clear();
  }

  submit(body: Buffer): Invocation {
    return this.#invoke(body, null);
  }
  read(body: Buffer, consistency: Consistency, maxStalenessMs = 0): Invocation {
    return this.#invoke(body, consistency, maxStalenessMs);
  }

  receive(index: number, message: Message): void {
    if (message.type === 'welcome') this.#connected.add(index);
    this.session.receive(this.#world.addressOf(index), message as ReplicaToClient, this.#world.queue.now);
    this.#pump();
  }

  /** The replica at `index`, or the connection to it, has gone. */
  disconnected(index: number): void {
    if (!this.#connected.delete(index)) return;
    this.session.disconnected(this.#world.addressOf(index), this.#world.queue.now);
  }

  #newSession(): ClientSession<Invocation> {
    const random = this.#random.fork();
    const { queue } = this.#world;
    return new this.#Session({
      send: (address, message) => this.#send(address, message),
      uint32: () => random.uint32(),
      bytes: (n) => random.bytes(n),
      completed: (invocation, result, op) => {
        this.#ends(invocation, 'an answer');
        if (op > this.#seen) this.#seen = op;
        this.#world.completed(this, invocation, result, op);
      },
      failed: (invocation, failure) => {
        this.#ends(invocation, failure.code);
        this.#world.failed(this, invocation, failure);
      },
      sessionStarted: () => undefined,
    }, {
      ...DEFAULT_CLIENT_OPTIONS, servers: [...this.#world.seeds()], name: `client ${this.endpoint}`, flags: this.#settings.flags,
      requestTimeoutMs: this.#settings.requestTimeoutMs,
    }, queue.now);
  }

  /** A process that has crashed hears of nothing any more: what ends is open. */
  #ends(invocation: Invocation, outcome: string): void {
    ensure(this.open.delete(invocation), 'one outcome', () => `client #${this.endpoint}'s ${invocation.read ?? 'write'} ${invocation.id} has had its outcome, and now ${outcome}`);
  }

  #invoke(body: Buffer, read: Consistency | null, maxStalenessMs = 0): Invocation {
    const invocation: Invocation = { id: ++this.#invocations, body, read, minOp: this.#seen, floor: this.#world.floor(), maxStalenessMs };
    this.open.add(invocation);
    if (read === null) this.session.submit(body, invocation);
    else this.session.read(body, read, invocation, { maxStalenessMs });
    return invocation;
  }

  #send(address: string, message: ClientToReplica): boolean {
    const index = this.#world.indexOf(address);
    if (index === null) return false;
    if (!this.#connected.has(index)) {
      this.#connect(index);
      return false;
    }
    this.#world.send(this, index, message);
    return true;
  }

  #connect(index: number): void {
    const { now } = this.#world.queue;
    if (now < (this.#attemptedAt.get(index) ?? -Infinity) + 60) return;
    this.#attemptedAt.set(index, now);
    this.#world.send(this, index, { type: 'hello', clusterId: Buffer.alloc(16) });
  }

  #loop(process: number): void {
    if (this.process !== process) return;
    const { now } = this.#world.queue;
    for (const address of this.session.peers) {
      const index = this.#world.indexOf(address);
      if (index !== null && !this.#connected.has(index)) this.#connect(index);
    }
    this.session.tick(now);
    if (this.session.needsKeepAlive(now)) this.submit(this.#world.keepAlive(this));
    this.#pump();
    this.#world.queue.after(10 + this.#random.below(10), () => this.#loop(process));
  }

  /** A closed loop: a new operation for each that has its outcome. */
  #pump(): void {
    while (this.open.size < this.#settings.inFlight) {
      const next = this.#world.nextOperation(this);
      if (next === null) return;
      this.#invoke(next.body, next.read, next.maxStalenessMs ?? 0);
    }
  }
}
