import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { memberId } from '../../lib/ids.ts';
import type { Cluster } from './cluster.ts';
import { everyFive, started } from './settled_cluster.ts';
import type { TestClient } from './test_client.ts';

describe('log catch-up (VRR 5.2)', () => {
  test('a backup that missed some takes them from the primary\'s log', () => {
    const { cluster, client } = started();
    cluster.isolate(memberId(3));
    for (let i = 0; i < 50; i++) client.write(`w${i}`);
    cluster.heal();
    cluster.untilConverged();
    expect(cluster.node(2).application.executed.length).toBe(50);
    expect(cluster.node(2).event('state-transfer')).toBeUndefined();
  });

  test('in chunks, when there is much', () => {
    const { cluster, client } = started();
    cluster.isolate(memberId(3));
    for (let i = 0; i < 8; i++) client.write(Buffer.alloc(400_000, i));
    cluster.heal();
    cluster.untilConverged();
    const asked = cluster.sentBy(memberId(3), 'getState').length;
    expect(asked).toBeGreaterThanOrEqual(4);
    expect(asked).toBeLessThan(12);
  });

  test('questions and answers that are lost are repeated', () => {
    const { cluster, client } = started();
    cluster.isolate(memberId(3));
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    let lost = 0;
    cluster.drop = (p) => ['getState', 'newState'].includes(p.message.type) && ++lost <= 4;
    cluster.untilConverged();
    expect(lost).toBeGreaterThan(4);
  });

  test('are asked for at once when somebody can be reached again, but not while an answer may be on its way', () => {
    const { cluster, client } = started();
    const three = cluster.node(2);
    cluster.isolate(three.id);
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    cluster.drop = (p) => p.message.type === 'newState';
    const questions = (): number => cluster.sentBy(three.id, 'getState').length;
    cluster.until(() => questions() === 1, 'it asks');
    three.replica.onConnected();
    cluster.run(30);
    expect(questions()).toBe(1);
    cluster.until(() => questions() === 5, 'it has asked in vain');
    cluster.run(200);
    cluster.heal();
    three.replica.onConnected();
    cluster.run(30);
    expect(three.replica.executed).toBe(cluster.node(0).replica.executed);
  });

  test('an answer to an earlier question is not taken, while another one is open: it would begin a transfer', () => {
    const { cluster, client } = started(everyFive);
    const { replica } = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.hold = (p) => p.to === 3 && p.message.type === 'newState';
    cluster.heal();
    cluster.until(() => cluster.held.length > 0, 'an answer');
    const stale = defined(cluster.held[0], 'answer');
    expect(stale.message).toMatchObject({ kind: 'checkpoint' });
    cluster.hold = () => false;
    cluster.discard();
    cluster.untilConverged();
    cluster.isolate(memberId(3));
    for (let i = 0; i < 2; i++) client.write(`more ${i}`);
    cluster.hold = (p) => p.to === 3 && p.message.type === 'newState';
    cluster.heal();
    cluster.until(() => cluster.held.length > 0, 'an answer to another question');
    expect(replica.catchUp.running).toBe(true);
    cluster.deliver(stale);
    expect(replica.catchUp.running).toBe(true);
    cluster.release();
    cluster.untilConverged();
    expect(cluster.node(2).events.filter((e) => e.name === 'state-transfer')).toHaveLength(1);
  });
});

