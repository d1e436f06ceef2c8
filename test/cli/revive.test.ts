/** `vrfs revive`: what it says, what it refuses, and a whole group of `vrfs start` that goes on. */
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { agoText, asOf } from '../../cli/revival_text.ts';
import { openGroup } from '../../cli/start/group_directory.ts';
import { proposeGroupRevival, reviveGroup } from '../../cli/start/revive_group.ts';
import { FileSystem } from '../../client/file_system.ts';
import { describeCluster, loadCluster } from '../../server/config.ts';
import { inspect } from '../../server/data_directory.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view } from '../../lib/ids.ts';
import { holdingOf, type HeldCheckpoint } from '../../server/holding.ts';
import { TestGroup } from '../server/group.ts';
import { temporaryDirectory, until } from '../server/support.ts';
import { vrfs, type CliResult } from './harness.ts';

/** Steps that mean something to the other members; what happens between them is in test/server/revive.test.ts. */
const BOUNDARIES: ReadonlySet<string> = new Set(['prepare', 'decide', 'place VERSION', 'tidy up', 'name the group']);

let group: TestGroup;
let root: string;
/** Of the checkpoint of each member. */
let ops: number[];
let newest: number;

/** As `vrfs start` leaves it: all members in one directory, and stopped. */
async function stoppedGroup(durability: 'memory' | 'disk'): Promise<TestGroup> {
  const made = await TestGroup.make({ durability, flags: { checkpointOps: 10 } });
  await writeFile(join(made.directory, 'cluster.json'), describeCluster({ clusterId: made.clusterId, configuration: made.configuration }));
  await writeFile(join(made.directory, 'FORMATTED'), '');
  await made.startAll();
  const fs = new FileSystem(await made.client());
  for (let i = 0; i < 20; i++) await fs.writeFile(`/file-${i}`, `content of ${i}`);
  await until(() => [1, 2, 3].every((id) => made.replica(id).status().replica.checkpoint.op >= 10), 'a checkpoint at each');
  await made.stop();
  return made;
}

async function clusterIdOf(id: number): Promise<string> {
  return (await inspect(join(root, String(id)))).clusterId.toString('hex');
}
async function named(): Promise<string> {
  return (await loadCluster(join(root, 'cluster.json'))).clusterId.toString('hex');
}
function revive(...args: string[]): Promise<CliResult> {
  return vrfs(['revive', ...args], { cwd: root });
}

beforeEach(async () => {
  group = await stoppedGroup('memory');
  root = group.directory;
  ops = await Promise.all([1, 2, 3].map(async (id) => (await holdingOf(group.data(id), 'look')).checkpoint?.id.op ?? 0));
  newest = Math.max(...ops);
});

