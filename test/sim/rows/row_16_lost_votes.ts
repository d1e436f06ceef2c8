/** Row 16, StartView or DoViewChange is lost, and the paper says nothing of sending it again. */
import type { View } from '../../../lib/ids.ts';
import type { Ports } from '../../../vr/ports.ts';
import type { Replica } from '../../../vr/replica.ts';
import { kind, Scenario } from '../scenario.ts';
import { altered, EXPECTATION, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

/** Of each vote the first copy is lost. */
function firstVotesLost(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const seen = new Set<string>();
  const first = s.hold((p) => {
    if (p.message.type !== 'doViewChange') return false;
    const vote = `${p.from} ${p.message.view}`;
    if (seen.has(vote)) return false;
    seen.add(vote);
    return true;
  });
  s.crash(0);
  s.converged([1, 2]);
  s.write(1, 42);
  first.stop();
  s.restart(0);
  s.converged();
}

/** R1 begins view 1, and its StartView reaches nobody; nor do its heart-beats for a while. */
function lostStartView(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const startViews = s.hold(kind('startView', { from: 1 }));
  const heartBeats = s.hold(kind('commit', { from: 1 }));
  s.crash(0);
  s.until('R1 leads', () => s.status(1).isPrimary);
  s.run(20);
  s.expect('its StartView is lost', startViews.packets.length > 0);
  startViews.stop();
  s.converged([1, 2], 5000);
  s.expect('in that view', s.status(1).view === 1);
  heartBeats.stop();
  s.write(1, 42);
  s.restart(0);
  s.converged();
}

/** The same, and heart-beats arrive: R2 learns of the view by itself, and asks. */
function heardOfTheView(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const startViews = s.hold(kind('startView', { from: 1 }));
  s.crash(0);
  s.until('R1 leads', () => s.status(1).isPrimary);
  s.run(20);
  startViews.stop();
  s.converged([1, 2], 5000);
  s.expect('in that view', s.status(1).view === 1);
}

const VOTES: NamedScenario = { name: 'the first copy of each DoViewChange is lost', run: firstVotesLost };
const START_VIEW: NamedScenario = { name: 'a StartView is lost, and there are no heart-beats', run: lostStartView };

/** Each DoViewChange is sent once. */
function votesOnce(ports: Ports): Ports {
  let last: View | null = null;
  return {
    ...ports,
    network: {
      ...ports.network,
      send: (to, message) => {
        if (message.type === 'doViewChange') {
          if (message.view === last) return;
          last = message.view;
        }
        ports.network.send(to, message);
      },
    },
  };
}

/** The primary of a view has said so once. */
function saysItOnce(r: Replica): void {
  const { viewChange } = r;
  const onDoViewChange = viewChange.onDoViewChange.bind(viewChange);
  const onStartViewChange = viewChange.onStartViewChange.bind(viewChange);
  viewChange.onDoViewChange = (from, m) => { if (m.view > r.view || r.phase !== 'normal') onDoViewChange(from, m); };
  viewChange.onStartViewChange = (from, m) => { if (m.view > r.view || r.phase !== 'normal') onStartViewChange(from, m); };
  viewChange.onGetView = () => undefined;
}

export const lostVotes: Row = {
  row: 16,
  title: 'StartView or DoViewChange is lost',
  scenarios: [VOTES, START_VIEW, { name: 'a StartView is lost, and a heart-beat tells of the view', run: heardOfTheView }],
  mutants: [
    {
      name: 'sends its DoViewChange once', breakage: { wrapPorts: votesOnce }, scenario: VOTES, killedBy: [EXPECTATION],
      seeds: { adjustProfile: restless }, foundBy: STALL,
    },
    {
      name: 'a primary that has said StartView does not say it again', breakage: { Replica: altered(saysItOnce) }, scenario: START_VIEW, killedBy: [EXPECTATION],
      seeds: { adjustProfile: restless }, foundBy: STALL,
    },
  ],
};
