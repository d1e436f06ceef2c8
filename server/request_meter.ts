/**
 * How many messages clients send, and how long their requests take: from the read of the socket that brought one to the end
 * of the turn whose write has its reply. Some ten thousand requests a second come by here, so nothing is made for one, and
 * no clock is read: the socket knows when it was read, and a turn has one end.
 */
import type { ClientMessages } from './running_replica.ts';
import type { ClientRequest, Message, Request } from '../vr/messages.ts';
import { LatencyHistogram } from './latency_histogram.ts';

const LEAST_SLOTS = 8;
const LEAST_ANSWERS = 1024;

/** The requests of a connection that wait for their replies, by slot. Of one session: a client has one at a time. */
export class RequestTimes {
  session = 0;
  /** By slot: the number of the request, and when it was taken in, milliseconds; 0: none waits. */
  seqs = new Uint32Array(0);
  since = new Float64Array(0);

  /** Keeps what there is. */
  grow(slots: number): void {
    const { seqs, since } = this;
    this.seqs = new Uint32Array(slots);
    this.seqs.set(seqs);
    this.since = new Float64Array(slots);
    this.since.set(since);
  }
}

export class RequestMeter {
  readonly latency = new LatencyHistogram();
  readonly #slots: number;
  readonly #messages: Record<ClientRequest['type'], number> = { request: 0, read: 0, register: 0, endSession: 0, reconfigure: 0, checkEpoch: 0, askInterval: 0 };
  /** When those were taken in that were answered in this turn. */
  #answers = new Float64Array(LEAST_ANSWERS);
  #answered = 0;

  /** `slots`: of a session; a client may name others. */
  constructor(slots: number) {
    this.#slots = slots;
  }

  get messages(): ClientMessages {
    return this.#messages;
  }

  /** `at`: milliseconds of the clock of `endTurn`. */
  takenIn(of: RequestTimes, message: ClientRequest, at: number): void {
    this.#messages[message.type]++;
    if (message.type === 'request' && message.slot < this.#slots) this.#remember(of, message, at);
  }

  #remember(of: RequestTimes, { session, slot, seq }: Request, at: number): void {
    if (of.session !== session) {
      of.session = session;
      of.since.fill(0);
    }
    if (slot >= of.since.length) of.grow(Math.min(this.#slots, Math.max(LEAST_SLOTS, of.since.length * 2, slot + 1)));
    // One that comes again while it waits has waited since the first time.
    if (of.seqs[slot] === seq && of.since[slot] !== 0) return;
    of.seqs[slot] = seq;
    of.since[slot] = at;
  }

  /** What a client is told: the reply to a request is measured, a refusal ends its waiting. */
  answered(of: RequestTimes, message: Message): void {
    if (message.type !== 'reply' && message.type !== 'reject') return;
    const { session, slot, seq } = message;
    const at = of.since[slot] ?? 0;
    if (at === 0 || of.session !== session || of.seqs[slot] !== seq) return;
    of.since[slot] = 0;
    if (message.type === 'reject') return;
    if (this.#answered === this.#answers.length) {
      const full = this.#answers;
      this.#answers = new Float64Array(full.length * 2);
      this.#answers.set(full);
    }
    this.#answers[this.#answered++] = at;
  }

  get hasAnswers(): boolean {
    return this.#answered > 0;
  }

  /** The replies of this turn are with their sockets. */
  endTurn(now: number): void {
    const answers = this.#answers;
    let begin = 0;
    for (let i = 1; i <= this.#answered; i++) {
      // Those that one read of a socket brought are next to each other, mostly.
      if (i < this.#answered && answers[i] === answers[begin]) continue;
      this.latency.count(now - (answers[begin] as number), i - begin);
      begin = i;
    }
    this.#answered = 0;
  }
}
