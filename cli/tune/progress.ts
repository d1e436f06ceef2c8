/** How far a sweep is: a bar that moves on a terminal, elsewhere a line for each run. On standard error, so that the result stays alone on standard output. */
import type { Writable } from 'node:stream';

const WIDTH = 24;

function timeText(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  return s < 90 ? `${s} s` : `${Math.round(s / 60)} min`;
}

/** @param left seconds; null: not known yet */
export function barText(done: number, total: number, what: string, left: number | null): string {
  const part = total === 0 ? 0 : done / total;
  const full = Math.round(part * WIDTH);
  return `[${'#'.repeat(full)}${'-'.repeat(WIDTH - full)}] ${Math.floor(part * 100)} %  ${what}${left === null ? '' : `, about ${timeText(left)} left`}`;
}

export class Progress {
  readonly #out: Writable;
  readonly #isTerminal: boolean;
  readonly #total: number;
  readonly #startedAt: number;
  #done = 0;
  #what = '';

  /** @param total runs */
  constructor(out: Writable & { readonly isTTY?: boolean }, total: number) {
    this.#out = out;
    this.#isTerminal = out.isTTY === true;
    this.#total = total;
    this.#startedAt = performance.now();
  }

  run(what: string): void {
    this.#what = what;
    if (!this.#isTerminal) this.#out.write(`run ${this.#done + 1} of ${this.#total}: ${what}\n`);
    else this.phase('');
  }

  phase(what: string): void {
    if (!this.#isTerminal) return;
    const left = this.#done === 0 ? null : ((performance.now() - this.#startedAt) / this.#done) * (this.#total - this.#done) / 1000;
    this.#out.write(`\r\x1b[2K${barText(this.#done, this.#total, `${this.#what}${what === '' ? '' : `: ${what}`}`, left)}`);
  }

  /** A run has ended. */
  ended(result: string): void {
    this.#done++;
    if (!this.#isTerminal) this.#out.write(`run ${this.#done} of ${this.#total}: ${this.#what}: ${result}\n`);
  }

  /** Nothing of the bar stays. */
  close(): void {
    if (this.#isTerminal) this.#out.write('\r\x1b[2K');
  }
}
