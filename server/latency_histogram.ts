/** How long things took, counted into buckets for Prometheus. Counting makes nothing that has to be collected. */

/** Upper bounds, seconds: from a write of a fast disk to what nobody waits for. */
export const LATENCY_BOUNDS: readonly number[] = Object.freeze([0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]);

export interface LatencyCounts {
  /** Of the buckets, seconds, rising; a bound belongs to its bucket. */
  readonly bounds: readonly number[];
  /** One for each bound, and one of what took longer than the last. */
  readonly counts: ArrayLike<number>;
  /** All together. */
  readonly seconds: number;
}

export class LatencyHistogram implements LatencyCounts {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  #milliseconds = 0;

  constructor(bounds: readonly number[] = LATENCY_BOUNDS) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  get seconds(): number {
    return this.#milliseconds / 1000;
  }

  /** `times` that took so many milliseconds each. */
  count(milliseconds: number, times = 1): void {
    const { bounds, counts } = this;
    const seconds = milliseconds / 1000;
    let i = 0;
    while (i < bounds.length && seconds > (bounds[i] as number)) i++;
    counts[i] = (counts[i] as number) + times;
    this.#milliseconds += milliseconds * times;
  }
}
