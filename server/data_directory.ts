/**
 * The directory of one replica:
 *
 *   VERSION              what this is: format, version, group, member (JSON); without it nothing here is ours
 *   LOCK                 the process that has it open
 *   superblock-a, -b     the two copies of the superblock
 *   journal/             segments of the log (durability 'disk')
 *   records/             the record table and its Merkle tree (LevelDB)
 *   peers.json           with which data directory each other member came first (peer_pins.ts)
 *   reviving/            what a revival that was interrupted has still to put in place (revival_files.ts)
 *
 * It is made whole by `format`, in one rename, and never by starting: an empty data directory is never taken for a fresh start.
 */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { ZERO_DIGEST } from '../lib/hash.ts';
import { memberId as memberIdOf, opNumber, view, type MemberId } from '../lib/ids.ts';
import { RecordStore } from '../checkpoint/record_store.ts';
import { formatNamespace } from '../fsservice/records.ts';
import { isMember, memberOf, type Configuration } from '../vr/configuration.ts';
import type { CheckpointId, Superblock } from '../vr/superblock.ts';
import { encodeExtra } from '../lib/checkpoint_extra.ts';
import { formatJournal } from './journal.ts';
import { GONE } from './lost_member.ts';
import { lockDirectory, type ProcessLock } from './process_lock.ts';
import { makeDirectoriesDurably, syncDirectory } from './directories.ts';
import { formatSuperblock, readSuperblock } from './superblock_file.ts';

export const DATA_FORMAT = 'vrfs-data';
/** 2: checksums of nodes in records/; views with their epoch in journal and superblock. */
export const DATA_VERSION = 2;
export const VERSION_NAME = 'VERSION';
/** While this folder is there, the directory is partly one thing and partly another. */
export const REVIVING_NAME = 'reviving';

/** The directory cannot be used as it is; the message says why and what to do. */
export class DataDirectoryError extends Error {
  override readonly name = 'DataDirectoryError';
  readonly code: 'missing' | 'empty' | 'notOurs' | 'newer' | 'older' | 'otherGroup' | 'otherMember' | 'left' | 'notEmpty' | 'unfinished' | 'damaged';

  constructor(code: DataDirectoryError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const hex = (digits: number): z.ZodString => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));

const Lineage = z.object({ clusterId: hex(32), op: z.number().int().nonnegative(), root: hex(64) });
/** What a revived group goes on from: a checkpoint of another group. Digits in hexadecimal. */
export type Lineage = z.infer<typeof Lineage>;

const Version = z.object({
  format: z.literal(DATA_FORMAT),
  version: z.number().int().positive(),
  clusterId: hex(32),
  memberId: z.number().int().positive(),
  address: z.string().optional(),
  httpAddress: z.string().optional(),
  revivedFrom: Lineage.optional(),
});
export type Version = z.infer<typeof Version>;

export interface Layout {
  readonly root: string;
  readonly journal: string;
  readonly records: string;
}

export function layout(directory: string): Layout {
  const root = resolve(directory);
  return { root, journal: join(root, 'journal'), records: join(root, 'records') };
}

export function newClusterId(): Buffer {
  return randomBytes(16);
}

export interface FormatOptions {
  readonly directory: string;
  /** 16 bytes, the same for all members of the group. */
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
  readonly configuration: Configuration;
  /** A node that is to join the group, as no member yet: where it will be found. */
  readonly joining?: NodeAddresses;
}

export interface NodeAddresses {
  /** `host:port`, as in Member. */
  readonly address: string;
  readonly httpAddress: string;
}

