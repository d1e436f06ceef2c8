/**
 * Exact situations in virtual time. A scenario says which messages are lost or kept back, who crashes when, and
 * what has to be true within how long; all checkers watch. Everything else is calm: each message takes a millisecond.
 */
import { defined } from '../../lib/assert.ts';
import type { Durability } from '../../vr/configuration.ts';
import type { Message } from '../../vr/messages.ts';
import type { Ports } from '../../vr/ports.ts';
import { Replica } from '../../vr/replica.ts';
import { DEFAULT_REPLICA_OPTIONS, type ReplicaOptions, type ReplicaStatus } from '../../vr/replica_types.ts';
import type { Application } from './application.ts';
import type { Invocation, SimulatedClient } from './client.ts';
import { Cluster } from './cluster.ts';
import { Coverage } from './coverage.ts';
import type { Host, ReplicaConstructor } from './host.ts';
import type { Packet, Policy } from './network.ts';
import { getRegister, registers, setRegister } from './registers.ts';

/** What a scenario demands did not come true. Errors of other kinds are checkers' violations, or faults of the scenario itself. */
export class Unmet extends Error {
  override readonly name = 'Unmet';
}

/** How a deliberate breakage of the core gets in: around the replica or its ports. */
export interface Breakage {
  readonly Replica?: ReplicaConstructor;
  readonly wrapPorts?: (ports: Ports, host: Host) => Ports;
  /** Off where the direct check would find the breakage at once: it has to be found by what it destroys. */
  readonly checkOrderOfEffects?: boolean;
}

export interface ScenarioOptions extends Breakage {
  /** Of what is left to chance: how long a disk takes, what of a damaged one is met. Default 1. */
  readonly seed?: number;
  /** Electors; of them so many witnesses, the last ones. */
  readonly replicas?: number;
  readonly witnesses?: number;
  readonly durability?: Durability;
  readonly clients?: number;
  readonly replica?: Partial<ReplicaOptions>;
  /** Default: registers. The results of another have to begin with a u32 too. */
  readonly application?: Application;
  readonly print?: (line: string) => void;
}

export type Filter = (packet: Packet) => boolean;

/** A message of this kind, between these hosts where given. */
export function kind(type: Message['type'], where: { readonly from?: number; readonly to?: number } = {}): Filter {
  return (p) => p.message.type === type && (where.from === undefined || p.from === where.from) && (where.to === undefined || p.to === where.to);
}

interface Rule {
  readonly filter: Filter;
  /** What the rule has taken from the network. */
  readonly taken: Packet[];
}

class ScriptedPolicy implements Policy {
  readonly rules = new Set<Rule>();
  readonly sent: Packet[] = [];
  readonly #apart = new Set<number>();

  separate(a: number, b: number): void {
    this.#apart.add(a * 256 + b);
  }
  join(a: number, b: number): void {
    this.#apart.delete(a * 256 + b);
  }
  isBlocked(from: number, to: number): boolean {
    return this.#apart.has(from * 256 + to);
  }
  route(packet: Packet): readonly number[] {
    this.sent.push(packet);
    if (this.isBlocked(packet.from, packet.to)) return [];
    for (const rule of this.rules) {
      if (!rule.filter(packet)) continue;
      rule.taken.push(packet);
      return [];
    }
    return [1];
  }
}

/** Messages that are kept back, or lost for good if they are never released. */
export class Held {
  readonly #scenario: Scenario;
  readonly #rule: Rule;

  constructor(scenario: Scenario, rule: Rule) {
    this.#scenario = scenario;
    this.#rule = rule;
  }

  get packets(): readonly Packet[] {
    return this.#rule.taken;
  }
  /** Takes nothing more from now on. */
  stop(): void {
    this.#scenario.policy.rules.delete(this.#rule);
  }
  /** Stops, and delivers what was taken. */
  release(): void {
    this.stop();
    for (const packet of this.#rule.taken.splice(0)) this.#scenario.cluster.network.release(packet);
  }
}

const BOUND = 30_000;

export class Scenario {
  readonly cluster: Cluster;
  readonly policy = new ScriptedPolicy();
  readonly coverage = new Coverage();
  readonly #answers = new Map<Invocation, { readonly op: number; readonly value: number }>();
  #unique = 0;

