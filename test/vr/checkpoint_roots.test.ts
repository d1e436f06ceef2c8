/** Roots of checkpoints: which one a transfer trusts, and what becomes of a replica whose state has gone astray. */
import { describe, expect, test } from 'vitest';
import { digest, memberId, opNumber, view } from '../../lib/ids.ts';
import type { CheckpointId } from '../../vr/superblock.ts';
import { members, started as withAdministrator } from './administrator.ts';
import type { Cluster } from './cluster.ts';
import { testMember } from './group.ts';
import { everyFive, started } from './settled_cluster.ts';
import type { TestClient } from './test_client.ts';

describe('roots', () => {
  test('a replica whose root differs from a quorum\'s stops, loudly', () => {
    const { cluster, client } = started(everyFive);
    // A record of the third member's state has gone bad.
    const three = cluster.node(2);
    three.table.put(Buffer.from([0, 0, 0, 0, 0, 0, 0x40, 1]), Buffer.from('rot'));
    expect(() => {
      for (let i = 0; i < 10; i++) client.write(`w${i}`);
      cluster.run(3_000);
    }).toThrow(/gone astray: at checkpoint 5 a quorum has another root/);
    expect(three.event('root-differs')).toBeDefined();
  });

  test('one other opinion is told, and stops nobody', () => {
    const { cluster, client } = started(everyFive);
    for (let i = 0; i < 10; i++) client.write(`w${i}`);
    cluster.untilConverged();
    const one = cluster.node(0);
    const { checkpoint } = one.replica.persistence.superblock;
    const wrong = { ...checkpoint, root: digest('w'.repeat(32)) };
    one.replica.step({ epoch: cluster.configuration.epoch, sender: memberId(2), incarnation: 1 }, { type: 'checkpointNotice', view: view(0), checkpoint: wrong });
    expect(one.event('root-differs')).toMatchObject({ op: 10 });
    client.write('still');
  });

  describe('told by observers', () => {
    /** Voters 1 to 3, observers 4 and 5, all at some checkpoint; and the one that the observers tell of at that op. */
    function observed(): { cluster: Cluster; client: TestClient; checkpoint: CheckpointId; wrong: CheckpointId } {
      const { cluster, client, admin } = withAdministrator({ replica: { checkpointOps: 5, retainEntries: 0 } });
      for (const id of [4, 5]) cluster.join(id);
      admin.change(members(1, 2, 3, testMember(4, 'observer'), testMember(5, 'observer')));
      for (let i = 0; i < 20; i++) client.write(`w${i}`);
      cluster.untilConverged();
      const { checkpoint } = cluster.node(0).replica.persistence.superblock;
      return { cluster, client, checkpoint, wrong: { ...checkpoint, root: digest('x'.repeat(32)) } };
    }
    function tell(cluster: Cluster, to: ReturnType<Cluster['node']>, from: number, checkpoint: CheckpointId): void {
      to.replica.step(cluster.byId(memberId(from)).envelope, { type: 'checkpointNotice', view: to.replica.view, checkpoint });
    }

    test('wrong roots stop no voter, however many tell them', () => {
      const { cluster, client, wrong } = observed();
      for (const id of [4, 5]) tell(cluster, cluster.node(0), id, wrong);
      expect(cluster.node(0).event('root-differs')).toMatchObject({ op: wrong.op });
      client.write('still');
    });

    test('a root that a quorum of the voters contradicts stops the observer that has it', () => {
      const { cluster, wrong } = observed();
      const four = cluster.byId(memberId(4));
      tell(cluster, four, 1, wrong);
      expect(() => { tell(cluster, four, 2, wrong); }).toThrow(/gone astray/);
    });

    test('a root makes no quorum for a transfer, and cannot keep one from what a voter tells', () => {
      const { cluster, client, wrong } = observed();
      const three = cluster.node(2);
      cluster.isolate(three.id);
      for (let i = 0; i < 20; i++) client.write(`v${i}`);
      cluster.untilServing();
      const { checkpoint } = cluster.node(0).replica.persistence.superblock;
      cluster.node(1).crash();
      const lie = { ...wrong, op: checkpoint.op };
      for (const id of [4, 5]) tell(cluster, three, id, lie);
      three.replica.handOver.fetch(lie, memberId(4));
      expect(three.fetchStarted).toBe(false);
      cluster.drop = (p) => p.to === 3 && p.from !== 1;
      cluster.until(() => three.event('state-installed') !== undefined, 'the state');
      expect(three.event('state-installed')).toMatchObject({ op: checkpoint.op });
    });
  });

  test('a disputed checkpoint is not taken over', () => {
    const { cluster, client } = started(everyFive);
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 20; i++) client.write(`w${i}`);
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    three.replica.step({ epoch: cluster.configuration.epoch, sender: memberId(2), incarnation: 1 }, { type: 'checkpointNotice', view: view(0), checkpoint: { ...checkpoint, root: digest('w'.repeat(32)) } });
    three.replica.handOver.fetch({ ...checkpoint, op: opNumber(checkpoint.op), view: view(0) });
    expect(three.event('checkpoint-disputed')).toMatchObject({ op: 20, member: 2 });
    expect(three.replica.handOver.fetching).toBe(false);
  });
});

