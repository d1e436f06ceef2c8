/** What was measured, as a table for people, one object for programs, and the plots of both. */
import { cpus, totalmem } from 'node:os';
import { defined } from '../../lib/assert.ts';
import { VERSION } from '../../server/version.ts';
import { sizeText, table } from '../format.ts';
import { FIGURES, type FigureName, type Point } from './figures.ts';
import { plot, type PlotSpec } from './plot.ts';
import { recommend, type Recommendation } from './recommend.ts';
import { RECOVERY_BOUND_S } from './run.ts';
import { intervalText, type TuneSettings } from './settings.ts';
import type { Spread } from './statistics.ts';

export interface TuneReport {
  readonly settings: TuneSettings;
  /** Where the groups were. */
  readonly parent: string;
  readonly machine: string;
  /** RFC 3339. */
  readonly at: string;
  /** Smallest interval first. */
  readonly points: readonly Point[];
  readonly recommendation: Recommendation;
}

export function reportOf(settings: TuneSettings, parent: string, points: readonly Point[], at: Date): TuneReport {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const machine = `${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, ${process.platform}`;
  return { settings, parent, machine, at: at.toISOString(), points, recommendation: recommend(points, settings.goals) };
}

const ms = (v: number): string => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));
const whole = (v: number): string => String(Math.round(v));

interface Column {
  readonly name: FigureName;
  readonly head: string;
  readonly format: (v: number) => string;
}

const COLUMNS: readonly Column[] = [
  { name: 'throughput', head: 'OPS/S', format: whole },
  { name: 'p50', head: 'P50 ms', format: ms },
  { name: 'p99', head: 'P99 ms', format: ms },
  { name: 'p999', head: 'P99.9 ms', format: ms },
  { name: 'cpu', head: 'CPU ms/1000', format: ms },
  { name: 'hold', head: 'HOLD ms', format: ms },
  { name: 'written', head: 'B/OP', format: whole },
  { name: 'journal', head: 'JOURNAL', format: sizeOf },
  { name: 'recovery', head: 'RECOVERY s', format: (v) => (Number.isFinite(v) ? v.toFixed(2) : `> ${RECOVERY_BOUND_S}`) },
  { name: 'recoveryBytes', head: 'FETCHED', format: (v) => (Number.isFinite(v) ? sizeOf(v) : '-') },
];

function sizeOf(v: number): string {
  return sizeText(Math.round(v));
}

/** `median (min-max)` */
function cell(s: Spread | undefined, format: (v: number) => string): string {
  if (s === undefined) return '-';
  const middle = format(s.median);
  if (s.values.length < 2) return middle;
  const [low, high] = [format(s.min), format(s.max)];
  return low === high ? middle : `${middle} (${low}-${high})`;
}

export function severalSizes(settings: TuneSettings): boolean {
  return new Set(settings.intervals.filter((i) => i.ops !== null).map((i) => i.bytes)).size > 1;
}

/** Head and rows, for whoever makes a table of them. */
export function rowsOf(r: TuneReport): { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[]; readonly columns: readonly Column[] } {
  const columns = COLUMNS.filter((c) => r.points.some((p) => p.figures[c.name] !== undefined));
  const several = severalSizes(r.settings);
  const rows = r.points.map((p) => [intervalText(p.interval, several), ...columns.map((c) => cell(p.figures[c.name], c.format))]);
  return { head: [several ? 'O / B' : 'O', ...columns.map((c) => c.head)], rows, columns };
}

export function tableText(r: TuneReport): string {
  const { head, rows, columns } = rowsOf(r);
  const legend = columns.map((c) => `${c.head}: ${FIGURES[c.name]}`).join('\n');
  const { repeats } = r.settings;
  return `${conditionsText(r)}\n\n${table([head, ...rows])}\n\n${repeats > 1 ? `Median of ${repeats} runs (least-greatest).` : 'One run each: nothing is known of the spread.'}\n${legend}`;
}

/** Under which all of it holds. */
export function conditionsText({ machine, settings, parent, at }: TuneReport): string {
  const { load, inFlight, seconds, repeats, outage, files, replicas, durability, config } = settings;
  const more = Object.entries(config).map(([k, v]) => `, ${k}=${v}`).join('');
  return `${machine}; vrfs ${VERSION}; ${at}\n${replicas} replicas and the load on this machine, data below ${parent}; durability ${durability}${more}; load '${load}', ${inFlight} in flight, ${files} files before; ${repeats} × ${seconds} s each`
    + (outage > 0 ? `; one backup down for ${outage} s` : '');
}

