/**
 * Who changes the members of a group (docs/PROTOCOL.md, "Reconfiguration") and how often it takes checkpoints ("Checkpoint interval"):
 * asks the primary, follows it when it is another, repeats what was not answered. A repeat is harmless: it finds the later epoch or
 * interval, and what that is now is compared with what was asked for.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import type { Epoch } from '../lib/ids.ts';
import { primaryOf, type Configuration, type Member } from '../vr/configuration.ts';
import type { Interval, IntervalChange, NewEpoch, ReplicaToClient } from '../vr/messages.ts';
import { ChangeRefused, NoAnswer } from './administrator_errors.ts';
import { OutcomeUnknown } from './errors.ts';
import { GroupPin } from './group_pin.ts';
import { Line, type Question } from './line.ts';

const ANSWER_MS = 1000;
const PAUSE_MS = 100;
/** Who waits is told what for after so long, and again after as long. */
const TELL_AFTER_MS = 3000;

export class Administrator {
  /** What one replica says leads to the next one: all of them have to be of one group, whatever answers at an address by now. */
  readonly #group = new GroupPin();
  readonly #deadline: number;
  #seeds: readonly string[];
  #turn = 0;
  /** By address, what came of asking it last. */
  readonly #said = new Map<string, string>();
  /** A question went out that was not answered. */
  #unanswered = false;
  /** What `pause` was called for last. */
  #waitingFor: string | null = null;
  readonly #onWaiting: (what: string) => void | Promise<void>;

  /**
   * `timeoutMs`: for everything together; a question that went out before its end is waited for, up to ANSWER_MS.
   * @param onWaiting what is waited for, while nothing comes of it for some seconds.
   */
  constructor(servers: readonly string[], timeoutMs: number, onWaiting: (what: string) => void | Promise<void> = () => undefined) {
    this.#seeds = servers;
    this.#onWaiting = onWaiting;
    this.#deadline = performance.now() + timeoutMs;
  }

  get #left(): number {
    return Math.max(0, this.#deadline - performance.now());
  }

  /** 16 bytes: of the group that has answered. Null: none has yet. */
  get clusterId(): Buffer | null {
    return this.#group.found;
  }

  /** The members as the primary knows them, and whether a quorum of them has started the epoch. Rejects with NoAnswer. */
  async current(): Promise<NewEpoch> {
    return await this.#ask(() => ({ type: 'checkEpoch', nonce: randomBytes(16) }), isNewEpoch);
  }

  /**
   * Makes these the members, if the group is in this epoch. Resolves with what they are then: somebody else may have been faster. Rejects with
   * ChangeRefused; with NoAnswer when nobody was asked for it; and with OutcomeUnknown.
   */
  async reconfigure(epoch: Epoch, members: readonly Member[], force: boolean): Promise<NewEpoch> {
    const nonce = randomBytes(16);
    return await this.#change(() => ({ type: 'reconfigure', nonce, epoch, members, force }), isNewEpoch);
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
    const now = await this.#change(() => ({ type: 'askInterval', nonce, change }), isInterval);
    if (now.ops === ops && now.bytes === bytes) return now;
    throw new ChangeRefused('underWay', `somebody else has changed the checkpoint interval meanwhile, to ${now.ops} operations and ${now.bytes} bytes: look, and ask again`);
  }

  /** Until a quorum of the present members has started the epoch. */
  async complete(): Promise<NewEpoch> {
    let since = performance.now();
    for (;;) {
      const now = await this.current();
      if (now.complete) return now;
      const waitingFor = `a majority of the members of epoch ${now.configuration.epoch} has not begun it yet: ${now.configuration.members.map((m) => m.address).join(', ')}; those that are down have to be started (vrfs status)`;
      since = await this.#tell(waitingFor, since);
      await this.pause(waitingFor);
    }
  }

