/**
 * Which systems are up at the same time. All at once would be simplest to compare, but a group that is idle also takes CPU (heart-beats, leases), and on a machine
 * of two cores that of several groups would be taken from the one that is measured.
 */
export const SYSTEMS = ['etcd', 'zookeeper', 'vrfs', 'vrfs-memory', 'vrfs-5', 'vrfs-no-checkpoints', 'probe', 'probe-memory'] as const;
export type SystemName = (typeof SYSTEMS)[number];

export interface Pool {
  readonly name: string;
  readonly systems: readonly SystemName[];
}

export const POOLS = [
  { name: 'peers', systems: ['etcd', 'zookeeper', 'vrfs', 'probe'] },
  { name: 'memory', systems: ['vrfs-memory', 'probe-memory'] },
  { name: 'checkpoints', systems: ['vrfs', 'vrfs-no-checkpoints'] },
  { name: 'replicas', systems: ['vrfs', 'vrfs-5'] },
] as const satisfies readonly Pool[];
export type PoolName = (typeof POOLS)[number]['name'];

/** Of these systems only; a pool of which nothing but what is measured elsewhere would be left is not there. */
export function poolsOf(systems: readonly SystemName[]): Pool[] {
  const seen = new Set<SystemName>();
  return POOLS.flatMap((pool): Pool[] => {
    const own = pool.systems.filter((s: SystemName) => systems.includes(s));
    if (own.every((s) => seen.has(s))) return [];
    for (const s of own) seen.add(s);
    return [{ name: pool.name, systems: own }];
  });
}
