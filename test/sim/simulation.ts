/**
 * One seed: a phase with faults, in which nothing wrong may happen, then a phase without, in which everything has to
 * come right within a bounded time.
 */
import { Prng } from '../../lib/prng.ts';
import { voters, type Durability } from '../../vr/configuration.ts';
import type { Ports } from '../../vr/ports.ts';
import type { ReplicaStatus } from '../../vr/replica_types.ts';
import { Violation } from '../checkers/violation.ts';
import type { Application } from './application.ts';
import type { ClientConstructor } from './client.ts';
import { Cluster } from './cluster.ts';
import { Coverage } from './coverage.ts';
import { CALLERS } from './deposals.ts';
import type { Host, ReplicaConstructor } from './host.ts';
import { describe } from './membership.ts';
import { Nemesis } from './nemesis.ts';
import { drawDeposals, drawPatience, drawProfile, drawStepDowns, type Profile } from './profile.ts';
import { SeededPolicy } from './seeded_policy.ts';
import { demandService } from './service.ts';
import { doesNotCount } from './witness_counts.ts';

export interface SimulationOptions {
  readonly seed: number;
  readonly replicas: number;
  readonly durability: Durability;
  /** The members stay who they are. Default false. */
  readonly fixedMembers?: boolean;
  /** Length of the phase with faults, milliseconds. */
  readonly ticks: number;
  /** Operations that clients may begin in that time. */
  readonly operations: number;
  readonly application: Application;
  readonly Replica: ReplicaConstructor;
  readonly Client?: ClientConstructor;
  readonly print?: (line: string) => void;
  readonly wrapPorts?: (ports: Ports, host: Host) => Ports;
  readonly checkOrderOfEffects?: boolean;
  /** Changes what the seed has drawn. */
  readonly adjustProfile?: (profile: Profile) => Profile;
}

export interface SimulationResult {
  readonly seed: number;
  /** Null: everything held. */
  readonly violation: Violation | null;
  /** Of everything that happened; equal for equal seeds. */
  readonly fingerprint: number;
  /** Virtual milliseconds until the end. */
  readonly ticks: number;
  readonly coverage: Coverage;
}

/** Bounds of bounded reads, milliseconds. */
const STALENESS: readonly number[] = [30, 150, 600, 3000];
/** What the liveness phase may take, in virtual milliseconds: some view changes with their longest back-offs. */
const CONVERGENCE_BOUND = 120_000;

export function simulate(options: SimulationOptions): SimulationResult {
  const random = new Prng(options.seed);
  const deposals = drawDeposals(new Prng(options.seed ^ 0xdeb05ed));
  const main = drawProfile(random.fork(), options.durability, options.replicas, options.fixedMembers ?? false);
  const stepDownsMs = drawStepDowns(new Prng(options.seed ^ 0x57e9d0));
  const drawn = { ...main, deposals, stepDownsMs, clients: drawPatience(new Prng(options.seed ^ 0x7a71e), main.clients) };
  const profile = options.adjustProfile?.(drawn) ?? drawn;
  const coverage = new Coverage();
  const policyRandom = random.fork();
  let policy: SeededPolicy | undefined;
  const cluster = new Cluster({
    seed: options.seed,
    replicas: options.replicas,
    witnesses: profile.witnesses,
    observers: profile.observers,
    durability: options.durability,
    replicaOptions: profile.replica,
    clients: profile.deposals === null ? profile.clients : [...profile.clients, ...CALLERS],
    Replica: options.Replica,
    Client: options.Client,
    application: options.application,
    print: options.print ?? null,
    wrapPorts: options.wrapPorts,
    checkOrderOfEffects: options.checkOrderOfEffects,
    clockDrift: profile.clockDrift,
    clockSkewMs: profile.clockSkewMs,
  }, (queue) => (policy = new SeededPolicy(policyRandom, () => queue.now, coverage)), coverage);
  const nemesis = new Nemesis(cluster, policy ?? new SeededPolicy(policyRandom, () => 0, coverage), profile, random.fork());
  const run = new Run(options, cluster, nemesis, profile, random.fork());
  let violation: Violation | null = null;
  try {
    run.faultPhase();
    run.livenessPhase();
    cluster.checkers.finish();
  } catch (error) {
    violation = error instanceof Violation ? error : unexpected(error);
  }
  return { seed: options.seed, violation, fingerprint: cluster.trace.fingerprint, ticks: cluster.now, coverage };
}

/** An error of the simulated world itself (an assertion of ours) fails the seed like any other, with its stack. */
function unexpected(error: unknown): Violation {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const failure = new Violation('the simulated world', message);
  failure.stack = stack;
  return failure;
}

class Run {
  readonly #options: SimulationOptions;
  readonly #cluster: Cluster;
  readonly #nemesis: Nemesis;
  readonly #profile: Profile;

