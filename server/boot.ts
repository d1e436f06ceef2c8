/**
 * From a data directory to a BootState: what the replica starts from, and the open files behind its ports. What was
 * opened is closed again when a later step fails.
 */
import { access } from 'node:fs/promises';
import type { CheckpointInfo } from '../checkpoint/checkpoint_info.ts';
import { RecordStore } from '../checkpoint/record_store.ts';
import { view, type MemberId } from '../lib/ids.ts';
import { memberOf } from '../vr/configuration.ts';
import type { BootState } from '../vr/replica_types.ts';
import type { CheckpointId } from '../vr/superblock.ts';
import { checkpointId } from './checkpoint_port.ts';
import type { ServerConfig } from './config.ts';
import { DataDirectoryError, openDataDirectory, type DataDirectory } from './data_directory.ts';
import { DiskJournal, MemoryJournal, type WriteVector } from './journal.ts';
import type { Log } from './log.ts';
import { DiskRoom, type DiskRoomOptions } from './disk_room.ts';
import { PeerPins } from './peer_pins.ts';
import { isDamage, repairDamage } from './record_repair.ts';
import type { DamageReport } from './running_replica.ts';

export interface JournalEvents {
  readonly onDurable: (ticket: number) => void;
  readonly fatal: (error: Error) => void;
  /** There is hardly room for the journal, while a checkpoint waits for room; or there is again. */
  readonly onCramped: (cramped: boolean) => void;
  /** Milliseconds of the event loop that the replica has taken so far, for whom clients come first. */
  readonly busyMs: () => number;
  /** For tests: see journal.ts, disk_room.ts. */
  readonly writev?: WriteVector;
  readonly look?: DiskRoomOptions['look'];
}

export interface Boot {
  readonly data: DataDirectory;
  readonly pins: PeerPins;
  readonly store: RecordStore;
  readonly room: DiskRoom;
  readonly journal: DiskJournal | MemoryJournal;
  readonly state: BootState;
  /** Bytes of the last write that a crash had torn; cut. */
  readonly tornBytes: number;
  /** The records could not be opened as they were. */
  readonly damage: DamageReport | null;
}

/** Rejects with an error whose message says what is wrong with the directory and what to do. */
export async function boot(config: ServerConfig, log: Log, events: JournalEvents): Promise<Boot> {
  const data = await openDataDirectory(config.data, {
    clusterId: config.clusterId === undefined ? undefined : Buffer.from(config.clusterId, 'hex'),
    memberId: config.memberId,
  });
  const opened: { close(): Promise<void> }[] = [data];
  try {
    for (const warning of data.warnings) log.warn(warning);
    refuse(data, config);
    const pins = new PeerPins(data.root);
    const room = new DiskRoom({ directory: data.root, reserveBytes: config.reserveBytes, log, onCramped: events.onCramped, look: events.look });
    const began = performance.now();
    const { store, damage } = await openRecords(data, config, log, room, events);
    opened.push(store);
    const recordsAt = performance.now();
    const state = stateOf(store.checkpoint, data, log);
    const found = await openJournal(data, state ?? data.superblock.checkpoint, config, log, events);
    log.info({ records: store.status().records, recordsMs: Math.round(recordsAt - began), journalMs: Math.round(performance.now() - recordsAt) }, 'data directory opened');
    return { data, pins, store, room, journal: found.journal, tornBytes: found.tornBytes, damage, state: { superblock: data.superblock, log: found.log, state } };
  } catch (error) {
    for (const resource of opened.reverse()) await resource.close();
    throw error;
  }
}

/** The least and the most; LevelDB may hold two of them. */
const WRITE_BUFFER_BYTES = [13 << 20, 19 << 20] as const;
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

/**
 * LevelDB compacts when it has filled some write buffers. All replicas of a group write the same, so with equal buffers all would compact in the same second or two, and
 * none could answer for another meanwhile: each has a size of its own, and neighbours are far apart.
 */
export function writeBufferBytesOf(member: MemberId): number {
  const [least, most] = WRITE_BUFFER_BYTES;
  return Math.round(least + ((member * GOLDEN_RATIO) % 1) * (most - least));
}

async function openRecords(data: DataDirectory, config: ServerConfig, log: Log, room: DiskRoom, events: JournalEvents): Promise<{ store: RecordStore; damage: DamageReport | null }> {
  const directory = data.records;
  const options = {
    directory, cacheBytes: config.cacheBytes, writeBufferBytes: writeBufferBytesOf(data.memberId),
    room: (bytes: number) => room.need(bytes),
    pace: { bytesPerSecond: config.transferRate, othersMs: events.busyMs },
  };
  let damage: DamageReport | null = null;
  try {
    return { store: await RecordStore.open(options), damage };
  } catch (error) {
    if (!isDamage(error)) throw error;
    damage = await repairDamage(directory, error, log, true);
  }
  return { store: await RecordStore.open(options), damage };
}

