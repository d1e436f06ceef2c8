/**
 * A group that goes on from a checkpoint of one that cannot recover (durability 'memory', too many stopped at once: PROTOCOL row 12).
 *
 * It is another group. What was acknowledged behind the checkpoint is lost, so nobody who remembers any of it, neither a replica nor a
 * client, may be taken for one of its own: it has an id of its own, which every handshake compares. The id is made of the old id, the
 * checkpoint and the members, so that members who are revived from one checkpoint, each on its machine, are one group without having
 * spoken, and those who are not refuse each other.
 *
 * The members are those of the checkpoint: a change that was made behind it is lost like everything else. They begin as the members of
 * any new group do (replica.ts, isAsFormatted), in the view of the checkpoint's last entry, so that views do not fall along the log.
 */
import { Writer } from '../lib/bytes.ts';
import { sha256Bytes } from '../lib/hash.ts';
import { view as viewFrom, viewOf, type MemberId, type View } from '../lib/ids.ts';
import { encodeConfiguration, type Configuration } from './configuration.ts';
import { decodeBeginning } from './configuration_record.ts';
import { encodeCheckpointId, type CheckpointId, type EpochStart, type Superblock } from './superblock.ts';

const DOMAIN = 'vrfs revived group 1';
export const CLUSTER_ID_BYTES = 16;

/** Whose group it was at a checkpoint. */
export interface MembersAt {
  readonly configuration: Configuration;
  /** Null in epoch 0. */
  readonly epochStart: EpochStart | null;
}

/** The id of the group that goes on from `checkpoint` of the group `old` (16 bytes) with the members that it had there. */
export function revivedClusterId(old: Buffer, checkpoint: CheckpointId, { configuration }: MembersAt): Buffer {
  const w = new Writer(512).string16(DOMAIN).raw(old);
  encodeCheckpointId(w, checkpoint);
  encodeConfiguration(w, configuration);
  return sha256Bytes(w.finish()).subarray(0, CLUSTER_ID_BYTES);
}

/**
 * @param record      of the configuration (CONFIGURATION_KEY) in the state of the checkpoint; undefined: there is none
 * @param superblock  that lies beside the state; it may be of a later epoch than the state
 * Null: not to be known from these. A state without a record is of epoch 0, and who came later than into epoch 1 was never told of that.
 */
export function membersAt(record: Buffer | undefined, superblock: Pick<Superblock, 'configuration' | 'epochStart'>): MembersAt | null {
  if (record !== undefined) {
    const decoded = decodeBeginning(record);
    return decoded.ok ? { configuration: decoded.value.configuration, epochStart: decoded.value.start } : null;
  }
  const { configuration, epochStart } = superblock;
  const founders = configuration.epoch === 0 ? configuration : epochStart?.previous;
  return founders?.epoch === 0 ? { configuration: founders, epochStart: null } : null;
}

/** The view that the group begins in: not below any of its log, and of its epoch. */
export function firstViewOf(checkpoint: CheckpointId, { configuration, epochStart }: MembersAt): View {
  return viewFrom(Math.max(checkpoint.view, epochStart?.view ?? viewOf(configuration.epoch, 0)));
}

export interface RevivedMember {
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
  /** 16 random bytes of this directory. */
  readonly instance: Buffer;
}

/** What a member of the revived group begins with. */
export function revivedSuperblock(member: RevivedMember, checkpoint: CheckpointId, at: MembersAt): Superblock {
  const view = firstViewOf(checkpoint, at);
  return {
    ...member, configuration: at.configuration, epochStart: at.epochStart, incarnation: 0, leaseMs: 0, view, promisedView: view, logView: view, checkpoint,
    // Every member that keeps a state begins with this one, so nobody needs a witness's log up to here (row 21).
    heldByAll: checkpoint.op, retired: false,
  };
}
