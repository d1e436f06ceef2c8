/**
 * What users write into files is in the journal byte for byte, and stays in files that are used again. Whatever it is, also
 * copies of the journal's own bytes: it never changes what a scan finds.
 */
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { crc32, ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, opNumber, sessionId, view, type Digest } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { makeEntry, type Entry } from '../../vr/entry.ts';
import { DiskJournal, formatJournal, type BootJournal } from '../../server/journal.ts';
import { GroupBuilder } from '../../server/journal_group.ts';
import { encodeSegmentHeader, GROUP_HEADER_BYTES, PAGE_BYTES, type SegmentKey } from '../../server/journal_format.ts';
import { scanJournal, type ScanResult, type SegmentBytes } from '../../server/journal_scan.ts';
import { readSegments } from '../../server/segment_files.ts';
import { headerBytes, oldGroup } from './journal_old_format.ts';
import { chain, GENESIS, IDENTITY, ORIGIN, temporaryDirectory, until } from './support.ts';

const SEGMENT_BYTES = 16 * PAGE_BYTES;
const HIGHEST = 2 ** 48 - 1;
/** Of the one entry of a group: group header, append record, entry header. */
const BODY_AT = GROUP_HEADER_BYTES + 43 + 39;

/** An entry that fills `count` pages behind the first of its group; each begins with what `page` gives for it. */
function entryOfPages(after: number, parent: Digest, count: number, page: (i: number) => Buffer): Entry {
  const body = Buffer.alloc(count * PAGE_BYTES);
  for (let i = 0; i < count; i++) page(i).copy(body, (i + 1) * PAGE_BYTES - BODY_AT);
  return makeEntry({
    kind: 'request', epoch: epoch(0), view: view(0), op: opNumber(after + 1), time: 1_000_000 + after,
    session: sessionId(1), slot: 0, seq: 1, body,
  }, parent);
}

/** How many pages of the segments begin as a group header with this number does. */
function pagesThatShow(segments: readonly SegmentBytes[], number: number): number {
  let count = 0;
  for (const { bytes } of segments) {
    for (let at = PAGE_BYTES; at < bytes.length; at += PAGE_BYTES) {
      if (bytes.toString('latin1', at, at + 4) === 'VRJG' && bytes.readUIntBE(at + 16, 6) === number) count++;
    }
  }
  return count;
}

describe('a journal with group headers in the contents of files', () => {
  async function journalIn(directory: string): Promise<{ boot: BootJournal; write: (entry: Entry) => Promise<void> }> {
    let durable = 0;
    const boot = await DiskJournal.open({
      ...IDENTITY, directory, checkpoint: ORIGIN, segmentBytes: SEGMENT_BYTES, idleMs: 1 << 30,
      onDurable: (ticket) => { durable = ticket; }, fatal: (error) => { throw error; },
    });
    onTestFinished(() => boot.journal.close());
    return {
      boot,
      write: async (entry) => {
        const ticket = boot.journal.append({ type: 'append', entries: [entry] });
        await until(() => durable >= ticket, 'durable');
      },
    };
  }

  it('starts with the highest number there is in its newest segment', async () => {
    const directory = join(await temporaryDirectory(), 'journal');
    await formatJournal(directory, IDENTITY, GENESIS, SEGMENT_BYTES);
    const { boot, write } = await journalIn(directory);
    const sequence = boot.scan.segments.length + 1;
    const entry = entryOfPages(0, ZERO_DIGEST, 3, () => headerBytes(HIGHEST, sequence));
    await write(entry);
    await boot.journal.close();
    expect(pagesThatShow(await readSegments(directory), HIGHEST)).toBe(3);
    const again = await journalIn(directory);
    expect(again.boot.scan).toMatchObject({ certain: true, closed: true, damage: [], headOp: 1, headHash: entry.hash, lastGroup: 2 });
  });

  it('trusts its log when files are used again that hold headers of the segments that they become', async () => {
    const directory = join(await temporaryDirectory(), 'journal');
    await formatJournal(directory, IDENTITY, GENESIS, SEGMENT_BYTES);
    let head: { op: number; hash: Digest } = { op: 0, hash: ZERO_DIGEST };
    let group = 0;
    let shown = 0;
    for (let round = 0; round < 12; round++) {
      const { boot, write } = await journalIn(directory);
      expect(boot.scan).toMatchObject({ certain: true, damage: [], headOp: head.op, headHash: head.hash, lastGroup: group });
      // Rounds differ in how far they fill a segment, so that the end lies before what the life before has left there.
      for (let i = 0; i < 1 + (round % 3); i++) {
        const entry = entryOfPages(head.op, head.hash, 4, (page) => headerBytes(2 ** 40, round + 3 + page));
        await write(entry);
        head = { op: entry.op, hash: entry.hash };
        group++;
      }
      boot.journal.collect(opNumber(head.op));
      await boot.journal.close();
      group++;
      shown += pagesThatShow(await readSegments(directory), 2 ** 40);
    }
    expect(shown).toBeGreaterThan(100);
  });
});

