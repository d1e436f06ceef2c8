import type { Durability } from '../../vr/configuration.ts';
import type { FaultKind } from './nemesis.ts';

export interface RunSettings {
  readonly seconds: number;
  readonly faults: readonly FaultKind[];
  /** The history; absolute. The faults go into a file beside it. */
  readonly out: string;
  readonly replicas: number;
  /** How many of them are witnesses. */
  readonly witnesses: number;
  readonly durability: Durability;
  readonly seed: number;
  /** Loops of each client program. */
  readonly loops: number;
  /** Names the network namespaces. */
  readonly owner: number;
  /** Data and logs of the replicas. */
  readonly directory: string;
}
