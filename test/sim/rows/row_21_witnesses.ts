/** Row 21, witnesses: a log that nobody has any more, and a leader that knows nothing. */
import type { Configuration } from '../../../vr/configuration.ts';
import type { Ports } from '../../../vr/ports.ts';
import { Replica } from '../../../vr/replica.ts';
import type { BootState, ReplicaOptions } from '../../../vr/replica_types.ts';
import type { Host } from '../host.ts';
import { Scenario } from '../scenario.ts';
import { altered, EXPECTATION, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, SHORT_LOG, writes } from './support.ts';

/** R0 and R1 are voters, R2 is the witness. R1 misses thirty operations, of which R0 takes checkpoints; then R0 fails. */
function keptForTheSlowest(broken: Breakage): void {
  const s = Scenario.settled({ witnesses: 1, replica: SHORT_LOG, ...broken });
  s.isolate(1);
  writes(s, 30);
  s.run(5000);
  s.expect('R0 has checkpoints', s.status(0).checkpoint.op >= 20);
  s.crash(0);
  s.heal();
  s.converged([1, 2]);
  for (let n = 25; n <= 30; n++) s.expect(`write ${n} is there`, s.read(n % 6) === n);
  s.restart(0);
  s.converged();
}

/** A turn that the witness would have had. */
function neverLeads(broken: Breakage): void {
  const s = Scenario.settled({ witnesses: 1, ...broken });
  s.crash(0);
  s.converged([1, 2]);
  s.write(1, 42);
  s.restart(0);
  s.converged();
  s.crash(1);
  s.until('another leads', () => [0, 2].some((i) => s.status(i).isPrimary));
  s.run(50);
  s.expect('it is not the witness', !s.status(2).isPrimary);
  s.expect('it has the state', s.read(1) === 42);
}

const SLOWEST: NamedScenario = { name: 'the witness has what one of the voters needs', run: keptForTheSlowest };
const NEVER: NamedScenario = { name: 'the turn passes the witness over', run: neverLeads };

/** What one voter holds in a checkpoint counts as held by all. */
function oneVoterIsEnough(r: Replica): void {
  const { handOver } = r;
  const noticed = handOver.onCheckpointNotice.bind(handOver);
  handOver.onCheckpointNotice = (from, m) => {
    if (!r.isWitness) noticed(from, m);
    else for (const { id, role } of r.configuration.members) if (role === 'voter') noticed(id, m);
  };
}

/** The turn goes round by all who vote. */
class WitnessesLead extends Replica {
  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    const { configuration, memberId } = boot.superblock;
    super(ports, options, { ...boot, superblock: { ...boot.superblock, configuration: allLead(configuration) } });
    this.isWitness = configuration.members.some((m) => m.id === memberId && m.role === 'witness');
  }
}

function allLead(c: Configuration): Configuration {
  return { ...c, members: c.members.map((m) => (m.role === 'witness' ? { ...m, role: 'voter' } : m)) };
}

/** On disk, and for all others, the roles are what they are. */
function keepsRoles(ports: Ports, host: Host): Ports {
  return { ...ports, superblock: { write: (superblock) => ports.superblock.write({ ...superblock, configuration: host.superblockDisk.current.configuration }) } };
}

export const witnesses: Row = {
  row: 21,
  title: 'witnesses',
  scenarios: [SLOWEST, NEVER],
  mutants: [
    {
      name: 'a witness collects what one voter holds', breakage: { Replica: altered(oneVoterIsEnough) }, scenario: SLOWEST, killedBy: [EXPECTATION],
      seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), witnesses: 1, replica: { ...restless(p).replica, ...SHORT_LOG } }) }, foundBy: STALL,
    },
    {
      name: 'a witness leads when it is its turn', breakage: { Replica: WitnessesLead, wrapPorts: keepsRoles }, scenario: NEVER, killedBy: ['votes of members only'],
      seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), witnesses: 1 }) }, foundBy: ['votes of members only'],
    },
  ],
};
