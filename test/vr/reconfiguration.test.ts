/** Reconfiguration (VRR 7, PROTOCOL row 20), told one message at a time. */
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { epoch as epochOf, viewNumber } from '../../lib/ids.ts';
import { members, started, writeAll } from './administrator.ts';
import type { Member } from '../../vr/configuration.ts';
import { decodeMessage, encodeMessage } from '../../vr/message_codec.ts';
import { testMember as member } from './group.ts';

describe('adding', () => {
  test('an observer, which catches up, reads, and then gets a vote', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 12);
    const four = cluster.join(4);
    cluster.run(500);
    expect(four.replica.phase).toBe('joining');
    expect(cluster.sent.filter((p) => p.from === four.id)).toEqual([]);

    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    expect(four.replica.status()).toMatchObject({ role: 'observer', status: 'normal', epoch: 1 });
    client.write('in epoch 1');
    cluster.untilConverged();
    client.read(four, 7, 'here', { consistency: 'causal' });
    expect(client.replies.at(-1)).toMatchObject({ type: 'readReply', id: 7 });
    // Its acknowledgements do not count.
    cluster.drop = (p) => p.message.type === 'prepareOk' && p.from !== four.id;
    const leader = cluster.untilServing();
    const commit = leader.replica.commit;
    client.post(leader, 'not without a quorum');
    cluster.run(60);
    expect(leader.replica.commit).toBe(commit);
    cluster.heal();
    cluster.untilConverged();

    admin.change(members(1, 2, 3, 4));
    expect(cluster.untilServing().replica.quorum).toBe(3);
    client.write('in epoch 2');
    cluster.untilConverged();
    expect(four.replica.status()).toMatchObject({ role: 'voter', epoch: 2 });
  });

  test('the primary stays the primary', () => {
    const { cluster, client, admin } = started();
    cluster.node(0).crash();
    const leader = cluster.untilServing();
    cluster.node(0).start();
    cluster.untilConverged();
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    const now = cluster.untilServing();
    expect([leader.id, viewNumber(now.replica.view)]).toEqual([now.id, 1]);
    client.write('still here');
    // Its clients have no reason to ask anybody else, so it tells them; and so do the others theirs.
    const told = cluster.welcomes.filter((w) => w.epoch === 1);
    expect(told.map((w) => cluster.node(w.node).id).sort()).toEqual(now.replica.configuration.members.map((m) => m.id).sort());
  });

  test('to a vote at once is refused, unless it is forced: then it fetches all there is first', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 23);
    const four = cluster.join(4);
    expect(admin.ask(members(1, 2, 3, 4))).toMatchObject({ type: 'refused', code: 'unready', reason: expect.stringMatching(/nothing is heard of 10.0.0.4/) as string });
    admin.change(members(1, 2, 3, 4), true);
    cluster.untilConverged();
    expect(four.event('state-installed')).toBeDefined();
    expect(four.replica.status()).toMatchObject({ role: 'voter', epoch: 1 });
  });

  test('with an address that is none is refused, and whatever bytes a client sends stop nobody', () => {
    const { cluster, client, admin } = started();
    const observer = (change: Partial<Member>): Member => ({ ...member(9, 'observer'), ...change });
    for (const change of [{ address: 'garbage' }, { httpAddress: '' }, { httpAddress: '10.0.0.1:8000' }, { address: `${'\ufffd'.repeat(60_000)}:1` }]) {
      expect(admin.ask(members(1, 2, 3, observer(change)), true)).toMatchObject({ type: 'refused', code: 'invalid' });
    }
    // Each of these bytes would be read as three: what was decoded would not fit where it came from.
    const good = encodeMessage({ type: 'reconfigure', nonce: Buffer.alloc(16, 3), epoch: epochOf(0), members: members(1, 2, 3, observer({})), force: false });
    const at = good.indexOf(Buffer.from('10.0.0.9:7000'));
    const bad = Buffer.concat([good.subarray(0, at - 2), Buffer.from([60_000 >> 8, 60_000 & 255]), Buffer.alloc(60_000, 0xff), good.subarray(at + 13)]);
    expect(decodeMessage(bad)).toEqual({ ok: false, reason: expect.stringMatching(/text that is not UTF-8/) as string });
    const register = encodeMessage({ type: 'register', nonce: Buffer.alloc(16), flags: 0, name: 'x'.repeat(60_000) });
    expect(decodeMessage(Buffer.concat([register.subarray(0, register.length - 60_000), Buffer.alloc(60_000, 0xff)])).ok).toBe(false);
    expect(cluster.untilServing().replica.configuration.epoch).toBe(0);
    client.write('goes on');
    cluster.untilConverged();
  });

  test('that would not fit an entry of the log is refused before it closes the epoch', () => {
    const { cluster, client, admin } = started();
    const long = (id: number): Member => ({ ...member(id, 'observer'), address: `${id}-${'a'.repeat(60_000)}:1`, httpAddress: `${id}-${'b'.repeat(60_000)}:1` });
    expect(admin.ask(members(1, 2, 3, ...Array.from({ length: 10 }, (_, i) => long(10 + i))))).toMatchObject({ type: 'refused', code: 'invalid' });
    expect(cluster.untilServing().replica.normal.closing).toBe(false);
    client.write('goes on');
    cluster.untilConverged();
  });

  test('three to five, and back, under load', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'a', 8);
    cluster.join(4);
    cluster.join(5);
    admin.change(members(1, 2, 3, member(4, 'observer'), member(5, 'observer')));
    cluster.untilConverged();
    writeAll(client, 'b', 8);
    admin.change(members(1, 2, 3, 4, 5));
    writeAll(client, 'c', 8);
    expect(cluster.untilServing().replica.quorum).toBe(3);
    admin.change(members(3, 4, 5));
    writeAll(client, 'd', 8);
    cluster.until(() => cluster.node(0).replica.ended && cluster.node(1).replica.ended, 'the end of those who left');
    cluster.untilConverged();
    expect(cluster.untilServing().id).not.toBe(1);
  });
});