  constructor(options: SimulationOptions, cluster: Cluster, nemesis: Nemesis, profile: Profile, random: Prng) {
    this.#options = options;
    this.#cluster = cluster;
    this.#nemesis = nemesis;
    this.#profile = profile;
    let begun = 0;
    cluster.driver = {
      nextOperation: () => {
        // The budget grows with time, so that operations are under way until the end.
        const budget = Math.min(options.operations, (cluster.now / options.ticks) * options.operations + 10);
        if (cluster.now >= options.ticks || begun >= budget) return null;
        begun++;
        const next = cluster.workload.next(random);
        // Some of the reads that may be old are bounded in age instead.
        if (next.read !== 'causal' || !random.chance(profile.boundedReads)) return next;
        return { body: next.body, read: 'bounded', maxStalenessMs: random.pick(STALENESS) };
      },
    };
  }

  faultPhase(): void {
    this.#cluster.trace.line(`profile ${JSON.stringify(this.#profile)}`);
    this.#cluster.start();
    this.#nemesis.start();
    this.#cluster.queue.runTo(this.#options.ticks);
  }

  livenessPhase(): void {
    const cluster = this.#cluster;
    const core = this.#nemesis.heal();
    cluster.trace.line(`healed; has to converge: ${core.map((h) => `#${h.index}`).join(' ')}`);
    this.#untilConverged(core);
    cluster.coverage.count('ms to converge', cluster.now - this.#options.ticks);
    demandService(cluster, new Prng(this.#options.seed ^ 0x5e47e), () => this.#report(core));
    this.#untilConverged(core);
  }

  #untilConverged(core: readonly Host[]): void {
    const cluster = this.#cluster;
    const end = cluster.now + CONVERGENCE_BOUND;
    while (!this.#converged(core)) {
      if (cluster.now >= end) throw new Violation('liveness', `no convergence within ${CONVERGENCE_BOUND} ms: ${this.#report(core)}`);
      cluster.queue.runTo(cluster.now + 20);
      // The last change may have been one too many for a client that was away.
      if (cluster.now % 2000 === 0) for (const client of cluster.clients) cluster.findsTheGroup(client, core);
    }
    cluster.checkers.converged(this.#expected(core));
  }

  /**
   * Every request has its outcome, the newest epoch has started, and its members, as far as they belong to the core, are normal in one
   * view and have the same log; those that execute have executed all of it. Who has left has ended, if it ever knew that it was a member, and there is anybody left who could tell it.
   */
  #converged(core: readonly Host[]): boolean {
    const { clients, membership, administrator, intervals } = this.#cluster;
    for (const client of clients) if (client.open.size > 0) return false;
    if (!core.every((h) => h.running || h.ended) || administrator.busy || intervals.busy || !membership.isComplete) return false;
    const { present } = membership;
    const [first, ...rest] = this.#expected(core).map((h) => h.status);
    if (first === undefined) return false;
    const settled = (s: ReplicaStatus): boolean => s.epoch === present.epoch && s.status === 'normal' && s.view === first.view && s.op === first.op
      && (membership.role(s.memberId) === 'witness' || s.executed === s.op);
    return [first, ...rest].every(settled) && core.every((h) => h.ended || h.status.status === 'joining' || !membership.isFormer(h.id) || !this.#canBeTold(h));
  }

  /** Members that have to come right. */
  #expected(core: readonly Host[]): Host[] {
    const { membership } = this.#cluster;
    const allVoters = voters(membership.present).every((m) => core.some((h) => h.id === m.id));
    // A witness that has to wait for a voter that will not come back waits until somebody replaces that.
    return core.filter((h) => membership.role(h.id) !== null && (allVoters || !doesNotCount(this.#cluster, h)));
  }

  #canBeTold(host: Host): boolean {
    return this.#cluster.members.some((m) => m.knows(host.id) || (m.running && host.knows(m.id)));
  }

  #report(core: readonly Host[]): string {
    const replicas = this.#cluster.hosts.map((h) => {
      const where = `${core.includes(h) ? '' : ' (not of the core)'}${h.ended ? ' ended' : ''}${h.lost ? ' lost' : ''}`;
      if (!h.running) return `#${h.index} down${where}`;
      const s = h.status;
      return `#${h.index} ${s.status} e=${s.epoch} v=${s.view} v'=${s.logView} op=${s.op} commit=${s.commit} executed=${s.executed} checkpoint=${s.checkpoint.op}${s.checkpointing ? ' checkpointing' : ''}${s.transferring ? ' transferring' : ''}${where}`;
    });
    const clients = this.#cluster.clients.map((c) => `client #${c.endpoint} has ${c.open.size} open`);
    const { membership, administrator, intervals } = this.#cluster;
    return [`epoch ${membership.present.epoch}${membership.isComplete ? '' : ' (not everywhere)'}: ${describe(membership.present)}${administrator.busy ? '; a change is asked for' : ''}${intervals.busy ? '; the checkpoint interval is asked for' : ''}`, ...replicas, ...clients].join('; ');
  }
}
