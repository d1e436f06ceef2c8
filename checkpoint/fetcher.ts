/**
 * Brings the own tree to a checkpoint that donors hold, fetching what differs and nothing else.
 *
 * The walk goes down from the root, whose hash the caller trusts. What a donor says of a node is filled up from the own
 * tree where it says "unchanged", and used only when it hashes to what the verified node above said. If it does not,
 * the node is asked for in full (the donor's hints may be of no use: an interrupted transfer, another history of
 * checkpoints); if a full answer does not hash right either, the donor is lying or damaged, and gets no more requests.
 *
 * Verified changes are written through the ordinary checkpoint path from time to time. So whatever happens, the own
 * tree describes the own records, and to resume is to compare again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { assert, defined } from '../lib/assert.ts';
import type { Digest, OpNumber } from '../lib/ids.ts';
import { onlyTheMoment } from '../lib/promises.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import type { RecordChange } from './checkpoint_writer.ts';
import { DonorPool, type NodesAnswer, type PooledDonor, type PoolLimits, type Question } from './donor_pool.ts';
import type { DonorConnection, FetchOptions, FetchReport } from './fetch_report.ts';
import { rootHash } from './hashes.ts';
import { recordsOf, type NodeSource, type Top } from './merkle_tree.ts';
import type { Slices } from './slices.ts';
import { MAX_ITEMS, isFollowed, tellsAll, toldChildren, type AnswerNodes, type NodeAnswer, type NodeRequest, type TopAnswer } from './transfer_messages.ts';
import { findInner, findPage, recordsInRange, type Range } from './tree_walk.ts';
import { isAscending, verifyInner, verifyPage, withOwnMemory, type VerifiedChange, type WantedNode } from './verify.ts';

/** The tree that is brought to the target. */
export interface OwnTree {
  readonly source: NodeSource;
  top(): Top;
  /** The checkpoint whose records the own ones are, apart from ranges that an earlier transfer has replaced; null: none. */
  readonly base: OpNumber | null;
  /** An earlier transfer has replaced some of them: what follows a node unasked may be here already. */
  readonly isMixed: boolean;
  /** Writes verified changes, sorted by key, durably; `final` when the target is complete with them. */
  install(changes: readonly RecordChange[], final: CheckpointInfo | null): Promise<void>;
}

export interface FetchTarget {
  readonly op: OpNumber;
  readonly root: Digest;
}

export interface FetcherLimits extends PoolLimits {
  /** Nodes asked for at once. */
  readonly maxItems: number;
  /** Verified changes are written when they exceed this many bytes; each counts for CHANGE_BYTES at least. */
  readonly installBytes: number;
}

export const DEFAULT_FETCHER_LIMITS: FetcherLimits = {
  maxItems: 512, maxAnswerBytes: 4 << 20, answerMs: 10_000, deferMs: 60_000, requestsPerDonor: 4, installBytes: 4 << 20,
};

/** Own records looked at in one turn of the event loop, to delete them. */
const CLEAR_RECORDS = 1024;
/** What a verified change takes in memory at least, about. */
const CHANGE_BYTES = 128;
/** With few nodes left a request more costs more than what is gained by asking two donors. */
const LEAST_ITEMS = 16;
/** Of what an answer may have, behind the first: several are under way with each donor, and all of them have to come in the time of one. */
const SIDE_BY_SIDE = 0.5;

/** A node that is to be fetched, and how much of the target it is. */
type Wanted = WantedNode & { readonly share: number };

/** The next answer: where its node stands, and what it must hash to. */
interface Expected {
  readonly place: NodeRequest;
  readonly node: Wanted | null;
}

/** Own records to be deleted: those in `range` outside of `except`, and not of the keys `only`. */
interface Clear {
  readonly range: Range;
  readonly except: Range | null;
  readonly only: ReadonlySet<string> | null;
}

