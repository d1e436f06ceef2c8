/** How mounts begin and end: cleanly, by force, from outside, by death of either process; and what is said when one cannot be had. */
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, open, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isMounted } from '../../mount/mount_table.ts';
import type { Binding } from '../../mount/binding.ts';
import { KernelDevice } from '../../mount/kernel_device.ts';
import { startMount, unmountPath } from '../../mount/start_mount.ts';
import type { MountHandle, MountRequest } from '../../mount/start_mount.ts';
import { MEMORY_PROGRAM } from './mount_namespace.ts';
import { eventually, inCi, installed, run, temporaryFolder } from './mount_support.ts';

let folder: string;
let mountpoint: string;
let mounts: MountHandle[];

beforeEach(async () => {
  folder = temporaryFolder('lifecycle');
  await chmod(folder, 0o755);
  mountpoint = path.join(folder, 'a mountpoint');
  mounts = [];
});
afterEach(async () => {
  for (const mount of mounts) await mount.unmount();
  expect(isMounted(mountpoint)).toBe(false);
  await rm(folder, { recursive: true });
});

async function start(request: Partial<MountRequest> = {}): Promise<MountHandle> {
  const mount = await startMount({ servers: ['memory:0'], mountpoint, program: MEMORY_PROGRAM, logFile: path.join(folder, 'log'), ...request });
  mounts.push(mount);
  return mount;
}

it('an answer that comes when the device is closed goes nowhere, least of all to the file that has the number of its descriptor by then', async () => {
  const device = new KernelDevice();
  await device.close();
  const files = await Promise.all(Array.from({ length: 8 }, (_, i) => open(path.join(folder, `file-${i}`), 'w+')));
  device.reply(Buffer.from('an answer'), Buffer.from('with a body'));
  expect(await Promise.all(files.map(async (file) => (await file.stat()).size))).toEqual(files.map(() => 0));
  await Promise.all(files.map((file) => file.close()));
});

