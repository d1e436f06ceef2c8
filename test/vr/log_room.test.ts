import { describe, expect, test } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import type { Node } from './node.ts';
import { bodies, started } from './settled_cluster.ts';

describe('a disk with hardly room for the log', () => {
  test('of a backup: it takes nothing more, the others go on; with room again it takes what it lacks', () => {
    const { cluster, client } = started();
    const two = cluster.node(2);
    client.write('before');
    cluster.untilConverged();
    two.replica.onLogCramped(true);
    const head = two.replica.log.head;
    for (let i = 0; i < 20; i++) client.write(`during${i}`);
    cluster.run(2_000);
    expect(two.replica.log.head).toBe(head);
    expect(two.replica.status()).toMatchObject({ cramped: true, status: 'normal', view: 0 });
    expect(cluster.sentBy(memberId(3), 'getState')).toHaveLength(0);
    two.replica.onLogCramped(false);
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(bodies(cluster, 0));
    expect(bodies(cluster, 2)).toHaveLength(21);
  });

  test('of the primary: clients are told to come again and why, and another leads soon', () => {
    const { cluster, client } = started();
    cluster.node(0).replica.onLogCramped(true);
    const seq = client.post(cluster.node(0), 'x');
    cluster.run(50);
    expect(client.replies.at(-1)).toMatchObject({ type: 'reject', code: 'busy', reason: 'the primary\'s disk is full', seq });
    cluster.until(() => (cluster.leader?.replica.view ?? 0) > 0, 'another primary', 10_000);
    expect(cluster.node(0).event('yields-for-room')).toBeDefined();
    client.send(cluster.untilServing(), 0, seq, 'x');
    cluster.until(() => client.replyTo(0, seq) !== undefined, 'it is done there');
    expect(bodies(cluster, 1)).toEqual(['x']);
    cluster.node(0).replica.onLogCramped(false);
    cluster.untilConverged();
    expect(bodies(cluster, 0)).toEqual(['x']);
  });

  test('of all: nothing is done and nothing lost, views change seldom, and all goes on with room', () => {
    const { cluster, client } = started();
    client.write('kept');
    for (const n of cluster.nodes) n.replica.onLogCramped(true);
    client.post(cluster.node(0), 'x');
    cluster.run(60_000);
    // Each gives its place away at most every half minute.
    expect(Math.max(...cluster.nodes.map((n) => n.replica.view))).toBeLessThanOrEqual(6);
    for (const n of cluster.nodes) n.replica.onLogCramped(false);
    client.write('later', 1);
    cluster.untilConverged();
    for (let i = 0; i < 3; i++) expect(bodies(cluster, i)).toEqual(['kept', 'later']);
  });

  test('reads are answered all the same', () => {
    const { cluster, client } = started();
    client.write('w');
    for (const n of cluster.nodes) n.replica.onLogCramped(true);
    client.read(cluster.node(0), 7, 'r');
    cluster.until(() => client.replies.some((m) => m.type === 'readReply' && m.id === 7), 'an answer');
  });
});

describe('a checkpoint that is not written for long', () => {
  test('at a backup: its log ends there, that of the others goes on, and it catches up', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, maxLogEntries: 20, retainEntries: 0 } });
    const two = cluster.node(2);
    two.slowCheckpoint = true;
    for (let i = 0; i < 100; i++) client.write(`w${i}`);
    expect(two.replica.log.head - two.replica.persistence.superblock.checkpoint.op).toBeLessThanOrEqual(20 + 5);
    expect(two.replica.persistence.superblock.checkpoint.op).toBeLessThanOrEqual(5);
    two.slowCheckpoint = false;
    cluster.untilConverged();
    expect(bodies(cluster, 0)).toHaveLength(100);
    expect(two.replica.executed).toBe(cluster.node(0).replica.executed);
  });

  test('at the primary: another leads, and takes what this one does not', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, maxLogEntries: 20, retainEntries: 0 } });
    const one = cluster.node(0);
    one.slowCheckpoint = true;
    for (let slot = 0; slot < 40; slot++) client.post(one, 'x', slot);
    cluster.run(100);
    client.post(one, 'late', 50);
    cluster.run(50);
    expect(client.replies.at(-1)).toMatchObject({ code: 'busy', reason: expect.stringMatching(/a checkpoint is not written yet/) as string });
    cluster.until(() => (cluster.leader?.replica.view ?? 0) > 0, 'another primary', 10_000);
    client.write('there', 60);
    one.slowCheckpoint = false;
    cluster.untilConverged();
    expect(bodies(cluster, 0).at(-1)).toBe('there');
  });
});

describe('a disk that does not keep up with the log', () => {
  const limits = { maxLogEntries: 200, maxLogBytes: 1 << 20, checkpointOps: 50 };
  const notDurable = (n: Node): { entries: number; bytes: number } => ({ entries: n.replica.log.head - n.replica.persistence.durable.op, bytes: n.replica.persistence.pendingBytes });

  test.each([['entries', 1], ['bytes', 20_000]])('of a backup: it takes no more %s than the limit, and what it lacks when they are durable', (_what, size) => {
    const { cluster, client } = started({ replica: limits });
    const two = cluster.node(2);
    two.slowJournal = true;
    for (let i = 0; i < 500; i++) client.write(Buffer.alloc(size, i));
    expect(notDurable(two).entries).toBeLessThanOrEqual(limits.maxLogEntries);
    expect(notDurable(two).bytes).toBeLessThan(limits.maxLogBytes + 21_000);
    two.slowJournal = false;
    cluster.untilConverged();
    expect(two.replica.persistence.pendingBytes).toBe(0);
  });

  test('of the primary: clients are told to come again, and why', () => {
    const { cluster, client } = started({ replica: { ...limits, diskStallMs: 2000 } });
    const one = cluster.node(0);
    one.slowJournal = true;
    for (let i = 0; i < 300; i++) {
      client.post(one, `${i}`, i % 60);
      cluster.settle();
    }
    expect(notDurable(one).entries).toBeLessThanOrEqual(limits.maxLogEntries);
    expect(client.replies.at(-1)).toMatchObject({ type: 'reject', code: 'busy', reason: 'the primary\'s disk does not keep up with the log' });
    one.slowJournal = false;
    cluster.untilConverged();
    client.write('later', 61);
  });
});
