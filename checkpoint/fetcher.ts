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
import { assert, defined } from '../lib/assert.ts';
import type { Digest, OpNumber } from '../lib/ids.ts';
import { decodeAnswer, encodeRequest, MAX_ITEMS, toldChildren, type AvailableCheckpoint, type NodeAnswer, type NodeRequest, type TopAnswer, type TransferAnswer } from './transfer_messages.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import { FetchFailed, TargetGone, type DonorConnection, type DonorReport, type FetchOptions, type FetchReport } from './fetch_report.ts';
import { rootHash } from './hashes.ts';
import type { NodeSource, Top } from './merkle_tree.ts';
import { Overlay } from './overlay.ts';
import type { Slices } from './slices.ts';
import { findInner, findPage, recordsInRange, type Range } from './tree_walk.ts';
import { verifyInner, verifyPage, type WantedNode } from './verify.ts';

/** The tree that is brought to the target. */
export interface OwnTree {
  readonly source: NodeSource;
  top(): Top;
  /** The checkpoint whose records the own ones are, apart from ranges that an earlier transfer has replaced; null: none. */
  readonly base: OpNumber | null;
  /** Writes verified changes durably; `final` when the target is complete with them. */
  install(changes: Overlay, final: CheckpointInfo | null): Promise<void>;
}

export interface FetchTarget {
  readonly op: OpNumber;
  readonly root: Digest;
}

export interface FetcherLimits {
  /** Nodes asked for at once, and about how many bytes a donor shall answer. */
  readonly maxItems: number;
  readonly maxAnswerBytes: number;
  /** Verified changes are written when they exceed this many bytes. */
  readonly installBytes: number;
}

export const DEFAULT_FETCHER_LIMITS: FetcherLimits = { maxItems: 512, maxAnswerBytes: 4 << 20, installBytes: 2 << 20 };

/** Failures of the connection before a donor is given up. */
const MAX_FAILURES = 3;
/** Own records deleted at a time. */
const CLEAR_RECORDS = 8192;

interface Donor {
  readonly connection: DonorConnection;
  readonly report: { name: string; requests: number; bytesReceived: number; error: string | null };
  failures: number;
  usable: boolean;
}

/** The next answer: where its node stands, and what it must hash to. */
interface Expected {
  readonly place: NodeRequest;
  readonly node: WantedNode | null;
}

/** Own records to be deleted: those in `range` outside of `except`. */
interface Clear {
  readonly range: Range;
  readonly except: Range | null;
}

export class Fetcher {
  readonly #target: FetchTarget;
  readonly #own: OwnTree;
  readonly #donors: Donor[];
  readonly #options: FetchOptions;
  readonly #limits: FetcherLimits;
  readonly #slices: Slices;
  #turn = 0;
  // What is left to do, the next at the end: depth first, so that it stays short.
  readonly #wanted: WantedNode[] = [];
  readonly #clears: Clear[] = [];
  // Verified, not written yet. An overlay sorts as it grows: no long sort of all at once.
  #changes = new Overlay();
  readonly #available = new Map<OpNumber, AvailableCheckpoint>();
  readonly #total = { requests: 0, bytesReceived: 0, bytesSent: 0, recordBytes: 0, recordsChanged: 0 };
  readonly #startedAt = performance.now();

