/** Row 5, the log-view goes back over a restart: acknowledged in one view, claimed for an older one. */
import { view as viewOf } from '../../../lib/ids.ts';
import type { Ports } from '../../../vr/ports.ts';
import type { Host } from '../host.ts';
import { kind, Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, viewOne } from './support.ts';

/** R1 has X of R0, which loses it. R2 gets X with the log of view 1, on a slow disk: what it acknowledges there must not be forgotten when its power goes. */
function slowInstall(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.host(0).syncMs = [60_000, 0];
  s.host(0).superblockMs = [1, 0];
  s.cut(0, 2);
  const x = s.begin(1, 5);
  s.until('R1 has X', () => s.status(1).op > s.status(2).op);
  s.crash(0, 'lost');
  s.host(0).syncMs = [1, 0];
  s.host(0).superblockMs = null;
  s.heal();
  s.host(2).syncMs = [60_000, 0];
  s.host(2).superblockMs = [1, 0];
  s.until('R1 leads view 1', () => s.status(1).isPrimary && s.status(2).status === 'normal');
  s.run(500);
  s.crash(2, 'lost');
  s.host(2).syncMs = [1, 0];
  s.host(2).superblockMs = null;
  s.crash(1, 'kept');
  s.restart(2);
  s.restart(0);
  s.converged([0, 2]);
  s.done(x);
  s.expect('X is there', s.read(1) === 5);
  s.restart(1);
  s.converged();
}

/**
 * Views a = 0, b = 1, c = 2. X is of view 0, at R0 and R2 only. R1 begins view 1 without it, unheard by anybody; R2 begins view 2 with it, and
 * commits it with R0 and R3. R0 restarts: if it claims view 0 for its log, R1's is the newer one.
 */
function threeViews(broken: Breakage): void {
  const s = Scenario.settled({ replicas: 5, ...broken });
  const prepares = s.hold((p) => p.from === 0 && p.message.type === 'prepare' && p.to !== 2);
  const x = s.begin(1, 5);
  s.until('R2 has X', () => s.status(2).op > s.status(1).op);
  s.separate([0, 2], [1, 3, 4]);
  const startViews = s.hold(kind('startView', { from: 1 }));
  s.until('R1 leads view 1', () => s.status(1).isPrimary);
  s.heal();
  prepares.stop();
  s.separate([0, 2, 3], [1, 4]);
  s.done(x);
  s.converged([0, 2, 3]);
  s.crash(0);
  s.restart(0);
  s.crash(2);
  s.crash(3);
  startViews.stop();
  s.heal();
  s.converged([0, 1, 4]);
  s.expect('X is there', s.read(1) === 5);
  s.restart(2);
  s.restart(3);
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

const THREE_VIEWS: NamedScenario = { name: 'acknowledged in view c, restarted, beside a log of view b', run: threeViews };

/** The log-view is never written: a restart claims the first view for its log. */
function forgetsItsLogView(ports: Ports): Ports {
  return {
    ...ports,
    journal: {
      append: (record) => ports.journal.append(record.type === 'install' ? { ...record, logView: viewOf(0) } : record),
      collect: (op) => ports.journal.collect(op),
    },
    superblock: { write: (superblock) => ports.superblock.write({ ...superblock, logView: viewOf(0) }) },
  };
}

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
  scenarios: [THREE_VIEWS, SLOW_INSTALL, { name: 'an acknowledgement of the newer view counts after the restart of everybody', run: everybodyRestarts }],
  mutants: [{
    name: 'does not write its log-view', breakage: { wrapPorts: forgetsItsLogView, checkOrderOfEffects: false }, scenario: THREE_VIEWS, killedBy: ['committed ops survive'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: restless }, foundBy: LOSS,
  }, {
    name: 'acknowledges in a view whose log is not on disk', breakage: { wrapPorts: actsBeforeTheLogIsThere, checkOrderOfEffects: false }, scenario: SLOW_INSTALL, killedBy: ['committed ops survive'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), syncMs: [5, 100] }) }, foundBy: LOSS,
  }],
};
