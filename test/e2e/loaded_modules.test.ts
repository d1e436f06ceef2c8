/** Which packages a command loads, of the compiled program: most of the time that a short one takes is loading. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeGroup } from '../client/fake_group.ts';
import { CLI } from '../support/process_group.ts';

let group: FakeGroup;
let directory: string;
let round = 0;

beforeAll(async () => {
  group = await FakeGroup.start();
  directory = await mkdtemp(join(tmpdir(), 'vrfs-loaded-'));
  // Node asks the second, in a thread of its own, for the source of each module.
  await writeFile(join(directory, 'register.mjs'), `import { register } from 'node:module';\nregister('./hooks.mjs', import.meta.url);\n`);
  await writeFile(join(directory, 'hooks.mjs'), `import { appendFileSync } from 'node:fs';\nexport function load(url, context, next) {\n  appendFileSync(process.env.VRFS_TEST_LOADED, url + '\\n');\n  return next(url, context);\n}\n`);
});
afterAll(async () => {
  await group.stop();
  await rm(directory, { recursive: true });
});

interface Loaded {
  readonly exitCode: number | null;
  readonly stderr: string;
  /** Of node_modules. */
  readonly packages: readonly string[];
  /** Of dist/cli/commands. */
  readonly commands: readonly string[];
}

async function loadedBy(...args: string[]): Promise<Loaded> {
  const list = join(directory, `loaded-${round++}`);
  const child = spawn(process.execPath, ['--import', pathToFileURL(join(directory, 'register.mjs')).href, CLI, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, VRFS_TEST_LOADED: list, VRFS_SERVERS: group.servers.join(',') },
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text; });
  const [exitCode] = await once(child, 'close') as [number | null];
  const urls = (await readFile(list, 'utf8')).split('\n');
  const found = (pattern: RegExp): string[] => [...new Set(urls.flatMap((url) => pattern.exec(url)?.[1] ?? []))].sort();
  return { exitCode, stderr, packages: found(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//), commands: found(/\/dist\/cli\/commands\/(\w+)\.js$/) };
}

describe('the modules of a command', () => {
  it('are those of its own file, and no more packages than it needs', async () => {
    expect(await loadedBy('--version')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: [] });
    expect(await loadedBy('mkdir', '/d')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: ['namespace'] });
    expect(await loadedBy('ls', '-l', '/')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: ['namespace'] });
    expect(await loadedBy('stat', '/d')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: ['namespace', 'stat'] });
    expect(await loadedBy('put', CLI, '/d/f')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: ['content', 'namespace'] });
    expect(await loadedBy('xattr', 'list', '/d/f')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: ['attributes', 'namespace'] });
    expect(await loadedBy('members', 'list')).toEqual({ exitCode: 0, stderr: '', packages: ['commander'], commands: ['members'] });
  });

  it.each([['serve'], ['start'], ['revive'], ['mount'], ['tune']])('of the help of %s are few, whatever it needs to run', async (name) => {
    expect(await loadedBy(name, '--help')).toMatchObject({ exitCode: 0, packages: ['commander'] });
  });

  it('are seen when they are loaded late, and whatever loads them', async () => {
    // Both need what is not there; by then they have loaded what they work with.
    expect((await loadedBy('serve', '--data', join(directory, 'absent'), '--log-level', 'silent')).packages).toEqual(expect.arrayContaining(['zod', 'pino', 'level']));
    expect((await loadedBy('stat', '--verify', '--timeout', '50', '/d')).packages).toEqual(expect.arrayContaining(['undici']));
  });
});
