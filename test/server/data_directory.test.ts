import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { DataDirectoryError, format, inspect, openDataDirectory } from '../../server/data_directory.ts';
import { DirectoryLockedError, LOCK_NAME, lockDirectory, lockHolder } from '../../server/process_lock.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { CLUSTER_ID, groupOf, temporaryDirectory } from './support.ts';

const CONFIGURATION = groupOf(['127.0.0.1:7101', '127.0.0.1:7102', '127.0.0.1:7103']);

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function sleeper(): ChildProcess & { readonly pid: number } {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  children.push(child);
  if (child.pid === undefined) throw new Error('the child did not start');
  return child as ChildProcess & { readonly pid: number };
}

async function formatted(id = 1): Promise<string> {
  const directory = join(await temporaryDirectory(), 'data');
  await format({ directory, clusterId: CLUSTER_ID, memberId: memberId(id), configuration: CONFIGURATION });
  return directory;
}

describe('a data directory', () => {
  it('is at op 0 with an empty namespace when formatted, equal for all members', async () => {
    const roots = new Set<string>();
    for (const id of [1, 2, 3]) {
      const data = await openDataDirectory(await formatted(id));
      expect(data.memberId).toBe(id);
      expect(data.superblock).toMatchObject({ incarnation: 0, view: 0, retired: false, configuration: CONFIGURATION });
      const store = await RecordStore.open({ directory: data.records });
      expect(store.checkpoint?.op).toBe(0);
      expect(store.checkpoint?.root).toBe(data.superblock.checkpoint.root);
      roots.add(data.superblock.checkpoint.root);
      await store.close();
      await data.close();
    }
    expect(roots.size).toBe(1);
  });

  it('is not made over anything', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'letter.txt'), 'dear');
    await expect(format({ directory, clusterId: CLUSTER_ID, memberId: memberId(1), configuration: CONFIGURATION })).rejects.toThrow(/is not empty; nothing was changed/);
    expect(await readdir(directory)).toEqual(['letter.txt']);
    const mine = await formatted();
    await expect(format({ directory: mine, clusterId: CLUSTER_ID, memberId: memberId(1), configuration: CONFIGURATION })).rejects.toThrow(DataDirectoryError);
  });

  it('is made anew when an earlier format was interrupted', async () => {
    const parent = await temporaryDirectory();
    await mkdir(join(parent, '.data.formatting', 'records'), { recursive: true });
    await writeFile(join(parent, '.data.formatting', 'superblock-a'), 'half');
    await format({ directory: join(parent, 'data'), clusterId: CLUSTER_ID, memberId: memberId(1), configuration: CONFIGURATION });
    expect(await readdir(parent)).toEqual(['data']);
    expect((await inspect(join(parent, 'data'))).memberId).toBe(1);
  });

  it('is never assumed: missing, empty, foreign, newer and older ones are refused with the reason and the remedy', async () => {
    const parent = await temporaryDirectory();
    await expect(openDataDirectory(join(parent, 'none'))).rejects.toThrow(/there is no data directory .*none; give the right path.*Do not format it anew/);
    await mkdir(join(parent, 'empty'));
    await expect(openDataDirectory(join(parent, 'empty'))).rejects.toThrow(/is empty, and an empty directory is never taken for a fresh start.*put the directory back.*Do not format it anew/);
    expect(await readdir(join(parent, 'empty'))).toEqual([]);
    await writeFile(join(parent, 'file'), '');
    await expect(openDataDirectory(join(parent, 'file'))).rejects.toThrow(/is not a directory/);
    await mkdir(join(parent, 'other'));
    await writeFile(join(parent, 'other', 'x'), '');
    await expect(openDataDirectory(join(parent, 'other'))).rejects.toThrow(/not a data directory of vrfs/);
    const version = { format: 'vrfs-data', version: 3, clusterId: CLUSTER_ID.toString('hex'), memberId: 1 };
    await writeFile(join(parent, 'other', 'VERSION'), JSON.stringify(version));
    await expect(openDataDirectory(join(parent, 'other'))).rejects.toThrow(/format version 3; this program reads version 2: use a newer vrfs/);
    await writeFile(join(parent, 'other', 'VERSION'), JSON.stringify({ ...version, version: 1 }));
    await expect(openDataDirectory(join(parent, 'other'))).rejects.toThrow(/format version 1; this program reads version 2, and nothing was changed: run that group with the vrfs that it was made with/);
    await writeFile(join(parent, 'other', 'VERSION'), 'half a {');
    await expect(openDataDirectory(join(parent, 'other'))).rejects.toThrow(/is not JSON/);
    await writeFile(join(parent, 'other', 'VERSION'), JSON.stringify({ ...version, version: 2, memberId: -3 }));
    await expect(openDataDirectory(join(parent, 'other'))).rejects.toThrow(/memberId/);
  });

  it('of another group or member is refused', async () => {
    const directory = await formatted(2);
    await expect(openDataDirectory(directory, { clusterId: Buffer.alloc(16, 9) })).rejects.toThrow(/belongs to group 0011.*not to 0909/);
    await expect(openDataDirectory(directory, { memberId: 3 })).rejects.toThrow(/belongs to member 2, not to member 3/);
    const mixed = await formatted(1);
    for (const name of ['superblock-a', 'superblock-b']) await writeFile(join(mixed, name), await readFile(join(directory, name)));
    await expect(openDataDirectory(mixed)).rejects.toThrow(/files of two replicas have been mixed/);
    expect(await lockHolder(mixed)).toBeNull();
  });
});