describe('checkpoints (VRR 5.1)', () => {
  test('are taken at the same ops with the same roots, and the log before the last but one goes', () => {
    const { cluster, client } = started(everyFive);
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.untilConverged();
    const ids = cluster.nodes.map((n) => n.replica.persistence.superblock.checkpoint);
    expect(ids[0]?.op).toBe(20);
    expect(ids[1]).toEqual(ids[0]);
    expect(ids[2]).toEqual(ids[0]);
    for (const n of cluster.nodes) {
      expect(n.replica.log.base).toBe(15);
      expect(n.disk.base).toBe(15);
    }
  });

  test('where an operation asks for one: at the same op everywhere, with the same root, also at who was not there', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 1000 } });
    for (let i = 0; i < 6; i++) client.write(`w${i}`);
    cluster.untilConverged();
    cluster.isolate(memberId(3));
    client.write('checkpoint');
    cluster.until(() => cluster.node(0).replica.persistence.superblock.checkpoint.op > 0, 'a checkpoint');
    const { op } = cluster.node(0).replica.persistence.superblock.checkpoint;
    client.write('more');
    cluster.heal();
    cluster.untilConverged();
    const ids = cluster.nodes.map((n) => n.replica.persistence.superblock.checkpoint);
    expect(op).toBe(8);
    for (const id of ids) expect(id).toEqual(ids[0]);
    expect(ids[0]?.op).toBe(op);
    // Nothing but the operation itself asks.
    for (let i = 0; i < 4; i++) client.write(`v${i}`);
    cluster.untilConverged();
    expect(cluster.nodes.map((n) => n.replica.persistence.superblock.checkpoint.op)).toEqual([op, op, op]);
  });

  test('by bytes of log too', () => {
    const { cluster, client } = started({ replica: { checkpointBytes: 10_000 } });
    for (let i = 0; i < 4; i++) client.write(Buffer.alloc(6_000));
    cluster.untilConverged();
    for (const n of cluster.nodes) expect(n.replica.persistence.superblock.checkpoint.op).toBe(5);
  });

  test('some of the log stays for peers that are a little behind', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, retainEntries: 12 } });
    cluster.isolate(memberId(3));
    for (let i = 0; i < 10; i++) client.write(`w${i}`);
    cluster.heal();
    cluster.untilConverged();
    expect(cluster.node(2).event('state-transfer')).toBeUndefined();
    for (let i = 0; i < 30; i++) client.write(`more${i}`);
    cluster.untilConverged();
    expect(cluster.node(0).replica.log.base).toBeGreaterThan(10);
    expect(cluster.node(0).replica.log.base).toBeLessThanOrEqual(41 - 12);
  });

  test('the log is not collected before the superblock that names the checkpoint is durable', () => {
    const { cluster, client } = started(everyFive);
    const one = cluster.node(0);
    one.slowSuperblock = true;
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.run(100);
    expect([one.replica.log.base, one.disk.base]).toEqual([0, 0]);
    one.slowSuperblock = false;
    cluster.run(100);
    expect(one.replica.log.base).toBe(15);
  });

  test('one at a time: while one is written the next points are left out', () => {
    const { cluster, client } = started(everyFive);
    const one = cluster.node(0);
    one.slowCheckpoint = true;
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    expect(one.event('checkpoint-skipped')).toBeDefined();
    one.slowCheckpoint = false;
    cluster.run(100);
    expect(one.replica.persistence.superblock.checkpoint.op).toBe(5);
    for (let i = 0; i < 3; i++) client.write(`later${i}`);
    cluster.untilConverged();
    expect(one.replica.persistence.superblock.checkpoint.op).toBe(25);
  });

  test('a restart goes on from the checkpoint: the client table is in it (row 15)', () => {
    const { cluster, client } = started(everyFive);
    for (let i = 0; i < 12; i++) client.write(`w${i}`);
    cluster.untilConverged();
    for (const n of cluster.nodes) n.crash();
    for (const n of cluster.nodes) n.start();
    const leader = cluster.untilServing();
    client.send(leader, 0, 12, 'w11');
    cluster.run(100);
    expect(client.replies.filter((m) => m.type === 'reply' && m.seq === 12)).toHaveLength(2);
    cluster.untilConverged();
    // Only what lies behind the checkpoint was executed again.
    for (const n of cluster.nodes) expect(n.application.executed.map((e) => e.op)).toEqual([11, 12, 13]);
  });
});

describe('hand-over to a checkpoint', () => {
  test('when the log is gone: checkpoint first, then the log behind it', () => {
    const { cluster, client } = started(everyFive);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.heal();
    const three = cluster.node(2);
    cluster.untilConverged();
    expect(three.event('state-installed')).toMatchObject({ op: 20 });
    expect(three.application.executed.map((e) => e.op)).toEqual([21, 22, 23, 24]);
    expect([three.replica.log.base, three.disk.base]).toEqual([20, 20]);
    expect(three.disk.superblock.checkpoint.op).toBe(20);
    three.restart();
    cluster.run(20);
    expect(three.replica.phase).toBe('normal');
    cluster.untilConverged();
  });

  test('while it lasts nothing is executed and no read is answered', () => {
    const { cluster, client } = started(everyFive);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.heal();
    three.slowFetch = true;
    cluster.until(() => three.replica.handOver.fetching, 'a transfer');
    client.read(three, 1, 'q', { consistency: 'causal' });
    cluster.run(500);
    expect(client.replies.at(-1)).toMatchObject({ type: 'reject', code: 'behind', id: 1 });
    expect(three.replica.executed).toBe(1);
    expect(three.replica.status().transferring).toBe(true);
    expect(cluster.node(0).replica.view).toBe(0);
    three.slowFetch = false;
    cluster.untilConverged();
  });

  test('a long one changes no view, whoever leads', () => {
    const { cluster, client } = started(everyFive);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.node(0).replica.viewChange.leaveFor(1);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    for (let i = 0; i < 10; i++) client.write(`v${i}`);
    cluster.heal();
    three.slowFetch = true;
    cluster.run(20_000);
    expect(three.replica.handOver.fetching).toBe(true);
    expect(cluster.node(1).replica.view).toBe(1);
    three.slowFetch = false;
    cluster.untilConverged();
    expect(cluster.node(1).replica.view).toBe(1);
  });

  test('a donor that has newer ones only is asked for those', () => {
    const { cluster, client } = started(everyFive);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.heal();
    three.slowFetch = true;
    cluster.until(() => three.replica.handOver.fetching, 'a transfer');
    for (let i = 0; i < 20; i++) client.write(`more${i}`);
    three.slowFetch = false;
    cluster.untilConverged();
    expect(three.events.filter((e) => e.name === 'state-transfer-failed').length).toBeGreaterThan(0);
  });

  test('the log-view does not rise with a checkpoint alone (row 3)', () => {
    const { cluster, client } = started(everyFive);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.node(0).replica.viewChange.leaveFor(1);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    for (let i = 0; i < 10; i++) client.write(`v${i}`);
    cluster.heal();
    // The checkpoint comes, the log behind it does not.
    cluster.drop = (p) => p.to === 3 && p.message.type === 'newState' && p.message.kind === 'entries';
    cluster.until(() => three.event('state-installed') !== undefined, 'the checkpoint');
    cluster.run(500);
    expect([three.replica.logView, three.disk.logView, three.replica.phase]).toEqual([0, 0, 'view-change']);
    // In the next view the one with the log wins.
    cluster.heal();
    cluster.node(1).replica.viewChange.leaveFor(2);
    client.write('after');
    cluster.untilConverged();
  });

  test('a primary that is elected while its state is being fetched yields (row 9)', () => {
    const { cluster, client } = started(everyFive);
    const two = cluster.node(1);
    cluster.isolate(memberId(2));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.heal();
    two.slowFetch = true;
    cluster.until(() => two.replica.handOver.fetching, 'a transfer');
    cluster.node(0).replica.viewChange.leaveFor(1);
    const leader = cluster.untilServing();
    expect(leader.id).toBe(3);
    expect(two.event('yields')).toBeDefined();
    two.slowFetch = false;
    client.write('after');
    cluster.untilConverged();
  });

  test('a crash in the middle: the checkpoint is fetched anew', () => {
    const { cluster, client } = started(everyFive);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    cluster.heal();
    three.slowFetch = true;
    cluster.until(() => three.replica.handOver.fetching, 'a transfer');
    three.restart();
    cluster.untilConverged();
    expect(three.application.executed.map((e) => e.op)).toEqual([21, 22, 23, 24]);
  });
});

