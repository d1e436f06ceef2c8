/** Running scenarios and seeds against a mutant, and what came of it. */
import { Violation } from '../../checkers/violation.ts';
import type { Profile } from '../profile.ts';
import { DEFAULT_SETTINGS, seedOptions } from '../run_seed.ts';
import { Unmet, type Breakage } from '../scenario.ts';
import { simulate, type SimulationOptions } from '../simulation.ts';
import { EXPECTATION, type Mutant, type NamedScenario } from './row.ts';

/** How something went wrong: the invariant, or EXPECTATION; and the words. */
export interface Failure {
  readonly what: string;
  readonly message: string;
}

/** Null: the scenario went well. */
export function runScenario(scenario: NamedScenario, broken: Breakage): Failure | null {
  try {
    scenario.run(broken);
    return null;
  } catch (error) {
    if (error instanceof Violation) return { what: error.invariant, message: error.message };
    if (error instanceof Unmet) return { what: EXPECTATION, message: error.message };
    // A fault of the scenario kills nothing.
    throw error;
  }
}

function optionsOf({ seeds }: Mutant, seed: number): SimulationOptions {
  const settings = {
    ...DEFAULT_SETTINGS, replicas: seeds.replicas ?? null, durability: seeds.durability ?? null, application: 'registers', fixedMembers: seeds.fixedMembers ?? true, ticks: 10_000, operations: 400,
  };
  const adjustProfile = (drawn: Profile): Profile => {
    const profile = { ...drawn, deposals: seeds.deposals ?? null };
    return seeds.adjustProfile?.(profile) ?? profile;
  };
  return { ...seedOptions(seed, settings), adjustProfile };
}

/** Null: the seed does not find the mutant. */
export function runSeedAgainst(mutant: Mutant, seed: number): Failure | null {
  const { violation } = simulate({ ...optionsOf(mutant, seed), ...mutant.breakage });
  return violation === null ? null : { what: violation.invariant, message: violation.message };
}

/** The same world without the mutant: it has to be sound, so that it is the mutant that was found. */
export function runSeedWithout(mutant: Mutant, seed: number): Failure | null {
  const { violation } = simulate(optionsOf(mutant, seed));
  return violation === null ? null : { what: violation.invariant, message: violation.message };
}
