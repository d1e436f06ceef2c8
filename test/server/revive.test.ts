/** Going on from a checkpoint: the data directory of one member, and what may not be done with it. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { LevelStore } from '../../checkpoint/level_store.ts';
import { encodeMeta, META_KEY } from '../../checkpoint/store_keys.ts';
import { FileSystem } from '../../client/file_system.ts';
import { VrfsClient } from '../../client/client.ts';
import { digestToHex, sha256 } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, view } from '../../lib/ids.ts';
import { inspect, openDataDirectory } from '../../server/data_directory.ts';
import { holdingOf, type HeldCheckpoint, type Holding } from '../../server/holding.ts';
import { DirectoryLockedError, lockDirectory } from '../../server/process_lock.ts';
import { borrowRecords } from '../../server/revival_files.ts';
import { RevivalRefusedError } from '../../server/revival_refused.ts';
import { planRevival, proposeRevival, revivalFrom, revive, type Plan } from '../../server/revive.ts';
import { configuration } from '../../vr/configuration.ts';
import { TestGroup } from './group.ts';
import { CLUSTER_ID, superblock, temporaryDirectory, until } from './support.ts';

const FILES = 30;
/** A crash before one of these leaves the directory as it was. */
const UNDECIDED: ReadonlySet<string> = new Set(['prepare', 'make records', 'make superblock', 'make VERSION', 'decide']);

/** A memory-mode group that has taken a checkpoint with the first files in it, and is stopped. */
async function lostGroup(): Promise<TestGroup> {
  const group = await TestGroup.make({ durability: 'memory', flags: { checkpointOps: 10 } });
  await group.startAll();
  const fs = new FileSystem(await group.client());
  for (let i = 0; i < FILES; i++) await fs.writeFile(`/file-${i}`, `content of ${i}`);
  await until(() => [1, 2, 3].every((id) => group.replica(id).status().replica.checkpoint.op >= 10), 'a checkpoint at each');
  await group.stop();
  return group;
}

/** Names, contents and times of all files below. */
async function everything(directory: string): Promise<string[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  const lines = await Promise.all(found.map(async (e) => {
    const path = join(e.parentPath, e.name);
    return e.isFile() ? `${path} ${(await stat(path)).mtimeMs} ${createHash('sha256').update(await readFile(path)).digest('hex')}` : path;
  }));
  return lines.sort();
}

function planOf(done: Plan | 'finished'): Plan {
  if (done === 'finished') throw new Error('nothing was interrupted');
  return done;
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => null, (e: unknown) => e);
  if (!(error instanceof RevivalRefusedError)) throw new Error(`not refused: ${String(error)}`, { cause: error });
  return `${error.message}; ${error.remedy}`;
}

