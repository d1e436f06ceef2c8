/**
 * Reconfiguration (VRR 7): who the members are is decided by a log entry, the last of its epoch.
 *
 * Whoever executes it tells the old and the new members (StartEpoch). A member of both holds everything by then: it makes
 * the new configuration durable and is normal in the first view of the new epoch, a round trip later. Whoever is new, or
 * was away, fetches what came before the start of the epoch from anybody who has it, by hash, and has no vote until that
 * is done. Who is not a member any more serves what it has until a quorum of the new members has all of it
 * (EpochStarted), makes durable that it has left, and ends.
 *
 * Nothing here trusts a sender: what an epoch starts with is content-addressed, and a message of another epoch is only
 * ever answered with where the group is now.
 */
import { assert, defined } from '../lib/assert.ts';
import { epoch as epochOf, laterOf, opNumber, viewEpoch, viewOf, type Epoch, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { configuration, electors, isElector, isMember, quorum, sameElectors, tolerated, voters, type Configuration, type Member } from './configuration.ts';
import { CONFIGURATION_KEY, decodeBeginning, encodeBeginning, type Beginning } from './configuration_record.ts';
import type { Entry } from './entry.ts';
import { HeldBack } from './held_back.ts';
import { promotion, refusal } from './membership.ts';
import type { CheckEpoch, ClientRequest, EpochStarted, Reconfigure, RefusedCode, ReplicaMessage, StartEpoch } from './messages.ts';
import type { ConnectionId } from './ports.ts';
import { heirReadiness, readinessAmong } from './readiness.ts';
import { beginningOf, encodeReconfigurationBody } from './reconfiguration_body.ts';
import type { Replica } from './replica.ts';
import type { CheckpointId } from './superblock.ts';
import { Backoff } from './timeouts.ts';

/** Requests that wait for the new epoch to begin here. */
const MAX_HELD = 10_000;

/** For events. */
function rolesOf({ members }: Configuration): string {
  return members.map((m) => `${m.id}:${m.role}`).join(' ');
}

export class Reconfiguration {
  readonly #r: Replica;
  /** The newest epoch that is known to have begun, where it is not the one that this replica is in. */
  #next: Beginning | null = null;
  /** Of the newest epoch known: who is known to have started it. */
  readonly #started = new Set<MemberId>();
  /** What this replica held when it was told of the epoch is not certain: nothing is journaled before all is there. */
  #untrusted = false;
  /** The log was put together from others' entries, and is not journaled yet. */
  #rebuilt = false;
  #entering = false;
  readonly #resend: Backoff;
  /** When each sender of another epoch was told last. */
  readonly #toldAt = new Map<MemberId, number>();
  readonly #waiting = new Map<string, { readonly connection: ConnectionId; readonly nonce: Buffer }>();
  readonly #held = new HeldBack(MAX_HELD);

  constructor(replica: Replica) {
    this.#r = replica;
    this.#resend = new Backoff(replica.options.resendMs, replica.ports.random);
  }

  /** The newest configuration that is known, this replica's own or a later one. */
  get newest(): Configuration {
    return this.#next?.configuration ?? this.#r.configuration;
  }
  /** The newest view that is known, of the newest epoch. */
  get newestView(): View {
    const view = this.#next?.start.view ?? this.#r.view;
    // Who waits to be made a member knows of no view.
    return viewEpoch(view) === this.newest.epoch ? view : viewOf(this.newest.epoch, 0);
  }
  get untrusted(): boolean {
    return this.#untrusted;
  }
  /** Whether the electors of the epoch that begins have made up the quorums under which this op was committed; of a log that can be trusted. */
  committedByNext(op: OpNumber): boolean {
    const next = this.#next;
    if (next === null || this.#untrusted) return false;
    const { configuration } = this.#r;
    return op > next.start.op || (next.configuration.epoch === configuration.epoch + 1 && sameElectors(configuration, next.configuration));
  }
  /** A quorum of the newest epoch's members is known to have started it. */
  get complete(): boolean {
    if (this.newest.epoch === 0) return true;
    let count = 0;
    for (const m of electors(this.newest)) if (this.#started.has(m.id) || (this.#next === null && m.id === this.#r.self)) count++;
    return count >= quorum(this.newest);
  }

  // --- administrators --------------------------------------------------------------------------------------------------

  onCheckEpoch(connection: ConnectionId, m: CheckEpoch): void {
    const r = this.#r;
    if (!r.isPrimary) this.#redirect(connection);
    else if (r.normal.serving) r.reads.whenConfirmed(connection, m, this.#answerTo(connection, m.nonce));
    else r.normal.hold(connection, m);
  }

  onReconfigure(connection: ConnectionId, m: Reconfigure): void {
    const r = this.#r;
    if (!r.isPrimary) {
      this.#redirect(connection);
      return;
    }
    if (!r.normal.serving) {
      r.normal.hold(connection, m);
      return;
    }
    const present = r.configuration;
    if (m.epoch !== present.epoch) {
      r.reads.whenConfirmed(connection, m, this.#answerTo(connection, m.nonce));
      return;
    }
    const key = m.nonce.latin1Slice();
    if (this.#waiting.has(key)) {
      this.#waiting.set(key, { connection, nonce: m.nonce });
      return;
    }
    if (r.normal.closing || !this.complete) {
      this.#refuse(connection, m.nonce, 'underWay', r.normal.closing ? 'another change is being made' : `epoch ${present.epoch} has not been started by a quorum of its members yet`);
      return;
    }
    const refused = refusal(present, m.members, (id) => readinessAmong(r, m.members, id), m.force);
    if (refused !== null) {
      this.#refuse(connection, m.nonce, refused.code, refused.reason);
      return;
    }
    this.#waiting.set(key, { connection, nonce: m.nonce });
    this.#propose(m.members);
  }

  #propose(members: readonly Member[]): void {
    const r = this.#r;
    const next = configuration(epochOf(r.configuration.epoch + 1), members, r.configuration.durability);
    const held = opNumber(Math.min(...voters(next).map((m) => r.handOver.notices.offeredBy(m.id)?.op ?? 0)));
    r.event('reconfiguration', { epoch: next.epoch, members: rolesOf(next) });
    r.normal.propose('reconfiguration', encodeReconfigurationBody({ previous: r.configuration, next, held }));
  }

  #refuse(connection: ConnectionId, nonce: Buffer, code: RefusedCode, reason: string): void {
    this.#r.ports.network.reply(connection, { type: 'refused', nonce, code, reason });
  }

  /** Made apart from the message, so that what waits to be confirmed does not hold on to it, nor by a view of its bytes. */
  #answerTo(connection: ConnectionId, asked: Buffer): () => void {
    const nonce = Buffer.from(asked);
    return () => { this.#answer(connection, nonce); };
  }

  #answer(connection: ConnectionId, nonce: Buffer): void {
    const r = this.#r;
    r.ports.network.reply(connection, { type: 'newEpoch', nonce, view: this.newestView, configuration: this.newest, complete: this.complete });
  }

  #redirect(connection: ConnectionId): void {
    this.#r.ports.network.reply(connection, this.#r.redirect());
  }

  /** The primary of this view is another: what was asked for has to be asked there. */
  leave(): void {
    this.#waiting.clear();
  }

  // --- learning that an epoch has begun ----------------------------------------------------------------------------------

  /** A committed Reconfiguration becomes part of the state. */
  record(entry: Entry): void {
    this.#r.ports.checkpoints.table.put(CONFIGURATION_KEY, encodeBeginning(beginningOf(entry)));
  }

  /** It has been executed. */
  onExecuted(entry: Entry): void {
    this.#learn(beginningOf(entry));
  }

  /** The table is at another state than before: its group may be of a later epoch than is known here. True: it is. */
  onStateLoaded(): boolean {
    const bytes = this.#r.isWitness ? undefined : this.#r.ports.checkpoints.table.get(CONFIGURATION_KEY);
    if (bytes === undefined) return false;
    const record = decodeBeginning(bytes);
    assert(record.ok, 'the record of the configuration is ours');
    return this.#learn(record.value);
  }

  onStartEpoch(from: MemberId, m: StartEpoch): void {
    const r = this.#r;
    const { epoch } = m.configuration;
    if (epoch > this.newest.epoch) {
      this.#learn({ start: m.start, configuration: m.configuration });
    } else if (epoch < this.newest.epoch) {
      this.#tell(from);
    }
    // Asked by one who leaves: does a quorum have it?
    if (epoch <= r.configuration.epoch && isMember(r.configuration, r.self) && r.handOver.counts) r.send(from, { type: 'epochStarted', epoch: r.configuration.epoch });
  }

  onEpochStarted(from: MemberId, m: EpochStarted): void {
    // A later one includes this one, but its members need not be this one's: they tell of theirs themselves.
    if (m.epoch === this.newest.epoch) this.started(from);
  }

  /** The member is in the newest epoch: it has said so, or acknowledged something of it. */
  started(member: MemberId): void {
    if (this.#started.has(member)) return;
    const complete = this.complete;
    this.#started.add(member);
    if (!complete && this.complete) this.#r.event('epoch-complete', { epoch: this.newest.epoch });
    if (this.#r.phase === 'retired') this.#endWhenDone();
  }

  /** Returns whether it is news. */
  #learn(beginning: Beginning): boolean {
    const r = this.#r;
    const { epoch } = beginning.configuration;
    if (epoch <= this.newest.epoch) return false;
    // Who waits to be made a member goes on waiting; who has left comes back as a new member only.
    if (r.phase === (isMember(beginning.configuration, r.self) ? 'retired' : 'joining')) return false;
    r.event('epoch-begins', { epoch, op: beginning.start.op });
    this.#next = beginning;
    this.#started.clear();
    if (r.phase === 'recovering') this.#untrusted = true;
    for (const { connection, nonce } of this.#waiting.values()) this.#answer(connection, nonce);
    this.#waiting.clear();
    this.#leaveEpoch();
    r.ports.network.setPeers(this.#everybody(beginning));
    r.ports.network.broadcast(this.#everybody(beginning).map((m) => m.id).filter((id) => id !== r.self), { type: 'startEpoch', ...beginning });
    // Who is answered all the time asks nobody else: by and by all members that it knows would have left, and then the one that answered.
    r.ports.network.welcomeAgain();
    if (isMember(beginning.configuration, r.self)) r.transition('transitioning');
    else this.#retire();
    this.advance();
    return true;
  }

  #everybody(b: Beginning): readonly Member[] {
    const all = new Map<MemberId, Member>();
    for (const c of [this.#r.configuration, b.start.previous, b.configuration]) for (const m of c.members) all.set(m.id, m);
    return [...all.values()];
  }

  /** Ends what this replica does in its present epoch. Requests that come before the next one begins here wait for it. */
  #leaveEpoch(): void {
    const r = this.#r;
    for (const { connection, message } of [...r.normal.takeHeld(), ...r.reads.takeHeld()]) this.hold(connection, message);
    r.viewChange.quit();
    r.catchUp.cancel();
    r.normal.leave();
  }

  // --- entering it ---------------------------------------------------------------------------------------------------------

  /** Goes on towards the newest epoch: enters it when everything before its start is here, else asks for what is missing. */
  advance(): void {
    const r = this.#r;
    const next = this.#next;
    if (next === null || r.phase !== 'transitioning' || this.#entering) return;
    if (r.execution.ready && r.executed >= next.start.op) {
      this.#enter(next);
      return;
    }
    if (r.handOver.fetching) return;
    // What has come reaches beyond the start, all of it committed, and is being executed.
    if (r.execution.ready && r.commit > next.start.op) return;
    if (r.execution.ready && r.log.hashAt(next.start.op) === next.start.entryHash) {
      this.#commitOwn(next);
      return;
    }
    if (!r.execution.ready) {
      r.handOver.fetchNewest();
      return;
    }
    // What was collected is being executed.
    if (r.commit >= next.start.op || r.catchUp.bridging || !r.room.mayCollect) return;
    const { op, entryHash, view } = next.start;
    r.catchUp.bridge({ view, head: { op, view, hash: entryHash }, from: this.everybody() });
  }

  /** This log has the start of the epoch: all of it up to there is committed, and nothing behind it is. */
  #commitOwn({ start }: Beginning): void {
    const r = this.#r;
    if (r.log.head > start.op) {
      r.log.truncate(start.op);
      this.#rebuilt = true;
    }
    if (start.op > r.commit) r.commit = start.op;
    r.execution.run();
    if (r.executed >= start.op) this.advance();
  }

  /** All entries from `keep` to the start of the epoch, or the first of them. They are committed. */
  onBridged(keep: OpNumber, entries: readonly Entry[]): void {
    const r = this.#r;
    r.log.replaceBehind(keep, entries);
    r.commit = r.log.head;
    this.#rebuilt = true;
    r.execution.run();
    this.advance();
  }

  /** The state was replaced by a checkpoint, and the log begins behind it. */
  onRebased(): void {
    this.#rebuilt = true;
  }

  /**
   * Up to where nobody depends on the log with which this replica enters the epoch, as its one witness (row 21): it has acknowledged nothing in
   * it, so what is committed behind the start was committed by a quorum of others, of whom one is left after f failures.
   */
  #heldByOthers({ configuration, start }: Beginning): OpNumber {
    const { log, self } = this.#r;
    const witnesses = configuration.members.filter((m) => m.role === 'witness');
    return witnesses.length === 1 && witnesses[0]?.id === self && log.base > start.op ? log.base : opNumber(0);
  }

  #enter(next: Beginning): void {
    const r = this.#r;
    this.#entering = true;
    if (this.#rebuilt || this.#untrusted) {
      // What is behind the start of the epoch, superseded tails of the old one included, goes in the same step.
      const entries = r.log.slice(r.log.base, r.log.head, Infinity);
      r.persistence.install(r.logView, r.log.base, defined(r.log.hashAt(r.log.base), 'base'), entries);
    }
    r.persistence.afterJournal(() => {
      if (this.#next !== next) {
        this.#entering = false;
        this.advance();
        return;
      }
      r.persistence.startEpoch(next.configuration, next.start, this.#heldByOthers(next), () => {
        this.#entering = false;
        this.#untrusted = false;
        this.#rebuilt = false;
        r.startEpoch(next.configuration, next.start.view);
        // A later one may have begun meanwhile: then this one was only a step on the way.
        if (this.#next === next) this.#begin(next);
        else this.advance();
      });
    });
  }

  /** It is durable that this replica is in the epoch. */
  #begin(next: Beginning): void {
    const r = this.#r;
    this.#next = null;
    r.ports.network.setPeers(this.#everybody(next));
    r.event('epoch-started', { epoch: next.configuration.epoch, op: next.start.op, members: rolesOf(next.configuration) });
    if (r.handOver.counts) r.ports.network.broadcast(this.#everybody(next).map((m) => m.id).filter((id) => id !== r.self), { type: 'epochStarted', epoch: next.configuration.epoch });
    if (r.log.head === next.start.op) {
      r.transition('normal');
      r.normal.enter();
    } else {
      // It came late: its state is of this epoch, and maybe of a later view than the first, of which a primary may still think that it leads.
      r.viewChange.follow(laterOf(r.view, r.headView));
    }
    for (const { connection, message } of this.#held.take()) r.receive(connection, message);
  }

  /** A request that came between two epochs. */
  hold(connection: ConnectionId, message: ClientRequest): void {
    if (!this.#held.push({ connection, message })) this.#r.turnAway(connection, message, `the members of the group are being changed, and ${this.#held.length} requests wait for that already`);
  }

  // --- leaving the group -----------------------------------------------------------------------------------------------------

  #retire(): void {
    const r = this.#r;
    r.transition('retired');
    for (const { connection } of this.#held.take()) this.#redirect(connection);
    this.#resend.start(r.now);
    this.#endWhenDone();
  }

  /** A quorum of the new members has all that this replica could be asked for. */
  #endWhenDone(): void {
    const r = this.#r;
    const next = this.#next;
    if (next === null || !this.complete || r.persistence.superblock.retired) return;
    this.#resend.stop();
    r.persistence.writeSuperblock({ configuration: next.configuration, epochStart: next.start, retired: true }, () => {
      r.ended = true;
      r.event('retired', { epoch: next.configuration.epoch });
    });
  }

  // --- messages of other epochs ----------------------------------------------------------------------------------------------

  /** From who is in another epoch, or no member of this one. */
  onForeign(from: MemberId, epoch: Epoch, m: ReplicaMessage): void {
    const r = this.#r;
    switch (m.type) {
      case 'startEpoch': this.onStartEpoch(from, m); return;
      case 'epochStarted': this.onEpochStarted(from, m); return;
      case 'newState':
        if (r.phase === 'transitioning') r.catchUp.onNewState(from, m);
        return;
      case 'checkpointNotice':
        if (r.phase === 'transitioning') r.handOver.onCheckpointNotice(from, m);
        else if (epoch < r.configuration.epoch) this.#tell(from);
        return;
      case 'keepLog':
        r.keeping.onKeepLog(from, m);
        break;
      case 'getState':
        // By hash: it is the same in whatever epoch (row 20).
        if (m.repairHead !== null && r.phase !== 'joining') r.catchUp.onGetState(from, m);
        // What it asks for may be gone, and it no member any more.
        if (epoch < this.newest.epoch) this.#tell(from);
        return;
      default: break;
    }
    if (epoch < this.newest.epoch) this.#tell(from);
    else if (epoch > this.newest.epoch) this.#ask(from);
  }

  /** Where the group is now; not to each message again. */
  #tell(to: MemberId): void {
    const r = this.#r;
    const { epochStart } = r.persistence.superblock;
    const known: Beginning | null = this.#next ?? (epochStart === null ? null : { start: epochStart, configuration: r.configuration });
    if (known !== null && this.#mayTell(to)) r.send(to, { type: 'startEpoch', ...known });
  }

  /** Whatever comes from an earlier epoch is answered with StartEpoch. */
  #ask(whom: MemberId): void {
    const r = this.#r;
    if (this.#mayTell(whom)) r.send(whom, { type: 'getView', view: r.view, nonce: r.ports.random.bytes(16) });
  }

  /**
   * Perhaps a later epoch has begun: of which this replica is no member, so that nobody tells it of newer checkpoints, or of which it
   * has seen no more than a checkpoint. Whoever is in it answers with StartEpoch.
   */
  askForLater(): void {
    for (const id of this.everybody()) this.#ask(id);
  }

  /** Those with a vote in this epoch are asked for a view change. They may all have left the group since; who had none is perhaps still a member. */
  askThoseWithoutVote(): void {
    for (const id of this.everybody()) if (!this.isElector(id)) this.#ask(id);
  }

  #mayTell(to: MemberId): boolean {
    const { now, options } = this.#r;
    if (now - (this.#toldAt.get(to) ?? -Infinity) < options.heartbeatMs) return false;
    this.#toldAt.set(to, now);
    return true;
  }

  // --- time ------------------------------------------------------------------------------------------------------------------

  tick(): void {
    const r = this.#r;
    if (r.phase === 'transitioning') this.advance();
    else if (r.phase === 'retired') this.#resendStartEpoch();
    else if (r.isPrimary && r.options.autoPromoteMs > 0) this.#promote();
  }

  #resendStartEpoch(): void {
    const r = this.#r;
    const next = this.#next;
    if (next === null || !this.#resend.running || !this.#resend.due(r.now)) return;
    // Also to those who have said so: if the others are gone, and with them the epoch, these know the later ones.
    for (const id of this.everybody()) r.send(id, { type: 'startEpoch', ...next });
  }

  /** A member with a vote has been gone for so long that an observer takes its place. */
  #promote(): void {
    const r = this.#r;
    if (!r.normal.serving || r.normal.closing || !this.complete) return;
    for (const m of electors(r.configuration)) {
      if (m.id === r.self || r.now - Math.max(r.heardAt(m.id), r.normal.openedAt) < r.options.autoPromoteMs) continue;
      const members = promotion(r.configuration, m, (id) => heirReadiness(r, id));
      if (members === null || refusal(r.configuration, members, (id) => readinessAmong(r, members, id), false) !== null) continue;
      r.event('promotes', { gone: m.id });
      this.#propose(members);
      return;
    }
  }

  /** The newest checkpoint that as many voters as every quorum has at least one of (f+1) are known to hold, or a later one (row 21). */
  get heldByVoters(): CheckpointId | undefined {
    const offers = voters(this.newest).flatMap((m) => this.#r.handOver.notices.offeredBy(m.id) ?? []).sort((a, b) => b.op - a.op);
    return offers[tolerated(this.newest)];
  }

  /** Who may have what this replica lacks: the members, and those of the epochs on the way to the newest. */
  everybody(): readonly MemberId[] {
    const r = this.#r;
    const all = this.#next === null ? r.configuration.members : this.#everybody(this.#next);
    return all.map((m) => m.id).filter((id) => id !== r.self);
  }

  /** Who may have the state. */
  donors(): readonly MemberId[] {
    const r = this.#r;
    const all = this.#next === null ? r.configuration.members : this.#everybody(this.#next);
    return all.filter((m) => m.id !== r.self && m.role !== 'witness').map((m) => m.id);
  }

  isElector(id: MemberId): boolean {
    return isElector(this.#r.configuration, id);
  }
}
