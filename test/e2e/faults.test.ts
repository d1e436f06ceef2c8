/**
 * Replica processes as `vrfs serve` runs them are killed and stopped while several clients write through the mount and
 * through HTTP. Whatever was acknowledged is there afterwards, nothing was executed twice, everybody goes on within 5 s,
 * and a replica that comes back says what it fetched.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startMount, type MountHandle } from '../../mount/start_mount.ts';
import { ProcessGroup, until } from '../support/process_group.ts';

const GO_ON_MS = 5000;
const ALL = [0, 1, 2];

let group: ProcessGroup;
let mount: MountHandle;

beforeAll(async () => {
  group = await ProcessGroup.create({ config: { checkpointOps: 200 } });
  group.startAll();
  await group.normal(ALL);
  mount = await startMount({ servers: group.servers, mountpoint: join(group.directory, 'mnt'), logFile: join(group.directory, 'mount.log') });
});

afterAll(async () => {
  await mount.unmount();
  await group.destroy();
});

/** A client that makes one file after the other, exclusively: made twice, the second attempt would say so. */
interface Writer {
  readonly name: string;
  /** Files whose creation was acknowledged. */
  readonly acknowledged: Set<string>;
  /** The connection broke before the answer: may be there or not. */
  readonly unknown: Set<string>;
  stop: boolean;
  readonly running: Promise<void>;
}

type Attempt = (file: string, content: string) => Promise<'made' | 'unknown'>;

function startWriter(name: string, attempt: Attempt): Writer {
  const writer = { name, acknowledged: new Set<string>(), unknown: new Set<string>(), stop: false, running: Promise.resolve() };
  const run = async (): Promise<void> => {
    for (let i = 0; !writer.stop; i++) {
      const file = `${name}-${i}`;
      const outcome = await attempt(file, `content of ${file}`);
      (outcome === 'made' ? writer.acknowledged : writer.unknown).add(file);
    }
  };
  writer.running = run();
  return writer;
}

function throughMount(folder: string): Attempt {
  return async (file, content) => {
    await writeFile(join(mount.mountpoint, folder, file), content, { flag: 'wx' });
    return 'made';
  };
}

/** Speaks to one replica, and to the next when that one does not answer. */
function throughHttp(folder: string, first: number): Attempt {
  let at = first;
  return async (file, content) => {
    const url = `${group.http(at)}/v1/fs/${folder}/${file}`;
    let response: Response;
    try {
      response = await fetch(url, { method: 'PUT', body: content, headers: { 'if-none-match': '*' }, signal: AbortSignal.timeout(3000) });
    } catch {
      at = (at + 1) % group.size;
      return 'unknown'; // the connection broke, or the replica stands still
    }
    if (response.status === 201) return 'made';
    const text = await response.text();
    if (response.status === 503 || response.status === 504) {
      at = (at + 1) % group.size;
      return 'unknown';
    }
    throw new Error(`PUT ${file}: ${response.status} ${text}`);
  };
}

/** Increments one file by compare-and-set; an increment that is executed twice would be seen in the end. */
function counter(file: string, first: number, count: { acknowledged: number; unknown: number }): Attempt {
  let at = first;
  return async () => {
    try {
      const url = `${group.http(at)}/v1/fs/${file}`;
      const read = await fetch(url, { signal: AbortSignal.timeout(3000) });
      const value = read.ok ? Number(await read.text()) : 0;
      const condition: Record<string, string> = read.ok ? { 'if-match': read.headers.get('etag') ?? '' } : { 'if-none-match': '*' };
      const written = await fetch(url, { method: 'PUT', body: String(value + 1), headers: condition, signal: AbortSignal.timeout(3000) });
      if (written.ok) count.acknowledged++;
      else if (written.status >= 500) count.unknown++;
      // 412: another increment of our own, whose answer was lost, came between.
    } catch {
      count.unknown++;
      at = (at + 1) % group.size;
    }
    return 'made';
  };
}

async function goOn(writers: readonly Writer[], what: string): Promise<void> {
  const before = new Map(writers.map((w) => [w, w.acknowledged.size]));
  await until(`${what}: every client has further answers`, GO_ON_MS, () =>
    writers.every((w) => w.acknowledged.size >= (before.get(w) ?? 0) + 2) ? true : undefined);
}

let scenario = 0;