describe('a memory-mode group whose members are revived', () => {
  it('has what was in the checkpoint, takes changes, and refuses clients of the old one', async () => {
    const group = await lostGroup();
    const newest = (await Promise.all([1, 2, 3].map(async (id) => ({ id, holding: await holdingOf(group.data(id), 'look') }))))
      .sort((a, b) => (b.holding.checkpoint?.id.op ?? 0) - (a.holding.checkpoint?.id.op ?? 0))[0];
    if (newest === undefined || newest.holding.checkpoint === null) throw new Error('no checkpoint');
    const { id: checkpoint } = newest.holding.checkpoint;
    const source = join(await temporaryDirectory(), 'copy');
    await cp(group.data(newest.id), source, { recursive: true });
    const ids = new Set<string>();
    for (const id of [1, 2, 3]) {
      const plan = planOf(await revive(group.data(id), id === newest.id ? null : source));
      expect(plan).toMatchObject({ done: false, revival: { checkpoint: { id: checkpoint } } });
      const { clusterId, revivedFrom, superblock: fresh } = await inspect(group.data(id));
      expect(fresh).toMatchObject({ incarnation: 0, checkpoint, clusterId, retired: false });
      expect(revivedFrom).toEqual({ clusterId: group.clusterId.toString('hex'), op: checkpoint.op, root: digestToHex(checkpoint.root) });
      ids.add(clusterId.toString('hex'));
      // Again: nothing more to do, whether from itself or from the copy of the old one.
      const before = await everything(group.data(id));
      expect(planOf(await revive(group.data(id), null))).toMatchObject({ done: true });
      expect(planOf(await revive(group.data(id), source))).toMatchObject({ done: true });
      const changed = (await everything(group.data(id))).filter((line) => !before.includes(line) && !line.includes('/records/'));
      expect(changed.map((line) => line.replace(/ [\d.]+ .*/, ''))).toEqual([]);
    }
    expect(ids.size).toBe(1);
    expect(ids.has(group.clusterId.toString('hex'))).toBe(false);

    await group.startAll();
    const servers = group.configuration.members.map((m) => m.address);
    await expect(VrfsClient.connect({ servers, clusterId: group.clusterId, connectTimeoutMs: 500 })).rejects.toThrow(/this replica belongs to group [0-9a-f]{32}, not to .* if the group was revived/);
    const client = await VrfsClient.connect({ servers });
    try {
      const fs = new FileSystem(client);
      expect((await fs.readFile('/file-0')).toString()).toBe('content of 0');
      await fs.writeFile('/after', 'goes on');
      expect((await fs.readFile('/after')).toString()).toBe('goes on');
      expect(client.lastOp).toBeGreaterThan(checkpoint.op);
    } finally {
      await client.close();
    }
  });

  it('is only looked at without acceptance: no file changes', async () => {
    const group = await lostGroup();
    const before = await everything(group.directory);
    const plan = await proposeRevival(group.data(1), null);
    expect(plan).toMatchObject({ done: false, own: { without: null } });
    await proposeRevival(group.data(1), group.data(1));
    expect(await everything(group.directory)).toEqual(before);
  });

  it('is looked at where its own disk takes nothing more: in the folder for temporary files, of which nothing is left', async () => {
    const group = await lostGroup();
    const wanted = await holdingOf(group.data(1), 'look');
    const before = await everything(group.data(1));
    const temporaryFiles = await temporaryDirectory();
    vi.stubEnv('TMPDIR', temporaryFiles);
    onTestFinished(() => { vi.unstubAllEnvs(); });
    const unlike: string[] = [];
    for (const code of ['EROFS', 'ENOSPC', 'EDQUOT', 'EACCES', 'EPERM']) {
      const borrow: typeof borrowRecords = async (from, to) => {
        if (to.startsWith(group.data(1))) throw Object.assign(new Error(`${code}: told by a test, mkdir '${to}'`), { code });
        unlike.push(to);
        await borrowRecords(from, to);
      };
      expect(await holdingOf(group.data(1), 'look', borrow)).toEqual(wanted);
    }
    expect(unlike.filter((to) => to.startsWith(temporaryFiles))).toHaveLength(5);
    expect(await readdir(temporaryFiles)).toEqual([]);
    expect(await everything(group.data(1))).toEqual(before);
    // Where neither takes anything both are told, by the kind of the first: with room there nothing needs to be copied.
    const full = (_: string, to: string): Promise<void> => Promise.reject(Object.assign(new Error(`no room at ${to}`), { code: to.startsWith(group.data(1)) ? 'EROFS' : 'ENOSPC' }));
    await expect(holdingOf(group.data(1), 'look', full)).rejects.toMatchObject({ code: 'EROFS', message: expect.stringMatching(/^no room at .*records\.look-\d+; and the records cannot be copied to the folder for temporary files \(TMPDIR says which\): no room at .*vrfs-look-/) as string });
    expect(await readdir(temporaryFiles)).toEqual([]);
    // Any other error is what it is.
    const fails = (): Promise<void> => Promise.reject(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' }));
    await expect(holdingOf(group.data(1), 'look', fails)).rejects.toThrow(/EIO/);
  });

  it('is not revived while it runs', async () => {
    const group = await TestGroup.make({ durability: 'memory' });
    await group.startAll();
    await expect(proposeRevival(group.data(1), null)).rejects.toBeInstanceOf(DirectoryLockedError);
    await expect(revive(group.data(1), null)).rejects.toBeInstanceOf(DirectoryLockedError);
    await group.stopOne(1);
    await expect(revive(group.data(1), group.data(2))).rejects.toBeInstanceOf(DirectoryLockedError);
    expect((await inspect(group.data(1))).clusterId).toEqual(group.clusterId);
  });
});

/** Crashes before the step of that number; the step's name, or null when there were not so many. */
async function reviveUntil(directory: string, source: string | null, crashAt: number): Promise<string | null> {
  let step = 0;
  let at: string | null = null;
  try {
    await revive(directory, source, (name) => {
      if (step++ !== crashAt) return;
      at = name;
      throw new Error(`crashed before '${name}'`);
    });
  } catch (error) {
    if (at === null) throw error;
  }
  return at;
}

describe('a crash while a member is revived', () => {
  for (const from of ['its own records', 'those of another'] as const) {
    it(`at each step leaves it as it was, or to be finished by the same command: from ${from}`, async () => {
      const group = await lostGroup();
      const source = from === 'its own records' ? null : group.data(2);
      await rm(join(group.data(1), from === 'its own records' ? 'nothing' : 'records'), { recursive: true, force: true });
      const wanted = (await proposeRevival(group.data(1), source)).revival.clusterId;
      const directory = join(await temporaryDirectory(), 'member');
      const seen: string[] = [];
      for (let crashAt = 0; ; crashAt++) {
        await rm(directory, { recursive: true, force: true });
        await cp(group.data(1), directory, { recursive: true, preserveTimestamps: true });
        const at = await reviveUntil(directory, source, crashAt);
        if (at === null) break;
        seen.push(at);
        const left = await inspect(directory).then(({ clusterId }) => clusterId, (error: unknown) => error);
        if (UNDECIDED.has(at)) expect(left).toEqual(group.clusterId);
        else if (at === 'tidy up') expect(left).toEqual(wanted);
        else {
          expect(left).toMatchObject({ code: 'unfinished' });
          expect(String(left)).toContain(`vrfs revive --data ${directory} --accept-loss`);
          await expect(openDataDirectory(directory)).rejects.toMatchObject({ code: 'unfinished' });
          await expect(proposeRevival(directory, null)).rejects.toMatchObject({ code: 'unfinished' });
        }
        // The same command goes on, also when it is interrupted again.
        await reviveUntil(directory, source, 0);
        await reviveUntil(directory, source, 1);
        await revive(directory, source);
        expect(await holdingOf(directory, 'look')).toMatchObject({ clusterId: wanted, memberId: 1, without: null, superblock: { incarnation: 0 } });
        expect((await readdir(directory)).filter((name) => name.startsWith('reviving'))).toEqual([]);
      }
      expect(seen).toEqual(expect.arrayContaining(['prepare', 'make superblock', 'make VERSION', 'decide', 'forget the peers', 'place superblock-a', 'place superblock-b', 'place VERSION', 'sync', 'end', 'tidy up']));
      expect(seen.includes('place the records')).toBe(source !== null);
    });
  }
});

describe('a directory that holds no checkpoint', () => {
  it('says why: between two, damaged, gone', async () => {
    const group = await lostGroup();
    const records = join(group.data(1), 'records');
    const kept = join(group.directory, 'kept');
    await cp(records, kept, { recursive: true });

    const store = await LevelStore.open(records, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 });
    const batch = store.batch();
    batch.put(META_KEY, encodeMeta({ top: null, state: { kind: 'between', base: opNumber(10) } }));
    await batch.write();
    await store.close();
    expect(await refusal(revive(group.data(1), null))).toMatch(/holds no checkpoint: its records are between two checkpoints .*; go on from another member's.*--from/);

    await rm(records, { recursive: true });
    expect(await refusal(proposeRevival(group.data(1), null))).toContain('there are no records in it');
    await mkdir(records);
    expect(await refusal(revive(group.data(1), null))).toContain('there are no records in it');

    await rm(records, { recursive: true });
    await cp(kept, records, { recursive: true });
    const damaged = await LevelStore.open(records, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 });
    const meta = damaged.getSync(META_KEY);
    if (meta === undefined) throw new Error('no description');
    const bad = damaged.batch();
    bad.put(META_KEY, Buffer.concat([meta.subarray(0, meta.length - 1), Buffer.from([(meta.at(-1) ?? 0) ^ 1])]));
    await bad.write();
    await damaged.close();
    expect(await refusal(proposeRevival(group.data(1), null))).toMatch(/its records are damaged/);
    expect((await inspect(group.data(1))).clusterId).toEqual(group.clusterId);

    // From another's it can be made all the same.
    expect(planOf(await revive(group.data(1), group.data(2))).done).toBe(false);
    expect(await holdingOf(group.data(1), 'look')).toMatchObject({ without: null });
  });

  it('is not taken for one when it is no data directory at all', async () => {
    const directory = await temporaryDirectory();
    await expect(revive(directory, null)).rejects.toMatchObject({ code: 'empty' });
    await writeFile(join(directory, 'letter.txt'), 'dear');
    await expect(revive(directory, null)).rejects.toMatchObject({ code: 'notOurs' });
    expect(await readdir(directory)).toEqual(['letter.txt']);
    const lock = await lockDirectory(directory);
    await lock.release();
  });
});

