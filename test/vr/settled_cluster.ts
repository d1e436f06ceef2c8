import { Cluster } from './cluster.ts';
import { TestClient } from './test_client.ts';

/** A group with one client, all normal. */
export function started(options: ConstructorParameters<typeof Cluster>[0] = {}): { cluster: Cluster; client: TestClient } {
  const cluster = new Cluster(options);
  const client = new TestClient(cluster).register();
  cluster.untilConverged();
  return { cluster, client };
}
/** A checkpoint every five ops, and no log kept behind the last but one. */
export const everyFive = { replica: { checkpointOps: 5, retainEntries: 0 } };

/** What the replica has executed. */
export const bodies = (cluster: Cluster, index: number): string[] => cluster.node(index).application.executed.map((e) => e.body.toString());
