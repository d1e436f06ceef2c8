/**
 * A group of one: a member whose majority will never come back (their disks are lost) goes on alone, with all that it holds, and takes others in later.
 *
 * Nobody outvotes it: it makes a last entry of its log, a Reconfiguration behind all others that leaves itself as the only member. With that, everything before
 * is committed, also what a quorum never had; what a quorum had and this member had not is lost. So it is another group than the old one, with
 * an id of its own, which every handshake compares: the others may come back after all, and be a majority of the old group.
 *
 * The log has the entry, where there is one on disk; in memory mode the state has, as of a checkpoint at that entry.
 */
import { Writer } from '../lib/bytes.ts';
import { sha256Bytes } from '../lib/hash.ts';
import { epoch, opNumber, view as viewFrom, viewOf, type MemberId } from '../lib/ids.ts';
import { configuration as configurationOf, isMember, type Configuration, type Member } from './configuration.ts';
import type { Beginning } from './configuration_record.ts';
import { GROUP, makeEntry, type Entry } from './entry.ts';
import { beginningOf, encodeReconfigurationBody } from './reconfiguration_body.ts';
import { CLUSTER_ID_BYTES, type RevivedMember } from './revival.ts';
import type { CheckpointId, Superblock } from './superblock.ts';

const DOMAIN = 'vrfs group of one survivor 1';

/**
 * The entries without a tail in which `member` is removed: whoever goes on alone does not go by that, for it may never have been committed, and if it was, those who know are lost.
 */
export function upToRemoval(entries: readonly Entry[], member: MemberId): readonly Entry[] {
  const removed = entries.findIndex((e) => e.kind === 'reconfiguration' && !isMember(beginningOf(e).configuration, member));
  return removed < 0 ? entries : entries.slice(0, removed);
}

/** The newest of those that are known and of those that a Reconfiguration in the log makes. */
export function newestConfiguration(known: readonly [Configuration, ...Configuration[]], entries: readonly Entry[]): Configuration {
  const made = entries.filter((e) => e.kind === 'reconfiguration').map((e) => beginningOf(e).configuration);
  return [...known, ...made].reduce((newest, c) => (c.epoch > newest.epoch ? c : newest));
}

/**
 * The last entry.
 *
 * @param checkpoint the newest that the member holds
 * @param entries    of its log behind the checkpoint, an unbroken chain
 * @param present    the newest configuration that it knows
 * @param member     who is to be the only one, as a voter, whatever it was
 */
export function soleMemberEntry(checkpoint: CheckpointId, entries: readonly Entry[], present: Configuration, member: Member): Entry {
  const last = entries.at(-1);
  const next = configurationOf(epoch(present.epoch + 1), [{ ...member, role: 'voter' }], present.durability);
  return makeEntry({
    kind: 'reconfiguration', epoch: present.epoch, view: viewFrom(Math.max(last?.view ?? checkpoint.view, viewOf(present.epoch, 0))),
    op: opNumber((last?.op ?? checkpoint.op) + 1), time: (last?.time ?? checkpoint.time) + 1, session: GROUP, slot: 0, seq: 0,
    body: encodeReconfigurationBody({ previous: present, next, held: checkpoint.op }),
  }, last?.hash ?? checkpoint.entryHash);
}

/**
 * The id of the group that begins with that entry, which stands for all before it; 16 bytes. `instance` is the new directory's, 16 random bytes: from a copy of the
 * same directory another group is made, for clients tell groups by nothing but the id.
 */
export function survivorClusterId(old: Buffer, change: Entry, instance: Buffer): Buffer {
  return sha256Bytes(new Writer(128).string16(DOMAIN).raw(old).u48(change.op).latin1(change.hash).raw(instance).finish()).subarray(0, CLUSTER_ID_BYTES);
}

/**
 * What the only member begins with. `checkpoint` is that of the entry itself, and it begins as a member of any new group does (replica.ts, isAsFormatted);
 * or an earlier one, and it begins with its log, as one that has run.
 */
export function survivorSuperblock(member: RevivedMember, checkpoint: CheckpointId, { start, configuration }: Beginning): Superblock {
  return {
    ...member, configuration, epochStart: start, incarnation: checkpoint.op < start.op ? 1 : 0, leaseMs: 0,
    view: start.view, promisedView: start.view, logView: start.view, checkpoint, heldByAll: checkpoint.op, retired: false,
  };
}
