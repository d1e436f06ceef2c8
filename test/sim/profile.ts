/** What one seed is like: how the group is tuned, how bad its world is. Every fault is absent in some seeds. */
import type { Prng } from '../../lib/prng.ts';
import type { Durability } from '../../vr/configuration.ts';
import { DEFAULT_REPLICA_OPTIONS, type ReplicaOptions } from '../../vr/replica_types.ts';
import type { ChangeProfile } from './changes.ts';
import type { ClientSettings } from './client.ts';
import type { DeposalProfile } from './deposals.ts';
import type { NetworkFaults } from './seeded_policy.ts';

export type FaultKind =
  | 'crash' | 'crashAll' | 'pause' | 'partition' | 'oneWay' | 'isolate' | 'clog' | 'mute' | 'clockJump' | 'slowDisk' | 'diskStall' | 'slowHost' | 'cramped'
  | 'longPause' | 'flap' | 'rot' | 'clockRate' | 'loseDisk' | 'clientCrash' | 'connectionReset' | 'weather';

export interface Profile {
  readonly network: NetworkFaults;
  /** Mean milliseconds between faults; weights of the kinds. */
  readonly faultIntervalMs: number;
  readonly weights: readonly (readonly [FaultKind, number])[];
  /** Mean milliseconds that a fault lasts (down-time, pause, partition). */
  readonly faultDurationMs: number;
  /** Probability that a replica that was down finds its journal damaged, and one copy of its superblock. */
  readonly damage: number;
  readonly syncMs: readonly [number, number];
  readonly superblockMs: readonly [number, number] | null;
  readonly clockDrift: number;
  readonly clockSkewMs: number;
  readonly replica: ReplicaOptions;
  readonly clients: readonly ClientSettings[];
  /** Roles of the first epoch, beside voters. */
  readonly witnesses: number;
  readonly observers: number;
  /** Null: the members stay the same. */
  readonly changes: ChangeProfile | null;
  /** Mean milliseconds between questions about the checkpoint interval, most of which change it; null: it stays as configured. */
  readonly intervalChangesMs: number | null;
  /** Of the reads that need not be linearizable, how many are bounded in age. */
  readonly boundedReads: number;
  /** Null: no primary is cut off with a client beside it that reads, but by chance. */
  readonly deposals: DeposalProfile | null;
  /** Mean milliseconds from one primary that is told to end to the next; null: none is. */
  readonly stepDownsMs: number | null;
}

/** How far from the true rate a clock may run, in parts per million: what leases allow for. */
const CLOCK_DRIFT = DEFAULT_REPLICA_OPTIONS.maxClockDrift * 1e6;

/** In [0, most], zero in about every third seed, otherwise rather small than large. */
function some(random: Prng, most: number): number {
  return random.chance(0.35) ? 0 : most * random.float() ** 2;
}

/** @param fixed the members stay who they are: voters, all of them */
export function drawProfile(random: Prng, durability: Durability, replicas: number, fixed: boolean): Omit<Profile, 'deposals' | 'stepDownsMs'> {
  const network: NetworkFaults = {
    loss: some(random, 0.3),
    duplication: some(random, 0.5),
    lateReplay: some(random, 0.5),
    slow: some(random, 0.4),
    slowMs: random.between(5, 250),
    latencyMs: random.below(4),
    jitterMs: random.pick([0, 2, 5, 20]),
  };
  const kinds: readonly (readonly [FaultKind, number])[] = [
    ['crash', 10], ['crashAll', durability === 'disk' ? 2 : 0], ['pause', 4], ['partition', 4], ['oneWay', 4], ['isolate', 4], ['clog', 3], ['mute', 3],
    ['clockJump', 2], ['slowDisk', 2], ['diskStall', 1], ['slowHost', 1], ['longPause', 1], ['flap', 2], ['rot', 2], ['clockRate', 1], ['loseDisk', 1], ['clientCrash', 3], ['connectionReset', 3], ['weather', 6], ['cramped', 2],
  ];
  const drawn = {
    network,
    faultIntervalMs: random.pick([100, 200, 400, 800, 2000]),
    weights: kinds.map(([kind, weight]) => [kind, random.chance(0.3) ? 0 : weight] as const),
    faultDurationMs: random.pick([50, 200, 600, 2000]),
    damage: some(random, 0.5),
    syncMs: random.pick([[0, 0], [0, 3], [1, 10], [2, 40]] as const),
    superblockMs: random.pick([null, null, [0, 0], [5, 60]] as const),
    clockDrift: some(random, CLOCK_DRIFT),
    clockSkewMs: some(random, 60_000),
    clients: drawClients(random),
    ...withPromotion(drawReplicaOptions(random), fixed ? FIXED_MEMBERS : drawMembers(random, replicas), random),
    intervalChangesMs: random.chance(0.4) ? random.pick([150, 600, 2500]) : null,
  };
  // Limits that logs here are too short for otherwise. Drawn last: what else a seed is like does not depend on it.
  const { entriesPerTurn, claimHeaders } = DEFAULT_REPLICA_OPTIONS;
  return { ...drawn, replica: { ...drawn.replica, entriesPerTurn: random.pick([3, entriesPerTurn, entriesPerTurn]), claimHeaders: random.pick([1, 5, claimHeaders, claimHeaders]) } };
}

