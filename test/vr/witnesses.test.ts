/** Witnesses (PROTOCOL row 21): on whom the group may count, and how one that was away goes on. */
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import type { Member } from '../../vr/configuration.ts';
import { members, started, writeAll } from './administrator.ts';
import type { ClusterOptions, Packet } from './cluster.ts';
import { testMember as member } from './group.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';

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

/** All voters have checkpoints behind which nothing of the log is left; the witnesses (the last of `n`) hear and say nothing meanwhile. */
function witnessesAway(n: { readonly voters: number; readonly witnesses: number }): ReturnType<typeof started> & { readonly witnesses: readonly Node[] } {
  const group = started({ members: n.voters + n.witnesses, witnesses: n.witnesses });
  group.cluster.untilConverged();
  const witnesses = group.cluster.nodes.slice(n.voters);
  group.cluster.isolate(...witnesses.map((w) => w.id));
  writeAll(group.client, 'away', 30);
  group.cluster.run(200);
  return { ...group, witnesses };
}
const bodies = (node: Node): string[] => node.replica.log.slice(node.replica.log.base, node.replica.log.head, Infinity).map((e) => e.body.toString());
const acknowledged = (group: ReturnType<typeof started>, node: Node): number => group.cluster.sentBy(node.id, 'prepareOk').reduce((most, p) => (p.message.type === 'prepareOk' ? Math.max(most, p.message.op) : most), 0);

