/**
 * The journal of a replica: `append` queues a record; whatever has gathered while one group is being written goes into
 * the next. A group is one `writev` on a descriptor that writes synchronously (O_DSYNC), which is a writev and an
 * fdatasync in one trip to the thread pool. One group is under way at a time, so groups become durable in order.
 *
 * An I/O error is never retried: what the kernel does with pages whose write-back failed is not known, so the
 * process ends (`fatal`), and the next boot finds out what is on the disk.
 */
import { writev } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { mkdir } from 'node:fs/promises';
import { assert, defined } from '../lib/assert.ts';
import type { Digest, OpNumber, View } from '../lib/ids.ts';
import type { Entry } from '../vr/entry.ts';
import type { Journal, JournalRecord } from '../vr/ports.ts';
import { GroupBuilder } from './journal_group.ts';
import { encodeSegmentHeader, newSegmentKey, PAGE_BYTES, pages, type JournalIdentity, type LogPosition, type SegmentKey } from './journal_format.ts';
import { scanJournal, type ScanResult } from './journal_scan.ts';
import { LatencyHistogram, type LatencyCounts } from './latency_histogram.ts';
import type { JournalStatus } from './running_replica.ts';
import { syncDirectory } from './directories.ts';
import { readSegments, SegmentFiles } from './segment_files.ts';

export const DEFAULT_SEGMENT_BYTES = 16 << 20;
/** After so long without a record, milliseconds, a group without any says that the last one is durable. */
const IDLE_MS = 20;
/** A group is closed when it has this many bytes; a longer record makes a longer group. */
const GROUP_BYTES = 4 << 20;
/** Of one record of a journal that is made with a log in it. */
const FORMAT_ENTRIES = 256;

