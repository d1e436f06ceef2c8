/**
 * Checkpoint points are the same on every replica, whatever happened to it: of each op that is executed, either all who
 * execute it come to a point there (take a checkpoint, or leave it out because one is being written), or nobody does.
 */
import { ensure } from './violation.ts';

export class CheckpointPoints {
  // isPoint[op]: as the first that executed it had it.
  readonly #isPoint: (boolean | undefined)[] = [];
  readonly #replicas = new Map<number, { last: number; readonly reached: Set<number> }>();

  /** The replica's process starts, or takes over a checkpoint: it goes on from `op`. */
  restart(replica: number, op: number): void {
    this.#replicas.set(replica, { last: op, reached: new Set() });
  }

  /** The replica has come to a point. */
  reached(replica: number, op: number): void {
    this.#replicas.get(replica)?.reached.add(op);
  }

  /** The replica has executed everything up to `op`. */
  executed(replica: number, op: number): void {
    const state = this.#replicas.get(replica);
    if (state === undefined) return;
    for (let n = state.last + 1; n <= op; n++) {
      const here = state.reached.delete(n);
      const known = this.#isPoint[n];
      if (known === undefined) this.#isPoint[n] = here;
      else ensure(known === here, 'equal checkpoint points', () => `op ${n} is ${here ? 'a' : 'no'} checkpoint point at replica #${replica}, elsewhere it is ${known ? 'one' : 'none'}`);
    }
    state.last = Math.max(state.last, op);
  }
}
