/** The checker on histories by hand, against brute force on small ones, and on long ones that were broken in one place. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import { checkHistory } from './check_history.ts';
import { eventsOf, search, type Event } from './checker.ts';
import { modelOf, sameResult, type Model } from './models.ts';
import { kindOf, type Operation } from './operations.ts';
import { calls, honestHistory, operation, seenChanges, smallDirectoryHistory, smallRegisterHistory } from './samples.ts';

const { read, write, cas, create, rename, remove, list, get } = calls;
const onRegister = operation.bind(null, 'register/r');
const onDirectory = operation.bind(null, 'directory/d');

function linearizable(...operations: Operation[]): boolean {
  return checkHistory(operations).linearizable;
}

describe('a register', () => {
  it('explains overlapping operations by any of their orders', () => {
    expect(linearizable(onRegister(1, [0, 10], write('a'), null), onRegister(2, [5, 15], write('b'), null), onRegister(3, [6, 8], read, 'b'), onRegister(3, [20, 21], read, 'a'))).toBe(true);
    expect(linearizable(onRegister(1, [0, 10], write('a'), null), onRegister(2, [5, 6], read, null))).toBe(true);
  });

  it('does not take a write for nothing because its value is there already: another may come before it', () => {
    expect(linearizable(onRegister(1, [0, 1], write('a'), null), onRegister(1, [2, 10], write('b'), null), onRegister(2, [2, 10], write('a'), null), onRegister(3, [11, 12], read, 'a'))).toBe(true);
  });

  it('refuses a stale read', () => {
    expect(linearizable(onRegister(1, [0, 1], write('a'), null), onRegister(1, [2, 3], write('b'), null), onRegister(2, [4, 5], read, 'a'))).toBe(false);
    // Two reads of one write that is under way: the later one may not see less.
    expect(linearizable(onRegister(1, [0, 20], write('a'), null), onRegister(2, [1, 2], read, 'a'), onRegister(3, [3, 4], read, null))).toBe(false);
  });

  it('refuses a lost write', () => {
    expect(linearizable(onRegister(1, [0, 1], write('a'), null), onRegister(2, [2, 3], read, null))).toBe(false);
  });

  it('refuses a value that nobody wrote', () => {
    expect(linearizable(onRegister(1, [0, 1], write('a'), null), onRegister(2, [2, 3], read, 'z'))).toBe(false);
  });

  it('refuses two compare-and-sets that both won', () => {
    expect(linearizable(onRegister(1, [0, 10], cas(null, 'a'), true), onRegister(2, [0, 10], cas(null, 'b'), true))).toBe(false);
    expect(linearizable(onRegister(1, [0, 10], cas(null, 'a'), true), onRegister(2, [0, 10], cas(null, 'b'), false))).toBe(true);
  });

  it('refuses a compare that failed on what was there all the time', () => {
    expect(linearizable(onRegister(1, [0, 1], write('a'), null), onRegister(2, [2, 3], cas('a', 'b'), false))).toBe(false);
  });

  it('lets a write with an unknown outcome happen late, or never, but not before it was asked for, and not twice', () => {
    const unknown = onRegister(1, [10, null], write('a'));
    expect(linearizable(unknown, onRegister(2, [11, 12], read, null), onRegister(2, [500, 501], read, 'a'))).toBe(true);
    expect(linearizable(unknown, onRegister(2, [500, 501], read, null))).toBe(true);
    expect(linearizable(unknown, onRegister(2, [1, 2], read, 'a'))).toBe(false);
    expect(linearizable(unknown, onRegister(2, [20, 21], read, 'a'), onRegister(2, [22, 23], write('b'), null), onRegister(2, [24, 25], read, 'a'))).toBe(false);
  });

  it('holds that a write which failed never happened', () => {
    const failed: Operation = { process: 1, object: 'register/r', invoke: 0, replica: 1, ...write('a'), outcome: 'fail', error: '503', return: 1 };
    expect(linearizable(failed, onRegister(2, [2, 3], read, null))).toBe(true);
    expect(linearizable(failed, onRegister(2, [2, 3], read, 'a'))).toBe(false);
  });
});

describe('a directory', () => {
  const made = onDirectory(1, [0, 1], create('x', '1'), 'ok');

  it('follows create, rename, delete and list', () => {
    expect(linearizable(
      made,
      onDirectory(1, [2, 3], rename('x', 'y'), 'ok'),
      onDirectory(1, [4, 5], list, ['y']),
      onDirectory(1, [6, 7], get('y'), '1'),
      onDirectory(1, [8, 9], create('x', '2'), 'ok'),
      onDirectory(1, [10, 11], rename('x', 'y', false), 'EEXIST'),
      onDirectory(1, [12, 13], rename('x', 'y'), 'ok'),
      onDirectory(1, [14, 15], get('y'), '2'),
      onDirectory(1, [16, 17], remove('y'), 'ok'),
      onDirectory(1, [18, 19], remove('y'), 'ENOENT'),
      onDirectory(1, [20, 21], list, []),
    )).toBe(true);
  });

  it('refuses a duplicate create', () => {
    expect(linearizable(onDirectory(1, [0, 10], create('x', '1'), 'ok'), onDirectory(2, [0, 10], create('x', '2'), 'ok'))).toBe(false);
    expect(linearizable(onDirectory(1, [0, 10], create('x', '1'), 'ok'), onDirectory(2, [0, 10], create('x', '2'), 'EEXIST'))).toBe(true);
  });

  it('refuses a rename that two callers made', () => {
    expect(linearizable(made, onDirectory(2, [2, 9], rename('x', 'y'), 'ok'), onDirectory(3, [2, 9], rename('x', 'z'), 'ok'))).toBe(false);
    expect(linearizable(made, onDirectory(2, [2, 9], rename('x', 'y'), 'ok'), onDirectory(3, [2, 9], rename('x', 'z'), 'ENOENT'))).toBe(true);
  });

  it('refuses a list that shows both names of a file that is renamed, or none', () => {
    const renamed = onDirectory(2, [2, 9], rename('x', 'y'), 'ok');
    expect(linearizable(made, renamed, onDirectory(3, [3, 4], list, ['x', 'y']))).toBe(false);
    expect(linearizable(made, renamed, onDirectory(3, [3, 4], list, []))).toBe(false);
    expect(linearizable(made, renamed, onDirectory(3, [3, 4], list, ['y']))).toBe(true);
  });

  it('refuses a file that is there again after it was deleted', () => {
    expect(linearizable(made, onDirectory(1, [2, 3], remove('x'), 'ok'), onDirectory(2, [4, 5], get('x'), '1'))).toBe(false);
  });

  it('lets a delete with an unknown outcome happen late, or never', () => {
    const unknown = onDirectory(2, [2, null], remove('x'));
    expect(linearizable(made, unknown, onDirectory(3, [5, 6], list, ['x']), onDirectory(3, [7, 8], list, []))).toBe(true);
    expect(linearizable(made, unknown, onDirectory(3, [5, 6], list, ['x']))).toBe(true);
    expect(linearizable(made, unknown, onDirectory(3, [5, 6], list, []), onDirectory(3, [7, 8], list, ['x']))).toBe(false);
  });
});

/** Every choice of the events whose outcome is unknown, in every order that real time allows. */
function bruteForce(events: readonly Event[], model: Model<unknown>): boolean {
  const go = (left: readonly Event[], state: unknown): boolean => {
    if (left.every((e) => e.result === undefined)) return true;
    return left.some((e) => {
      const rest = left.filter((other) => other !== e);
      if (rest.some((other) => other.return < e.invoke)) return false;
      const step = model.step(state, e.call);
      return (e.result === undefined || sameResult(step.result, e.result)) && go(rest, step.state);
    });
  };
  return go(events, model.initial);
}