describe('vrfs revive --group', () => {
  it('says what is held and what would be lost, and changes nothing', async () => {
    const names = await readdir(root, { recursive: true });
    const said = await revive('--group', '.');
    expect(said).toMatchObject({ exitCode: 1, stderr: '' });
    expect(said.stdout).toContain(`Nothing was changed. To go on from op ${newest}:`);
    expect(said.stdout).toContain(`${root} is group ${group.clusterId.toString('hex')}, durability memory, of which nothing runs`);
    for (const id of [1, 2, 3]) expect(said.stdout).toMatch(new RegExp(`  member ${id}: op \\d+, root [0-9a-f]{64}, \\d+ records, [^(]*, last operation 20\\d\\d-[^ ]*Z \\(\\d+ \\w+ ago\\)`));
    expect(said.stdout).toContain(`What is lost when the group goes on from op ${newest}:`);
    expect(said.stdout).toContain(`every operation that was acknowledged after op ${newest}. How many there were nobody knows`);
    expect(said.stdout).toContain('all sessions');
    expect(said.stdout).toContain(`  vrfs revive --group ${root} --accept-loss\n  vrfs start --data ${root}`);
    expect(await readdir(root, { recursive: true })).toEqual(names);
    expect(await named()).toBe(group.clusterId.toString('hex'));
  });

  it('revives all members from the newest checkpoint, also those that have none, and does nothing the second time', async () => {
    await rm(join(root, '1', 'records'), { recursive: true });
    await rm(join(root, '2'), { recursive: true });
    newest = (await holdingOf(group.data(3), 'look')).checkpoint?.id.op ?? 0;
    const said = await revive('--group', '.');
    expect(said.stdout).toContain('member 1: no checkpoint to go on from: there are no records in it');
    expect(said.stdout).toContain('member 2: there is nothing in its directory');
    const done = await revive('--group', '.', '--accept-loss');
    expect(done).toMatchObject({ exitCode: 0, stderr: '' });
    const id = await named();
    expect(id).not.toBe(group.clusterId.toString('hex'));
    expect(done.stdout).toContain(`the group in ${root} is revived: it is group ${id}, which goes on from op ${newest} of group ${group.clusterId.toString('hex')}`);
    for (const member of [1, 2, 3]) {
      expect(await clusterIdOf(member)).toBe(id);
      expect((await holdingOf(group.data(member), 'look')).checkpoint?.id.op).toBe(newest);
    }
    const again = await revive('--group', '.', '--accept-loss');
    expect(again).toMatchObject({ exitCode: 0 });
    expect(again.stdout).toContain(`is revived already: it is group ${id}`);
    expect(await named()).toBe(id);
    const opened = await openGroup({ data: root });
    expect(opened.cluster.clusterId.toString('hex')).toBe(id);
    await opened.lock.release();
  });

  it('goes on after a crash at any step: vrfs start refuses meanwhile, and the same command finishes it', async () => {
    const kept = join(await temporaryDirectory(), 'kept');
    await cp(root, kept, { recursive: true, preserveTimestamps: true });
    const old = await named();
    const wanted = (await proposeGroupRevival(root)).revival.clusterId.toString('hex');
    const steps: string[] = [];
    for (let crashAt = 0; ; crashAt++) {
      await rm(root, { recursive: true });
      await cp(kept, root, { recursive: true, preserveTimestamps: true });
      let step = 0;
      let at: string | null = null;
      try {
        await reviveGroup(root, (name) => {
          if (!BOUNDARIES.has(name) || step++ !== crashAt) return;
          at = name;
          throw new Error('crashed');
        });
        break;
      } catch (error) {
        if (at === null) throw error;
      }
      steps.push(at);
      expect(await named()).toBe(old);
      // Never one half of the group: in memory mode it refuses a group that has run, as before, and one that is half revived.
      await expect(openGroup({ data: root })).rejects.toThrow(/have stopped: what it acknowledged|was interrupted/);
      await reviveGroup(root);
      expect([await named(), await clusterIdOf(1), await clusterIdOf(2), await clusterIdOf(3)]).toEqual([wanted, wanted, wanted, wanted]);
      const opened = await openGroup({ data: root });
      await opened.lock.release();
    }
    expect(steps.filter((name) => name === 'decide').length).toBe(3);
    expect(steps.at(-1)).toBe('name the group');
  });

  it('is refused with a reason', async () => {
    const disk = await stoppedGroup('disk');
    const refused = await vrfs(['revive', '--group', disk.directory, '--accept-loss']);
    expect(refused).toMatchObject({ exitCode: 5 });
    expect(refused.stderr).toContain(`runs with durability disk: what it acknowledged is in the journals of its members, and nothing has to be given up`);
    expect(refused.stderr).toContain(`remedy: start a majority of its members: vrfs start --data ${disk.directory}`);
    const nowhere = await revive('--group', '1');
    expect(nowhere).toMatchObject({ exitCode: 5 });
    expect(nowhere.stderr).toContain("is not the directory of a group that 'vrfs start' runs");
    await group.start(2);
    const running = await revive('--group', '.', '--accept-loss');
    expect(running).toMatchObject({ exitCode: 5 });
    expect(running.stderr).toMatch(/2 is in use by the process with pid \d+/);
    expect(await named()).toBe(group.clusterId.toString('hex'));
    await group.stopOne(2);
    for (const id of [1, 2, 3]) await rm(join(root, String(id), 'records'), { recursive: true });
    const nothing = await revive('--group', '.', '--accept-loss');
    expect(nothing).toMatchObject({ exitCode: 5 });
    expect(nothing.stderr).toMatch(/no member in .* holds a checkpoint to go on from \(1: there are no records in it; 2: /);
  });

  it('has nothing to do in a group that has never run', async () => {
    const fresh = await TestGroup.make({ durability: 'memory' });
    await writeFile(join(fresh.directory, 'cluster.json'), describeCluster({ clusterId: fresh.clusterId, configuration: fresh.configuration }));
    await writeFile(join(fresh.directory, 'FORMATTED'), '');
    const refused = await vrfs(['revive', '--group', fresh.directory, '--accept-loss']);
    expect(refused).toMatchObject({ exitCode: 5 });
    expect(refused.stderr).toMatch(/has never run, so nothing of it is lost\n {2}remedy: start it: vrfs start --data/);
  });
});

describe('the age of a checkpoint', () => {
  it.each([[0, '0 seconds ago'], [1999, '1 second ago'], [119_999, '119 seconds ago'], [120_000, '2 minutes ago'], [7_200_000, '2 hours ago'], [30 * 86_400_000, '30 days ago'], [-1, 'in the future, by the clock of this machine']])('of %d ms', (milliseconds, text) => {
    expect(agoText(milliseconds)).toBe(text);
  });

  it('is that of its last operation; of the empty one, that of the file', () => {
    const now = Date.UTC(2026, 0, 2);
    const held = (op: number): HeldCheckpoint => ({
      id: { op: opNumber(op), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(0), time: (now - 3_600_000) * 1000 }, at: { configuration: group.configuration, epochStart: null }, records: 1, bytes: 1, madeAt: now - 86_400_000,
    });
    expect(asOf(held(7), now)).toBe('last operation 2026-01-01T23:00:00.000Z (60 minutes ago)');
    expect(asOf(held(0), now)).toBe('made 2026-01-01T00:00:00.000Z (24 hours ago), by the time of the file; no operation is in it');
  });
});

describe('vrfs revive --alone', () => {
  it('says what the member holds, what is lost and what comes next, and does it', async () => {
    await rm(join(root, 'cluster.json'));
    const said = await revive('--data', '2', '--alone');
    expect(said).toMatchObject({ exitCode: 1, stderr: '' });
    expect(said.stdout).toContain(`${join(root, '2')} is the data directory of member 2 of group ${group.clusterId.toString('hex')}, durability memory\n  its newest checkpoint: op ${ops[1] ?? 0}, root `);
    expect(said.stdout).toContain(`The other members are ${group.configuration.members.filter((m) => m.id !== 2).map((m) => `${m.id} (${m.address})`).join(', ')}.`);
    expect(said.stdout).toContain(`  vrfs revive --data ${join(root, '2')} --alone --accept-loss\n  vrfs serve --data ${join(root, '2')}\n`);
    expect(await clusterIdOf(2)).toBe(group.clusterId.toString('hex'));
    const done = await revive('--data', '2', '--alone', '--accept-loss');
    expect(done).toMatchObject({ exitCode: 0, stderr: '' });
    expect(done.stdout).toContain(`goes on alone from op ${ops[1] ?? 0}: member 2, the only one of group ${await clusterIdOf(2)}`);
    const again = await revive('--data', '2', '--alone', '--accept-loss');
    expect(again).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('is the only member of its group already') as string });
  });
});

