/**
 * A group that `vrfs start` runs on this machine goes on from the newest checkpoint that any of its members holds.
 *
 * Order of effects: all members become members of the revived group, one after the other; then cluster.json names it. Until then `vrfs start`
 * refuses, and the same command again finds those that are done by what they were revived from, and goes on with the others.
 */
import { open, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { MemberId } from '../../lib/ids.ts';
import { describeCluster, loadCluster, type Cluster } from '../../server/config.ts';
import { REVIVING_NAME } from '../../server/data_directory.ts';
import { holdingOf, refuseInUse, shortRoot, type HeldCheckpoint, type Holding } from '../../server/holding.ts';
import { LOCK_NAME, lockDirectory, type ProcessLock } from '../../server/process_lock.ts';
import { become, refuseDisk, revivalFrom, type Revival } from '../../server/revive.ts';
import { finishRevival, type BeforeStep } from '../../server/revival_files.ts';
import { makeDirectoriesDurably, syncDirectory } from '../../server/directories.ts';
import { SuperblockDamagedError } from '../../server/superblock_file.ts';
import { memberOf } from '../../vr/configuration.ts';
import { EnvironmentError } from '../failure.ts';
import { CLUSTER_NAME, FORMATTED_NAME, lockGroup, memberDirectory, names } from './group_directory.ts';

export interface MemberFound {
  readonly id: MemberId;
  readonly directory: string;
  /** Null: there is nothing in it that could be read. */
  readonly holding: Holding | null;
  /** Why, in words. */
  readonly problem: string | null;
}

export interface GroupPlan {
  readonly root: string;
  readonly cluster: Cluster;
  readonly found: readonly MemberFound[];
  readonly revival: Revival;
  /** Who is not a member of the revived group yet; none and `named`: it is revived already, and has not run. */
  readonly todo: readonly MemberFound[];
  /** cluster.json has its id. */
  readonly named: boolean;
}

/** What would be done. Changes nothing. @throws EnvironmentError, RevivalRefusedError, DataDirectoryError, DirectoryLockedError: each names the remedy */
export async function proposeGroupRevival(data: string): Promise<GroupPlan> {
  const root = resolve(data);
  const cluster = await groupIn(root);
  await refuseInUse(root);
  return planGroup(root, cluster, await findMembers(root, cluster, 'look'));
}

/** Does it. Repeating it does nothing more, and finishes what was interrupted. */
export async function reviveGroup(data: string, before: BeforeStep = () => undefined): Promise<GroupPlan> {
  const root = resolve(data);
  const cluster = await groupIn(root);
  const locks: ProcessLock[] = [await lockGroup(root)];
  try {
    for (const { id } of cluster.configuration.members) {
      const directory = memberDirectory(root, id);
      // One that has gone is not made before it is known that it is needed.
      if ((await names(directory)).length === 0) continue;
      locks.push(await lockDirectory(directory));
      await finishRevival(directory, before);
    }
    const plan = planGroup(root, cluster, await findMembers(root, cluster, 'in place'));
    for (const m of plan.todo) await reviveMember(m, plan.revival, before, locks);
    if (!plan.named) await nameGroup(plan, before);
    return plan;
  } finally {
    for (const lock of locks.reverse()) await lock.release();
  }
}

async function groupIn(root: string): Promise<Cluster> {
  const found = await names(root);
  if (!found.includes(CLUSTER_NAME)) throw new EnvironmentError(`${root} is not the directory of a group that 'vrfs start' runs: it has no ${CLUSTER_NAME}`, 'give that directory (--group), or the data directory of one member: vrfs revive --data <directory>');
  if (!found.includes(FORMATTED_NAME)) throw new EnvironmentError(`the group in ${root} has never run, so nothing of it is lost`, `start it: vrfs start --data ${root}`);
  const cluster = await loadCluster(join(root, CLUSTER_NAME));
  refuseDisk(root, cluster.configuration, `vrfs start --data ${root}`);
  return cluster;
}

async function findMembers(root: string, cluster: Cluster, how: 'look' | 'in place'): Promise<MemberFound[]> {
  const found: MemberFound[] = [];
  for (const { id } of [...cluster.configuration.members].sort((a, b) => a.id - b.id)) {
    const directory = memberDirectory(root, id);
    if (await holdsOnlyOurs(directory)) {
      found.push({ id, directory, holding: null, problem: 'there is nothing in its directory' });
      continue;
    }
    try {
      const holding = await holdingOf(directory, how);
      if (holding.memberId !== id) throw new EnvironmentError(`${directory} belongs to member ${holding.memberId}`, 'put the directories back under the names of their members');
      found.push({ id, directory, holding, problem: holding.without });
    } catch (error) {
      const problem = replaceable(error);
      if (problem === null) throw error;
      found.push({ id, directory, holding: null, problem });
    }
  }
  return found;
}

/** Nothing, or what an earlier run of the command, which ended in its midst, has left of a directory that it was making. */
async function holdsOnlyOurs(directory: string): Promise<boolean> {
  return (await names(directory)).every((name) => name.startsWith(LOCK_NAME) || name.startsWith(`${REVIVING_NAME}.`));
}

/** Why a directory holds nothing, if it may be made anew: a revived group has no member yet that could have forgotten anything. */
function replaceable(error: unknown): string | null {
  return error instanceof SuperblockDamagedError ? 'neither copy of its superblock can be read' : null;
}

function planGroup(root: string, cluster: Cluster, found: readonly MemberFound[]): GroupPlan {
  const { clusterId } = cluster;
  const old = clusterId.toString('hex');
  const holdings = found.flatMap((m) => (m.holding === null ? [] : [m.holding]));
  const begun = holdings.filter((h) => !h.clusterId.equals(clusterId));
  for (const h of begun) {
    if (h.revivedFrom?.clusterId !== old) throw new EnvironmentError(`${h.directory} belongs to group ${h.clusterId.toString('hex')}, and ${root} is group ${old}`, 'put the directory of this group back');
  }
  const waiting = begun.length === 0 ? waitsForItsFirstStart(root, found) : null;
  const revival = waiting ?? (begun[0] === undefined ? fromNewest(root, clusterId, found) : goingOn(root, clusterId, holdings, begun[0]));
  const { configuration } = revival.checkpoint.at;
  for (const m of found) {
    if (memberOf(configuration, m.id) === undefined) throw new EnvironmentError(`member ${m.id} was no member of the group at op ${revival.checkpoint.id.op}: ${configuration.members.map((c) => c.id).join(', ')} were`, 'revive the members one by one: vrfs revive --data <directory>');
  }
  return { root, cluster, found, revival, named: revival.clusterId.equals(clusterId), todo: found.filter((m) => m.holding?.clusterId.equals(revival.clusterId) !== true) };
}

/** It is revived and named already, and was not started since. Null: it has run. */
function waitsForItsFirstStart(root: string, found: readonly MemberFound[]): Revival | null {
  if (!found.every((m) => m.holding?.superblock.incarnation === 0)) return null;
  for (const { holding } of found) {
    if (holding === null || holding.revivedFrom === null || holding.checkpoint === null) continue;
    return { lineage: holding.revivedFrom, clusterId: holding.clusterId, checkpoint: holding.checkpoint, source: holding.directory };
  }
  throw new EnvironmentError(`the group in ${root} has never run, so nothing of it is lost`, `start it: vrfs start --data ${root}`);
}

function fromNewest(root: string, clusterId: Buffer, found: readonly MemberFound[]): Revival {
  let newest: { readonly held: HeldCheckpoint; readonly directory: string } | null = null;
  for (const { holding } of found) {
    if (holding === null || holding.checkpoint === null) continue;
    const held = holding.checkpoint;
    if (newest !== null && held.id.op < newest.held.id.op) continue;
    if (newest !== null && held.id.op === newest.held.id.op && held.id.root !== newest.held.id.root) {
      throw new EnvironmentError(`${newest.directory} and ${holding.directory} hold different states at op ${held.id.op} (roots ${shortRoot(newest.held.id.root)} and ${shortRoot(held.id.root)}): one of them has gone astray`,
        `find out which (the one whose root a third has is right, and the logs say root-differs), move the other's folder records away, and run the command again`);
    }
    if (newest === null || held.id.op > newest.held.id.op) newest = { held, directory: holding.directory };
  }
  if (newest !== null) return revivalFrom(clusterId, newest.held, newest.directory);
  throw new EnvironmentError(`no member in ${root} holds a checkpoint to go on from (${found.map((m) => `${m.id}: ${m.problem ?? ''}`).join('; ')})`, 'put a copy of a data directory back, if there is one; otherwise make a new group: vrfs start --data <new directory>');
}

/** An earlier run of the command has revived some members: the others follow them. */
function goingOn(root: string, clusterId: Buffer, holdings: readonly Holding[], first: Holding): Revival {
  let revival: Revival | null = null;
  for (const h of holdings) {
    if (!h.clusterId.equals(clusterId) && !h.clusterId.equals(first.clusterId)) {
      throw new EnvironmentError(`${first.directory} and ${h.directory} were revived from different checkpoints (op ${first.revivedFrom?.op ?? 0} and op ${h.revivedFrom?.op ?? 0})`, 'put a copy of one of them back as it was before, and run the command again');
    }
    const isOld = h.clusterId.equals(clusterId);
    if (h.checkpoint === null || (!isOld && h.superblock.incarnation > 0)) continue;
    const candidate = revivalFrom(clusterId, h.checkpoint, h.directory);
    if (candidate.clusterId.equals(first.clusterId)) revival ??= candidate;
    else if (isOld && h.checkpoint.id.op > (first.revivedFrom?.op ?? 0)) {
      throw new EnvironmentError(`${h.directory} holds a newer checkpoint (op ${h.checkpoint.id.op}) than ${first.directory} was revived from (op ${first.revivedFrom?.op ?? 0})`, `to give it up, move ${h.directory} away and run the command again; to go on from it, move the others away`);
    }
  }
  if (revival !== null) return revival;
  throw new EnvironmentError(`${first.directory} was revived from op ${first.revivedFrom?.op ?? 0} and has run since, and no other member in ${root} holds that checkpoint`, 'put a copy of it as it was before its first start back, and run the command again');
}

async function reviveMember(m: MemberFound, revival: Revival, before: BeforeStep, locks: ProcessLock[]): Promise<void> {
  if ((await names(m.directory)).length === 0) {
    before(`make ${m.directory}`);
    await makeDirectoriesDurably(m.directory, 0o700);
    locks.push(await lockDirectory(m.directory));
  }
  await become(m.directory, m.id, revival, before);
}

async function nameGroup({ root, cluster, revival }: GroupPlan, before: BeforeStep): Promise<void> {
  const { clusterId } = revival;
  before('name the group');
  const aside = join(root, `.${CLUSTER_NAME}`);
  await rm(aside, { force: true });
  const handle = await open(aside, 'wx', 0o644);
  try {
    await handle.writeFile(describeCluster({ clusterId, configuration: cluster.configuration }));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(aside, join(root, CLUSTER_NAME));
  await syncDirectory(root);
}
