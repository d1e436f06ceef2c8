/** A bounded sample of seeds for every change; `npm run simulate -- --seeds A..B` runs as many as one has time for. */
import { describe, expect, it } from 'vitest';
import type { Durability } from '../../vr/configuration.ts';
import { Coverage } from './coverage.ts';
import { DEFAULT_SETTINGS, runSeed, type RunSettings } from './run_seed.ts';

function sample(first: number, last: number, settings: RunSettings): Coverage {
  const total = new Coverage();
  for (let seed = first; seed <= last; seed++) {
    const { result, command } = runSeed(seed, settings);
    if (result.violation !== null) throw new Error(`seed ${seed}: ${result.violation.message}\nreplay it with ${command}`, { cause: result.violation });
    total.add(result.coverage);
  }
  return total;
}

const SETTINGS: RunSettings = { ...DEFAULT_SETTINGS, operations: 300 };

describe('a sample of seeds', () => {
  const cases: readonly (readonly [number, Durability])[] = [[3, 'disk'], [3, 'memory'], [5, 'disk'], [5, 'memory']];
  it.each(cases)('%i replicas, %s', (replicas, durability) => {
    const from = replicas * 1000 + (durability === 'disk' ? 0 : 500);
    const coverage = sample(from, from + 14, { ...SETTINGS, replicas, durability });
    // The sample is worth something only if it goes through what it is there for.
    for (const what of ['event view-change', 'crashes', 'checkpoints', 'drops', 'duplicates', 'writes answered', 'linearizable reads answered', 'redirects', 'sessions', 'deposals', 'primaries that stepped down', 'client timedOut', 'client outcomeUnknown', 'promises that nothing happened', 'told of a connection: view-change', ...(durability === 'disk' ? ['reads beside a deposed primary'] : [])]) {
      expect(coverage.get(what), what).toBeGreaterThan(0);
    }
  });

  it('with checkpoints that are asked for: replicas have equal roots there too', () => {
    const coverage = sample(1, 15, { ...SETTINGS, application: 'fs-checkpoints', fixedMembers: true });
    for (const what of ['checkpoints', 'crashes', 'event view-change', 'checkpoint transfers']) expect(coverage.get(what), what).toBeGreaterThan(0);
  });

  it('gives the same run for the same seed', () => {
    for (const seed of [11, 12, 16]) {
      const one: string[] = [];
      const two: string[] = [];
      const a = runSeed(seed, { ...SETTINGS, ticks: 4000 }, (line) => one.push(line));
      const b = runSeed(seed, { ...SETTINGS, ticks: 4000 }, (line) => two.push(line));
      expect(a.result.fingerprint).toBe(b.result.fingerprint);
      expect(one.length).toBeGreaterThan(100);
      expect(one).toEqual(two);
    }
  });

  it('gives another run for another seed', () => {
    const fingerprints = [1, 2, 3, 4].map((seed) => runSeed(seed, { ...SETTINGS, ticks: 1000 }).result.fingerprint);
    expect(new Set(fingerprints).size).toBe(4);
  });
});
