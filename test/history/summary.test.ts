/** What a run says of itself: how hard faults hit, how long nothing went on, and whether it proves anything. */
import { describe, expect, it } from 'vitest';
import type { Fault } from './nemesis.ts';
import type { Operation } from './operations.ts';
import { calls, operation } from './samples.ts';
import { errorLines, faultLines, faultsOfTheService, hits, longestStall, tooLittle } from './summary.ts';

const S = 1e9;
const fault = (from: number, to: number, quorum: boolean): Fault => ({ kind: 'kill', what: 'kill -9 of replica 2', from: from * S, to: to * S, quorum });
const write = (at: number, end: number | null, process = 1): ReturnType<typeof operation> => operation('register/r', process, [at * S, end === null ? null : end * S], calls.write(`${at}`), null);

describe('the summary of a run', () => {
  it('counts what was under way when a fault began, and all that met it', () => {
    const operations = [write(0, 1), write(1.5, 2.5, 2), write(1.9, null, 3), write(2.2, 2.4, 4), write(5, 6, 5)];
    expect(hits(operations, [fault(2, 3, true)])).toMatchObject([{ underWay: 2, touched: 3, ok: 2, fail: 0, info: 1 }]);
    expect(faultLines(operations, [fault(2, 3, true)])).toEqual([
      '1 faults: 1 kill',
      '  [2.000, 3.000] s kill -9 of replica 2: 2 operations under way when it began; 3 met it: 2 ok, 0 fail, 1 info',
    ]);
  });

  it('measures the longest time without an acknowledged change, reads do not count', () => {
    const read = operation('register/r', 2, [4 * S, 4.5 * S], calls.read, '1');
    expect(longestStall([write(0, 1), read, write(6, 7)], [], 10 * S)).toEqual({ from: 1 * S, to: 7 * S });
    expect(longestStall([write(0, 1)], [], 10 * S)).toEqual({ from: 1 * S, to: 10 * S });
  });

  it('begins anew when there is a quorum again', () => {
    expect(longestStall([write(0, 1), write(9, 10)], [fault(2, 8, false)], 10 * S)).toEqual({ from: 8 * S, to: 10 * S });
    expect(longestStall([write(0, 1), write(9, 10)], [fault(2, 8, true)], 10 * S)).toEqual({ from: 1 * S, to: 10 * S });
  });

  it('counts what went wrong, and takes an internal error for what it is', () => {
    const failed = (process: number, outcome: 'fail' | 'info', error: string): Operation => ({
      process, object: 'register/r', invoke: 0, replica: 2, ...calls.read, ...(outcome === 'fail' ? { outcome, error, return: 1 } : { outcome, error, return: null }),
    });
    const operations = [
      failed(1, 'fail', 'ECONNREFUSED: connect ECONNREFUSED 10.77.0.11:7201'),
      failed(2, 'fail', 'ECONNREFUSED: connect ECONNREFUSED 10.77.0.12:7201'),
      failed(3, 'info', '504 {"title":"Outcome unknown","status":504}'),
      failed(4, 'info', '500 {"title":"Internal error","status":500}'),
      write(0, 1, 5),
    ];
    expect(errorLines(operations)).toEqual(['  2 fail: ECONNREFUSED: connect ECONNREFUSED it', '  1 info: 504 Outcome unknown', '  1 info: 500 Internal error']);
    expect(faultsOfTheService(operations)).toEqual(['replica 2 answered read with 500 {"title":"Internal error","status":500}']);
  });

  it('says when hardly anything succeeded', () => {
    const some = Array.from({ length: 60 }, (_, i) => write(i, i + 0.5));
    expect(tooLittle(some, 10)).toBeNull();
    expect(tooLittle(some, 30)).toBe('only 60 operations of 60 succeeded; a history proves something from 150 on');
  });
});
