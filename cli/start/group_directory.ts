/**
 * The directory of a group that `vrfs start` runs on this machine:
 *
 *   cluster.json     the group: id, durability, members and their addresses
 *   LOCK             the `vrfs start` that runs it
 *   FORMATTED        all members have been formatted; from then on a missing one is never made anew
 *   1/ 2/ 3/ ...     the data directories of the members (server/data_directory.ts), each with config.json and log/
 */
import { createServer } from 'node:net';
import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { epoch, memberId } from '../../lib/ids.ts';
import { parseAddress } from '../../lib/address.ts';
import { makeDirectories } from '../../lib/make_directories.ts';
import { describeCluster, loadCluster, MAX_MEMBERS, type Cluster } from '../../server/config.ts';
import { DataDirectoryError, format, inspect, newClusterId, VERSION_NAME } from '../../server/data_directory.ts';
import { GONE } from '../../server/lost_member.ts';
import { makeDirectoriesDurably, syncDirectory } from '../../server/directories.ts';
import { DirectoryLockedError, lockDirectory, lockHolder, LOCK_NAME, type ProcessLock } from '../../server/process_lock.ts';
import { configuration, type Durability, type Member } from '../../vr/configuration.ts';
import { EnvironmentError } from '../failure.ts';

export interface GroupRequest {
  readonly data: string;
  /** Undefined: as the group was made; of a new one three, 7101, 7201, disk. */
  readonly replicas?: number;
  readonly port?: number;
  readonly httpPort?: number;
  readonly durability?: Durability;
}

export interface Group {
  readonly root: string;
  readonly cluster: Cluster;
  /** By id. */
  readonly members: readonly Member[];
  readonly created: boolean;
  /** Held while the group is run from here: two at once would format over each other. */
  readonly lock: ProcessLock;
}

export const CLUSTER_NAME = 'cluster.json';
export const FORMATTED_NAME = 'FORMATTED';
const HOST = '127.0.0.1';
const DEFAULTS = { replicas: 3, port: 7101, httpPort: 7201, durability: 'disk' } as const;
const CHANGED = 'A group of which a member has left is run with "vrfs serve" for each member, and no longer by "vrfs start"';
/** How long replicas of an earlier start may take to end. */
const LOCK_WAIT_MS = 8000;
const LOCK_POLL_MS = 100;

export function memberDirectory(root: string, id: number): string {
  return join(root, String(id));
}

/** Opens the group in `data`, or makes one there. @throws EnvironmentError, DataDirectoryError, ConfigError: each names the remedy */
export async function openGroup(request: GroupRequest): Promise<Group> {
  const root = resolve(request.data);
  await refuseForeign(root, await names(root));
  await makeDirectoriesDurably(root);
  const lock = await lockGroup(root);
  try {
    return await openLocked(root, request, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function refuseForeign(root: string, found: readonly string[]): Promise<void> {
  if (found.includes(CLUSTER_NAME) || found.every((n) => n.startsWith('.') || n.startsWith(LOCK_NAME))) return;
  const members = await membersIn(root, found);
  if (members.length > 0) {
    throw new EnvironmentError(`${root} holds the members ${members.join(', ')} of a group, and no ${CLUSTER_NAME}`,
      `put ${CLUSTER_NAME} back from where it went. If it is lost, the members do not need it, only 'vrfs start' does: run each, in a terminal of its own: ${members.map((id) => `vrfs serve --data ${memberDirectory(root, id)}`).join('; ')}`);
  }
  throw new EnvironmentError(`${root} holds other files (${found.slice(0, 3).join(', ')}) and no ${CLUSTER_NAME}`, 'give an empty or a new directory: --data <directory>');
}

/** The data directories in it that have the name of a member. */
async function membersIn(root: string, found: readonly string[]): Promise<number[]> {
  const members: number[] = [];
  for (const name of found.filter((n) => /^\d{1,10}$/.test(n))) {
    if (await isThere(join(root, name, VERSION_NAME))) members.push(Number(name));
  }
  return members.sort((a, b) => a - b);
}

/** False also where what should be a directory on the way is a file, or a link that leads nowhere. */
async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(String(error.code))) return false;
    throw error;
  }
}

