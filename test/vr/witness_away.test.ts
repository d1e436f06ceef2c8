/** Witnesses (PROTOCOL row 21): how one that was away comes by what its log lacks, or goes on without it. */
import { describe, expect, test } from 'vitest';
import { members, started, writeAll } from './administrator.ts';
import type { Packet } from './cluster.ts';
import { testMember as member } from './group.ts';
import type { Node } from './node.ts';
import { witnessesAway } from './witness_group.ts';

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

  // Seed 1526: no view lasted long enough for the turn to come round to the one that had the log.
  test('asks on from where it was when the view that it follows is over', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    cluster.untilConverged();
    const [, two, three, , five] = cluster.nodes as [Node, Node, Node, Node, Node];
    three.crash();
    cluster.isolate(five.id);
    writeAll(client, 'away', 30);
    // Member 1 has collected it, member 2 does not answer, member 3 is away, member 4 has it.
    cluster.drop = (p) => p.from === two.id && p.to === five.id && p.message.type === 'newState';
    const filled = (): boolean => five.event('log-filled') !== undefined;
    for (let views = 0; views < 10 && !filled(); views++) {
      cluster.run(120);
      const leader = cluster.untilServing().replica;
      if (!filled()) leader.viewChange.leaveFor(leader.view + 1);
    }
    expect(filled()).toBe(true);
    cluster.heal();
    cluster.untilConverged();
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

  // Seed 4174: what it had been filled with was to be cut below its own beginning.
  test('and collects some of what it was filled with while it recovers goes on from what is left', () => {
    const { cluster, client } = started({ members: 5, witnesses: 2 });
    writeAll(client, 'before', 12);
    cluster.run(2500);
    const [three, five] = [cluster.node(2), cluster.node(4)];
    five.crash();
    five.disk.damaged = true;
    // The other witness keeps the log for member 3.
    writeAll(client, 'away', 5);
    three.slowCheckpoint = true;
    writeAll(client, 'away', 25);
    five.start();
    const filled = (): boolean => five.event('log-filled') !== undefined;
    cluster.drop = (p) => p.to === five.id && (filled() ? p.message.type === 'recoveryResponse' : p.message.type === 'checkpointNotice' && p.from === three.id);
    cluster.until(() => five.disk.superblock.checkpoint.op === 15, 'what member 3 has on disk');
    expect(five.replica.log.base).toBe(10);
    cluster.heal();
    cluster.hold = (p) => p.to === five.id && p.message.type === 'newState';
    cluster.until(() => cluster.held.length > 0, 'the log of the view');
    three.slowCheckpoint = false;
    cluster.until(() => five.replica.log.base === 15, 'a shorter log');
    expect(five.replica.phase).toBe('recovering');
    cluster.release();
    cluster.untilConverged();
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

  // Seed 8254: two had lost their memories, and of the three left one lacked what only a state had. It could be given that only by those who waited for its answer.
  test('answers one that recovers while it still waits for what it lacks itself', () => {
    const group = witnessesAway({ voters: 3, witnesses: 2 }, { durability: 'memory' });
    const { cluster, client } = group;
    const [four, five] = group.witnesses as [Node, Node];
    const three = cluster.node(2);
    three.slowCheckpoint = true;
    writeAll(client, 'away', 30);
    for (const node of [three, four]) node.restart();
    cluster.heal();
    cluster.until(() => three.replica.phase === 'normal', 'member 3 back');
    expect(five.replica.log.head).toBeLessThan(cluster.node(0).replica.log.base);
    cluster.untilConverged();
    client.write('with all of them');
  });

  test('does not begin anew before the start of an epoch: those who had made up the quorum may be leaving', () => {
    const { cluster, client, admin } = started({ members: 3, witnesses: 1 });
    cluster.untilConverged();
    const [one, three] = [cluster.node(0), cluster.node(2)];
    const four = cluster.join(4);
    cluster.isolate(three.id, four.id);
    writeAll(client, 'away', 30);
    // Member 4, which takes the place of member 1, holds nothing yet. Of member 3 the primary believes the best: otherwise it would refuse.
    one.replica.normal.acked = () => one.replica.log.head;
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

  test('and is filled beyond the start of an epoch cuts nothing of it off, however long it takes to go through it', () => {
    const { cluster, client, admin } = started({ members: 5, witnesses: 2, replica: { entriesPerTurn: 3 } });
    cluster.untilConverged();
    const [three, five] = [cluster.node(2), cluster.node(4)];
    cluster.join(6);
    // Member 3 holds nothing on disk: the other witness keeps the log as from the start.
    three.crash();
    cluster.isolate(five.id);
    writeAll(client, 'away', 30);
    admin.change(members(1, 2, 3, member(4, 'witness'), member(5, 'witness'), member(6, 'observer')));
    writeAll(client, 'in the new epoch', 20);
    cluster.run(500);
    cluster.heal();
    cluster.until(() => five.replica.configuration.epoch === 1, 'member 5 in the new epoch');
    expect(five.event('log-filled')).toBeDefined();
    cluster.untilConverged();
    expect(bodies(five)).toEqual(bodies(cluster.node(3)));
  });

  // Seed 18290: whom it asked for the start of its first epoch had all left but a witness, which had nothing to give and said nothing.
  test('is left of those that a node knows that never became a member: when that was removed, it ends', () => {
    const { cluster, client, admin } = started({ members: 3, witnesses: 1 });
    const witness = member(3, 'witness');
    writeAll(client, 'before', 12);
    const four = cluster.join(4);
    for (const id of [5, 6]) cluster.join(id);
    const observers = [member(5, 'observer'), member(6, 'observer')];
    cluster.drop = (p) => p.to === four.id && p.message.type === 'newState';
    admin.change(members(1, 2, witness, 4), true);
    cluster.until(() => four.replica.phase === 'transitioning', 'member 4 on its way');
    cluster.isolate(four.id);
    for (const next of [members(1, 2, witness, ...observers), members(2, 5, witness, member(6, 'observer')), members(5, 6, witness)]) {
      writeAll(client, 'on', 12);
      cluster.run(2500);
      admin.change(next);
    }
    cluster.until(() => cluster.node(0).replica.ended && cluster.node(1).replica.ended, 'the end of members 1 and 2');
    for (const gone of [0, 1]) cluster.node(gone).crash();
    cluster.heal();
    cluster.until(() => four.replica.ended, 'the end of member 4');
  });

  // Seed 6228: what a voter lacks, a witness has behind the head of its log; it asked from what it knew to be committed on, which the witness has not.
  test('has what a voter lacks that has forgotten how far its log is committed', () => {
    const { cluster, client } = started({ members: 3, witnesses: 1 });
    const [one, two, three] = [cluster.node(0), cluster.node(1), cluster.node(2)];
    writeAll(client, 'all', 7);
    cluster.untilConverged();
    two.slowCheckpoint = true;
    cluster.isolate(three.id);
    writeAll(client, 'without the witness', 30);
    cluster.run(200);
    two.crash();
    cluster.heal();
    writeAll(client, 'without member 2', 3);
    one.crash();
    two.start();
    expect([two.replica.commit < three.replica.log.base, two.replica.log.head >= three.replica.log.base]).toEqual([true, true]);
    client.write('with member 2 and the witness');
  });

  // Seed 1352: what was an observer is the witness of an epoch that began without it, and one of the two who began it is gone for good.
  test('an observer that is a witness when it comes back counts behind a state of its epoch', () => {
    const { cluster, client, admin } = started();
    const [one, four] = [cluster.node(0), cluster.join(4)];
    admin.change(members(1, 2, 3, member(4, 'observer')));
    writeAll(client, 'with an observer', 7);
    cluster.untilConverged();
    cluster.isolate(four.id);
    writeAll(client, 'without it', 20);
    one.replica.normal.acked = () => one.replica.log.head;
    admin.change(members(1, 2, member(4, 'witness')), true);
    writeAll(client, 'in the new epoch', 20);
    cluster.run(500);
    one.crash();
    cluster.heal();
    cluster.until(() => four.replica.configuration.epoch === 2, 'member 4 in the new epoch');
    client.write('with members 2 and 4');
    expect(four.replica.isWitness).toBe(true);
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
