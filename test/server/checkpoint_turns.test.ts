import { expect, it } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import type { Member } from '../../vr/configuration.ts';
import { CheckpointTurns } from '../../server/checkpoint_turns.ts';
import { groupOf } from './support.ts';

/** What the member waits for, with so many milliseconds between checkpoints that take `workMs` each. */
function waits(self: number, members: readonly Member[], intervals: readonly number[], workMs = 0): number[] {
  let now = 5000;
  const turns = new CheckpointTurns(memberId(self), now);
  return intervals.map((ms) => {
    now += ms;
    const wait = turns.reached(members, now);
    turns.took(workMs);
    return Math.round(wait);
  });
}

const three = groupOf(['a:1', 'b:1', 'c:1']).members;
const five = groupOf(['a:1', 'b:1', 'c:1', 'd:1', 'e:1']).members;

it('spreads the turns over three fifths of the time between two checkpoints, at most 300 ms', () => {
  expect(waits(1, three, [50, 50])).toEqual([0, 0]);
  expect(waits(2, three, [50, 50])).toEqual([10, 10]);
  expect(waits(3, three, [50, 40, 10])).toEqual([20, 16, 4]);
  expect(waits(5, five, [100])).toEqual([48]);
  expect(waits(3, three, [10_000])).toEqual([200]);
});

it('does not take the time behind a checkpoint that was left out for that between two', () => {
  expect(waits(3, three, [40, 80, 40])).toEqual([16, 20, 16]);
});

it('leaves twice the time that the last one took', () => {
  expect(waits(3, three, [50, 50], 18)).toEqual([20, 14]);
  expect(waits(3, three, [50, 50], 25)).toEqual([20, 0]);
  expect(waits(3, three, [50, 50], 99)).toEqual([20, 0]);
});

it('counts who takes checkpoints', () => {
  const withWitnesses = five.map((m) => (m.id <= 2 ? { ...m, role: 'witness' as const } : m));
  expect(waits(3, withWitnesses, [50])).toEqual([0]);
  expect(waits(5, withWitnesses, [50])).toEqual([20]);
  // It is not a member any more, or not yet.
  expect(waits(9, three, [50])).toEqual([0]);
  expect(waits(1, [], [50])).toEqual([0]);
});
