import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { memberId, opNumber, view } from '../../lib/ids.ts';
import type { Envelope, Recovery } from '../../vr/messages.ts';
import { Cluster } from './cluster.ts';
import { bodies, started } from './settled_cluster.ts';

const recoveries = (cluster: Cluster, id: number): Recovery[] => cluster.sentBy(memberId(id), 'recovery').map((p) => p.message as Recovery);

describe('recovery in memory mode (VRR 4.3)', () => {
  const memory = { durability: 'memory' } as const;

  test('a backup that restarts fetches everything from the primary', () => {
    const { cluster, client } = started(memory);
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    cluster.node(2).restart();
    expect(cluster.node(2).replica.phase).toBe('recovering');
    client.write('meanwhile');
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(['w0', 'w1', 'w2', 'w3', 'w4', 'meanwhile']);
    expect(cluster.node(2).replica.view).toBe(0);
  });

  test('a primary that restarts is replaced and comes back as a backup', () => {
    const { cluster, client } = started(memory);
    client.write('before');
    cluster.node(0).restart();
    client.write('after');
    cluster.untilConverged();
    expect(bodies(cluster, 0)).toEqual(['before', 'after']);
    expect(cluster.node(0).replica.view).toBeGreaterThan(0);
    expect(cluster.node(0).replica.isPrimary).toBe(false);
  });

  test('the nonce is random, new in each attempt and each life (row 10)', () => {
    const { cluster } = started(memory);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    three.restart();
    cluster.run(5_000);
    three.restart();
    cluster.run(1_000);
    const nonces = recoveries(cluster, 3).map((m) => m.nonce.toString('hex'));
    // Each attempt goes to two peers.
    expect(nonces.length).toBeGreaterThan(8);
    expect(new Set(nonces).size).toBe(nonces.length / 2);
    expect(defined(nonces[0], 'nonce').length).toBe(32);
  });

  test('does not wait until it would ask again when a member can be reached', () => {
    const { cluster, client } = started(memory);
    client.write('before');
    cluster.isolate(memberId(3));
    cluster.node(2).restart();
    cluster.run(5_000);
    expect(cluster.node(2).replica.phase).toBe('recovering');
    cluster.heal();
    cluster.node(2).replica.onConnected();
    cluster.run(30);
    expect(cluster.node(2).replica.phase).toBe('normal');
  });

  test('comes to its end however often members can be reached again: the question that is out counts on', () => {
    const { cluster, client } = started(memory);
    client.write('before');
    const three = cluster.node(2);
    cluster.hold = (p) => p.message.type === 'recoveryResponse';
    three.restart();
    // Each answer takes longer than it is until the next connection.
    for (let i = 0; i < 100 && three.replica.phase === 'recovering'; i++) {
      three.replica.onConnected();
      const late = cluster.held;
      cluster.held = [];
      cluster.run(50);
      for (const p of late) cluster.deliver(p);
      cluster.settle();
    }
    expect(three.replica.phase).toBe('normal');
  });

  test('needs a quorum of others, the primary among them', () => {
    const { cluster } = started({ ...memory, members: 5 });
    const five = cluster.node(4);
    five.restart();
    cluster.drop = (p) => p.to === 5 && p.from !== 1 && p.from !== 2;
    cluster.run(3_000);
    expect(five.replica.phase).toBe('recovering');
    cluster.drop = (p) => p.to === 5 && p.from === 1;
    cluster.run(3_000);
    expect(five.replica.phase).toBe('recovering');
    cluster.heal();
    cluster.untilConverged();
  });

  test('the same response twice counts once', () => {
    const { cluster } = started({ ...memory, members: 5 });
    const five = cluster.node(4);
    five.restart();
    cluster.hold = (p) => p.to === 5;
    cluster.until(() => cluster.held.some((p) => p.message.type === 'recoveryResponse' && p.from === 1), 'the primary\'s response');
    const response = defined(cluster.held.find((p) => p.message.type === 'recoveryResponse' && p.from === 1), 'response');
    for (let i = 0; i < 4; i++) cluster.deliver(response);
    expect(five.replica.catchUp.gathering).toBeNull();
    for (const from of [2, 3]) cluster.deliver(defined(cluster.held.find((p) => p.message.type === 'recoveryResponse' && p.from === from), `response of ${from}`));
    expect(five.replica.catchUp.gathering).toBe(0);
  });

  test('responses to another attempt, and of a former life, count for nothing', () => {
    const { cluster } = started(memory);
    const three = cluster.node(2);
    three.restart();
    cluster.hold = (p) => p.to === 3 && p.message.type === 'recoveryResponse';
    cluster.run(100);
    const stale = cluster.held;
    cluster.held = [];
    expect(stale.length).toBe(2);
    three.restart();
    cluster.isolate(memberId(3));
    cluster.run(100);
    for (const p of stale) cluster.deliver(p);
    expect(three.replica.catchUp.gathering).toBeNull();
    cluster.heal();
    cluster.release();
    cluster.untilConverged();
  });

  test('the primary has to speak as primary of the newest view, not of an older one that was its own', () => {
    const { cluster } = started(memory);
    const three = cluster.node(2);
    three.restart();
    cluster.drop = (p) => p.to === 3;
    cluster.until(() => recoveries(cluster, 3).length > 0, 'a question');
    const { nonce } = defined(recoveries(cluster, 3).at(-1), 'question');
    const envelope = (id: number): Envelope => ({ epoch: cluster.configuration.epoch, sender: memberId(id), incarnation: 1 });
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    three.replica.step(envelope(1), { type: 'recoveryResponse', view: view(0), nonce, state: { op: opNumber(1), commit: opNumber(1), checkpoint } });
    three.replica.step(envelope(2), { type: 'recoveryResponse', view: view(3), nonce, state: null });
    expect(three.replica.catchUp.gathering).toBeNull();
    // Member 1 leads view 3 again.
    three.replica.step(envelope(1), { type: 'recoveryResponse', view: view(3), nonce, state: { op: opNumber(1), commit: opNumber(1), checkpoint } });
    expect(three.replica.catchUp.gathering).toBe(3);
  });

  test('has no voice until it is done (row 11)', () => {
    const { cluster } = started(memory);
    const three = cluster.node(2);
    three.restart();
    cluster.drop = (p) => p.to === 3 && p.message.type === 'recoveryResponse';
    cluster.run(50);
    const from = cluster.sent.length;
    cluster.node(0).crash();
    cluster.run(5_000);
    const types = new Set(cluster.sent.slice(from).filter((p) => p.from === 3).map((p) => p.message.type));
    // What it tells of its checkpoint is no voice: it is of its disk, and not of the log.
    types.delete('checkpointNotice');
    expect([...types]).toEqual(['recovery']);
    // With one member gone and one without a voice there is no quorum: nothing is served.
    expect(cluster.leader).toBeUndefined();
  });

  test('does not end below the view that it has durably spoken for (row 1)', () => {
    const { cluster, client } = started(memory);
    const three = cluster.node(2);
    cluster.drop = (p) => p.from === 1 && p.to === 3;
    cluster.until(() => three.disk.superblock.view === 1, 'a word of view 1');
    three.crash();
    cluster.heal();
    three.start();
    cluster.untilConverged();
    client.write('x');
    cluster.untilConverged();
    expect(recoveries(cluster, 3)[0]?.floor).toBe(1);
    expect(three.replica.view).toBeGreaterThanOrEqual(1);
    expect(cluster.node(0).replica.view).toBe(three.replica.view);
  });

  test('asks again when the primary goes while the log is on its way', () => {
    const { cluster, client } = started({ ...memory, members: 5 });
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    const five = cluster.node(4);
    five.restart();
    cluster.drop = (p) => p.to === 5 && p.message.type === 'newState';
    cluster.until(() => five.replica.catchUp.gathering === 0, 'member 5 gathering');
    cluster.node(0).crash();
    cluster.heal();
    client.write('after');
    cluster.untilConverged();
    expect(bodies(cluster, 4)).toEqual(['w0', 'w1', 'w2', 'w3', 'w4', 'after']);
  });

  test('of too many at once is impossible, and said in words (row 12)', () => {
    const { cluster, client } = started(memory);
    client.write('lost');
    for (const n of cluster.nodes) n.crash();
    for (const n of cluster.nodes) n.start();
    cluster.run(10_000);
    for (const n of cluster.nodes) {
      expect(n.replica.phase).toBe('recovering');
      expect(n.event('group-cannot-recover')).toBeDefined();
    }
    client.send(cluster.node(0), 0, 1, 'x');
    client.read(cluster.node(0), 1, 'q');
    cluster.run(100);
    expect(client.replies.slice(-2).map((m) => m.type)).toEqual(['redirect', 'redirect']);
  });

  test('is not said to be impossible because of others that had recovered before', () => {
    const { cluster, client } = started({ ...memory, members: 5, replica: { checkpointOps: 5, retainEntries: 0 } });
    for (let i = 0; i < 20; i++) client.write(`w${i}`);
    cluster.untilConverged();
    const slow = cluster.node(4);
    slow.crash();
    slow.disk.transferring = true;
    slow.slowFetch = true;
    slow.start();
    cluster.until(() => slow.fetchStarted, 'a transfer');
    for (const index of [3, 2]) {
      const other = cluster.node(index);
      other.restart();
      cluster.until(() => other.replica.phase === 'normal', `member ${other.id} is back`);
      cluster.run(1000);
    }
    expect([slow.replica.phase, slow.event('group-cannot-recover')]).toEqual(['recovering', undefined]);
    slow.slowFetch = false;
    cluster.untilConverged();
  });

  test('f failures at a time, one after the other, lose nothing', () => {
    const { cluster, client } = started(memory);
    for (let round = 0; round < 9; round++) {
      client.write(`w${round}`);
      cluster.node(round % 3).restart();
      cluster.untilConverged();
    }
    client.write('last');
    cluster.untilConverged();
    for (const n of cluster.nodes) expect(n.replica.executed).toBe(11);
  });
});

