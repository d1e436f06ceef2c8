/** PROTOCOL section 3, row 22: what must not stop a healthy quorum. And reads (row 18, without leases). */
import { describe, expect, it } from 'vitest';
import { kind, Scenario } from '../scenario.ts';

function writesOver(s: Scenario, milliseconds: number): number {
  const end = s.cluster.now + milliseconds;
  let count = 0;
  while (s.cluster.now < end) {
    s.write(count % 6, ++count);
    s.run(20);
  }
  return count;
}

describe('row 22: a healthy quorum keeps committing', () => {
  it('beside a backup that can send but not hear', () => {
    const s = Scenario.settled();
    s.cut(0, 2);
    s.cut(1, 2);
    writesOver(s, 10_000);
    expect(s.status(0).view).toBe(0);
    expect(s.sent('startViewChange', { from: 2 }).length).toBeGreaterThan(0);
    s.heal();
    s.converged();
  });

  it('beside a backup that hears nothing of the primary, but can talk with the other', () => {
    const s = Scenario.settled();
    s.cut(0, 2);
    writesOver(s, 10_000);
    expect(s.status(1).view).toBe(0);
  });

  it('beside a backup that was alone for a long time', () => {
    const s = Scenario.settled();
    s.isolate(2);
    writesOver(s, 10_000);
    const { view } = s.status(0);
    s.heal();
    s.converged();
    expect(s.status(0).view).toBeLessThanOrEqual(view + 1);
    const before = s.status(0).view;
    writesOver(s, 3000);
    expect(s.status(0).view).toBe(before);
  });

  it('after a primary that can send but not hear has given up', () => {
    const s = Scenario.settled();
    s.cut(1, 0);
    s.cut(2, 0);
    s.until('the primary abdicates', () => !s.status(0).isPrimary, 5000);
    s.converged([1, 2]);
    writesOver(s, 3000);
    s.heal();
    s.converged();
  });

  it('after a primary that can hear but not send is suspected', () => {
    const s = Scenario.settled();
    s.cut(0, 1);
    s.cut(0, 2);
    s.until('a new view', () => s.status(1).view >= 1 && s.status(2).view >= 1, 10_000);
    s.converged([1, 2]);
    writesOver(s, 3000);
    s.heal();
    s.converged();
  });

  it.each([3, 5])('with %i replicas, whoever of the minority comes and goes', (replicas) => {
    const s = Scenario.settled({ replicas });
    for (let round = 0; round < 6; round++) {
      const gone = round % replicas;
      s.crash(gone);
      s.write(1, round);
      s.run(500);
      s.restart(gone);
      s.converged();
    }
    expect(s.read(1)).toBe(5);
  });

  it('through a pause of the primary', () => {
    const s = Scenario.settled();
    s.host(0).pause();
    s.write(1, 1);
    s.run(10_000);
    s.host(0).resume();
    s.converged();
    s.write(1, 2);
    expect(s.read(1)).toBe(2);
  });
});

describe('row 18: linearizable reads', () => {
  it('a deposed primary that does not know it yet answers none', () => {
    const s = Scenario.settled({ clients: 2 });
    s.write(1, 1, 0);
    s.read(1, 1);
    // Client 1 reaches R0 only, which is cut off from the others.
    s.isolate(0);
    const elsewhere = s.hold((p) => p.from === s.client(1).endpoint && p.to !== 0);
    s.until('the others are in a new view', () => s.status(1).view >= 1 && s.status(2).view >= 1);
    s.converged([1, 2]);
    const read = s.beginRead(1, 1);
    s.write(1, 2, 0);
    s.run(2000);
    expect(s.answered(read)).toBe(false);
    expect(s.sent('readReply', { from: 0 }).length).toBeLessThanOrEqual(1);
    elsewhere.stop();
    s.heal();
    expect([1, 2]).toContain(s.done(read).value);
  });

  it('a new primary answers none before it has executed what it inherited', () => {
    const s = Scenario.settled();
    const commits = s.hold(kind('commit', { from: 0 }));
    const x = s.write(1, 7);
    s.crash(0);
    commits.stop();
    const read = s.beginRead(1);
    expect(s.done(read).value).toBe(7);
    expect(s.answer(read).op).toBeGreaterThanOrEqual(x);
  });
});
