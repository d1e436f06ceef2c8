/** The checkpoint interval of a real group, by its command and over HTTP. */
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import type { VrfsClient } from '../../client/client.ts';
import { ROOT_INO } from '../../fsservice/operations.ts';
import { VERSION } from '../../server/version.ts';
import { vrfs } from '../cli/harness.ts';
import { TestGroup } from './group.ts';

const FAR = 'a checkpoint every 5000 operations or 64.0 MiB (67108864 bytes) of log';

async function mkdirs(client: VrfsClient, from: number, count: number): Promise<void> {
  for (let i = from; i < from + count; i++) {
    const made = await client.submit({ credentials: { uid: 0, gid: 0, groups: [] }, operation: { type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(`d${i}`) }, mode: 0o755 } });
    if (!made.ok) throw new Error(`mkdir d${i}: errno ${made.errno}`);
  }
}

async function started(): Promise<{ group: TestGroup; cli: (...args: string[]) => ReturnType<typeof vrfs> }> {
  const group = await TestGroup.make({ flags: { checkpointOps: 5000 } });
  await group.startAll();
  const servers = group.configuration.members.map((m) => m.address);
  return { group, cli: (...args) => vrfs(['checkpoint', 'interval', ...args], { servers }) };
}

describe('vrfs checkpoint interval', () => {
  it('shows the interval, changes it for all replicas, and it holds over a restart', async () => {
    const { group, cli } = await started();
    expect(await cli()).toMatchObject({ exitCode: 0, stdout: `${FAR}, as the primary is configured; it was not changed while the group ran\n` });
    expect((await cli('--ops', '20')).stdout).toMatch(/^a checkpoint every 20 operations or 64\.0 MiB \(67108864 bytes\) of log, for all replicas, since op \d+\n$/);
    const client = await group.client();
    // One whose turn comes while the one before is being written is left out; the next comes with more operations.
    for (let made = 0; group.configuration.members.some((m) => group.replica(m.id).status().replica.checkpoint.op < 40); made += 5) await mkdirs(client, made, 5);
    for (const m of group.configuration.members) expect(group.replica(m.id).status().replica.checkpoint.op % 20).toBe(0);
    const cost = group.replica(1).status().checkpointCost;
    expect(cost.last).toMatchObject({ records: expect.any(Number) as number });
    expect(cost.takes).toBeGreaterThanOrEqual(1);
    expect(cost.total.recordBytes).toBeGreaterThan(1000);
    const { head } = group.replica(1).replica.log;
    expect(cost.logOpsSince).toBe(head - group.replica(1).status().replica.checkpoint.op);
    const verbose = await vrfs(['status', '--verbose'], { servers: group.configuration.members.map((m) => m.address) });
    expect(verbose.exitCode).toBe(0);
    expect(verbose.stdout).toMatch(new RegExp(`\\nID +VERSION +EPOCH +DURABILITY +GROUP\\n1 +${VERSION.replaceAll('.', '\\.')} +0 +disk +${group.clusterId.toString('hex')}\\n`));
    expect(verbose.stdout).toMatch(/\nID +INTERVAL +CHECKPOINTS +RECORDS +BYTES +NODES +CPU ms +HOLD ms +WALL ms +SHARE +LOG SINCE\n1 +20 ops +last +\d+ +/);
    await group.stop();
    await group.startAll();
    const shown: unknown = JSON.parse((await cli('--json')).stdout);
    expect(shown).toMatchObject({ ops: 20, bytes: 67_108_864 });
    for (const m of group.configuration.members) expect(group.replica(m.id).status().replica.checkpointInterval).toEqual(shown);
    // What it is already is not changed again.
    expect(JSON.parse((await cli('--ops', '20', '--json')).stdout)).toEqual(shown);
    expect(JSON.parse((await cli('--bytes', '2048', '--json')).stdout)).toMatchObject({ ops: 20, bytes: 2048 });
  });

  it('refuses with the reason what the log has no room for, and what is no number', async () => {
    const { cli } = await started();
    const refused = await cli('--ops', '50001');
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
    expect(refused.stderr).toContain('at most half of maxLogEntries, 50000');
    expect((await cli('--ops', 'many')).exitCode).toBe(2);
    expect((await cli('--bytes', '0')).exitCode).toBe(2);
    expect((await cli()).stdout).toContain(FAR);
  });

  it('without a majority: nothing is known, and nothing was changed', async () => {
    const { group, cli } = await started();
    for (const id of [1, 2]) await group.stopOne(id);
    expect((await cli('--timeout', '1000')).exitCode).toBe(3);
    expect((await cli('--ops', '20', '--timeout', '1000')).exitCode).toBe(3);
  });
});

describe('PUT /v1/checkpoints/interval', () => {
  it('at any replica', async () => {
    const { group } = await started();
    const primary = group.replica(1).status().replica.primary;
    const backup = defined(group.configuration.members.find((m) => m.id !== primary), 'backup');
    const url = `http://${backup.httpAddress}/v1/checkpoints/interval`;
    const put = await request(url, { method: 'PUT', body: JSON.stringify({ ops: 30 }), headers: { 'content-type': 'application/json' } });
    expect(put.statusCode).toBe(200);
    expect(await put.body.json()).toMatchObject({ ops: 30, bytes: 67_108_864 });
    expect(await (await request(url)).body.json()).toMatchObject({ ops: 30 });
  });
});
