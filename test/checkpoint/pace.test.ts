import { describe, expect, test } from 'vitest';
import { Pace } from '../../checkpoint/pace.ts';

const idle = { records: 0, busyMs: 0 };

describe('the pace of a donor', () => {
  test('without bounds there is nothing to wait for', () => {
    const pace = new Pace({ bytesPerSecond: 0, othersMs: null });
    pace.spend({ bytes: 1 << 30, records: 0, busyMs: 1000 }, 0);
    expect(pace.waitMs(0)).toBe(0);
    expect(pace.answerBytes).toBe(Infinity);
  });

  test('an answer is paid off before the next, at so many bytes a second', () => {
    const pace = new Pace({ bytesPerSecond: 1_000_000, othersMs: null });
    expect(pace.waitMs(5000)).toBe(0);
    pace.spend({ bytes: 500_000, ...idle }, 5000);
    expect(pace.waitMs(5000)).toBe(500);
    expect(pace.waitMs(5400)).toBe(100);
    // Another one, which was let in before: both are to be paid for.
    pace.spend({ bytes: 500_000, ...idle }, 5400);
    expect(pace.waitMs(5400)).toBe(600);
    expect(pace.waitMs(6000)).toBe(0);
    // What was not used does not gather: a donor that rested gives no burst.
    pace.spend({ bytes: 1000, ...idle }, 100_000);
    expect(pace.waitMs(100_000)).toBe(1);
  });

  test('over a long time no more is given than the rate, whatever the answers are', () => {
    const pace = new Pace({ bytesPerSecond: 300_000, othersMs: null });
    let now = 0;
    let given = 0;
    for (let i = 0; i < 500; i++) {
      now += pace.waitMs(now);
      const bytes = 1000 + (i * 7919) % 90_000;
      pace.spend({ bytes, ...idle }, now);
      given += bytes;
    }
    now += pace.waitMs(now);
    expect(given / (now / 1000)).toBeLessThanOrEqual(300_000);
    expect(given / (now / 1000)).toBeGreaterThan(280_000);
  });

  test('answers are small enough that nobody waits long for his turn', () => {
    expect(new Pace({ bytesPerSecond: 8_000_000, othersMs: null }).answerBytes).toBe(2_000_000);
    expect(new Pace({ bytesPerSecond: 1000, othersMs: null }).answerBytes).toBe(64 << 10);
  });

  describe('beside other work', () => {
    class Loop {
      #othersMs = 0;
      now = 0;
      readonly pace = new Pace({ bytesPerSecond: 0, othersMs: () => this.#othersMs });
      /** The rest takes so much of the loop for a while, then the slices of an answer `slices` ms. What is to be waited then, by ms of the slices. */
      wait(others: number, slices: number, since = 1e6, records = 0): number {
        this.now += since;
        this.#othersMs = others * this.now;
        this.pace.spend({ bytes: 1, records, busyMs: slices }, this.now);
        return this.pace.waitMs(this.now) / slices;
      }
    }

    test('a donor that has nothing else to do takes nearly all of the loop', () => {
      expect(new Loop().wait(0, 100)).toBeCloseTo(3.2 / 9, 1);
    });

    test('the more the others take, the longer it waits, and where they have much to do it takes a twentieth', () => {
      const loop = new Loop();
      const waits = [0.01, 0.03, 0.1, 0.15, 0.2, 0.5].map((others) => loop.wait(others, 100));
      expect([...waits].sort((a, b) => a - b)).toEqual(waits);
      expect(waits.at(-1)).toBeCloseTo(3.2 * (1 / 0.05 - 1), 1);
      expect(waits.at(-2)).toBe(waits.at(-1));
    });

    test('whenever a fetcher comes back for a newer checkpoint it is given four times as much: it does not chase the group for ever', () => {
      const loop = new Loop();
      const ask = (op: number): number => {
        loop.pace.asked(op, loop.now);
        return loop.wait(0.5, 100, 19_000, 1000);
      };
      const first = ask(1000);
      expect(ask(1000)).toBe(first);
      // Somebody else, who fetches an older one.
      expect(ask(900)).toBe(first);
      expect(ask(2000) / first).toBeCloseTo((1 / 0.2 - 1) / (1 / 0.05 - 1), 2);
      expect(ask(3000) / first).toBeCloseTo((1 / 0.8 - 1) / (1 / 0.05 - 1), 2);
      expect(ask(4000)).toBeCloseTo(3.2 / 9, 1);
      // Long after.
      loop.now += 60_000;
      expect(ask(9000)).toBe(first);
    });

    describe('while a checkpoint is given', () => {
      const first = 3.2 * (1 / 0.05 - 1);
      const four = 3.2 * (1 / 0.2 - 1);
      const sixteen = 3.2 * (1 / 0.8 - 1);
      /** A loop whose others have much to do, a second at a time: so many records are given in it, and so many change. */
      class Giving {
        readonly #loop = new Loop();
        constructor() {
          this.#loop.now = 1e6;
        }
        seconds(n: number, given: number, changed: number | null, op = 1000): number {
          let wait = NaN;
          for (let i = 0; i < n; i++) {
            if (changed !== null) this.#loop.pace.changed(changed);
            this.#loop.pace.asked(op, this.#loop.now);
            wait = this.#loop.wait(0.5, 10, 1000, given);
          }
          return wait;
        }
        rest(seconds: number): void {
          this.#loop.now += seconds * 1000;
        }
      }

      test('a donor that gives less than twice of what changes gives four times as much, every ten seconds', () => {
        const giving = new Giving();
        expect(giving.seconds(9, 1900, 1000)).toBeCloseTo(first, 1);
        expect(giving.seconds(10, 1900, 1000)).toBeCloseTo(four, 1);
        expect(giving.seconds(10, 1900, 1000)).toBeCloseTo(sixteen, 1);
        expect(giving.seconds(100, 1900, 1000)).toBeCloseTo(3.2 / 9, 1);
        // However long that lasted, it is back where it was half a minute after the changes.
        expect(giving.seconds(40, 1900, 0)).toBeCloseTo(first, 1);
      });

      test('one that gives more than that goes on as it does', () => {
        const giving = new Giving();
        expect(giving.seconds(100, 2100, 1000)).toBeCloseTo(first, 1);
        // Nobody changes anything.
        expect(giving.seconds(100, 0, 0)).toBeCloseTo(first, 1);
      });

      test('when so little changes that a sixteenth would do it gives about a quarter', () => {
        const giving = new Giving();
        giving.seconds(9, 1000, 1000);
        expect(giving.seconds(10, 4000, 1000)).toBeCloseTo(four, 1);
        expect(giving.seconds(20, 15_900, 1000)).toBeCloseTo(four, 1);
        expect(giving.seconds(20, 16_100, 1000)).toBeCloseTo(first, 1);
        expect(giving.seconds(50, 16_100, 1000)).toBeCloseTo(first, 1);
      });

      test('without a checkpoint it is not known what changes: it goes on as it does for a minute', () => {
        const giving = new Giving();
        giving.seconds(11, 1000, 1000);
        expect(giving.seconds(59, 1000, null)).toBeCloseTo(four, 1);
        expect(giving.seconds(10, 1000, null)).toBeCloseTo(first, 1);
      });

      test('who comes back after a pause is given four times as much, once: nothing was given in the pause', () => {
        const giving = new Giving();
        giving.seconds(9, 10_000, 1000);
        giving.rest(15);
        expect(giving.seconds(1, 10_000, 1000, 2000)).toBeCloseTo(four, 1);
        // Neither was more given than had to be.
        const other = new Giving();
        other.seconds(9, 100_000, 1000);
        other.rest(2);
        expect(other.seconds(1, 100_000, 1000, 2000)).toBeCloseTo(four, 1);
      });

      test('what changed before anybody asked is no reason', () => {
        const giving = new Giving();
        giving.seconds(1, 1000, 0);
        giving.rest(60);
        expect(giving.seconds(1, 1000, 1_000_000)).toBeCloseTo(first, 1);
        expect(giving.seconds(30, 1000, 0)).toBeCloseTo(first, 1);
      });

      test('who asks again long after is given as little as at first', () => {
        const giving = new Giving();
        giving.seconds(30, 1000, 1000);
        giving.rest(21);
        expect(giving.seconds(1, 1000, 1000)).toBeCloseTo(first, 1);
      });
    });

    test('an answer ends when it has to be paid for longer than anybody should wait', () => {
      const loop = new Loop();
      loop.wait(0.5, 0.1);
      expect(loop.pace.isSpent(loop.now)).toBe(false);
      loop.pace.spend({ bytes: 1, records: 0, busyMs: 10 }, loop.now);
      expect(loop.pace.isSpent(loop.now)).toBe(true);
    });
  });
});
