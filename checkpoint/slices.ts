/** Work cut into slices, so that nothing holds the event loop for long. */
import { setImmediate as nextTurn } from 'node:timers/promises';

export class Slices {
  readonly #milliseconds: number;
  #end = 0;
  #startedAt = 0;
  #busy = 0;
  #taken = 0;
  #longest = 0;

  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
    this.begin();
  }

  /** Time spent in slices so far, and in the longest, in milliseconds. */
  get busyMs(): number {
    return this.#busy;
  }
  get longestMs(): number {
    return this.#longest;
  }

  /** Time spent in slices since the last call, in milliseconds. */
  takeBusyMs(): number {
    const taken = this.#busy - this.#taken;
    this.#taken = this.#busy;
    return taken;
  }

  /** The slice is used up: the caller should await `giveWay()`. */
  get over(): boolean {
    return performance.now() >= this.#end;
  }

  begin(): void {
    this.#startedAt = performance.now();
    this.#end = this.#startedAt + this.#milliseconds;
  }

  /** Ends a slice, before a wait for something else. */
  pause(): void {
    const took = performance.now() - this.#startedAt;
    this.#busy += took;
    if (took > this.#longest) this.#longest = took;
  }

  async giveWay(): Promise<void> {
    this.pause();
    await nextTurn();
    this.begin();
  }
}