describe('against brute force', () => {
  for (const [name, histories] of [['register', smallRegisterHistory], ['directory', smallDirectoryHistory]] as const) {
    it(`agrees on every small history of a ${name}, and both answers occur`, () => {
      const answers = { yes: 0, no: 0 };
      fc.assert(fc.property(histories, (operations) => {
        const model = modelOf(kindOf(name === 'register' ? 'register/r' : 'directory/d'));
        const events = eventsOf(operations);
        const verdict = search(events, model);
        expect(verdict.type).toBe(bruteForce(events, model) ? 'linearizable' : 'not-linearizable');
        if (verdict.type !== 'linearizable') {
          answers.no++;
          return;
        }
        answers.yes++;
        // The order that it names is one: it has every result, in real time.
        let state = model.initial;
        for (const [i, e] of verdict.order.entries()) {
          const step = model.step(state, e.call);
          if (e.result !== undefined) expect(step.result).toEqual(e.result);
          expect(verdict.order.slice(i + 1).every((later) => later.return >= e.invoke)).toBe(true);
          state = step.state;
        }
        expect(events.filter((e) => e.result !== undefined && !verdict.order.includes(e))).toEqual([]);
      }), { numRuns: 4000, seed: 20260101 });
      expect(Math.min(answers.yes, answers.no)).toBeGreaterThan(300);
    });
  }
});