  /** A moment, unless the time is over: then it rejects with NoAnswer. `waitingFor`: what, and what can be done about it. */
  async pause(waitingFor: string, ms = PAUSE_MS): Promise<void> {
    this.#waitingFor = waitingFor;
    await this.#pause(waitingFor, ms);
  }

  /** Tells what is waited for, if that is so since long ago. Resolves with since when nothing was told. */
  async #tell(waitingFor: string, since: number): Promise<number> {
    const now = performance.now();
    if (now - since < TELL_AFTER_MS) return since;
    await this.#onWaiting(waitingFor);
    return now;
  }

  async #pause(waitingFor: string, ms: number): Promise<void> {
    if (this.#left === 0) throw new NoAnswer(`not within the time that was given (--timeout): ${waitingFor}`);
    await after(Math.min(ms, this.#left + 1));
  }

  async #change<A extends ReplicaToClient>(question: () => Question, isAnswer: (m: ReplicaToClient) => m is A): Promise<A> {
    try {
      const answer = await this.#ask(question, isAnswer);
      this.#waitingFor = null;
      return answer;
    } catch (error) {
      if (!(error instanceof NoAnswer) || !this.#unanswered) throw error;
      throw new OutcomeUnknown(`${error.message}. Whether the change was made is not known: look before you ask for it again`, { cause: error });
    }
  }

  async #ask<A extends ReplicaToClient>(question: () => Question, isAnswer: (m: ReplicaToClient) => m is A): Promise<A> {
    let hint: string | null = null;
    // The time ends in the midst of a question that is asked again and again: what was waited for is the news, not that it was cut short.
    const waitingFor = this.#left < ANSWER_MS ? this.#waitingFor : null;
    this.#said.clear();
    this.#unanswered = false;
    let since = performance.now();
    for (;;) {
      const address: string = hint ?? this.#seeds[this.#turn++ % this.#seeds.length] ?? '';
      hint = null;
      const line = new Line(address, this.#group);
      try {
        const patience = Math.min(ANSWER_MS, Math.ceil(this.#left));
        const welcome = await line.welcome(patience);
        if (welcome === null) {
          const { failure } = line;
          // What an attempt that had to be cut short comes to is no news.
          if (failure !== null || patience === ANSWER_MS || !this.#said.has(address)) this.#said.set(address, `does not answer (${failure ?? `nothing within ${patience} ms`})`);
        } else {
          this.#learn(welcome.configuration);
          // Waited for past the deadline too: cut short, nobody would know whether the change was made.
          const answer: ReplicaToClient | null = await line.ask(question(), ANSWER_MS);
          if (answer !== null && isAnswer(answer)) return answer;
          if (answer === null) this.#unanswered = true;
          if (answer?.type === 'refused' && answer.code !== 'busy') throw new ChangeRefused(answer.code, answer.reason);
          if (answer?.type === 'redirect') {
            this.#learn(answer.configuration);
            const primary = primaryOf(answer.configuration, answer.view).address;
            if (primary !== address) hint = primary;
            this.#said.set(address, primary === address ? 'is the primary of a view that has not begun' : `says that ${primary} is the primary`);
          } else this.#said.set(address, answer?.type === 'refused' ? `is busy (${answer.reason})` : 'is there, and did not answer in time: it has no majority with it, or is overloaded');
        }
      } finally {
        line.close();
      }
      since = await this.#tell(this.#whoSaidWhat(), since);
      await this.#pause(waitingFor ?? this.#whoSaidWhat(), hint === null ? PAUSE_MS : 10);
    }
  }

  #whoSaidWhat(): string {
    const said = [...this.#said].map(([address, what]) => `${address} ${what}`).join('; ');
    const notAsked = this.#seeds.filter((s) => !this.#said.has(s));
    return `no primary answers: ${said}${notAsked.length === 0 ? '' : `; not asked: ${notAsked.join(', ')}`}. A majority of the group has to run and reach each other (vrfs status)`;
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
