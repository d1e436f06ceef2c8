import { expect, test } from 'vitest';
import { endOfRun } from '../../lib/sorted.ts';

test('the end of a run is where it ends, wherever that is, and nobody looks behind the sequence', () => {
  for (let to = 1; to <= 40; to++) {
    for (let from = 0; from < to; from++) {
      for (let end = from + 1; end <= to; end++) {
        const asked: number[] = [];
        const found = endOfRun(from, to, (at) => {
          asked.push(at);
          return at < end;
        });
        expect(found).toBe(end);
        expect(asked.every((at) => at > from && at < to)).toBe(true);
        expect(asked.length).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(end - from + 1)) + 1);
      }
    }
  }
});
