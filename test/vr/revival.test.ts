/** A group that goes on from a checkpoint: who it is, how it begins, what it answers. */
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { sha256, ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, view, viewEpoch, viewOf, type MemberId } from '../../lib/ids.ts';
import { configuration, type Configuration } from '../../vr/configuration.ts';
import { CONFIGURATION_KEY, decodeBeginning, encodeBeginning } from '../../vr/configuration_record.ts';
import { encodeReconfigurationBody } from '../../vr/reconfiguration.ts';
import type { Reject, Reply } from '../../vr/messages.ts';
import { firstViewOf, membersAt, revivedClusterId, revivedSuperblock, type MembersAt } from '../../vr/revival.ts';
import type { CheckpointId, EpochStart } from '../../vr/superblock.ts';
import { Cluster } from './cluster.ts';
import { CLUSTER_ID, freshSuperblock, testConfiguration } from './group.ts';
import { Disk, type Founding, type Node } from './node.ts';
import { TestClient } from './test_client.ts';

const MEMORY = { durability: 'memory', replica: { checkpointOps: 5 } } as const;
/** Of the group that was revived: with the seed of the old one a new client would have an old client's nonce, and be taken for it. */
const REVIVED = { ...MEMORY, seed: 2 } as const;
const CHECKPOINT: CheckpointId = { op: opNumber(40), root: sha256(Buffer.from('root')), entryHash: sha256(Buffer.from('entry')), view: view(2), time: 7_000_000 };
const three = testConfiguration(3, 'memory');
const AT: MembersAt = { configuration: three, epochStart: null };

function nextEpoch(of: Configuration): { readonly configuration: Configuration; readonly start: EpochStart } {
  const next = configuration(epoch(of.epoch + 1), [...of.members, { id: memberId(9), role: 'voter', address: '10.0.0.9:7000', httpAddress: '10.0.0.9:8000' }], of.durability);
  return { configuration: next, start: { op: opNumber(30), entryHash: ZERO_DIGEST, view: viewOf(next.epoch, 1), previous: of, held: opNumber(0) } };
}

/** All of a group were killed; those in `ids` begin anew with the newest checkpoint of `from`, whatever they had themselves. */
function revivedFrom(from: Node): { readonly founding: Founding; readonly checkpoint: CheckpointId } {
  const snapshot = defined(from.disk.snapshots.at(-1), 'a checkpoint');
  const at = defined(membersAt(snapshot.table.get(CONFIGURATION_KEY), from.disk.superblock) ?? undefined, 'members');
  const clusterId = revivedClusterId(CLUSTER_ID, snapshot.id, at);
  const disk = (id: MemberId): Disk => {
    const made = new Disk(revivedSuperblock({ clusterId, memberId: id, instance: Buffer.alloc(16, id) }, snapshot.id, at));
    made.snapshots = [{ id: snapshot.id, table: snapshot.table.copy() }];
    return made;
  };
  return { founding: { configuration: at.configuration, disk }, checkpoint: snapshot.id };
}

describe('the id of a revived group', () => {
  test('is the same wherever it is made, and another for any other origin, checkpoint or members', () => {
    const id = revivedClusterId(CLUSTER_ID, CHECKPOINT, AT).toString('hex');
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(revivedClusterId(Buffer.from(CLUSTER_ID), { ...CHECKPOINT }, { configuration: testConfiguration(3, 'memory'), epochStart: null }).toString('hex')).toBe(id);
    const others = [
      CLUSTER_ID.toString('hex'),
      revivedClusterId(Buffer.alloc(16, 1), CHECKPOINT, AT).toString('hex'),
      revivedClusterId(CLUSTER_ID, { ...CHECKPOINT, op: opNumber(41) }, AT).toString('hex'),
      revivedClusterId(CLUSTER_ID, { ...CHECKPOINT, root: ZERO_DIGEST }, AT).toString('hex'),
      revivedClusterId(CLUSTER_ID, CHECKPOINT, { configuration: testConfiguration(5, 'memory'), epochStart: null }).toString('hex'),
      revivedClusterId(revivedClusterId(CLUSTER_ID, CHECKPOINT, AT), CHECKPOINT, AT).toString('hex'),
    ];
    expect(new Set([id, ...others]).size).toBe(others.length + 1);
  });
});

describe('the members of a revived group', () => {
  const first = nextEpoch(three);
  const second = nextEpoch(first.configuration.members.length > 0 ? configuration(epoch(1), three.members, 'memory') : three);

  test('are those in the state, whatever the superblock has come to since', () => {
    const record = encodeBeginning({ start: first.start, configuration: first.configuration });
    expect(decodeBeginning(record)).toEqual({ ok: true, value: { start: first.start, configuration: first.configuration } });
    expect(membersAt(record, { configuration: second.configuration, epochStart: second.start })).toEqual({ configuration: first.configuration, epochStart: first.start });
    expect(membersAt(record, freshSuperblock(three, 1))).toEqual({ configuration: first.configuration, epochStart: first.start });
  });

  test('are the founders while the state knows of no change', () => {
    expect(membersAt(undefined, freshSuperblock(three, 1))).toEqual(AT);
    expect(membersAt(undefined, { configuration: first.configuration, epochStart: first.start })).toEqual(AT);
  });

  test('are not guessed', () => {
    expect(membersAt(undefined, { configuration: second.configuration, epochStart: second.start })).toBeNull();
    // A node that was made to join in epoch 1, and was told nothing of the one before.
    expect(membersAt(undefined, { configuration: first.configuration, epochStart: null })).toBeNull();
    expect(membersAt(Buffer.from('?'), freshSuperblock(three, 1))).toBeNull();
  });
});

