/**
 * What clients see agrees with the order of the log: a reply names the op at which the request was executed and carries
 * its result; what is invoked after another's reply has a higher op-number (writes) or sees at least that op (reads).
 */
import { ensure } from './violation.ts';

export class ClientOrder {
  /** The highest op that any reply has shown to any client. */
  acknowledged = 0;

  /** At the invocation of anything: what its outcome must not be older than. */
  get floor(): number {
    return this.acknowledged;
  }

  /** A write is answered. `executedAt` and `executedResult` are what the committed order says. */
  writeAnswered(what: string, op: number, floor: number, executedAt: number | undefined, result: Buffer, executedResult: Buffer | undefined): void {
    ensure(executedAt === op, 'acknowledged ops are executed', () => `${what} is answered with op ${op}, it was executed at ${executedAt ?? 'no op'}`);
    ensure(executedResult !== undefined && executedResult.equals(result), 'replies are results', () => `${what} (op ${op}) is answered with ${result.toString('hex')}, its result was ${executedResult?.toString('hex') ?? 'none'}`);
    ensure(op > floor, 'real-time order', () => `${what} was invoked when op ${floor} was already acknowledged, and is ordered at op ${op}`);
    if (op > this.acknowledged) this.acknowledged = op;
  }

  /** A read is answered with the state after `op`. Causal reads promise no more than `minOp`. */
  readAnswered(what: string, op: number, linearizableFloor: number | null, minOp: number): void {
    ensure(op >= minOp, 'reads see what their client saw', () => `${what} shows op ${op}, its client has seen ${minOp}`);
    if (linearizableFloor === null) return;
    ensure(op >= linearizableFloor, 'linearizable reads', () => `${what} shows op ${op}, op ${linearizableFloor} was acknowledged before it was invoked`);
    if (op > this.acknowledged) this.acknowledged = op;
  }
}