describe('leaving', () => {
  test('who leaves stays until a quorum of the new members has everything, and remembers', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 7);
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    const three = cluster.node(2);
    cluster.hold = (p) => p.message.type === 'epochStarted' && p.to === three.id;
    admin.change(members(1, 2, 4));
    cluster.until(() => three.replica.phase === 'retired', 'retired');
    cluster.run(3000);
    expect(three.replica.ended).toBe(false);
    expect(three.disk.superblock.retired).toBe(false);
    cluster.release();
    cluster.until(() => three.replica.ended, 'the end');
    expect(three.disk.superblock).toMatchObject({ retired: true, configuration: { epoch: 2 } });
    client.write('without it');
    // A client that still knows only the old address is told the new ones.
    client.post(three, 'to an old address');
    expect(client.replies.at(-1)).toMatchObject({ type: 'redirect', configuration: { epoch: 2, members: [{ id: 1 }, { id: 2 }, { id: 4 }] } });
  });

  test('the primary itself: another goes on', () => {
    const { cluster, client, admin } = started();
    const four = cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    const old = cluster.untilServing();
    expect(old.id).toBe(1);
    admin.change(members(2, 3, 4));
    const now = cluster.untilServing();
    expect(now.id).toBe(2);
    client.write('on');
    cluster.until(() => old.replica.ended, 'the end of the old primary');
    cluster.untilConverged();
    expect(four.replica.status()).toMatchObject({ status: 'normal', epoch: 2 });
  });

  test('a member that was away is told when it comes back', () => {
    const { cluster, client, admin } = started();
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    const three = cluster.node(2);
    three.crash();
    admin.change(members(1, 2, 4));
    writeAll(client, 'meanwhile', 12);
    three.start();
    cluster.until(() => three.replica.ended, 'the end');
    expect(cluster.sentBy(three.id, 'doViewChange')).toEqual([]);
    expect(three.disk.superblock.configuration.epoch).toBe(2);
  });

  test('one that retires and restarts before it is done ends all the same', () => {
    const { cluster, admin } = started();
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    const three = cluster.node(2);
    cluster.hold = (p) => p.message.type === 'epochStarted' && p.to === three.id;
    admin.change(members(1, 2, 4));
    cluster.until(() => three.replica.phase === 'retired', 'retired');
    three.crash();
    cluster.discard();
    cluster.hold = () => false;
    three.start();
    cluster.until(() => three.replica.ended, 'the end');
  });

  // Seeds 1430, 5097: it asked only those of which it did not know yet that they had begun the epoch in which it was no member any more.
  test('one that was cut off while the others of that epoch left too is told of the later ones by whoever is left', () => {
    const { cluster, client, admin } = started();
    for (const id of [4, 5, 6]) cluster.join(id);
    admin.change(members(1, 2, 3, member(4, 'observer'), member(5, 'observer'), member(6, 'observer')));
    cluster.untilConverged();
    const [one, two, three] = [cluster.node(0), cluster.node(1), cluster.node(2)];
    // Of the members with a vote only member 4 is heard to have begun the epoch.
    cluster.drop = (p) => p.to === three.id && p.from <= 2 && p.message.type === 'epochStarted';
    admin.change(members(1, 2, 4, member(5, 'observer'), member(6, 'observer')));
    cluster.until(() => three.replica.phase === 'retired', 'retired');
    cluster.run(200);
    cluster.isolate(three.id);
    for (const next of [members(2, 4, 5, member(6, 'observer')), members(4, 5, 6)]) {
      admin.change(next);
      writeAll(client, 'on', 3);
    }
    cluster.until(() => one.replica.ended && two.replica.ended, 'the end of the others');
    one.crash();
    two.crash();
    cluster.heal();
    expect(three.replica.ended).toBe(false);
    cluster.until(() => three.replica.ended, 'the end');
    expect(three.disk.superblock).toMatchObject({ retired: true, configuration: { epoch: 4 } });
  });

  // Seed 323: it went on asking those who have a vote in its epoch for a view change; all of them had left the group. (Others than a
  // witness tell everybody of their checkpoints now and then, and are answered.)
  test('a witness that missed its own removal is told of it by who had no vote in its last epoch', () => {
    const { cluster, client, admin } = started({ witnesses: 1 });
    for (const id of [4, 5, 6]) cluster.join(id);
    admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
    cluster.untilConverged();
    const [one, two, three] = [cluster.node(0), cluster.node(1), cluster.node(2)];
    cluster.isolate(three.id);
    const later = [member(5, 'observer'), member(6, 'observer')];
    for (const next of [members(1, 2, 4), members(1, 2, 4, ...later), members(1, 4, 5, member(6, 'observer')), members(4, 5, 6)]) {
      admin.change(next);
      writeAll(client, 'on', 3);
    }
    cluster.until(() => one.replica.ended && two.replica.ended, 'the end of the others');
    one.crash();
    two.crash();
    cluster.heal();
    expect(three.replica.status()).toMatchObject({ epoch: 1 });
    cluster.until(() => three.replica.ended, 'the end');
  });
});