/** `fs.writev`, or a substitute that fails or delays. */
export type WriteVector = (
  fd: number, buffers: readonly NodeJS.ArrayBufferView[], position: number,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void;

export interface JournalOptions extends JournalIdentity {
  readonly directory: string;
  /** Where a log that holds nothing starts. */
  readonly checkpoint: { readonly op: OpNumber; readonly entryHash: Digest };
  /** Everything up to `ticket` is durable. Never called from inside `append`. */
  readonly onDurable: (ticket: number) => void;
  /** An I/O error: the process cannot go on. */
  readonly fatal: (error: Error) => void;
  /** Size of a segment; a multiple of the page. Default 16 MiB. */
  readonly segmentBytes?: number;
  readonly writev?: WriteVector;
  /** After how long without a record the end is marked as durable, milliseconds. Default 20. */
  readonly idleMs?: number;
}

interface Segment {
  readonly sequence: number;
  /** Of the log where the segment begins; null: unknown, its header was damaged. */
  readonly start: LogPosition | null;
}

export interface BootJournal {
  readonly journal: DiskJournal;
  /** What was found. */
  readonly scan: ScanResult;
}

/** An empty journal whose log is at op 0: part of formatting a data directory. */
export async function formatJournal(directory: string, identity: JournalIdentity, genesis: LogPosition, segmentBytes = DEFAULT_SEGMENT_BYTES): Promise<void> {
  await mkdir(directory);
  const files = new SegmentFiles(directory, segmentBytes);
  const handle = await files.activate(1, encodeSegmentHeader({ ...identity, ...genesis, ...newSegmentKey(1), firstGroup: 1 }));
  await handle.close();
}

/** A log in a new journal, durably: `entries` behind its base, in a view whose log is as it was. */
export async function formatJournalWith(directory: string, identity: JournalIdentity, log: { readonly base: OpNumber; readonly baseHash: Digest; readonly logView: View; readonly entries: readonly Entry[] }, segmentBytes = DEFAULT_SEGMENT_BYTES): Promise<void> {
  await formatJournal(directory, identity, { certain: true, logView: log.logView, headOp: log.base, headHash: log.baseHash }, segmentBytes);
  let failure: Error | null = null;
  const { journal } = await DiskJournal.open({
    directory, ...identity, checkpoint: { op: log.base, entryHash: log.baseHash }, segmentBytes,
    onDurable: () => undefined, fatal: (error) => { failure = error; },
  });
  for (let from = 0; from < log.entries.length; from += FORMAT_ENTRIES) journal.append({ type: 'append', entries: log.entries.slice(from, from + FORMAT_ENTRIES) });
  await journal.close();
  if (failure !== null) throw failure;
}

export class DiskJournal implements Journal {
  readonly #options: JournalOptions;
  readonly #files: SegmentFiles;
  readonly #segmentBytes: number;
  readonly #writev: WriteVector;
  readonly #builder = new GroupBuilder();
  #segments: Segment[];
  #handle: FileHandle | null = null;
  /** Of the current segment. */
  #key: SegmentKey | null = null;
  /** Where the next group goes in the current segment. */
  #offset = PAGE_BYTES;
  #lastGroup: number;
  /** Where the log stands behind everything that has been put into a group. */
  #position: LogPosition;
  #queue: JournalRecord[] = [];
  #lastTicket = 0;
  #writing = false;
  #scheduled = false;
  #failed = false;
  /** The last group has none behind it that says that it is durable. */
  #unmarked = false;
  #idleTimer: NodeJS.Timeout | null = null;
  #closing: (() => void) | null = null;
  #collecting: Promise<void> = Promise.resolve();
  #groups = 0;
  #records = 0;
  #bytesWritten = 0;
  /** Of groups that somebody waited for. */
  readonly #writes = new LatencyHistogram();

  private constructor(options: JournalOptions, scan: ScanResult) {
    this.#options = options;
    this.#segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
    assert(this.#segmentBytes % PAGE_BYTES === 0 && this.#segmentBytes > PAGE_BYTES, 'a segment is whole pages, two at least');
    this.#files = new SegmentFiles(options.directory, this.#segmentBytes);
    this.#writev = options.writev ?? writev;
    this.#lastGroup = scan.lastGroup;
    this.#position = { certain: scan.certain, logView: scan.logView, headOp: scan.headOp, headHash: scan.headHash };
    this.#segments = scan.segments.map((s) => ({ ...s }));
  }

  /**
   * Reads what is there and opens a new segment behind it. Rejects with ForeignJournalError, or with the error of the
   * file system. Damage is no error: it is in the scan.
   */
  static async open(options: JournalOptions): Promise<BootJournal> {
    const segments = await readSegments(options.directory);
    const scan = scanJournal(segments, options, options.checkpoint);
    const journal = new DiskJournal(options, scan);
    const last = segments[segments.length - 1];
    // A process that was killed may have left its last group in the page cache only, and one whose write failed may
    // have left there what is not on the disk at all: written again, it is what the replica takes it for, durable.
    if (last !== undefined && scan.tail?.sequence === last.sequence) {
      const { group } = scan.tail;
      await journal.#files.rewrite(last.sequence, group.start, last.bytes.subarray(group.start, group.end));
    }
    await journal.#openSegment((last?.sequence ?? 0) + 1, journal.#position);
    if (last !== undefined) await journal.#files.seal(last.sequence);
    return { journal, scan };
  }

  append(record: JournalRecord): number {
    this.#queue.push(record);
    if (!this.#writing && !this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#onScheduled);
    }
    return ++this.#lastTicket;
  }

  /** Starts writing what has gathered, unless a group is under way; the end of a turn calls it. */
  kick(): void {
    if (this.#writing || this.#failed || this.#queue.length === 0) return;
    this.#writing = true;
    const before = this.#position;
    const taken = this.#gather();
    if (this.#fits()) this.#write(taken);
    else void this.#rotate(before).then(() => { this.#write(taken); }, this.#fail);
  }

  /** Something behind the last group says that it is durable. */
  get marked(): boolean {
    return !this.#unmarked;
  }

  collect(op: OpNumber): void {
    // A header that is certain says all of the log before its segment: when nothing of that is needed any more, all segments
    // before it go, whatever they are. The last such one counts: in between there may be some that are damaged or not certain.
    const gone = this.#segments.findLastIndex(({ start }) => start?.certain === true && start.headOp <= op);
    if (gone <= 0) return;
    const retired = this.#segments.slice(0, gone);
    this.#segments = this.#segments.slice(gone);
    this.#collecting = this.#collecting.then(() => this.#retire(retired)).catch(this.#fail);
  }

  status(): JournalStatus {
    return {
      segments: this.#segments.length, bytes: this.#segments.length * this.#segmentBytes,
      groups: this.#groups, records: this.#records, bytesWritten: this.#bytesWritten, syncMs: this.#writes.seconds * 1000,
    };
  }

  /** How long each group took that `status` counts. */
  get writes(): LatencyCounts {
    return this.#writes;
  }

  /** Only the last group can be taken for one that a crash has torn: where there is time it is not to be the last. */
  readonly #onIdle = (): void => {
    this.#idleTimer = null;
    if (this.#writing || this.#failed || this.#handle === null || !this.#unmarked || this.#queue.length > 0) return;
    this.#writing = true;
    const taken = this.#lastTicket;
    this.#builder.begin();
    if (this.#fits()) this.#write(taken, false);
    else void this.#rotate(this.#position).then(() => { this.#write(taken, false); }, this.#fail);
  };

  #awaitIdle(): void {
    if (this.#idleTimer !== null) this.#idleTimer.refresh();
    else this.#idleTimer = setTimeout(this.#onIdle, this.#options.idleMs ?? IDLE_MS);
  }

  #stopIdleTimer(): void {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
  }

  /** Writes what is queued and the mark of a clean stop. Nothing may be appended afterwards. */
  async close(): Promise<void> {
    this.#stopIdleTimer();
    if (this.#handle === null && !this.#writing) return;
    if (!this.#failed && (this.#writing || this.#queue.length > 0)) {
      await new Promise<void>((resolve) => {
        this.#closing = resolve;
        this.kick();
      });
      // The last of them has wound it up again: it would write where the mark goes, or into a segment that is closed.
      this.#stopIdleTimer();
    }
    await this.#collecting;
    // Without the mark the next start finds the log as after a crash; what was opened is closed all the same.
    if (!this.#failed) await this.#writeClosed().catch(this.#fail);
    await this.#handle?.close();
    this.#handle = null;
    await this.#files.settle();
  }

  readonly #onScheduled = (): void => {
    this.#scheduled = false;
    this.kick();
  };

  /** Puts queued records into the builder; returns the ticket of the last. */
  #gather(): number {
    const builder = this.#builder;
    builder.begin();
    let taken = 0;
    while (taken < this.#queue.length && (taken === 0 || builder.length < GROUP_BYTES)) {
      const record = defined(this.#queue[taken], 'queued record');
      builder.add(record);
      this.#advance(record);
      taken++;
    }
    this.#queue = taken === this.#queue.length ? [] : this.#queue.slice(taken);
    return this.#lastTicket - this.#queue.length;
  }

  #advance(record: JournalRecord): void {
    const last = record.entries[record.entries.length - 1];
    if (record.type === 'install') {
      this.#position = { certain: true, logView: record.logView, headOp: last?.op ?? record.base, headHash: last?.hash ?? record.baseHash };
    } else if (last !== undefined) {
      this.#position = { ...this.#position, headOp: last.op, headHash: last.hash };
    }
  }

  /** A group that is longer than a segment goes into a segment of its own, which grows. */
  #fits(): boolean {
    return this.#offset === PAGE_BYTES || this.#offset + pages(this.#builder.length) <= this.#segmentBytes;
  }

  async #rotate(start: LogPosition): Promise<void> {
    const current = defined(this.#segments[this.#segments.length - 1], 'current segment');
    await this.#handle?.close();
    this.#handle = null;
    await this.#openSegment(current.sequence + 1, start);
    await this.#files.seal(current.sequence);
  }

  async #openSegment(sequence: number, start: LogPosition): Promise<void> {
    const { clusterId, memberId } = this.#options;
    const key = newSegmentKey(sequence);
    const header = encodeSegmentHeader({ clusterId, memberId, ...key, firstGroup: this.#lastGroup + 1, ...start });
    this.#handle = await this.#files.activate(sequence, header);
    this.#key = key;
    this.#offset = PAGE_BYTES;
    this.#segments.push({ sequence, start });
  }

  /** `unmarked`: somebody is told that what is in it is durable. */
  #write(ticket: number, unmarked = true): void {
    const group = this.#lastGroup + 1;
    const chunks = this.#finishGroup();
    const length = pages(this.#builder.length);
    const started = performance.now();
    this.#writeAll(chunks, this.#offset, length, () => {
      this.#lastGroup = group;
      this.#offset += length;
      if (unmarked) {
        this.#groups++;
        this.#records += this.#builder.records;
        this.#bytesWritten += length;
        this.#writes.count(performance.now() - started);
      }
      this.#unmarked = unmarked;
      this.#finished(ticket);
    });
  }

  /** The bytes of the next group; one is ever under way, so all before it are durable. */
  #finishGroup(): Buffer[] {
    return this.#builder.finish(this.#lastGroup + 1, this.#lastGroup, defined(this.#key ?? undefined, 'key of the current segment'));
  }

  #writeAll(chunks: readonly Buffer[], at: number, length: number, done: () => void): void {
    const handle = this.#handle;
    assert(handle !== null, 'a segment is open');
    this.#writev(handle.fd, chunks, at, (error, written) => {
      if (error !== null) this.#fail(error);
      else if (written === length) done();
      // Short writes are what a nearly full disk gives; the next one then says so.
      else if (written > 0) this.#writeAll(behind(chunks, written), at + written, length - written, done);
      else this.#fail(new Error('a write of 0 bytes'));
    });
  }

  #finished(ticket: number): void {
    this.#writing = false;
    // The next group first, so that the disk does not wait for what the replica makes of this one.
    this.kick();
    // Half a segment ahead is time enough to fill the next one in the background.
    if (this.#unmarked && !this.#isWriting()) this.#awaitIdle();
    if (this.#offset * 2 > this.#segmentBytes) void this.#files.prepare().catch(this.#fail);
    this.#options.onDurable(ticket);
    if (this.#closing !== null && !this.#isWriting() && this.#queue.length === 0) this.#closing();
  }

  #isWriting(): boolean {
    return this.#writing;
  }

  async #writeClosed(): Promise<void> {
    const before = this.#position;
    this.#builder.begin();
    this.#builder.addClosed();
    if (!this.#fits()) await this.#rotate(before);
    await new Promise<void>((resolve, reject) => {
      const chunks = this.#finishGroup();
      const { fd } = defined(this.#handle ?? undefined, 'open segment');
      this.#writev(fd, chunks, this.#offset, (error) => { if (error === null) resolve(); else reject(error); });
    });
  }

  async #retire(segments: readonly Segment[]): Promise<void> {
    for (const s of segments) await this.#files.retire(s.sequence);
    await syncDirectory(this.#options.directory);
  }

  readonly #fail = (error: Error): void => {
    if (this.#failed) return;
    this.#failed = true;
    this.#closing?.();
    this.#options.fatal(new Error(
      `the journal in ${this.#options.directory} could not be written: ${error.message}. A failed write is not repeated: make room or check the disk, then start the replica again`,
      { cause: error },
    ));
  };
}

