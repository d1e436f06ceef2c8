/** Row 22, liveness: what must not stop a healthy quorum. */
import { view as viewOf } from '../../../lib/ids.ts';
import type { Replica } from '../../../vr/replica.ts';
import { Scenario } from '../scenario.ts';
import { altered, EXPECTATION, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

/** A client writes, one operation after the other. Returns how many views began meanwhile. */
function writesFor(s: Scenario, milliseconds: number): number {
  const highest = (): number => Math.max(...s.cluster.hosts.filter((h) => h.running).map((h) => h.status.view));
  const from = highest();
  const end = s.cluster.now + milliseconds;
  for (let n = 1; s.cluster.now < end; n++) {
    s.done(s.begin(n % 6, n), 6000);
    s.run(20);
  }
  return highest() - from;
}

/** The primary can send, and hears nobody: its heart-beats keep the others loyal. */
function deafPrimary(broken: Breakage): void {
  const s = Scenario.settled(broken);
  for (const i of [1, 2]) s.cut(i, 0);
  writesFor(s, 5000);
  s.expect('another leads', !s.status(0).isPrimary);
  s.heal();
  s.converged();
}

/** R2 does not hear the primary, which has all the others. */
function loneReplica(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.cut(0, 2);
  const views = writesFor(s, 10_000);
  s.expect('R2 suspects the primary', s.sent('startViewChange', { from: 2 }).length > 0);
  s.expect('nobody is disturbed', views === 0);
  s.heal();
  s.converged();
  s.expect('nor afterwards', writesFor(s, 3000) === 0);
}

/** R2 comes back with the promise of a view far above, which it cannot go below. */
function inflatedView(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.crash(2);
  const disk = s.host(2).superblockDisk;
  disk.put({ ...disk.current, view: viewOf(5000), promisedView: viewOf(5000) });
  s.run(1000);
  s.restart(2);
  writesFor(s, 5000);
  s.converged();
  s.expect('the group passes it once', s.status(0).view >= 5000 && s.status(0).view <= 5003);
  s.expect('and goes on', writesFor(s, 3000) === 0);
}

/** Of the heart-beats few arrive: after a while in which they were uneven it is longer from one to the next than the shortest time-out. */
function unevenHeartBeats(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const arrived = new Map<string, { readonly at: number; readonly count: number }>();
  let longest = 230;
  s.hold((p) => {
    if (p.message.type !== 'commit') return false;
    const link = `${p.from} ${p.to}`;
    const { at, count } = arrived.get(link) ?? { at: -Infinity, count: 0 };
    if (s.cluster.now - at < (count % 2 === 0 ? longest : 0)) return true;
    arrived.set(link, { at: s.cluster.now, count: count + 1 });
    return false;
  });
  s.run(5000);
  longest = 430;
  s.run(20_000);
  s.expect('no view ends for it', [0, 1, 2].every((i) => s.status(i).view === 0 && s.status(i).status === 'normal'));
}

const DEAF: NamedScenario = { name: 'a primary that can send but not hear', run: deafPrimary };
const LONE: NamedScenario = { name: 'one backup that does not hear the primary', run: loneReplica };
const INFLATED: NamedScenario = { name: 'a replica with an inflated view', run: inflatedView };
const RARE: NamedScenario = { name: 'most heart-beats are lost', run: unevenHeartBeats };

/** Each for itself: who hears nothing of the primary leaves its view. */
function leavesAlone(r: Replica): void {
  const { viewChange } = r;
  const tick = viewChange.tick.bind(viewChange);
  viewChange.tick = () => {
    if (r.phase === 'normal' && r.isElector && !r.isPrimary && viewChange.silence.suspicious(r.now)) viewChange.leaveFor(viewOf(r.view + 1));
    tick();
  };
}

/** A word of who cannot go back is a word like any other. */
function leavesItBehind({ viewChange }: Replica): void {
  const onStartViewChange = viewChange.onStartViewChange.bind(viewChange);
  viewChange.onStartViewChange = (from, m) => { onStartViewChange(from, { ...m, left: null }); };
}

/** The time-out is what is configured, however messages come. */
function isImpatient(r: Replica): void {
  const { silence } = r.viewChange;
  silence.suspicious = (now) => silence.silence(now) >= r.options.viewChangeMs;
  silence.doubtful = (now) => silence.silence(now) >= r.options.viewChangeMs / 2;
}

export const liveness: Row = {
  row: 22,
  title: 'liveness',
  scenarios: [DEAF, LONE, INFLATED, RARE],
  mutants: [
    {
      name: 'a primary that nobody answers goes on', breakage: { Replica: altered((r) => { r.abdication.hearsQuorum = () => true; }) }, scenario: DEAF, killedBy: [EXPECTATION],
      seeds: { adjustProfile: restless }, foundBy: STALL,
    },
    {
      name: 'leaves the view without a quorum', breakage: { Replica: altered(leavesAlone) }, scenario: LONE, killedBy: [EXPECTATION],
      seeds: { adjustProfile: restless }, foundBy: STALL,
    },
    {
      name: 'a group does not follow who cannot go back', breakage: { Replica: altered(leavesItBehind) }, scenario: INFLATED, killedBy: [EXPECTATION],
      seeds: { adjustProfile: restless }, foundBy: STALL,
    },
    {
      name: 'time-outs do not adapt', breakage: { Replica: altered(isImpatient) }, scenario: RARE, killedBy: [EXPECTATION],
      seeds: { adjustProfile: restless }, foundBy: STALL,
    },
  ],
};
