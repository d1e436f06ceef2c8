/** What a witness is worth (PROTOCOL row 21), seen from outside. */
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';

/**
 * It is a witness on which nobody counts until more voters have told of what its log lacks, or that has fallen so far behind that
 * nobody's log goes back to where its own ends.
 */
export function doesNotCount(cluster: Cluster, host: Host): boolean {
  if (cluster.membership.role(host.id) !== 'witness') return false;
  const { base, head } = logOf(host);
  if (base > host.superblockDisk.current.heldByAll) return true;
  const logs = cluster.electors.filter((h) => !h.lost).map(logOf);
  const latest = Math.max(...logs.map((log) => log.base));
  return head < latest && !logs.some((log) => log.base <= head && log.head >= latest);
}

/** Where the log begins and ends, at least as far as it would be found after a crash. */
function logOf(host: Host): { readonly base: number; readonly head: number } {
  return host.running ? host.replica.log : host.journalDisk;
}
