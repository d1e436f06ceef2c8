/**
 * Looks for damage before anybody needs what is damaged: reads the tables of the database and the records and nodes of the
 * newest checkpoint again and again, at a bounded rate, less when the replica has much to do, and compares all with what it
 * has to be. It lives as long as the process; the stores that it reads come and go with repairs.
 */
import { join } from 'node:path';
import type { PinnedCheckpoint } from '../checkpoint/donor.ts';
import { DirectReader, readBuffered } from '../checkpoint/direct_file.ts';
import { liveTableNames } from '../checkpoint/level_tables.ts';
import { scrubStretch } from '../checkpoint/scrub_walk.ts';
import { Slices } from '../checkpoint/slices.ts';
import { StoreDamageError } from '../checkpoint/store_damage.ts';
import { scrubTable, type TableReader } from '../checkpoint/table_scrub.ts';
import { EMPTY } from '../lib/bytes.ts';
import type { Log } from './log.ts';
import type { ScrubPass, ScrubStatus } from './running_replica.ts';

/** What is read of a store. */
export interface ScrubbedStore {
  readonly directory: string;
  pin(): PinnedCheckpoint | null;
}

/** Milliseconds. `sleep` ends early when the signal is aborted, and does not reject. */
export interface ScrubClock {
  now(): number;
  wall(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Part of the time that the event loop was busy since the last call, 0 to 1. */
  load(): number;
}

export interface ScrubberOptions {
  /** Bytes a second; 0: only when asked for. */
  readonly rate: number;
  /** A pass begins this long after the one before it began, or later, milliseconds. */
  readonly intervalMs: number;
  readonly log: Log;
  /** The store is not read any more until another one is attached. */
  readonly onDamage: (damage: StoreDamageError) => void;
  readonly clock?: ScrubClock;
  /** For tests: a disk that has lost what the page cache still has. */
  readonly tables?: TableReader;
}

/** Of a pass that was asked for without a rate: bytes a second. */
const ASKED_RATE = 64 << 20;
const SLICE_MS = 2;
/** A process that has just begun has better things to do. */
const FIRST_MS = 60_000;
/** While there is no checkpoint to read. */
const RETRY_MS = 1_000;
/** After an error that is no damage, and twice as long each time that one follows, up to the interval. */
const AFTER_ERROR_MS = 60_000;
/** From this load on, a pass in the background takes an eighth of its rate. */
const BUSY = 0.7;
const BUSY_DIVISOR = 8;
/** A stretch between two pauses. */
const MIN_STRETCH = 16 << 10;
const MAX_STRETCH = 256 << 10;
const MANIFEST_ATTEMPTS = 5;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #clock: ScrubClock;
  readonly #tables: TableReader;
  #abort: AbortController | null = null;
  #running: Promise<void> = Promise.resolve();
  /** Ends a sleep when something was asked for. */
  #wake = new AbortController();
  #asked: { readonly rate: number } | null = null;
  #dueAt: number;
  #paidUntil = 0;
  #pass: Mutable<ScrubPass> | null = null;
  #last: ScrubPass | null = null;
  #lastCompleteAt: number | null = null;
  #halted = false;
  #numbers = 0;
  #totals = { passes: 0, pages: 0, records: 0, bytes: 0, damages: 0, rewrittenTables: 0 };
  #lastDamage: ScrubStatus['lastDamage'] = null;
  /** Why the last passes were broken off, and how many in a row. */
  #failure: { readonly message: string; readonly times: number } | null = null;
  /** Tables that the disk did not take again, and why. */
  readonly #unwritten = new Map<string, string>();

  constructor(options: ScrubberOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock();
    const direct = new DirectReader();
    this.#tables = options.tables ?? { read: (path) => direct.read(path), cached: readBuffered };
    this.#dueAt = this.#clock.now() + Math.min(FIRST_MS, options.intervalMs);
  }

