/**
 * Serves checkpoints to replicas that lag behind. Each served checkpoint is a snapshot of the database, so it stays as it
 * was while newer ones are written. One that somebody fetches stays as long as he goes on asking, whatever else is taken
 * meanwhile: a fetcher that had to change to a newer one each time would chase the group for ever. Number and age are
 * bounded all the same: a snapshot keeps what was overwritten since from being reclaimed.
 */
import { Writer } from '../lib/bytes.ts';
import type { OpNumber } from '../lib/ids.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import { PAGE } from './hashes.ts';
import { decodeInner, depthOf, innerId, nodeId, type InnerNode } from './inner_node.ts';
import { readSettled, type StoreSnapshot } from './key_value_store.ts';
import type { Top } from './merkle_tree.ts';
import { lastDelete, pageCount, pageEntries, type PageEntry } from './page.ts';
import type { Pace } from './pace.ts';
import { Slices } from './slices.ts';
import { StoreDamageError } from './store_damage.ts';
import { nodeKey, recordKeyOf } from './store_keys.ts';
import { unsealNode } from './stored_node.ts';
import {
  FINGERPRINT_BYTES,
  beginAnswer,
  decodeRequest,
  encodeGone,
  encodeRefused,
  encodeWait,
  isFollowed,
  putInner,
  putMissing,
  putPage,
  toldChildren,
  type AnswerSlot,
  type AvailableCheckpoint,
  type NodePlace,
  type NodeRequest,
  type PageAnswer,
  type TopAnswer,
  type TransferRequest,
} from './transfer_messages.ts';
import { checkedRecord, isRecord } from './verified_reads.ts';

export interface DonorOptions {
  /** The newest checkpoints, which are served whether somebody asks for them or not. */
  readonly maxCheckpoints: number;
  /** Older ones that are kept beside them because somebody fetches them, and for how long at most. */
  readonly maxPinned: number;
  readonly maxPinnedMs: number;
  /** One that is not the newest goes when nobody has asked for it for so long. */
  readonly maxIdleMs: number;
  /** Upper bound of an answer, as far as its last node does not exceed it. */
  readonly maxAnswerBytes: number;
  /** How long an answer may hold the event loop at a time, milliseconds. */
  readonly sliceMs: number;
  readonly pace: Pace;
}

export interface DonorStatus {
  readonly checkpoints: readonly AvailableCheckpoint[];
  readonly requests: number;
  readonly bytesSent: number;
  /** Requests that were told to come again later. */
  readonly deferred: number;
}

export interface HeldCheckpoint {
  readonly info: CheckpointInfo;
  /** Keys and values. */
  readonly recordBytes: number;
  /** Who reads it now, and how long ago somebody began to, milliseconds. */
  readonly users: number;
  readonly idleMs: number;
  /** For how long it is kept whatever happens, milliseconds; 0: as long as there is room and somebody asks. */
  readonly keptMs: number;
}

/** A checkpoint that stays as it is until it is released, once. */
export interface PinnedCheckpoint {
  readonly info: CheckpointInfo;
  readonly top: Top;
  readonly snapshot: StoreSnapshot;
  release(): Promise<void>;
}

interface Served {
  readonly info: CheckpointInfo;
  readonly top: Top;
  readonly snapshot: StoreSnapshot;
  readonly since: number;
  usedAt: number;
  keptUntil: number;
  /** Somebody has asked for it. */
  wanted: boolean;
  /** Requests that are being answered from it. */
  users: number;
  retired: boolean;
}

/** Checkpoints kept at once because somebody asked for it: each holds on to what was overwritten since. */
const MAX_KEPT = 4;

// Nodes read at a time, and about how many bytes of records: bounds both the work between two waits and what is read in
// vain when the answer is full.
const CHUNK = 64;
const CHUNK_BYTES = 256 << 10;

export class Donor {
  readonly #options: DonorOptions;
  // Oldest first.
  #served: Served[] = [];
  #requests = 0;
  #bytesSent = 0;
  #deferred = 0;

  constructor(options: DonorOptions) {
    this.#options = options;
  }

