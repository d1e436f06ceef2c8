/**
 * A transfer replaces the records in place: while it lasts its voter has no state. Where others than voters make up the quorum (row 21),
 * few voters may be up to date: those that are not must not give up the last states that f failures would leave.
 */
import { describe, expect, test } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { members, started, writeAll } from './administrator.ts';
import type { ReplicaOptions } from '../../vr/replica_types.ts';
import type { Packet } from './cluster.ts';
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

describe('the log that is given instead of a state', () => {
  const LONG = 'x'.repeat(400 << 10);

  /** Two voters, of which one has been away while so many long operations came, and a witness that has them; and what the one has had in memory of them. */
  function awayForLong(count: number, replica: Partial<ReplicaOptions>): ReturnType<typeof started> & { readonly two: Node; readonly most: { collected: number; entries: number; bytes: number } } {
    const group = started({ members: 3, witnesses: 1, replica });
    const { cluster, client } = group;
    const two = cluster.node(1);
    cluster.untilConverged();
    cluster.isolate(two.id);
    writeAll(client, LONG, count);
    return { ...group, two, most: { collected: 0, entries: 0, bytes: 0 } };
  }

  function comesBack({ cluster, two, most }: ReturnType<typeof awayForLong>): void {
    cluster.drop = () => {
      const { catchUp, log } = two.replica;
      most.collected = Math.max(most.collected, catchUp.collected);
      most.entries = Math.max(most.entries, catchUp.collected + log.head - log.base);
      most.bytes = Math.max(most.bytes, log.bytes);
      return false;
    };
    cluster.until(() => two.event('epoch-begins') !== undefined || two.event('log-filled-in-part') !== undefined, 'the beginning of it');
    cluster.untilConverged();
    expect(two.event('state-transfer')).toBeUndefined();
    expect(most.collected).toBeGreaterThan(5);
    // An answer has two such operations: the last may be one too many. What is behind the last two checkpoints stays.
    expect(most.entries).toBeLessThanOrEqual(22 + 10);
    expect(most.bytes).toBeLessThanOrEqual(13 << 20);
  }

  test.each<[string, Partial<ReplicaOptions>]>([
    ['entries', { maxLogEntries: 20 }],
    ['bytes', { maxLogBytes: 8 << 20 }],
  ])('comes in pieces, bounded in %s, between which it is executed and checkpoints are taken', (_what, limit) => {
    comesBack(awayForLong(60, limit));
  });

  test('does so on the way into an epoch, too', () => {
    const group = awayForLong(60, { maxLogEntries: 20 });
    group.cluster.join(4);
    group.admin.change(members(1, 2, member(3, 'witness'), member(4, 'observer')));
    comesBack(group);
  });

  /** Four voters, of which these are given the log of the witness little by little from when they are back. */
  function givenSlowly(...behind: readonly number[]): ReturnType<typeof started> & { readonly until: (condition: () => boolean, what: string) => void } {
    const group = started({ members: 5, witnesses: 1 });
    const { cluster, client } = group;
    cluster.untilConverged();
    cluster.isolate(...behind.map(memberId));
    writeAll(client, LONG, 40);
    const until = (condition: () => boolean, what: string): void => {
      cluster.until(() => {
        if (cluster.now % 500 === 0) for (const p of cluster.held.splice(0)) cluster.deliver(p);
        return condition();
      }, what);
    };
    return { ...group, until };
  }
  const entriesTo = (node: Node) => (p: Packet): boolean => p.to === node.id && p.message.type === 'newState' && p.message.kind === 'entries';
  const ends = (node: Node): unknown => [node.event('log-filled'), node.event('log-not-given'), node.event('state-transfer')];

  test('and is asked for no more once f+1 others are known to hold what is beyond it: their state is taken', () => {
    const { cluster, until } = givenSlowly(3, 4);
    const [three, four] = [cluster.node(2), cluster.node(3)];
    // Some of it comes before member 4 is back.
    cluster.isolate(four.id);
    cluster.hold = entriesTo(three);
    until(() => three.replica.catchUp.collected > 0, 'some of the log for member 3');
    cluster.heal();
    until(() => four.event('log-filled') !== undefined, 'the log of member 4');
    expect(three.replica.catchUp.collected).toBeGreaterThan(0);
    until(() => !three.replica.catchUp.running, 'the end of it');
    expect(ends(three)).toMatchObject([undefined, undefined, {}]);
    cluster.release();
    cluster.untilConverged();
  });

  test('so does one on its way into an epoch, which hears of them without asking', () => {
    const { cluster, admin, until } = givenSlowly(4);
    const four = cluster.node(3);
    cluster.join(6);
    admin.change(members(1, 2, 3, 4, member(5, 'witness'), member(6, 'observer')));
    cluster.hold = entriesTo(four);
    cluster.heal();
    const from = cluster.sent.length;
    until(() => four.replica.catchUp.collected > 0, 'some of the log');
    expect(four.replica.phase).toBe('transitioning');
    until(() => four.event('state-transfer') !== undefined || four.event('log-filled') !== undefined, 'the end of it');
    expect(ends(four)).toMatchObject([undefined, undefined, {}]);
    expect(cluster.sent.slice(from).filter((p) => p.from === four.id && p.message.type === 'checkpointNotice')).toEqual([]);
    cluster.release();
    cluster.untilConverged();
  });
});
