/** What a witness is worth (PROTOCOL row 21), seen from outside. */
import type { Epoch } from '../../lib/ids.ts';
import { sameElectors } from '../../vr/configuration.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';

/**
 * It is a witness on which nobody counts until more voters have told of what its log lacks, or on which nobody would count in an epoch
 * that has begun without it, or that has fallen so far behind that nobody's log goes back to where its own ends.
 * @param givers whose logs are there to fill its own
 */
export function doesNotCount(cluster: Cluster, host: Host, givers: readonly Host[] = cluster.electors): boolean {
  if (cluster.membership.role(host.id) !== 'witness') return false;
  const { base, head } = logOf(host);
  const { heldByAll, configuration } = host.superblockDisk.current;
  if (base > heldByAll) return true;
  const { present } = cluster.membership;
  if (configuration.epoch < present.epoch && !sameElectors(configuration, present) && base > heldAtStart(cluster, present.epoch)) return true;
  const logs = givers.filter((h) => !h.lost).map(logOf);
  const latest = Math.max(...logs.map((log) => log.base));
  return head < latest && !logs.some((log) => log.base <= head && log.head >= latest);
}

/** Up to where every voter of the epoch held everything when it was asked for; 0 while that is on nobody's disk. */
function heldAtStart(cluster: Cluster, epoch: Epoch): number {
  const member = cluster.hosts.find((h) => h.superblockDisk.current.configuration.epoch === epoch);
  return member?.superblockDisk.current.epochStart?.held ?? 0;
}

/** Where the log begins and ends, at least as far as it would be found after a crash. */
function logOf(host: Host): { readonly base: number; readonly head: number } {
  return host.running ? host.replica.log : host.journalDisk;
}
