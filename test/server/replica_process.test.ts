import { describe, expect, it } from 'vitest';
import { FileSystem } from '../../client/file_system.ts';
import type { VrfsClient } from '../../client/client.ts';
import { digestToHex } from '../../lib/hash.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

async function writeFiles(client: VrfsClient, from: number, count: number): Promise<void> {
  const fs = new FileSystem(client);
  await Promise.all(Array.from({ length: count }, (_, i) => fs.writeFile(`/file-${from + i}`, `content of ${from + i}`)));
}

async function expectFiles(client: VrfsClient, count: number): Promise<void> {
  const fs = new FileSystem(client);
  expect((await fs.readdir('/')).length).toBe(count);
  expect((await fs.readFile('/file-0')).toString()).toBe('content of 0');
  expect((await fs.readFile(`/file-${count - 1}`)).toString()).toBe(`content of ${count - 1}`);
}

function executed(group: TestGroup): number[] {
  return group.configuration.members.map((m) => group.running[m.id]?.status().replica.executed ?? -1);
}

async function converged(group: TestGroup): Promise<void> {
  await until(() => {
    const ops = executed(group).filter((op) => op >= 0);
    return new Set(ops).size === 1 && group.running.every((r) => !r || r.health().ok);
  }, 'all replicas have executed the same');
}

describe('a group of three', () => {
  for (const durability of ['disk', 'memory'] as const) {
    it(`serves clients, durability ${durability}`, async () => {
      const group = await TestGroup.make({ durability });
      await group.startAll();
      const client = await group.client();
      await writeFiles(client, 0, 100);
      await expectFiles(client, 100);
      await converged(group);
      const status = group.replica(1).status();
      expect(status.clientConnections).toBeGreaterThan(0);
      expect(status.links.every((l) => l.connected)).toBe(true);
      expect(status.recovery.caughtUpMs).not.toBeNull();
      expect(status.journal.segments > 0).toBe(durability === 'disk');
    });
  }

  it('finds everything as it was after all have stopped', async () => {
    const group = await TestGroup.make();
    await group.startAll();
    await writeFiles(await group.client(), 0, 50);
    await group.stop();
    await group.startAll();
    await expectFiles(await group.client(), 50);
    expect(group.replica(1).status().recovery).toMatchObject({ bootLogIntact: true, bootTornBytes: 0, transfers: 0 });
  });

  it('goes on while a backup or the primary is stopped, and takes it in again', async () => {
    const group = await TestGroup.make();
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 20);
    const primary = group.replica(1).status().replica.primary;
    await group.stopOne(primary);
    await writeFiles(client, 20, 20);
    await group.start(primary);
    await converged(group);
    await expectFiles(client, 40);
  });

  it('takes checkpoints, whose roots are equal, and brings back a replica that was away over HTTP', async () => {
    const group = await TestGroup.make({ flags: { checkpointOps: 50 } });
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 60);
    await converged(group);
    const backup = group.replica(1).status().replica.primary === 1 ? 2 : 1;
    await group.stopOne(backup);
    let written = 60;
    // Several checkpoints on: the log that the stopped replica lacks is collected one checkpoint later.
    for (let target = 200; target <= 800; target += 200) {
      while (group.running.some((r) => r && r.status().replica.checkpoint.op < target)) {
        await writeFiles(client, written, 20);
        written += 20;
      }
    }
    const back = await group.start(backup);
    await until(() => back.status().recovery.caughtUpMs !== null, 'the replica is up to date');
    const { recovery } = back.status();
    expect(recovery.transfers).toBe(1);
    expect(recovery.lastTransfer?.bytesReceived).toBeGreaterThan(0);
    expect(recovery.stateBytes).toBeGreaterThan(0);
    await writeFiles(client, written, 100);
    await converged(group);
    await until(() => {
      const roots = group.running.flatMap((r) => (r ? [`${r.status().replica.checkpoint.op} ${digestToHex(r.status().replica.checkpoint.root)}`] : []));
      return new Set(roots).size === 1;
    }, 'equal checkpoints');
    await expectFiles(client, written + 100);
  });

  it('brings back a memory-mode replica through recovery', async () => {
    const group = await TestGroup.make({ durability: 'memory' });
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 30);
    const primary = group.replica(1).status().replica.primary;
    const backup = primary === 2 ? 3 : 2;
    await group.stopOne(backup);
    await writeFiles(client, 30, 30);
    const back = await group.start(backup);
    await until(() => back.health().ok, 'the replica has recovered');
    await converged(group);
    await expectFiles(client, 60);
  });
});
