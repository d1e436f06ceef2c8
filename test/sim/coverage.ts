/** Counters of what a run has gone through, so that a range of seeds can say what it tested. */
export class Coverage {
  readonly counts = new Map<string, number>();

  count(what: string, n = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + n);
  }

  get(what: string): number {
    return this.counts.get(what) ?? 0;
  }

  add(other: Coverage): void {
    for (const [what, n] of other.counts) this.count(what, n);
  }

  lines(): string[] {
    return [...this.counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, n]) => `${what.padEnd(36)} ${n}`);
  }
}
