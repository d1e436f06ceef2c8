/**
 * What checkpoints cost: the last one, those of the last five minutes, and all since the store was opened. Bounded, however often they
 * are taken: time is cut into buckets of ten seconds, whose sums are kept.
 */

/** One checkpoint; or sums of several, in which `longestMs` is the longest of all. */
export interface TakeFigures {
  /** Changed records that were written, and bytes of their keys and values. */
  readonly records: number;
  readonly recordBytes: number;
  /** Bytes of the nodes of the tree that were written with them. */
  readonly nodeBytes: number;
  /** Time on the event loop, and its longest hold at a stretch. */
  readonly busyMs: number;
  readonly longestMs: number;
  /** From the first slice until it was durable. */
  readonly wallMs: number;
}

export interface RecentTakes {
  /** The time that is looked back, milliseconds; shorter when the store was opened later. */
  readonly spanMs: number;
  /** Checkpoints that ended in it. */
  readonly takes: number;
  /** Of one of them, but `longestMs`, which is the longest of all; null: there was none. */
  readonly mean: TakeFigures | null;
  /** The part of that time in which a checkpoint was being written, and in which one held the event loop. 0 to 1. */
  readonly share: number;
  readonly busyShare: number;
}

export interface TakeCosts {
  readonly last: TakeFigures | null;
  readonly recent: RecentTakes;
  /** Since the store was opened. */
  readonly takes: number;
  readonly total: TakeFigures;
}

const BUCKET_MS = 10_000;
const BUCKETS = 30;

const NOTHING: TakeFigures = Object.freeze({ records: 0, recordBytes: 0, nodeBytes: 0, busyMs: 0, longestMs: 0, wallMs: 0 });

function plus(a: TakeFigures, b: TakeFigures): TakeFigures {
  return {
    records: a.records + b.records, recordBytes: a.recordBytes + b.recordBytes, nodeBytes: a.nodeBytes + b.nodeBytes,
    busyMs: a.busyMs + b.busyMs, longestMs: Math.max(a.longestMs, b.longestMs), wallMs: a.wallMs + b.wallMs,
  };
}

interface Bucket {
  /** Which ten seconds, counted from time 0. */
  readonly number: number;
  takes: number;
  /** Of the checkpoints that ended in it. */
  figures: TakeFigures;
  /** How long one was being written in it, whenever that one began and ended. */
  writingMs: number;
}

/** Times are milliseconds of a monotonic clock. */
export class TakeCostRecorder {
  readonly #openedAt: number;
  #buckets: Bucket[] = [];
  #startedAt: number | null = null;
  #last: TakeFigures | null = null;
  #takes = 0;
  #total: TakeFigures = NOTHING;

  constructor(now: number) {
    this.#openedAt = now;
  }

  begin(now: number): void {
    this.#startedAt = now;
  }

  /** The one that was begun is durable. */
  end(now: number, figures: Omit<TakeFigures, 'wallMs'>): void {
    const startedAt = this.#startedAt ?? now;
    this.#startedAt = null;
    const took = { ...figures, wallMs: now - startedAt };
    this.#last = took;
    this.#takes++;
    this.#total = plus(this.#total, took);
    const oldest = now - BUCKETS * BUCKET_MS;
    for (let at = Math.max(startedAt, oldest); at < now; ) {
      const bucket = this.#bucket(at);
      const until = Math.min(now, (bucket.number + 1) * BUCKET_MS);
      bucket.writingMs += until - at;
      at = until;
    }
    const bucket = this.#bucket(now);
    bucket.takes++;
    bucket.figures = plus(bucket.figures, took);
    this.#buckets = this.#buckets.filter((b) => (b.number + 1) * BUCKET_MS > oldest);
  }

  /** The one that was begun could not be written. */
  fail(): void {
    this.#startedAt = null;
  }

  /** In order: `at` never lies before the newest bucket's ten seconds. */
  #bucket(at: number): Bucket {
    const number = Math.floor(at / BUCKET_MS);
    const known = this.#buckets.findLast((b) => b.number === number);
    if (known !== undefined) return known;
    const bucket = { number, takes: 0, figures: NOTHING, writingMs: 0 };
    this.#buckets.push(bucket);
    return bucket;
  }

  costs(now: number): TakeCosts {
    // Whole buckets, so that what is looked back ends where one begins.
    const first = Math.max(0, Math.floor(now / BUCKET_MS) - BUCKETS + 1);
    const from = Math.max(this.#openedAt, first * BUCKET_MS);
    const spanMs = Math.max(1, now - from);
    let takes = 0;
    let sum = NOTHING;
    let writingMs = this.#startedAt === null ? 0 : now - Math.max(this.#startedAt, from);
    for (const b of this.#buckets) {
      if (b.number < first) continue;
      takes += b.takes;
      sum = plus(sum, b.figures);
      writingMs += b.writingMs;
    }
    const share = (ms: number): number => Math.min(1, ms / spanMs);
    return { last: this.#last, takes: this.#takes, total: this.#total, recent: { spanMs, takes, mean: takes === 0 ? null : meanOf(sum, takes), share: share(writingMs), busyShare: share(sum.busyMs) } };
  }
}

function meanOf(sum: TakeFigures, n: number): TakeFigures {
  return { records: sum.records / n, recordBytes: sum.recordBytes / n, nodeBytes: sum.nodeBytes / n, busyMs: sum.busyMs / n, longestMs: sum.longestMs, wallMs: sum.wallMs / n };
}