describe('a member of a revived group', () => {
  test('begins in the view of the last entry, which nobody may fall behind', () => {
    expect(revivedSuperblock({ clusterId: CLUSTER_ID, memberId: memberId(2), instance: Buffer.alloc(16, 1) }, CHECKPOINT, AT)).toEqual({
      clusterId: CLUSTER_ID, memberId: 2, instance: Buffer.alloc(16, 1), configuration: three, epochStart: null, incarnation: 0,
      view: 2, promisedView: 2, logView: 2, checkpoint: CHECKPOINT, heldByAll: 40, leaseMs: 0, retired: false,
    });
  });

  test('begins in the first view of an epoch that the last entry began', () => {
    const { configuration: next, start } = nextEpoch(three);
    const v = firstViewOf(CHECKPOINT, { configuration: next, epochStart: start });
    expect(v).toBe(start.view);
    expect(viewEpoch(v)).toBe(1);
  });
});

/** Ops 1 (a session) to 12; checkpoints at 5 and 10; the view has changed before the last one. All are killed. */
function lostGroup(): { readonly cluster: Cluster; readonly client: TestClient } {
  const cluster = new Cluster(MEMORY);
  const client = new TestClient(cluster).register();
  for (let i = 2; i <= 6; i++) client.write(`w${i}`);
  cluster.untilConverged();
  cluster.node(0).crash();
  client.write('w7');
  cluster.node(0).start();
  cluster.untilConverged();
  for (let i = 8; i <= 12; i++) client.write(`w${i}`);
  cluster.untilConverged();
  for (const n of cluster.nodes) n.crash();
  return { cluster, client };
}

const replies = (client: TestClient): Reply[] => client.replies.filter((m): m is Reply => m.type === 'reply');

