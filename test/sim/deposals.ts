/**
 * Primaries that are cut off for longer than their lease lasts, while a client beside them goes on reading and others write at the
 * primary that comes after them: what a lease has to survive (PROTOCOL row 18). Around it happens what makes a lease look longer than it is:
 * answers that were long on their way, clocks that jump and drift, a process or a machine that stands still with reads before it, grantors that restart, with
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
  /** An administrator keeps changing these: each of the first replicas begins with one of them, and goes on with one of them when it is restarted here. */
  readonly timings: readonly Pick<ReplicaOptions, 'viewChangeMs' | 'leaseMs'>[];
  // Probabilities, of each deposal:
  /** What the others say to the primary takes long, and comes when it is cut off. */
  readonly lateAnswers: number;
  /** One of the others has missed the primary for some time when it is cut off. */
  readonly earlySuspicion: number;
  /** The primary's wall clock jumps; its other one is perhaps slower, and those of the others faster, than they should be. */
  readonly clocks: number;
  /** The primary is stopped when it is cut off, and goes on before that ends. */
  readonly standstill: number;
  /** Of those: not the process, but its machine, whose monotonic clock stands still too. */
  readonly suspension: number;
  /** Those that granted it its lease restart: when it is cut off, or one after the other before that. */
  readonly restarts: number;
  readonly rolling: number;
  /** The logs of the others are slow to become durable. */
  readonly slowLogs: number;
}

/** Clients that work here only: one reads beside the primary that is cut off, one works with the others. They come last. */
export const CALLERS: readonly ClientSettings[] = [0, 1].map(() => ({ flags: 0, inFlight: 0, requestTimeoutMs: 600_000 }));
/** Milliseconds between two operations of one of them, and how many may be without an answer. */
const CALL_INTERVAL: readonly [number, number] = [5, 40];
const MOST_OPEN = 50;

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
    for (const host of cluster.hosts) host.ownOptions = random.pick(profile.timings);
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
    const lasts = Math.floor(patience * (1.3 + 1.2 * random.float()));
    const rolls = random.chance(this.#profile.rolling) ? this.#restart(others, random.between(100, 300)) : 0;
    coverage.count('deposals');
    trace.line(`deposal of #${primary.index}: cut off in ${rolls + lead} ms, for ${lasts} ms`);
    for (const client of this.#callers()) this.#works(client, primary, rolls + lead + lasts);
    if (random.chance(this.#profile.lateAnswers)) {
      const longest = random.between(patience, 3 * patience);
      for (const h of others) this.#policy.delay(h.index, primary.index, longest, this.#cluster.now + rolls + lead + lasts);
    }
    // One of the others is the first to miss the primary, and nobody believes it yet.
    if (suspected) this.#block(both([primary.index], [random.pick(others).index]));
    this.#later(rolls + lead, () => {
      this.#cutOff(primary, others, patience, lasts);
      this.#later(lasts, () => {
        this.#restore();
        this.start();
      });
    });
  }

  #callers(): readonly [SimulatedClient, SimulatedClient] {
    const [beside, elsewhere] = this.#cluster.clients.slice(-CALLERS.length);
    return [defined(beside, 'caller'), defined(elsewhere, 'caller')];
  }

  #cutOff(primary: Host, others: readonly Host[], patience: number, lasts: number): void {
    const random = this.#random;
    const { clients } = this.#cluster;
    const [beside, elsewhere] = this.#callers();
    const inside = clients.filter((c) => c === beside || (c !== elsewhere && random.chance(0.2)));
    const outside = clients.filter((c) => !inside.includes(c));
    this.#block([
      ...both([primary.index], others.map((h) => h.index)), ...both(inside.map((c) => c.endpoint), others.map((h) => h.index)), ...both(outside.map((c) => c.endpoint), [primary.index]),
    ]);
    const standstill = !random.chance(this.#profile.standstill) ? null : random.chance(this.#profile.suspension) ? 'machine' : 'process';
    // A wall clock that is set back just when the machine is suspended hides that from anybody.
    if (standstill !== 'machine' && random.chance(this.#profile.clocks)) this.#turnClocks(primary, others);
    if (standstill !== null) this.#standsStill(primary, standstill, random.between(Math.floor(patience / 2), lasts));
    if (random.chance(this.#profile.slowLogs)) this.#slowLogs(others);
    if (random.chance(this.#profile.restarts)) this.#restart(others, 0);
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
  #standsStill(primary: Host, what: 'process' | 'machine', lasts: number): void {
    if (!primary.running || primary.paused) return;
    primary.pause();
    if (what === 'machine') primary.clock.suspend();
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

  /** All with the same configuration from now on, `gapMs` from one to the next. Returns how long it takes. */
  #restart(hosts: readonly Host[], gapMs: number): number {
    const timing = this.#random.pick(this.#profile.timings);
    hosts.forEach((host, i) => {
      this.#later(i * gapMs, () => {
        if (!this.#world.crash(host)) return;
        this.#later(this.#random.below(80), () => {
          if (host.running || host.lost || host.ended) return;
          host.ownOptions = timing;
          this.#world.restart(host);
        });
      });
    });
    return hosts.length * gapMs;
  }

  /** One operation after the other, whatever has become of those before. */
  #works(client: SimulatedClient, primary: Host, lasts: number): void {
    const { coverage, queue, workload } = this.#cluster;
    const [beside] = this.#callers();
    const end = queue.now + lasts;
    const begin = (): void => {
      if (queue.now >= end) return;
      if (client.process !== null && client.open.size < MOST_OPEN) {
        const { body, read } = workload.next(this.#random);
        if (client !== beside && read === null && this.#random.chance(0.4)) client.submit(body);
        else client.read(read === null ? workload.read(this.#random) : body, 'linearizable');
        if (client === beside && primary.running && primary.replica.isPrimary && this.#primary() !== primary) coverage.count('reads beside a deposed primary');
      }
      this.#later(this.#random.between(...CALL_INTERVAL), begin);
    };
    begin();
  }
}

function isNewer(a: Host, b: Host): boolean {
  const [one, other] = [a.replica, b.replica];
  return one.configuration.epoch !== other.configuration.epoch ? one.configuration.epoch > other.configuration.epoch : one.view > other.view;
}

function both(side: readonly number[], other: readonly number[]): [number, number][] {
  return side.flatMap((a) => other.flatMap((b): [number, number][] => [[a, b], [b, a]]));
}
