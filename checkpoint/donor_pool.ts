/**
 * Which donor is asked next, and what becomes of one that does not answer as it should. Each is asked for a few things at
 * a time; of those that are free the one that has given least has its turn, and the primary, which has clients to serve,
 * only while none of the others answers in time.
 *
 *   answers in time and right     goes on; after some such answers that are full it is asked for more again
 *   slowly, but it comes          goes on, is asked for less, and after the others
 *   not in time, or not at all    is asked for less, after the others; after some failures in a row never again
 *   "not now"                     is left alone for as long as it says, within a bound
 *   wrong, gone, refused          never again
 */
import type { Digest, OpNumber } from '../lib/ids.ts';
import { FetchFailed, TargetGone, type DonorConnection, type DonorReport } from './fetch_report.ts';
import { decodeAnswer, encodeRequest, type AvailableCheckpoint, type TransferAnswer, type TransferRequest } from './transfer_messages.ts';

export interface PoolLimits {
  /** About how many bytes a donor shall answer. */
  readonly maxAnswerBytes: number;
  /** An answer that is not there in whole after so many milliseconds does not count, unless enough of it has come meanwhile (LEAST_BYTES_IN_TIME); then it has as long again. */
  readonly answerMs: number;
  /** A donor that says "not now" for so long, milliseconds, without an answer between, has failed. */
  readonly deferMs: number;
  /** Requests under way with one donor; half as many while it says now and then that it has no time. */
  readonly requestsPerDonor: number;
}

/** Failures in a row before a donor is given up. */
const MAX_FAILURES = 3;
/** An answer that did not come in time is asked for again in eighths, down to this. */
const LEAST_ANSWER_BYTES = 64 << 10;
/** After so many full answers in time it is asked for twice as much; for twice as many after each time that this was too much, so that a slow line is seldom tried. */
const GROW_AFTER = 4;
/** What has to come of an answer in `answerMs` for it to go on: a page of large values cannot be asked for in parts, and a slow line takes longer for it. */
const LEAST_BYTES_IN_TIME = 64 << 10;
/** A donor that sends no more than that keeps nobody for longer than so many times `answerMs` with one answer. */
const MAX_TIMES = 8;
/** Longest and shortest time for which a donor is left alone when it says so, milliseconds. */
const MAX_WAIT_MS = 2000;
const MIN_WAIT_MS = 5;
/** For so long after a "not now" a donor is taken to have others to serve, milliseconds. */
const SPARED_MS = 10_000;

export type NodesAnswer = Extract<TransferAnswer, { type: 'nodes' }>;

/** What is asked for, apart from how much of it. */
export type Question = Omit<TransferRequest, 'maxBytes'> & { readonly maxBytes: number | null };

export class PooledDonor {
  readonly connection: DonorConnection;
  readonly report: { name: string; requests: number; bytesReceived: number; error: string | null };
  failures = 0;
  /** When the last of them was noted; what was sent before that fails for the same reason. */
  failedAt = -Infinity;
  /** Its last answer took longer than `answerMs`, or has not come; and since when it is asked for less for that. */
  isSlow = false;
  slowAt = -Infinity;
  usable = true;
  /** When the requests were sent that are under way, the oldest first. */
  readonly sentAt: number[] = [];
  answerBytes: number;
  /** Full answers in time since that was changed, and how many it takes for more. */
  inTime = 0;
  growAfter = GROW_AFTER / 2;
  /** It is not asked before. */
  freeAt = 0;
  /** Since when it has said nothing but "not now". */
  deferredSince: number | null = null;
  /** When it has last said that. */
  deferredAt = -Infinity;

  constructor(connection: DonorConnection, answerBytes: number) {
    this.connection = connection;
    this.answerBytes = answerBytes;
    this.report = { name: connection.name, requests: 0, bytesReceived: 0, error: null };
  }

  get inFlight(): number {
    return this.sentAt.length;
  }

  blame(error: string): void {
    this.usable = false;
    this.report.error = error;
  }
}

export interface Traffic {
  requests: number;
  bytesReceived: number;
  bytesSent: number;
}

export class DonorPool {
  readonly #donors: readonly PooledDonor[];
  readonly #limits: PoolLimits;
  readonly #target: { readonly op: OpNumber; readonly root: Digest };
  readonly #available = new Map<OpNumber, AvailableCheckpoint>();
  readonly #end = new AbortController();
  readonly #signal: AbortSignal;
  readonly traffic: Traffic = { requests: 0, bytesReceived: 0, bytesSent: 0 };

  constructor(target: { readonly op: OpNumber; readonly root: Digest }, connections: readonly DonorConnection[], limits: PoolLimits, signal: AbortSignal | undefined) {
    this.#target = target;
    this.#limits = limits;
    this.#donors = connections.map((connection) => new PooledDonor(connection, limits.maxAnswerBytes));
    this.#signal = signal === undefined ? this.#end.signal : AbortSignal.any([signal, this.#end.signal]);
  }

  reports(): DonorReport[] {
    return this.#donors.map(({ report }) => ({ ...report }));
  }

