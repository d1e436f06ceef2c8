/** The simulator has to find each deliberate breakage within a bounded number of seeds, and finds nothing without it. */
import { describe, expect, it } from 'vitest';
import { MUTANTS, type Mutant } from './mutants.ts';
import { registers } from './registers.ts';
import { DEFAULT_SETTINGS, seedOptions } from './run_seed.ts';
import { simulate, type SimulationOptions } from './simulation.ts';

const SEEDS = 400;

function optionsOf(mutant: Mutant, seed: number): SimulationOptions {
  const settings = { ...DEFAULT_SETTINGS, replicas: mutant.replicas, durability: mutant.durability, application: 'registers', ticks: 10_000, operations: 400 };
  return { ...seedOptions(seed, settings), application: registers };
}

describe('mutants', () => {
  it.each(MUTANTS.map((m) => [m.name, m] as const))('%s', { timeout: 300_000 }, (_name, mutant) => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { violation } = simulate({ ...optionsOf(mutant, seed), ...mutant.options });
      if (violation === null) continue;
      expect(mutant.foundBy, violation.message).toContain(violation.invariant);
      // It is the breakage that was found, not something else: the same world without it is sound.
      const { adjustProfile } = mutant.options;
      expect(simulate({ ...optionsOf(mutant, seed), adjustProfile }).violation).toBeNull();
      return;
    }
    expect.fail(`not found in ${SEEDS} seeds`);
  });
});
