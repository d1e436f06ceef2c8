/**
 * From figures to an interval, with the reason in words. A short interval costs throughput and buys a short recovery and a small log, a long
 * one the other way round; so of those that meet the goals the one is taken that gives most of what no goal speaks of.
 *
 * Repeats of the same run differ. What differs by less is not told apart: it decides nothing, and it is said.
 */
import type { Point } from './figures.ts';
import { intervalText } from './settings.ts';
import { distinguishable, widthOf, type Spread } from './statistics.ts';

export interface Goals {
  readonly recoveryUnderSeconds?: number;
  /** Of the throughput of the longest interval that was measured, or without checkpoints; a fraction. */
  readonly lossUnder?: number;
}

/** Whether a goal is met: by all repeats; by the median, but not beyond doubt; not, but the repeats leave it open; not. */
export type Verdict = 'met' | 'likely' | 'unlikely' | 'missed';

export interface Judgement {
  readonly point: Point;
  readonly loss: Verdict | null;
  readonly recovery: Verdict | null;
  /** By how much the goal that is missed most is missed, as a fraction of it; 0 or less: none is. */
  readonly excess: number;
  /** One a goal, for people. */
  readonly reasons: readonly string[];
}

export interface Recommendation {
  /** Null: no interval meets the goals. */
  readonly chosen: Point | null;
  /** Where there is none: the one that came closest. */
  readonly closest: Point | null;
  /** Beyond the spread of the repeats. */
  readonly certain: boolean;
  readonly baseline: Point;
  readonly judgements: readonly Judgement[];
  /** Sentences. */
  readonly reason: readonly string[];
}

/** What is assumed when no goal was stated. */
export const DEFAULT_GOALS: Goals = Object.freeze({ lossUnder: 0.05 });

const percent = (f: number): string => `${(f * 100).toFixed(1).replace(/\.0$/, '')} %`;
const seconds = (s: number): string => (Number.isFinite(s) ? `${s.toPrecision(3)} s` : 'longer than was waited for');
const rate = (n: number): string => `${Math.round(n)}/s`;

/** @param points smallest interval first, the baseline last: without checkpoints, or the longest */
export function recommend(points: readonly Point[], stated: Goals): Recommendation {
  const none = stated.lossUnder === undefined && stated.recoveryUnderSeconds === undefined;
  const goals = none ? DEFAULT_GOALS : stated;
  const baseline = points.at(-1);
  if (baseline === undefined) throw new RangeError('nothing was measured');
  const name = namesOf(points);
  // Without checkpoints a log grows for ever: a measure, never a choice.
  const judgements = points.filter((p) => p.interval.ops !== null).map((p) => judge(p, baseline, goals, name));
  const reason: string[] = [];
  if (none) reason.push('No goal was stated; taken for one: a loss of throughput under 5 %.');
  const once = (baseline.figures.throughput?.values.length ?? 0) < 2;
  if (once) reason.push('Each interval was run once, so nothing is known of how far runs of the same lie apart: take this as a hint, and repeat it (--repeats 3).');
  const firm = judgements.filter((j) => verdicts(j).every((v) => v === 'met'));
  const fair = judgements.filter((j) => verdicts(j).every((v) => v === 'met' || v === 'likely'));
  const candidates = firm.length > 0 ? firm : fair;
  const certain = firm.length > 0;
  if (candidates.length === 0) return nothingMeets({ judgements, baseline, goals, name, reason, once });
  const chosen = choose(candidates, goals);
  reason.push(`O = ${name(chosen.point)}: ${chosen.reasons.join('; ')}.`);
  reason.push(whyThisOne(chosen, candidates, goals, name));
  if (!certain && !once) reason.push('Not beyond doubt: the repeats lie so far apart that others of the same might say otherwise. More of them (--repeats), longer ones (--seconds), or a machine with nothing else to do would tell.');
  reason.push(...alike(points, name), ...notWithout(baseline));
  return { chosen: chosen.point, closest: null, certain, baseline, judgements, reason };
}

function namesOf(points: readonly Point[]): (p: Point) => string {
  const several = new Set(points.filter((p) => p.interval.ops !== null).map((p) => p.interval.bytes)).size > 1;
  return (p) => intervalText(p.interval, several);
}

function verdicts(j: Judgement): Verdict[] {
  return [j.loss, j.recovery].filter((v) => v !== null);
}

interface Verdicts { readonly verdict: Verdict; readonly excess: number; readonly reason: string }

function judge(point: Point, baseline: Point, goals: Goals, name: (p: Point) => string): Judgement {
  const loss = goals.lossUnder === undefined ? null : judgeLoss(point, baseline, goals.lossUnder, name(baseline));
  const recovery = goals.recoveryUnderSeconds === undefined ? null : judgeRecovery(point.figures.recovery, goals.recoveryUnderSeconds);
  const both = [loss, recovery].filter((v) => v !== null);
  return { point, loss: loss?.verdict ?? null, recovery: recovery?.verdict ?? null, excess: Math.max(...both.map((v) => v.excess)), reasons: both.map((v) => v.reason) };
}

