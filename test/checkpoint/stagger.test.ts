import { expect, test } from 'vitest';
import { Stagger } from '../../checkpoint/stagger.ts';

test('three replicas that take a checkpoint at the same time begin to write it one after the other', () => {
  const begin = (part: number): number => {
    const stagger = new Stagger(part);
    stagger.delay(1000, 0);
    return stagger.delay(1100, 20);
  };
  expect([begin(0), begin(1 / 3), begin(2 / 3)]).toEqual([0, 20, 40]);
});

test('the first is written at once, and none is waited for long', () => {
  const stagger = new Stagger(2 / 3);
  expect(stagger.delay(50_000, 0)).toBe(0);
  expect(stagger.delay(60_000, 20)).toBe(250);
});

test('where one takes most of the time to the next, there is no room to wait', () => {
  const stagger = new Stagger(2 / 3);
  stagger.delay(0, 0);
  expect(stagger.delay(100, 60)).toBe(0);
});
