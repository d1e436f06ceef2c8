/**
 * Every message of the protocol. Between replicas each carries an envelope: cluster id, epoch, sender and the
 * sender's incarnation; a frame around it carries the checksum (server/frame.ts). Clients say the cluster id once
 * per connection (Hello) and then send bare messages. The codecs are in message_codec.ts.
 */
import type { Digest, Epoch, MemberId, OpNumber, SessionId, View } from '../lib/ids.ts';
import type { Configuration, Member } from './configuration.ts';
import type { Entry, Header } from './entry.ts';
import type { CheckpointId, EpochStart } from './superblock.ts';

export interface Envelope {
  readonly epoch: Epoch;
  readonly sender: MemberId;
  readonly incarnation: number;
}

// --- clients -------------------------------------------------------------------------------------------------------

/** First on a client's connection. Answered by Welcome, whoever is primary. */
export interface Hello { readonly type: 'hello'; readonly clusterId: Buffer }
export interface Welcome {
  readonly type: 'welcome'; readonly view: View; readonly configuration: Configuration;
  /** Who answers. Not in `configuration`: a node that waits to be made a member, or was one. */
  readonly self: MemberId;
  /** Where the others find it, as it was made: not where it listens, nor what it was asked under. Empty: it has left. */
  readonly address: string; readonly httpAddress: string;
  readonly clusterId: Buffer;
}

/** Begins a session, through the log. The nonce (16 random bytes) makes a repeated Register find the same session. */
export interface Register { readonly type: 'register'; readonly nonce: Buffer; readonly flags: number; readonly name: string }
/** Session flags. */
export const SESSION_HOLDS_OPENS = 1;
/** The longest name of a session, UTF-8. */
export const SESSION_NAME_BYTES = 256;
export interface Registered { readonly type: 'registered'; readonly nonce: Buffer; readonly session: SessionId; readonly slots: number; readonly timeoutMs: number }

/** The client needs the session no more: it ends, through the log, with its locks and opens. Not answered. */
export interface EndSession { readonly type: 'endSession'; readonly session: SessionId }

/** An operation, exactly once: slot in [0, slots), seq one more than the slot's last. A repeat gets the stored reply. */
export interface Request { readonly type: 'request'; readonly session: SessionId; readonly slot: number; readonly seq: number; readonly body: Buffer }
export interface Reply { readonly type: 'reply'; readonly session: SessionId; readonly slot: number; readonly seq: number; readonly view: View; readonly op: OpNumber; readonly result: Buffer }

/**
 * A read. 'linearizable' is answered by the primary only; 'causal' by any replica that has executed at least `minOp`
 * (else Reject 'behind'); 'bounded' by any that has, and whose state has everything that was acknowledged up to
 * `maxStalenessMs` before it answers. `id` is the client's own, echoed.
 */
export interface Read {
  readonly type: 'read'; readonly id: number; readonly consistency: 'linearizable' | 'causal' | 'bounded'; readonly minOp: OpNumber;
  /** 'bounded' only, else 0. */
  readonly maxStalenessMs: number; readonly body: Buffer;
}
export interface ReadReply { readonly type: 'readReply'; readonly id: number; readonly op: OpNumber; readonly result: Buffer }

/** "I am not the primary": where to go on. Whatever was asked was not done. */
export interface Redirect { readonly type: 'redirect'; readonly view: View; readonly configuration: Configuration }
export type RejectCode =
  /** The log may not grow now; ask again after retryAfterMs. Nothing was done. */
  | 'busy'
  /** The session is not (any more) known: register anew. */
  | 'noSession'
  /** The replica has not executed minOp yet. */
  | 'behind'
  /** Out-of-range slot, sequence number in the past, oversized body: the client is wrong. */
  | 'invalid';
export interface Reject {
  readonly type: 'reject'; readonly code: RejectCode; readonly reason: string; readonly retryAfterMs: number;
  /** What is rejected: a request by (session, slot, seq), a read by id (session 0), a registration (all 0). */
  readonly session: SessionId; readonly slot: number; readonly seq: number; readonly id: number;
}

