/** A member that goes on alone: what it keeps, what it refuses, and a crash at each step. */
import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { inspect } from '../../server/data_directory.ts';
import { holdingOf } from '../../server/holding.ts';
import { DirectoryLockedError } from '../../server/process_lock.ts';
import { RevivalRefusedError } from '../../server/revival_refused.ts';
import { findLog, goOnAlone, proposeSurvivor, type Survivor } from '../../server/survivor.ts';
import type { Durability } from '../../vr/configuration.ts';
import { readSegments } from '../../server/segment_files.ts';
import { TestGroup } from './group.ts';
import { temporaryDirectory, until } from './support.ts';

const FILES = 25;
const UNDECIDED: ReadonlySet<string> = new Set(['prepare', 'make records', 'make journal', 'make superblock', 'make VERSION', 'decide']);

/** Stopped, with files behind its newest checkpoint. */
async function stoppedGroup(durability: Durability): Promise<TestGroup> {
  const group = await TestGroup.make({ durability, flags: { checkpointOps: 10 } });
  await group.startAll();
  const fs = new FileSystem(await group.client());
  for (let i = 0; i < FILES; i++) await fs.writeFile(`/file-${i}`, `content of ${i}`);
  await until(() => [1, 2, 3].every((id) => group.replica(id).status().replica.checkpoint.op >= 10 && group.replica(id).status().replica.executed > FILES), 'all of it at each');
  await group.stop();
  return group;
}

async function alone(directory: string): Promise<Survivor> {
  const plan = await goOnAlone(directory);
  if (plan === 'finished') throw new Error('nothing was interrupted');
  return plan;
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => null, (e: unknown) => e);
  if (!(error instanceof RevivalRefusedError)) throw new Error(`not refused: ${String(error)}`, { cause: error });
  return `${error.message}; ${error.remedy}`;
}

async function filesOf(client: VrfsClient): Promise<string[]> {
  return (await new FileSystem(client).readdir('/')).map(String).sort();
}

describe('the last member of a group', () => {
  it('goes on with all that its journal holds, also behind its newest checkpoint, and takes others in', async () => {
    const group = await stoppedGroup('disk');
    const proposed = await proposeSurvivor(group.data(2));
    expect(proposed.checkpoint.id.op).toBeLessThan(proposed.last.op);
    expect(proposed).toMatchObject({ damage: [], lost: [{ id: 1 }, { id: 3 }], member: { id: 2 } });
    const plan = await alone(group.data(2));
    expect(plan.change.hash).toBe(proposed.change.hash);
    const made = await inspect(group.data(2));
    expect(made).toMatchObject({ memberId: 2, clusterId: plan.clusterId, revivedFrom: { clusterId: group.clusterId.toString('hex'), op: plan.last.op }, superblock: { configuration: { epoch: 1, members: [{ id: 2, role: 'voter' }] } } });

    const replica = await group.start(2);
    const servers = [plan.member.address];
    await expect(VrfsClient.connect({ servers, clusterId: group.clusterId, connectTimeoutMs: 500 })).rejects.toThrow(/this replica belongs to group/);
    const client = await VrfsClient.connect({ servers });
    try {
      const fs = new FileSystem(client);
      expect((await filesOf(client)).filter((name) => name.startsWith('file-'))).toHaveLength(FILES);
      for (let i = 0; i < FILES; i++) expect((await fs.readFile(`/file-${i}`)).toString()).toBe(`content of ${i}`);
      for (let i = 0; i < FILES; i++) await fs.writeFile(`/after-${i}`, 'goes on');
      expect(client.lastOp).toBeGreaterThan(plan.change.op);
    } finally {
      await client.close();
    }
    await until(() => replica.status().replica.checkpoint.op > plan.change.op, 'a checkpoint in which it is alone');

    // As any replica does: by its log, and by its checkpoint.
    await group.stopOne(2);
    await group.start(2);
    const again = await VrfsClient.connect({ servers });
    try {
      expect(await filesOf(again)).toHaveLength(2 * FILES);
    } finally {
      await again.close();
    }
  });

  it('goes on from its checkpoint with durability memory', async () => {
    const group = await stoppedGroup('memory');
    const plan = await alone(group.data(3));
    expect(plan).toMatchObject({ entries: [], last: { op: plan.checkpoint.id.op }, damage: [] });
    await group.start(3);
    const client = await VrfsClient.connect({ servers: [plan.member.address] });
    try {
      const fs = new FileSystem(client);
      expect((await fs.readFile('/file-0')).toString()).toBe('content of 0');
      await fs.writeFile('/after', 'goes on');
      expect((await fs.readFile('/after')).toString()).toBe('goes on');
    } finally {
      await client.close();
    }
  });

  it.each(['empty', 'gone'])('goes on from its checkpoint where its journal is %s, and says so', async (how) => {
    const group = await stoppedGroup('disk');
    await rm(join(group.data(1), 'journal'), { recursive: true });
    if (how === 'empty') await mkdir(join(group.data(1), 'journal'));
    const plan = await alone(group.data(1));
    expect(plan.entries).toEqual([]);
    expect(plan.damage).toEqual(['there is no segment', 'it has nothing that continues the checkpoint']);
    await group.start(1);
    const client = await VrfsClient.connect({ servers: [plan.member.address] });
    try {
      expect((await new FileSystem(client).readFile('/file-0')).toString()).toBe('content of 0');
    } finally {
      await client.close();
    }
  });

  it('is refused by the others, which are the old group, and refuses them', async () => {
    const group = await stoppedGroup('disk');
    const plan = await alone(group.data(2));
    await group.startAll();
    await until(() => [1, 3].every((id) => group.replica(id).health().ok), 'the others are a majority of the old group');
    const old = await group.client();
    const survivor = await VrfsClient.connect({ servers: [plan.member.address] });
    try {
      await new FileSystem(old).writeFile('/old', '');
      await new FileSystem(survivor).writeFile('/new', '');
      expect(await filesOf(old)).not.toContain('new');
      expect(await filesOf(survivor)).not.toContain('old');
    } finally {
      await survivor.close();
    }
  });
});