describe('a group that takes checkpoints faster than a quorum tells the same one', () => {
  /** Rounds of writes; a checkpoint in each, of which member 2 takes one in so many, and is done with it only then. */
  function writeOn(cluster: Cluster, client: TestClient, rounds: number, oneIn: number): void {
    const two = cluster.node(1);
    for (let round = 0; round < rounds; round++) {
      two.slowCheckpoint = round % oneIn !== 0;
      cluster.settle();
      two.slowCheckpoint = true;
      for (let i = 0; i < 5; i++) client.write(`r${round}-${i}`);
      cluster.run(100);
    }
    two.slowCheckpoint = false;
  }

  test.each([
    ['disk', 3], ['disk', 8], ['memory', 3], ['memory', 8],
  ] as const)('does not make a replica chase it (%s, member 2 takes one in %i)', (durability, oneIn) => {
    const { cluster, client } = started({ durability, ...everyFive });
    const three = cluster.node(2);
    if (durability === 'memory') three.crash();
    else cluster.isolate(three.id);
    writeOn(cluster, client, 10, oneIn);
    cluster.heal();
    if (durability === 'memory') three.start();
    writeOn(cluster, client, 60, oneIn);
    // Up to date while they write, not when they have stopped.
    expect(three.replica.executed).toBeGreaterThan(cluster.node(0).replica.commit - 10);
    expect(three.events.filter((e) => e.name === 'state-transfer-failed')).toEqual([]);
    cluster.untilConverged();
  });
});

describe('the nonce recovery behind a checkpoint', () => {
  test('names its op, and brings the log behind it alone', () => {
    const { cluster, client } = started({ durability: 'memory', replica: { checkpointOps: 5, retainEntries: 10_000 } });
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    three.crash();
    cluster.heal();
    const from = cluster.sent.length;
    three.start();
    cluster.untilConverged();
    const sent = cluster.sent.slice(from);
    const recoveries = sent.flatMap((p) => (p.from === 3 && p.message.type === 'recovery' ? [p.message.checkpoint] : []));
    expect(recoveries[0]).toBe(0);
    const entries = sent.flatMap((p) => (p.to === 3 && p.message.type === 'newState' && p.message.kind === 'entries' ? p.message.entries : []));
    // The log is there from the beginning, and it is small: no checkpoint is needed, and none is fetched.
    expect(three.event('state-transfer')).toBeUndefined();
    expect(entries.map((e) => e.op)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
  });

  test.each(['disk', 'memory'] as const)('in mode %s: not one entry at or below it', (durability) => {
    const { cluster, client } = started({ durability, replica: { checkpointOps: 5, retainEntries: 0 } });
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    if (durability === 'memory') three.crash();
    cluster.heal();
    const from = cluster.sent.length;
    if (durability === 'memory') three.start();
    cluster.untilConverged();
    expect(three.event('state-installed')).toMatchObject({ op: 20 });
    const sent = cluster.sent.slice(from);
    const recoveries = sent.flatMap((p) => (p.from === 3 && p.message.type === 'recovery' ? [p.message.checkpoint] : []));
    if (durability === 'memory') expect(recoveries.at(-1)).toBe(20);
    const entries = sent.flatMap((p) => (p.to === 3 && p.message.type === 'newState' && p.message.kind === 'entries' ? p.message.entries : []));
    expect(entries.map((e) => e.op)).toEqual([21, 22, 23, 24]);
  });
});