/**
 * The checkpoint that the records are at. Null: the replica has to fetch its whole state, and takes no part until it has. That is so after
 * an interrupted transfer, and when there are no records: `format` leaves those of op 0 with their extra, so a store at op 0 without it
 * was made just now in place of one that has gone, which is how an operator gets rid of a damaged one.
 */
function stateOf(found: CheckpointInfo | null, data: DataDirectory, log: Log): CheckpointId | null {
  if (found === null) {
    log.warn('the records are between two checkpoints, by a transfer that was interrupted or a repair: what is missing is fetched from the other replicas');
    return null;
  }
  if (found.op === 0 && found.extra.length === 0) {
    log.warn(`there are no records in ${data.records}: the whole state is fetched from the other replicas`);
    return null;
  }
  const { checkpoint, configuration } = data.superblock;
  // The superblock names a checkpoint when it is durable. A witness has none of its own.
  if (found.op < checkpoint.op && memberOf(configuration, data.memberId)?.role !== 'witness') {
    log.warn({ op: found.op, durable: checkpoint.op }, `the records are those of op ${found.op}, and there was a checkpoint of op ${checkpoint.op}: the disk has lost what was written last, or they are an older copy. What is missing comes from the journal, as far as that goes back, else from the other replicas`);
  }
  if (found.op === 0 && checkpoint.op === 0 && found.root !== checkpoint.root) {
    throw new DataDirectoryError('notOurs', `${data.records} is of another data directory: put the right one back, or move this one away and start again; the replica then fetches its state from the others`);
  }
  return checkpointId(found);
}

function refuse(data: DataDirectory, config: ServerConfig): void {
  const { superblock } = data;
  if (superblock.retired) {
    const members = superblock.configuration.members.map((m) => m.address).join(', ');
    throw new DataDirectoryError('left', `member ${data.memberId} has left the group for good (epoch ${superblock.configuration.epoch}) and may not take part again. The members are ${members}; to add this machine again start it with an empty data directory and --join`);
  }
  const { durability } = superblock.configuration;
  if (config.durability !== undefined && config.durability !== durability) {
    throw new DataDirectoryError('otherGroup',
      `the group of ${data.root} runs with durability '${durability}', not '${config.durability}': leave durability out (--option, VRFS_DURABILITY, the configuration file), or make a new group`);
  }
}

async function refuseWithoutJournal(directory: string): Promise<void> {
  try {
    await access(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new DataDirectoryError('missing', `the journal ${directory} is not there: put it back; if it is lost, make an empty directory of that name and start the replica again: it then fetches its log from the others, a majority of whom have to run`);
  }
}

/** A bad sector is no torn write: what it held may have been acknowledged. */
function unreadable(directory: string, error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EIO') return error;
  return new DataDirectoryError('damaged',
    `the disk cannot read the journal ${directory} (${(error as Error).message}): move it to another disk, or aside, make an empty directory of that name and start the replica again: it then fetches its log from the others, a majority of whom have to run`,
    { cause: error });
}

type BootLog = BootState['log'];

async function openJournal(data: DataDirectory, checkpoint: CheckpointId, config: ServerConfig, log: Log, events: JournalEvents): Promise<{ journal: DiskJournal | MemoryJournal; log: BootLog; tornBytes: number }> {
  if (data.superblock.configuration.durability === 'memory') {
    // A witness's place in the log is in its superblock; what lies in its records is no state of it.
    const { op, entryHash } = memberOf(data.superblock.configuration, data.memberId)?.role === 'witness' ? data.superblock.checkpoint : checkpoint;
    return { journal: new MemoryJournal(events.onDurable), log: { base: op, baseHash: entryHash, entries: [], logView: view(0), intact: false }, tornBytes: 0 };
  }
  await refuseWithoutJournal(data.journal);
  const { journal, scan } = await DiskJournal.open({
    directory: data.journal, clusterId: data.clusterId, memberId: data.memberId, checkpoint, segmentBytes: config.journalSegmentBytes, ...events,
  }).catch((error: unknown) => { throw unreadable(data.journal, error); });
  for (const damage of scan.damage) log.warn({ damage }, `the journal is damaged: ${damage}`);
  if (!scan.certain) log.error('the log on disk cannot be trusted; it is fetched from the other replicas');
  if (scan.tornBytes > 0) log.info({ bytes: scan.tornBytes }, 'a crash had torn the last write of the journal; it was never acknowledged and is cut');
  const { base, baseHash, entries, logView, certain } = scan;
  return { journal, log: { base, baseHash, entries, logView, intact: certain }, tornBytes: scan.tornBytes };
}
