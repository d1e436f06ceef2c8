/**
 * Is there an order of these operations that respects real time and that the sequential model allows? Wing & Gong's search (JPDC
 * 1993) with Lowe's memory of configurations (2017): take an operation that nothing unplaced precedes, apply it to the model, go on;
 * step back where the model contradicts a result; never enter the same (operations placed, state) twice.
 *
 * Two things keep it fast without changing the answer:
 * - An operation whose result says that it changed nothing (a read, a failed compare, EEXIST) is placed as soon as it fits: any order
 *   that goes on from here stays one when it is moved to the front.
 * - One with an unknown outcome is placed only where what comes next needs it. Of all orders that explain a history take one
 *   with the fewest of these, each as late as it can be: whatever follows one directly would not fit, or would lead elsewhere, without it or before it.
 */
import { assert } from '../../lib/assert.ts';
import { changesNothing, sameResult, type Model } from './models.ts';
import { isRead, type Call, type Operation, type Result } from './operations.ts';

/** An operation to be placed. `result` is undefined where it is not known; then `return` is infinite. */
export interface Event {
  readonly id: number;
  readonly call: Call;
  readonly result: Result | undefined;
  readonly invoke: number;
  readonly return: number;
  /** An event that comes before this one whatever their times say. */
  readonly behind?: number | undefined;
}

export type Verdict<S> =
  /** The events in an order that explains all results. */
  | { readonly type: 'linearizable'; readonly order: readonly Event[]; readonly state: S }
  | { readonly type: 'not-linearizable' }
  /** More configurations than the bound allows. */
  | { readonly type: 'undecided'; readonly configurations: number };

export interface SearchOptions<S> {
  /** Configurations that are looked at before the search gives up. */
  readonly bound?: number;
  /** This event could be placed here if it had another result: for explanations. */
  readonly refused?: (event: Event, state: S) => void;
}

export const DEFAULT_BOUND = 300_000;

/** What has to be placed: `fail` took no effect, and a read that nobody saw proves nothing. */
export function eventsOf(operations: readonly Operation[]): Event[] {
  const events: Event[] = [];
  const before = predecessors(operations);
  for (const [id, o] of operations.entries()) {
    if (o.outcome === 'ok') events.push({ id, call: o, result: o.result, invoke: o.invoke, return: o.return, behind: before.get(id) });
    else if (o.outcome === 'info' && !isRead(o)) events.push({ id, call: o, result: undefined, invoke: o.invoke, return: Infinity });
  }
  return events;
}

/** Of each weak read: what its process did last to this object. Its interval reaches back beyond that, and it may not. */
function predecessors(operations: readonly Operation[]): Map<number, number> {
  const before = new Map<number, number>();
  const last = new Map<number, number>();
  const answered = [...operations.entries()].filter(([, o]) => o.outcome === 'ok').sort(([, a], [, b]) => (a.return ?? 0) - (b.return ?? 0));
  for (const [id, o] of answered) {
    const previous = last.get(o.process);
    if (o.consistency !== undefined && previous !== undefined) before.set(id, previous);
    last.set(o.process, id);
  }
  return before;
}

/** The history as it was known at `time`: later operations are not there, and those under way have no result yet. */
export function prefix(events: readonly Event[], time: number): Event[] {
  const known: Event[] = [];
  for (const e of events) {
    if (e.invoke > time) continue;
    if (e.return <= time) known.push(e);
    else if (!isRead(e.call)) known.push({ ...e, result: undefined, return: Infinity });
  }
  return known;
}

interface Node {
  readonly event: Event;
  previous: Node | null;
  next: Node | null;
}

interface Choice<S> {
  readonly node: Node;
  readonly state: S;
}

/** An event with an unknown outcome that was placed just now, and the state before it. */
interface Guess<S> {
  readonly event: Event;
  readonly before: S;
}

interface Frame<S> {
  readonly state: S;
  /** Placed without a choice on the way in; they go back when the frame is left. */
  readonly settled: readonly Node[];
  readonly choices: readonly Choice<S>[];
  next: number;
  chosen: Node | null;
}

export function search<S>(events: readonly Event[], model: Model<S>, options: SearchOptions<S> = {}): Verdict<S> {
  return new Search(events, model, options).run();
}

class Search<S> {
  readonly #model: Model<S>;
  readonly #options: SearchOptions<S>;
  /** The events that are not placed, by time of invocation, behind a head without event. */
  readonly #head: { next: Node | null };
  readonly #order: Event[] = [];
  readonly #seen = new Set<string>();
  readonly #placed = new Set<number>();
  #completedLeft: number;

  constructor(events: readonly Event[], model: Model<S>, options: SearchOptions<S>) {
    this.#model = model;
    this.#options = options;
    this.#head = { next: null };
    this.#completedLeft = events.filter((e) => e.result !== undefined).length;
    let last: Node | null = null;
    for (const event of [...events].sort((a, b) => a.invoke - b.invoke)) {
      const node: Node = { event, previous: last, next: null };
      if (last === null) this.#head.next = node;
      else last.next = node;
      last = node;
    }
  }

