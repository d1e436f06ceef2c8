/** Equal checkpoint op, equal root, on every replica. */
import { ensure } from './violation.ts';

export class CheckpointRoots {
  readonly #roots = new Map<number, string>();

  durable(replica: number, op: number, root: string): void {
    const known = this.#roots.get(op);
    if (known === undefined) this.#roots.set(op, root);
    else ensure(known === root, 'equal roots', () => `the checkpoint of op ${op} at replica #${replica} has another root than elsewhere`);
  }
}