  /** Breaks off what is under way. */
  close(): void {
    this.#end.abort(new Error('the transfer has ended'));
  }

  /** Requests that may be sent now. Rejects in the fetcher's name when no donor is left: TargetGone or FetchFailed. */
  get slots(): number {
    const now = performance.now();
    return this.#preferred(now).reduce((n, donor) => n + (donor.freeAt > now ? 0 : Math.max(0, this.#mostOf(donor, now) - donor.inFlight)), 0);
  }

  /** The donor whose turn it is; null: all are busy, or want to be left alone. Throws when none is left. */
  next(): PooledDonor | null {
    const now = performance.now();
    let best: PooledDonor | null = null;
    for (const donor of this.#preferred(now)) {
      if (donor.inFlight >= this.#mostOf(donor, now) || donor.freeAt > now) continue;
      if (best === null || this.#isBefore(donor, best, now)) best = donor;
    }
    return best;
  }

  /** Milliseconds until one that is left alone may be asked again; null: none is. */
  waitMs(): number | null {
    const now = performance.now();
    const waits = this.#preferred(now).filter((d) => d.inFlight < this.#mostOf(d, now) && d.freeAt > now).map((d) => d.freeAt - now);
    return leastOf(waits);
  }

  /** Requests that it gets at once: one until it has answered again in time, if the last one failed or took long. */
  #mostOf(donor: PooledDonor, now: number): number {
    const most = this.#limits.requestsPerDonor;
    if (donor.failures > 0 || this.isSlow(donor, now)) return 1;
    return now - donor.deferredAt < SPARED_MS ? Math.ceil(most / 2) : most;
  }

  #preferred(now: number): PooledDonor[] {
    if (!this.#donors.some((donor) => donor.usable)) this.#giveUp();
    return this.#inTurn(now);
  }

  #inTurn(now: number): PooledDonor[] {
    const usable = this.#donors.filter((donor) => donor.usable);
    const ordinary = usable.filter(({ connection }) => connection.lastResort !== true);
    return ordinary.some((donor) => !this.isSlow(donor, now)) ? ordinary : usable;
  }

