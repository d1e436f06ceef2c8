/** What is to be measured: checked as a whole before anything is started. */
import { totalmem } from 'node:os';
import { parseSize } from '../../lib/size.ts';
import { loadConfig, type ServerConfig } from '../../server/config.ts';
import { MAX_INTERVAL_BYTES, MAX_INTERVAL_OPS, refusal } from '../../vr/checkpoint_interval.ts';
import type { Durability } from '../../vr/configuration.ts';
import { DEFAULT_REPLICA_OPTIONS } from '../../vr/replica_types.ts';
import { UsageError } from '../failure.ts';
import { sizeText } from '../format.ts';
import { LOADS, MAX_IN_FLIGHT, wholeRounds, type LoadName } from './workloads.ts';
import type { Goals } from './recommend.ts';

/** One interval that is measured. `ops` null: without checkpoints, as long as the memory holds the log. */
export interface Interval {
  readonly ops: number | null;
  /** Bytes of log. */
  readonly bytes: number;
}

export interface TuneSettings {
  /** In the order in which they are measured, smallest first. */
  readonly intervals: readonly Interval[];
  readonly load: LoadName;
  readonly inFlight: number;
  readonly seconds: number;
  readonly repeats: number;
  /** Seconds for which a backup is down; 0: recovery is not measured. */
  readonly outage: number;
  /** Files that there are before the load begins: whole rounds of it. */
  readonly files: number;
  readonly replicas: number;
  readonly durability: Durability;
  /** More keys of the replicas' configuration. */
  readonly config: Readonly<Record<string, string>>;
  readonly goals: Goals;
}

/** As commander gives them. */
export interface TuneFlags {
  readonly ops: string;
  readonly bytes: string;
  readonly load: string;
  readonly inFlight: number;
  readonly seconds: number;
  readonly repeats: number;
  readonly outage: string;
  readonly files: number;
  readonly replicas: number;
  readonly durability: Durability;
  readonly option: Readonly<Record<string, string>>;
  readonly recoveryUnder?: string;
  readonly throughputLossUnder?: string;
}

const MIN_BYTES = 64 << 10;
/** Without checkpoints the log grows until the load ends. So much of it all replicas together keep in memory before they take one all the same. */
const MEMORY_SHARE = 1 / 8;
const UNBOUNDED_OPS = 2_000_000;
/** Of the configuration of a replica: what the sweep itself decides. */
const OWN_KEYS = new Set(['data', 'memberId', 'clusterId', 'durability', 'listen', 'httpListen', 'http', 'logFile', 'logLevel', 'checkpointOps', 'checkpointBytes']);

/**
 * @param memory of this machine, bytes
 * @throws UsageError with the option, what was wrong, and what is possible
 */
export async function tuneSettings(flags: TuneFlags, memory = totalmem()): Promise<TuneSettings> {
  const load = LOADS.find((name) => name === flags.load);
  if (load === undefined) throw new UsageError(`--load ${flags.load}: one of ${LOADS.join(', ')} is possible`);
  atMost('--in-flight', flags.inFlight, MAX_IN_FLIGHT);
  atMost('--repeats', flags.repeats, 100);
  atMost('--seconds', flags.seconds, 3600);
  atMost('--files', flags.files, 10_000_000);
  if (flags.replicas !== 3 && flags.replicas !== 5) throw new UsageError(`--replicas ${flags.replicas}: 3 or 5 are possible`);
  const outage = duration('--outage', flags.outage, 3600);
  const goals: Goals = {
    ...(flags.recoveryUnder === undefined ? {} : { recoveryUnderSeconds: positive('--recovery-under', flags.recoveryUnder, duration('--recovery-under', flags.recoveryUnder, 3600)) }),
    ...(flags.throughputLossUnder === undefined ? {} : { lossUnder: positive('--throughput-loss-under', flags.throughputLossUnder, percentage('--throughput-loss-under', flags.throughputLossUnder)) }),
  };
  if (goals.recoveryUnderSeconds !== undefined && outage === 0) throw new UsageError('--recovery-under needs an outage that is recovered from: --outage 10s');
  await checkConfig(flags.option);
  const intervals = sweep(flags, Math.floor((memory * MEMORY_SHARE) / flags.replicas));
  if (intervals.length < 2) throw new UsageError(`--ops ${flags.ops}: there is nothing to compare it with; give at least two values of --ops or --bytes`);
  const settings: TuneSettings = Object.freeze({
    intervals, load, inFlight: flags.inFlight, seconds: flags.seconds, repeats: flags.repeats, outage, files: wholeRounds(flags.files),
    replicas: flags.replicas, durability: flags.durability, config: flags.option, goals,
  });
  await checkRoom(settings);
  return settings;
}

