/**
 * When a replica begins to write a checkpoint. All of a group reach its op within a moment of each other; if all wrote it at once, clients would wait for all of
 * them, on a machine that the replicas share in particular. So each begins a little later than the one before it, in the order of the configuration: the first at once. Where a
 * checkpoint takes long they overlap. Nobody has to agree on anything: what a checkpoint holds is settled when its op has been executed.
 */
import type { MemberId } from '../lib/ids.ts';
import type { Member } from '../vr/configuration.ts';

/** Turns are spread over so much of the time between two checkpoints, milliseconds at most. */
const TURNS_PART = 0.6;
const TURNS_MS = 300;
/** What is left of that time when the last turn begins: so many times what the last checkpoint took. One that is not durable at the next one's op costs that one. */
const SPARE = 2;

/** Times are milliseconds of a monotonic clock. */
export class CheckpointTurns {
  readonly #self: MemberId;
  /** When the last one's op was reached; null: none was yet. */
  #reachedAt: number | null = null;
  #workMs = 0;

  constructor(self: MemberId) {
    this.#self = self;
  }

  /** The op of a checkpoint has been reached: how long to wait before it is written. `leftOut`: ops of checkpoints since the last one. */
  reached(members: readonly Member[], now: number, leftOut: number): number {
    const last = this.#reachedAt;
    this.#reachedAt = now;
    const takers = members.filter((m) => m.role !== 'witness');
    const before = takers.findIndex((m) => m.id === this.#self);
    if (before <= 0 || last === null) return 0;
    const intervalMs = (now - last) / (leftOut + 1);
    const turnMs = (before / takers.length) * Math.min(intervalMs * TURNS_PART, TURNS_MS);
    const spareMs = (before / (takers.length - 1)) * (intervalMs - SPARE * this.#workMs);
    return Math.max(0, Math.min(turnMs, spareMs));
  }

  /** How long the last one took from its turn until it was durable. */
  took(milliseconds: number): void {
    this.#workMs = milliseconds;
  }
}
