/**
 * Disks of real `vrfs serve` processes: bits flip in each kind of file while a replica is down, and disks that are really
 * full. The replica comes back by itself or says what to do, and the group never shows anything but what was written.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { liveTableNames } from '../../checkpoint/level_tables.ts';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import { CLI, ProcessGroup, until } from '../support/process_group.ts';
import { ofManifest, ofSegment, ofSuperblock, ofTable, whole, type Stretch } from './compared_bytes.ts';

const ALL = [0, 1, 2];
const CHECKPOINT_OPS = 100;

class Tree {
  readonly fs: FileSystem;
  readonly #files = new Map<string, string>();
  #made = 0;

  constructor(client: VrfsClient) {
    this.fs = new FileSystem(client);
  }

  async write(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const name = `/file-${this.#made % 150}`;
      const text = `content ${this.#made} of ${name} `.repeat(30);
      this.#made++;
      await this.fs.writeFile(name, text);
      this.#files.set(name, text);
    }
  }

  async check(): Promise<void> {
    expect((await this.fs.readdir('/')).sort()).toEqual([...this.#files.keys()].map((name) => name.slice(1)).sort());
    for (const [name, text] of this.#files) expect((await this.fs.readFile(name)).toString()).toBe(text);
  }
}

async function connect(group: ProcessGroup): Promise<{ client: VrfsClient; tree: Tree }> {
  const client = await VrfsClient.connect({ servers: group.servers, name: 'disk test' });
  return { client, tree: new Tree(client) };
}

/** All normal, and at one of their next checkpoints their roots are equal. One that is still being written leaves the next out. */
async function equalRoots(group: ProcessGroup, tree: Tree): Promise<void> {
  await group.normal(ALL);
  await tree.write(110);
  await until('equal checkpoints', 60_000, async () => {
    const all = await Promise.all(ALL.map((i) => group.status(i)));
    const ops = new Set(all.map((s) => s?.checkpoint.op));
    const roots = new Set(all.map((s) => s?.checkpoint.root));
    if (ops.size === 1 && !ops.has(undefined)) {
      expect(roots.size, 'one root at one op').toBe(1);
      return true;
    }
    await tree.write(10);
    return undefined;
  });
}

/** No checkpoint of this replica is being written: the superblock names the newest that its database has. */
async function allWritten(group: ProcessGroup, index: number, tree: Tree): Promise<void> {
  await until('the newest checkpoint is durable', 60_000, async () => {
    const status = await group.status(index);
    if (status !== undefined && status.executed - status.checkpoint.op < CHECKPOINT_OPS) return true;
    await tree.write(10);
    return undefined;
  });
}

