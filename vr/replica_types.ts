/** What a replica is started from, how it is tuned, and what it tells of itself. */
import type { Digest, Epoch, MemberId, OpNumber, View } from '../lib/ids.ts';
import type { CheckpointInterval } from './checkpoint_interval.ts';
import type { Configuration, Role } from './configuration.ts';
import type { Entry } from './entry.ts';
import { CLAIM_BODY_BYTES, CLAIM_HEADERS } from './log_claim.ts';
import type { CheckpointId, Superblock } from './superblock.ts';

/** What was found on disk, before anything has been sent. */
export interface BootState {
  readonly superblock: Superblock;
  /** The journal's log: entries behind `base`, one contiguous hash chain. */
  readonly log: {
    readonly base: OpNumber;
    readonly baseHash: Digest;
    readonly entries: readonly Entry[];
    /** Of the last install record, or 0. */
    readonly logView: View;
    /** False: memory mode, or damage that is not a torn tail. The replica has to recover from its peers. */
    readonly intact: boolean;
  };
  /** The checkpoint that the record table is at; null: an interrupted transfer left it between two. */
  readonly state: CheckpointId | null;
}

/** Times in milliseconds of the monotonic clock that `tick` is given. */
export interface ReplicaOptions {
  /** An idle primary's heart-beat. Default 50. */
  readonly heartbeatMs: number;
  /** Lower bound of the silence after which a primary is suspected; the measured round trip may raise it. Default 300. */
  readonly viewChangeMs: number;
  /** First interval of re-sends; doubles with jitter up to 16 times. Default 100. */
  readonly resendMs: number;
  /** A checkpoint every so many operations, until the group has agreed on another interval (checkpoint_interval.ts). Default 1000. */
  readonly checkpointOps: number;
  /** ... or after so many bytes of log. Default 64 MiB. */
  readonly checkpointBytes: number;
  /** Prepares under way at once. Default 4. */
  readonly pipeline: number;
  /** Most entries, and about most bytes, of one Prepare. Defaults 4096, 1 MiB. */
  readonly batchEntries: number;
  readonly batchBytes: number;
  /** Entries executed in one turn of the loop, so that a long log does not hold it. Default 1024. */
  readonly entriesPerTurn: number;
  /** What the log may hold, and run ahead of the newest durable checkpoint, before clients get 'busy'. Defaults 100_000, 256 MiB. */
  readonly maxLogEntries: number;
  readonly maxLogBytes: number;
  /** Entries that a DoViewChange or StartView names, at most: the last of those that are not known to be committed. Default 200_000. */
  readonly claimHeaders: number;
  /** Bodies that travel with a DoViewChange or StartView; the rest is asked for by hash (row 4). Default 256 KiB. */
  readonly claimBytes: number;
  /** Log kept behind the newest checkpoint for peers that are a little behind: so many entries, but no more bytes than this. Defaults 20_000, 32 MiB. */
  readonly retainEntries: number;
  readonly retainBytes: number;
  /** Slots of a session, sessions of the group, silence after which a session ends. Defaults 1024, 4096, 60_000. */
  readonly sessionSlots: number;
  readonly maxSessions: number;
  readonly sessionTimeoutMs: number;
  /**
   * How long a backup's answer binds it to the primary (row 18); below viewChangeMs, so that fail-over does not wait for it. 0: no leases,
   * every linearizable read asks the group. Default 200.
   */
  readonly leaseMs: number;
  /** How much faster or slower than real time a monotonic clock may run, as a fraction. Default 0.05. */
  readonly maxClockDrift: number;
  /** A primary whose own disk has not finished a write for so long gives up its view. Default 2000. */
  readonly diskStallMs: number;
  /** An elector that was silent for so long changes places with an observer that has kept up. 0: never. Default 0. */
  readonly autoPromoteMs: number;
}

export const DEFAULT_REPLICA_OPTIONS: ReplicaOptions = Object.freeze({
  heartbeatMs: 50,
  viewChangeMs: 300,
  resendMs: 100,
  checkpointOps: 1000,
  checkpointBytes: 64 << 20,
  pipeline: 4,
  batchEntries: 4096,
  batchBytes: 1 << 20,
  entriesPerTurn: 1024,
  maxLogEntries: 100_000,
  maxLogBytes: 256 << 20,
  claimHeaders: CLAIM_HEADERS,
  claimBytes: CLAIM_BODY_BYTES,
  retainEntries: 20_000,
  retainBytes: 32 << 20,
  sessionSlots: 1024,
  maxSessions: 4096,
  sessionTimeoutMs: 60_000,
  leaseMs: 200,
  maxClockDrift: 0.05,
  diskStallMs: 2000,
  autoPromoteMs: 0,
});

