/** Witnesses (PROTOCOL row 21): on whom the group may count, and how one that was away goes on. */
import { describe, expect, test } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { members, started, writeAll } from './administrator.ts';
import type { ClusterOptions } from './cluster.ts';
import { testMember as member } from './group.ts';
import type { Node } from './node.ts';

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
