import { describe, expect, it } from 'vitest';
import { Prng } from '../../lib/prng.ts';
import { EventQueue } from './event_queue.ts';

describe('the event queue', () => {
  it('runs actions by time, and those of one millisecond as they were scheduled', () => {
    const random = new Prng(1);
    const queue = new EventQueue();
    const ran: [number, number][] = [];
    for (let i = 0; i < 2000; i++) {
      const at = random.below(100);
      queue.at(at, () => ran.push([at, i]));
    }
    while (queue.step()) expect(queue.now).toBe(ran.at(-1)?.[0]);
    expect(ran).toHaveLength(2000);
    expect(ran).toEqual([...ran].sort(([a, i], [b, j]) => a - b || i - j));
  });

  it('runs what is scheduled meanwhile, and stops at the time it was asked for', () => {
    const queue = new EventQueue();
    const ran: number[] = [];
    const again = (): void => {
      ran.push(queue.now);
      queue.after(10, again);
    };
    queue.after(10, again);
    queue.runTo(35);
    expect(ran).toEqual([10, 20, 30]);
    expect(queue.now).toBe(35);
    expect(queue.next).toBe(40);
  });

  it('notices when answers answer answers without time passing', () => {
    const queue = new EventQueue();
    const storm = (): void => queue.after(0, storm);
    queue.after(1, storm);
    expect(() => queue.runTo(2)).toThrow(/no storms/);
  });
});
