/**
 * Checkpoints (VRR 5.1): when one is taken, what may be forgotten once it is durable, and how a peer's is taken over when
 * the log it would take is gone.
 */
import { assert } from '../lib/assert.ts';
import { opNumber, viewEpoch, type MemberId, type OpNumber } from '../lib/ids.ts';
import { CheckpointNotices, NOTICE_MS } from './checkpoint_notices.ts';
import { electors, memberOf, primaryOf, voters } from './configuration.ts';
import type { Entry } from './entry.ts';
import type { CheckpointNotice } from './messages.ts';
import type { Replica } from './replica.ts';
import type { Status } from './replica_types.ts';
import type { CheckpointId } from './superblock.ts';
import { Backoff } from './timeouts.ts';

/** How long a transfer waits for a quorum to tell the same root; a peer tells its own at least once in that time. */
const CONFIRM_MS = NOTICE_MS + 500;
const WARN_AGAIN_MS = 300_000;
/** How long the log up to a checkpoint is asked for in vain, in units of the interval of re-sends. */
const VAIN_RESENDS = 10;
/** In which a voter may be given the log instead of a state. */
const FILLED_IN: readonly Status[] = ['normal', 'view-change', 'transitioning'];

export class CheckpointHandOver {
  readonly #r: Replica;
  readonly notices: CheckpointNotices;
  /** The newest checkpoint that is in the records here; null: none is, or this is a witness. */
  #held: CheckpointId | null;
  #taking = false;
  /** Points since the last one that was taken. */
  #leftOut = 0;
  #target: CheckpointId | null = null;
  /** The target has been handed to the port. */
  #started = false;
  /** Since when the target waits for a quorum that tells its root. */
  #waitingSince = 0;
  /** The way to the target is by log: since when none of it has come, and how much has. */
  #filling: { since: number; collected: number } | null = null;
  /** There was a whole state when the transfer began. */
  #hadState = false;
  /** Once a transfer has changed anything the table is between two states: nothing but another transfer helps. */
  readonly #retry: Backoff;
  #failed: CheckpointId | null = null;
  #noticeAt = 0;
  /** The last checkpoint but one: of the log up to there nothing is needed here. */
  #dispensable = opNumber(0);
  #warnAgainAt = 0;

  constructor(replica: Replica, state: CheckpointId | null) {
    this.#r = replica;
    this.#held = state;
    this.#retry = new Backoff(replica.options.resendMs, replica.ports.random);
    this.notices = new CheckpointNotices(replica, state);
  }

  /**
   * What this replica tells the others of: what its superblock names, or what is here. Whoever has lost its records may have been given an
   * older state than that.
   */
  get told(): CheckpointId {
    const { checkpoint } = this.#r.persistence.superblock;
    return this.#held !== null && this.#held.op < checkpoint.op && !this.#r.isWitness ? this.#held : checkpoint;
  }

  get taking(): boolean {
    return this.#taking;
  }
  get fetching(): boolean {
    return this.#target !== null;
  }

