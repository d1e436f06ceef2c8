/**
 * A replica process as the HTTP API, the metrics and the command line see it. replica_process.ts makes one.
 * Interfaces alone: whoever serves HTTP depends on nothing else of the process.
 */
import type { ProvenCheckpoint } from '../checkpoint/proof.ts';
import type { Proof } from '../checkpoint/proof_codec.ts';
import type { Digest, OpNumber } from '../lib/ids.ts';
import type { FileSystemStatistics } from '../fsservice/operations.ts';
import type { Configuration } from '../vr/configuration.ts';
import type { ClientRequest } from '../vr/messages.ts';
import type { NodeAddresses } from './data_directory.ts';
import type { LatencyCounts } from './latency_histogram.ts';
import type { TakeCosts } from '../checkpoint/take_costs.ts';
import type { RepairReport } from '../checkpoint/repair.ts';
import type { ReplicaStatus } from '../vr/replica_types.ts';

/** The longest that a checkpoint can be asked to be kept, in seconds: a week. */
export const KEEP_MAX_S = 604_800;

/** What a replica that was behind had to fetch of the state, against the size of all of it. Bytes are octets on the wire. */
export interface TransferReport {
  /** Of the checkpoint. */
  readonly op: number;
  readonly bytesReceived: number;
  /** Bytes of the records (keys and values) that had changed. */
  readonly recordBytes: number;
  readonly recordsChanged: number;
  /** Bytes of all records of the state that was installed. */
  readonly stateBytes: number;
  readonly requests: number;
  readonly milliseconds: number;
  /** The peers that it came from: member ids. */
  readonly donors: readonly string[];
}

/** A checkpoint that is being fetched. */
export interface TransferProgress {
  readonly op: number;
  /** Milliseconds since 1970 of its begin, and how long it has run. */
  readonly startedAt: number;
  readonly milliseconds: number;
  readonly requests: number;
  readonly bytesReceived: number;
  /** Keys and values of the records that differed, of what was fetched so far. */
  readonly recordBytes: number;
  readonly recordsChanged: number;
  /** Nodes of the tree that were fetched and found right, and those known to differ that were not fetched yet. */
  readonly nodesVerified: number;
  readonly nodesWanted: number;
  /** How much of the checkpoint is here, 0 to 1. */
  readonly settled: number;
  /** Of the whole transfer so far. */
  readonly bytesPerSecond: number;
  /** Milliseconds that the rest will take at this rate; null: not known yet. */
  readonly etaMs: number | null;
}

/** What this replica gave to others that fetched its state, since the boot. */
export interface DonorReport {
  readonly requests: number;
  readonly bytesSent: number;
  /** Requests that were told to come again later, because of transferRate or of what clients need. */
  readonly deferred: number;
  /** The op-numbers of the checkpoints that can be fetched from here. */
  readonly checkpoints: readonly number[];
}

/** How the replica came to its present state after this boot. */
export interface RecoveryReport {
  /** Milliseconds since 1970 at which the process began to serve. */
  readonly startedAt: number;
  /** What was found on disk: entries of the journal behind the checkpoint, and whether the log could be trusted. */
  readonly bootCheckpointOp: number;
  readonly bootLogEntries: number;
  readonly bootLogIntact: boolean;
  /** Bytes cut from the journal's end because a crash had torn the last write. */
  readonly bootTornBytes: number;
  /** Checkpoint transfers since the boot, and all bytes that they received. */
  readonly transfers: number;
  readonly bytesReceived: number;
  /** The one under way. */
  readonly transfer: TransferProgress | null;
  /** The newest finished transfer; null: none was needed. */
  readonly lastTransfer: TransferReport | null;
  /** Bytes of log that peers have sent to bring this replica up to date (NewState, StartView) since the boot. */
  readonly logBytesReceived: number;
  /** Bytes of all records of the state now: what there would have been to fetch without a checkpoint of its own. */
  readonly stateBytes: number;
  /** Milliseconds from the start until the replica was normal and had executed all that it knew to be committed; null: not yet. */
  readonly caughtUpMs: number | null;
}

/** A checkpoint that waits for room on the disk. */
export interface RoomReport {
  /** Milliseconds since 1970. */
  readonly since: number;
  /** What has to be free, with the reserve, and what is. */
  readonly neededBytes: number;
  readonly freeBytes: number;
}

export interface StoreStatus {
  /** Of the newest durable checkpoint. */
  readonly records: number;
  readonly bytes: number;
  readonly overlayRecords: number;
  readonly overlayBytes: number;
  /** Checkpoints taken since the boot, and how long the newest took, milliseconds. */
  readonly takes: number;
  readonly lastTakeMs: number;
  /** A checkpoint, or a transfer, that waits for room on the disk; null: none does. And how often one had to since the boot. */
  readonly waitingForRoom: RoomReport | null;
  readonly roomWaits: number;
  /** How often records were found damaged on the disk since the process began, and the last time. */
  readonly damages: number;
  readonly lastDamage: DamageReport | null;
}

