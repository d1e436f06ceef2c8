/**
 * Deliberate breakages of the core, each of which the simulator has to find: a simulator that finds nothing is worse
 * than none. They get in from outside, around the replica or its ports, so that the product has no switches for them.
 * The direct check of the order of effects is off for those that it would find at once: they have to be found
 * by what they destroy.
 */
import { defined } from '../../lib/assert.ts';
import { opNumber, type MemberId } from '../../lib/ids.ts';
import { systemKey, SystemKind } from '../../lib/system_keys.ts';
import type { ClientRequest, Commit, Prepare, ReplicaMessage } from '../../vr/messages.ts';
import type { Ports } from '../../vr/ports.ts';
import { Replica } from '../../vr/replica.ts';
import type { BootState, ReplicaOptions } from '../../vr/replica_types.ts';
import type { Configuration, Durability } from '../../vr/configuration.ts';
import type { Host } from './host.ts';
import type { Profile } from './profile.ts';
import type { SimulationOptions } from './simulation.ts';

export interface Mutant {
  readonly name: string;
  readonly replicas: number;
  readonly durability: Durability;
  readonly options: Partial<SimulationOptions>;
  /** Invariants, one of which has to be seen violated. */
  readonly foundBy: readonly string[];
}

const LOSS: readonly string[] = ['committed ops survive', 'one chain', 'acknowledged ops are executed', 'complete execution', 'a replica stops itself', 'real-time order', 'one configuration an epoch'];

type Sender = Parameters<Replica['step']>[0];

/** Rewrites what reaches a replica from its peers. */
function stepping(deliver: (replica: Replica, from: Sender, message: ReplicaMessage) => void): typeof Replica {
  return class extends Replica {
    override step(from: Sender, message: ReplicaMessage): void {
      deliver(this, from, message);
    }
    straight(from: Sender, message: ReplicaMessage): void {
      super.step(from, message);
    }
  };
}

function straight(replica: Replica, from: Sender, message: ReplicaMessage): void {
  Replica.prototype.step.call(replica, from, message);
}

/** Tickets of the journal are completed as soon as they are given out. */
function acknowledgesBeforePersisting(ports: Ports, host: Host): Ports {
  return {
    ...ports,
    journal: {
      append: (record) => {
        const ticket = ports.journal.append(record);
        host.inject((replica) => replica.onJournalDurable(ticket));
        return ticket;
      },
      collect: (op) => ports.journal.collect(op),
    },
  };
}

/** Every acknowledgement and vote counts as if another member had said the same. */
function countsDuplicates(): typeof Replica {
  const seen = new WeakMap<Replica, Map<MemberId, Sender>>();
  return stepping((replica, from, message) => {
    const known = seen.get(replica) ?? new Map<MemberId, Sender>();
    seen.set(replica, known);
    known.set(from.sender, from);
    straight(replica, from, message);
    if (message.type !== 'prepareOk' && message.type !== 'startViewChange' && message.type !== 'doViewChange') return;
    for (const [id, other] of known) {
      if (id === from.sender) continue;
      straight(replica, other, message);
      return;
    }
  });
}

/** VRR 5.2 to the letter (PROTOCOL row 2): a later view's Prepare or Commit truncates the log and raises the log-view at once. */
function truncatesOnStateTransfer(): typeof Replica {
  return stepping((replica, from, message) => {
    if ((message.type === 'prepare' || message.type === 'commit') && message.view > replica.view && from.epoch === replica.configuration.epoch && replica.phase === 'normal') truncate(replica, message);
    straight(replica, from, message);
  });
}

function truncate(replica: Replica, message: Prepare | Commit): void {
  const keep = opNumber(Math.max(replica.commit, replica.log.base));
  if (keep < replica.log.head) replica.event('mutant-truncated', { entries: replica.log.head - keep });
  replica.log.truncate(keep);
  replica.view = message.view;
  replica.logView = message.view;
  replica.persistence.install(message.view, keep, replica.log.headHash, []);
  replica.normal.enter();
}

/** The commit-number of a newer view is applied to the log of the older one (row 17). */
function commitsOnTheOldLog(): typeof Replica {
  return stepping((replica, from, message) => {
    // Not before the replica has booted, when it hears nothing.
    const hears = replica.heardAt(from.sender) > -Infinity;
    if (hears && message.type === 'commit' && message.view > replica.view && replica.phase === 'normal') replica.normal.learnCommit(message.commit);
    straight(replica, from, message);
  });
}

/** A Prepare counts as acknowledged by everybody when it is sent. */
function commitsWithoutQuorum(ports: Ports, host: Host): Ports {
  return {
    ...ports,
    network: {
      ...ports.network,
      broadcast: (to, message) => {
        ports.network.broadcast(to, message);
        const last = message.type === 'prepare' ? message.entries.at(-1) : undefined;
        if (message.type !== 'prepare' || last === undefined) return;
        const { view, round } = message;
        for (const sender of to) {
          host.inject((replica) => {
            if (replica instanceof Replica) replica.normal.onPrepareOk(sender, { type: 'prepareOk', view, op: last.op, round, leaseMs: 0, stamp: 0 });
          });
        }
      },
    },
  };
}

