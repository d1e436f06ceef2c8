/** Time-outs, in milliseconds of the replica's own clock (replica.ts: `now`). Decisions only; the replica asks in tick(). */
import type { Random } from './ports.ts';

/** `[0, 1)` */
function fraction(random: Random): number {
  return random.uint32() / 0x1_0000_0000;
}

/** Re-sends at base, 2·base, 4·base .. 16·base, each with up to 50 % of jitter, so that two that collide drift apart. */
export class Backoff {
  readonly #base: number;
  readonly #random: Random;
  #interval: number;
  #at = Infinity;

  constructor(base: number, random: Random) {
    this.#base = base;
    this.#random = random;
    this.#interval = base;
  }

  start(now: number): void {
    this.#interval = this.#base;
    this.#schedule(now);
  }
  stop(): void {
    this.#at = Infinity;
  }
  /** What was in vain so far need not be: due now, and again soon. */
  hasten(now: number): void {
    if (!this.running) return;
    this.#interval = this.#base;
    this.#at = now;
  }
  /** No interval is longer. */
  get longest(): number {
    return this.#base * 16 * 1.5;
  }
  get running(): boolean {
    return this.#at !== Infinity;
  }
  /** True once per interval; the next one is longer. */
  due(now: number): boolean {
    if (now < this.#at) return false;
    this.#interval = Math.min(this.#interval * 2, this.#base * 16);
    this.#schedule(now);
    return true;
  }
  #schedule(now: number): void {
    this.#at = now + this.#interval * (1 + fraction(this.#random) / 2);
  }
}

/**
 * How long a primary may be silent before it is suspected: at least `floor`, more where its messages are seen to come
 * with larger and more uneven gaps (mean + 8 deviations, as TCP estimates its retransmission time-out).
 */
export class SilenceDetector {
  readonly #floor: number;
  readonly #random: Random;
  #mean: number;
  #deviation = 0;
  #heardAt = 0;
  /** 1 .. 1.5, drawn once a view: two backups must not suspect at the same moment. */
  #jitter = 1;
  #limit: number;

  constructor(floor: number, random: Random) {
    this.#floor = floor;
    this.#random = random;
    this.#mean = floor / 8;
    this.#limit = floor;
  }

  heard(now: number): void {
    const gap = now - this.#heardAt;
    this.#heardAt = now;
    // A gap that long was an outage, not a round trip.
    if (gap < this.#floor * 4) {
      this.#deviation += (Math.abs(gap - this.#mean) - this.#deviation) / 4;
      this.#mean += (gap - this.#mean) / 8;
    }
    this.#limit = this.#newLimit();
  }
  /** Starts to wait, as when a view begins. */
  restart(now: number): void {
    this.#heardAt = now;
    this.#jitter = 1 + fraction(this.#random) / 2;
    this.#limit = this.#newLimit();
  }
  silence(now: number): number {
    return now - this.#heardAt;
  }
  suspicious(now: number): boolean {
    return this.silence(now) >= this.#limit;
  }
  /** Silent long enough to believe another replica that suspects it. */
  doubtful(now: number): boolean {
    return this.silence(now) >= this.#limit / 2;
  }
  #newLimit(): number {
    const limit = Math.min(Math.max(this.#floor, this.#mean + 8 * this.#deviation), this.#floor * 16);
    return limit * this.#jitter;
  }
}
