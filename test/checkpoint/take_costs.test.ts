import { describe, expect, it } from 'vitest';
import { TakeCostRecorder, type TakeFigures } from '../../checkpoint/take_costs.ts';

const figures = (n: number): Omit<TakeFigures, 'wallMs'> => ({ records: n, recordBytes: n * 10, nodeBytes: n * 5, busyMs: n / 10, longestMs: n / 100 });

function take(costs: TakeCostRecorder, from: number, to: number, n: number): void {
  costs.begin(from);
  costs.end(to, figures(n));
}

describe('the costs of checkpoints', () => {
  it('begin with nothing', () => {
    const { last, recent, takes, total } = new TakeCostRecorder(1000).costs(1000);
    expect({ last, takes, mean: recent.mean, share: recent.share, busyShare: recent.busyShare }).toEqual({ last: null, takes: 0, mean: null, share: 0, busyShare: 0 });
    expect(total.records).toBe(0);
  });

  it('tell the last, the mean, the longest hold and the sum', () => {
    const costs = new TakeCostRecorder(0);
    take(costs, 1000, 1200, 100);
    take(costs, 15_000, 15_100, 300);
    const { last, recent, takes, total } = costs.costs(20_000);
    expect(last).toEqual({ ...figures(300), wallMs: 100 });
    expect(recent).toMatchObject({ spanMs: 20_000, takes: 2, share: 300 / 20_000, busyShare: 40 / 20_000 });
    expect(recent.mean).toEqual({ records: 200, recordBytes: 2000, nodeBytes: 1000, busyMs: 20, longestMs: 3, wallMs: 150 });
    expect(takes).toBe(2);
    expect(total).toEqual({ records: 400, recordBytes: 4000, nodeBytes: 2000, busyMs: 40, longestMs: 3, wallMs: 300 });
  });

  it('forget in the mean what is longer ago than five minutes, and keep it in the sum', () => {
    const costs = new TakeCostRecorder(0);
    take(costs, 1000, 5000, 100);
    take(costs, 400_000, 401_000, 10);
    const { recent, takes, total } = costs.costs(405_000);
    expect(recent).toMatchObject({ takes: 1, spanMs: 295_000, share: 1000 / 295_000 });
    expect(recent.mean?.records).toBe(10);
    expect([takes, total.records]).toEqual([2, 110]);
  });

  it('count of one that began earlier only what lies in the last five minutes', () => {
    const costs = new TakeCostRecorder(0);
    take(costs, 95_000, 205_000, 100);
    const { recent } = costs.costs(399_999);
    expect(recent.spanMs).toBe(299_999);
    expect(recent.share).toBeCloseTo((205_000 - 100_000) / 299_999, 9);
  });

  it('count the one that is being written, and not the one that failed', () => {
    const costs = new TakeCostRecorder(0);
    costs.begin(6000);
    expect(costs.costs(10_000).recent.share).toBeCloseTo(0.4, 9);
    costs.fail();
    expect(costs.costs(10_000).recent.share).toBe(0);
    expect(costs.costs(10_000).takes).toBe(0);
  });

  it('are never more than all of the time, however often and long they are taken', () => {
    const costs = new TakeCostRecorder(0);
    for (let t = 0; t < 1_000_000; t += 50) take(costs, t, t + 50, 1);
    const { recent } = costs.costs(1_000_000);
    expect(recent.share).toBeCloseTo(1, 9);
    expect(recent.takes).toBeLessThanOrEqual(6000);
    expect(recent.takes).toBeGreaterThan(5700);
  });
});
