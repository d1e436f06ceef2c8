import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { Progress, quorumPoint } from '../../vr/quorum.ts';

describe('quorumPoint', () => {
  test('is the value that a quorum has reached', () => {
    expect(quorumPoint([5, 3, 9], 2)).toBe(5);
    expect(quorumPoint([5, 3, 9], 3)).toBe(3);
    expect(quorumPoint([7], 1)).toBe(7);
    expect(quorumPoint([4, 4, 4, 1, 1], 3)).toBe(4);
  });

  test('is 0 while fewer than a quorum have spoken', () => {
    expect(quorumPoint([], 1)).toBe(0);
    expect(quorumPoint([8], 2)).toBe(0);
  });

  test('at least a quorum has reached it, and no larger value has one', () => {
    fc.assert(fc.property(fc.array(fc.nat(50), { minLength: 1, maxLength: 9 }), fc.nat(8), (values, q) => {
      const quorum = 1 + (q % values.length);
      const point = quorumPoint(values, quorum);
      expect(values.filter((v) => v >= point).length).toBeGreaterThanOrEqual(quorum);
      expect(values.filter((v) => v > point).length).toBeLessThan(quorum);
    }));
  });

  test('does not reorder what it is given', () => {
    const values = [1, 3, 2];
    quorumPoint(values, 2);
    expect(values).toEqual([1, 3, 2]);
  });
});

describe('Progress', () => {
  const [two, three] = [memberId(2), memberId(3)];

  test('counts a member once, however often it speaks', () => {
    const p = new Progress();
    p.record(two, 4);
    p.record(two, 5);
    p.record(two, 6);
    expect(p.point(3, 9)).toBe(0);
    expect(p.point(2, 9)).toBe(6);
  });

  test('never falls: a late lower value changes nothing', () => {
    const p = new Progress();
    expect(p.record(two, 6)).toBe(true);
    expect(p.record(two, 5)).toBe(false);
    expect(p.record(two, 6)).toBe(false);
    expect(p.get(two)).toBe(6);
    expect(p.record(two, 7)).toBe(true);
  });

  test('0 is something a member may say first', () => {
    expect(new Progress().record(two, 0)).toBe(true);
  });

  test('forgets one member, or all', () => {
    const p = new Progress();
    p.record(two, 6);
    p.record(three, 7);
    p.forget(two);
    expect(p.get(two)).toBeUndefined();
    expect(p.point(2, 9)).toBe(7);
    p.clear();
    expect(p.point(2, 9)).toBe(0);
    expect(p.point(1, 9)).toBe(9);
  });

  test('the own value is one of the quorum, not more', () => {
    const p = new Progress();
    p.record(two, 3);
    p.record(three, 3);
    expect(p.point(2, 0)).toBe(3);
    expect(p.point(2, 8)).toBe(3);
    expect(p.point(3, 2)).toBe(2);
  });
});
