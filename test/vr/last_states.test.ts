/**
 * A transfer replaces the records in place: while it lasts its voter has no state. Where others than voters make up the quorum (row 21),
 * few voters may be up to date: those that are not must not give up the last states that f failures would leave.
 */
import { expect, test } from 'vitest';
import { members, started, writeAll } from './administrator.ts';
import type { ReplicaOptions } from '../../vr/replica_types.ts';
import type { Node } from './node.ts';
import { testMember as member } from './group.ts';

test('of two voters that lag together one takes the log of the witness first: with the others gone theirs would be the last states', () => {
  const { cluster, client } = started({ members: 5, witnesses: 1 });
  cluster.untilConverged();
  const [one, two, three, four] = cluster.nodes as [Node, Node, Node, Node];
  cluster.isolate(three.id, four.id);
  writeAll(client, 'away', 30);
  three.failFetch = four.failFetch = 'torn';
  cluster.heal();
  cluster.run(6000);
  one.crash();
  two.crash();
  client.write('with members 3, 4 and the witness');
  expect([three, four].filter((node) => node.replica.execution.ready).map((node) => node.event('log-filled'))).toMatchObject([{}]);
});

test('one that lags alone takes the state of the others, which hold more than f failures may take', () => {
  const { cluster, client } = started({ members: 5, witnesses: 1 });
  cluster.untilConverged();
  const four = cluster.node(3);
  cluster.isolate(four.id);
  writeAll(client, 'away', 30);
  cluster.run(2500);
  // The witness keeps the log for it all the same.
  expect(cluster.node(4).replica.log.base).toBeLessThan(5);
  cluster.heal();
  cluster.until(() => four.event('state-transfer') !== undefined, 'a transfer');
  cluster.untilConverged();
  expect(four.event('log-filled')).toBeUndefined();
});

test('of two that lag the one that lags more may give its state up when the other has caught up', () => {
  const { cluster, client } = started({ members: 5, witnesses: 1 });
  cluster.untilConverged();
  const [three, four] = [cluster.node(2), cluster.node(3)];
  cluster.isolate(three.id, four.id);
  writeAll(client, 'away', 30);
  cluster.isolate(four.id);
  cluster.until(() => three.event('log-filled') !== undefined, 'the log');
  cluster.run(2500);
  writeAll(client, 'on', 5);
  cluster.heal();
  cluster.until(() => four.event('state-transfer') !== undefined, 'a transfer');
  cluster.untilConverged();
});

test('an epoch that has begun meanwhile makes no difference to it', () => {
  const { cluster, client, admin } = started({ members: 3, witnesses: 1 });
  const four = cluster.join(4);
  cluster.untilConverged();
  const [one, two] = [cluster.node(0), cluster.node(1)];
  cluster.isolate(two.id, four.id);
  writeAll(client, 'away', 30);
  admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
  writeAll(client, 'in the new epoch', 10);
  four.crash();
  two.failFetch = 'torn';
  cluster.heal();
  cluster.run(6000);
  one.crash();
  client.write('with member 2 and the witness');
  expect([two.event('state-transfer'), two.event('log-filled')]).toMatchObject([undefined, {}]);
});

/** Two voters and a witness; voter 2 is cut off, and an epoch has begun without it. */
function awayInANewEpoch(replica: Partial<ReplicaOptions> = {}): { readonly cluster: ReturnType<typeof started>['cluster']; readonly two: Node } {
  const { cluster, client, admin } = started({ members: 3, witnesses: 1, replica });
  const two = cluster.node(1);
  cluster.untilConverged();
  cluster.isolate(two.id);
  writeAll(client, 'away', 30);
  cluster.join(4);
  admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
  writeAll(client, 'in the new epoch', 10);
  return { cluster, two };
}

test('nor does one with few entries in a turn', () => {
  const { cluster, two } = awayInANewEpoch({ entriesPerTurn: 3 });
  cluster.run(2500);
  cluster.heal();
  cluster.until(() => two.replica.configuration.epoch === 1, 'member 2 in the new epoch');
  cluster.untilConverged();
  expect(two.event('state-transfer')).toBeUndefined();
});

test('but it takes the state when nobody gives the log', () => {
  const { cluster, two } = awayInANewEpoch();
  cluster.drop = (p) => p.to === two.id && p.message.type === 'newState' && p.message.kind === 'entries' && two.event('log-not-given') === undefined;
  cluster.until(() => two.event('state-installed') !== undefined, 'the state');
  expect(two.event('log-not-given')).toBeDefined();
  cluster.untilConverged();
});
