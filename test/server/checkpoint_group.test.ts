/** `vrfs checkpoint` against a running group. */
import { beforeEach, describe, expect, it } from 'vitest';
import { FileSystem } from '../../client/file_system.ts';
import { ROOT } from '../../server/http/credentials.ts';
import { digestToHex } from '../../lib/hash.ts';
import { vrfs } from '../cli/harness.ts';
import { TestGroup } from './group.ts';

let group: TestGroup;
let fs: FileSystem;
let servers: string[];

beforeEach(async () => {
  group = await TestGroup.make({ flags: { checkpointOps: 100_000, scrubRate: 0 }, files: true });
  await group.startAll();
  fs = new FileSystem(await group.client(), { credentials: ROOT });
  servers = group.configuration.members.map((m) => m.address);
});

describe('vrfs checkpoint', () => {
  it('take makes one at the same op with the same root everywhere, list shows it', async () => {
    for (let i = 0; i < 50; i++) await fs.writeFile(`/file-${i}`, `${i}`);
    expect([1, 2, 3].map((id) => group.replica(id).status().replica.checkpoint.op)).toEqual([0, 0, 0]);
    const taken = await vrfs(['checkpoint', 'take'], { servers });
    expect(taken.exitCode, taken.stderr).toBe(0);
    const [, op, root] = /^checkpoint of op (\d+), root ([0-9a-f]{64}), at replicas 1, 2, 3\n$/.exec(taken.stdout) ?? [];
    for (const id of [1, 2, 3]) {
      const { checkpoint } = group.replica(id).status().replica;
      expect([String(checkpoint.op), digestToHex(checkpoint.root)]).toEqual([op, root]);
    }
    const list = await vrfs(['checkpoint', 'list'], { servers });
    expect(list.exitCode).toBe(0);
    expect(list.stdout.match(new RegExp(`${op} +${root?.slice(0, 12)} +\\d+ +[0-9.]+ [KMi]*B +\\d{4}-`, 'g'))).toHaveLength(3);
    // What is there without being asked for: op 0, until it is let go of.
    expect(JSON.parse((await vrfs(['checkpoint', '--json'], { servers })).stdout)).toMatchObject([1, 2, 3].map((id) => ({ id, held: [{ op: Number(op), root, readers: 0 }, { op: 0 }] })));
  });

  it('take goes without a replica that is down, and not without a quorum', async () => {
    await fs.writeFile('/file', 'x');
    await group.stopOne(3);
    const taken = await vrfs(['checkpoint', 'take', '--timeout', '2000'], { servers });
    expect(taken.exitCode, taken.stderr).toBe(0);
    expect(taken.stdout).toMatch(/at replicas 1, 2\n$/);
    expect(taken.stderr).toMatch(/replica 3: .*does not answer/);
    const list = await vrfs(['checkpoint', 'list'], { servers });
    expect(list.exitCode).toBe(1);
    expect(list.stdout).toMatch(/3 +127\.0\.0\.1:\d+ +no answer/);
    await group.stopOne(2);
    expect((await vrfs(['checkpoint', 'take', '--timeout', '500'], { servers })).exitCode).toBeGreaterThan(0);
  });
});
