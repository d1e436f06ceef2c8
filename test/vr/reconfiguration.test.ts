/** Reconfiguration (VRR 7, PROTOCOL rows 20 and 21), told one message at a time. */
import { describe, expect, test } from 'vitest';
import { assert, defined } from '../../lib/assert.ts';
import { epoch as epochOf, memberId, viewNumber, type Epoch } from '../../lib/ids.ts';
import type { Member, Role } from '../../vr/configuration.ts';
import type { Message, NewEpoch } from '../../vr/messages.ts';
import { Cluster, type ClusterOptions } from './cluster.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';

function member(id: number, role: Role = 'voter'): Member {
  return { id: memberId(id), role, address: `10.0.0.${id}:7000`, httpAddress: `10.0.0.${id}:8000` };
}
const members = (...ids: (number | Member)[]): Member[] => ids.map((m) => (typeof m === 'number' ? member(m) : m));

function started(options: ClusterOptions = {}): { cluster: Cluster; client: TestClient; admin: Administrator } {
  const cluster = new Cluster({ ...options, replica: { checkpointOps: 5, ...options.replica } });
  const client = new TestClient(cluster).register();
  return { cluster, client, admin: new Administrator(cluster) };
}

/** Asks the present leader, again and again, until it is answered. */
class Administrator {
  readonly #cluster: Cluster;
  #connection = 1000;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  send(to: Node, at: Epoch, wanted: readonly Member[], force = false): () => Message | undefined {
    const connection = ++this.#connection;
    to.replica.receive(connection, { type: 'reconfigure', nonce: this.#cluster.random.bytes(16), epoch: at, members: wanted, force });
    return () => this.#cluster.replies.find((r) => r.connection === connection)?.message;
  }

  ask(wanted: readonly Member[], force = false): Message {
    const leader = this.#cluster.untilServing();
    const answer = this.send(leader, leader.replica.configuration.epoch, wanted, force);
    this.#cluster.until(() => answer() !== undefined, 'an answer');
    return defined(answer(), 'answer');
  }

  /** Until a quorum of the new members has started the epoch. */
  change(wanted: readonly Member[], force = false): NewEpoch {
    const answer = this.ask(wanted, force);
    assert(answer.type === 'newEpoch', `answered with ${JSON.stringify(answer)}`);
    const { epoch } = answer.configuration;
    this.#cluster.until(() => {
      const { leader } = this.#cluster;
      return leader !== undefined && leader.replica.configuration.epoch === epoch && leader.replica.reconfiguration.complete;
    }, `epoch ${epoch} complete`);
    return answer;
  }
}

function writeAll(client: TestClient, label: string, count: number): void {
  for (let i = 0; i < count; i++) client.write(`${label}-${i}`);
}

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
});

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
});
