/** Groups whose replicas are programs of the test: what becomes of them when they do not do what they should. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { failureOf } from '../../../cli/failure.ts';
import { LocalGroup, NotInTime, type LocalGroupOptions } from '../../../cli/tune/local_group.ts';
import { temporaryDirectory, until } from '../../server/support.ts';

let directory: string;
let parent: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  parent = await temporaryDirectory();
});

async function options(program: string, signal = new AbortController().signal): Promise<LocalGroupOptions> {
  const main = join(directory, 'main.mjs');
  // Whoever is left over says so.
  await writeFile(main, `import { writeFileSync } from 'node:fs';\nwriteFileSync(${JSON.stringify(directory)} + '/pid-' + process.pid, '');\nprocess.on('disconnect', () => process.exit(1));\n${program}\n`);
  return { replicas: 3, durability: 'disk', parent, config: { checkpointOps: 5 }, main, signal };
}

async function pids(): Promise<number[]> {
  return (await readdir(directory)).flatMap((name) => (name.startsWith('pid-') ? [Number(name.slice(4))] : []));
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function noneIsLeft(): Promise<void> {
  expect(await readdir(parent)).toEqual([]);
  for (const pid of await pids()) expect(runs(pid)).toBe(false);
}

const READY = "process.send({ type: 'ready' }); setInterval(() => undefined, 1000);";

describe('a group of processes', () => {
  it('that does not start says why, and leaves nothing', async () => {
    const failure = failureOf(await LocalGroup.start(await options("process.send({ type: 'failed', message: 'no room on the disk' }, () => process.exit(5));")).catch((e: unknown) => e));
    expect(failure).toMatchObject({ exitCode: 5, message: expect.stringMatching(/^replica \d of the group that is measured has ended \(exit code 5\): no room on the disk$/) as string });
    await noneIsLeft();
  });

  it('that is still starting when all is to end leaves nothing', async () => {
    const stop = new AbortController();
    const started = LocalGroup.start(await options('setInterval(() => undefined, 1000);', stop.signal));
    const rejected = expect(started).rejects.toThrow();
    let seen = 0;
    await until(() => { void pids().then((all) => { seen = all.length; }); return seen === 3; }, 'three processes');
    stop.abort(new Error('enough'));
    await rejected;
    await noneIsLeft();
  });

  it('has the interval in the configuration of each, and nothing of this environment', async () => {
    process.env['VRFS_CHECKPOINT_OPS'] = '77';
    try {
      const group = await LocalGroup.start(await options(`writeFileSync(${JSON.stringify(directory)} + '/env-' + process.pid, JSON.stringify(process.env)); ${READY}`));
      for (const id of [1, 2, 3]) expect(JSON.parse(await readFile(join(group.directory, `${id}.json`), 'utf8'))).toMatchObject({ checkpointOps: 5, data: join(group.directory, String(id)) });
      for (const name of (await readdir(directory)).filter((n) => n.startsWith('env-'))) expect(await readFile(join(directory, name), 'utf8')).not.toContain('VRFS_CHECKPOINT_OPS');
      await group.destroy();
      await group.destroy();
    } finally {
      delete process.env['VRFS_CHECKPOINT_OPS'];
    }
    expect(await pids()).toHaveLength(3);
    await noneIsLeft();
  });

  it('tells a replica that has died from one that is slow', async () => {
    const group = await LocalGroup.start(await options(READY));
    try {
      await expect(group.until(0, 'an answer', () => true, 1)).rejects.toThrow(NotInTime);
      await group.killReplica(0);
      const error: unknown = await group.until(0, 'an answer', () => true).catch((e: unknown) => e);
      expect(error).not.toBeInstanceOf(NotInTime);
      expect(failureOf(error)).toMatchObject({ exitCode: 5, message: 'replica 1 of the group that is measured has ended (SIGKILL)' });
      await group.startReplica(0);
      await expect(group.until(0, 'an answer', () => true, 1)).rejects.toThrow(NotInTime);
    } finally {
      await group.destroy();
    }
    await noneIsLeft();
  });
});