/** Linearizable reads are answered from whatever state there is. */
class ReadsAtOnce extends Replica {
  override receive(connection: number, message: ClientRequest): void {
    super.receive(connection, message.type === 'read' ? { ...message, consistency: 'causal', minOp: opNumber(0) } : message);
  }
}

/** Memory mode: a restart with an empty log goes on as if that were the whole log, as in disk mode. */
class ForgetsThatItForgot extends Replica {
  constructor(ports: Ports, options: ReplicaOptions, boot: BootState) {
    const configuration: Configuration = { ...boot.superblock.configuration, durability: 'disk' };
    super(ports, options, { ...boot, superblock: { ...boot.superblock, configuration }, log: { ...boot.log, intact: true } });
  }
}

/** A world in which views change all the time, and much of what is said about it is lost. */
function restless(profile: Profile): Profile {
  return {
    ...profile,
    network: { ...profile.network, loss: 0.25, latencyMs: 1, jitterMs: 5 },
    faultIntervalMs: 150,
    faultDurationMs: 300,
    weights: [['crash', 6], ['isolate', 6], ['oneWay', 4], ['partition', 4], ['mute', 6]],
    replica: { ...profile.replica, viewChangeMs: 200, checkpointOps: 1000 },
  };
}

/** One replica executes differently, now and then. */
function executesDifferently(ports: Ports, host: Host): Ports {
  if (host.index !== 1) return ports;
  const { table } = ports.checkpoints;
  return {
    ...ports,
    stateMachine: {
      execute: (entry) => {
        const result = ports.stateMachine.execute(entry);
        if (entry.op % 50 === 0) table.put(Buffer.from([0, 0, 0, 0, 0, 0, 0xff]), Buffer.from('astray'));
        return result;
      },
      sessionStarted: (entry, flags) => ports.stateMachine.sessionStarted(entry, flags),
      sessionEnded: (entry, session) => ports.stateMachine.sessionEnded(entry, session),
      query: (body, time) => ports.stateMachine.query(body, time),
      checkpointAsked: () => ports.stateMachine.checkpointAsked(),
      housekeeping: () => ports.stateMachine.housekeeping(),
    },
  };
}

/** Superblocks count as written when they are queued: promises of views are forgotten in a crash (rows 1, 5). */
function promisesBeforePersisting(ports: Ports, host: Host): Ports {
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

/** What the group has agreed on is not found again in the state after a restart or a transfer. */
function forgetsTheInterval(ports: Ports): Ports {
  const { table } = ports.checkpoints;
  const record = systemKey(SystemKind.checkpointInterval, Buffer.alloc(0));
  return {
    ...ports,
    checkpoints: {
      table: {
        get: (key) => (key.equals(record) ? undefined : table.get(key)),
        put: (key, value) => { table.put(key, value); },
        delete: (key) => { table.delete(key); },
        range: (start, end, limit) => table.range(start, end, limit),
      },
      take: (at) => { ports.checkpoints.take(at); },
      fetch: (request) => { ports.checkpoints.fetch(request); },
    },
  };
}

export const MUTANTS: readonly Mutant[] = [
  { name: 'acknowledges before persisting', replicas: 3, durability: 'disk', options: { wrapPorts: acknowledgesBeforePersisting, checkOrderOfEffects: false }, foundBy: LOSS },
  { name: 'counts a duplicate sender twice', replicas: 5, durability: 'disk', options: { Replica: countsDuplicates() }, foundBy: [...LOSS, 'durable promises stand'] },
  { name: 'truncates on state transfer', replicas: 5, durability: 'disk', options: { Replica: truncatesOnStateTransfer(), checkOrderOfEffects: false, adjustProfile: restless }, foundBy: [...LOSS, 'liveness', 'durable promises stand'] },
  { name: 'applies the commit-number of a newer view to its log', replicas: 5, durability: 'disk', options: { Replica: commitsOnTheOldLog(), adjustProfile: restless }, foundBy: LOSS },
  { name: 'commits without a quorum', replicas: 3, durability: 'disk', options: { wrapPorts: commitsWithoutQuorum }, foundBy: LOSS },
  { name: 'reads without asking whether it still leads', replicas: 3, durability: 'disk', options: { Replica: ReadsAtOnce }, foundBy: ['linearizable reads', 'reads see what their client saw'] },
  { name: 'takes an empty log for a whole one', replicas: 3, durability: 'memory', options: { Replica: ForgetsThatItForgot }, foundBy: LOSS },
  { name: 'executes differently on one replica', replicas: 3, durability: 'disk', options: { wrapPorts: executesDifferently }, foundBy: ['equal roots', 'a replica stops itself'] },
  { name: 'promises before persisting', replicas: 3, durability: 'disk', options: { wrapPorts: promisesBeforePersisting }, foundBy: ['order of effects'] },
  { name: 'forgets the checkpoint interval that was agreed on', replicas: 3, durability: 'disk', options: { wrapPorts: forgetsTheInterval }, foundBy: ['equal checkpoint points'] },
];

export function mutantNamed(name: string): Mutant {
  return defined(MUTANTS.find((m) => m.name === name), `mutant '${name}'`);
}
