/** What a replica says of itself, and what to do. */
import { describe, expect, test } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { healthOf, type Circumstances } from '../../server/health.ts';
import type { Health } from '../../server/running_replica.ts';
import type { Cluster } from '../vr/cluster.ts';
import { started } from '../vr/settled_cluster.ts';

const AT: Circumstances = { data: '/srv/data', address: '10.0.0.1:7101', waitingForRoom: null, refusals: new Map() };

function health(cluster: Cluster, index: number): Health {
  return healthOf(cluster.node(index).replica.status(), AT);
}

describe('the primary', () => {
  test('is not heard of when it still speaks, but has given up leading', () => {
    const { cluster } = started({ members: 5 });
    expect(health(cluster, 1)).toEqual({ ok: true });
    for (const index of [2, 3, 4]) cluster.node(index).crash();
    cluster.run(10_000);
    expect([cluster.node(0).replica.phase, cluster.node(1).replica.phase]).toEqual(['view-change', 'normal']);
    expect(health(cluster, 1)).toEqual({ ok: false, reason: expect.stringMatching(/^nothing was heard of the primary, member 1, for \d+ s$/) as string });
  });

  test('nor when it recovers', () => {
    const { cluster, client } = started({ durability: 'memory' });
    client.write('x');
    cluster.node(2).crash();
    cluster.node(0).restart();
    cluster.run(10_000);
    expect([cluster.node(0).replica.phase, cluster.node(1).replica.phase]).toEqual(['recovering', 'normal']);
    expect(health(cluster, 1).ok).toBe(false);
  });

  test('of a group with nothing to do is heard of all the time', () => {
    const { cluster } = started();
    cluster.run(10_000);
    for (const index of [0, 1, 2]) expect(health(cluster, index)).toEqual({ ok: true });
  });
});

test('a replica that lacks nothing but the log of a view that works waits for that, and not for an election', () => {
  const { cluster, client } = started({ members: 5 });
  cluster.isolate(memberId(5));
  for (let i = 0; i < 50; i++) client.write(`w${i}`);
  cluster.node(0).crash();
  cluster.run(5000);
  // It hears of the new view, and is not given its log.
  cluster.drop = (p) => p.to === 5 && p.message.type === 'newState';
  cluster.run(1000);
  expect(health(cluster, 4)).toEqual({ ok: false, reason: 'the log is being fetched from the primary; wait' });
  // The primary dies, and nobody else can lead.
  for (const index of [1, 2]) cluster.node(index).crash();
  cluster.run(5000);
  expect(health(cluster, 4)).toEqual({ ok: false, reason: 'a new primary is being elected; this needs a majority of the replicas' });
  for (const index of [1, 2]) cluster.node(index).start();
  cluster.heal();
  cluster.run(5000);
  expect(health(cluster, 4)).toEqual({ ok: true });
});

describe('a group of which too many recover at once', () => {
  test('with durability memory: what it acknowledged is gone', () => {
    const { cluster, client } = started({ durability: 'memory' });
    client.write('lost');
    for (const n of cluster.nodes) n.restart();
    cluster.run(10_000);
    expect(health(cluster, 0)).toEqual({ ok: false, reason: expect.stringContaining('vrfs revive --data /srv/data') as string });
  });

  test('with durability disk: nothing is given up, and what to put back', () => {
    const { cluster, client } = started();
    client.write('kept');
    for (const index of [1, 2]) {
      const n = cluster.node(index);
      n.crash();
      n.disk.transferring = true;
      n.start();
    }
    cluster.run(10_000);
    for (const index of [1, 2]) {
      const { reason } = health(cluster, index) as { reason: string };
      expect(reason).toContain('put a copy of the records of that one in the place of /srv/data/records');
      expect(reason).not.toMatch(/memory|gone|revive/);
    }
  });
});
