/** Row 20, epochs: views begin anew, a change may be dropped, what a new member needs may be where nobody is normal, and who has left must know it. */
import { viewNumber, viewOf, type Epoch, type View } from '../../../lib/ids.ts';
import type { Ports } from '../../../vr/ports.ts';
import { Replica } from '../../../vr/replica.ts';
import type { BootState, ReplicaOptions } from '../../../vr/replica_types.ts';
import type { Host } from '../host.ts';
import type { Profile } from '../profile.ts';
import { changed, changes, join, memberOf, settles } from '../reconfiguration/support.ts';
import { Scenario } from '../scenario.ts';
import { altered, EXPECTATION, LOSS, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { splitting } from './support.ts';

/** Epoch 0 has come to view 5. Epoch 1 begins with view 2; R0 misses X there, restarts, and takes part in a view change. */
function viewsBeginAnew(broken: Breakage): void {
  const s = Scenario.settled(broken);
  for (const i of [1, 2, 0, 1, 2]) s.makePrimary(i);
  s.expect('view 5', s.status(0).view === 5);
  changes(s, changed(s, [], [memberOf(join(s), 'observer')]));
  settles(s);
  s.expect('its number is lower now', viewNumber(s.status(0).view) < 5);
  s.isolate(0);
  s.write(1, 42);
  s.crash(0);
  s.crash(2);
  s.restart(0);
  s.heal();
  s.converged([0, 1]);
  s.expect('X is there', s.read(1) === 42);
  s.restart(2);
  settles(s);
}

/** R0 prepares a change that nobody else gets to know, and that the next view does without. Then it leads again. */
function droppedChange(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const host = join(s);
  s.isolate(0);
  const before = s.status(0).op;
  s.cluster.administrator.begin(changed(s, [], [memberOf(host, 'observer')]));
  s.until('R0 has prepared it', () => s.status(0).op > before, 200);
  s.cluster.administrator.giveUp();
  s.until('a new view', () => [1, 2].every((i) => s.status(i).view >= 1));
  s.converged([1, 2]);
  s.write(1, 41);
  s.heal();
  s.converged([0, 1, 2]);
  s.isolate(1);
  s.write(2, 1);
  s.heal();
  for (let n = 0; n < 5 && !s.status(0).isPrimary; n++) leadsNext(s);
  s.expect('R0 leads', s.status(0).isPrimary);
  s.expect('in the same epoch', s.status(0).epoch === 0);
  s.write(1, 42);
  changes(s, changed(s, [], [memberOf(host, 'observer')]));
  settles(s);
}

/** Of R0, R1, R2 the primary is cut off until there is another one. */
function leadsNext(s: Scenario): void {
  const primary = [0, 1, 2].find((i) => s.status(i).isPrimary) ?? 0;
  const others = [0, 1, 2].filter((i) => i !== primary);
  s.isolate(primary);
  s.until('another view', () => others.some((i) => s.status(i).isPrimary));
  s.converged(others);
  s.heal();
  s.converged([0, 1, 2]);
}

/** R0 goes, R3 comes. R1 is behind, R3 is new, R2 fails: what came before the epoch is at R0 only, which is not a member of it. */
function heldByTheRetiree(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const node = join(s);
  s.isolate(1);
  for (let n = 1; n <= 5; n++) s.write(n, n);
  const { administrator } = s.cluster;
  s.separate([node.index], [2]);
  administrator.begin({ ...changed(s, [0], [memberOf(node, 'voter')]), force: true });
  s.until('R2 has acknowledged the change', () => s.status(0).status === 'retired');
  s.crash(2);
  s.heal();
  s.until('R1 and R3 are in the new epoch', () => [1, node.index].every((i) => s.status(i).epoch === 1 && s.status(i).status === 'normal'));
  for (let n = 1; n <= 5; n++) s.expect(`write ${n} is there`, s.read(n) === n);
  s.restart(2);
  settles(s);
}

/** R2 has left the group, and is started again where it hears nobody. */
function startedAgain(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const node = join(s);
  const old = s.host(2);
  changes(s, { ...changed(s, [2], [memberOf(node, 'voter')]), force: true });
  s.until('R2 has left', () => old.ended && !old.running);
  s.isolate(2);
  const from = s.policy.sent.length;
  old.ended = false;
  old.start();
  s.run(5000);
  s.expect('it does not come back', !old.running && !s.policy.sent.slice(from).some((p) => p.from === 2));
}

const ANEW: NamedScenario = { name: 'views of an old epoch with higher numbers', run: viewsBeginAnew };
const DROPPED: NamedScenario = { name: 'a change that a view change has dropped', run: droppedChange };
const RETIREE: NamedScenario = { name: 'only who has left the group has what it began with', run: heldByTheRetiree };
const AGAIN: NamedScenario = { name: 'who has left is started again, alone', run: startedAgain };

/** Members change all the time. */
const OFTEN: Pick<Profile, 'changes'> = { changes: { intervalMs: 200, witnesses: false, observers: true, least: 3, most: 5 } };

/** Views are numbers, and the epoch is whichever it is now. */
class ComparesNumbers extends Replica {
  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    const { superblock, log } = boot;
    const now = (v: View): View => inEpoch(superblock.configuration.epoch, v);
    super(ports, options, {
      ...boot,
      superblock: { ...superblock, view: now(superblock.view), promisedView: now(superblock.promisedView), logView: now(superblock.logView) },
      log: { ...log, logView: now(log.logView) },
    });
  }
}

