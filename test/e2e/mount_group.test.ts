/** Several mounts of one group: what one has completed, the others see; and no failure of a replica hangs a mount or loses what it was told. */
import { spawnSync } from 'node:child_process';
import { constants } from 'node:fs';
import { appendFile, chmod, link, mkdir, open, readdir, readFile, rename, rm, stat, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mountNamespace } from './mount_namespace.ts';
import type { MountedNamespace } from './mount_namespace.ts';
import { eventually } from './mount_support.ts';
import { startMount } from '../../mount/start_mount.ts';

let namespace: MountedNamespace;
let one: string;
let two: string;

beforeAll(async () => {
  namespace = await mountNamespace({ binding: 'kernel' }, { binding: 'fuse-native' });
  [one, two] = namespace.mounts.map((mount) => mount.mountpoint) as [string, string];
});
afterAll(async () => {
  await namespace.stop();
});

function code(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

describe.each([['kernel', 'fuse-native', 0], ['fuse-native', 'kernel', 1]] as const)('what a mount through %s has completed, one through %s sees at once', (_a, _b, first) => {
  const a = (...names: string[]): string => path.join(first === 0 ? one : two, `strict-${first}`, ...names);
  const b = (...names: string[]): string => path.join(first === 0 ? two : one, `strict-${first}`, ...names);
  beforeAll(async () => {
    await mkdir(a());
  });

  it('contents, sizes and new names', async () => {
    for (let i = 0; i < 20; i++) {
      await writeFile(a('file'), `version ${i}`);
      expect(await readFile(b('file'), 'utf8')).toBe(`version ${i}`);
      await writeFile(a(`name-${i}`), '');
      expect(await readdir(b())).toContain(`name-${i}`);
      await unlink(a(`name-${i}`));
      await expect(stat(b(`name-${i}`))).rejects.toThrow(/ENOENT/);
    }
    await truncate(a('file'), 3);
    expect((await stat(b('file'))).size).toBe(3);
  });

  it('renames, modes, links', async () => {
    await writeFile(a('x'), 'x');
    await rename(a('x'), a('y'));
    expect(await readFile(b('y'), 'utf8')).toBe('x');
    await expect(stat(b('x'))).rejects.toThrow(/ENOENT/);
    await chmod(a('y'), 0o711);
    expect((await stat(b('y'))).mode & 0o777).toBe(0o711);
    await link(a('y'), a('z'));
    expect((await stat(b('z'))).nlink).toBe(2);
    await symlink('z', a('soft'));
    expect(await readFile(b('soft'), 'utf8')).toBe('x');
  });

  it('through a descriptor that was open before', async () => {
    await writeFile(a('open'), 'before');
    const file = await open(b('open'), 'r');
    const buffer = Buffer.alloc(20);
    expect((await file.read(buffer, 0, 20, 0)).bytesRead).toBe(6);
    await writeFile(a('open'), 'AFTER!');
    expect((await file.read(buffer, 0, 20, 0)).bytesRead).toBe(6);
    expect(buffer.toString('utf8', 0, 6)).toBe('AFTER!');
    await appendFile(a('open'), ' more');
    expect((await file.read(buffer, 0, 20, 0)).bytesRead).toBe(11);
    expect((await file.stat()).size).toBe(11);
    await file.close();
  });

  it('a file that the other unlinks stays readable where it is open', async () => {
    await writeFile(a('doomed'), 'still here');
    const file = await open(b('doomed'), 'r');
    await unlink(a('doomed'));
    await expect(stat(b('doomed'))).rejects.toThrow(/ENOENT/);
    const buffer = Buffer.alloc(20);
    expect((await file.read(buffer, 0, 20, 0)).bytesRead).toBe(10);
    expect(buffer.toString('utf8', 0, 10)).toBe('still here');
    // libfuse 2 asks for attributes by path, also for fstat.
    if (first === 1) expect((await file.stat()).nlink).toBe(0);
    await file.close();
  });
});

// The kernel does sendfile and splice for both mounts, and this for libfuse 2, by its page cache (docs/MOUNT.md).
it('copy_file_range copies what the other has written, from a descriptor that was open before', async () => {
  await writeFile(path.join(two, 'source'), 'before');
  const [from, to] = [await open(path.join(one, 'source'), 'r'), await open(path.join(one, 'target'), 'w')];
  const copy = (): string => {
    const { stdout, stderr } = spawnSync('python3', ['-c', 'import os; print(os.copy_file_range(3, 4, 100, 0, 0))'], { stdio: ['ignore', 'pipe', 'pipe', from.fd, to.fd], encoding: 'utf8' });
    return stdout + stderr;
  };
  expect(copy()).toBe('6\n');
  await writeFile(path.join(two, 'source'), 'AFTER!');
  expect(copy()).toBe('6\n');
  expect(await readFile(path.join(two, 'target'), 'utf8')).toBe('AFTER!');
  await Promise.all([from.close(), to.close()]);
});

it('a lock file is made by exactly one of two mounts', async () => {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;
  const attempt = async (file: string): Promise<string> => {
    try {
      await (await open(file, flags)).close();
      return 'made';
    } catch (error) {
      return code(error);
    }
  };
  for (let i = 0; i < 30; i++) {
    const outcomes = await Promise.all([attempt(path.join(one, `lock-${i}`)), attempt(path.join(two, `lock-${i}`))]);
    expect(outcomes.sort()).toEqual(['EEXIST', 'made']);
  }
});

it('open(O_CREAT) of one name through two mounts opens the same file for both, whoever makes it, and never fails for what the other does', async () => {
  const other = await startMount({ servers: namespace.group.servers, mountpoint: path.join(path.dirname(one), 'creator'), options: { binding: 'kernel' }, logFile: path.join(path.dirname(one), 'creator.log') });
  const flags = constants.O_CREAT | constants.O_TRUNC | constants.O_RDWR;
  for (let i = 0; i < 30; i++) {
    const files = await Promise.all([one, other.mountpoint].map((mountpoint) => open(path.join(mountpoint, `shared-${i}`), flags)));
    const inodes = await Promise.all(files.map(async (file) => (await file.stat()).ino));
    expect(new Set(inodes).size).toBe(1);
    await Promise.all(files.map((file) => file.close()));
  }
  const makeAndRemove = async (mountpoint: string): Promise<void> => {
    for (let i = 0; i < 200; i++) {
      await (await open(path.join(mountpoint, 'fought for'), flags)).close();
      await rm(path.join(mountpoint, 'fought for'), { force: true });
    }
  };
  await Promise.all([makeAndRemove(one), makeAndRemove(other.mountpoint)]);
  await other.unmount();
});

it('appenders on two mounts never overwrite each other', async () => {
  await writeFile(path.join(one, 'appended'), '');
  const texts = Array.from({ length: 200 }, (_, i) => `${i} `.padEnd(20 + (i % 50), '.'));
  const append = async (mountpoint: string, parity: number): Promise<void> => {
    const file = await open(path.join(mountpoint, 'appended'), 'a');
    for (const [i, text] of texts.entries()) {
      if (i % 2 === parity) await file.write(`${text}\n`);
    }
    await file.close();
  };
  await Promise.all([append(one, 0), append(two, 1)]);
  const lines = (await readFile(path.join(two, 'appended'), 'utf8')).trimEnd().split('\n');
  expect(lines.sort()).toEqual([...texts].sort());
});

describe('writers on a mount', () => {
  /** Four writers, each file acknowledged by name; during them something happens to the group. */
  async function whileWriting(folder: string, during: () => Promise<void>): Promise<void> {
    await mkdir(path.join(one, folder));
    const acknowledged = new Set<string>();
    let stop = false;
    const writer = async (mountpoint: string, name: string): Promise<void> => {
      for (let i = 0; !stop; i++) {
        await writeFile(path.join(mountpoint, folder, `${name}-${i}`), `content of ${name}-${i}`, { flag: 'wx' });
        acknowledged.add(`${name}-${i}`);
      }
    };
    const writers = [writer(one, 'a'), writer(one, 'b'), writer(two, 'c'), writer(two, 'd')];
    const progress = async (): Promise<void> => {
      const before = acknowledged.size;
      await eventually('the writers go on', () => acknowledged.size >= before + 8, 30_000);
    };
    await progress();
    await during();
    await progress();
    stop = true;
    await Promise.all(writers);
    const present = await readdir(path.join(one, folder));
    expect(new Set(present)).toEqual(acknowledged);
    for (const name of acknowledged) expect(await readFile(path.join(two, folder, name), 'utf8')).toBe(`content of ${name}`);
  }

  it('go on by themselves when the primary is killed, and nothing acknowledged is lost', async () => {
    let killed = 0;
    await whileWriting('killed primary', async () => {
      killed = await namespace.group.primary();
      await namespace.group.kill(killed);
    });
    await namespace.group.start(killed);
  });

  it('go on when the primary stands still, and when it wakes up again', async () => {
    let stopped = 0;
    await whileWriting('stopped primary', async () => {
      stopped = await namespace.group.primary();
      namespace.group.signal(stopped, 'SIGSTOP');
    });
    await whileWriting('woken primary', () => {
      namespace.group.signal(stopped, 'SIGCONT');
      return Promise.resolve();
    });
  });

  it('go on when all replicas are killed and come back', async () => {
    await whileWriting('all killed', async () => {
      for (const id of [1, 2, 3]) await namespace.group.kill(id);
      for (const id of [1, 2, 3]) await namespace.group.start(id);
    });
  });
});

it('without a majority a call fails after its time-out; the mount serves again when the majority is back', async () => {
  const folder = path.join(path.dirname(one), 'impatient');
  const mount = await startMount({ servers: namespace.group.servers, mountpoint: folder, requestTimeoutMs: 2000, logFile: path.join(path.dirname(one), 'impatient.log') });
  const primary = await namespace.group.primary();
  const others = [1, 2, 3].filter((id) => id !== primary);
  for (const id of others) namespace.group.signal(id, 'SIGSTOP');
  await expect(writeFile(path.join(folder, 'nobody there'), 'x')).rejects.toThrow(/ETIMEDOUT|EIO/);
  for (const id of others) namespace.group.signal(id, 'SIGCONT');
  await eventually('the mount serves again', () => writeFile(path.join(folder, 'back'), 'x').then(() => true, () => false), 30_000);
  expect(await readFile(path.join(one, 'back'), 'utf8')).toBe('x');
  await rm(path.join(one, 'back'));
  await mount.unmount();
});