// --- administrators ------------------------------------------------------------------------------------------------

/**
 * Makes these the members (VRR 7), if the group is still in `epoch`. Answered by NewEpoch once it is committed, by
 * Refused, or by Redirect. A repeat finds the later epoch and is told of it: whoever asks compares the members.
 * `force`: also when who gets a vote was not heard of or is behind.
 */
export interface Reconfigure { readonly type: 'reconfigure'; readonly nonce: Buffer; readonly epoch: Epoch; readonly members: readonly Member[]; readonly force: boolean }
/** Which epoch is it, and has it started everywhere? Answered by NewEpoch or Redirect. */
export interface CheckEpoch { readonly type: 'checkEpoch'; readonly nonce: Buffer }
/** `complete`: a quorum of its members is known to have started it; until then there is no other change. */
export interface NewEpoch { readonly type: 'newEpoch'; readonly nonce: Buffer; readonly view: View; readonly configuration: Configuration; readonly complete: boolean }

/**
 * How often are checkpoints taken? With `change`: make it so, if the present interval is still the one since op `after`. Answered by
 * Interval, once a change is committed; by Refused, or Redirect. A repeat, and a change that came second, finds another interval
 * and changes nothing: whoever asks compares.
 */
export interface AskInterval { readonly type: 'askInterval'; readonly nonce: Buffer; readonly change: IntervalChange | null }
export interface IntervalChange { readonly after: OpNumber; readonly ops: number; readonly bytes: number }
/** Every `ops` operations or `bytes` of log, since op `since`; 0: as the primary is configured. */
export interface Interval { readonly type: 'interval'; readonly nonce: Buffer; readonly ops: number; readonly bytes: number; readonly since: OpNumber }

export type RefusedCode =
  /** The request itself is wrong: too few members, too many at once, a member twice. */
  | 'invalid'
  /** Another change is under way. */
  | 'underWay'
  /** New members were not heard of or are behind (`force` overrides that), or too few would be up (nothing does). */
  | 'unready'
  /** Ask again later. */
  | 'busy';
export interface Refused { readonly type: 'refused'; readonly nonce: Buffer; readonly code: RefusedCode; readonly reason: string }

/** What comes on a client's connection behind its Hello. */
export type ClientRequest = Register | EndSession | Request | Read | Reconfigure | CheckEpoch | AskInterval;
export type ClientToReplica = Hello | ClientRequest;
export type ReplicaToClient = Welcome | Registered | Reply | ReadReply | Redirect | Reject | NewEpoch | Interval | Refused;

// --- replicas ------------------------------------------------------------------------------------------------------

/** What a log holds above a committed op: headers of the whole window, or as many as fit, and as many bodies as fit (the last ones). */
export interface LogClaim {
  /** Committed at the sender, unless more entries follow it than are named; the headers start behind it. */
  readonly base: OpNumber;
  readonly baseHash: Digest;
  /** Of ops base+1 .. n, without gaps. */
  readonly headers: readonly Header[];
  /** The last entries of that range, without gaps, ending at n; fewer than headers when they would not fit a frame. */
  readonly entries: readonly Entry[];
}

/** Entries behind `parent` (at `after`): a batch, in order, without gaps. */
export interface Prepare {
  readonly type: 'prepare'; readonly view: View; readonly commit: OpNumber; readonly round: number;
  readonly after: OpNumber; readonly parent: Digest; readonly entries: readonly Entry[];
}
/**
 * Acknowledges everything up to `op`. `round` echoes the newest round of a Prepare or Commit of this view; with it the sender
 * grants the primary a lease of `leaseMs` (leases.ts). `stamp`: the sender's own monotonic clock since its process began, with its incarnation, for Commit to echo.
 */
export interface PrepareOk {
  readonly type: 'prepareOk'; readonly view: View; readonly op: OpNumber; readonly round: number; readonly leaseMs: number; readonly stamp: number;
}
/**
 * Heart-beat; with the head, so that a backup that lost a Prepare notices. `echoes`, while the primary holds a lease: the
 * newest stamp of each member; everything that was acknowledged anywhere before the member took it is at or below `commit`.
 */
