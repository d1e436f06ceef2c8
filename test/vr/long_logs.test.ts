/**
 * Votes and StartViews of logs that are longer than what one message may name: after a power loss all that is known to be committed is the
 * last checkpoint, of a witness the oldest one that any voter may still need.
 */
import { describe, expect, test } from 'vitest';
import type { LogClaim } from '../../vr/messages.ts';
import { started, writeAll } from './administrator.ts';
import type { Cluster } from './cluster.ts';
import type { Node } from './node.ts';
import { bodies } from './settled_cluster.ts';

const MOST = 4;
const few = { checkpointOps: 1000, claimHeaders: MOST };

function claims(cluster: Cluster): LogClaim[] {
  return cluster.sent.flatMap(({ message: m }) => (m.type === 'doViewChange' || m.type === 'startView' ? [m.claim] : []));
}
const longest = (cluster: Cluster): number => Math.max(...claims(cluster).map((c) => c.headers.length));
const labels = (label: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${label}-${i}`);

describe('a log that is longer than what a vote may name', () => {
  test('is there after a power loss of the whole group', () => {
    const { cluster, client } = started({ replica: few });
    writeAll(client, 'w', 30);
    cluster.untilConverged();
    for (const node of cluster.nodes) node.crash();
    for (const node of cluster.nodes) node.start();
    cluster.untilConverged();
    client.write('after');
    cluster.untilConverged();
    for (const i of [0, 1, 2]) expect(bodies(cluster, i)).toEqual([...labels('w', 30), 'after']);
    expect(longest(cluster)).toBe(MOST);
  });

  test('is a witness\'s too, which keeps it for a voter that is gone', () => {
    const { cluster, client } = started({ members: 3, witnesses: 1, replica: { ...few, checkpointOps: 10 } });
    cluster.untilConverged();
    const [one, two, three] = cluster.nodes as [Node, Node, Node];
    two.crash();
    writeAll(client, 'w', 45);
    cluster.run(2500);
    for (const node of [one, three]) node.restart();
    cluster.until(() => three.replica.log.base === 0 && three.replica.log.head > 40, 'the whole log of the witness');
    client.write('after');
    expect(longest(cluster)).toBe(MOST);
    one.crash();
    two.start();
    client.write('with member 2 and the witness');
    expect(bodies(cluster, 1)).toEqual([...labels('w', 45), 'after', 'with member 2 and the witness']);
  });

  test('is taken over by who is elected with a log that ends before what the votes name', () => {
    const { cluster, client } = started({ replica: few });
    cluster.untilConverged();
    const [one, two, three] = cluster.nodes as [Node, Node, Node];
    cluster.isolate(two.id);
    writeAll(client, 'w', 20);
    one.crash();
    three.restart();
    cluster.heal();
    cluster.until(() => cluster.leader?.id === two.id, 'member 2 leads');
    client.write('after');
    expect(bodies(cluster, 1)).toEqual([...labels('w', 20), 'after']);
    expect(longest(cluster)).toBe(MOST);
  });

  // Ends before what the vote names, and within it.
  test.each([6, 12])('and by one whose own log differs before that, with %i entries that were never committed', (uncommitted) => {
    const { cluster, client } = started({ replica: few });
    cluster.untilConverged();
    const [one, two, three] = cluster.nodes as [Node, Node, Node];
    cluster.isolate(one.id);
    for (let i = 0; i < uncommitted; i++) client.post(one, `never-${i}`, i);
    cluster.until(() => cluster.leader?.id === two.id, 'member 2 leads view 1');
    writeAll(client, 'w', 10);
    two.crash();
    three.restart();
    cluster.settle();
    three.replica.viewChange.leaveFor(3);
    cluster.heal();
    cluster.until(() => cluster.leader?.replica.view === 3, 'member 1 leads view 3');
    client.write('after');
    expect(one.event('elected')).toMatchObject({ winner: 3 });
    expect(bodies(cluster, 0)).toEqual([...labels('w', 10), 'after']);
    expect(longest(cluster)).toBe(MOST);
  });
});
