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

  it('diff tells which paths differ between two moments, of which the first was held on to, and between two replicas', async () => {
    await fs.mkdir('/jobs');
    for (let i = 0; i < 200; i++) await fs.writeFile(`/jobs/${i}`, `job ${i}`);
    const take = async (...options: string[]): Promise<string> => {
      const taken = await vrfs(['checkpoint', 'take', ...options], { servers });
      expect(taken.exitCode, taken.stderr).toBe(0);
      return /op (\d+)/.exec(taken.stdout)?.[1] ?? '';
    };
    const first = await take('--keep', '600');
    const left = [...(await vrfs(['checkpoint', 'list'], { servers })).stdout.matchAll(new RegExp(` ${first} .* (\\d+) s$`, 'gm'))].map((line) => Number(line[1]));
    expect(left).toHaveLength(3);
    expect(left.filter((seconds) => seconds <= 0 || seconds > 600)).toEqual([]);
    // In place: no directory entry says its name.
    await fs.chmod('/jobs/77', 0o600);
    await fs.rename('/jobs/5', '/five');
    await fs.mkdir('/new');
    for (let i = 0; i < 5; i++) await take();
    const newest = await take();
    const held = JSON.parse((await vrfs(['checkpoint', 'list', '--json'], { servers })).stdout) as { held: { op: number }[] }[];
    expect(held[0]?.held.map(({ op }) => String(op))).toContain(first);

    const diff = await vrfs(['checkpoint', 'diff', first, `3:${newest}`], { servers });
    expect(diff.exitCode, diff.stderr).toBe(0);
    expect(diff.stdout.split('\n').sort()).toEqual(['', '* / (directory, entries, mtime)', '* /jobs (directory, entries, mtime)', '* /jobs/77 (file, mode)', '+ /new (directory)', '> /jobs/5 -> /five (file, ctime)'].map((line) => line.replace(' (', '  (')).sort());
    expect(diff.stderr).toMatch(new RegExp(`looking for the names of 1 files.*\n5 paths differ between op ${first} at replica \\d and op ${newest} at replica 3: \\d+ records`));
    const blind = await vrfs(['checkpoint', 'diff', first, 'newest', '--no-search', '--json'], { servers });
    expect(JSON.parse(blind.stdout)).toMatchObject({ before: { op: Number(first) }, after: { op: Number(newest) } });
    expect((JSON.parse(blind.stdout) as { changes: { path: string | null; aspects: string[] }[] }).changes.filter(({ path }) => path === null)).toMatchObject([{ aspects: ['mode'] }]);

    const same = await vrfs(['checkpoint', 'diff', `1:${newest}`, '2:newest', '--json'], { servers });
    expect(JSON.parse(same.stdout)).toMatchObject({ records: 0, changes: [], before: { member: 1, nodesRead: 0 }, after: { member: 2, nodesRead: 0 } });
  });

  it('diff says what is there when what was asked for is not, and what it does not understand', async () => {
    const gone = await vrfs(['checkpoint', 'diff', '77', 'newest'], { servers });
    expect(gone.exitCode).toBe(3);
    expect(gone.stderr).toContain('no replica that answers holds the checkpoint 77 (replica 1: 0; replica 2: 0; replica 3: 0)');
    const odd = await vrfs(['checkpoint', 'diff', '1:2:3', 'newest'], { servers });
    expect(odd.exitCode).toBe(2);
    expect(odd.stderr).toContain("'1:2:3' names no checkpoint");
  });

  it('take --keep says when replicas hold on to as many as they may', async () => {
    for (let i = 0; i < 4; i++) expect((await vrfs(['checkpoint', 'take', '--keep', '60'], { servers })).stdout).toContain('kept for 60 s at 1, 2, 3');
    const fifth = await vrfs(['checkpoint', 'take', '--keep', '60'], { servers });
    expect(fifth.exitCode).toBe(1);
    expect(fifth.stderr).toMatch(/replica 1 does not hold on to it: .* 409: This replica holds on to as many checkpoints as it may/);
  });
});