describe('a group that was revived', () => {
  test('serves what was in the checkpoint, and goes on behind it', () => {
    const { cluster: old } = lostGroup();
    const { founding, checkpoint } = revivedFrom(old.node(1));
    expect(checkpoint.op).toBe(10);
    expect(checkpoint.view).toBeGreaterThan(0);
    const cluster = new Cluster({ ...REVIVED, founding });
    const leader = cluster.untilServing();
    expect([leader.replica.view, leader.replica.log.base, leader.replica.commit, leader.replica.executed]).toEqual([checkpoint.view, 10, 10, 10]);
    const state = defined(old.node(1).disk.snapshots.at(-1), 'checkpoint').table;
    for (const n of cluster.nodes) expect(n.table.equals(state)).toBe(true);

    const client = new TestClient(cluster).register();
    expect(client.session).toBe(11);
    expect(client.write('new')).toMatchObject({ op: 12, result: Buffer.from('12:new') });
    cluster.untilConverged();
    for (const n of cluster.nodes) {
      expect(n.application.executed.map((e) => e.body.toString())).toEqual(['new']);
      const [entry] = n.application.executed;
      expect([entry?.op, entry?.view]).toEqual([12, checkpoint.view]);
      expect(entry?.time).toBeGreaterThan(checkpoint.time);
      expect(n.event('recovering')).toBeUndefined();
    }
  });

  test('takes checkpoints, loses members and gets them back, as any other', () => {
    const { founding } = revivedFrom(lostGroup().cluster.node(1));
    const cluster = new Cluster({ ...REVIVED, founding });
    const client = new TestClient(cluster).register();
    for (let round = 0; round < 9; round++) {
      client.write(`x${round}`);
      cluster.node(round % 3).restart();
      expect(cluster.node(round % 3).replica.phase).toBe('recovering');
      cluster.untilConverged();
    }
    for (const n of cluster.nodes) expect([n.replica.executed, n.disk.superblock.checkpoint.op]).toEqual([20, 20]);
  });

  test('waits for a member that is revived late, and then has it with everything', () => {
    const { founding } = revivedFrom(lostGroup().cluster.node(1));
    const cluster = new Cluster({ ...REVIVED, founding });
    cluster.node(2).crash();
    cluster.node(2).disk.superblock = founding.disk(memberId(3)).superblock;
    const client = new TestClient(cluster).register();
    for (let i = 0; i < 12; i++) client.write(`x${i}`);
    cluster.node(2).start();
    cluster.untilConverged();
    expect(cluster.node(2).replica.executed).toBe(23);
    expect(cluster.node(2).event('state-installed')).toBeDefined();
  });

  test('dies with its last member, and says so, as any other', () => {
    const { founding } = revivedFrom(lostGroup().cluster.node(1));
    const cluster = new Cluster({ ...REVIVED, founding });
    new TestClient(cluster).register().write('lost');
    for (const n of cluster.nodes) n.restart();
    cluster.run(10_000);
    for (const n of cluster.nodes) {
      expect(n.replica.phase).toBe('recovering');
      expect(n.event('group-cannot-recover')).toBeDefined();
    }
  });

  test('answers what was executed before the checkpoint from the stored reply, and never twice', () => {
    const { cluster: old, client: before } = lostGroup();
    const { founding } = revivedFrom(old.node(1));
    const cluster = new Cluster({ ...REVIVED, founding });
    const leader = cluster.untilServing();
    const stored = defined(replies(before).find((m) => m.op === 10), 'reply of op 10');
    const again = new TestClient(cluster);
    again.session = before.session;
    again.send(leader, 0, stored.seq, 'w10');
    // An older one of the slot, and one of a session that began behind the checkpoint.
    again.send(leader, 0, stored.seq - 1, 'w9');
    again.session = opNumber(11) as never;
    again.send(leader, 0, 1, 'unknown');
    cluster.run(200);
    expect(replies(again).map((m) => [m.seq, m.op, m.result.toString()])).toEqual([[stored.seq, 10, '10:w10']]);
    expect(again.replies.filter((m): m is Reject => m.type === 'reject').map((m) => m.code)).toEqual(['noSession']);
    expect(leader.replica.executed).toBe(10);
  });

  test('ends the sessions of the old one after their time-out', () => {
    const { cluster: old, client: before } = lostGroup();
    const { founding } = revivedFrom(old.node(1));
    const cluster = new Cluster({ ...REVIVED, founding });
    expect(cluster.untilServing().replica.clients.session(before.session)).toBeDefined();
    cluster.until(() => cluster.nodes.every((n) => n.event('session-expired') !== undefined), 'the old session ends', 120_000);
    for (const n of cluster.nodes) expect(n.replica.clients.session(before.session)).toBeUndefined();
  });

  test('knows its epoch when the checkpoint is behind a change of members', () => {
    const { configuration: next, start } = nextEpoch(three);
    expect(encodeReconfigurationBody({ previous: three, next, held: opNumber(0) }).length).toBeGreaterThan(0);
    const { cluster: old } = lostGroup();
    const snapshot = defined(old.node(1).disk.snapshots.at(-1), 'checkpoint');
    snapshot.table.put(CONFIGURATION_KEY, encodeBeginning({ start: { ...start, op: opNumber(8) }, configuration: configuration(epoch(1), three.members, 'memory') }));
    const { founding } = revivedFrom(old.node(1));
    const cluster = new Cluster({ ...REVIVED, founding });
    const client = new TestClient(cluster).register();
    expect(client.write('y').op).toBe(12);
    cluster.untilConverged();
    for (const n of cluster.nodes) expect([n.replica.configuration.epoch, viewEpoch(n.replica.view), n.replica.phase]).toEqual([1, 1, 'normal']);
  });
});

type Snapshots = Disk['snapshots'];

describe('a first boot', () => {
  const one = (change: (id: CheckpointId) => Partial<CheckpointId>) => (d: Disk): void => {
    d.snapshots = d.snapshots.map((s) => ({ ...s, id: { ...s.id, ...change(s.id) } }));
  };

  function withThird(change: (d: Disk, old: Snapshots) => void): Cluster {
    const { cluster: old } = lostGroup();
    const { founding } = revivedFrom(old.node(1));
    const disk = (id: MemberId): Disk => {
      const made = founding.disk(id);
      if (id === 3) change(made, old.node(1).disk.snapshots);
      return made;
    };
    return new Cluster({ ...REVIVED, founding: { ...founding, disk } });
  }

  test.each([
    ['with an older state than it was formatted with', (d: Disk, old: Snapshots) => { d.snapshots = old.slice(0, 1); }],
    ['without a state', (d: Disk) => { d.transferring = true; }],
    ['that is not the first', (d: Disk) => { d.superblock = { ...d.superblock, incarnation: 1 }; }],
  ])('%s recovers', (_what, change) => {
    const cluster = withThird(change);
    expect(cluster.nodes.map((n) => n.replica.phase)).toEqual(['normal', 'normal', 'recovering']);
    new TestClient(cluster).register().write('z');
    cluster.untilConverged();
    expect(cluster.node(2).replica.executed).toBe(12);
  });

  test.each([
    ['with a newer state than it was formatted with', one(({ op }) => ({ op: opNumber(op + 1) }))],
    ['with another root', one(() => ({ root: ZERO_DIGEST }))],
    ['with a log that continues elsewhere', one(() => ({ entryHash: ZERO_DIGEST }))],
  ])('%s takes no part by itself', (_what, change) => {
    const cluster = withThird(change);
    expect(cluster.nodes.map((n) => n.replica.phase)).toEqual(['normal', 'normal', 'recovering']);
    // There is no group that has such a state: what it would be told ends it (gone astray, another entry).
    cluster.isolate(memberId(3));
    new TestClient(cluster).register().write('z');
    cluster.run(2000);
    expect(cluster.nodes.map((n) => n.replica.phase)).toEqual(['normal', 'normal', 'recovering']);
  });
});