export function recommendationText({ settings, recommendation: { chosen, certain, reason, closest } }: TuneReport): string {
  const name = (p: Point): string => `${severalSizes(settings) ? 'O / B' : 'O'} = ${intervalText(p.interval, severalSizes(settings))}`;
  const head = chosen !== null ? `Recommended${certain ? '' : ', not beyond doubt'}: ${name(chosen)}` : `No recommendation${closest === null ? '' : `; closest: ${name(closest)}`}`;
  return [head, ...reason, ...(chosen === null ? [] : [`On a running group: ${commandFor(chosen)}`])].join('\n');
}

/** What sets it on a running group. */
export function commandFor({ interval: { ops, bytes } }: Point): string {
  return `vrfs checkpoint interval --ops ${defined(ops ?? undefined, 'an interval that is recommended')} --bytes ${bytes}`;
}

/** JSON has no infinity: null is "not within the time of a run". */
function jsonSpread(s: Spread): object {
  const finite = (v: number): number | null => (Number.isFinite(v) ? v : null);
  return { median: finite(s.median), min: finite(s.min), max: finite(s.max), values: s.values.map(finite) };
}

export function reportJson(r: TuneReport): object {
  const { recommendation: found } = r;
  return {
    format: 'vrfs-tune', version: 1, at: r.at, machine: r.machine, vrfs: VERSION, parent: r.parent,
    settings: r.settings,
    points: r.points.map((p) => ({ ...p.interval, ...Object.fromEntries(Object.entries(p.figures).map(([name, s]) => [name, jsonSpread(s)])) })),
    recommendation: {
      chosen: found.chosen?.interval ?? null, closest: found.closest?.interval ?? null, baseline: found.baseline.interval, certain: found.certain, reason: found.reason,
      judgements: found.judgements.map((j) => ({ ...j.point.interval, loss: j.loss, recovery: j.recovery, reasons: j.reasons })),
    },
  };
}

/** By file name. */
export function plotsOf(r: TuneReport): ReadonlyMap<string, string> {
  const { settings, recommendation } = r;
  const { goals } = settings;
  const best = recommendation.baseline.figures.throughput;
  const loss = goals.lossUnder;
  const out = new Map<string, string>();
  const add = (name: FigureName, file: string, title: string, yLabel: string, format: (v: number) => string, limit: PlotSpec['limit'] = null): void => {
    const spec = specOf(r, name, file, title, yLabel, format, limit);
    if (spec.points.length > 0) out.set(`${file}.svg`, plot(spec));
  };
  add('throughput', 'throughput', 'Throughput', 'operations a second', whole, loss === undefined || best === undefined ? null : { y: best.median * (1 - loss), text: `goal: ${loss * 100} % less at most` });
  add('p99', 'latency', 'Latency, 99th percentile', 'milliseconds', ms);
  add('recovery', 'recovery', `Recovery after ${settings.outage} s away`, 'seconds until up to date', (v) => String(Number(v.toPrecision(3))), goals.recoveryUnderSeconds === undefined ? null : { y: goals.recoveryUnderSeconds, text: `goal: under ${goals.recoveryUnderSeconds} s` });
  add('recoveryBytes', 'recovery-bytes', `Fetched after ${settings.outage} s away`, 'bytes', sizeOf);
  add('cpu', 'checkpoint-cost', 'Event loop taken by checkpoints', 'ms per 1000 operations', ms);
  add('journal', 'journal', 'Journal at its largest', 'bytes', sizeOf);
  return out;
}

function specOf(r: TuneReport, name: FigureName, id: string, title: string, yLabel: string, format: (v: number) => string, limit: PlotSpec['limit']): PlotSpec {
  const columns = [...new Set(r.points.map((p) => intervalText(p.interval, false)))];
  const sizes = [...new Set(r.points.filter((p) => p.interval.ops !== null).map((p) => p.interval.bytes))];
  const chosen = r.recommendation.chosen;
  return {
    id, title, yLabel, columns, format, limit,
    xLabel: 'O: a checkpoint every so many operations (the values measured, in order)',
    series: sizes.map((b) => `B = ${sizeText(b)}`),
    chosen: chosen === null ? null : columns.indexOf(intervalText(chosen.interval, false)),
    points: r.points.flatMap((p) => {
      const spread = p.figures[name];
      return spread === undefined ? [] : [{ spread, column: columns.indexOf(intervalText(p.interval, false)), series: Math.max(0, sizes.indexOf(p.interval.bytes)) }];
    }),
  };
}

export function chosenName(r: TuneReport): string | null {
  const { chosen } = r.recommendation;
  return chosen === null ? null : intervalText(defined(chosen.interval, 'interval'), severalSizes(r.settings));
}