describe('recovery in disk mode', () => {
  test('a sound restart needs none', () => {
    const { cluster, client } = started();
    client.write('x');
    cluster.untilConverged();
    cluster.node(2).restart();
    cluster.run(20);
    expect(cluster.node(2).replica.phase).toBe('normal');
    cluster.untilConverged();
    expect(recoveries(cluster, 3)).toEqual([]);
  });

  test('a damaged journal does', () => {
    const { cluster, client } = started();
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    const three = cluster.node(2);
    three.crash();
    three.disk.damaged = true;
    three.disk.entries.length = 2;
    three.start();
    expect(three.replica.phase).toBe('recovering');
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(['w0', 'w1', 'w2', 'w3', 'w4']);
    expect([three.disk.damaged, three.disk.head]).toEqual([false, 6]);
    three.restart();
    cluster.run(20);
    expect(three.replica.phase).toBe('normal');
  });

  test('so does a state between two checkpoints', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, retainEntries: 0 } });
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 20; i++) client.write(`w${i}`);
    cluster.heal();
    three.slowFetch = true;
    cluster.until(() => three.disk.transferring, 'a transfer');
    three.restart();
    expect(three.replica.phase).toBe('recovering');
    cluster.untilConverged();
    expect(three.event('state-installed')).toBeDefined();
  });

  test('records older than the superblock knows of: the status says what is here', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, retainEntries: 0 } });
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.untilConverged();
    const three = cluster.node(2);
    three.crash();
    three.disk.snapshots.pop();
    three.start();
    expect([three.disk.superblock.checkpoint.op, three.replica.status().checkpoint.op]).toEqual([20, 15]);
    cluster.untilConverged();
    expect(three.replica.status().checkpoint.op).toBe(20);
  });

  test('the primary is the last to be asked for a state, also when its view began while this replica was away', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, retainEntries: 0 } });
    const three = cluster.node(2);
    three.crash();
    three.disk.transferring = true;
    for (let i = 0; i < 10; i++) client.write(`w${i}`);
    cluster.node(0).crash();
    cluster.run(2000);
    cluster.node(0).start();
    client.write('in another view');
    expect(cluster.node(1).replica.isPrimary).toBe(true);
    three.slowFetch = true;
    three.start();
    expect([three.replica.phase, three.replica.view]).toEqual(['recovering', 0]);
    cluster.until(() => three.fetchStarted, 'a transfer');
    expect(three.spared).toBe(2);
    three.slowFetch = false;
    cluster.untilConverged();
  });

  test('a checkpoint that is ahead of the journal costs no recovery: the log goes on behind it', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5 } });
    const three = cluster.node(2);
    three.slowJournal = true;
    for (let i = 0; i < 6; i++) client.write(`w${i}`);
    cluster.until(() => (three.disk.snapshots.at(-1)?.id.op ?? 0) >= 5, 'a checkpoint before the journal');
    expect(three.disk.head).toBe(1);
    const { op } = three.disk.snapshots.at(-1)?.id ?? { op: 0 };
    three.slowJournal = false;
    three.restart();
    expect(three.replica.log.base).toBe(op);
    cluster.untilConverged();
    expect(three.event('recovering')).toBeUndefined();
    // Nobody had to leave the view for it.
    expect(three.replica.view).toBe(0);
  });

  test('of a journal that is faster than the superblock nothing is acknowledged before the incarnation is durable', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5 } });
    const three = cluster.node(2);
    three.slowJournal = true;
    for (let i = 0; i < 6; i++) client.write(`w${i}`);
    cluster.until(() => (three.disk.snapshots.at(-1)?.id.op ?? 0) >= 5, 'a checkpoint before the journal');
    three.crash();
    three.slowSuperblock = true;
    const from = cluster.sent.length;
    three.start();
    cluster.run(1_000);
    expect(cluster.sent.slice(from).filter((p) => p.from === 3)).toEqual([]);
    three.slowSuperblock = false;
    cluster.untilConverged();
    expect(three.application.executed.map((e) => e.op)).toEqual([6, 7]);
  });

  test('the first start of all needs none, a second one of an empty memory does', () => {
    const cluster = new Cluster({ durability: 'memory' });
    cluster.untilServing();
    cluster.node(1).restart();
    expect(cluster.node(1).replica.phase).toBe('recovering');
    cluster.untilConverged();
  });

  test('incarnations count the starts', () => {
    const { cluster } = started();
    for (let i = 2; i < 5; i++) {
      cluster.node(2).restart();
      cluster.run(20);
      expect(cluster.node(2).disk.superblock.incarnation).toBe(i);
    }
  });

  test('nothing is said or heard before the new incarnation is durable', () => {
    const { cluster } = started();
    const three = cluster.node(2);
    three.crash();
    three.slowSuperblock = true;
    const from = cluster.sent.length;
    three.start();
    cluster.run(2_000);
    expect(cluster.sent.slice(from).filter((p) => p.from === 3)).toEqual([]);
    three.slowSuperblock = false;
    cluster.untilConverged();
    expect(cluster.node(0).replica.view).toBe(view(0));
  });
});
