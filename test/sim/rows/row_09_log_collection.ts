/** Row 9, log collection: the operation that is asked for is gone, or only replicas that are not normal hold it. */
import { Scenario } from '../scenario.ts';
import { altered, EXPECTATION, LOSS, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, SHORT_LOG, writes } from './support.ts';

function collected(broken: Breakage): void {
  const s = Scenario.settled({ replica: SHORT_LOG, ...broken });
  s.isolate(2);
  writes(s, 30);
  s.heal();
  s.converged();
  s.expect('it took a checkpoint', s.coverage.get('checkpoint transfers') > 0);
}

/** R1, the next primary, lacks more than the log of R2 still holds. */
function yields(broken: Breakage): void {
  const s = Scenario.settled({ replica: SHORT_LOG, ...broken });
  s.isolate(1);
  writes(s, 30);
  s.crash(0);
  s.heal();
  s.converged([1, 2]);
  s.expect('somebody yields', s.coverage.get('event yields') > 0);
  for (let n = 25; n <= 30; n++) s.expect(`write ${n} is there`, s.read(n % 6) === n);
  s.restart(0);
  s.converged();
}

/** What R1 lacks is at the witness only, which never leads: it has to give it while it waits for R1's view itself. */
function heldByTheWitness(broken: Breakage): void {
  const s = Scenario.settled({ witnesses: 1, ...broken });
  s.separate([0, 2], [1]);
  const big = [1, 2, 3, 4, 5, 6].map((n) => s.begin(n % 6, n, 0, 100 << 10));
  s.until('they are committed', () => big.every((w) => s.answered(w)), 5000);
  s.crash(0);
  s.heal();
  s.converged([1, 2]);
  for (const n of [1, 2, 3, 4, 5]) s.expect(`write ${n} is there`, s.read(n) === n);
  s.restart(0);
  s.converged();
}

const COLLECTED: NamedScenario = { name: 'a backup asks for what was collected', run: collected };
const YIELDS: NamedScenario = { name: 'a new primary that lacks more than the log holds', run: yields };
const WITNESS: NamedScenario = { name: 'only a witness in status view-change has what a new primary lacks', run: heldByTheWitness };

export const logCollection: Row = {
  row: 9,
  title: 'the log that is asked for was collected',
  scenarios: [COLLECTED, YIELDS, WITNESS],
  mutants: [
    {
      name: 'has no checkpoint to give for a log that it collected',
      breakage: { Replica: altered((r) => {
        const answer = r.catchUp.onGetState.bind(r.catchUp);
        r.catchUp.onGetState = (from, m) => { if (m.after >= r.log.base) answer(from, m); };
      }) },
      scenario: COLLECTED, killedBy: [EXPECTATION], seeds: {}, foundBy: STALL,
    },
    {
      name: 'repairs others only while it is normal',
      breakage: { Replica: altered((r) => {
        const answer = r.catchUp.onGetState.bind(r.catchUp);
        r.catchUp.onGetState = (from, m) => { if (r.phase === 'normal') answer(from, m); };
      }) },
      scenario: WITNESS, killedBy: [EXPECTATION],
      seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), witnesses: 1, replica: { ...restless(p).replica, claimBytes: 0 } }) }, foundBy: STALL,
    },
    {
      name: 'leads with what it has when the rest is gone',
      breakage: { Replica: altered((r) => {
        r.viewChange.yieldView = () => { r.viewChange.install({ view: r.view, keep: r.log.head, entries: [], commit: r.commit }); };
      }) },
      scenario: YIELDS, killedBy: ['committed ops survive'], seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), replica: { ...p.replica, ...SHORT_LOG, viewChangeMs: 200 } }) }, foundBy: LOSS,
    },
  ],
};
