/**
 * A replica as a process: opens what is on disk, gives the replica its ports, feeds it what sockets, disks and the
 * clock have, and ends it. An assertion that fails inside the replica, and an I/O error of journal or superblock, mean
 * that what it knows cannot be relied on any more: nothing is sent or written after that, and the process ends.
 *
 * Damaged records have a remedy (repairs.ts): the replica is dropped at once, the store repaired, and another
 * replica made of what is on the disk, in the same process; it recovers from the others what is missing.
 */
import { randomBytes } from 'node:crypto';
import type { Proof } from '../checkpoint/proof_codec.ts';
import { StoreDamageError } from '../checkpoint/store_damage.ts';
import { formatAddress, parseAddress, type HostPort } from '../lib/address.ts';
import { defined } from '../lib/assert.ts';
import { onlyTheMoment } from '../lib/promises.ts';
import type { MemberId, OpNumber } from '../lib/ids.ts';
import type { FileSystemStatistics } from '../fsservice/operations.ts';
import type { Configuration } from '../vr/configuration.ts';
import type { ClientRequest, Envelope, ReplicaMessage, Welcome } from '../vr/messages.ts';
import type { Clock, ConnectionId, Ports, Random, SuperblockStore } from '../vr/ports.ts';
import { Replica } from '../vr/replica.ts';
import type { ReplicaStatus } from '../vr/replica_types.ts';
import type { Superblock } from '../vr/superblock.ts';
import { boot, type Boot } from './boot.ts';
import { heldCheckpoints, KnownCheckpoints, provePath, readParts } from './checkpoint_reader.ts';
import { ConfigError, originsOf, replicaOptions, type ServerConfig } from './config.ts';
import { healthOf } from './health.ts';
import type { WriteVector } from './journal.ts';
import type { DiskRoomOptions } from './disk_room.ts';
import { eventSink, type CountingSink, type Log } from './log.ts';
import type { NodeAddresses } from './data_directory.ts';
import { assemble, closeParts, namespaceOf, type Parts } from './parts.ts';
import { Repairs } from './repairs.ts';
import { Scrubber } from './scrubber.ts';
import type { AttachHttp, CheckpointList, CheckpointParts, ClientMessages, Health, HttpHandle, RunningReplica, ServerStatus, SessionPage, Timings } from './running_replica.ts';
import { serverStatus } from './server_status.ts';
import { sessionPage } from './session_list.ts';
import type { SuperblockFile, SuperblockFileOptions } from './superblock_file.ts';
import { connected, SteppingDown } from './stepping_down.ts';
import { Turn } from './turn.ts';
import { VERSION } from './version.ts';

/** The replica's clock ticks this often, milliseconds. */
const TICK_MS = 10;
/** A replica that is stopped waits no longer for another to lead. */
const STEP_DOWN_MS = 5000;
/** Exit code of a process that could not go on. */
export const EXIT_FATAL = 70;

export interface StartOptions {
  /** Brings the HTTP API up when the replica runs; without it there is none. */
  readonly attachHttp?: AttachHttp;
  /** After the error has been logged. Default: ends the process with EXIT_FATAL. */
  readonly onFatal?: (error: Error) => void;
  /** For tests: a disk that fails, in place of the real one. */
  readonly disk?: { readonly writev?: WriteVector; readonly writeCopy?: SuperblockFileOptions['writeCopy']; readonly look?: DiskRoomOptions['look'] };
}

const CLOCK: Clock = { wall: () => Date.now() * 1000, monotonic: () => performance.now() };
const RANDOM: Random = { bytes: (n) => randomBytes(n), uint32: () => randomBytes(4).readUInt32BE() };

/**
 * Starts the replica whose data directory `config.data` is. Resolves when it listens (it may still have to recover: see `health`).
 * Rejects with an error that says what is wrong (data directory, lock, port) and what to do; then nothing is left open.
 */
export async function startReplica(config: ServerConfig, log: Log, options: StartOptions = {}): Promise<ReplicaProcess> {
  const started = new ReplicaProcess(config, log, options);
  await started.start();
  return started;
}

export class ReplicaProcess implements RunningReplica {
  readonly #config: ServerConfig;
  readonly #log: Log;
  readonly #options: StartOptions;
  readonly stopped: Promise<void>;
  readonly #turn = new Turn(() => { this.#endTurn(); });
  readonly #sink: CountingSink;
  readonly #scrubber: Scrubber;
  readonly #repairs: Repairs;
  readonly #known = new KnownCheckpoints();
  readonly #steppingDown = new SteppingDown();
  #settleStopped: (end: Promise<void>) => void = () => undefined;
  #halted = false;
  #stopping: Promise<void> | null = null;
  #tick: NodeJS.Timeout | null = null;
  #http: HttpHandle | null = null;
  #bound: HostPort | null = null;
  #parts: Parts | null = null;
  #envelope: Envelope | null = null;
  /** What the replica said of itself before its records were found damaged. */
  #lastStatus: ReplicaStatus | null = null;

