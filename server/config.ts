/**
 * The configuration of a replica process: one object, put together once from flags, environment (VRFS_*), a JSON file
 * and defaults, in this order of precedence; validated as a whole and frozen. Errors name the key and what is allowed.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { parseAddress, parseDestination } from '../lib/address.ts';
import { epoch, memberId } from '../lib/ids.ts';
import { parseSize, SIZE_EXAMPLES } from '../lib/size.ts';
import { configuration, type Configuration } from '../vr/configuration.ts';
import { DEFAULT_REPLICA_OPTIONS, type ReplicaOptions } from '../vr/replica_types.ts';
import { DEFAULT_SEGMENT_BYTES } from './journal.ts';
import { PAGE_BYTES } from './journal_format.ts';
import { LOG_LEVELS } from './log_levels.ts';

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Of a JSON number, or of text that `parse` makes one of. Nothing else: what is empty or null would be 0, which turns many a thing off. */
const number = (what: string, parse: (text: string) => number | undefined, checked: z.ZodNumber): z.ZodType<number> => z.unknown().transform((given, ctx) => {
  const value = typeof given === 'string' ? parse(given) : given;
  if (typeof value === 'number') return value;
  ctx.addIssue({ code: 'custom', message: given === undefined ? 'it is missing' : `has to be ${what}, not ${JSON.stringify(given)}` });
  return z.NEVER;
}).pipe(checked);
const parseDigits = (pattern: RegExp) => (text: string): number | undefined => (pattern.test(text.trim()) ? Number(text) : undefined);
const integer = (low: number, high: number): z.ZodType<number> => number('a whole number', parseDigits(/^\d+$/), z.number().int().min(low).max(high));
/** Bytes, or bytes a second. */
const size = (low: number, high: number): z.ZodType<number> => number(`a number of bytes, as ${SIZE_EXAMPLES}`, parseSize, z.number().int().min(low).max(high));
const fraction = (low: number, high: number): z.ZodType<number> => number('a number, as 0.05', parseDigits(/^(\d+(\.\d+)?|\.\d+)$/), z.number().min(low).max(high));
const addressBy = (parse: typeof parseAddress): z.ZodString => z.string().superRefine((text, ctx) => {
  const parsed = parse(text);
  if (!parsed.ok) ctx.addIssue({ code: 'custom', message: parsed.reason });
});
const address = addressBy(parseAddress);
const destination = addressBy(parseDestination);
const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((v) => v === 'true')]);
const hex = z.string().regex(/^[0-9a-f]{32}$/, '32 hexadecimal digits, as "vrfs format" has printed them');
const d = DEFAULT_REPLICA_OPTIONS;

const Schema = z.strictObject({
  /** The data directory, made by "vrfs format". */
  data: z.string().min(1),
  /** Checked against the data directory when given. */
  memberId: integer(1, 0xffff_ffff).optional(),
  clusterId: hex.optional(),
  durability: z.enum(['disk', 'memory']).optional(),
  /** Where replicas and clients connect to; default: this member's address in the group's configuration. */
  listen: address.optional(),
  /** The HTTP API; default: this member's httpAddress. */
  httpListen: address.optional(),
  http: flag.default(true),
  logLevel: z.enum(LOG_LEVELS).default('info'),
  /** A file for the log; default: standard output. */
  logFile: z.string().min(1).optional(),
  /** Memory for records and nodes of the tree that were read or written of late, bytes. */
  cacheBytes: size(1 << 20, 2 ** 40).default(192 << 20),
  /** What this replica gives to all that fetch its state together, bytes a second; 0: as much as it can. */
  transferRate: size(0, 2 ** 40).default(64 << 20),
  /** What a checkpoint has to leave free on the disk, bytes, at most a tenth of it; below, it waits. */
  reserveBytes: size(0, 2 ** 40).default(128 << 20),
  journalSegmentBytes: size(4 * PAGE_BYTES, 1 << 30).refine((n) => n % PAGE_BYTES === 0, `a multiple of ${PAGE_BYTES}`).default(DEFAULT_SEGMENT_BYTES),
  maxClientConnections: integer(1, 1_000_000).default(10_000),
  heartbeatMs: integer(5, 60_000).default(d.heartbeatMs),
  viewChangeMs: integer(50, 600_000).default(d.viewChangeMs),
  resendMs: integer(10, 60_000).default(d.resendMs),
  checkpointOps: integer(1, 10_000_000).default(d.checkpointOps),
  checkpointBytes: size(64 << 10, 2 ** 40).default(d.checkpointBytes),
  pipeline: integer(1, 1024).default(d.pipeline),
  batchEntries: integer(1, 65_536).default(d.batchEntries),
  batchBytes: size(1024, 8 << 20).default(d.batchBytes),
  maxLogEntries: integer(1000, 100_000_000).default(d.maxLogEntries),
  maxLogBytes: size(4 << 20, 2 ** 40).default(d.maxLogBytes),
  retainEntries: integer(0, 100_000_000).default(d.retainEntries),
  retainBytes: size(0, 2 ** 40).default(d.retainBytes),
  sessionSlots: integer(1, 65_535).default(d.sessionSlots),
  maxSessions: integer(1, 1_000_000).default(d.maxSessions),
  sessionTimeoutMs: integer(1000, 86_400_000).default(d.sessionTimeoutMs),
  leaseMs: integer(0, 60_000).default(d.leaseMs),
  maxClockDrift: fraction(0, 0.5).default(d.maxClockDrift),
  diskStallMs: integer(100, 3_600_000).default(d.diskStallMs),
  autoPromoteMs: integer(0, 604_800_000).default(d.autoPromoteMs),
  /** Reading the store again to look for damage: bytes a second, 0: never; and how long after one pass began the next may. */
  scrubRate: size(0, 2 ** 40).default(256 << 10),
  scrubIntervalMs: integer(0, 2 ** 40).default(3_600_000),
}).refine((c) => c.viewChangeMs >= 3 * c.heartbeatMs, { path: ['viewChangeMs'], message: 'at least three times heartbeatMs, or a late heart-beat deposes the primary' })
  .refine((c) => c.leaseMs * (1 + c.maxClockDrift) < c.viewChangeMs, { path: ['leaseMs'], message: 'with the drift of the clocks it has to be shorter than viewChangeMs, or the election of a new primary waits for the lease of the old one; 0 is without leases' })
  .refine((c) => c.leaseMs === 0 || c.leaseMs >= 2 * c.heartbeatMs, { path: ['leaseMs'], message: 'at least twice heartbeatMs, which renews it; 0 is without leases' });