  /** The state is exactly at a checkpoint point. While the last one is not durable yet this one is left out. */
  onPoint(entry: Entry): void {
    const r = this.#r;
    // While the log is filled the state is in use: without checkpoints nothing of that log could be forgotten.
    if (this.#taking || (this.#target !== null && this.#filling === null)) {
      this.#leftOut++;
      r.event('checkpoint-skipped', { op: entry.op });
      return;
    }
    this.#taking = true;
    r.ports.checkpoints.take({ op: entry.op, entryHash: entry.hash, view: entry.view, time: entry.time }, this.#leftOut);
    this.#leftOut = 0;
  }

  onDurable(id: CheckpointId): void {
    const r = this.#r;
    assert(this.#taking, 'a checkpoint that was not asked for');
    this.#taking = false;
    this.#held = id;
    r.event('checkpoint', { op: id.op });
    this.notices.remember(id);
    // It has become a witness meanwhile: it keeps no state, and its log goes by what the voters hold.
    if (r.isWitness) return;
    const previous = r.persistence.superblock.checkpoint.op;
    if (id.op > previous) r.persistence.writeSuperblock({ checkpoint: id }, () => { this.#collect(previous); });
    this.#tell();
    this.#start();
  }

  /** Log at or below the last checkpoint but one goes, but for what peers that are a little behind, or fetch a checkpoint, may still ask for. */
  #collect(previous: OpNumber): void {
    const { keeping, log, ports } = this.#r;
    this.#dispensable = previous;
    if (previous <= log.base) return;
    const retained = keeping.retained();
    const least = opNumber(Math.max(log.base, Math.min(previous, retained.after)));
    const upTo = log.firstWithin(retained.bytes, least, opNumber(Math.min(previous, log.head)));
    log.collect(upTo);
    ports.journal.collect(upTo);
  }

  /** Less of it has to stay than at the last checkpoint. */
  collectAgain(): void {
    if (this.#r.execution.ready) this.#collect(opNumber(Math.min(this.#dispensable, this.#r.executed)));
  }

  // --- taking over a peer's --------------------------------------------------------------------------------------------

  /**
   * The log from here on is gone at the peers: takes over their checkpoint. The log and log-view stay as they are meanwhile. The root
   * is what the transfer trusts, so it should be a quorum's: a member whose state has gone astray would hand it on. See #start.
   * `from`: the member that told of it.
   */
  fetch(target: CheckpointId, from?: MemberId): void {
    const r = this.#r;
    if (from !== undefined) this.notices.note(from, target);
    if (this.#target !== null) return;
    if (r.execution.ready && target.op <= r.executed) {
      r.event('checkpoint-not-ahead', { op: target.op, executed: r.executed });
      return;
    }
    if (r.phase !== 'recovering' && !r.reconfiguration.untrusted && target.op < r.log.base) {
      // Older than this log, of which nothing may go: what lies between is not here. The group's next checkpoint will do.
      r.event('checkpoint-too-old', { op: target.op, base: r.log.base });
      return;
    }
    const disputed = this.notices.disputing(target);
    if (disputed !== null && !this.notices.isConfirmed(target)) {
      r.event('checkpoint-disputed', { op: target.op, member: disputed });
      return;
    }
    if (r.isWitness && viewEpoch(target.view) > r.reconfiguration.newest.epoch) {
      // A state would bring its configuration with it. What a witness may begin its log behind depends on whose state that is.
      r.event('checkpoint-of-later-epoch', { op: target.op, epoch: viewEpoch(target.view) });
      r.reconfiguration.askForLater();
      return;
    }
    this.#target = target;
    this.#started = false;
    this.#waitingSince = r.now;
    if (r.isWitness) {
      this.#fillOrPassOver();
      return;
    }
    if (this.#isNeeded()) {
      this.#filling = { since: r.now, collected: 0 };
      // Whoever holds a newer one answers with it. The next tick goes on, when it is known who does.
      if (r.phase !== 'transitioning') this.#tell();
    } else {
      this.#transfer(target);
    }
  }

  #transfer(target: CheckpointId): void {
    const r = this.#r;
    this.#hadState = r.execution.ready;
    r.execution.ready = false;
    r.keeping.ask(target.op);
    r.event('state-transfer', { from: r.executed, to: target.op });
    // Whoever holds a newer one answers with it. (After a restart they have done so by themselves, and what a replica without a
    // log says of its checkpoint may not be so.)
    if (!this.notices.isConfirmed(target) && (r.phase === 'normal' || r.phase === 'view-change')) this.#tell();
    this.#start();
  }

  /**
   * Whether the state here may be one of the last: while a transfer lasts there is none here, and with witnesses among the electors fewer
   * voters may be up to date than f failures take away. It is not when f+1 others are known to hold more than is here: of all that give
   * theirs up at once these are not behind the one that has most, so they have theirs. Otherwise the log is asked for first, which a witness keeps
   * from the oldest state on (row 21); one that does not have it counts because f+1 others hold more than is here.
   */
  #isNeeded(): boolean {
    const { configuration, execution, phase, reconfiguration, self } = this.#r;
    if (!execution.ready || reconfiguration.untrusted || !FILLED_IN.includes(phase)) return false;
    const both = [configuration, reconfiguration.newest];
    if (!both.some((c) => memberOf(c, self)?.role === 'voter') || both.every((c) => voters(c).length === electors(c).length)) return false;
    return (reconfiguration.heldByVoters?.op ?? 0) <= execution.executed;
  }

  #fill({ op, view, entryHash: hash }: CheckpointId): void {
    const r = this.#r;
    r.catchUp.fill({ view: r.view, head: { op, view, hash }, from: r.reconfiguration.everybody() });
  }

  #goOnFilling(): void {
    const r = this.#r;
    const filling = this.#filling;
    const target = this.#target;
    if (filling === null || target === null) return;
    if (r.log.hashAt(target.op) === target.entryHash) {
      this.#onReached(target.op);
      return;
    }
    if (!FILLED_IN.includes(r.phase) || r.isPrimary || target.op <= r.executed) {
      // Another way has led on from there.
      this.#target = null;
      this.#filling = null;
      r.catchUp.cancelFill();
      this.#goOn();
      return;
    }
    const { collected } = r.catchUp;
    const { mayCollect } = r.room;
    // It may have been elected meanwhile, and repair the log of its view.
    if (collected > filling.collected || !r.catchUp.mayFill || !mayCollect) filling.since = r.now;
    filling.collected = collected;
    const isNeeded = this.#isNeeded();
    if (isNeeded && r.now - filling.since <= r.options.resendMs * VAIN_RESENDS) {
      if (mayCollect) this.#fill(target);
      return;
    }
    if (isNeeded) r.event('log-not-given', { op: target.op });
    this.#filling = null;
    r.catchUp.cancel();
    this.#transfer(target);
  }

  /** There is no state here that could be taken over: the newest that is offered. */
  fetchNewest(): void {
    const offer = this.#newestOffer();
    if (offer !== null) this.fetch(offer);
  }

  /**
   * A witness has no state that could be taken over: what its log lacks is asked of whoever still has it, member after member. Its
   * log may begin behind the checkpoint without that when nobody needs what was before (row 21).
   */
  #fillOrPassOver(): void {
    const r = this.#r;
    if (this.#target === null || this.#started) return;
    const target = this.#nearest(this.#target);
    this.#target = target;
    if (r.log.hashAt(target.op) === target.entryHash) {
      // All of it is here, and now it is known to be committed.
      this.#onReached(target.op);
    } else if (this.#mayPassOver(target.op)) {
      this.#started = true;
      r.catchUp.cancel();
      // The superblock is all the state that a witness has: durable before its log begins there.
      const checkpoint = target.op > r.persistence.superblock.checkpoint.op ? target : r.persistence.superblock.checkpoint;
      r.persistence.writeSuperblock({ heldByAll: opNumber(Math.max(target.op, r.persistence.superblock.heldByAll)), checkpoint }, () => {
        if (this.#target === target) this.onInstalled(target);
      });
    } else {
      this.#fill(target);
    }
  }

  /** The newest checkpoint may be that of a few: behind an older one, that enough voters hold, others may have the log that goes on. */
  #nearest(target: CheckpointId): CheckpointId {
    const { heldByVoters: held, newest } = this.#r.reconfiguration;
    if (held === undefined || held.op <= this.#r.log.head || held.op >= target.op || viewEpoch(held.view) > newest.epoch || this.#mayPassOver(target.op)) return target;
    return held;
  }

  /**
   * That is so when as many voters as any quorum has at least one of hold it on disk. Or, without having heard of them: when this log is
   * whole as far as it goes. Then a quorum has what was committed without this witness behind its head, which is f+1, so one of them is
   * left after f failures; provided that no other witness has passed over the same, so only one of them may. (Of an epoch that
   * begins that is known only of what is behind its start, if before that other members made up the quorum.)
   */
  #mayPassOver(op: OpNumber): boolean {
    const r = this.#r;
    if (op <= (r.reconfiguration.heldByVoters?.op ?? -1)) return true;
    const witnesses = r.reconfiguration.newest.members.filter((m) => m.role === 'witness');
    if (witnesses.some((m) => m.id < r.self)) return false;
    const { epochStart, heldByAll } = r.persistence.superblock;
    // In an earlier epoch another one may have been the one that may.
    if (witnesses.some((m) => m.id !== r.self) && (r.phase === 'transitioning' || heldByAll < (epochStart?.op ?? 0))) return false;
    return r.phase === 'normal' || r.phase === 'view-change' || (r.phase === 'transitioning' && r.reconfiguration.committedByNext(op));
  }

  /** What the log of a witness, or of a voter whose state is needed, lacked has come, or a piece of it: `entries` follow op `keep` and are committed. */
  onFilled(keep: OpNumber, entries: readonly Entry[], isWhole: boolean): void {
    const r = this.#r;
    const last = entries.at(-1);
    if (last !== undefined && r.log.hashAt(last.op) === last.hash) {
      // Prepares that came late have brought it meanwhile, and maybe more, which is acknowledged.
      this.#onReached(last.op, isWhole);
      return;
    }
    const log = r.log.replaceBehind(keep, entries);
    // While it recovers nothing is journaled, as with a state that has come. The beginning of an epoch journals all of it.
    if (r.phase === 'transitioning') r.reconfiguration.onRebased();
    else if (r.phase !== 'recovering') r.persistence.install(r.logView, log.keep, log.hash, log.entries);
    this.#onReached(r.log.head, isWhole);
  }

  /** The log has everything up to here, and it is committed. If that is not all that was asked for, what follows has to be asked for anew. */
  #onReached(op: OpNumber, isAll = true): void {
    const r = this.#r;
    this.#target = null;
    this.#filling = null;
    r.catchUp.cancel();
    r.commit = opNumber(Math.max(r.commit, op));
    r.event(isAll ? 'log-filled' : 'log-filled-in-part', { op });
    r.execution.run();
    this.#goOn();
  }

