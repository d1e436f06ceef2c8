/** What a bad network does, from a seed: loss, repetition, late replay, reordering, blocked and clogged links. */
import type { Prng } from '../../lib/prng.ts';
import type { Message } from '../../vr/messages.ts';
import type { Coverage } from './coverage.ts';
import type { Endpoint, Packet, Policy } from './network.ts';

export interface NetworkFaults {
  /** Probabilities. */
  loss: number;
  duplication: number;
  /** Of a copy that comes seconds later. */
  lateReplay: number;
  /** Of a message that takes `slowMs` longer, so that others overtake it. */
  slow: number;
  slowMs: number;
  /** Least delay, and the span above it. */
  latencyMs: number;
  jitterMs: number;
}

export const CALM_NETWORK: Readonly<NetworkFaults> = { loss: 0, duplication: 0, lateReplay: 0, slow: 0, slowMs: 0, latencyMs: 1, jitterMs: 2 };

const LOST: readonly number[] = [];

export class SeededPolicy implements Policy {
  faults: NetworkFaults = { ...CALM_NETWORK };
  readonly #random: Prng;
  readonly #now: () => number;
  readonly #coverage: Coverage;
  /** Directed links that carry nothing. */
  readonly #blocked = new Set<number>();
  /** Directed links that hold everything back until a time. */
  readonly #clogged = new Map<number, number>();
  /** Kinds of messages that nobody receives, until a time. */
  readonly #muted = new Map<Message['type'], number>();
  /** Directed links on which each message takes up to so many milliseconds longer, one more and one less, until a time. */
  readonly #late = new Map<number, { readonly mostMs: number; readonly until: number }>();

  constructor(random: Prng, now: () => number, coverage: Coverage) {
    this.#random = random;
    this.#now = now;
    this.#coverage = coverage;
  }

  block(from: Endpoint, to: Endpoint): void {
    this.#blocked.add(from * 256 + to);
  }
  unblock(from: Endpoint, to: Endpoint): void {
    this.#blocked.delete(from * 256 + to);
  }
  isBlocked(from: Endpoint, to: Endpoint): boolean {
    return this.#blocked.has(from * 256 + to);
  }
  clog(from: Endpoint, to: Endpoint, until: number): void {
    this.#clogged.set(from * 256 + to, until);
  }
  /** @param mostMs by which a message is late at most */
  delay(from: Endpoint, to: Endpoint, mostMs: number, until: number): void {
    this.#late.set(from * 256 + to, { mostMs, until });
  }
  mute(type: Message['type'], until: number): void {
    this.#muted.set(type, until);
  }
  heal(): void {
    this.#muted.clear();
    this.#blocked.clear();
    this.#clogged.clear();
    this.#late.clear();
  }

  route(packet: Packet): readonly number[] {
    const { from, to } = packet;
    const link = from * 256 + to;
    if (this.#blocked.size > 0 && this.#blocked.has(link)) {
      this.#coverage.count('drops by partition');
      return LOST;
    }
    const muted = this.#muted.get(packet.message.type);
    if (muted !== undefined) {
      if (muted > this.#now()) return LOST;
      this.#muted.delete(packet.message.type);
    }
    const f = this.faults;
    const random = this.#random;
    if (f.loss > 0 && random.chance(f.loss)) return LOST;
    let delay = f.latencyMs + random.below(f.jitterMs + 1);
    if (f.slow > 0 && random.chance(f.slow)) delay += random.below(f.slowMs + 1);
    const clogged = this.#clogged.get(link);
    if (clogged !== undefined) {
      if (clogged > this.#now()) delay += clogged - this.#now();
      else this.#clogged.delete(link);
    }
    const late = this.#late.get(link);
    if (late !== undefined) {
      if (late.until > this.#now()) delay += random.below(late.mostMs + 1);
      else this.#late.delete(link);
    }
    const again = f.duplication > 0 && random.chance(f.duplication);
    const replayed = f.lateReplay > 0 && random.chance(f.lateReplay);
    if (!again && !replayed) return [delay];
    const delays = [delay];
    if (again) delays.push(delay + random.below(f.slowMs + f.jitterMs + 1));
    if (replayed) delays.push(delay + random.between(100, 4000));
    return delays;
  }
}