/** How long clients wait for an answer: some give up, and what became of what they asked for then nobody knows. From a stream of its own, as below. */
export function drawPatience(random: Prng, clients: readonly ClientSettings[]): ClientSettings[] {
  return clients.map((c) => ({ ...c, requestTimeoutMs: random.pick([c.requestTimeoutMs, c.requestTimeoutMs, 150, 700, 3000]) }));
}

/** Null in most seeds. From a stream of its own: what else a seed is like does not depend on it. */
export function drawDeposals(random: Prng): DeposalProfile | null {
  if (random.chance(0.7)) return null;
  const timings = [random.pick([500, 1000]), random.pick([200, 300])].map((viewChangeMs) => ({ viewChangeMs, leaseMs: Math.floor(viewChangeMs * random.pick([0.5, 0.9])) }));
  const often = (): number => random.pick([0, 0.3, 0.7]);
  return {
    intervalMs: random.pick([500, 1500, 4000]),
    timings: random.pick([timings, timings, timings.slice(0, 1), timings.slice(1)]),
    lateAnswers: often(), earlySuspicion: often(), clocks: often(), standstill: often(), suspension: 0.5, restarts: often(), rolling: often(), slowLogs: often(),
  };
}

/** Null in most seeds; from a stream of its own. */
export function drawStepDowns(random: Prng): number | null {
  return random.chance(0.6) ? null : random.pick([300, 1500, 4000]);
}

type Members = Pick<Profile, 'witnesses' | 'observers' | 'changes' | 'boundedReads'>;

/** Where there are observers, the group may promote them by itself. */
function withPromotion(replica: ReplicaOptions, members: Members, random: Prng): Members & Pick<Profile, 'replica'> {
  const promotes = (members.observers > 0 || members.changes?.observers === true) && random.chance(0.3);
  return { ...members, replica: promotes ? { ...replica, autoPromoteMs: random.pick([800, 2500]) } : replica };
}

function drawMembers(random: Prng, replicas: number): Members {
  const witnesses = random.chance(0.3) ? random.between(1, Math.floor((replicas - 1) / 2)) : 0;
  const changes: ChangeProfile = {
    intervalMs: random.pick([200, 500, 1500]), witnesses: witnesses > 0 || random.chance(0.3), observers: random.chance(0.6),
    least: 3, most: random.pick([3, 5, 5, 7]),
  };
  return { witnesses, observers: random.chance(0.3) ? random.between(1, 2) : 0, changes: random.chance(0.65) ? changes : null, boundedReads: random.chance(0.5) ? 0.5 : 0 };
}

const FIXED_MEMBERS = { witnesses: 0, observers: 0, changes: null, boundedReads: 0 } as const;

function drawReplicaOptions(random: Prng): ReplicaOptions {
  const checkpointOps = random.pick([4, 10, 25, 60, 200]);
  return {
    ...DEFAULT_REPLICA_OPTIONS,
    viewChangeMs: random.pick([200, 300, 500]),
    resendMs: random.pick([50, 100]),
    checkpointOps,
    checkpointBytes: random.chance(0.3) ? random.between(1000, 20_000) : 64 << 20,
    pipeline: random.pick([1, 2, 4, 16]),
    batchEntries: random.pick([1, 4, 64, 4096]),
    maxLogEntries: checkpointOps * random.pick([3, 10, 1000]),
    retainEntries: checkpointOps * random.pick([0, 1, 3]),
    sessionSlots: random.pick([1, 2, 8]),
    maxSessions: random.pick([3, 8, 64]),
    sessionTimeoutMs: random.pick([2000, 10_000, 60_000]),
    claimBytes: random.pick([0, 300, DEFAULT_REPLICA_OPTIONS.claimBytes, DEFAULT_REPLICA_OPTIONS.claimBytes]),
  };
}

function drawClients(random: Prng): ClientSettings[] {
  return Array.from({ length: random.between(2, 5) }, () => ({ flags: random.below(2), inFlight: random.pick([1, 2, 6]), requestTimeoutMs: 600_000 }));
}