/** Records that were found damaged, and what was done about it. */
export interface DamageReport {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly damage: string;
  /** 'repaired': what was damaged was left out, and is fetched. 'set aside': the directory was moved, and all is fetched. */
  readonly remedy: 'repaired' | 'set aside';
  readonly report: RepairReport | null;
  readonly movedTo: string | null;
}

/** What checkpoints cost this replica, and what there is to go through again if it has to start from the newest. */
export interface CheckpointCost extends TakeCosts {
  /** Log behind the newest durable checkpoint: entries, and their bytes. */
  readonly logOpsSince: number;
  readonly logBytesSince: number;
}

/** One time through the whole store, looking for damage (scrubber.ts). */
export interface ScrubPass {
  /** From 1 since the process began. */
  readonly number: number;
  /** Somebody asked for it; else it is one of those in the background. */
  readonly asked: boolean;
  /** Bytes a second, at most. */
  readonly rate: number;
  /** Milliseconds since 1970; null: under way. */
  readonly startedAt: number;
  readonly endedAt: number | null;
  /** 'broken off': by a stop, by another pass, or by `error`. */
  readonly end: 'running' | 'complete' | 'damage' | 'broken off';
  /** 0 to 1, about. */
  readonly progress: number;
  /** The newest checkpoint that was read. */
  readonly op: number;
  /** Tables of the database compared with their checksums, and their bytes. */
  readonly tables: number;
  readonly tableBytes: number;
  /** All of them were read past the page cache. */
  readonly direct: boolean;
  /** Tables of which the disk had lost a part that was still in memory. */
  readonly rewrittenTables: number;
  /** The same of those that the disk did not take again. */
  readonly unwrittenTables: number;
  /** Nodes and records compared with the Merkle tree, and their bytes. */
  readonly pages: number;
  readonly innerNodes: number;
  readonly records: number;
  readonly bytes: number;
  /** What was found, in words. */
  readonly damage: string | null;
  /** What broke it off and is no damage, as that a file cannot be opened. */
  readonly error: string | null;
}

export interface ScrubStatus {
  /** Bytes a second in the background; 0: none. */
  readonly rate: number;
  /** 'halted': damage was found, and the store waits for its repair. */
  readonly state: 'off' | 'resting' | 'running' | 'halted';
  readonly pass: ScrubPass | null;
  /** The newest that has ended. */
  readonly last: ScrubPass | null;
  /** When the newest complete one ended, milliseconds since 1970; null: none since the process began. */
  readonly lastCompleteAt: number | null;
  /** Since the process began: complete passes, what was compared (bytes: of tables, nodes and records), times that damage was found, tables written again. */
  readonly passes: number;
  readonly pages: number;
  readonly records: number;
  readonly bytes: number;
  readonly damages: number;
  readonly rewrittenTables: number;
  /** Tables that are whole in memory alone at present: the disk has lost a part of them and did not take it again. */
  readonly unwrittenTables: number;
  /** Passes in a row that an error broke off which is no damage. */
  readonly failures: number;
  readonly lastDamage: { readonly at: number; readonly damage: string } | null;
}

/** A checkpoint that this replica made or took over. */
export interface KnownCheckpoint {
  readonly op: OpNumber;
  readonly root: Digest;
  /** Predetermined time of its operation, microseconds since 1970. */
  readonly time: number;
}
export interface CheckpointList {
  /** Can be read: newest first. `readers`: transfers and the like that read it at this moment; `idleMs`: since the last one began; `keptMs`: it stays for so long. */
  readonly held: readonly (KnownCheckpoint & { readonly records: number; readonly bytes: number; readonly readers: number; readonly idleMs: number; readonly keptMs: number })[];
  /** The roots of the last ones since the process began, those that are held among them: newest first. */
  readonly known: readonly KnownCheckpoint[];
}

/** Pieces of a checkpoint, with what its root is the hash of. */
export interface CheckpointParts {
  readonly root: Digest;
  readonly checkpoint: ProvenCheckpoint;
  /** The id of the top node, whose hash is `checkpoint.top`. */
  readonly topId: string | null;
  /** As far as they fit into one answer, in the order asked for: first nodes, then records; at least one. Null: there is none. */
  readonly nodes: readonly (Buffer | null)[];
  readonly records: readonly (Buffer | null)[];
}

export interface JournalStatus {
  readonly segments: number;
  readonly bytes: number;
  /** Groups written (one writev and one fdatasync each), the records in them, and bytes, since the boot. */
  readonly groups: number;
  readonly records: number;
  readonly bytesWritten: number;
  /** Milliseconds spent in writev + fdatasync since the boot. */
  readonly syncMs: number;
}

/** How long things took since the boot. */
export interface Timings {
  /** One writev and fdatasync of the journal each. */
  readonly journalWrites: LatencyCounts;
  /** Requests of clients, from the read that brought them to the write of their replies: at the primary. */
  readonly requests: LatencyCounts;
}

/** Messages of clients since the boot, by type. */
export type ClientMessages = Readonly<Record<ClientRequest['type'], number>>;

export interface LinkStatus {
  readonly member: number;
  readonly connected: boolean;
  readonly queuedBytes: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Messages dropped because the peer was slow or away. */
  readonly dropped: number;
  /** Why it refuses this replica, as when that was formatted anew; null: it does not. */
  readonly refused: string | null;
}

