/** Row 12, the whole group restarts: nobody is normal, so nobody answers a Recovery. */
import type { Configuration } from '../../../vr/configuration.ts';
import type { Ports } from '../../../vr/ports.ts';
import { Replica } from '../../../vr/replica.ts';
import type { BootState, ReplicaOptions } from '../../../vr/replica_types.ts';
import { Scenario } from '../scenario.ts';
import { EXPECTATION, LOSS, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { writes } from './support.ts';

function onDisk(unsynced: 'kept' | 'lost'): NamedScenario {
  return {
    name: `power loss of the whole group, disk mode (what was not synced: ${unsynced})`,
    run: (broken) => {
      const s = Scenario.settled(broken);
      writes(s, 12);
      s.begin(0, 99);
      s.run(2);
      for (const i of [0, 1, 2]) s.crash(i, unsynced);
      for (const i of [0, 1, 2]) s.restart(i);
      s.converged();
      for (let n = 8; n <= 11; n++) s.expect(`write ${n} is there`, s.read(n % 6) === n);
    },
  };
}

function inMemory(broken: Breakage): void {
  const s = Scenario.settled({ durability: 'memory', ...broken });
  writes(s, 3);
  for (const i of [0, 1, 2]) s.crash(i);
  for (const i of [0, 1, 2]) s.restart(i);
  const read = s.beginRead(1);
  const write = s.begin(1, 2);
  s.run(20_000);
  for (const i of [0, 1, 2]) s.expect(`R${i} goes on recovering`, s.status(i).status === 'recovering');
  s.expect('nothing is answered', !s.answered(read) && !s.answered(write));
  s.expect('the operator is told', s.coverage.get('event group-cannot-recover') > 0);
}

const ON_DISK = onDisk('lost');
const IN_MEMORY: NamedScenario = { name: 'restart of the whole group, memory mode', run: inMemory };

/** As the paper has it: whoever restarts recovers. */
class AlwaysRecovers extends Replica {
  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    super(ports, options, boot.superblock.incarnation === 0 ? boot : { ...boot, log: { ...boot.log, intact: false } });
  }
}

/** Memory mode: a restart with an empty log goes on as if that were the whole log, as in disk mode. */
export class ForgetsThatItForgot extends Replica {
  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    const configuration: Configuration = { ...boot.superblock.configuration, durability: 'disk' };
    super(ports, options, { ...boot, superblock: { ...boot.superblock, configuration }, log: { ...boot.log, intact: true } });
  }
}

export const wholeGroup: Row = {
  row: 12,
  title: 'the whole group restarts',
  scenarios: [ON_DISK, onDisk('kept'), IN_MEMORY],
  mutants: [
    { name: 'disk mode: recovers after every restart', breakage: { Replica: AlwaysRecovers }, scenario: ON_DISK, killedBy: [EXPECTATION], seeds: { durability: 'disk' }, foundBy: STALL },
    {
      name: 'memory mode: takes an empty log for a whole one', breakage: { Replica: ForgetsThatItForgot }, scenario: IN_MEMORY, killedBy: LOSS,
      seeds: { replicas: 3, durability: 'memory' }, foundBy: LOSS,
    },
  ],
};
