/**
 * A clock for who must not count too little time: a lease that it was granted, the age of what it knows. The monotonic clock of Linux stands
 * still while the machine is suspended or its snapshot is taken; the wall clock is right again when the machine goes on. So what the wall
 * clock gains on the monotonic one counts as time that has passed. A wall clock that is set forward does too, which makes leases end early and
 * states look older than they are: both cost a question to the group, and nothing else. One that is set back changes nothing.
 *
 * Whoever must not count too much, as who has granted a lease, reads the monotonic clock.
 */
import type { Clock } from './ports.ts';

/** Milliseconds that the wall clock may gain unnoticed: it is read to the millisecond, and not at the same moment. */
export const UNNOTICED_MS = 2;

export class PassingTime {
  readonly #clock: Clock;
  /** Of the wall clock before the monotonic one, milliseconds, when it was last seen to have changed. */
  #ahead: number;
  #slept = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#ahead = clock.wall() / 1000 - clock.monotonic();
  }

  /** Milliseconds, from anywhere. Between two readings at least as much passes as really does, but for UNNOTICED_MS. */
  now(): number {
    const monotonic = this.#clock.monotonic();
    const ahead = this.#clock.wall() / 1000 - monotonic;
    const gained = ahead - this.#ahead;
    if (Math.abs(gained) > UNNOTICED_MS) {
      this.#ahead = ahead;
      this.#slept += Math.max(0, gained);
    }
    return monotonic + this.#slept;
  }
}
