/**
 * When a replica begins to write a checkpoint. All of a group reach its op within a moment of each other; if all wrote it at once, clients would wait for all of
 * them, on a machine that the replicas share in particular. In turn, a quorum is free of it most of the time. Nobody has to agree on
 * anything: what a checkpoint holds is settled when its op has been executed.
 */
import type { MemberId } from '../lib/ids.ts';
import type { Member } from '../vr/configuration.ts';

/** Turns are spread over so much of the time between two checkpoints, milliseconds at most. */
const TURNS_PART = 0.6;
const TURNS_MS = 300;
/** What is left of that time when a turn begins: so many times what the last one took. A checkpoint that is still being written at the next one's op costs that one. */
const SPARE = 2;
/** How much longer than the time before the last one the time between two is taken to be: behind a checkpoint that was left out it looks twice as long. */
const SLOWER = 1.25;

/** Times are milliseconds of a monotonic clock. */
export class CheckpointTurns {
  readonly #self: MemberId;
  /** When the last one's op was reached, and the time between two. */
  #reachedAt: number;
  #intervalMs = Infinity;
  #workMs = 0;

  constructor(self: MemberId, now: number) {
    this.#self = self;
    this.#reachedAt = now;
  }

  /** The op of a checkpoint has been reached: how long to wait before it is written. */
  reached(members: readonly Member[], now: number): number {
    this.#intervalMs = Math.min(now - this.#reachedAt, this.#intervalMs * SLOWER);
    this.#reachedAt = now;
    const takers = members.filter((m) => m.role !== 'witness');
    const before = takers.findIndex((m) => m.id === this.#self);
    if (before <= 0) return 0;
    const turnMs = (before / takers.length) * Math.min(this.#intervalMs * TURNS_PART, TURNS_MS);
    return Math.max(0, Math.min(turnMs, this.#intervalMs - SPARE * this.#workMs));
  }

  /** How long the last one took from its turn until it was durable. */
  took(milliseconds: number): void {
    this.#workMs = milliseconds;
  }
}
