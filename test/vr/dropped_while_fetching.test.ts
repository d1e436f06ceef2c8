/** A node that is to become a member, and is dropped again while it fetches the state that it is to begin with. */
import { expect, test } from 'vitest';
import { members, started, writeAll } from './administrator.ts';
import { testMember as member } from './group.ts';

// Found by seed 1 of the simulator as it was then (application fs-checkpoints, three replicas, durability memory).
test('is told so when nobody gives that state any more, and ends (it asked for it for ever)', () => {
  const { cluster, client, admin } = started();
  writeAll(client, 'before', 20);
  const four = cluster.join(4);
  four.failFetch = 'torn';
  admin.change(members(1, 2, 3, member(4, 'observer')));
  cluster.until(() => four.event('state-transfer-failed') !== undefined, 'a transfer that breaks off');
  // It is not told that it has been dropped, and the checkpoint that it fetches is gone when it is back.
  cluster.isolate(four.id);
  admin.change(members(1, 2, 3));
  writeAll(client, 'after', 20);
  cluster.run(5000);
  const asked = (): number => four.events.filter((e) => e.name === 'state-transfer-failed').length;
  const before = asked();
  expect([four.replica.phase, four.replica.configuration.epoch, four.replica.execution.ready]).toEqual(['transitioning', 0, false]);
  // What it says of the log that it will need (KeepLog) is answered, too, but only once in two seconds.
  cluster.drop = (p) => p.from === four.id && p.message.type === 'keepLog';
  cluster.until(() => four.replica.ended, 'its end');
  expect(asked()).toBeGreaterThan(before);
  expect(four.event('state-installed')).toBeUndefined();
});
