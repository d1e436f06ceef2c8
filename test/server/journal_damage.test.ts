/** Whatever happens to the files of a journal: what is read is the log as it was, or the replica knows that it is not. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view, type Digest, type OpNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import type { Entry } from '../../vr/entry.ts';
import type { JournalRecord } from '../../vr/ports.ts';
import { DiskJournal, formatJournal, type BootJournal } from '../../server/journal.ts';
import { PAGE_BYTES, readGroup, shownKey } from '../../server/journal_format.ts';
import { intactFrom, scanJournal, type ScanResult, type SegmentBytes } from '../../server/journal_scan.ts';
import { readSegments, SegmentFiles, segmentName } from '../../server/segment_files.ts';
import { chain, GENESIS, IDENTITY, ORIGIN, temporaryDirectory, until } from './support.ts';

const SEGMENT_BYTES = 4 * PAGE_BYTES;

interface Image {
  readonly directory: string;
  readonly segments: readonly SegmentBytes[];
  readonly entries: readonly Entry[];
  readonly logView: number;
}

/** Four segments: appends, a view change in between, and what follows the last group when the replica is killed at rest. */
async function write(idleMs: number): Promise<Image> {
  const directory = join(await temporaryDirectory(), 'journal');
  await formatJournal(directory, IDENTITY, GENESIS, SEGMENT_BYTES);
  let durable = 0;
  const { journal } = await DiskJournal.open({
    ...IDENTITY, directory, checkpoint: ORIGIN, segmentBytes: SEGMENT_BYTES, idleMs,
    onDurable: (ticket) => { durable = ticket; }, fatal: (error) => { throw error; },
  });
  const append = async (record: JournalRecord): Promise<void> => {
    const ticket = journal.append(record);
    await until(() => durable >= ticket, 'durable');
  };
  const first = chain(0, ZERO_DIGEST, 12, 0, 400);
  for (let i = 0; i < 12; i += 3) await append({ type: 'append', entries: first.slice(i, i + 3) });
  const base = defined(first[9], 'entry');
  const second = chain(10, base.hash, 12, 4, 500);
  await append({ type: 'install', logView: view(4), base: base.op, baseHash: base.hash, entries: second.slice(0, 4) });
  for (let i = 4; i < 12; i += 2) await append({ type: 'append', entries: second.slice(i, i + 2) });
  if (idleMs < 1000) {
    const written = (): number => journal.status().groups;
    expect(written()).toBe(9);
    await until(() => journal.marked, 'the end is marked');
  }
  // Killed: what is on the disk now is all there is.
  const segments = await readSegments(directory);
  await journal.close();
  return { directory, segments, entries: [...first.slice(0, 10), ...second], logView: 4 };
}

function scan(segments: readonly SegmentBytes[], checkpoint: { op: OpNumber; entryHash: Digest }): ScanResult {
  return scanJournal(segments, IDENTITY, checkpoint);
}

/** The log that a replica at `checkpoint` would go on with is the true one, or it would not go on with it. */
function check(found: ScanResult, image: Image, checkpoint: { op: OpNumber; entryHash: Digest }, what: string): 'exact' | 'uncertain' {
  if (!intactFrom(found, checkpoint)) return 'uncertain';
  if (found.headOp !== image.entries.length || found.logView !== image.logView) expect.fail(`${what}: goes on at op ${found.headOp} in view ${found.logView}`);
  for (const e of found.entries) {
    if (image.entries[e.op - 1]?.hash !== e.hash || !e.bytes.equals(defined(image.entries[e.op - 1], 'entry').bytes)) expect.fail(`${what}: op ${e.op} is another`);
  }
  return 'exact';
}