  status(): DonorStatus {
    return { checkpoints: this.#available(), requests: this.#requests, bytesSent: this.#bytesSent, deferred: this.#deferred };
  }

  /** The snapshot of the newest checkpoint; null when none is served. */
  get newest(): StoreSnapshot | null {
    return this.#served.at(-1)?.snapshot ?? null;
  }

  /**
   * Holds a checkpoint that is served, so that it can be read until it is released; null: it is not served (any more).
   * Without an op-number the newest.
   */
  pin(op?: OpNumber): PinnedCheckpoint | null {
    const served = op === undefined ? this.#served.at(-1) : this.#served.findLast(({ info }) => info.op === op);
    if (served === undefined) return null;
    served.usedAt = performance.now();
    served.users++;
    const { info, top, snapshot } = served;
    return { info, top, snapshot, release: () => this.#release(served) };
  }

  async #release(served: Served): Promise<void> {
    served.users--;
    if (served.retired && served.users === 0) await served.snapshot.close();
  }

  /** What is served, newest first. */
  held(): HeldCheckpoint[] {
    const now = performance.now();
    return this.#served
      .map(({ info, top, users, usedAt, keptUntil }) => ({ info, recordBytes: top?.recordBytes ?? 0, users, idleMs: now - usedAt, keptMs: Math.max(0, keptUntil - now) }))
      .reverse();
  }

  /** Serves a checkpoint for at least so long from now on (0: no longer than any other); it does not outlive the process or a transfer. */
  keep(op: OpNumber, ms: number): 'kept' | 'gone' | 'too many' {
    const now = performance.now();
    const served = this.#served.findLast(({ info }) => info.op === op);
    if (served === undefined) return 'gone';
    if (ms > 0 && this.#served.filter((one) => one !== served && one.keptUntil > now).length >= MAX_KEPT) return 'too many';
    served.keptUntil = now + ms;
    return 'kept';
  }

  /** Serves a checkpoint from now on; the donor closes the snapshot. */
  async publish(info: CheckpointInfo, top: Top, snapshot: StoreSnapshot): Promise<void> {
    const now = performance.now();
    this.#served.push({ info, top, snapshot, since: now, usedAt: now, keptUntil: 0, wanted: false, users: 0, retired: false });
    await this.#expire();
  }

  /** Ends everything that is served. */
  async clear(): Promise<void> {
    const served = this.#served;
    this.#served = [];
    for (const one of served) await this.#retire(one);
  }

  async #expire(): Promise<void> {
    const { maxCheckpoints, maxPinned, maxPinnedMs, maxIdleMs } = this.#options;
    const now = performance.now();
    const isKept = (one: Served): boolean => one.keptUntil > now;
    const isIdle = (one: Served): boolean => one.users === 0 && one.usedAt < now - maxIdleMs;
    // Those that are kept take no room from the others.
    const others = this.#served.filter((one) => !isKept(one));
    const recent = others.slice(-maxCheckpoints);
    const older = others.slice(0, -maxCheckpoints).filter((one) => one.wanted && one.since >= now - maxPinnedMs);
    const pinned = older.sort((a, b) => b.usedAt - a.usedAt).slice(0, maxPinned);
    const newest = this.#served.at(-1);
    const stays = new Set([...recent, ...pinned].filter((one) => !isIdle(one)));
    const keep = this.#served.filter((one) => one === newest || isKept(one) || stays.has(one));
    const drop = this.#served.filter((one) => !keep.includes(one));
    this.#served = keep;
    for (const one of drop) await this.#retire(one);
  }

  async #retire(one: Served): Promise<void> {
    one.retired = true;
    if (one.users === 0) await one.snapshot.close();
  }

