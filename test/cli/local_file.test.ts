/** What `vrfs get` makes of a local file where the file system has its own idea of owners, as NFS with root_squash or a user namespace. */
import { chownSync } from 'node:fs';
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { replaceLocalFile } from '../../cli/local_file.ts';

const system = vi.hoisted(() => ({ chownFails: '' }));
vi.mock('node:fs/promises', async (original) => ({
  ...await original<typeof import('node:fs/promises')>(),
  chown: () => Promise.reject(Object.assign(new Error(`${system.chownFails}: chown`), { code: system.chownFails })),
}));

let directory: string;
beforeEach(async () => { directory = await mkdtemp(join(tmpdir(), 'vrfs-local-')); });
afterEach(async () => { await rm(directory, { recursive: true }); });

// As what comes from the group.
async function* content(): AsyncGenerator<Buffer, void, void> { yield Buffer.from('new'); }
const remote = { content, mode: () => Promise.resolve(0o644) };

// Needs root, as the mount's tests do.
describe('a local file that root replaces', () => {
  it.each(['EPERM', 'EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])('is replaced, without its set-id bits, where its owner cannot be set (%s)', async (code) => {
    system.chownFails = code;
    const local = join(directory, 'local');
    await writeFile(local, 'old');
    chownSync(local, 1234, 1235);
    await chmod(local, 0o6751);
    await replaceLocalFile(local, remote);
    expect(await readFile(local, 'utf8')).toBe('new');
    const { mode, uid } = await stat(local);
    expect([(mode & 0o7777).toString(8), uid]).toEqual(['751', 0]);
  });

  it('keeps its set-id bits, and is not given away, where it has the owner already', async () => {
    system.chownFails = 'EIO';
    const local = join(directory, 'local');
    await writeFile(local, 'old');
    await chmod(local, 0o2755);
    await replaceLocalFile(local, remote);
    expect(((await stat(local)).mode & 0o7777).toString(8)).toBe('2755');
  });

  it('is as it was when its disk is broken', async () => {
    system.chownFails = 'EIO';
    const local = join(directory, 'local');
    await writeFile(local, 'old');
    chownSync(local, 1234, 1235);
    await expect(replaceLocalFile(local, remote)).rejects.toThrow('EIO');
    expect(await readFile(local, 'utf8')).toBe('old');
    expect(await readdir(directory)).toEqual(['local']);
  });
});
