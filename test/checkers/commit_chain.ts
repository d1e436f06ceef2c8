/**
 * One chain of committed entries, across all replicas and all time: whoever executes an op executes the same entry, on
 * the same parent, in order, with the same result; views and times never fall along the chain.
 */
import type { Digest } from '../../lib/ids.ts';
import type { Entry } from '../../vr/entry.ts';
import { ensure } from './violation.ts';

interface Committed {
  readonly hash: Digest;
  /** Null: nobody was seen to execute it; known from its successor's parent hash only (an entry without an effect). */
  entry: Entry | null;
  result: Buffer | null;
}

export class CommitChain {
  // committed[op]
  readonly #committed: (Committed | undefined)[] = [];
  /** Last op that each replica's present process executed. */
  readonly #last = new Map<number, number>();
  /** The highest op that anybody executed. */
  head = 0;

  /** The replica's process starts, or takes over a checkpoint: it goes on from `op`. */
  restart(replica: number, op: number): void {
    this.#last.set(replica, op);
  }

  hashAt(op: number): Digest | undefined {
    return this.#committed[op]?.hash;
  }
  entryAt(op: number): Entry | null {
    return this.#committed[op]?.entry ?? null;
  }

  /** A replica has executed `entry`; true when it is the first to do so. `result` null: the entry gives none. */
  executed(replica: number, entry: Entry, result: Buffer | null): boolean {
    const { op } = entry;
    const last = this.#last.get(replica) ?? 0;
    ensure(op > last, 'execution in order', () => `replica #${replica} executes op ${op} after op ${last}`);
    this.#last.set(replica, op);
    const known = this.#committed[op];
    if (known === undefined) this.#committed[op] = { hash: entry.hash, entry, result };
    else {
      ensure(known.hash === entry.hash, 'one chain', () => `op ${op} at replica #${replica} is ${describe(entry)}, it was ${known.entry === null ? 'another entry' : describe(known.entry)}`);
    }
    const parent = this.#committed[op - 1];
    if (parent === undefined) {
      if (op > 1) this.#committed[op - 1] = { hash: entry.parent, entry: null, result: null };
    } else {
      ensure(parent.hash === entry.parent, 'one chain', () => `op ${op} at replica #${replica} has another parent than the op ${op - 1} that was committed`);
      const before = parent.entry;
      if (before !== null) {
        ensure(before.view <= entry.view, 'views never fall', () => `op ${op} was proposed in view ${entry.view}, op ${op - 1} in view ${before.view}`);
        ensure(before.time < entry.time, 'time rises', () => `op ${op} has time ${entry.time}, op ${op - 1} has ${before.time}`);
      }
    }
    if (known === undefined || known.entry === null) {
      if (known !== undefined) {
        known.entry = entry;
        known.result = result;
      }
      ensure(op > this.head, 'complete execution', () => `replica #${replica} executes op ${op}, ${describe(entry)}, which others have passed without executing it (head ${this.head})`);
      this.head = op;
      return true;
    }
    const expected = known.result;
    ensure(
      expected === null || result === null ? expected === result : expected.equals(result),
      'determinism',
      () => `op ${op} gives ${result?.toString('hex') ?? 'nothing'} at replica #${replica}, it gave ${expected?.toString('hex') ?? 'nothing'}`,
    );
    return false;
  }
}

function describe(e: Entry): string {
  return `${e.kind} ${e.session}/${e.slot}/${e.seq} of view ${e.view}`;
}