describe('epochs', () => {
  test('a member that missed two of them catches up through both', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 7);
    const three = cluster.node(2);
    cluster.join(4);
    cluster.join(5);
    three.crash();
    admin.change(members(1, 2, 3, member(4, 'observer')));
    writeAll(client, 'one', 3);
    admin.change(members(1, 2, 3, member(4, 'observer'), member(5, 'observer')));
    writeAll(client, 'two', 30);
    three.start();
    cluster.untilConverged();
    expect(three.replica.status()).toMatchObject({ epoch: 2, status: 'normal', role: 'voter' });
  });

  test('a member that missed them is given what it lacks by the new ones, when all that it knew have gone', () => {
    const { cluster, client, admin } = started({ replica: { checkpointOps: 1000 } });
    const three = cluster.node(2);
    writeAll(client, 'before', 3);
    cluster.untilConverged();
    three.crash();
    cluster.join(4);
    cluster.join(5);
    for (const next of [members(1, 2, 3, member(4, 'observer'), member(5, 'observer')), members(1, 3, 4, member(5, 'observer')), members(3, 4, 5)]) {
      admin.change(next);
      writeAll(client, 'on', 3);
    }
    const gone = cluster.nodes.slice(0, 2);
    cluster.until(() => gone.every((n) => n.replica.ended), 'the end of the others');
    for (const n of gone) n.crash();
    three.start();
    cluster.untilConverged();
    expect(three.replica.status()).toMatchObject({ epoch: 3, status: 'normal', role: 'voter' });
  });

  // Seed 240: a witness whose log the others could only continue at its head asked from the op that it knew to be committed, and
  // a member that had lost its records waited for it.
  test('a member whose log reaches to what the others still hold goes on from there, and needs no checkpoint', () => {
    const { cluster, client, admin } = started();
    const three = cluster.node(2);
    writeAll(client, 'before', 6);
    cluster.untilConverged();
    three.slowCheckpoint = true;
    writeAll(client, 'behind its checkpoint', 7);
    cluster.untilConverged();
    const { head } = three.replica.log;
    three.crash();
    expect(three.disk.superblock.checkpoint.op).toBe(5);
    cluster.join(4);
    writeAll(client, 'without it', 4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    const { base } = cluster.untilServing().replica.log;
    expect(base).toBeGreaterThan(5);
    expect(base).toBeLessThanOrEqual(head);
    three.start();
    cluster.untilConverged();
    expect(three.replica.configuration.epoch).toBe(1);
    expect(three.event('state-installed')).toBeUndefined();
  });

  test('a member whose log ends differently goes on from what is committed', () => {
    const { cluster, client, admin } = started({ replica: { checkpointOps: 1000 } });
    writeAll(client, 'before', 3);
    const old = cluster.untilServing();
    cluster.isolate(old.id);
    client.post(old, 'only here', 1);
    cluster.run(20);
    const { head } = old.replica.log;
    old.crash();
    cluster.heal();
    cluster.join(4);
    writeAll(client, 'without it', 4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    old.start();
    expect(old.replica.log.head).toBe(head);
    cluster.untilConverged();
    expect(old.replica.configuration.epoch).toBe(1);
    expect(old.application.executed.map((e) => e.body.toString())).not.toContain('only here');
  });

  test('another epoch begins while the one before is not durable yet', () => {
    for (const away of [false, true]) {
      const { cluster, client, admin } = started();
      writeAll(client, 'before', 7);
      const three = cluster.node(2);
      cluster.join(4);
      cluster.join(5);
      admin.change(members(1, 2, 3, member(4, 'observer'), member(5, 'observer')));
      cluster.untilConverged();
      three.slowSuperblock = true;
      admin.change(members(1, 2, 3, 4, member(5, 'observer')));
      cluster.run(200);
      expect(three.replica.phase).toBe('transitioning');
      admin.change(away ? members(1, 2, 4) : members(1, 2, 3, 4, 5));
      writeAll(client, 'after', 3);
      cluster.run(200);
      three.slowSuperblock = false;
      if (away) cluster.until(() => three.replica.ended, 'the end');
      cluster.untilConverged();
      expect(three.replica.configuration.epoch).toBe(away ? 2 : 3);
    }
  });

  test('a backup that has the Reconfiguration but not its commit-number follows at the first message of the new epoch', () => {
    const { cluster, client, admin } = started({ replica: { checkpointOps: 1000 } });
    writeAll(client, 'before', 3);
    const three = cluster.node(2);
    cluster.join(4);
    cluster.hold = (p) => p.to === three.id && (p.message.type === 'startEpoch' || p.message.type === 'commit');
    admin.change(members(1, 2, 3, member(4, 'observer')));
    expect(three.replica.configuration.epoch).toBe(0);
    cluster.discard();
    cluster.hold = () => false;
    cluster.untilConverged();
    expect(three.replica.status()).toMatchObject({ epoch: 1, status: 'normal' });
  });

  test('a Reconfiguration that a view change drops closes nothing (row 20)', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 3);
    const one = cluster.untilServing();
    cluster.drop = (p) => p.from === one.id;
    const lost = admin.send(one, epochOf(0), members(1, 2, 3, member(4, 'observer')));
    cluster.run(40);
    expect(one.replica.normal.closing).toBe(true);
    cluster.until(() => cluster.leader !== undefined && cluster.leader.id !== one.id, 'another primary');
    cluster.heal();
    client.write('as before');
    cluster.untilConverged();
    expect(lost()).toBeUndefined();
    expect(one.replica.configuration.epoch).toBe(0);
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
  });

  test('one that a view change keeps is carried out by the next primary', () => {
    const { cluster, admin } = started();
    cluster.join(4);
    const one = cluster.untilServing();
    cluster.drop = (p) => p.message.type === 'prepareOk';
    admin.send(one, epochOf(0), members(1, 2, 3, member(4, 'observer')));
    cluster.run(30);
    one.crash();
    cluster.heal();
    cluster.until(() => cluster.leader?.replica.configuration.epoch === 1, 'the new epoch');
    one.start();
    cluster.untilConverged();
    expect(one.replica.status()).toMatchObject({ epoch: 1, status: 'normal' });
  });

  test('requests that come while an epoch ends are executed in the next, once', () => {
    const { cluster, client, admin } = started();
    cluster.join(4);
    const one = cluster.untilServing();
    cluster.hold = (p) => p.message.type === 'prepareOk';
    admin.send(one, epochOf(0), members(1, 2, 3, member(4, 'observer')));
    cluster.settle();
    const seq = client.post(one, 'meanwhile');
    cluster.settle();
    expect(one.replica.log.at(one.replica.log.head)?.kind).toBe('reconfiguration');
    cluster.release();
    cluster.until(() => client.replyTo(0, seq) !== undefined, 'the reply');
    const entry = one.replica.log.at(defined(client.replyTo(0, seq), 'reply').op);
    expect([entry?.epoch, entry?.body.toString()]).toEqual([1, 'meanwhile']);
  });

  test('a primary that has restarted counts itself: with one member gone the next change is possible', () => {
    const { cluster, admin } = started();
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    cluster.node(2).crash();
    cluster.node(0).restart();
    cluster.node(1).restart();
    cluster.untilServing();
    cluster.run(1000);
    admin.change(members(1, 2, 4));
  });

  test('one change at a time; another epoch than the present is answered with the present', () => {
    const { cluster, admin } = started();
    cluster.join(4);
    const one = cluster.untilServing();
    cluster.hold = (p) => p.message.type === 'prepareOk';
    const first = admin.send(one, epochOf(0), members(1, 2, 3, member(4, 'observer')));
    cluster.settle();
    const second = admin.send(one, epochOf(0), members(1, 2, 3, member(5, 'observer')));
    expect(second()).toMatchObject({ type: 'refused', code: 'underWay' });
    cluster.release();
    cluster.until(() => first() !== undefined, 'the first');
    expect(first()).toMatchObject({ type: 'newEpoch', configuration: { epoch: 1 } });
    cluster.untilConverged();
    const late = admin.send(cluster.untilServing(), epochOf(0), members(1, 2, 3, member(5, 'observer')));
    cluster.until(() => late() !== undefined, 'an answer');
    expect(late()).toMatchObject({ type: 'newEpoch', configuration: { epoch: 1, members: [{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }] } });
    expect(admin.send(cluster.node(2), epochOf(1), members(1, 2, 3))()).toMatchObject({ type: 'redirect' });
  });

  test('a crash of everybody at the change: all come back in one epoch or the other', () => {
    for (const ms of [0, 1, 2, 3]) {
      const { cluster, client, admin } = started();
      writeAll(client, 'before', 7);
      cluster.join(4);
      const one = cluster.untilServing();
      admin.send(one, epochOf(0), members(1, 2, 3, member(4, 'observer')));
      for (let i = 0; i < ms; i++) cluster.turn();
      for (const node of cluster.nodes) node.restart();
      client.write('after');
      cluster.untilConverged();
      const epochs = new Set(cluster.nodes.slice(0, 3).map((n) => n.replica.configuration.epoch));
      expect(epochs.size).toBe(1);
    }
  });

  test('memory mode: a member that restarts after the change recovers in the new epoch', () => {
    const { cluster, client, admin } = started({ durability: 'memory' });
    writeAll(client, 'before', 7);
    const four = cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    admin.change(members(2, 3, 4));
    writeAll(client, 'after', 7);
    four.restart();
    cluster.untilConverged();
    expect(four.replica.status()).toMatchObject({ status: 'normal', epoch: 2, role: 'voter' });
  });

  test('an old member that restarts without a certain log learns of the new epoch', () => {
    const { cluster, client, admin } = started();
    writeAll(client, 'before', 7);
    cluster.join(4);
    const three = cluster.node(2);
    three.crash();
    three.disk.damaged = true;
    admin.change(members(1, 2, 3, member(4, 'observer')));
    writeAll(client, 'after', 13);
    three.start();
    expect(three.replica.phase).toBe('recovering');
    cluster.untilConverged();
    expect(three.replica.status()).toMatchObject({ status: 'normal', epoch: 1 });
  });
});

