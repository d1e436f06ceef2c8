/**
 * A primary that has won an election asks who voted for the entries that it lacks (row 4). It is cut off from the others meanwhile, and they
 * commit another log in a later view, which the one that it asks takes over: its answers are not of the log that won any more.
 */
import { describe, expect, it } from 'vitest';
import { kind, Scenario } from '../scenario.ts';

function join(s: Scenario, a: number, b: number): void {
  s.policy.join(a, b);
  s.policy.join(b, a);
}

/** R0 has three uncommitted entries behind what all have; of those R2 has the first `heldByR2`. Claims carry no bodies. */
function supersededRepair(heldByR2: 0 | 1): Scenario {
  const s = Scenario.settled({ replicas: 5, replica: { claimBytes: 1, leaseMs: 0 } });
  const lost = s.hold((p) => p.from === 0 && p.to >= 1 && p.to <= 4 && (heldByR2 === 0 || p.to !== 2));
  s.begin(1, 1);
  s.run(6);
  s.isolate(0);
  s.isolate(2);
  lost.stop();
  for (const register of [2, 3]) {
    s.begin(register, register);
    s.run(6);
  }
  s.expect('R2 has what it is to have', s.status(2).op === s.status(1).op + heldByR2);

  // R1 leads view 1 with other entries, and nobody hears of it.
  const unheard = s.hold((p) => p.from === 1 && ['startView', 'prepare', 'commit'].includes(p.message.type));
  s.until('R1 leads alone', () => s.status(1).isPrimary && s.status(1).op >= s.status(0).op);
  s.isolate(1);
  s.isolate(4);

  // R2 wins view 2 with the log of R0, and does not hear the answer to what it asks R0 for.
  s.until('R0 has given up', () => s.status(0).status === 'view-change');
  const asked = s.hold((p) => p.from === 2 && p.message.type === 'getState' && p.message.repairHead !== null);
  const begun = s.hold(kind('startView', { from: 2 }));
  join(s, 0, 2);
  join(s, 0, 3);
  join(s, 2, 3);
  s.until('R2 asks for what it lacks', () => asked.packets.length > 0);
  unheard.stop();

  // The others go on with the log of R1, and R0 with them.
  for (const i of [0, 2, 3]) s.isolate(i);
  join(s, 1, 3);
  join(s, 1, 4);
  join(s, 3, 4);
  s.until('the others commit theirs', () => [1, 3, 4].every((i) => s.status(i).status === 'normal' && s.status(i).view > 2) && s.status(1).commit >= s.status(0).op);
  for (const i of [1, 3, 4]) join(s, 0, i);
  s.until('R0 has it too', () => s.status(0).status === 'normal' && s.status(0).commit >= s.status(1).commit);
  join(s, 0, 2);
  asked.stop();
  begun.stop();
  return s;
}

describe('a new primary whose winning log was superseded while it asked for its entries', () => {
  it.each([
    ['has one of them, behind which another is committed', 1],
    ['has none of them, and is given others', 0],
  ] as const)('%s: yields, and follows the later view', (_, held) => {
    const s = supersededRepair(held);
    const { view } = s.status(2);
    s.until('R2 gives up', () => s.coverage.get('event yields') > 0, 3000);
    s.heal();
    s.converged();
    expect(s.status(2).view).toBeGreaterThan(view);
  });
});
