/** Row 18, leases: two primaries, of which one answers reads with what was. */
import { defined } from '../../../lib/assert.ts';
import { memberId, view } from '../../../lib/ids.ts';
import type { Ports } from '../../../vr/ports.ts';
import { Replica } from '../../../vr/replica.ts';
import type { BootState, ReplicaOptions } from '../../../vr/replica_types.ts';
import type { DeposalProfile } from '../deposals.ts';
import type { Host } from '../host.ts';
import { kind, Scenario, type Held } from '../scenario.ts';
import { CALM_NETWORK } from '../seeded_policy.ts';
import { altered, alterGetter, STALE, type Breakage, type NamedScenario, type Row, type Seeds } from './row.ts';
import { reachesOnly } from './support.ts';

/** Client 1 has a session, and reaches R0 only from now on. */
function readerOfR0(s: Scenario): void {
  s.write(0, 2, 1);
  s.read(0, 1);
  reachesOnly(s, 1, [0]);
}

/** Client 0 has lost its connection with R0, and finds out who leads instead. */
function writesElsewhere(s: Scenario, register: number, value: number): void {
  s.cut(s.client().endpoint, 0, true);
  s.cluster.breakConnection(s.client(), s.host(0));
  s.write(register, value);
}

/**
 * R0 is cut off, others lead and have committed a write, and R0, which has heard a late answer from one of them, does not know. Returns the other
 * answers of that time.
 */
function deposeR0(s: Scenario): Held {
  const answers = s.hold((p) => p.to === 0 && p.message.type === 'prepareOk');
  s.run(120);
  answers.stop();
  s.isolate(0);
  s.until('others lead', () => [1, 2].some((i) => s.status(i).isPrimary));
  s.cluster.network.release(defined(answers.packets[0], 'answer'));
  writesElsewhere(s, 1, 2);
  s.expect('R0 does not know', s.status(0).isPrimary);
  return answers;
}

function isSilent(s: Scenario): void {
  const read = s.beginRead(1, 1);
  s.run(30);
  s.expect('R0 answers nothing', !s.answered(read));
}

/** R0 has a promise of R1, and R2 has suspected it for some time, when it is cut off. What R2 says to R1 of a new view is held back, and returned. */
function promisedAndCutOff(broken: Breakage): { readonly s: Scenario; readonly words: Held } {
  const s = Scenario.settled({ clients: 2, replica: { viewChangeMs: 3000, leaseMs: 2900 }, ...broken });
  readerOfR0(s);
  s.write(1, 1);
  s.cut(0, 2);
  const words = s.hold(kind('startViewChange', { from: 2, to: 1 }));
  s.until('R2 suspects R0', () => words.packets.length > 0);
  s.isolate(0);
  return { s, words };
}

/** Whoever is left may not begin a view for so long. If it does, the reader at R0 sees what was. */
function noViewWithin(s: Scenario, milliseconds: number): void {
  const changed = s.comesTrue(() => s.cluster.hosts.slice(1).some((h) => s.status(h.index).isPrimary), milliseconds);
  if (changed) {
    writesElsewhere(s, 1, 2);
    s.read(1, 1);
  }
  s.expect('no view begins while R0 has a lease', !changed);
}

/** R1 restarts at once, and R2 asks it for a new view. */
function forgetfulGrantor(broken: Breakage): void {
  const { s, words } = promisedAndCutOff(broken);
  s.crash(1);
  s.restart(1);
  // R1 has heard nothing of R0 for so long that it believes R2.
  s.run(2300);
  words.release();
  noViewWithin(s, 100);
  s.until('then one does', () => [1, 2].some((i) => s.status(i).isPrimary));
  s.heal();
  s.converged();
}

/** R2, which R0 does not count on, gives up R0's view for good: that says nothing about R0, to which R1 has promised something. */
function anotherLeaves(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, replica: { viewChangeMs: 3000, leaseMs: 2900 }, ...broken });
  readerOfR0(s);
  s.write(1, 1);
  s.cut(0, 2);
  s.run(2400);
  s.isolate(0);
  const promisedAt = s.cluster.now;
  s.until('R2 has left, with the agreement of R1', () => s.status(2).status === 'view-change');
  noViewWithin(s, promisedAt + 2850 - s.cluster.now);
  s.until('then one does', () => [1, 2].some((i) => s.status(i).isPrimary));
  s.heal();
  s.converged();
}

