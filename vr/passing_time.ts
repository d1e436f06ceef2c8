/**
 * A clock for who must not count too little time: a lease that it was granted, the age of what it knows. The monotonic clock of Linux stands
 * still while the machine is suspended; the wall clock is right again when it goes on. So when the two part, what the wall clock has gained counts
 * as passed, and at least a minute: it may have been set back in the same moment. Whoever sets a clock makes leases end early and states look
 * older than they are; both cost a question to the group, and nothing else. A clock that is slewed makes no difference.
 *
 * Whoever must not count too much, as who has granted a lease, reads the monotonic clock.
 */
import type { Clock } from './ports.ts';

/** Milliseconds that the clocks may part unnoticed: one is read to the millisecond, and they are not read at the same moment. */
export const UNNOTICED_MS = 2;
/** How fast a wall clock is slewed at most: twice what Linux does. */
const SLEWED = 0.001;
/** A lease is no longer than that. */
const LEAST_MS = 60_000;

export class PassingTime {
  readonly #clock: Clock;
  #monotonic: number;
  /** Of the wall clock before the monotonic one, milliseconds. */
  #ahead: number;
  #added = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#monotonic = clock.monotonic();
    this.#ahead = clock.wall() / 1000 - this.#monotonic;
  }

  /** Milliseconds, from anywhere. Between two readings at least as much passes as really does, but for UNNOTICED_MS and what is slewed. */
  now(): number {
    const monotonic = this.#clock.monotonic();
    const gained = this.#clock.wall() / 1000 - monotonic - this.#ahead;
    const slewed = Math.abs(monotonic - this.#monotonic) * SLEWED;
    this.#monotonic = monotonic;
    if (Math.abs(gained) <= slewed + UNNOTICED_MS) {
      this.#ahead += Math.max(-slewed, Math.min(slewed, gained));
    } else {
      this.#ahead += gained;
      this.#added += Math.max(gained, LEAST_MS);
    }
    return monotonic + this.#added;
  }
}
