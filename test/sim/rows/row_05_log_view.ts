/** Row 5, the log-view goes back over a restart: acknowledged in one view, claimed for an older one. */
import type { Ports } from '../../../vr/ports.ts';
import type { Host } from '../host.ts';
import { Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, viewOne } from './support.ts';

/** R2's disk is slow when it is told of view 1: whatever it acknowledges there must not be forgotten when its power goes. */
function slowInstall(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.host(2).syncMs = [60_000, 0];
  s.host(2).superblockMs = [1, 0];
  s.isolate(0);
  s.until('R1 leads view 1', () => s.status(1).isPrimary && s.status(2).status === 'normal');
  const x = s.begin(1, 5);
  s.run(1000);
  s.crash(2, 'lost');
  s.host(2).syncMs = [1, 0];
  s.host(2).superblockMs = null;
  s.restart(2);
  s.crash(1, 'kept');
  s.heal();
  s.converged([0, 2]);
  s.done(x);
  s.expect('X is there', s.read(1) === 5);
  s.restart(1);
  s.converged();
}

function everybodyRestarts(broken: Breakage): void {
  const s = Scenario.settled(broken);
  viewOne(s, [1, 2]);
  const x = s.write(1, 5);
  for (const i of [1, 2, 0]) s.crash(i, 'lost');
  s.heal();
  for (const i of [0, 2]) s.restart(i);
  s.converged([0, 2]);
  s.expect('X is executed', s.status(0).executed >= x);
  s.expect('X is there', s.read(1) === 5);
}

const SLOW_INSTALL: NamedScenario = { name: 'a power failure while the log of the new view is being written', run: slowInstall };

/** The log of a new view counts as written when it is queued. */
function actsBeforeTheLogIsThere(ports: Ports, host: Host): Ports {
  return {
    ...ports,
    journal: {
      append: (record) => {
        const ticket = ports.journal.append(record);
        if (record.type === 'install') host.inject((replica) => replica.onJournalDurable(ticket));
        return ticket;
      },
      collect: (op) => ports.journal.collect(op),
    },
  };
}

export const logViewOverRestart: Row = {
  row: 5,
  title: 'the log-view goes back over a restart',
  scenarios: [SLOW_INSTALL, { name: 'an acknowledgement of the newer view counts after the restart of everybody', run: everybodyRestarts }],
  mutants: [{
    name: 'acknowledges in a view whose log is not on disk', breakage: { wrapPorts: actsBeforeTheLogIsThere, checkOrderOfEffects: false }, scenario: SLOW_INSTALL, killedBy: ['committed ops survive'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), syncMs: [5, 100] }), from: 1, within: 50 }, foundBy: LOSS,
  }],
};
