/**
 * Who changes the members of a group (docs/PROTOCOL.md, "Reconfiguration") and how often it takes checkpoints ("Checkpoint interval"):
 * asks the primary, follows it when it is another, repeats what was not answered. A repeat is harmless: it finds the later epoch or
 * interval, and what that is now is compared with what was asked for.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import type { Epoch } from '../lib/ids.ts';
import { primaryOf, type Configuration, type Member } from '../vr/configuration.ts';
import type { AskInterval, CheckEpoch, Interval, IntervalChange, NewEpoch, Reconfigure, RefusedCode, ReplicaToClient, Welcome } from '../vr/messages.ts';
import { Connection } from './connection.ts';
import { OutcomeUnknown } from './errors.ts';
import { GroupPin } from './group_pin.ts';

const ANSWER_MS = 1000;
const PAUSE_MS = 100;

/** The group will not have it. */
export class ChangeRefused extends Error {
  override readonly name = 'ChangeRefused';
  readonly code: RefusedCode;
  constructor(code: RefusedCode, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** Nobody answered in time. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

type Question = Reconfigure | CheckEpoch | AskInterval;

interface Waiting {
  readonly matches: (m: ReplicaToClient) => boolean;
  readonly resolve: (m: ReplicaToClient | null) => void;
}

/** One connection and one question at a time. */
class Line {
  readonly address: string;
  readonly #connection: Connection;
  #waiting: Waiting | null = null;

  constructor(address: string) {
    this.address = address;
    this.#connection = new Connection(address, new GroupPin(), {
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

/** What the replica at an address says it is. Rejects with NoAnswer. */
export async function introduce(address: string, timeoutMs: number): Promise<Welcome> {
  const line = new Line(address);
  try {
    const welcome = await line.welcome(timeoutMs);
    if (welcome === null) throw new NoAnswer(`${address} does not answer: ${line.failure ?? `nothing within ${timeoutMs} ms`}`);
    return welcome;
  } finally {
    line.close();
  }
}

export class Administrator {
  readonly #deadline: number;
  #seeds: readonly string[];
  #turn = 0;
  #lastFailure = 'nobody was asked';

  /** `timeoutMs`: for everything together. */
  constructor(servers: readonly string[], timeoutMs: number) {
    this.#seeds = servers;
    this.#deadline = performance.now() + timeoutMs;
  }

  get #left(): number {
    return Math.max(0, this.#deadline - performance.now());
  }

  /** The members as the primary knows them, and whether a quorum of them has started the epoch. Rejects with NoAnswer. */
  async current(): Promise<NewEpoch> {
    return await this.#ask(() => ({ type: 'checkEpoch', nonce: randomBytes(16) }), isNewEpoch);
  }

  /**
   * Makes these the members, if the group is in this epoch. Resolves with what they are then: somebody else may have been faster. Rejects with
   * ChangeRefused or NoAnswer (then it is not known whether it was made: look).
   */
  async reconfigure(epoch: Epoch, members: readonly Member[], force: boolean): Promise<NewEpoch> {
    const nonce = randomBytes(16);
    return await this.#ask(() => ({ type: 'reconfigure', nonce, epoch, members, force }), isNewEpoch);
  }

  /** How often checkpoints are taken. Rejects with NoAnswer. */
  async interval(): Promise<Interval> {
    return await this.#ask(() => ({ type: 'askInterval', nonce: randomBytes(16), change: null }), isInterval);
  }

  /**
   * Changes how often checkpoints are taken; what is not given stays. Resolves with what it is then. Rejects with ChangeRefused ('underWay': somebody
   * else has changed it meanwhile), with NoAnswer when nothing was asked for yet, and with OutcomeUnknown.
   */
  async changeInterval(wanted: Partial<Pick<Interval, 'ops' | 'bytes'>>): Promise<Interval> {
    const before = await this.interval();
    const { ops, bytes } = { ...before, ...wanted };
    if (before.since > 0 && ops === before.ops && bytes === before.bytes) return before;
    const nonce = randomBytes(16);
    const change: IntervalChange = { after: before.since, ops, bytes };
    const now = await this.#ask(() => ({ type: 'askInterval', nonce, change }), isInterval).catch((error: unknown) => {
      throw error instanceof NoAnswer ? new OutcomeUnknown(error.message) : error;
    });
    if (now.ops === ops && now.bytes === bytes) return now;
    throw new ChangeRefused('underWay', `somebody else has changed the checkpoint interval meanwhile, to ${now.ops} operations and ${now.bytes} bytes: look, and ask again`);
  }

  /** Until a quorum of the present members has started the epoch. */
  async complete(): Promise<NewEpoch> {
    for (;;) {
      const now = await this.current();
      if (now.complete) return now;
      await this.pause();
    }
  }

  /** A moment, unless the time is over: then it rejects with NoAnswer. */
  async pause(ms = PAUSE_MS): Promise<void> {
    if (this.#left === 0) throw new NoAnswer(`not within the time that was given (--timeout): ${this.#lastFailure}`);
    await after(Math.min(ms, this.#left + 1));
  }

  async #ask<A extends ReplicaToClient>(question: () => Question, isAnswer: (m: ReplicaToClient) => m is A): Promise<A> {
    let hint: string | null = null;
    for (;;) {
      const address: string = hint ?? this.#seeds[this.#turn++ % this.#seeds.length] ?? '';
      hint = null;
      const line = new Line(address);
      try {
        const welcome = await line.welcome(Math.min(ANSWER_MS, this.#left));
        if (welcome === null) this.#lastFailure = `${address} does not answer (${line.failure ?? 'no welcome'})`;
        else {
          this.#learn(welcome.configuration);
          const answer = await line.ask(question(), Math.min(ANSWER_MS, this.#left));
          if (answer !== null && isAnswer(answer)) return answer;
          if (answer?.type === 'refused' && answer.code !== 'busy') throw new ChangeRefused(answer.code, answer.reason);
          if (answer?.type === 'redirect') {
            this.#learn(answer.configuration);
            const primary = primaryOf(answer.configuration, answer.view).address;
            if (primary !== address) hint = primary;
          }
          this.#lastFailure = answer === null ? `${address} did not answer in time` : `${address} is not the primary`;
        }
      } finally {
        line.close();
      }
      await this.pause(hint === null ? PAUSE_MS : 10);
    }
  }

  #learn(c: Configuration): void {
    this.#seeds = [...new Set([...c.members.map((m) => m.address), ...this.#seeds])];
  }
}

function isNewEpoch(m: ReplicaToClient): m is NewEpoch {
  return m.type === 'newEpoch';
}

function isInterval(m: ReplicaToClient): m is Interval {
  return m.type === 'interval';
}