const SALT = Buffer.from('0102030405060708', 'hex');
/** Of another life of the file, or of another member's journal. */
const OTHER_SALT = Buffer.from('1112131415161718', 'hex');
const SEQUENCE = 7;
const FIRST_GROUP = 20;
const PAGES = 10;
const ENTRIES = chain(0, ZERO_DIGEST, 4);

/** A group as the journal writes it, with whole pages. */
function groupOf(key: SegmentKey, number: number, add: (builder: GroupBuilder) => void): Buffer {
  const builder = new GroupBuilder();
  builder.begin();
  add(builder);
  return Buffer.concat(builder.finish(number, number - 1, key));
}

function appendOf(entries: readonly Entry[]): (builder: GroupBuilder) => void {
  return (builder) => { builder.add({ type: 'append', entries }); };
}

/** One page each: whatever somebody can write who does not know the salt of this segment. */
function* forgeries(): Generator<readonly [what: string, page: Buffer]> {
  const salts = [OTHER_SALT, Buffer.alloc(8), Buffer.from('0102030405060709', 'hex'), Buffer.from('0002030405060708', 'hex')];
  const install = (builder: GroupBuilder): void => { builder.add({ type: 'install', logView: view(9), base: opNumber(500), baseHash: 'x'.repeat(32) as Digest, entries: [] }); };
  for (const sequence of [1, SEQUENCE, SEQUENCE + 1, HIGHEST]) {
    for (const number of [1, FIRST_GROUP, FIRST_GROUP + 1, FIRST_GROUP + 2, FIRST_GROUP + 3, HIGHEST]) {
      const what = `group ${number} of segment ${sequence}`;
      for (const salt of salts) {
        const key = { sequence, salt };
        yield [`${what}, salt ${salt.toString('hex')}, an install`, groupOf(key, number, install)];
        yield [`${what}, salt ${salt.toString('hex')}, an append`, groupOf(key, number, appendOf(ENTRIES))];
        yield [`${what}, salt ${salt.toString('hex')}, a clean stop`, groupOf(key, number, (builder) => { builder.addClosed(); })];
        yield [`${what}, salt ${salt.toString('hex')}, no records`, groupOf(key, number, () => undefined)];
        yield [`${what}, salt ${salt.toString('hex')}, only a header`, Buffer.concat([headerBytes(number, sequence), salt])];
      }
      yield [`${what}, version 2, a clean stop`, oldGroup(number, sequence, Buffer.from([3]))];
      yield [`${what}, version 2, no records`, oldGroup(number, sequence, Buffer.alloc(0), 0)];
      yield [`${what}, version 2, only a header`, headerBytes(number, sequence)];
      yield [`${what}, version 2, longer than the segment`, headerBytes(number, sequence, 0xffff_ffff)];
    }
  }
}

