import { describe, expect, it } from 'vitest';
import { ASKED_AT_ONCE, askedAhead } from '../../cli/asked_ahead.ts';

describe('what is asked ahead', () => {
  it('is given in order, whatever is answered first, while the next are under way', async () => {
    const asked: number[] = [];
    const answers: ((n: number) => void)[] = [];
    const next = askedAhead(Array.from({ length: ASKED_AT_ONCE + 2 }, (_, i) => i), (n) => {
      asked.push(n);
      return new Promise<number>((resolve) => { answers[n] = resolve; });
    });
    const first = next();
    expect(asked).toHaveLength(ASKED_AT_ONCE);
    answers[1]?.(11);
    answers[0]?.(10);
    expect(await first).toBe(10);
    expect(asked).toHaveLength(ASKED_AT_ONCE);
    expect(await next()).toBe(11);
    expect(asked).toHaveLength(ASKED_AT_ONCE + 1);
  });

  it('fails in its turn', async () => {
    const next = askedAhead(['a', 'b', 'c'], (name) => (name === 'b' ? Promise.reject(new Error('refused')) : Promise.resolve(name)));
    expect(await next()).toBe('a');
    // The refusal is there already, and waits to be looked at.
    await new Promise((resolve) => { setImmediate(resolve); });
    await expect(next()).rejects.toThrow('refused');
    expect(await next()).toBe('c');
  });

  it('may be left where it is', async () => {
    const next = askedAhead(['a', 'b'], (name) => (name === 'b' ? Promise.reject(new Error('never looked at')) : Promise.resolve(name)));
    expect(await next()).toBe('a');
    await new Promise((resolve) => { setImmediate(resolve); });
  });
});
