/**
 * Replica processes as `vrfs serve` runs them are killed and stopped while several clients write through the mount and
 * through HTTP. Whatever was acknowledged is there afterwards, nothing was executed twice, everybody goes on,
 * and a replica that comes back says what it fetched.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startMount, type MountHandle } from '../../mount/start_mount.ts';
import { ProcessGroup, until } from '../support/process_group.ts';

/** A bound, not a measurement: how long a fail-over takes is measured by `npm run bench -- scale`. */
const GO_ON_MS = 60_000;
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
    const response = await sent(url, { method: 'PUT', body: content, headers: { 'if-none-match': '*' } });
    if (response === null) {
      at = (at + 1) % group.size;
      return 'unknown';
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

/** Appends a line that nothing else has: what was executed twice is there twice. */
function appending(file: string, first: number, lines: Lines): Attempt {
  let at = first;
  return async (_, content) => {
    const line = `${content}\n`;
    const response = await sent(`${group.http(at)}/v1/fs/${file}?offset=end`, { method: 'PATCH', body: line });
    if (response?.ok === true) {
      lines.acknowledged.add(line);
      return 'made';
    }
    if (response !== null && response.status !== 503 && response.status !== 504) throw new Error(`PATCH ${file}: ${response.status} ${await response.text()}`);
    at = (at + 1) % group.size;
    lines.unknown.add(line);
    return 'unknown';
  };
}

interface Lines { readonly acknowledged: Set<string>; readonly unknown: Set<string> }

/** Null: the connection broke, or the replica stands still. */
async function sent(url: string, request: RequestInit): Promise<Response | null> {
  try {
    return await fetch(url, { ...request, signal: AbortSignal.timeout(3000) });
  } catch (error) {
    // As undici says it: anything else is a mistake of the test.
    if ((error instanceof TypeError && error.cause instanceof Error) || (error instanceof DOMException && error.name === 'TimeoutError')) return null;
    throw error;
  }
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
  const lines: Lines = { acknowledged: new Set(), unknown: new Set() };
  await writeFile(join(mount.mountpoint, `lines-${scenario}`), '');
  const files = [
    startWriter('mount-a', throughMount(folder)),
    startWriter('mount-b', throughMount(folder)),
    startWriter('http-a', throughHttp(folder, 0)),
    startWriter('http-b', throughHttp(folder, 1)),
  ];
  const writers = [...files, startWriter('appends', appending(`lines-${scenario}`, 2, lines))];
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
  const there = (await readFile(join(mount.mountpoint, `lines-${scenario}`), 'utf8')).split(/(?<=\n)/);
  expect(new Set(there).size, 'a line is there twice').toBe(there.length);
  expect([...lines.acknowledged].filter((line) => !there.includes(line)), 'acknowledged and missing').toEqual([]);
  expect(there.filter((line) => !lines.acknowledged.has(line) && !lines.unknown.has(line)), 'lines that nobody wrote').toEqual([]);
}

/** The replica is back, has caught up, and reports what it fetched against the size of the state. */
async function comesBack(index: number): Promise<void> {
  group.start(index);
  await group.normal(ALL);
  const recovery = await until(`replica ${index + 1} has caught up`, 30_000, async () => {
    const [own, primary] = await Promise.all([group.status(index), group.primary().then((p) => group.status(p))]);
    return own !== undefined && primary !== undefined && own.executed >= primary.commit - 50 && own.recovery.caughtUpMs !== null ? own.recovery : undefined;
  });
  expect(recovery.stateBytes).toBeGreaterThan(0);
  expect(recovery.bytesReceived + (recovery.logBytesReceived ?? 0)).toBeGreaterThan(0);
  expect(group.log(index)).toMatch(/"msg":"up to date: fetched [1-9]\d* bytes from peers/);
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

  it('SIGSTOP of the primary, until another leads and has taken checkpoints', async () => {
    await whileWriting(async (writers) => {
      const stopped = await group.primary();
      const before = (await group.status(stopped))?.checkpoint.op ?? 0;
      await group.signal(stopped, 'SIGSTOP');
      await goOn(writers, 'while the primary stands still');
      await until('the others have taken checkpoints', 120_000, async () => {
        await goOn(writers, 'while the primary stands still');
        const others = await Promise.all(ALL.filter((i) => i !== stopped).map((i) => group.status(i)));
        return others.every((s) => (s?.checkpoint.op ?? 0) > before + 400) ? true : undefined;
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

it('a replica that hears nobody answers reads that need not be the newest from what it has', async () => {
  const left = (await group.primary() + 1) % group.size;
  await writeFile(join(mount.mountpoint, 'known'), 'content');
  const newest = (await fetch(`${group.http(left)}/v1/stat/known`)).headers.get('x-vrfs-op') ?? '';
  const read = (): Promise<Response | null> => sent(`${group.http(left)}/v1/fs/known?consistency=causal`, { headers: { 'x-vrfs-op': newest } });
  expect((await read())?.status).toBe(200);
  const others = ALL.filter((i) => i !== left);
  await Promise.all(others.map((i) => group.signal(i, 'SIGSTOP')));
  // Whom the handlers had asked until then does not matter.
  const answers = [];
  for (let i = 0; i < 5; i++) answers.push(await (await read())?.text());
  await Promise.all(others.map((i) => group.signal(i, 'SIGCONT')));
  expect(answers).toEqual(Array.from({ length: 5 }, () => 'content'));
});
