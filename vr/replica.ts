/**
 * A replica: its state, the one dispatcher, and the execution of committed entries. Each protocol of the paper is a
 * file of its own that works on this state:
 *
 *   normal_case.ts         VRR 4.1   requests, Prepare, PrepareOk, Commit
 *   reads.ts                         reads without a log entry
 *   leases.ts                        when a primary may answer them without asking, and how old a backup's state is
 *   view_change.ts         VRR 4.2   StartViewChange, DoViewChange, StartView, GetView
 *   abdication.ts                    when a primary gives up its view of its own accord
 *   recovery.ts            VRR 4.3   Recovery, RecoveryResponse
 *   log_catch_up.ts        VRR 5.2   GetState, NewState
 *   reconfiguration.ts     VRR 7     StartEpoch, EpochStarted, who is told what of which epoch
 *   log_room.ts                      whether the log may grow
 *   log_keeping.ts                   what of it stays for a member that takes a checkpoint over
 *   checkpoint_hand_over.ts VRR 5.1  taking checkpoints, taking over a peer's, comparing roots
 *   checkpoint_interval.ts           how often they are taken, and changing that
 *
 * Pure: no I/O, no clock, no randomness but through the ports; every call runs to completion.
 */
import { assert, defined, unreachable } from '../lib/assert.ts';
import { opNumber, viewNumber, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { Abdication } from './abdication.ts';
import { electors, isElector, isMember, memberOf, primaryOf, quorum, type Configuration } from './configuration.ts';
import { Reconfiguration } from './reconfiguration.ts';
import { CheckpointIntervals } from './checkpoint_interval.ts';
import { CheckpointHandOver } from './checkpoint_hand_over.ts';
import { ClientTable } from './client_table.ts';
import { Execution } from './execution.ts';
import { busyAnswer } from './held_back.ts';
import { checkInvariants } from './invariants.ts';
import { Leases } from './leases.ts';
import { Log } from './log.ts';
import { LogCatchUp } from './log_catch_up.ts';
import { LogKeeping } from './log_keeping.ts';
import { LogRoom } from './log_room.ts';
import type { ClientRequest, Envelope, Message, Redirect, ReplicaMessage } from './messages.ts';
import { NormalCase } from './normal_case.ts';
import { Persistence } from './persistence.ts';
import type { ConnectionId, Ports } from './ports.ts';
import { Reads } from './reads.ts';
import { Recovery } from './recovery.ts';
import type { BootState, PeerStatus, ReplicaEvents, ReplicaOptions, ReplicaStatus, Status } from './replica_types.ts';
import type { CheckpointId } from './superblock.ts';
import { ViewChange } from './view_change.ts';

/** A pause of the process must not look like silence of the others: the replica's clock moves at most this much a tick. */
const MAX_TICK_MS = 100;

/** Which status may follow which (checked). */
const TRANSITIONS: Readonly<Record<Status, readonly Status[]>> = {
  normal: ['view-change', 'transitioning', 'retired'],
  'view-change': ['normal', 'view-change', 'transitioning', 'retired'],
  recovering: ['normal', 'transitioning', 'retired'],
  transitioning: ['normal', 'view-change', 'transitioning', 'retired'],
  joining: ['transitioning'],
  retired: ['retired'],
};

interface Peer {
  incarnation: number;
  heardAt: number | null;
}

export class Replica implements ReplicaEvents {
  readonly ports: Ports;
  readonly options: ReplicaOptions;
  readonly self: MemberId;
  /** Of the epoch that this replica has started last. */
  configuration: Configuration;
  /** Of this configuration, without the replica itself: all, and those whose votes count. */
  others: readonly MemberId[] = [];
  otherElectors: readonly MemberId[] = [];
  quorum: number;
  isElector = false;
  isWitness = false;
  /** It has left the group for good, and that is durable. */
  ended = false;

  /** The paper's status. */
  phase: Status;
  view: View;
  /** v': the last view in which the status was normal. */
  logView: View;
  commit: OpNumber;
  readonly log: Log;
  readonly persistence: Persistence;
  readonly clients: ClientTable;
  /** Milliseconds; rises by what tick() is told, at most MAX_TICK_MS at a time. */
  now = 0;

  readonly execution: Execution;
  readonly room: LogRoom;
  readonly keeping: LogKeeping;
  readonly normal: NormalCase;
  readonly leases: Leases;
  readonly reads: Reads;
  readonly viewChange: ViewChange;
  readonly abdication: Abdication;
  readonly recovery: Recovery;
  readonly catchUp: LogCatchUp;
  readonly handOver: CheckpointHandOver;
  readonly intervals: CheckpointIntervals;
  readonly reconfiguration: Reconfiguration;

  readonly #peers = new Map<MemberId, Peer>();
  #lastTick: number | undefined;
  // Until the new incarnation is durable nothing may be sent, so nothing is heard either.
  #booted = false;

  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    this.ports = ports;
    this.options = options;
    const { superblock, log } = boot;
    this.configuration = superblock.configuration;
    this.self = superblock.memberId;
    this.quorum = quorum(this.configuration);
    this.#takeRoles();
    // A witness's place in the log is all that it has of the state.
    const state = this.isWitness ? superblock.checkpoint : boot.state;
    const usable = isUsable(superblock, log, state);
    // A checkpoint may be durable before the journal is, or come from a peer: then the log goes on behind it. Everything up
    // to it is committed, so all logs agree there, and nothing beyond the journal's end was acknowledged (row 3).
    const continues = usable && continuesFromState(log, state);
    this.log = continues ? new Log(log.base, log.baseHash) : new Log(state?.op ?? opNumber(0), state?.entryHash ?? superblock.checkpoint.entryHash);
    if (continues) for (const e of log.entries) this.log.append(e);
    this.logView = Math.max(log.logView, superblock.logView) as View;
    this.view = this.logView;
    this.commit = state?.op ?? opNumber(0);
    this.phase = !isMember(this.configuration, this.self) ? 'joining' : usable ? 'normal' : 'recovering';
    assert(!superblock.retired, 'a replica that has left the group is not started');
    this.persistence = new Persistence(ports, superblock, this.logView, !usable || continues ? this.log.head : opNumber(0));
    if (usable && !continues) this.persistence.install(this.logView, this.log.base, this.log.headHash, []);
    this.clients = new ClientTable(ports.checkpoints.table);
    this.reconfiguration = new Reconfiguration(this);

    this.intervals = new CheckpointIntervals(this);
    this.execution = new Execution(this, state);
    this.room = new LogRoom(this);
    this.keeping = new LogKeeping(this);
    this.normal = new NormalCase(this);
    this.leases = new Leases(this);
    this.reads = new Reads(this);
    this.viewChange = new ViewChange(this);
    this.abdication = new Abdication(this);
    this.recovery = new Recovery(this);
    this.catchUp = new LogCatchUp(this);
    this.handOver = new CheckpointHandOver(this, state);
    ports.network.setPeers(this.configuration.members);
    // The process may have died between a checkpoint and the superblock that names it: others are told of the one that is here.
    const checkpoint = state !== null && state.op > superblock.checkpoint.op ? state : superblock.checkpoint;
    this.persistence.writeSuperblock({ incarnation: superblock.incarnation + 1, checkpoint, leaseMs: this.leases.longest }, () => {
      this.#booted = true;
      this.#start(usable, continues);
    });
  }

  /** PROTOCOL section 2: what a restarted replica may do. */
  #start(usable: boolean, continues: boolean): void {
    const { promisedView, incarnation } = this.persistence.superblock;
    const { headView } = this;
    this.event('started', { incarnation, usable, view: viewNumber(this.view), epoch: this.configuration.epoch, op: this.log.head });
    if (this.phase === 'joining') return;
    // The state may be of a later epoch than the superblock: nothing was said in that one yet.
    if (this.execution.ready && this.reconfiguration.onStateLoaded()) return;
    if (!usable) this.recovery.begin();
    // What came in a state or was filled in may be of a later view, which this log is not: nothing is acknowledged before that view is known.
    else if (headView > this.logView && headView > promisedView) this.viewChange.follow(headView);
    else if (promisedView > this.logView) this.viewChange.resume(promisedView);
    else if (this.mayHaveUsedItsView()) this.viewChange.leaveFor(this.logView + 1);
    else if (!continues) this.viewChange.follow(this.logView);
    else this.normal.enter();
  }

  /** Row 7: a restarted primary would use its view's op-numbers again. The first boot of all has used none. */
  mayHaveUsedItsView(): boolean {
    return this.persistence.superblock.incarnation > 1 && primaryOf(this.configuration, this.logView).id === this.self;
  }

  /** From here on in this epoch, whose first view is `first`, with all that came before it. */
  startEpoch(configuration: Configuration, first: View): void {
    this.configuration = configuration;
    this.quorum = quorum(configuration);
    this.#takeRoles();
    this.view = first;
    this.logView = first;
    this.viewChange.startEpoch(first);
    this.handOver.notices.startEpoch();
  }

  #takeRoles(): void {
    const { configuration, self } = this;
    this.others = configuration.members.map((m) => m.id).filter((id) => id !== self);
    this.otherElectors = electors(configuration).map((m) => m.id).filter((id) => id !== self);
    this.isElector = isElector(configuration, self);
    this.isWitness = memberOf(configuration, self)?.role === 'witness';
  }

  /** Nothing of it was done; it may come again. */
  turnAway(connection: ConnectionId, message: ClientRequest, reason: string): void {
    const answer = busyAnswer(message, reason);
    this.event('rejected', { code: 'busy' });
    if (answer !== null) this.ports.network.reply(connection, answer);
  }

  /** The process is about to end. True: this was the primary, and the caller lets it act until it is a backup of another, for as long as it can wait. `reaches`: who is connected. */
  stepDown(reaches: (member: MemberId) => boolean = () => true): boolean {
    const steps = this.#booted && this.abdication.stepDown(reaches);
    if (steps) this.flush();
    return steps;
  }

  /** Where a client should go instead. */
  redirect(): Redirect {
    return { type: 'redirect', view: this.reconfiguration.newestView, configuration: this.reconfiguration.newest };
  }

  get primary(): MemberId {
    return primaryOf(this.configuration, this.view).id;
  }
  get isPrimary(): boolean {
    return this.phase === 'normal' && this.primary === this.self;
  }
  /** When anything came from the member, in the replica's own time. */
  heardAt(id: MemberId): number {
    return this.#peers.get(id)?.heardAt ?? -Infinity;
  }
  /** The view in which the last entry of the log was made. */
  get headView(): View {
    return this.log.at(this.log.head)?.view ?? this.execution.view;
  }
  get executed(): OpNumber {
    return this.execution.executed;
  }

  transition(to: Status): void {
    assert(TRANSITIONS[this.phase].includes(to), () => `status ${this.phase} → ${to}`);
    if (to !== this.phase) this.event('status', { from: this.phase, to, view: this.view });
    this.phase = to;
  }

  event(name: string, data: Readonly<Record<string, string | number | boolean>> = {}): void {
    this.ports.events.event(name, data);
  }
  send(to: MemberId, message: Message): void {
    this.ports.network.send(to, message);
  }
  broadcast(message: Message): void {
    this.ports.network.broadcast(this.others, message);
  }

  // --- events --------------------------------------------------------------------------------------------------------

  step(from: Envelope, message: ReplicaMessage): void {
    if (!this.#booted || !this.#admit(from)) return;
    const { phase, configuration } = this;
    const between = phase === 'transitioning' || phase === 'joining' || phase === 'retired';
    if (between || from.epoch !== configuration.epoch || !isMember(configuration, from.sender)) this.reconfiguration.onForeign(from.sender, from.epoch, message);
    else this.#dispatch(from.sender, message);
    checkInvariants(this);
  }

  receive(connection: ConnectionId, message: ClientRequest): void {
    if (!this.#booted || (message.type === 'register' && this.normal.refuses(connection, message))) return;
    if (this.phase === 'transitioning') {
      this.reconfiguration.hold(connection, message);
      return;
    }
    switch (message.type) {
      case 'request': this.normal.onRequest(connection, message); return;
      case 'read': this.reads.onRead(connection, message); return;
      case 'register': this.normal.onRegister(connection, message); return;
      case 'endSession': this.normal.onEndSession(message); return;
      case 'reconfigure': this.reconfiguration.onReconfigure(connection, message); return;
      case 'checkEpoch': this.reconfiguration.onCheckEpoch(connection, message); return;
      case 'askInterval': this.intervals.onAsk(connection, message); return;
      default: unreachable(message);
    }
  }

  flush(): void {
    if (!this.#booted) return;
    this.normal.flush();
    checkInvariants(this);
  }

  execute(): void {
    if (!this.#booted) return;
    this.execution.run();
    this.normal.flush();
    this.reads.flush();
    checkInvariants(this);
  }

  tick(now: number): void {
    const delta = this.#lastTick === undefined ? 0 : now - this.#lastTick;
    this.#lastTick = now;
    this.now += Math.min(Math.max(delta, 0), MAX_TICK_MS);
    if (!this.#booted) return;
    this.persistence.watch(this.now);
    this.execution.run();
    this.normal.tick();
    this.room.tick();
    this.reads.tick();
    this.leases.tick();
    this.viewChange.tick();
    this.recovery.tick();
    this.catchUp.tick();
    this.handOver.tick();
    this.keeping.tick();
    this.reconfiguration.tick();
    this.normal.flush();
    checkInvariants(this);
  }

  onConnected(): void {
    if (!this.#booted) return;
    this.viewChange.onConnected();
    this.recovery.onConnected();
    this.catchUp.onConnected();
  }

  onJournalDurable(ticket: number): void {
    this.persistence.onJournalDurable(ticket);
    if (!this.#booted) return;
    this.normal.onDurable();
    this.flush();
  }

  onSuperblockDurable(ticket: number): void {
    this.persistence.onSuperblockDurable(ticket);
    checkInvariants(this);
  }

  onCheckpointDurable(id: CheckpointId): void {
    this.handOver.onDurable(id);
  }

  onStateInstalled(id: CheckpointId): void {
    this.handOver.onInstalled(id);
    this.flush();
  }

  onStateFetchFailed(reason: string, intact: boolean): void {
    this.handOver.onFetchFailed(reason, intact);
    this.flush();
  }

  /** The disk has hardly room for the log itself, because of a checkpoint that waits for room; or has it again. */
  onLogCramped(cramped: boolean): void {
    this.room.cramped = cramped;
  }

  // --- dispatch ------------------------------------------------------------------------------------------------------

  /** Drops what is of an incarnation that has been superseded (row 1). */
  #admit(from: Envelope): boolean {
    let peer = this.#peers.get(from.sender);
    if (peer === undefined) {
      peer = { incarnation: 0, heardAt: null };
      this.#peers.set(from.sender, peer);
    }
    if (from.incarnation < peer.incarnation) return false;
    if (from.incarnation > peer.incarnation) {
      peer.incarnation = from.incarnation;
      this.viewChange.forget(from.sender);
      this.recovery.forget(from.sender);
      this.normal.forget(from.sender);
      if ((this.phase === 'normal' || this.phase === 'view-change') && this.others.includes(from.sender)) this.handOver.introduce(from.sender);
    }
    peer.heardAt = this.now;
    return true;
  }

  #dispatch(from: MemberId, m: ReplicaMessage): void {
    if (this.phase === 'recovering') {
      // Row 11: no part in anything but the way back.
      if (m.type === 'recoveryResponse') this.recovery.onRecoveryResponse(from, m);
      else if (m.type === 'newState') this.catchUp.onNewState(from, m);
      else if (m.type === 'checkpointNotice') this.handOver.onCheckpointNotice(from, m);
      else if (m.type === 'recovery') this.recovery.onRecoveryOfPeer(from);
      else if (m.type === 'keepLog') this.keeping.onKeepLog(from, m);
      else if (m.type === 'startEpoch') this.reconfiguration.onStartEpoch(from, m);
      else if (m.type === 'epochStarted') this.reconfiguration.onEpochStarted(from, m);
      return;
    }
    switch (m.type) {
      case 'prepare': this.normal.onPrepare(from, m); return;
      case 'prepareOk': this.normal.onPrepareOk(from, m); return;
      case 'commit': this.normal.onCommit(from, m); return;
      case 'startViewChange': this.viewChange.onStartViewChange(from, m); return;
      case 'doViewChange': this.viewChange.onDoViewChange(from, m); return;
      case 'startView': this.viewChange.onStartView(from, m); return;
      case 'getView': this.viewChange.onGetView(from, m); return;
      case 'getState': this.catchUp.onGetState(from, m); return;
      case 'newState': this.catchUp.onNewState(from, m); return;
      case 'recovery': this.recovery.onRecovery(from, m); return;
      case 'recoveryResponse': return; // of a recovery that has ended
      case 'checkpointNotice': this.handOver.onCheckpointNotice(from, m); return;
      case 'keepLog': this.keeping.onKeepLog(from, m); return;
      case 'startEpoch': this.reconfiguration.onStartEpoch(from, m); return;
      case 'epochStarted': this.reconfiguration.onEpochStarted(from, m); return;
      default: unreachable(m);
    }
  }

  // --- status --------------------------------------------------------------------------------------------------------

  peerStatus(): PeerStatus[] {
    return this.others.map((id) => {
      const member = defined(this.configuration.members.find((m) => m.id === id), 'member');
      const heardAt = this.#peers.get(id)?.heardAt ?? null;
      return { ...member, acked: this.normal.acked(id), silentMs: heardAt === null ? null : this.now - heardAt, checkpoint: this.handOver.notices.offeredBy(id)?.op ?? null };
    });
  }

  status(): ReplicaStatus {
    return {
      memberId: this.self,
      epoch: this.configuration.epoch,
      status: this.phase,
      view: this.view,
      logView: this.logView,
      primary: this.primary,
      isPrimary: this.isPrimary,
      primarySilentMs: this.isPrimary ? 0 : this.viewChange.silence.silence(this.now),
      op: this.log.head,
      commit: this.commit,
      executed: this.executed,
      checkpoint: this.handOver.told,
      checkpointInterval: this.intervals.present,
      checkpointing: this.handOver.taking,
      cramped: this.room.cramped,
      transferring: this.handOver.fetching,
      lacksLog: this.viewChange.lacksLog,
      recoveryImpossible: this.recovery.impossible,
      sessions: this.clients.size,
      maxSessions: this.options.maxSessions,
      configuration: this.configuration,
      role: memberOf(this.configuration, this.self)?.role ?? null,
      epochComplete: this.reconfiguration.complete,
      leaseMs: this.leases.remaining,
      stalenessMs: this.leases.staleness,
      peers: this.peerStatus(),
    };
  }
}

/** Whether what was found on disk is a whole log and a whole state: only then a replica goes on without Recovery. */
function isUsable(superblock: BootState['superblock'], log: BootState['log'], state: CheckpointId | null): boolean {
  if (state === null) return false;
  if (superblock.incarnation === 0) return isAsFormatted(superblock.checkpoint, log, state);
  return superblock.configuration.durability === 'disk' && log.intact && log.base <= state.op;
}

/**
 * The first boot of a directory, and the only way into a memory-mode group without Recovery: nothing was ever said, promised or acknowledged
 * from it (the incarnation is durable before anything is), so it has nothing to remember but what it was formatted with.
 *
 * That is the checkpoint in its superblock: of op 0, or, of a group that was revived, of some op N (revival.ts). Every member of the group
 * was formatted with the same one, because the group's id is made of it. So all begin with one state, one empty log behind N and N as their
 * commit-number, in one view: the initial state of VRR with the op-numbers shifted by N. Whatever else is found here (another state, a log
 * that begins elsewhere or has entries already) is not that initial state, and such a replica may only recover.
 */
function isAsFormatted(formatted: CheckpointId, log: BootState['log'], state: CheckpointId): boolean {
  const same = state.op === formatted.op && state.root === formatted.root && state.entryHash === formatted.entryHash && state.view === formatted.view && state.time === formatted.time;
  return same && log.entries.length === 0 && log.base === formatted.op && log.baseHash === formatted.entryHash;
}

/** Whether the log holds the entry at which the state is. */
function continuesFromState(log: BootState['log'], state: CheckpointId | null): boolean {
  if (state === null) return false;
  const at = state.op === log.base ? log.baseHash : log.entries[state.op - log.base - 1]?.hash;
  return at === state.entryHash;
}