/** Nodes that were asked for together, of one donor; of a second one only at the end, when the first is slow (DonorPool.standIn). */
interface Lot {
  /** Not found right yet. */
  readonly open: Set<Wanted>;
  readonly asks: Set<Ask>;
}

interface Ask {
  readonly lot: Lot;
  readonly donor: PooledDonor;
  readonly items: readonly Wanted[];
  /** Another donor has answered. */
  readonly unwanted: AbortController;
}

/** A request that has ended. */
interface Round {
  readonly ask: Ask;
  readonly answer: NodesAnswer | null;
}

/** An answer to the first request, with the top in it. */
interface TopRound {
  readonly donor: PooledDonor;
  readonly answer: NodesAnswer;
  readonly top: TopAnswer;
}

/** Of what one answers who is asked for the top beside a slow one. */
const STAND_IN_BYTES = 64 << 10;

const ANOTHER_ANSWERED = 'another donor has answered';
const WHOLE: Range = { prefix: Buffer.alloc(0), bits: 0 };

export class Fetcher {
  readonly #target: FetchTarget;
  readonly #own: OwnTree;
  readonly #pool: DonorPool;
  readonly #options: FetchOptions;
  readonly #limits: FetcherLimits;
  readonly #slices: Slices;
  /** Lowest stamp of interest; behind full nodes nothing follows unasked unless it is 0. */
  readonly #since: number;
  readonly #underWay = new Map<Ask, Promise<Round>>();
  // What is left to do, the next at the end: depth first, so that it stays short.
  readonly #wanted: Wanted[] = [];
  readonly #clears: Clear[] = [];
  // Verified, not written yet: sorted each, and no key twice.
  #runs: RecordChange[][] = [];
  #gatheredBytes = 0;
  readonly #total = { recordBytes: 0, recordsChanged: 0 };
  #verified = 0;
  /** Shares of the target that were fetched, and that were here. */
  #fetched = 0;
  #present = 0;
  /** Records of the target; by how many it had more than the own tree, so that so many have to come at least; and how many have come. */
  #count = 0;
  #more = 0;
  #come = 0;
  readonly #startedAt = performance.now();

  constructor(target: FetchTarget, own: OwnTree, donors: readonly DonorConnection[], options: FetchOptions, limits: FetcherLimits, slices: Slices) {
    this.#target = target;
    this.#own = own;
    this.#options = options;
    this.#limits = limits;
    this.#slices = slices;
    this.#pool = new DonorPool(target, donors, limits, options.signal);
    this.#since = own.base === null ? (own.isMixed ? 1 : 0) : own.base + 1;
  }

