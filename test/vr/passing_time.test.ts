import { beforeEach, describe, expect, it } from 'vitest';
import { PassingTime, UNNOTICED_MS } from '../../vr/passing_time.ts';

let monotonic: number;
let wall: number;
let time: PassingTime;
beforeEach(() => {
  [monotonic, wall] = [5000, 1.7e12];
  time = new PassingTime({ monotonic: () => monotonic, wall: () => Math.floor(wall) * 1000 });
});
/** Milliseconds that have passed between two readings, around which the clocks go on by so much. */
function passed(byMonotonic: number, byWall: number): number {
  const before = time.now();
  monotonic += byMonotonic;
  wall += byWall;
  return time.now() - before;
}

describe('time that has passed', () => {
  it('is what the monotonic clock says while the wall clock agrees, to the millisecond', () => {
    for (const ms of [0, 0.3, 1, 10, 100_000]) expect(passed(ms, ms)).toBeCloseTo(ms);
  });

  it('is what the wall clock says when the machine was suspended, and a minute at least', () => {
    expect(passed(1, 3_600_000)).toBeGreaterThanOrEqual(3_600_000);
    expect(passed(1, 500)).toBeGreaterThanOrEqual(60_000);
    expect(passed(10, 10)).toBeCloseTo(10);
  });

  it('may be anything when the wall clock is set back: the machine may have been suspended too', () => {
    expect(passed(1, -3_600_000)).toBeGreaterThanOrEqual(60_000);
    expect(passed(10, 10)).toBeCloseTo(10);
  });

  it('makes nothing of a wall clock that is slewed', () => {
    const from = time.now();
    for (let i = 0; i < 10_000; i++) passed(100, 100.05);
    for (let i = 0; i < 10_000; i++) passed(100, 99.95);
    expect(time.now() - from).toBeCloseTo(2_000_000);
  });

  it('is never short by more than what goes unnoticed and what is slewed', () => {
    let really = 0;
    const from = time.now();
    // Suspended for a moment again and again, as far as nobody notices.
    for (let i = 0; i < 1000; i++) {
      passed(10, 10.01);
      really += 10.01;
    }
    expect(time.now() - from).toBeGreaterThanOrEqual(really * 0.999 - UNNOTICED_MS);
  });
});
