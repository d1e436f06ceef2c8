/** Groups whose witnesses have been away. */
import { started, writeAll } from './administrator.ts';
import type { ClusterOptions } from './cluster.ts';
import type { Node } from './node.ts';

/** All voters have checkpoints behind which nothing of the log is left; the witnesses (the last of `n`) hear and say nothing meanwhile. */
export function witnessesAway(n: { readonly voters: number; readonly witnesses: number }, options: ClusterOptions = {}): ReturnType<typeof started> & { readonly witnesses: readonly Node[] } {
  const group = started({ members: n.voters + n.witnesses, witnesses: n.witnesses, ...options });
  group.cluster.untilConverged();
  const witnesses = group.cluster.nodes.slice(n.voters);
  group.cluster.isolate(...witnesses.map((w) => w.id));
  writeAll(group.client, 'away', 30);
  group.cluster.run(200);
  return { ...group, witnesses };
}
