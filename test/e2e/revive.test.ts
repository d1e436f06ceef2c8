/**
 * A memory-mode group of real processes that were all killed: each says that it cannot come back, `vrfs revive` says what is lost, and the
 * group goes on from its newest checkpoint. What was acknowledged up to there is there, and nothing else is. Needs a build.
 */
import { spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { CLI, ProcessGroup, until } from '../support/process_group.ts';

const ALL = [0, 1, 2];
const CHECKPOINT_OPS = 20;

let group: ProcessGroup;
let old: VrfsClient;
/** By name, the op that wrote it. */
const written = new Map<string, number>();

function vrfs(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [CLI, ...args], { cwd: group.directory, encoding: 'utf8', env: { ...process.env, VRFS_SERVERS: group.servers.join(',') } });
}

async function write(client: VrfsClient, count: number): Promise<void> {
  const fs = new FileSystem(client);
  for (let i = 0; i < count; i++) {
    const name = `file-${written.size}`;
    await fs.writeFile(`/${name}`, `content of ${name}`);
    written.set(name, client.lastOp);
  }
}

/** The op of the checkpoint that a stopped member holds, as the command says it. */
function heldBy(index: number): number {
  const said = vrfs('revive', '--data', group.data(index));
  expect(said).toMatchObject({ status: 1, stderr: '' });
  return Number(defined(/it holds: op (\d+), root/.exec(said.stdout)?.[1], said.stdout));
}

async function checkpoints(): Promise<number[]> {
  return Promise.all(ALL.map(async (i) => (await group.status(i))?.checkpoint.op ?? 0));
}

beforeAll(async () => {
  group = await ProcessGroup.create({ durability: 'memory', config: { checkpointOps: CHECKPOINT_OPS } });
  group.startAll();
  await group.primary();
  old = await VrfsClient.connect({ servers: group.servers, name: 'of the old group', requestTimeoutMs: 3000 });
});
afterAll(async () => {
  await old.close();
  await group.destroy();
});

describe('a memory-mode group whose processes were all killed', () => {
  let token: string;

  it('says at each replica that it cannot come back, and which command goes on', async () => {
    await write(old, CHECKPOINT_OPS);
    // Behind the newest checkpoint of each, and too few for another.
    await until('operations that no checkpoint has', 60_000, async () => {
      const behind = (await checkpoints()).map((op) => (op === 0 ? 0 : old.lastOp - op));
      if (behind.every((n) => n > 2 && n < CHECKPOINT_OPS - 2)) return true;
      await write(old, 1);
      return undefined;
    });
    const answer = await fetch(`${group.http(0)}/v1/fs/${[...written.keys()].at(-1) ?? ''}`);
    expect(answer.status).toBe(200);
    token = defined(answer.headers.get('x-vrfs-op') ?? undefined, 'X-Vrfs-Op');
    await Promise.all(ALL.map((i) => group.signal(i, 'SIGKILL')));
    group.startAll();
    const status = await until('all say so', 30_000, () => {
      const said = vrfs('status');
      return said.stderr.split('\n').filter((line) => line.includes('vrfs revive --data')).length === ALL.length ? said : undefined;
    });
    expect(status.status).toBe(1);
    for (const i of ALL) {
      expect(status.stderr).toContain(`replica ${i + 1}: so many replicas of this group with durability memory have stopped at once that what it acknowledged after its newest checkpoint is gone`);
      expect(status.stderr).toContain(`see on each machine what it still holds: vrfs revive --data ${group.data(i)}`);
      expect(group.log(i)).toMatch(/"level":50.*"remedy":"too many replicas with durability memory.*vrfs revive --data .*"msg":"group-cannot-recover"/);
    }
    // Not before it is connected again; until then it says that nobody can be reached.
    await until('the client says what may have happened to the group', 60_000, async () => {
      const refused: unknown = await new FileSystem(old).writeFile('/no', 'x').then(() => null, (error: unknown) => error);
      expect(refused).toBeInstanceOf(Error);
      return /Its durability is memory: .* vrfs status then says how to go on/.test(String(refused)) ? true : undefined;
    });
    expect(vrfs('revive', '--data', group.data(0))).toMatchObject({ status: 5 });
    await Promise.all(ALL.map((i) => group.signal(i, 'SIGTERM')));
  });

  it('goes on from the newest checkpoint, with all that was acknowledged up to it', async () => {
    const held = ALL.map(heldBy);
    const newest = Math.max(...held);
    expect(newest).toBeGreaterThanOrEqual(CHECKPOINT_OPS);
    const lost = [...written].filter(([, op]) => op > newest).map(([name]) => name);
    expect(lost.length).toBeGreaterThan(0);
    const from = held.indexOf(newest);
    const said = vrfs('revive', '--data', group.data(from));
    expect(said.stdout).toContain(`What is lost when the group goes on from op ${newest}:\n  - every operation that was acknowledged after op ${newest}`);

    // As on machines of their own: the newest one's directory is copied to the others.
    const copy = join(group.directory, 'copy');
    cpSync(group.data(from), copy, { recursive: true });
    for (const i of ALL) {
      const done = vrfs('revive', '--data', group.data(i), ...(i === from ? [] : ['--from', copy]), '--accept-loss');
      expect(done).toMatchObject({ status: 0, stderr: '' });
      expect(done.stdout).toContain(`which goes on from op ${newest} of group`);
    }
    group.startAll();
    await group.normal(ALL);
    const client = await VrfsClient.connect({ servers: group.servers, name: 'of the new group' });
    try {
      const fs = new FileSystem(client);
      expect((await fs.readdir('/')).sort()).toEqual([...written.keys()].filter((name) => !lost.includes(name)).sort());
      for (const [name, op] of written) if (op <= newest) expect((await fs.readFile(`/${name}`)).toString()).toBe(`content of ${name}`);
      await write(client, 3 * CHECKPOINT_OPS);
      await until('checkpoints of the new group', 30_000, async () => ((await checkpoints()).every((op) => op > newest) ? true : undefined));
      expect(vrfs('status')).toMatchObject({ status: 0 });
    } finally {
      await client.close();
    }
  });

  it('refuses what belongs to the old one: its clients, and their tokens', async () => {
    const answer = await fetch(`${group.http(1)}/v1/stat/file-0?consistency=causal`, { headers: { 'X-Vrfs-Op': token } });
    expect(answer.status).toBe(409);
    const problem = (await answer.json()) as { readonly detail: string; readonly remedy: string };
    expect(problem.detail).toMatch(/^X-Vrfs-Op \d+@[0-9a-f]{16} is of group [0-9a-f]{16}\.\.\., and this replica belongs to group [0-9a-f]{32}\.$/);
    expect(problem.remedy).toContain('what came after that checkpoint is lost');
    const fresh = await fetch(`${group.http(1)}/v1/stat/file-0?consistency=causal`);
    expect(fresh.status).toBe(200);
    const again = await fetch(`${group.http(2)}/v1/stat/file-0?consistency=causal`, { headers: { 'X-Vrfs-Op': fresh.headers.get('x-vrfs-op') ?? '' } });
    expect(again.status).toBe(200);
    await expect(new FileSystem(old).readFile('/file-0')).rejects.toThrow(/this replica belongs to group [0-9a-f]{32}, not to [0-9a-f]{32}: .*if the group was revived/);
    // Nobody is lost in between: a replica of it comes back as ever.
    await group.signal(2, 'SIGKILL');
    group.start(2);
    await group.normal(ALL);
  });
});
