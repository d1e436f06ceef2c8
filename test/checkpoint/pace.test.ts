import { describe, expect, test } from 'vitest';
import { Pace, type LoopUse } from '../../checkpoint/pace.ts';

describe('the pace of a donor', () => {
  test('without bounds there is nothing to wait for', () => {
    const pace = new Pace({ bytesPerSecond: 0, loopUse: null });
    pace.spend(1 << 30, 1000, 0);
    expect(pace.waitMs(0)).toBe(0);
    expect(pace.answerBytes).toBe(Infinity);
  });

  test('an answer is paid off before the next, at so many bytes a second', () => {
    const pace = new Pace({ bytesPerSecond: 1_000_000, loopUse: null });
    expect(pace.waitMs(5000)).toBe(0);
    pace.spend(500_000, 0, 5000);
    expect(pace.waitMs(5000)).toBe(500);
    expect(pace.waitMs(5400)).toBe(100);
    // Another one, which was let in before: both are to be paid for.
    pace.spend(500_000, 0, 5400);
    expect(pace.waitMs(5400)).toBe(600);
    expect(pace.waitMs(6000)).toBe(0);
    // What was not used does not gather: a donor that rested gives no burst.
    pace.spend(1000, 0, 100_000);
    expect(pace.waitMs(100_000)).toBe(1);
  });

  test('over a long time no more is given than the rate, whatever the answers are', () => {
    const pace = new Pace({ bytesPerSecond: 300_000, loopUse: null });
    let now = 0;
    let given = 0;
    for (let i = 0; i < 500; i++) {
      now += pace.waitMs(now);
      const bytes = 1000 + (i * 7919) % 90_000;
      pace.spend(bytes, 0, now);
      given += bytes;
    }
    now += pace.waitMs(now);
    expect(given / (now / 1000)).toBeLessThanOrEqual(300_000);
    expect(given / (now / 1000)).toBeGreaterThan(280_000);
  });

  test('answers are small enough that nobody waits long for his turn', () => {
    expect(new Pace({ bytesPerSecond: 8_000_000, loopUse: null }).answerBytes).toBe(2_000_000);
    expect(new Pace({ bytesPerSecond: 1000, loopUse: null }).answerBytes).toBe(64 << 10);
  });

  test('of the event loop a donor takes what the others leave, and a little where they leave nothing', () => {
    const use = { active: 0, idle: 0 };
    const pace = new Pace({ bytesPerSecond: 0, loopUse: (): LoopUse => ({ ...use }) });
    const waitAfter = (others: number, own: number, idle: number): number => {
      use.active += others + own;
      use.idle += idle;
      const now = use.active + use.idle + 1e6 * others;
      pace.spend(1, own, now);
      return pace.waitMs(now);
    };
    // Nobody else: nearly all of it.
    expect(waitAfter(0, 90, 10)).toBe(10);
    // The others take half: the donor two fifths.
    expect(waitAfter(50, 40, 10)).toBe(60);
    // The others would take all: a sixth.
    expect(waitAfter(980, 20, 0)).toBe(Math.ceil(20 * (1 / 0.15 - 1)));
  });
});