function sweep(flags: TuneFlags, memory: number): Interval[] {
  const ops = list('--ops', flags.ops).map((text) => (text === 'off' ? null : whole('--ops', text, 1, MAX_INTERVAL_OPS)));
  const bytes = list('--bytes', flags.bytes).map((text) => size('--bytes', text));
  const ascending = [...ops].sort((a, b) => (a ?? Infinity) - (b ?? Infinity));
  const smallest = [...bytes].sort((a, b) => a - b);
  // Without checkpoints there is no interval of bytes either: one such run for all of them.
  return ascending.flatMap((o): Interval[] => (o === null ? [{ ops: null, bytes: Math.min(memory, MAX_INTERVAL_BYTES) }] : smallest.map((b) => ({ ops: o, bytes: b }))));
}

function list(option: string, text: string): string[] {
  const parts = text.split(',').map((part) => part.trim()).filter((part) => part !== '');
  if (parts.length === 0) throw new UsageError(`${option} is empty: give values with commas`);
  const twice = parts.find((part, i) => parts.indexOf(part) < i);
  if (twice !== undefined) throw new UsageError(`${option}: ${twice} is there twice`);
  return parts;
}

function whole(option: string, text: string, least: number, most: number): number {
  const n = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(n >= least && n <= most)) throw new UsageError(`${option}: '${text}' is not a whole number from ${least} to ${most}${option === '--ops' ? ', or off' : ''}`);
  return n;
}

/** 65536, 64K, 16M, 1G */
function size(option: string, text: string): number {
  const n = parseSize(text) ?? NaN;
  if (!(n >= MIN_BYTES && n <= MAX_INTERVAL_BYTES)) throw new UsageError(`${option}: '${text}' is not a size from ${sizeText(MIN_BYTES)} to ${sizeText(MAX_INTERVAL_BYTES)}, as 16M`);
  return n;
}

/** 500ms, 10s, 2m; a number alone is seconds. In seconds. */
export function duration(option: string, text: string, most: number): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m)?$/.exec(text.trim());
  const n = match === null ? NaN : Number(match[1]) * (match[2] === 'ms' ? 0.001 : match[2] === 'm' ? 60 : 1);
  if (!(n <= most)) throw new UsageError(`${option}: '${text}' is not a time of at most ${most} s, as 5s or 500ms`);
  return n;
}

/** 5% or 5, as 0.05. */
export function percentage(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*%?$/.exec(text.trim());
  const n = match === null ? NaN : Number(match[1]) / 100;
  if (!(n < 1)) throw new UsageError(`${option}: '${text}' is not a percentage below 100, as 5%`);
  return n;
}

function positive(option: string, text: string, n: number): number {
  if (n <= 0) throw new UsageError(`${option}: '${text}' is never reached; it has to be more than 0`);
  return n;
}

function atMost(option: string, n: number, most: number): void {
  if (n > most) throw new UsageError(`${option} ${n}: ${most} at most`);
}

async function checkConfig(config: Readonly<Record<string, string>>): Promise<void> {
  const own = Object.keys(config).find((key) => OWN_KEYS.has(key));
  if (own !== undefined) throw new UsageError(`-o ${own}: that is decided by the sweep (--ops, --bytes, --durability) and the group that it makes`);
  await replicaConfig(config);
}

/** As a replica reads it. Rejects with ConfigError. */
async function replicaConfig(config: Readonly<Record<string, unknown>>): Promise<ServerConfig> {
  return await loadConfig({ flags: { ...config, data: 'checked-only' } });
}

/** A log that is too short for an interval would stand still in the middle of a run, and be measured. */
async function checkRoom(settings: TuneSettings): Promise<void> {
  for (const interval of settings.intervals) {
    const { checkpointOps, checkpointBytes, maxLogEntries, maxLogBytes } = await replicaConfig(configOf(settings, interval));
    const reason = refusal({ ops: checkpointOps, bytes: checkpointBytes }, { maxLogEntries, maxLogBytes });
    if (reason !== null) throw new UsageError(`${reason}; or leave -o maxLogEntries and -o maxLogBytes away, then there is room for each interval`);
  }
}

/** The configuration of the replicas that run at an interval. */
export function configOf(settings: TuneSettings, { ops, bytes }: Interval): Readonly<Record<string, unknown>> {
  const { maxLogEntries, maxLogBytes } = DEFAULT_REPLICA_OPTIONS;
  const checkpointOps = ops ?? UNBOUNDED_OPS;
  // The log has to have room for what comes between two checkpoints and while one is written; see checkpoint_interval.ts.
  const room = { maxLogEntries: Math.max(maxLogEntries, 2 * checkpointOps), maxLogBytes: Math.max(maxLogBytes, Math.min(2 * bytes, MAX_INTERVAL_BYTES)) };
  return { ...room, ...settings.config, checkpointOps, checkpointBytes: bytes };
}

/** For people. `withBytes`: where several are compared. */
export function intervalText({ ops, bytes }: Interval, withBytes: boolean): string {
  if (ops === null) return 'off';
  return withBytes ? `${ops} / ${sizeText(bytes)}` : String(ops);
}
