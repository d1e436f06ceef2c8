/**
 * The view change (VRR 4.2).
 *
 * A backup that suspects the primary says StartViewChange but stays normal until a quorum says the same: a replica
 * that alone cannot hear the primary disturbs nobody (PROTOCOL row 22). What it has said is durable, so that a crash
 * cannot make it take part below it (row 1). When a quorum agrees it leaves its view for good: that promise is durable
 * before DoViewChange is sent, and DoViewChange never varies within a view. The new primary takes the winning
 * log (log_selection.ts), asks for bodies that it lacks (log_claim.ts), installs it in one step and starts the view.
 */
import { assert, defined } from '../lib/assert.ts';
import { view as viewOf, viewEpoch, type Digest, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { primaryOf } from './configuration.ts';
import type { Entry, Header } from './entry.ts';
import type { Source } from './log_catch_up.ts';
import { assemble, claimHead, commonHead, extendBack, makeClaim } from './log_claim.ts';
import { selectLog } from './log_selection.ts';
import type { DoViewChange, GetView, LogClaim, StartView, StartViewChange } from './messages.ts';
import { quorumPoint } from './quorum.ts';
import type { Replica } from './replica.ts';
import { Backoff, SilenceDetector } from './timeouts.ts';

const NO_NONCE = Buffer.alloc(0);
/** Of a word that is repeated with back-off: longest interval with jitter, and one loss, in units of the first interval. */
const LONGEST_RESEND = 48;

export class ViewChange {
  readonly #r: Replica;
  readonly silence: SilenceDetector;
  readonly #resend: Backoff;
  /** StartViewChange: the highest view that each said, and when it said so last. */
  readonly #said = new Map<MemberId, { view: View; at: number }>();
  /** What this replica says; durable before it is sent. */
  #saying: View;
  #sayingDurable: View;
  /** What was broadcast last since this suspicion began. */
  #announced = -1;
  #announcedLeft: View | null = null;
  #suspecting = false;
  #suspectingSince = 0;
  /** In status view-change: this replica left a view of its own accord, rather than following others into a newer one. */
  #left = false;
  /** Status view-change: this replica promised to act in no lower view; its DoViewChange for the present view. */
  #vote: DoViewChange | null = null;
  #voteDurable = false;
  #attempts = 0;
  #deadline = Infinity;
  readonly #votes = new Map<MemberId, DoViewChange>();
  /** Learning about a view that others are in already: the question that is out. */
  #asking: { readonly view: View; readonly nonce: Buffer } | null = null;
  readonly #askAgain: Backoff;
  /** The highest view in which its primary has been heard while this replica was not normal in it. */
  #begun: View | null = null;
  #begunAt = -Infinity;
  #installing = false;
  /** A quorum wants another view, and this replica is bound to the primary for a moment yet. */
  #waitsForLease = false;

  constructor(replica: Replica) {
    this.#r = replica;
    const { options, ports } = replica;
    this.silence = new SilenceDetector(options.viewChangeMs, ports.random);
    this.#resend = new Backoff(options.resendMs, ports.random);
    this.#askAgain = new Backoff(options.resendMs, ports.random);
    this.#saying = replica.persistence.superblock.view;
    this.#sayingDurable = this.#saying;
  }

  // --- where messages of the primary are admitted ----------------------------------------------------------------------

  /** Whether a Prepare or Commit is of the primary of the view in which this replica is normal. */
  fromPrimary(from: MemberId, v: View): boolean {
    const r = this.#r;
    if (v < r.view || from !== primaryOf(r.configuration, v).id) return false;
    if (v > r.view || r.phase !== 'normal') {
      // The view is alive without this replica: however long its log takes to fetch, that is no reason to end it.
      if (v === r.view) {
        this.#begun = v;
        this.#begunAt = r.now;
        this.#deadline = r.now + this.#patience();
      }
      this.#learn(v);
      return false;
    }
    this.silence.heard(r.now);
    if (this.#suspecting) this.#stopSuspecting();
    return true;
  }

  /** The present view works, and all that is missing here is its log. */
  get follows(): boolean {
    return this.#r.phase === 'view-change' && this.#begun === this.#r.view;
  }

  /** And it worked a moment ago: its primary sends heart-beats meanwhile. */
  get lacksLog(): boolean {
    return this.follows && this.#fresh(this.#begunAt);
  }

  #stopSuspecting(): void {
    this.#suspecting = false;
    this.#announced = -1;
    this.#resend.stop();
  }

  /** The log is this view's and the status normal. */
  onNormal(): void {
    const r = this.#r;
    this.#stopSuspecting();
    this.#vote = null;
    this.#votes.clear();
    this.#asking = null;
    this.#askAgain.stop();
    this.#attempts = 0;
    this.#deadline = Infinity;
    this.#installing = false;
    this.silence.restart(r.now);
  }

  /** The member restarted: votes of its former life do not count (row 1). */
  forget(member: MemberId): void {
    this.#said.delete(member);
    this.#votes.delete(member);
  }

  /** The epoch is over: nothing that was said in it counts any more. */
  quit(): void {
    this.onNormal();
    this.#said.clear();
    this.#left = false;
  }

  /** In the first view of an epoch, durably. */
  startEpoch(first: View): void {
    this.#saying = first;
    this.#sayingDurable = first;
  }

  // --- StartViewChange -------------------------------------------------------------------------------------------------

  /** Says StartViewChange for a view at least `v`, once that is durable. */
  #say(v: number): void {
    const r = this.#r;
    if (v > this.#saying) {
      this.#saying = viewOf(v);
      const said = this.#saying;
      r.persistence.writeSuperblock({ view: said }, () => {
        if (said > this.#sayingDurable) this.#sayingDurable = said;
        this.#sendStartViewChange();
        this.#leaveWhenAgreed();
      });
    } else {
      // Said already. Repeating it here would answer each word with a word, for ever; the timer repeats.
      if (this.#announced < this.#saying || this.#announcedLeft !== this.#leftView()) this.#sendStartViewChange();
      this.#leaveWhenAgreed();
    }
    if (!this.#resend.running) this.#resend.start(r.now);
  }

  /** The view below which this replica cannot go back. */
  #leftView(): View | null {
    const { phase, view: v } = this.#r;
    // Who is normal in a view, and suspects its primary, goes back to no lower one either.
    return phase === 'normal' || (phase === 'view-change' && this.#left) ? v : null;
  }

  #sendStartViewChange(): void {
    const r = this.#r;
    if (this.#sayingDurable < this.#saying || (r.phase === 'normal' ? !this.#suspecting : !this.#left)) return;
    this.#announced = this.#saying;
    this.#announcedLeft = this.#leftView();
    r.ports.network.broadcast(r.otherElectors, { type: 'startViewChange', view: this.#saying, left: this.#announcedLeft });
  }

  #suspect(): void {
    const r = this.#r;
    if (!this.#suspecting) r.event('suspects', { view: r.view, silentMs: this.silence.silence(r.now) });
    this.#suspectNow();
    this.#say(Math.max(r.view + 1, this.#saying));
  }

  #suspectNow(): void {
    if (!this.#suspecting) this.#suspectingSince = this.#r.now;
    this.#suspecting = true;
  }

  onStartViewChange(from: MemberId, m: StartViewChange): void {
    const r = this.#r;
    if (!r.isElector || !r.reconfiguration.isElector(from)) return;
    if (m.view < (this.#said.get(from)?.view ?? 0)) return; // overtaken by a later word
    this.#said.set(from, { view: m.view, at: r.now });
    if (m.left !== null) r.leases.onLeft(from, m.left);
    if (m.view <= r.view) {
      // It left for a view that has begun meanwhile, or is still at the one that begins now.
      if (m.left !== null && r.isPrimary && r.normal.open) this.#sendStartView(from, NO_NONCE);
      if (m.view < r.view || r.phase === 'normal') return;
    }
    if (m.view > r.view && this.#joins(from, m)) {
      this.#suspectNow();
      this.#say(m.view);
    }
    this.#leaveWhenAgreed();
  }

  /** Whether another's word is enough: it cannot go back, or the primary looks dead from here too, or a quorum says so. */
  #joins(from: MemberId, m: StartViewChange): boolean {
    const r = this.#r;
    if ((m.left !== null && m.left > r.view) || this.#suspecting || r.phase === 'view-change') return true;
    if (!r.isPrimary && this.silence.doubtful(r.now)) return true;
    let others = 0;
    for (const [id, said] of this.#said) if (id === from || (said.view >= m.view && this.#fresh(said.at))) others++;
    return others >= r.quorum;
  }

  /** A word counts for a while only: it is repeated as long as the suspicion lasts. */
  #fresh(at: number): boolean {
    const { viewChangeMs, resendMs } = this.#r.options;
    return this.#r.now - at <= Math.max(viewChangeMs * 4, resendMs * LONGEST_RESEND);
  }

  /** Leaves when a quorum, this replica durably included, says a view above the present one (or this one, if not voted yet). */
  #leaveWhenAgreed(): void {
    const r = this.#r;
    if (!r.isElector || (r.phase !== 'view-change' && (r.phase !== 'normal' || !this.#suspecting))) return;
    const views: number[] = [this.#sayingDurable];
    for (const said of this.#said.values()) if (this.#fresh(said.at)) views.push(said.view);
    const agreed = quorumPoint(views, r.quorum);
    const leaves = agreed > r.view || (agreed === r.view && r.phase === 'view-change' && this.#vote === null && !this.#installing);
    // Row 18: a vote would break what was granted to the primary. The next ticks try again.
    this.#waitsForLease = leaves && r.leases.bound;
    if (leaves && !this.#waitsForLease) this.#leave(viewOf(agreed));
  }

  /** Leaves the present view on its own account: a primary that abdicates, a replica that must not go back. */
  leaveFor(v: number): void {
    const r = this.#r;
    r.transition('view-change');
    this.#enterView(viewOf(v), true);
    this.#say(v);
  }

  /** Out of normal operation until the primary of view `v`, or of a later one, has been heard: without a vote, and without ending a view that works. */
  follow(v: View): void {
    const r = this.#r;
    r.transition('view-change');
    this.#enterView(v, false);
    this.#learn(v);
  }

  /** After a restart: it had promised this view. */
  resume(v: View): void {
    this.leaveFor(v);
  }

  /** Gives up the present view: nothing of it is acknowledged or executed as its primary any more. */
  #enterView(v: View, left: boolean): void {
    const r = this.#r;
    r.view = v;
    this.#left = left;
    r.normal.leave();
    r.catchUp.cancel();
    this.#suspecting = true;
    this.#vote = null;
    this.#installing = false;
    for (const [id, vote] of this.#votes) if (vote.view < v) this.#votes.delete(id);
    this.#deadline = r.now + this.#patience();
    if (!this.#resend.running) this.#resend.start(r.now);
  }

  /** Doubles with each attempt that came to nothing. */
  #patience(): number {
    const { options, ports } = this.#r;
    const base = options.viewChangeMs * 2 ** Math.min(this.#attempts, 5);
    return base + (ports.random.uint32() % base);
  }

  // --- DoViewChange ----------------------------------------------------------------------------------------------------

  #leave(v: View): void {
    const r = this.#r;
    r.event('view-change', { from: r.view, to: v });
    r.transition('view-change');
    this.#enterView(v, true);
    if (v > this.#saying) this.#say(v);
    const vote: DoViewChange = { type: 'doViewChange', view: v, logView: r.logView, op: r.log.head, commit: r.commit, claim: this.#claim() };
    this.#vote = vote;
    this.#voteDurable = false;
    // The log of the message is durable first, then the promise, then the message (PROTOCOL section 2).
    r.persistence.afterJournal(() => {
      if (this.#vote !== vote) return;
      r.persistence.writeSuperblock({ view: viewOf(Math.max(v, r.persistence.superblock.view)), promisedView: v }, () => {
        if (this.#vote !== vote) return;
        this.#voteDurable = true;
        this.#sendVote(vote);
      });
    });
  }

  #claim(): LogClaim {
    const { log, commit, options } = this.#r;
    return makeClaim(log, commit, { headers: options.claimHeaders, bodyBytes: options.claimBytes });
  }

  #sendVote(vote: DoViewChange): void {
    const r = this.#r;
    const primary = primaryOf(r.configuration, vote.view).id;
    if (!this.#voteDurable) return;
    if (primary !== r.self) r.send(primary, vote);
    else if (!this.#votes.has(r.self)) {
      this.#votes.set(r.self, vote);
      this.#startWhenElected();
    }
  }

  onDoViewChange(from: MemberId, m: DoViewChange): void {
    const r = this.#r;
    if (primaryOf(r.configuration, m.view).id !== r.self || m.view < r.view || !r.reconfiguration.isElector(from)) return;
    if (m.view === r.view && r.phase === 'normal') {
      // Row 16: its StartView was lost.
      if (r.normal.open) this.#sendStartView(from, NO_NONCE);
      return;
    }
    if (m.view < (this.#votes.get(from)?.view ?? 0)) return;
    this.#votes.set(from, m);
    if (m.view > r.view) {
      // The sender left with a quorum's agreement.
      this.#said.set(from, { view: m.view, at: r.now });
      this.#suspectNow();
      this.#say(m.view);
    }
    this.#startWhenElected();
  }

  #startWhenElected(): void {
    const r = this.#r;
    if (r.phase !== 'view-change' || !this.#votes.has(r.self) || r.primary !== r.self || this.#installing) return;
    const votes = new Map([...this.#votes].filter(([, vote]) => vote.view === r.view));
    if (votes.size < r.quorum) return;
    if (!r.execution.ready) {
      this.yieldView('the state is being fetched');
      return;
    }
    const { message, commit, winner } = selectLog(votes);
    const bodies = new Map<Digest, Entry>();
    for (const vote of votes.values()) for (const e of vote.claim.entries) bodies.set(e.hash, e);
    const claim = extendBack(message.claim, [...votes.values()].map((vote) => vote.claim));
    const built = assemble(r.log, r.commit, claim, bodies);
    r.event('elected', { view: r.view, winner, op: message.op, missing: message.op - built.at });
    this.#installing = true;
    if (built.complete) {
      this.install({ view: r.view, keep: built.keep, entries: built.entries, commit });
      return;
    }
    const head = message.claim.headers.at(-1) ?? { op: message.claim.base, view: message.logView, hash: message.claim.baseHash };
    r.catchUp.repair({ view: r.view, keep: built.keep, entries: built.entries, commit, base: claim.base, head, from: votersToAsk(votes, claim, head, winner, r.self) });
  }

  /** A new primary whose log or state lies too far back lets the next one try (row 9). */
  yieldView(reason: string): void {
    const r = this.#r;
    if (r.phase !== 'view-change') return;
    r.event('yields', { view: r.view, reason });
    this.#attempts++;
    this.#deadline = r.now + this.#patience();
    this.#left = true;
    this.#say(r.view + 1);
  }

  /** The view's log, whole: replaces the log and raises the log-view in one step (rows 2, 3, 6), as primary or backup. */
  install(log: { readonly view: View; readonly keep: OpNumber; readonly entries: readonly Entry[]; readonly commit: OpNumber }): void {
    const r = this.#r;
    assert(log.view >= r.view, 'a log of a view that is over');
    assert(log.keep >= r.commit || log.keep + log.entries.length >= r.commit, 'a log that ends below what is committed here');
    r.view = log.view;
    const { keep, hash, entries } = r.log.replaceBehind(log.keep, log.entries);
    r.persistence.install(log.view, keep, hash, entries);
    r.logView = log.view;
    r.transition('normal');
    r.commit = Math.max(r.commit, Math.min(log.commit, r.log.head)) as OpNumber;
    r.event('normal', { view: r.view, op: r.log.head, commit: r.commit, primary: r.primary });
    r.normal.enter();
    // Clients of the primary that has gone have asked everybody by now, and would ask again only when their answers are overdue.
    r.ports.network.welcomeAgain();
    r.execution.run();
  }

  /** The new primary's log is durable. */
  sendStartViews(): void {
    for (const id of this.#r.others) this.#sendStartView(id, NO_NONCE);
  }

  // --- StartView, GetView ----------------------------------------------------------------------------------------------

  #sendStartView(to: MemberId, nonce: Buffer): void {
    const r = this.#r;
    r.send(to, { type: 'startView', view: r.view, op: r.log.head, commit: r.commit, claim: this.#claim(), nonce });
  }

  onStartView(from: MemberId, m: StartView): void {
    const r = this.#r;
    if (from !== primaryOf(r.configuration, m.view).id || m.view < r.view || (m.view === r.view && r.phase === 'normal')) return;
    // Below what is promised, or below what is known to be committed: a late copy.
    if (m.view < r.persistence.superblock.promisedView || m.op < r.commit) return;
    assert(claimHead(m.claim) === m.op, 'a StartView names its head');
    if (m.view > r.view || r.catchUp.gathering !== m.view) {
      r.transition('view-change');
      if (m.view > r.view) this.#enterView(m.view, false);
      this.#begun = m.view;
      this.#begunAt = r.now;
      // The state comes first: when it is there, the view's log is asked for from it on.
      if (r.handOver.fetching) {
        this.#deadline = r.now + this.#patience();
        return;
      }
      const built = assemble(r.log, r.commit, m.claim, new Map());
      this.#asking = null;
      this.#askAgain.stop();
      this.silence.restart(r.now);
      this.#deadline = r.now + this.#patience();
      if (built.complete) this.install({ view: m.view, keep: built.keep, entries: built.entries, commit: m.commit });
      else r.catchUp.gather({ view: m.view, keep: built.keep, entries: built.entries, after: built.at, parent: built.hash });
    }
  }

  onGetView(from: MemberId, m: GetView): void {
    const r = this.#r;
    if (r.isPrimary && r.normal.open && m.view <= r.view) this.#sendStartView(from, m.nonce);
  }

  /** Others are in view `v`: asks its primary for the log. */
  #learn(v: View): void {
    const r = this.#r;
    if (r.catchUp.gathering === v || r.handOver.fetching || primaryOf(r.configuration, v).id === r.self) return;
    if (this.#asking !== null && this.#asking.view >= v) return;
    this.#asking = { view: v, nonce: r.ports.random.bytes(16) };
    this.#askAgain.start(r.now);
    this.#ask();
  }

  #ask(): void {
    const r = this.#r;
    const asking = defined(this.#asking ?? undefined, 'question');
    r.send(primaryOf(r.configuration, asking.view).id, { type: 'getView', view: asking.view, nonce: asking.nonce });
  }

  /** The state or log that was being fetched has come: ask anew where the group is. */
  askAgain(): void {
    const r = this.#r;
    if (r.phase !== 'view-change') return;
    this.#asking = null;
    this.#learn(r.view);
  }

  /** A peer's recovery names a floor above this view: the group has to pass it (row 1). */
  passFloor(floor: View): void {
    // Only the primary acts: a backup's wish would lapse with its next message. It leaves, so the others follow.
    if (this.#r.isPrimary) this.leaveFor(floor);
  }

  /** Whoever could not hear this replica can now: it need not wait until the next time that it would say again what it says. */
  onConnected(): void {
    this.#resend.hasten(this.#r.now);
  }

  // --- time --------------------------------------------------------------------------------------------------------------

  tick(): void {
    const r = this.#r;
    if (r.phase !== 'normal' && r.phase !== 'view-change') return;
    if (this.#asking !== null && this.#askAgain.due(r.now)) {
      if (this.#asking.view < r.view) this.#asking = null;
      else this.#ask();
    }
    if (this.#waitsForLease) this.#leaveWhenAgreed();
    if (r.phase === 'normal') {
      if (r.isElector && !r.isPrimary && !this.#suspecting && this.silence.suspicious(r.now)) this.#suspect();
    } else if (r.now >= this.#deadline && viewEpoch(r.view) > r.configuration.epoch) {
      // What it has is of an epoch that it has not begun, and in which it has no voice (row 20): whoever is in it says where it begins.
      this.#deadline = r.now + this.#patience();
      r.reconfiguration.askForLater();
    } else if (r.now >= this.#deadline && !r.isElector) {
      // It has no voice: it goes on asking.
      this.#deadline = r.now + this.#patience();
      this.askAgain();
    } else if (r.now >= this.#deadline) {
      // One view further at the most, whoever answers: a lone replica does not run away.
      this.#attempts++;
      this.#deadline = r.now + this.#patience();
      this.#left = true;
      this.#say(Math.max(r.view + 1, this.#saying));
    }
    if (this.#resend.running && this.#resend.due(r.now)) this.#resendAll();
  }

  #resendAll(): void {
    const r = this.#r;
    // A primary hears no heart-beat that would calm it: others' wish for a view change lapses when it finds no quorum.
    if (r.isPrimary && r.now - this.#suspectingSince > r.options.viewChangeMs * 4) this.#stopSuspecting();
    this.#sendStartViewChange();
    r.reconfiguration.askThoseWithoutVote();
    this.#leaveWhenAgreed();
    if (r.phase === 'view-change' && this.#vote?.view === r.view) this.#sendVote(this.#vote);
  }
}

/** The winner first: it has all the bodies, but may have collected the oldest, which others still have. */
function votersToAsk(votes: ReadonlyMap<MemberId, DoViewChange>, claim: LogClaim, head: Header, winner: MemberId, self: MemberId): Source[] {
  const ids = [...votes.keys()].filter((id) => id !== self).sort((a, b) => Number(b === winner) - Number(a === winner));
  return ids.map((id) => ({ id, head: commonHead(claim, defined(votes.get(id), 'vote').claim) ?? head }));
}
