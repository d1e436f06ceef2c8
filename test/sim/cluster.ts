/**
 * A simulated group: replicas on their hosts, clients, the network between them, and the checkers that watch all of
 * it. Who breaks what, and when, is decided elsewhere (nemesis.ts by a seed, scenario.ts by a script).
 */
import { assert, defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, view, type MemberId } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import type { ClientFailure } from '../../vr/client.ts';
import { configuration, quorum, type Configuration, type Durability, type Member } from '../../vr/configuration.ts';
import type { Consistency } from '../../vr/client_types.ts';
import type { ClientToReplica, Message, ReplicaMessage } from '../../vr/messages.ts';
import type { Ports } from '../../vr/ports.ts';
import type { ReplicaOptions } from '../../vr/replica_types.ts';
import type { Superblock } from '../../vr/superblock.ts';
import type { Application, Workload } from './application.ts';
import { CheckpointDisk } from './checkpoints.ts';
import { Checkers } from './checkers.ts';
import { SimulatedClient, type ClientSettings, type Invocation } from './client.ts';
import { SimulatedClock } from './clock.ts';
import type { Coverage } from './coverage.ts';
import { EventQueue } from './event_queue.ts';
import { Host, type ReplicaConstructor } from './host.ts';
import { SimulatedNetwork, type Policy } from './network.ts';
import { SuperblockDisk } from './superblock_store.ts';
import { Trace } from './trace.ts';

export interface ClusterOptions {
  readonly seed: number;
  readonly replicas: number;
  readonly durability: Durability;
  readonly replicaOptions: ReplicaOptions;
  readonly clients: readonly ClientSettings[];
  readonly Replica: ReplicaConstructor;
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
  nextOperation(client: SimulatedClient): { readonly body: Buffer; readonly read: Consistency | null } | null;
  completed?(client: SimulatedClient, invocation: Invocation, result: Buffer, op: number): void;
  failed?(client: SimulatedClient, invocation: Invocation, failure: ClientFailure): void;
}

export class Cluster {
  readonly queue = new EventQueue();
  readonly options: ClusterOptions;
  readonly coverage: Coverage;
  readonly trace: Trace;
  readonly network: SimulatedNetwork;
  readonly configuration: Configuration;
  readonly hosts: readonly Host[];
  readonly clients: readonly SimulatedClient[];
  readonly checkers: Checkers;
  readonly workload: Workload;
  readonly policy: Policy & { isBlocked(from: number, to: number): boolean };
  driver: ClusterDriver = { nextOperation: () => null };
  #nextClientProcess = 1;

