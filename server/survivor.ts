/**
 * Makes the data directory of one member, whose majority will never come back, that of a group of its own (vr/survivor.ts). What it has in its records and in
 * its journal is kept; what may be done is decided by `planSurvivor`, which is pure.
 */
import { randomBytes } from 'node:crypto';
import { RecordStore } from '../checkpoint/record_store.ts';
import { encodeExtra } from '../lib/checkpoint_extra.ts';
import { digestToHex } from '../lib/hash.ts';
import { laterOf, type OpNumber, type View } from '../lib/ids.ts';
import { isMember, memberOf, type Configuration, type Member } from '../vr/configuration.ts';
import { CONFIGURATION_KEY, encodeBeginning } from '../vr/configuration_record.ts';
import type { Entry } from '../vr/entry.ts';
import { beginningOf } from '../vr/reconfiguration_body.ts';
import type { CheckpointId, Superblock } from '../vr/superblock.ts';
import { newestConfiguration, soleMemberEntry, survivorClusterId, survivorSuperblock, upToRemoval } from '../vr/survivor.ts';
import { DATA_FORMAT, DATA_VERSION, layout } from './data_directory.ts';
import { holdingOf, type HeldCheckpoint, type Holding } from './holding.ts';
import { formatJournalWith } from './journal.ts';
import { hashAt, scanJournal, type ScanResult, type SegmentBytes } from './journal_scan.ts';
import { replaceContents, syncFiles, type BeforeStep } from './revival_files.ts';
import { RevivalRefusedError } from './revival_refused.ts';
import { copyVerified, locked } from './revive.ts';
import { readSegments } from './segment_files.ts';

export interface SurvivorPlan {
  readonly own: Holding;
  readonly checkpoint: HeldCheckpoint;
  /** Of the journal behind the checkpoint; none with durability memory. */
  readonly entries: readonly Entry[];
  /** The last operation that is kept. */
  readonly last: { readonly op: OpNumber; readonly time: number };
  /** The view in which its log was last the group's (v'): between two logs the one with the higher is the newer, whatever their op-numbers. Null: with durability memory there is no log. */
  readonly logView: View | null;
  /** Why it keeps less than was written to its journal, in words; empty: it keeps all. */
  readonly damage: readonly string[];
  readonly member: Member;
  /** Who are members no longer. */
  readonly lost: readonly Member[];
  /** Makes it the only member. */
  readonly change: Entry;
}

/** One that was carried out. */
export interface Survivor extends SurvivorPlan {
  /** Of the new group, 16 bytes. */
  readonly clusterId: Buffer;
}

/** What a journal holds behind a checkpoint. */
export interface FoundLog {
  readonly entries: readonly Entry[];
  readonly logView: View;
  /** Why there is less than was written, in words. */
  readonly damage: readonly string[];
}

/**
 * @param log null: there is none, by durability memory
 * @throws RevivalRefusedError
 */
export function planSurvivor(own: Holding, log: FoundLog | null): SurvivorPlan {
  const { directory, superblock, checkpoint, memberId } = own;
  if (superblock.retired) throw new RevivalRefusedError(`member ${memberId} in ${directory} has left the group for good`, 'use a member that the group has');
  if (isAlone(superblock.configuration, memberId)) throw new RevivalRefusedError(`member ${memberId} in ${directory} is the only member of its group already`, `start it: vrfs serve --data ${directory}`);
  if (superblock.incarnation === 0) throw new RevivalRefusedError(`the member in ${directory} has never run, so nothing of it is lost`, `start it: vrfs serve --data ${directory}`);
  if (checkpoint === null) throw new RevivalRefusedError(`${directory} holds no checkpoint: ${own.without ?? ''}`, 'use another member, or a copy of its data directory');
  const found = log?.entries ?? [];
  const entries = upToRemoval(found, memberId);
  const damage = [...(log?.damage ?? []), ...(entries.length < found.length ? [`op ${checkpoint.id.op + entries.length + 1} removes this member: it and what is behind it are left out`] : [])];
  const present = newestConfiguration([superblock.configuration, checkpoint.at.configuration], entries);
  const member = memberOf(present, memberId);
  if (member === undefined) throw new RevivalRefusedError(`member ${memberId} in ${directory} is no member of the group any more: ${present.members.map((m) => `${m.id} (${m.address})`).join(', ')} are`, 'use one of those');
  const { op, time } = entries.at(-1) ?? checkpoint.id;
  return {
    own, checkpoint, entries, last: { op, time }, logView: log?.logView ?? null, damage, member, lost: present.members.filter((m) => m.id !== memberId),
    change: soleMemberEntry(checkpoint.id, entries, present, member),
  };
}

function isAlone(configuration: Configuration, id: Holding['memberId']): boolean {
  return configuration.members.length === 1 && isMember(configuration, id);
}

