/**
 * The checksums of LevelDB's table files, which LevelDB itself does not look at when it reads (its binding does not let it
 * be told to). It trusts the bytes so far that a flipped bit in a key can end the process with an assertion. So every
 * block of every table is compared with its checksum before the database is opened.
 *
 *   table    data blocks ... | filter block | metaindex block | index block | footer
 *   block    contents | compression u8 (0: none, 1: snappy) | crc32c u32 little endian, masked (of contents and compression)
 *   footer   handle of metaindex | handle of index | zeros up to 40 bytes | magic 8          a handle: offset, length as varints
 */
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { join } from 'node:path';
import { crc32c, unmasked } from './crc32c.ts';
import { liveFiles } from './level_manifest.ts';
import { VarintReader, type Block } from './varint_reader.ts';

const TABLE = /^\d+\.(?:ldb|sst)$/;
const FOOTER_BYTES = 48;
const MAGIC = Buffer.from('57fb808b247547db', 'hex');
const TRAILER_BYTES = 5;
const SNAPPY = 1;
/** Tables in memory at once. */
const READ_AT_ONCE = 4;
/** A compression that there is not: LevelDB reports such a block instead of reading it. */
const POISON = 0xff;

export interface TableDamage {
  readonly name: string;
  /** Where the trailers of the blocks are that do not check. Null: the table cannot be read at all. */
  readonly trailers: readonly number[] | null;
}

/**
 * Of the tables that the database consists of: a crash leaves others, unfinished, which LevelDB removes when it opens. Empty when
 * every block of every one is as it was written, and when nobody can say which they are: then LevelDB does not open either.
 */
export async function checkLiveTables(directory: string): Promise<TableDamage[]> {
  const names = await liveTableNames(directory);
  return names === null ? [] : checkTables(directory, names);
}

/** File names of the tables that the database consists of; null: nobody can say which they are. */
export async function liveTableNames(directory: string): Promise<string[] | null> {
  const names = await namesIn(directory);
  const live = await liveFiles(directory, names);
  return live === null ? null : names.filter((name) => TABLE.test(name) && live.tables.has(Number.parseInt(name, 10))).sort();
}

/** Of all tables that are there. Rejects when a file cannot be read for another reason than damage. */
export async function checkAllTables(directory: string): Promise<TableDamage[]> {
  return checkTables(directory, await namesIn(directory));
}

async function checkTables(directory: string, names: readonly string[]): Promise<TableDamage[]> {
  const damaged: TableDamage[] = [];
  const left = names.filter((file) => TABLE.test(file)).sort();
  // While one is compared, others are read.
  const one = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const trailers = await checkFile(join(directory, name));
      if (trailers === null || trailers.length > 0) damaged.push({ name, trailers });
      await nextTurn();
    }
  };
  await Promise.all(Array.from({ length: READ_AT_ONCE }, one));
  return damaged.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** None of a directory that is not there yet. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