function inEpoch(epoch: Epoch, v: View): View {
  return viewOf(epoch, viewNumber(v));
}

/** "No new requests" is a flag: who has set it once in an epoch finds it set whenever it leads again. */
function remembersTheChange({ normal, configuration }: Replica): void {
  let closed = false;
  const propose = normal.propose.bind(normal);
  normal.propose = (kind, body) => {
    closed = true;
    propose(kind, body);
  };
  const ends = normal.epochEnds.bind(normal);
  const first = configuration.epoch;
  normal.epochEnds = () => ends() || (closed && first === 0);
}

/** Others get something of a log only from who is normal. */
function answersNobodyBetweenEpochs(r: Replica): void {
  const { reconfiguration } = r;
  const onForeign = reconfiguration.onForeign.bind(reconfiguration);
  reconfiguration.onForeign = (from, epoch, m) => { if (m.type !== 'getState' || r.phase === 'normal') onForeign(from, epoch, m); };
}

/** The last superblock that a retiree writes is not written. */
function forgetsThatItLeft(ports: Ports, host: Host): Ports {
  return {
    ...ports,
    superblock: { write: (superblock) => ports.superblock.write(superblock.retired ? { ...host.superblockDisk.current, incarnation: superblock.incarnation } : superblock) },
  };
}

export const epochs: Row = {
  row: 20,
  title: 'epochs',
  scenarios: [ANEW, DROPPED, RETIREE, AGAIN],
  mutants: [
    {
      name: 'compares views without their epochs after a restart', breakage: { Replica: ComparesNumbers, checkOrderOfEffects: false }, scenario: ANEW, killedBy: LOSS,
      seeds: { replicas: 3, durability: 'disk', fixedMembers: false, adjustProfile: (p) => ({ ...p, ...OFTEN, replica: { ...p.replica, viewChangeMs: 200, checkpointOps: 1000 } }) }, foundBy: [...LOSS, 'votes of members only', 'durable promises stand', ...STALL],
    },
    {
      name: 'does not forget a change that was dropped', breakage: { Replica: altered(remembersTheChange) }, scenario: DROPPED, killedBy: [EXPECTATION],
      seeds: { replicas: 3, fixedMembers: false, adjustProfile: (p) => ({ ...splitting(p), ...OFTEN }) }, foundBy: STALL,
    },
    {
      name: 'answers no GetState between two epochs', breakage: { Replica: altered(answersNobodyBetweenEpochs) }, scenario: RETIREE, killedBy: [EXPECTATION],
      seeds: { replicas: 3, fixedMembers: false, adjustProfile: (p) => ({ ...p, ...OFTEN }) }, foundBy: STALL,
    },
    {
      name: 'a retiree does not remember that it is one', breakage: { wrapPorts: forgetsThatItLeft }, scenario: AGAIN, killedBy: [EXPECTATION],
      seeds: { replicas: 3, fixedMembers: false, adjustProfile: (p) => ({ ...p, ...OFTEN }) }, foundBy: STALL,
    },
  ],
};
