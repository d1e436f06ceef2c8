/** Row 6, a log-view newer than the log: StartView lowers the head, and a restart finds the old tail under the new log-view. */
import { defined } from '../../../lib/assert.ts';
import type { Digest, OpNumber } from '../../../lib/ids.ts';
import type { JournalRecord, Ports } from '../../../vr/ports.ts';
import type { Host } from '../host.ts';
import { Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

/** R0 has a tail that nobody else has. It crashes while it replaces it by the log of view 1, in which X was committed. */
function oldTail(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.isolate(0);
  for (let n = 1; n <= 3; n++) s.begin(1, 10 + n);
  s.run(30);
  s.expect('R0 has a tail', s.status(0).op >= s.status(1).op + 3);
  s.converged([1, 2]);
  s.write(2, 22);
  s.host(0).syncMs = [20, 0];
  s.host(0).superblockMs = [1, 0];
  s.heal();
  s.until('R0 takes over the log of the new view', () => s.status(0).status === 'normal' && s.status(0).view >= 1);
  s.crash(0, 'kept');
  s.crash(1, 'kept');
  s.restart(0);
  s.converged([0, 2]);
  s.expect('X is there', s.read(2) === 22);
  s.restart(1);
  s.converged();
}

const OLD_TAIL: NamedScenario = { name: 'a crash while a superseded tail is being replaced', run: oldTail };

/** First the log-view is written, then the log is cut. */
function installsInTwoSteps(ports: Ports, host: Host): Ports {
  const { journalDisk } = host;
  let head: { op: OpNumber; hash: Digest } = { op: journalDisk.head, hash: defined(journalDisk.hashAt(journalDisk.head), 'head of the journal') };
  const append = (record: JournalRecord): number => {
    if (record.type === 'install' && record.base < head.op && journalDisk.intact) ports.journal.append({ ...record, base: head.op, baseHash: head.hash, entries: [] });
    const last = record.entries.at(-1);
    if (last !== undefined) head = { op: last.op, hash: last.hash };
    else if (record.type === 'install') head = { op: record.base, hash: record.baseHash };
    return ports.journal.append(record);
  };
  return { ...ports, journal: { append, collect: (op) => ports.journal.collect(op) } };
}

export const atomicInstall: Row = {
  row: 6,
  title: 'the log-view is newer than the log',
  scenarios: [OLD_TAIL],
  mutants: [{
    name: 'raises the log-view before it cuts the log', breakage: { wrapPorts: installsInTwoSteps }, scenario: OLD_TAIL, killedBy: ['one chain', 'committed ops survive'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), syncMs: [5, 100] }) }, foundBy: LOSS,
  }],
};
