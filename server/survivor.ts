/**
 * Makes the data directory of one member, whose majority will never come back, that of a group of its own (vr/survivor.ts). What it has in its records and in
 * its journal is kept; what may be done is decided by `planSurvivor`, which is pure.
 */
import { randomBytes } from 'node:crypto';
import { RecordStore } from '../checkpoint/record_store.ts';
import { encodeExtra } from '../lib/checkpoint_extra.ts';
import { digestToHex } from '../lib/hash.ts';
import type { OpNumber } from '../lib/ids.ts';
import { isMember, memberOf, type Configuration, type Member } from '../vr/configuration.ts';
import { CONFIGURATION_KEY, encodeBeginning } from '../vr/configuration_record.ts';
import type { Entry } from '../vr/entry.ts';
import { beginningOf } from '../vr/reconfiguration_body.ts';
import type { CheckpointId } from '../vr/superblock.ts';
import { newestConfiguration, soleMemberEntry, survivorClusterId, survivorSuperblock } from '../vr/survivor.ts';
import { DATA_FORMAT, DATA_VERSION, layout } from './data_directory.ts';
import { holdingOf, type HeldCheckpoint, type Holding } from './holding.ts';
import { formatJournalWith } from './journal.ts';
import { hashAt, scanJournal, type ScanResult } from './journal_scan.ts';
import { replaceContents, type BeforeStep } from './revival_files.ts';
import { copyVerified, locked, RevivalRefusedError } from './revive.ts';
import { readSegments } from './segment_files.ts';

export interface SurvivorPlan {
  readonly own: Holding;
  readonly checkpoint: HeldCheckpoint;
  /** Of the journal behind the checkpoint; none with durability memory. */
  readonly entries: readonly Entry[];
  /** The last operation that is kept. */
  readonly last: { readonly op: OpNumber; readonly time: number };
  /** Why the journal has less than was written to it, in words; empty: it has all. */
  readonly damage: readonly string[];
  readonly member: Member;
  /** Who are members no longer. */
  readonly lost: readonly Member[];
  /** Makes it the only member. */
  readonly change: Entry;
  /** Of the new group, 16 bytes. */
  readonly clusterId: Buffer;
}

/**
 * @param scan of the journal; null: there is none, by durability memory
 * @throws RevivalRefusedError
 */
export function planSurvivor(own: Holding, scan: ScanResult | null): SurvivorPlan {
  const { directory, superblock, checkpoint } = own;
  if (superblock.retired) throw new RevivalRefusedError(`member ${own.memberId} in ${directory} has left the group for good`, 'use a member that the group has');
  if (isAlone(superblock.configuration, own.memberId)) throw new RevivalRefusedError(`member ${own.memberId} in ${directory} is the only member of its group already`, `start it: vrfs serve --data ${directory}`);
  if (superblock.incarnation === 0) throw new RevivalRefusedError(`the member in ${directory} has never run, so nothing of it is lost`, `start it: vrfs serve --data ${directory}`);
  if (checkpoint === null) throw new RevivalRefusedError(`${directory} holds no checkpoint: ${own.without ?? ''}`, 'use another member, or a copy of its data directory');
  const connected = scan === null || hashAt(scan, checkpoint.id.op) === checkpoint.id.entryHash;
  const entries = scan === null || !connected ? [] : scan.entries.slice(checkpoint.id.op - scan.base);
  const present = newestConfiguration([superblock.configuration, checkpoint.at.configuration], entries);
  const member = memberOf(present, own.memberId);
  if (member === undefined) throw new RevivalRefusedError(`member ${own.memberId} in ${directory} is no member of the group any more: ${present.members.map((m) => `${m.id} (${m.address})`).join(', ')} are`, 'use one of those');
  const change = soleMemberEntry(checkpoint.id, entries, present, member);
  const { op, time } = entries.at(-1) ?? checkpoint.id;
  return {
    own, checkpoint, entries, last: { op, time }, damage: damageOf(scan, connected), member, lost: present.members.filter((m) => m.id !== own.memberId),
    change, clusterId: survivorClusterId(own.clusterId, change),
  };
}

function isAlone(configuration: Configuration, id: Holding['memberId']): boolean {
  return configuration.members.length === 1 && isMember(configuration, id);
}

function damageOf(scan: ScanResult | null, connected: boolean): string[] {
  if (scan === null) return [];
  const found = [...scan.damage];
  if (!connected) found.push('it does not reach back to the checkpoint');
  if (!scan.certain && found.length === 0) found.push('it was not certain of its end');
  return found;
}

/** What would be done. Changes nothing. Rejects with RevivalRefusedError, as `holdingOf` does, and with the errors of the disk. */
export async function proposeSurvivor(directory: string): Promise<SurvivorPlan> {
  const own = await holdingOf(directory, 'look');
  return planSurvivor(own, await scanOf(own));
}

/** Does it, or finishes what was interrupted ('finished'). Rejects as `proposeSurvivor` does; then the directory is as it was, or says that the same command has to be run again. */
export async function goOnAlone(directory: string, before: BeforeStep = () => undefined): Promise<SurvivorPlan | 'finished'> {
  return await locked(directory, before, async (own) => {
    const plan = planSurvivor(own, await scanOf(own));
    await become(plan, before);
    return plan;
  });
}

async function scanOf({ directory, superblock, clusterId, memberId }: Holding): Promise<ScanResult | null> {
  if (superblock.configuration.durability === 'memory') return null;
  return scanJournal(await readSegments(layout(directory).journal), { clusterId, memberId }, superblock.checkpoint);
}

async function become(plan: SurvivorPlan, before: BeforeStep): Promise<void> {
  const { own, checkpoint, entries, change, clusterId } = plan;
  const { root } = layout(own.directory);
  const beginning = beginningOf(change);
  const member = { clusterId, memberId: own.memberId, instance: randomBytes(16) };
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
  }
}
