/**
 * Breaks things at random, as the profile says, but never more than the protocol promises to survive: of each configuration that may
 * count, at most f electors at once without a certain log and state (memory mode: down or recovering; disk mode: damaged,
 * between two states, new and not yet ready; a disk that is gone, until the member has been replaced).
 */
import { defined } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import { electors, quorum, tolerated, voters, type Configuration } from '../../vr/configuration.ts';
import type { ReplicaMessage } from '../../vr/messages.ts';
import { Changes } from './changes.ts';
import type { Cluster } from './cluster.ts';
import { Deposals, type DeposalWorld } from './deposals.ts';
import type { Host } from './host.ts';
import type { FaultKind, Profile } from './profile.ts';
import { CALM_NETWORK, type SeededPolicy } from './seeded_policy.ts';
import { StepDowns } from './step_downs.ts';
import { doesNotCount } from './witness_counts.ts';

/** Kinds of messages that may all be lost for a while: finds what relies on one of them. */
const MUTABLE: readonly ReplicaMessage['type'][] = [
  'prepare', 'prepareOk', 'commit', 'startViewChange', 'doViewChange', 'startView', 'startView', 'getView', 'getState', 'newState', 'recovery',
  'recoveryResponse', 'checkpointNotice', 'keepLog', 'startEpoch', 'epochStarted',
];

export class Nemesis {
  readonly #cluster: Cluster;
  readonly #policy: SeededPolicy;
  readonly #profile: Profile;
  readonly #random: Prng;
  readonly #total: number;
  readonly #changes: Changes | null;
  readonly #deposals: Deposals | null;
  readonly #stepDowns: StepDowns | null;
  #active = true;

  constructor(cluster: Cluster, policy: SeededPolicy, profile: Profile, random: Prng) {
    this.#cluster = cluster;
    this.#policy = policy;
    this.#profile = profile;
    this.#random = random;
    this.#total = profile.weights.reduce((sum, [, n]) => sum + n, 0);
    const certainty = { uncertain: (id: number): boolean => this.#uncertain(cluster.hostOf(id)) };
    this.#changes = profile.changes === null ? null : new Changes(cluster, profile.changes, random.fork(), certainty, (host) => this.#equip(host));
    const world: DeposalWorld = { alive: () => this.#alive, equip: (host) => this.#equip(host), crash: (host) => this.#crashes(host), restart: (host) => this.restart(host) };
    this.#deposals = profile.deposals === null ? null : new Deposals(cluster, policy, profile.deposals, random.fork(), world);
    this.#stepDowns = profile.stepDownsMs === null ? null : new StepDowns(cluster, profile.stepDownsMs, random.fork(), world);
  }

  /** Those that could run: the others have left for good, or have no disk. */
  get #alive(): Host[] {
    return this.#cluster.hosts.filter((h) => !h.lost && !h.ended);
  }

  start(): void {
    this.#policy.faults = { ...this.#profile.network };
    for (const host of this.#cluster.hosts) this.#equip(host);
    this.#changes?.start();
    this.#deposals?.start();
    this.#stepDowns?.start();
    if (this.#profile.intervalChangesMs !== null) this.#cluster.intervals.start(this.#profile.intervalChangesMs);
    this.#next();
  }

  #equip(host: Host): void {
    host.syncMs = this.#profile.syncMs;
    host.superblockMs = this.#profile.superblockMs;
  }

  #next(): void {
    this.#cluster.queue.after(1 + this.#exponential(this.#profile.faultIntervalMs), () => {
      if (!this.#active) return;
      if (this.#total > 0) this.#inject(this.#kind());
      this.#next();
    });
  }

  #exponential(mean: number): number {
    return Math.min(Math.floor(-Math.log(1 - this.#random.float()) * mean), mean * 6);
  }

  #kind(): FaultKind {
    let n = this.#random.below(this.#total);
    for (const [kind, weight] of this.#profile.weights) {
      if (n < weight) return kind;
      n -= weight;
    }
    return 'weather';
  }

  #later(action: () => void): void {
    this.#cluster.queue.after(1 + this.#exponential(this.#profile.faultDurationMs), () => {
      if (this.#active) action();
    });
  }