  status(): ScrubStatus {
    const { rate } = this.#options;
    const state = this.#halted ? 'halted' : this.#pass !== null ? 'running' : rate === 0 ? 'off' : 'resting';
    return { rate, state, pass: this.#pass === null ? null : { ...this.#pass }, last: this.#last, lastCompleteAt: this.#lastCompleteAt, ...this.#totals, unwrittenTables: this.#unwritten.size, failures: this.#failure?.times ?? 0, lastDamage: this.#lastDamage };
  }

  /** From here on this is what is read. */
  attach(store: ScrubbedStore): void {
    const abort = new AbortController();
    this.#abort = abort;
    this.#halted = false;
    this.#unwritten.clear();
    this.#running = this.#run(store, abort.signal);
  }

  /** When it resolves, nothing reads the store any more. */
  async detach(): Promise<void> {
    this.#abort?.abort();
    this.#wake.abort();
    await this.#running;
  }

  /** A whole pass from the beginning, at once, in place of one that is under way; `rate`: bytes a second. Returns its number. */
  ask(rate?: number): number {
    this.#asked = { rate: rate ?? ASKED_RATE };
    this.#wake.abort();
    return this.#numbers + 1;
  }

  async #run(store: ScrubbedStore, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const now = this.#clock.now();
      if (this.#asked === null && (this.#options.rate === 0 || now < this.#dueAt)) {
        await this.#sleep(this.#options.rate === 0 ? Infinity : this.#dueAt - now, stop);
        continue;
      }
      await this.#onePass(store, stop);
      if (this.#halted) return;
    }
  }

