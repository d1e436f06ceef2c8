/** PROTOCOL row 18, reads of a stated age: what a backup is told of its state's age holds for the process that asked only. */
import { expect, it } from 'vitest';
import { kind, Scenario } from './scenario.ts';

it('an echo of a former life of the process says nothing of the age of the state', () => {
  const s = Scenario.settled();
  s.run(500);
  const late = s.hold((p) => p.to === 2 && p.message.type === 'commit' && p.message.echoes.some((e) => e.member === s.host(2).id));
  s.until('an echo is under way', () => late.packets.length > 0);
  s.crash(2, 'kept');
  const later = s.hold(kind('commit', { to: 2 }));
  s.host(2).clock.reboot(0);
  s.restart(2);
  const before = s.sent('prepareOk', { from: 2 }).length;
  s.until('it takes part again', () => s.sent('prepareOk', { from: 2 }).length > before);
  late.release();
  s.run(20);
  expect(s.status(2).stalenessMs).toBeNull();
  later.release();
  s.until('it is told anew', () => (s.status(2).stalenessMs ?? Infinity) < 1000);
});

it('a state has aged while the machine was suspended, though the monotonic clock does not know', () => {
  const s = Scenario.settled();
  s.run(500);
  s.expect('its state is young', (s.status(2).stalenessMs ?? Infinity) < 500);
  s.host(2).pause();
  s.host(2).clock.suspend();
  s.isolate(2);
  s.run(10_000);
  s.write(1, 1);
  s.host(2).resume();
  expect(s.status(2).stalenessMs).toBeGreaterThanOrEqual(10_000);
});

// Seed 14421: a slow clock made a state look younger than it was.
it('a state is no younger than it may be by a clock that is as slow as is allowed', () => {
  const s = Scenario.settled();
  const { maxClockDrift } = s.cluster.options.replicaOptions;
  s.host(2).clock.setDrift(-maxClockDrift);
  s.run(500);
  s.isolate(2);
  s.run(10_000);
  expect(s.status(2).stalenessMs).toBeGreaterThanOrEqual(10_000);
});
