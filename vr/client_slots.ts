/** The slots of a client's session: each carries one request at a time, under a sequence number of its own that is never used twice. */
import { defined } from '../lib/assert.ts';
import { sessionId, type SessionId } from '../lib/ids.ts';
import type { ClientPace } from './client_pace.ts';
import type { ClientRoute } from './client_route.ts';
import type { ClientPorts, Pending } from './client_types.ts';

const MAX_SEQ = 0xffff_ffff;

export class ClientSlots<Token> {
  readonly #ports: Pick<ClientPorts<Token>, 'send'>;
  readonly #route: ClientRoute;
  readonly #pace: ClientPace;
  /** Told when something has to be done next. */
  readonly #deadline: (at: number) => void;
  #session: SessionId = sessionId(0);
  /** By slot: what is under way, and the last sequence number used. */
  #pending: (Pending<Token> | undefined)[] = [];
  #seqs: number[] = [];
  #free: number[] = [];
  #busy = 0;

  constructor(ports: Pick<ClientPorts<Token>, 'send'>, route: ClientRoute, pace: ClientPace, deadline: (at: number) => void) {
    this.#ports = ports;
    this.#route = route;
    this.#pace = pace;
    this.#deadline = deadline;
  }

  /** Of a session that begins; none is in use. */
  reset(session: SessionId, slots: number): void {
    this.#session = session;
    this.#pending = new Array<undefined>(slots).fill(undefined);
    this.#seqs = new Array<number>(slots).fill(0);
    // The lowest first.
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.#busy = 0;
  }

  clear(): void {
    this.reset(this.#session, 0);
  }

  get busy(): number {
    return this.#busy;
  }
  get haveFree(): boolean {
    return this.#free.length > 0;
  }
  /** Each has been given up: the session can carry nothing any more. */
  get areUsedUp(): boolean {
    return this.#busy === 0 && this.#free.length === 0;
  }

  /** What is under way, by slot. */
  *[Symbol.iterator](): IterableIterator<Pending<Token>> {
    if (this.#busy > 0) for (const p of this.#pending) if (p !== undefined) yield p;
  }

  /** The request that an answer is to; undefined: it is to an earlier one. */
  find(slot: number, seq: number): Pending<Token> | undefined {
    const p = this.#pending[slot];
    return p !== undefined && p.seq === seq ? p : undefined;
  }
  carries(p: Pending<Token>): boolean {
    return this.#pending[p.id] === p;
  }

  /** Puts it into a free slot, with the next number, and sends it. */
  occupy(p: Pending<Token>, now: number): void {
    const slot = defined(this.#free.pop(), 'a free slot');
    const seq = defined(this.#seqs[slot], 'sequence number') + 1;
    this.#seqs[slot] = seq;
    this.#pending[slot] = p;
    this.#busy++;
    p.id = slot;
    p.seq = seq;
    this.transmit(p, now);
  }

  transmit(p: Pending<Token>, now: number): void {
    this.sendTo(this.#route.primary, p, now);
    p.due = now + this.#pace.backOff(p.overdue);
    this.#deadline(p.due);
  }

  sendTo(address: string, p: Pending<Token>, now: number): void {
    if (!this.#ports.send(address, { type: 'request', session: this.#session, slot: p.id, seq: p.seq, body: p.body })) return;
    p.sends++;
    p.sentTo = address;
    p.sentAt = now;
  }

  /** It was answered: the slot may carry another, but for one behind the last number. */
  release(p: Pending<Token>): void {
    this.giveUp(p);
    if (p.seq < MAX_SEQ) this.#free.push(p.id);
  }

  /** A late answer may come: the slot carries nothing any more in this session. */
  giveUp(p: Pending<Token>): void {
    this.#pending[p.id] = undefined;
    this.#busy--;
  }

  /** Nobody has seen it, and now nobody will: its slot and number are as good as new. */
  withdraw(p: Pending<Token>): void {
    this.giveUp(p);
    this.#seqs[p.id] = p.seq - 1;
    this.#free.push(p.id);
  }
}
