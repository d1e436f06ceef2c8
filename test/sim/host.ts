/**
 * A machine that runs a replica: a disk that survives crashes, clocks, and at most one process. The process can crash
 * between any two events (also between a write and its sync), be paused as by SIGSTOP, and be started again from
 * what the disk holds. Everything that reaches the replica comes through `#deliver`, in turns as an event loop has them.
 */
import { assert } from '../../lib/assert.ts';
import type { Epoch, MemberId } from '../../lib/ids.ts';
import type { Prng } from '../../lib/prng.ts';
import { isElector, isMember, memberOf, type Configuration, type Durability, type Member } from '../../vr/configuration.ts';
import type { Entry } from '../../vr/entry.ts';
import type { ClientRequest, Message, ReplicaMessage } from '../../vr/messages.ts';
import type { Ports, StateMachine } from '../../vr/ports.ts';
import type { Replica } from '../../vr/replica.ts';
import type { BootState, ReplicaOptions, ReplicaStatus } from '../../vr/replica_types.ts';
import type { Table } from '../../lib/table.ts';
import { DamagedRecord, SimulatedCheckpoints, type CheckpointDisk } from './checkpoints.ts';
import type { SimulatedClock } from './clock.ts';
import type { Coverage } from './coverage.ts';
import type { EventQueue } from './event_queue.ts';
import { makePorts } from './host_ports.ts';
import { JournalDisk, MemoryJournal, SimulatedJournal } from './journal.ts';
import type { SimulatedNetwork } from './network.ts';
import { SimulatedSuperblockStore, type SuperblockDisk } from './superblock_store.ts';
import type { Trace } from './trace.ts';

export type ReplicaConstructor = new (ports: Ports, options: ReplicaOptions, boot: BootState) => Replica;
export type StateMachineFactory = (table: Table) => StateMachine;

/** What the checkers are told. */
export interface HostObserver {
  sent(host: Host, message: Message): void;
  /** A superblock is handed to the disk: the replica acts by this configuration. */
  actsBy(host: Host, configuration: Configuration): void;
  event(host: Host, name: string, data: Readonly<Record<string, string | number | boolean>>): void;
  /** `settled()`: the application has no house-keeping left to do. */
  executed(host: Host, entry: Entry, result: Buffer, settled: () => boolean): void;
  sessionStarted(host: Host, entry: Entry, flags: number): void;
  sessionEnded(host: Host, entry: Entry, session: number): void;
  queried(host: Host, body: Buffer, result: Buffer): void;
  /** The state at this op is to become a checkpoint. */
  takes(host: Host, op: number): void;
  checkpointDurable(host: Host, op: number, root: string): void;
  stateInstalled(host: Host, op: number): void;
  /** After each turn of the loop. */
  turn(host: Host): void;
  booted(host: Host): void;
  failed(host: Host, error: unknown): void;
}

export interface HostWorld {
  readonly queue: EventQueue;
  readonly network: SimulatedNetwork;
  readonly trace: Trace;
  readonly coverage: Coverage;
  readonly observer: HostObserver;
  readonly Replica: ReplicaConstructor;
  readonly stateMachine: StateMachineFactory;
  readonly options: ReplicaOptions;
  readonly durability: Durability;
  /** May replace or wrap the ports of a process: how a deliberate breakage gets in. */
  readonly wrapPorts?: (ports: Ports, host: Host) => Ports;
  endpointOf(id: MemberId): number;
  hostOf(id: MemberId): Host;
  /** Both directions between two hosts carry messages now. */
  reachable(a: number, b: number): boolean;
  /** The replica has left the group for good, and its process ends. */
  ended(host: Host): void;
  /** A rotten record was met: the process starts anew without a state, and the rotten records are gone. */
  stateDamaged(host: Host): void;
  /** To a client's process; its number is the connection's far end. */
  replyTo(clientProcess: number, from: Host, message: Message): void;
  /** Tells a client's process who the members are, as far as this host knows. */
  welcome(clientProcess: number, from: Host): void;
}

