/** Witnesses (PROTOCOL row 21): on whom the group may count, and who may become one. */
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { viewEpoch } from '../../lib/ids.ts';
import type { Member } from '../../vr/configuration.ts';
import { members, started, writeAll } from './administrator.ts';
import type { ClusterOptions } from './cluster.ts';
import { testMember as member } from './group.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';
import { witnessesAway } from './witness_group.ts';

describe('witnesses (row 21)', () => {
  function withWitness(options: ClusterOptions = {}): ReturnType<typeof started> & { witness: Node } {
    const group = started(options);
    writeAll(group.client, 'before', 7);
    const witness = group.cluster.join(4);
    group.admin.change(members(1, 2, 3, member(4, 'observer')));
    group.cluster.untilConverged();
    group.cluster.run(2500);
    group.admin.change(members(1, 2, member(4, 'witness')));
    group.cluster.untilConverged();
    return { ...group, witness };
  }

  test('logs and votes, executes nothing, never leads', () => {
    const { cluster, client, witness } = withWitness();
    const executed = witness.application.executed.length;
    writeAll(client, 'on', 12);
    cluster.untilConverged();
    expect(witness.application.executed.length).toBe(executed);
    cluster.node(0).crash();
    client.write('with the witness and one');
    expect(cluster.untilServing().id).toBe(2);
    cluster.node(0).start();
    cluster.untilConverged();
    cluster.node(1).crash();
    client.write('and the other');
    expect(cluster.untilServing().id).toBe(1);
  });

  test('keeps the log from the oldest state on: what only it and a lost primary had is there', () => {
    const { cluster, client, witness } = withWitness();
    const two = cluster.node(1);
    two.crash();
    writeAll(client, 'with one and the witness', 40);
    expect(witness.replica.log.base).toBeLessThanOrEqual(two.disk.superblock.checkpoint.op);
    const acknowledged = cluster.node(0).replica.commit;
    cluster.node(0).crash();
    two.start();
    client.write('from the witness');
    expect(two.replica.executed).toBeGreaterThan(acknowledged);
    expect(two.application.executed.map((e) => e.body.toString()).filter((b) => b.startsWith('with one'))).toHaveLength(40);
  });

  test('counts on after its restart, though a member that it held the log for is gone for good', () => {
    const { cluster, client, witness } = withWitness();
    writeAll(client, 'on', 12);
    cluster.run(3000);
    witness.crash();
    cluster.node(0).crash();
    witness.start();
    client.write('with the witness and one');
    expect(cluster.untilServing().id).toBe(2);
  });

  test('answers no read: it has nothing to answer from', () => {
    const { client, witness } = withWitness();
    client.read(witness, 9, 'here', { consistency: 'causal' });
    expect(client.replies.at(-1)).toMatchObject({ type: 'redirect' });
  });

  test('is not made of a member whose log lacks what a voter has not on disk yet', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 7);
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    cluster.node(1).slowCheckpoint = true;
    writeAll(client, 'on', 20);
    cluster.run(2500);
    expect(admin.ask(members(1, 2, member(4, 'witness')))).toMatchObject({ type: 'refused', code: 'unready', reason: expect.stringMatching(/begins behind what every voter has on disk/) as string });
    cluster.node(1).slowCheckpoint = false;
    writeAll(client, 'on', 7);
    cluster.run(2500);
    admin.change(members(1, 2, member(4, 'witness')));
  });

  test('collects it when all hold a checkpoint, and restarts from there', () => {
    const { cluster, client, witness } = withWitness();
    const before = witness.replica.log.base;
    writeAll(client, 'on', 40);
    cluster.untilConverged();
    cluster.run(6000);
    writeAll(client, 'and on', 10);
    cluster.run(6000);
    expect(witness.replica.log.base).toBeGreaterThan(before);
    witness.restart();
    client.write('after its restart');
    cluster.untilConverged();
    cluster.node(0).crash();
    client.write('it votes');
  });

  test('memory mode: it does not count before all hold what its log lacks', () => {
    const { cluster, client, witness } = withWitness({ durability: 'memory' });
    writeAll(client, 'on', 13);
    cluster.untilConverged();
    witness.restart();
    cluster.untilConverged();
    writeAll(client, 'on', 3);
    cluster.until(() => cluster.leader?.replica.normal.acked(witness.id) === cluster.leader?.replica.log.head, 'it counts');
  });

  // Seed 13370: it counted before that was on its disk, and would not have after a crash.
  test('does not count before it is on its own disk that enough hold what its log lacks', () => {
    const { cluster, client, admin } = started({ members: 3, witnesses: 1 });
    const witness = cluster.node(2);
    for (const n of [22, 10]) {
      writeAll(client, 'on', n);
      cluster.run(6000);
    }
    expect(witness.replica.log.base).toBeGreaterThan(0);
    const before = cluster.sent.length;
    witness.slowSuperblock = true;
    // Member 4 is not there: all three others are needed, and it holds nothing.
    cluster.join(4).crash();
    admin.ask(members(1, 2, 4, member(3, 'witness')), true);
    cluster.run(500);
    // The beginning of the epoch is on the disk of the witness, and nothing since.
    witness.slowSuperblock = false;
    witness.turn();
    witness.slowSuperblock = true;
    cluster.run(500);
    const told = (): number => cluster.sent.slice(before).reduce((most, p) => (p.from === witness.id && p.envelope.epoch === 1 && p.message.type === 'prepareOk' ? Math.max(most, p.message.op) : most), -1);
    expect([witness.replica.phase, witness.disk.superblock.configuration.epoch, told()]).toEqual(['normal', 1, 0]);
    witness.slowSuperblock = false;
    cluster.until(() => told() === witness.replica.log.head, 'it counts');
    client.write('with members 1, 2 and 3');
  });

  test('whose log went on meanwhile is not cut back to what it was to be filled with', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const five = cluster.node(4);
    cluster.node(2).crash();
    // What the primary sends to the second witness takes long, and comes in another order.
    cluster.drop = (p) => p.to === five.id && p.message.type !== 'prepare';
    cluster.hold = (p) => p.to === five.id && p.message.type === 'prepare';
    writeAll(client, 'w', 30);
    cluster.run(100);
    cluster.heal();
    cluster.hold = (p) => p.to === five.id && (p.message.type === 'prepare' || (p.message.type === 'newState' && p.message.kind === 'entries'));
    cluster.until(() => cluster.held.some((p) => p.message.type === 'newState'), 'what it is to be filled with');
    const prepares = cluster.held.filter((p) => p.message.type === 'prepare');
    const fill = cluster.held.filter((p) => p.message.type === 'newState');
    for (const p of prepares) cluster.deliver(p);
    five.turn();
    const acked = Math.max(...cluster.sentBy(five.id, 'prepareOk').map((p) => (p.message.type === 'prepareOk' ? p.message.op : 0)));
    expect(acked).toBe(31);
    for (const p of fill) cluster.deliver(p);
    five.turn();
    expect(five.disk.head).toBeGreaterThanOrEqual(acked);
    expect(five.replica.log.head).toBeGreaterThanOrEqual(acked);
  });

  test('whose log has become long, for want of a voter that holds the state, says for whom it waits, and now and then again', () => {
    const { cluster, client } = started({ witnesses: 1, replica: { maxLogBytes: 64 << 10 } });
    const [two, three] = [cluster.node(1), cluster.node(2)];
    writeAll(client, 'both', 30);
    cluster.untilConverged();
    cluster.run(5_000);
    expect(three.event('witness-log-long')).toBeUndefined();
    two.crash();
    for (let i = 0; i < 80; i++) client.write(Buffer.alloc(1_000));
    cluster.run(5_000);
    expect(three.event('witness-log-long')).toMatchObject({ waitsFor: 2 });
    const told = (): number => three.events.filter((e) => e.name === 'witness-log-long').length;
    expect(told()).toBe(1);
    cluster.run(300_000);
    expect(told()).toBe(2);
    two.start();
    cluster.untilConverged();
    // The checkpoint before the newest is what the log reaches back to.
    writeAll(new TestClient(cluster).register(), 'more', 10);
    cluster.until(() => three.replica.log.bytes < 64 << 10, 'the log is short again');
  });
});

