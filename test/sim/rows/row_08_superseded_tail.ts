/** Row 8, the suffix of a recovery is appended to a tail that holds superseded operations. */
import type { Replica } from '../../../vr/replica.ts';
import type { BootState } from '../../../vr/replica_types.ts';
import { Scenario } from '../scenario.ts';
import { altered, LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, writes } from './support.ts';

function supersededTail(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.isolate(0);
  s.begin(1, 11);
  s.run(30);
  s.until('the others go on', () => s.status(1).view >= 1 && s.status(2).view >= 1);
  s.converged([1, 2]);
  writes(s, 5);
  s.crash(0, 'kept');
  // Something behind its last entry cannot be read: it may have acknowledged more than is there.
  const { journalDisk } = s.host(0);
  s.expect('R0 has a tail', journalDisk.head > 2);
  journalDisk.damage(journalDisk.entries.length);
  s.heal();
  s.restart(0);
  s.converged();
  s.expect('all is there', s.read(5) === 5);
}

const TAIL: NamedScenario = { name: 'a recovery with a superseded tail', run: supersededTail };

/** It goes on behind whatever tail it found, and nobody compares hashes. */
function recoversBehindItsTail(r: Replica, boot: BootState): void {
  const append = r.log.append.bind(r.log);
  r.log.append = (e) => { append(e.parent === r.log.headHash ? e : { ...e, parent: r.log.headHash }); };
  if (r.phase === 'recovering') {
    for (const e of boot.log.entries) if (e.op === r.log.head + 1 && e.parent === r.log.headHash) r.log.append(e);
  }
  const send = r.send.bind(r);
  const answer = r.catchUp.onGetState.bind(r.catchUp);
  r.catchUp.onGetState = (from, m) => {
    r.send = (to, message) => { send(to, message.type === 'newState' && message.kind === 'entries' ? { ...message, parent: m.parent } : message); };
    answer(from, m.repairHead === null ? { ...m, parent: r.log.hashAt(m.after) ?? m.parent } : m);
    r.send = send;
  };
}

export const recoverySuffix: Row = {
  row: 8,
  title: 'a recovery suffix behind a superseded tail',
  scenarios: [TAIL],
  mutants: [{
    name: 'recovers behind the tail that it found', breakage: { Replica: altered(recoversBehindItsTail) }, scenario: TAIL, killedBy: ['one chain'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), damage: 0.5 }) }, foundBy: LOSS,
  }],
};
