/**
 * How fast a donor gives. Two things bound it: bytes a second to all fetchers together, and the share of the event loop
 * that it may take from whatever else the process does. Each answer is paid for afterwards, so that one may be larger
 * than what has gathered; until it is paid off, whoever asks is told when to ask again. No queue, no timers.
 */

export interface PaceOptions {
  /** 0: no bound. */
  readonly bytesPerSecond: number;
  /** Milliseconds of the event loop that the rest of the process has taken so far, as far as it counts them; null: the donor may take all of it. */
  readonly othersMs: (() => number) | null;
}

/** What is left to the donor where the rest of the process has much to do. */
const LEAST_SHARE = 0.05;
/** So many times as much whenever a fetcher turns out to chase the state: because that changes nearly as fast as it is given, or was gone when a checkpoint had been given. */
const CHASED = 4;
/** So often at most: then it is all that a donor ever gives. A fetcher may chase for a reason of its own, a slow line perhaps. */
const MOST_CHASED = 3;
/** How fast it changes and is given is seen over so long, milliseconds: clients lose little meanwhile. And so long where no checkpoint says what has changed. */
const CHASE_MS = 10_000;
const CHASE_MOST_MS = 60_000;
/** What is given has to be so many times of what changes: each transfer then has less than half to do of what the one before had. */
const AHEAD = 2;
/** With so many times of it less will do: an answer at the next lower share takes up to eight times as long. */
const FAR_AHEAD = 16;
/** Who has not asked for so long, milliseconds, does not come back: he has it, or has gone. */
const GIVEN_MS = 20_000;
/** What the donor leaves free where the rest of the process takes nothing. */
const RESERVE = 0.1;
/**
 * The rest counts the turns of its replica (server/turn.ts), which are a quarter of the loop when it gives clients all that it can: the others are reading of sockets,
 * and waits for its disk, its peers, and the processor.
 */
const OTHERS_WEIGHT = 5;
/** From this part of the loop on clients notice what the donor does. */
const PRESSED = 0.04;
/** Of what an answer costs only the slices of its making are timed; all threads together have so many times as much to do (measured with a donor that does nothing else). */
const ALL_WORK = 3.2;
/** How busy the others are is seen over at least so long: between two answers it is chance. */
const WINDOW_MS = 200;
/** An answer holds up the next one for about so long. */
const ANSWER_MS = 250;
const LEAST_ANSWER_BYTES = 64 << 10;

export class Pace {
  readonly #options: PaceOptions;
  #freeAt = -Infinity;
  // At the beginning of the window.
  #observedAt = 0;
  #othersMs: number;
  // The newest checkpoint that was asked for, when anything was last, and how often the fetcher turned out to chase the state since nobody asked.
  #newest = 0;
  #askedAt = -Infinity;
  #chased = 0;
  // Records that were given, and that changed, since then; null: there was no checkpoint.
  #comparedAt = 0;
  #given = 0;
  #changed: number | null = null;
  /** Share of the loop that the rest of the process took in the last window. */
  #others = 0;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#othersMs = options.othersMs?.() ?? 0;
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

  /** The newest checkpoint that was asked for, since nobody asked for long. */
  get newest(): number {
    return this.#newest;
  }

  /** Somebody asks for nodes of the checkpoint of this op. */
  asked(op: number, now: number): void {
    if (now - this.#askedAt > GIVEN_MS) {
      [this.#newest, this.#chased] = [op, 0];
      this.#compareFrom(now);
    } else if (op > this.#newest) {
      // What lay between the two was no giving.
      [this.#newest, this.#chased] = [op, Math.min(MOST_CHASED, this.#chased + 1)];
      this.#compareFrom(now);
    }
    this.#askedAt = now;
    if (now - this.#comparedAt < (this.#changed === null ? CHASE_MOST_MS : CHASE_MS)) return;
    const changed = this.#changed ?? 0;
    if (this.#given < AHEAD * changed) this.#chased = Math.min(MOST_CHASED, this.#chased + 1);
    else if (this.#given > FAR_AHEAD * changed) this.#chased = Math.max(0, this.#chased - 1);
    this.#compareFrom(now);
  }

  #compareFrom(now: number): void {
    this.#comparedAt = now;
    this.#given = 0;
    this.#changed = null;
  }

  /** There is a checkpoint, with so many records that are new, or had not changed since `newest`. */
  changed(records: number): void {
    this.#changed = (this.#changed ?? 0) + records;
  }

  /** The rest of the process has so much to do that its clients would notice what the donor does. */
  get isPressed(): boolean {
    return this.#others > PRESSED;
  }

  /** What was given so far is to be paid for during longer than anybody should wait. */
  isSpent(now: number): boolean {
    return this.waitMs(now) >= ANSWER_MS;
  }

  /** An answer, or a part of one, was given; `busyMs`: what its slices took of the event loop. */
  spend({ bytes, records, busyMs }: { readonly bytes: number; readonly records: number; readonly busyMs: number }, now: number): void {
    const { bytesPerSecond } = this.#options;
    this.#given += records;
    const forBytes = bytesPerSecond === 0 ? 0 : bytes * 1000 / bytesPerSecond;
    // Answers that were given side by side are paid for one after the other.
    this.#freeAt = Math.max(this.#freeAt, now) + Math.max(forBytes, this.#forWork(busyMs, now));
  }

  #forWork(busyMs: number, now: number): number {
    if (this.#options.othersMs === null) return 0;
    this.#observe(this.#options.othersMs(), now);
    const least = Math.min(1 - RESERVE, LEAST_SHARE * CHASED ** this.#chased);
    const share = Math.max(least, 1 - RESERVE - OTHERS_WEIGHT * this.#others);
    return busyMs * ALL_WORK * (1 / share - 1);
  }

  #observe(othersMs: number, now: number): void {
    if (now - this.#observedAt < WINDOW_MS) return;
    this.#others = Math.max(0, othersMs - this.#othersMs) / (now - this.#observedAt);
    this.#othersMs = othersMs;
    this.#observedAt = now;
  }
}
