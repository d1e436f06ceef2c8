/** Row 1, amnesia (Michael et al., DISC 2017): a replica forgets in a crash what it has said, and its old messages meet its new ones. */
import { view as viewOf, type MemberId } from '../../../lib/ids.ts';
import type { Durability } from '../../../vr/configuration.ts';
import type { Ports } from '../../../vr/ports.ts';
import { Replica } from '../../../vr/replica.ts';
import type { BootState, ReplicaOptions } from '../../../vr/replica_types.ts';
import type { Host } from '../host.ts';
import { kind, Scenario } from '../scenario.ts';
import { altered, EXPECTATION, LOSS, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { restless } from './support.ts';

/** The story as it was published. R1 says StartViewChange(1), R2 says DoViewChange(1), both late; both crash and recover in view 0. */
function asPublished(durability: Durability): NamedScenario {
  return {
    name: `the amnesia of Michael et al. (${durability})`,
    run: (broken) => {
      const s = Scenario.settled({ durability, ...broken });
      // R1 hears nothing of the primary and says StartViewChange(1), which is delayed.
      const startViewChanges = s.hold(kind('startViewChange', { from: 1 }));
      s.cut(0, 1);
      s.until('R1 suspects the primary', () => startViewChanges.packets.length > 0);
      startViewChanges.stop();
      s.crash(1);
      s.heal();
      s.restart(1);
      s.converged();
      // R2 hears nothing of the primary and gets R1's old word; its own DoViewChange, without X, is delayed.
      const primary = s.status(2).view % 3;
      const words = s.hold(kind('startViewChange', { from: 2 }));
      const votes = s.hold(kind('doViewChange', { from: 2 }));
      if (primary !== 2) {
        s.cut(primary, 2);
        s.until('R2 suspects the primary', () => words.packets.length > 0);
      }
      startViewChanges.release();
      s.run(300);
      s.crash(2);
      s.heal();
      words.stop();
      votes.stop();
      s.restart(2);
      s.converged();
      // X is committed without R1, which uses R2's stale messages when it suspects the primary, too.
      const now = s.status(0).view % 3;
      if (now !== 1) s.cut(now, 1);
      s.write(3, 42);
      words.release();
      votes.release();
      s.run(2000);
      s.heal();
      s.converged();
      s.expect('X is there', s.read(3) === 42);
      s.crash(s.status(0).view % 3);
      s.expect('X is there without the primary', s.read(3) === 42);
    },
  };
}

/**
 * With five, the primary of the new view need not hear of the recovery: nothing but the floor helps. R3 votes for view 1 (late), crashes,
 * recovers with the help of R0, R2, R4 and commits X with R0 and R4; then R1 has its own vote, R2's, and R3's stale one.
 */
function fiveReplicas(broken: Breakage, slowSuperblock: boolean): void {
  const s = Scenario.settled({ replicas: 5, durability: 'memory', ...broken });
  const words = s.hold((p) => p.message.type === 'startViewChange' && [1, 3, 4].includes(p.from) && [0, 2, 4].includes(p.to));
  const votes = s.hold(kind('doViewChange', { from: 3 }));
  for (const i of [1, 3, 4]) s.cut(0, i);
  if (slowSuperblock) s.host(3).superblockMs = [60_000, 0];
  s.until('R1 and R4 suspect the primary', () => [1, 4].every((i) => s.sent('startViewChange', { from: i }).length > 0));
  const voted = s.comesTrue(() => votes.packets.length > 0, 30);
  s.expect('R3 votes if it can', voted || slowSuperblock);
  votes.stop();
  s.crash(3, 'lost');
  s.heal();
  s.cut(1, 3, true);
  s.host(3).superblockMs = null;
  s.restart(3);
  s.until('R3 has recovered, or the group passes its floor', () => s.status(3).status === 'normal' || s.status(0).view > 0);
  if (s.status(0).view === 0) {
    const prepares = s.hold((p) => p.message.type === 'prepare' && (p.to === 1 || p.to === 2));
    s.write(3, 42);
    s.crash(0);
    prepares.stop();
    s.separate([1, 2], [3, 4]);
    const stale = words.packets.filter((p) => p.to === 2);
    for (const packet of [...stale, ...votes.packets]) s.cluster.network.release(packet);
    s.run(3000);
    words.stop();
    s.heal();
    s.restart(0);
  } else {
    words.stop();
    s.heal();
    s.write(3, 42);
  }
  s.converged();
  s.expect('X is there', s.read(3) === 42);
}

const FIVE: NamedScenario = { name: 'a stale vote meets a primary that never heard of the recovery', run: (broken) => fiveReplicas(broken, false) };
const SLOW_SUPERBLOCK: NamedScenario = { name: 'a crash while the word is being written', run: (broken) => fiveReplicas(broken, true) };

/** Recovery ends in whatever view the group is. */
function forgetsItsFloor(replica: Replica): void {
  replica.recovery.floor = () => viewOf(0);
}

/** As the paper has it: nothing in a message says which life of the sender it is of. */
class AsThePaper extends Replica {
  readonly #lives = new Map<MemberId, number>();

  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    super(ports, options, boot);
    forgetsItsFloor(this);
  }
  override step(from: Parameters<Replica['step']>[0], message: Parameters<Replica['step']>[1]): void {
    const incarnation = Math.max(from.incarnation, this.#lives.get(from.sender) ?? 0);
    this.#lives.set(from.sender, incarnation);
    super.step({ ...from, incarnation }, message);
  }
}

/** Superblocks count as written when they are queued: promises of views are forgotten in a crash (row 5, too). */
export function promisesBeforePersisting(ports: Ports, host: Host): Ports {
  return {
    ...ports,
    superblock: {
      write: (superblock) => {
        const ticket = ports.superblock.write(superblock);
        host.inject((replica) => replica.onSuperblockDurable(ticket));
        return ticket;
      },
    },
  };
}

const PUBLISHED = asPublished('memory');

export const amnesia: Row = {
  row: 1,
  title: 'amnesia',
  scenarios: [PUBLISHED, asPublished('disk'), FIVE, SLOW_SUPERBLOCK],
  mutants: [
    {
      name: 'recovers in any view, and hears former lives: the paper to the letter', breakage: { Replica: AsThePaper }, scenario: PUBLISHED, killedBy: ['committed ops survive'],
      seeds: { replicas: 3, durability: 'memory', adjustProfile: restless }, foundBy: LOSS,
    },
    {
      name: 'recovers below the view that it spoke for', breakage: { Replica: altered(forgetsItsFloor) }, scenario: FIVE, killedBy: ['committed ops survive'],
      seeds: { replicas: 5, durability: 'memory', adjustProfile: restless }, foundBy: LOSS,
    },
    {
      name: 'promises before persisting', breakage: { wrapPorts: promisesBeforePersisting, checkOrderOfEffects: false }, scenario: SLOW_SUPERBLOCK, killedBy: ['committed ops survive'],
      seeds: { replicas: 5, durability: 'memory', adjustProfile: restless }, foundBy: [...LOSS, 'order of effects'],
    },
    {
      name: 'a group does not pass the floor of who recovers', breakage: { Replica: altered((r) => { r.viewChange.passFloor = () => undefined; }) }, scenario: FIVE, killedBy: [EXPECTATION],
      seeds: { replicas: 3, durability: 'memory', adjustProfile: restless }, foundBy: STALL,
    },
  ],
};