/** A page of anything, with what a header has in some of the places where it has it. */
function randomPage(random: Prng): Buffer {
  const page = Buffer.alloc(PAGE_BYTES);
  for (let i = 0; i < 64; i++) page[i] = random.below(256);
  if (random.below(8) > 0) page.write('VRJG');
  if (random.below(2) > 0) page.writeUInt32BE(random.below(PAGE_BYTES), 8);
  if (random.below(2) > 0) page.writeUInt32BE(random.below(3), 12);
  if (random.below(4) > 0) page.writeUIntBE(FIRST_GROUP + random.below(6), 16, 6);
  if (random.below(4) > 0) page.writeUIntBE(SEQUENCE, 28, 6);
  // Seven of its eight bytes at most.
  if (random.below(2) > 0) {
    SALT.copy(page, 36);
    page[36 + random.below(8)] = 0;
  }
  const end = 44 + random.below(64);
  page.writeUInt32BE(crc32(page.subarray(8, end)), 4);
  return page;
}

type Put = (bytes: Buffer) => void;

/** The journal: a segment, and the newest, with two groups, the second three pages long and torn or not. */
class Image {
  readonly #whole: Buffer;
  /** Pages of the newest segment behind the end of its groups. */
  readonly behind: readonly number[];
  /** Pages of the second group behind its first. */
  readonly within = [3, 4] as const;