interface Process {
  readonly replica: Replica;
  readonly incarnation: number;
  readonly journal: SimulatedJournal | MemoryJournal;
  readonly superblock: SimulatedSuperblockStore;
  readonly checkpoints: SimulatedCheckpoints;
  /** Of client processes; both directions. */
  readonly connections: Map<number, number>;
  readonly clients: Map<number, number>;
  flushPending: boolean;
  cramped: boolean;
  nextConnection: number;
}

export class Host {
  readonly index: number;
  readonly id: MemberId;
  readonly address: string;
  readonly httpAddress: string;
  /** What its messages are sent under: that of the superblock that was written last. */
  epoch: Epoch;
  readonly clock: SimulatedClock;
  readonly journalDisk = new JournalDisk();
  readonly superblockDisk: SuperblockDisk;
  readonly checkpointDisk: CheckpointDisk;
  /** Multiplies every delay of the disk. */
  diskSlowness = 1;
  /** No write or sync ends before this time. */
  diskStalledUntil = 0;
  /** Milliseconds that an input waits before the process gets to it. */
  lagMs = 0;
  /** Least time and span of a sync, milliseconds. */
  syncMs: readonly [number, number] = [0, 3];
  /** The same for superblocks, where they differ. */
  superblockMs: readonly [number, number] | null = null;
  /** What it is configured with otherwise than the others, from its next start on: an administrator restarts them one after the other. */
  ownOptions: Partial<ReplicaOptions> = {};
  paused = false;
  /** The log is not certain (memory mode or damage), and the replica has not been normal since. */
  amnesiac = false;
  /** It has left the group, and its process has ended. */
  ended = false;
  /** Its disk is gone: nobody starts it again. */
  lost = false;
  /** The process was started without a state: the one that it is given may be older than the one before. */
  stateLost = false;
  readonly #world: HostWorld;
  readonly #random: Prng;
  #process: Process | null = null;
  #held: (() => void)[] = [];
  #peers: ReadonlySet<MemberId> = new Set();

  constructor(index: number, member: Pick<Member, 'id' | 'address' | 'httpAddress'>, world: HostWorld, disks: { superblock: SuperblockDisk; checkpoints: CheckpointDisk }, clock: SimulatedClock, random: Prng) {
    this.index = index;
    this.id = member.id;
    this.address = member.address;
    this.httpAddress = member.httpAddress;
    this.epoch = disks.superblock.current.configuration.epoch;
    this.#world = world;
    this.superblockDisk = disks.superblock;
    this.checkpointDisk = disks.checkpoints;
    this.clock = clock;
    this.#random = random;
  }

  get running(): boolean {
    return this.#process !== null;
  }
  get replica(): Replica {
    return this.#alive().replica;
  }
  get status(): ReplicaStatus {
    return this.replica.status();
  }
  /** The log on disk is whole, or there is none by design. */
  get journalCertain(): boolean {
    return this.#world.durability === 'memory' || this.journalDisk.intact;
  }
  /** It runs, and keeps a connection with the member. */
  knows(id: MemberId): boolean {
    return this.#process !== null && this.#peers.has(id);
  }
  get incarnation(): number {
    return this.#alive().incarnation;
  }
  get checkpoints(): SimulatedCheckpoints {
    return this.#alive().checkpoints;
  }

  #alive(): Process {
    assert(this.#process !== null, `replica ${this.id} does not run`);
    return this.#process;
  }

  // --- life ----------------------------------------------------------------------------------------------------------

