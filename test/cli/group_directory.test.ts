/** The directory of a group that `vrfs start` runs, and what is wrong with it. */
import { mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CLUSTER_NAME, openGroup } from '../../cli/start/group_directory.ts';
import { failureOf, type Failure } from '../../cli/failure.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { inspect } from '../../server/data_directory.ts';
import { formatSuperblock } from '../../server/superblock_file.ts';
import { configuration, type Member } from '../../vr/configuration.ts';

let directory: string;
let root: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vrfs-group-'));
  root = join(directory, 'data');
  await make();
});
afterEach(async () => { await rm(directory, { recursive: true }); });

/** Of the ports beside the one that is free others may be taken: then elsewhere. */
async function make(): Promise<void> {
  for (;;) {
    const port = await freePort();
    try {
      await (await openGroup({ data: root, port, httpPort: port + 100 })).lock.release();
      return;
    } catch (error) {
      if (!failureOf(error).message.includes('is in use by another process')) throw error;
    }
  }
}

/** Below the range that the kernel gives out, so that its neighbours are free for the length of a test. */
async function freePort(): Promise<number> {
  const server = createServer();
  const got = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  await new Promise<void>((resolve) => { server.close(() => { resolve(); }); });
  return 10_000 + (got % 16_000);
}

async function refused(): Promise<Failure> {
  try {
    await (await openGroup({ data: root })).lock.release();
  } catch (error) {
    return failureOf(error);
  }
  throw new Error('it was opened');
}

/** As a member has it on its disk after a change. */
async function knows(id: number, at: number, change: (members: readonly Member[]) => readonly Member[]): Promise<void> {
  const { superblock } = await inspect(join(root, String(id)));
  const { members, durability } = superblock.configuration;
  await formatSuperblock(join(root, String(id)), { ...superblock, configuration: configuration(epoch(at), change(members), durability) });
}
const joined: Member = { id: memberId(70_000), role: 'voter', address: '127.0.0.1:9', httpAddress: '127.0.0.1:10' };

describe('a group whose members were changed', () => {
  it('is not run as it was made: who the members are now, and how they are run', async () => {
    // Member 3 was replaced; it was down, so only one of the others need know.
    await knows(2, 2, (members) => [...members.filter((m) => m.id !== 3), joined]);
    for (const lost of [false, true]) {
      if (lost) await rm(join(root, '3'), { recursive: true });
      const said = await refused();
      expect(said).toMatchObject({ exitCode: 5, message: expect.stringMatching(/the members of the group in .* were changed: they are 1 \(127\.0\.0\.1:\d+\), 2 \(127\.0\.0\.1:\d+\), 70000 \(127\.0\.0\.1:9\) since epoch 2, and cluster\.json names 1 .*3 \(/) as string });
      expect(said.remedy).toContain(`run each member with "vrfs serve" (as a service, for example), and no longer with "vrfs start". Those here: vrfs serve --config ${root}/1/config.json; vrfs serve --config ${root}/2/config.json`);
      expect(said.remedy).not.toContain(`${root}/3`);
    }
  });

  it('and changed back, or in their roles, or by more that run elsewhere, is run as before', async () => {
    await knows(1, 4, (members) => [...members.map((m) => (m.id === 3 ? { ...m, role: 'observer' as const } : m)), joined]);
    await knows(2, 3, (members) => [...members.filter((m) => m.id !== 3), joined]);
    await (await openGroup({ data: root })).lock.release();
  });
});

describe('a group of which something has gone', () => {
  it('the directory of a member: what is said names what to do, and how a changed group is run', async () => {
    await rm(join(root, '3'), { recursive: true });
    const { message, remedy } = await refused();
    expect(message).toMatch(/replica 3, .*\/3, is not there any more/);
    expect(remedy).toMatch(/Put a new node in its place.*A group of which a member has left is run with "vrfs serve" for each member, and no longer by "vrfs start"/s);
  });

  it('only cluster.json: it is to be put back', async () => {
    const text = await readFile(join(root, CLUSTER_NAME), 'utf8');
    await rename(join(root, CLUSTER_NAME), join(directory, 'elsewhere'));
    const before = await readdir(root);
    const { message, remedy, exitCode } = await refused();
    expect(exitCode).toBe(5);
    expect(message).toBe(`${root} holds the members 1, 2, 3 of a group, and no cluster.json`);
    expect(remedy).toMatch(/^put cluster\.json back .*If it is lost, .*vrfs serve --data .*\/1.*\/2.*\/3/s);
    expect(await readdir(root)).toEqual(before);
    await writeFile(join(root, CLUSTER_NAME), text);
    await (await openGroup({ data: root })).lock.release();
  });

  it('and nothing of a group is there: another directory', async () => {
    await rm(root, { recursive: true });
    root = directory;
    await writeFile(join(directory, '1'), 'a letter');
    await symlink(join(directory, 'nowhere'), join(directory, '2'));
    expect(await refused()).toMatchObject({ message: `${root} holds other files (1, 2) and no cluster.json`, remedy: 'give an empty or a new directory: --data <directory>' });
  });
});
