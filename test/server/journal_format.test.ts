import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { DiskJournal, formatJournal, type BootJournal } from '../../server/journal.ts';
import { decodeSegmentHeader, encodeSegmentHeader, newSegmentKey, PAGE_BYTES } from '../../server/journal_format.ts';
import { ForeignJournalError, scanJournal } from '../../server/journal_scan.ts';
import { readSegments, segmentName } from '../../server/segment_files.ts';
import { appendPayload, oldGroup, oldSegmentHeader } from './journal_old_format.ts';
import { chain, GENESIS, IDENTITY, ORIGIN, temporaryDirectory, until } from './support.ts';

const SEGMENT_BYTES = 16 * PAGE_BYTES;
const HEADER = { ...IDENTITY, ...GENESIS, firstGroup: 1 };
/** Length of a segment's header, checksums and all. */
const HEADER_BYTES = 8 + 2 + 16 + 4 + 6 + 6 + 1 + 8 + 6 + 32 + 4 + 8 + 4;

describe('the header of a segment', () => {
  it('says what was put into it, with a salt of its own', () => {
    const key = newSegmentKey(5);
    const page = encodeSegmentHeader({ ...HEADER, ...key });
    expect(decodeSegmentHeader(page, IDENTITY)).toEqual({ ok: true, value: { ...HEADER, ...key } });
    expect(key.salt.length).toBe(8);
    expect(newSegmentKey(5).salt.equals(key.salt)).toBe(false);
    expect(page.subarray(HEADER_BYTES).equals(Buffer.alloc(PAGE_BYTES - HEADER_BYTES))).toBe(true);
  });

  it('is damaged when any bit of it is another, also of the salt', () => {
    const page = encodeSegmentHeader({ ...HEADER, ...newSegmentKey(5) });
    for (let bit = 0; bit < HEADER_BYTES * 8; bit++) {
      const flipped = Buffer.from(page);
      flipped[bit >> 3] = defined(flipped[bit >> 3], 'byte') ^ (1 << (bit & 7));
      expect(decodeSegmentHeader(flipped, IDENTITY), `bit ${bit}`).toMatchObject({ ok: false, kind: 'damaged' });
    }
  });

  it('of another version is refused, and said to be that', () => {
    for (const version of [1, 4]) {
      const page = oldSegmentHeader({ ...HEADER, sequence: 1 }, version);
      expect(() => scanJournal([{ sequence: 1, bytes: page }], IDENTITY, ORIGIN)).toThrow(new ForeignJournalError(
        `journal segment 1 may not be used: its format is version ${version}; this program reads versions 2 and 3`,
      ));
    }
  });

  it('has the checksum of version 2 where that has it, so that a program of that version refuses it instead of calling it damaged', () => {
    const page = encodeSegmentHeader({ ...HEADER, ...newSegmentKey(1) });
    const end = HEADER_BYTES - 8 - 4;
    expect(page.subarray(0, end).equals(oldSegmentHeader({ ...HEADER, sequence: 1 }, 3).subarray(0, end))).toBe(true);
  });
});

describe('a journal of version 2', () => {
  const entries = chain(0, ZERO_DIGEST, 6);

  async function oldJournal(): Promise<string> {
    const directory = join(await temporaryDirectory(), 'journal');
    await mkdir(directory);
    const third = defined(entries[2], 'entry');
    const segment = (pages: readonly Buffer[]): Buffer => {
      const bytes = Buffer.alloc(SEGMENT_BYTES);
      Buffer.concat(pages).copy(bytes);
      return bytes;
    };
    await writeFile(join(directory, segmentName(1)), segment([
      oldSegmentHeader({ ...HEADER, sequence: 1 }),
      oldGroup(1, 1, appendPayload(0, ZERO_DIGEST, entries.slice(0, 2))),
      oldGroup(2, 1, appendPayload(2, defined(entries[1], 'entry').hash, entries.slice(2, 3))),
    ]));
    await writeFile(join(directory, segmentName(2)), segment([
      oldSegmentHeader({ ...HEADER, sequence: 2, firstGroup: 3, headOp: third.op, headHash: third.hash }),
      oldGroup(3, 2, appendPayload(3, third.hash, entries.slice(3))),
      oldGroup(4, 2, Buffer.from([3])),
    ]));
    return directory;
  }

  it('is read as it is', async () => {
    const found = scanJournal(await readSegments(await oldJournal()), IDENTITY, ORIGIN);
    expect(found).toMatchObject({ certain: true, closed: true, damage: [], headOp: 6, lastGroup: 4, tornBytes: 0 });
    expect(found.entries.map((e) => e.hash)).toEqual(entries.map((e) => e.hash));
  });

  it('is damaged where a group is, and torn at its end', async () => {
    const segments = await readSegments(await oldJournal());
    const flipped = (at: number): ReturnType<typeof scanJournal> => {
      const [first, second] = [defined(segments[0], 'first'), defined(segments[1], 'second')];
      const bytes = Buffer.from(second.bytes);
      bytes[at] = defined(bytes[at], 'byte') ^ 1;
      return scanJournal([first, { sequence: 2, bytes }], IDENTITY, ORIGIN);
    };
    expect(flipped(PAGE_BYTES + 50)).toMatchObject({ certain: false, headOp: 3, lastGroup: 4 });
    expect(flipped(2 * PAGE_BYTES + 36)).toMatchObject({ certain: true, closed: false, headOp: 6, lastGroup: 4, tornBytes: 37 });
    // Nothing says what its groups would have to show.
    expect(flipped(20)).toMatchObject({ certain: false, headOp: 3 });
  });

  it('goes on in segments of this version, and is gone when its own are', async () => {
    const directory = await oldJournal();
    let durable = 0;
    const open = async (): Promise<BootJournal> => {
      const boot = await DiskJournal.open({
        ...IDENTITY, directory, checkpoint: ORIGIN, segmentBytes: SEGMENT_BYTES,
        onDurable: (ticket) => { durable = ticket; }, fatal: (error) => { throw error; },
      });
      onTestFinished(() => boot.journal.close());
      return boot;
    };
    const { journal, scan: old } = await open();
    const more = chain(6, old.headHash, 5);
    const ticket = journal.append({ type: 'append', entries: more });
    await until(() => durable >= ticket, 'durable');
    await journal.close();
    const again = await open();
    expect(again.scan).toMatchObject({ certain: true, closed: true, damage: [], base: 0, headOp: 11 });
    expect(again.scan.entries.map((e) => e.hash)).toEqual([...entries, ...more].map((e) => e.hash));
    again.journal.collect(opNumber(11));
    await again.journal.close();
    expect((await readdir(directory)).filter((name) => name.startsWith('segment'))).toEqual([segmentName(4)]);
    const last = await open();
    expect(last.scan).toMatchObject({ certain: true, closed: true, damage: [], headOp: 11 });
  });

  it('is not made any more', async () => {
    const directory = join(await temporaryDirectory(), 'journal');
    await formatJournal(directory, IDENTITY, GENESIS, SEGMENT_BYTES);
    const [segment] = await readSegments(directory);
    expect(defined(segment, 'segment').bytes.readUInt16BE(8)).toBe(3);
  });
});
