/**
 * What this replica has on disk and what waits for it. Journal records and superblocks become durable each in their
 * own order; actions queued here run when everything that was queued before them is durable. The superblock never
 * names a log-view that the journal does not have durably: otherwise a crash would leave a new log-view over an
 * old log (PROTOCOL rows 5, 6).
 */
import { assert } from '../lib/assert.ts';
import { laterOf, opNumber, type Digest, type OpNumber, type View } from '../lib/ids.ts';
import type { Entry } from './entry.ts';
import type { Ports } from './ports.ts';
import { sameElectors, type Configuration } from './configuration.ts';
import type { EpochStart, Superblock } from './superblock.ts';

interface Waiting {
  readonly ticket: number;
  readonly run: () => void;
}

interface PendingRecord {
  readonly ticket: number;
  readonly logView: View;
  readonly head: OpNumber;
  readonly bytes: number;
}

export class Persistence {
  readonly #ports: Ports;
  #superblock: Superblock;
  /** The log as it would be found after a crash now. */
  #durable: { logView: View; op: OpNumber };
  #queuedLogView: View;
  #heldByAll: OpNumber;
  readonly #records: PendingRecord[] = [];
  #pendingBytes = 0;
  #journalTicket = 0;
  #journalDone = 0;
  readonly #journalWaiting: Waiting[] = [];
  readonly #superblockWaiting: Waiting[] = [];
  #superblockTicket = 0;
  #superblockDone = 0;
  #progress = { done: 0, at: 0 };
  #stalledFor = 0;

  constructor(ports: Ports, superblock: Superblock, logView: View, head: OpNumber) {
    this.#ports = ports;
    this.#superblock = superblock;
    this.#durable = { logView, op: head };
    this.#queuedLogView = logView;
    this.#heldByAll = superblock.heldByAll;
  }

  /** As last queued. */
  get superblock(): Superblock {
    return this.#superblock;
  }
  /** The highest op of the durable log, and the log-view that it is durable in. */
  get durable(): { readonly logView: View; readonly op: OpNumber } {
    return this.#durable;
  }

  /** The superblock's, as it would be found after a crash now. */
  get heldByAll(): OpNumber {
    return this.#heldByAll;
  }

  append(entries: readonly Entry[]): void {
    const last = entries.at(-1);
    assert(last !== undefined, 'an append of nothing');
    this.#journalTicket = this.#ports.journal.append({ type: 'append', entries });
    this.#pend(this.#queuedLogView, last.op, entries);
  }

  install(logView: View, base: OpNumber, baseHash: Digest, entries: readonly Entry[]): void {
    assert(logView >= this.#queuedLogView, 'the log-view never goes back');
    this.#queuedLogView = logView;
    this.#journalTicket = this.#ports.journal.append({ type: 'install', logView, base, baseHash, entries });
    this.#pend(logView, entries.at(-1)?.op ?? base, entries);
  }

  #pend(logView: View, head: OpNumber, entries: readonly Entry[]): void {
    let bytes = 0;
    for (const e of entries) bytes += e.bytes.length;
    this.#pendingBytes += bytes;
    this.#records.push({ ticket: this.#journalTicket, logView, head, bytes });
  }

  /** Of entries that were given to the journal and are not durable yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Queues a superblock with these fields changed; `run` when it is durable. */
  writeSuperblock(change: Partial<Superblock>, run?: () => void): void {
    const next: Superblock = { ...this.#superblock, ...change, logView: laterOf(this.#superblock.logView, this.#durable.logView) };
    assert(next.view >= this.#superblock.view, 'the durable view never goes back');
    assert(next.promisedView >= this.#superblock.promisedView, 'the promised view never goes back');
    this.#superblock = next;
    const ticket = this.#ports.superblock.write(next);
    this.#superblockTicket = ticket;
    const { heldByAll } = change;
    if (heldByAll !== undefined) this.#superblockWaiting.push({ ticket, run: () => { this.#heldByAll = heldByAll; } });
    if (run !== undefined) this.#superblockWaiting.push({ ticket, run });
  }

  /**
   * The log up to the start of the epoch is durable: now the epoch is, with its first view as the log-view. No journal record
   * says so: from now on the superblock does.
   * @param heldByOthers up to where that is known of what is behind the start (row 21); 0: of nothing.
   */
  startEpoch(configuration: Configuration, epochStart: EpochStart, heldByOthers: OpNumber, run: () => void): void {
    const { view, held } = epochStart;
    assert(view >= this.#superblock.view && view >= this.#superblock.promisedView, 'the durable view never goes back');
    // Who held it may be among those who leave, and who comes may not.
    const before = sameElectors(this.#superblock.configuration, configuration) ? this.#superblock.heldByAll : 0;
    const heldByAll = opNumber(Math.max(held, before, heldByOthers));
    this.#superblock = { ...this.#superblock, configuration, epochStart, heldByAll, view, promisedView: view, logView: view };
    const ticket = this.#ports.superblock.write(this.#superblock);
    this.#superblockTicket = ticket;
    this.#queuedLogView = view;
    this.#superblockWaiting.push({ ticket, run: () => {
      this.#durable = { ...this.#durable, logView: view };
      this.#heldByAll = heldByAll;
      run();
    } });
  }

  /** Each tick. */
  watch(now: number): void {
    const waits = this.#journalDone < this.#journalTicket || this.#superblockDone < this.#superblockTicket;
    const done = this.#journalDone + this.#superblockDone;
    if (!waits || done !== this.#progress.done) this.#progress = { done, at: now };
    this.#stalledFor = now - this.#progress.at;
  }
  /** For how long nothing has become durable though something waits, milliseconds of the replica's clock. */
  get stalledFor(): number {
    return this.#stalledFor;
  }

  /** Runs when all that the journal was given until now is durable; at once if it is. */
  afterJournal(run: () => void): void {
    if (this.#journalDone >= this.#journalTicket) run();
    else this.#journalWaiting.push({ ticket: this.#journalTicket, run });
  }

  onJournalDurable(ticket: number): void {
    this.#journalDone = Math.max(this.#journalDone, ticket);
    let last: PendingRecord | undefined;
    while (this.#records[0] !== undefined && this.#records[0].ticket <= ticket) {
      last = this.#records.shift();
      this.#pendingBytes -= last?.bytes ?? 0;
    }
    if (last !== undefined) this.#durable = { logView: laterOf(this.#durable.logView, last.logView), op: last.head };
    runUpTo(this.#journalWaiting, ticket);
  }

  onSuperblockDurable(ticket: number): void {
    this.#superblockDone = Math.max(this.#superblockDone, ticket);
    runUpTo(this.#superblockWaiting, ticket);
  }
}

function runUpTo(waiting: Waiting[], ticket: number): void {
  while (waiting[0] !== undefined && waiting[0].ticket <= ticket) waiting.shift()?.run();
}