  #available(): AvailableCheckpoint[] {
    return this.#served.map(({ info }) => ({ op: info.op, root: info.root }));
  }

  /**
   * Answers a request (transfer_messages.ts); never rejects for what is in it. Rejects when the database fails or closes,
   * and with StoreDamageError when it has not what was written: the fetcher would notice, but then nobody here would know.
   */
  async serve(request: Buffer): Promise<Buffer> {
    const decoded = decodeRequest(request);
    this.#requests++;
    const answer = decoded.ok ? await this.#answer(decoded.value) : encodeRefused(decoded.reason);
    this.#bytesSent += answer.length;
    return answer;
  }

  async #answer(request: TransferRequest): Promise<Buffer> {
    await this.#expire();
    const served = this.#served.findLast(({ info }) => info.op === request.op && info.root === request.root);
    if (served === undefined) return encodeGone(this.#available());
    served.usedAt = performance.now();
    served.wanted = true;
    const { pace } = this.#options;
    pace.asked(request.op, served.usedAt);
    const wait = pace.waitMs(served.usedAt);
    if (wait > 0) {
      this.#deferred++;
      return encodeWait(wait);
    }
    const slices = new Slices(this.#options.sliceMs);
    served.users++;
    try {
      return await this.#nodes(served, request, slices);
    } finally {
      slices.pause();
      served.usedAt = performance.now();
      await this.#release(served);
    }
  }

  async #nodes(served: Served, request: TransferRequest, slices: Slices): Promise<Buffer> {
    const { info, top, snapshot } = served;
    const { pace } = this.#options;
    const items: NodeRequest[] = [...request.items];
    let topAnswer: TopAnswer | null = null;
    if (request.top !== 'no') {
      const place = top === null ? null : placeOf(top);
      topAnswer = { count: info.count, extra: info.extra, top: top === null || place === null ? null : { place, hash: top.hash } };
      if (place !== null) items.unshift({ ...place, full: request.top === 'full' });
    }
    const limit = Math.min(request.maxBytes, this.#options.maxAnswerBytes, pace.answerBytes);
    const w = new Writer(64 << 10);
    beginAnswer(w, topAnswer);
    // `items` grows by what follows; see transfer_messages.ts.
    for (let at = 0; at < items.length && (at === 0 || (w.length < limit && !pace.isSpent(performance.now()))); ) {
      const before = w.length;
      const chunk = items.slice(at, at + CHUNK);
      const { answered, records, followers } = await this.#chunk(w, snapshot, chunk, request, Math.min(limit, w.length + CHUNK_BYTES), slices);
      for (const follower of followers) items.push(follower);
      at += answered;
      // At once, not at the end: another request may be waiting for its turn.
      slices.pause();
      pace.spend({ bytes: w.length - before, records, busyMs: slices.takeBusyMs() }, performance.now());
      slices.begin();
    }
    return w.finish();
  }

  // Answers at least the first of the items.
  async #chunk(
    w: Writer,
    snapshot: StoreSnapshot,
    items: readonly NodeRequest[],
    request: TransferRequest,
    limit: number,
    slices: Slices,
  ): Promise<{ answered: number; records: number; followers: NodeRequest[] }> {
    const { since } = request;
    const followers: NodeRequest[] = [];
    // Beside others' work not by single reads: by the thousand they make LevelDB compact the tables that they go through.
    const pressed = this.#options.pace.isPressed;
    const nodes = await nodesOf(snapshot, items, slices, pressed);
    // Which records go along: their values are read all at once, as far as the answer has room.
    const told: Told[] = [];
    let expected = w.length;
    for (const [i, item] of items.entries()) {
      const bytes = nodes[i];
      if (i > 0 && expected >= limit) break;
      const entries = bytes === undefined || item.kind === 'inner' ? [] : pageEntries(bytes).filter((entry) => item.full || entry.stamp >= since);
      told.push({ entries, values: [] });
      if (entries.length === 0) expected += bytes === undefined ? 1 : bytes.length;
      for (const { key, size } of entries) expected += key.length + size;
    }
    slices.pause();
    await readValues(snapshot, told, pressed);
    slices.begin();
    for (const [i, one] of told.entries()) {
      const item = items[i] as NodeRequest;
      const bytes = nodes[i];
      if (bytes === undefined) {
        putMissing(w);
      } else if (item.kind === 'inner') {
        const slots = innerAnswer(decodeInner(bytes), item.full ? 0 : since);
        putInner(w, slots, item.bits >> 2);
        if (isFollowed(request, item)) for (const child of toldChildren(item, slots)) followers.push(child);
      } else {
        putPage(w, await settledAnswer(snapshot, bytes, one, item.full, since, slices), item);
      }
      if (slices.over) await slices.giveWay();
    }
    return { answered: told.length, records: told.reduce((n, { entries }) => n + entries.length, 0), followers };
  }
}

async function nodesOf(snapshot: StoreSnapshot, items: readonly NodeRequest[], slices: Slices, pressed: boolean): Promise<(Buffer | undefined)[]> {
  const ids = items.map(idOf);
  slices.pause();
  const stored = pressed ? await walkNodes(snapshot, ids) : await snapshot.getMany(ids.map(nodeKey));
  slices.begin();
  return stored.map((bytes, i) => (bytes === undefined ? undefined : unsealNode(ids[i] as string, bytes)));
}

