/** How the API shows attributes, entries and the state of a replica in JSON, and reads modes and times from it. */
import { digestToHex } from '../../lib/hash.ts';
import { viewNumber } from '../../lib/ids.ts';
import type { Attributes, DirectoryEntry, SetAttributes, Timestamp } from '../../fsservice/operations.ts';
import type { ServerStatus, Health } from '../running_replica.ts';
import { toJsonBytes, type JsonBytes } from './bytes_text.ts';
import type { JsonSetAttributes, JsonTime } from './json_bodies.ts';
import { badRequest } from './problem.ts';

export interface JsonAttributes {
  readonly ino: number;
  readonly type: string;
  /** Octal, four digits. */
  readonly mode: string;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  readonly blocks: number;
  readonly atime: Timestamp;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  readonly birthtime: Timestamp;
  readonly version: number;
}

export interface JsonEntry {
  readonly name: JsonBytes;
  readonly ino: number;
  readonly type: string;
  readonly attributes?: JsonAttributes;
}

export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

export function attributesView(a: Attributes): JsonAttributes {
  return { ...a, mode: octal(a.mode) };
}

export function entryView(e: DirectoryEntry): JsonEntry {
  const name = toJsonBytes(e.name);
  return e.attributes === undefined
    ? { name, ino: e.ino, type: e.type }
    : { name, ino: e.ino, type: e.type, attributes: attributesView(e.attributes) };
}

/** '0644', '644' or, in JSON, the number 420. The shape was checked before. */
export function modeOf(mode: string | number): number {
  return typeof mode === 'number' ? mode : Number.parseInt(mode, 8);
}

const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** Since 1970; NaN: there is no such time. Date.parse takes days and hours that there are not for later ones, such as 30 February for 2 March. */
function millisecondsOf(local: string, zone: string): number {
  const asIfUtc = Date.parse(`${local}Z`);
  return Number.isNaN(asIfUtc) || new Date(asIfUtc).toISOString() !== `${local}.000Z` ? NaN : Date.parse(local + zone);
}

/** Throws a problem that names the field. */
export function timeOf(value: JsonTime, where: string): Timestamp | 'now' {
  if (value === 'now') return value;
  if (typeof value === 'object') return { sec: value.sec, nsec: value.nsec };
  const match = RFC3339.exec(value);
  const milliseconds = match === null ? NaN : millisecondsOf(`${match[1]}T${match[2]}`, (match[4] ?? '').toUpperCase());
  if (Number.isNaN(milliseconds)) {
    throw badRequest(`${where} is '${value.slice(0, 60)}', which is not a time.`, `Give "now", RFC 3339 such as "2026-01-31T12:00:00.123456789Z", or {"sec": 1769860800, "nsec": 0}.`);
  }
  return { sec: milliseconds / 1000, nsec: Number((match?.[3] ?? '').padEnd(9, '0')) };
}

export function setAttributesOf(body: JsonSetAttributes): SetAttributes {
  return {
    ...(body.mode === undefined ? {} : { mode: modeOf(body.mode) }),
    ...(body.uid === undefined ? {} : { uid: body.uid }),
    ...(body.gid === undefined ? {} : { gid: body.gid }),
    ...(body.size === undefined ? {} : { size: body.size }),
    ...(body.atime === undefined ? {} : { atime: timeOf(body.atime, 'atime') }),
    ...(body.mtime === undefined ? {} : { mtime: timeOf(body.mtime, 'mtime') }),
  };
}

/** GET /v1/status. Digests are hexadecimal. */
export function statusView(s: ServerStatus, health: Health, httpAddress: string | null): object {
  const { configuration, checkpoint, peers, ...replica } = s.replica;
  return {
    clusterId: s.clusterId,
    version: s.version,
    pid: s.pid,
    uptimeMs: s.uptimeMs,
    healthy: health.ok,
    ...(health.ok ? {} : { unhealthyReason: health.reason }),
    ...replica,
    // Within its epoch; the epoch stands beside it.
    view: viewNumber(replica.view),
    logView: viewNumber(replica.logView),
    durability: configuration.durability,
    httpAddress,
    members: configuration.members.map((m) => ({ id: m.id, role: m.role, address: m.address, httpAddress: m.httpAddress })),
    checkpoint: { op: checkpoint.op, root: digestToHex(checkpoint.root), view: viewNumber(checkpoint.view), timeMicros: checkpoint.time },
    peers,
    links: s.links,
    recovery: s.recovery,
    donor: s.donor,
    store: s.store,
    checkpointCost: s.checkpointCost,
    scrub: s.scrub,
    journal: s.journal,
    namespace: s.namespace,
    clientConnections: s.clientConnections,
  };
}
