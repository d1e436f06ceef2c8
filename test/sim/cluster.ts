/**
 * A simulated group: replicas on their hosts, clients, the network between them, and the checkers that watch all of
 * it. Who breaks what, and when, is decided elsewhere (nemesis.ts by a seed, scenario.ts by a script).
 */
import { assert, defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, view, type Epoch } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import type { ClientFailure } from '../../vr/client.ts';
import { configuration, electors, type Configuration, type Durability, type Member, type Role } from '../../vr/configuration.ts';
import type { Consistency } from '../../vr/client_types.ts';
import type { ClientToReplica, Message, ReplicaMessage } from '../../vr/messages.ts';
import type { Ports } from '../../vr/ports.ts';
import type { ReplicaOptions } from '../../vr/replica_types.ts';
import type { Superblock } from '../../vr/superblock.ts';
import { Administrator, type AdministratorWorld } from './administrator.ts';
import type { Application, Workload } from './application.ts';
import { CheckpointDisk } from './checkpoints.ts';
import { Checkers } from './checkers.ts';
import { SimulatedClient, type ClientConstructor, type ClientSettings, type Invocation } from './client.ts';
import { SimulatedClock } from './clock.ts';
import type { Coverage } from './coverage.ts';
import { EventQueue } from './event_queue.ts';
import { Host, type ReplicaConstructor } from './host.ts';
import { IntervalChanges } from './interval_changes.ts';
import { Membership } from './membership.ts';
import { FIRST_CLIENT, SimulatedNetwork, type Policy } from './network.ts';
import { SuperblockDisk } from './superblock_store.ts';
import { Trace } from './trace.ts';

const ADMINISTRATOR = 250;
const ADMINISTRATOR_PROCESS = 0;
/** Who changes the checkpoint interval. */
const TUNER = 251;
const TUNER_PROCESS = -1;

export interface ClusterOptions {
  readonly seed: number;
  /** Electors of the first epoch: voters, but for as many witnesses as `witnesses` says. */
  readonly replicas: number;
  readonly witnesses?: number;
  /** Observers of the first epoch. */
  readonly observers?: number;
  readonly durability: Durability;
  readonly replicaOptions: ReplicaOptions;
  readonly clients: readonly ClientSettings[];
  readonly Replica: ReplicaConstructor;
  /** Default: the product's. */
  readonly Client?: ClientConstructor;
  readonly application: Application;
  /** Lines of the trace, or null. */
  readonly print: ((line: string) => void) | null;
  /** Replaces or wraps the ports of each process: how the mutants get in. */
  readonly wrapPorts?: (ports: Ports, host: Host) => Ports;
  /** Off for mutants whose damage has to be found by its consequences. Default on. */
  readonly checkOrderOfEffects?: boolean;
  /** Drift up to this many parts per million, wall clocks apart by up to so many milliseconds. Default 0. */
  readonly clockDrift?: number;
  readonly clockSkewMs?: number;
}

export interface ClusterDriver {
  /** Decides what a client does next. */
  nextOperation(client: SimulatedClient): { readonly body: Buffer; readonly read: Consistency | null; readonly maxStalenessMs?: number } | null;
  completed?(client: SimulatedClient, invocation: Invocation, result: Buffer, op: number): void;
  failed?(client: SimulatedClient, invocation: Invocation, failure: ClientFailure): void;
}

export class Cluster {
  readonly queue = new EventQueue();
  readonly options: ClusterOptions;
  readonly coverage: Coverage;
  readonly trace: Trace;
  readonly network: SimulatedNetwork;
  readonly membership: Membership;
  /** All that ever were, in the order of their member ids; those that join come last. */
  readonly hosts: readonly Host[];
  readonly clients: readonly SimulatedClient[];
  readonly administrator: Administrator;
  readonly intervals: IntervalChanges;
  readonly checkers: Checkers;
  readonly workload: Workload;
  readonly policy: Policy & { isBlocked(from: number, to: number): boolean };
  driver: ClusterDriver = { nextOperation: () => null };
  readonly #hosts: Host[] = [];
  readonly #random: Prng;
  #nextClientProcess = 1;

