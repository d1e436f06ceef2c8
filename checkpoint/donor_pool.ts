/**
 * Which donor is asked next, and what becomes of one that does not answer as it should. Each is asked for a few things at
 * a time; of those that are free the one that has given least has its turn, and the primary, which has clients to serve,
 * only when none of the others is left.
 *
 *   answers in time and right     goes on
 *   slowly, but it comes          goes on, and is asked for less
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
  /** Its last answer took longer than `answerMs`; and since when it is asked for less for that. */
  isSlow = false;
  slowAt = -Infinity;
  usable = true;
  inFlight = 0;
  answerBytes: number;
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
    return this.#preferred().reduce((n, donor) => n + (donor.freeAt > now ? 0 : Math.max(0, this.#mostOf(donor, now) - donor.inFlight)), 0);
  }

  /** The donor whose turn it is; null: all are busy, or want to be left alone. Throws when none is left. */
  next(): PooledDonor | null {
    const now = performance.now();
    let best: PooledDonor | null = null;
    for (const donor of this.#preferred()) {
      if (donor.inFlight >= this.#mostOf(donor, now) || donor.freeAt > now) continue;
      if (best === null || isBefore(donor, best)) best = donor;
    }
    return best;
  }

  /** Milliseconds until one that is left alone may be asked again; null: none is. */
  waitMs(): number | null {
    const now = performance.now();
    const waits = this.#preferred().filter((d) => d.inFlight < this.#mostOf(d, now) && d.freeAt > now).map((d) => d.freeAt - now);
    return waits.length === 0 ? null : Math.ceil(Math.min(...waits));
  }

  /** Requests that it gets at once: one until it has answered again in time, if the last one failed or took long. */
  #mostOf(donor: PooledDonor, now: number): number {
    const most = this.#limits.requestsPerDonor;
    if (donor.failures > 0 || donor.isSlow) return 1;
    return now - donor.deferredAt < SPARED_MS ? Math.ceil(most / 2) : most;
  }

  #preferred(): PooledDonor[] {
    const usable = this.#donors.filter((donor) => donor.usable);
    if (usable.length === 0) this.#giveUp();
    const ordinary = usable.filter(({ connection }) => connection.lastResort !== true);
    return ordinary.length > 0 ? ordinary : usable;
  }

  #giveUp(): never {
    const available = [...this.#available.values()].sort((a, b) => b.op - a.op);
    if (available.some(({ op }) => op > this.#target.op)) throw new TargetGone(this.#target, available);
    throw new FetchFailed(this.#target, this.reports());
  }

  /** One request; null when the donor could not answer it, which is noted. Rejects with the signal's reason only. */
  async ask(donor: PooledDonor, question: Question): Promise<NodesAnswer | null> {
    const request: TransferRequest = { ...question, maxBytes: Math.min(question.maxBytes ?? Infinity, donor.answerBytes) };
    const body = encodeRequest(request);
    this.traffic.requests++;
    this.traffic.bytesSent += body.length;
    donor.report.requests++;
    donor.inFlight++;
    const sentAt = performance.now();
    let bytes: Buffer;
    try {
      bytes = await this.#inTime(donor.connection, body);
    } catch (error) {
      this.#signal.throwIfAborted();
      // One stall, and all that was under way has failed: that is one failure.
      if (sentAt >= donor.failedAt) this.#failed(donor, error instanceof Error ? error.message : String(error));
      return null;
    } finally {
      donor.inFlight--;
    }
    donor.report.bytesReceived += bytes.length;
    this.traffic.bytesReceived += bytes.length;
    const now = performance.now();
    // What was sent before it was asked for less is as slow for the same reason.
    donor.isSlow = now - sentAt > this.#limits.answerMs;
    if (donor.isSlow && sentAt >= donor.slowAt) {
      donor.slowAt = now;
      askForLess(donor);
    }
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

  /** A donor that hangs, or sends a byte now and then, must keep neither a transfer nor one that was broken off. */
  async #inTime(connection: DonorConnection, body: Buffer): Promise<Buffer> {
    const { answerMs } = this.#limits;
    const late = new AbortController();
    const signal = AbortSignal.any([this.#signal, late.signal]);
    let times = 0;
    let lately = 0;
    const timer = setInterval(() => {
      times++;
      if (lately < LEAST_BYTES_IN_TIME || times >= MAX_TIMES) late.abort(new Error(`no whole answer within ${times * answerMs} ms`));
      lately = 0;
    }, answerMs);
    const { promise, stop } = aborted(signal);
    try {
      return await Promise.race([connection.request(body, signal, (bytes) => { lately += bytes; }), promise]);
    } finally {
      clearInterval(timer);
      stop();
    }
  }
}

function askForLess(donor: PooledDonor): void {
  donor.answerBytes = Math.max(Math.min(LEAST_ANSWER_BYTES, donor.answerBytes), donor.answerBytes >> 3);
}

function isBefore(a: PooledDonor, b: PooledDonor): boolean {
  if (a.failures !== b.failures) return a.failures < b.failures;
  if (a.inFlight !== b.inFlight) return a.inFlight < b.inFlight;
  return a.report.bytesReceived < b.report.bytesReceived;
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
