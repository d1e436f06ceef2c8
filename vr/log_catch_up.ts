/**
 * Log catch-up (VRR 5.2 and 4.2's "repair"): asking others for entries, in five situations that differ in when the
 * log may be touched.
 *
 *   append   normal, behind in its own view: entries continue the log at once
 *   gather   another view's log, or the suffix after a recovery: collected beside the log, installed as a whole with
 *            its view in one step; until then log and log-view stay as they are (rows 2 and 3)
 *   bridge   an epoch has begun, and what came before it is not all here: asked for by hash, of any member (row 20)
 *   fill     the log of a witness, or of a voter whose state is needed, ends before what the primary still has: what lies between is
 *            asked for by hash, of any member (row 21)
 *   repair   a new primary lacks bodies of the winning log: asked for by hash, of whoever voted (row 4)
 *
 * A bridge and a fill may be longer than a log, since a witness keeps its own from the oldest state on. Whoever answers them has the committed
 * entry that is asked for, or gives no more than it knows to be committed: so what has come is committed, also when it does not lead there
 * yet, and goes into the log in pieces (log_room.ts). Each ends what was asked for; what follows is asked for anew from the head of the log.
 */
import { assert, defined } from '../lib/assert.ts';
import { opNumber, type Digest, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { primaryOf } from './configuration.ts';
import type { Entry, Header } from './entry.ts';
import type { GetState, NewState } from './messages.ts';
import type { Replica } from './replica.ts';
import { Backoff } from './timeouts.ts';

/** Entries of one NewState, in bytes. */
const CHUNK_BYTES = 1 << 20;

interface Collected {
  readonly view: View;
  /** Own log up to here stays. */
  readonly keep: OpNumber;
  readonly entries: Entry[];
  at: OpNumber;
  hash: Digest;
}

type Task = { nonce: Buffer; progressAt: number } & (
  | { readonly kind: 'append'; readonly view: View }
  | ({ readonly kind: 'gather' } & Collected)
  /** `base`: where what the voters said of the winning log begins. */
  | ({ readonly kind: 'repair'; readonly commit: OpNumber; readonly base: OpNumber; readonly head: Header; readonly from: readonly Source[]; turn: number } & Collected)
  | ({ readonly kind: 'bridge'; readonly head: Header; readonly from: readonly Source[]; turn: number; bytes: number } & Collected)
  | ({ readonly kind: 'fill'; readonly head: Header; readonly from: readonly Source[]; turn: number; bytes: number; skipped: number } & Collected)
);

/** Who may have entries of the log that is asked for, and up to where. */
export interface Source {
  readonly id: MemberId;
  readonly head: Header;
}

/** Of whichever member still has it. */
interface ByHash {
  readonly view: View;
  readonly head: Header;
  readonly from: readonly MemberId[];
}

export class LogCatchUp {
  readonly #r: Replica;
  readonly #resend: Backoff;
  #task: Task | null = null;
  #askedAt = -Infinity;
  /** Whose turn it was last when anybody was asked: the next such task goes on from there, since a view change may end each before it comes round. */
  #turn = 0;

  constructor(replica: Replica) {
    this.#r = replica;
    this.#resend = new Backoff(replica.options.resendMs, replica.ports.random);
  }

  /** The view whose whole log is being collected. */
  get gathering(): View | null {
    return this.#task?.kind === 'gather' ? this.#task.view : null;
  }
  get bridging(): boolean {
    return this.#task?.kind === 'bridge';
  }
  get running(): boolean {
    return this.#task !== null;
  }
  /** Entries of the running task that have come. */
  get collected(): number {
    return this.#task !== null && 'entries' in this.#task ? this.#task.entries.length : 0;
  }
  /** When the last answer of the running task came. */
  get progressAt(): number {
    return this.#task?.progressAt ?? -Infinity;
  }

  cancel(): void {
    this.#task = null;
    this.#resend.stop();
  }

  /** The primary of this view is ahead of this log. */
  behind(): void {
    const r = this.#r;
    if (this.#task !== null || r.phase !== 'normal' || r.isPrimary || r.handOver.fetching || r.room.isFull()) return;
    this.#begin({ kind: 'append', view: r.view, ...this.#fresh() });
  }

  gather(c: { readonly view: View; readonly keep: OpNumber; readonly entries: readonly Entry[]; readonly after: OpNumber; readonly parent: Digest }): void {
    this.#begin({ kind: 'gather', view: c.view, keep: c.keep, entries: [...c.entries], at: c.after, hash: c.parent, ...this.#fresh() });
  }

  /**
   * Where all that was said of the winning log begins behind the own one, that may lead there, and who has what is between may have collected
   * what was before: first from the head of this log, then from what is committed.
   */
  repair(c: {
    readonly view: View; readonly keep: OpNumber; readonly entries: readonly Entry[]; readonly commit: OpNumber; readonly base: OpNumber; readonly head: Header;
    readonly from: readonly Source[];
  }): void {
    const { log } = this.#r;
    const keep = log.head < c.base ? log.head : c.keep;
    const last = c.entries.at(-1);
    const at = last?.op ?? keep;
    const hash = last?.hash ?? defined(log.hashAt(keep), 'kept entry');
    this.#begin({ ...c, kind: 'repair', keep, entries: [...c.entries], at, hash, turn: 0, ...this.#fresh() });
  }

  /**
   * To the start of an epoch. First from the head of this log, if that lies before it: who still has the entries behind the head may
   * have collected some of those before. They lead to the hash of the start only if all of this log is committed; else from there.
   */
  bridge(c: ByHash): void {
    this.#askAnybody('bridge', c);
  }

  /** To a committed entry, as far as a log may be missing something; goes on if it is being done, and waits for whatever else is. */
  fill(c: ByHash): void {
    if (this.#task === null) this.#askAnybody('fill', c);
  }
  /** Nothing else is under way. */
  get mayFill(): boolean {
    return this.#task === null || this.#task.kind === 'fill';
  }
  cancelFill(): void {
    if (this.#task?.kind === 'fill') this.cancel();
  }

  #askAnybody(kind: 'bridge' | 'fill', c: ByHash): void {
    const { commit, log } = this.#r;
    const from = c.from.map((id) => ({ id, head: c.head }));
    this.#collectFrom(kind, { ...c, from }, log.head < c.head.op ? log.head : commit);
  }

  #collectFrom(kind: 'bridge' | 'fill', c: { readonly view: View; readonly head: Header; readonly from: readonly Source[] }, keep: OpNumber): void {
    const hash = defined(this.#r.log.hashAt(keep), 'kept entry');
    const task = { view: c.view, head: c.head, from: c.from, keep, entries: [], bytes: 0, at: keep, hash, turn: this.#turn, ...this.#fresh() };
    this.#begin(kind === 'fill' ? { kind, skipped: 0, ...task } : { kind, ...task });
  }

  #fresh(): { nonce: Buffer; progressAt: number } {
    return { nonce: this.#r.ports.random.bytes(16), progressAt: this.#r.now };
  }

  #begin(task: Task): void {
    this.#task = task;
    this.#resend.start(this.#r.now);
    this.#ask(task);
  }

  #ask(task: Task): void {
    const r = this.#r;
    const { nonce, view } = task;
    this.#askedAt = r.now;
    if (task.kind === 'append') {
      r.send(r.primary, { type: 'getState', view, nonce, after: r.log.head, parent: r.log.headHash, repairHead: null });
    } else if (task.kind === 'gather') {
      r.send(primaryOf(r.configuration, view).id, { type: 'getState', view, nonce, after: task.at, parent: task.hash, repairHead: null });
    } else {
      const { id, head } = nextSource(task.from, task.turn, task.at);
      r.send(id, { type: 'getState', view, nonce, after: task.at, parent: task.hash, repairHead: head });
    }
  }

  /** Not where an answer may be on its way: what is asked anew is asked of the next. */
  onConnected(): void {
    const { now, options } = this.#r;
    if (now - this.#askedAt > options.resendMs) this.#resend.hasten(now);
  }

  tick(): void {
    const task = this.#task;
    if (task === null || !this.#resend.due(this.#r.now)) return;
    if ('skipped' in task) task.skipped = 0;
    this.#next(task);
  }

  #next(task: Task): void {
    if ('turn' in task) task.turn++;
    if (task.kind === 'fill' || task.kind === 'bridge') this.#turn = task.turn;
    this.#ask(task);
  }

  // --- answering -------------------------------------------------------------------------------------------------------

  onGetState(from: MemberId, m: GetState): void {
    const r = this.#r;
    const { nonce, after, repairHead, view } = m;
    if (repairHead === null && (r.phase !== 'normal' || view !== r.view || after > r.log.head)) return;
    const whole = repairHead === null || this.#leadsTo(repairHead);
    // Not all of it is here, or in another log; but what is committed is in all of them.
    if (!whole && (after < r.log.base || after >= r.commit)) return;
    if (after < r.log.base) {
      if (r.isWitness) return; // it has no state to give
      r.send(from, { type: 'newState', kind: 'checkpoint', view, nonce, checkpoint: r.handOver.told });
      return;
    }
    if (r.log.hashAt(after) !== m.parent) {
      r.send(from, { type: 'newState', kind: 'mismatch', view, nonce, after });
      return;
    }
    const upTo = repairHead?.op ?? r.log.head;
    const entries = r.log.slice(after, whole ? upTo : opNumber(Math.min(r.commit, upTo)), CHUNK_BYTES);
    r.send(from, { type: 'newState', kind: 'entries', view, nonce, after, parent: m.parent, entries, op: r.log.head, commit: r.commit });
  }

  /** The log, or what was collected of it, has this entry. */
  #leadsTo(head: Header): boolean {
    const { log, persistence } = this.#r;
    return head.op > log.base ? log.hashAt(head.op) === head.hash : head.op <= persistence.superblock.checkpoint.op;
  }

  // --- receiving -------------------------------------------------------------------------------------------------------

  onNewState(from: MemberId, m: NewState): void {
    const r = this.#r;
    const task = this.#task;
    if (task === null || !m.nonce.equals(task.nonce) || m.view !== task.view) return;
    task.progressAt = r.now;
    switch (m.kind) {
      case 'entries':
        if (task.kind === 'append') this.#onAppended(task, m);
        else this.#onCollected(task, m);
        return;
      case 'checkpoint':
        // Another member may have more of the log: once round, without waiting.
        if (task.kind === 'fill') {
          if (++task.skipped < task.from.length) this.#next(task);
          return;
        }
        this.cancel();
        if (task.kind === 'repair') r.viewChange.yieldView('the winning log starts beyond this one');
        else r.handOver.fetch(m.checkpoint, from);
        return;
      case 'mismatch':
        if ((task.kind === 'bridge' || task.kind === 'fill') && task.keep > r.commit) {
          this.#collectFrom(task.kind, task, r.commit);
          return;
        }
        if (task.kind === 'repair') {
          if (task.keep > r.commit && task.base > task.keep) this.#begin({ ...task, keep: r.commit, entries: [], at: r.commit, hash: defined(r.log.hashAt(r.commit), 'committed entry'), ...this.#fresh() });
          else this.#superseded();
          return;
        }
        // What is asked for starts at a committed op, or in the log of the same view: all have it alike.
        assert(false, `member ${from} has another entry at op ${m.after}, which is certain here`);
    }
  }

  #onAppended(task: Task, m: Extract<NewState, { kind: 'entries' }>): void {
    const r = this.#r;
    if (r.phase !== 'normal' || r.view !== m.view || m.after > r.log.head) return;
    const fresh = m.entries.slice(Math.max(0, r.log.head - m.after));
    for (const e of fresh) r.log.append(e);
    if (fresh.length > 0) r.persistence.append(fresh);
    r.normal.learnCommit(m.commit);
    // Full: the next heart-beat asks again when there is room.
    if (r.log.head >= m.op || r.room.isFull()) {
      this.cancel();
      return;
    }
    task.nonce = r.ports.random.bytes(16);
    this.#resend.start(r.now);
    this.#ask(task);
  }

  #onCollected(task: Exclude<Task, { kind: 'append' }>, m: Extract<NewState, { kind: 'entries' }>): void {
    const r = this.#r;
    if (m.after !== task.at || m.parent !== task.hash) return;
    for (const e of m.entries) {
      task.entries.push(e);
      if ('bytes' in task) task.bytes += e.bytes.length;
    }
    const last = m.entries.at(-1);
    if (last !== undefined) {
      task.at = last.op;
      task.hash = last.hash;
    }
    const target = task.kind === 'gather' ? m.op : task.head.op;
    const isWhole = task.at >= target;
    if (!isWhole && !('bytes' in task && r.room.isEnough(task.entries.length, task.bytes))) {
      task.nonce = r.ports.random.bytes(16);
      this.#resend.start(r.now);
      this.#ask(task);
      return;
    }
    if (task.kind === 'repair' && task.hash !== task.head.hash) {
      this.#superseded();
      return;
    }
    assert(task.kind === 'gather' || !isWhole || task.hash === task.head.hash, 'what is committed leads to the header that was asked for');
    this.cancel();
    if (task.kind === 'bridge') {
      r.reconfiguration.onBridged(task.keep, task.entries);
      return;
    }
    if (task.kind === 'fill') {
      r.handOver.onFilled(task.keep, task.entries, isWhole);
      return;
    }
    const commit = task.kind === 'gather' ? m.commit : task.commit;
    r.viewChange.install({ view: task.view, keep: task.keep, entries: task.entries, commit });
  }

  /** Who voted with the log that won has gone on to a later view, and has other entries committed in its place: this view will not begin. */
  #superseded(): void {
    this.cancel();
    this.#r.viewChange.yieldView('another log is committed in the place of the winning one');
  }
}

/** As from this turn, the first who has more than what is there; each may have another part of it. */
function nextSource(from: readonly Source[], turn: number, at: OpNumber): Source {
  const inTurn = (i: number): Source => defined(from[(turn + i) % from.length], 'a member to ask');
  for (let i = 0; i < from.length; i++) if (inTurn(i).head.op > at) return inTurn(i);
  return inTurn(0);
}