  /**
   * Row 21: what a witness's log lacks has to be in the state of enough of those who keep one, before anybody counts on it. Once
   * known it stays so within the epoch, also when one of them is gone for good, and after a restart: so it has to be durable.
   */
  get counts(): boolean {
    const { isWitness, log, persistence, reconfiguration } = this.#r;
    if (!isWitness) return true;
    const isKnown = log.base <= persistence.superblock.heldByAll;
    if (!isKnown && log.base <= (reconfiguration.heldByVoters?.op ?? -1)) persistence.writeSuperblock({ heldByAll: log.base });
    return isKnown && log.base <= persistence.heldByAll;
  }

  /** Row 21: a witness keeps its log from the oldest state that it may be needed for. */
  #collectWitness(): void {
    const r = this.#r;
    let oldest: CheckpointId | null = null;
    let last: MemberId | null = null;
    for (const m of r.configuration.members) {
      if (m.role !== 'voter') continue;
      const offer = this.notices.offeredBy(m.id);
      if (offer === undefined) {
        this.#warnOfLength(m.id);
        return;
      }
      if (oldest === null || offer.op < oldest.op) [oldest, last] = [offer, m.id];
    }
    if (last !== null) this.#warnOfLength(last);
    const previous = r.persistence.superblock.checkpoint.op;
    if (oldest === null || oldest.op <= previous || oldest.op > r.executed || r.log.hashAt(oldest.op) !== oldest.entryHash) return;
    r.persistence.writeSuperblock({ checkpoint: oldest, heldByAll: oldest.op }, () => { this.#collect(previous); });
  }

  /** The whole log of a witness is in its memory, and it must not be cut: others than this voter may be gone when it comes back. */
  #warnOfLength(waitsFor: MemberId): void {
    const r = this.#r;
    if (r.log.bytes < r.options.maxLogBytes || r.now < this.#warnAgainAt) return;
    this.#warnAgainAt = r.now + WARN_AGAIN_MS;
    r.event('witness-log-long', { bytes: r.log.bytes, ops: r.log.head - r.log.base, waitsFor });
  }

  /**
   * The transfer begins when a quorum has told the target's root, or so few can tell that there will be none (the others are down, or
   * are witnesses), or those that can have not within the time in which each tells its newest checkpoint. Peers that take theirs
   * quickly pass the target by meanwhile, and collect it: then one that they have agreed on since takes its place, or at last the
   * newest. Waiting for each in turn until it is gone, this replica would chase the group for ever.
   */
  #start(): void {
    const r = this.#r;
    if (this.#target === null || this.#started || this.#filling !== null || this.#taking || r.isWitness) return;
    if (!this.notices.isConfirmed(this.#target)) {
      const agreed = this.notices.beyond(this.#target, (offer) => this.notices.isConfirmed(offer) && this.notices.isFollowed(offer));
      if (agreed === null && r.now - this.#waitingSince < CONFIRM_MS && this.notices.mayBeConfirmed(this.#target, this.#waitingSince)) return;
      this.#target = agreed ?? this.notices.beyond(this.#target, (offer) => offer.root !== this.#failed?.root) ?? this.#target;
    }
    const target = this.#target;
    if (!this.notices.isConfirmed(target)) {
      const disputed = this.notices.disputing(target);
      if (disputed !== null) {
        r.event('checkpoint-disputed', { op: target.op, member: disputed });
        this.onFetchFailed(`member ${disputed} has told another root for the checkpoint of op ${target.op}`, true);
        return;
      }
      r.event('checkpoint-unconfirmed', { op: target.op, told: this.notices.tellers(target), quorum: r.quorum });
    }
    this.#started = true;
    const donors = r.reconfiguration.donors();
    // In an epoch that begins: who leads it at first. While this replica was away, or recovers, the others may have gone on to a later view.
    const { newest, newestView } = r.reconfiguration;
    const latest = this.notices.latestView(newest.epoch);
    const primary = primaryOf(newest, latest !== null && latest > newestView ? latest : newestView).id;
    r.ports.checkpoints.fetch({ donors, lastResort: r.phase !== 'joining' && donors.includes(primary) ? primary : null, target });
  }

  onInstalled(id: CheckpointId): void {
    const r = this.#r;
    assert(this.#target !== null && id.op === this.#target.op && id.root === this.#target.root, 'another checkpoint was installed than asked for');
    this.#target = null;
    this.#held = id;
    // It may be an older state than the one before.
    this.#dispensable = opNumber(0);
    this.#retry.stop();
    // What was being collected started below this checkpoint.
    r.catchUp.cancel();
    this.notices.remember(id);
    r.event('state-installed', { op: id.op });
    if (r.phase === 'recovering' || r.reconfiguration.untrusted) {
      // Its log is whatever follows its state, also when this is an older state than the one before. Nothing is journaled:
      // it may have acknowledged more than this in its log-view, and the journal must go on to say that it is damaged
      // until the recovery has installed a whole log.
      r.log.reset(id.op, id.entryHash);
      r.commit = id.op;
    } else {
      // A log that ends below the checkpoint, or differs from what was committed there, begins anew behind it. The
      // log-view stays: up to here all logs agree, and nothing more is claimed (row 3).
      if (r.log.hashAt(id.op) !== id.entryHash) {
        r.log.reset(id.op, id.entryHash);
        r.persistence.install(r.logView, id.op, id.entryHash, []);
      }
      r.commit = opNumber(Math.max(r.commit, id.op));
    }
    if (r.phase === 'transitioning') r.reconfiguration.onRebased();
    r.execution.reset(id);
    r.persistence.afterJournal(() => {
      // A slow journal may have let a newer checkpoint pass.
      if (id.op > r.persistence.superblock.checkpoint.op) r.persistence.writeSuperblock({ checkpoint: id }, () => { if (this.#tells()) this.#tell(); });
    });
    if (!r.reconfiguration.onStateLoaded()) this.#goOn();
  }

  /** If it has changed nothing, the replica goes on with what it had until it asks again: others may have the log that it lacks. */
  onFetchFailed(reason: string, intact: boolean): void {
    const r = this.#r;
    r.event('state-transfer-failed', { reason });
    this.#failed = this.#target;
    this.#target = null;
    this.#retry.start(r.now);
    if (intact && this.#hadState) r.execution.ready = true;
    if (r.phase === 'transitioning') r.reconfiguration.askForLater();
  }

  /** The newest checkpoint that a peer is known to have; the one that failed if there is none. */
  #newestOffer(): CheckpointId | null {
    return this.notices.newest() ?? this.#failed;
  }

  #goOn(): void {
    const r = this.#r;
    if (r.phase === 'transitioning') r.reconfiguration.advance();
    else if (r.phase === 'recovering') r.recovery.begin();
    else if (r.phase === 'view-change') r.viewChange.askAgain();
    else r.catchUp.behind();
  }

  tick(): void {
    const r = this.#r;
    if (this.#tells() && r.now - this.#noticeAt >= NOTICE_MS) this.#tell();
    if (r.isWitness) this.#fillOrPassOver();
    this.#goOnFilling();
    this.#start();
    if (!this.#retry.running || this.#target !== null || !this.#retry.due(r.now)) return;
    const offer = this.#newestOffer();
    if (r.execution.ready) this.#retry.stop();
    if (r.execution.ready || r.phase === 'recovering' || r.phase === 'transitioning' || offer === null) this.#goOn();
    else this.fetch(offer);
  }

  /** Of what is on disk here, whatever the log is worth: others may wait for it (row 21). A recovery may have had to begin with an older state. */
  #tells(): boolean {
    const { phase, execution, persistence } = this.#r;
    return phase === 'normal' || phase === 'view-change' || (phase === 'recovering' && execution.ready && execution.executed >= persistence.superblock.checkpoint.op);
  }

  /** It has just come (back), and knows nothing of what the others hold. */
  introduce(to: MemberId): void {
    const { view, isWitness } = this.#r;
    if (!isWitness) this.#r.send(to, { type: 'checkpointNotice', view, checkpoint: this.told });
  }

  #tell(): void {
    this.#noticeAt = this.#r.now;
    // A witness has no checkpoint of its own.
    if (!this.#r.isWitness) this.#r.broadcast({ type: 'checkpointNotice', view: this.#r.view, checkpoint: this.told });
  }

  onCheckpointNotice(from: MemberId, m: CheckpointNotice): void {
    this.notices.heard(from, m);
    // It may be looking for somebody who confirms what it is to take over.
    const { phase } = this.#r;
    if ((phase === 'normal' || phase === 'view-change') && m.checkpoint.op < this.told.op) this.introduce(from);
    this.#start();
    if (this.#r.isWitness && this.#target === null) this.#collectWitness();
  }
}