export type ServerConfig = Readonly<z.output<typeof Schema>>;
export type ServerConfigInput = Partial<Record<keyof z.input<typeof Schema>, unknown>>;

export interface ConfigSources {
  /** From the command line; undefined values count as not given. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** VRFS_DATA, VRFS_CHECKPOINT_OPS ... An empty one counts as not given. Others that begin so are left to whom they belong. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Path of a JSON file. */
  readonly file?: string;
}

const origins = new WeakMap<ServerConfig, Readonly<Record<string, string>>>();

/** Where the values came from that are no defaults, as error messages call it: a file, a variable, the command line. */
export function originsOf(config: ServerConfig): Readonly<Record<string, string>> {
  return origins.get(config) ?? {};
}

export type ConfigKey = keyof typeof Schema.shape;

const KEYS = Object.keys(Schema.shape) as ConfigKey[];

/** `checkpointOps` as VRFS_CHECKPOINT_OPS. */
export function environmentName(key: ConfigKey): string {
  return `VRFS_${key.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`;
}

async function readJson(path: string, what: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`${what} ${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`${what} ${path} is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** What is allowed, in words; zod's own speak of types that nobody wrote. */
function allowed(issue: z.core.$ZodIssue, given: unknown): string {
  const is = given === undefined ? 'it is missing' : `not ${JSON.stringify(given)}`;
  switch (issue.code) {
    case 'too_small': return issue.origin === 'string' ? 'it is empty' : `has to be ${issue.minimum} at least, ${is}`;
    case 'too_big': return `may be ${issue.maximum} at most, ${is}`;
    case 'invalid_value': return `has to be one of ${issue.values.map(String).join(', ')}, ${is}`;
    case 'invalid_union': return `has to be true or false, ${is}`;
    case 'invalid_type':
      if (given === undefined) return is;
      return issue.expected === 'number' || issue.expected === 'int' ? `has to be a whole number, ${is}` : `has to be of type ${issue.expected}, ${is}`;
    default: return issue.message;
  }
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of path) value = typeof value === 'object' && value !== null ? (value as Readonly<Record<PropertyKey, unknown>>)[key] : undefined;
  return value;
}

function describe(issue: z.core.$ZodIssue, sources: ReadonlyMap<string, string>, root: unknown): string {
  const key = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') return `unknown: ${issue.keys.join(', ')} (known are ${KEYS.join(', ')})`;
  const given = valueAt(root, issue.path);
  if (key === 'data' && given === undefined) return 'which data directory? Give --data <directory> (or VRFS_DATA), or a configuration file that names it: --config <file>';
  const source = sources.get(String(issue.path[0]));
  return `${key === '' ? 'the configuration' : key}${source === undefined ? '' : ` (from ${source})`}: ${allowed(issue, given)}`;
}