/** Runs writers of both kinds; `fault` happens while they write, and afterwards everything is checked. */
async function whileWriting(fault: (writers: readonly Writer[]) => Promise<void>): Promise<void> {
  const folder = `scenario-${++scenario}`;
  await mkdir(join(mount.mountpoint, folder));
  const count = { acknowledged: 0, unknown: 0 };
  const files = [
    startWriter('mount-a', throughMount(folder)),
    startWriter('mount-b', throughMount(folder)),
    startWriter('http-a', throughHttp(folder, 0)),
    startWriter('http-b', throughHttp(folder, 1)),
  ];
  const counting = startWriter('counter', counter(`counter-${scenario}`, 2, count));
  const writers = [...files, counting];
  await goOn(writers, 'before the fault');
  await fault(writers);
  for (const w of writers) w.stop = true;
  await Promise.all(writers.map((w) => w.running));

  const present = new Set(await readdir(join(mount.mountpoint, folder)));
  for (const w of files) {
    for (const file of w.acknowledged) {
      expect(present.delete(file), `${file} was acknowledged and is missing`).toBe(true);
      expect(await readFile(join(mount.mountpoint, folder, file), 'utf8')).toBe(`content of ${file}`);
    }
    for (const file of w.unknown) present.delete(file);
  }
  expect([...present], 'files that nobody made').toEqual([]);
  const value = Number(await readFile(join(mount.mountpoint, `counter-${scenario}`), 'utf8'));
  expect(value).toBeGreaterThanOrEqual(count.acknowledged);
  expect(value).toBeLessThanOrEqual(count.acknowledged + count.unknown);
}

/** The replica is back, has caught up, and reports what it fetched against the size of the state. */
async function comesBack(index: number): Promise<void> {
  group.start(index);
  await group.normal(ALL);
  const recovery = await until(`replica ${index + 1} has caught up`, 30_000, async () => {
    const [own, primary] = await Promise.all([group.status(index), group.primary().then((p) => group.status(p))]);
    return own !== undefined && primary !== undefined && own.executed >= primary.commit - 50 ? own.recovery : undefined;
  });
  expect(recovery.stateBytes).toBeGreaterThan(0);
  expect(recovery.bytesReceived).toBeGreaterThanOrEqual(0);
  expect(recovery.logBytesReceived).not.toBeNull();
  expect(group.log(index)).toMatch(/bytes/);
}

afterEach(async () => {
  await group.normal(ALL);
});

describe('while clients write through the mount and through HTTP', () => {
  it('kill -9 of the primary', async () => {
    let killed = -1;
    await whileWriting(async (writers) => {
      killed = await group.primary();
      await group.signal(killed, 'SIGKILL');
      await goOn(writers, 'after the primary was killed');
    });
    await comesBack(killed);
  });

  it('kill -9 of a backup', async () => {
    const killed = ((await group.primary()) + 1) % group.size;
    await whileWriting(async (writers) => {
      await group.signal(killed, 'SIGKILL');
      await goOn(writers, 'after a backup was killed');
    });
    await comesBack(killed);
  });

  it('kill -9 of all three', async () => {
    await whileWriting(async (writers) => {
      await Promise.all(ALL.map((i) => group.signal(i, 'SIGKILL')));
      group.startAll();
      await group.normal(ALL);
      await goOn(writers, 'after all replicas were killed and started');
    });
  });

  it('SIGSTOP of the primary for 10 s', async () => {
    await whileWriting(async (writers) => {
      const stopped = await group.primary();
      const stoppedAt = performance.now();
      await group.signal(stopped, 'SIGSTOP');
      await goOn(writers, 'while the primary stands still');
      // The others work on, for as long as the scenario says.
      await until('10 s have passed', 11_000, async () => {
        await goOn(writers, 'while the primary stands still');
        return performance.now() - stoppedAt >= 10_000 ? true : undefined;
      });
      await group.signal(stopped, 'SIGCONT');
      await goOn(writers, 'after the old primary woke up');
    });
  });
});

it('a replica that was away fetches what changed, not the whole state', async () => {
  const away = ((await group.primary()) + 1) % group.size;
  // A state of some size, in checkpoints everywhere.
  await mkdir(join(mount.mountpoint, 'bulk'));
  for (let i = 0; i < 40; i++) await writeFile(join(mount.mountpoint, 'bulk', `large-${i}`), Buffer.alloc(64 << 10, i + 1));
  await group.signal(away, 'SIGKILL');
  await mkdir(join(mount.mountpoint, 'later'));
  for (let i = 0; i < 100; i++) await writeFile(join(mount.mountpoint, 'later', `small-${i}`), `small ${i}`);
  await comesBack(away);
  const status = await group.status(away);
  const state = status?.recovery.stateBytes ?? 0;
  expect(state).toBeGreaterThan(1 << 20);
  const fetched = (status?.recovery.bytesReceived ?? Infinity) + (status?.recovery.logBytesReceived ?? Infinity);
  expect(fetched).toBeLessThan(state / 4);
});
