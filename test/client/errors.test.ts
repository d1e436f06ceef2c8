/** What a caller of the SDK reads when there is no result. */
import { describe, expect, it } from 'vitest';
import { Behind, Busy, errorOf, NotReachable, OutcomeUnknown, TimedOut } from '../../client/errors.ts';

const timedOut = { code: 'timedOut', mayHaveHappened: false, reason: 'no answer within 1000 ms', putOff: null } as const;
const busy = { code: 'busy', reason: 'the primary\'s disk is full', retryAfterMs: 50 } as const;

describe('a deadline that has passed', () => {
  it('at a group that was busy to the end: says so, why, and when to come again', () => {
    const error = errorOf({ ...timedOut, putOff: busy }, null);
    expect(error).toBeInstanceOf(Busy);
    expect(error).toMatchObject({ mayHaveHappened: false, retryAfterMs: 50 });
    expect(error.message).toBe('no answer within 1000 ms, nothing was done: the group is busy, retry after 50 ms: the primary\'s disk is full. What it waits for is in vrfs status.');
  });

  it('with a copy of the request out: the outcome is unknown, and the group was busy', () => {
    const error = errorOf({ ...timedOut, mayHaveHappened: true, putOff: busy }, null);
    expect(error).toBeInstanceOf(OutcomeUnknown);
    expect(error.message).toContain('The group was busy, retry after 50 ms: the primary\'s disk is full.');
  });

  it('of a read of a state that nobody has', () => {
    const error = errorOf({ ...timedOut, putOff: { code: 'behind', reason: 'op 9 is not executed here yet (3 is)', retryAfterMs: 50 } }, null);
    expect(error).toBeInstanceOf(Behind);
    expect(error.message).toContain('op 9 is not executed here yet (3 is)');
  });

  it('without a primary, and without anybody', () => {
    expect(errorOf(timedOut, null)).toBeInstanceOf(TimedOut);
    expect(errorOf(timedOut, 'no replica can be reached')).toBeInstanceOf(NotReachable);
  });
});

it('what this client has too much of has no time to retry', () => {
  expect(errorOf({ code: 'overloaded', mayHaveHappened: false, reason: '9 operations are waiting already' }, null)).toMatchObject({ name: 'Busy', retryAfterMs: null });
});