export interface Commit {
  readonly type: 'commit'; readonly view: View; readonly commit: OpNumber; readonly head: OpNumber; readonly round: number;
  readonly echoes: readonly Echo[];
}
export interface Echo { readonly member: MemberId; readonly stamp: number }

/**
 * The sender wants `view` at least. `left`: it has given up every view below this one and cannot go back, so that a group
 * that is still in one has to follow; null: it merely suspects.
 */
export interface StartViewChange { readonly type: 'startViewChange'; readonly view: View; readonly left: View | null }
export interface DoViewChange { readonly type: 'doViewChange'; readonly view: View; readonly logView: View; readonly op: OpNumber; readonly commit: OpNumber; readonly claim: LogClaim }
export interface StartView { readonly type: 'startView'; readonly view: View; readonly op: OpNumber; readonly commit: OpNumber; readonly claim: LogClaim; /** GetView's nonce, or empty */ readonly nonce: Buffer }
export interface GetView { readonly type: 'getView'; readonly view: View; readonly nonce: Buffer }

/**
 * Asks for entries behind `after`, whose chain hash at the asker is `parent`. `view` 'in this view's log': answered
 * by a normal replica of that view; with `repairHead` set: the entries up to and including the one with that hash, answered in
 * status view-change too, by whoever has them (row 9).
 */
export interface GetState { readonly type: 'getState'; readonly view: View; readonly nonce: Buffer; readonly after: OpNumber; readonly parent: Digest; readonly repairHead: Header | null }
export type NewState =
  | { readonly type: 'newState'; readonly kind: 'entries'; readonly view: View; readonly nonce: Buffer; readonly after: OpNumber; readonly parent: Digest; readonly entries: readonly Entry[]; readonly op: OpNumber; readonly commit: OpNumber }
  /** `after` was collected here, or is not in this log: start from this checkpoint. */
  | { readonly type: 'newState'; readonly kind: 'checkpoint'; readonly view: View; readonly nonce: Buffer; readonly checkpoint: CheckpointId }
  /** `parent` at `after` is not what this log holds: ask from a lower op. */
  | { readonly type: 'newState'; readonly kind: 'mismatch'; readonly view: View; readonly nonce: Buffer; readonly after: OpNumber };

export interface Recovery { readonly type: 'recovery'; readonly nonce: Buffer; readonly checkpoint: OpNumber; readonly floor: View }
export interface RecoveryResponse {
  readonly type: 'recoveryResponse'; readonly view: View; readonly nonce: Buffer;
  /** From the primary only. */
  readonly state: { readonly op: OpNumber; readonly commit: OpNumber; readonly checkpoint: CheckpointId } | null;
}
/**
 * At intervals, to all: the newest durable checkpoint here, and the view by which all of it was committed. Equal op with
 * another root stops the replica that differs from a quorum.
 */
export interface CheckpointNotice { readonly type: 'checkpointNotice'; readonly view: View; readonly checkpoint: CheckpointId }

/** The sender takes a checkpoint over, or what follows it: the log behind `after` should not be collected until it has that; null: it has. */
export interface KeepLog { readonly type: 'keepLog'; readonly after: OpNumber | null }

/**
 * `epoch` has begun behind `start.op`, with these members. To all of the old and the new one; repeated by those who leave until
 * a quorum of the new has said EpochStarted; and the answer to whatever comes from an earlier epoch (VRR's NewEpoch).
 */
export interface StartEpoch { readonly type: 'startEpoch'; readonly start: EpochStart; readonly configuration: Configuration }
/** The sender holds everything up to the start of `epoch`, and that is durable. */
export interface EpochStarted { readonly type: 'epochStarted'; readonly epoch: Epoch }

export type ReplicaMessage =
  | StartEpoch | EpochStarted | Prepare | PrepareOk | Commit | StartViewChange | DoViewChange | StartView | GetView
  | GetState | NewState | Recovery | RecoveryResponse | CheckpointNotice | KeepLog;

export type Message = ReplicaMessage | ClientToReplica | ReplicaToClient;
