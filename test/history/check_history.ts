/** A whole history: each object on its own, and for one that has no linearization the operation at which it ends, and what is around it. */
import { defined } from '../../lib/assert.ts';
import { DEFAULT_BOUND, eventsOf, prefix, search, type Event } from './checker.ts';
import { modelOf, type Model } from './models.ts';
import { isRead, kindOf, type Call, type Operation, type Result } from './operations.ts';
import { withFreedom } from './weak_reads.ts';

export interface Violation {
  readonly object: string;
  /** The first operation whose answer no order explains. */
  readonly operation: Operation;
  /** Several lines, for people. */
  readonly explanation: string;
}

export interface HistoryVerdict {
  readonly linearizable: boolean;
  readonly objects: number;
  readonly violations: readonly Violation[];
  /** Objects for which the bound of the search was not enough. */
  readonly undecided: readonly string[];
}

export function partition(operations: readonly Operation[]): Map<string, Operation[]> {
  const parts = new Map<string, Operation[]>();
  for (const o of operations) {
    const part = parts.get(o.object);
    if (part === undefined) parts.set(o.object, [o]);
    else part.push(o);
  }
  return parts;
}

export function checkHistory(operations: readonly Operation[], bound = DEFAULT_BOUND): HistoryVerdict {
  const violations: Violation[] = [];
  const undecided: string[] = [];
  const parts = partition(withFreedom(operations));
  for (const [object, part] of parts) {
    const model = modelOf(kindOf(object));
    const events = eventsOf(part);
    const verdict = search(events, model, { bound });
    if (verdict.type === 'undecided') undecided.push(object);
    else if (verdict.type === 'not-linearizable') violations.push(explain(object, part, events, model, bound));
  }
  return { linearizable: violations.length === 0 && undecided.length === 0, objects: parts.size, violations, undecided };
}

/**
 * A prefix of a linearizable history is linearizable, so there is one first return at which the history stops to be: found by halving.
 */
function firstImpossible<S>(events: readonly Event[], model: Model<S>, bound: number): Event {
  const returned = events.filter((e) => e.result !== undefined).sort((a, b) => a.return - b.return);
  let low = 0;
  let high = returned.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const until = defined(returned[middle], 'an event that returned').return;
    // What the bound does not decide counts as possible: the operation named may then be a later one, never an innocent one alone.
    if (search(prefix(events, until), model, { bound }).type === 'not-linearizable') high = middle;
    else low = middle + 1;
  }
  return defined(returned[high], 'an event that returned');
}

const STATES_SHOWN = 8;
const CHANGES_SHOWN = 8;
const READS_SHOWN = 6;

function explain(object: string, part: readonly Operation[], events: readonly Event[], model: Model<unknown>, bound: number): Violation {
  const event = firstImpossible(events, model, bound);
  const operation = defined(part[event.id], 'the operation of an event');
  const states = new Map<string, Result>();
  search(prefix(events, event.return), model, {
    bound,
    refused: (refused, state) => {
      if (refused.id === event.id) states.set(model.key(state), model.step(state, event.call).result);
    },
  });
  const tried = [...states].slice(0, STATES_SHOWN).map(([state, would]) => `    ${state}, where it would have answered ${JSON.stringify(would)}`);
  if (states.size > STATES_SHOWN) tried.push(`    and ${states.size - STATES_SHOWN} more`);
  const lines = [
    `${object}: no order of its operations explains the answer of process ${operation.process} (marked below).`,
    ...(tried.length === 0 ? [] : ['  Whatever the order, the object would have been, while that operation ran:', ...tried]),
    '  Operations around it, in ms since the run began:',
    ...around(part, operation).map((o) => `  ${o === operation ? '>' : ' '} ${describe(o)}`),
  ];
  return { object, operation, explanation: lines.join('\n') };
}

/** The operations that run at the same time, the last changes and reads before it, and whatever names the same contents. */
function around(part: readonly Operation[], operation: Operation): Operation[] {
  const end = operation.return ?? Infinity;
  const relevant = part.filter((o) => o.outcome !== 'fail' && !(o.outcome === 'info' && isRead(o)) && o.invoke <= end);
  const before = relevant.filter((o) => o.return !== null && o.return < operation.invoke).sort((a, b) => a.invoke - b.invoke);
  const named = contents(operation);
  const chosen = new Set<Operation>([operation, ...before.filter((o) => !isRead(o)).slice(-CHANGES_SHOWN), ...before.filter(isRead).slice(-READS_SHOWN)]);
  for (const o of relevant) {
    const sameTime = (o.return ?? Infinity) >= operation.invoke;
    const sameContent = !isRead(o) && [...contents(o)].some((c) => named.has(c));
    if ((sameTime && (o.outcome === 'ok' || !isRead(o))) || sameContent) chosen.add(o);
  }
  return [...chosen].sort((a, b) => a.invoke - b.invoke);
}

function contents(o: Operation): Set<string> {
  const found = new Set<string>();
  const add = (value: unknown): void => {
    if (typeof value === 'string') found.add(value);
  };
  const call: Call = o;
  if ('value' in call.arguments) add(call.arguments.value);
  if ('expected' in call.arguments) add(call.arguments.expected);
  if ('content' in call.arguments) add(call.arguments.content);
  if (o.outcome === 'ok' && (o.operation === 'read' || o.operation === 'get')) add(o.result);
  return found;
}

export function describe(o: Operation): string {
  const ms = (ns: number): string => (ns / 1e6).toFixed(3);
  const call = `${o.operation}(${Object.entries(o.arguments).map(([k, v]) => `${k}: ${JSON.stringify(v)}`).join(', ')})`;
  const end = o.outcome === 'ok' ? `= ${JSON.stringify(o.result)}` : `${o.outcome}: ${o.error}`;
  const weak = o.consistency === undefined ? '' : ` (${o.consistency}: as of some moment in this time)`;
  return `[${ms(o.invoke)}, ${o.return === null ? '?' : ms(o.return)}] process ${o.process} at replica ${o.replica}: ${call}${weak} ${end}`;
}
