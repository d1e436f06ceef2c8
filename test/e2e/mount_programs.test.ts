/** Real programs on a mount, through both bindings: what people do with a file system has to work. */
import { lstat, mkdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import type { MountHandle } from '../../mount/start_mount.ts';
import { describeTree, inCi, installed, makeTree, pattern, run, temporaryFolder } from './mount_support.ts';
import { mountNamespace } from './mount_namespace.ts';
import type { MountedNamespace } from './mount_namespace.ts';

/** Outside CI a program that is not installed leaves its test out, by name; in CI it fails. */
function needing(...programs: readonly string[]): typeof it | typeof it.skip {
  return inCi || programs.every(installed) ? it : it.skip;
}

const gitEnvironment = {
  GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@example.org', GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@example.org',
  GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1',
};

describe.each(['kernel', 'fuse-native'] as const)('programs on a mount through %s', (binding) => {
  let namespace: MountedNamespace;
  let mount: MountHandle;
  let outside: string;
  // fuse-native keeps milliseconds, and libfuse 2 drops a change of one time alone (as tar makes it).
  const exact = binding === 'kernel';

  beforeAll(async () => {
    outside = temporaryFolder('outside');
    await makeTree(path.join(outside, 'tree'));
    namespace = await mountNamespace({ binding });
    mount = defined(namespace.mounts[0], 'mount');
  });
  afterAll(async () => {
    await namespace.stop();
    await rm(outside, { recursive: true });
  });
  const inside = (...names: readonly string[]): string => path.join(mount.mountpoint, ...names);

  needing('git')('git clones, shows a clean status, commits, packs, and finds no fault', async () => {
    const source = path.join(outside, 'source');
    await makeTree(source);
    await run('git', ['init', '-q', '-b', 'main'], { cwd: source, env: gitEnvironment });
    await run('git', ['add', '-A'], { cwd: source, env: gitEnvironment });
    await run('git', ['commit', '-q', '-m', 'first'], { cwd: source, env: gitEnvironment });
    const clone = inside('clone');
    await run('git', ['clone', '-q', `file://${source}`, clone], { env: gitEnvironment });
    expect(await run('git', ['status', '--porcelain'], { cwd: clone, env: gitEnvironment })).toBe('');
    await run('git', ['fsck', '--full', '--strict'], { cwd: clone, env: gitEnvironment });
    await writeFile(path.join(clone, 'a', 'text'), 'changed\n');
    expect(await run('git', ['status', '--porcelain'], { cwd: clone, env: gitEnvironment })).toBe(' M a/text\n');
    await run('git', ['commit', '-q', '-a', '-m', 'second'], { cwd: clone, env: gitEnvironment });
    await run('git', ['checkout', '-q', '-b', 'other', 'HEAD~1'], { cwd: clone, env: gitEnvironment });
    await run('git', ['merge', '-q', 'main'], { cwd: clone, env: gitEnvironment });
    await run('git', ['gc', '-q'], { cwd: clone, env: gitEnvironment });
    await run('git', ['fsck', '--full', '--strict'], { cwd: clone, env: gitEnvironment });
    expect(await run('git', ['status', '--porcelain'], { cwd: clone, env: gitEnvironment })).toBe('');
    expect(await readFile(path.join(clone, 'a', 'text'), 'utf8')).toBe('changed\n');
  });

  needing('npm')('npm installs a small package from a tarball, and node loads it', async () => {
    const source = path.join(outside, 'greeting');
    await mkdir(path.join(source, 'lib'), { recursive: true });
    await writeFile(path.join(source, 'package.json'), JSON.stringify({ name: 'greeting', version: '1.2.3', main: 'lib/index.js', bin: { greet: 'lib/greet.js' } }));
    await writeFile(path.join(source, 'lib', 'index.js'), 'module.exports = (who) => `hello ${who}`;\n');
    await writeFile(path.join(source, 'lib', 'greet.js'), '#!/usr/bin/env node\nconsole.log(require("./index.js")(process.argv[2]));\n');
    const npm = { npm_config_cache: path.join(outside, 'npm-cache'), npm_config_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false', npm_config_update_notifier: 'false' };
    await run('npm', ['pack', '--silent', '--pack-destination', outside], { cwd: source, env: npm });
    const app = inside('app');
    await mkdir(app);
    await writeFile(path.join(app, 'package.json'), JSON.stringify({ name: 'app', version: '1.0.0', private: true }));
    await run('npm', ['install', '--silent', path.join(outside, 'greeting-1.2.3.tgz')], { cwd: app, env: npm });
    expect(await run('node', ['-e', 'console.log(require("greeting")("world"))'], { cwd: app })).toBe('hello world\n');
    expect(await run(path.join(app, 'node_modules', '.bin', 'greet'), ['you'])).toBe('hello you\n');
    expect(await readlink(path.join(app, 'node_modules', '.bin', 'greet'))).toBe('../greeting/lib/greet.js');
  });

  needing('sqlite3')('sqlite3 creates, fills, updates and checks a database; two writers take turns', async () => {
    const database = inside('test.db');
    const sql = (text: string): Promise<string> => run('sqlite3', ['-batch', '-bail', '-cmd', '.timeout 60000', database, text]);
    await sql('create table t (id integer primary key, name text not null, n int); create index by_name on t (name);');
    await sql("begin; with recursive c(i) as (select 1 union all select i + 1 from c where i < 5000) insert into t select i, 'name-' || i, 0 from c; commit;");
    await sql('begin; update t set n = id where id % 3 = 0; delete from t where id % 7 = 0; commit;');
    const addOne = 'begin immediate; update t set n = n + 1 where id = 1; commit;';
    await Promise.all(Array.from({ length: 6 }, () => sql(addOne)));
    await sql('vacuum;');
    expect((await sql('pragma integrity_check; select count(*), sum(n) from t; select n from t where id = 1;')).trim()).toBe(`ok\n${expectedRows()}\n6`);
  });

  needing('tar')('tar goes in and out with equal checksums', async () => {
    const archive = path.join(outside, `${binding}-in.tar`);
    await run('tar', ['--format=posix', '-cf', archive, '-C', path.join(outside, 'tree'), '.']);
    await mkdir(inside('untarred'));
    await run('tar', ['-xpf', archive, '-C', inside('untarred')]);
    expect(await describeTree(inside('untarred'), exact)).toEqual(await describeTree(path.join(outside, 'tree'), exact));
    const back = path.join(outside, `${binding}-back`);
    await mkdir(back);
    await run('tar', ['--format=posix', '-cf', `${archive}.2`, '-C', inside('untarred'), '.']);
    await run('tar', ['-xpf', `${archive}.2`, '-C', back]);
    expect(await describeTree(back, exact)).toEqual(await describeTree(path.join(outside, 'tree'), exact));
  });

  needing('cp', 'diff')('cp -a copies everything: contents, modes, times, links of both kinds', async () => {
    await run('cp', ['-a', path.join(outside, 'tree'), inside('copied')]);
    expect(await describeTree(inside('copied'), true)).toEqual(await describeTree(path.join(outside, 'tree'), true));
    await run('cp', ['-a', inside('copied'), inside('copied twice')]);
    await run('diff', ['-r', '--no-dereference', inside('copied'), inside('copied twice')]);
    expect((await stat(inside('copied twice', 'a', 'text'))).ino).toBe((await stat(inside('copied twice', 'a', 'b', 'hard link'))).ino);
  });

  needing('rsync')('rsync -a copies everything, and finds nothing to do the second time', async () => {
    const from = `${path.join(outside, 'tree')}/`;
    await run('rsync', ['-aH', from, inside('synced')]);
    expect(await describeTree(inside('synced'), true)).toEqual(await describeTree(path.join(outside, 'tree'), true));
    expect(await run('rsync', ['-aHi', '--checksum', '--delete', from, inside('synced')])).toBe('');
    await writeFile(inside('synced', 'extra'), 'x');
    expect(await run('rsync', ['-aHi', '--delete', from, inside('synced')])).toContain('*deleting   extra');
  });

  needing('find', 'du')('find and du see what is there', async () => {
    await run('cp', ['-a', path.join(outside, 'tree'), inside('walked')]);
    const find = async (where: string): Promise<string[]> => (await run('find', ['.', '-printf', '%y %P %m\n'], { cwd: where })).split('\n').sort();
    expect(await find(inside('walked'))).toEqual(await find(path.join(outside, 'tree')));
    const bytes = async (where: string): Promise<number> => {
      const listed = await run('find', [where, '-type', 'f', '-printf', '%s\n']);
      return listed.trim().split('\n').reduce((sum, line) => sum + Number(line), 0);
    };
    expect(await bytes(inside('walked'))).toBe(await bytes(path.join(outside, 'tree')));
    // du counts blocks of files with several links once.
    const kib = Number((await run('du', ['-sk', inside('walked')])).split('\t')[0]);
    expect(kib).toBeGreaterThanOrEqual(684);
    expect(kib).toBeLessThan(4 * 684);
    await run('find', [inside('walked'), '-delete']);
    await expect(stat(inside('walked'))).rejects.toThrow(/ENOENT/);
  });

  needing('vim')('vim saves by writing a new file and renaming', async () => {
    const file = inside('edited.txt');
    await writeFile(file, 'alpha\nbeta\n');
    const before = await lstat(file);
    await run('vim', ['-u', 'NONE', '-i', 'NONE', '-es', '-c', 'set backup backupcopy=no backupskip=', '-c', '%s/beta/gamma/', '-c', 'wq', file], { env: { TERM: 'dumb' } });
    expect(await readFile(file, 'utf8')).toBe('alpha\ngamma\n');
    expect((await lstat(file)).ino).not.toBe(before.ino);
    expect(await readFile(`${file}~`, 'utf8')).toBe('alpha\nbeta\n');
  });

  needing('python3')('system calls behave as on a local disk', async () => {
    const script = path.join(import.meta.dirname, 'mount_system_calls.py');
    const where = inside('calls');
    await mkdir(where);
    expect(await run('python3', [script, where, binding])).toContain('all passed');
  });

  it('serves 64 writers and readers at once', async () => {
    await mkdir(inside('parallel'));
    const data = pattern(50_000);
    await Promise.all(Array.from({ length: 64 }, async (_, i) => {
      const file = inside('parallel', `f${i}`);
      await writeFile(file, data);
      expect((await readFile(file)).equals(data)).toBe(true);
    }));
  });
});

/** count and sum of what the statements above leave: of 1..5000 without multiples of 7, n = id for multiples of 3, plus six. */
function expectedRows(): string {
  let count = 0;
  let sum = 6;
  for (let id = 1; id <= 5000; id++) {
    if (id % 7 === 0) continue;
    count++;
    if (id % 3 === 0) sum += id;
  }
  return `${count}|${sum}`;
}
