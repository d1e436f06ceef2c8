/**
 * What an operator does with the checkpoints of real `vrfs serve` processes: finds a flipped bit in the store of a running replica,
 * has what a replica says proved, compares two moments. All through the `vrfs` command as it is installed.
 */
import { execFile } from 'node:child_process';
import { openSync, closeSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { liveTableNames } from '../../checkpoint/level_tables.ts';
import { defined } from '../../lib/assert.ts';
import { CLI, ProcessGroup, until } from '../support/process_group.ts';

const FILES = 800;
const ALL = [0, 1, 2];

let group: ProcessGroup;
let client: VrfsClient;
let fs: FileSystem;

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function vrfs(...args: string[]): Promise<Ran> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [CLI, ...args, '--server', group.servers.join(',')], { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, stdout, stderr });
      else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr });
      else reject(error);
    });
  });
}

async function metrics(index: number): Promise<Map<string, number>> {
  const text = await (await fetch(`${group.http(index)}/metrics`)).text();
  return new Map(text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

interface Scrubbed {
  readonly executed: number;
  readonly commit: number;
  readonly store: { readonly damages: number; readonly lastDamage: { readonly remedy: string } | null };
  readonly scrub: { readonly damages: number; readonly state: string; readonly last: { readonly end: string; readonly damage: string | null } | null };
  readonly recovery: { readonly lastTransfer: { readonly bytesReceived: number } | null; readonly stateBytes: number };
}

async function statusOf(index: number): Promise<Scrubbed | undefined> {
  return (await group.status(index)) as unknown as Scrubbed | undefined;
}

async function caughtUp(): Promise<void> {
  await group.normal(ALL);
  await until('all have executed the same', 30_000, async () => {
    const all = await Promise.all(ALL.map((i) => group.status(i)));
    return new Set(all.map((s) => s?.executed)).size === 1 && all[0] !== undefined ? true : undefined;
  });
}

function content(i: number): Buffer {
  return Buffer.alloc(500, `content of ${i} `);
}

beforeAll(async () => {
  group = await ProcessGroup.create({ config: { checkpointOps: 100_000, scrubRate: 0 } });
  group.startAll();
  await group.normal(ALL);
  client = await VrfsClient.connect({ servers: group.servers, name: 'scrub test' });
  fs = new FileSystem(client);
  await fs.mkdir('/jobs');
  await Promise.all(Array.from({ length: FILES }, (_, i) => fs.writeFile(`/jobs/${i}`, content(i))));
  await caughtUp();
}, 60_000);
afterAll(async () => {
  await client.close();
  await group.destroy();
});

describe('checkpoints of running replicas', () => {
  it('two moments are compared, and what a replica says of a path is proved', async () => {
    const first = await vrfs('checkpoint', 'take', '--keep', '300');
    expect(first.stdout, first.stderr).toMatch(/at replicas 1, 2, 3, kept for 300 s at 1, 2, 3\n$/);
    await fs.unlink('/jobs/3');
    await fs.writeFile('/jobs/new', 'x');
    await caughtUp();
    expect((await vrfs('checkpoint', 'take')).code).toBe(0);
    const op = defined(/op (\d+)/.exec(first.stdout)?.[1], 'an op-number');
    const diff = await vrfs('checkpoint', 'diff', op, 'newest');
    expect(diff.stdout.split('\n').sort()).toEqual(['', '* /jobs  (directory, mtime)', '+ /jobs/new  (file)', '- /jobs/3  (file)']);
    expect(diff.code, diff.stderr).toBe(0);

    const verified = await vrfs('stat', '--verify', '/jobs/new');
    expect(verified.stdout, verified.stderr).toMatch(/File: \/jobs\/new\n[^]*the same at members 1, 2, 3 \(2 had to agree\)/);
    expect(verified.code).toBe(0);
    const absent = await vrfs('stat', '--verify', '/jobs/3');
    expect(absent.stdout).toContain("/jobs/3: proved not to be there (no '3')");
    expect(absent.code).toBe(1);
  });

  it('a flipped bit in a table is found by a scrub, told of, and repaired from the others while clients notice nothing', async () => {
    const victim = ((await group.primary()) + 1) % 3;
    // What is in the database's own log comes into a table when it is opened.
    await group.signal(victim, 'SIGTERM');
    group.start(victim);
    await caughtUp();
    const records = join(group.data(victim), 'records');
    const tables = defined((await liveTableNames(records)) ?? undefined, 'tables').map((name) => ({ name, bytes: readFileSync(join(records, name)) }));
    const { name, bytes } = defined(tables.sort((a, b) => b.bytes.length - a.bytes.length)[0], 'a table');
    const at = bytes.length >> 1;
    const file = openSync(join(records, name), 'r+');
    writeSync(file, Buffer.of((bytes[at] ?? 0) ^ 0x10), 0, 1, at);
    closeSync(file);

    const found = await vrfs('scrub', '--now');
    expect(found.code).toBe(1);
    expect(found.stdout).toContain(`DAMAGED: the table ${name} of the database has 1 blocks with wrong checksums`);
    expect(found.stdout.match(/: no damage: /g)).toHaveLength(2);
    const status = await until('it has repaired itself', 60_000, async () => {
      const s = await statusOf(victim);
      return s !== undefined && s.store.lastDamage !== null && s.executed === s.commit && s.recovery.lastTransfer !== null ? s : undefined;
    });
    await caughtUp();
    expect(status).toMatchObject({ store: { damages: 1, lastDamage: { remedy: 'repaired' } }, scrub: { damages: 1, last: { end: 'damage' } } });
    expect(status.recovery.lastTransfer?.bytesReceived).toBeLessThan(status.recovery.stateBytes / 3);

    const [damaged, sound] = [await metrics(victim), await metrics((victim + 1) % 3)];
    expect([damaged.get('vrfs_scrub_damages_total'), damaged.get('vrfs_store_damages_total'), damaged.get('vrfs_scrub_halted')]).toEqual([1, 1, 0]);
    expect([sound.get('vrfs_scrub_damages_total'), sound.get('vrfs_scrub_passes_total'), sound.get('vrfs_scrub_halted')]).toEqual([0, 1, 0]);
    expect(group.log(victim)).toContain('a part of the state was found damaged on this disk by a scrub');

    const again = await vrfs('scrub', '--now');
    expect(again.stdout.match(/: no damage: /g), again.stdout).toHaveLength(3);
    expect(again.code).toBe(0);
    for (let i = 4; i < FILES; i += 9) expect((await fs.readFile(`/jobs/${i}`)).equals(content(i))).toBe(true);
  });
});