export async function lockGroup(root: string): Promise<ProcessLock> {
  try {
    return await lockDirectory(root);
  } catch (error) {
    if (!(error instanceof DirectoryLockedError)) throw error;
    throw new EnvironmentError(`the group in ${root} is run by another 'vrfs start', pid ${error.pid}`, `it serves: vrfs status. To start the group anew stop that one first: kill ${error.pid}`, { cause: error });
  }
}

async function openLocked(root: string, request: GroupRequest, lock: ProcessLock): Promise<Group> {
  const found = await names(root);
  const existing = found.includes(CLUSTER_NAME);
  const cluster = existing ? await loadCluster(join(root, CLUSTER_NAME)) : newCluster(request);
  const members = [...cluster.configuration.members].sort((a, b) => a.id - b.id);
  if (existing) checkRequest(root, request, cluster, members);
  const group = { root, cluster, members, created: !found.includes(FORMATTED_NAME), lock };
  if (group.created) await checkPorts(members);
  if (!existing) await writeCluster(root, cluster);
  if (group.created) await formatMembers(group);
  else await checkMembers(group);
  return group;
}

export async function names(root: string): Promise<string[]> {
  try {
    return await readdir(root);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT') return [];
    if (code === 'ENOTDIR') throw new EnvironmentError(`${root} is not a directory`, 'give another one: --data <directory>', { cause: error });
    throw error;
  }
}

function newCluster(request: GroupRequest): Cluster {
  const replicas = request.replicas ?? DEFAULTS.replicas;
  const port = request.port ?? DEFAULTS.port;
  const httpPort = request.httpPort ?? DEFAULTS.httpPort;
  if (replicas > MAX_MEMBERS) throw new EnvironmentError(`${replicas} replicas: a group has ${MAX_MEMBERS} at most`, 'give fewer: --replicas');
  if (port + replicas > 65_536 || httpPort + replicas > 65_536) throw new EnvironmentError(`${replicas} ports from ${Math.max(port, httpPort)} on: there are none above 65535`, 'give lower ones: --port, --http-port');
  if (Math.abs(port - httpPort) < replicas) throw new EnvironmentError(`the ports ${port}.. of the replicas and ${httpPort}.. of their HTTP APIs overlap`, 'give others: --port, --http-port');
  const members = Array.from({ length: replicas }, (_, i) => ({ id: memberId(i + 1), role: 'voter' as const, address: `${HOST}:${port + i}`, httpAddress: `${HOST}:${httpPort + i}` }));
  return { clusterId: newClusterId(), configuration: configuration(epoch(0), members, request.durability ?? DEFAULTS.durability) };
}

/** What was asked for has to be what the group is: its members and addresses are part of what the replicas agreed on. */
function checkRequest(root: string, request: GroupRequest, cluster: Cluster, members: readonly Member[]): void {
  const { durability } = cluster.configuration;
  const first = members[0];
  const differs = (option: string, wanted: string, is: string): never => {
    throw new EnvironmentError(`the group in ${root} was made with ${option} ${is}, not ${wanted}`, `leave the option away, or make another group: --data <new directory>`);
  };
  if (request.replicas !== undefined && request.replicas !== members.length) differs('--replicas', String(request.replicas), String(members.length));
  if (request.durability !== undefined && request.durability !== durability) differs('--durability', request.durability, durability);
  const port = portOf(first?.address ?? '');
  if (request.port !== undefined && request.port !== port) differs('--port', String(request.port), String(port));
  const httpPort = portOf(first?.httpAddress ?? '');
  if (request.httpPort !== undefined && request.httpPort !== httpPort) differs('--http-port', String(request.httpPort), String(httpPort));
}

function portOf(address: string): number {
  const parsed = parseAddress(address);
  return parsed.ok ? parsed.value.port : 0;
}

async function writeCluster(root: string, cluster: Cluster): Promise<void> {
  await writeDurably(root, CLUSTER_NAME, describeCluster(cluster));
}

