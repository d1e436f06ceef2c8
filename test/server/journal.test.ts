import { readdir, readFile, writeFile } from 'node:fs/promises';
import { writev } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view, type Digest } from '../../lib/ids.ts';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import type { Entry } from '../../vr/entry.ts';
import type { JournalRecord } from '../../vr/ports.ts';
import { DiskJournal, formatJournal, MemoryJournal, type BootJournal, type WriteVector } from '../../server/journal.ts';
import { GROUP_HEADER_BYTES, PAGE_BYTES } from '../../server/journal_format.ts';
import { ForeignJournalError, intactFrom, scanJournal, type ScanResult, type SegmentBytes } from '../../server/journal_scan.ts';
import { readSegments, segmentName } from '../../server/segment_files.ts';
import { chain, CLUSTER_ID, GENESIS, IDENTITY, ORIGIN, temporaryDirectory, until } from './support.ts';
import { memberId } from '../../lib/ids.ts';

const SEGMENT_BYTES = 16 * PAGE_BYTES;

const unclosed: DiskJournal[] = [];
afterEach(async () => {
  for (const journal of unclosed.splice(0)) await journal.close();
});

class Harness {
  readonly directory: string;
  durable = 0;
  fatal: Error | null = null;
  journal: DiskJournal | null = null;

  constructor(directory: string) {
    this.directory = directory;
  }

  async format(): Promise<this> {
    await formatJournal(this.directory, IDENTITY, GENESIS, SEGMENT_BYTES);
    return this;
  }

  /** Without marks of the end, unless they are what is tested: where groups lie is what many tests go by. */
  async open(writeVector?: WriteVector, idleMs = 1 << 30): Promise<BootJournal> {
    this.durable = 0;
    const boot = await DiskJournal.open({
      ...IDENTITY, directory: this.directory, checkpoint: ORIGIN, segmentBytes: SEGMENT_BYTES,
      onDurable: (ticket) => { this.durable = ticket; }, fatal: (error) => { this.fatal = error; }, writev: writeVector, idleMs,
    });
    this.journal = boot.journal;
    unclosed.push(boot.journal);
    return boot;
  }

  /** Appends and waits until it is durable: a group of its own. */
  async write(record: JournalRecord): Promise<void> {
    const ticket = defined(this.journal ?? undefined, 'journal').append(record);
    await until(() => this.durable >= ticket, `ticket ${ticket} durable`);
  }
}

async function harness(): Promise<Harness> {
  return new Harness(join(await temporaryDirectory(), 'journal')).format();
}

function scan(segments: readonly SegmentBytes[]): ScanResult {
  return scanJournal(segments, IDENTITY, ORIGIN);
}

function hashes(entries: readonly Entry[]): Digest[] {
  return entries.map((e) => e.hash);
}

function append(entries: readonly Entry[]): JournalRecord {
  return { type: 'append', entries };
}