/** R0 hears nothing but R4's word, and takes up its wish for another view: that it has left its own it does not say, for it leads on. */
function takesUpAWish(broken: Breakage): void {
  const s = Scenario.settled({ replicas: 5, clients: 2, replica: { viewChangeMs: 3000, leaseMs: 2900 }, ...broken });
  readerOfR0(s);
  s.write(1, 1);
  s.run(3000);
  const deaf = s.hold((p) => p.to === 0 && p.from > 0 && p.from < 5 && !(p.from === 4 && p.message.type === 'startViewChange'));
  s.host(4).inject((r) => { r.viewChange.leaveFor(view(1)); });
  noViewWithin(s, 500);
  deaf.stop();
  s.until('R0 leads on, or another', () => [0, 1, 2, 3, 4].some((i) => s.status(i).isPrimary));
  s.converged();
}

/** R0 steps down: nobody waits for the end of what it was granted. */
function stepsDown(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, replica: { viewChangeMs: 3000, leaseMs: 2900 }, ...broken });
  s.write(1, 1);
  s.host(0).stepDown();
  s.expect('another leads', s.comesTrue(() => s.status(1).isPrimary, 200));
  s.write(1, 2);
  s.converged();
}

/** R0's questions arrived, their answers are late: by the time that they come others have made a view of their own. */
function lateAnswers(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, ...broken });
  readerOfR0(s);
  s.write(1, 1);
  const answers = deposeR0(s);
  answers.release();
  s.run(2);
  isSilent(s);
}

function clockGoesBack(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, ...broken });
  readerOfR0(s);
  s.write(1, 1);
  s.run(60);
  s.host(0).clock.jump(-10_000_000);
  deposeR0(s);
  isSilent(s);
}

/** X was acknowledged. The new primary has it, does not know that it is committed, and R2's disk is slow: R2 confirms the view long before the log. */
function inheritedWrite(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const unaware = s.hold(kind('commit', { from: 0 }));
  const x = s.write(1, 7);
  s.crash(0);
  unaware.stop();
  s.host(2).syncMs = [300, 0];
  s.host(2).superblockMs = [1, 0];
  s.until('R1 leads', () => s.status(1).isPrimary);
  const read = s.beginRead(1);
  s.expect('the read sees X', s.done(read).value === 7 && s.answer(read).op >= x);
}

/** R0 is configured with long leases, R1 and R2 not any more: nobody is bound for as long as R0 would count on. */
function shorterGrants(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, replica: { viewChangeMs: 3000, leaseMs: 2900 }, ...broken });
  for (const i of [1, 2]) {
    s.host(i).ownOptions = { viewChangeMs: 300, leaseMs: 200 };
    s.crash(i);
    s.restart(i);
    s.converged();
  }
  readerOfR0(s);
  s.write(1, 1);
  // What they had granted before they were restarted is over.
  s.run(3100);
  s.isolate(0);
  s.until('others lead', () => [1, 2].some((i) => s.status(i).isPrimary));
  writesElsewhere(s, 1, 2);
  s.expect('R0 does not know', s.status(0).isPrimary);
  isSilent(s);
}

/** R0 has a lease when its process is stopped, or its whole machine, with a read before it; others lead by the time that it gets to it. */
function standsStill(broken: Breakage, what: 'process' | 'machine'): void {
  const s = Scenario.settled({ clients: 2, ...broken });
  readerOfR0(s);
  s.write(1, 1);
  s.run(60);
  s.host(0).pause();
  if (what === 'machine') s.host(0).clock.suspend();
  s.isolate(0);
  s.until('others lead', () => [1, 2].some((i) => s.status(i).isPrimary));
  writesElsewhere(s, 1, 2);
  const read = s.beginRead(1, 1);
  s.run(5);
  s.host(0).resume();
  s.run(5);
  s.expect('R0 answers nothing', !s.answered(read));
  s.heal();
  s.converged();
}

