/** How long a client waits for an answer before it asks again. Milliseconds. */
import type { ClientOptions, Pending } from './client_types.ts';

type Options = Pick<ClientOptions, 'resendMs' | 'maxResendMs' | 'requestTimeoutMs'>;
/** Of the time in which an operation needs its answer, so much may pass before others are asked: else one with little time would fail before it heard who leads now. */
const PATIENCE = 1 / 3;
/** No sooner is anything sent again because its operation has little time. */
const LEAST_MS = 10;

export class ClientPace {
  readonly #options: Options;
  readonly #uint32: () => number;
  /** Smoothed. */
  #roundTrip = 0;

  constructor(options: Options, uint32: () => number) {
    this.#options = options;
    this.#uint32 = uint32;
  }

  /** Only what was sent once tells a round trip: of several sendings it is not known which was answered. */
  answered<Token>(p: Pending<Token>, now: number): void {
    if (p.sends === 1) this.#roundTrip += (now - p.sentAt - this.#roundTrip) / 8;
  }

  /** For an answer that has been overdue so many times: from 75 % to 125 % of the nominal time. */
  backOff(overdue: number): number {
    const { resendMs, maxResendMs, requestTimeoutMs } = this.#options;
    const first = Math.min(Math.max(resendMs, this.#roundTrip * 4), Math.max(LEAST_MS, requestTimeoutMs * PATIENCE));
    if (overdue === 0) return first;
    const nominal = Math.max(first, Math.min(maxResendMs, first * 1.5 ** Math.min(overdue, 8)));
    return nominal * (0.75 + this.#uint32() / 2 ** 33);
  }

  /** Soon, once a connection is lost: those who lost it do not all come back at once. */
  afterDisconnect(): number {
    return 10 + (this.#uint32() % 50);
  }
  /** Not before the time that a replica asked for. */
  afterPutOff(retryAfterMs: number): number {
    return retryAfterMs + (this.#uint32() % (8 + (retryAfterMs >> 2)));
  }
  afterRegistrationPutOff(retryAfterMs: number): number {
    return retryAfterMs + (this.#uint32() % 32);
  }
}
