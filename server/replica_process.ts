/**
 * A replica as a process: opens what is on disk, gives the replica its ports, feeds it what sockets, disks and the
 * clock have, and ends it. An assertion that fails inside the replica, and an I/O error of journal or superblock, mean
 * that what it knows cannot be relied on any more: nothing is sent or written after that, and the process ends.
 */
import { randomBytes } from 'node:crypto';
import { assert, defined } from '../lib/assert.ts';
import type { MemberId } from '../lib/ids.ts';
import { FileSystemService } from '../fsservice/service.ts';
import type { Configuration, Member } from '../vr/configuration.ts';
import type { ClientRequest, Envelope, ReplicaMessage, Welcome } from '../vr/messages.ts';
import type { Clock, ConnectionId, Ports, Random, SuperblockStore } from '../vr/ports.ts';
import { Replica } from '../vr/replica.ts';
import type { Superblock } from '../vr/superblock.ts';
import { formatAddress, parseAddress, type HostPort } from './address.ts';
import { boot, type Boot } from './boot.ts';
import { DonorClient, StoreCheckpoints } from './checkpoint_port.ts';
import { ClientLinks } from './client_links.ts';
import { replicaOptions, type ServerConfig } from './config.ts';
import { Listener } from './listener.ts';
import { eventSink, type CountingSink, type Log } from './log.ts';
import { PeerLinks } from './peer_links.ts';
import { RecoveryTracker } from './recovery_tracker.ts';
import type { AttachHttp, Health, HttpHandle, RunningReplica, ServerStatus, TransferReport } from './running_replica.ts';
import { SuperblockFile } from './superblock_file.ts';
import { Turn } from './turn.ts';
import { VERSION } from './version.ts';

/** The replica's clock ticks this often, milliseconds. */
const TICK_MS = 10;
/** A primary that was not heard of for longer is not counted on. */
const PRIMARY_SILENCE_MS = 2_000;
/** Exit code of a process that could not go on. */
export const EXIT_FATAL = 70;

export interface StartOptions {
  /** Brings the HTTP API up when the replica runs; without it there is none. */
  readonly attachHttp?: AttachHttp;
  /** After the error has been logged. Default: ends the process with EXIT_FATAL. */
  readonly onFatal?: (error: Error) => void;
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

function ownMember(configuration: Configuration, self: MemberId): Member {
  return defined(configuration.members.find((m) => m.id === self), `member ${self} in its configuration`);
}

export class ReplicaProcess implements RunningReplica {
  readonly #config: ServerConfig;
  readonly #log: Log;
  readonly #options: StartOptions;
  readonly stopped: Promise<void>;
  readonly #turn = new Turn(() => { this.#endTurn(); });
  readonly #sink: CountingSink;
  #settleStopped: () => void = () => undefined;
  #halted = false;
  #stopping: Promise<void> | null = null;
  #tick: NodeJS.Timeout | null = null;
  #http: HttpHandle | null = null;
  #bound: HostPort | null = null;
  #parts: Parts | null = null;
  #envelope: Envelope | null = null;

