/** The log that peers keep for a member that takes a checkpoint over (KeepLog): it is there when the transfer is done, however long that took. */
import { describe, expect, test } from 'vitest';
import { memberId, opNumber } from '../../lib/ids.ts';
import { members, started as startedToChange, writeAll } from './administrator.ts';
import type { Cluster } from './cluster.ts';
import { testMember } from './group.ts';
import type { Node } from './node.ts';
import { everyFive, started } from './settled_cluster.ts';
import type { TestClient } from './test_client.ts';

const three = memberId(3);

function write(client: TestClient, n: number): void {
  for (let i = 0; i < n; i++) client.write(`w${i}`);
}

/** Member 3 has lost touch, and takes a checkpoint over that is not there before `slowFetch` is taken away. */
function fetching(options: Parameters<typeof started>[0] = everyFive): { cluster: Cluster; client: TestClient; node: Node } {
  const { cluster, client } = started(options);
  for (const n of cluster.nodes) n.keepsSnapshots = true;
  const node = cluster.node(2);
  cluster.isolate(three);
  write(client, 23);
  cluster.heal();
  node.slowFetch = true;
  cluster.until(() => node.replica.handOver.fetching, 'a transfer');
  cluster.run(100);
  return { cluster, client, node };
}

const transfers = (node: Node): number => node.events.filter((e) => e.name === 'state-transfer').length;
const bases = (cluster: Cluster): number[] => cluster.nodes.slice(0, 2).map((n) => n.replica.log.base);

describe('the log behind a checkpoint that is being fetched', () => {
  test('is kept until the transfer is done and the log has come: there is no second transfer', () => {
    const { cluster, client, node } = fetching();
    write(client, 200);
    expect(bases(cluster)).toEqual([20, 20]);
    expect(cluster.node(0).disk.base).toBe(20);
    node.slowFetch = false;
    cluster.untilConverged();
    expect(transfers(node)).toBe(1);
    expect(node.application.executed[0]?.op).toBe(21);
    // Then it goes.
    cluster.run(5000);
    write(client, 10);
    cluster.untilConverged();
    expect(Math.min(...bases(cluster))).toBeGreaterThan(210);
  });

  test('is kept by a member that was lost sight of for a while, and not for one that stays away', () => {
    const { cluster, client, node } = fetching();
    cluster.isolate(three);
    cluster.run(3000);
    write(client, 20);
    expect(bases(cluster)).toEqual([20, 20]);
    cluster.run(6000);
    write(client, 20);
    expect(Math.min(...bases(cluster))).toBeGreaterThan(50);
    node.slowFetch = false;
    cluster.heal();
    cluster.untilConverged();
    expect(transfers(node)).toBe(2);
  });

  test('by no more entries than half of what the log may hold', () => {
    const { cluster, client, node } = fetching({ replica: { ...everyFive.replica, maxLogEntries: 100 } });
    write(client, 120);
    for (const base of bases(cluster)) {
      expect(base).toBeGreaterThan(20);
      expect(base).toBeGreaterThanOrEqual(145 - 50 - 10);
      expect(base).toBeLessThan(145 - 40);
    }
    node.slowFetch = false;
    cluster.untilConverged();
  });

  test('by no more bytes than half of what the log may hold', () => {
    const { cluster, client, node } = fetching({ replica: { ...everyFive.replica, maxLogBytes: 4 << 20, retainBytes: 0 } });
    for (let i = 0; i < 40; i++) client.write(Buffer.alloc(100_000, i));
    for (const n of cluster.nodes.slice(0, 2)) {
      expect(n.replica.log.bytes).toBeLessThan((2 << 20) + 600_000);
      expect(n.replica.log.bytes).toBeGreaterThan(1_400_000);
    }
    node.slowFetch = false;
    cluster.untilConverged();
  });

  test('not any more when the disk has hardly room for the log', () => {
    const { cluster, client, node } = fetching();
    write(client, 20);
    expect(bases(cluster)).toEqual([20, 20]);
    const two = cluster.node(1);
    two.replica.onLogCramped(true);
    cluster.run(50);
    expect([cluster.node(0).replica.log.base, two.replica.log.base, two.disk.base]).toEqual([20, 35, 35]);
    two.replica.onLogCramped(false);
    node.slowFetch = false;
    cluster.untilConverged();
  });

  test('not so that a client has to wait: as much goes into the log while a checkpoint is written as without it', () => {
    const until = (kept: boolean): number => {
      const { cluster, client, node } = fetching({ replica: { ...everyFive.replica, maxLogBytes: 4 << 20, retainBytes: 0 } });
      cluster.drop = (p) => !kept && p.message.type === 'keepLog';
      if (!kept) for (const n of cluster.nodes.slice(0, 2)) n.replica.keeping.onKeepLog(three, { type: 'keepLog', after: null });
      for (let i = 0; i < 16; i++) client.write(Buffer.alloc(100_000, i));
      const one = cluster.node(0);
      one.slowCheckpoint = true;
      let more = 0;
      for (; more < 60; more++) {
        client.write(Buffer.alloc(100_000, more));
        cluster.run(50);
        if (one.replica.room.isFull()) break;
      }
      one.slowCheckpoint = node.slowFetch = false;
      cluster.heal();
      cluster.untilConverged();
      return more;
    };
    const ordinary = until(false);
    expect(ordinary).toBeGreaterThan(20);
    expect(ordinary).toBeLessThan(60);
    expect(until(true)).toBe(ordinary);
  });

  test('goes also when nothing more is written', () => {
    const { cluster, client, node } = fetching();
    write(client, 100);
    expect(bases(cluster)).toEqual([20, 20]);
    node.slowFetch = false;
    cluster.untilConverged();
    cluster.run(3000);
    expect(Math.min(...bases(cluster))).toBeGreaterThan(100);
    expect(cluster.node(0).event('keeps-log-no-more')).toMatchObject({ member: three });
  });

  test('no more than the ordinary for who needs nothing old', () => {
    const { cluster, client, node } = fetching({ replica: { checkpointOps: 5, retainEntries: 10, retainBytes: 500_000 } });
    for (const n of cluster.nodes.slice(0, 2)) n.replica.keeping.onKeepLog(three, { type: 'keepLog', after: opNumber(10_000) });
    for (let i = 0; i < 20; i++) client.write(Buffer.alloc(100_000, i));
    // Those behind the last checkpoint but one stay in any case.
    expect(cluster.node(0).replica.log.bytes).toBeLessThan(1_100_000);
    node.slowFetch = false;
    cluster.untilConverged();
  });
});