/** What is left of `chunks` behind the first `written` bytes. */
function behind(chunks: readonly Buffer[], written: number): Buffer[] {
  const rest: Buffer[] = [];
  let skip = written;
  for (const chunk of chunks) {
    if (skip < chunk.length) rest.push(chunk.subarray(skip));
    skip = Math.max(0, skip - chunk.length);
  }
  return rest;
}

/** Memory mode (PROTOCOL section 2): nothing is kept; a record is as durable as it gets when the turn is over. */
export class MemoryJournal implements Journal {
  readonly #onDurable: (ticket: number) => void;
  #lastTicket = 0;
  #completed = 0;
  #scheduled = false;
  #records = 0;

  constructor(onDurable: (ticket: number) => void) {
    this.#onDurable = onDurable;
  }

  append(): number {
    this.#records++;
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#complete);
    }
    return ++this.#lastTicket;
  }

  /** There is nothing to collect. */
  collect(): void {
    return;
  }

  /** Completes what has been appended, without waiting for the next turn of the loop; the end of a turn calls it. */
  kick(): void {
    while (this.#completed < this.#lastTicket) {
      this.#completed = this.#lastTicket;
      this.#onDurable(this.#completed);
    }
  }

  status(): JournalStatus {
    return { segments: 0, bytes: 0, groups: 0, records: this.#records, bytesWritten: 0, syncMs: 0 };
  }

  /** There are none. */
  readonly writes: LatencyCounts = new LatencyHistogram();

  close(): Promise<void> {
    return Promise.resolve();
  }

  readonly #complete = (): void => {
    this.#scheduled = false;
    this.kick();
  };
}