function flipped(segments: readonly SegmentBytes[], flips: readonly (readonly [segment: number, at: number, bit: number])[]): SegmentBytes[] {
  const changed = segments.map(({ sequence, bytes }, i) => ({ sequence, bytes: flips.some(([segment]) => segment === i) ? Buffer.from(bytes) : bytes }));
  for (const [segment, at, bit] of flips) {
    const { bytes } = defined(changed[segment], 'segment');
    bytes[at] = defined(bytes[at], 'byte') ^ (1 << bit);
  }
  return changed;
}

describe('a journal whose end is marked', () => {
  let image: Image;
  let checkpoints: { op: OpNumber; entryHash: Digest }[] = [];
  beforeAll(async () => {
    image = await write(5);
    checkpoints = [ORIGIN, ...[5, 14, 20].map((op) => ({ op: opNumber(op), entryHash: defined(image.entries[op - 1], 'entry').hash }))];
  });

  it('is what was written', () => {
    expect(image.segments.length).toBeGreaterThan(3);
    for (const checkpoint of checkpoints) expect(check(scan(image.segments, checkpoint), image, checkpoint, 'as it is')).toBe('exact');
  });

  it('with one flipped bit anywhere gives the exact log, or none to go on with', () => {
    const seen = { exact: 0, uncertain: 0 };
    let bit = 0;
    for (const [s, { bytes }] of image.segments.entries()) {
      for (let at = s; at < bytes.length; at += 11) {
        const segments = flipped(image.segments, [[s, at, ++bit & 7]]);
        const checkpoint = defined(checkpoints[bit % checkpoints.length], 'checkpoint');
        seen[check(scan(segments, checkpoint), image, checkpoint, `segment ${s} byte ${at}`)]++;
      }
    }
    // Zeros behind what was written do not matter; most of the rest does, unless a later segment begins above it.
    expect(seen.exact).toBeGreaterThan(500);
    expect(seen.uncertain).toBeGreaterThan(500);
  });

  it('with several of them in several segments too', () => {
    const random = new Prng(5);
    for (let round = 0; round < 2000; round++) {
      const flips = Array.from({ length: 2 + random.below(5) }, () => {
        const s = random.below(image.segments.length);
        return [s, random.below(defined(image.segments[s], 'segment').bytes.length), random.below(8)] as const;
      });
      const checkpoint = random.pick(checkpoints);
      check(scan(flipped(image.segments, flips), checkpoint), image, checkpoint, JSON.stringify(flips));
    }
  });

  it('with any segment missing, the newest as well', () => {
    for (let missing = 0; missing < image.segments.length; missing++) {
      const segments = image.segments.filter((_, i) => i !== missing);
      const found = scan(segments, ORIGIN);
      // There is nothing in the first: each start goes on in a segment of its own.
      expect(check(found, image, ORIGIN, `without segment ${missing}`)).toBe(missing === 0 ? 'exact' : 'uncertain');
      if (missing > 1) expect(found.damage.join(), `without segment ${missing}`).toMatch(/missing/);
      for (const checkpoint of checkpoints) check(found, image, checkpoint, `without segment ${missing}`);
    }
  });

  it('with any two segments swapped, and any one in the place of another', () => {
    const count = image.segments.length;
    for (let a = 0; a < count; a++) {
      for (let b = 0; b < count; b++) {
        if (a === b) continue;
        const swapped = image.segments.map(({ sequence, bytes }, i) => ({ sequence, bytes: i === a ? bytesOf(b) : i === b ? bytesOf(a) : bytes }));
        const doubled = image.segments.map(({ sequence, bytes }, i) => ({ sequence, bytes: i === a ? bytesOf(b) : bytes }));
        for (const checkpoint of checkpoints) {
          check(scan(swapped, checkpoint), image, checkpoint, `${a} and ${b} swapped`);
          check(scan(doubled, checkpoint), image, checkpoint, `${b} in the place of ${a}`);
        }
        expect(scan(swapped, ORIGIN).certain && intactFrom(scan(swapped, ORIGIN), ORIGIN)).toBe(false);
      }
    }
    function bytesOf(i: number): Buffer {
      return defined(image.segments[i], 'segment').bytes;
    }
  });

  it('with any segment cut off anywhere', () => {
    for (const [s, { bytes }] of image.segments.entries()) {
      for (let length = 0; length < bytes.length; length += 257) {
        const segments = image.segments.map((segment, i) => (i === s ? { sequence: segment.sequence, bytes: bytes.subarray(0, length) } : segment));
        const checkpoint = defined(checkpoints[length % checkpoints.length], 'checkpoint');
        // A file that has become shorter at its end is what a file system may make of a crash; not before the mark of the end.
        if (s === image.segments.length - 1) continue;
        check(scan(segments, checkpoint), image, checkpoint, `segment ${s} cut to ${length}`);
      }
    }
  });
});