  #isBefore(a: PooledDonor, b: PooledDonor, now: number): boolean {
    if (a.failures !== b.failures) return a.failures < b.failures;
    const slow = this.isSlow(a, now);
    if (slow !== this.isSlow(b, now)) return !slow;
    if (a.inFlight !== b.inFlight) return a.inFlight < b.inFlight;
    return a.report.bytesReceived < b.report.bytesReceived;
  }

  /** Its last answer took longer than `answerMs`, or one that is under way does. */
  isSlow(donor: PooledDonor, now: number): boolean {
    return donor.isSlow || now - (donor.sentAt[0] ?? Infinity) > this.#limits.answerMs;
  }

  /** Milliseconds until a donor turns out slow if it does not answer; null: none may. */
  slowInMs(now: number): number | null {
    return leastOf(this.#donors.filter((d) => d.inFlight > 0 && !this.isSlow(d, now)).map(({ sentAt }) => (sentAt[0] as number) + this.#limits.answerMs - now));
  }

  /** Asked for what a slow donor has not sent: one that has nothing to do and always answers in time. */
  standIn(): PooledDonor | null {
    const now = performance.now();
    return this.#idle(now).find(({ freeAt }) => freeAt <= now) ?? null;
  }

  /** Milliseconds until there is one; null: only when a request has ended. */
  standInMs(): number | null {
    const now = performance.now();
    return leastOf(this.#idle(now).map(({ freeAt }) => Math.max(0, freeAt - now)));
  }

  #idle(now: number): PooledDonor[] {
    const isInTime = (donor: PooledDonor): boolean => donor.usable && donor.failures === 0 && !this.isSlow(donor, now);
    // One that has just failed is no reason to spare the primary.
    const inTime = this.#donors.filter(isInTime);
    const ordinary = inTime.filter(({ connection }) => connection.lastResort !== true);
    return (ordinary.length > 0 ? ordinary : inTime).filter((donor) => donor.inFlight === 0);
  }

  #giveUp(): never {
    const available = [...this.#available.values()].sort((a, b) => b.op - a.op);
    if (available.some(({ op }) => op > this.#target.op)) throw new TargetGone(this.#target, available);
    throw new FetchFailed(this.#target, this.reports());
  }

  /** One request; null when the donor could not answer it, which is noted, or when its answer is not wanted any more. Rejects with the signal's reason only. */
  async ask(donor: PooledDonor, question: Question, unwanted?: AbortSignal): Promise<NodesAnswer | null> {
    const request: TransferRequest = { ...question, maxBytes: Math.min(question.maxBytes ?? Infinity, donor.answerBytes) };
    const body = encodeRequest(request);
    this.traffic.requests++;
    this.traffic.bytesSent += body.length;
    donor.report.requests++;
    const sentAt = performance.now();
    donor.sentAt.push(sentAt);
    let bytes: Buffer;
    try {
      bytes = await this.#inTime(donor, body, unwanted);
    } catch (error) {
      this.#signal.throwIfAborted();
      if (unwanted?.aborted === true) {
        this.#noteTime(donor, sentAt);
        return null;
      }
      // One stall, and all that was under way has failed: that is one failure.
      if (sentAt >= donor.failedAt) this.#failed(donor, error instanceof Error ? error.message : String(error));
      return null;
    } finally {
      donor.sentAt.splice(donor.sentAt.indexOf(sentAt), 1);
    }
    donor.report.bytesReceived += bytes.length;
    this.traffic.bytesReceived += bytes.length;
    this.#noteTime(donor, sentAt);
    if (!donor.isSlow && sentAt >= Math.max(donor.slowAt, donor.failedAt)) this.#askForMore(donor, bytes.length);
    return this.#judge(donor, bytes, request);
  }

  #judge(donor: PooledDonor, bytes: Buffer, request: TransferRequest): NodesAnswer | null {
    const answer = decodeAnswer(bytes, request);
    if (!answer.ok) {
      donor.blame(`an answer that cannot be read: ${answer.reason}`);
      return null;
    }
    switch (answer.value.type) {
      case 'gone':
        for (const one of answer.value.available) this.#available.set(one.op, one);
        donor.blame(`it no longer has the checkpoint of op ${this.#target.op}`);
        return null;
      case 'refused':
        donor.blame(`it refuses: ${answer.value.reason}`);
        return null;
      case 'wait':
        this.#defer(donor, answer.value.milliseconds);
        return null;
      case 'nodes':
        donor.failures = 0;
        donor.deferredSince = null;
        return answer.value;
    }
  }

  #defer(donor: PooledDonor, milliseconds: number): void {
    const now = performance.now();
    donor.deferredSince ??= now;
    donor.deferredAt = now;
    donor.freeAt = now + Math.min(Math.max(milliseconds, MIN_WAIT_MS), MAX_WAIT_MS);
    if (now - donor.deferredSince < this.#limits.deferMs) return;
    donor.deferredSince = null;
    this.#failed(donor, `it has put this replica off for ${Math.round(this.#limits.deferMs / 1000)} s`);
  }

  #failed(donor: PooledDonor, error: string): void {
    donor.report.error = error;
    donor.failedAt = performance.now();
    askForLess(donor);
    if (++donor.failures >= MAX_FAILURES) donor.usable = false;
  }

  #noteTime(donor: PooledDonor, sentAt: number): void {
    const now = performance.now();
    donor.isSlow = now - sentAt > this.#limits.answerMs;
    // What was sent before it was asked for less is as slow for the same reason.
    if (!donor.isSlow || sentAt < donor.slowAt) return;
    donor.slowAt = now;
    askForLess(donor);
  }

  /** An answer of so many bytes came in time. One that is short anyhow does not tell what a longer one would take. */
  #askForMore(donor: PooledDonor, bytes: number): void {
    const { maxAnswerBytes } = this.#limits;
    if (donor.answerBytes >= maxAnswerBytes || bytes < donor.answerBytes / 2 || ++donor.inTime < donor.growAfter) return;
    donor.answerBytes = Math.min(maxAnswerBytes, 2 * donor.answerBytes);
    donor.inTime = 0;
    if (donor.answerBytes === maxAnswerBytes) donor.growAfter = GROW_AFTER / 2;
  }

  /** A donor that hangs, or sends a byte now and then, must keep neither a transfer nor one that was broken off. */
  async #inTime(donor: PooledDonor, body: Buffer, unwanted: AbortSignal | undefined): Promise<Buffer> {
    const { answerMs } = this.#limits;
    const late = new AbortController();
    const signal = AbortSignal.any(unwanted === undefined ? [this.#signal, late.signal] : [this.#signal, late.signal, unwanted]);
    let times = 0;
    let lately = 0;
    const timer = setInterval(() => {
      times++;
      donor.isSlow = true;
      if (lately < LEAST_BYTES_IN_TIME || times >= MAX_TIMES) late.abort(new Error(`no whole answer within ${times * answerMs} ms`));
      lately = 0;
    }, answerMs);
    const { promise, stop } = aborted(signal);
    try {
      return await Promise.race([donor.connection.request(body, signal, (bytes) => { lately += bytes; }), promise]);
    } finally {
      clearInterval(timer);
      stop();
    }
  }
}

function askForLess(donor: PooledDonor): void {
  donor.answerBytes = Math.max(Math.min(LEAST_ANSWER_BYTES, donor.answerBytes), donor.answerBytes >> 3);
  donor.inTime = 0;
  donor.growAfter *= 2;
}

function leastOf(waits: readonly number[]): number | null {
  return waits.length === 0 ? null : Math.ceil(Math.min(...waits));
}

/** Rejects when the signal is given. */
function aborted(signal: AbortSignal): { readonly promise: Promise<never>; readonly stop: () => void } {
  let stop = (): void => undefined;
  const promise = new Promise<never>((_resolve, reject) => {
    const listener = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    signal.addEventListener('abort', listener, { once: true });
    stop = (): void => { signal.removeEventListener('abort', listener); };
    // It may have been given while the request was being made.
    if (signal.aborted) listener();
  });
  return { promise, stop };
}