describe('vrfs revive --data', () => {
  it('says what one member holds and what would be lost, and revives it', async () => {
    // On a machine of its own.
    await rm(join(root, 'cluster.json'));
    const from = String(ops.indexOf(newest) + 1);
    const to = from === '1' ? '2' : '1';
    const said = await revive('--data', to, '--from', from);
    expect(said).toMatchObject({ exitCode: 1, stderr: '' });
    expect(said.stdout).toContain(`${join(root, to)} is the data directory of member ${to} of group ${group.clusterId.toString('hex')}, durability memory`);
    expect(said.stdout).toContain(`from ${join(root, from)}: op`);
    expect(said.stdout).toMatch(/What is lost when the group goes on from op \d+:\n/);
    expect(said.stdout).toContain(`  vrfs revive --data ${join(root, to)} --from ${join(root, from)} --accept-loss`);
    expect(await clusterIdOf(Number(to))).toBe(group.clusterId.toString('hex'));
    expect((await revive('--data', from, '--accept-loss')).exitCode).toBe(0);
    const done = await revive('--data', to, '--from', from, '--accept-loss');
    expect(done.exitCode).toBe(0);
    const id = await clusterIdOf(Number(to));
    expect(await clusterIdOf(Number(from))).toBe(id);
    expect(done.stdout).toContain(`${join(root, to)} is revived: member ${to} of group ${id}, which goes on from op`);
    expect(done.stdout).toContain(`vrfs serve --data ${join(root, to)}`);
    expect((await revive('--data', to, '--accept-loss')).stdout).toContain('is revived from this checkpoint already');
  });

  it('is refused for a part of what vrfs start runs, and with wrong options', async () => {
    const part = await revive('--data', '1', '--accept-loss');
    expect(part).toMatchObject({ exitCode: 5 });
    expect(part.stderr).toContain(`revive all its members together: vrfs revive --group ${root}`);
    expect(await clusterIdOf(1)).toBe(group.clusterId.toString('hex'));
    const alone = await revive('--data', '1', '--alone', '--accept-loss');
    expect(alone).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('move it elsewhere first') as string });
    for (const args of [[], ['--data', '1', '--group', '.'], ['--group', '.', '--from', '1'], ['--group', '.', '--alone'], ['--data', '1', '--from', '2', '--alone']]) expect((await revive(...args)).exitCode).toBe(2);
    await mkdir(join(root, 'empty'));
    const empty = await revive('--data', 'empty', '--accept-loss');
    expect(empty).toMatchObject({ exitCode: 5 });
    expect(empty.stderr).toContain('is empty');
    expect(await readdir(join(root, 'empty'))).toEqual([]);
    expect(await readFile(join(root, 'FORMATTED'), 'utf8')).toBe('');
  });
});
