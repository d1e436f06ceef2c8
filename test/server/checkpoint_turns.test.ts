import { expect, it } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import type { Member } from '../../vr/configuration.ts';
import { CheckpointTurns } from '../../server/checkpoint_turns.ts';
import { groupOf } from './support.ts';

interface Taken {
  /** Milliseconds since the one before. */
  readonly after: number;
  readonly leftOut?: number;
  readonly workMs?: number;
}

/** What the member waits for at each, the first but one on. */
function waits(self: number, members: readonly Member[], taken: readonly Taken[]): number[] {
  let now = 5000;
  const turns = new CheckpointTurns(memberId(self));
  // How long it is between two is not known yet.
  expect(turns.reached(members, now, 0)).toBe(0);
  return taken.map(({ after, leftOut = 0, workMs = 0 }) => {
    now += after;
    const wait = turns.reached(members, now, leftOut);
    turns.took(workMs);
    return Math.round(wait);
  });
}

const three = groupOf(['a:1', 'b:1', 'c:1']).members;
const five = groupOf(['a:1', 'b:1', 'c:1', 'd:1', 'e:1']).members;

it('spreads the turns over three fifths of the time between two checkpoints, at most 300 ms', () => {
  expect(waits(1, three, [{ after: 50 }])).toEqual([0]);
  expect(waits(2, three, [{ after: 50 }, { after: 50 }])).toEqual([10, 10]);
  expect(waits(3, three, [{ after: 50 }, { after: 40 }, { after: 10 }, { after: 10_000 }, { after: 50 }])).toEqual([20, 16, 4, 200, 20]);
  expect(waits(5, five, [{ after: 100 }])).toEqual([48]);
});

it('divides the time by those that were left out', () => {
  expect(waits(3, three, [{ after: 100, leftOut: 1 }, { after: 150, leftOut: 2 }, { after: 50 }])).toEqual([20, 20, 20]);
});

it('leaves twice the time that the last one took, for the last turn', () => {
  const twice = (workMs: number): Taken[] => [{ after: 50, workMs }, { after: 50, workMs }];
  expect(waits(3, three, twice(18))).toEqual([20, 14]);
  expect(waits(2, three, twice(18))).toEqual([10, 7]);
  for (const workMs of [25, 99]) expect(waits(3, three, twice(workMs))).toEqual([20, 0]);
});

it('is not left out for ever when the load comes back, or one took long', () => {
  // The time between two ops is 50 ms, what a checkpoint takes is in proportion to the changes since the last one.
  const turns = new CheckpointTurns(memberId(3));
  let durableAt = 0;
  let leftOut = 0;
  const taken: number[] = [];
  turns.reached(three, 0, 0);
  for (let op = 1; op <= 20; op++) {
    const now = 4950 + 50 * op;
    if (now < durableAt) {
      leftOut++;
      continue;
    }
    taken.push(op);
    const workMs = (op === 8 ? 120 : 15) * (leftOut + 1);
    durableAt = now + turns.reached(three, now, leftOut) + workMs;
    turns.took(workMs);
    leftOut = 0;
  }
  // The first one waits as if there were seconds to the next; the eighth takes 240 ms, with the changes of two.
  expect(taken).toEqual([1, 6, 8, 13, 15, 16, 17, 18, 19, 20]);
});

it('counts who takes checkpoints', () => {
  const withWitnesses = five.map((m) => (m.id <= 2 ? { ...m, role: 'witness' as const } : m));
  expect(waits(3, withWitnesses, [{ after: 50 }])).toEqual([0]);
  expect(waits(5, withWitnesses, [{ after: 50 }])).toEqual([20]);
  // It is not a member any more, or not yet.
  expect(waits(9, three, [{ after: 50 }])).toEqual([0]);
  expect(waits(1, [], [{ after: 50 }])).toEqual([0]);
});
