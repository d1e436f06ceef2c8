/**
 * Which tables and logs a LevelDB database consists of: its manifest is a log of changes, and CURRENT names it.
 *
 *   log      blocks of 32 KiB, of records: crc32c u32 masked | length u16 | type u8 (1 whole, 2 first, 3 middle, 4 last) | data   little endian
 *   change   fields, each a tag and what belongs to it; 2: the first log that counts, 9: one before it that does too,
 *            6: a table goes, 7: a table comes
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c, unmasked } from './crc32c.ts';
import { VarintReader } from './varint_reader.ts';

export const BLOCK_BYTES = 32 << 10;
export const HEADER_BYTES = 7;
export const RecordType = { whole: 1, first: 2, middle: 3, last: 4 } as const;

/** Numbers of files. */
export interface LiveFiles {
  readonly tables: ReadonlySet<number>;
  /** What is in logs with a lower number is in tables, but for one. */
  readonly firstLog: number;
  readonly previousLog: number;
}

/** Null when the manifest cannot be read, in which case LevelDB does not open the database either. */
export async function liveFiles(directory: string, names: readonly string[]): Promise<LiveFiles | null> {
  if (!names.includes('CURRENT')) return null;
  const manifest = (await readFile(join(directory, 'CURRENT'), 'latin1')).trimEnd();
  if (!names.includes(manifest)) return null;
  const records = recordsOf(await readFile(join(directory, manifest)));
  const live = { tables: new Set<number>(), firstLog: 0, previousLog: 0 };
  return records?.every((change) => apply(change, live)) === true ? live : null;
}

/** Null: a checksum is wrong. What the end of the file cuts off was being written in a crash, and does not count. */
export function recordsOf(log: Buffer): Buffer[] | null {
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= log.length; ) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES);
    if (left < HEADER_BYTES) {
      at += left;
      continue;
    }
    const end = at + HEADER_BYTES + log.readUInt16LE(at + 4);
    if (end > log.length) break;
    if (unmasked(log.readUInt32LE(at)) !== crc32c(log, at + 6, end)) return null;
    const type = log[at + 6];
    if (type === RecordType.whole || type === RecordType.first) parts = [];
    parts.push(log.subarray(at + HEADER_BYTES, end));
    if (type === RecordType.whole || type === RecordType.last) records.push(Buffer.concat(parts));
    at = end;
  }
  return records;
}

/** False: this is no change that this program knows. */
function apply(change: Buffer, live: { tables: Set<number>; firstLog: number; previousLog: number }): boolean {
  const r = new VarintReader(change, 0, change.length);
  const skipBytes = (): void => {
    const length = r.next() ?? 0;
    r.at += length;
  };
  while (!r.done) {
    switch (r.next()) {
      case 1: skipBytes(); break; // comparator
      case 2: live.firstLog = r.next() ?? 0; break;
      case 9: live.previousLog = r.next() ?? 0; break;
      case 3: case 4: r.next(); break; // numbers of files, the last write
      case 5: // where the next compaction of a level begins
        r.next();
        skipBytes();
        break;
      case 6:
        r.next();
        live.tables.delete(r.next() ?? -1);
        break;
      case 7:
        r.next();
        live.tables.add(r.next() ?? -1);
        r.next();
        skipBytes();
        skipBytes();
        break;
      default: return false;
    }
  }
  return true;
}
