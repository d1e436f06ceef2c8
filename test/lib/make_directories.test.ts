import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectories } from '../../lib/make_directories.ts';

let root: string;
beforeEach(async () => { root = await mkdtemp(join(tmpdir(), 'vrfs-directories-')); });
afterEach(async () => { await rm(root, { recursive: true }); });

describe('directories', () => {
  it('are made with those on the way to them, and returned, the uppermost first', () => {
    expect(makeDirectories(join(root, 'a/b/c'), 0o700)).toEqual([join(root, 'a'), join(root, 'a/b'), join(root, 'a/b/c')]);
    expect(statSync(join(root, 'a/b')).mode & 0o777).toBe(0o700);
    expect(makeDirectories(join(root, 'a/b/c'))).toEqual([]);
    expect(makeDirectories(join(root, 'a/d/'))).toEqual([join(root, 'a/d')]);
  });

  it('are reached through symbolic links', async () => {
    await symlink('real', join(root, 'link'));
    makeDirectories(join(root, 'real'));
    expect(makeDirectories(join(root, 'link/x'))).toEqual([join(root, 'link/x')]);
    expect(existsSync(join(root, 'real/x'))).toBe(true);
  });

  it.each([
    ['in a file system that has none of that name to make', '/proc/vrfs/x', 'ENOENT'],
    ['below a file', 'file/x', 'ENOTDIR'],
    ['where a file is', 'file', 'ENOTDIR'],
    ['behind a symbolic link that leads nowhere', 'dangling', 'EEXIST'],
  ])('are not made %s', async (_, path, code) => {
    await writeFile(join(root, 'file'), '');
    await symlink('nowhere', join(root, 'dangling'));
    expect(() => makeDirectories(path.startsWith('/') ? path : join(root, path))).toThrow(expect.objectContaining({ code }) as Error);
  });
});
