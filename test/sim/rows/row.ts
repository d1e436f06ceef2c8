/**
 * A row of PROTOCOL section 3: scenarios in which the paper's protocol goes wrong and this one must not, and mutants,
 * each of which takes one clause of the row's fix out. A mutant gets in from outside, around the replica or its ports,
 * so that the product has no switches. Each has a scenario that kills it, and random seeds that do.
 */
import type { Durability } from '../../../vr/configuration.ts';
import type { ReplicaOptions } from '../../../vr/replica_types.ts';
import type { BootState } from '../../../vr/replica_types.ts';
import type { Ports } from '../../../vr/ports.ts';
import { Replica } from '../../../vr/replica.ts';
import type { DeposalProfile } from '../deposals.ts';
import type { ReplicaConstructor } from '../host.ts';
import type { Profile } from '../profile.ts';
import type { Breakage } from '../scenario.ts';

export type { Breakage } from '../scenario.ts';

export interface NamedScenario {
  readonly name: string;
  /** Throws Unmet or Violation when something is wrong. */
  readonly run: (broken: Breakage) => void;
}

/** What the scenario itself demands was not met: no checker found anything. */
export const EXPECTATION = 'expectation';

/** The world in which random seeds look for a mutant: the simulator's own, but for what is said here. */
export interface Seeds {
  /** Default: drawn from the seed. */
  readonly replicas?: number;
  readonly durability?: Durability;
  /** Default true. */
  readonly fixedMembers?: boolean;
  /** Primaries that are cut off beside a reader. Default: none, whatever the seed has drawn. */
  readonly deposals?: DeposalProfile;
  readonly adjustProfile?: (profile: Profile) => Profile;
}

export interface Mutant {
  readonly name: string;
  readonly breakage: Breakage;
  readonly scenario: NamedScenario;
  /** What the scenario breaks: invariants, or EXPECTATION. */
  readonly killedBy: readonly string[];
  readonly seeds: Seeds;
  /** Invariants: a seed that finds one of them has killed the mutant. */
  readonly foundBy: readonly string[];
}

export interface Row {
  /** Null: no row, but something else that must not be possible. */
  readonly row: number | null;
  readonly title: string;
  readonly scenarios: readonly NamedScenario[];
  readonly mutants: readonly Mutant[];
}

/** A later view lost what was acknowledged, or two replicas have executed different things. */
export const LOSS: readonly string[] = ['committed ops survive', 'one chain', 'acknowledged ops are executed', 'complete execution', 'a replica stops itself', 'real-time order', 'determinism'];
export const STALE: readonly string[] = ['linearizable reads', 'reads see what their client saw'];
export const STALL: readonly string[] = ['liveness'];

/** A replica some of whose parts do something else. */
export function altered(change: (replica: Replica, boot: BootState) => void): ReplicaConstructor {
  return class extends Replica {
    constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
      super(ports, options, boot);
      change(this, boot);
    }
  };
}

/** Replaces a getter of one object; `original` is what it gives otherwise. */
export function alterGetter<T extends object, K extends keyof T & string>(object: T, name: K, value: (original: () => T[K]) => T[K]): void {
  const original = (): T[K] => Reflect.get(Object.getPrototypeOf(object) as object, name, object) as T[K];
  Object.defineProperty(object, name, { get: () => value(original) });
}