describe('who asks for it', () => {
  test('a new member, in whose epoch the others are already', () => {
    const { cluster, client, admin } = startedToChange({ replica: { retainEntries: 0 } });
    writeAll(client, 'before', 30);
    for (const n of cluster.nodes) n.keepsSnapshots = true;
    const four = cluster.join(4);
    four.slowFetch = true;
    admin.change(members(1, 2, 3, testMember(4, 'observer')));
    cluster.until(() => four.replica.handOver.fetching, 'a transfer');
    writeAll(client, 'meanwhile', 100);
    four.slowFetch = false;
    cluster.untilConverged();
    expect(transfers(four)).toBe(1);
  });

  test('a replica in memory mode that has lost its log: the recovery brings the suffix', () => {
    const { cluster, client } = started({ durability: 'memory', ...everyFive });
    write(client, 23);
    for (const n of cluster.nodes) n.keepsSnapshots = true;
    const node = cluster.node(2);
    node.crash();
    node.disk.transferring = true;
    write(client, 20);
    node.start();
    node.slowFetch = true;
    cluster.until(() => node.replica.handOver.fetching, 'a transfer');
    cluster.run(100);
    write(client, 100);
    node.slowFetch = false;
    cluster.untilConverged();
    expect(transfers(node)).toBe(1);
  });

  test('nobody who is up to date, and who was behind says that he is no more', () => {
    const { cluster, client, node } = fetching();
    node.slowFetch = false;
    cluster.untilConverged();
    cluster.run(5000);
    expect(cluster.sentBy(three, 'keepLog').at(-1)?.message).toEqual({ type: 'keepLog', after: null });
    const from = cluster.sent.length;
    write(client, 50);
    cluster.run(10_000);
    expect(cluster.sent.slice(from).filter((p) => p.message.type === 'keepLog')).toEqual([]);
  });
});
