/** An invariant of PROTOCOL section 4 does not hold. Ends the run of a seed. */
export class Violation extends Error {
  override readonly name = 'Violation';
  /** The invariant's short name. */
  readonly invariant: string;

  constructor(invariant: string, detail: string) {
    super(`${invariant}: ${detail}`);
    this.invariant = invariant;
  }
}

export function ensure(condition: boolean, invariant: string, detail: () => string): void {
  if (!condition) throw new Violation(invariant, detail());
}