describe('damage to the last group', () => {
  it('is taken for a torn write only while nothing says that the group was durable', async () => {
    const unmarked = await write(1 << 30);
    const marked = await write(5);
    const lastGroup = (image: Image): readonly [segment: number, at: number] => {
      let found: readonly [number, number] = [0, 0];
      for (const [s, { bytes, sequence }] of image.segments.entries()) {
        const key = shownKey(bytes, sequence);
        for (let at = PAGE_BYTES; key !== null && at < bytes.length; at += PAGE_BYTES) if ((readGroup(bytes, at, key)?.records ?? 0) > 0) found = [s, at];
      }
      return found;
    };
    const damaged = ([segment, at]: readonly [number, number], offset: number): readonly (readonly [number, number, number])[] => [[segment, at + offset, 3]];
    for (let offset = 0; offset < 1000; offset += 31) {
      const torn = scan(flipped(unmarked.segments, damaged(lastGroup(unmarked), offset)), ORIGIN);
      expect(torn, `byte ${offset}`).toMatchObject({ certain: true, headOp: 20 });
      expect(intactFrom(scan(flipped(marked.segments, damaged(lastGroup(marked), offset)), ORIGIN), ORIGIN), `byte ${offset}`).toBe(false);
    }
  });
});

describe('a journal that is opened', () => {
  it('without its newest segment, or with two swapped, is uncertain until the log has been installed anew', async () => {
    for (const spoil of [
      async (directory: string, names: readonly string[]) => { await rm(join(directory, defined(names.at(-1), 'newest'))); },
      async (directory: string, names: readonly string[]) => {
        const [a, b] = [join(directory, defined(names[0], 'first')), join(directory, defined(names[1], 'second'))];
        await rename(a, join(directory, 'x'));
        await rename(b, a);
        await rename(join(directory, 'x'), b);
      },
    ]) {
      const { directory, segments, entries } = await write(5);
      const names = segments.map((s) => segmentName(s.sequence));
      expect(await readdir(directory)).toEqual(expect.arrayContaining(names));
      await spoil(directory, names);
      let durable = 0;
      const open = (): ReturnType<typeof DiskJournal.open> => DiskJournal.open({
        ...IDENTITY, directory, checkpoint: ORIGIN, segmentBytes: SEGMENT_BYTES, onDurable: (ticket) => { durable = ticket; }, fatal: (error) => { throw error; },
      });
      const found = await open();
      expect(intactFrom(found.scan, ORIGIN)).toBe(false);
      const ticket = found.journal.append({ type: 'install', logView: view(9), base: opNumber(0), baseHash: ZERO_DIGEST, entries: [...entries] });
      await until(() => durable >= ticket, 'installed');
      await found.journal.close();
      const again = await open();
      expect(again.scan).toMatchObject({ certain: true, logView: 9, base: 0, headOp: entries.length });
      await again.journal.close();
    }
  });
});

/** Harms the files of a closed journal. */
type Harm = (directory: string, segments: readonly SegmentBytes[]) => Promise<void>;

async function overwrite(directory: string, { sequence }: SegmentBytes, at: number): Promise<void> {
  await new SegmentFiles(directory, SEGMENT_BYTES).rewrite(sequence, at, Buffer.from('damage'));
}

