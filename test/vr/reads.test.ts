import { describe, expect, test } from 'vitest';
import { memberId, opNumber } from '../../lib/ids.ts';
import type { ReadReply, Reject } from '../../vr/messages.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';

function started(options: ConstructorParameters<typeof Cluster>[0] = {}): { cluster: Cluster; client: TestClient } {
  const cluster = new Cluster({ ...options, replica: { leaseMs: 0, ...options.replica } });
  const client = new TestClient(cluster).register();
  cluster.untilConverged();
  return { cluster, client };
}
const answers = (client: TestClient): ReadReply[] => client.replies.filter((m) => m.type === 'readReply') as ReadReply[];
const rounds = (cluster: Cluster): number[] => [...new Set(cluster.sentBy(memberId(1), 'commit').flatMap((p) => (p.message.type === 'commit' ? [p.message.round] : [])))];

describe('linearizable reads without a lease', () => {
  test('see every write that was answered before', () => {
    const { cluster, client } = started();
    for (let i = 0; i < 5; i++) {
      const { op } = client.write(`w${i}`);
      client.read(cluster.node(0), i, 'q');
      cluster.run(20);
      expect(answers(client).at(-1)).toMatchObject({ id: i, op });
    }
  });

  test('any number of them shares a round', () => {
    const { cluster, client } = started();
    const before = rounds(cluster).length;
    for (let i = 0; i < 100; i++) client.read(cluster.node(0), i, 'q');
    cluster.run(20);
    expect(answers(client).length).toBe(100);
    expect(rounds(cluster).length - before).toBe(1);
  });

  test('what was waited for long is answered in several turns: the heart-beats go on meanwhile', () => {
    const { cluster, client } = started();
    cluster.hold = (p) => p.message.type === 'prepareOk';
    const mebibyte = 'x'.repeat(1 << 20);
    for (let i = 0; i < 20; i++) client.read(cluster.node(0), i, mebibyte);
    cluster.settle();
    expect(answers(client)).toEqual([]);
    const [confirmation] = cluster.held;
    if (confirmation !== undefined) cluster.deliver(confirmation);
    const atOnce = answers(client).length;
    expect(atOnce).toBeGreaterThan(0);
    expect(atOnce).toBeLessThan(20);
    cluster.run(100);
    expect(answers(client).map((m) => m.id)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  test('those that come while a round is under way share the next', () => {
    const { cluster, client } = started();
    const before = rounds(cluster).length;
    client.read(cluster.node(0), 1, 'q');
    cluster.hold = (p) => p.message.type === 'prepareOk';
    cluster.settle();
    for (let i = 2; i <= 9; i++) {
      client.read(cluster.node(0), i, 'q');
      cluster.settle();
    }
    expect(answers(client)).toEqual([]);
    // What confirms the first round says nothing of the second.
    const [confirmation] = cluster.held;
    if (confirmation !== undefined) cluster.deliver(confirmation);
    expect(answers(client).map((m) => m.id)).toEqual([1]);
    cluster.release();
    cluster.settle();
    expect(answers(client).length).toBe(9);
    expect(rounds(cluster).length - before).toBe(2);
  });

  test('a lost round is asked again', () => {
    const { cluster, client } = started();
    let lost = 0;
    cluster.drop = (p) => p.message.type === 'prepareOk' && ++lost <= 4;
    client.read(cluster.node(0), 1, 'q');
    cluster.run(300);
    expect(lost).toBeGreaterThan(4);
    expect(answers(client).length).toBe(1);
  });

  test('a deposed primary that does not know it answers none', () => {
    const { cluster, client } = started();
    client.write('old');
    cluster.isolate(memberId(1));
    cluster.until(() => cluster.node(1).replica.normal.serving, 'view 1');
    const two = cluster.node(1);
    client.send(two, 0, 2, 'new');
    cluster.until(() => client.replyTo(0, 2) !== undefined, 'a write in view 1');
    const one = cluster.node(0);
    expect(one.replica.isPrimary).toBe(true);
    client.read(one, 7, 'q');
    cluster.run(2_000);
    expect(answers(client)).toEqual([]);
  });

  test('a confirmation of a former life or another view does not count', () => {
    const { cluster, client } = started();
    const one = cluster.node(0);
    client.read(one, 1, 'q');
    cluster.isolate(memberId(1));
    cluster.settle();
    const { epoch } = cluster.configuration;
    const head = one.replica.log.head;
    const { round } = one.replica.reads;
    one.replica.step({ epoch, sender: memberId(2), incarnation: 0 }, { type: 'prepareOk', view: one.replica.view, op: head, round, leaseMs: 0, stamp: 0 });
    one.replica.step({ epoch, sender: memberId(2), incarnation: 1 }, { type: 'prepareOk', view: one.replica.view, op: head, round: round - 1, leaseMs: 0, stamp: 0 });
    expect(answers(client)).toEqual([]);
    one.replica.step({ epoch, sender: memberId(2), incarnation: 1 }, { type: 'prepareOk', view: one.replica.view, op: head, round, leaseMs: 0, stamp: 0 });
    expect(answers(client).length).toBe(1);
  });

  test('a new primary serves none before it has executed what it inherited, though it is certain to lead', () => {
    const { cluster, client } = started();
    cluster.hold = (p) => p.message.type === 'prepareOk';
    client.post(cluster.node(0), 'inherited');
    cluster.settle();
    cluster.node(0).crash();
    cluster.discard();
    const two = cluster.node(1);
    cluster.until(() => two.replica.isPrimary && two.replica.normal.open, 'view 1');
    client.read(two, 1, 'q');
    // Member 3 is in this view too, and its disk does not have the view's log yet.
    cluster.run(100);
    two.replica.step({ epoch: cluster.configuration.epoch, sender: memberId(3), incarnation: 1 }, { type: 'prepareOk', view: two.replica.view, op: opNumber(0), round: two.replica.reads.round, leaseMs: 0, stamp: 0 });
    two.replica.flush();
    two.replica.execute();
    expect(two.replica.executed).toBe(1);
    expect(answers(client)).toEqual([]);
    cluster.release();
    cluster.until(() => answers(client).length > 0, 'the answer');
    expect(answers(client)[0]).toMatchObject({ op: 2 });
  });

  test('a group of one answers at once', () => {
    const { cluster, client } = started({ members: 1 });
    client.read(cluster.node(0), 1, 'q');
    cluster.settle();
    expect(answers(client).length).toBe(1);
  });
});

describe('causal reads', () => {
  test('any replica answers that has executed what the caller has seen', () => {
    const { cluster, client } = started();
    const { op } = client.write('x');
    cluster.run(100);
    for (let i = 0; i < 3; i++) client.read(cluster.node(i), i, 'q', { consistency: 'causal', minOp: op });
    expect(answers(client).map((m) => [m.id, m.op])).toEqual([[0, 2], [1, 2], [2, 2]]);
  });

  test('one that has not says so, and who leads: whoever takes it for the primary would ask it for ever', () => {
    const { cluster, client } = started();
    cluster.isolate(memberId(3));
    const { op } = client.write('x');
    client.read(cluster.node(2), 4, 'q', { consistency: 'causal', minOp: op });
    expect(client.replies.at(-2)).toMatchObject({ type: 'redirect', view: cluster.node(2).replica.view });
    expect(client.replies.at(-1)).toMatchObject({ type: 'reject', code: 'behind', id: 4, session: 0 });
    client.read(cluster.node(2), 5, 'q', { consistency: 'causal', minOp: 1 });
    expect(answers(client).map((m) => m.id)).toEqual([5]);
  });
});

describe('who is not part of the group', () => {
  const consistencies = ['causal', 'bounded', 'linearizable'] as const;
  const ask = (cluster: Cluster, node: Node, client: TestClient): void => {
    for (const [id, consistency] of consistencies.entries()) client.read(node, id, 'q', { consistency, maxStalenessMs: 1_000_000 });
    cluster.run(500);
  };
  const refusals = (client: TestClient): Reject[] => client.replies.filter((m) => m.type === 'reject') as Reject[];

  test('a node that waits to be made a member answers no read from its empty state', () => {
    const { cluster, client } = started();
    client.write('x');
    const joiner = cluster.join(9);
    cluster.run(500);
    expect(joiner.replica.phase).toBe('joining');
    const reader = new TestClient(cluster);
    ask(cluster, joiner, reader);
    expect(answers(reader)).toEqual([]);
    expect(refusals(reader).map((m) => [m.id, m.code])).toEqual([[0, 'behind'], [1, 'behind']]);
    expect(refusals(reader)[0]?.reason).toContain('waits to be made a member');
  });

  test('a group in memory mode that has lost everything answers no read from the empty state', () => {
    const { cluster, client } = started({ durability: 'memory' });
    client.write('x');
    for (const n of cluster.nodes) n.crash();
    for (const n of cluster.nodes) n.start();
    cluster.run(5000);
    for (const node of cluster.nodes) {
      expect(node.replica.phase).toBe('recovering');
      const reader = new TestClient(cluster);
      ask(cluster, node, reader);
      expect(answers(reader)).toEqual([]);
      expect(refusals(reader).map((m) => [m.id, m.code])).toEqual([[0, 'behind'], [1, 'behind']]);
      expect(refusals(reader)[0]?.reason).toContain('what it has lost');
    }
  });

  test('one that has recovered answers again', () => {
    const { cluster, client } = started({ durability: 'memory' });
    const { op } = client.write('x');
    cluster.untilConverged();
    const two = cluster.node(2);
    two.crash();
    two.start();
    cluster.until(() => two.replica.phase === 'normal' && two.replica.executed >= op, 'recovery');
    client.read(two, 5, 'q', { consistency: 'causal', minOp: op });
    expect(answers(client).map((m) => m.id)).toEqual([5]);
  });
});
