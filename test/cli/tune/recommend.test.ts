import { describe, expect, it } from 'vitest';
import { pointOf, type Point } from '../../../cli/tune/figures.ts';
import { recommend } from '../../../cli/tune/recommend.ts';

const B = 64 << 20;

/** An interval with its repeats: operations a second, and seconds of recovery. */
function point(ops: number | null, throughput: readonly number[], recovery?: readonly number[], checkpoints = ops === null ? 0 : 5, bytes = B): Point {
  return pointOf({ ops, bytes }, throughput.map((t, i) => {
    const r = recovery?.[i];
    return { throughput: t, p50: 1, p99: 2, p999: 3, cpu: 1, hold: 1, written: 1, checkpoints, journal: 1, ...(r === undefined ? {} : { recovery: r, recoveryBytes: 1 }) };
  }));
}

const QUIET = [
  point(500, [7000, 7050, 7020], [1, 1.1, 1.05]),
  point(1000, [9000, 9050, 9020], [2, 2.1, 2.05]),
  point(2000, [9600, 9650, 9620], [4, 4.1, 4.05]),
  point(4000, [9900, 9950, 9920], [8, 8.1, 8.05]),
  point(null, [10_000, 10_050, 10_020], [16, 16.1, 16.05]),
];

describe('the interval that is recommended', () => {
  it('for throughput: the shortest that loses less than was said', () => {
    const r = recommend(QUIET, { lossUnder: 0.05 });
    expect(r.chosen?.interval.ops).toBe(2000);
    expect(r.certain).toBe(true);
    expect(r.reason.join('\n')).toContain('O = 2000: 9620/s, 4 % less than with off.\n4000 meets the goal too; this is the shortest');
    expect(r.judgements.map((j) => j.loss)).toEqual(['missed', 'missed', 'met', 'met']);
  });

  it('for recovery: the fastest of those that come back in time', () => {
    const r = recommend(QUIET, { recoveryUnderSeconds: 5 });
    expect(r.chosen?.interval.ops).toBe(2000);
    expect(r.reason.join('\n')).toContain('up to date again after 4.05 s (4.00 s to 4.10 s)');
  });

  it('for both: one that meets both', () => {
    expect(recommend(QUIET, { recoveryUnderSeconds: 9, lossUnder: 0.02 }).chosen?.interval.ops).toBe(4000);
  });

  it('without a goal: one is assumed, and said', () => {
    const r = recommend(QUIET, {});
    expect(r.chosen?.interval.ops).toBe(2000);
    expect(r.reason[0]).toBe('No goal was stated; taken for one: a loss of throughput under 5 %.');
  });

  it('is the shorter of two whose throughput cannot be told apart', () => {
    const r = recommend([point(500, [9000, 9600], [1, 1]), point(1000, [9100, 9700], [2, 2]), point(null, [9900, 9950], [9, 9])], { recoveryUnderSeconds: 5 });
    expect(r.chosen?.interval.ops).toBe(500);
    expect(r.reason.join('\n')).toContain('not distinguishable between 500 and 1000');
  });

  it('is never to take none, however fast that is', () => {
    const r = recommend([point(500, [100, 101], [9, 9]), point(null, [1000, 1001], [1, 1])], { recoveryUnderSeconds: 5 });
    expect(r.chosen).toBeNull();
    expect(r.closest?.interval.ops).toBe(500);
  });

  it('is compared with the longest interval where none was measured without', () => {
    const r = recommend(QUIET.slice(0, 4), { lossUnder: 0.05 });
    expect(r.baseline.interval.ops).toBe(4000);
    expect(r.chosen?.interval.ops).toBe(2000);
  });
});

describe('a recommendation', () => {
  it('names the one that came closest where none meets the goals, and that they pull apart', () => {
    const r = recommend(QUIET, { recoveryUnderSeconds: 3, lossUnder: 0.02 });
    expect(r).toMatchObject({ chosen: null, certain: false });
    expect(r.reason.join('\n')).toContain('None of the intervals measured meets the goal: a loss of throughput under 2 % and a recovery under 3 s.');
    expect(r.reason.join('\n')).toContain('The two goals pull apart');
    expect(r.closest?.interval.ops).toBe(2000);
  });

  it('is in doubt where the repeats lie far apart', () => {
    const r = recommend([point(500, [9700, 6000, 9900]), point(null, [10_000, 9000, 10_500])], { lossUnder: 0.05 });
    expect(r).toMatchObject({ chosen: { interval: { ops: 500 } }, certain: false });
    expect(r.judgements[0]?.loss).toBe('likely');
    expect(r.reason.join('\n')).toContain('Not beyond doubt');
    expect(r.reason.join('\n')).toContain('does not let tell from none');
  });

  it('says that it may be met all the same where the repeats leave it open', () => {
    const r = recommend([point(500, [9000, 9400, 9900]), point(null, [10_000, 9500, 10_500])], { lossUnder: 0.05 });
    expect(r.chosen).toBeNull();
    expect(r.judgements[0]?.loss).toBe('unlikely');
    expect(r.reason.join('\n')).toContain('it may be met all the same');
  });

  it.each([[[point(500, [9990]), point(1000, [9995]), point(null, [10_000])]], [[point(500, [9990]), point(1000, [10_000])]]])('is a hint after one run of each', (points) => {
    const r = recommend(points, { lossUnder: 0.05 });
    expect(r).toMatchObject({ chosen: { interval: { ops: 500 } }, certain: false });
    expect(r.reason.join('\n')).toContain('Each interval was run once');
    // How far apart repeats lie is not known of one.
    for (const lossUnder of [0.05, 0.0001]) expect(recommend(points, { lossUnder }).reason.join('\n')).not.toContain('repeats lie so far apart');
  });

  it('does not count a recovery that was not waited for to its end', () => {
    const r = recommend([point(500, [9000, 9001], [Infinity, Infinity]), point(1000, [9500, 9501], [4, 4])], { recoveryUnderSeconds: 5 });
    expect(r.chosen?.interval.ops).toBe(1000);
    expect(r.judgements[0]).toMatchObject({ recovery: 'missed', reasons: ['not up to date again in the time that a run waits'] });
  });

  it('says so where checkpoints were taken that should not have been', () => {
    expect(recommend([point(500, [9900, 9901]), point(null, [10_000, 10_001], undefined, 2)], {}).reason.join('\n')).toContain('With off, up to 2 checkpoints were taken all the same');
    expect(recommend([point(500, [9900, 9901]), point(null, [10_000, 10_001])], {}).reason.join('\n')).not.toContain('all the same');
  });

  it('names O and B where several B were measured', () => {
    const r = recommend([point(500, [9900, 9901], undefined, 5, 16 << 20), point(500, [9900, 9902], undefined, 5, 64 << 20), point(null, [10_000, 10_001])], {});
    expect(r.reason.join('\n')).toContain('O = 500 / 16.0 MiB');
  });
});
