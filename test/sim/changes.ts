/**
 * An operator at work: adds nodes, promotes, demotes, removes and replaces members, one change after the other, while
 * everything else breaks. Asks for nothing that the group could not live with as things are.
 */
import { configuration, electors, voters, type Configuration, type Member } from '../../vr/configuration.ts';
import { epoch } from '../../lib/ids.ts';
import type { Prng } from '../../lib/prng.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import type { Certainty } from './membership.ts';

export interface ChangeProfile {
  /** Mean milliseconds between looking whether something is to be done. */
  readonly intervalMs: number;
  readonly witnesses: boolean;
  readonly observers: boolean;
  /** The number of electors stays between these. */
  readonly least: number;
  readonly most: number;
}

/** Nodes that may be made in one run. */
const MOST_HOSTS = 14;

export class Changes {
  readonly #cluster: Cluster;
  readonly #profile: ChangeProfile;
  readonly #random: Prng;
  readonly #certainty: Certainty;
  /** A node has been made: gives it the disk and clocks of this world. */
  readonly #onHost: (host: Host) => void;
  #active = true;

  constructor(cluster: Cluster, profile: ChangeProfile, random: Prng, certainty: Certainty, onHost: (host: Host) => void) {
    this.#cluster = cluster;
    this.#profile = profile;
    this.#random = random;
    this.#certainty = certainty;
    this.#onHost = onHost;
  }

  start(): void {
    this.#cluster.administrator.start();
    this.#next();
  }

  stop(): void {
    this.#active = false;
  }

  #next(): void {
    this.#cluster.queue.after(1 + this.#random.below(2 * this.#profile.intervalMs), () => {
      if (!this.#active) return;
      this.#look();
      this.#next();
    });
  }

  #look(): void {
    const { administrator, coverage, membership } = this.#cluster;
    if (administrator.outcome !== null) {
      const { outcome } = administrator;
      coverage.count(`change ${outcome.kind}${outcome.kind === 'refused' ? ` ${outcome.code}` : ''}`);
      administrator.outcome = null;
    }
    if (administrator.busy) {
      if (this.#random.chance(0.02)) administrator.giveUp();
      return;
    }
    const { known } = administrator;
    if (known === null || known.configuration.epoch !== membership.present.epoch || !known.complete) return;
    const members = this.#draw(known.configuration);
    if (members === null) return;
    const next = configuration(epoch(known.configuration.epoch + 1), members, known.configuration.durability);
    if (!membership.stands(next, this.#certainty)) {
      coverage.count('changes that had to wait');
      return;
    }
    coverage.count('changes asked for');
    administrator.begin({ from: known.configuration, members, force: this.#random.chance(0.5) });
  }

  /** The members after some sensible change, or null. */
  #draw(c: Configuration): readonly Member[] | null {
    const dead = c.members.find((m) => this.#cluster.hostOf(m.id).lost);
    if (dead !== undefined) return dead.role === 'observer' ? without(c, dead) : this.#replaced(c, dead);
    const random = this.#random;
    const count = electors(c).length;
    const one = random.pick(electors(c));
    const observer = c.members.find((m) => m.role === 'observer');
    switch (random.below(8)) {
      case 0: return this.#replaced(c, one);
      case 1: return this.#profile.observers && observer === undefined ? this.#added(c, 'observer') : this.#replaced(c, one);
      case 2: return observer === undefined ? null : without(c, observer);
      case 3: return count < this.#profile.most ? this.#grown(c) : null;
      case 4: return count > this.#profile.least ? this.#shrunk(c) : null;
      case 5: return this.#otherRole(c, one);
      case 6: return observer === undefined ? null : withRole(without(c, one), observer, one.role);
      default: return null;
    }
  }

  #newNode(role: Member['role'], address?: string): Member | null {
    const { hosts } = this.#cluster;
    // A node that was made for a change that came to nothing is there still, unless its address has another by now.
    const { membership } = this.#cluster;
    const idle = hosts.find((h) => !h.lost && !h.ended && !membership.known(h.id) && this.#cluster.hostAt(h.address) === h && !membership.present.members.some((m) => m.address === h.address));
    if (idle === undefined && hosts.length >= MOST_HOSTS) return null;
    const host = idle ?? this.#cluster.addHost(address);
    if (idle === undefined) {
      this.#onHost(host);
      host.start();
      this.#cluster.coverage.count('nodes that joined');
    }
    return { id: host.id, role, address: host.address, httpAddress: host.httpAddress };
  }

  /** By an observer that is warm, or by a new node, perhaps at the same address. */
  #replaced(c: Configuration, old: Member): readonly Member[] | null {
    const observer = c.members.find((m) => m.role === 'observer' && !this.#cluster.hostOf(m.id).lost);
    if (observer !== undefined && this.#random.chance(0.6)) return withRole(without(c, old), observer, old.role);
    const { lost, address } = this.#cluster.hostOf(old.id);
    // Unless a node that was made for an earlier attempt stands there already.
    const sameAddress = lost && this.#cluster.hostAt(address)?.id === old.id && this.#random.chance(0.4);
    const node = this.#newNode(old.role, sameAddress ? old.address : undefined);
    return node === null ? null : [...without(c, old), node];
  }

  #added(c: Configuration, role: Member['role']): readonly Member[] | null {
    const node = this.#newNode(role);
    return node === null ? null : [...c.members, node];
  }

  #grown(c: Configuration): readonly Member[] | null {
    const first = this.#added(c, this.#profile.witnesses && this.#random.chance(0.3) ? 'witness' : 'voter');
    if (first === null || electors(c).length + 2 > this.#profile.most || this.#random.chance(0.5)) return first;
    const second = this.#newNode('voter');
    return second === null || first.some((m) => m.id === second.id) ? first : [...first, second];
  }

  #shrunk(c: Configuration): readonly Member[] | null {
    const [a, b] = [this.#random.pick(electors(c)), this.#random.pick(electors(c))];
    const one = without(c, a);
    const members = a.id !== b.id && electors(c).length - 2 >= this.#profile.least ? one.filter((m) => m.id !== b.id) : one;
    return members.filter((m) => m.role === 'voter').length >= 2 ? members : null;
  }

  #otherRole(c: Configuration, one: Member): readonly Member[] | null {
    // A witness has nothing to go on from as anything else: it would have to leave and join anew.
    if (one.role === 'witness' || !this.#profile.witnesses || voters(c).length <= 2) return null;
    return withRole(without(c, one), one, this.#random.chance(0.8) || !this.#profile.observers || electors(c).length <= this.#profile.least ? 'witness' : 'observer');
  }
}

function without(c: Configuration, gone: Member): readonly Member[] {
  return c.members.filter((m) => m.id !== gone.id);
}

function withRole(members: readonly Member[], one: Member, role: Member['role']): readonly Member[] {
  return [...members.filter((m) => m.id !== one.id), { ...one, role }];
}
