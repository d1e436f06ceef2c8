/**
 * Makes the data directory of a member of a group that cannot recover one of a group that goes on from a checkpoint (vr/revival.ts). What may be
 * done with which directory is decided by `planRevival`, which is pure; `revive` does it, under the lock.
 */
import { randomBytes } from 'node:crypto';
import { examineRecords } from '../checkpoint/examine.ts';
import { digestToHex } from '../lib/hash.ts';
import type { MemberId } from '../lib/ids.ts';
import { memberOf, type Configuration } from '../vr/configuration.ts';
import { revivedClusterId, revivedSuperblock } from '../vr/revival.ts';
import { DATA_FORMAT, DATA_VERSION, DataDirectoryError, inspect, layout, type Lineage } from './data_directory.ts';
import { holdingOf, shortRoot, type HeldCheckpoint, type Holding } from './holding.ts';
import { lockDirectory } from './process_lock.ts';
import { RevivalRefusedError } from './revival_refused.ts';
import { copyRecords, finishRevival, replaceContents, syncFiles, type BeforeStep } from './revival_files.ts';

/** A group that goes on from a checkpoint. */
export interface Revival {
  readonly lineage: Lineage;
  /** Of the new group, 16 bytes. */
  readonly clusterId: Buffer;
  readonly checkpoint: HeldCheckpoint;
  /** Whose records are copied. */
  readonly source: string;
}

export interface Plan {
  readonly own: Holding;
  readonly revival: Revival;
  /** The directory is a member of that group already. */
  readonly done: boolean;
}

/** `held` of the group `origin`. */
export function revivalFrom(origin: Buffer, held: HeldCheckpoint, source: string): Revival {
  return {
    lineage: { clusterId: origin.toString('hex'), op: held.id.op, root: digestToHex(held.id.root) },
    clusterId: revivedClusterId(origin, held.id, held.at), checkpoint: held, source,
  };
}

/** @throws RevivalRefusedError */
export function refuseDisk(directory: string, { durability }: Configuration, start: string): void {
  if (durability === 'memory') return;
  throw new RevivalRefusedError(`the group of ${directory} runs with durability disk: what it acknowledged is in the journals of its members, and nothing has to be given up`, `start a majority of its members: ${start}. Only if the disks of a majority are lost for good, with one that is left: vrfs revive --data <its directory> --alone`);
}

/**
 * What becomes of the member in `own` when the group goes on from what `source` holds; the same holding twice: from its own.
 * @throws RevivalRefusedError
 */
export function planRevival(own: Holding, source: Holding): Plan {
  for (const h of [own, source]) refuseDisk(h.directory, h.superblock.configuration, `vrfs serve --data ${h.directory}`);
  if (own.superblock.retired) {
    throw new RevivalRefusedError(`member ${own.memberId} in ${own.directory} has left the group for good`, 'revive the members that the group has; this machine joins it anew: vrfs serve --join, in an empty directory');
  }
  const waiting = waitsForItsFirstStart(own, source);
  if (waiting !== null) return waiting;
  const held = source.checkpoint;
  if (held === null) {
    throw new RevivalRefusedError(`${source.directory} holds no checkpoint: ${source.without ?? ''}`, 'go on from another member\'s, of which a copy will do: vrfs revive --data <directory> --from <copy of its data directory>');
  }
  const origin = originOf(own, source);
  const { at } = held;
  if (memberOf(at.configuration, own.memberId) === undefined) {
    throw new RevivalRefusedError(`member ${own.memberId} in ${own.directory} was no member yet at op ${held.id.op}: the members were ${at.configuration.members.map((m) => `${m.id} (${m.address})`).join(', ')}`,
      'revive those; this node joins the group again when it serves: vrfs serve --join, in an empty directory, then vrfs members add');
  }
  const revival = revivalFrom(origin, held, source.directory);
  if (revival.clusterId.equals(own.clusterId)) return { own, revival, done: true };
  refuseNewer(own, source, held);
  return { own, revival, done: false };
}

/** Both are of one group that has not run since it was made: there is nothing to revive. */
function waitsForItsFirstStart(own: Holding, source: Holding): Plan | null {
  if (!own.clusterId.equals(source.clusterId) || own.superblock.incarnation > 0 || source.superblock.incarnation > 0) return null;
  const { revivedFrom, checkpoint } = own;
  if (revivedFrom !== null && checkpoint !== null) {
    return { own, done: true, revival: { lineage: revivedFrom, clusterId: own.clusterId, checkpoint, source: own.directory } };
  }
  throw new RevivalRefusedError(`the member in ${own.directory} has never run, so nothing of it is lost`, `start it: vrfs serve --data ${own.directory}`);
}