  constructor(page: (i: number) => Buffer = () => Buffer.alloc(0)) {
    const first = groupOf({ sequence: SEQUENCE, salt: SALT }, FIRST_GROUP, appendOf(ENTRIES));
    const second = groupOf({ sequence: SEQUENCE, salt: SALT }, FIRST_GROUP + 1, appendOf([entryOfPages(4, defined(ENTRIES.at(-1), 'entry').hash, 2, page)]));
    this.#whole = Buffer.alloc(PAGES * PAGE_BYTES);
    Buffer.concat([encodeSegmentHeader({ ...IDENTITY, ...GENESIS, sequence: SEQUENCE, salt: SALT, firstGroup: FIRST_GROUP }), first, second]).copy(this.#whole);
    this.behind = Array.from({ length: PAGES - 5 }, (_, i) => 5 + i);
  }

  scan(put: Put): ScanResult {
    const bytes = Buffer.from(this.#whole);
    put(bytes);
    return scanJournal([{ sequence: SEQUENCE, bytes }], IDENTITY, ORIGIN);
  }
}

/** All that a scan says, but for the bytes of the entries, which their hashes stand for. */
function summary({ entries, tail, ...rest }: ScanResult): string {
  const { group } = tail ?? { group: undefined };
  return JSON.stringify([rest, entries.map((e) => e.hash), tail?.sequence, group?.number, group?.start, group?.end, group?.records]);
}

/** Puts `page` in the place of the pages `at`. */
function putting(page: Buffer, at: readonly number[]): Put {
  return (bytes) => {
    for (const i of at) {
      bytes.fill(0, i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      page.copy(bytes, i * PAGE_BYTES);
    }
  };
}

const NOTHING: Put = () => undefined;
/** The segment's header does not check: its groups are read all the same. */
const BEHEAD: Put = (bytes) => { bytes.fill(0xee, 10, 30); };

describe('bytes that are not the journal\'s', () => {
  const image = new Image();
  const { within } = image;
  /** What users can leave where: behind the end, and in the pages that a torn group has not written. */
  const places: readonly (readonly [what: string, pages: readonly number[]])[] = [
    ['at the end', image.behind.slice(0, 1)],
    ['far behind the end', image.behind.slice(-1)],
    ['at the end and behind it', image.behind],
    ...within.map((at) => [`in a torn group, page ${at}`, [at]] as const),
    ['in a torn group, and behind it', [...within, ...image.behind]],
    ['in the place of a group that was never begun', [2, ...within, ...image.behind]],
  ];

  it.each<[what: string, header: Put]>([
    ['sound', NOTHING],
    ['damaged', BEHEAD],
  ])('behind the end of the log, or in a torn group, change nothing when the header of the segment is %s', (_, header) => {
    const expected = places.map(([, pages]) => image.scan((bytes) => {
      header(bytes);
      // Another thing than what the torn group had there: zeros are what it has.
      putting(Buffer.alloc(PAGE_BYTES, 0x55), pages)(bytes);
    }));
    // The log is whole in the first three, and ends before the second group in the others.
    expect(expected.map((found) => found.headOp)).toEqual([5, 5, 5, 4, 4, 4, 4]);
    expect(expected.every((found) => found.certain === (header === NOTHING))).toBe(true);
    const summaries = expected.map(summary);
    const random = new Prng(17);
    let count = 0;
    const check = (what: string, page: Buffer): void => {
      for (const [i, [place, pages]] of places.entries()) {
        const found = image.scan((bytes) => {
          header(bytes);
          putting(page, pages)(bytes);
        });
        if (summary(found) !== summaries[i]) expect.fail(`${what}, ${place}: ${summary(found)}, not ${summaries[i]}`);
        count++;
      }
    };
    for (const [what, page] of forgeries()) check(what, page.subarray(0, PAGE_BYTES));
    for (let i = 0; i < 500; i++) check(`random page ${i}`, randomPage(random));
    expect(count).toBeGreaterThan(7000);
  });

  it('in whole groups change nothing', () => {
    for (const header of [NOTHING, BEHEAD]) {
      const plain = image.scan(header);
      const random = new Prng(23);
      const check = (what: string, page: Buffer): void => {
        // The entry of these bytes has its own hash.
        const found = new Image(() => page).scan(header);
        const last = defined(found.entries.at(-1), 'entry');
        if (found.headHash !== last.hash || !last.body.includes(page)) expect.fail(`${what}: it is not in the log`);
        const same = summary({ ...found, headHash: plain.headHash, entries: [...found.entries.slice(0, -1), defined(plain.entries.at(-1), 'entry')] });
        if (same !== summary(plain)) expect.fail(`${what}: ${same}, not ${summary(plain)}`);
      };
      for (const [what, page] of forgeries()) check(what, page.subarray(0, PAGE_BYTES - BODY_AT));
      for (let i = 0; i < 300; i++) check(`random page ${i}`, randomPage(random).subarray(0, 64));
    }
  });

  it('of a former life are not read where the header is damaged and nothing was written behind it', () => {
    for (const sequence of [1, SEQUENCE - 1, SEQUENCE + 1]) {
      const former = groupOf({ sequence, salt: OTHER_SALT }, FIRST_GROUP, (builder) => {
        builder.add({ type: 'install', logView: view(3), base: opNumber(0), baseHash: ZERO_DIGEST, entries: ENTRIES });
      });
      const found = image.scan((bytes) => {
        BEHEAD(bytes);
        bytes.fill(0, PAGE_BYTES);
        former.copy(bytes, PAGE_BYTES);
      });
      expect(found).toMatchObject({ certain: false, logView: 0, entries: [], tail: null });
    }
  });

  it('count where they have the salt: that is what is missing in the others', () => {
    const key = { sequence: SEQUENCE, salt: SALT };
    const found = image.scan(putting(groupOf(key, FIRST_GROUP + 2, appendOf(chain(5, image.scan(NOTHING).headHash, 1))), [5]));
    expect(found).toMatchObject({ certain: true, headOp: 6, lastGroup: FIRST_GROUP + 2 });
    const torn = image.scan(putting(groupOf(key, FIRST_GROUP + 2, () => undefined), [3]));
    expect(torn).toMatchObject({ certain: false, headOp: 4, lastGroup: FIRST_GROUP + 2 });
  });
});
