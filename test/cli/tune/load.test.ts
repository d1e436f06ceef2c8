import { describe, expect, it } from 'vitest';
import { ClosedLoop, type Workload } from '../../../cli/tune/load.ts';
import type { Completion } from '../../../client/completion.ts';
import { TimedOut } from '../../../client/errors.ts';
import { opNumber } from '../../../lib/ids.ts';

const OK = Buffer.from([0]);

/** Answers when the test says so. */
class Target {
  readonly waiting: { readonly body: Buffer; readonly read: boolean; readonly to: Completion }[] = [];
  submitEncoded = (body: Buffer, to: Completion): void => { this.waiting.push({ body, read: false, to }); };
  queryEncoded = (body: Buffer, to: Completion): void => { this.waiting.push({ body, read: true, to }); };
  answer(result = OK): void {
    const next = this.waiting.shift();
    if (next === undefined) throw new Error('nothing is under way');
    next.to.completed(result, opNumber(1));
  }
  get numbers(): number[] {
    return this.waiting.map((w) => w.body.readUInt32BE(0));
  }
}

const NUMBERS: Workload = {
  next: (n) => {
    const body = Buffer.alloc(4);
    body.writeUInt32BE(n);
    return { write: n % 2 === 0, body };
  },
};

describe('a closed loop', () => {
  it('keeps so many operations under way, writes and reads, and begins the next when one ends', () => {
    const target = new Target();
    const load = new ClosedLoop(target, NUMBERS, 3, 10);
    load.start();
    expect(target.numbers).toEqual([10, 11, 12]);
    expect(target.waiting.map((w) => w.read)).toEqual([false, true, false]);
    target.answer();
    expect(target.numbers).toEqual([11, 12, 13]);
    expect(load.next).toBe(14);
  });

  it('measures what ends in the window, and nothing else', async () => {
    const target = new Target();
    const load = new ClosedLoop(target, NUMBERS, 2, 0);
    load.start();
    target.answer();
    let close: () => void = () => undefined;
    const measured = load.measure(new Promise<void>((resolve) => { close = resolve; }));
    for (let i = 0; i < 5; i++) target.answer();
    close();
    const result = await measured;
    target.answer();
    expect(result.operations).toBe(5);
    expect(result.perSecond).toBeGreaterThan(0);
    expect(result.p50).toBeLessThanOrEqual(result.p99);
    expect(result.p999).toBeLessThanOrEqual(result.max);
  });

  it('comes to its end', async () => {
    const target = new Target();
    const load = new ClosedLoop(target, NUMBERS, 8, 0, 3);
    load.start();
    expect(target.numbers).toEqual([0, 1, 2]);
    const idle = load.idle();
    for (let i = 0; i < 3; i++) target.answer();
    await idle;
    expect(target.waiting).toEqual([]);
    await new ClosedLoop(target, NUMBERS, 8, 5, 5).idle();
  });

  it('begins nothing any more when it is stopped, and waits for what is under way', async () => {
    const target = new Target();
    const load = new ClosedLoop(target, NUMBERS, 2, 0);
    load.start();
    const stopped = load.stop();
    target.answer();
    expect(target.numbers).toEqual([1]);
    target.answer();
    await stopped;
  });

  it('that is refused something tells everybody who waits', async () => {
    const target = new Target();
    const load = new ClosedLoop(target, NUMBERS, 2, 0);
    load.start();
    const waiting = load.during(new Promise<never>(() => undefined));
    target.answer(Buffer.from([17, 0]));
    await expect(waiting).rejects.toThrow('an operation of the load was refused: result 1100');
    await expect(load.measure(new Promise<never>(() => undefined))).rejects.toThrow('was refused');
  });

  it('that loses its connection tells everybody who waits', async () => {
    const target = new Target();
    const load = new ClosedLoop(target, NUMBERS, 1, 0);
    load.start();
    target.waiting[0]?.to.failed(new TimedOut('gone'));
    await expect(load.stop()).rejects.toThrow('gone');
  });
});