  constructor(config: ServerConfig, log: Log, options: StartOptions) {
    this.#config = config;
    this.#log = log;
    this.#options = options;
    this.stopped = new Promise((resolve) => { this.#settleStopped = resolve; });
    this.#sink = eventSink(log);
  }

  async start(): Promise<void> {
    const booted = await boot(this.#config, this.#log, {
      onDurable: (ticket) => { this.#run((replica) => { replica.onJournalDurable(ticket); }); },
      fatal: this.#fatal,
    });
    const parts = this.#assemble(booted);
    this.#parts = parts;
    try {
      this.#bound = await parts.listener.listen(this.#listenAddress(booted));
      this.#begin(parts);
      this.#http = (await this.#options.attachHttp?.(this)) ?? null;
    } catch (error) {
      await this.stop();
      throw error;
    }
    const { memberId, clusterId } = booted.data;
    this.#log.info({ memberId, clusterId: clusterId.toString('hex'), address: this.address, httpAddress: this.httpAddress, version: VERSION }, 'replica started');
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
  get httpAddress(): string | null {
    return this.#http?.address ?? null;
  }

  configuration(): Configuration {
    return this.#started.boot.state.superblock.configuration;
  }

  status(): ServerStatus {
    const { boot: booted, store, journal, peers, clients, recovery } = this.#started;
    const s = store.status();
    return {
      clusterId: this.clusterId.toString('hex'),
      version: VERSION,
      pid: process.pid,
      replica: this.replica.status(),
      recovery: recovery.report(),
      store: {
        records: s.records, bytes: s.recordBytes, overlayRecords: s.overlayRecords + s.frozenRecords, overlayBytes: s.overlayBytes + s.frozenBytes,
        takes: s.takes, lastTakeMs: s.lastTakeMs,
      },
      journal: journal.status(),
      links: peers.status(),
      clientConnections: clients.size,
      ...(booted.data.warnings.length > 0 ? { warnings: booted.data.warnings } : {}),
    };
  }

  health(): Health {
    if (this.#halted) return { ok: false, reason: 'the replica has stopped after an error; see its log' };
    const s = this.replica.status();
    if (s.transferring) return { ok: false, reason: 'the state is being fetched from the other replicas; wait, or see the recovery in /v1/status' };
    if (s.status === 'recovering' && s.configuration.durability === 'memory' && this.#sink.counts.has('group-cannot-recover')) {
      return { ok: false, reason: 'so many replicas of this group with durability memory have stopped at once that what it held is gone. Make a new group: vrfs new-cluster, vrfs format and vrfs serve in new directories (with durability disk a group outlives this)' };
    }
    if (s.status === 'recovering') return { ok: false, reason: `recovering: this needs the answers of ${Math.floor(s.configuration.members.length / 2) + 1} other replicas or of a working group; start them if they are down` };
    if (s.status === 'view-change') return { ok: false, reason: 'a new primary is being elected; this needs a majority of the replicas' };
    const silent = s.isPrimary ? 0 : s.peers.find((p) => p.id === s.primary)?.silentMs ?? null;
    if (silent === null) return { ok: false, reason: `nothing was heard of the primary, member ${s.primary}, yet` };
    if (silent > PRIMARY_SILENCE_MS) return { ok: false, reason: `nothing was heard of the primary, member ${s.primary}, for ${Math.round(silent / 1000)} s` };
    return { ok: true };
  }

  serveCheckpoint(request: Buffer): Promise<Buffer> {
    return this.#started.store.serve(request);
  }

  eventCounts(): ReadonlyMap<string, number> {
    return this.#sink.counts;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  // --- putting it together ---------------------------------------------------------------------------------------------

  get #started(): Parts {
    return defined(this.#parts ?? undefined, 'a started replica');
  }

  #listenAddress(booted: Boot): HostPort {
    const text = this.#config.listen ?? ownMember(booted.state.superblock.configuration, booted.data.memberId).address;
    const address = parseAddress(text);
    assert(address.ok, 'the address was checked with the configuration');
    return address.value;
  }

  #assemble(booted: Boot): Parts {
    const { data, store, journal } = booted;
    const { configuration } = data.superblock;
    const recovery = new RecoveryTracker(this.#log, booted.state, booted.tornBytes, () => {
      const { recordBytes, overlayBytes, frozenBytes } = store.status();
      return recordBytes + overlayBytes + frozenBytes;
    });
    const requestTurn = (): void => { this.#turn.request(); };
    const peers = new PeerLinks({
      clusterId: data.clusterId, self: data.memberId, requestTurn,
      envelope: () => defined(this.#envelope ?? undefined, 'a superblock is written before anything is sent'),
      onMessage: (from, message, bytes) => { this.#step(from, message, bytes); },
      onConnected: (member) => { this.#log.info({ member }, `connected to member ${member}`); },
      onDisconnected: (member, reason) => { this.#log.warn({ member }, `no connection to member ${member}: ${reason ?? 'the other side has closed it'}`); },
    });
    const clients = new ClientLinks({
      clusterId: data.clusterId, maxConnections: this.#config.maxClientConnections, requestTurn,
      welcome: () => this.#welcome(),
      onMessage: (connection, message) => { this.#receive(connection, message); },
      onRejected: (remote, reason) => { this.#log.warn({ remote, reason }, 'a client was turned away'); },
    });
    const listener = new Listener({ peers, clients, requestTurn, onRefused: (remote, reason) => { this.#log.warn({ remote, reason }, 'a connection was refused'); } });
    const superblock = new SuperblockFile({
      directory: data.root, sequence: data.superblockSequence, fatal: this.#fatal,
      onDurable: (ticket) => { this.#run((replica) => { replica.onSuperblockDurable(ticket); }); },
    });
    const donors = new DonorClient(data.clusterId);
    const checkpoints = new StoreCheckpoints({
      store, configuration, donors, fatal: this.#fatal,
      onDurable: (id) => { this.#run((replica) => { replica.onCheckpointDurable(id); }); },
      onInstalled: (id, report) => { this.#installed(id, report, recovery); },
      onFetchFailed: (reason) => { this.#run((replica) => { replica.onStateFetchFailed(reason); }); },
    });
    return { boot: booted, store, journal, recovery, peers, clients, listener, superblock, donors, checkpoints, replica: null };
  }

  /** The replica begins: from here on it is fed. */
  #begin(parts: Parts): void {
    const { boot: booted, journal, peers, clients, superblock, checkpoints } = parts;
    const ports: Ports = {
      network: {
        setPeers: (members) => { peers.setPeers(members); },
        send: (to, message) => { peers.send(to, message); },
        broadcast: (to, message) => { peers.broadcast(to, message); },
        reply: (connection, message) => { clients.reply(connection, message); },
      },
      journal,
      superblock: this.#remembering(superblock),
      stateMachine: new FileSystemService(checkpoints.table),
      checkpoints,
      clock: CLOCK,
      random: RANDOM,
      events: this.#sink,
    };
    parts.replica = new Replica(ports, replicaOptions(this.#config), booted.state);
    this.#tick = setInterval(() => { this.#onTick(); }, TICK_MS);
    peers.start();
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
    const { view, configuration, memberId } = this.replica.status();
    return { type: 'welcome', view, configuration, self: memberId, httpAddress: this.httpAddress ?? '' };
  }

  // --- inputs ----------------------------------------------------------------------------------------------------------

  // The two hot ones have their own try, so that no closure is made for each message.
  #step(from: Envelope, message: ReplicaMessage, bytes: number): void {
    const parts = this.#started;
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
    const { recovery } = this.#started;
    // Until its new incarnation is durable the replica takes no part.
    if (recovery.watching && !this.#halted && this.#sink.counts.has('started')) recovery.watch(this.replica.status());
  }

  #endTurn(): void {
    const { replica, journal, peers, clients } = this.#started;
    if (this.#halted || replica === null) return;
    try {
      replica.flush();
      journal.kick();
    } catch (error) {
      this.#fatal(error);
      return;
    }
    peers.flush();
    clients.flush();
  }

  #installed(id: Parameters<Replica['onStateInstalled']>[0], report: TransferReport, recovery: RecoveryTracker): void {
    recovery.onTransfer(report);
    this.#run((replica) => { replica.onStateInstalled(id); });
  }

  // --- the end -----------------------------------------------------------------------------------------------------------

  readonly #fatal = (error: unknown): void => {
    if (this.#halted) return;
    this.#halted = true;
    const reason = error instanceof Error ? error : new Error(String(error));
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#log.fatal({ err: reason }, `the replica cannot go on: ${reason.message}`);
    if (this.#options.onFatal !== undefined) this.#options.onFatal(reason);
    else process.exit(EXIT_FATAL);
  };

  async #stop(): Promise<void> {
    const { boot: booted, store, journal, peers, clients, listener, superblock, donors, checkpoints } = this.#started;
    listener.stopAccepting();
    await this.#http?.close();
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#endTurn();
    // What was promised to the others is on disk or goes there; nothing new is taken in from here on.
    this.#halted = true;
    peers.stop();
    clients.stop();
    await listener.close();
    await checkpoints.close();
    await donors.close();
    await journal.close();
    await superblock.close();
    await store.close();
    await booted.data.close();
    this.#log.info('replica stopped');
    this.#settleStopped();
  }
}

interface Parts {
  readonly boot: Boot;
  readonly store: Boot['store'];
  readonly journal: Boot['journal'];
  readonly recovery: RecoveryTracker;
  readonly peers: PeerLinks;
  readonly clients: ClientLinks;
  readonly listener: Listener;
  readonly superblock: SuperblockFile;
  readonly donors: DonorClient;
  readonly checkpoints: StoreCheckpoints;
  /** Null until the port is open. */
  replica: Replica | null;
}
