/** Row 4, a DoViewChange with a short suffix: the new primary takes the winner's op-number but has not got its entries. */
import { Scenario } from '../scenario.ts';
import { altered, LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

function shortSuffix(broken: Breakage): void {
  const s = Scenario.settled(broken);
  // R1, the next primary, misses six entries of 100 KiB that R2 acknowledges.
  s.separate([0, 2], [1]);
  const writes = [1, 2, 3, 4, 5, 6].map((n) => s.begin(n % 6, n, 0, 100 << 10));
  s.until('they are committed', () => writes.every((w) => s.answered(w)), 5000);
  s.crash(0);
  s.heal();
  s.converged([1, 2]);
  s.expect('R1 leads', s.status(1).isPrimary);
  s.expect('the bodies were asked for by hash', s.sent('getState', { from: 1 }).some((m) => m.repairHead !== null));
  for (const n of [1, 2, 3, 4, 5]) s.expect(`write ${n} is there`, s.read(n) === n);
  s.restart(0);
  s.converged();
}

const SHORT_SUFFIX: NamedScenario = { name: 'a log that does not fit into the messages', run: shortSuffix };

export const shortSuffixes: Row = {
  row: 4,
  title: 'DoViewChange with a short suffix',
  scenarios: [SHORT_SUFFIX],
  mutants: [{
    name: 'starts the view with what it has got',
    breakage: { Replica: altered((r) => { r.catchUp.repair = (c) => { r.viewChange.install({ view: c.view, keep: c.keep, entries: c.entries, commit: c.commit }); }; }) },
    scenario: SHORT_SUFFIX, killedBy: ['committed ops survive'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), replica: { ...restless(p).replica, claimBytes: 0 } }) }, foundBy: LOSS,
  }],
};
