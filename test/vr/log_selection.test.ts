import { describe, expect, test } from 'vitest';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { memberId, opNumber, view, type MemberId } from '../../lib/ids.ts';
import { selectLog } from '../../vr/log_selection.ts';
import type { DoViewChange } from '../../vr/messages.ts';

function vote(logView: number, op: number, commit = 0): DoViewChange {
  return {
    type: 'doViewChange', view: view(9), logView: view(logView), op: opNumber(op), commit: opNumber(commit),
    claim: { base: opNumber(op), baseHash: ZERO_DIGEST, headers: [], entries: [] },
  };
}
const votes = (...list: DoViewChange[]): Map<MemberId, DoViewChange> => new Map(list.map((m, i) => [memberId(i + 1), m]));

describe('which log wins a view change', () => {
  test('the one of the newest log-view, however short', () => {
    expect(selectLog(votes(vote(3, 100), vote(4, 7), vote(2, 500)))).toMatchObject({ winner: 2, message: { op: 7 } });
  });

  test('among those the longest', () => {
    expect(selectLog(votes(vote(4, 7), vote(4, 9), vote(4, 8)))).toMatchObject({ winner: 2, message: { op: 9 } });
  });

  test('the first of equals: they are the same log', () => {
    expect(selectLog(votes(vote(4, 7), vote(4, 7))).winner).toBe(1);
  });

  test('the commit-number is the highest that anyone knows, the winner or not', () => {
    expect(selectLog(votes(vote(4, 9, 2), vote(3, 6, 5))).commit).toBe(5);
  });

  test('a committed op that the winner lacks stops the replica: quorums did not intersect', () => {
    expect(() => selectLog(votes(vote(4, 3, 2), vote(3, 6, 5)))).toThrow('op 5 is committed but the winning log ends at 3');
  });

  test('nobody said anything', () => {
    expect(() => selectLog(new Map())).toThrow('without messages');
  });
});