describe('what becomes of a member', () => {
  const members = [1, 2, 3].map((i) => ({ id: memberId(i), role: 'voter' as const, address: `127.0.0.1:${7100 + i}`, httpAddress: `127.0.0.1:${7200 + i}` }));
  const memory = configuration(epoch(0), members, 'memory');
  const held = (op: number, of = memory): HeldCheckpoint => ({
    id: { op: opNumber(op), root: sha256(Buffer.from(`root ${op}`)), entryHash: sha256(Buffer.from(`entry ${op}`)), view: view(0), time: 1 },
    at: { configuration: of, epochStart: null }, records: 1, bytes: 1, madeAt: 0,
  });
  const holding = (id: number, checkpoint: HeldCheckpoint | null, change: Partial<Holding> = {}): Holding => ({
    directory: `/data/${id}`, clusterId: CLUSTER_ID, memberId: memberId(id), revivedFrom: null, checkpoint, without: checkpoint === null ? 'there are no records in it' : null, ...change,
    superblock: { ...superblock(3), configuration: memory, memberId: memberId(id), ...change.superblock },
  });
  const refused = (own: Holding, source: Holding = own): string => {
    try {
      planRevival(own, source);
    } catch (error) {
      if (error instanceof RevivalRefusedError) return `${error.message}; ${error.remedy}`;
      throw error;
    }
    return 'not refused';
  };

  it('goes on from its own checkpoint or from a newer one, never from an older one', () => {
    expect(planRevival(holding(1, held(20)), holding(1, held(20))).revival.lineage).toMatchObject({ op: 20, clusterId: CLUSTER_ID.toString('hex') });
    expect(planRevival(holding(1, held(20)), holding(2, held(30))).revival.lineage.op).toBe(30);
    expect(planRevival(holding(1, null), holding(2, held(30))).revival.lineage.op).toBe(30);
    expect(refused(holding(1, held(30)), holding(2, held(20)))).toMatch(/holds a newer checkpoint \(op 30\) than \/data\/2 \(op 20\); revive all members from this one/);
    expect(refused(holding(1, null))).toContain('/data/1 holds no checkpoint: there are no records in it');
  });

  it('is refused with a reason: disk mode, retired, never run, not of the group', () => {
    const disk = { ...superblock(3), configuration: configuration(epoch(0), members, 'disk') };
    expect(refused(holding(1, held(20), { superblock: disk }))).toMatch(/runs with durability disk: .* nothing has to be given up; start a majority of its members: vrfs serve --data \/data\/1/);
    expect(refused(holding(1, held(20)), holding(2, held(20), { superblock: disk }))).toContain('durability disk');
    expect(refused(holding(1, held(20), { superblock: { ...superblock(3), configuration: memory, retired: true } }))).toContain('has left the group for good');
    expect(refused(holding(1, held(0), { superblock: { ...superblock(0), configuration: memory } }))).toMatch(/has never run, so nothing of it is lost; start it: vrfs serve --data \/data\/1/);
    const witness = configuration(epoch(0), members.map((m) => ({ ...m, role: m.id === 3 ? 'witness' as const : m.role })), 'memory');
    expect(refused(holding(3, null, { without: 'a witness keeps no state, only the log', superblock: { ...superblock(3), configuration: witness } }))).toMatch(/holds no checkpoint: a witness keeps no state.*--from/);
    // But it is revived with the others, from the checkpoint of one of them.
    expect(planRevival(holding(3, null, { superblock: { ...superblock(3), configuration: witness } }), holding(1, held(20, witness))).done).toBe(false);
    expect(refused(holding(4, null), holding(1, held(20)))).toContain('member 4 in /data/4 was no member yet at op 20: the members were 1 (127.0.0.1:7101), 2');
    expect(refused(holding(1, held(20)), holding(2, held(20), { clusterId: Buffer.alloc(16, 9) }))).toMatch(/belongs to group 0011.*, and \/data\/2 to group 0909.*; give a directory of the same group/);
  });

  it('is not revived twice, nor from a group that has gone its own way', () => {
    const revival = revivalFrom(CLUSTER_ID, held(20), '/data/1');
    const fresh = { ...superblock(0), configuration: memory };
    const made = { clusterId: revival.clusterId, revivedFrom: revival.lineage };
    const waiting = holding(1, held(20), { ...made, superblock: fresh });
    expect(planRevival(waiting, waiting)).toMatchObject({ done: true, revival: { clusterId: revival.clusterId } });
    expect(planRevival(waiting, holding(2, held(20)))).toMatchObject({ done: true });
    // Another member was revived meanwhile: this one follows it.
    expect(planRevival(holding(2, held(20)), waiting)).toMatchObject({ done: false, revival: { clusterId: revival.clusterId } });
    expect(planRevival(holding(2, null), waiting)).toMatchObject({ done: false, revival: { clusterId: revival.clusterId } });
    const ran = holding(1, held(40), made);
    expect(refused(holding(2, held(20)), ran)).toMatch(/which was revived from op 20 and has run since; give what it was revived from/);
    expect(refused(ran, holding(2, held(30)))).toMatch(/revived from op 20 of the group of \/data\/2 and has run since; go on with that one/);
    expect(planRevival(ran, holding(2, held(20))).done).toBe(true);
    // It has lost its memory too: a group of the third generation.
    const third = planRevival(ran, ran);
    expect(third).toMatchObject({ done: false, revival: { lineage: { op: 40, clusterId: revival.clusterId.toString('hex') } } });
    expect(third.revival.clusterId).not.toEqual(revival.clusterId);
  });
});
