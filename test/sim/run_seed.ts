/** From a seed number to a run: what the command line leaves open is drawn from the seed. */
import { assert } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import type { Durability } from '../../vr/configuration.ts';
import { Replica } from '../../vr/replica.ts';
import type { Application } from './application.ts';
import { fileSystem, fileSystemWithCheckpoints } from './file_system.ts';
import { registers } from './registers.ts';
import { simulate, type SimulationOptions, type SimulationResult } from './simulation.ts';

export const applications: Readonly<Record<string, Application>> = { fs: fileSystem, 'fs-checkpoints': fileSystemWithCheckpoints, registers };

export interface RunSettings {
  /** Null: drawn from the seed. */
  readonly replicas: number | null;
  readonly durability: Durability | null;
  readonly application: string;
  readonly fixedMembers: boolean;
  readonly ticks: number;
  readonly operations: number;
}

export const DEFAULT_SETTINGS: RunSettings = { replicas: null, durability: null, application: 'fs', fixedMembers: false, ticks: 20_000, operations: 600 };

export function seedOptions(seed: number, settings: RunSettings): SimulationOptions {
  const random = new Prng(seed ^ 0x5eed);
  const replicas = settings.replicas ?? (random.chance(0.7) ? 3 : 5);
  const durability = settings.durability ?? (random.chance(0.65) ? 'disk' : 'memory');
  const application = applications[settings.application];
  assert(application !== undefined, `no application '${settings.application}'`);
  return { seed, replicas, durability, ticks: settings.ticks, operations: settings.operations, fixedMembers: settings.fixedMembers, application, Replica };
}

export function runSeed(seed: number, settings: RunSettings, print?: (line: string) => void): { result: SimulationResult; command: string } {
  const options = seedOptions(seed, settings);
  const command = `npm run simulate -- --seed ${seed} --replicas ${options.replicas} --durability ${options.durability} --application ${settings.application} --members ${settings.fixedMembers ? 'fixed' : 'changing'} --ticks ${options.ticks} --ops ${options.operations} --trace`;
  return { result: simulate({ ...options, print }), command };
}

/** What a run came to, in a shape that passes between threads. */
export interface SeedOutcome {
  readonly seed: number;
  readonly ticks: number;
  readonly fingerprint: number;
  /** Null: everything held. Else what did not, and where. */
  readonly failure: string | null;
  readonly command: string;
  readonly counts: readonly (readonly [string, number])[];
}

export function seedOutcome(seed: number, settings: RunSettings, print?: (line: string) => void): SeedOutcome {
  const { result, command } = runSeed(seed, settings, print);
  const { violation, ticks, fingerprint, coverage } = result;
  const failure = violation === null ? null : `${violation.message}\n${violation.stack ?? ''}`;
  return { seed, ticks, fingerprint, failure, command, counts: [...coverage.counts] };
}
