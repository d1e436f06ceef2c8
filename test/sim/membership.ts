/**
 * What is known, from outside, of who belongs to the group: the configurations that have begun and those that somebody has
 * asked for. From them follows how much may break: never more than each configuration that may count now tolerates.
 */
import { defined } from '../../lib/assert.ts';
import { epoch } from '../../lib/ids.ts';
import { configuration, electors, memberOf, quorum, tolerated, voters, type Configuration, type Member, type Role } from '../../vr/configuration.ts';
import { ensure } from '../checkers/violation.ts';

export interface Certainty {
  /** The member's log or state could not be relied upon if its process died now. */
  uncertain(id: number): boolean;
}

export class Membership {
  /** By epoch. */
  readonly #begun: Configuration[];
  /** Who has started the present epoch: holds all that came before it, durably. */
  #started = new Set<number>();
  /** Asked for in the present epoch: any of them may begin, also when the administrator has given up. */
  #proposed: Configuration[] = [];

  /** Epochs that began of the group's own accord. */
  promotions = 0;
  /** Some epoch has had witnesses. */
  witnesses = false;

  readonly #automatic: boolean;

  /** @param automatic the group itself lets an observer take the place of an elector that has gone */
  constructor(initial: Configuration, automatic = false) {
    this.#automatic = automatic;
    this.#begun = [initial];
    this.witnesses = initial.members.some((m) => m.role === 'witness');
  }

  /** Of the newest epoch that has begun anywhere. */
  get present(): Configuration {
    return defined(this.#begun.at(-1), 'configuration');
  }
  get isComplete(): boolean {
    return this.present.epoch === 0 || electors(this.present).filter((m) => this.#started.has(m.id)).length >= quorum(this.present);
  }
  of(epoch: number): Configuration | undefined {
    return this.#begun[epoch];
  }
  role(id: number): Role | null {
    return this.present.members.find((m) => m.id === id)?.role ?? null;
  }
  /** It is or was a member, or may become one. */
  known(id: number): boolean {
    return [...this.#begun, ...this.#proposed].some((c) => c.members.some((m) => m.id === id));
  }
  /** It was a member, and is none any more. */
  isFormer(id: number): boolean {
    return this.role(id) === null && this.#begun.some((c) => c.members.some((m) => m.id === id));
  }

  /** A replica acts by this configuration. */
  begun(c: Configuration): void {
    const known = this.#begun[c.epoch];
    if (known !== undefined) {
      ensure(same(known, c), 'one configuration an epoch', () => `epoch ${c.epoch} has the members ${describe(c)}, elsewhere ${describe(known)}`);
      return;
    }
    ensure(c.epoch === this.#begun.length, 'epochs follow each other', () => `epoch ${c.epoch} begins, the newest was ${this.present.epoch}`);
    const asked = this.#proposed.some((p) => p.epoch === c.epoch && same(p, c));
    ensure(asked || this.#promotions().some((p) => same(p, c)), 'changes were asked for', () => `epoch ${c.epoch} begins with the members ${describe(c)}, which nobody asked for`);
    this.promotions += asked ? 0 : 1;
    ensure(this.isComplete, 'one change at a time', () => `epoch ${c.epoch} begins, and epoch ${this.present.epoch} has not started everywhere`);
    this.#begun.push(c);
    if (c.members.some((m) => m.role === 'witness')) this.witnesses = true;
    this.#started = new Set();
    this.#proposed = [];
  }

  /** A member says that it has started the epoch. */
  started(id: number, epoch: number): void {
    if (epoch === this.present.epoch) this.#started.add(id);
  }

  proposed(c: Configuration): void {
    if (c.epoch === this.present.epoch + 1) this.#proposed.push(c);
  }

  /** The configurations of which any may have to decide something now. */
  live(): readonly Configuration[] {
    const before = this.isComplete ? undefined : this.#begun[this.present.epoch - 1];
    return [this.present, ...(before === undefined ? [] : [before]), ...this.#proposed, ...this.#promotions()];
  }

  /** What the group may change into by itself. */
  #promotions(): Configuration[] {
    if (!this.#automatic) return [];
    const { present } = this;
    const next: Configuration[] = [];
    for (const gone of electors(present)) {
      for (const heir of present.members.filter((m) => m.role === 'observer')) {
        const others = present.members.filter((m) => m.id !== gone.id && m.id !== heir.id);
        const members: Member[] = [...others, { ...heir, role: gone.role }];
        if (gone.role === 'voter') members.push({ ...gone, role: 'observer' });
        next.push(configuration(epoch(present.epoch + 1), members, present.durability));
      }
    }
    return next;
  }

  /** Nothing that somebody has asked for may still begin, and nothing is half done. */
  get isSettled(): boolean {
    return this.isComplete && this.#proposed.length === 0;
  }

  /** Whether each configuration that may count stands it when this member's log or state goes (too). */
  mayLose(id: number, certainty: Certainty, among: readonly Configuration[] = this.live()): boolean {
    return among.every((c) => {
      const role = c.members.find((m) => m.id === id)?.role;
      if (role === undefined || role === 'observer') return true;
      const certain = (other: { readonly id: number }): boolean => other.id !== id && !certainty.uncertain(other.id);
      return electors(c).length - electors(c).filter(certain).length <= tolerated(c) && voters(c).some(certain);
    });
  }

  /** Whether a group of these members could work as things are. */
  stands(c: Configuration, certainty: Certainty): boolean {
    return electors(c).filter((m) => certainty.uncertain(m.id)).length <= tolerated(c) && voters(c).some((m) => !certainty.uncertain(m.id));
  }
}

function same(a: Configuration, b: Configuration): boolean {
  return a.members.length === b.members.length && a.members.every((m) => {
    const other = memberOf(b, m.id);
    return other?.role === m.role && other.address === m.address;
  });
}

export function describe(c: Configuration): string {
  return c.members.map((m) => `${m.id}${m.role === 'voter' ? '' : m.role === 'witness' ? 'w' : 'o'}`).join(' ');
}