describe('long histories', () => {
  const SEEDS = [1, 2, 3, 4, 5];
  const objects = ['register/r', 'directory/d'];

  it('of an honest service are linearizable, also with unknown outcomes', () => {
    for (const object of objects) {
      for (const seed of SEEDS) {
        const operations = honestHistory(seed, object, 400, 6);
        expect(operations.some((o) => o.outcome === 'info')).toBe(true);
        expect(checkHistory(operations)).toMatchObject({ linearizable: true, violations: [], undecided: [] });
      }
    }
  });

  it('are refused without one change that was acknowledged and seen', () => {
    for (const object of objects) {
      for (const seed of SEEDS) {
        const operations = honestHistory(seed, object, 200, 6);
        const dropped = new Prng(seed).pick(seenChanges(operations));
        const { violations } = checkHistory(operations.filter((o) => o !== dropped));
        expect(violations).toHaveLength(1);
      }
    }
  });

  it('are refused when one read answers what was there long before', () => {
    for (const seed of SEEDS) {
      const operations = honestHistory(seed, 'register/r', 300, 6).sort((a, b) => a.invoke - b.invoke);
      const reads = operations.filter((o) => o.operation === 'read' && o.outcome === 'ok');
      const victim = defined(reads[Math.floor(reads.length / 2)], 'a read in the middle');
      // What the first writers wrote is gone for good, unless nobody knows when it was written.
      const first = defined(operations.find((o) => o.operation === 'write' && o.outcome === 'ok'), 'a first write');
      const stale = operations.map((o): Operation => (o === victim && o.outcome === 'ok' && first.operation === 'write' ? { ...o, result: first.arguments.value } : o));
      expect(checkHistory(stale).linearizable).toBe(false);
    }
  });
});

describe('the explanation', () => {
  it('names the first operation that no order explains, what was there instead, and who wrote what it saw', () => {
    const operations = [
      onRegister(1, [0, 1e6], write('a'), null),
      onRegister(1, [2e6, 3e6], write('b'), null),
      onRegister(2, [4e6, 5e6], read, 'a'),
      onRegister(2, [6e6, 7e6], read, 'b'),
      operation('register/other', 3, [0, 1e6], write('c'), null),
    ];
    const { violations, objects } = checkHistory(operations);
    expect(objects).toBe(2);
    expect(violations).toHaveLength(1);
    const violation = defined(violations[0], 'a violation');
    expect(violation.object).toBe('register/r');
    expect(violation.operation).toBe(operations[2]);
    expect(violation.explanation).toBe([
      'register/r: no order of its operations explains the answer of process 2 (marked below).',
      '  Whatever the order, the object would have been, while that operation ran:',
      '    "b", where it would have answered "b"',
      '  Operations around it, in ms since the run began:',
      '    [0.000, 1.000] process 1 at replica 1: write(value: "a") = null',
      '    [2.000, 3.000] process 1 at replica 1: write(value: "b") = null',
      '  > [4.000, 5.000] process 2 at replica 1: read() = "a"',
    ].join('\n'));
  });

  it('does not call undecided what it had no room to search', () => {
    const many = Array.from({ length: 12 }, (_, i) => onRegister(i, [0, 100], write(`v${i}`), null));
    const impossible = [...many, onRegister(20, [200, 201], read, 'never')];
    expect(checkHistory(impossible, 50)).toMatchObject({ linearizable: false, violations: [], undecided: ['register/r'] });
    expect(checkHistory(impossible)).toMatchObject({ linearizable: false, undecided: [] });
  });
});
