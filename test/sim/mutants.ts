/**
 * Deliberate breakages of the core, each of which the simulator has to find: a simulator that finds nothing is worse
 * than none. They get in from outside, around the replica or its ports, so that the product has no switches for them.
 * The direct check of the order of effects is off for those that it would find at once: they have to be found
 * by what they destroy.
 */
import { defined } from '../../lib/assert.ts';
import { opNumber, type MemberId, type OpNumber } from '../../lib/ids.ts';
import { systemKey, SystemKind } from '../../lib/system_keys.ts';
import { ClientSession, type ClientOptions, type ClientPorts, type Consistency, type ReadBounds } from '../../vr/client.ts';
import type { ClientRequest, ReplicaMessage } from '../../vr/messages.ts';
import type { Ports } from '../../vr/ports.ts';
import { Replica } from '../../vr/replica.ts';
import type { Durability } from '../../vr/configuration.ts';
import type { Invocation } from './client.ts';
import type { Host } from './host.ts';
import { promisesBeforePersisting } from './rows/row_01_amnesia.ts';
import { TruncatesOnStateTransfer } from './rows/row_02_truncation.ts';
import { ForgetsThatItForgot } from './rows/row_12_everybody.ts';
import { CommitsOnTheOldLog } from './rows/row_17_foreign_commit.ts';
import { restless } from './rows/support.ts';
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

/** One replica has a record too much, but never in a checkpoint. */
function straysBetweenCheckpoints(ports: Ports, host: Host): Ports {
  if (host.index !== 1) return ports;
  const { checkpoints, stateMachine } = ports;
  const astray = Buffer.from([0, 0, 0, 0, 0, 0, 0xff]);
  return {
    ...ports,
    stateMachine: {
      execute: (entry) => {
        checkpoints.table.put(astray, Buffer.from('astray'));
        return stateMachine.execute(entry);
      },
      sessionStarted: (entry, flags) => stateMachine.sessionStarted(entry, flags),
      sessionEnded: (entry, session) => stateMachine.sessionEnded(entry, session),
      query: (body, time) => stateMachine.query(body, time),
      checkpointAsked: () => stateMachine.checkpointAsked(),
      housekeeping: () => stateMachine.housekeeping(),
    },
    checkpoints: {
      table: checkpoints.table,
      take: (at, leftOut) => {
        checkpoints.table.delete(astray);
        checkpoints.take(at, leftOut);
      },
      fetch: (request) => { checkpoints.fetch(request); },
    },
  };
}

/** A primary of a later view hears no client; those give up, and nothing stays open. */
class HearsNobody extends Replica {
  override receive(connection: number, message: ClientRequest): void {
    const asks = message.type === 'register' || message.type === 'request' || message.type === 'read';
    if (this.view === 0 || !asks) super.receive(connection, message);
  }
}

function impatient(profile: Profile): Profile {
  return { ...profile, deposals: null, clients: profile.clients.map((c) => ({ ...c, requestTimeoutMs: 700 })) };
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
        find: (id, decode) => table.find(id, decode),
        store: (id, value) => { table.store(id, value); },
      },
      take: (at, leftOut) => { ports.checkpoints.take(at, leftOut); },
      fetch: (request) => { ports.checkpoints.fetch(request); },
    },
  };
}

/** A client whose outcomes pass through `change` before its caller hears of them. */
function telling(change: (ports: ClientPorts<Invocation>) => Partial<ClientPorts<Invocation>>): typeof ClientSession<Invocation> {
  return class extends ClientSession<Invocation> {
    constructor(ports: ClientPorts<Invocation>, options: ClientOptions, now: number) {
      super({ ...ports, ...change(ports) }, options, now);
    }
  };
}

/** Of whatever fails it says that it was not and will not be executed. */
const promisesTooMuch = telling((ports) => ({
  failed: (token, failure) => { ports.failed(token, failure.code === 'timedOut' ? { ...failure, mayHaveHappened: false } : failure); },
}));

/** Now and then it fails what it has answered. */
const tellsTwice = telling((ports) => ({
  completed: (token, result, op) => {
    ports.completed(token, result, op);
    if (op % 50 === 0) ports.failed(token, { code: 'closed', mayHaveHappened: true, reason: 'said a second time' });
  },
}));

/** It knows nothing of what answers have shown it. */
class Forgets extends ClientSession<Invocation> {
  override get lastOp(): OpNumber {
    return opNumber(0);
  }
  override read(body: Buffer, consistency: Consistency, token: Invocation, bounds: ReadBounds = {}): void {
    super.read(body, consistency, token, { ...bounds, minOp: opNumber(0) });
  }
}

export const MUTANTS: readonly Mutant[] = [
  { name: 'acknowledges before persisting', replicas: 3, durability: 'disk', options: { wrapPorts: acknowledgesBeforePersisting, checkOrderOfEffects: false }, foundBy: [...LOSS, 'liveness'] },
  { name: 'counts a duplicate sender twice', replicas: 5, durability: 'disk', options: { Replica: countsDuplicates() }, foundBy: [...LOSS, 'durable promises stand', 'bounded staleness'] },
  { name: 'truncates on state transfer', replicas: 5, durability: 'disk', options: { Replica: TruncatesOnStateTransfer, checkOrderOfEffects: false, adjustProfile: restless }, foundBy: [...LOSS, 'liveness', 'durable promises stand'] },
  { name: 'applies the commit-number of a newer view to its log', replicas: 5, durability: 'disk', options: { Replica: CommitsOnTheOldLog, adjustProfile: restless }, foundBy: LOSS },
  { name: 'commits without a quorum', replicas: 3, durability: 'disk', options: { wrapPorts: commitsWithoutQuorum }, foundBy: LOSS },
  { name: 'reads without asking whether it still leads', replicas: 3, durability: 'disk', options: { Replica: ReadsAtOnce }, foundBy: ['linearizable reads', 'reads see what their client saw'] },
  { name: 'takes an empty log for a whole one', replicas: 3, durability: 'memory', options: { Replica: ForgetsThatItForgot }, foundBy: LOSS },
  { name: 'executes differently on one replica', replicas: 3, durability: 'disk', options: { wrapPorts: executesDifferently }, foundBy: ['equal roots', 'a replica stops itself'] },
  { name: 'promises before persisting', replicas: 3, durability: 'disk', options: { wrapPorts: promisesBeforePersisting }, foundBy: ['order of effects'] },
  { name: 'forgets the checkpoint interval that was agreed on', replicas: 3, durability: 'disk', options: { wrapPorts: forgetsTheInterval }, foundBy: ['equal checkpoint points'] },
  { name: 'strays between checkpoints on one replica', replicas: 3, durability: 'disk', options: { wrapPorts: straysBetweenCheckpoints }, foundBy: ['equal states'] },
  { name: 'hears no client after a view change', replicas: 3, durability: 'disk', options: { Replica: HearsNobody, adjustProfile: impatient }, foundBy: ['liveness'] },
  { name: 'a client promises that what timed out will not be executed', replicas: 3, durability: 'disk', options: { Client: promisesTooMuch }, foundBy: ['failures keep their promise'] },
  { name: 'a client tells an outcome twice', replicas: 3, durability: 'disk', options: { Client: tellsTwice }, foundBy: ['one outcome'] },
  { name: 'a client forgets what it has seen', replicas: 3, durability: 'disk', options: { Client: Forgets }, foundBy: ['reads see what their client saw'] },
];

export function mutantNamed(name: string): Mutant {
  return defined(MUTANTS.find((m) => m.name === name), `mutant '${name}'`);
}
