/** The disk that the servers' data lies on: no memory, and how long it takes to make a write durable. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from '../report.ts';

const IN_MEMORY: Readonly<Record<number, string>> = { 0x0102_1994: 'tmpfs', 0x8584_58f6: 'ramfs' };
const WRITES = 200;

/** Where the servers' data goes from now on: below `directory`, or the machine's folder for temporary files. @throws when that is memory */
export function useDisk(directory: string | undefined): void {
  if (directory !== undefined) process.env['TMPDIR'] = directory;
  const memory = IN_MEMORY[statfsSync(tmpdir()).type];
  if (memory !== undefined) throw new Error(`${tmpdir()} is a ${memory}, which no fsync makes durable: name a folder on a disk with --directory`);
}

/** Milliseconds, the median: 4 KiB appended and fdatasync. */
export function syncMs(): number {
  const directory = mkdtempSync(join(tmpdir(), 'vrfs-bench-disk-'));
  const file = openSync(join(directory, 'probe'), 'w');
  try {
    const block = Buffer.alloc(4096, 1);
    return median(Array.from({ length: WRITES }, () => {
      const before = performance.now();
      writeSync(file, block);
      fdatasyncSync(file);
      return performance.now() - before;
    }));
  } finally {
    closeSync(file);
    rmSync(directory, { recursive: true });
  }
}
