/**
 * No committed op is missing in any later view: the log with which a primary starts a view holds everything that was
 * committed in the views before. Found at the StartView itself, before anything is executed on the wrong log.
 */
import type { StartView } from '../../vr/messages.ts';
import type { CommitChain } from './commit_chain.ts';
import { ensure } from './violation.ts';

export class SurvivingCommits {
  readonly #chain: CommitChain;
  /** By view: the highest op first executed by a replica in that view. */
  readonly #headOfView = new Map<number, number>();

  constructor(chain: CommitChain) {
    this.#chain = chain;
  }

  /** `op` has been executed for the first time, by a replica in `view`. */
  committed(op: number, view: number): void {
    if ((this.#headOfView.get(view) ?? 0) < op) this.#headOfView.set(view, op);
  }

  startView(sender: number, m: StartView): void {
    let due = 0;
    for (const [view, op] of this.#headOfView) if (view < m.view && op > due) due = op;
    ensure(m.op >= due, 'committed ops survive', () => `#${sender} starts view ${m.view} with a log up to ${m.op}, op ${due} was committed before`);
    // The hash at the base stands for all that is not named.
    for (const header of [{ op: m.claim.base, hash: m.claim.baseHash }, ...m.claim.headers]) {
      const hash = this.#chain.hashAt(header.op);
      if (header.op > due) break;
      ensure(hash === undefined || hash === header.hash, 'committed ops survive', () => `#${sender} starts view ${m.view} with another op ${header.op} than was committed`);
    }
  }
}
