/** Damaged records under a running group: never served, and repaired from the others with nobody's help. */
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, it } from 'vitest';
import type { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { digestToHex } from '../../lib/hash.ts';
import { COUNTERS_KEY } from '../../fsservice/keys.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

type Raw = Level<Buffer, Buffer>;

/** Large enough that no message about the repair is confused with a whole transfer. */
const FILES = 300;
const CONTENT_BYTES = 1000;

function content(i: number): Buffer {
  return Buffer.alloc(CONTENT_BYTES, `content of ${i} `);
}

async function filled(flags: Readonly<Record<string, unknown>> = {}): Promise<{ group: TestGroup; client: VrfsClient; fs: FileSystem }> {
  const group = await TestGroup.make({ flags: { checkpointOps: 100, retainEntries: 50, ...flags } });
  await group.startAll();
  const client = await group.client();
  const fs = new FileSystem(client);
  await Promise.all(Array.from({ length: FILES }, (_, i) => fs.writeFile(`/file-${i}`, content(i))));
  await converged(group);
  return { group, client, fs };
}

async function converged(group: TestGroup): Promise<void> {
  await until(() => {
    const all = group.running.filter((r) => r !== null);
    const executed = new Set(all.map((r) => r.status().replica.executed));
    return executed.size === 1 && all.every((r) => r.health().ok);
  }, 'all replicas are healthy and have executed the same');
}

/** Moves on past a checkpoint that all have; their roots are equal there. One that is still being written leaves the next out. */
async function equalCheckpoints(group: TestGroup, fs: FileSystem): Promise<void> {
  for (let round = 0; ; round++) {
    for (let i = 0; i < 120; i++) await fs.writeFile('/more', `${i}`);
    await converged(group);
    await until(() => group.running.every((r) => !r?.status().replica.checkpointing), 'no checkpoint is being written');
    const all = group.running.flatMap((r) => (r ? [r.status().replica.checkpoint] : []));
    if (new Set(all.map(({ op }) => op)).size > 1 && round < 10) continue;
    expect(new Set(all.map(({ op, root }) => `${op} ${digestToHex(root)}`)).size, 'equal checkpoints').toBe(1);
    return;
  }
}

async function expectFiles(fs: FileSystem): Promise<void> {
  for (let i = 0; i < FILES; i += 7) expect((await fs.readFile(`/file-${i}`)).equals(content(i)), `file ${i}`).toBe(true);
}

async function tamper(group: TestGroup, id: number, change: (db: Raw) => Promise<number>): Promise<number> {
  const db: Raw = new Level(join(group.data(id), 'records'), { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  try {
    return await change(db);
  } finally {
    await db.close();
  }
}

const RECORDS = { gte: Buffer.from('r'), lt: Buffer.from('s') } as const;

/** Changes a byte of one file's content; how many records that were. */
async function spoil(db: Raw, file: number): Promise<number> {
  let n = 0;
  for await (const [key, value] of db.iterator(RECORDS)) {
    if (!value.includes(`content of ${file} `)) continue;
    const at = value.length >> 1;
    value[at] = (value[at] ?? 0) ^ 1;
    await db.put(key, value);
    n++;
  }
  return n;
}

describe('records that are damaged on the disk of one replica', () => {
  it('are not served by a primary: another takes its place, and it repairs itself', async () => {
    const { group, fs } = await filled();
    await equalCheckpoints(group, fs);
    const { primary } = group.replica(1).status().replica;
    await group.stopOne(primary);
    expect(await tamper(group, primary, (db) => spoil(db, 14))).toBe(1);
    await group.start(primary);
    await converged(group);
    // It becomes the primary again when the others have had their turn.
    const present = (): number | undefined => [1, 2, 3].find((id) => group.running[id]?.health().ok === true && group.replica(id).status().replica.isPrimary);
    for (let turns = 0; present() !== primary; turns++) {
      expect(turns, 'views go round').toBeLessThan(6);
      const id = defined(present(), 'a primary');
      await group.stopOne(id);
      await until(() => present() !== undefined, 'a primary');
      await group.start(id);
      await converged(group);
    }
    const damaged = group.replica(primary);
    expect(damaged.status()).toMatchObject({ replica: { isPrimary: true }, store: { damages: 0 } });
    expect((await fs.readFile('/file-14')).equals(content(14))).toBe(true);
    // On a slow disk the others answer before it is repaired.
    await until(() => damaged.status().store.damages === 1, 'it repairs itself');
    await converged(group);
    expect(damaged.status().store.lastDamage).toMatchObject({ remedy: 'repaired', report: { damagedRecords: 1 } });
    await expectFiles(fs);
    await equalCheckpoints(group, fs);
  });

  it('are not given to a replica that fetches: the donor finds them, and is repaired itself', async () => {
    const { group, fs } = await filled();
    await equalCheckpoints(group, fs);
    // The first member is asked first, unless it is the one that fetches.
    const donor = defined(group.configuration.members[0], 'member').id;
    await group.stopOne(donor);
    expect(await tamper(group, donor, (db) => spoil(db, 28))).toBe(1);
    const running = await group.start(donor);
    await converged(group);
    const fetcher = defined([1, 2, 3].find((id) => id !== donor && !group.replica(id).status().replica.isPrimary), 'a backup');
    await group.stopOne(fetcher);
    await rm(join(group.data(fetcher), 'records'), { recursive: true });
    const fetching = await group.start(fetcher);
    await converged(group);
    expect(fetching.status().recovery.transfers).toBe(1);
    // Not before the other takes part again: both at once would be a majority that has nothing to say.
    await until(() => running.status().store.lastDamage !== null, 'the donor repairs itself');
    await converged(group);
    expect(running.status().store).toMatchObject({ damages: 1, lastDamage: { remedy: 'repaired', report: { damagedRecords: 1 } } });
    await expectFiles(fs);
    await equalCheckpoints(group, fs);
  });

  it('are found by who asks for the state of the replica, which says how full the namespace is', async () => {
    const { group, fs } = await filled();
    await equalCheckpoints(group, fs);
    const backup = group.replica(1).status().replica.primary === 2 ? 3 : 2;
    expect(group.replica(backup).status().namespace).toMatchObject({ inodes: FILES + 2 });
    await group.stopOne(backup);
    expect(await tamper(group, backup, async (db) => {
      let n = 0;
      for await (const [key, value] of db.iterator(RECORDS)) {
        if (!key.subarray(1).equals(COUNTERS_KEY)) continue;
        const at = value.length >> 1;
        value[at] = (value[at] ?? 0) ^ 1;
        await db.put(key, value);
        n++;
      }
      return n;
    })).toBe(1);
    const running = await group.start(backup);
    await until(() => running.status().store.damages === 1, 'the damage is found');
    await converged(group);
    expect(running.status()).toMatchObject({ store: { lastDamage: { remedy: 'repaired', report: { damagedRecords: 1 } } }, namespace: { inodes: FILES + 2 } });
    await expectFiles(fs);
  });

  it('are found by execution on a backup, and only what is damaged travels', async () => {
    const { group, fs } = await filled();
    const backup = group.replica(1).status().replica.primary === 2 ? 3 : 2;
    await equalCheckpoints(group, fs);
    await group.stopOne(backup);
    expect(await tamper(group, backup, (db) => spoil(db, 21))).toBe(1);
    const running = await group.start(backup);
    await converged(group);
    expect(running.status().store.damages).toBe(0);
    // A change of a part of the block reads the rest of it.
    await fs.write('/file-21', 5, Buffer.from('Y'));
    await until(() => running.status().store.damages === 1, 'the damage is found');
    await converged(group);
    const { store, recovery } = running.status();
    expect(store.lastDamage).toMatchObject({ remedy: 'repaired', movedTo: null, report: { damagedRecords: 1, damagedNodes: 0, rebuilt: false } });
    expect(store.lastDamage?.damage).toMatch(/the record with the key [0-9a-f]+ is not what was written/);
    expect(recovery.transfers).toBe(1);
    expect(recovery.lastTransfer?.bytesReceived).toBeLessThan(recovery.stateBytes / 2);
    expect(running.eventCounts().get('recovering')).toBeGreaterThan(0);
    expect((await fs.readFile('/file-21')).subarray(0, 8).toString()).toBe('conteYt ');
    await fs.writeFile('/file-21', content(21));
    await equalCheckpoints(group, fs);
    await expectFiles(fs);
    // It is whole now, also after another start.
    await group.stopOne(backup);
    const again = await group.start(backup);
    await converged(group);
    expect(again.status().store).toMatchObject({ damages: 0, lastDamage: null });
    expect(() => again.store.range(Buffer.alloc(0), Buffer.alloc(40, 0xff), Infinity)).not.toThrow();
  });

  it('of two of three: they say what to copy, and that helps', async () => {
    const { group, fs } = await filled();
    await equalCheckpoints(group, fs);
    for (const id of [1, 2, 3]) await group.stopOne(id);
    for (const id of [2, 3]) expect(await tamper(group, id, (db) => db.del(Buffer.from('m')).then(() => 1))).toBe(1);
    await group.startAll();
    await until(() => [2, 3].every((id) => group.replica(id).status().replica.recoveryImpossible), 'they know that nobody can answer them');
    expect(group.replica(2).health()).toEqual({ ok: false, reason: expect.stringContaining(`put a copy of the records of that one in the place of ${join(group.data(2), 'records')}`) as string });
    for (const id of [1, 2]) await group.stopOne(id);
    await rm(join(group.data(2), 'records'), { recursive: true });
    await cp(join(group.data(1), 'records'), join(group.data(2), 'records'), { recursive: true });
    for (const id of [1, 2]) await group.start(id);
    await converged(group);
    await expectFiles(fs);
    await equalCheckpoints(group, fs);
  });

  for (const [what, damage] of [
    ['a table of its database', /\.ldb$/], ['the manifest of its database', /^MANIFEST-/], ['the file CURRENT of its database', /^CURRENT$/],
  ] as const) {
    it(`a flipped bit in ${what}: it starts, and has fetched what was lost`, async () => {
      const { group, fs } = await filled();
      const backup = group.replica(1).status().replica.primary === 1 ? 2 : 1;
      const records = join(group.data(backup), 'records');
      // Opened once more, so that there are tables.
      await group.stopOne(backup);
      await group.start(backup);
      await converged(group);
      await group.stopOne(backup);
      const name = defined((await readdir(records)).filter((file) => damage.test(file)).sort().at(-1), what);
      const bytes = await readFile(join(records, name));
      const at = bytes.length >> 1;
      bytes[at] = defined(bytes[at], 'byte') ^ 4;
      await writeFile(join(records, name), bytes);
      const running = await group.start(backup);
      expect(running.status().store.damages).toBe(1);
      await converged(group);
      expect(running.status().recovery.transfers).toBe(1);
      await equalCheckpoints(group, fs);
      await expectFiles(fs);
      expect(() => running.store.range(Buffer.alloc(0), Buffer.alloc(40, 0xff), Infinity)).not.toThrow();
    });
  }

  it('a flipped bit in the log of its database, with a later checkpoint behind it: it is known at the start, before the replica takes part', async () => {
    const { group, fs } = await filled();
    await equalCheckpoints(group, fs);
    const backup = group.replica(1).status().replica.primary === 1 ? 2 : 1;
    await group.stopOne(backup);
    const { path, bytes } = await logOf(group, backup);
    // In the first checkpoint, which is a third of it.
    const at = bytes.length >> 3;
    bytes[at] = defined(bytes[at], 'byte') ^ 4;
    await writeFile(path, bytes);
    const running = await group.start(backup);
    const { damages, lastDamage } = running.status().store;
    expect(damages).toBe(1);
    expect(lastDamage).toMatchObject({ remedy: 'repaired', movedTo: null, damage: expect.stringMatching(/the log \d+\.log of the database has a record that does not check/) as string });
    await converged(group);
    expect(running.eventCounts().get('recovering')).toBeGreaterThan(0);
    expect(running.status().recovery.transfers).toBe(1);
    await equalCheckpoints(group, fs);
    await expectFiles(fs);
    expect(() => running.store.range(Buffer.alloc(0), Buffer.alloc(40, 0xff), Infinity)).not.toThrow();
    // It is whole now, also after another start.
    await group.stopOne(backup);
    expect((await group.start(backup)).status().store).toMatchObject({ damages: 0, lastDamage: null });
    await converged(group);
  });

  it('the last record of the log of its database torn or flipped: it goes on from the checkpoint before, with its journal', async () => {
    const { group, fs } = await filled();
    await equalCheckpoints(group, fs);
    const backup = group.replica(1).status().replica.primary === 1 ? 2 : 1;
    const { op } = group.replica(backup).status().replica.checkpoint;
    await group.stopOne(backup);
    const { path, bytes } = await logOf(group, backup);
    const at = bytes.length - 50;
    bytes[at] = defined(bytes[at], 'byte') ^ 4;
    await writeFile(path, bytes);
    const running = await group.start(backup);
    const { recovery, store } = running.status();
    expect(recovery.bootCheckpointOp).toBeLessThan(op);
    expect(store).toMatchObject({ damages: 0, lastDamage: null });
    await converged(group);
    expect(running.eventCounts().get('recovering')).toBeUndefined();
    expect(running.status().recovery.transfers).toBe(0);
    await equalCheckpoints(group, fs);
    await expectFiles(fs);
  });
});

/** The log of a replica's database in which nearly all is. */
async function logOf(group: TestGroup, id: number): Promise<{ path: string; bytes: Buffer }> {
  const records = join(group.data(id), 'records');
  const logs = (await readdir(records)).filter((file) => file.endsWith('.log'));
  expect(logs.length).toBe(1);
  const path = join(records, defined(logs[0], 'log'));
  const bytes = await readFile(path);
  expect(bytes.length).toBeGreaterThan(200_000);
  return { path, bytes };
}