  start(): void {
    assert(this.#process === null && !this.lost, `replica ${this.id} runs already, or has no disk`);
    const { queue } = this.#world;
    this.clock.wake();
    const boot = this.#bootState();
    if (boot.superblock.retired) {
      // It remembers, and does not come back.
      this.ended = true;
      this.#world.coverage.count('retirees that were started again');
      return;
    }
    const incarnation = boot.superblock.incarnation + 1;
    // Half of the restarts are the machine's: its monotonic clock begins anew.
    if (incarnation > 1 && this.#random.chance(0.5)) this.clock.reboot(this.#random.below(1_000_000));
    const slot: { process: Process | null } = { process: null };
    const alive = (): boolean => slot.process !== null && this.#process === slot.process;
    const kernelLater = (delay: number, action: () => void): void => queue.after(delay, () => {
      if (!alive()) return;
      if (queue.now < this.diskStalledUntil) kernelLater(this.diskStalledUntil - queue.now, action);
      else action();
    });
    const hosting = {
      random: this.#random,
      timing: { syncDelay: () => this.#diskDelay() },
      later: (delay: number, action: () => void) => queue.after(delay, () => { if (alive()) this.#run(action); }),
      kernelLater,
      journalDurable: (ticket: number) => this.#turn(() => this.replica.onJournalDurable(ticket)),
      superblockDurable: (ticket: number) => this.#turn(() => this.replica.onSuperblockDurable(ticket)),
    };
    const journal = this.#world.durability === 'disk' ? new SimulatedJournal(this.journalDisk, hosting) : new MemoryJournal(hosting);
    const superblock = new SimulatedSuperblockStore(this.superblockDisk, { ...hosting, timing: { syncDelay: () => this.#diskDelay(this.superblockMs ?? this.syncMs) } });
    const checkpoints = this.#makeCheckpoints(hosting.later, hosting.kernelLater);
    const ports = makePorts({
      host: this, world: this.#world, random: this.#random.fork(), journal, superblock, checkpoints,
      clientOf: (connection) => this.#process?.clients.get(connection),
      clients: () => this.#process?.clients.values() ?? [],
      connect: (peers) => { this.#peers = peers; },
      superseded: () => !alive() && this.#process !== null,
    });
    const wrapped = this.#world.wrapPorts?.(ports, this) ?? ports;
    const replica = this.#construct(wrapped, boot);
    if (replica === null) {
      this.checkpointDisk.scrub();
      this.start();
      return;
    }
    const process: Process = {
      replica, incarnation, journal, superblock, checkpoints, connections: new Map(), clients: new Map(), flushPending: false, cramped: false, nextConnection: 1,
    };
    slot.process = process;
    this.#process = process;
    this.paused = false;
    this.stateLost = boot.state === null;
    this.amnesiac = (incarnation > 1 && !isWhole(this.id, boot)) || isNew(this.id, boot);
    this.#world.trace.line(`#${this.index} starts: incarnation ${incarnation}, view ${boot.superblock.view}, log ${boot.log.base}..${boot.log.base + boot.log.entries.length} v'=${boot.log.logView} intact=${boot.log.intact}, checkpoint ${boot.state?.op ?? 'none'}`);
    this.#world.observer.booted(this);
    this.#scheduleTick(process);
  }

  /** Null: a rotten record was met on the way. */
  #construct(ports: Ports, boot: BootState): Replica | null {
    try {
      return new this.#world.Replica(ports, { ...this.#world.options, ...this.ownOptions }, boot);
    } catch (error) {
      if (!(error instanceof DamagedRecord)) throw error;
      this.#world.coverage.count('rotten records met at a start');
      return null;
    }
  }

  /** The disk goes, with everything on it. */
  loseDisk(): void {
    assert(!this.running, 'the process has no disk any more');
    this.lost = true;
    this.amnesiac = true;
    this.#world.trace.line(`#${this.index} has lost its disk`);
  }

  /** Kills the process, now. What was not synced may be lost: by chance, or as `unsynced` says. */
  crash(unsynced?: 'kept' | 'lost'): void {
    const process = this.#alive();
    const lost = process.journal.crash(unsynced);
    if (lost > 0) this.#world.coverage.count('crashes that lost unsynced records');
    if (process.superblock.crash(unsynced)) this.#world.coverage.count('crashes in a superblock write');
    process.checkpoints.crash();
    this.#process = null;
    this.#held = [];
    this.paused = false;
    this.#world.trace.line(`#${this.index} crashes (${lost} records lost)`);
  }

  /** For mutants: an input that the replica would not have got, in a later turn of the loop. */
  inject(input: (replica: Replica) => void): void {
    const process = this.#process;
    this.#world.queue.after(0, () => {
      if (process === null || this.#process !== process) return;
      this.#run(() => {
        if (this.#process === process) this.#turn(() => input(process.replica));
      });
    });
  }

  pause(): void {
    assert(this.running, 'a stopped replica cannot be paused');
    this.paused = true;
    this.#world.trace.line(`#${this.index} paused`);
  }

  resume(): void {
    this.paused = false;
    this.clock.wake();
    this.#world.trace.line(`#${this.index} resumes`);
    const held = this.#held;
    this.#held = [];
    for (const action of held) if (this.running) action();
  }

  /** Some byte of the journal rots while the replica is down. */
  damageJournal(): void {
    assert(!this.running, 'damage is found at the next start');
    const { entries } = this.journalDisk;
    this.journalDisk.damage(this.#random.below(entries.length + 1));
    this.#world.trace.line(`#${this.index} journal damaged behind op ${this.journalDisk.head}`);
  }

  /** A bit of one copy of the superblock flips while the replica is down. */
  damageSuperblock(): void {
    assert(!this.running, 'damage is found at the next start');
    if (this.superblockDisk.damageCopy(this.#random)) this.#world.coverage.count('superblock copies damaged');
  }

  #bootState(): BootState {
    const superblock = this.superblockDisk.boot();
    const state = this.checkpointDisk.durable;
    if (this.#world.durability === 'disk') return { superblock, log: this.journalDisk.boot(), state };
    const { op, entryHash } = superblock.checkpoint;
    return { superblock, log: { base: op, baseHash: entryHash, entries: [], logView: 0 as BootState['log']['logView'], intact: false }, state };
  }

  // --- events --------------------------------------------------------------------------------------------------------

  fromReplica(sender: MemberId, incarnation: number, epoch: Epoch, message: ReplicaMessage): void {
    if (this.#process === null) return;
    const process = this.#process;
    this.#input(process, () => this.#turn(() => process.replica.step({ epoch, sender, incarnation }, message)));
  }

  fromClient(clientProcess: number, message: ClientRequest): void {
    const process = this.#process;
    if (process === null) return;
    this.#input(process, () => {
      let connection = process.connections.get(clientProcess);
      if (connection === undefined) {
        connection = process.nextConnection++;
        process.connections.set(clientProcess, connection);
        process.clients.set(connection, clientProcess);
      }
      const at = connection;
      this.#turn(() => process.replica.receive(at, message));
    });
  }

  /** The connection of a client's process has gone. */
  clientGone(clientProcess: number): void {
    const process = this.#process;
    const connection = process?.connections.get(clientProcess);
    if (process === null || connection === undefined) return;
    process.connections.delete(clientProcess);
    process.clients.delete(connection);
  }

  /** The disk has hardly room for the log; until it has again, or the process ends. */
  setCramped(cramped: boolean): void {
    const process = this.#process;
    if (process === null) return;
    process.cramped = cramped;
    // What it meets is the disk as it is when it gets to look: what was told of it late must not undo what was told since.
    this.#input(process, () => this.#turn(() => process.replica.onLogCramped(process.cramped)));
  }

  /** The process is told that another can be reached again. */
  connected(): void {
    const process = this.#process;
    if (process === null) return;
    this.#input(process, () => this.#turn(() => {
      this.#world.coverage.count(`told of a connection: ${process.replica.phase}`);
      process.replica.onConnected();
    }));
  }

  /** The process is told to end. */
  stepDown(): void {
    const process = this.#process;
    if (process === null) return;
    this.#input(process, () => this.#turn(() => { if (process.replica.stepDown()) this.#world.coverage.count('primaries that stepped down'); }));
  }

  /** Something has arrived for the process: handled when it gets to it, if it still lives. */
  #input(process: Process, action: () => void): void {
    const handle = (): void => this.#run(() => { if (this.#process === process) action(); });
    if (this.lagMs > 0) this.#world.queue.after(this.lagMs, handle);
    else handle();
  }

  /** At once, or when the pause ends. */
  #run(action: () => void): void {
    if (this.paused) this.#held.push(action);
    else action();
  }

  /** One input; the flush of the turn follows when the other inputs of this millisecond are in. */
  #turn(input: () => void): void {
    const process = this.#process;
    if (process === null) return;
    this.#guarded(input);
    if (this.#process !== process || process.flushPending) return;
    process.flushPending = true;
    this.#world.queue.after(0, () => {
      process.flushPending = false;
      if (this.#process !== process) return;
      this.#run(() => {
        if (this.#process !== process) return;
        this.#guarded(() => {
          process.replica.flush();
          process.replica.execute();
        });
      });
    });
  }

  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (error instanceof DamagedRecord) {
        this.#world.coverage.count('rotten records met');
        this.#world.stateDamaged(this);
      } else {
        this.#world.observer.failed(this, error);
      }
      return;
    }
    if (this.#process === null) return;
    this.#world.observer.turn(this);
    if (this.#process.replica.ended) {
      this.ended = true;
      this.#world.ended(this);
    }
  }

  #scheduleTick(process: Process): void {
    this.#world.queue.after(9 + this.#random.below(3), () => {
      if (this.#process !== process) return;
      if (!this.paused) {
        this.#guarded(() => process.replica.tick(this.clock.monotonic()));
        if (this.amnesiac && this.journalCertain && process.replica.phase === 'normal') this.amnesiac = isNew(this.id, this.#bootState());
      }
      this.#scheduleTick(process);
    });
  }

  // --- ports ---------------------------------------------------------------------------------------------------------

  #diskDelay([least, span] = this.syncMs): number {
    return Math.floor((least + this.#random.below(span + 1)) * this.diskSlowness);
  }

  #makeCheckpoints(later: (delay: number, action: () => void) => void, kernelLater: (delay: number, action: () => void) => void): SimulatedCheckpoints {
    const world = this.#world;
    return new SimulatedCheckpoints(this.checkpointDisk, {
      later,
      kernelLater,
      checkpointDelay: () => 5 + this.#diskDelay() * 10,
      transferDelay: () => 5 + this.#random.below(60) * this.diskSlowness,
      keepsPrevious: () => this.#random.chance(0.7),
      donor: (id) => {
        const host = world.hostOf(id);
        return host.running && !host.paused && world.reachable(this.index, host.index) ? host.checkpointDisk : null;
      },
      donorDamaged: (id) => {
        const donor = world.hostOf(id);
        // Whether the rotten record is among those that are asked for.
        if (donor.checkpointDisk.rotten.size === 0 || this.#random.chance(0.5)) return false;
        world.coverage.count('rotten records met by a donor');
        world.stateDamaged(donor);
        return true;
      },
      checkpointDurable: (id) => {
        world.coverage.count('checkpoints');
        world.observer.checkpointDurable(this, id.op, id.root);
        this.#turn(() => this.replica.onCheckpointDurable(id));
      },
      stateInstalled: (id) => {
        world.trace.line(`#${this.index} has the state of op ${id.op}`);
        world.observer.checkpointDurable(this, id.op, id.root);
        world.observer.stateInstalled(this, id.op);
        this.#turn(() => this.replica.onStateInstalled(id));
      },
      stateFetchFailed: (reason, intact) => {
        world.coverage.count('failed transfers');
        this.#turn(() => this.replica.onStateFetchFailed(reason, intact));
      },
      transferEvent: (name) => world.coverage.count(name === 'transfer' ? 'checkpoint transfers' : 'interrupted transfers'),
    });
  }
}

/** A log that goes on from the state: a transfer may have been broken off in between, or have brought an older state than there was. */
function isWhole(id: MemberId, { superblock, log, state }: BootState): boolean {
  const at = memberOf(superblock.configuration, id)?.role === 'witness' ? superblock.checkpoint : state;
  return log.intact && at !== null && log.base <= at.op;
}

/** Whether it is no member, or a new one that does not hold what came before the epoch in which it is one: its log says nothing. */
function isNew(id: MemberId, { superblock, log, state }: BootState): boolean {
  const { configuration, epochStart } = superblock;
  if (!isMember(configuration, id)) return true;
  if (epochStart === null || isElector(epochStart.previous, id)) return false;
  return Math.max(state?.op ?? 0, log.base + log.entries.length) < epochStart.op;
}
