import { mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { FileSystem } from '../../client/file_system.ts';
import type { VrfsClient } from '../../client/client.ts';
import { defined } from '../../lib/assert.ts';
import { digestToHex } from '../../lib/hash.ts';
import { memberId } from '../../lib/ids.ts';
import { loadConfig } from '../../server/config.ts';
import { format } from '../../server/data_directory.ts';
import { PAGE_BYTES } from '../../server/journal_format.ts';
import { startReplica } from '../../server/replica_process.ts';
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
      await until(() => {
        const { links, recovery } = group.replica(1).status();
        return links.every((l) => l.connected) && recovery.caughtUpMs !== null;
      }, 'all links are up and it has caught up');
      const status = group.replica(1).status();
      expect(status.clientConnections).toBeGreaterThan(0);
      expect(status.journal.segments > 0).toBe(durability === 'disk');
      expect(status.namespace).toMatchObject({ inodes: 101, maxInodes: 2 ** 32, maxBytes: 2 ** 46 });
      expect(status.replica.maxSessions).toBe(4096);
      // Whoever was primary.
      const sum = (of: (id: number) => ArrayLike<number>): number => [1, 2, 3].flatMap((id) => Array.from(of(id))).reduce((a, b) => a + b);
      expect(sum((id) => [group.replica(id).clientMessages().request])).toBeGreaterThanOrEqual(100);
      await until(() => sum((id) => group.replica(id).timings().requests.counts) >= 100, 'what was answered is measured');
    });
  }

  for (const id of [1, 3]) {
    it(`tells a member that was formatted anew why it takes no part: member ${id}`, async () => {
      const group = await TestGroup.make();
      await group.startAll();
      await writeFiles(await group.client(), 0, 5);
      // Whoever has not met the one that is lost cannot tell.
      await until(() => group.replica(id).status().links.every((l) => l.connected), 'all have met it');
      await group.stopOne(id);
      await rm(group.data(id), { recursive: true });
      await format({ directory: group.data(id), clusterId: group.clusterId, memberId: memberId(id), configuration: group.configuration });
      const anew = await group.start(id);
      const others = group.configuration.members.map((m) => m.id).filter((m) => m !== id);
      await until(() => {
        const { links } = anew.status();
        return links.every((l) => l.refused !== null);
      }, 'both others have said it');
      expect(anew.health()).toEqual({ ok: false, reason: expect.stringMatching(/^member \d, \d will not have this replica: member \d comes with another data directory than before: it was formatted anew.*vrfs serve --join, vrfs members replace/) as string });
      await until(() => others.every((other) => group.replica(other).health().ok), 'the others go on');
      await expectFiles(await group.client(), 5);
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
    const group = await TestGroup.make({ flags: { checkpointOps: 50, retainEntries: 50 } });
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 60);
    await converged(group);
    const backup = group.replica(1).status().replica.primary === 1 ? 2 : 1;
    await group.stopOne(backup);
    let written = 60;
    // The log that the stopped replica lacks is collected when the checkpoint after the next is durable.
    const checkpoints = (): number[] => group.running.flatMap((r) => (r ? [r.eventCounts().get('checkpoint') ?? 0] : []));
    const before = checkpoints();
    while (checkpoints().some((count, k) => count < defined(before[k], 'count') + 3)) {
      await writeFiles(client, written, 20);
      written += 20;
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

describe('a memory-mode group whose replicas have all stopped', () => {
  it('serves nothing, says what is gone and how to go on', async () => {
    const group = await TestGroup.make({ durability: 'memory' });
    await group.startAll();
    await writeFiles(await group.client(), 0, 10);
    await group.stop();
    await group.startAll();
    const reason = (id: number): string => {
      const health = group.replica(id).health();
      return health.ok ? 'healthy' : health.reason;
    };
    await until(() => [1, 2, 3].every((id) => reason(id).includes(`acknowledged after its newest checkpoint is gone. To go on from there stop all of them, and see on each machine what it still holds: vrfs revive --data ${group.data(id)}`)), 'all say so');
  });
});

describe('a replica that cannot go on or start', () => {
  it('stops at the first broken invariant: nothing is sent or written after it', async () => {
    const group = await TestGroup.make();
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 5);
    await converged(group);
    const { primary } = group.replica(1).status().replica;
    const broken = group.replica(primary);
    const sent = (): number => broken.status().links.reduce((sum, l) => sum + l.sentBytes, 0);
    broken.replica.flush = () => { throw new Error('an invariant is broken'); };
    await until(() => group.fatal.length === 1, 'the error is reported');
    expect(group.fatal[0]?.message).toBe('an invariant is broken');
    expect(broken.health()).toMatchObject({ ok: false });
    const written = (): unknown => ({ journal: broken.status().journal.bytesWritten, superblock: broken.status().replica.view });
    const before = { sent: sent(), written: written() };
    await writeFiles(client, 5, 5);
    expect(sent()).toBeLessThan(before.sent + 200); // pings at most
    expect(written()).toEqual(before.written);
    expect(group.fatal).toHaveLength(1);
    group.fatal.length = 0;
  });

  it('logs once with what configuration it runs, and where that came from', async () => {
    const group = await TestGroup.make();
    const lines: Record<string, unknown>[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>); } });
    const config = await loadConfig({ flags: { data: group.data(1) }, environment: { VRFS_LEASE_MS: '100' } });
    await (await startReplica(config, log)).stop();
    expect(lines.filter(({ msg }) => msg === 'configuration')).toMatchObject([
      { level: 30, config: { data: group.data(1), leaseMs: 100, checkpointOps: 1000, scrubRate: 262_144 }, from: { data: 'the command line', leaseMs: 'VRFS_LEASE_MS' } },
    ]);
  });

  it('leaves nothing behind when its port is taken, and says how to go on', async () => {
    const group = await TestGroup.make();
    await group.start(1);
    const taken = group.replica(1).address;
    await expect(group.start(2, { listen: taken })).rejects.toThrow(/in use by another process: stop that one, or choose another port \(--listen\)/);
    await group.start(2);
    expect(group.replica(2).address).not.toBe(taken);
  });

  it('refuses a second process on its directory, another durability and the directory of another member', async () => {
    const group = await TestGroup.make();
    await group.start(1);
    await expect(group.start(1)).rejects.toThrow(/in use by the process with pid/);
    await expect(group.start(2, { durability: 'memory' })).rejects.toThrow(/runs with durability 'disk', not 'memory'/);
    await expect(group.start(2, { memberId: 3 })).rejects.toThrow(/belongs to member 2/);
  });

  for (const checkpointOps of [1000, 20]) {
    it(`fetches its whole state when its records are gone (a checkpoint every ${checkpointOps})`, async () => {
      const group = await TestGroup.make({ flags: { checkpointOps } });
      await group.startAll();
      const client = await group.client();
      await writeFiles(client, 0, 90);
      await converged(group);
      for (const id of [1, 3]) {
        await group.stopOne(id);
        await rm(join(group.data(id), 'records'), { recursive: true });
        const back = await group.start(id);
        await converged(group);
        expect(back.status().recovery.transfers).toBeGreaterThan(0);
        // What it fetched is its own now.
        await group.stopOne(id);
        expect((await group.start(id)).status().recovery).toMatchObject({ bootLogIntact: true, transfers: 0 });
        await converged(group);
      }
      await expectFiles(client, 90);
      await group.stop();
      await group.startAll();
      await expectFiles(await group.client(), 90);
    });
  }

  it.each<[what: string, harm: (journal: string) => Promise<void>, says: RegExp]>([
    ['has gone', (journal) => rm(journal, { recursive: true }), /the journal .*journal is not there: put it back; if it is lost, make an empty directory of that name/],
    // Reads of it fail with EIO, as those of a bad sector do.
    ['the disk cannot read', async (journal) => {
      const segment = join(journal, defined((await readdir(journal)).sort()[0], 'segment'));
      await rm(segment);
      await symlink('/proc/self/mem', segment);
    }, /the disk cannot read the journal .*journal \(EIO.*\): move it to another disk, or aside, make an empty directory of that name/],
  ])('says what to do about a journal that %s, and that helps', async (_, harm, says) => {
    const group = await TestGroup.make();
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 20);
    await converged(group);
    await group.stopOne(2);
    const journal = join(group.data(2), 'journal');
    await harm(journal);
    await expect(group.start(2)).rejects.toThrow(says);
    await rm(journal, { recursive: true, force: true });
    await mkdir(journal);
    expect((await group.start(2)).status().recovery.bootLogIntact).toBe(false);
    await converged(group);
    await expectFiles(client, 20);
  });

  it('repairs a damaged database, or fetches everything when it cannot', async () => {
    const group = await TestGroup.make({ flags: { checkpointOps: 20 } });
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 60);
    const records = join(group.data(2), 'records');
    const damages: ((manifest: string) => Promise<void>)[] = [
      () => rm(join(records, 'CURRENT')),
      (manifest) => truncate(manifest, 10),
      (manifest) => rm(manifest),
      () => writeFile(join(records, 'CURRENT'), 'MANIFEST-999999\n'),
    ];
    for (const [k, damage] of damages.entries()) {
      await group.stopOne(2);
      const [manifest] = (await readdir(records)).filter((name) => name.startsWith('MANIFEST'));
      await damage(join(records, defined(manifest, 'manifest')));
      const running = await group.start(2);
      expect(running.status().store, `damage ${k}`).toMatchObject({ damages: 1, lastDamage: { remedy: 'repaired' } });
      await converged(group);
      expect(running.status().recovery.transfers).toBe(1);
    }
    // Nothing of it can be read: it is kept, elsewhere, and everything is fetched.
    await group.stopOne(2);
    for (const name of await readdir(records)) if (name !== 'lost') await writeFile(join(records, name), 'nothing that a database wrote');
    const running = await group.start(2);
    expect(running.status().store.lastDamage).toMatchObject({ remedy: 'set aside', movedTo: `${records}.damaged-1` });
    expect(await readdir(`${records}.damaged-1`)).toContain('CURRENT');
    await converged(group);
    await expectFiles(client, 60);
  });

  it('does not trust a damaged log: it recovers from the others', async () => {
    const group = await TestGroup.make();
    await group.startAll();
    const client = await group.client();
    await writeFiles(client, 0, 40);
    await converged(group);
    const primary = group.replica(1).status().replica.primary;
    const damaged = primary === 1 ? 2 : 1;
    await group.stopOne(damaged);
    const journal = join(group.data(damaged), 'journal');
    const [segment] = (await readdir(journal)).filter((name) => name.startsWith('segment')).sort().slice(-1);
    const path = join(journal, defined(segment, 'segment'));
    const bytes = await readFile(path);
    bytes[PAGE_BYTES + 60] = defined(bytes[PAGE_BYTES + 60], 'byte') ^ 4;
    await writeFile(path, bytes);
    const back = await group.start(damaged);
    expect(back.status().recovery.bootLogIntact).toBe(false);
    await writeFiles(client, 40, 10);
    await converged(group);
    await group.stopOne(damaged);
    const again = await group.start(damaged);
    expect(again.status().recovery.bootLogIntact).toBe(true);
    await converged(group);
    await expectFiles(client, 50);
  });
});