export type Status =
  | 'normal' | 'view-change' | 'recovering'
  /** A later epoch has begun, and what came before it is not all here yet (VRR 7.2). No vote, no voice. */
  | 'transitioning'
  /** Not a member, and never was: waits for StartEpoch. */
  | 'joining'
  /** No member any more: serves what it has until the new members have it, then ends. */
  | 'retired';

export interface PeerStatus {
  readonly id: MemberId;
  readonly address: string;
  readonly httpAddress: string;
  readonly role: Role;
  /** Acknowledged op, known at the primary only. */
  readonly acked: OpNumber | null;
  /** Milliseconds since something came from it; null: never. */
  readonly silentMs: number | null;
  /** The newest checkpoint that it has told of. */
  readonly checkpoint: OpNumber | null;
}

export interface ReplicaStatus {
  readonly memberId: MemberId;
  readonly epoch: Epoch;
  /** Null: not a member. */
  readonly role: Role | null;
  readonly status: Status;
  readonly view: View;
  readonly logView: View;
  readonly primary: MemberId;
  readonly isPrimary: boolean;
  /** While normal: milliseconds since the primary spoke as that of the present view, or since that view began here. Whatever else it sends is no sign that it leads. */
  readonly primarySilentMs: number;
  /** Head of the log. */
  readonly op: OpNumber;
  readonly commit: OpNumber;
  readonly executed: OpNumber;
  /** The newest that is in the records here; of a witness, that its superblock names. */
  readonly checkpoint: CheckpointId;
  /** How often checkpoints are taken; of a witness, which takes none, what it is configured with. */
  readonly checkpointInterval: CheckpointInterval;
  /** A checkpoint is being written, or waits for its turn / the state is being fetched from a peer. */
  readonly checkpointing: boolean;
  readonly transferring: boolean;
  /** The present view works, its primary was heard of late, and all that is missing here is its log. */
  readonly lacksLog: boolean;
  /** So many recover at once that too few are left who could answer. */
  readonly recoveryImpossible: boolean;
  /** The disk has hardly room for the log: nothing more is taken into it. */
  readonly cramped: boolean;
  readonly sessions: number;
  /** As this replica is configured: the primary's counts. */
  readonly maxSessions: number;
  readonly configuration: Configuration;
  /** A quorum of the members is known to have started this epoch. Known at the primary and at who leaves. */
  readonly epochComplete: boolean;
  /** Milliseconds for which the primary's lease still holds; 0: none. */
  readonly leaseMs: number;
  /** The state has everything that was acknowledged up to so many milliseconds ago; null: not known. */
  readonly stalenessMs: number | null;
  readonly peers: readonly PeerStatus[];
}

/**
 * The replica (replica.ts). `now` is monotonic milliseconds; events arrive in any order that the world gives them:
 *
 *   step(from, message)              a message of a replica, already decoded and of this cluster
 *   receive(connection, message)     a client's or administrator's message, but Hello
 *   flush()                          the inputs of this turn are in: send what has gathered
 *   execute()                        what has gathered is on its way, to the others and to the disk: execute what is committed
 *                                    meanwhile, and answer. Comes behind each flush()
 *   tick(now)                        at least every 10 ms
 *   onJournalDurable(ticket), onSuperblockDurable(ticket), onCheckpointDurable(id), onStateInstalled(id),
 *   onStateFetchFailed(reason, intact), onLogCramped(cramped)
 *   onConnected()                    another can be reached again; a hint, which may be wrong, come at any time, or be left out
 *   status()
 */
export interface ReplicaEvents {
  step(from: { readonly epoch: Epoch; readonly sender: MemberId; readonly incarnation: number }, message: import('./messages.ts').ReplicaMessage): void;
  receive(connection: number, message: import('./messages.ts').ClientRequest): void;
  flush(): void;
  execute(): void;
  tick(now: number): void;
  onJournalDurable(ticket: number): void;
  onSuperblockDurable(ticket: number): void;
  onCheckpointDurable(id: CheckpointId): void;
  onStateInstalled(id: CheckpointId): void;
  /**
   * The transfer came to nothing (donors gone, or they hold a newer checkpoint only): the replica asks anew.
   * @param intact the table is as it was before the fetch
   */
  onStateFetchFailed(reason: string, intact: boolean): void;
  /** A checkpoint waits for room on the disk, and there is hardly any left for the log; or there is again. */
  onLogCramped(cramped: boolean): void;
  /** Another that could not be reached can be: what a view change, a recovery or a log that is behind waits to say again is said by the next tick. */
  onConnected(): void;
  status(): ReplicaStatus;
  /** It has left the group for good, and that is durable: nothing more is to be expected of it. */
  readonly ended: boolean;
}