describe('a witness that was away (row 21)', () => {
  test('is given what the primary has collected by another witness, by hash, and keeps it', () => {
    const group = started({ members: 5, witnesses: 2 });
    const { cluster, client } = group;
    cluster.untilConverged();
    const [one, three, four, five] = [cluster.node(0), cluster.node(2), cluster.node(3), cluster.node(4)];
    // Member 3 holds nothing on disk: the log is needed as from the start.
    three.crash();
    cluster.isolate(five.id);
    writeAll(client, 'away', 30);
    cluster.heal();
    cluster.until(() => five.event('log-filled') !== undefined, 'the log');
    cluster.untilConverged();
    expect(one.replica.log.base).toBeGreaterThan(20);
    expect(bodies(five)).toEqual(bodies(four));
    five.restart();
    cluster.untilConverged();
    expect(bodies(five)).toEqual(bodies(four));
    // It counts: with the other witness gone the three that are left are a quorum.
    four.crash();
    client.write('with members 1, 2 and 5');
    // And it has what member 3 lacks.
    one.crash();
    three.start();
    client.write('with members 2, 3 and 5');
  });

  test('is given it by a voter that has more of the log than the primary', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [two, four, five] = [cluster.node(1), cluster.node(3), cluster.node(4)];
    cluster.isolate(four.id, five.id);
    two.slowCheckpoint = true;
    writeAll(client, 'away', 30);
    // The first witness may go on without what it lacks; it has nothing to give then.
    cluster.isolate(five.id);
    cluster.until(() => four.event('state-installed') !== undefined, 'the first witness');
    cluster.heal();
    cluster.until(() => five.event('log-filled') !== undefined, 'the log');
    expect(four.replica.log.base).toBeGreaterThan(20);
    expect(bodies(five).slice(0, 2)).toEqual(bodies(two).slice(0, 2));
    cluster.untilConverged();
  });

  test('whose log ends differently is given it from what is committed on', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [one, four, five] = [cluster.node(0), cluster.node(3), cluster.node(4)];
    cluster.drop = (p) => p.from === one.id && p.to !== five.id;
    for (let i = 1; i <= 3; i++) client.post(one, `never committed ${i}`, i);
    cluster.settle();
    expect(five.replica.log.head).toBe(4);
    one.crash();
    cluster.isolate(five.id);
    writeAll(client, 'away', 30);
    cluster.heal();
    cluster.until(() => five.event('log-filled') !== undefined, 'the log');
    cluster.untilConverged();
    expect(bodies(five)).toEqual(bodies(four));
  });

  test('that has all of it, and has only forgotten that it is committed, needs nobody for it', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [three, four, five] = [cluster.node(2), cluster.node(3), cluster.node(4)];
    const away = (p: Packet): boolean => p.from === four.id || p.to === four.id;
    cluster.drop = (p) => away(p) || (p.to === five.id && p.message.type === 'checkpointNotice');
    writeAll(client, 'w', 30);
    cluster.run(100);
    cluster.isolate(four.id, five.id);
    cluster.node(0).replica.viewChange.leaveFor(1);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    writeAll(client, 'in view 1', 3);
    three.crash();
    five.restart();
    cluster.settle();
    expect([five.replica.commit, five.replica.log.base, five.replica.log.head]).toEqual([0, 0, 31]);
    cluster.heal();
    cluster.until(() => five.event('log-filled') !== undefined, 'what it has');
    cluster.untilConverged();
    expect(five.replica.log.base).toBe(0);
  });

  test('and whose journal was damaged is given it too, and keeps all of it', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [three, four, five] = [cluster.node(2), cluster.node(3), cluster.node(4)];
    three.crash();
    five.crash();
    five.disk.damaged = true;
    writeAll(client, 'away', 30);
    five.start();
    cluster.until(() => five.event('log-filled') !== undefined, 'the log');
    cluster.untilConverged();
    expect(bodies(five)).toEqual(bodies(four));
    five.restart();
    cluster.settle();
    expect(five.event('started')).toMatchObject({ usable: true, op: four.replica.log.head });
    expect(bodies(five)).toEqual(bodies(four));
  });

  // Between the log and the view that it comes from there may be a crash.
  test('and was given the log of a later view follows that view after a restart, and acknowledges nothing in its own', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [three, five] = [cluster.node(2), cluster.node(4)];
    three.crash();
    cluster.isolate(five.id);
    cluster.node(0).replica.viewChange.leaveFor(1);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    writeAll(client, 'in view 1', 30);
    cluster.drop = (p) => p.to === five.id && p.message.type === 'startView' && five.event('log-filled') !== undefined;
    cluster.until(() => five.event('log-filled') !== undefined, 'the log');
    expect([five.disk.logView, five.replica.headView]).toEqual([0, 1]);
    const before = cluster.sent.length;
    cluster.isolate(five.id);
    five.restart();
    cluster.settle();
    expect(five.replica).toMatchObject({ phase: 'view-change', view: 1, logView: 0 });
    expect(cluster.sent.slice(before).filter((p) => p.from === five.id && p.message.type === 'prepareOk')).toEqual([]);
    cluster.heal();
    cluster.untilConverged();
  });

  test('begins behind what nobody can give it if it is the first of the witnesses; another waits until f+1 voters have told of a checkpoint', () => {
    const group = witnessesAway({ voters: 3, witnesses: 2 });
    const { cluster, client } = group;
    const [four, five] = group.witnesses as [Node, Node];
    const three = cluster.node(2);
    three.crash();
    cluster.heal();
    // Members 1, 2 and 4 are a quorum.
    client.write('with the first witness');
    cluster.run(5000);
    expect(four.replica.log.base).toBeGreaterThan(20);
    expect(five.event('state-installed')).toBeUndefined();
    expect(acknowledged(group, five)).toBe(1);
    three.start();
    cluster.until(() => five.event('state-installed') !== undefined, 'the second witness');
    cluster.untilConverged();
    four.crash();
    three.crash();
    client.write('with the second witness');
  });

  test('is not left waiting for a voter that is gone for good: another takes its place', () => {
    const group = witnessesAway({ voters: 3, witnesses: 2 });
    const { cluster, client, admin } = group;
    const [four, five] = group.witnesses as [Node, Node];
    cluster.node(2).crash();
    cluster.heal();
    cluster.join(6);
    const witnesses = [member(4, 'witness'), member(5, 'witness')];
    admin.change(members(1, 2, 3, ...witnesses, member(6, 'observer')));
    writeAll(client, 'on', 7);
    cluster.run(2500);
    expect(acknowledged(group, five)).toBe(1);
    admin.change(members(1, 2, 6, ...witnesses));
    cluster.untilConverged();
    four.crash();
    cluster.node(0).crash();
    client.write('with members 2, 5 and 6');
  });

  test('is not waited for by the voter that is gone: of four, three that hold a checkpoint are f+1', () => {
    const { cluster, client, witnesses } = witnessesAway({ voters: 4, witnesses: 2 });
    const [, six] = witnesses as [Node, Node];
    cluster.node(3).crash();
    cluster.drop = (p) => p.from === 3 && p.message.type === 'checkpointNotice';
    cluster.run(5000);
    expect(six.event('state-installed')).toBeUndefined();
    cluster.heal();
    cluster.until(() => six.event('state-installed') !== undefined, 'the second witness');
    // Another failure: the two witnesses and two voters are a quorum of six.
    cluster.node(0).crash();
    client.write('with members 2, 3, 5 and 6');
  });

  test('may wait for a voter that recovers, which waits for it: the voter tells of its checkpoint', () => {
    const { cluster, client, witnesses } = witnessesAway({ voters: 4, witnesses: 2 });
    const [, six] = witnesses as [Node, Node];
    const [one, four] = [cluster.node(0), cluster.node(3)];
    cluster.node(0).replica.viewChange.leaveFor(1);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    writeAll(client, 'in view 1', 15);
    one.crash();
    four.crash();
    four.disk.damaged = true;
    four.start();
    cluster.heal();
    cluster.until(() => six.event('state-installed') !== undefined, 'the second witness');
    client.write('with members 2, 3, 5 and 6');
    cluster.untilConverged();
  });

  test('does not begin anew before the start of an epoch: those who had made up the quorum may be leaving', () => {
    const { cluster, client, admin } = started({ members: 3, witnesses: 1 });
    cluster.untilConverged();
    const [one, three] = [cluster.node(0), cluster.node(2)];
    const four = cluster.join(4);
    cluster.isolate(three.id, four.id);
    writeAll(client, 'away', 30);
    // Member 4, which takes the place of member 1, holds nothing yet.
    admin.ask(members(2, 4, member(3, 'witness')), true);
    cluster.isolate(four.id);
    cluster.run(5000);
    expect([three.replica.phase, three.replica.log.base]).toEqual(['transitioning', 0]);
    expect([one.replica.phase, one.replica.ended]).toEqual(['retired', false]);
    cluster.heal();
    cluster.until(() => one.replica.ended, 'the end of member 1');
    cluster.untilConverged();
    cluster.node(1).crash();
    client.write('with members 3 and 4');
  });

  test('may crash while it begins anew, whatever of it is durable', () => {
    for (const slow of ['journal', 'superblock'] as const) {
      const { cluster, client, witnesses } = witnessesAway({ voters: 2, witnesses: 1 });
      const [three] = witnesses as [Node];
      three.slowJournal = slow === 'journal';
      three.slowSuperblock = slow === 'superblock';
      cluster.heal();
      cluster.run(1000);
      three.restart();
      cluster.settle();
      expect(three.event('started')).toMatchObject({ usable: true });
      cluster.untilConverged();
      cluster.node(0).crash();
      client.write('with the other voter and the witness');
    }
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
