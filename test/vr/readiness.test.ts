/** Who has caught up, as far as a vote is concerned (vr/readiness.ts). */
import { describe, expect, test } from 'vitest';
import { members, started } from './administrator.ts';
import { testMember as member } from './group.ts';

describe('a new member that is heard of, and lacks few entries', () => {
  test.each([
    ['of many bytes', (n: number) => `${n}${'x'.repeat(1 << 20)}`, 10],
    ['of which some are in no log any more', (n: number) => `small ${n}`, 40],
  ])('%s: gets no vote before it has them', (_, body, count) => {
    const { cluster, client, admin } = started();
    cluster.join(4);
    admin.change(members(1, 2, 3, member(4, 'observer')));
    cluster.untilConverged();
    cluster.drop = (p) => p.to === 4 && p.message.type !== 'commit';
    for (let n = 0; n < count; n++) client.write(body(n));
    cluster.run(100);
    expect(admin.ask(members(1, 2, 3, 4))).toMatchObject({ type: 'refused', code: 'unready', reason: expect.stringMatching(/10\.0\.0\.4.* is still behind/) as string });
    cluster.heal();
    cluster.untilConverged();
    admin.change(members(1, 2, 3, 4));
    expect(cluster.untilServing().replica.configuration.members).toHaveLength(4);
  });
});
