/** Row 17, the commit-number of a newer view is learnt before that view's log: an entry that the view has dropped is executed. */
import { Replica } from '../../../vr/replica.ts';
import { Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, viewOne } from './support.ts';

/** R0 has prepared what nobody else has. View 1 has committed other entries under these numbers when R0 hears of it. */
function superseded(broken: Breakage): void {
  const s = Scenario.settled(broken);
  s.isolate(0);
  for (let n = 1; n <= 3; n++) s.begin(1, 10 + n);
  s.run(30);
  viewOne(s, [1, 2]);
  for (let n = 1; n <= 5; n++) s.write(2, 20 + n);
  s.expect('R0 has other entries', s.status(0).op > s.status(0).commit);
  s.heal();
  s.converged();
  s.expect('what was acknowledged is there', s.read(2) === 25);
}

const SUPERSEDED: NamedScenario = { name: 'a deposed primary hears how far the new view has committed', run: superseded };

export class CommitsOnTheOldLog extends Replica {
  override step(from: Parameters<Replica['step']>[0], message: Parameters<Replica['step']>[1]): void {
    if ((message.type === 'commit' || message.type === 'prepare') && message.view > this.logView && from.epoch === this.configuration.epoch) this.normal.learnCommit(message.commit);
    super.step(from, message);
  }
}

export const foreignCommit: Row = {
  row: 17,
  title: 'k of a newer view before its log',
  scenarios: [SUPERSEDED],
  mutants: [{
    name: 'takes over k of a view whose log it has not got', breakage: { Replica: CommitsOnTheOldLog }, scenario: SUPERSEDED, killedBy: ['one chain'],
    seeds: { replicas: 5, durability: 'disk', adjustProfile: restless }, foundBy: LOSS,
  }],
};
