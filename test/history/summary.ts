/** What a run did, in lines for people, and whether it proves anything. */
import type { HistoryVerdict } from './check_history.ts';
import type { Fault } from './nemesis.ts';
import { isRead, type Operation } from './operations.ts';

/** A history in which less than this got through proves nothing. */
const LEAST_OK_PER_SECOND = 5;

export interface Stall {
  readonly from: number;
  readonly to: number;
}

/** The longest time without a change that was acknowledged, apart from what had no quorum. ns. */
export function longestStall(operations: readonly Operation[], faults: readonly Fault[], end: number): Stall {
  const marks = operations.flatMap((o) => (o.outcome === 'ok' && !isRead(o) && o.return <= end ? [o.return] : []));
  // Without a quorum nothing can go on: the clock begins anew when there is one again.
  for (const f of faults) if (!f.quorum) marks.push(f.from, f.to);
  marks.sort((a, b) => a - b);
  let longest: Stall = { from: 0, to: 0 };
  let last = 0;
  for (const mark of [...marks, end]) {
    const without = faults.some((f) => !f.quorum && f.from <= last && f.to >= mark);
    if (!without && mark - last > longest.to - longest.from) longest = { from: last, to: mark };
    last = mark;
  }
  return longest;
}

const seconds = (ns: number): string => (ns / 1e9).toFixed(3);

function tally<K extends string>(items: readonly K[]): string {
  const counts = new Map<K, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, n]) => `${n} ${what}`).join(', ');
}

export function operationLines(operations: readonly Operation[]): string[] {
  const processes = new Set(operations.map((o) => o.process)).size;
  const objects = new Set(operations.map((o) => o.object)).size;
  const names = [...new Set(operations.map((o) => o.operation))].sort();
  return [
    `${operations.length} operations on ${objects} objects by ${processes} processes: ${tally(operations.map((o) => o.outcome))}`,
    `reads: ${tally(operations.filter(isRead).map((o) => `${o.consistency ?? 'linearizable'} ${o.outcome}`))}`,
    ...errorLines(operations),
    ...names.map((name) => `  ${name.padEnd(7)} ${tally(operations.filter((o) => o.operation === name).map((o) => (o.outcome === 'ok' && !isRead(o) ? `ok ${JSON.stringify(o.result ?? 'ok')}` : o.outcome)))}`),
  ];
}

/** What went wrong, in the words of the first lines, most frequent first. */
export function errorLines(operations: readonly Operation[]): string[] {
  const counts = new Map<string, number>();
  for (const o of operations) {
    if (o.outcome === 'ok') continue;
    const title = /"title":"([^"]+)"/.exec(o.error)?.[1];
    const what = `${o.outcome}: ${title === undefined ? o.error.replaceAll(/\d+\.\d+\.\d+\.\d+(:\d+)?/g, 'it').slice(0, 80) : `${o.error.slice(0, 3)} ${title}`}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a).map(([what, n]) => `  ${n} ${what}`);
}

/** Answers that say that the service itself is at fault. */
export function faultsOfTheService(operations: readonly Operation[]): string[] {
  return operations.flatMap((o) => (o.outcome === 'info' && /^50[02] /.test(o.error) ? [`replica ${o.replica} answered ${o.operation} with ${o.error.slice(0, 300)}`] : []));
}

export interface Hit {
  readonly fault: Fault;
  /** Operations that were under way when it began. */
  readonly underWay: number;
  /** Operations that were under way at some time of it, and how they ended. */
  readonly touched: number;
  readonly ok: number;
  readonly fail: number;
  readonly info: number;
}

export function hits(operations: readonly Operation[], faults: readonly Fault[]): Hit[] {
  return faults.map((fault) => {
    // One that never returned was under way until its client gave up; that it began within the fault, or shortly before, says enough.
    const end = (o: Operation): number => o.return ?? o.invoke + GAVE_UP_NS;
    const touched = operations.filter((o) => o.invoke <= fault.to && end(o) >= fault.from);
    const count = (outcome: Operation['outcome']): number => touched.filter((o) => o.outcome === outcome).length;
    return { fault, underWay: touched.filter((o) => o.invoke <= fault.from).length, touched: touched.length, ok: count('ok'), fail: count('fail'), info: count('info') };
  });
}
const GAVE_UP_NS = 2.5e9;

export function faultLines(operations: readonly Operation[], faults: readonly Fault[]): string[] {
  return [
    `${faults.length} faults: ${faults.length === 0 ? 'none' : tally(faults.map((f) => f.kind))}`,
    ...hits(operations, faults).map((h) => `  [${seconds(h.fault.from)}, ${seconds(h.fault.to)}] s ${h.fault.what}: ${h.underWay} operations under way when it began; ${h.touched} met it: ${h.ok} ok, ${h.fail} fail, ${h.info} info`),
  ];
}

export function verdictLines(verdict: HistoryVerdict): string[] {
  if (verdict.linearizable) return [`linearizable: all ${verdict.objects} objects`];
  return [
    ...verdict.violations.map((v) => v.explanation),
    ...verdict.undecided.map((object) => `${object}: undecided: too many operations with an unknown outcome for the bound of the search`),
    `NOT linearizable: ${verdict.violations.length} of ${verdict.objects} objects${verdict.undecided.length === 0 ? '' : `, ${verdict.undecided.length} undecided`}`,
  ];
}

/** Why the history proves nothing, or null. */
export function tooLittle(operations: readonly Operation[], runSeconds: number): string | null {
  const ok = operations.filter((o) => o.outcome === 'ok').length;
  const least = Math.max(20, Math.round(runSeconds * LEAST_OK_PER_SECOND));
  return ok >= least ? null : `only ${ok} operations of ${operations.length} succeeded; a history proves something from ${least} on`;
}
