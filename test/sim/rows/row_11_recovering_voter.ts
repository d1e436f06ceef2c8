/** Row 11, a recovering replica votes: with a log that it has forgotten. */
import { Replica } from '../../../vr/replica.ts';
import { kind, Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

/** R0 and R2 have committed X. R2 forgets it in a crash; R1, which never had it, wants to lead while R0 cannot be reached. */
function voteOfTheForgetful(broken: Breakage): void {
  const s = Scenario.settled({ durability: 'memory', ...broken });
  s.cut(0, 1);
  s.write(1, 42);
  s.crash(2);
  const answers = s.hold(kind('recoveryResponse', { to: 2 }));
  s.restart(2);
  const before = s.policy.sent.length;
  s.isolate(0);
  s.run(5000);
  const voice = ['startViewChange', 'doViewChange', 'startView', 'prepareOk'];
  s.expect('R2 has no voice', !s.policy.sent.slice(before).some((p) => p.from === 2 && voice.includes(p.message.type)));
  s.expect('R1 does not lead', !s.status(1).isPrimary);
  answers.stop();
  s.heal();
  s.converged();
  s.expect('X is there', s.read(1) === 42);
}

const FORGETFUL: NamedScenario = { name: 'a view change while a replica recovers', run: voteOfTheForgetful };

/** Asked to, it takes part in a view change with what it has. */
class VotesWhileRecovering extends Replica {
  override step(from: Parameters<Replica['step']>[0], message: Parameters<Replica['step']>[1]): void {
    if (this.phase === 'recovering' && message.type === 'startViewChange' && message.view > this.view && this.execution.ready) this.phase = 'view-change';
    super.step(from, message);
  }
}

export const recoveringVoter: Row = {
  row: 11,
  title: 'a recovering replica votes',
  scenarios: [FORGETFUL],
  mutants: [{
    name: 'votes while it recovers', breakage: { Replica: VotesWhileRecovering }, scenario: FORGETFUL, killedBy: ['committed ops survive'],
    seeds: { replicas: 3, durability: 'memory', adjustProfile: restless }, foundBy: LOSS,
  }],
};