  constructor(config: ServerConfig, log: Log, options: StartOptions) {
    this.#config = config;
    this.#log = log;
    this.#options = options;
    this.stopped = new Promise((resolve) => { this.#settleStopped = resolve; });
    // Whoever waits for it has the outcome.
    this.stopped.catch(onlyTheMoment);
    this.#sink = eventSink(log);
    this.#scrubber = new Scrubber({ rate: config.scrubRate, intervalMs: config.scrubIntervalMs, log, onDamage: (damage) => { this.#repairs.later(damage, 'was found damaged on this disk by a scrub'); } });
    this.#repairs = new Repairs({
      log,
      stopping: () => this.#stopping !== null,
      halted: () => this.#halted,
      // A witness has no checkpoint to tell of, and none to lose.
      others: () => this.configuration().members.filter((m) => m.id !== this.memberId && m.role !== 'witness').map((m) => m.id),
      drop: () => this.#drop(),
      close: (parts) => this.#close(parts),
      bringUp: () => this.#bringUp(),
      startedAgain: () => { log.info({ memberId: this.memberId }, 'replica started again after a repair of its records'); },
      fatal: this.#fatal,
    });
  }

  async start(): Promise<void> {
    this.#log.info({ config: this.#config, from: originsOf(this.#config) }, 'configuration');
    try {
      await this.#bringUp();
      this.#http = (await this.#options.attachHttp?.(this)) ?? null;
      // It has left the group meanwhile, and its log ends with that.
      if (this.#stopping !== null) {
        await this.#http?.close();
        return;
      }
    } catch (error) {
      if (this.#parts !== null) await this.stop();
      throw error;
    }
    const { memberId, clusterId } = this;
    this.#log.info({ memberId, clusterId: clusterId.toString('hex'), address: this.address, httpAddress: this.httpAddress, version: VERSION }, 'replica started');
  }

  /** Opens what is on the disk, listens, and makes a replica of it; its first reads of the table may find that damaged. */
  async #bringUp(): Promise<void> {
    const parts = this.#assemble(await this.#boot());
    this.#parts = parts;
    if (parts.boot.state.state !== null) this.#known.add(parts.boot.state.state);
    this.#bound = await parts.listener.listen(this.#bound ?? this.#listenAddress(parts.boot));
    try {
      this.#makeReplica(parts);
    } catch (error) {
      if (!(error instanceof StoreDamageError)) throw error;
      await this.#repairs.mend(parts, error);
      return this.#bringUp();
    }
    this.#tick = setInterval(() => { this.#onTick(); }, TICK_MS);
    parts.peers.start();
    this.#scrubber.attach(parts.store);
  }

  async #boot(): Promise<Boot> {
    const booted = await boot(this.#config, this.#log, {
      onDurable: (ticket) => { this.#run((replica) => { replica.onJournalDurable(ticket); }); },
      fatal: this.#fatal,
      onCramped: (cramped) => { this.#run((replica) => { replica.onLogCramped(cramped); }); },
      busyMs: () => this.#turn.busyMs + (this.#parts?.clients.meanwhileMs ?? 0),
      writev: this.#options.disk?.writev,
      look: this.#options.disk?.look,
    });
    if (booted.damage !== null) this.#repairs.repaired(booted.damage);
    return booted;
  }

  // --- what others see of it -------------------------------------------------------------------------------------------

