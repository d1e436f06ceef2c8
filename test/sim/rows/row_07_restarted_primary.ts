/** Row 7, a restarted primary reuses its view: two operations with one viewstamp. */
import { kind, Scenario } from '../scenario.ts';
import { altered, LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';


/** A reached R1 and was lost at R0, the primary; back again, it gives A's op-number to B. */
function reusedView(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, ...broken });
  s.write(1, 1, 1);
  s.converged();
  s.host(0).syncMs = [1000, 0];
  s.host(0).superblockMs = [1, 0];
  const toR2 = s.hold(kind('prepare', { to: 2 }));
  s.begin(1, 11);
  s.until('R1 has A', () => s.status(1).op > s.status(2).op);
  s.client(0).crash();
  s.crash(0, 'lost');
  toR2.stop();
  s.host(0).syncMs = [1, 0];
  s.restart(0);
  const { incarnation } = s.host(0);
  s.write(2, 2, 1);
  s.converged();
  s.expect('R0 is in a later view', s.status(0).view >= 1);
  s.expect('it has prepared nothing more in view 0', !s.policy.sent.some((p) => p.from === 0 && p.label === incarnation && p.message.type === 'prepare' && p.message.view === 0));
}

const REUSED: NamedScenario = { name: 'a primary restarts without what it had prepared', run: reusedView };

export const restartedPrimary: Row = {
  row: 7,
  title: 'a restarted primary reuses its view',
  scenarios: [REUSED],
  mutants: [{
    name: 'goes on in its view after a restart', breakage: { Replica: altered((r) => { r.mayHaveUsedItsView = () => false; }) }, scenario: REUSED, killedBy: ['one chain'],
    seeds: { replicas: 3, durability: 'disk' }, foundBy: LOSS,
  }],
};