describe('the lock', () => {
  it('keeps a second process out, and names the one that has it', async () => {
    const directory = await formatted();
    const other = sleeper();
    const lock = await lockDirectory(directory, other.pid);
    await expect(openDataDirectory(directory)).rejects.toThrow(DirectoryLockedError);
    await expect(openDataDirectory(directory)).rejects.toThrow(new RegExp(`in use by the process with pid ${other.pid}; stop that one first \\(kill ${other.pid}\\)`));
    expect(await lockHolder(directory)).toBe(other.pid);
    await lock.release();
    const data = await openDataDirectory(directory);
    await expect(openDataDirectory(directory)).rejects.toThrow(new RegExp(`pid ${process.pid}`));
    await data.close();
  });

  it('of a process that was killed keeps nobody out', async () => {
    const directory = await formatted();
    const other = sleeper();
    await lockDirectory(directory, other.pid);
    const gone = once(other, 'exit');
    other.kill('SIGKILL');
    await gone;
    const data = await openDataDirectory(directory);
    expect(await lockHolder(directory)).toBe(process.pid);
    await data.close();
  });

  it('of a pid that another process has by now, or of an earlier boot of the machine, keeps nobody out', async () => {
    const directory = await formatted();
    const other = sleeper();
    await lockDirectory(directory, other.pid);
    const held = JSON.parse(await readFile(join(directory, LOCK_NAME), 'utf8')) as Record<string, unknown>;
    for (const change of [{ startTime: '1' }, { bootId: 'another' }]) {
      await writeFile(join(directory, LOCK_NAME), JSON.stringify({ ...held, ...change }));
      expect(await lockHolder(directory)).toBeNull();
      await (await openDataDirectory(directory)).close();
    }
    await writeFile(join(directory, LOCK_NAME), 'rubbish');
    await (await openDataDirectory(directory)).close();
  });

  it('that could not be written leaves nothing behind', async () => {
    const directory = await temporaryDirectory();
    // In place of a full disk: the file is made, and writing into it fails.
    const full = async (path: string): Promise<void> => {
      await writeFile(path, '');
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    };
    await expect(lockDirectory(directory, process.pid, full)).rejects.toThrow(/ENOSPC/);
    expect(await readdir(directory)).toEqual([]);
    // Nor is it another error when not even the file could be made.
    await expect(lockDirectory(join(directory, 'none'), process.pid)).rejects.toThrow(/ENOENT.*open/);
    await (await lockDirectory(directory)).release();
  });

  it('that was removed by hand is not the own one any more: what is there when it is let go of stays', async () => {
    const directory = await temporaryDirectory();
    const lock = await lockDirectory(directory);
    await rm(join(directory, LOCK_NAME));
    const other = sleeper();
    await lockDirectory(directory, other.pid);
    await lock.release();
    expect(await lockHolder(directory)).toBe(other.pid);
    const again = await lockDirectory(await temporaryDirectory());
    await again.release();
    await again.release();
  });

  it('is taken by one of many who find a stale one', async () => {
    const directory = await temporaryDirectory();
    const others = Array.from({ length: 6 }, () => sleeper());
    for (let round = 0; round < 50; round++) {
      await writeFile(join(directory, LOCK_NAME), JSON.stringify({ pid: 2 ** 22 + 1, startTime: String(round), bootId: 'x' }));
      const results = await Promise.allSettled(others.map((child) => lockDirectory(directory, child.pid)));
      expect(results.filter((r) => r.status === 'fulfilled')).toHaveLength(1);
      const holder = await lockHolder(directory);
      expect(others.map((o) => o.pid)).toContain(holder);
      for (const r of results) if (r.status === 'rejected') expect(r.reason).toBeInstanceOf(DirectoryLockedError);
      expect(await readdir(directory)).toEqual([LOCK_NAME]);
    }
  });
});
