/** PROTOCOL section 3, row 22: links that carry one way only, or come and go. A healthy quorum goes on, without a storm of view changes. */
import { describe, expect, it } from 'vitest';
import { Scenario } from '../scenario.ts';
import { isCalm, keepsWriting } from './support.ts';

/** View 0: R0 leads. */
const PRIMARY = 0;
/** The longest that a client may wait while the group finds its way: some view changes with their back-offs. */
const VIEW_CHANGES = 6000;

describe.each([3, 5])('a one-way partition, %i replicas', (replicas) => {
  const everybody = Array.from({ length: replicas }, (_, i) => i);

  it.each(everybody)('R%i hears nobody', (deaf) => {
    const s = Scenario.settled({ replicas });
    for (const other of everybody) if (other !== deaf) s.cut(other, deaf);
    const progress = keepsWriting(s, 10_000, VIEW_CHANGES);
    // A deaf primary has to be followed by another; a deaf backup disturbs nobody.
    if (deaf === PRIMARY) expect(progress.views).toBeLessThanOrEqual(2);
    else expect(progress).toMatchObject({ views: 0 });
    s.heal();
    s.converged();
    isCalm(s);
  });

  it.each(everybody)('nobody hears R%i', (mute) => {
    const s = Scenario.settled({ replicas });
    for (const other of everybody) if (other !== mute) s.cut(mute, other);
    const progress = keepsWriting(s, 10_000, VIEW_CHANGES);
    if (mute === PRIMARY) expect(progress.views).toBeLessThanOrEqual(2);
    else expect(progress).toMatchObject({ views: 0 });
    s.heal();
    s.converged();
    isCalm(s);
  });

  it('one backup does not hear the primary, which hears it', () => {
    const s = Scenario.settled({ replicas });
    s.cut(PRIMARY, 1);
    expect(keepsWriting(s, 10_000, 1000)).toMatchObject({ views: 0 });
    s.heal();
    s.converged();
    isCalm(s);
  });

  it('the primary does not hear one backup, which hears it', () => {
    const s = Scenario.settled({ replicas });
    s.cut(1, PRIMARY);
    expect(keepsWriting(s, 10_000, 1000)).toMatchObject({ views: 0 });
    s.heal();
    s.converged();
    isCalm(s);
  });

  it('two backups do not hear each other', () => {
    const s = Scenario.settled({ replicas });
    s.cut(1, 2, true);
    expect(keepsWriting(s, 10_000, 1000)).toMatchObject({ views: 0 });
    s.heal();
    isCalm(s);
  });
});

describe('a link that comes and goes', () => {
  function flap(s: Scenario, a: number, b: number, period: number, until: number, down = true): void {
    if (s.cluster.now >= until) {
      s.heal();
      return;
    }
    if (down) s.cut(a, b, true);
    else s.heal();
    s.cluster.queue.after(period, () => flap(s, a, b, period, until, !down));
  }

  it.each([50, 200, 400, 900])('between the primary and a backup, every %i ms', (period) => {
    const s = Scenario.settled();
    flap(s, PRIMARY, 1, period, s.cluster.now + 10_000);
    const progress = keepsWriting(s, 10_000, 2000);
    expect(progress.views).toBeLessThanOrEqual(2);
    s.run(2000);
    s.converged();
    isCalm(s);
  });

  it.each([50, 200, 400, 900])('between two backups, every %i ms', (period) => {
    const s = Scenario.settled();
    flap(s, 1, 2, period, s.cluster.now + 10_000);
    expect(keepsWriting(s, 10_000, 1000)).toMatchObject({ views: 0 });
    s.run(2000);
    isCalm(s);
  });

  it.each([100, 400])('of the primary to everybody, every %i ms', (period) => {
    const s = Scenario.settled();
    flap(s, PRIMARY, 1, period, s.cluster.now + 10_000);
    flap(s, PRIMARY, 2, period, s.cluster.now + 10_000);
    // Somebody else leads after the first outage that is long enough, and the link no longer matters.
    expect(keepsWriting(s, 10_000, VIEW_CHANGES).views).toBeLessThanOrEqual(3);
    s.run(2000);
    s.converged();
    isCalm(s);
  });
});