/** Null: there is no such directory. */
async function contents(directory: string): Promise<string[] | null> {
  try {
    return await readdir(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    if (code === 'ENOTDIR') throw new DataDirectoryError('notOurs', `${directory} is not a directory; give another path (--data)`);
    throw error;
  }
}

/**
 * Makes the data directory of a member of a new group, at the checkpoint of op 0: an empty namespace. The directory may be absent
 * or empty. A format that was interrupted leaves nothing under this name. Rejects with DataDirectoryError.
 */
export async function format(options: FormatOptions): Promise<void> {
  const { root } = layout(options.directory);
  if (options.joining === undefined && !isMember(options.configuration, options.memberId)) {
    throw new DataDirectoryError('otherMember', `member ${options.memberId} is not in the configuration that the directory is formatted for`);
  }
  const found = await contents(root);
  if (found !== null && found.length > 0) {
    throw new DataDirectoryError('notEmpty', `${root} is not empty; nothing was changed. To format a new replica give an empty or a new directory`);
  }
  const making = layout(join(dirname(root), `.${basename(root)}.formatting`));
  await rm(making.root, { recursive: true, force: true });
  await makeDirectoriesDurably(making.root, 0o700);
  const checkpoint = await formatRecords(making.records);
  const identity = { clusterId: options.clusterId, memberId: options.memberId };
  if (options.configuration.durability === 'disk') {
    await formatJournal(making.journal, identity, { certain: true, logView: view(0), headOp: opNumber(0), headHash: ZERO_DIGEST });
  }
  const zero = { view: view(0), promisedView: view(0), logView: view(0) };
  await formatSuperblock(making.root, { ...identity, instance: randomBytes(16), configuration: options.configuration, epochStart: null, heldByAll: opNumber(0), leaseMs: 0, incarnation: 0, ...zero, checkpoint, retired: false });
  await writeVersion(making.root, { format: DATA_FORMAT, version: DATA_VERSION, clusterId: options.clusterId.toString('hex'), memberId: options.memberId, ...options.joining });
  await rename(making.root, root);
  await syncDirectory(dirname(root));
}

async function formatRecords(directory: string): Promise<CheckpointId> {
  const at = { op: opNumber(0), entryHash: ZERO_DIGEST, view: view(0), time: 0 };
  const store = await RecordStore.open({ directory });
  try {
    formatNamespace(store);
    const { root } = await store.take(at.op, encodeExtra(at));
    return { ...at, root };
  } finally {
    await store.close();
  }
}

/** A new file, durably. */
export async function writeVersion(root: string, version: Version): Promise<void> {
  const handle = await open(join(root, VERSION_NAME), 'wx', 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(version, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await syncDirectory(root);
}

/** Throws DataDirectoryError unless `root` is a data directory of a version that this program reads. */
export async function readVersion(root: string): Promise<Version> {
  const found = await contents(root);
  if (found === null) {
    throw new DataDirectoryError('missing', `there is no data directory ${root}; give the right path (--data). If it was a member of a group and has gone: ${GONE}. Only of a new group that has never run is it made with "vrfs format"`);
  }
  if (found.length === 0) {
    throw new DataDirectoryError('empty',
      `the data directory ${root} is empty, and an empty directory is never taken for a fresh start: a replica that has lost its data must not vote. ` +
      `Is its file system mounted? To join a group with it: --join <host:port of a member>. If it was a member of a group: ${GONE}. Only of a new group that has never run is it made with "vrfs format"`);
  }
  if (found.includes(REVIVING_NAME)) {
    throw new DataDirectoryError('unfinished', `a revival of ${root} was interrupted. Finish it, by the same command again: vrfs revive --data ${root} --accept-loss (of a group that "vrfs start" runs: vrfs revive --group ${dirname(root)} --accept-loss)`);
  }
  if (!found.includes(VERSION_NAME)) {
    throw new DataDirectoryError('notOurs', `${root} has no file ${VERSION_NAME}, so it is not a data directory of vrfs; give another path (--data)`);
  }
  return parseVersion(root, await readFile(join(root, VERSION_NAME), 'utf8'));
}

function parseVersion(root: string, text: string): Version {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new DataDirectoryError('notOurs', `${join(root, VERSION_NAME)} is not JSON (${(error as Error).message}), so ${root} is not taken for a data directory of vrfs: give another path (--data), or put the file back as it was; it never changes`);
  }
  const newer = z.object({ format: z.literal(DATA_FORMAT), version: z.number().gt(DATA_VERSION) }).safeParse(json);
  if (newer.success) {
    throw new DataDirectoryError('newer', `${root} was written in format version ${newer.data.version}; this program reads version ${DATA_VERSION}: use a newer vrfs`);
  }
  const older = z.object({ format: z.literal(DATA_FORMAT), version: z.number().lt(DATA_VERSION) }).safeParse(json);
  if (older.success) {
    throw new DataDirectoryError('older', `${root} was written in format version ${older.data.version}; this program reads version ${DATA_VERSION}, and nothing was changed: run that group with the vrfs that it was made with, make a new one (vrfs new-cluster) with this one, and copy the files from mount to mount`);
  }
  const parsed = Version.safeParse(json);
  if (!parsed.success) {
    const wrong = [...new Set(parsed.error.issues.map((issue) => issue.path.join('.')))].filter((key) => key !== '').join(', ');
    throw new DataDirectoryError('notOurs', `${join(root, VERSION_NAME)} does not describe a data directory of vrfs${wrong === '' ? '' : ` (missing or wrong: ${wrong})`}: give another path (--data), or put the file back as it was; it never changes`);
  }
  return parsed.data;
}

export interface DataDirectory extends Layout {
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
  /** Where this node is to be found. */
  readonly addresses: NodeAddresses;
  readonly superblock: Superblock;
  /** Of the copy of the superblock that was read. */
  readonly superblockSequence: number;
  /** What was wrong and could be got over. */
  readonly warnings: readonly string[];
  /** Releases the lock. */
  close(): Promise<void>;
}

export interface OpenExpectation {
  /** 16 bytes; refused when the directory is another group's. */
  readonly clusterId?: Buffer;
  readonly memberId?: number;
}

export interface Inspected {
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
  readonly superblock: Superblock;
  /** Where this node is to be found; empty when it has left its group. */
  readonly addresses: NodeAddresses;
  /** Null: its group was formatted. */
  readonly revivedFrom: Lineage | null;
}

/** What a directory is, without opening it. Rejects with DataDirectoryError as `openDataDirectory` does. */
export async function inspect(directory: string): Promise<Inspected> {
  const { root } = layout(directory);
  const version = await readVersion(root);
  const { superblock } = await readSuperblock(root);
  return { clusterId: Buffer.from(version.clusterId, 'hex'), memberId: memberIdOf(version.memberId), superblock, addresses: addressesOf(superblock, version), revivedFrom: version.revivedFrom ?? null };
}

/**
 * Locks the directory for this process and reads its superblock. Rejects with DataDirectoryError, DirectoryLockedError or SuperblockDamagedError.
 */
export async function openDataDirectory(directory: string, expected: OpenExpectation = {}): Promise<DataDirectory> {
  const where = layout(directory);
  await expectVersion(where.root, expected);
  const lock = await lockDirectory(where.root);
  try {
    // Again: whoever had it until now may have made something else of it.
    return await readLocked(where, await expectVersion(where.root, expected), lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function expectVersion(root: string, expected: OpenExpectation): Promise<Version> {
  const version = await readVersion(root);
  if (expected.clusterId !== undefined && expected.clusterId.toString('hex') !== version.clusterId) {
    throw new DataDirectoryError('otherGroup', `${root} belongs to group ${version.clusterId}, not to ${expected.clusterId.toString('hex')}; give the directory of this group (--data)`);
  }
  if (expected.memberId !== undefined && expected.memberId !== version.memberId) {
    throw new DataDirectoryError('otherMember', `${root} belongs to member ${version.memberId}, not to member ${expected.memberId}; give the directory of this member (--data)`);
  }
  return version;
}

/** As a member, or as it was told when it was made to join. */
function addressesOf(superblock: Superblock, version: Version): NodeAddresses {
  const member = memberOf(superblock.configuration, superblock.memberId);
  if (member !== undefined) return { address: member.address, httpAddress: member.httpAddress };
  // It is refused where it is to be started, in words of its own.
  if (superblock.retired) return { address: '', httpAddress: '' };
  const { address, httpAddress } = version;
  if (address === undefined || httpAddress === undefined) {
    throw new DataDirectoryError('otherMember', `member ${superblock.memberId} is not in its own configuration: it has left the group, or its files are another's`);
  }
  return { address, httpAddress };
}

async function readLocked(where: Layout, version: Version, lock: ProcessLock): Promise<DataDirectory> {
  const { superblock, sequence, warnings } = await readSuperblock(where.root);
  if (superblock.clusterId.toString('hex') !== version.clusterId || superblock.memberId !== version.memberId) {
    throw new DataDirectoryError('otherMember', `the superblock in ${where.root} is member ${superblock.memberId}'s of group ${superblock.clusterId.toString('hex')}, the file ${VERSION_NAME} says otherwise: files of two replicas have been mixed`);
  }
  return {
    ...where, clusterId: superblock.clusterId, memberId: superblock.memberId, addresses: addressesOf(superblock, version), superblock, superblockSequence: sequence, warnings,
    close: () => lock.release(),
  };
}
