/** Row 15, a client table that is not part of the checkpoint: whoever took the state over executes a duplicate again. */
import type { ClientTable } from '../../../vr/client_table.ts';
import type { Replica } from '../../../vr/replica.ts';
import { Scenario } from '../scenario.ts';
import { altered, LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { SHORT_LOG, writes } from './support.ts';

/** The answer to X is lost. R2, which gets the state with X in it as a checkpoint, leads when the client asks again. */
function duplicate(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, replica: SHORT_LOG, ...broken });
  const { endpoint } = s.client(1);
  s.write(0, 2, 1);
  s.isolate(2);
  const replies = s.hold((p) => p.to === endpoint && p.message.type === 'reply');
  const before = s.status(0).executed;
  const x = s.begin(1, 42, 1);
  s.until('X is executed', () => s.status(0).executed > before);
  const requests = s.hold((p) => p.from === endpoint);
  writes(s, 30);
  s.heal();
  s.converged();
  s.expect('R2 has taken a checkpoint over', s.coverage.get('checkpoint transfers') > 0);
  s.makePrimary(2);
  replies.stop();
  requests.stop();
  const { op } = s.done(x);
  s.expect('the answer is the first one', op <= before + 2);
  s.expect('nothing was undone', s.read(1) === 25);
  s.converged();
}

/** The same where everybody starts from checkpoints of their own. */
function afterRestarts(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, replica: SHORT_LOG, ...broken });
  const { endpoint } = s.client(1);
  s.write(0, 2, 1);
  const replies = s.hold((p) => p.to === endpoint && p.message.type === 'reply');
  const before = s.status(0).executed;
  const x = s.begin(1, 42, 1);
  s.until('X is executed', () => s.status(0).executed > before);
  const requests = s.hold((p) => p.from === endpoint);
  writes(s, 30);
  s.run(500);
  for (const i of [0, 1, 2]) s.crash(i);
  for (const i of [0, 1, 2]) s.restart(i);
  s.converged();
  replies.stop();
  requests.stop();
  const { op } = s.done(x);
  s.expect('the answer is the first one', op <= before + 2);
  s.expect('nothing was undone', s.read(1) === 25);
}

const TRANSFER: NamedScenario = { name: 'a duplicate reaches a primary that has taken over a checkpoint', run: duplicate };
const RESTART: NamedScenario = { name: 'a duplicate reaches a group that was restarted from its checkpoints', run: afterRestarts };

function forgetReplies(clients: ClientTable): void {
  for (const session of clients.sessions()) session.slots.length = 0;
}

/** What was executed last, and its reply, is not in the state that is loaded. */
function loadsNoReplies(r: Replica): void {
  const { clients } = r;
  const load = clients.load.bind(clients);
  clients.load = () => {
    load();
    forgetReplies(clients);
  };
  forgetReplies(clients);
}

export const restoredTable: Row = {
  row: 15,
  title: 'a duplicate after a restore from a checkpoint',
  scenarios: [TRANSFER, RESTART],
  mutants: [{
    name: 'the checkpoint has no client table', breakage: { Replica: altered(loadsNoReplies) }, scenario: TRANSFER, killedBy: ['complete execution', 'exactly once', 'one chain'],
    seeds: { replicas: 3 }, foundBy: [...LOSS, 'exactly once', 'equal roots', 'replies are results'],
  }],
};
