/** What every benchmark prints: a table for people, or with --json one object for programs. */
import { spawnSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';

export interface Row {
  readonly what: string;
  /** The median of the runs. */
  readonly value: number;
  readonly unit: string;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
  readonly target?: string;
  readonly ok?: boolean;
}

export interface Report {
  readonly machine: string;
  readonly commit: string;
  readonly conditions: Readonly<Record<string, string | number | boolean>>;
  readonly rows: readonly Row[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** `p` in 0..1; nearest rank. */
export function percentile(sorted: ArrayLike<number>, p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? NaN;
}

export function row(what: string, unit: string, values: readonly number[]): Row {
  const round = (n: number): number => (n >= 100 ? Math.round(n) : Number(n.toPrecision(3)));
  return { what, value: round(median(values)), unit, min: round(Math.min(...values)), max: round(Math.max(...values)), runs: values.length };
}

/** Of the checkout that this is run in; an installed package has none. */
function commit(): string {
  const git = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return git.status === 0 ? git.stdout.trim() : 'unknown (no checkout)';
}

export function report(conditions: Report['conditions'], rows: readonly Row[]): Report {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const machine = `${cpus().length} × ${model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, ${process.platform}`;
  return { machine, commit: commit(), conditions, rows };
}

export function print(r: Report, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(r)}\n`);
    return;
  }
  process.stdout.write(`${r.machine}; commit ${r.commit}\n${JSON.stringify(r.conditions)}\n\n`);
  const width = Math.max(...r.rows.map((x) => x.what.length));
  for (const x of r.rows) {
    const spread = x.runs > 1 ? `  (${x.min} .. ${x.max}, ${x.runs} runs)` : '';
    const target = x.target === undefined ? '' : `  target ${x.target}: ${x.ok === true ? 'met' : 'NOT MET'}`;
    process.stdout.write(`${x.what.padEnd(width)}  ${String(x.value).padStart(10)} ${x.unit}${spread}${target}\n`);
  }
}