/** Opens it, and closes it at the end of the test if that has not been done. */
async function openUntilEnd(directory: string, onDurable: (ticket: number) => void): Promise<BootJournal> {
  const boot = await DiskJournal.open({
    ...IDENTITY, directory, checkpoint: ORIGIN, segmentBytes: SEGMENT_BYTES, idleMs: 1 << 30, onDurable, fatal: (error) => { throw error; },
  });
  onTestFinished(() => boot.journal.close());
  return boot;
}

describe('collection after damage', () => {
  it.each<[what: string, harm: Harm]>([
    ['a group in the midst of the newest segment', (directory, segments) => overwrite(directory, defined(segments.at(-1), 'newest'), PAGE_BYTES + 8)],
    ['the header of a segment in the middle', (directory, segments) => overwrite(directory, defined(segments[2], 'third'), 20)],
    ['the header of the newest segment', (directory, segments) => overwrite(directory, defined(segments.at(-1), 'newest'), 20)],
    ['the newest segment, which is gone', (directory, segments) => rm(join(directory, segmentName(defined(segments.at(-1), 'newest').sequence)))],
    ['all of it, an empty directory in its place', async (directory) => {
      await rm(directory, { recursive: true });
      await mkdir(directory);
    }],
  ])('takes the old segments once the log is certain again: %s', async (_, harm) => {
    const { directory, entries } = await write(5);
    let durable = 0;
    const open = (): Promise<BootJournal> => openUntilEnd(directory, (ticket) => { durable = ticket; });
    await harm(directory, await readSegments(directory));
    // Stopped once before it has recovered: two segments begin where nothing is certain.
    const first = await open();
    expect(first.scan.damage).not.toEqual([]);
    await first.journal.close();
    const found = await open();
    const append = async (record: JournalRecord): Promise<void> => {
      const ticket = found.journal.append(record);
      await until(() => durable >= ticket, 'durable');
    };
    await append({ type: 'install', logView: view(9), base: opNumber(0), baseHash: ZERO_DIGEST, entries: [...entries] });
    const more = chain(entries.length, defined(entries.at(-1), 'entry').hash, 100, 9, 700);
    const before = found.journal.status().segments;
    for (let i = 0; i < more.length; i += 5) await append({ type: 'append', entries: more.slice(i, i + 5) });
    expect(found.journal.status().segments).toBeGreaterThan(before + 5);
    const head = entries.length + more.length;
    const base = defined(more.at(-11), 'entry');
    found.journal.collect(base.op);
    expect(found.journal.status().segments).toBeLessThan(6);
    await found.journal.close();
    expect((await readSegments(directory)).length).toBeLessThan(6);
    const again = await open();
    expect(again.scan).toMatchObject({ certain: true, damage: [], logView: 9, headOp: head });
    expect(intactFrom(again.scan, { op: base.op, entryHash: base.hash })).toBe(true);
    await again.journal.close();
  });

  it('takes them also when the log has become certain in a process before', async () => {
    const { directory, entries } = await write(5);
    const open = (): Promise<BootJournal> => openUntilEnd(directory, () => undefined);
    await overwrite(directory, defined((await readSegments(directory)).at(-1), 'newest'), PAGE_BYTES + 8);
    const { journal, scan: spoiled } = await open();
    expect(spoiled.certain).toBe(false);
    journal.append({ type: 'install', logView: view(9), base: opNumber(0), baseHash: ZERO_DIGEST, entries: [...entries] });
    await journal.close();
    const later = await open();
    expect(later.scan.certain).toBe(true);
    // Nothing that is not certain goes: the log may be needed from op 5 on, and only the newest segment says where it stands.
    later.journal.collect(opNumber(5));
    expect(later.journal.status().segments).toBeGreaterThan(3);
    later.journal.collect(opNumber(entries.length));
    expect(later.journal.status().segments).toBe(1);
    await later.journal.close();
  });
});