describe('promotion', () => {
  test('an observer takes the place of a member that is gone', () => {
    const { cluster, client, admin } = started({ replica: { autoPromoteMs: 3000 } });
    const four = cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    cluster.node(2).crash();
    cluster.until(() => cluster.leader?.replica.configuration.epoch === 2, 'the promotion', 10_000);
    cluster.until(() => four.replica.status().role === 'voter', 'a vote');
    // Now another may go.
    cluster.node(1).crash();
    client.write('with the promoted');
    cluster.node(2).start();
    cluster.until(() => cluster.node(2).replica.status().role === 'observer' && cluster.node(2).replica.phase === 'normal', 'back as an observer');
  });

  // Seed 13057: of one that had been there for half a second, and then lost its disk, the witnesses did not know what it held.
  test('and not one that has told of no state on its disk that goes on in the log', () => {
    const { cluster, client, admin } = started({ replica: { autoPromoteMs: 3000 } });
    const four = cluster.join(4);
    cluster.drop = (p) => p.from === four.id && p.message.type === 'checkpointNotice';
    writeAll(client, 'before', 20);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    cluster.node(2).crash();
    cluster.run(10_000);
    expect(cluster.leader?.replica.configuration.epoch).toBe(1);
    cluster.heal();
    cluster.until(() => cluster.leader?.replica.configuration.epoch === 2, 'the promotion', 10_000);
  });
});