/** Rejects with ConfigError: every key that is wrong, where it came from, and what is allowed. */
export async function loadConfig(sources: ConfigSources): Promise<ServerConfig> {
  const merged: Record<string, unknown> = {};
  const from = new Map<string, string>();
  const put = (key: string, value: unknown, origin: string): void => {
    if (value === undefined) return;
    merged[key] = value;
    from.set(key, origin);
  };
  if (sources.file !== undefined) {
    const json = await readJson(sources.file, 'the configuration file');
    if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new ConfigError(`the configuration file ${sources.file} has to hold one JSON object`);
    for (const [key, value] of Object.entries(json)) put(key, value, sources.file);
  }
  for (const key of KEYS) {
    const value = sources.environment?.[environmentName(key)];
    if (value !== '') put(key, value, environmentName(key));
  }
  for (const [key, value] of Object.entries(sources.flags ?? {})) put(key, value, 'the command line');
  const parsed = Schema.safeParse(merged);
  if (!parsed.success) throw new ConfigError(`the configuration is wrong: ${parsed.error.issues.map((i) => describe(i, from, merged)).join('; ')}`);
  const config = Object.freeze(parsed.data);
  origins.set(config, Object.fromEntries(from));
  return config;
}

/** The part that the protocol is tuned by. */
export function replicaOptions(c: ServerConfig): ReplicaOptions {
  const {
    heartbeatMs, viewChangeMs, resendMs, checkpointOps, checkpointBytes, pipeline, batchEntries, batchBytes, maxLogEntries, maxLogBytes,
    retainEntries, retainBytes, sessionSlots, maxSessions, sessionTimeoutMs, leaseMs, maxClockDrift, diskStallMs, autoPromoteMs,
  } = c;
  return Object.freeze({
    ...DEFAULT_REPLICA_OPTIONS,
    heartbeatMs, viewChangeMs, resendMs, checkpointOps, checkpointBytes, pipeline, batchEntries, batchBytes, maxLogEntries, maxLogBytes,
    retainEntries, retainBytes, sessionSlots, maxSessions, sessionTimeoutMs, leaseMs, maxClockDrift, diskStallMs, autoPromoteMs,
  });
}

/** What the replicas and the HTTP API would both have to listen on. */
export function inBothRoles(members: readonly { readonly address: string; readonly httpAddress: string }[]): string | undefined {
  const addresses = new Set(members.map((m) => m.address));
  return members.map((m) => m.httpAddress).find((a) => addresses.has(a));
}

/** Of a group. */
export const MAX_MEMBERS = 255;

const ClusterSchema = z.strictObject({
  clusterId: hex,
  durability: z.enum(['disk', 'memory']).default('disk'),
  members: z.array(z.strictObject({ id: integer(1, 0xffff_ffff), role: z.enum(['voter', 'witness', 'observer']).default('voter'), address: destination, httpAddress: destination })).min(1).max(MAX_MEMBERS),
}).superRefine((c, ctx) => {
  for (const key of ['id', 'address', 'httpAddress'] as const) {
    if (new Set(c.members.map((m) => m[key])).size < c.members.length) ctx.addIssue({ code: 'custom', path: ['members'], message: `two members have the same ${key}` });
  }
  const both = inBothRoles(c.members);
  if (both !== undefined) ctx.addIssue({ code: 'custom', path: ['members'], message: `${both} is to be an address and an httpAddress` });
});

/** A group as it is formatted: the same file for all its members. */
export interface Cluster {
  readonly clusterId: Buffer;
  readonly configuration: Configuration;
}

/** `origin` is for error messages: the file that the value came from. Throws ConfigError. */
export function parseCluster(value: unknown, origin: string): Cluster {
  const parsed = ClusterSchema.safeParse(value);
  if (!parsed.success) throw new ConfigError(`${origin} does not describe a group: ${parsed.error.issues.map((i) => describe(i, new Map(), value)).join('; ')}`);
  const { clusterId, durability, members } = parsed.data;
  return {
    clusterId: Buffer.from(clusterId, 'hex'),
    configuration: configuration(epoch(0), members.map((m) => ({ ...m, id: memberId(m.id) })), durability),
  };
}

export async function loadCluster(path: string): Promise<Cluster> {
  return parseCluster(await readJson(path, 'the cluster file'), path);
}

/** What `loadCluster` reads. */
export function describeCluster(c: Cluster): string {
  const { members, durability } = c.configuration;
  return `${JSON.stringify({ clusterId: c.clusterId.toString('hex'), durability, members }, null, 2)}\n`;
}
