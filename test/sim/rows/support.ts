/** What several rows' scenarios and worlds have in common. */
import type { Profile } from '../profile.ts';
import type { Scenario } from '../scenario.ts';

/** Checkpoints often, and the log behind them goes at once. */
export const SHORT_LOG = { checkpointOps: 5, retainEntries: 0, retainBytes: 0 } as const;

export function writes(s: Scenario, count: number): void {
  for (let n = 1; n <= count; n++) s.write(n % 6, n);
}

/** The primary of view 0 is cut off until the others have made a view of their own. */
export function viewOne(s: Scenario, backups: readonly number[]): void {
  s.isolate(0);
  s.until('a new view', () => backups.every((i) => s.status(i).view >= 1));
  s.converged(backups);
}

/** This client reaches these replicas only. */
export function reachesOnly(s: Scenario, client: number, replicas: readonly number[]): ReturnType<Scenario['hold']> {
  const { endpoint } = s.client(client);
  return s.hold((p) => p.from === endpoint && !replicas.includes(p.to));
}

/** A world in which views change all the time, and much of what is said about it is lost. */
export function restless(profile: Profile): Profile {
  return {
    ...profile,
    network: { ...profile.network, loss: 0.25, latencyMs: 1, jitterMs: 5 },
    faultIntervalMs: 150,
    faultDurationMs: 300,
    weights: [['crash', 6], ['isolate', 6], ['oneWay', 4], ['partition', 4], ['mute', 6]],
    replica: { ...profile.replica, viewChangeMs: 200, checkpointOps: 1000 },
  };
}

/** A world in which replicas live long, and are often cut off: what they have in memory goes with them from view to view. */
export function splitting(profile: Profile): Profile {
  return { ...restless(profile), network: { ...profile.network, loss: 0, latencyMs: 1, jitterMs: 2 }, faultDurationMs: 600, weights: [['isolate', 6], ['partition', 6], ['oneWay', 2]] };
}