/** R1 is configured with shorter leases now, and restarts twice: in its second life it does not wait for what it granted in the one before the last. */
function grantorRestartsTwice(broken: Breakage): void {
  const { s, words } = promisedAndCutOff(broken);
  s.host(1).ownOptions = { viewChangeMs: 300, leaseMs: 0 };
  for (let life = 0; life < 2; life++) {
    s.crash(1);
    s.restart(1);
    s.run(100);
  }
  s.run(600);
  words.release();
  noViewWithin(s, 700);
  s.heal();
  s.converged();
}

const GRANTOR: NamedScenario = { name: 'a grantor restarts', run: forgetfulGrantor };
const LATE: NamedScenario = { name: 'the answers that a lease would be made of are late', run: lateAnswers };
const CLOCK: NamedScenario = { name: 'the wall clock of a primary that is cut off goes back', run: clockGoesBack };
const STOPPED: NamedScenario = { name: 'a primary with a lease is stopped and goes on', run: (broken) => { standsStill(broken, 'process'); } };
const SUSPENDED: NamedScenario = { name: 'the machine of a primary with a lease is suspended and goes on', run: (broken) => { standsStill(broken, 'machine'); } };
const LEAVER: NamedScenario = { name: 'another than the primary leaves the view', run: anotherLeaves };
const WISH: NamedScenario = { name: 'a primary takes up the wish for another view, and leads on', run: takesUpAWish };
const STEPS_DOWN: NamedScenario = { name: 'the primary steps down', run: stepsDown };
const TWICE: NamedScenario = { name: 'a grantor restarts twice, with shorter leases', run: grantorRestartsTwice };
const SHORTER: NamedScenario = { name: 'those who grant a lease are configured with shorter ones', run: shorterGrants };
const INHERITED: NamedScenario = { name: 'a new primary is asked before it has executed what it inherited', run: inheritedWrite };

/** Bound by what it has granted in this life only. */
function forgetsItsGrants({ leases }: Replica): void {
  let granted = false;
  const bind = leases.bind.bind(leases);
  leases.bind = () => {
    granted = true;
    bind();
  };
  alterGetter(leases, 'bound', (original) => granted && original());
}

/** Whoever has left a view frees those who promised something to its primary. */
function believesAnybody({ leases }: Replica): void {
  const left = leases.onLeft.bind(leases);
  leases.onLeft = (_member, at) => { for (const id of [1, 2, 3, 4, 5]) left(memberId(id), at); };
}

/** Who wants another view has left its own. */
function believesAWish({ leases }: Replica): void {
  const left = leases.onLeft.bind(leases);
  leases.onLeft = (member, at) => { left(member, view(at + 1)); };
}

/** A lease counts from when the answer comes. */
function countsFromTheAnswer({ leases }: Replica): void {
  const confirmed = leases.onConfirmed.bind(leases);
  leases.onConfirmed = (from, round, leaseMs) => {
    leases.onRoundSent(round);
    confirmed(from, round, leaseMs);
  };
}

/** A lease is as long as the primary would have it. */
function countsItsOwnLength({ leases, options }: Replica): void {
  const confirmed = leases.onConfirmed.bind(leases);
  leases.onConfirmed = (from, round) => { confirmed(from, round, options.leaseMs); };
}

/** Time is what people's clocks show. */
function asksTheWallClock(ports: Ports): Ports {
  return { ...ports, clock: { wall: () => ports.clock.wall(), monotonic: () => ports.clock.wall() / 1000 } };
}

/** All time counts that the monotonic clock does. */
function asksTheMonotonicClock(ports: Ports): Ports {
  const start = ports.clock.wall() - ports.clock.monotonic() * 1000;
  return { ...ports, clock: { wall: () => start + ports.clock.monotonic() * 1000, monotonic: () => ports.clock.monotonic() } };
}

/** The superblock names what this life grants, whatever the one before has granted. */
function forgetsTheLifeBefore(ports: Ports, host: Host): Ports {
  return { ...ports, superblock: { write: (s) => ports.superblock.write({ ...s, leaseMs: host.ownOptions.leaseMs ?? s.leaseMs }) } };
}

