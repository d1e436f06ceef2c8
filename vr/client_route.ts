/**
 * What a client believes about the group: where its members are and which of them leads. Only ever a hint: a wrong one
 * costs a time-out, never a wrong answer. Views are compared within an epoch, epochs first (PROTOCOL row 20).
 */
import { defined } from '../lib/assert.ts';
import { view, type MemberId, type View } from '../lib/ids.ts';
import { primaryOf, type Configuration } from './configuration.ts';

export class ClientRoute {
  readonly #seeds: readonly string[];
  /** Under which address a member answered: may differ from its configured one (another name for it, a forwarded port). */
  readonly #addressOf = new Map<MemberId, string>();
  #configuration: Configuration | null = null;
  #view: View = view(0);
  #primary: string;
  #peers: readonly string[];
  #readers: readonly string[];

  constructor(seeds: readonly string[]) {
    this.#seeds = seeds;
    this.#peers = seeds;
    this.#readers = seeds;
    this.#primary = defined(seeds[0], 'a client knows at least one address');
  }

  get configuration(): Configuration | null {
    return this.#configuration;
  }
  get view(): View {
    return this.#view;
  }
  /** The address that requests go to. */
  get primary(): string {
    return this.#primary;
  }
  /** Everyone who may know more: the members, and the addresses that the client was started with. */
  get peers(): readonly string[] {
    return this.#peers;
  }

  /** Who answers a read that need not be the primary's: a witness has no state, and an address that the client was started with may be no member's. */
  get readers(): readonly string[] {
    return this.#readers;
  }

  /** The same, of the member at this address, as the group calls it or as it answered; undefined: it is none of them. */
  readerAt(address: string): string | undefined {
    const m = this.#configuration?.members.find(({ id, address: configured }) => configured === address || this.#addressOf.get(id) === address);
    const known = m === undefined || this.#configuration === null ? address : this.#address(m.id, this.#configuration);
    return this.#readers.includes(known) ? known : undefined;
  }

  /** A replica introduced itself. True when the primary is now another. */
  welcome(from: string, at: View, configuration: Configuration, self: MemberId): boolean {
    this.#addressOf.set(self, from);
    const moved = this.learn(at, configuration, true);
    this.#rebuild();
    return moved;
  }

  /**
   * Somebody who need not be the primary told its view. `renew` also takes over an equal view, as after a member's address became known.
   * True when the primary is now another.
   */
  learn(at: View, configuration: Configuration, renew = false): boolean {
    const current = this.#configuration;
    if (current !== null && configuration.epoch < current.epoch) return false;
    const known = current !== null && configuration.epoch === current.epoch;
    if (!known) {
      this.#configuration = configuration;
      this.#rebuild();
    }
    if (known && (at < this.#view || (at === this.#view && !renew && this.#isPrimaryOf(configuration, at)))) return false;
    this.#view = at;
    return this.#moveTo(this.#address(primaryOf(configuration, at).id, configuration));
  }

  /**
   * `from` has answered as only a primary does, in view `at` where the answer names it. That is stronger than what
   * anybody said about it, a higher view included (a replica may have one that nobody else joins).
   */
  answered(from: string, at: View | null): boolean {
    if (at !== null) this.#view = at;
    else if (this.#primary !== from) this.#view = this.#nextViewOf(from);
    return this.#primary !== from && this.#moveTo(from);
  }

  /** Nobody is there, and nothing is known of the group yet: try the next address. True when that is another. */
  rotate(): boolean {
    if (this.#configuration !== null) return false;
    const at = this.#seeds.indexOf(this.#primary);
    return this.#moveTo(defined(this.#seeds[(at + 1) % this.#seeds.length], 'seed'));
  }

  /** The lowest view from the known one on that `from` leads: what its answer proves, at least. */
  #nextViewOf(from: string): View {
    const c = this.#configuration;
    if (c === null) return this.#view;
    for (let v = this.#view as number; v < this.#view + c.members.length; v++) {
      if (this.#address(primaryOf(c, view(v)).id, c) === from) return view(v);
    }
    return this.#view;
  }

  #isPrimaryOf(c: Configuration, at: View): boolean {
    return this.#address(primaryOf(c, at).id, c) === this.#primary;
  }

  #moveTo(address: string): boolean {
    if (address === this.#primary) return false;
    this.#primary = address;
    return true;
  }

  #address(id: MemberId, c: Configuration): string {
    return this.#addressOf.get(id) ?? defined(c.members.find((m) => m.id === id), 'member').address;
  }

  #rebuild(): void {
    const c = this.#configuration;
    if (c === null) return;
    this.#peers = [...new Set([...c.members.map((m) => this.#address(m.id, c)), ...this.#seeds])];
    this.#readers = c.members.filter((m) => m.role !== 'witness').map((m) => this.#address(m.id, c));
  }
}
