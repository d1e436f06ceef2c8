/**
 * What the replica asks of the world. The server implements these over sockets and files, the simulator over a
 * seeded network, clock and disk; the replica is the same object. No port may call back into the replica from
 * inside a call: completions are delivered later, as events (`onJournalDurable`, ...), from the event loop.
 *
 * Order of effects (PROTOCOL section 2). Before the replica calls `send` for the message on the left, it has been
 * told that the thing on the right is durable:
 *
 *   anything after a boot   superblock with incarnation + 1
 *   StartViewChange(v)      superblock.view = v
 *   DoViewChange(v)         superblock.view = promisedView = v and logView; disk mode: journal up to n
 *   PrepareOk(v, n)         disk mode: journal up to n, with an install record of logView = v (n = 0 claims nothing and waits for nothing)
 *   StartView(v)            disk mode: the install record of v
 *   Reply                   a quorum of such acks, the replica's own among them only when its journal is durable
 *   collecting the log      the checkpoint's data, then the superblock that names it
 *   EpochStarted            disk mode: the log up to the start of the epoch; the superblock with its configuration
 *   end of a retiree        superblock.retired, after a quorum of EpochStarted
 */
import type { Digest, MemberId, OpNumber, View } from '../lib/ids.ts';
import type { Table } from '../lib/table.ts';
import type { Entry } from './entry.ts';
import type { Member } from './configuration.ts';
import type { Message } from './messages.ts';
import type { CheckpointId, Superblock } from './superblock.ts';

/** The transport's name for a client connection; meaningless once the connection has gone. */
export type ConnectionId = number;

export interface Network {
  /** Best effort: may lose, repeat, delay and reorder; never blocks. The messages must not be changed afterwards. */
  send(to: MemberId, message: Message): void;
  /** Everybody that may be sent to from now on, and where they are: the members, and those of an epoch that begins or ends. */
  setPeers(peers: readonly Member[]): void;
  /** The same for several: encode once. */
  broadcast(to: readonly MemberId[], message: Message): void;
  /** To a client; dropped when the connection has gone. Replies of one turn of the loop go out together. */
  reply(connection: ConnectionId, message: Message): void;
  /** To each client that is connected what it was told when it connected, as it is now: who the members are, and the view. */
  welcomeAgain(): void;
}

/** A record of the journal. `append` extends the log; `install` replaces its tail in one step (row 6). */
export type JournalRecord =
  | { readonly type: 'append'; readonly entries: readonly Entry[] }
  | {
      readonly type: 'install';
      /** From this record on, the log-view is this. */
      readonly logView: View;
      /** The log up to here stays (op, with the chain hash there); everything behind it is replaced by `entries`. */
      readonly base: OpNumber;
      readonly baseHash: Digest;
      readonly entries: readonly Entry[];
    };

export interface Journal {
  /**
   * Queues a record. Records become durable in order; `replica.onJournalDurable(ticket)` says up to which. In memory
   * mode the journal keeps nothing and completes at once (in a later turn). An I/O error ends the process.
   */
  append(record: JournalRecord): number;
  /** Entries at or below `op` will not be needed again. Whole segments go. */
  collect(op: OpNumber): void;
}

export interface SuperblockStore {
  /** Queues a write of the whole superblock; in order; `replica.onSuperblockDurable(ticket)`. */
  write(superblock: Superblock): number;
}

/** The application under the replica: deterministic, synchronous. */
export interface StateMachine {
  /** Executes an operation of a committed entry (kinds 'request' and 'housekeeping'); the result goes to the client. */
  execute(entry: Entry): Buffer;
  /** Whether the entry that was just executed asked for a checkpoint right behind it: the same on every replica. */
  checkpointAsked(): boolean;
  /** A session began / has ended, at this entry; both deterministic parts of execution. */
  sessionStarted(entry: Entry, flags: number): void;
  sessionEnded(entry: Entry, session: number): void;
  /** Answers a read on the present state, without changing it. `time` is the last executed entry's. */
  query(body: Buffer, time: number): Buffer;
  /** Work that has to be cut into steps: the body of the next 'housekeeping' entry, or undefined. Asked on the primary only. */
  housekeeping(): Buffer | undefined;
}

/** Checkpoints of the record table. */
export interface CheckpointPort {
  /** The live table, in which the client table keeps its records too. */
  readonly table: Table;
  /**
   * Freezes the present state as the checkpoint of `op` and writes it in the background; ends with
   * `replica.onCheckpointDurable(id)`. At most one is under way: what would be one meanwhile is left out, and `leftOut` says how many were
   * since the last.
   */
  take(at: Omit<CheckpointId, 'root'>, leftOut: number): void;
  /**
   * Replaces the state by a checkpoint that peers hold, fetching what differs, and ends with `replica.onStateInstalled(id)` or
   * `replica.onStateFetchFailed(reason, intact)`. `lastResort`: the one of the donors that is asked only while no other answers in time, since it
   * has clients to serve. Until the end the table may not be used; after a failure only if it is intact. The root is the one in `target`.
   */
  fetch(request: { readonly donors: readonly MemberId[]; readonly lastResort: MemberId | null; readonly target: CheckpointId }): void;
}

export interface Clock {
  /** Microseconds since 1970, as the machine has it; may jump. */
  wall(): number;
  /** Milliseconds since some moment of this boot, read now; never jumps, also not back; counts while the process is stopped. What leases go by. */
  monotonic(): number;
}

export interface Random {
  bytes(n: number): Buffer;
  /** Uniform in [0, 2^32). */
  uint32(): number;
}

/** What happened, for logs, metrics, traces and the simulator's coverage; has no effect on the protocol. */
export interface EventSink {
  event(name: string, data: Readonly<Record<string, string | number | boolean>>): void;
}

export interface Ports {
  readonly network: Network;
  readonly journal: Journal;
  readonly superblock: SuperblockStore;
  readonly stateMachine: StateMachine;
  readonly checkpoints: CheckpointPort;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: EventSink;
}
