/** Row 13, a silent backup: it has executed all of the new view's log already, has nothing to prepare, and says nothing; the new primary waits for it. */
import { opNumber } from '../../../lib/ids.ts';
import type { Ports } from '../../../vr/ports.ts';
import type { Host } from '../host.ts';
import { Scenario } from '../scenario.ts';
import { EXPECTATION, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

/**
 * R0 and R2 have executed X, which the others do not know to be committed. R1 begins view 1 with R3 and R4, which fail before they acknowledge
 * anything there: those that are left for the quorum are R0 and R2.
 */
function executedAlready(broken: Breakage): void {
  const s = Scenario.settled({ replicas: 5, ...broken });
  const unaware = s.hold((p) => [1, 3, 4].includes(p.to) && p.message.type === 'commit');
  const x = s.write(1, 42);
  s.until('R2 has executed X', () => s.status(2).executed >= x);
  s.expect('R1, R3, R4 have X and do not know', [1, 3, 4].every((i) => s.status(i).op >= x && s.status(i).executed < x));
  s.separate([0, 2], [1, 3, 4]);
  const acknowledgements = s.hold((p) => p.to === 1 && p.message.type === 'prepareOk');
  s.until('R1 leads view 1', () => s.status(1).isPrimary);
  s.crash(3);
  s.crash(4);
  acknowledgements.stop();
  unaware.stop();
  s.heal();
  s.converged([0, 1, 2]);
  s.expect('X is there', s.read(1) === 42);
  for (const i of [3, 4]) s.restart(i);
  s.converged();
}

const NOTHING = opNumber(0);

const EXECUTED: NamedScenario = { name: 'the quorum of the new view has executed its log already', run: executedAlready };

/** As the paper has it: after a StartView those operations are acknowledged that are not known to be committed. */
function acknowledgesTheUncommitted(ports: Ports, host: Host): Ports {
  return {
    ...ports,
    network: {
      ...ports.network,
      send: (to, message) => {
        // A sign of life it stays: the primary must not take the silence for a partition.
        const silent = message.type === 'prepareOk' && message.op <= host.replica.executed;
        ports.network.send(to, silent ? { ...message, op: NOTHING } : message);
      },
    },
  };
}

export const silentBackup: Row = {
  row: 13,
  title: 'a backup that has executed n says nothing after StartView',
  scenarios: [EXECUTED],
  mutants: [{
    name: 'acknowledges only what it does not know to be committed', breakage: { wrapPorts: acknowledgesTheUncommitted }, scenario: EXECUTED, killedBy: [EXPECTATION],
    seeds: { replicas: 5, durability: 'disk', adjustProfile: restless }, foundBy: STALL,
  }],
};
