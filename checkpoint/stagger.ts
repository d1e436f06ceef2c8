/**
 * When a replica begins to write the checkpoint that all take at the same op: not at the same time. Each begins after another part of the time from one checkpoint to
 * the next, so that a quorum of the others goes on while it writes (ZooKeeper draws the op of its snapshots for that; here all are taken at one op, for their roots).
 * The state is frozen at the op whenever it is written.
 */

/** Longer nobody waits: checkpoints that are taken seldom meet each other seldom. */
const MOST_MS = 250;

export class Stagger {
  readonly #part: number;
  #takenAt = -Infinity;

  /** `part`: of the time between two checkpoints, 0 to 1. */
  constructor(part: number) {
    this.#part = part;
  }

  /** One is taken now; the last took so long to be written. How long to wait before this one is; times in milliseconds. */
  delay(now: number, lastWallMs: number): number {
    const between = now - this.#takenAt;
    this.#takenAt = now;
    if (between === Infinity) return 0;
    // It is written before the next one comes.
    return Math.min(MOST_MS, this.#part * Math.max(0, between - 2 * lastWallMs));
  }
}