/** Makes damaged blocks such as LevelDB notices, and puts tables that cannot be read at all out of its way. */
export async function isolateDamage(directory: string, damaged: readonly TableDamage[]): Promise<void> {
  for (const { name, trailers } of damaged) {
    const path = join(directory, name);
    if (trailers === null) {
      const lost = join(directory, 'lost');
      await mkdir(lost, { recursive: true });
      await rename(path, join(lost, name));
      continue;
    }
    const handle = await open(path, 'r+');
    try {
      for (const at of trailers) await handle.write(Buffer.of(POISON), 0, 1, at);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

async function checkFile(path: string): Promise<number[] | null> {
  let table: Buffer;
  try {
    table = await readFile(path);
  } catch (error) {
    // A sector that the disk cannot read.
    if ((error as NodeJS.ErrnoException).code === 'EIO') return null;
    throw error;
  }
  return checkTable(table);
}

/** The trailers of the damaged blocks; null: what leads to the blocks is damaged. */
export function checkTable(table: Buffer): number[] | null {
  const steps = checkTableSteps(table);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** The same, which can give way to others after each block. */
export function* checkTableSteps(table: Buffer): Generator<void, number[] | null> {
  const footer = table.length - FOOTER_BYTES;
  if (footer < 0 || !table.subarray(footer + 40).equals(MAGIC)) return null;
  const handles = new VarintReader(table, footer, footer + 40);
  const metaindex = handles.block();
  const index = handles.block();
  const blocks = index === null ? null : namedBlocks(table, index);
  if (metaindex === null || blocks === null) return null;
  const filters = namedBlocks(table, metaindex);
  const damaged: number[] = [];
  // Without its filter a table is slower, and nothing else: LevelDB goes on without when the metaindex is damaged.
  for (const block of [...blocks, metaindex, ...(filters ?? [])]) {
    if (!isInside(table, block)) return null;
    if (!checks(table, block)) damaged.push(block.offset + block.length);
    yield;
  }
  return damaged;
}

function isInside(table: Buffer, { offset, length }: Block): boolean {
  return offset + length + TRAILER_BYTES <= table.length - FOOTER_BYTES;
}

function checks(table: Buffer, { offset, length }: Block): boolean {
  const end = offset + length;
  return unmasked(table.readUInt32LE(end + 1)) === crc32c(table, offset, end + 1);
}

/** The blocks that an index block (or the metaindex) names; null: it is damaged. */
function namedBlocks(table: Buffer, block: Block): Block[] | null {
  if (!isInside(table, block) || !checks(table, block)) return null;
  const end = block.offset + block.length;
  const stored = table.subarray(block.offset, end);
  const contents = table[end] === SNAPPY ? unsnappy(stored) : stored;
  if (contents === null || contents.length < 4) return null;
  // entries: shared, unshared, value length as varints, rest of the key, value; behind them the restart points
  const restarts = contents.readUInt32LE(contents.length - 4);
  const entriesEnd = contents.length - 4 - 4 * restarts;
  const blocks: Block[] = [];
  const r = new VarintReader(contents, 0, entriesEnd);
  while (!r.done) {
    const shared = r.next();
    const unshared = r.next();
    const valueLength = r.next();
    if (shared === null || unshared === null || valueLength === null) return null;
    r.at += unshared;
    const valueEnd = r.at + valueLength;
    const named = r.block();
    if (named === null || valueEnd > entriesEnd) return null;
    blocks.push(named);
    r.at = valueEnd;
  }
  return blocks;
}

/** Snappy's block format; null: that is not what the bytes are. */
function unsnappy(input: Buffer): Buffer | null {
  const r = new VarintReader(input, 0, input.length);
  const length = r.next();
  if (length === null || length > input.length * 256) return null;
  const out = Buffer.alloc(length);
  let at = 0;
  while (!r.done) {
    const tag = input[r.at++] as number;
    let count: number;
    let back = 0;
    switch (tag & 3) {
      case 0: {
        count = tag >> 2;
        const extra = Math.max(0, count - 59);
        if (extra > 0) count = r.at + extra <= input.length ? input.readUIntLE(r.at, extra) : Infinity;
        r.at += extra;
        count++;
        break;
      }
      case 1:
        count = ((tag >> 2) & 7) + 4;
        back = ((tag >> 5) << 8) | (input[r.at++] ?? 0);
        break;
      default: {
        const bytes = (tag & 3) === 2 ? 2 : 4;
        count = (tag >> 2) + 1;
        if (r.at + bytes > input.length) return null;
        back = input.readUIntLE(r.at, bytes);
        r.at += bytes;
      }
    }
    if (at + count > length || back > at) return null;
    if ((tag & 3) === 0) {
      if (r.at + count > input.length) return null;
      input.copy(out, at, r.at, r.at + count);
      r.at += count;
    } else {
      if (back === 0) return null;
      // A copy may run into what it has just made.
      for (let i = 0; i < count; i++) out[at + i] = out[at + i - back] as number;
    }
    at += count;
  }
  return at === length ? out : null;
}
