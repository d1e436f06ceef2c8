/** The reads of a client that are under way, and those that wait until there are fewer of them. */
import { assert, defined } from '../lib/assert.ts';
import { Fifo } from '../lib/fifo.ts';
import type { ClientPace } from './client_pace.ts';
import type { ClientRoute } from './client_route.ts';
import type { ClientPorts, Pending } from './client_types.ts';

export class ClientReads<Token> {
  readonly #ports: ClientPorts<Token>;
  readonly #route: ClientRoute;
  readonly #pace: ClientPace;
  readonly #most: number;
  /** Told when something has to be done next. */
  readonly #deadline: (at: number) => void;
  readonly #underWay = new Map<number, Pending<Token>>();
  readonly #waiting = new Fifo<Pending<Token>>();
  #lastId = 0;
  /** Who answers this client's causal reads. */
  #reader = '';

  constructor(ports: ClientPorts<Token>, route: ClientRoute, pace: ClientPace, most: number, deadline: (at: number) => void) {
    this.#ports = ports;
    this.#route = route;
    this.#pace = pace;
    this.#most = most;
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

  transmit(p: Pending<Token>, now: number): void {
    // A causal read spares the primary, until the one asked turns out to be behind, silent or away.
    const elsewhere = p.consistency !== 'linearizable' && p.sends === 0 && !p.turnedAway && this.sendTo(this.#readerAddress(), p, now);
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

  #readerAddress(): string {
    const { peers } = this.#route;
    if (!peers.includes(this.#reader)) this.#reader = defined(peers[this.#ports.uint32() % peers.length], 'peer');
    return this.#reader;
  }
}
