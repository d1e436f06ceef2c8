/** Row 2, truncation on state transfer (Vanlightly): a backup cuts its log for a view whose log it then never gets. */
import { opNumber } from '../../../lib/ids.ts';
import type { Commit, Prepare } from '../../../vr/messages.ts';
import { Replica } from '../../../vr/replica.ts';
import { kind, Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

function truncation(broken: Breakage): void {
  const s = Scenario.settled(broken);
  // R2 acknowledges X, so that it is committed, but never hears that it is.
  const commits = s.hold((p) => p.to === 2 && (p.message.type === 'commit' || p.message.type === 'startView'));
  const x = s.write(1, 77);
  // View 1 begins without R2; its StartView does not reach R0, and its log does not reach R2.
  s.isolate(2);
  const startViews = s.hold(kind('startView', { from: 1 }));
  const newStates = s.hold(kind('newState'));
  s.cut(0, 1);
  s.until('R1 suspects', () => s.sent('startViewChange', { from: 1 }).length > 0);
  s.heal();
  s.isolate(2);
  s.cut(0, 1);
  s.until('R0 gives up its view', () => s.status(0).status === 'view-change');
  s.heal();
  s.isolate(2);
  s.until('R1 leads view 1', () => s.status(1).isPrimary && s.status(1).status === 'normal');
  // R2 hears a Commit of view 1 and nothing else of it; then R1 is gone.
  commits.stop();
  s.heal();
  s.separate([0], [1, 2]);
  const moreStartViews = s.hold(kind('startView', { from: 1 }));
  s.until('R2 hears of view 1', () => s.sent('commit', { from: 1, to: 2 }).length > 3);
  s.run(3);
  s.crash(1);
  startViews.stop();
  moreStartViews.stop();
  newStates.stop();
  s.heal();
  s.until('R2 votes', () => s.status(2).view > 1 && s.sent('doViewChange').some((m) => m.view > 1));
  s.converged([0, 2]);
  s.expect('X is in the log', s.status(2).op >= x);
  s.expect('X is there', s.read(1) === 77);
}

const TRUNCATION: NamedScenario = { name: 'a backup hears of a view whose log it does not get', run: truncation };

/** VRR 5.2 to the letter: a later view's Prepare or Commit truncates the log and raises the log-view at once. */
export class TruncatesOnStateTransfer extends Replica {
  override step(from: Parameters<Replica['step']>[0], message: Parameters<Replica['step']>[1]): void {
    const isLater = (message.type === 'prepare' || message.type === 'commit') && message.view > this.view && from.epoch === this.configuration.epoch;
    if (isLater && this.phase === 'normal') this.#truncate(message);
    super.step(from, message);
  }

  #truncate(message: Prepare | Commit): void {
    const keep = opNumber(Math.max(this.commit, this.log.base));
    if (keep < this.log.head) this.event('mutant-truncated', { entries: this.log.head - keep });
    this.log.truncate(keep);
    this.view = message.view;
    this.logView = message.view;
    this.persistence.install(message.view, keep, this.log.headHash, []);
    this.normal.enter();
  }
}

export const truncationOnTransfer: Row = {
  row: 2,
  title: 'state-transfer truncation',
  scenarios: [TRUNCATION],
  mutants: [{
    name: 'truncates on state transfer', breakage: { Replica: TruncatesOnStateTransfer, checkOrderOfEffects: false }, scenario: TRUNCATION, killedBy: ['a replica stops itself'],
    seeds: { replicas: 5, durability: 'disk', adjustProfile: restless }, foundBy: [...LOSS, 'liveness', 'durable promises stand'],
  }],
};