/** The group whose checkpoint it is: the one that both are of, or that one of them was revived from. */
function originOf(own: Holding, source: Holding): Buffer {
  if (own.clusterId.equals(source.clusterId)) return own.clusterId;
  const ownHex = own.clusterId.toString('hex');
  const sourceHex = source.clusterId.toString('hex');
  if (source.revivedFrom?.clusterId === ownHex) {
    if (source.superblock.incarnation === 0) return own.clusterId;
    throw new RevivalRefusedError(`${source.directory} is of group ${sourceHex}, which was revived from op ${source.revivedFrom.op} and has run since`,
      `give what it was revived from (--from, an older copy of it), or let this machine join that group: vrfs serve --join, in an empty directory, then vrfs members replace`);
  }
  if (own.revivedFrom?.clusterId === sourceHex) {
    const same = source.checkpoint !== null && revivalFrom(source.clusterId, source.checkpoint, '').clusterId.equals(own.clusterId);
    if (same || own.superblock.incarnation === 0) return source.clusterId;
    throw new RevivalRefusedError(`${own.directory} is of group ${ownHex}, which was revived from op ${own.revivedFrom.op} of the group of ${source.directory} and has run since`,
      `go on with that one: vrfs serve --data ${own.directory}; or let this machine join another: vrfs serve --join, in an empty directory, then vrfs members replace`);
  }
  throw new RevivalRefusedError(`${own.directory} belongs to group ${ownHex}, and ${source.directory} to group ${sourceHex}`, 'give a directory of the same group (--from)');
}

function refuseNewer(own: Holding, source: Holding, held: HeldCheckpoint): void {
  if (own === source || own.checkpoint === null || !own.clusterId.equals(source.clusterId) || own.checkpoint.id.op <= held.id.op) return;
  throw new RevivalRefusedError(`${own.directory} holds a newer checkpoint (op ${own.checkpoint.id.op}) than ${source.directory} (op ${held.id.op})`,
    `revive all members from this one: vrfs revive --data ${own.directory} here, and a copy of it with --from elsewhere. To give it up all the same, move ${layout(own.directory).records} away first`);
}

/** What would be done. Changes nothing. Rejects with RevivalRefusedError and as `holdingOf` does. */
export async function proposeRevival(directory: string, from: string | null): Promise<Plan> {
  const own = await holdingOf(directory, 'look');
  return planRevival(own, from === null || layout(from).root === own.directory ? own : await holdingOf(from, 'look'));
}

/**
 * Does it, or finishes what was interrupted ('finished': by what had been decided then). Repeating it does nothing more. Rejects as
 * `proposeRevival` does, and with the errors of the disk; then the directory is as it was, or says that the same command has to be run again.
 */
export async function revive(directory: string, from: string | null, before: BeforeStep = () => undefined): Promise<Plan | 'finished'> {
  return await locked(directory, before, async (own) => {
    const plan = planRevival(own, from === null || layout(from).root === own.directory ? own : await holdingOf(from, 'look'));
    if (!plan.done) await become(own.directory, own.memberId, plan.revival, before);
    return plan;
  });
}

/** What it holds is made another's under its lock; what was interrupted is finished first, and then that is all. */
export async function locked<T>(directory: string, before: BeforeStep, act: (own: Holding) => Promise<T>): Promise<T | 'finished'> {
  const { root } = layout(directory);
  // A lock is a file in it, and not to be made in just any directory.
  await isUnfinished(root);
  const lock = await lockDirectory(root);
  try {
    return (await finishRevival(root, before)) ? 'finished' : await act(await holdingOf(root, 'in place'));
  } finally {
    await lock.release();
  }
}

/** A revival of it was interrupted. Rejects with DataDirectoryError when it is no data directory. */
async function isUnfinished(directory: string): Promise<boolean> {
  try {
    await inspect(directory);
    return false;
  } catch (error) {
    if (error instanceof DataDirectoryError && error.code === 'unfinished') return true;
    throw error;
  }
}

/** The directory, which may be empty or of the group before, is member `id` of the revived group. The caller holds its lock. */
export async function become(directory: string, id: MemberId, revival: Revival, before: BeforeStep): Promise<void> {
  const { lineage, clusterId, checkpoint, source } = revival;
  const { root } = layout(directory);
  const isWitness = memberOf(checkpoint.at.configuration, id)?.role === 'witness';
  const superblock = revivedSuperblock({ clusterId, memberId: id, instance: randomBytes(16) }, checkpoint.id, checkpoint.at);
  await replaceContents(root, {
    version: { format: DATA_FORMAT, version: DATA_VERSION, clusterId: clusterId.toString('hex'), memberId: id, revivedFrom: lineage },
    superblock: () => superblock,
    records: layout(source).root === root || isWitness ? null : (to) => copyVerified(source, to, checkpoint),
    journal: null,
  }, before);
}

/** @throws RevivalRefusedError when the copy is not that checkpoint */
export async function copyVerified(source: string, to: string, { id }: HeldCheckpoint): Promise<void> {
  await copyRecords(layout(source).records, to);
  const copied = await examineRecords(to, []);
  if (copied.kind !== 'whole' || copied.checkpoint.op !== id.op || copied.checkpoint.root !== id.root) {
    const what = copied.kind === 'whole' ? `op ${copied.checkpoint.op}, root ${shortRoot(copied.checkpoint.root)}` : copied.kind === 'damaged' ? copied.reason : copied.kind;
    throw new RevivalRefusedError(`the copy of the records in ${source} is not the checkpoint of op ${id.op}, root ${shortRoot(id.root)} (${what}): they have changed meanwhile, or a disk or the memory does not keep what is written`,
      'stop whatever uses them, check the disks, and run the command again; nothing was changed');
  }
  await syncFiles(to);
}