/** Whole or not at all, also when the power fails: by this file the next start knows the group. */
async function writeDurably(root: string, name: string, text: string): Promise<void> {
  const aside = join(root, `.${name}`);
  await writeFile(aside, text, { flush: true });
  await rename(aside, join(root, name));
  await syncDirectory(root);
}

/** An interrupted one is taken up again: nothing was served yet, so what is missing was never there. */
async function formatMembers(group: Group): Promise<void> {
  const { root, cluster, members } = group;
  for (const { id } of members) {
    const directory = memberDirectory(root, id);
    if ((await names(directory)).length > 0) await checkMember(group, id);
    else await format({ directory, clusterId: cluster.clusterId, memberId: id, configuration: cluster.configuration });
  }
  await writeDurably(root, FORMATTED_NAME, 'All members of cluster.json have been formatted.\n');
}

async function checkMember(group: Group, id: number): Promise<number> {
  const directory = memberDirectory(group.root, id);
  const found = await inspectMember(group, id);
  if (found.revivedFrom?.clusterId === group.cluster.clusterId.toString('hex')) {
    throw new EnvironmentError(`a revival of the group in ${group.root} was interrupted: ${directory} is of the revived group already`, `finish it, by the same command again: vrfs revive --group ${group.root} --accept-loss`);
  }
  if (!found.clusterId.equals(group.cluster.clusterId)) {
    throw new EnvironmentError(`${directory} belongs to group ${found.clusterId.toString('hex')}, and ${group.root} is group ${group.cluster.clusterId.toString('hex')}`, 'put the directory of this group back, or give another --data');
  }
  if (found.memberId !== id) throw new EnvironmentError(`${directory} belongs to member ${found.memberId}`, `put the directories back under the names of their members`);
  return found.superblock.incarnation;
}

/** A member that has gone is not to be formatted: the group has been running with it. */
async function inspectMember(group: Group, id: number): ReturnType<typeof inspect> {
  const directory = memberDirectory(group.root, id);
  try {
    return await inspect(directory);
  } catch (error) {
    if (!(error instanceof DataDirectoryError) || (error.code !== 'missing' && error.code !== 'empty')) throw error;
    const others = group.members.filter((m) => m.id !== id).map((m) => `vrfs serve --config ${join(memberDirectory(group.root, m.id), 'config.json')}`);
    const without = others.length === 0 ? '' : `\n  To go on without it, run the others, each in a terminal of its own: ${others.join('; ')}`;
    throw new EnvironmentError(`the data directory of replica ${id}, ${directory}, ${error.code === 'missing' ? 'is not there any more' : 'is empty'}`, `${GONE}. ${CHANGED}${without}`, { cause: error });
  }
}

/**
 * cluster.json says who the members were when the group was made. Where one of those has left since, running them would run a part of the group, and whoever came in
 * its place not at all; before anything else is said, since its directory may have gone. Members that were added are run where they are.
 */
async function refuseChanged({ root, cluster, members }: Group): Promise<void> {
  const found = [];
  for (const { id } of members) {
    const inspected = await inspectIfThere(memberDirectory(root, id));
    if (inspected?.clusterId.equals(cluster.clusterId) === true) found.push(inspected.superblock.configuration);
  }
  const newest = found.sort((a, b) => b.epoch - a.epoch)[0];
  if (newest === undefined || members.every((m) => newest.members.some((n) => n.id === m.id && n.address === m.address))) return;
  const here = members.filter((m) => newest.members.some((n) => n.id === m.id)).map((m) => `vrfs serve --config ${join(memberDirectory(root, m.id), 'config.json')}`);
  throw new EnvironmentError(
    `the members of the group in ${root} were changed: they are ${addressesOf(newest.members)} since epoch ${newest.epoch}, and ${CLUSTER_NAME} names ${addressesOf(members)}`,
    `run each member with "vrfs serve" (as a service, for example), and no longer with "vrfs start".${here.length === 0 ? '' : ` Those here: ${here.join('; ')}`}`,
  );
}

