/** The modes that new files and directories get, here and in the namespace: as those of cp(1), mkdir(1) and the shell. */
import { chmod, chown, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FakeGroup, operationOf } from '../client/fake_group.ts';
import { vrfs } from './harness.ts';

let group: FakeGroup;
let directory: string;
const umask = process.umask();

beforeAll(async () => { group = await FakeGroup.start(); });
afterAll(async () => { await group.stop(); });
beforeEach(async () => { directory = await mkdtemp(join(tmpdir(), 'vrfs-modes-')); });
afterEach(async () => {
  process.umask(umask);
  group.intercept = () => undefined;
  await rm(directory, { recursive: true });
});

async function ok(args: readonly string[], stdin = ''): Promise<string> {
  const result = await vrfs(args, { servers: group.servers, cwd: directory, stdin });
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  return result.stdout;
}
async function modeOf(path: string): Promise<string> {
  const [stats] = JSON.parse(await ok(['stat', '--json', path])) as { mode: string }[];
  return stats?.mode ?? '';
}
const localMode = async (name: string): Promise<number> => (await stat(join(directory, name))).mode & 0o7777;

describe('vrfs put', () => {
  it('gives a new file the mode of the local one, or 0666, without the umask', async () => {
    process.umask(0o077);
    await ok(['put', '-', '/stdin'], 'secret');
    expect(await modeOf('/stdin')).toBe('0600');
    await writeFile(join(directory, 'local'), 'x');
    await chmod(join(directory, 'local'), 0o4755);
    process.umask(0o027);
    await ok(['put', 'local', '/local']);
    expect(await modeOf('/local')).toBe('0750');
    await chmod(join(directory, 'local'), 0o600);
    await ok(['put', 'local', '/secret']);
    expect(await modeOf('/secret')).toBe('0600');
    await ok(['touch', '/touched']);
    expect(await modeOf('/touched')).toBe('0640');
  });

  it('takes an explicit mode as it is', async () => {
    process.umask(0o022);
    await ok(['put', '-m', '666', '-', '/explicit']);
    expect(await modeOf('/explicit')).toBe('0666');
  });
});

describe('vrfs mkdir', () => {
  it('has the umask taken off, or the mode that was asked for from the first moment', async () => {
    process.umask(0o077);
    await ok(['mkdir', '-p', '/a/b']);
    expect([await modeOf('/a'), await modeOf('/a/b')]).toEqual(['0700', '0700']);
    process.umask(0o022);
    const sent: string[] = [];
    group.intercept = (_, message) => {
      const operation = operationOf(message);
      if (operation?.type === 'mkdir' || operation?.type === 'setattr') sent.push(operation.type);
      return undefined;
    };
    await ok(['mkdir', '-m', '700', '/c']);
    await ok(['mkdir', '-m', 'go-w', '/d']);
    expect(sent).toEqual(['mkdir', 'mkdir']);
    expect([await modeOf('/c'), await modeOf('/d')]).toEqual(['0700', '0755']);
    await ok(['mkdir', '-m', '2775', '/e']);
    expect(await modeOf('/e')).toBe('2775');
  });

  it('-p -m gives the mode to the last only, and leaves one that is there', async () => {
    process.umask(0o777);
    await ok(['mkdir', '-p', '-m', '711', '/p/q', '/p/q/r']);
    expect([await modeOf('/p'), await modeOf('/p/q'), await modeOf('/p/q/r')]).toEqual(['0300', '0711', '0711']);
    await ok(['mkdir', '-p', '-m', '700', '/p/q']);
    expect(await modeOf('/p/q')).toBe('0711');
  });

  it('goes on with the others when one is refused', async () => {
    await ok(['mkdir', '/there']);
    expect(await vrfs(['mkdir', '/there', '/other'], { servers: group.servers })).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("EEXIST: file already exists, mkdir '/there'") as string });
    await ok(['stat', '/other']);
  });
});

describe('vrfs get', () => {
  it('keeps the mode of the local file, whatever the umask, and its owner for root', async () => {
    await ok(['put', '-', '/f'], 'new');
    await writeFile(join(directory, 'local'), 'old');
    await chmod(join(directory, 'local'), 0o2664);
    const isRoot = process.getuid?.() === 0;
    if (isRoot) await chown(join(directory, 'local'), 1234, 1235);
    if (isRoot) await chmod(join(directory, 'local'), 0o2664);
    process.umask(0o077);
    await ok(['get', '/f', 'local']);
    expect((await localMode('local')).toString(8)).toBe('2664');
    if (isRoot) expect(await stat(join(directory, 'local'))).toMatchObject({ uid: 1234, gid: 1235 });
    await ok(['get', '/f', 'new']);
    expect((await localMode('new')).toString(8)).toBe('600');
  });

  it('gives a new file the mode of the one in the namespace, without the umask and set-id bits', async () => {
    await ok(['put', '-m', '0600', '-', '/secret'], 'secret');
    await ok(['put', '-m', '6775', '-', '/script'], '#!/bin/sh');
    process.umask(0o022);
    await ok(['get', '/secret', 'secret']);
    await ok(['get', '/script', 'script']);
    expect([await localMode('secret'), await localMode('script')].map((mode) => mode.toString(8))).toEqual(['600', '755']);
    await ok(['chmod', '444', '/script']);
    await ok(['get', '/script', 'readonly']);
    expect((await localMode('readonly')).toString(8)).toBe('444');
  });

  it('does not write through a link that leads nowhere, nor over it', async () => {
    await ok(['put', '-', '/g'], 'new');
    await symlink('nowhere', join(directory, 'link'));
    expect(await vrfs(['get', '/g', 'link'], { servers: group.servers, cwd: directory })).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('is a symbolic link that leads nowhere') as string });
  });
});
