/** Row 3, checkpoint adoption (VRR 5.2): a checkpoint is taken over with its view, but without that view's log behind it. */
import type { Replica } from '../../../vr/replica.ts';
import { kind, Scenario } from '../scenario.ts';
import { altered, LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless, SHORT_LOG, writes } from './support.ts';

/**
 * R0 and R1 commit so much that R2 needs a checkpoint, and some more behind that. R1 begins view 1 with R0's vote, but only R2 hears of it, and
 * gets no more than the checkpoint. R1 goes: the log of R0, of view 0, is the only one with what was acknowledged.
 */
function adoption(broken: Breakage): void {
  const s = Scenario.settled({ replica: SHORT_LOG, ...broken });
  s.isolate(2);
  writes(s, 22);
  s.run(100);
  const checkpoint = s.status(1).checkpoint.op;
  s.expect('there is something behind the checkpoint', checkpoint > 15 && s.status(0).op > checkpoint);
  const startViews = s.hold(kind('startView', { from: 1, to: 0 }));
  s.cut(0, 1, true);
  s.until('R0 abdicates', () => s.status(0).status === 'view-change');
  s.heal();
  s.isolate(2);
  s.until('R1 leads', () => s.status(1).isPrimary);
  s.heal();
  s.separate([0], [1, 2]);
  const logs = s.hold((p) => p.to === 2 && p.message.type === 'newState' && p.message.kind === 'entries');
  const more = s.hold((p) => p.to === 2 && p.message.type === 'startView' && p.message.claim.entries.length > 0);
  s.until('R2 has the checkpoint', () => s.status(2).executed >= checkpoint);
  s.run(50);
  s.crash(1);
  for (const rule of [startViews, logs, more]) rule.stop();
  s.heal();
  s.converged([0, 2]);
  for (let n = 17; n <= 22; n++) s.expect(`write ${n} is there`, s.read(n % 6) === n);
}

function both(broken: Breakage): void {
  const s = Scenario.settled({ replica: SHORT_LOG, ...broken });
  s.isolate(2);
  writes(s, 20);
  s.cut(0, 1, true);
  s.until('R0 abdicates', () => s.status(0).status === 'view-change');
  s.heal();
  s.isolate(2);
  s.until('R1 leads', () => s.status(1).isPrimary);
  s.converged([0, 1]);
  writes(s, 20);
  s.heal();
  s.converged();
  s.expect('one transfer is enough', s.coverage.get('checkpoint transfers') === 1);
}

const ADOPTION: NamedScenario = { name: 'a checkpoint of a view whose log does not come', run: adoption };

/** The log-view becomes that of the view in which the checkpoint was asked for. */
function adoptsTheView(r: Replica): void {
  const installed = r.handOver.onInstalled.bind(r.handOver);
  r.handOver.onInstalled = (id) => {
    installed(id);
    if (r.phase !== 'view-change' || r.log.head !== id.op) return;
    r.logView = r.view;
    r.persistence.install(r.view, id.op, id.entryHash, []);
  };
}

export const checkpointAdoption: Row = {
  row: 3,
  title: 'checkpoint adoption',
  scenarios: [ADOPTION, { name: 'state and log are fetched when both are to be had', run: both }],
  mutants: [{
    name: 'a checkpoint raises the log-view', breakage: { Replica: altered(adoptsTheView) }, scenario: ADOPTION, killedBy: ['a replica stops itself'],
    seeds: { replicas: 3, durability: 'disk', adjustProfile: (p) => ({ ...restless(p), replica: { ...p.replica, ...SHORT_LOG, viewChangeMs: 200 } }) }, foundBy: LOSS,
  }],
};
