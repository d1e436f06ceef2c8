/** One connection to one replica and one question at a time: for administrators, who ask seldom and want to know who said what. */
import { parseDestination } from '../lib/address.ts';
import type { AskInterval, CheckEpoch, Reconfigure, ReplicaToClient, Welcome } from '../vr/messages.ts';
import { NoAnswer } from './administrator_errors.ts';
import { Connection } from './connection.ts';
import { GroupPin } from './group_pin.ts';

export type Question = Reconfigure | CheckEpoch | AskInterval;

interface Waiting {
  readonly matches: (m: ReplicaToClient) => boolean;
  readonly resolve: (m: ReplicaToClient | null) => void;
}

export class Line {
  readonly #connection: Connection;
  #waiting: Waiting | null = null;

  /** Of whoever uses it: a replica of another group than `group`'s is not heard. */
  constructor(address: string, group: GroupPin) {
    this.#connection = new Connection(address, group, {
      message: (_from, m) => { if (this.#waiting?.matches(m) === true) this.#settle(m); },
      disconnected: () => { this.#settle(null); },
    });
  }

  get failure(): string | null {
    return this.#connection.lastFailure;
  }

  /** Null: not in time, or not connected. */
  async #next(matches: (m: ReplicaToClient) => boolean, ms: number): Promise<ReplicaToClient | null> {
    const answer = new Promise<ReplicaToClient | null>((resolve) => { this.#waiting = { matches, resolve }; });
    const timer = setTimeout(() => { this.#settle(null); }, ms);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  async welcome(ms: number): Promise<Welcome | null> {
    const answer = this.#next((m) => m.type === 'welcome', ms);
    this.#connection.dial();
    const m = await answer;
    return m?.type === 'welcome' ? m : null;
  }

  async ask(question: Question, ms: number): Promise<ReplicaToClient | null> {
    const answer = this.#next((m) => m.type === 'redirect' || ((m.type === 'newEpoch' || m.type === 'interval' || m.type === 'refused') && m.nonce.equals(question.nonce)), ms);
    if (!this.#connection.send(question)) this.#settle(null);
    return await answer;
  }

  #settle(m: ReplicaToClient | null): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve(m);
  }

  close(): void {
    this.#settle(null);
    this.#connection.close();
  }
}

/** What the replica at an address says it is, of whatever group. Rejects with NoAnswer, also when the signal says that nobody waits any more. */
export async function introduce(address: string, timeoutMs: number, signal?: AbortSignal): Promise<Welcome> {
  const parsed = parseDestination(address);
  if (!parsed.ok) throw new NoAnswer(parsed.reason);
  const line = new Line(address, new GroupPin());
  const hangUp = (): void => { line.close(); };
  signal?.addEventListener('abort', hangUp);
  try {
    const welcome = await line.welcome(timeoutMs);
    if (welcome === null) throw new NoAnswer(`${address} does not answer: ${line.failure ?? `nothing within ${timeoutMs} ms`}`);
    return welcome;
  } finally {
    signal?.removeEventListener('abort', hangUp);
    line.close();
  }
}