describe('the journal', () => {
  it('gives back after a clean stop what was appended, with a clean end', async () => {
    const h = await harness();
    const { journal, scan: empty } = await h.open();
    expect(empty).toMatchObject({ certain: true, entries: [], headOp: 0, closed: false, damage: [] });
    const entries = chain(0, ZERO_DIGEST, 50);
    await h.write(append(entries.slice(0, 10)));
    await h.write(append(entries.slice(10)));
    await journal.close();
    const again = await h.open();
    expect(hashes(again.scan.entries)).toEqual(hashes(entries));
    expect(again.scan).toMatchObject({ certain: true, closed: true, tornBytes: 0, damage: [], base: 0, headOp: 50 });
    expect(again.scan.entries.map((e) => e.bytes.toString('hex'))).toEqual(entries.map((e) => e.bytes.toString('hex')));
    await again.journal.close();
  });

  it('counts how long each group took, and not the mark of the end', async () => {
    const h = await harness();
    const { journal } = await h.open(undefined, 0);
    const entries = chain(0, ZERO_DIGEST, 3);
    for (const entry of entries) await h.write(append([entry]));
    await until(() => journal.marked, 'the end is marked');
    const { counts, seconds } = journal.writes;
    expect(Array.from(counts).reduce((sum, n) => sum + n)).toBe(3);
    expect(journal.status().groups).toBe(3);
    expect(seconds).toBeCloseTo(journal.status().syncMs / 1000, 9);
    expect(seconds).toBeGreaterThan(0);
    await journal.close();
  });

  it('writes in one group what gathers while another is under way, and completes in order', async () => {
    const h = await harness();
    let writes = 0;
    const held: (() => void)[] = [];
    const { journal } = await h.open((fd, buffers, position, done) => {
      writes++;
      if (writes <= 2) held.push(() => { writev(fd, buffers, position, done); });
      else writev(fd, buffers, position, done);
    });
    const entries = chain(0, ZERO_DIGEST, 30);
    journal.append(append(entries.slice(0, 1)));
    journal.kick();
    expect(writes).toBe(1);
    for (let i = 1; i < 30; i++) journal.append(append(entries.slice(i, i + 1)));
    journal.kick();
    expect(writes).toBe(1);
    expect(h.durable).toBe(0);
    defined(held.shift(), 'first write')();
    await until(() => writes === 2, 'the second group is begun');
    await until(() => h.durable === 1, 'the first ticket is durable');
    defined(held.shift(), 'second write')();
    await until(() => h.durable === 30, 'all tickets are durable');
    expect(journal.status()).toMatchObject({ groups: 2, records: 30 });
    expect(hashes(scan(await readSegments(h.directory)).entries)).toEqual(hashes(entries));
  });

  it('goes on to new segments, keeps the chain over them, and collects whole ones, which it uses again', async () => {
    const h = await harness();
    await h.open();
    const entries = chain(0, ZERO_DIGEST, 200, 0, 700);
    for (let i = 0; i < 200; i += 5) await h.write(append(entries.slice(i, i + 5)));
    const journal = defined(h.journal ?? undefined, 'journal');
    expect(journal.status().segments).toBeGreaterThan(3);
    expect(hashes(scan(await readSegments(h.directory)).entries)).toEqual(hashes(entries));
    const before = journal.status().segments;
    journal.collect(opNumber(100));
    expect(journal.status().segments).toBeLessThan(before);
    await journal.close();
    const kept = scan(await readSegments(h.directory));
    expect(kept.base).toBeGreaterThan(0);
    expect(kept.base).toBeLessThanOrEqual(100);
    expect(kept.headOp).toBe(200);
    expect(kept).toMatchObject({ certain: true, damage: [] });
    expect(hashes(kept.entries)).toEqual(hashes(entries.slice(kept.base)));
    expect(intactFrom(kept, { op: opNumber(100), entryHash: defined(entries[99], 'entry').hash })).toBe(true);
    expect(intactFrom(kept, { op: opNumber(0), entryHash: ZERO_DIGEST })).toBe(false);
  });

  it('does not take the groups of a reused file for its own', async () => {
    const h = await harness();
    let entries = chain(0, ZERO_DIGEST, 0);
    for (let boot = 0; boot < 6; boot++) {
      const { journal, scan: found } = await h.open();
      expect(hashes(found.entries)).toEqual(hashes(entries.slice(found.base)));
      expect(found).toMatchObject({ certain: true, damage: [] });
      for (let i = 0; i < 12; i++) {
        const more = chain(entries.length, entries[entries.length - 1]?.hash ?? ZERO_DIGEST, 3, boot, 900);
        await h.write(append(more));
        entries = [...entries, ...more];
      }
      journal.collect(opNumber(entries.length - 2));
      await journal.close();
    }
    expect((await readdir(h.directory)).length).toBeLessThan(8);
  });

  it('holds a record that is longer than a segment', async () => {
    const h = await harness();
    const { journal } = await h.open();
    const entries = chain(0, ZERO_DIGEST, 3, 0, 100 << 10);
    await h.write(append(entries));
    const more = chain(3, defined(entries[2], 'entry').hash, 2);
    await h.write(append(more));
    await journal.close();
    expect(hashes(scan(await readSegments(h.directory)).entries)).toEqual(hashes([...entries, ...more]));
  });

  it('ends the process on a write error, once, and completes nothing more', async () => {
    const h = await harness();
    let attempts = 0;
    const { journal } = await h.open((_fd, _buffers, _position, done) => {
      attempts++;
      setImmediate(() => { done(Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' }), 0); });
    });
    journal.append(append(chain(0, ZERO_DIGEST, 1)));
    journal.kick();
    await until(() => h.fatal !== null, 'the error is reported');
    expect(defined(h.fatal ?? undefined, 'error').message).toMatch(/journal in .* could not be written: EIO.*check the disk/);
    journal.append(append(chain(0, ZERO_DIGEST, 1)));
    journal.kick();
    expect(attempts).toBe(1);
    expect(h.durable).toBe(0);
    await journal.close();
  });

  it('writes nothing but its mark of the end while it closes, also when it comes to rest at that moment', async () => {
    const IDLE_MS = 1000;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => { vi.useRealTimers(); });
    const h = await harness();
    let writes = 0;
    let release = (): void => undefined;
    const { journal } = await h.open((fd, chunks, at, done) => {
      if (++writes === 1) {
        release = () => { writev(fd, chunks, at, done); };
        return;
      }
      // The time of rest is over, and its timer would run, before this write is done.
      setImmediate(() => {
        vi.advanceTimersByTime(IDLE_MS);
        writev(fd, chunks, at, done);
      });
    }, IDLE_MS);
    const [entry] = chain(0, ZERO_DIGEST, 1);
    journal.append(append([defined(entry, 'entry')]));
    while (writes === 0) await new Promise(setImmediate);
    const closed = journal.close();
    release();
    await closed;
    expect(writes).toBe(2);
    expect(h.fatal).toBeNull();
    expect(scan(await readSegments(h.directory))).toMatchObject({ headOp: 1, certain: true, damage: [] });
  });

  it('closes what it has opened also when the mark of the end cannot be written, and reports that', async () => {
    const h = await harness();
    let failing = false;
    const { journal } = await h.open((fd, buffers, position, done) => {
      if (failing) setImmediate(() => { done(Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' }), 0); });
      else writev(fd, buffers as NodeJS.ArrayBufferView[], position, done);
    });
    const entries = chain(0, ZERO_DIGEST, 3);
    await h.write(append(entries));
    failing = true;
    await journal.close();
    expect(defined(h.fatal ?? undefined, 'error').message).toMatch(/could not be written: EIO/);
    const { scan: found } = await h.open();
    expect(found).toMatchObject({ certain: true, closed: false, headOp: 3 });
  });

  it('goes on after a short write', async () => {
    const h = await harness();
    const { journal } = await h.open((fd, buffers, position, done) => {
      const { buffer, byteOffset, byteLength } = defined(buffers[0], 'buffer');
      writev(fd, [Buffer.from(buffer, byteOffset, Math.min(7, byteLength))], position, done);
    });
    const entries = chain(0, ZERO_DIGEST, 3);
    await h.write(append(entries));
    expect(journal.status().bytesWritten).toBe(PAGE_BYTES);
    expect(hashes(scan(await readSegments(h.directory)).entries)).toEqual(hashes(entries));
  });

  it('refuses the journal of another group or member', async () => {
    const h = await harness();
    await expect(DiskJournal.open({
      clusterId: CLUSTER_ID, memberId: memberId(2), directory: h.directory, checkpoint: ORIGIN,
      onDurable: () => undefined, fatal: (e) => { throw e; }, segmentBytes: SEGMENT_BYTES,
    })).rejects.toThrow(ForeignJournalError);
  });
});

describe('the memory journal', () => {
  it('keeps nothing and completes in a later turn', async () => {
    let durable = 0;
    const journal = new MemoryJournal((ticket) => { durable = ticket; });
    const ticket = journal.append();
    journal.append();
    expect(ticket).toBe(1);
    expect(durable).toBe(0);
    await until(() => durable === 2, 'both tickets complete');
  });
});

describe('install records', () => {
  it('replace the tail in one step and set the log-view (rows 5 and 6)', async () => {
    const h = await harness();
    await h.open();
    const old = chain(0, ZERO_DIGEST, 10);
    await h.write(append(old));
    const kept = defined(old[5], 'entry');
    const replaced = chain(6, kept.hash, 2, 3);
    await h.write({ type: 'install', logView: view(3), base: kept.op, baseHash: kept.hash, entries: replaced });
    const found = scan(await readSegments(h.directory));
    expect(found).toMatchObject({ certain: true, logView: 3, headOp: 8 });
    expect(hashes(found.entries)).toEqual(hashes([...old.slice(0, 6), ...replaced]));
  });

  it('begin a log anew behind a checkpoint that was installed', async () => {
    const h = await harness();
    await h.open();
    await h.write(append(chain(0, ZERO_DIGEST, 10)));
    const far = chain(500, 'x'.repeat(32) as Digest, 4, 7);
    await h.write({ type: 'install', logView: view(7), base: opNumber(500), baseHash: 'x'.repeat(32) as Digest, entries: far });
    const found = scan(await readSegments(h.directory));
    expect(found).toMatchObject({ certain: true, logView: 7, base: 500, headOp: 504 });
    expect(intactFrom(found, { op: opNumber(500), entryHash: 'x'.repeat(32) as Digest })).toBe(true);
    expect(intactFrom(found, ORIGIN)).toBe(false);
  });

  it('make a log certain again that damage had made uncertain', async () => {
    const h = await harness();
    await h.open();
    const entries = chain(0, ZERO_DIGEST, 30);
    for (let i = 0; i < 30; i += 10) await h.write(append(entries.slice(i, i + 10)));
    await h.journal?.close();
    await flip(h.directory, await lastSegment(h.directory), 2 * PAGE_BYTES + 100);
    const spoiled = await h.open();
    expect(spoiled.scan.certain).toBe(false);
    expect(spoiled.scan.damage.length).toBeGreaterThan(0);
    expect(hashes(spoiled.scan.entries)).toEqual(hashes(entries.slice(0, 10)));
    // Nothing was cut, so a second boot finds the same.
    await spoiled.journal.close();
    const second = await h.open();
    expect(second.scan.certain).toBe(false);
    const base = defined(entries[9], 'entry');
    const repaired = chain(10, base.hash, 25, 1);
    await h.write({ type: 'install', logView: view(1), base: base.op, baseHash: base.hash, entries: repaired });
    await second.journal.close();
    const third = await h.open();
    expect(third.scan).toMatchObject({ certain: true, logView: 1, headOp: 35 });
    expect(hashes(third.scan.entries)).toEqual(hashes([...entries.slice(0, 10), ...repaired]));
    await third.journal.close();
  });
});

async function lastSegment(directory: string): Promise<number> {
  const segments = await readSegments(directory);
  return defined(segments[segments.length - 1], 'segment').sequence;
}

async function flip(directory: string, sequence: number, at: number): Promise<void> {
  const path = join(directory, segmentName(sequence));
  const bytes = await readFile(path);
  bytes[at] = defined(bytes[at], 'byte') ^ 0x10;
  await writeFile(path, bytes);
}

/** Three groups of one page, and a fourth of several, in the newest segment. */
async function written(): Promise<{ segments: SegmentBytes[]; entries: Entry[]; lastStart: number; lastLength: number }> {
  const h = await harness();
  await h.open();
  const entries = chain(0, ZERO_DIGEST, 40, 0, 200);
  await h.write(append(entries.slice(0, 3)));
  await h.write(append(entries.slice(3, 6)));
  await h.write(append(entries.slice(6, 9)));
  await h.write(append(entries.slice(9)));
  const segments = await readSegments(h.directory);
  const lastStart = 4 * PAGE_BYTES;
  const payload = entries.slice(9).reduce((sum, e) => sum + e.bytes.length, 0);
  return { segments, entries, lastStart, lastLength: GROUP_HEADER_BYTES + 43 + payload };
}

/** The segments with the last one's bytes changed by `change`. */
function changed(segments: readonly SegmentBytes[], change: (bytes: Buffer) => void): SegmentBytes[] {
  const last = defined(segments[segments.length - 1], 'segment');
  const bytes = Buffer.from(last.bytes);
  change(bytes);
  return [...segments.slice(0, -1), { sequence: last.sequence, bytes }];
}

describe('a crash', () => {
  it('at any byte of the last write gives the log before it', async () => {
    const { segments, entries, lastStart, lastLength } = await written();
    for (const [filler, step] of [[0, 1], [0xa5, 7]] as const) {
      for (let length = 0; length < lastLength; length += step) {
        const found = scan(changed(segments, (bytes) => bytes.fill(filler, lastStart + length)));
        if (!found.certain || found.headOp !== 9) expect.fail(`torn after ${length} bytes: head ${found.headOp}, ${found.damage.join('; ')}`);
      }
    }
    const whole = scan(changed(segments, (bytes) => bytes.fill(0xa5, lastStart + lastLength)));
    expect(hashes(whole.entries)).toEqual(hashes(entries));
  });

  it('that kept any subset of the pages of the last write gives the log before it', async () => {
    const { segments, lastStart, lastLength } = await written();
    const count = Math.ceil(lastLength / PAGE_BYTES);
    expect(count).toBeGreaterThan(1);
    for (let lost = 1; lost < 1 << count; lost++) {
      const found = scan(changed(segments, (bytes) => {
        for (let page = 0; page < count; page++) {
          if ((lost >> page) & 1) bytes.fill(0, lastStart + page * PAGE_BYTES, lastStart + (page + 1) * PAGE_BYTES);
        }
      }));
      expect(found).toMatchObject({ certain: true, headOp: 9 });
    }
  });

  it('that shortened the file gives the log before the cut', async () => {
    const { segments, entries, lastStart, lastLength } = await written();
    const last = defined(segments[segments.length - 1], 'segment');
    const groupLength = GROUP_HEADER_BYTES + 43 + entries.slice(6, 9).reduce((sum, e) => sum + e.bytes.length, 0);
    for (let length = lastStart - PAGE_BYTES; length < lastStart + 3 * PAGE_BYTES; length += 61) {
      const found = scan([...segments.slice(0, -1), { sequence: last.sequence, bytes: last.bytes.subarray(0, length) }]);
      const lost = length < lastStart - PAGE_BYTES + groupLength ? 6 : length < lastStart + lastLength ? 9 : 40;
      expect(found).toMatchObject({ certain: true, headOp: lost });
    }
  });

  it('is survived again and again: a new segment behind the torn write, and nothing of it comes back', async () => {
    const random = new Prng(7);
    const h = await harness();
    let durable: Entry[] = [];
    for (let round = 0; round < 25; round++) {
      const { scan: found, journal } = await h.open();
      expect(found.certain).toBe(true);
      expect(hashes(found.entries)).toEqual(hashes(durable));
      for (let i = random.below(4); i > 0; i--) {
        const more = chain(durable.length, durable[durable.length - 1]?.hash ?? ZERO_DIGEST, 1 + random.below(5), round, random.below(3000));
        await h.write(append(more));
        durable = [...durable, ...more];
      }
      const lost = chain(durable.length, durable[durable.length - 1]?.hash ?? ZERO_DIGEST, 1 + random.below(9), round + 100, random.below(2000));
      const opened = await lastSegment(h.directory);
      const path = join(h.directory, segmentName(opened));
      const before = await readFile(path);
      await h.write(append(lost));
      const after = await readFile(path);
      await journal.close();
      // A prefix of the bytes that the last group and the close mark changed reached the disk.
      if ((await lastSegment(h.directory)) !== opened) {
        durable = [...durable, ...lost];
        continue;
      }
      const differs = [...after.keys()].filter((k) => after[k] !== before[k]);
      const torn = Buffer.from(before);
      for (const k of differs.slice(0, random.below(differs.length))) torn[k] = defined(after[k], 'byte');
      await writeFile(path, torn);
    }
  });
});

describe('damage', () => {
  it('in any bit before the last group is never taken for a torn write, and what is read is a prefix of the truth', async () => {
    const { segments, entries, lastStart } = await written();
    const random = new Prng(11);
    for (let i = 0; i < 1500; i++) {
      const at = PAGE_BYTES + random.below(lastStart - PAGE_BYTES);
      const found = scan(changed(segments, (bytes) => { bytes[at] = defined(bytes[at], 'byte') ^ (1 << random.below(8)); }));
      const harmless = found.certain && found.headOp === 40;
      if (harmless) continue; // A bit of the padding.
      expect(found.certain).toBe(false);
      expect(found.damage.length).toBeGreaterThan(0);
      expect(hashes(found.entries)).toEqual(hashes(entries.slice(0, found.entries.length)));
      expect(found.entries.length % 3).toBe(0);
      expect(found.lastGroup).toBeGreaterThanOrEqual(4);
    }
  });

  it('in an earlier segment, or a missing one, is noticed unless the checkpoint is behind it', async () => {
    const h = await harness();
    await h.open();
    const entries = chain(0, ZERO_DIGEST, 200, 0, 700);
    for (let i = 0; i < 200; i += 5) await h.write(append(entries.slice(i, i + 5)));
    await h.journal?.close();
    const segments = await readSegments(h.directory);
    for (let i = 1; i < segments.length - 1; i++) {
      const without = segments.filter((_, k) => k !== i);
      const found = scan(without);
      expect(found.damage.length).toBeGreaterThan(0);
      expect(intactFrom(found, ORIGIN)).toBe(false);
      const later = opNumber(found.base + 1);
      expect(intactFrom(found, { op: later, entryHash: defined(entries[found.base], 'entry').hash })).toBe(true);
    }
    const headerless = (sequence: number): SegmentBytes[] =>
      segments.map((s) => (s.sequence === sequence ? { sequence, bytes: Buffer.from(s.bytes).fill(0, 0, 40) } : s));
    // A header says nothing that the headers behind it do not say anew, as long as the chain holds.
    const [, second] = segments;
    const spoiled = scan(headerless(defined(second, 'segment').sequence));
    expect(spoiled.damage.length).toBeGreaterThan(0);
    expect(hashes(spoiled.entries)).toEqual(hashes(entries));
    expect(intactFrom(spoiled, ORIGIN)).toBe(true);
    expect(scan(headerless(defined(segments[segments.length - 1], 'segment').sequence)).certain).toBe(false);
  });

  it('of everything leaves no log at all', () => {
    const found = scan([]);
    expect(found).toMatchObject({ certain: false, entries: [], headOp: 0 });
    expect(intactFrom(found, ORIGIN)).toBe(false);
  });
});