  run(): Verdict<S> {
    const bound = this.#options.bound ?? DEFAULT_BOUND;
    const frames: Frame<S>[] = [];
    let state = this.#model.initial;
    let guess: Guess<S> | null = null;
    for (;;) {
      const settled = this.#settle(state);
      if (this.#completedLeft === 0) return { type: 'linearizable', order: this.#order, state };
      // What could be settled now and not before is what the guess was needed for.
      const choices = this.#choices(state, settled.length === 0 ? guess : null);
      if (this.#seen.size > bound) return { type: 'undecided', configurations: this.#seen.size };
      frames.push({ state, settled, choices, next: 0, chosen: null });
      const taken = this.#advance(frames);
      if (taken === null) return { type: 'not-linearizable' };
      state = taken.choice.state;
      guess = taken.choice.node.event.result === undefined ? { event: taken.choice.node.event, before: taken.before } : null;
    }
  }

  /** The next choice that is left, from the newest frame back to the oldest; null when there is none any more. */
  #advance(frames: Frame<S>[]): { readonly choice: Choice<S>; readonly before: S } | null {
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      if (frame.chosen !== null) this.#putBack(frame.chosen);
      const choice = frame.choices[frame.next++];
      if (choice !== undefined) {
        frame.chosen = choice.node;
        this.#place(choice.node);
        return { choice, before: frame.state };
      }
      for (const node of [...frame.settled].reverse()) this.#putBack(node);
      frames.pop();
    }
    return null;
  }

  /** Those that nothing unplaced precedes: an event that began after another one returned has to wait for it. */
  #candidates(): Node[] {
    const found: Node[] = [];
    let firstReturn = Infinity;
    for (let node = this.#head.next; node !== null && node.event.invoke <= firstReturn; node = node.next) {
      found.push(node);
      firstReturn = Math.min(firstReturn, node.event.return);
    }
    return found;
  }

  #mayFollow({ event: { behind } }: Node): boolean {
    return behind === undefined || this.#placed.has(behind);
  }

  #settle(state: S): Node[] {
    const settled: Node[] = [];
    for (let again = true; again; ) {
      again = false;
      for (const node of this.#candidates()) {
        if (!this.#mayFollow(node)) continue;
        const { call, result } = node.event;
        if (result === undefined || !changesNothing(call, result) || !sameResult(this.#model.step(state, call).result, result)) continue;
        this.#place(node);
        settled.push(node);
        again = true;
      }
    }
    return settled;
  }

  /** What may come next; nothing where this configuration has been looked at before. */
  #choices(state: S, guess: Guess<S> | null): Choice<S>[] {
    const here = this.#model.key(state);
    const candidates = this.#candidates();
    // Placed is whatever is not left, and what lies behind the candidates is all left: so they tell configurations apart.
    const configuration = `${here} ${candidates.map((n) => n.event.id).join(',')} ${guess === null ? '' : `${guess.event.id} ${this.#model.key(guess.before)}`}`;
    if (this.#seen.has(configuration)) return [];
    this.#seen.add(configuration);
    const known: Choice<S>[] = [];
    const unknown: Choice<S>[] = [];
    for (const node of candidates) {
      const { event } = node;
      if (!this.#mayFollow(node)) continue;
      const step = this.#model.step(state, event.call);
      if (event.result !== undefined && !sameResult(step.result, event.result)) {
        this.#options.refused?.(event, state);
        continue;
      }
      if (guess !== null && !this.#needed(guess, event, step.state)) continue;
      if (event.result !== undefined) known.push({ node, state: step.state });
      // Where it changes nothing, "never" does as well.
      else if (this.#model.key(step.state) !== here) unknown.push({ node, state: step.state });
    }
    return [...known, ...unknown];
  }

  /** Whether `next`, which leads to `after` with the guess before it, could not as well go without the guess, or come before it. */
  #needed(guess: Guess<S>, next: Event, after: S): boolean {
    const alone = this.#model.step(guess.before, next.call);
    if (next.result !== undefined && !sameResult(alone.result, next.result)) return true;
    const then = this.#model.key(after);
    if (this.#model.key(alone.state) === then) return false;
    const commute = this.#model.key(this.#model.step(alone.state, guess.event.call).state) === then;
    // Of two guesses that commute, the order of their numbers is the one that is looked at.
    return !commute || (next.result === undefined && next.id > guess.event.id);
  }

  #place(node: Node): void {
    if (node.previous === null) this.#head.next = node.next;
    else node.previous.next = node.next;
    if (node.next !== null) node.next.previous = node.previous;
    this.#order.push(node.event);
    this.#placed.add(node.event.id);
    if (node.event.result !== undefined) this.#completedLeft--;
  }

  /** Undoes `place`, in reverse order: the neighbours are then the ones that it had. */
  #putBack(node: Node): void {
    if (node.previous === null) this.#head.next = node;
    else node.previous.next = node;
    if (node.next !== null) node.next.previous = node;
    const last = this.#order.pop();
    assert(last === node.event, 'operations are taken back in reverse order');
    this.#placed.delete(node.event.id);
    if (node.event.result !== undefined) this.#completedLeft++;
  }
}