  #inject(kind: FaultKind): void {
    const { clients, coverage, trace, membership } = this.#cluster;
    const random = this.#random;
    const hosts = this.#alive;
    const host = random.pick(hosts);
    coverage.count(`fault ${kind}`);
    trace.line(`fault ${kind}`);
    switch (kind) {
      case 'crash': this.#crash(host); return;
      case 'crashAll': for (const h of hosts) this.#crash(h); return;
      case 'pause':
        if (!host.running || host.paused) return;
        host.pause();
        this.#later(() => { if (host.running && host.paused) host.resume(); });
        return;
      case 'partition': this.#partition(hosts.filter(() => random.chance(0.5))); return;
      case 'isolate': this.#partition([host]); return;
      case 'oneWay': {
        const to = hosts.filter((h) => h !== host && random.chance(0.6));
        const outward = random.chance(0.5);
        this.#block(to.map((h) => (outward ? [host.index, h.index] : [h.index, host.index])));
        return;
      }
      case 'clog': {
        const to = random.pick(hosts);
        this.#policy.clog(host.index, to.index, this.#cluster.now + this.#exponential(this.#profile.faultDurationMs));
        return;
      }
      case 'mute': this.#policy.mute(random.pick(MUTABLE), this.#cluster.now + 1 + this.#exponential(this.#profile.faultDurationMs)); return;
      case 'clockJump': host.clock.jump((random.float() * 2 - 1) * 10_000_000); return;
      case 'slowDisk':
        host.diskSlowness = random.between(5, 40);
        this.#later(() => { host.diskSlowness = 1; });
        return;
      case 'diskStall': host.diskStalledUntil = this.#cluster.now + random.between(300, 6000); return;
      case 'cramped':
        host.setCramped(true);
        this.#later(() => { host.setCramped(false); });
        return;
      case 'slowHost':
        host.lagMs = random.between(5, 400);
        this.#later(() => { host.lagMs = 0; });
        return;
      case 'longPause':
        if (!host.running || host.paused) return;
        host.pause();
        this.#cluster.queue.after(random.between(3000, 12_000), () => { if (this.#active && host.running && host.paused) host.resume(); });
        return;
      case 'flap': this.#flap(host, random.pick(hosts), random.between(20, 600), this.#cluster.now + random.between(1000, 8000)); return;
      case 'clockRate': host.clock.setDrift(((random.float() * 2 - 1) * this.#profile.clockDrift) / 1e6); return;
      case 'loseDisk': this.#loseDisk(random.pick(this.#cluster.members)); return;
      case 'rot': if (membership.role(host.id) !== 'witness' && this.#mayBecomeUncertain(host) && host.checkpointDisk.rot(random)) coverage.count('checkpoints rotten'); return;
      case 'clientCrash': {
        const client = random.pick(clients);
        if (client.process === null) return;
        this.#cluster.crashClient(client);
        this.#later(() => { if (client.process === null) this.#cluster.startClient(client); });
        return;
      }
      case 'connectionReset': this.#cluster.breakConnection(random.pick(clients), host); return;
      case 'weather': this.#weather(); return;
    }
  }

  /** The network is calm for a while, or as bad as the profile has it. */
  #weather(): void {
    const calm = this.#random.chance(0.5);
    this.#policy.faults = calm ? { ...CALM_NETWORK } : { ...this.#profile.network };
  }

  // --- crashes ---------------------------------------------------------------------------------------------------------

  /** Would the host be without a certain log if it were killed now? A witness may depend on `givers`. */
  #uncertain(host: Host, givers: readonly Host[] = this.#cluster.electors): boolean {
    if (host.amnesiac || host.lost || host.checkpointDisk.rotten.size > 0 || doesNotCount(this.#cluster, host, givers)) return true;
    if (this.#cluster.options.durability === 'memory') return !host.running;
    const { durable } = host.checkpointDisk;
    return !host.journalCertain || durable === null || (this.#cluster.membership.role(host.id) !== 'witness' && host.journalDisk.base > durable.op);
  }

  #mayBecomeUncertain(host: Host): boolean {
    const others = this.#cluster.electors.filter((h) => h !== host);
    return this.#cluster.membership.mayLose(host.id, { uncertain: (id) => this.#uncertain(this.#cluster.hostOf(id), others) });
  }

  #mayLose(host: Host): boolean {
    if (!host.running) return false;
    const afterwards = this.#cluster.options.durability === 'memory' || this.#uncertain(host);
    return !afterwards || this.#mayBecomeUncertain(host);
  }

  /** True: it may, and has. */
  #crashes(host: Host): boolean {
    if (!this.#mayLose(host)) return false;
    this.#cluster.coverage.count('crashes');
    this.#cluster.crash(host);
    return true;
  }

  #crash(host: Host): void {
    if (!this.#crashes(host)) return;
    this.#later(() => { if (!host.running && !host.lost && !host.ended) this.restart(host); });
  }

  /** Only where somebody will replace the member, and one at a time. */
  #loseDisk(host: Host): void {
    const { membership, coverage, members } = this.#cluster;
    if (this.#changes === null || !membership.isSettled || members.some((h) => h.lost) || !this.#mayBecomeUncertain(host)) return;
    if (host.running) this.#cluster.crash(host);
    host.loseDisk();
    coverage.count('disks lost');
  }

  restart(host: Host): void {
    if (this.#active && this.#cluster.options.durability === 'disk' && this.#mayBecomeUncertain(host) && this.#random.chance(this.#profile.damage)) {
      this.#cluster.coverage.count('journals damaged');
      host.damageJournal();
    }
    if (this.#active && this.#random.chance(this.#profile.damage)) host.damageSuperblock();
    if (this.#random.chance(0.1)) {
      host.ownOptions = { leaseMs: Math.floor(this.#cluster.options.replicaOptions.leaseMs * this.#random.pick([0, 0.3, 0.7, 1])) };
      this.#cluster.coverage.count('restarts with another lease');
    }
    this.#cluster.coverage.count('restarts');
    host.start();
    this.#tellConnected();
  }

  /** Connections come back, soon or later: some are told, some are not, and some are told more than once. */
  #tellConnected(): void {
    for (const host of this.#alive) {
      for (let times = this.#random.below(3); times > 0; times--) this.#cluster.queue.after(this.#random.below(200), () => { host.connected(); });
    }
  }

  // --- partitions ------------------------------------------------------------------------------------------------------

  #partition(side: readonly Host[]): void {
    const { clients } = this.#cluster;
    const hosts = this.#alive;
    const links: [number, number][] = [];
    for (const a of side) {
      for (const b of hosts) if (!side.includes(b)) links.push([a.index, b.index], [b.index, a.index]);
    }
    // Some clients are on that side, too.
    for (const client of clients) {
      const inside = this.#random.chance(0.5);
      for (const h of hosts) if (side.includes(h) !== inside) links.push([client.endpoint, h.index], [h.index, client.endpoint]);
    }
    this.#block(links);
  }

  /** A link that comes and goes, one direction or both. */
  #flap(a: Host, b: Host, period: number, until: number): void {
    const links: (readonly [number, number])[] = [[a.index, b.index], [b.index, a.index]];
    if (this.#random.chance(0.3)) links.pop();
    const turn = (down: boolean): void => {
      if (!this.#active) return;
      const over = this.#cluster.now >= until;
      for (const [from, to] of links) {
        if (down && !over) this.#policy.block(from, to);
        else this.#policy.unblock(from, to);
      }
      if (!down) this.#tellConnected();
      if (!over) this.#cluster.queue.after(1 + this.#random.below(period), () => turn(!down));
    };
    turn(true);
  }

  #block(links: readonly (readonly [number, number])[]): void {
    for (const [from, to] of links) this.#policy.block(from, to);
    this.#later(() => {
      for (const [from, to] of links) this.#policy.unblock(from, to);
      this.#tellConnected();
    });
  }

  // --- the end -----------------------------------------------------------------------------------------------------------

  /**
   * Ends all faults. Returns the hosts that have to converge: all, or a core with a quorum of certain logs while the
   * others stay broken in one way or another (a lone replica must not disturb a working quorum). While a change of the members is
   * half done, nobody stays broken.
   */
  heal(): readonly Host[] {
    this.#active = false;
    this.#changes?.stop();
    this.#deposals?.stop();
    this.#stepDowns?.stop();
    const { hosts, clients, coverage, membership, administrator } = this.#cluster;
    this.#policy.heal();
    this.#policy.faults = { ...CALM_NETWORK };
    const settled = membership.isSettled && !administrator.busy;
    const all = this.#alive;
    const core = settled && this.#random.chance(0.5) ? this.#core() : all;
    if (core.length < all.length) coverage.count('ends with a core only');
    if (!settled) coverage.count('ends in the middle of a change');
    for (const host of all) {
      host.diskSlowness = 1;
      host.diskStalledUntil = 0;
      host.lagMs = 0;
      host.setCramped(false);
      if (core.includes(host)) {
        if (host.paused) host.resume();
        if (!host.running) this.restart(host);
      } else {
        this.#leaveBroken(host, hosts);
      }
    }
    for (const client of clients) this.#cluster.findsTheGroup(client, core);
    return core;
  }

  #core(): Host[] {
    const { electors, membership, members } = this.#cluster;
    const core = electors.filter((h) => !h.lost);
    const gone = electors.length - core.length;
    // An observer may be made a voter yet, by the group itself.
    const { autoPromoteMs } = this.#profile.replica;
    const observers = members.filter((h) => membership.role(h.id) === 'observer' && !h.lost && (autoPromoteMs > 0 || this.#random.chance(0.5)));
    for (let i = gone; i < tolerated(membership.present); i++) {
      const out = this.#random.below(core.length);
      const [removed] = core.splice(out, 1);
      const certain = new Set([...core, ...observers].filter((h) => !this.#uncertain(h, core)).map((h) => h.id));
      if (!membership.live().every((c) => works(c, certain))) core.splice(out, 0, defined(removed, 'removed host'));
    }
    return [...core, ...observers];
  }

  #leaveBroken(host: Host, hosts: readonly Host[]): void {
    const others = [...hosts.filter((h) => h !== host).map((h) => h.index), ...this.#cluster.clients.map((c) => c.endpoint)];
    const way = this.#random.below(5);
    if (way === 0) {
      if (host.running) this.#cluster.crash(host);
      return;
    }
    if (host.paused && way !== 1) host.resume();
    if (!host.running) this.restart(host);
    if (way === 1 && host.running && !host.paused) host.pause();
    for (const other of others) {
      if (way !== 2) this.#policy.block(host.index, other);
      if (way !== 3) this.#policy.block(other, host.index);
    }
  }
}

function works(c: Configuration, up: ReadonlySet<number>): boolean {
  return electors(c).filter((m) => up.has(m.id)).length >= quorum(c) && voters(c).some((m) => up.has(m.id));
}
