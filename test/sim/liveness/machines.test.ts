/** PROTOCOL section 3, row 22: machines that are slow, stand still, or tell another time. A healthy quorum goes on, without a storm of view changes. */
import { describe, expect, it } from 'vitest';
import { view } from '../../../lib/ids.ts';
import { Scenario } from '../scenario.ts';
import { isCalm, keepsWriting } from './support.ts';

const PRIMARY = 0;
const VIEW_CHANGES = 6000;

describe('a slow replica', () => {
  it.each([30, 150, 400])('a backup that answers %i ms late holds up nobody', (lagMs) => {
    const s = Scenario.settled();
    s.host(2).lagMs = lagMs;
    s.host(2).syncMs = [lagMs, 0];
    const progress = keepsWriting(s, 10_000, 1000);
    expect(progress).toMatchObject({ views: 0 });
    expect(progress.longest).toBeLessThan(50);
    s.host(2).lagMs = 0;
    s.host(2).syncMs = [1, 0];
    s.converged();
    isCalm(s);
  });

  it.each([30, 100])('a primary that answers %i ms late leads slowly, or not at all, but does not come and go', (lagMs) => {
    const s = Scenario.settled();
    s.host(PRIMARY).lagMs = lagMs;
    const progress = keepsWriting(s, 10_000, VIEW_CHANGES);
    expect(progress.views).toBeLessThanOrEqual(2);
    s.host(PRIMARY).lagMs = 0;
    s.converged();
    isCalm(s);
  });

  it('all replicas and links slow: the time-outs adapt', () => {
    const s = Scenario.settled();
    for (const host of s.cluster.hosts) host.lagMs = 120;
    s.run(5000);
    const progress = keepsWriting(s, 10_000, VIEW_CHANGES);
    expect(progress.views).toBeLessThanOrEqual(2);
  });
});

describe('a disk that stands still', () => {
  it('of a backup: nobody waits for it', () => {
    const s = Scenario.settled();
    s.host(2).diskStalledUntil = s.cluster.now + 8000;
    const progress = keepsWriting(s, 10_000, 1000);
    expect(progress).toMatchObject({ views: 0 });
    expect(progress.longest).toBeLessThan(50);
    s.converged();
    isCalm(s);
  });

  it('of the primary: clients go on within a few view changes', () => {
    const s = Scenario.settled();
    s.host(PRIMARY).diskStalledUntil = s.cluster.now + 8000;
    expect(keepsWriting(s, 10_000, VIEW_CHANGES).views).toBeLessThanOrEqual(2);
    s.converged();
    isCalm(s);
  });

  it('of all of them: what was acknowledged before is there afterwards, and the group goes on', () => {
    const s = Scenario.settled();
    const until = s.cluster.now + 6000;
    for (const host of s.cluster.hosts) host.diskStalledUntil = until;
    const waiting = s.begin(1, 11);
    s.run(5000);
    expect(s.answered(waiting)).toBe(false);
    s.done(waiting, 1000 + VIEW_CHANGES);
    s.converged();
    isCalm(s);
  });
});

describe('pauses', () => {
  it.each([400, 3000])('a primary that stands still for %i ms again and again', (milliseconds) => {
    const s = Scenario.settled();
    let changes = 0;
    for (let round = 0; round < 5; round++) {
      const primary = s.cluster.hosts.find((h) => h.running && h.status.isPrimary)?.index ?? 0;
      s.host(primary).pause();
      changes += keepsWriting(s, milliseconds, VIEW_CHANGES).views;
      s.host(primary).resume();
      s.converged();
      s.run(200);
    }
    expect(changes).toBeLessThanOrEqual(10);
    isCalm(s);
  });

  it('a backup that stands still again and again disturbs nobody', () => {
    const s = Scenario.settled();
    for (let round = 0; round < 10; round++) {
      s.host(2).pause();
      const asleep = keepsWriting(s, 1500, 1000);
      s.host(2).resume();
      const awake = keepsWriting(s, 500, 1000);
      expect([asleep.views, awake.views]).toEqual([0, 0]);
    }
    s.converged();
  });
});

describe('clocks that jump', () => {
  const HOUR = 3_600_000_000;

  it.each([
    [PRIMARY, HOUR], [PRIMARY, -HOUR], [1, HOUR], [1, -HOUR],
  ])('of R%i, by %i µs', (index, jump) => {
    const s = Scenario.settled();
    s.host(index).clock.jump(jump);
    const progress = keepsWriting(s, 5000, 1000);
    expect(progress).toMatchObject({ views: 0 });
    expect(progress.longest).toBeLessThan(50);
    // Whoever leads next, times go on from there.
    s.makePrimary(1);
    isCalm(s);
    s.makePrimary(2);
    isCalm(s);
  });

  it('back and forth, on all of them, all the time', () => {
    const s = Scenario.settled();
    for (let round = 0; round < 20; round++) {
      for (const host of s.cluster.hosts) host.clock.jump((host.index + round) % 2 === 0 ? HOUR : -HOUR);
      expect(keepsWriting(s, 500, 1000)).toMatchObject({ views: 0 });
    }
    isCalm(s);
  });
});

describe('an inflated view', () => {
  it.each([1, 2, 0])('R%i comes back with a promise far above: the group passes it once, and goes on', (index) => {
    const s = Scenario.settled();
    s.crash(index);
    const disk = s.host(index).superblockDisk;
    disk.put({ ...disk.current, view: view(5000), promisedView: view(5000) });
    s.run(1000);
    s.restart(index);
    const { longest } = keepsWriting(s, 10_000, VIEW_CHANGES);
    expect(longest).toBeLessThan(VIEW_CHANGES);
    s.converged();
    // One change to reach it, and a few where the turn falls to the one that is behind.
    expect(s.status(0).view).toBeLessThanOrEqual(5003);
    isCalm(s);
  });

  it('and when only one of the others can hear it', () => {
    const s = Scenario.settled();
    s.crash(2);
    const disk = s.host(2).superblockDisk;
    disk.put({ ...disk.current, view: view(5000), promisedView: view(5000) });
    s.cut(2, PRIMARY, true);
    s.restart(2);
    keepsWriting(s, 10_000, VIEW_CHANGES);
    const { view: reached } = s.status(1);
    expect(reached).toBeLessThanOrEqual(5006);
    s.heal();
    s.converged();
    isCalm(s);
  });
});