function running(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

describe.each(['kernel', 'fuse-native'] as const)('a mount through %s', (binding: Binding['kind']) => {
  const options = { binding };

  it('ends when asked, and can be had again', async () => {
    for (let i = 0; i < 2; i++) {
      const mount = await start({ options });
      expect(mount.binding).toBe(binding);
      expect(isMounted(mountpoint)).toBe(true);
      await writeFile(path.join(mountpoint, 'file'), 'x');
      await mount.unmount();
      expect(await mount.exited).toEqual({ code: 0, signal: null });
      expect(isMounted(mountpoint)).toBe(false);
    }
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('unmounts on %s', async (signal) => {
    const mount = await start({ options });
    process.kill(mount.pid, signal);
    expect(await mount.exited).toEqual({ code: 0, signal: null });
    expect(isMounted(mountpoint)).toBe(false);
  });

  it('ends although a program holds a file open', async () => {
    const mount = await start({ options });
    const file = await open(path.join(mountpoint, 'held'), 'w');
    await file.write('before');
    await mount.unmount();
    expect(await mount.exited).toEqual({ code: 0, signal: null });
    await expect(file.write('after')).rejects.toThrow(/ENOTCONN|ECONNABORTED|EIO/);
    await file.close().catch((error: unknown) => { expect(String(error)).toMatch(/ENOTCONN|ECONNABORTED|EIO/); });
  });

  it('ends by itself when it is unmounted from outside', async () => {
    const mount = await start({ options });
    await unmountPath(mountpoint);
    expect(await mount.exited).toEqual({ code: 0, signal: null });
  });

  it('leaves remains when it is killed, which the next start clears', async () => {
    const mount = await start({ options });
    await writeFile(path.join(mountpoint, 'file'), 'x');
    process.kill(mount.pid, 'SIGKILL');
    expect(await mount.exited).toEqual({ code: null, signal: 'SIGKILL' });
    await expect(stat(mountpoint)).rejects.toThrow(/ENOTCONN|ECONNABORTED/);
    await start({ options });
    expect((await stat(mountpoint)).isDirectory()).toBe(true);
  });

  it('at a symbolic link is where the link leads, and is found and taken away by either name', async () => {
    const link = path.join(folder, 'link');
    await mkdir(mountpoint);
    await symlink('a mountpoint', link);
    const mount = await start({ options, mountpoint: link });
    await writeFile(path.join(link, 'file'), 'x');
    expect([mount.mountpoint, isMounted(link), isMounted(mountpoint)]).toEqual([mountpoint, true, true]);
    await mount.unmount();
    expect(await mount.exited).toEqual({ code: 0, signal: null });
    expect([isMounted(link), isMounted(mountpoint)]).toEqual([false, false]);
    const again = await start({ options, mountpoint: link });
    await unmountPath(link);
    expect(await again.exited).toEqual({ code: 0, signal: null });
  });

  it('at a symbolic link leaves remains when it is killed, which the next start there clears', async () => {
    const link = path.join(folder, 'link');
    await symlink('a mountpoint', link);
    const mount = await start({ options, mountpoint: link });
    process.kill(mount.pid, 'SIGKILL');
    await mount.exited;
    await expect(stat(link)).rejects.toThrow(/ENOTCONN|ECONNABORTED/);
    await start({ options, mountpoint: link });
    await writeFile(path.join(mountpoint, 'file'), 'x');
  });

  it('takes only itself away: not the mount that has come in its place meanwhile', async () => {
    const old = await start({ options });
    process.kill(old.pid, 'SIGSTOP');
    await run('umount', ['-c', '-l', mountpoint]);
    await start({ options });
    await writeFile(path.join(mountpoint, 'file'), 'x');
    process.kill(old.pid, 'SIGCONT');
    expect(await old.exited).toEqual({ code: 0, signal: null });
    await old.unmount();
    expect(isMounted(mountpoint)).toBe(true);
    expect((await stat(path.join(mountpoint, 'file'))).size).toBe(1);
  });

  it('is found by a link to it, and taken away, while its process does not answer', async () => {
    const link = path.join(folder, 'link');
    await symlink('a mountpoint', link);
    const mount = await start({ options });
    process.kill(mount.pid, 'SIGSTOP');
    expect(isMounted(link)).toBe(true);
    await unmountPath(link);
    expect(isMounted(mountpoint)).toBe(false);
    process.kill(mount.pid, 'SIGCONT');
    expect(await mount.exited).toEqual({ code: 0, signal: null });
  });

  it('refuses a mountpoint that is mounted already', async () => {
    await start({ options });
    await expect(start({ options })).rejects.toMatchObject({ message: `a vrfs is already mounted at ${mountpoint}`, remedy: `vrfs unmount ${mountpoint}` });
  });
});

describe('a mount', () => {
  it('ends with its starter', async () => {
    const { starter, pid } = await startBySomebodyElse('foreground');
    starter.kill('SIGKILL');
    await eventually('the mount process ends', () => !running(pid));
    expect(isMounted(mountpoint)).toBe(false);
  });

  it('in the background outlives its starter', async () => {
    const { starter, pid } = await startBySomebodyElse('background');
    const gone = once(starter, 'exit');
    starter.kill('SIGKILL');
    await gone;
    await writeFile(path.join(mountpoint, 'file'), 'still there');
    expect(running(pid)).toBe(true);
    await unmountPath(mountpoint);
    await eventually('the mount process ends', () => !running(pid));
  });

  it('is read-only when asked', async () => {
    await start({ options: { readOnly: true } });
    await expect(writeFile(path.join(mountpoint, 'file'), 'x')).rejects.toThrow(/EROFS/);
  });

  it('takes a folder behind a symbolic link, with blanks in its name', async () => {
    await mkdir(path.join(folder, 'real place'));
    await run('ln', ['-s', 'real place', path.join(folder, 'link')]);
    const mount = await start({ mountpoint: path.join(folder, 'link', 'mnt') });
    expect(mount.mountpoint).toBe(path.join(folder, 'real place', 'mnt'));
    await writeFile(path.join(folder, 'link', 'mnt', 'file'), 'x');
    const made = await start({ mountpoint: path.join(folder, 'link', 'absent', 'mnt') });
    expect(made.mountpoint).toBe(path.join(folder, 'real place', 'absent', 'mnt'));
  });

  it('needs an empty folder', async () => {
    await mkdir(mountpoint);
    await writeFile(path.join(mountpoint, 'file'), 'x');
    await expect(start()).rejects.toMatchObject({ name: 'MountError', message: `${mountpoint} is not empty: its files would be hidden` });
    await rm(mountpoint, { recursive: true });
    await writeFile(mountpoint, 'a file');
    await expect(start()).rejects.toMatchObject({ name: 'MountError', remedy: 'choose another mountpoint' });
  });

  it('says that no replica answers, and mounts nothing', async () => {
    const started = start({ program: undefined, servers: ['127.0.0.1:1'] });
    await expect(started).rejects.toMatchObject({ name: 'MountError', message: expect.stringContaining('127.0.0.1:1') as string, remedy: expect.stringContaining('replicas') as string });
    expect(isMounted(mountpoint)).toBe(false);
  });

  it('is not looked for where nothing is mounted', async () => {
    await expect(unmountPath(mountpoint)).rejects.toMatchObject({ message: `nothing is mounted at ${mountpoint}` });
    await expect(unmountPath('/proc')).rejects.toMatchObject({ message: '/proc is a proc from proc, not a vrfs' });
  });

  it('shows up in the mount table as what it is', async () => {
    const { pid } = await start();
    const { stdout } = await promisify(execFile)('findmnt', ['-n', '-o', 'FSTYPE,SOURCE', mountpoint]);
    expect(stdout.trim().split(/\s+/)).toEqual(['fuse.vrfs', `vrfs:${pid}`]);
  });
});

// A private view of the mounts, with a /dev/fuse that everybody may open, as udev makes it.
(inCi || ['unshare', 'setpriv', 'fusermount'].every(installed) ? it : it.skip)('an ordinary user mounts through fusermount', async () => {
  const device = path.join(folder, 'fuse');
  await run('mknod', ['-m', '666', device, 'c', '10', '229']);
  await mkdir(mountpoint);
  await run('chown', ['65534:65534', mountpoint]);
  const main = path.join(import.meta.dirname, '..', '..', 'dist', 'test', 'e2e', 'mount_user_main.js');
  const user = 'mount --bind "$1" /dev/fuse && exec setpriv --reuid 65534 --regid 65534 --clear-groups env -i PATH=/usr/bin:/bin "$2" "$3" "$4" "$5"';
  const said = await run('unshare', ['-m', 'sh', '-ec', user, 'sh', device, process.execPath, main, MEMORY_PROGRAM, mountpoint]);
  expect(JSON.parse(said)).toEqual({ uid: 65534, binding: 'fuse-native', names: [], refusal: 'EACCES', left: false });
});

async function startBySomebodyElse(stay: string): Promise<{ starter: ReturnType<typeof fork>; pid: number }> {
  const main = path.join(import.meta.dirname, '..', '..', 'dist', 'test', 'e2e', 'mount_starter_main.js');
  const starter = fork(main, [MEMORY_PROGRAM, mountpoint, stay], { execArgv: [] });
  const [{ pid }] = (await once(starter, 'message')) as [{ pid: number }];
  return { starter, pid };
}