  /** Rejects with TargetGone, FetchFailed, the signal's reason, or the database's error. */
  async run(): Promise<FetchReport> {
    try {
      const header = await this.#begin();
      this.#progress();
      while (this.#wanted.length > 0 || this.#clears.length > 0 || this.#underWay.size > 0) {
        await this.#clear();
        this.#send();
        this.#sendAgain();
        const round = await this.#nextRound();
        if (round === null) continue;
        await this.#onRound(round);
        this.#progress();
      }
      const final: CheckpointInfo = { op: this.#target.op, root: this.#target.root, extra: header.extra, count: header.count };
      await this.#install(final);
    } finally {
      this.#pool.close();
      // Whatever ended the transfer, requests that were broken off are not waited for by anybody else.
      await Promise.allSettled(this.#underWay.values());
    }
    const stateBytes = this.#own.top()?.recordBytes ?? 0;
    return { ...this.#pool.traffic, ...this.#total, stateBytes, milliseconds: performance.now() - this.#startedAt, donors: this.#pool.reports() };
  }

  /** Asks for the root's content and the top node, until some donor's answer hashes to the root. */
  async #begin(): Promise<TopAnswer> {
    const { base, isMixed } = this.#own;
    let full = base === null || isMixed;
    for (;;) {
      const { donor, answer, top } = await this.#askForTop(full);
      this.#count = top.count;
      if (this.#come === 0) this.#more = top.count - recordsOf(this.#own.top());
      if (top.top === null) {
        this.#clears.push({ range: WHOLE, except: null, only: null });
        this.#present = 1;
        return top;
      }
      const wanted: Wanted = { ...top.top.place, hash: top.top.hash, range: WHOLE, full, share: 1 };
      if (this.#own.top()?.hash.equals(wanted.hash) === true) {
        this.#present = 1;
        return top;
      }
      // The top is what the root says if its node hashes right; of the rest, what is wrong is asked for again.
      const [left] = await this.#use([{ node: wanted, place: wanted }], answer.nodes, donor);
      if (left === null) return top;
      if (full && donor.usable) donor.blame('its top node does not hash to the root');
      full = true;
    }
  }

  /**
   * The first answer whose top hashes to the root. Everything waits for it: when all who were asked are slow, one that has nothing to do is asked too, for little, since
   * it may be the own line that is slow.
   */
  async #askForTop(full: boolean): Promise<TopRound> {
    // Of a mixed tree the top alone: most of what would follow may be here.
    const question: Question = { ...this.#target, since: this.#since, maxBytes: this.#own.isMixed ? 1 : null, top: full ? 'full' : 'changed', items: [] };
    const unwanted = new AbortController();
    const asked = new Map<PooledDonor, Promise<TopRound | null>>();
    const ask = (donor: PooledDonor, maxBytes: number): void => {
      const round = this.#pool.ask(donor, { ...question, maxBytes: Math.min(question.maxBytes ?? Infinity, maxBytes) }, unwanted.signal).then((answer) => {
        asked.delete(donor);
        return answer === null ? null : this.#topOf(donor, answer);
      });
      round.catch(onlyTheMoment);
      asked.set(donor, round);
    };
    try {
      for (;;) {
        if (asked.size === 0) ask(await this.#donorForTop(), Infinity);
        const now = performance.now();
        const areSlow = [...asked.keys()].every((donor) => this.#pool.isSlow(donor, now));
        const idle = areSlow ? this.#pool.standIn() : null;
        // One whose request has ended this moment is here still.
        const standIn = idle !== null && !asked.has(idle) ? idle : null;
        if (standIn !== null) ask(standIn, STAND_IN_BYTES);
        // Asked just now, it is slow no sooner than `answerMs` from now.
        const wait = areSlow && standIn === null ? this.#pool.standInMs() : this.#pool.slowInMs(now) ?? this.#limits.answerMs;
        const first = await this.#firstOf([...asked.values()], wait);
        if (first !== null) return first;
      }
    } finally {
      unwanted.abort(new Error(ANOTHER_ANSWERED));
      await Promise.allSettled(asked.values());
    }
  }

  /** Null, and the donor is not asked again: what it says is not what the root is of. */
  #topOf(donor: PooledDonor, answer: NodesAnswer): TopRound | null {
    const top = defined(answer.top ?? undefined, 'the top that was asked for');
    const { op, root } = this.#target;
    if (rootHash(op, top.count, top.extra, top.top?.hash ?? null) === root) return { donor, answer, top };
    donor.blame('what it says of the root does not hash to it');
    return null;
  }

  async #donorForTop(): Promise<PooledDonor> {
    for (;;) {
      this.#options.signal?.throwIfAborted();
      const donor = this.#pool.next();
      if (donor !== null) return donor;
      this.#slices.pause();
      await sleep(this.#pool.waitMs() ?? 0, undefined, { signal: this.#options.signal }).catch(() => { this.#options.signal?.throwIfAborted(); });
      this.#slices.begin();
    }
  }

  /** As many requests as donors take, with an equal part each of what is known to be wanted. */
  #send(): void {
    this.#options.signal?.throwIfAborted();
    if (this.#wanted.length === 0) return;
    for (let slots = this.#pool.slots; slots > 0 && this.#wanted.length > 0; slots--) {
      const donor = this.#pool.next();
      if (donor === null) return;
      const part = Math.max(LEAST_ITEMS, Math.ceil(this.#wanted.length / slots));
      const items = this.#wanted.splice(-Math.min(part, this.#limits.maxItems, MAX_ITEMS)).reverse().map((node) => this.#asAsked(node));
      this.#ask(donor, { open: new Set(items), asks: new Set() });
    }
  }

  #ask(donor: PooledDonor, lot: Lot): void {
    const ask: Ask = { lot, donor, items: [...lot.open], unwanted: new AbortController() };
    const maxBytes = Math.ceil(this.#limits.maxAnswerBytes * SIDE_BY_SIDE);
    const round = this.#pool.ask(donor, { ...this.#target, since: this.#since, maxBytes, top: 'no', items: ask.items }, ask.unwanted.signal)
      .then((answer): Round => ({ ask, answer }));
    lot.asks.add(ask);
    this.#underWay.set(ask, round);
    // It rejects when the transfer is broken off, perhaps while nobody waits for it; who does next sees it.
    round.catch(onlyTheMoment);
  }

  /** Nothing is left but what donors were asked for: one that has nothing to do is asked for what a slow one has not sent, too. */
  #sendAgain(): void {
    if (this.#wanted.length > 0) return;
    for (const ask of this.#late(performance.now())) {
      const donor = this.#pool.standIn();
      if (donor === null) return;
      this.#ask(donor, ask.lot);
    }
  }

  /** What slow donors were asked for, and nobody else. */
  #late(now: number): Ask[] {
    return [...this.#underWay.keys()].filter(({ lot, donor }) => lot.asks.size === 1 && this.#pool.isSlow(donor, now));
  }

  /** Milliseconds until there may be something to do without a request's end; null: nothing. */
  #waitMs(): number | null {
    // By one clock: who turns out slow in between would be waited for.
    const now = performance.now();
    const free = this.#wanted.length > 0 ? this.#pool.waitMs() : this.#late(now).length > 0 ? this.#pool.standInMs() : null;
    const slow = this.#pool.slowInMs(now);
    return free === null || slow === null ? free ?? slow : Math.min(free, slow);
  }

  // In full, so that nothing follows unasked of which a part may be here already.
  #asAsked(node: Wanted): Wanted {
    return this.#own.isMixed && node.kind === 'inner' ? { ...node, full: true } : node;
  }

  /** The next request that ends; null: a donor that wanted to be left alone may be asked again, one has turned out slow, or there is other work. */
  async #nextRound(): Promise<Round | null> {
    const ends = [...this.#underWay.values()];
    const wait = this.#waitMs();
    return ends.length === 0 && wait === null ? null : this.#firstOf(ends, wait);
  }

  /** What ends first; null: none has within `waitMs` (null: for ever). */
  async #firstOf<T>(ends: readonly Promise<T | null>[], waitMs: number | null): Promise<T | null> {
    const timer = new AbortController();
    const late = waitMs === null ? [] : [sleep(waitMs, null, { signal: timer.signal })];
    this.#slices.pause();
    try {
      return await Promise.race([...ends, ...late]);
    } finally {
      timer.abort();
      this.#slices.begin();
    }
  }

  async #onRound({ ask, answer }: Round): Promise<void> {
    const { lot, donor, items } = ask;
    this.#underWay.delete(ask);
    lot.asks.delete(ask);
    // Another donor's answer was used.
    if (lot.open.size === 0) return;
    let left = items.map((node) => (lot.open.has(node) ? node : null));
    if (answer !== null) {
      if (answer.nodes.isDone) donor.blame('it answers with nothing');
      left = await this.#use(items.map((place, i) => ({ node: left[i] ?? null, place })), answer.nodes, donor);
      for (const [i, item] of items.entries()) if (left[i] === null) lot.open.delete(item);
    }
    // What did not come, or was wrong, may come from the other donor that was asked for it.
    if (lot.open.size > 0 && lot.asks.size > 0 && (answer === null || !donor.usable)) return;
    for (const { unwanted } of lot.asks) unwanted.abort(new Error(ANOTHER_ANSWERED));
    lot.asks.clear();
    lot.open.clear();
    for (let i = left.length - 1; i >= 0; i--) if (left[i] !== null) this.#wanted.push(left[i] as Wanted);
  }

