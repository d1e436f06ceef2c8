/** A machine's clocks over virtual time: a monotonic one that drifts, a wall clock that is skewed, drifts and jumps. */
import type { Clock } from '../../vr/ports.ts';

const EPOCH_MICROSECONDS = 1_700_000_000_000_000;

export class SimulatedClock implements Clock {
  readonly #now: () => number;
  /** Milliseconds gained per millisecond. */
  readonly #drift: number;
  #offset: number;
  #skew: number;

  /** @param skew microseconds by which the wall clock is ahead. @param offset of the monotonic clock, milliseconds. */
  constructor(now: () => number, drift = 0, skew = 0, offset = 0) {
    this.#now = now;
    this.#drift = drift;
    this.#skew = skew;
    this.#offset = offset;
  }

  monotonic(): number {
    return this.#offset + this.#now() * (1 + this.#drift);
  }

  wall(): number {
    return Math.floor(EPOCH_MICROSECONDS + this.#skew + this.#now() * 1000 * (1 + this.#drift));
  }

  /** The machine starts anew: its monotonic clock counts from somewhere else. */
  reboot(offset: number): void {
    this.#offset = offset - this.#now() * (1 + this.#drift);
  }

  /** The wall clock jumps by so many microseconds. */
  jump(microseconds: number): void {
    this.#skew += microseconds;
  }
}