/** The time is what it was at the last tick. */
class TrustsTheLastTick extends Replica {
  readonly #ticked: { at: number };

  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    const ticked = { at: ports.clock.monotonic() };
    const wallBehind = ports.clock.wall() - ticked.at * 1000;
    super({ ...ports, clock: { wall: () => ticked.at * 1000 + wallBehind, monotonic: () => ticked.at } }, options, boot);
    this.#ticked = ticked;
  }

  override tick(now: number): void {
    this.#ticked.at = now;
    super.tick(now);
  }
}

/** A calm world, but for primaries that are cut off beside a reader, and for what makes their leases look longer than they are. */
function cuttingOff(most: Partial<DeposalProfile>): Seeds {
  const deposals: DeposalProfile = {
    intervalMs: 200,
    timings: [{ viewChangeMs: 1000, leaseMs: 900 }, { viewChangeMs: 200, leaseMs: 150 }],
    lateAnswers: 0.1, earlySuspicion: 0.1, clocks: 0.1, standstill: 0.1, suspension: 0.5, restarts: 0.1, rolling: 0.1, slowLogs: 0.1, ...most,
  };
  return {
    replicas: 3, durability: 'disk', deposals,
    adjustProfile: (p) => ({ ...p, network: { ...CALM_NETWORK }, weights: [['crash', 1], ['isolate', 1], ['connectionReset', 1]], faultIntervalMs: 1000 }),
  };
}

export const leases: Row = {
  row: 18,
  title: 'leases',
  scenarios: [GRANTOR, LEAVER, WISH, STEPS_DOWN, TWICE, LATE, SHORTER, CLOCK, STOPPED, SUSPENDED, INHERITED],
  mutants: [
    {
      name: 'a grantor that has restarted votes at once', breakage: { Replica: altered(forgetsItsGrants) }, scenario: GRANTOR, killedBy: STALE,
      seeds: cuttingOff({ restarts: 0.8 }), foundBy: STALE,
    },
    {
      name: 'any member that leaves a view ends the leases of its primary', breakage: { Replica: altered(believesAnybody) }, scenario: LEAVER, killedBy: STALE,
      seeds: cuttingOff({ earlySuspicion: 0.8 }), foundBy: STALE,
    },
    {
      name: 'a primary that wants another view counts as one that has left its own', breakage: { Replica: altered(believesAWish) }, scenario: WISH, killedBy: STALE,
      seeds: cuttingOff({ earlySuspicion: 0.8 }), foundBy: STALE,
    },
    {
      name: 'a life names its own leases only', breakage: { wrapPorts: forgetsTheLifeBefore }, scenario: TWICE, killedBy: STALE,
      seeds: cuttingOff({ rolling: 0.8, restarts: 0.8 }), foundBy: STALE,
    },
    {
      name: 'a lease counts from the answer', breakage: { Replica: altered(countsFromTheAnswer) }, scenario: LATE, killedBy: STALE,
      seeds: cuttingOff({ lateAnswers: 0.8 }), foundBy: STALE,
    },
    {
      name: 'a lease is as long as the primary is configured with', breakage: { Replica: altered(countsItsOwnLength) }, scenario: SHORTER, killedBy: STALE,
      seeds: cuttingOff({ rolling: 0.8 }), foundBy: STALE,
    },
    {
      name: 'leases by the wall clock', breakage: { wrapPorts: asksTheWallClock }, scenario: CLOCK, killedBy: STALE,
      seeds: cuttingOff({ clocks: 0.8 }), foundBy: STALE,
    },
    {
      name: 'a lease is judged by the time of the last tick', breakage: { Replica: TrustsTheLastTick }, scenario: STOPPED, killedBy: STALE,
      seeds: cuttingOff({ standstill: 0.8 }), foundBy: STALE,
    },
    {
      name: 'a lease is judged by the monotonic clock alone', breakage: { wrapPorts: asksTheMonotonicClock }, scenario: SUSPENDED, killedBy: STALE,
      seeds: cuttingOff({ standstill: 0.8, suspension: 1 }), foundBy: STALE,
    },
    {
      name: 'a new primary reads before it has executed what it inherited',
      breakage: { Replica: altered((r) => { alterGetter(r.normal, 'serving', () => r.normal.open && r.isPrimary && r.execution.ready); }) },
      scenario: INHERITED, killedBy: STALE, seeds: cuttingOff({ slowLogs: 0.8 }), foundBy: STALE,
    },
  ],
};
