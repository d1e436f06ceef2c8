/** Causal and bounded reads: what they may show, and what not. Times in ms. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkHistory, type HistoryVerdict } from './check_history.ts';
import type { Call, Operation, Result } from './operations.ts';
import { calls, operation } from './samples.ts';

const MS = 1e6;
type Times = readonly [number, number];
const done = (object: string, process: number, [from, to]: Times, call: Call, result: Result): Operation => operation(object, process, [from * MS, to * MS], call, result);
const onRegister = (process: number, times: Times, call: Call, result: Result): Operation => done('register/r', process, times, call, result);
const write = (process: number, times: Times, value: string): Operation => onRegister(process, times, calls.write(value), null);
const causal = (o: Operation): Operation => ({ ...o, consistency: 'causal' });
const bounded = (o: Operation, maxStalenessMs: number): Operation => ({ ...o, consistency: 'bounded', maxStalenessMs });
const read = (process: number, times: Times, result: Result): Operation => onRegister(process, times, calls.read, result);
const isFine = (...operations: readonly Operation[]): boolean => {
  const verdict: HistoryVerdict = checkHistory(operations);
  expect(verdict.undecided).toEqual([]);
  return verdict.linearizable;
};

/** Two writes, one after the other; who reads `old` afterwards reads what was overwritten long ago. */
const twice = [write(1, [0, 10], 'old'), write(1, [20, 30], 'new')] as const;

describe('a causal read', () => {
  it('may show the state of any time to a process that has seen nothing', () => {
    expect(isFine(...twice, read(2, [900, 910], 'old'))).toBe(false);
    expect(isFine(...twice, causal(read(2, [900, 910], 'old')))).toBe(true);
    expect(isFine(...twice, causal(read(2, [900, 910], null)))).toBe(true);
    expect(isFine(...twice, causal(read(2, [900, 910], 'never written')))).toBe(false);
  });

  it('shows its process what that has written', () => {
    expect(isFine(...twice, causal(read(1, [900, 910], 'new')))).toBe(true);
    expect(isFine(...twice, causal(read(1, [900, 910], 'old')))).toBe(false);
    // Also where the write took long, and the read might have been made while it ran.
    expect(isFine(write(1, [0, 500], 'own'), causal(read(1, [510, 520], null)))).toBe(false);
    expect(isFine(done('directory/d', 1, [0, 500], calls.create('x', 'own'), 'ok'), causal(done('directory/d', 1, [510, 520], calls.get('x'), null)))).toBe(false);
  });

  it('shows nothing older than what its process has read, in whatever way', () => {
    expect(isFine(...twice, read(2, [40, 50], 'new'), causal(read(2, [60, 70], 'old')))).toBe(false);
    expect(isFine(...twice, causal(read(2, [40, 50], 'new')), causal(read(2, [60, 70], 'old')))).toBe(false);
    expect(isFine(...twice, causal(read(2, [40, 50], 'old')), causal(read(2, [60, 70], 'new')))).toBe(true);
    expect(isFine(...twice, causal(read(2, [40, 50], 'new')), causal(read(3, [60, 70], 'old')))).toBe(true);
  });

  it('shows nothing older than what its process has seen of another object', () => {
    const elsewhere = (process: number, times: Times): Operation => done('register/other', process, times, calls.write('later'), null);
    const seen = causal(done('register/other', 2, [60, 70], calls.read, 'later'));
    expect(isFine(...twice, elsewhere(1, [40, 50]), seen, causal(read(2, [80, 90], 'old')))).toBe(false);
    // That one began before "new" was acknowledged: it may have come first.
    expect(isFine(...twice, elsewhere(3, [25, 50]), seen, causal(read(2, [80, 90], 'old')))).toBe(true);
    expect(isFine(...twice, elsewhere(2, [40, 50]), causal(read(2, [80, 90], 'old')))).toBe(false);
  });
});

describe('a bounded read', () => {
  it('shows what was acknowledged so long before, and may miss what came since', () => {
    expect(isFine(...twice, bounded(read(2, [100, 110], 'old'), 71))).toBe(true);
    expect(isFine(...twice, bounded(read(2, [100, 110], 'old'), 69))).toBe(false);
    expect(isFine(...twice, bounded(read(2, [100, 110], null), 91))).toBe(true);
    expect(isFine(...twice, bounded(read(2, [100, 110], null), 89))).toBe(false);
  });

  it('shows nothing older than what its process has seen either', () => {
    expect(isFine(...twice, bounded(read(1, [100, 110], 'old'), 5000))).toBe(false);
    expect(isFine(...twice, bounded(read(2, [40, 50], 'new'), 5000), bounded(read(2, [100, 110], 'old'), 5000))).toBe(false);
  });

  it('of a directory: a name that was deleted longer ago than the bound is gone', () => {
    const change = (times: Times, call: Call): Operation => done('directory/d', 1, times, call, 'ok');
    const made = [change([0, 10], calls.create('x', 'c')), change([20, 30], calls.rename('x', 'y')), change([40, 50], calls.remove('y'))];
    const seen = (call: Call, result: Result, bound: number): Operation => bounded(done('directory/d', 2, [100, 110], call, result), bound);
    expect(isFine(...made, seen(calls.get('y'), 'c', 51))).toBe(true);
    expect(isFine(...made, seen(calls.get('y'), 'c', 49))).toBe(false);
    expect(isFine(...made, seen(calls.list, ['x'], 71))).toBe(true);
    expect(isFine(...made, seen(calls.list, ['x'], 69))).toBe(false);
  });
});

it('a write with an unknown outcome explains what it may explain', () => {
  const unknown = operation('register/r', 3, [35 * MS, null], calls.write('perhaps'));
  expect(isFine(...twice, unknown, bounded(read(2, [100, 110], 'perhaps'), 10))).toBe(true);
  expect(isFine(...twice, unknown, causal(read(2, [100, 110], 'perhaps')), causal(read(2, [120, 130], 'old')))).toBe(false);
});

it('random: reads of one writer\'s states are right just when they are as fresh as they have to be', () => {
  const reads = fc.array(fc.record({ at: fc.nat(990), age: fc.nat(400), bound: fc.nat(400), process: fc.integer({ min: 2, max: 4 }) }), { maxLength: 8 });
  fc.assert(fc.property(reads, (drawn) => {
    // A write every 100 ms, in no time.
    const writes = Array.from({ length: 10 }, (_, i) => write(1, [i * 100, i * 100], `${i}`));
    const seen = new Map<number, number>();
    let right = true;
    const history = [...drawn].sort((a, b) => a.at - b.at).map(({ at, age, bound, process }, i) => {
      const time = at + 0.01 * (i + 1);
      const shown = Math.max(-1, Math.floor((time - age) / 100));
      // The last one that was acknowledged before the oldest state that is allowed.
      const due = Math.ceil((time - bound) / 100) - 1;
      if (shown < Math.max(due, seen.get(process) ?? -1)) right = false;
      seen.set(process, Math.max(shown, seen.get(process) ?? -1));
      return bounded(read(process, [time, time], shown < 0 ? null : `${shown}`), bound);
    });
    expect(isFine(...writes, ...history)).toBe(right);
  }), { numRuns: 500 });
});