describe('bits that flip on the disk of one replica while it is down', () => {
  const random = new Prng(77);
  let group: ProcessGroup;
  let client: VrfsClient;
  let tree: Tree;
  let next = 0;

  beforeAll(async () => {
    group = await ProcessGroup.create({ config: { checkpointOps: CHECKPOINT_OPS, retainEntries: 50, journalSegmentBytes: 64 << 10 } });
    group.startAll();
    await group.normal(ALL);
    ({ client, tree } = await connect(group));
    await tree.write(400);
  });
  afterAll(async () => {
    await client.close();
    await group.destroy();
  });

  /** Flips bits where the next start looks (compared_bytes.ts). */
  function flip(path: string, count: number, compared: (bytes: Buffer) => Stretch[]): void {
    const bytes = readFileSync(path);
    const stretches = compared(bytes);
    const length = stretches.reduce((n, [from, to]) => n + to - from, 0);
    expect(length, `what can be flipped in ${path}`).toBeGreaterThan(0);
    const flipped = new Set<number>();
    while (flipped.size < count) {
      let at = random.below(length);
      const [from] = defined(stretches.find(([first, end]) => {
        if (at < end - first) return true;
        at -= end - first;
        return false;
      }), 'stretch');
      // Not the same one twice: that could be the bit that was flipped back.
      if (flipped.has(from + at)) continue;
      flipped.add(from + at);
      bytes[from + at] = defined(bytes[from + at], 'byte') ^ (1 << random.below(8));
    }
    writeFileSync(path, bytes);
  }
  function files(index: number, folder: string, pattern: RegExp): string[] {
    const directory = join(group.data(index), folder);
    return readdirSync(directory).filter((name) => pattern.test(name)).sort().map((name) => join(directory, name));
  }
  function newest(paths: readonly string[]): string {
    return defined(paths.at(-1), 'file');
  }

  // Each flips bits, and says what the replica has to say of that when it is started: a flip that nobody has met shows nothing.
  /** In every table that the database consists of. */
  async function inTables(i: number): Promise<RegExp[]> {
    const names = defined((await liveTableNames(join(group.data(i), 'records'))) ?? undefined, 'tables');
    for (const name of names) flip(join(group.data(i), 'records', name), 1, ofTable);
    const more = names.length > 1 ? `, and ${names.length - 1} others are damaged too` : '';
    return [new RegExp(`the table ${defined(names[0], 'a table')} (?:has 1 blocks with wrong checksums|cannot be read)${more}`)];
  }
  function inLog(i: number): RegExp[] {
    const path = newest(files(i, 'records', /^\d+\.log$/));
    flip(path, 3, whole);
    // One in the last record looks as if that had been torn.
    return [new RegExp(`the log ${basename(path)} of the database has a record that does not check|the records are those of op \\d+, and there was a checkpoint of op \\d+`)];
  }
  function inDatabase(i: number, name: RegExp, count: number, compared: (bytes: Buffer) => Stretch[]): RegExp[] {
    flip(newest(files(i, 'records', name)), count, compared);
    return [/the records in \S+ are damaged/];
  }
  function inSegments(paths: readonly string[], count: number): RegExp[] {
    // One may still be there in which bits were flipped before.
    const sound = paths.filter((path) => ofSegment(readFileSync(path)).length > 0);
    expect(sound.length).toBeGreaterThan(0);
    for (const path of sound) flip(path, count, ofSegment);
    return sound.map((path) => new RegExp(`the journal is damaged: [^"]*segment ${Number(/segment-(\d+)/.exec(path)?.[1])} `));
  }
  function inSuperblock(i: number, name: string): RegExp[] {
    flip(join(group.data(i), name), 1, ofSuperblock);
    return [new RegExp(`${name} cannot be used: `)];
  }
  const segments = (i: number): string[] => files(i, 'journal', /^segment/);

  const places: [string, NodeJS.Signals, (index: number) => RegExp[] | Promise<RegExp[]>][] = [
    ['every table of the database', 'SIGTERM', inTables],
    ['the log of the database', 'SIGKILL', inLog],
    ['the manifest of the database', 'SIGTERM', (i) => inDatabase(i, /^MANIFEST/, 2, ofManifest)],
    ['the file CURRENT of the database', 'SIGTERM', (i) => inDatabase(i, /^CURRENT$/, 1, whole)],
    ['the newest segment of the journal', 'SIGTERM', (i) => inSegments([newest(segments(i))], 3)],
    ['the newest segment of the journal of a killed replica', 'SIGKILL', (i) => inSegments([newest(segments(i))], 3)],
    ['every segment of the journal', 'SIGKILL', (i) => inSegments(segments(i), 2)],
    ['the first copy of the superblock', 'SIGKILL', (i) => inSuperblock(i, 'superblock-a')],
    ['the second copy of the superblock', 'SIGTERM', (i) => inSuperblock(i, 'superblock-b')],
    ['journal, database and a copy of the superblock', 'SIGKILL', async (i) => {
      // Of the log nothing is told where tables are damaged: everything is looked at then.
      inLog(i);
      return [...await inTables(i), ...inSegments(segments(i), 1), ...inSuperblock(i, 'superblock-a')];
    }],
  ];
  for (const [where, signal, damage] of places) {
    it(`in ${where}: it is found, it comes back, and everything is as it was`, async () => {
      const index = next++ % 3;
      await allWritten(group, index, tree);
      await group.signal(index, signal);
      await tree.write(20);
      const told = await damage(index);
      const before = group.log(index).length;
      group.start(index);
      await equalRoots(group, tree);
      await tree.check();
      expect((await group.status(index))?.executed).toBeGreaterThan(0);
      for (const line of told) expect(group.log(index).slice(before)).toMatch(line);
    });
  }

  it('a segment of the journal is gone, two have changed places: the same', async () => {
    await group.signal(1, 'SIGKILL');
    rmSync(newest(segments(1)));
    const before = group.log(1).length;
    group.start(1);
    await equalRoots(group, tree);
    expect(group.log(1).slice(before)).toMatch(/the journal is damaged: segment \d+, in which the log goes on, is missing/);
    await group.signal(1, 'SIGTERM');
    const [a, b] = segments(1);
    const [first, second] = [defined(a, 'segment'), defined(b, 'segment')];
    renameSync(first, `${first}.x`);
    renameSync(second, first);
    renameSync(`${first}.x`, second);
    const swapped = group.log(1).length;
    group.start(1);
    await equalRoots(group, tree);
    await tree.check();
    expect(group.log(1).slice(swapped)).toMatch(/the journal is damaged: the header of segment \d+ is damaged/);
  });

  it('in both copies of the superblock: it refuses to start and says what to do, and never starts empty', async () => {
    await group.signal(2, 'SIGTERM');
    const copies = ['superblock-a', 'superblock-b'].map((name) => join(group.data(2), name));
    const whole = copies.map((path) => readFileSync(path));
    for (const path of copies) flip(path, 1, ofSuperblock);
    group.start(2);
    expect(await group.exitCode(2)).toBe(5);
    expect(group.output(2)).toMatch(/neither copy of the superblock can be read .*may not take part again.*vrfs serve --join.*vrfs members replace/);
    expect(group.output(2)).toMatch(/Do not format it anew/);
    await tree.write(20);
    await tree.check();
    for (const [i, path] of copies.entries()) writeFileSync(path, defined(whole[i], 'copy'));
    group.start(2);
    await equalRoots(group, tree);
  });
});