describe('the root that a transfer trusts', () => {
  const FIVE = { members: 5, replica: { checkpointOps: 5, retainEntries: 0 } };
  /** The fifth member misses ops 2 to 23; checkpoint 20 is everywhere else. */
  function behind(options: ConstructorParameters<typeof Cluster>[0]): { cluster: Cluster; client: TestClient; last: ReturnType<Cluster['node']> } {
    const { cluster, client } = started(options);
    const last = cluster.node((options?.members ?? 3) - 1);
    cluster.isolate(last.id);
    for (let i = 0; i < 23; i++) client.write(`w${i}`);
    return { cluster, client, last };
  }
  function notice(cluster: Cluster, to: ReturnType<Cluster['node']>, from: number, checkpoint: CheckpointId): void {
    to.replica.step({ epoch: cluster.configuration.epoch, sender: memberId(from), incarnation: 1 }, { type: 'checkpointNotice', view: view(0), checkpoint });
  }

  test('is a quorum\'s: the transfer begins when enough have told it', () => {
    const { cluster, last } = behind(FIVE);
    // The primary says where its log begins; of the others none has told of a checkpoint yet.
    cluster.hold = (p) => p.to === 5 && p.message.type === 'checkpointNotice';
    last.slowFetch = true;
    cluster.heal();
    cluster.until(() => last.event('state-transfer') !== undefined, 'a target');
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    notice(cluster, last, 2, checkpoint);
    expect(last.fetchStarted).toBe(false);
    notice(cluster, last, 3, checkpoint);
    expect(last.fetchStarted).toBe(true);
    expect(last.event('checkpoint-unconfirmed')).toBeUndefined();
    cluster.hold = () => false;
    cluster.discard();
    last.slowFetch = false;
    cluster.untilConverged();
  });

  // Seed 874: a member that had lost its state went on telling of it for a while, and each transfer that failed was followed by one to the same.
  test('is not one that nobody gives, however new: after that another takes its place', () => {
    const { cluster, last } = behind(FIVE);
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    const lost = { ...checkpoint, op: opNumber(25), root: digest('l'.repeat(32)) };
    cluster.heal();
    cluster.drop = (p) => p.to === 5 && p.message.type === 'checkpointNotice' && p.from !== 1;
    // As often as a member tells, and the primary's only now and then.
    for (let i = 0; i < 40 && last.event('state-installed') === undefined; i++) {
      notice(cluster, last, 2, lost);
      cluster.run(250);
    }
    expect(last.event('state-installed')).toMatchObject({ op: 20 });
    cluster.drop = () => false;
  });

  test('is one member\'s when no quorum can tell it: nobody waits for those that are down', () => {
    const { cluster, client, last } = behind(everyFive);
    cluster.node(1).crash();
    cluster.heal();
    cluster.until(() => last.event('state-installed') !== undefined, 'the state', 1000);
    expect(last.event('checkpoint-unconfirmed')).toMatchObject({ op: 20, told: 1, quorum: 2 });
    client.write('more');
    cluster.untilConverged();
  });

  test('is one member\'s when the others have not told it within their interval: they may have none', () => {
    const { cluster, last } = behind(FIVE);
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    cluster.heal();
    cluster.drop = (p) => p.to === 5 && p.message.type === 'checkpointNotice';
    cluster.until(() => last.event('state-transfer') !== undefined, 'a target');
    for (const from of [2, 3, 4]) notice(cluster, last, from, { ...checkpoint, op: opNumber(15) });
    const { now } = cluster;
    cluster.until(() => last.event('state-installed') !== undefined, 'the state', 4000);
    expect(cluster.now - now).toBeGreaterThan(1500);
    expect(last.event('checkpoint-unconfirmed')).toMatchObject({ told: 1, quorum: 3 });
    cluster.drop = () => false;
    cluster.untilConverged();
  });

  test('is a quorum\'s also when one member tells another: that one is not believed, and stops nobody', () => {
    const { cluster, last } = behind(FIVE);
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    const wrong = { ...checkpoint, root: digest('w'.repeat(32)) };
    notice(cluster, last, 2, wrong);
    for (const from of [1, 3, 4]) notice(cluster, last, from, checkpoint);
    last.replica.handOver.fetch(wrong, memberId(2));
    expect(last.event('checkpoint-disputed')).toMatchObject({ op: 20 });
    expect(last.replica.handOver.fetching).toBe(false);
    last.replica.handOver.fetch(checkpoint, memberId(1));
    expect(last.fetchStarted).toBe(true);
    cluster.heal();
    cluster.untilConverged();
  });

  test('that is disputed while it is waited for is not taken', () => {
    const { cluster, last } = behind(FIVE);
    cluster.drop = (p) => p.to === 5 && p.message.type === 'checkpointNotice';
    const { checkpoint } = cluster.node(0).replica.persistence.superblock;
    const wrong = { ...checkpoint, root: digest('w'.repeat(32)) };
    for (const from of [1, 3, 4]) notice(cluster, last, from, { ...checkpoint, op: opNumber(15) });
    last.replica.handOver.fetch(wrong, memberId(2));
    expect(last.replica.handOver.fetching).toBe(true);
    for (const from of [1, 3, 4]) notice(cluster, last, from, checkpoint);
    expect(last.event('checkpoint-disputed')).toMatchObject({ op: 20 });
    expect(last.replica.handOver.fetching).toBe(false);
    cluster.heal();
    cluster.untilConverged();
    expect(last.event('state-installed')).toMatchObject({ op: 20 });
  });
});
