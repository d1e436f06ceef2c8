/**
 * How fast a donor gives. Two things bound it: bytes a second to all fetchers together, and the share of the event loop
 * that it may take from whatever else the process does. Each answer is paid for afterwards, so that one may be larger
 * than what has gathered; until it is paid off, whoever asks is told when to ask again. No queue, no timers.
 */

/** Milliseconds for which the event loop was busy and idle since some moment: `performance.eventLoopUtilization()`. */
export interface LoopUse {
  readonly active: number;
  readonly idle: number;
}

export interface PaceOptions {
  /** 0: no bound. */
  readonly bytesPerSecond: number;
  /** How busy the loop is with everything, the donor's work included; null: the donor may take all of it. */
  readonly loopUse: (() => LoopUse) | null;
}

/** What is left to the donor where the rest of the process takes the whole loop. */
const LEAST_SHARE = 0.15;
/** What the donor leaves free where the rest of the process takes nothing. */
const RESERVE = 0.1;
/** An answer holds up the next one for about so long. */
const ANSWER_MS = 250;
const LEAST_ANSWER_BYTES = 64 << 10;

export class Pace {
  readonly #options: PaceOptions;
  #freeAt = -Infinity;
  #use: LoopUse;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#use = options.loopUse?.() ?? { active: 0, idle: 0 };
  }

  /** Bytes that an answer should not exceed, so that nobody waits long for his turn. */
  get answerBytes(): number {
    const { bytesPerSecond } = this.#options;
    return bytesPerSecond === 0 ? Infinity : Math.max(LEAST_ANSWER_BYTES, Math.floor(bytesPerSecond * ANSWER_MS / 1000));
  }

  /** Milliseconds until the next answer may be given; 0: now. `now` is monotonic milliseconds. */
  waitMs(now: number): number {
    return Math.max(0, Math.ceil(this.#freeAt - now));
  }

  /** An answer of so many bytes was given, which held the event loop for so many milliseconds. */
  spend(bytes: number, busyMs: number, now: number): void {
    const { bytesPerSecond } = this.#options;
    const forBytes = bytesPerSecond === 0 ? 0 : bytes * 1000 / bytesPerSecond;
    // Answers that were given side by side are paid for one after the other.
    this.#freeAt = Math.max(this.#freeAt, now) + Math.max(forBytes, this.#forLoop(busyMs));
  }

  #forLoop(busyMs: number): number {
    const { loopUse } = this.#options;
    if (loopUse === null) return 0;
    const before = this.#use;
    this.#use = loopUse();
    const active = this.#use.active - before.active;
    const all = active + this.#use.idle - before.idle;
    if (all <= 0) return 0;
    const others = Math.min(1, Math.max(0, active - busyMs) / all);
    const share = Math.max(LEAST_SHARE, 1 - RESERVE - others);
    return busyMs * (1 / share - 1);
  }
}