  constructor(target: FetchTarget, own: OwnTree, donors: readonly DonorConnection[], options: FetchOptions, limits: FetcherLimits, slices: Slices) {
    this.#target = target;
    this.#own = own;
    this.#options = options;
    this.#limits = limits;
    this.#slices = slices;
    this.#donors = donors.map((connection) => ({
      connection,
      report: { name: connection.name, requests: 0, bytesReceived: 0, error: null },
      failures: 0,
      usable: true,
    }));
  }

  /** Rejects with TargetGone, FetchFailed, the signal's reason, or the database's error. */
  async run(): Promise<FetchReport> {
    const header = await this.#begin();
    while (this.#wanted.length > 0 || this.#clears.length > 0) {
      await this.#clear();
      if (this.#wanted.length > 0) await this.#round();
      if (this.#changes.bytes >= this.#limits.installBytes) await this.#install(null);
    }
    const final: CheckpointInfo = { op: this.#target.op, root: this.#target.root, extra: header.extra, count: header.count };
    await this.#install(final);
    const stateBytes = this.#own.top()?.recordBytes ?? 0;
    return { ...this.#total, stateBytes, milliseconds: performance.now() - this.#startedAt, donors: this.#reports() };
  }

  #reports(): DonorReport[] {
    return this.#donors.map(({ report }) => ({ ...report }));
  }

  /** Asks for the root's content and the top node, until some donor's answer hashes to the root. */
  async #begin(): Promise<TopAnswer> {
    let full = this.#own.base === null;
    for (;;) {
      const donor = this.#nextDonor();
      const answer = await this.#ask(donor, [], full ? 'full' : 'changed');
      if (answer === null) continue;
      const top = defined(answer.top ?? undefined, 'the top that was asked for');
      const { op, root } = this.#target;
      if (rootHash(op, top.count, top.extra, top.top?.hash ?? null) !== root) {
        this.#blame(donor, 'what it says of the root does not hash to it');
        continue;
      }
      if (top.top === null) {
        this.#clears.push({ range: { prefix: Buffer.alloc(0), bits: 0 }, except: null });
        return top;
      }
      const wanted: WantedNode = { ...top.top.place, hash: top.top.hash, range: { prefix: Buffer.alloc(0), bits: 0 }, full };
      if (this.#own.top()?.hash.equals(wanted.hash) === true) return top;
      // The top is what the root says if its node hashes right; of the rest, what is wrong is asked for again.
      if (await this.#use([wanted], answer.nodes)) return top;
      this.#wanted.length = 0;
      if (full) this.#blame(donor, 'its top node does not hash to the root');
      full = true;
    }
  }

  /** One request and what comes of it. */
  async #round(): Promise<void> {
    const donor = this.#nextDonor();
    const limit = Math.min(this.#limits.maxItems, MAX_ITEMS);
    const items = this.#wanted.splice(-limit).reverse();
    const restore = (): void => {
      for (let i = items.length - 1; i >= 0; i--) this.#wanted.push(items[i] as WantedNode);
    };
    let answer: Extract<TransferAnswer, { type: 'nodes' }> | null;
    try {
      answer = await this.#ask(donor, items, 'no');
    } catch (error) {
      restore();
      throw error;
    }
    if (answer === null) {
      restore();
      return;
    }
    if (answer.nodes.length === 0) this.#blame(donor, 'it answers with nothing');
    await this.#use(items, answer.nodes, donor);
  }

  /**
   * Uses the answers for `items` and for what follows them (transfer_messages.ts); what is left goes back to be asked for.
   * Returns whether the first one was right.
   */
  async #use(items: readonly WantedNode[], nodes: readonly NodeAnswer[], donor?: Donor): Promise<boolean> {
    // In the order of the answers; null: of no interest, because it is equal to the own or its parent's answer was wrong.
    const expected: Expected[] = items.map((node) => ({ node, place: node }));
    const isFollowed = (node: NodeRequest): boolean => !node.full || this.#own.base === null;
    let first = false;
    let at = 0;
    for (; at < nodes.length; at++) {
      const answer = nodes[at] as NodeAnswer;
      const { node, place } = expected[at] as Expected;
      const children = node === null ? null : this.#take(node, answer);
      if (node !== null && children === null) {
        if (node.full && donor !== undefined) this.#blame(donor, `its ${node.kind} at ${node.bits} bits does not hash to what the node above says`);
        this.#wanted.push({ ...node, full: true });
      }
      if (at === 0) first = children !== null;
      if (answer.kind === 'inner' && isFollowed(place)) {
        const told = toldChildren(place, answer.slots);
        for (const [i, child] of told.entries()) expected.push({ node: children === null ? null : this.#filter(children[i] as WantedNode), place: child });
      } else if (children !== null) {
        for (const child of children) {
          const wanted = this.#filter(child);
          if (wanted !== null) this.#wanted.push(wanted);
        }
      }
      if (this.#slices.over) await this.#slices.giveWay();
    }
    for (; at < expected.length; at++) {
      const { node } = expected[at] as Expected;
      if (node !== null) this.#wanted.push(node);
    }
    return first;
  }

  /** Uses an answer if it hashes right, and gives the children that it tells of; otherwise null. */
  #take(wanted: WantedNode, answer: NodeAnswer): readonly WantedNode[] | null {
    if (answer.kind !== wanted.kind) return null;
    const { source } = this.#own;
    const top = this.#own.top();
    if (answer.kind === 'page') {
      const changes = verifyPage(source, top, wanted, answer);
      if (changes === null) return null;
      for (const { key, value } of changes) this.#change(key, value);
      return [];
    }
    const found = verifyInner(source, top, wanted, answer);
    if (found === null) return null;
    // Outside of the node's prefix there is nothing in its range.
    if (wanted.bits > wanted.range.bits) this.#clears.push({ range: wanted.range, except: { prefix: wanted.prefix, bits: wanted.bits } });
    for (const range of found.empty) this.#clears.push({ range, except: null });
    return found.children;
  }

  // What is equal to an own node in the same place need not be fetched: null.
  #filter(node: WantedNode): WantedNode | null {
    const { source } = this.#own;
    const top = this.#own.top();
    if (node.kind === 'page') return findPage(source, top, node.prefix, node.bits)?.hash.equals(node.hash) === true ? null : node;
    if (findInner(source, top, node.prefix, node.bits >> 2)?.hash.equals(node.hash) !== true) return node;
    this.#clears.push({ range: node.range, except: { prefix: node.prefix, bits: node.bits } });
    return null;
  }

  async #clear(): Promise<void> {
    for (let clear = this.#clears.pop(); clear !== undefined; clear = this.#clears.pop()) {
      const records = recordsInRange(this.#own.source, this.#own.top(), clear.range, clear.except, CLEAR_RECORDS);
      for (const { key } of records) this.#change(key, null);
      if (records.length >= CLEAR_RECORDS) {
        await this.#install(null);
        this.#clears.push(clear);
      }
      if (this.#slices.over) await this.#slices.giveWay();
    }
  }

  #change(key: Buffer, value: Buffer | null): void {
    const isNew = this.#changes.set(key.latin1Slice(0, key.length), value);
    assert(isNew, 'each range of keys is settled once');
    this.#total.recordsChanged++;
    this.#total.recordBytes += key.length + (value?.length ?? 0);
  }

  async #install(final: CheckpointInfo | null): Promise<void> {
    const changes = this.#changes;
    if (changes.size === 0 && final === null) return;
    this.#changes = new Overlay();
    await this.#own.install(changes, final);
    this.#progress();
  }

  #progress(): void {
    this.#options.onProgress?.({ ...this.#total, wanted: this.#wanted.length });
  }

  /** The donor whose turn it is. */
  #nextDonor(): Donor {
    this.#options.signal?.throwIfAborted();
    for (let i = 0; i < this.#donors.length; i++) {
      const donor = this.#donors[(this.#turn + i) % this.#donors.length] as Donor;
      if (!donor.usable) continue;
      this.#turn = (this.#turn + i) % this.#donors.length;
      return donor;
    }
    const available = [...this.#available.values()].sort((a, b) => b.op - a.op);
    if (available.some(({ op }) => op > this.#target.op)) throw new TargetGone(this.#target, available);
    throw new FetchFailed(this.#target, this.#reports());
  }

  #blame(donor: Donor, error: string): void {
    donor.usable = false;
    donor.report.error = error;
  }

  /** One request; null when the donor could not answer it, which is noted. */
  async #ask(donor: Donor, items: readonly WantedNode[], top: 'no' | 'changed' | 'full'): Promise<Extract<TransferAnswer, { type: 'nodes' }> | null> {
    const base = this.#own.base;
    const request = { ...this.#target, since: base === null ? 0 : base + 1, maxBytes: this.#limits.maxAnswerBytes, top, items };
    const body = encodeRequest(request);
    this.#total.requests++;
    this.#total.bytesSent += body.length;
    donor.report.requests++;
    this.#slices.pause();
    let bytes: Buffer;
    try {
      bytes = await this.#abortable(donor.connection.request(body));
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      donor.report.error = error instanceof Error ? error.message : String(error);
      donor.failures++;
      if (donor.failures >= MAX_FAILURES) donor.usable = false;
      this.#turn++;
      return null;
    } finally {
      this.#slices.begin();
    }
    donor.report.bytesReceived += bytes.length;
    this.#total.bytesReceived += bytes.length;
    const answer = decodeAnswer(bytes, request);
    if (!answer.ok) {
      this.#blame(donor, `an answer that cannot be read: ${answer.reason}`);
      return null;
    }
    if (answer.value.type === 'gone') {
      for (const one of answer.value.available) this.#available.set(one.op, one);
      this.#blame(donor, `it no longer has the checkpoint of op ${this.#target.op}`);
      return null;
    }
    if (answer.value.type === 'refused') {
      this.#blame(donor, `it refuses: ${answer.value.reason}`);
      return null;
    }
    donor.failures = 0;
    return answer.value;
  }

  // A donor that hangs must not keep an aborted fetch.
  async #abortable<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#options;
    if (signal === undefined) return work;
    let stop: (() => void) | undefined;
    const aborted = new Promise<never>((_resolve, reject) => {
      stop = () => {
        reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      signal.addEventListener('abort', stop, { once: true });
      // It may have been aborted while the request was being made.
      if (signal.aborted) stop();
    });
    try {
      return await Promise.race([work, aborted]);
    } finally {
      if (stop !== undefined) signal.removeEventListener('abort', stop);
    }
  }
}