/** A client's session. */
export interface SessionStatus {
  /** The op of its registration. */
  readonly id: number;
  readonly name: string;
  /** Time of its last operation, by the log, microseconds since 1970. */
  readonly lastActive: number;
  /** It keeps unlinked files for as long as it has them open. */
  readonly holdsOpens: boolean;
  /** How many it has used: the lowest are taken first, so this is about the most operations that it had under way at once. */
  readonly slots: number;
}
export interface SessionPage {
  /** The list is as of this operation. */
  readonly executed: OpNumber;
  /** By id. */
  readonly sessions: readonly SessionStatus[];
  /** There are none behind these. */
  readonly last: boolean;
}

export interface ServerStatus {
  /** 32 hex digits. */
  readonly clusterId: string;
  readonly version: string;
  readonly pid: number;
  /** Since the process began, milliseconds. */
  readonly uptimeMs: number;
  readonly replica: ReplicaStatus;
  readonly recovery: RecoveryReport;
  readonly donor: DonorReport;
  readonly store: StoreStatus;
  readonly checkpointCost: CheckpointCost;
  readonly scrub: ScrubStatus;
  readonly journal: JournalStatus;
  readonly links: readonly LinkStatus[];
  /** Use and limits of the file system, as of what is executed here; null: a witness keeps none, and what is being fetched is not known yet. */
  readonly namespace: FileSystemStatistics | null;
  readonly clientConnections: number;
  /** What was wrong at boot and could be got over. */
  readonly warnings?: readonly string[];
}

export type Health =
  | { readonly ok: true }
  /** `reason` is a sentence for a person: what is wrong and, where there is one, the remedy. */
  | { readonly ok: false; readonly reason: string };

export interface RunningReplica {
  /** 16 bytes. */
  readonly clusterId: Buffer;
  readonly memberId: number;
  /** `host:port` that replicas and clients connect to, as bound. */
  readonly address: string;
  /** `host:port` of the HTTP API as bound; null while there is none. */
  readonly httpAddress: string | null;
  /** Where it is to be found, as its group knows it or is to know it. */
  readonly addresses: NodeAddresses;
  /** The group as the replica knows it now. */
  configuration(): Configuration;
  status(): ServerStatus;
  /** Normal, and the primary is this replica or was heard of lately. */
  health(): Health;
  /** One request of a bulk checkpoint transfer (the body of POST /internal/v1/checkpoint): one answer. Rejects with a reason on bad input. */
  serveCheckpoint(request: Buffer): Promise<Buffer>;
  /** The checkpoints that can be read here, and the roots of older ones. */
  checkpoints(): CheckpointList;
  /**
   * The records that say what a path leads to, with their proofs, in the checkpoint of `op` (null: the newest). Null: it is not
   * (or no longer) here. Rejects when the records cannot be read.
   */
  provePath(names: readonly Buffer[], op: OpNumber | null): Promise<Proof | null>;
  /** Nodes of the tree by their ids (inner_node.ts) and values of records by their keys, in the checkpoint of `op`. Null: it is not here. Rejects when they cannot be read. */
  readCheckpoint(op: OpNumber, ids: readonly string[], keys: readonly Buffer[]): Promise<CheckpointParts | null>;
  /** Holds on to a checkpoint for so many milliseconds from now on (0: no longer than to others). */
  keepCheckpoint(op: OpNumber, ms: number): 'kept' | 'gone' | 'too many';
  /** Begins a whole scrub at once (bytes a second; default: as fast as it goes beside the replica's work). Returns the number of the pass. */
  scrub(rate?: number): number;
  /** Counters of the replica's events since the boot ('view-change', 'recovery', ...), by name. */
  eventCounts(): ReadonlyMap<string, number>;
  timings(): Timings;
  clientMessages(): ClientMessages;
  /** The sessions whose ids are above `after`, `limit` at most. Null: a witness has none, and what is being fetched is not known yet. */
  sessions(after: number, limit: number): SessionPage | null;
  /** Stops accepting, sends and writes what has gathered, closes everything. Idempotent. */
  stop(): Promise<void>;
  /** Settles when the replica has stopped. */
  readonly stopped: Promise<void>;
}

/** What `startReplica` is given to bring the HTTP API up beside the replica. */
export interface HttpHandle {
  /** `host:port` as bound. */
  readonly address: string;
  close(): Promise<void>;
}
export type AttachHttp = (running: RunningReplica) => Promise<HttpHandle>;

/** Path and header of the bulk transfer, between a fetching replica and a donor's HTTP server. */
export const CHECKPOINT_PATH = '/internal/v1/checkpoint';
/** 32 hex digits; a request of another group is refused with 409. */
export const CLUSTER_ID_HEADER = 'x-vrfs-cluster-id';
/** Answers of the transfer are at most this long. */
export const CHECKPOINT_BODY_MAX = 32 << 20;
/** The longest question: for 4096 nodes, each named by the prefix of a key. */
export const CHECKPOINT_REQUEST_MAX = 4 << 20;
