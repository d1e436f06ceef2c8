/** The reads of a client that are under way, and those that wait until there are fewer of them. */
import { assert, defined } from '../lib/assert.ts';
import { Fifo } from '../lib/fifo.ts';
import type { ClientPace } from './client_pace.ts';
import type { ClientRoute } from './client_route.ts';
import type { ClientOptions, ClientPorts, Pending } from './client_types.ts';

/** Who had no answer for a read is not asked for so long, milliseconds. */
const ASIDE_MS = 5000;

export class ClientReads<Token> {
  readonly #ports: ClientPorts<Token>;
  readonly #route: ClientRoute;
  readonly #pace: ClientPace;
  readonly #most: number;
  /** Asked first, where it is set. */
  readonly #preferred: string;
  /** Told when something has to be done next. */
  readonly #deadline: (at: number) => void;
  readonly #underWay = new Map<number, Pending<Token>>();
  readonly #waiting = new Fifo<Pending<Token>>();
  #lastId = 0;
  /** Who answers this client's causal reads. */
  #reader = '';
  /** Another stands in for one that is set aside: until then. */
  #chooseAgainAt = Infinity;
  /** By address, until when it is not asked. */
  readonly #aside = new Map<string, number>();

  constructor(ports: ClientPorts<Token>, route: ClientRoute, pace: ClientPace, { maxReads, readFrom }: Pick<ClientOptions, 'maxReads' | 'readFrom'>, deadline: (at: number) => void) {
    this.#ports = ports;
    this.#route = route;
    this.#pace = pace;
    this.#most = maxReads;
    this.#preferred = readFrom;
    this.#deadline = deadline;
  }

  get waiting(): Fifo<Pending<Token>> {
    return this.#waiting;
  }
  get outstanding(): number {
    return this.#underWay.size + this.#waiting.length;
  }

  /** What is under way. */
  [Symbol.iterator](): IterableIterator<Pending<Token>> {
    return this.#underWay.values();
  }

  find(id: number): Pending<Token> | undefined {
    return this.#underWay.get(id);
  }

  add(p: Pending<Token>, now: number): void {
    if (this.#underWay.size < this.#most) return this.#begin(p, now);
    this.#waiting.push(p);
    this.#deadline(p.expires);
  }

  /** It has an outcome: one that waited may begin. */
  remove(p: Pending<Token>, now: number): void {
    if (!this.#underWay.delete(p.id)) return;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#begin(next, now);
  }

  clear(): void {
    this.#underWay.clear();
  }

  disconnected(from: string): void {
    if (from === this.#reader) this.#reader = '';
  }

  /** It was behind, or let a read wait: it may do so for every read from now on. */
  setAside(from: string, now: number): void {
    this.#aside.set(from, now + ASIDE_MS);
    if (from === this.#reader) this.#reader = '';
  }

  /** A witness, or who is no member any more, sends its reads elsewhere: to the primary, which has an answer for certain. */
  redirected(from: string, now: number): void {
    if (from === this.#route.primary || this.#route.readers.includes(from)) return;
    for (const p of this.#underWay.values()) if (p.sentTo === from && p.consistency !== 'linearizable') this.transmit(p, now);
  }

  transmit(p: Pending<Token>, now: number): void {
    // A causal read spares the primary, until the one asked turns out to be behind, silent or away.
    const elsewhere = p.consistency !== 'linearizable' && p.sends === 0 && !p.turnedAway && this.sendTo(this.#readerAddress(now), p, now);
    if (!elsewhere) this.sendTo(this.#route.primary, p, now);
    p.due = now + this.#pace.backOff(p.overdue);
    this.#deadline(p.due);
  }

  sendTo(address: string, p: Pending<Token>, now: number): boolean {
    const consistency = p.consistency;
    assert(consistency !== null, 'a read says how consistent it has to be');
    if (!this.#ports.send(address, { type: 'read', id: p.id, consistency, minOp: p.minOp, maxStalenessMs: p.maxStalenessMs, body: p.body })) return false;
    p.sends++;
    p.sentTo = address;
    p.sentAt = now;
    return true;
  }

  #begin(p: Pending<Token>, now: number): void {
    this.#lastId = (this.#lastId % 0xffff_ffff) + 1;
    p.id = this.#lastId;
    this.#underWay.set(p.id, p);
    this.transmit(p, now);
  }

  #readerAddress(now: number): string {
    if (now >= this.#chooseAgainAt || !this.#route.readers.includes(this.#reader) || this.#isPreferredElsewhere(now)) this.#choose(now);
    return this.#reader;
  }

  /** It may become a member, or known by its address, at any time. */
  #isPreferredElsewhere(now: number): boolean {
    if (this.#preferred === '' || this.#reader === this.#preferred) return false;
    const preferred = this.#route.readerAt(this.#preferred);
    return preferred !== undefined && preferred !== this.#reader && (this.#aside.get(preferred) ?? 0) <= now;
  }

  #choose(now: number): void {
    for (const [address, until] of this.#aside) if (until <= now) this.#aside.delete(address);
    const { primary, readers } = this.#route;
    const left = readers.filter((r) => !this.#aside.has(r));
    const preferred = this.#preferred === '' ? undefined : this.#route.readerAt(this.#preferred);
    if (preferred !== undefined && left.includes(preferred)) this.#reader = preferred;
    else this.#reader = left.length === 0 ? primary : defined(left[this.#ports.uint32() % left.length], 'reader');
    const isSecondChoice = this.#reader === primary || (preferred !== undefined && this.#reader !== preferred);
    this.#chooseAgainAt = isSecondChoice ? Math.min(...this.#aside.values()) : Infinity;
  }
}