describe('a journal that is damaged in the middle', () => {
  it('is followed up to the damage', async () => {
    const group = await stoppedGroup('disk');
    const own = await holdingOf(group.data(1), 'look');
    const held = own.checkpoint?.id;
    if (held === undefined) throw new Error('no checkpoint');
    // A segment more: the damage is not in the last one.
    await group.start(1);
    await group.stopOne(1);
    const segments = await readSegments(join(group.data(1), 'journal'));
    const whole = findLog(segments, own, held);
    expect(whole.damage).toEqual([]);
    expect(whole.entries.length).toBeGreaterThan(4);
    const target = segments.find((s) => s.bytes.includes(whole.entries[2]?.bytes ?? ''));
    if (target === undefined) throw new Error('the third entry is in no segment');
    expect(target.sequence).toBeLessThan(segments.at(-1)?.sequence ?? 0);
    const at = target.bytes.indexOf(whole.entries[2]?.bytes ?? '');
    target.bytes[at + 10] = (target.bytes[at + 10] ?? 0) ^ 1;
    const found = findLog(segments, own, held);
    expect(found.damage).not.toEqual([]);
    const kept = found.entries.map((e) => e.op);
    expect(kept).toEqual(whole.entries.slice(0, kept.length).map((e) => e.op));
    // Up to the group that has the damage: one of the first three.
    expect(kept.length).toBeLessThan(3);
    expect(kept.length + held.op).toBeGreaterThanOrEqual(held.op);
  });
});

describe('going on alone is refused', () => {
  it('of a member that has never run, of one that is alone already, of one that runs, and without a state', async () => {
    const fresh = await TestGroup.make();
    expect(await refusal(proposeSurvivor(fresh.data(1)))).toMatch(/has never run, so nothing of it is lost; start it: vrfs serve --data/);

    const group = await stoppedGroup('disk');
    await alone(group.data(1));
    expect(await refusal(goOnAlone(group.data(1)))).toMatch(/is the only member of its group already; start it: vrfs serve --data/);

    await group.start(2);
    await expect(goOnAlone(group.data(2))).rejects.toThrow(DirectoryLockedError);
    await expect(proposeSurvivor(group.data(2))).rejects.toThrow(DirectoryLockedError);
    await group.stopOne(2);

    await rm(join(group.data(3), 'records'), { recursive: true });
    expect(await refusal(goOnAlone(group.data(3)))).toContain('holds no checkpoint: there are no records in it');
    expect((await inspect(group.data(3))).clusterId).toEqual(group.clusterId);
  });
});

describe('a crash while a member goes on alone', () => {
  it.each<Durability>(['disk', 'memory'])('leaves it as it was, or to be finished by the same command: durability %s', async (durability) => {
    const group = await stoppedGroup(durability);
    const directory = join(await temporaryDirectory(), 'member');
    const seen: string[] = [];
    for (let crashAt = 0; ; crashAt++) {
      await rm(directory, { recursive: true, force: true });
      await cp(group.data(1), directory, { recursive: true, preserveTimestamps: true });
      const at = await crash(directory, crashAt);
      if (at === null) break;
      seen.push(at);
      const left = await inspect(directory).then(({ clusterId }) => clusterId, (error: unknown) => error);
      if (UNDECIDED.has(at)) expect(left).toEqual(group.clusterId);
      else if (at === 'tidy up') expect(left).not.toEqual(group.clusterId);
      else expect(left).toMatchObject({ code: 'unfinished' });
      if (at !== 'tidy up') await goOnAlone(directory);
      else expect(await refusal(goOnAlone(directory))).toContain('is the only member');
      const done = await inspect(directory);
      expect(done).toMatchObject({ revivedFrom: { clusterId: group.clusterId.toString('hex') }, superblock: { configuration: { members: [{ id: 1 }] } } });
      expect(done.clusterId).toEqual(done.superblock.clusterId);
      expect((await readdir(directory)).filter((name) => name.startsWith('reviving'))).toEqual([]);
    }
    expect(seen).toContain(durability === 'disk' ? 'place the journal' : 'place the records');
    // The whole of it starts.
    await rm(group.data(1), { recursive: true });
    await cp(directory, group.data(1), { recursive: true });
    const replica = await group.start(1);
    await until(() => replica.status().replica.isPrimary, 'it leads');
  });
});

/** Null: it came to its end before that step. */
async function crash(directory: string, crashAt: number): Promise<string | null> {
  let step = 0;
  let at: string | null = null;
  await goOnAlone(directory, (name) => {
    if (step++ !== crashAt) return;
    at = name;
    throw new Error(`crashed before '${name}'`);
  }).catch((error: unknown) => { if (at === null) throw error; });
  return at;
}

it('leaves nothing else of the directory behind', async () => {
  const group = await stoppedGroup('disk');
  await writeFile(join(group.data(1), 'NOTES'), 'mine');
  const before = await readdir(group.data(1));
  await alone(group.data(1));
  expect((await readdir(group.data(1))).sort()).toEqual(before.filter((name) => name !== 'peers.json').sort());
});
