import { describe, expect, test } from 'vitest';
import { Prng } from '../../lib/prng.ts';
import type { Random } from '../../vr/ports.ts';
import { Backoff, SilenceDetector } from '../../vr/timeouts.ts';

/** A random port that always draws the same fraction of its range. */
function fixed(fraction: number): Random {
  return { bytes: (n) => Buffer.alloc(n), uint32: () => Math.floor(fraction * 2 ** 32) };
}
/** The times at which it was due, asked every millisecond. */
function dueTimes(backoff: Backoff, until: number): number[] {
  const out: number[] = [];
  for (let now = 0; now <= until; now++) if (backoff.due(now)) out.push(now);
  return out;
}
const gaps = (times: readonly number[]): number[] => times.map((t, i) => t - (times[i - 1] ?? 0));

describe('Backoff', () => {
  test('is never due before it is started, nor after it was stopped', () => {
    const b = new Backoff(10, fixed(0));
    expect(b.running).toBe(false);
    expect(dueTimes(b, 100)).toEqual([]);
    b.start(0);
    expect(b.running).toBe(true);
    b.stop();
    expect(b.running).toBe(false);
    expect(dueTimes(b, 100)).toEqual([]);
  });

  test('doubles up to 16 times its base', () => {
    const b = new Backoff(10, fixed(0));
    b.start(0);
    expect(gaps(dueTimes(b, 1_000))).toEqual([10, 20, 40, 80, 160, 160, 160, 160, 160]);
  });

  test('begins anew when it is started again', () => {
    const b = new Backoff(10, fixed(0));
    b.start(0);
    dueTimes(b, 200);
    b.start(200);
    expect(b.due(209)).toBe(false);
    expect(b.due(210)).toBe(true);
  });

  test('hastened it is due at once, and soon again; what was stopped stays so', () => {
    const b = new Backoff(10, fixed(0));
    b.hasten(0);
    expect(dueTimes(b, 100)).toEqual([]);
    b.start(0);
    expect(dueTimes(b, 200)).toEqual([10, 30, 70, 150]);
    b.hasten(200);
    expect([200, 219, 220].map((now) => b.due(now))).toEqual([true, false, true]);
  });

  test('each interval has up to half of itself as jitter', () => {
    const longest = new Backoff(10, fixed(0.999999));
    longest.start(0);
    expect(gaps(dueTimes(longest, 400))).toEqual([15, 30, 60, 120]);
    const random = new Prng(3);
    for (let i = 0; i < 100; i++) {
      const b = new Backoff(100, random);
      b.start(0);
      const [first] = dueTimes(b, 200);
      expect(first).toBeGreaterThanOrEqual(100);
      expect(first).toBeLessThanOrEqual(150);
    }
  });

  test('late questions are answered once, not once for each interval that passed', () => {
    const b = new Backoff(10, fixed(0));
    b.start(0);
    expect(b.due(1_000)).toBe(true);
    expect(b.due(1_000)).toBe(false);
  });
});

describe('SilenceDetector', () => {
  function heartbeats(d: SilenceDetector, every: number, count: number, from = 0): number {
    let now = from;
    for (let i = 0; i < count; i++) d.heard((now += every));
    return now;
  }

  test('even heart-beats: suspicious at the floor', () => {
    const d = new SilenceDetector(300, fixed(0));
    const now = heartbeats(d, 50, 100);
    expect(d.silence(now + 120)).toBe(120);
    expect(d.suspicious(now + 299)).toBe(false);
    expect(d.suspicious(now + 300)).toBe(true);
  });

  test('doubtful at half of that', () => {
    const d = new SilenceDetector(300, fixed(0));
    const now = heartbeats(d, 50, 100);
    expect(d.doubtful(now + 149)).toBe(false);
    expect(d.doubtful(now + 150)).toBe(true);
  });

  test('uneven gaps raise the limit above the floor', () => {
    const d = new SilenceDetector(300, fixed(0));
    let now = 0;
    for (let i = 0; i < 50; i++) d.heard((now += i % 2 === 0 ? 20 : 400));
    expect(d.suspicious(now + 600)).toBe(false);
    expect(d.suspicious(now + 300 * 16)).toBe(true);
  });

  test('the limit falls back when the gaps are even again', () => {
    const d = new SilenceDetector(300, fixed(0));
    let now = 0;
    for (let i = 0; i < 50; i++) d.heard((now += i % 2 === 0 ? 20 : 400));
    now = heartbeats(d, 50, 100, now);
    expect(d.suspicious(now + 300)).toBe(true);
  });

  test('one outage does not count as a round trip', () => {
    const d = new SilenceDetector(300, fixed(0));
    let now = heartbeats(d, 50, 100);
    d.heard((now += 60_000));
    expect(d.suspicious(now + 300)).toBe(true);
  });

  test('the limit never passes 16 floors', () => {
    const d = new SilenceDetector(300, fixed(0));
    let now = 0;
    for (let i = 0; i < 200; i++) d.heard((now += i % 2 === 0 ? 0 : 1_199));
    expect(d.suspicious(now + 300 * 16)).toBe(true);
  });

  test('restart waits a whole limit from now', () => {
    const d = new SilenceDetector(300, fixed(0));
    heartbeats(d, 50, 10);
    d.restart(5_000);
    expect(d.suspicious(5_299)).toBe(false);
    expect(d.suspicious(5_300)).toBe(true);
  });

  test('jitter: two backups do not suspect at the same moment', () => {
    const random = new Prng(9);
    const limits = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const d = new SilenceDetector(300, random);
      d.restart(0);
      let at = 0;
      while (!d.suspicious(at)) at++;
      expect(at).toBeGreaterThanOrEqual(300);
      expect(at).toBeLessThanOrEqual(450);
      limits.add(at);
    }
    expect(limits.size).toBeGreaterThan(10);
  });
});