/** Null: it has gone, which is said later. */
async function inspectIfThere(directory: string): Promise<Awaited<ReturnType<typeof inspect>> | null> {
  try {
    return await inspect(directory);
  } catch (error) {
    if (error instanceof DataDirectoryError && (error.code === 'missing' || error.code === 'empty')) return null;
    throw error;
  }
}

function addressesOf(members: readonly Member[]): string {
  return [...members].sort((a, b) => a.id - b.id).map((m) => `${m.id} (${m.address})`).join(', ');
}

async function checkMembers(group: Group): Promise<void> {
  await waitForLocks(group);
  await refuseChanged(group);
  const incarnations: number[] = [];
  for (const { id } of group.members) incarnations.push(await checkMember(group, id));
  if (group.cluster.configuration.durability === 'memory' && incarnations.some((n) => n > 0)) {
    throw new EnvironmentError(
      `the group in ${group.root} ran with --durability memory and all its replicas have stopped: what it acknowledged after its newest checkpoint was in their memory and is gone`,
      `go on from that checkpoint: vrfs revive --group ${group.root} says which one that is and what is lost, and changes nothing (with --durability disk a group outlives this)`,
    );
  }
  await checkPorts(group.members);
}

/** Replicas of a start that was killed notice it and end; that takes a moment. */
async function waitForLocks(group: Group): Promise<void> {
  const end = Date.now() + LOCK_WAIT_MS;
  for (const { id } of group.members) {
    const directory = memberDirectory(group.root, id);
    for (let pid = await lockHolder(directory); pid !== null; pid = await lockHolder(directory)) {
      if (Date.now() > end) throw new EnvironmentError(`replica ${id} is running already, with pid ${pid}`, `it serves: vrfs status. To start the group anew stop that process first: kill ${pid}`);
      await new Promise((r) => setTimeout(r, LOCK_POLL_MS));
    }
  }
}

/** Before anything is started, so that a port in use is one clear error and not half a group. */
async function checkPorts(members: readonly Member[]): Promise<void> {
  for (const m of members) {
    await checkPort(m.address, `of replica ${m.id}`, '--port');
    await checkPort(m.httpAddress, `of the HTTP API of replica ${m.id}`, '--http-port');
  }
}

function checkPort(address: string, whose: string, option: string): Promise<void> {
  const parsed = parseAddress(address);
  if (!parsed.ok) throw new EnvironmentError(parsed.reason, `correct ${CLUSTER_NAME}`);
  const { host, port } = parsed.value;
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what = error.code === 'EADDRINUSE' ? 'is in use by another process' : `cannot be had (${error.message})`;
      reject(new EnvironmentError(`port ${port} ${whose} ${what}`, `stop that process (ss -ltnp 'sport = :${port}'), or make a group elsewhere: ${option} <port> --data <new directory>`, { cause: error }));
    });
    server.listen({ host, port, exclusive: true }, () => { server.close(() => { resolve(); }); });
  });
}

const MAX_LOG_BYTES = 16 << 20;

/** The log of a member or of the mount; what an earlier start left is put aside once it is long. */
export async function logFile(directory: string, name: string): Promise<string> {
  const folder = join(directory, 'log');
  makeDirectories(folder);
  const file = join(folder, name);
  try {
    if ((await stat(file)).size > MAX_LOG_BYTES) await rename(file, `${file}.old`);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  return file;
}

/** The configuration of a member's process, written anew at each start. */
export async function writeMemberConfig(group: Group, id: number, settings: Readonly<Record<string, unknown>>): Promise<string> {
  const directory = memberDirectory(group.root, id);
  const file = join(directory, 'config.json');
  const aside = `${file}.new`;
  await rm(aside, { force: true });
  const all = { data: directory, memberId: id, clusterId: group.cluster.clusterId.toString('hex'), durability: group.cluster.configuration.durability, ...settings };
  await writeFile(aside, `${JSON.stringify(all, null, 2)}\n`);
  await rename(aside, file);
  return file;
}

/** The last lines of a log, for an error message. */
export async function logTail(file: string, lines: number): Promise<string> {
  const text = await readFile(file, 'utf8');
  return text.trimEnd().split('\n').slice(-lines).join('\n');
}
