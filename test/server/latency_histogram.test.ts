import { describe, expect, it } from 'vitest';
import { LATENCY_BOUNDS, LatencyHistogram } from '../../server/latency_histogram.ts';

describe('a latency histogram', () => {
  it('counts into the first bucket whose bound is not below, one behind the last for what is longer, and sums up seconds', () => {
    const h = new LatencyHistogram([0.001, 0.01]);
    for (const ms of [0, 1, 1.001, 10, 10.001, 1e6]) h.count(ms);
    expect([...h.counts]).toEqual([2, 2, 2]);
    expect(h.seconds).toBeCloseTo(1000.022_002, 9);
    h.count(5, 40);
    expect([...h.counts]).toEqual([2, 42, 2]);
    expect(h.seconds).toBeCloseTo(1000.222_002, 9);
  });

  it('has bounds that rise, from a write of a fast disk to what nobody waits for', () => {
    expect([...LATENCY_BOUNDS].sort((a, b) => a - b)).toEqual(LATENCY_BOUNDS);
    expect([LATENCY_BOUNDS[0], LATENCY_BOUNDS.at(-1)]).toEqual([0.0001, 10]);
  });
});
