/** Row 19, the time of entries, which files take their mtime from, goes back at a view change. */
import type { Replica } from '../../../vr/replica.ts';
import { Scenario } from '../scenario.ts';
import { altered, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

const HOUR = 3_600_000_000;

/** The clocks are an hour apart, each an hour behind the one before; then they jump. */
function clocksApart(broken: Breakage): void {
  const s = Scenario.settled(broken);
  for (const i of [1, 2]) s.host(i).clock.jump(-HOUR * i);
  for (const i of [1, 2, 0]) {
    s.makePrimary(i);
    s.write(1, i);
  }
  s.host(0).clock.jump(-10 * HOUR);
  s.write(1, 5);
  s.converged();
}

/** What is proposed again in a later view keeps its time: it is another entry otherwise, and R0 has executed the first. */
function inherited(broken: Breakage): void {
  const s = Scenario.settled(broken);
  for (const i of [1, 2]) s.host(i).clock.jump(-HOUR);
  const unaware = s.hold((p) => p.from === 0 && p.message.type === 'commit');
  s.write(1, 42);
  s.isolate(0);
  unaware.stop();
  s.converged([1, 2]);
  s.write(2, 43);
  s.heal();
  s.converged();
  s.expect('X is there', s.read(1) === 42);
}

const APART: NamedScenario = { name: 'the clock of the next primary is behind', run: clocksApart };

/** Within its view times rise; what came before it does not look at. */
function trustsItsClock(r: Replica): void {
  const { normal } = r;
  const rising = normal.timeAfter.bind(normal);
  normal.timeAfter = (last, wall) => (r.log.at(r.log.head)?.view === r.view ? rising(last, wall) : wall);
}

export const times: Row = {
  row: 19,
  title: 'time goes back at a view change',
  scenarios: [APART, { name: 'an entry that a view change has taken over keeps its time', run: inherited }],
  mutants: [{
    name: 'a new primary goes by its clock', breakage: { Replica: altered(trustsItsClock) }, scenario: APART, killedBy: ['time rises'],
    seeds: { adjustProfile: (p) => ({ ...restless(p), clockSkewMs: 30_000 }) }, foundBy: ['time rises'],
  }],
};