describe('a voter that becomes a witness (row 21)', () => {
  const two: Member[] = members(1, 2, member(3, 'witness'));

  test('has to have in its log what another voter has not on disk, in whatever state of health, and whoever insists', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 7);
    cluster.untilConverged();
    cluster.node(1).slowCheckpoint = true;
    writeAll(client, 'on', 20);
    cluster.run(2500);
    const refused = { type: 'refused', code: 'unready', reason: expect.stringMatching(/the log of 10.0.0.3.* begins behind what every voter has on disk/) as string };
    expect(admin.ask(two)).toMatchObject(refused);
    expect(admin.ask(two, true)).toMatchObject(refused);
    cluster.node(2).crash();
    cluster.run(2500);
    expect(admin.ask(two, true)).toMatchObject(refused);
    cluster.node(2).start();
    cluster.node(1).slowCheckpoint = false;
    writeAll(client, 'on', 7);
    cluster.run(2500);
    admin.change(two);
    cluster.untilConverged();
  });

  test('while it writes a checkpoint collects nothing by that', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 7);
    cluster.run(2500);
    const three = cluster.node(2);
    three.slowCheckpoint = true;
    cluster.drop = (p) => p.to === three.id && p.message.type === 'checkpointNotice';
    writeAll(client, 'on', 7);
    admin.change(two);
    cluster.untilConverged();
    const { base } = three.replica.log;
    const { checkpoint } = three.replica.persistence.superblock;
    three.slowCheckpoint = false;
    cluster.until(() => three.event('checkpoint')?.op === 10, 'its checkpoint');
    cluster.run(100);
    expect(three.replica.log.base).toBe(base);
    expect(three.replica.persistence.superblock.checkpoint).toEqual(checkpoint);
  });

  // Seed 17609: what it lacked was gone at the only voter that had a state, and it was asked for as in a group of other electors.
  test('and whose epoch has gone to one of the same electors goes on without what nobody can give it', () => {
    const group = witnessesAway({ voters: 2, witnesses: 1 });
    const { cluster, client, admin } = group;
    const [three] = group.witnesses as [Node];
    cluster.join(4);
    admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
    cluster.node(1).crash();
    cluster.heal();
    client.write('with members 1 and 3');
    expect(three.event('state-installed')).toBeDefined();
    cluster.node(1).start();
    cluster.untilConverged();
  });

  // Seed 10466: it voted in a view of an epoch that it had not begun.
  test('and on the way to one epoch meets a checkpoint of the next asks for that one', () => {
    const group = witnessesAway({ voters: 2, witnesses: 1 });
    const { cluster, client, admin } = group;
    const [three] = group.witnesses as [Node];
    cluster.join(4);
    cluster.join(5);
    cluster.drop = (p) => p.from === three.id || (p.to === three.id && p.message.type !== 'startEpoch');
    cluster.hold = (p) => p.to === three.id;
    admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
    const [first] = cluster.held;
    admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer'), member(5, 'observer')));
    writeAll(client, 'on', 20);
    cluster.run(2500);
    cluster.drop = (p) => p.to === three.id && p.message.type !== 'newState';
    cluster.hold = () => false;
    cluster.deliver(defined(first, 'the beginning of epoch 1'));
    cluster.until(() => three.event('checkpoint-of-later-epoch') !== undefined, 'a checkpoint of epoch 2');
    cluster.run(2500);
    expect(three.replica).toMatchObject({ phase: 'transitioning', configuration: { epoch: 0 } });
    expect(three.event('state-installed')).toBeUndefined();
    cluster.heal();
    cluster.untilConverged();
    expect(three.replica.status()).toMatchObject({ epoch: 2, status: 'normal' });
  });

  // Seed 10621: alone, it said that it wanted a later view of that epoch than the first, and went back to the first when it was told of the epoch.
  test('and dies before the epoch is durable whose state it has passed over wants no view of it when it is back', () => {
    const group = witnessesAway({ voters: 2, witnesses: 1 });
    const { cluster, client, admin } = group;
    const [three] = group.witnesses as [Node];
    cluster.join(4);
    admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
    writeAll(client, 'on', 10);
    cluster.run(2500);
    three.slowJournal = true;
    cluster.heal();
    cluster.until(() => three.disk.superblock.checkpoint.op > 0, 'a state that it passes over');
    expect([viewEpoch(three.disk.superblock.checkpoint.view), three.disk.superblock.configuration.epoch]).toEqual([1, 0]);
    cluster.isolate(three.id);
    three.restart();
    const from = cluster.sent.length;
    cluster.run(10_000);
    expect(cluster.sent.slice(from).filter((p) => p.from === three.id && p.message.type === 'startViewChange')).toEqual([]);
    expect(viewEpoch(three.disk.superblock.view)).toBe(0);
    cluster.heal();
    cluster.untilConverged();
    expect(three.replica.status()).toMatchObject({ epoch: 1, status: 'normal' });
    cluster.node(1).crash();
    client.write('with members 1 and 3');
  });

  // Seed 8141: it insisted on the newest checkpoint, which one voter had.
  test('and comes into an epoch of other electors begins behind the newest checkpoint that f+1 of its voters hold', () => {
    const { cluster, client, admin } = started({ members: 4, witnesses: 1 });
    cluster.join(5);
    admin.change(members(1, 2, 3, member(4, 'witness'), member(5, 'observer')));
    cluster.untilConverged();
    const [two, four, five] = [cluster.node(1), cluster.node(3), cluster.node(4)];
    cluster.isolate(four.id);
    writeAll(client, 'away', 20);
    cluster.run(2500);
    two.slowCheckpoint = true;
    writeAll(client, 'on', 5);
    admin.change(members(1, 2, 5, member(4, 'witness')));
    five.crash();
    cluster.heal();
    cluster.until(() => four.event('state-installed') !== undefined, 'the witness');
    cluster.run(1000);
    client.write('with members 1, 2 and 4');
    expect(four.event('state-installed')).toMatchObject({ op: 20 });
    expect(cluster.node(0).disk.superblock.checkpoint.op).toBe(25);
    five.start();
    cluster.untilConverged();
  });

  // Seed 12954: the new primary asked each of them for all that it lacked, and neither had all of it.
  test('has the end of the log, and another one what it lacks: together they bring a voter that was away to its head', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [one, two, three, four, five] = cluster.nodes as [Node, Node, Node, Node, Node];
    cluster.isolate(two.id, four.id);
    writeAll(client, 'away', 30);
    cluster.isolate(two.id);
    cluster.until(() => four.event('state-installed') !== undefined, 'the first witness');
    cluster.isolate(two.id, five.id);
    writeAll(client, 'and on', 2);
    cluster.run(500);
    one.crash();
    three.crash();
    expect([two.replica.log.head, four.replica.log.base, four.replica.log.head, five.replica.log.base, five.replica.log.head]).toEqual([1, 30, 33, 0, 31]);
    cluster.heal();
    client.write('with members 2, 4 and 5');
    expect(two.replica.log.head).toBe(34);
    one.start();
    three.start();
    cluster.untilConverged();
  });
});
