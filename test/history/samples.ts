/** Histories for tests: by hand, at random, and broken on purpose. */
import fc from 'fast-check';
import { Prng } from '../../lib/prng.ts';
import { modelOf } from './models.ts';
import { kindOf, type Call, type Completion, type Operation } from './operations.ts';

/** `[invoke, return]` or, where the outcome is unknown, `[invoke, null]`. */
export function operation(object: string, process: number, times: readonly [number, number | null], call: Call, result?: Extract<Completion, { outcome: 'ok' }>['result']): Operation {
  const [invoke, end] = times;
  const completion: Completion = end === null || result === undefined
    ? { outcome: 'info', error: 'no answer', return: null }
    : { outcome: 'ok', result, return: end };
  return { process, object, invoke, replica: 1, ...call, ...completion };
}

const read: Call = { operation: 'read', arguments: {} };
const list: Call = { operation: 'list', arguments: {} };
export const calls = {
  read,
  list,
  write: (value: string): Call => ({ operation: 'write', arguments: { value } }),
  cas: (expected: string | null, value: string): Call => ({ operation: 'cas', arguments: { expected, value } }),
  create: (name: string, content: string): Call => ({ operation: 'create', arguments: { name, content } }),
  rename: (from: string, to: string, replace = true): Call => ({ operation: 'rename', arguments: { from, to, replace } }),
  remove: (name: string): Call => ({ operation: 'delete', arguments: { name } }),
  get: (name: string): Call => ({ operation: 'get', arguments: { name } }),
};

const value = fc.constantFrom('a', 'b', 'c');
const name = fc.constantFrom('x', 'y');
const registerCall: fc.Arbitrary<Call> = fc.oneof(
  fc.constant(read),
  value.map(calls.write),
  fc.tuple(fc.option(value), value).map(([expected, to]) => calls.cas(expected, to)),
);
const directoryCall: fc.Arbitrary<Call> = fc.oneof(
  fc.constant(list),
  fc.tuple(name, value).map(([n, c]) => calls.create(n, c)),
  fc.tuple(fc.boolean(), fc.boolean()).map(([forth, replace]) => (forth ? calls.rename('x', 'y', replace) : calls.rename('y', 'x', replace))),
  name.map(calls.remove),
  name.map(calls.get),
);

/**
 * Small histories of one object: some are linearizable, some are not. Each operation takes effect at a moment of its own, which mostly lies between its
 * invocation and its return, and sometimes does not.
 */
function smallHistory(object: string, call: fc.Arbitrary<Call>): fc.Arbitrary<Operation[]> {
  const one = fc.record({ call, invoke: fc.nat(12), length: fc.nat(6), effect: fc.integer({ min: -4, max: 10 }), unknown: fc.nat(4), lie: fc.nat(12) });
  return fc.array(one, { minLength: 1, maxLength: 6 }).map((drawn) => {
    const model = modelOf(kindOf(object));
    let state = model.initial;
    const made: Operation[] = [];
    const inOrder = [...drawn].sort((a, b) => a.invoke + a.effect - (b.invoke + b.effect));
    for (const [process, d] of inOrder.entries()) {
      // Some with an unknown outcome never happened.
      const lost = d.unknown === 0 && d.lie % 2 === 0;
      const step = model.step(state, d.call);
      if (!lost) state = step.state;
      // And some answers are those of another moment.
      const result = d.lie === 1 ? model.step(model.initial, d.call).result : step.result;
      made.push(operation(object, process, [d.invoke, d.unknown === 0 ? null : d.invoke + d.length], d.call, result));
    }
    return made;
  });
}

export const smallRegisterHistory = smallHistory('register/r', registerCall);
export const smallDirectoryHistory = smallHistory('directory/d', directoryCall);

function randomCall(prng: Prng, object: string, fresh: () => string, seen: readonly string[]): Call {
  if (kindOf(object) === 'register') {
    const kind = prng.below(10);
    if (kind < 4) return read;
    if (kind < 7) return calls.write(fresh());
    return calls.cas(seen.length === 0 ? null : prng.pick(seen.slice(-3)), fresh());
  }
  const names = ['a', 'b', 'c', 'd'];
  const kind = prng.below(10);
  if (kind < 3) return calls.create(prng.pick(names), fresh());
  if (kind < 5) return calls.remove(prng.pick(names));
  if (kind < 7) {
    const from = prng.below(names.length);
    return calls.rename(names[from] ?? 'a', names[(from + prng.between(1, names.length - 1)) % names.length] ?? 'b', prng.chance(0.5));
  }
  return kind < 9 ? calls.get(prng.pick(names)) : list;
}

/** A long linearizable history of one object, as an honest service with `processes` callers would make it; each value is written once. */
export function honestHistory(seed: number, object: string, count: number, processes: number): Operation[] {
  const prng = new Prng(seed);
  const model = modelOf(kindOf(object));
  let state = model.initial;
  let values = 0;
  const seen: string[] = [];
  const free = Array.from({ length: processes }, (_, process) => ({ process, at: process }));
  let nextProcess = processes;
  const pending: { effect: number; operation: Operation }[] = [];
  for (let i = 0; i < count; i++) {
    const caller = free.reduce((a, b) => (a.at <= b.at ? a : b));
    const invoke = caller.at;
    const length = prng.between(2, 40);
    const unknown = prng.chance(0.03);
    const call = randomCall(prng, object, () => {
      const fresh = `v${values++}`;
      seen.push(fresh);
      return fresh;
    }, seen);
    const effect = invoke + (unknown ? prng.between(0, 400) : prng.between(0, length));
    pending.push({ effect: unknown && prng.chance(0.5) ? Infinity : effect, operation: operation(object, caller.process, [invoke, unknown ? null : invoke + length], call, null) });
    caller.at = invoke + length + 1 + prng.below(5);
    if (unknown) caller.process = nextProcess++;
  }
  const operations: Operation[] = [];
  for (const { effect, operation: o } of pending.sort((a, b) => a.effect - b.effect)) {
    if (effect === Infinity) {
      operations.push(o);
      continue;
    }
    const step = model.step(state, o);
    state = step.state;
    operations.push(o.outcome === 'ok' ? { ...o, result: step.result } : o);
  }
  return operations;
}

/** Contents that somebody has read. */
function contentsRead(operations: readonly Operation[]): Set<unknown> {
  return new Set(operations.flatMap((o) => (o.outcome === 'ok' && (o.operation === 'read' || o.operation === 'get') ? [o.result] : [])));
}

/** Acknowledged changes that somebody has seen: without one of them the rest has no explanation. */
export function seenChanges(operations: readonly Operation[]): Operation[] {
  const read = contentsRead(operations);
  return operations.filter((o) => o.outcome === 'ok' && (
    (o.operation === 'write' && read.has(o.arguments.value))
    || (o.operation === 'cas' && o.result === true && read.has(o.arguments.value))
    || (o.operation === 'create' && o.result === 'ok' && read.has(o.arguments.content))));
}
