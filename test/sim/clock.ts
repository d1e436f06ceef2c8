/** A machine's clocks over virtual time: a monotonic one that drifts, a wall clock that is skewed, drifts and jumps. */
import type { Clock } from '../../vr/ports.ts';

const EPOCH_MICROSECONDS = 1_700_000_000_000_000;

export class SimulatedClock implements Clock {
  readonly #now: () => number;
  /** Milliseconds gained per millisecond, since `#since`. */
  #drift: number;
  #since = 0;
  #gained = 0;
  #offset: number;
  #skew: number;
  #asleepSince: number | null = null;

  /** @param skew microseconds by which the wall clock is ahead. @param offset of the monotonic clock, milliseconds. */
  constructor(now: () => number, drift = 0, skew = 0, offset = 0) {
    this.#now = now;
    this.#drift = drift;
    this.#skew = skew;
    this.#offset = offset;
  }

  monotonic(): number {
    return this.#offset + (this.#asleepSince ?? this.#elapsed());
  }

  wall(): number {
    return Math.floor(EPOCH_MICROSECONDS + this.#skew + this.#elapsed() * 1000);
  }

  /** The machine starts anew: its monotonic clock counts from somewhere else. */
  reboot(offset: number): void {
    this.#asleepSince = null;
    this.#offset = offset - this.#elapsed();
  }

  /** Both run at another rate from now on. */
  setDrift(drift: number): void {
    this.#gained = this.#elapsed() - this.#now();
    this.#since = this.#now();
    this.#drift = drift;
  }

  #elapsed(): number {
    return this.#now() + this.#gained + (this.#now() - this.#since) * this.#drift;
  }

  /** The machine is suspended: the monotonic clock stands still until it wakes. */
  suspend(): void {
    this.#asleepSince ??= this.#elapsed();
  }
  wake(): void {
    if (this.#asleepSince !== null) this.#offset -= this.#elapsed() - this.#asleepSince;
    this.#asleepSince = null;
  }

  /** The wall clock jumps by so many microseconds, unless the machine is suspended: nobody sets it then. */
  jump(microseconds: number): void {
    if (this.#asleepSince === null) this.#skew += microseconds;
  }
}
