/**
 * Primaries that are cut off for longer than their lease lasts, while a client beside them goes on reading and others write at the
 * primary that comes after them: what a lease has to survive (PROTOCOL row 18). Around it happens what makes a lease look longer than it is:
 * answers that were long on their way, clocks that jump and drift, a process that stands still with reads before it, grantors that restart, with
 * another configuration too, and disks on which the next primary's log takes its time.
 */
import { defined } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import { DEFAULT_REPLICA_OPTIONS, type ReplicaOptions } from '../../vr/replica_types.ts';
import type { ClientSettings, SimulatedClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import type { SeededPolicy } from './seeded_policy.ts';

export interface DeposalProfile {
  /** Mean milliseconds from the end of one to the next. */
  readonly intervalMs: number;
  /** An administrator is about to change these: each replica begins with one of them, and goes on with one of them when it is restarted here. */
  readonly timings: readonly Pick<ReplicaOptions, 'viewChangeMs' | 'leaseMs'>[];
  /** Probabilities, of each deposal. */
  readonly lateAnswers: number;
  readonly earlySuspicion: number;
  readonly clocks: number;
  readonly standstill: number;
  readonly restarts: number;
  readonly slowLogs: number;
}

/** Clients that do nothing but read here: one beside the primary that is cut off, one on the other side. They come last. */
export const READERS: readonly ClientSettings[] = [0, 1].map(() => ({ flags: 0, inFlight: 0, requestTimeoutMs: 600_000 }));
/** Milliseconds between two reads of one of them, and how many may be without an answer. */
const READ_INTERVAL: readonly [number, number] = [5, 40];
const MOST_READS = 50;

/** What the owner of the world does for it. */
export interface DeposalWorld {
  /** Kills the process, if the group can stand it. */
  crash(host: Host): boolean;
  restart(host: Host): void;
  /** Gives the host the disk of this world. */
  equip(host: Host): void;
  /** Those that could run. */
  alive(): readonly Host[];
}

export class Deposals {
  readonly #cluster: Cluster;
  readonly #policy: SeededPolicy;
  readonly #profile: DeposalProfile;
  readonly #random: Prng;
  readonly #world: DeposalWorld;
  #active = true;
  /** Undoes what the present one has done. */
  #undo: (() => void)[] = [];

  constructor(cluster: Cluster, policy: SeededPolicy, profile: DeposalProfile, random: Prng, world: DeposalWorld) {
    this.#cluster = cluster;
    this.#policy = policy;
    this.#profile = profile;
    this.#random = random;
    this.#world = world;
    for (const host of cluster.hosts) this.configure(host);
  }

  /** From its next start on. */
  configure(host: Host): void {
    host.ownOptions = this.#random.pick(this.#profile.timings);
  }

  start(): void {
    this.#later(this.#random.below(2 * this.#profile.intervalMs), () => {
      this.#depose();
    });
  }

  stop(): void {
    this.#active = false;
    this.#restore();
  }

  #restore(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  #later(delay: number, action: () => void): void {
    this.#cluster.queue.after(1 + delay, () => { if (this.#active) action(); });
  }

  /** Of the newest view that has begun. */
  #primary(): Host | null {
    const leading = this.#cluster.members.filter((h) => h.running && !h.paused && h.replica.isPrimary);
    return leading.reduce<Host | null>((best, h) => (best === null || isNewer(h, best) ? h : best), null);
  }

  #patience(host: Host): number {
    return host.ownOptions.viewChangeMs ?? this.#cluster.options.replicaOptions.viewChangeMs;
  }

  #depose(): void {
    const primary = this.#primary();
    const others = this.#world.alive().filter((h) => h !== primary);
    if (primary === null || others.length === 0) {
      this.start();
      return;
    }
    const { coverage, trace } = this.#cluster;
    const random = this.#random;
    const patience = Math.max(this.#patience(primary), ...others.map((h) => this.#patience(h)));
    const suspected = random.chance(this.#profile.earlySuspicion);
    const lead = random.between(60, 400) + (suspected ? Math.floor(patience * (1 + random.float())) : 0);
    const lasts = Math.floor(patience * (1.5 + 1.5 * random.float()));
    coverage.count('deposals');
    trace.line(`deposal of #${primary.index}: cut off in ${lead} ms, for ${lasts} ms`);
    const [beside, elsewhere] = this.#readers();
    this.#reads(beside, primary, lead + lasts);
    this.#reads(elsewhere, primary, lead + lasts);
    if (random.chance(this.#profile.lateAnswers)) {
      const longest = random.between(patience, 3 * patience);
      for (const h of others) this.#policy.delay(h.index, primary.index, longest, this.#cluster.now + lead + lasts);
    }
    // One of the others is the first to miss the primary, and nobody believes it yet.
    if (suspected) this.#block(both([primary.index], [random.pick(others).index]));
    this.#later(lead, () => {
      this.#cutOff(primary, others, patience, lasts);
      this.#later(lasts, () => {
        this.#restore();
        this.start();
      });
    });
  }

  #readers(): readonly [SimulatedClient, SimulatedClient] {
    const [beside, elsewhere] = this.#cluster.clients.slice(-READERS.length);
    return [defined(beside, 'reader'), defined(elsewhere, 'reader')];
  }

  #cutOff(primary: Host, others: readonly Host[], patience: number, lasts: number): void {
    const random = this.#random;
    const { clients } = this.#cluster;
    const [beside, elsewhere] = this.#readers();
    const inside = clients.filter((c) => c === beside || (c !== elsewhere && random.chance(0.2)));
    const outside = clients.filter((c) => !inside.includes(c));
    this.#block([
      ...both([primary.index], others.map((h) => h.index)), ...both(inside.map((c) => c.endpoint), others.map((h) => h.index)), ...both(outside.map((c) => c.endpoint), [primary.index]),
    ]);
    if (random.chance(this.#profile.clocks)) this.#turnClocks(primary, others);
    if (random.chance(this.#profile.standstill)) this.#standsStill(primary, random.between(Math.floor(patience / 2), lasts));
    if (random.chance(this.#profile.slowLogs)) this.#slowLogs(others);
    if (random.chance(this.#profile.restarts)) for (const h of others) this.#restarts(h);
  }

  #block(links: readonly (readonly [number, number])[]): void {
    for (const [from, to] of links) this.#policy.block(from, to);
    this.#undo.push(() => { for (const [from, to] of links) this.#policy.unblock(from, to); });
  }

  /** The primary's clock runs as slow, and those of the others as fast, as they may; wall clocks have no bounds. */
  #turnClocks(primary: Host, others: readonly Host[]): void {
    const random = this.#random;
    const most = DEFAULT_REPLICA_OPTIONS.maxClockDrift;
    primary.clock.jump((random.float() * 2 - 1) * 10_000_000);
    if (random.chance(0.5)) return;
    primary.clock.setDrift(-most);
    for (const h of others) h.clock.setDrift(most);
    this.#undo.push(() => { for (const h of [primary, ...others]) h.clock.setDrift(0); });
  }

  /** Stopped with reads before it, which it gets to when others may have gone on. */
  #standsStill(primary: Host, lasts: number): void {
    if (!primary.running || primary.paused) return;
    primary.pause();
    this.#later(lasts, () => { if (primary.running && primary.paused) primary.resume(); });
  }

  /** A view's log takes its time to become durable; promises do not. */
  #slowLogs(others: readonly Host[]): void {
    for (const h of others) {
      h.syncMs = [50, 250];
      h.superblockMs = [0, 2];
    }
    this.#undo.push(() => { for (const h of others) this.#world.equip(h); });
  }

  #restarts(host: Host): void {
    if (!this.#world.crash(host)) return;
    this.#later(this.#random.below(80), () => {
      if (host.running || host.lost || host.ended) return;
      this.configure(host);
      this.#world.restart(host);
    });
  }

  /** One after the other, whatever has become of those before. */
  #reads(client: SimulatedClient, primary: Host, lasts: number): void {
    const { coverage, queue, workload } = this.#cluster;
    const end = queue.now + lasts;
    const read = (): void => {
      if (queue.now >= end) return;
      if (client.process !== null && client.open.size < MOST_READS) {
        client.read(workload.read(this.#random), 'linearizable');
        if (primary.running && primary.replica.isPrimary && this.#primary() !== primary) coverage.count('reads during a second primary');
      }
      this.#later(this.#random.between(...READ_INTERVAL), read);
    };
    read();
  }
}

function isNewer(a: Host, b: Host): boolean {
  const [one, other] = [a.replica, b.replica];
  return one.configuration.epoch !== other.configuration.epoch ? one.configuration.epoch > other.configuration.epoch : one.view > other.view;
}

function both(side: readonly number[], other: readonly number[]): [number, number][] {
  return side.flatMap((a) => other.flatMap((b): [number, number][] => [[a, b], [b, a]]));
}
