/** What a revival means, in words: what is held, what is lost, what to do next. */
import { digestToHex } from '../lib/hash.ts';
import type { Lineage } from '../server/data_directory.ts';
import type { HeldCheckpoint, Holding } from '../server/holding.ts';
import type { Revival } from '../server/revive.ts';
import { sizeText } from './format.ts';

/** As of when the state is. The state knows, but for the empty one of op 0. */
export function asOf({ id, madeAt }: HeldCheckpoint, now = Date.now()): string {
  if (id.op === 0) return `made ${timeText(madeAt, now)}, by the time of the file; no operation is in it`;
  return `last operation ${timeText(id.time / 1000, now)}`;
}

function timeText(milliseconds: number, now: number): string {
  return `${new Date(milliseconds).toISOString()} (${agoText(now - milliseconds)})`;
}

const UNITS = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000], ['second', 1000]] as const;

/** In the largest unit that it has two of: "90 minutes ago". The clock may have been set back since. */
export function agoText(milliseconds: number): string {
  if (milliseconds < 0) return 'in the future, by the clock of this machine';
  const [name, length] = UNITS.find(([, unit]) => milliseconds >= 2 * unit) ?? ['second', 1000];
  const count = Math.floor(milliseconds / length);
  return `${count} ${name}${count === 1 ? '' : 's'} ago`;
}

export function checkpointText(held: HeldCheckpoint): string {
  const empty = held.id.op === 0 ? ': an empty file system' : '';
  return `op ${held.id.op}, root ${digestToHex(held.id.root)}, ${held.records} records, ${sizeText(held.bytes)}, ${asOf(held)}${empty}`;
}

export function holdingText(h: Holding): string {
  return h.checkpoint === null ? `no checkpoint to go on from: ${h.without ?? ''}` : checkpointText(h.checkpoint);
}

/** A group that was revived before says so. */
export function lineageText(from: Lineage | null): string[] {
  return from === null ? [] : [`this group was itself revived, from op ${from.op} of group ${from.clusterId}`];
}

export function lossText({ checkpoint, clusterId }: Revival): string[] {
  const { op } = checkpoint.id;
  return [
    `What is lost when the group goes on from op ${op}:`,
    `  - every operation that was acknowledged after op ${op}${op === 0 ? ', which is all that was ever done' : ''}. How many there were nobody knows: with durability memory they are written nowhere`,
    '  - all sessions: those in the checkpoint belong to clients of the old group and end after their time-out, with what they held open; files that were',
    '    unlinked while they were open go then',
    `  - the meaning of every version (ETag) and op-number above ${op} that a client remembers: they are given anew, to other changes`,
    `The revived group has an id of its own, ${clusterId.toString('hex')}: replicas, clients and mounts of the old one are`,
    'refused by it, and refuse it. Stop what still runs of them, and start clients and mounts anew.',
  ];
}
