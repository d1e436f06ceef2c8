/** What repeats of one measurement say: the middle, how far they lie apart, and whether two of them can be told apart at all. */

/** Repeats of one figure. `values` in the order in which they were measured. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly values: readonly number[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  if (sorted.length % 2 === 1) return upper;
  const lower = sorted[middle - 1] ?? NaN;
  return lower === upper ? upper : (lower + upper) / 2;
}

/** @param values at least one; Infinity: it did not come to an end */
export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), values };
}

/** How far the repeats lie apart. */
export function widthOf(s: Spread): number {
  return s.max === s.min ? 0 : s.max - s.min;
}

/**
 * Whether the medians differ by more than the repeats of either do among themselves. Never after fewer than two repeats of each:
 * then nothing is known of how far they would lie apart.
 */
export function distinguishable(a: Spread, b: Spread): boolean {
  if (a.values.length < 2 || b.values.length < 2 || a.median === b.median) return false;
  return Math.abs(a.median - b.median) > Math.max(widthOf(a), widthOf(b));
}

const GROWTH = 1.005;
const LOG_GROWTH = Math.log(GROWTH);
/** Milliseconds; everything below falls into the first bucket. */
const SMALLEST = 0.001;
const BUCKETS = 5000;

/** Latencies in constant memory, to half a percent: however many there are, and however long a few of them take. */
export class LatencyHistogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #total = 0;
  #max = 0;

  /** Milliseconds. */
  record(ms: number): void {
    const bucket = ms <= SMALLEST ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log(ms / SMALLEST) / LOG_GROWTH));
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#total++;
    if (ms > this.#max) this.#max = ms;
  }

  get total(): number {
    return this.#total;
  }
  get max(): number {
    return this.#max;
  }

  /** `p` in 0..1, nearest rank; NaN when nothing was recorded. */
  percentile(p: number): number {
    if (this.#total === 0) return NaN;
    const rank = Math.max(1, Math.ceil(p * this.#total));
    let seen = 0;
    for (const [bucket, count] of this.#counts.entries()) {
      seen += count;
      // The middle of the bucket, but never more than what was measured.
      if (seen >= rank) return Math.min(this.#max, SMALLEST * GROWTH ** (bucket + 0.5));
    }
    return this.#max;
  }
}
