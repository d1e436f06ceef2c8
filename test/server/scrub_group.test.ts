/** Scrubs of a running group: damage that nobody has met yet is found, and just the page that it is in is fetched. */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { expect, it } from 'vitest';
import { liveTableNames } from '../../checkpoint/level_tables.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { vrfs } from '../cli/harness.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

const FILES = 600;

type Raw = Level<Buffer, Buffer>;

/** Changes a byte of one file's content. */
async function spoil(directory: string, file: number): Promise<void> {
  const db: Raw = new Level(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  try {
    for await (const [key, value] of db.iterator({ gte: Buffer.from('r'), lt: Buffer.from('s') })) {
      if (!value.includes(`content of ${file} `)) continue;
      const at = value.length >> 1;
      value[at] = (value[at] ?? 0) ^ 1;
      await db.put(key, value);
      return;
    }
    throw new Error(`there is no content of file ${file}`);
  } finally {
    await db.close();
  }
}

async function filled(): Promise<{ group: TestGroup; fs: FileSystem; servers: string[]; allWell: () => boolean }> {
  const group = await TestGroup.make({ flags: { checkpointOps: 100, scrubRate: 0 } });
  await group.startAll();
  const fs = new FileSystem(await group.client());
  await Promise.all(Array.from({ length: FILES }, (_, i) => fs.writeFile(`/file-${i}`, Buffer.alloc(500, `content of ${i} `))));
  const servers = group.configuration.members.map((m) => m.address);
  const allWell = (): boolean => group.running.every((r) => r === null || (r.health().ok && r.status().replica.executed === r.status().replica.commit));
  // A checkpoint is left out while the one before is being written.
  while (!group.running.every((r) => r === null || r.status().replica.checkpoint.op > FILES)) {
    for (let i = 0; i < 50; i++) await fs.writeFile('/more', `${i}`);
    await until(allWell, 'all have executed the same');
  }
  return { group, fs, servers, allWell };
}

function backupOf(group: TestGroup): number {
  return defined([1, 2, 3].find((id) => !group.replica(id).status().replica.isPrimary), 'a backup');
}

it('finds a changed record, has that page repaired by the others, and finds nothing the next time', async () => {
  const { group, fs, servers, allWell } = await filled();
  const sound = await vrfs(['scrub', '--now'], { servers });
  expect(sound.stderr + sound.stdout).toMatch(/replica 3 .*: no damage: \d+ records in \d+ pages/);
  expect(sound.exitCode).toBe(0);

  const victim = backupOf(group);
  await group.stopOne(victim);
  await spoil(join(group.data(victim), 'records'), 417);
  const running = await group.start(victim);
  await until(allWell, 'it is back');
  expect(running.status().store.damages, 'nobody has read the damaged record').toBe(0);

  const found = await vrfs(['scrub', '--now'], { servers });
  expect(found.exitCode).toBe(1);
  expect(found.stdout).toMatch(new RegExp(`replica ${victim} .*: DAMAGED: the record with the key [0-9a-f]+ is not what was written`));
  expect(found.stdout.match(/no damage/g)).toHaveLength(2);
  await until(() => running.status().store.lastDamage !== null && allWell(), 'it repairs itself', 30_000);
  const { store, recovery, scrub } = running.status();
  expect(store).toMatchObject({ damages: 1, lastDamage: { remedy: 'repaired', report: { damagedRecords: 1, damagedNodes: 0, rebuilt: false } } });
  expect(scrub).toMatchObject({ damages: 1, last: { end: 'damage' } });
  // One page of at most 64 records of 500 bytes, the nodes above it, and what the noise of sessions has changed since.
  expect(recovery.lastTransfer?.bytesReceived).toBeLessThan(50_000);
  expect(recovery.lastTransfer?.bytesReceived).toBeLessThan(recovery.stateBytes / 6);

  const repaired = await vrfs(['scrub', '--now', '--member', String(victim), '--json'], { servers });
  expect(repaired.exitCode).toBe(0);
  expect(JSON.parse(repaired.stdout)).toMatchObject([{ id: victim, error: null, pass: { end: 'complete', damage: null } }]);
  expect((await fs.readFile('/file-417')).equals(Buffer.alloc(500, 'content of 417 '))).toBe(true);

  // The damage is over, and is told of all the same: a disk that did it once may do it again.
  const state = await vrfs(['scrub'], { servers });
  expect(state.exitCode).toBe(1);
  expect(state.stdout).toMatch(/is not what was written/);
}, 60_000);

it('finds a flipped bit in a table of the running database, and fetches what was in that block', async () => {
  const { group, fs, servers, allWell } = await filled();
  const victim = backupOf(group);
  // Opened once more, so that what was in its log is in a table.
  await group.stopOne(victim);
  const running = await group.start(victim);
  await until(allWell, 'it is back');
  const records = join(group.data(victim), 'records');
  const tables = await Promise.all(defined((await liveTableNames(records)) ?? undefined, 'tables').map(async (name) => ({ name, bytes: await readFile(join(records, name)) })));
  const { name, bytes } = defined(tables.sort((a, b) => b.bytes.length - a.bytes.length)[0], 'the largest table');
  const at = bytes.length >> 1;
  const handle = await open(join(records, name), 'r+');
  await handle.write(Buffer.of((bytes[at] ?? 0) ^ 8), 0, 1, at);
  await handle.close();

  const found = await vrfs(['scrub', '--now', '-m', String(victim)], { servers });
  expect(found.stdout).toContain(`DAMAGED: the table ${name} of the database has 1 blocks with wrong checksums`);
  expect(found.exitCode).toBe(1);
  await until(() => running.status().store.lastDamage !== null && allWell(), 'it repairs itself', 30_000);
  const { store, recovery } = running.status();
  expect(store).toMatchObject({ damages: 1, lastDamage: { remedy: 'repaired' } });
  expect(recovery.lastTransfer?.bytesReceived).toBeLessThan(recovery.stateBytes / 2);
  expect((await vrfs(['scrub', '--now'], { servers })).exitCode).toBe(0);
  for (let i = 0; i < FILES; i += 9) expect((await fs.readFile(`/file-${i}`)).equals(Buffer.alloc(500, `content of ${i} `))).toBe(true);
}, 60_000);