  constructor(options: ScenarioOptions = {}) {
    this.cluster = new Cluster({
      seed: options.seed ?? 1,
      replicas: options.replicas ?? 3,
      witnesses: options.witnesses,
      durability: options.durability ?? 'disk',
      replicaOptions: { ...DEFAULT_REPLICA_OPTIONS, sessionSlots: 8, ...options.replica },
      clients: Array.from({ length: options.clients ?? 1 }, () => ({ flags: 0, inFlight: 0, requestTimeoutMs: 600_000 })),
      Replica: options.Replica ?? Replica,
      application: options.application ?? registers,
      print: options.print ?? null,
      wrapPorts: options.wrapPorts,
      checkOrderOfEffects: options.checkOrderOfEffects,
    }, () => this.policy, this.coverage);
    this.cluster.driver = {
      nextOperation: () => null,
      completed: (_client, invocation, result, op) => { this.#answers.set(invocation, { op, value: result.readUInt32BE(0) }); },
    };
    for (const host of this.cluster.hosts) host.syncMs = [1, 0];
    this.cluster.start();
  }

  /** A group that has committed something, so that everyone is normal in view 0 and the client has its session. */
  static settled(options: ScenarioOptions = {}): Scenario {
    const s = new Scenario(options);
    s.write(0, 1);
    s.converged();
    return s;
  }

  // --- asking --------------------------------------------------------------------------------------------------------

  host(index: number): Host {
    return defined(this.cluster.hosts[index], `host ${index}`);
  }
  client(index = 0): SimulatedClient {
    return defined(this.cluster.clients[index], `client ${index}`);
  }
  status(index: number): ReplicaStatus {
    return this.host(index).status;
  }
  /** Messages of a kind that were sent so far, lost ones too. */
  sent<T extends Message['type']>(type: T, where: { readonly from?: number; readonly to?: number } = {}): Extract<Message, { type: T }>[] {
    const filter = kind(type, where);
    return this.policy.sent.filter(filter).map((p) => p.message as Extract<Message, { type: T }>);
  }
  answered(invocation: Invocation): boolean {
    return this.#answers.has(invocation);
  }
  answer(invocation: Invocation): { readonly op: number; readonly value: number } {
    return defined(this.#answers.get(invocation), 'an answer');
  }

  // --- time ----------------------------------------------------------------------------------------------------------

  run(milliseconds: number): void {
    this.cluster.queue.runTo(this.cluster.now + milliseconds);
  }
  until(what: string, condition: () => boolean, bound = BOUND): void {
    const end = this.cluster.now + bound;
    while (!condition()) {
      if (this.cluster.now >= end) throw new Unmet(`not within ${bound} ms: ${what}; ${this.#describe()}`);
      this.run(1);
    }
  }
  /** True if it came true within the bound. */
  comesTrue(condition: () => boolean, bound: number): boolean {
    const end = this.cluster.now + bound;
    while (!condition() && this.cluster.now < end) this.run(1);
    return condition();
  }
  expect(what: string, condition: boolean): void {
    if (!condition) throw new Unmet(`${what}; ${this.#describe()}`);
  }
  /** Those replicas (default: all) are normal in one view and have executed the same. */
  converged(indexes: readonly number[] = this.cluster.hosts.map((h) => h.index), bound = BOUND): void {
    this.until(`replicas ${indexes.join(', ')} converge`, () => {
      const states = indexes.map((i) => this.host(i)).map((h) => (h.running ? h.status : null));
      const first = states[0];
      return first !== null && first !== undefined && first.executed === first.op
        && states.every((s) => s !== null && s.status === 'normal' && s.view === first.view && s.executed === first.executed && s.op === first.op);
    }, bound);
    this.cluster.checkers.equalStates(indexes.map((i) => this.host(i)));
  }

  #describe(): string {
    return this.cluster.hosts.map((h) => (h.running ? `#${h.index} ${h.status.status} v=${h.status.view} op=${h.status.op} executed=${h.status.executed}` : `#${h.index} down`)).join('; ');
  }

  // --- clients -------------------------------------------------------------------------------------------------------

  begin(register: number, value: number, client = 0, padding = 0): Invocation {
    return this.client(client).submit(Buffer.concat([setRegister(register, value, ++this.#unique), Buffer.alloc(padding)]));
  }
  beginRead(register: number, client = 0): Invocation {
    return this.client(client).read(getRegister(register), 'linearizable');
  }
  done(invocation: Invocation, bound = BOUND): { readonly op: number; readonly value: number } {
    this.until('an answer', () => this.answered(invocation), bound);
    return this.answer(invocation);
  }
  write(register: number, value: number, client = 0): number {
    return this.done(this.begin(register, value, client)).op;
  }
  read(register: number, client = 0): number {
    return this.done(this.beginRead(register, client)).value;
  }

  // --- breaking ------------------------------------------------------------------------------------------------------

  hold(filter: Filter): Held {
    const rule: Rule = { filter, taken: [] };
    this.policy.rules.add(rule);
    return new Held(this, rule);
  }
  crash(index: number, unsynced?: 'kept' | 'lost'): void {
    this.cluster.crash(this.host(index), unsynced);
  }
  restart(index: number): void {
    this.host(index).start();
  }
  /** No messages between the two sides of replicas, in either direction; clients reach everybody. */
  separate(side: readonly number[], other: readonly number[]): void {
    for (const a of side) for (const b of other) this.cut(a, b, true);
  }
  isolate(index: number): void {
    this.separate([index], this.cluster.hosts.map((h) => h.index).filter((i) => i !== index));
  }
  cut(from: number, to: number, bothWays = false): void {
    this.policy.separate(from, to);
    if (bothWays) this.policy.separate(to, from);
  }
  /** Primary after primary is cut off for a while, until it is this replica's turn. */
  makePrimary(index: number): void {
    const all = this.cluster.hosts.map((h) => h.index);
    while (!this.status(index).isPrimary) {
      const { view } = this.status(index);
      const present = view % all.length;
      const others = all.filter((i) => i !== present);
      this.isolate(present);
      this.until(`a view after ${view}`, () => others.every((i) => this.status(i).view > view));
      this.converged(others);
      this.heal();
      this.converged();
    }
  }
  heal(): void {
    const all = [...this.cluster.hosts.map((h) => h.index), ...this.cluster.clients.map((c) => c.endpoint)];
    for (const a of all) for (const b of all) this.policy.join(a, b);
  }
}
