/** What one run gives, and what the repeats of one interval give together. */
import type { Interval } from './settings.ts';
import { spreadOf, type Spread } from './statistics.ts';

export const FIGURES = {
  throughput: 'operations a second',
  p50: 'latency, 50th percentile, ms',
  p99: 'latency, 99th percentile, ms',
  p999: 'latency, 99.9th percentile, ms',
  cpu: 'event loop that checkpoints take of a replica, ms per 1000 operations of the log',
  hold: 'longest hold of the event loop by a checkpoint of any replica since the run began, ms',
  written: 'bytes of records and nodes that checkpoints write, per operation of the log',
  checkpoints: 'checkpoints that a replica took while it was measured',
  journal: 'journal at its largest, bytes of its files (which grow by whole segments)',
  recovery: 'from the start of the replica that was down until it is up to date, s',
  recoveryBytes: 'bytes that it fetched',
} as const;
export type FigureName = keyof typeof FIGURES;

/** Of one run. The last two only where there was an outage; Infinity: not within the time that a run waits. */
export type RunFigures = Readonly<Record<Exclude<FigureName, 'recovery' | 'recoveryBytes'>, number>> & { readonly recovery?: number; readonly recoveryBytes?: number };

/** Of all repeats of one interval. */
export interface Point {
  readonly interval: Interval;
  readonly figures: Readonly<Partial<Record<FigureName, Spread>>>;
}

/** @param runs of one interval, in the order in which they were measured */
export function pointOf(interval: Interval, runs: readonly RunFigures[]): Point {
  const figures: Partial<Record<FigureName, Spread>> = {};
  for (const name of Object.keys(FIGURES) as FigureName[]) {
    const values = runs.flatMap((run) => { const v = run[name]; return v === undefined ? [] : [v]; });
    if (values.length > 0) figures[name] = spreadOf(values);
  }
  return { interval, figures };
}
