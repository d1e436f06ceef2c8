/** Processes that are told to end: the primary steps down, and most of them have ended a moment later, whether another leads by then or not. */
import type { Prng } from '../../lib/prng.ts';
import type { Cluster } from './cluster.ts';
import type { DeposalWorld } from './deposals.ts';
import type { Host } from './host.ts';

export class StepDowns {
  readonly #cluster: Cluster;
  readonly #meanMs: number;
  readonly #random: Prng;
  readonly #world: Pick<DeposalWorld, 'crash' | 'restart'>;
  #active = true;

  /** @param meanMs between them */
  constructor(cluster: Cluster, meanMs: number, random: Prng, world: Pick<DeposalWorld, 'crash' | 'restart'>) {
    this.#cluster = cluster;
    this.#meanMs = meanMs;
    this.#random = random;
    this.#world = world;
  }

  start(): void {
    this.#later(this.#random.below(2 * this.#meanMs), () => {
      // All who believe that they lead: one of them may have been deposed, and not know.
      for (const host of this.#cluster.members) if (host.running && !host.paused && host.replica.isPrimary) this.#ends(host);
      this.start();
    });
  }

  stop(): void {
    this.#active = false;
  }

  #later(delay: number, action: () => void): void {
    this.#cluster.queue.after(1 + delay, () => { if (this.#active) action(); });
  }

  #ends(host: Host): void {
    host.stepDown();
    if (this.#random.chance(0.3)) return;
    this.#later(this.#random.below(40), () => {
      if (!host.running || !this.#world.crash(host)) return;
      this.#later(this.#random.below(500), () => { if (!host.running && !host.lost && !host.ended) this.#world.restart(host); });
    });
  }
}