describe('a disk that is full', () => {
  /** The data directory of the third replica lies on a file system of its own. */
  async function groupOnSmallDisk(config: Readonly<Record<string, number>>, megabytes: number): Promise<ProcessGroup> {
    const group = await ProcessGroup.create({ config: { retainEntries: 50, ...config } });
    const data = group.data(2);
    renameSync(data, `${data}.made`);
    mkdirSync(data);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=700`, 'tmpfs', data]);
    onTestFinished(async () => {
      for (const i of ALL) await group.signal(i, 'SIGKILL');
      execFileSync('umount', [data]);
      await group.destroy();
    });
    cpSync(`${data}.made`, data, { recursive: true });
    group.startAll();
    await group.normal(ALL);
    return group;
  }

  /** Takes what is left but for `keep` bytes. */
  function fill(group: ProcessGroup, keep: number): string {
    const path = join(group.data(2), 'filler');
    const { bavail, bsize } = statfsSync(group.data(2));
    writeFileSync(path, Buffer.alloc(Math.max(0, bavail * bsize - keep)));
    return path;
  }

  async function stopsAndComesBack(group: ProcessGroup, tree: Tree, filler: string, message: RegExp): Promise<void> {
    let ended = false;
    const exit = group.exitCode(2).finally(() => { ended = true; });
    while (!ended) await tree.write(10);
    expect(await exit).toBe(70);
    expect(group.log(2)).toMatch(message);
    // The others go on without it.
    await tree.write(30);
    await tree.check();
    rmSync(filler);
    group.start(2);
    await equalRoots(group, tree);
    await tree.check();
    expect((await group.status(2))?.recovery).toMatchObject({ bootLogIntact: true });
  }

  it('for the journal: the replica stops with a message and no damage, and goes on when there is room', async () => {
    const group = await groupOnSmallDisk({ checkpointOps: 100_000, journalSegmentBytes: 256 << 10 }, 24);
    const { client, tree } = await connect(group);
    onTestFinished(() => client.close());
    await tree.write(50);
    await stopsAndComesBack(group, tree, fill(group, 16 << 10), /the journal in .* could not be written: ENOSPC.*A failed write is not repeated: make room or check the disk, then start the replica again/);
  });

  it('for a checkpoint: the last one stays good, the replica says what it waits for, and takes it when there is room', async () => {
    const group = await groupOnSmallDisk({ checkpointOps: 100, journalSegmentBytes: 256 << 10 }, 40);
    const { client, tree } = await connect(group);
    onTestFinished(() => client.close());
    await tree.write(150);
    const filler = fill(group, 1 << 20);
    const waiting = await until('the checkpoint waits', 60_000, async () => {
      await tree.write(10);
      const status = await group.status(2);
      return (status?.store.waitingForRoom ?? null) === null ? undefined : status;
    });
    // The others go on, far beyond it; one that led has given that to them.
    await tree.write(300);
    await tree.check();
    expect((await group.status(2))?.checkpoint).toEqual(waiting.checkpoint);
    expect(group.log(2)).toMatch(/a checkpoint waits for room on the disk of .*: \d+ bytes are needed \(with the reserve\), \d+ are free/);
    expect(await (await fetch(`${group.http(2)}/metrics`)).text()).toMatch(/\nvrfs_checkpoint_waiting_for_room 1\n/);
    const shown = spawnSync(process.execPath, [CLI, 'status', '--server', group.servers.join(',')], { encoding: 'utf8' });
    expect(shown.stdout + shown.stderr).toMatch(/replica 3: a checkpoint waits for room on the disk: [\d.]+ \w+ are free, [\d.]+ \w+ are needed/);
    rmSync(filler);
    await equalRoots(group, tree);
    await tree.check();
    expect((await group.status(2))?.store).toMatchObject({ waitingForRoom: null });
    expect(group.log(2)).toMatch(/there is room on the disk again: the checkpoint is written/);
  });
});