  async #onePass(store: ScrubbedStore, stop: AbortSignal): Promise<void> {
    const asked = this.#asked;
    this.#asked = null;
    const rate = asked?.rate ?? this.#options.rate;
    const startedAt = this.#clock.now();
    this.#dueAt = startedAt + this.#options.intervalMs;
    this.#paidUntil = startedAt;
    const pass: Mutable<ScrubPass> = {
      number: ++this.#numbers, asked: asked !== null, rate, startedAt: this.#clock.wall(), endedAt: null, end: 'running', progress: 0, op: 0,
      tables: 0, tableBytes: 0, direct: true, rewrittenTables: 0, unwrittenTables: 0, pages: 0, innerNodes: 0, records: 0, bytes: 0, damage: null, error: null,
    };
    this.#pass = pass;
    try {
      await this.#readTables(store, pass, stop);
      await this.#readTree(store, pass, stop);
      pass.end = stop.aborted || this.#asked !== null ? 'broken off' : 'complete';
    } catch (error) {
      if (error instanceof StoreDamageError) this.#damaged(pass, error);
      else this.#failed(pass, error);
    }
    pass.endedAt = this.#clock.wall();
    this.#pass = null;
    this.#last = pass;
    if (pass.end !== 'complete') return;
    pass.progress = 1;
    this.#failure = null;
    this.#totals.passes++;
    this.#lastCompleteAt = pass.endedAt;
    const found = pass.unwrittenTables === 0 ? 'no damage' : `no damage, but for ${pass.unwrittenTables} tables that are whole in memory alone`;
    this.#options.log.info({ ...pass }, `scrubbed ${pass.records} records in ${pass.pages} pages and ${pass.tables} tables: ${found}`);
  }

  /** By an error that is no damage: what comes again is told once, and waited for longer each time. */
  #failed(pass: Mutable<ScrubPass>, error: unknown): void {
    const { rate, intervalMs, log } = this.#options;
    const message = error instanceof Error ? error.message : String(error);
    const last = this.#failure;
    this.#failure = { message, times: (last?.times ?? 0) + 1 };
    const waitMs = Math.min(AFTER_ERROR_MS * 2 ** (this.#failure.times - 1), Math.max(AFTER_ERROR_MS, intervalMs));
    this.#dueAt = this.#clock.now() + waitMs;
    pass.end = 'broken off';
    pass.error = message;
    if (last?.message === message && !pass.asked) return;
    const next = rate === 0 ? 'Ask for it again' : `It begins anew in ${Math.round(waitMs / 1000)} s, later each time that this comes again`;
    log.warn({ err: error }, `a scrub was broken off: ${message}. ${next}`);
  }

  #damaged(pass: Mutable<ScrubPass>, damage: StoreDamageError): void {
    pass.end = 'damage';
    pass.damage = damage.message;
    this.#totals.damages++;
    this.#lastDamage = { at: this.#clock.wall(), damage: damage.message };
    this.#halted = true;
    this.#options.onDamage(damage);
  }

  /** What no reading through the database would notice: it does not look at the checksums, and much of it comes from memory. */
  async #readTables(store: ScrubbedStore, pass: Mutable<ScrubPass>, stop: AbortSignal): Promise<void> {
    const names = await this.#tableNames(store.directory, stop);
    for (const name of this.#unwritten.keys()) if (!names.includes(name)) this.#unwritten.delete(name);
    const slices = new Slices(SLICE_MS);
    for (const [i, name] of names.entries()) {
      if (this.#isOver(stop)) return;
      const result = await scrubTable(join(store.directory, name), this.#tables, slices);
      pass.progress = ((i + 1) / names.length) * 0.5;
      if (result.kind === 'unwritten') this.#unwrittenTable(name, result.error, pass);
      else this.#unwritten.delete(name);
      if (result.kind === 'gone') continue;
      pass.tables++;
      pass.tableBytes += result.bytes;
      this.#totals.bytes += result.bytes;
      if (result.kind === 'rewritten') {
        pass.rewrittenTables++;
        this.#totals.rewrittenTables++;
        this.#options.log.error({ table: name }, `the disk has lost a part of the table ${name} of the database; it was still in memory and has been written again. Check the disk`);
      } else if (result.kind === 'sound' && !result.direct) {
        pass.direct = false;
      }
      await this.#pace(result.bytes, pass, stop);
    }
  }

  /** The page cache has it for now, so it is read as it was written: the rest of the pass goes on, and the next one tries again. Told once. */
  #unwrittenTable(name: string, error: Error, pass: Mutable<ScrubPass>): void {
    pass.unwrittenTables++;
    if (this.#unwritten.get(name) === error.message) return;
    this.#unwritten.set(name, error.message);
    this.#options.log.error({ table: name, err: error }, `the disk has lost a part of the table ${name} of the database, and writing it again failed: ${error.message}. It is whole in memory alone until the next scrub tries again; make room or replace the disk`);
  }

  /** The manifest is being written while it is read: what is half there now is whole a moment later. */
  async #tableNames(directory: string, stop: AbortSignal): Promise<string[]> {
    for (let attempt = 1; attempt <= MANIFEST_ATTEMPTS; attempt++) {
      const names = await liveTableNames(directory);
      if (names !== null || stop.aborted) return names ?? [];
      await this.#clock.sleep(100, stop);
    }
    throw new StoreDamageError('database', 'the manifest of the database cannot be read');
  }

  async #readTree(store: ScrubbedStore, pass: Mutable<ScrubPass>, stop: AbortSignal): Promise<void> {
    const slices = new Slices(SLICE_MS);
    const stretch = Math.max(MIN_STRETCH, Math.min(MAX_STRETCH, pass.rate / 8));
    for (let from: Buffer | null = EMPTY; from !== null && !this.#isOver(stop); ) {
      const checkpoint = store.pin();
      if (checkpoint === null) {
        await this.#sleep(RETRY_MS, stop);
        continue;
      }
      const before = { ...pass };
      try {
        from = await scrubStretch(checkpoint, from, stretch, pass, slices);
      } finally {
        await checkpoint.release();
        for (const key of ['pages', 'records', 'bytes'] as const) this.#totals[key] += pass[key] - before[key];
      }
      pass.op = checkpoint.info.op;
      pass.progress = 0.5 + 0.5 * Math.min(1, pass.records / Math.max(1, checkpoint.info.count));
      await this.#pace(pass.bytes - before.bytes, pass, stop);
    }
  }

  #isOver(stop: AbortSignal): boolean {
    return stop.aborted || this.#asked !== null;
  }

  /** Waits as long as so many bytes may take. */
  async #pace(bytes: number, pass: ScrubPass, stop: AbortSignal): Promise<void> {
    const busy = this.#clock.load() > BUSY && !pass.asked;
    const now = this.#clock.now();
    this.#paidUntil = Math.max(this.#paidUntil, now) + (bytes / pass.rate) * 1000 * (busy ? BUSY_DIVISOR : 1);
    if (this.#paidUntil - now >= 1) await this.#sleep(this.#paidUntil - now, stop);
  }

  async #sleep(ms: number, stop: AbortSignal): Promise<void> {
    if (stop.aborted || this.#asked !== null) return;
    this.#wake = new AbortController();
    await this.#clock.sleep(ms, this.#wake.signal);
  }
}

/** The longest that a timer can wait. */
const MAX_SLEEP_MS = 2 ** 31 - 1;

function systemClock(): ScrubClock {
  let last = performance.eventLoopUtilization();
  return {
    now: () => performance.now(),
    wall: () => Date.now(),
    load: () => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, last);
      last = now;
      return utilization;
    },
    sleep: (ms, signal) => new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(ms, MAX_SLEEP_MS));
      // A scrub keeps no process alive.
      timer.unref();
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    }),
  };
}
