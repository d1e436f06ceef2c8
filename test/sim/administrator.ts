/**
 * Whoever changes the members of the group: asks which epoch it is, asks for a change, and repeats it until it has an
 * answer; then asks until the new epoch has started everywhere. One request at a time, over the same network as everybody.
 */
import { defined } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import { configuration, primaryOf, type Configuration, type Member } from '../../vr/configuration.ts';
import { epoch, view } from '../../lib/ids.ts';
import type { ClientRequest, Message, NewEpoch, Refused } from '../../vr/messages.ts';
import type { EventQueue } from './event_queue.ts';

export interface Change {
  /** The configuration that it was made from. */
  readonly from: Configuration;
  readonly members: readonly Member[];
  readonly force: boolean;
}

/** What a change came to. */
export type Outcome =
  | { readonly kind: 'done' }
  /** Another change came first. */
  | { readonly kind: 'overtaken' }
  | { readonly kind: 'refused'; readonly code: Refused['code']; readonly reason: string };

export interface AdministratorWorld {
  readonly queue: EventQueue;
  readonly random: Prng;
  /** Hosts that may be asked: those of which the administrator knows. */
  hosts(): readonly number[];
  indexOf(address: string): number | null;
  send(index: number, message: ClientRequest): void;
  /** Before the first copy of the request leaves. */
  proposing(next: Configuration): void;
}

interface Task {
  readonly nonce: Buffer;
  readonly change: Change;
  readonly next: Configuration;
}

export class Administrator {
  /** The newest answer to CheckEpoch, or about a change. */
  known: NewEpoch | null = null;
  outcome: Outcome | null = null;
  readonly #world: AdministratorWorld;
  #task: Task | null = null;
  #target = 0;
  /** The newest that it was told of. */
  #view = view(0);
  #running = false;

  constructor(world: AdministratorWorld) {
    this.#world = world;
  }

  get busy(): boolean {
    return this.#task !== null;
  }
  get change(): Change | null {
    return this.#task?.change ?? null;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#loop();
  }

  begin(change: Change): void {
    this.start();
    const { from, members } = change;
    this.#task = { nonce: this.#world.random.bytes(16), change, next: configuration(epoch(from.epoch + 1), members, from.durability) };
    this.outcome = null;
    this.#world.proposing(this.#task.next);
    this.#ask();
  }

  /** Forgets what was asked for: it may happen all the same. */
  giveUp(): void {
    this.#task = null;
  }

  receive(from: number, message: Message): void {
    if (message.type === 'redirect') {
      // A node that waits to join knows old views only.
      if (message.view < this.#view) return;
      this.#view = message.view;
      const primary = this.#world.indexOf(primaryOf(message.configuration, message.view).address);
      // It may be at the address of a primary that is gone, and name itself.
      if (primary !== null && primary !== from) this.#target = primary;
    } else if (message.type === 'newEpoch') {
      this.#onNewEpoch(message);
    } else if (message.type === 'refused' && this.#task !== null && message.nonce.equals(this.#task.nonce)) {
      this.#end({ kind: 'refused', code: message.code, reason: message.reason });
    }
  }

  #onNewEpoch(m: NewEpoch): void {
    if (this.known === null || m.view >= this.known.view) this.known = m;
    const task = this.#task;
    if (task === null || m.configuration.epoch < task.next.epoch) return;
    const asked = m.configuration.epoch === task.next.epoch && sameMembers(m.configuration, task.next);
    this.#end(asked ? { kind: 'done' } : { kind: 'overtaken' });
  }

  #end(outcome: Outcome): void {
    this.#task = null;
    this.outcome = outcome;
  }

  #loop(): void {
    const { queue, random } = this.#world;
    this.#ask();
    // Nobody answers, or not the primary: somebody else may know.
    if (random.chance(0.4)) this.#target = random.pick(this.#world.hosts());
    queue.after(40 + random.below(120), () => this.#loop());
  }

  #ask(): void {
    const task = this.#task;
    if (task === null) {
      this.#world.send(this.#target, { type: 'checkEpoch', nonce: this.#world.random.bytes(16) });
      return;
    }
    const { from, members, force } = task.change;
    this.#world.send(this.#target, { type: 'reconfigure', nonce: task.nonce, epoch: from.epoch, members, force });
  }
}

function sameMembers(a: Configuration, b: Configuration): boolean {
  return a.members.length === b.members.length
    && a.members.every((m, i) => { const other = defined(b.members[i], 'member'); return m.id === other.id && m.role === other.role && m.address === other.address; });
}
