import { readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import {
  COPY_NAMES, decodeCopy, encodeCopy, formatSuperblock, readSuperblock, SuperblockDamagedError, SuperblockFile,
} from '../../server/superblock_file.ts';
import { superblock, temporaryDirectory, until } from './support.ts';

interface Written { readonly file: SuperblockFile; readonly done: number[]; readonly errors: Error[]; readonly writes: string[] }

function store(directory: string, sequence: number, writeCopy?: (path: string, bytes: Buffer) => Promise<void>): Written {
  const done: number[] = [];
  const errors: Error[] = [];
  const writes: string[] = [];
  const file = new SuperblockFile({
    directory, sequence, onDurable: (t) => { done.push(t); }, fatal: (e) => { errors.push(e); },
    writeCopy: writeCopy ?? (async (path, bytes) => { writes.push(path); await writeFile(path, bytes); }),
  });
  return { file, done, errors, writes };
}

describe('the superblock file', () => {
  it('gives back what was written last, and completes tickets in order and later', async () => {
    const directory = await temporaryDirectory();
    await formatSuperblock(directory, superblock(0));
    const { sequence } = await readSuperblock(directory);
    const done: number[] = [];
    const file = new SuperblockFile({ directory, sequence, onDurable: (t) => { done.push(t); }, fatal: (e) => { throw e; } });
    expect(file.write(superblock(1))).toBe(1);
    expect(done).toEqual([]);
    await until(() => done.length === 1, 'the first write');
    file.write(superblock(2, 4));
    file.write(superblock(2, 5));
    await file.close();
    expect(done).toEqual([1, 2, 3]);
    const read = await readSuperblock(directory);
    expect(read.superblock).toEqual(superblock(2, 5));
    expect(read.warnings).toEqual([]);
  });

  it('writes only the newest of those that wait', async () => {
    const { file, done, writes } = store(await temporaryDirectory(), 1);
    for (let i = 1; i <= 100; i++) file.write(superblock(i));
    await file.close();
    expect(done).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(writes).toHaveLength(2);
  });

  it('survives a crash at any byte of a write: the one before or the new one is read', async () => {
    const directory = await temporaryDirectory();
    await formatSuperblock(directory, superblock(1, 1));
    const path = join(directory, COPY_NAMES[0]);
    const old = await readFile(path);
    const bytes = encodeCopy(2, superblock(2, 2));
    for (let cut = 0; cut <= bytes.length; cut += 3) {
      await writeFile(path, Buffer.concat([bytes.subarray(0, cut), old.subarray(cut)]));
      const { superblock: read } = await readSuperblock(directory);
      expect([1, 2]).toContain(read.incarnation);
    }
  });

  it('tolerates one rotten copy without going back to an older superblock', async () => {
    for (const rotten of COPY_NAMES) {
      const directory = await temporaryDirectory();
      await formatSuperblock(directory, superblock(0));
      const done: number[] = [];
      const file = new SuperblockFile({ directory, sequence: 1, onDurable: (t) => { done.push(t); }, fatal: (e) => { throw e; } });
      file.write(superblock(1, 9));
      await file.close();
      const path = join(directory, rotten);
      const bytes = await readFile(path);
      bytes[40] = defined(bytes[40], 'byte') ^ 1;
      await writeFile(path, bytes);
      const read = await readSuperblock(directory);
      expect(read.superblock).toEqual(superblock(1, 9));
      expect(read.warnings).toHaveLength(1);
      expect(read.warnings[0]).toContain(rotten);
    }
  });

  it('says so when both copies are lost', async () => {
    const directory = await temporaryDirectory();
    await formatSuperblock(directory, superblock(0));
    await writeFile(join(directory, COPY_NAMES[0]), 'rubbish of some length');
    await rm(join(directory, COPY_NAMES[1]));
    await expect(readSuperblock(directory)).rejects.toThrow(SuperblockDamagedError);
    await expect(readSuperblock(directory)).rejects.toThrow(/does not begin as a superblock.*it is missing.*put the files back.*Do not format it anew.*vrfs serve --join.*vrfs members replace/);
  });

  it('goes on with the other copy when the disk cannot read one', async () => {
    const directory = await temporaryDirectory();
    await formatSuperblock(directory, superblock(3));
    await rm(join(directory, COPY_NAMES[0]));
    // Reads of it fail with EIO, as those of a bad sector do.
    await symlink('/proc/self/mem', join(directory, COPY_NAMES[0]));
    const { superblock: read, warnings } = await readSuperblock(directory);
    expect(read).toEqual(superblock(3));
    expect(warnings).toEqual([expect.stringMatching(/superblock-a cannot be used: the disk cannot read it: EIO/)]);
  });

  it('finds every flipped bit', () => {
    const bytes = encodeCopy(7, superblock(3, 2));
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = defined(changed[bit >> 3], 'byte') ^ (1 << (bit & 7));
      expect(decodeCopy(changed).ok).toBe(false);
    }
    expect(decodeCopy(bytes)).toMatchObject({ ok: true, value: { sequence: 7 } });
  });

  it('ends the process on a write error', async () => {
    const { file, done, errors } = store(await temporaryDirectory(), 1, () => Promise.reject(new Error('ENOSPC: no space left on device')));
    file.write(superblock(1));
    await file.close();
    expect(done).toEqual([]);
    expect(errors).toHaveLength(1);
    expect(errors[0]?.message).toMatch(/superblock in .* could not be written: ENOSPC/);
  });
});