function judgeLoss(point: Point, baseline: Point, under: number, than: string): Verdicts {
  const here = point.figures.throughput;
  const best = baseline.figures.throughput;
  if (here === undefined || best === undefined) return { verdict: 'missed', excess: Infinity, reason: 'its throughput was not measured' };
  if (point === baseline) return { verdict: here.values.length >= 2 ? 'met' : 'likely', excess: -1, reason: `${rate(here.median)}, which the others are compared with` };
  const loss = 1 - here.median / best.median;
  const excess = (loss - under) / under;
  const told = distinguishable(here, best);
  const what = loss >= 0 ? `${percent(loss)} less than with ${than}` : `${percent(-loss)} more than with ${than}`;
  const spread = told ? '' : here.values.length < 2 ? '' : `, which the spread of the repeats (${rate(widthOf(here))} and ${rate(widthOf(best))}) does not let tell from none`;
  const reason = `${rate(here.median)}, ${what}${spread}`;
  // How much it may be, if the slowest repeat here and the fastest there are believed.
  const worst = 1 - here.min / best.max;
  if (loss <= under) return { verdict: here.values.length >= 2 && worst <= under ? 'met' : 'likely', excess, reason };
  return { verdict: told ? 'missed' : 'unlikely', excess, reason };
}

function judgeRecovery(s: Spread | undefined, under: number): Verdicts {
  if (s === undefined) return { verdict: 'missed', excess: Infinity, reason: 'its recovery was not measured' };
  const excess = Number.isFinite(s.median) ? (s.median - under) / under : Infinity;
  const range = s.values.length < 2 ? '' : ` (${seconds(s.min)} to ${seconds(s.max)})`;
  const reason = Number.isFinite(s.median) ? `up to date again after ${seconds(s.median)}${range}` : 'not up to date again in the time that a run waits';
  if (s.median < under) return { verdict: s.values.length >= 2 && s.max < under ? 'met' : 'likely', excess, reason };
  return { verdict: s.min < under ? 'unlikely' : 'missed', excess, reason };
}

/** With a goal for throughput alone: the shortest interval. Else the fastest, or a shorter one that cannot be told from it. */
function choose(candidates: readonly Judgement[], goals: Goals): Judgement {
  const [first] = candidates;
  if (first === undefined) throw new RangeError('no candidates');
  if (goals.recoveryUnderSeconds === undefined) return first;
  const speed = (j: Judgement): number => j.point.figures.throughput?.median ?? 0;
  const fastest = candidates.reduce((a, b) => (speed(b) > speed(a) ? b : a));
  return candidates.find((j) => j === fastest || alikeInThroughput(j.point, fastest.point)) ?? fastest;
}

function alikeInThroughput(a: Point, b: Point): boolean {
  const [x, y] = [a.figures.throughput, b.figures.throughput];
  return x !== undefined && y !== undefined && x.values.length >= 2 && !distinguishable(x, y);
}

function whyThisOne(chosen: Judgement, candidates: readonly Judgement[], goals: Goals, name: (p: Point) => string): string {
  const others = candidates.filter((j) => j !== chosen).map((j) => name(j.point));
  if (others.length === 0) return 'It is the only interval of those measured that meets the goal.';
  const also = `${others.join(', ')} ${others.length === 1 ? 'meets' : 'meet'} the goal too`;
  if (goals.recoveryUnderSeconds === undefined) return `${also}; this is the shortest, with the least log to keep and to go through again.`;
  return `${also}; of those this is the fastest, or the shortest of those whose throughput cannot be told apart.`;
}

function nothingMeets({ judgements, baseline, goals, name, reason, once }: Pick<Recommendation, 'judgements' | 'baseline'> & { goals: Goals; name: (p: Point) => string; reason: string[]; once: boolean }): Recommendation {
  const closest = judgements.reduce<Judgement | null>((a, b) => (a === null || b.excess < a.excess ? b : a), null);
  const wanted = [
    ...(goals.lossUnder === undefined ? [] : [`a loss of throughput under ${percent(goals.lossUnder)}`]),
    ...(goals.recoveryUnderSeconds === undefined ? [] : [`a recovery under ${goals.recoveryUnderSeconds} s`]),
  ];
  reason.push(`None of the intervals measured meets the goal: ${wanted.join(' and ')}.`);
  if (closest !== null) reason.push(`O = ${name(closest.point)} came closest: ${closest.reasons.join('; ')}.`);
  if (judgements.some((j) => verdicts(j).every((v) => v !== 'missed'))) reason.push(`${once ? 'It' : 'The repeats lie so far apart that it'} may be met all the same: more of them (--repeats), or longer ones (--seconds), would tell.`);
  else if (wanted.length === 2 && judgements.some((j) => j.loss !== 'missed') && judgements.some((j) => j.recovery !== 'missed')) reason.push('The two goals pull apart: those that recover fast enough are too slow, and the other way round. A value between two of those measured may do, or one of the goals has to give way.');
  return { chosen: null, closest: closest?.point ?? null, certain: false, baseline, judgements, reason };
}

/** The measure itself, where it is not what it is called. */
function notWithout({ interval, figures }: Point): string[] {
  const taken = figures.checkpoints?.max ?? 0;
  if (interval.ops !== null || taken === 0) return [];
  return [`With off, up to ${Math.ceil(taken)} checkpoints were taken all the same, since this machine's memory does not hold a longer log: the loss is somewhat more than it says.`];
}

/** Neighbours whose throughput is the same as far as anybody can tell. */
function alike(points: readonly Point[], name: (p: Point) => string): string[] {
  const pairs = points.slice(1).flatMap((p, i) => {
    const before = points[i];
    return before !== undefined && alikeInThroughput(before, p) ? [`${name(before)} and ${name(p)}`] : [];
  });
  if (pairs.length === 0) return [];
  return [`Throughput is not distinguishable between ${pairs.join(', ')}: it differs by less than repeats of the same do.`];
}
