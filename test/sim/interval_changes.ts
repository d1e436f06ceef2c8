/**
 * An operator who tunes the checkpoint interval of the running group: asks what it is, asks for another, repeats what was not
 * answered. What it knows may be old, so some changes come second and have to do nothing.
 */
import { opNumber, view } from '../../lib/ids.ts';
import { primaryOf } from '../../vr/configuration.ts';
import type { AskInterval, Interval, Message } from '../../vr/messages.ts';
import type { AdministratorWorld } from './administrator.ts';
import type { Coverage } from './coverage.ts';

const OPS: readonly number[] = [1, 3, 7, 16, 50, 150, 100_000];
const BYTES: readonly number[] = [1024, 3000, 10_000, 64 << 20, 2 ** 41];

export class IntervalChanges {
  readonly #world: Omit<AdministratorWorld, 'proposing'>;
  readonly #coverage: Coverage;
  #question: AskInterval | null = null;
  #known: Interval | null = null;
  #target = 0;
  #view = view(0);
  #active = false;

  constructor(world: Omit<AdministratorWorld, 'proposing'>, coverage: Coverage) {
    this.#world = world;
    this.#coverage = coverage;
  }

  /** A question has no answer yet. */
  get busy(): boolean {
    return this.#question !== null;
  }

  /** @param meanMs between questions */
  start(meanMs: number): void {
    this.#active = true;
    this.#next(meanMs);
    this.#repeat();
  }

  /** What was asked for is still asked for. */
  stop(): void {
    this.#active = false;
  }

  #next(meanMs: number): void {
    this.#world.queue.after(1 + this.#world.random.below(2 * meanMs), () => {
      if (!this.#active) return;
      if (this.#question === null) {
        this.#question = { type: 'askInterval', nonce: this.#world.random.bytes(16), change: this.#draw() };
        this.#ask();
      }
      this.#next(meanMs);
    });
  }

  #draw(): AskInterval['change'] {
    const { random } = this.#world;
    if (random.chance(0.2)) return null;
    // Now and then from what it was at first: too late, or a guess.
    const after = this.#known === null || random.chance(0.1) ? opNumber(0) : this.#known.since;
    return { after, ops: random.pick(OPS), bytes: random.chance(0.6) ? 64 << 20 : random.pick(BYTES) };
  }

  #repeat(): void {
    const { queue, random } = this.#world;
    if (this.#question !== null) {
      if (random.chance(0.4)) this.#target = random.pick(this.#world.hosts());
      this.#ask();
    }
    queue.after(40 + random.below(120), () => { this.#repeat(); });
  }

  #ask(): void {
    if (this.#question !== null) this.#world.send(this.#target, this.#question);
  }

  receive(from: number, message: Message): void {
    if (message.type === 'redirect') {
      if (message.view < this.#view) return;
      this.#view = message.view;
      const primary = this.#world.indexOf(primaryOf(message.configuration, message.view).address);
      if (primary !== null && primary !== from) this.#target = primary;
      return;
    }
    const question = this.#question;
    if (question === null || (message.type !== 'interval' && message.type !== 'refused') || !message.nonce.equals(question.nonce)) return;
    if (message.type === 'refused') {
      this.#coverage.count(`interval refused ${message.code}`);
      if (message.code !== 'busy') this.#question = null;
      return;
    }
    this.#question = null;
    this.#known = message;
    const { change } = question;
    if (change === null) this.#coverage.count('interval asked for');
    else this.#coverage.count(message.ops === change.ops && message.bytes === change.bytes ? 'interval changed' : 'interval changes that came second');
  }
}