/**
 * All that can be read behind the checkpoint without a gap. Where something is damaged a start goes on behind it, with what a later segment says of the log, for others have
 * what is missing; here the good part before the damage is what there is.
 */
export function findLog(segments: readonly SegmentBytes[], { superblock, clusterId, memberId }: Holding, { op, entryHash }: CheckpointId): FoundLog {
  const scan = (count: number): ScanResult => scanJournal(segments.slice(0, count), { clusterId, memberId }, superblock.checkpoint);
  const whole = scan(segments.length);
  for (let count = segments.length; count > 0; count--) {
    const found = count === segments.length ? whole : scan(count);
    if (hashAt(found, op) !== entryHash) continue;
    const entries = found.entries.slice(op - found.base);
    if (count === segments.length && found.certain) return { entries, logView: logViewOf(superblock, found), damage: [] };
    const damage = whole.damage.length > 0 ? whole.damage : ['its end is not certain, so it may have operations that were replaced by others'];
    return { entries, logView: found.certain ? logViewOf(superblock, found) : found.logView, damage };
  }
  return { entries: [], logView: whole.logView, damage: [...whole.damage, 'it has nothing that continues the checkpoint'] };
}

/** An epoch begins without a word in the journal. */
function logViewOf(superblock: Superblock, { logView }: ScanResult): View {
  return laterOf(superblock.logView, logView);
}

/** What would be done. Changes nothing. Rejects with RevivalRefusedError, as `holdingOf` does, and with the errors of the disk. */
export async function proposeSurvivor(directory: string): Promise<SurvivorPlan> {
  const own = await holdingOf(directory, 'look');
  return planSurvivor(own, await logOf(own));
}

/** Does it, or finishes what was interrupted ('finished'). Rejects as `proposeSurvivor` does; then the directory is as it was, or says that the same command has to be run again. */
export async function goOnAlone(directory: string, before: BeforeStep = () => undefined): Promise<Survivor | 'finished'> {
  return await locked(directory, before, async (own) => {
    const plan = planSurvivor(own, await logOf(own));
    return { ...plan, clusterId: await become(plan, before) };
  });
}

async function logOf(own: Holding): Promise<FoundLog | null> {
  if (own.superblock.configuration.durability === 'memory' || own.checkpoint === null) return null;
  return findLog(await segmentsOf(layout(own.directory).journal), own, own.checkpoint.id);
}

/** None where the journal is gone. */
async function segmentsOf(journal: string): Promise<SegmentBytes[]> {
  try {
    return await readSegments(journal);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    if (code !== 'EIO') throw error;
    throw new RevivalRefusedError(`the disk cannot read the journal ${journal} (${message})`, 'copy the segments that can be read to a directory of that name on another disk; what cannot be read is left out', { cause: error });
  }
}

/** Returns the id of the new group. */
async function become(plan: SurvivorPlan, before: BeforeStep): Promise<Buffer> {
  const { own, checkpoint, entries, change } = plan;
  const { root } = layout(own.directory);
  const beginning = beginningOf(change);
  const instance = randomBytes(16);
  const clusterId = survivorClusterId(own.clusterId, change, instance);
  const member = { clusterId, memberId: own.memberId, instance };
  const inMemory = beginning.configuration.durability === 'memory';
  // With durability memory there is no log for it to go on from: it begins at a checkpoint that has the change.
  let beginsAt = checkpoint.id;
  await replaceContents(root, {
    version: {
      format: DATA_FORMAT, version: DATA_VERSION, clusterId: clusterId.toString('hex'), memberId: own.memberId,
      revivedFrom: { clusterId: own.clusterId.toString('hex'), op: plan.last.op, root: digestToHex(checkpoint.id.root) },
    },
    superblock: () => survivorSuperblock(member, beginsAt, beginning),
    records: inMemory ? async (to) => {
      await copyVerified(root, to, checkpoint);
      beginsAt = await checkpointOf(to, change);
    } : null,
    journal: inMemory ? null : (to) => formatJournalWith(to, { clusterId, memberId: own.memberId }, {
      base: checkpoint.id.op, baseHash: checkpoint.id.entryHash, logView: beginning.start.view, entries: [...entries, change],
    }),
  }, before);
  return clusterId;
}

/** Executes the change: the state's record of its members is all that it concerns. */
async function checkpointOf(records: string, change: Entry): Promise<CheckpointId> {
  const store = await RecordStore.open({ directory: records });
  try {
    store.put(CONFIGURATION_KEY, encodeBeginning(beginningOf(change)));
    const at = { entryHash: change.hash, view: change.view, time: change.time };
    const { root } = await store.take(change.op, encodeExtra(at));
    return { op: change.op, root, ...at };
  } finally {
    await store.close();
    await syncFiles(records);
  }
}
