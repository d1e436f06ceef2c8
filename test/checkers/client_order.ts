/**
 * What clients see agrees with the order of the log: a reply names the op at which the request was executed and carries
 * its result; what is invoked after another's reply has a higher op-number (writes) or sees at least that op (reads).
 */
import { ensure } from './violation.ts';

export class ClientOrder {
  /** The highest op that any reply has shown to any client. */
  acknowledged = 0;
  readonly #now: () => number;
  /** When it rose, and to what. */
  readonly #rises: { readonly at: number; readonly op: number }[] = [];

  constructor(now: () => number = () => 0) {
    this.#now = now;
  }

  /** At the invocation of anything: what its outcome must not be older than. */
  get floor(): number {
    return this.acknowledged;
  }

  /** A write is answered. `executedAt` and `executedResult` are what the committed order says. */
  writeAnswered(what: string, op: number, floor: number, executedAt: number | undefined, result: Buffer, executedResult: Buffer | undefined): void {
    ensure(executedAt === op, 'acknowledged ops are executed', () => `${what} is answered with op ${op}, it was executed at ${executedAt ?? 'no op'}`);
    ensure(executedResult !== undefined && executedResult.equals(result), 'replies are results', () => `${what} (op ${op}) is answered with ${result.toString('hex')}, its result was ${executedResult?.toString('hex') ?? 'none'}`);
    ensure(op > floor, 'real-time order', () => `${what} was invoked when op ${floor} was already acknowledged, and is ordered at op ${op}`);
    this.#show(op);
  }

  /** A read that may be `bound` milliseconds behind is answered now, with the state after `op`. */
  boundedReadAnswered(what: string, op: number, bound: number): void {
    const due = this.acknowledgedAt(this.#now() - bound);
    ensure(op >= due, 'bounded staleness', () => `${what} shows op ${op}, op ${due} was acknowledged more than ${bound} ms before`);
  }

  /** The highest op that was acknowledged at that time. */
  acknowledgedAt(time: number): number {
    let low = 0;
    let high = this.#rises.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#rises[middle]?.at ?? 0) <= time) low = middle + 1;
      else high = middle;
    }
    return this.#rises[low - 1]?.op ?? 0;
  }

  #show(op: number): void {
    if (op <= this.acknowledged) return;
    this.acknowledged = op;
    this.#rises.push({ at: this.#now(), op });
  }

  /** A read is answered with the state after `op`. Causal reads promise no more than `minOp`. */
  readAnswered(what: string, op: number, linearizableFloor: number | null, minOp: number): void {
    ensure(op >= minOp, 'reads see what their client saw', () => `${what} shows op ${op}, its client has seen ${minOp}`);
    if (linearizableFloor === null) return;
    ensure(op >= linearizableFloor, 'linearizable reads', () => `${what} shows op ${op}, op ${linearizableFloor} was acknowledged before it was invoked`);
    this.#show(op);
  }
}
