/**
 * Virtual time. Everything that happens in a simulation is an action in this queue, ordered by (time, sequence of
 * scheduling), so that one seed gives one order. Time jumps to the next action: idle milliseconds cost nothing.
 */
import { assert, defined } from '../../lib/assert.ts';
import { ensure } from '../checkers/violation.ts';

/** More actions than that within one millisecond: somebody answers answers. */
const STORM = 20_000;

interface Action {
  readonly at: number;
  readonly sequence: number;
  readonly run: () => void;
}

function before(a: Action, b: Action): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

export class EventQueue {
  /** Virtual milliseconds since the simulation began. */
  now = 0;
  /** Actions run so far. */
  steps = 0;
  #sequence = 0;
  #stepsNow = 0;
  // A binary heap: the children of i are 2i+1 and 2i+2.
  readonly #heap: Action[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** Runs `run` in `delay` milliseconds (whole, not negative); actions of one millisecond run as they were scheduled. */
  after(delay: number, run: () => void): void {
    this.at(this.now + delay, run);
  }

  at(time: number, run: () => void): void {
    assert(time >= this.now && Number.isInteger(time), `an action at ${time}, it is ${this.now}`);
    const heap = this.#heap;
    const action = { at: time, sequence: this.#sequence++, run };
    let i = heap.length;
    heap.push(action);
    while (i > 0) {
      const up = (i - 1) >>> 1;
      const parent = defined(heap[up], 'parent');
      if (!before(action, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = action;
  }

  /** Time of the next action, or Infinity. */
  get next(): number {
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Runs the next action and moves the time to it; false when there is none. */
  step(): boolean {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined) return false;
    const last = defined(heap.pop(), 'last');
    if (heap.length > 0) this.#sink(last);
    if (first.at > this.now) this.#stepsNow = 0;
    this.now = first.at;
    this.steps++;
    ensure(++this.#stepsNow < STORM, 'no storms', () => `${STORM} actions within one millisecond`);
    first.run();
    return true;
  }

  /** Runs all actions up to and at `time`. */
  runTo(time: number): void {
    while (this.next <= time) this.step();
    this.now = Math.max(this.now, time);
  }

  #sink(action: Action): void {
    const heap = this.#heap;
    const n = heap.length;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= n) break;
      let least = defined(heap[child], 'child');
      const right = heap[child + 1];
      if (right !== undefined && before(right, least)) {
        least = right;
        child++;
      }
      if (!before(least, action)) break;
      heap[i] = least;
      i = child;
    }
    heap[i] = action;
  }
}
