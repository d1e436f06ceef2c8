/** The small parts: the mount table, callers' groups, handles, the library folder, the device, errors without an answer. */
import { existsSync, lstatSync, mkdtempSync, readlinkSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ino } from '../../lib/ids.ts';
import { Busy, InvalidCall, NotReachable, OutcomeUnknown, TimedOut } from '../../client/errors.ts';
import { Errno } from '../../fsservice/errno.ts';
import { errnoOfRejection, MountError } from '../../mount/binding.ts';
import { CallerCredentials, parseGroups } from '../../mount/caller_credentials.ts';
import { makeLibraryFolder, shippedLibrary } from '../../mount/fuse_library.ts';
import { HandleTable } from '../../mount/handles.ts';
import { isOurs, mountAt, parseMountInfo, resolveMountpoint, unmountTree } from '../../mount/mount_table.ts';
import { checkDevice } from '../../mount/prepare_mountpoint.ts';
import { typeBits, typeOfMode } from '../../mount/attributes.ts';

describe('parseMountInfo', () => {
  it('reads types, sources, and escaped blanks', () => {
    const entries = parseMountInfo([
      '22 1 0:21 / /proc rw,nosuid - proc proc rw',
      '42 27 0:39 / /srv/my\\040files\\134 rw,relatime shared:1 master:2 - fuse.vrfs vrfs:417 rw,user_id=0',
      '',
    ].join('\n'));
    expect(entries).toEqual([{ mountpoint: '/proc', type: 'proc', source: 'proc' }, { mountpoint: '/srv/my files\\', type: 'fuse.vrfs', source: 'vrfs:417' }]);
    expect(entries.map(isOurs)).toEqual([false, true]);
  });

  it('finds what is mounted exactly at a path', () => {
    expect(mountAt('/proc')?.type).toBe('proc');
    expect(mountAt('/proc/self')).toBeUndefined();
    expect(mountAt('/no/such/folder')).toBeUndefined();
  });

  it('finds it by symbolic links to it too, however they are written', () => {
    const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'vrfs-links-')));
    try {
      const links = { absolute: '/proc', slash: '/proc/', relative: path.relative(folder, '/proc'), dots: '/sys/../proc/.', chained: 'absolute', up: '/proc/self/..' };
      for (const [name, target] of Object.entries(links)) symlinkSync(target, path.join(folder, name));
      for (const name of Object.keys(links)) expect([name, mountAt(path.join(folder, name))?.type]).toEqual([name, 'proc']);
      symlinkSync('not there yet', path.join(folder, 'dangling'));
      expect(resolveMountpoint(path.join(folder, 'dangling'))).toBe(path.join(folder, 'not there yet'));
      symlinkSync('round', path.join(folder, 'round'));
      expect(() => resolveMountpoint(path.join(folder, 'round'))).toThrow(MountError);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('taking a mount away as root', () => {
  /** The commands that are run when umount answers as `umount` does; undefined: it has unmounted. */
  async function commandsOf(umount: (args: readonly string[]) => string | undefined): Promise<string[]> {
    const commands: string[] = [];
    let mounted = true;
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    await unmountTree('/nowhere/mnt', 'vrfs', log, {
      isRoot: () => true,
      isMounted: () => mounted,
      run: (command, args) => {
        commands.push([command, ...args].join(' '));
        const stderr = umount(args);
        if (stderr !== undefined) return Promise.reject(Object.assign(new Error('failed'), { stderr }));
        mounted = false;
        return Promise.resolve();
      },
    });
    return commands;
  }

  it('does not let umount look at the path', async () => {
    expect(await commandsOf((args) => (args.includes('-l') ? undefined : 'umount: /nowhere/mnt: target is busy.'))).toEqual(['umount -c /nowhere/mnt', 'umount -c -f /nowhere/mnt', 'umount -c -l /nowhere/mnt']);
  });

  it.each(['umount: unrecognized option: c\nBusyBox v1.36.1 multi-call binary.\n\nUsage: umount [OPTIONS] FILESYSTEM|DIRECTORY', "umount: invalid option -- 'c'", "umount: Unknown option 'c' (see \"umount --help\")"])('does without -c where there is none (%j)', async (refusal) => {
    expect(await commandsOf((args) => {
      if (args.includes('-c')) return refusal;
      return args.includes('-f') ? undefined : "umount: can't unmount /nowhere/mnt: Resource busy";
    })).toEqual(['umount -c /nowhere/mnt', 'umount /nowhere/mnt', 'umount -f /nowhere/mnt']);
  });

  it('says what each way was refused with', async () => {
    await expect(commandsOf((args) => `umount: no ${args.join(' ')}`)).rejects.toThrow('/nowhere/mnt cannot be unmounted: umount: no -c /nowhere/mnt; umount: no -c -f /nowhere/mnt; umount: no -c -l /nowhere/mnt');
  });
});

describe('callers', () => {
  it('have the groups of their process', () => {
    expect(parseGroups('Name:\tx\nGroups:\t4 24 1000 \nNStgid:\t1\n')).toEqual([4, 24, 1000]);
    expect(parseGroups('Groups:\t \n')).toEqual([]);
    expect(parseGroups('')).toEqual([]);
    expect(parseGroups(`Groups: ${Array.from({ length: 300 }, (_, i) => i).join(' ')}`)).toEqual(Array.from({ length: 255 }, (_, i) => i));
  });

  it('are looked up once a second at most, and not at all for root', () => {
    let now = 0;
    const asked: number[] = [];
    const callers = new CallerCredentials(() => now, (pid) => {
      asked.push(pid);
      return `Groups: ${pid}`;
    });
    expect(callers.of(0, 0, 5)).toEqual({ uid: 0, gid: 0, groups: [] });
    expect(callers.of(1000, 1000, 0)).toEqual({ uid: 1000, gid: 1000, groups: [] });
    expect(callers.of(1000, 1000, 7)).toEqual({ uid: 1000, gid: 1000, groups: [7] });
    now = 999;
    callers.of(1000, 1000, 7);
    expect(asked).toEqual([7]);
    callers.of(1001, 1000, 7);
    now = 2000;
    callers.of(1001, 1000, 7);
    expect(asked).toEqual([7, 7, 7]);
  });

  it('that have ended have no groups', () => {
    expect(new CallerCredentials().of(1000, 1000, 2 ** 22 + 1).groups).toEqual([]);
  });
});

describe('handles', () => {
  it('are never 0, never twice at once', () => {
    const table = new HandleTable();
    const file = { ino: ino(1), append: false, held: true };
    const handles = Array.from({ length: 100 }, () => table.add(file));
    expect(new Set(handles).size).toBe(100);
    expect(handles).not.toContain(0);
    expect(table.remove(5)).toBe(file);
    expect([table.get(5), table.remove(5), table.size]).toEqual([undefined, undefined, 99]);
  });
});

describe('the library folder', () => {
  it('has libfuse.so.2 linked to what the package ships, in front of what is set already', () => {
    const library = shippedLibrary();
    if (library === null) return expect(process.arch).not.toBe('x64');
    const made = makeLibraryFolder();
    const folder = made.environment.LD_LIBRARY_PATH?.split(':')[0] ?? '';
    expect(readlinkSync(path.join(folder, 'libfuse.so.2'))).toBe(library);
    expect(lstatSync(folder).mode & 0o777).toBe(0o700);
    made.remove();
    expect(existsSync(folder)).toBe(false);
  });

  it('is not needed where nothing is shipped', () => {
    expect(makeLibraryFolder(null).environment).toEqual({});
  });
});

describe('a missing /dev/fuse', () => {
  it('is said, with what to do', () => {
    const failure = (() => {
      try {
        checkDevice('/dev/no-such-device');
        return undefined;
      } catch (error) {
        return error;
      }
    })();
    expect(failure).toMatchObject({ name: 'MountError', message: expect.stringContaining('/dev/no-such-device cannot be opened') as string, remedy: expect.stringContaining('modprobe fuse') as string });
  });
});

describe('a call without an answer', () => {
  it.each([
    [new TimedOut('x'), Errno.ETIMEDOUT], [new NotReachable('x'), Errno.ETIMEDOUT], [new OutcomeUnknown('x'), Errno.EIO], [new InvalidCall('x'), Errno.EINVAL],
    [new Busy('x'), Errno.EAGAIN], [new Error('x'), Errno.EIO], ['x', Errno.EIO],
  ])('%s is an errno', (error, errno) => {
    expect(errnoOfRejection(error)).toBe(errno);
  });
});

describe('file types', () => {
  it.each(['file', 'directory', 'symlink', 'fifo', 'socket', 'block', 'character'] as const)('%s is found again in its bits', (type) => {
    expect(typeOfMode(typeBits(type) | 0o644)).toBe(type);
  });
  it('no bits are a regular file, as mknod has it; unknown ones are none', () => {
    expect(typeOfMode(0o644)).toBe('file');
    expect(typeOfMode(0o170000)).toBeUndefined();
  });
});
