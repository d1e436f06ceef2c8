/** What has to be durable before a replica promises anything: in which order directories are made and synced. */
import type { PathLike } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { openGroup } from '../../cli/start/group_directory.ts';
import { format } from '../../server/data_directory.ts';
import { configuration } from '../../vr/configuration.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { temporaryDirectory } from './support.ts';

const done = vi.hoisted((): string[] => []);

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return {
    ...real,
    open: async (path: PathLike, ...rest: [never]) => {
      const handle = await real.open(path, ...rest);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => { await sync(); done.push(`sync ${String(path)}`); };
      return handle;
    },
    rename: async (from: PathLike, to: PathLike) => { await real.rename(from, to); done.push(`rename ${String(to)}`); },
    writeFile: async (...[path, data, options]: Parameters<typeof real.writeFile>) => {
      await real.writeFile(path, data, options);
      if (typeof options === 'object' && options?.flush === true) done.push(`sync ${String(path)}`);
    },
  };
});

beforeEach(() => { done.length = 0; });

const member = { id: memberId(1), role: 'voter' as const, address: '127.0.0.1:7101', httpAddress: '127.0.0.1:7201' };

describe('what a replica promises lies in a directory', () => {
  it('whose name is durable, and those of all that were made on the way to it', async () => {
    const there = await temporaryDirectory();
    const root = join(there, 'var/lib/vrfs');
    await format({ directory: root, clusterId: Buffer.alloc(16, 1), memberId: memberId(1), configuration: configuration(epoch(0), [member], 'disk') });
    expect(done).toEqual(expect.arrayContaining([`sync ${there}`, `sync ${join(there, 'var')}`, `sync ${join(there, 'var/lib')}`]));
    // Its own name last, when everything in it is there to stay.
    expect(done.slice(-2)).toEqual([`rename ${root}`, `sync ${dirname(root)}`]);
  });

  it('with the other members in a group whose description is durable under its name', async () => {
    const there = await temporaryDirectory();
    const root = join(there, 'groups/one');
    const group = await openGroup({ data: root, replicas: 3, port: 42_101, httpPort: 42_201 });
    await group.lock.release();
    const cluster = join(root, 'cluster.json');
    expect(done).toEqual(expect.arrayContaining([`sync ${there}`, `sync ${join(there, 'groups')}`]));
    const named = done.indexOf(`rename ${cluster}`);
    expect(done.slice(0, named)).toContain(`sync ${join(root, '.cluster.json')}`);
    expect(done.slice(named)).toContain(`sync ${root}`);
  });
});
