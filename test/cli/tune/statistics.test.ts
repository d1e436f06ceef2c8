import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { distinguishable, LatencyHistogram, median, spreadOf } from '../../../cli/tune/statistics.ts';

describe('repeats', () => {
  it('have a median, also where some did not come to an end', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([1, Infinity, 2])).toBe(2);
    expect(median([Infinity, Infinity])).toBe(Infinity);
    expect(spreadOf([2, 9, 4])).toEqual({ median: 4, min: 2, max: 9, values: [2, 9, 4] });
  });

  it('are told apart only when the medians lie further apart than the repeats of either', () => {
    expect(distinguishable(spreadOf([100, 110]), spreadOf([200, 205]))).toBe(true);
    expect(distinguishable(spreadOf([100, 180]), spreadOf([200, 205]))).toBe(false);
    expect(distinguishable(spreadOf([200, 205]), spreadOf([100, 180]))).toBe(false);
  });

  it('say nothing after one', () => {
    expect(distinguishable(spreadOf([1]), spreadOf([1000]))).toBe(false);
    expect(distinguishable(spreadOf([1, 1]), spreadOf([1000]))).toBe(false);
  });

  it('that never ended differ from those that did', () => {
    expect(distinguishable(spreadOf([Infinity, Infinity]), spreadOf([1, 2]))).toBe(true);
    expect(distinguishable(spreadOf([Infinity, Infinity]), spreadOf([Infinity, Infinity]))).toBe(false);
  });
});

describe('a histogram of latencies', () => {
  it('gives each percentile to half a percent of the sorted list', () => {
    fc.assert(fc.property(fc.array(fc.double({ min: 0.002, max: 60_000, noNaN: true }), { minLength: 1, maxLength: 300 }), fc.constantFrom(0.5, 0.9, 0.99, 0.999, 1), (values, p) => {
      const h = new LatencyHistogram();
      for (const v of values) h.record(v);
      const exact = [...values].sort((a, b) => a - b)[Math.max(1, Math.ceil(p * values.length)) - 1] ?? NaN;
      expect(h.total).toBe(values.length);
      expect(Math.abs(h.percentile(p) - exact)).toBeLessThanOrEqual(exact * 0.0051);
      expect(h.percentile(p)).toBeLessThanOrEqual(h.max);
    }));
  });

  it('has no percentile of nothing', () => {
    expect(new LatencyHistogram().percentile(0.5)).toBeNaN();
  });
});