  /**
   * Uses the answers for what is `asked` and for what follows it (transfer_messages.ts). Returns what of `asked` is still to be asked for, and how, null where
   * it is nothing; what follows goes back by itself. `donor`: whom to blame for what cannot be read, and for a full answer that is wrong.
   */
  async #use(asked: readonly Expected[], nodes: AnswerNodes, donor: PooledDonor): Promise<(Wanted | null)[]> {
    // In the order of the answers; null: of no interest, because it is equal to the own or its parent's answer was wrong.
    const expected: Expected[] = [...asked];
    const left = asked.map(({ node }) => node);
    let at = 0;
    for (; !nodes.isDone; at++) {
      const { node = null, place } = expected[at] ?? {};
      const decoded = nodes.next(place, node !== null);
      if (!decoded.ok) {
        donor.blame(`an answer that cannot be read: ${decoded.reason}`);
        break;
      }
      const answer = decoded.value;
      const children = node === null || answer === null ? null : this.#take(node, answer);
      if (node !== null && answer !== null && children === null) {
        if (node.full || tellsAll(answer)) donor.blame(`its ${node.kind} at ${node.bits} bits does not hash to what the node above says`);
        if (at < left.length) left[at] = { ...node, full: true };
        else this.#wanted.push({ ...node, full: true });
      }
      if (at < left.length && children !== null) left[at] = null;
      if (answer?.kind === 'inner' && place !== undefined && isFollowed({ since: this.#since }, place)) {
        const told = toldChildren(place, answer.slots);
        for (const [i, child] of told.entries()) expected.push({ node: children === null ? null : this.#filter(children[i] as Wanted), place: child });
      } else if (children !== null) {
        for (const child of children) {
          const wanted = this.#filter(child);
          if (wanted !== null) this.#wanted.push(wanted);
        }
      }
      await this.#relieve();
    }
    for (at = Math.max(at, left.length); at < expected.length; at++) {
      const { node } = expected[at] as Expected;
      if (node !== null) this.#wanted.push(node);
    }
    return left;
  }

  /** Uses an answer if it hashes right, and gives the children that it tells of; otherwise null. */
  #take(wanted: Wanted, answer: NodeAnswer): readonly Wanted[] | null {
    if (answer.kind !== wanted.kind) return null;
    const { source } = this.#own;
    const top = this.#own.top();
    if (answer.kind === 'page') {
      const page = verifyPage(source, top, wanted, answer);
      if (page === null) return null;
      this.#settle(page.changes);
      if (page.only !== null) this.#clears.push({ range: { prefix: wanted.prefix, bits: wanted.bits }, except: null, only: page.only });
      this.#verified++;
      this.#fetched += wanted.share;
      return [];
    }
    const found = verifyInner(source, top, wanted, answer);
    if (found === null) return null;
    this.#verified++;
    // Outside of the node's prefix there is nothing in its range.
    if (wanted.bits > wanted.range.bits) this.#clears.push({ range: wanted.range, except: { prefix: wanted.prefix, bits: wanted.bits }, only: null });
    for (const range of found.empty) this.#clears.push({ range, except: null, only: null });
    if (found.children.length === 0) this.#fetched += wanted.share;
    return found.children.map((child) => ({ ...child, share: wanted.share / found.children.length }));
  }

  // What is equal to an own node in the same place need not be fetched: null.
  #filter(node: Wanted): Wanted | null {
    const { source } = this.#own;
    const top = this.#own.top();
    if (node.kind === 'page') {
      if (findPage(source, top, node.prefix, node.bits)?.hash.equals(node.hash) !== true) return node;
    } else {
      if (findInner(source, top, node.prefix, node.bits >> 2)?.hash.equals(node.hash) !== true) return node;
      this.#clears.push({ range: node.range, except: { prefix: node.prefix, bits: node.bits }, only: null });
    }
    this.#present += node.share;
    return null;
  }

  async #clear(): Promise<void> {
    for (let clear = this.#clears.pop(); clear !== undefined; clear = this.#clears.pop()) {
      const { range, except, only } = clear;
      for (let after: Buffer | null | undefined = null; after !== undefined; ) {
        this.#options.signal?.throwIfAborted();
        const records = recordsInRange(this.#own.source, this.#own.top(), { range, except, after }, CLEAR_RECORDS);
        const gone = only === null ? records : records.filter(({ key }) => !only.has(key.latin1Slice(0, key.length)));
        this.#settle(gone.map(({ key }): VerifiedChange => ({ key, value: null, entry: null })));
        await this.#relieve();
        after = records.length < CLEAR_RECORDS ? undefined : records.at(-1)?.key;
      }
    }
  }

  /** Whatever has to be done before more is verified: what was is written when it is much, and others have their turn. */
  async #relieve(): Promise<void> {
    if (this.#gatheredBytes >= this.#limits.installBytes) await this.#install(null);
    if (this.#slices.over) await this.#slices.giveWay();
  }

  /** Changes of keys that no other changes are of. */
  #settle(changes: readonly VerifiedChange[]): void {
    if (changes.length === 0) return;
    const run = withOwnMemory(changes);
    // They mostly are in order.
    if (!isAscending(run)) run.sort((a, b) => a.key.compare(b.key));
    this.#runs.push(run);
    this.#total.recordsChanged += run.length;
    for (const { key, value, size } of run) {
      if (value !== null) this.#come++;
      this.#total.recordBytes += key.length + size;
      this.#gatheredBytes += Math.max(CHANGE_BYTES, key.length + size);
    }
  }

  async #install(final: CheckpointInfo | null): Promise<void> {
    if (this.#runs.length === 0 && final === null) return;
    const runs = this.#runs.sort((a, b) => keyOfFirst(a).compare(keyOfFirst(b)));
    this.#runs = [];
    this.#gatheredBytes = 0;
    const changes = runs.flat();
    if (!runs.every((run, i) => i === 0 || (runs[i - 1]?.at(-1) as RecordChange).key.compare(keyOfFirst(run)) < 0)) {
      // What is deleted around records that stay or come is a run of its own.
      changes.sort((a, b) => a.key.compare(b.key));
      assert(isAscending(changes), 'each key is settled once');
    }
    await this.#own.install(changes, final);
  }

  #progress(): void {
    const { onProgress } = this.#options;
    if (onProgress === undefined) return;
    const asked = new Set([...this.#underWay.keys()].map(({ lot }) => lot));
    const wanted = [...asked].reduce((n, { open }) => n + open.size, this.#wanted.length);
    const milliseconds = performance.now() - this.#startedAt;
    // A node's share says nothing of how much lies below it: a corner of the tree may hold most of the records. But so many are left at least.
    const left = Math.max(0, this.#more - this.#come);
    const shares = Math.min(1, this.#present + this.#fetched);
    const settled = left === 0 ? shares : Math.min(shares, 1 - left / this.#count);
    const [toDo, done] = settled < shares ? [left, this.#come] : [1 - shares, this.#fetched];
    onProgress({
      ...this.#pool.traffic, ...this.#total, verified: this.#verified, wanted, settled, milliseconds,
      etaMs: done === 0 ? null : milliseconds * toDo / done,
    });
  }
}

function keyOfFirst(run: readonly RecordChange[]): Buffer {
  return (run[0] as RecordChange).key;
}
