/**
 * One table of the database compared with its checksums, as the disk has it. A block that has rotted on the disk while
 * the page cache still has what was written is written again from there; where the disk does not take that either, it is
 * whole in memory for now. Everything else that does not check is damage.
 */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import type { DiskRead } from './direct_file.ts';
import { checkTableSteps } from './level_tables.ts';
import type { Slices } from './slices.ts';
import { StoreDamageError } from './store_damage.ts';

export interface TableReader {
  /** From the disk, as far as that is possible. */
  read(path: string): Promise<DiskRead>;
  /** From the page cache where it has them. */
  cached(path: string): Promise<Buffer>;
}

export type TableResult =
  | { readonly kind: 'sound'; readonly bytes: number; readonly direct: boolean }
  /** The disk had lost some of it, and has it again. */
  | { readonly kind: 'rewritten'; readonly bytes: number }
  /** The disk has lost some of it and does not take it again, as when it is full; memory still has it. */
  | { readonly kind: 'unwritten'; readonly bytes: number; readonly error: NodeJS.ErrnoException }
  /** A compaction has replaced it meanwhile. */
  | { readonly kind: 'gone' };

/** Rejects with StoreDamageError when the table is damaged, with the system's error when it cannot be read for another reason. */
export async function scrubTable(path: string, reader: TableReader, slices: Slices): Promise<TableResult> {
  let disk: DiskRead | null;
  try {
    disk = await reader.read(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { kind: 'gone' };
    // A sector that the disk cannot read.
    if (code !== 'EIO') throw error;
    disk = null;
  }
  const found = disk === null ? null : await check(disk.bytes, slices);
  if (disk !== null && found?.length === 0) return { kind: 'sound', bytes: disk.bytes.length, direct: disk.direct };
  const cached = disk?.direct === false ? null : await soundCopy(path, reader, slices);
  if (cached === 'gone') return { kind: 'gone' };
  if (cached === null) {
    const where = found === null ? 'cannot be read' : `has ${found.length} blocks with wrong checksums`;
    throw new StoreDamageError('database', `the table ${basename(path)} of the database ${where}`);
  }
  const error = await rewrite(path, cached);
  if (error === null) return { kind: 'rewritten', bytes: cached.length };
  return error.code === 'ENOENT' ? { kind: 'gone' } : { kind: 'unwritten', bytes: cached.length, error };
}

async function check(table: Buffer, slices: Slices): Promise<number[] | null> {
  const steps = checkTableSteps(table);
  slices.begin();
  let step = steps.next();
  for (; step.done !== true; step = steps.next()) if (slices.over) await slices.giveWay();
  slices.pause();
  return step.value;
}

/** The table as the page cache has it; null: no better. */
async function soundCopy(path: string, reader: TableReader, slices: Slices): Promise<Buffer | null | 'gone'> {
  try {
    const bytes = await reader.cached(path);
    return (await check(bytes, slices))?.length === 0 ? bytes : null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return 'gone';
    if (code === 'EIO') return null;
    throw error;
  }
}

/** Tables never change, so whoever reads it meanwhile reads the same. Returns the system's error when the disk does not take it. */
async function rewrite(path: string, bytes: Buffer): Promise<NodeJS.ErrnoException | null> {
  try {
    const handle = await open(path, 'r+');
    try {
      // All of it, in as many writes as it takes.
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return error as NodeJS.ErrnoException;
  }
}