  get replica(): Replica {
    return defined(this.#parts?.replica ?? undefined, 'a started replica');
  }
  get store(): Boot['store'] {
    return this.#started.boot.store;
  }
  get clusterId(): Buffer {
    return this.#started.boot.data.clusterId;
  }
  get memberId(): MemberId {
    return this.#started.boot.data.memberId;
  }
  get address(): string {
    return formatAddress(defined(this.#bound ?? undefined, 'a listening replica'));
  }
  get addresses(): NodeAddresses {
    return this.#started.boot.data.addresses;
  }
  get httpAddress(): string | null {
    return this.#http?.address ?? null;
  }

  configuration(): Configuration {
    return this.#replicaStatus().configuration;
  }

  status(): ServerStatus {
    const namespace = this.#namespace();
    return serverStatus(this.#started, { replica: this.#replicaStatus(), scrub: this.#scrubber.status(), namespace, ...this.#repairs.report() });
  }

  /** Read from the records, which may be found damaged. */
  #namespace(): FileSystemStatistics | null {
    if (this.#halted) return null;
    try {
      return namespaceOf(this.#started);
    } catch (error) {
      this.#fatal(error);
      return null;
    }
  }

  health(): Health {
    if (this.#halted) return { ok: false, reason: 'the replica has stopped after an error; see its log' };
    if (this.#repairs.running !== null) return { ok: false, reason: 'the records on the disk were found damaged and are being repaired; wait, and see its log and lastDamage in /v1/status' };
    const { boot: { data, room }, linkLog: { refusals } } = this.#started;
    return healthOf(this.#replicaStatus(), {
      data: data.root, address: data.addresses.address, waitingForRoom: room.waiting, refusals,
    });
  }

  async serveCheckpoint(request: Buffer): Promise<Buffer> {
    return this.#reading(() => this.#started.store.serve(request));
  }

  /** Of a checkpoint, for others. */
  async #reading<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof StoreDamageError) this.#repairs.later(error, 'that a peer or a client asked for is damaged on this disk');
      throw error;
    }
  }

  checkpoints(): CheckpointList {
    return { held: heldCheckpoints(this.#started.store), known: this.#known.list() };
  }

  async provePath(names: readonly Buffer[], op: OpNumber | null): Promise<Proof | null> {
    return this.#reading(() => provePath(this.#started.store, names, op));
  }

  async readCheckpoint(op: OpNumber, ids: readonly string[], keys: readonly Buffer[]): Promise<CheckpointParts | null> {
    return this.#reading(() => readParts(this.#started.store, op, ids, keys));
  }

  keepCheckpoint(op: OpNumber, ms: number): 'kept' | 'gone' | 'too many' {
    return this.#started.store.keep(op, ms);
  }

  scrub(rate?: number): number {
    return this.#scrubber.ask(rate);
  }

  eventCounts(): ReadonlyMap<string, number> {
    return this.#sink.counts;
  }

  timings(): Timings {
    const { journal, clients } = this.#started;
    return { journalWrites: journal.writes, requests: clients.meter.latency };
  }

  clientMessages(): ClientMessages {
    return this.#started.clients.meter.messages;
  }

  sessions(after: number, limit: number): SessionPage | null {
    const { replica } = this.#started;
    return replica === null ? null : sessionPage(replica, after, limit);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    this.#settleStopped(this.#stopping);
    return this.#stopping;
  }

  // --- putting it together ---------------------------------------------------------------------------------------------

  #replicaStatus(): ReplicaStatus {
    const replica = this.#parts?.replica ?? null;
    if (replica !== null) return replica.status();
    return { ...defined(this.#lastStatus ?? undefined, 'the status of a replica that was started'), status: 'recovering', isPrimary: false };
  }

  get #started(): Parts {
    return defined(this.#parts ?? undefined, 'a started replica');
  }

  #listenAddress(booted: Boot): HostPort {
    const text = this.#config.listen ?? booted.data.addresses.address;
    const address = parseAddress(text);
    if (!address.ok) throw new ConfigError(`the address of member ${booted.data.memberId}: ${address.reason}. Give it one to listen on (--listen)`);
    return address.value;
  }

  /** What they have for the replica, and what becomes of it when one of them fails. */
  #assemble(booted: Boot): Parts {
    return assemble(booted, {
      config: this.#config,
      log: this.#log,
      writeCopy: this.#options.disk?.writeCopy,
      envelope: () => defined(this.#envelope ?? undefined, 'a superblock is written before anything is sent'),
      welcome: () => this.#welcome(),
      requestTurn: () => { this.#turn.request(); },
      fatal: this.#fatal,
      step: (from, message, bytes) => { this.#step(from, message, bytes); },
      receive: (connection, message) => { this.#receive(connection, message); },
      run: (input) => { this.#run(input); },
      onCheckpoint: (id) => { this.#known.add(id); },
    });
  }

  /** From here on the replica is fed. */
  #makeReplica(parts: Parts): void {
    const { boot: booted, journal, peers, clients, superblock, checkpoints, service } = parts;
    const ports: Ports = {
      network: {
        setPeers: (members) => {
          peers.setPeers(members);
          checkpoints.setMembers(members);
        },
        send: (to, message) => { peers.send(to, message); },
        broadcast: (to, message) => { peers.broadcast(to, message); },
        reply: (connection, message) => { clients.reply(connection, message); },
        welcomeAgain: () => { clients.welcomeAgain(); },
      },
      journal,
      superblock: this.#remembering(superblock),
      stateMachine: service,
      checkpoints,
      clock: CLOCK,
      random: RANDOM,
      events: this.#sink,
    };
    parts.replica = new Replica(ports, replicaOptions(this.#config), booted.state);
  }

  /** Messages are sent under what the newest superblock says. */
  #remembering(store: SuperblockFile): SuperblockStore {
    return {
      write: (s: Superblock) => {
        const { epoch } = s.configuration;
        if (this.#envelope?.incarnation !== s.incarnation || this.#envelope.epoch !== epoch) {
          this.#envelope = Object.freeze({ epoch, sender: s.memberId, incarnation: s.incarnation });
        }
        return store.write(s);
      },
    };
  }

  #welcome(): Welcome {
    const { boot: booted, replica } = this.#started;
    const { memberId, addresses } = booted.data;
    const { view, configuration } = replica?.redirect() ?? booted.data.superblock;
    return { type: 'welcome', view, configuration, self: memberId, ...addresses, clusterId: this.clusterId };
  }

  // --- inputs ----------------------------------------------------------------------------------------------------------

  // The two hot ones have their own try, so that no closure is made for each message.
  #step(from: Envelope, message: ReplicaMessage, bytes: number): void {
    const parts = this.#started;
    if (this.#repairs.deferred && message.type === 'checkpointNotice') this.#repairs.takesPart(from.sender);
    if (this.#halted || parts.replica === null) return;
    parts.recovery.onMessage(message, bytes);
    try {
      parts.replica.step(from, message);
    } catch (error) {
      this.#fatal(error);
    }
  }

  #receive(connection: ConnectionId, message: ClientRequest): void {
    const { replica } = this.#started;
    if (this.#halted || replica === null) return;
    try {
      replica.receive(connection, message);
    } catch (error) {
      this.#fatal(error);
    }
  }

  #run(input: (replica: Replica) => void): void {
    const replica = this.#parts?.replica ?? null;
    if (this.#halted || replica === null) return;
    try {
      input(replica);
    } catch (error) {
      this.#fatal(error);
    }
    this.#turn.request();
  }

  #onTick(): void {
    this.#run((replica) => { replica.tick(performance.now()); });
    this.#endWhenRetired();
    const { recovery, replica } = this.#started;
    // Until its new incarnation is durable the replica takes no part.
    if (recovery.watching && !this.#halted && replica !== null && this.#sink.counts.has('started')) recovery.watch(replica.status());
  }

  /** It has left the group, which has all that it had. */
  #endWhenRetired(): void {
    const replica = this.#parts?.replica ?? null;
    if (replica === null || !replica.ended || this.#stopping !== null) return;
    this.#log.info({ epoch: replica.reconfiguration.newest.epoch }, `this member has left the group for good and ends; the members that it knew last are ${replica.reconfiguration.newest.members.map((m) => m.address).join(', ')}`);
    this.stop().catch(onlyTheMoment);
  }

  #endTurn(): void {
    const { replica, journal, peers, clients } = this.#started;
    if (this.#halted || replica === null) return;
    try {
      replica.flush();
      journal.kick();
      peers.flush();
      // While the disk writes, and the others have theirs to do.
      replica.execute();
      journal.kick();
    } catch (error) {
      this.#fatal(error);
      return;
    }
    peers.flush();
    clients.flush();
    this.#steppingDown.look(replica, peers);
  }

  // --- the end -----------------------------------------------------------------------------------------------------------

  readonly #fatal = (error: unknown): void => {
    if (this.#halted) {
      // There is nothing left to end, and somebody may want to know.
      this.#log.error({ err: error }, `while the replica was being stopped: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    if (error instanceof StoreDamageError) {
      this.#repairs.now(error);
      return;
    }
    this.#halted = true;
    const reason = error instanceof Error ? error : new Error(String(error));
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#log.fatal({ err: reason }, `the replica cannot go on: ${reason.message}`);
    if (this.#options.onFatal !== undefined) this.#options.onFatal(reason);
    else process.exit(EXIT_FATAL);
  };

  /** Another leads before this one ends, where that is to be had. */
  async #stepDown({ peers }: Parts): Promise<void> {
    let stepsDown = false;
    this.#run((replica) => {
      const reached = connected(peers);
      stepsDown = replica.stepDown((id) => reached.includes(id));
    });
    if (stepsDown) await this.#steppingDown.wait(Math.min(this.#config.viewChangeMs, STEP_DOWN_MS));
  }

  async #stop(): Promise<void> {
    // A repair that is under way ends first; it sees that nothing is to be started again.
    await this.#repairs.running;
    const parts = this.#started;
    await this.#stepDown(parts);
    parts.listener.stopAccepting();
    await this.#http?.close();
    // It may have been given the lead meanwhile.
    await this.#stepDown(parts);
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#endTurn();
    // What was promised to the others is on disk or goes there; nothing new is taken in from here on.
    this.#halted = true;
    await this.#close(parts);
    this.#log.info('replica stopped');
  }

  /** Its records are damaged: from here on nothing is answered or executed, in this very turn. */
  #drop(): Parts {
    const parts = this.#started;
    this.#lastStatus = this.#replicaStatus();
    parts.replica = null;
    if (this.#tick !== null) clearInterval(this.#tick);
    return parts;
  }

  async #close(parts: Parts): Promise<void> {
    await this.#scrubber.detach();
    await closeParts(parts);
  }
}