  constructor(options: ClusterOptions, policy: (queue: EventQueue) => Policy & { isBlocked(from: number, to: number): boolean }, coverage: Coverage) {
    this.options = options;
    this.coverage = coverage;
    const random = new Prng(options.seed).fork();
    this.trace = new Trace(() => this.queue.now, options.print);
    this.policy = policy(this.queue);
    this.network = new SimulatedNetwork(this.queue, this.policy, { deliver: (to, from, label, message) => this.#deliver(to, from, label, message) }, this.trace, coverage);
    this.configuration = configuration(epoch(0), addresses(options.replicas), options.durability);
    this.workload = options.application.workload();
    this.checkers = new Checkers(this);
    this.hosts = this.configuration.members.map((m, i) => this.#makeHost(i, m.id, random.fork()));
    this.clients = options.clients.map((settings, i) => new SimulatedClient(options.replicas + i, this.#clientWorld(), settings, random.fork()));
  }

  get now(): number {
    return this.queue.now;
  }
  get quorum(): number {
    return quorum(this.configuration);
  }

  start(): void {
    for (const host of this.hosts) host.start();
    for (const client of this.clients) this.startClient(client);
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

  /** The process has met a rotten record and starts anew, without a state, on what is left of the records. */
  #stateDamaged(host: Host): void {
    this.crash(host);
    host.checkpointDisk.scrub();
    this.queue.after(5, () => { if (!host.running) host.start(); });
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

  crashClient(client: SimulatedClient): void {
    const { process } = client;
    assert(process !== null, 'a client that runs');
    client.crash();
    for (const host of this.hosts) host.clientGone(process);
  }

  // --- wiring ----------------------------------------------------------------------------------------------------------

  #makeHost(index: number, id: MemberId, random: Prng): Host {
    const { options } = this;
    const checkpoints = new CheckpointDisk(options.application.format());
    const initial: Superblock = {
      clusterId: Buffer.alloc(16, 7), memberId: id, configuration: this.configuration, incarnation: 0,
      view: view(0), promisedView: view(0), logView: view(0), instance: Buffer.alloc(16), epochStart: null, checkpoint: defined(checkpoints.durable ?? undefined, 'formatted checkpoint'), retired: false,
    };
    assert(initial.checkpoint.entryHash === ZERO_DIGEST, 'the chain begins with zeros');
    const superblock = new SuperblockDisk(initial);
    superblock.onDurable = (before, now) => this.checkers.superblock(defined(this.hosts[index], 'host'), before, now);
    const drift = ((random.float() * 2 - 1) * (options.clockDrift ?? 0)) / 1e6;
    const skew = (random.float() * 2 - 1) * (options.clockSkewMs ?? 0) * 1000;
    const clock = new SimulatedClock(() => this.queue.now, drift, skew, random.below(1_000_000));
    return new Host(index, id, this.configuration.epoch, {
      queue: this.queue, network: this.network, trace: this.trace, coverage: this.coverage, observer: this.checkers,
      Replica: options.Replica, stateMachine: (table) => options.application.stateMachine(table),
      options: options.replicaOptions, durability: options.durability, wrapPorts: options.wrapPorts,
      endpointOf: (member) => this.configuration.members.findIndex((m) => m.id === member),
      hostOf: (member) => defined(this.hosts.find((h) => h.id === member), 'host'),
      reachable: (a, b) => !this.policy.isBlocked(a, b) && !this.policy.isBlocked(b, a),
      stateDamaged: (damaged) => this.#stateDamaged(damaged),
      replyTo: (process, from, message) => this.#reply(process, from, message),
    }, { superblock, checkpoints }, clock, random);
  }

  #clientWorld(): ConstructorParameters<typeof SimulatedClient>[1] {
    return {
      queue: this.queue,
      addresses: this.configuration.members.map((m) => m.address),
      send: (client, index, message) => {
        const process = defined(client.process ?? undefined, 'process of a client that sends');
        this.checkers.clientSends(message);
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

  #reply(process: number, from: Host, message: Message): void {
    const client = this.clients.find((c) => c.process === process);
    if (client === undefined) return;
    this.checkers.replies(from, message);
    if (message.type === 'redirect') this.coverage.count('redirects');
    if (message.type === 'reject') this.coverage.count(`rejects ${message.code}`);
    this.network.send(from.index, [client.endpoint], process, message);
  }

  #deliver(to: number, from: number, label: number, message: Message): void {
    if (to >= this.hosts.length) {
      const client = defined(this.clients[to - this.hosts.length], 'client');
      if (client.process === label) client.receive(from, message);
      return;
    }
    const host = defined(this.hosts[to], 'host');
    if (from < this.hosts.length) {
      host.fromReplica(defined(this.hosts[from], 'sender').id, label, message as ReplicaMessage);
      return;
    }
    this.#fromClient(host, label, message as ClientToReplica);
  }

  #fromClient(host: Host, process: number, message: ClientToReplica): void {
    if (message.type !== 'hello') {
      host.fromClient(process, message);
      return;
    }
    if (!host.running || host.paused) return;
    const client = this.clients.find((c) => c.process === process);
    if (client === undefined) return;
    const { view: at } = host.status;
    this.network.send(host.index, [client.endpoint], process, { type: 'welcome', view: at, configuration: this.configuration, self: host.id, httpAddress: 'h:1' });
  }
}

function addresses(count: number): Member[] {
  return Array.from({ length: count }, (_, i) => ({ id: memberId(i + 1), role: 'voter' as const, address: `r${i + 1}:7000`, httpAddress: `r${i + 1}:8000` }));
}