  constructor(options: ClusterOptions, policy: (queue: EventQueue) => Policy & { isBlocked(from: number, to: number): boolean }, coverage: Coverage) {
    this.options = options;
    this.coverage = coverage;
    const random = new Prng(options.seed).fork();
    this.trace = new Trace(() => this.queue.now, options.print);
    this.policy = policy(this.queue);
    this.network = new SimulatedNetwork(this.queue, this.policy, { deliver: (to, from, label, message, at) => this.#deliver(to, from, label, message, at) }, this.trace, coverage);
    this.#random = random;
    const first = configuration(epoch(0), firstMembers(options), options.durability);
    this.membership = new Membership(first, options.replicaOptions.autoPromoteMs > 0);
    this.workload = options.application.workload();
    this.checkers = new Checkers(this);
    this.hosts = this.#hosts;
    for (const member of first.members) this.#makeHost(member, first);
    this.clients = options.clients.map((settings, i) => new SimulatedClient(FIRST_CLIENT + i, this.#clientWorld(), settings, random.fork(), options.Client));
    this.administrator = new Administrator({ ...this.#operator(ADMINISTRATOR, ADMINISTRATOR_PROCESS), proposing: (next) => this.membership.proposed(next) });
    this.intervals = new IntervalChanges(this.#operator(TUNER, TUNER_PROCESS), coverage);
  }

  get now(): number {
    return this.queue.now;
  }
  /** Hosts of the present members. */
  get members(): Host[] {
    return this.membership.present.members.map((m) => this.hostOf(m.id));
  }
  get electors(): Host[] {
    return electors(this.membership.present).map((m) => this.hostOf(m.id));
  }
  hostOf(id: number): Host {
    return defined(this.hosts[id - 1], `host of member ${id}`);
  }
  /** Who is at this address now, or null. */
  hostAt(address: string): Host | null {
    return this.hosts.findLast((h) => h.address === address) ?? null;
  }

  start(): void {
    for (const host of this.hosts) host.start();
    for (const client of this.clients) this.startClient(client);
  }

  /** A node that waits to be made a member, at an address of its own or that of one whose disk is gone. It does not run yet. */
  addHost(address?: string): Host {
    const id = memberId(this.hosts.length + 1);
    return this.#makeHost({ id, role: 'observer', ...addresses(id), ...(address === undefined ? {} : { address }) }, this.membership.present);
  }

  // --- breaking things -----------------------------------------------------------------------------------------------

  crash(host: Host, unsynced?: 'kept' | 'lost'): void {
    host.crash(unsynced);
    for (const client of this.clients) {
      const process = client.process;
      // The other end learns of it a little later, as by a reset connection.
      if (process !== null) this.queue.after(2, () => { if (client.process === process) client.disconnected(host.index); });
    }
  }

  /** It has left the group: its process ends, and with it its connections. */
  #end(host: Host): void {
    this.coverage.count('retired');
    this.crash(host, 'kept');
  }

  /** The process has met a rotten record and starts anew, without a state, on what is left of the records. */
  #stateDamaged(host: Host): void {
    this.crash(host);
    host.checkpointDisk.scrub();
    this.queue.after(5, () => { if (!host.running && !host.lost) host.start(); });
  }

  /** A client's connection breaks; both ends learn of it. */
  breakConnection(client: SimulatedClient, host: Host): void {
    if (client.process === null) return;
    host.clientGone(client.process);
    client.disconnected(host.index);
  }

  startClient(client: SimulatedClient): void {
    client.start(this.#nextClientProcess++);
  }

  /** A client that slept through so many changes that it knows no member any more that can be reached is started anew by its operator. */
  findsTheGroup(client: SimulatedClient, reachable: readonly Host[]): void {
    if (client.process !== null) {
      const known = new Set(client.session.peers);
      if (this.members.some((h) => reachable.includes(h) && known.has(h.address))) return;
      this.coverage.count('clients that knew nobody any more');
      this.crashClient(client);
    }
    this.startClient(client);
  }

  crashClient(client: SimulatedClient): void {
    const { process } = client;
    assert(process !== null, 'a client that runs');
    client.crash();
    for (const host of this.hosts) host.clientGone(process);
  }

  // --- wiring ----------------------------------------------------------------------------------------------------------

  #makeHost(member: Member, found: Configuration): Host {
    const { options, queue } = this;
    const index = this.#hosts.length;
    const random = this.#random.fork();
    const checkpoints = new CheckpointDisk(options.application.format());
    const initial: Superblock = {
      clusterId: Buffer.alloc(16, 7), memberId: member.id, configuration: found, incarnation: 0,
      view: view(0), promisedView: view(0), logView: view(0), instance: random.bytes(16), epochStart: null, heldByAll: opNumber(0), leaseMs: 0, checkpoint: defined(checkpoints.durable ?? undefined, 'formatted checkpoint'), retired: false,
    };
    assert(initial.checkpoint.entryHash === ZERO_DIGEST, 'the chain begins with zeros');
    const superblock = new SuperblockDisk(initial);
    const drift = ((random.float() * 2 - 1) * (options.clockDrift ?? 0)) / 1e6;
    const skew = (random.float() * 2 - 1) * (options.clockSkewMs ?? 0) * 1000;
    const clock = new SimulatedClock(() => queue.now, drift, skew, random.below(1_000_000));
    const host = new Host(index, member, {
      queue, network: this.network, trace: this.trace, coverage: this.coverage, observer: this.checkers,
      Replica: options.Replica, stateMachine: (table) => options.application.stateMachine(table),
      options: options.replicaOptions, durability: options.durability, wrapPorts: options.wrapPorts,
      endpointOf: (id) => this.hostOf(id).index,
      hostOf: (id) => this.hostOf(id),
      reachable: (a, b) => !this.policy.isBlocked(a, b) && !this.policy.isBlocked(b, a),
      ended: (gone) => this.#end(gone),
      stateDamaged: (damaged) => this.#stateDamaged(damaged),
      replyTo: (process, from, message) => this.#reply(process, from, message),
      welcome: (process, from) => this.#welcome(process, from),
    }, { superblock, checkpoints }, clock, random);
    superblock.onDurable = (before, now) => this.checkers.superblock(host, before, now);
    this.#hosts.push(host);
    return host;
  }

  /** An operator's way to the group. */
  #operator(endpoint: number, process: number): Omit<AdministratorWorld, 'proposing'> {
    return {
      queue: this.queue,
      random: this.#random.fork(),
      hosts: () => this.members.map((h) => h.index),
      indexOf: (address) => this.hostAt(address)?.index ?? null,
      send: (index, message) => this.network.send(endpoint, [index], process, message),
    };
  }

  #clientWorld(): ConstructorParameters<typeof SimulatedClient>[1] {
    return {
      queue: this.queue,
      seeds: () => this.#seeds(),
      indexOf: (address) => this.hostAt(address)?.index ?? null,
      addressOf: (index) => defined(this.hosts[index], 'host').address,
      send: (client, index, message) => {
        const process = defined(client.process ?? undefined, 'process of a client that sends');
        this.checkers.clientSends(message, process);
        this.network.send(client.endpoint, [index], process, message);
      },
      floor: () => this.checkers.floor,
      completed: (client, invocation, result, op) => {
        this.checkers.completed(client, invocation, result, op);
        this.workload.answered(invocation.body, result);
        this.driver.completed?.(client, invocation, result, op);
      },
      failed: (client, invocation, failure) => {
        this.coverage.count(`client ${failure.code}`);
        this.checkers.clientFailed(invocation, failure);
        this.driver.failed?.(client, invocation, failure);
      },
      nextOperation: (client) => this.driver.nextOperation(client),
      keepAlive: (client) => this.workload.keepAlive(client.session.lastOp),
    };
  }

  /** As an operator keeps it: the first members, and those of now. */
  #seeds(): string[] {
    const first = defined(this.membership.of(0), 'first configuration');
    return [...new Set([...first.members, ...this.membership.present.members].map((m) => m.address))];
  }

  #reply(process: number, from: Host, message: Message): void {
    if (process === ADMINISTRATOR_PROCESS || process === TUNER_PROCESS) {
      this.network.send(from.index, [process === TUNER_PROCESS ? TUNER : ADMINISTRATOR], process, message);
      return;
    }
    const client = this.clients.find((c) => c.process === process);
    if (client === undefined) return;
    this.checkers.replies(from, message, process);
    if (message.type === 'redirect') this.coverage.count('redirects');
    if (message.type === 'reject') this.coverage.count(`rejects ${message.code}`);
    this.network.send(from.index, [client.endpoint], process, message);
  }

  #deliver(to: number, from: number, label: number, message: Message, at: number): void {
    if (to === ADMINISTRATOR) {
      this.administrator.receive(from, message);
      return;
    }
    if (to === TUNER) {
      this.intervals.receive(from, message);
      return;
    }
    if (to >= FIRST_CLIENT) {
      const client = defined(this.clients[to - FIRST_CLIENT], 'client');
      if (client.process === label) client.receive(from, message);
      return;
    }
    const host = defined(this.hosts[to], 'host');
    if (from < FIRST_CLIENT) {
      host.fromReplica(defined(this.hosts[from], 'sender').id, label, at as Epoch, message as ReplicaMessage);
      return;
    }
    this.#fromClient(host, label, message as ClientToReplica);
  }

  #fromClient(host: Host, process: number, message: ClientToReplica): void {
    if (message.type !== 'hello') {
      host.fromClient(process, message);
      return;
    }
    if (host.running && !host.paused) this.#welcome(process, host);
  }

  #welcome(process: number, host: Host): void {
    const client = this.clients.find((c) => c.process === process);
    if (client === undefined) return;
    const { view: at, configuration: members } = host.replica.redirect();
    this.network.send(host.index, [client.endpoint], process, { type: 'welcome', view: at, configuration: members, self: host.id, address: host.address, httpAddress: host.httpAddress, clusterId: Buffer.alloc(16, 7) });
  }
}

function addresses(id: number): { readonly address: string; readonly httpAddress: string } {
  return { address: `r${id}:7000`, httpAddress: `r${id}:8000` };
}

function firstMembers(o: ClusterOptions): Member[] {
  const roles: Role[] = [];
  for (let i = 0; i < o.replicas; i++) roles.push(i < o.replicas - (o.witnesses ?? 0) ? 'voter' : 'witness');
  for (let i = 0; i < (o.observers ?? 0); i++) roles.push('observer');
  return roles.map((role, i) => ({ id: memberId(i + 1), role, ...addresses(i + 1) }));
}
