/** The arithmetic of acknowledgements and votes: one per member, however often it says the same. Pure. */
import type { MemberId } from '../lib/ids.ts';

/** The largest n such that at least `quorum` of the values are >= n; 0 when there are too few values. */
export function quorumPoint(values: readonly number[], quorum: number): number {
  if (values.length < quorum) return 0;
  return [...values].sort((a, b) => b - a)[quorum - 1] ?? 0;
}

/** One value per member that only rises: acknowledged ops, confirmed rounds. */
export class Progress {
  readonly #values = new Map<MemberId, number>();

  /** Returns whether it rose. */
  record(member: MemberId, value: number): boolean {
    if (value <= (this.#values.get(member) ?? -1)) return false;
    this.#values.set(member, value);
    return true;
  }
  get(member: MemberId): number | undefined {
    return this.#values.get(member);
  }
  forget(member: MemberId): void {
    this.#values.delete(member);
  }
  clear(): void {
    this.#values.clear();
  }
  /** What at least `quorum` members have reached, `own` being one of them. */
  point(quorum: number, own: number): number {
    return quorumPoint([...this.#values.values(), own], quorum);
  }
}
