/**
 * What happened, in order: a running hash of everything (two runs of a seed have to agree on it) and, when wanted,
 * lines to read. Lines are built only when somebody reads them.
 */
export class Trace {
  /** 32 bits over all that was mixed in. */
  fingerprint = 0x811c9dc5;
  readonly #print: ((line: string) => void) | null;
  readonly #now: () => number;

  constructor(now: () => number, print: ((line: string) => void) | null) {
    this.#now = now;
    this.#print = print;
  }

  mix(n: number): void {
    let h = this.fingerprint ^ n;
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
    this.fingerprint = (h ^ (h >>> 16)) >>> 0;
  }

  get enabled(): boolean {
    return this.#print !== null;
  }

  line(text: string): void {
    this.#print?.(`${String(this.#now()).padStart(7)} ${text}`);
  }
}
