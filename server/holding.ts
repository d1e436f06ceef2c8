/**
 * What the data directory of a stopped member still has of its group: its newest checkpoint, wholly verified, or why there is none to go on
 * from. In memory mode that is all that is left when too many members have stopped at once.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examineRecords, type Examination } from '../checkpoint/examine.ts';
import { StoreOpenError } from '../checkpoint/key_value_store.ts';
import { digestToHex } from '../lib/hash.ts';
import type { Digest, MemberId } from '../lib/ids.ts';
import { isMember, memberOf } from '../vr/configuration.ts';
import { CONFIGURATION_KEY } from '../vr/configuration_record.ts';
import { membersAt, type MembersAt } from '../vr/revival.ts';
import type { CheckpointId, Superblock } from '../vr/superblock.ts';
import { checkpointId } from './checkpoint_port.ts';
import { inspect, layout, VERSION_NAME, type Lineage } from './data_directory.ts';
import { borrowRecords } from './revival_files.ts';
import { DirectoryLockedError, lockHolder } from './process_lock.ts';

export interface HeldCheckpoint {
  readonly id: CheckpointId;
  /** Whose group it was then. */
  readonly at: MembersAt;
  readonly records: number;
  /** Of keys and values. */
  readonly bytes: number;
  /** Milliseconds since 1970: when the directory was made, by the file system. */
  readonly madeAt: number;
}

export interface Holding {
  readonly directory: string;
  readonly clusterId: Buffer;
  readonly memberId: MemberId;
  readonly superblock: Superblock;
  readonly revivedFrom: Lineage | null;
  readonly checkpoint: HeldCheckpoint | null;
  /** Why there is no checkpoint, in words that follow "it holds none: "; null when there is one. */
  readonly without: string | null;
}

/**
 * Reads all of it. `look`: without changing a file, through a second directory beside the records, which `borrow` fills; otherwise in place, by who holds the lock.
 * Rejects with DataDirectoryError, SuperblockDamagedError, StoreOpenError, and, when it only looks, with DirectoryLockedError.
 */
export async function holdingOf(directory: string, how: 'look' | 'in place', borrow: typeof borrowRecords = borrowRecords): Promise<Holding> {
  const { root, records } = layout(directory);
  if (how === 'look') await refuseInUse(root);
  const { clusterId, memberId, superblock, revivedFrom } = await inspect(root);
  const common = { directory: root, clusterId, memberId, superblock, revivedFrom };
  const excluded = noSource(superblock);
  if (excluded !== null) return { ...common, checkpoint: null, without: excluded };
  const found = how === 'look' ? await lookInto(records, borrow) : await examineRecords(records, [CONFIGURATION_KEY]);
  const judged = judge(found, superblock, (await stat(join(root, VERSION_NAME))).mtimeMs);
  return typeof judged === 'string' ? { ...common, checkpoint: null, without: judged } : { ...common, checkpoint: judged, without: null };
}

export async function refuseInUse(root: string): Promise<void> {
  const holder = await lockHolder(root);
  if (holder !== null) throw new DirectoryLockedError(root, holder);
}

/** Beside the records, where their tables need only be linked; where that disk takes nothing, all of them are copied to another place. */
async function lookInto(records: string, borrow: typeof borrowRecords): Promise<Examination> {
  const beside = `${records}.look-${process.pid}`;
  try {
    return await lookThrough(records, beside, borrow);
  } catch (first) {
    if (!takesNothing(first)) throw first;
    try {
      return await lookElsewhere(records, borrow);
    } catch (second) {
      throw takesNothing(second) ? bothOf(first, second) : second;
    }
  }
}

async function lookElsewhere(records: string, borrow: typeof borrowRecords): Promise<Examination> {
  const elsewhere = await mkdtemp(join(tmpdir(), 'vrfs-look-'));
  try {
    return await lookThrough(records, join(elsewhere, 'records'), borrow);
  } finally {
    await rm(elsewhere, { recursive: true, force: true });
  }
}

/** Of the kind of the first, whose remedy is one for both: then nothing has to be copied. */
function bothOf(first: NodeJS.ErrnoException | StoreOpenError, second: Error): Error {
  const told = `${first.message}; and the records cannot be copied to the folder for temporary files (TMPDIR says which): ${second.message}`;
  if (first instanceof StoreOpenError) return new StoreOpenError(first.code, told, { cause: second });
  return Object.assign(new Error(told, { cause: second }), { code: first.code }, first.path === undefined ? {} : { path: first.path });
}

/** Errors of a disk that is full, or may only be read: a look at it needs neither. */
const TAKES_NOTHING: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM']);

function takesNothing(error: unknown): error is NodeJS.ErrnoException | StoreOpenError {
  if (error instanceof StoreOpenError) return error.code === 'full' || error.code === 'denied';
  return error instanceof Error && 'code' in error && TAKES_NOTHING.has(error.code);
}

async function lookThrough(records: string, beside: string, borrow: typeof borrowRecords): Promise<Examination> {
  await rm(beside, { recursive: true, force: true });
  try {
    await borrow(records, beside);
    return await examineRecords(beside, [CONFIGURATION_KEY]);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { kind: 'none' };
    throw error;
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

function noSource({ retired, configuration, memberId }: Superblock): string | null {
  if (retired) return 'it has left the group for good';
  if (memberOf(configuration, memberId)?.role === 'witness') return 'a witness keeps no state, only the log';
  return null;
}

function judge(found: Examination, superblock: Superblock, madeAt: number): HeldCheckpoint | string {
  if (found.kind === 'none') return 'there are no records in it';
  if (found.kind === 'between') return 'its records are between two checkpoints (a transfer or a repair was interrupted), so they are no state that the group ever had';
  if (found.kind === 'damaged') return `its records are damaged: ${found.reason}`;
  // As boot.ts has it: `format` leaves an extra, a store that was made in place of a lost one has none.
  if (found.checkpoint.op === 0 && found.checkpoint.extra.length === 0) return 'there are no records in it';
  const id = checkpointId(found.checkpoint);
  const named = superblock.checkpoint;
  if (id.op < named.op || (id.op === named.op && id.root !== named.root)) {
    return `its records (op ${id.op}, root ${shortRoot(id.root)}) are not those that belong to it (op ${named.op}, root ${shortRoot(named.root)}): they are of another or an older directory`;
  }
  const at = membersAt(found.values[0], superblock);
  if (at === null) return `which members the group had at its checkpoint, op ${id.op}, is not known here: the members have changed more than once behind it, and never before`;
  if (!isMember(at.configuration, superblock.memberId) && !isMember(superblock.configuration, superblock.memberId)) return 'it was made to join the group and never became a member';
  return { id, at, records: found.checkpoint.count, bytes: found.recordBytes, madeAt };
}

/** The beginning of a root, for people. */
export function shortRoot(root: Digest): string {
  return digestToHex(root).slice(0, 12);
}
