/**
 * The few facts that a replica must never forget, kept in two checksummed copies. What has to be in it
 * before which message may leave: PROTOCOL section 2, and the comments of ports.ts.
 */
import { DecodeError, decodeAll, Writer, type Decoded, type Reader } from '../lib/bytes.ts';
import { memberId, opNumber, digest, view, type Digest, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { decodeConfiguration, encodeConfiguration, type Configuration } from './configuration.ts';

export const SUPERBLOCK_VERSION = 3;

export interface CheckpointId {
  /** The op-number of the last operation that the checkpoint includes; 0 is the empty state. */
  readonly op: OpNumber;
  /** The Merkle root over all records. */
  readonly root: Digest;
  /** The chain hash of the entry at `op`, so that a log can be continued from here. */
  readonly entryHash: Digest;
  /** The view of the entry at `op`. */
  readonly view: View;
  /** The predetermined time of the entry at `op`, microseconds. */
  readonly time: number;
}

/** Where an epoch began: behind the Reconfiguration entry of the one before. */
export interface EpochStart {
  /** Of the Reconfiguration. */
  readonly op: OpNumber;
  readonly entryHash: Digest;
  /** The epoch's first view. */
  readonly view: View;
  /** Whom to ask for what came before. */
  readonly previous: Configuration;
  /** Every voter of the epoch was known to hold a checkpoint that includes this op when the change was proposed (row 21). */
  readonly held: OpNumber;
}

export interface Superblock {
  /** 16 bytes. */
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
  /** 16 random bytes of the data directory: the same member with another directory is not the same node. */
  readonly instance: Buffer;
  /** Of the newest epoch that this replica has started. Without the replica itself: a node that waits to be made a member. */
  readonly configuration: Configuration;
  /** Null in epoch 0. */
  readonly epochStart: EpochStart | null;
  /** Number of boots. Messages of a superseded incarnation are dropped (row 1). */
  readonly incarnation: number;
  /** The highest view that the replica said StartViewChange for: the floor of a recovery. */
  readonly view: View;
  /** The highest view that it sent a DoViewChange for, or was normal in: it never acts in a lower one. */
  readonly promisedView: View;
  /** The last view in which it was normal (v', "log-view"). */
  readonly logView: View;
  readonly checkpoint: CheckpointId;
  /** A witness: up to this op nobody depends on its log (row 21). Stays true as long as the electors are the same. */
  readonly heldByAll: OpNumber;
  /** For how long a lease that this life grants binds it, milliseconds (row 18): the next one waits for so long before it votes. */
  readonly leaseMs: number;
  /** No longer a member: it may never take part again. */
  readonly retired: boolean;
}

export function encodeCheckpointId(w: Writer, c: CheckpointId): void {
  w.u48(c.op).latin1(c.root).latin1(c.entryHash).u53(c.view).u53(c.time);
}

export function encodeEpochStart(w: Writer, s: EpochStart): void {
  w.u48(s.op).latin1(s.entryHash).u53(s.view).u48(s.held);
  encodeConfiguration(w, s.previous);
}

export function decodeEpochStart(r: Reader): EpochStart {
  return { op: opNumber(r.u48()), entryHash: digest(r.latin1(32)), view: view(r.u53()), held: opNumber(r.u48()), previous: decodeConfiguration(r) };
}

export function decodeCheckpointId(r: Reader): CheckpointId {
  return {
    op: opNumber(r.u48()),
    root: digest(r.latin1(32)),
    entryHash: digest(r.latin1(32)),
    view: view(r.u53()),
    time: r.u53(),
  };
}

/** Without checksum and sequence number: those belong to the file (server/superblock_file.ts). */
export function encodeSuperblock(s: Superblock): Buffer {
  const w = new Writer(512);
  w.u16(SUPERBLOCK_VERSION).raw(s.clusterId).u32(s.memberId).raw(s.instance);
  encodeConfiguration(w, s.configuration);
  w.bool(s.epochStart !== null);
  if (s.epochStart !== null) encodeEpochStart(w, s.epochStart);
  w.u32(s.incarnation).u53(s.view).u53(s.promisedView).u53(s.logView);
  encodeCheckpointId(w, s.checkpoint);
  w.u48(s.heldByAll).u32(s.leaseMs).bool(s.retired);
  return w.finish();
}

export function decodeSuperblock(bytes: Buffer): Decoded<Superblock> {
  return decodeAll(bytes, (r) => {
    const version = r.u16();
    if (version !== SUPERBLOCK_VERSION) {
      throw new DecodeError(`superblock version ${version}; this program reads version ${SUPERBLOCK_VERSION}`);
    }
    return {
      clusterId: Buffer.from(r.raw(16)),
      memberId: memberId(r.u32()),
      instance: Buffer.from(r.raw(16)),
      configuration: decodeConfiguration(r),
      epochStart: r.bool() ? decodeEpochStart(r) : null,
      incarnation: r.u32(),
      view: view(r.u53()),
      promisedView: view(r.u53()),
      logView: view(r.u53()),
      checkpoint: decodeCheckpointId(r),
      heldByAll: opNumber(r.u48()),
      leaseMs: r.u32(),
      retired: r.bool(),
    };
  });
}