/** Those of the same depth lie side by side. */
async function walkNodes(snapshot: StoreSnapshot, ids: readonly string[]): Promise<(Buffer | undefined)[]> {
  const byDepth = new Map<string, Set<string>>();
  for (const id of ids) {
    const depth = depthOf(id);
    const same = byDepth.get(depth);
    if (same === undefined) byDepth.set(depth, new Set([id]));
    else same.add(id);
  }
  const found = new Map<string, Buffer | undefined>();
  for (const same of byDepth.values()) {
    const sorted = [...same].sort();
    const values = await snapshot.walk(sorted.map(nodeKey));
    for (const [i, id] of sorted.entries()) found.set(id, values[i]);
  }
  return ids.map((id) => found.get(id));
}

/** Records that go along with a page. */
interface Told {
  readonly entries: readonly PageEntry[];
  values: readonly (Buffer | undefined)[];
}

async function readValues(snapshot: StoreSnapshot, told: readonly Told[], pressed: boolean): Promise<void> {
  const pages = told.filter(({ entries }) => entries.length > 0);
  if (pressed) pages.sort((a, b) => keyOfFirst(a).compare(keyOfFirst(b)));
  // Whoever asks for a page twice, in full and for what changed perhaps, gets it twice, but there is no walk through it.
  const isRun = pressed && pages.every((page, i) => i === 0 || keyOfFirst(page).compare(keyOfLast(pages[i - 1] as Told)) > 0);
  const keys = pages.flatMap(({ entries }) => entries.map(({ key }) => recordKeyOf(key)));
  const values = isRun ? await snapshot.walk(keys) : await snapshot.getMany(keys);
  let at = 0;
  for (const page of pages) page.values = values.slice(at, at += page.entries.length);
}

function keyOfFirst({ entries }: Told): Buffer {
  return (entries[0] as PageEntry).key;
}

function keyOfLast({ entries }: Told): Buffer {
  return (entries.at(-1) as PageEntry).key;
}

function placeOf(top: NonNullable<Top>): NodePlace {
  if (top.kind === 'page') return { kind: 'page', bits: 0, prefix: Buffer.alloc(0) };
  return { kind: 'inner', bits: top.nibbles * 4, prefix: top.prefix };
}

export function idOf(place: NodePlace): string {
  return place.kind === 'page' ? nodeId(PAGE, place.prefix, place.bits) : innerId({ prefix: place.prefix, nibbles: place.bits >> 2 });
}

function innerAnswer(node: InnerNode, since: number): (AnswerSlot | null)[] {
  return node.slots.map((child): AnswerSlot | null => {
    if (child === null) return null;
    const hash = child.stamp >= since ? child.hash : null;
    if (child.kind === 'page') return { kind: 'page', span: child.span, hash };
    return hash === null ? { kind: 'inner', hash } : { kind: 'inner', hash, nibbles: child.nibbles, prefix: child.prefix };
  });
}

/** The answer with a page, once what the database finds in place of newer values has been put in order. */
async function settledAnswer(snapshot: StoreSnapshot, page: Buffer, { entries, values }: Told, full: boolean, since: number, slices: Slices): Promise<PageAnswer> {
  try {
    return pageAnswer(page, entries, values, full, since);
  } catch (error) {
    if (!(error instanceof StoreDamageError)) throw error;
  }
  const again = [...values];
  for (const [i, { key, hash }] of entries.entries()) {
    const wanted = hash.latin1Slice();
    if (isRecord(key, wanted, again[i])) continue;
    again[i] = checkedRecord(key, wanted, await readSettled(snapshot, recordKeyOf(key), slices));
  }
  return pageAnswer(page, entries, again, full, since);
}

function pageAnswer(
  page: Buffer,
  entries: readonly PageEntry[],
  values: readonly (Buffer | undefined)[],
  full: boolean,
  since: number,
): PageAnswer {
  const records: { key: Buffer; value: Buffer }[] = [];
  for (const [i, { key, hash }] of entries.entries()) {
    records.push({ key, value: checkedRecord(key, hash.latin1Slice(), values[i]) });
  }
  const complete = full || entries.length === pageCount(page);
  return { kind: 'page', records, complete, fingerprints: !complete && lastDelete(page) >= since ? fingerprintsOf(page) : null };
}

/** The first bytes of each record hash, to tell which records are no longer there. */
export function fingerprintsOf(page: Buffer): Buffer {
  const entries = pageEntries(page);
  const out = Buffer.allocUnsafe(entries.length * FINGERPRINT_BYTES);
  for (const [i, { hash }] of entries.entries()) hash.copy(out, i * FINGERPRINT_BYTES, 0, FINGERPRINT_BYTES);
  return out;
}
