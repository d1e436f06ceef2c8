import { lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { buildProgram } from '../../cli/run.ts';
import { processIo } from '../../cli/io.ts';
import { atPath } from '../../client/caller.ts';
import { FakeGroup, operationOf } from '../client/fake_group.ts';
import { vrfs, type CliResult } from './harness.ts';

let group: FakeGroup;
let directory: string;
let round = 0;
let home = '';

const cli = (...args: string[]): Promise<CliResult> => vrfs(args, { servers: group.servers, cwd: directory });
async function ok(...args: string[]): Promise<string> {
  const result = await cli(...args);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  return result.stdout;
}

beforeAll(async () => {
  group = await FakeGroup.start();
  directory = await mkdtemp(join(tmpdir(), 'vrfs-cli-'));
});
afterAll(async () => {
  await group.stop();
  await rm(directory, { recursive: true });
});
beforeEach(async () => {
  home = `/h${round++}`;
  await ok('mkdir', home);
});

describe('every command', async () => {
  const commands = (await buildProgram(processIo())).commands.flatMap((c) => (c.commands.length > 0 ? c.commands.map((s) => [c.name(), s.name()]) : [[c.name()]])).filter(([name]) => name !== 'help');

  it.each(commands.map((c) => [c.join(' '), c] as const))('%s explains itself with an example', async (_, command) => {
    const { exitCode, stdout } = await vrfs([...command, '--help']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:\\n  .*vrfs ${command.join(' ')}`));
  });
});

describe('exit codes', () => {
  it('0 for help and version', async () => {
    expect((await vrfs(['--help'])).stdout).toContain('Exit codes:');
    expect((await vrfs(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('1 when the file system refuses', async () => {
    const refused = await cli('cat', `${home}/absent`);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toBe(`vrfs: ENOENT: no such file or directory, cat '${home}/absent'\n`);
    expect(JSON.parse((await cli('stat', '--json', `${home}/absent`)).stderr)).toMatchObject({ error: { code: 'ENOENT', exitCode: 1 } });
  });

  it('unreachable, with the reason and when to retry, when the group is busy', async () => {
    group.intercept = (_, m) => (m.type === 'request' ? { type: 'reject', code: 'busy', reason: 'the log is long', retryAfterMs: 20, session: m.session, slot: m.slot, seq: m.seq, id: 0 } : undefined);
    try {
      const result = await cli('mkdir', `${home}/a`, '--timeout', '300');
      expect(result.exitCode).toBe(3);
      expect(result.stderr).toContain('the group is busy, retry after 20 ms: the log is long');
    } finally {
      group.intercept = () => undefined;
    }
  });

  it('1 when one of several paths is refused, and the others are done', async () => {
    await ok('touch', `${home}/a`, `${home}/b`);
    const result = await cli('rm', `${home}/a`, `${home}/absent`, `${home}/b`);
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain('absent');
    expect(await ok('ls', home)).toBe('');
  });

  it('1 when one of several files cannot be printed, and the others are', async () => {
    for (const name of ['a', 'b', 'c']) await vrfs(['put', '-', `${home}/${name}`], { servers: group.servers, stdin: name.repeat(name === 'b' ? 8 << 20 : 1) });
    expect(await cli('cat', `${home}/a`, `${home}/absent`, home, `${home}/c`)).toMatchObject({
      exitCode: 1, stdout: 'ac', stderr: `vrfs: ENOENT: no such file or directory, cat '${home}/absent'\nvrfs: EISDIR: illegal operation on a directory, cat '${home}'\n`,
    });
    group.intercept = (_, m) => {
      if (operationOf(m)?.type === 'read') group.execute({ type: 'write', at: atPath(Buffer.from(`${home}/b`)), offset: 0, data: Buffer.from('B') });
      return undefined;
    };
    try {
      const { exitCode, stdout, stderr } = await cli('cat', `${home}/b`, `${home}/c`);
      expect([exitCode, stdout.at(-1), stderr]).toEqual([1, 'c', `vrfs: EAGAIN: '${home}/b' changed while it was read; read it again\n`]);
    } finally {
      group.intercept = () => undefined;
    }
  });

  it.each([
    [['frobnicate'], 'unknown command'],
    [['ls', '--frobnicate'], 'unknown option'],
    [['mkdir'], 'missing required argument'],
    [['ls', '--timeout', 'soon'], 'a positive integer is needed'],
    [['ls', '--timeout', '3000000000'], 'at most 2147483647 milliseconds'],
    [['ls', '--timeout', '0'], 'a positive integer is needed'],
    [['ls', '--server', 'here'], '"here" is not an address: write host:port'],
    [['mv', '/a'], 'mv takes what to move and where to'],
    [['chmod', 'rwx', '/'], "'rwx' is not a mode"],
    [['chown', 'ann', '/'], "'ann' is not an owner"],
    [['truncate', '-1', '/f'], 'an integer from 0 on is needed'],
    [['put', '--exclusive', '--if-version', '3', '-', '/f'], 'cannot be used with'],
    [['xattr', 'set', '/', 'note', 'x'], "'user.note'?"],
    [['members', '--frobnicate'], 'unknown option'],
    [['members', 'frobnicate'], "vrfs members has no command 'frobnicate': there are list, add, remove"],
    [['members', 'list', 'all'], "list takes no arguments, and got 'all'"],
    [['members', 'remove', '3', '--timeout', '3000000000'], 'at most 2147483647 milliseconds'],
    [['checkpoint', 'take', '--keep', '604801'], 'at most 604800 seconds'],
    [['checkpoint', 'interval', '--bytes', '1X'], 'a number of bytes is needed, as 65536, 64K, 16M or 1G'],
    [['checkpoint', 'interval', '--bytes', '0'], 'a number of bytes is needed'],
    [['checkpoint', 'frobnicate'], "vrfs checkpoint has no command 'frobnicate': there are list, take"],
  ])('2 for %j', async (args, message) => {
    const result = await vrfs(args, { servers: group.servers });
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(message);
    expect(result.stdout).toBe('');
  });

  it.each([
    [['ls', '--json', '--bogus'], "unknown option '--bogus'"],
    [['stat', '--json'], "missing required argument 'path'"],
    [['du', '--json', '--timeout', 'soon', '/'], "option '--timeout <ms>' argument 'soon' is invalid. a positive integer is needed"],
    [['checkpoint', 'frobnicate', '--json'], "vrfs checkpoint has no command 'frobnicate': there are list, take, diff, interval"],
    [['frobnicate', '--json'], "unknown command 'frobnicate'"],
  ])('2 for %j, as JSON and nothing else', async (args, message) => {
    const { exitCode, stdout, stderr } = await vrfs(args, { servers: group.servers });
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(JSON.parse(stderr)).toEqual({ error: { code: 'USAGE', message, remedy: '--help shows what there is', exitCode: 2 } });
  });

  it('0 for help, which is text with --json too', async () => {
    expect(await vrfs(['ls', '--json', '--help'])).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('Usage: vrfs ls') as string, stderr: '' });
    expect(await vrfs([])).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringContaining('Usage: vrfs') as string });
  });

  it('3 when no replica can be reached', async () => {
    const result = await vrfs(['ls', '--timeout', '200', '--server', '127.0.0.1:1'], {});
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toContain('127.0.0.1:1: connect ECONNREFUSED');
  });

  it('3 when no primary answers', async () => {
    group.intercept = (_, m) => (m.type === 'hello' ? undefined : null);
    const result = await cli('mkdir', '--timeout', '200', `${home}/x`);
    group.intercept = () => undefined;
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toContain('A majority of the group has to run');
  });

  it('4 when the outcome is not known', async () => {
    group.intercept = (_, m) => (m.type === 'request' ? null : undefined);
    const result = await cli('mkdir', '--timeout', '200', `${home}/x`);
    group.intercept = () => undefined;
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain('Read the present state before you repeat it');
  });

  it('4 when a long write loses the majority, and 2 when it cannot be compared', async () => {
    const stdin = Buffer.alloc(3 << 20);
    let gone = false;
    group.intercept = (_, m) => {
      gone ||= operationOf(m)?.type === 'write';
      return gone && m.type === 'request' ? null : undefined;
    };
    const result = await vrfs(['put', '--timeout', '200', '-', `${home}/x`], { servers: group.servers, stdin });
    group.intercept = () => undefined;
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain('Read the present state before you repeat it');
    expect(await vrfs(['put', '--if-version', '3', '-', `${home}/x`], { servers: group.servers, stdin })).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('ifVersion is for contents of up to') as string });
    expect(await vrfs(['put', '--if-version', '9007199254740991', '-', `${home}/x`], { servers: group.servers, stdin: 'x' })).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('9007199254740991') as string });
  });

  it('5 for what the machine does not allow', async () => {
    const result = await cli('serve', '--data', join(directory, 'nothing'));
    expect(result.exitCode).toBe(5);
    expect(result.stderr).toContain('vrfs format');
    expect((await cli('serve', '--data', directory, '-o', 'checkpointOps=many')).stderr).toContain('checkpointOps');
  });
});

describe('a command says whether it only reads, and may end when nobody reads its output any more', () => {
  it.each([
    [['ls', '/'], true], [['cat', '/f'], true], [['xattr', 'list', '/'], true], [['mkdir', '/onlyreads'], false], [['members', 'replace', 'nothing', 'nothing'], false],
    [['checkpoint', 'diff', '1', 'newest'], true], [['members', 'list'], true], [['members'], true], [['metrics'], true], [['sessions'], true],
    [['get', '/f', '-'], true], [['get', '/f', '/dev/null'], false],
    // Their exit code says how the group is: it has to be theirs to the end, which comes at once.
    [['status'], false], [['scrub'], false], [['checkpoint', 'list'], false],
  ])('%j: %s', async (args, expected) => {
    expect((await vrfs(args, { servers: group.servers })).onlyReads).toBe(expected);
  });
});

describe('vrfs stat', () => {
  it.each([[[], 'File: /'], [['--json'], '"path": "/"']])('shows those that are there when one is missing %j', async (json, expected) => {
    const result = await cli('stat', ...json, '/nothing', '/');
    expect(result).toMatchObject({ exitCode: 1, stdout: expect.stringContaining(expected) as string, stderr: expect.stringContaining("ENOENT: no such file or directory, getattr '/nothing'") as string });
  });

  it('asks for many at once, and shows them in order', async () => {
    const paths = Array.from({ length: 200 }, (_, i) => `${home}/${i}`);
    await ok('touch', ...paths);
    const before = group.chunks;
    expect((await ok('stat', ...paths)).match(/(?<=File: ).*/g)).toEqual(paths);
    // What is asked for one after the other comes in a piece each.
    expect(group.chunks - before).toBeLessThan(paths.length);
    expect(JSON.parse(await ok('stat', '--json', ...paths))).toMatchObject(paths.map((path) => ({ path })));
  });
});

describe('an output that takes nothing more', () => {
  it.each([
    [['ls', '/']], [['ls', '--json', '/']], [['cat', '/f']], [['get', '/f', '-']], [['--help']], [['ls', '--help']], [['--version']],
  ])('ends %j with exit code 1', async (args) => {
    await vrfs(['put', '-', '/f'], { servers: group.servers, stdin: 'text' });
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    const result = await vrfs(args, { servers: group.servers, stdoutFails: full });
    expect(result.exitCode).toBe(1);
    const message = 'cannot write the output: ENOSPC: no space left on device, write';
    if (args.includes('--json')) expect(JSON.parse(result.stderr)).toMatchObject({ error: { code: 'ENOSPC', message, exitCode: 1 } });
    else expect(result.stderr).toBe(`vrfs: ${message}\n`);
  });
});

describe('names', () => {
  it('are listed, in lines and as JSON', async () => {
    await ok('mkdir', '-p', `${home}/d/e`);
    await vrfs(['put', '-', `${home}/f`], { servers: group.servers, stdin: 'hello' });
    await ok('ln', '-s', 'f', `${home}/s`);
    expect(await ok('ls', home)).toBe('d\nf\ns\n');
    expect(await ok('ls', '-l', home)).toMatch(/drwxr-xr-x .* d\n-rw-r--r-- .* 5 .* f\nlrwxrwxrwx .* s -> f\n/);
    expect(JSON.parse(await ok('ls', '--json', home))).toMatchObject([{ name: 'd', type: 'directory' }, { name: 'f', size: 5, mode: '0644' }, { name: 's', type: 'symlink' }]);
    expect(await ok('readlink', `${home}/s`)).toBe('f\n');
    expect(JSON.parse(await ok('stat', '--json', `${home}/s`))).toMatchObject([{ type: 'symlink' }]);
    expect(await ok('stat', '-L', `${home}/s`)).toContain('Type: file');
    expect(await ok('tree', home)).toBe(`${home}\n├── d\n│   └── e\n├── f\n└── s -> f\n\n2 directories, 2 files\n`);
    expect(JSON.parse(await ok('tree', '--json', '--depth', '1', home))).toMatchObject([{ name: 'd', entries: [] }, { name: 'f' }, { name: 's' }]);
    expect(JSON.parse(await ok('du', '-s', '--json', home))).toMatchObject([{ path: home, inodes: 5 }]);
    expect(await ok('du', home)).toContain(`${home}/d/e`);
  });

  it('that are no UTF-8 are refused, and not taken for others', async () => {
    const sent = (name: Buffer): Promise<CliResult> => vrfs(['put', '-', `${home}/${name.toString()}`], { servers: group.servers, stdin: 'x', commandLine: Buffer.concat([Buffer.from(`put\0-\0${home}/`), name]) });
    expect(await sent(Buffer.from('caf\xe9', 'latin1'))).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('/caf\ufffd\' is not UTF-8') as string });
    expect(await ok('ls', home)).toBe('');
    expect(await sent(Buffer.from('caf\ufffd'))).toMatchObject({ exitCode: 0 });
    expect(await ok('ls', home)).toBe('caf\ufffd\n');
  });

  it('are listed with times that no Date can show', async () => {
    await ok('touch', `${home}/f`);
    group.execute({ type: 'setattr', at: atPath(Buffer.from(`${home}/f`)), follow: false, set: { mtime: { sec: 9e12, nsec: 7 } } });
    expect(await ok('ls', '-l', home)).toMatch(/ @9000000000000 f\n/);
    expect(JSON.parse(await ok('ls', '--json', home))).toMatchObject([{ name: 'f', mtime: '@9000000000000' }]);
    expect(await ok('stat', `${home}/f`)).toContain('Modify: @9000000000000\n');
  });

  it('are listed when they are links that lead nowhere', async () => {
    await ok('ln', '-s', 'nowhere', `${home}/s`);
    expect(await ok('ls', `${home}/s`)).toBe(`${home}/s\n`);
    expect(await ok('ls', '-l', `${home}/s`)).toMatch(new RegExp(`^l.* ${home}/s -> nowhere\n$`));
    expect(JSON.parse(await ok('ls', '--json', `${home}/s`))).toMatchObject([{ name: `${home}/s`, type: 'symlink' }]);
    expect(await cli('ls', `${home}/absent`)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('ENOENT') as string });
  });

  it('move: onto a name, into a directory, without clobbering, exchanged', async () => {
    await ok('touch', `${home}/a`, `${home}/b`);
    await ok('mkdir', `${home}/d`);
    await ok('mv', `${home}/a`, `${home}/b`, `${home}/d`);
    expect(await ok('ls', `${home}/d`)).toBe('a\nb\n');
    expect((await cli('mv', '-n', `${home}/d/a`, `${home}/d/b`)).stderr).toContain('EEXIST');
    await ok('mv', `${home}/d/a`, `${home}/c`);
    await ok('mv', '--exchange', `${home}/c`, `${home}/d`);
    expect(await ok('ls', `${home}/c`)).toBe('b\n');
    expect((await cli('mv', `${home}/c`, `${home}/d`, `${home}/d`)).exitCode).toBe(2);
    expect((await cli('mv', '-T', `${home}/d`, `${home}/c`)).stderr).toContain('EISDIR');
  });

  it('go: files, empty directories, trees', async () => {
    await ok('mkdir', '-p', `${home}/d/e`);
    expect((await cli('rm', `${home}/d`)).stderr).toBe(`vrfs: EISDIR: '${home}/d' is a directory: vrfs rm -r removes it with all that is in it, vrfs rmdir when it is empty\n`);
    expect(await cli('rm', '-r', `${home}/d`, '/')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('the root itself cannot be removed') as string });
    expect(await ok('ls', home)).toBe('d\n');
    expect((await cli('rmdir', `${home}/d`)).stderr).toContain('ENOTEMPTY');
    await ok('rmdir', `${home}/d/e`);
    await ok('rm', '-r', `${home}/d`);
    await ok('rm', '-f', `${home}/d`);
  });

  it('are linked', async () => {
    await ok('touch', `${home}/a`);
    await ok('ln', `${home}/a`, `${home}/b`);
    expect(JSON.parse(await ok('stat', '--json', `${home}/b`))).toMatchObject([{ nlink: 2 }]);
  });
});

describe('contents', () => {
  it('go in and come out as they are', async () => {
    const data = Buffer.alloc(2_500_000, 'vrfs');
    await writeFile(join(directory, 'in'), data);
    await ok('put', 'in', `${home}/f`);
    await ok('get', `${home}/f`, 'out');
    expect((await readFile(join(directory, 'out'))).equals(data)).toBe(true);
    expect((await cli('cat', `${home}/f`, `${home}/f`)).stdoutBytes.length).toBe(5_000_000);
    expect((await cli('get', `${home}/f`, '-')).stdoutBytes.equals(data)).toBe(true);
    await ok('truncate', '3', `${home}/f`);
    expect(await ok('cat', `${home}/f`)).toBe('vrf');
    expect((await cli('put', 'absent', `${home}/g`)).exitCode).toBe(1);
    expect((await cli('stat', `${home}/g`)).exitCode).toBe(1);
  });

  it('leave the local file as it is when they cannot be had, and keep its mode and links when they can', async () => {
    await writeFile(join(directory, 'local'), 'precious', { mode: 0o640 });
    await symlink('local', join(directory, 'link'));
    expect((await cli('get', `${home}/absent`, 'local')).exitCode).toBe(1);
    expect(await cli('get', home, 'local')).toMatchObject({ exitCode: 1, stderr: `vrfs: EISDIR: illegal operation on a directory, get '${home}'\n` });
    expect(await readFile(join(directory, 'local'), 'utf8')).toBe('precious');
    await vrfs(['put', '-', `${home}/f`], { servers: group.servers, stdin: 'new' });
    await ok('get', `${home}/f`, 'link');
    expect(await readFile(join(directory, 'local'), 'utf8')).toBe('new');
    expect((await stat(join(directory, 'local'))).mode & 0o777).toBe(0o640);
    expect((await lstat(join(directory, 'link'))).isSymbolicLink()).toBe(true);
    await ok('get', `${home}/f`, '/dev/null');
    expect((await stat('/dev/null')).isCharacterDevice()).toBe(true);
    expect((await readdir(directory)).filter((name) => name.includes('.vrfs-'))).toEqual([]);
  });

  it('that change while they are read are no success, and leave the local file as it is', async () => {
    await writeFile(join(directory, 'local'), 'precious');
    await vrfs(['put', '-', `${home}/f`], { servers: group.servers, stdin: Buffer.alloc(8 << 20, 'A') });
    for (const args of [['cat', `${home}/f`], ['get', `${home}/f`, '-'], ['get', `${home}/f`, 'local']]) {
      let reads = 0;
      group.intercept = (_, m) => {
        if (operationOf(m)?.type === 'read' && ++reads === 7) group.execute({ type: 'write', at: atPath(Buffer.from(`${home}/f`)), offset: 0, data: Buffer.from(String(args)) });
        return undefined;
      };
      try {
        expect(await cli(...args)).toMatchObject({ exitCode: 1, stderr: `vrfs: EAGAIN: '${home}/f' changed while it was read; read it again\n` });
        expect(reads).toBe(8);
      } finally {
        group.intercept = () => undefined;
      }
    }
    expect(await readFile(join(directory, 'local'), 'utf8')).toBe('precious');
    expect((await readdir(directory)).filter((name) => name.includes('.vrfs-'))).toEqual([]);
  });

  it.each([['SIGINT', 130], ['SIGTERM', 143]] as const)('that are interrupted by %s leave nothing behind', async (signal, exitCode) => {
    const listeners = process.listenerCount(signal);
    const long = Buffer.alloc(5 << 20, 'A');
    await vrfs(['put', '-', `${home}/f`], { servers: group.servers, stdin: long });
    await writeFile(join(directory, 'local'), 'precious');
    const pipe = new Readable({ read: () => undefined });
    pipe.push(long);
    // A second one has its usual effect.
    const listenersAfter: number[] = [];
    const interruptAt = (type: 'read' | 'write'): void => {
      group.intercept = (_, m) => {
        if (operationOf(m)?.type === type && listenersAfter.length === 0) {
          process.emit(signal, signal);
          listenersAfter.push(process.listenerCount(signal));
        }
        return undefined;
      };
    };
    try {
      interruptAt('write');
      expect(await vrfs(['put', '-', `${home}/x`], { servers: group.servers, stdin: pipe })).toMatchObject({ exitCode, stderr: `vrfs: interrupted; '${home}/x' is as it was, or written whole\n` });
      expect([listenersAfter.pop(), pipe.destroyed]).toEqual([listeners, true]);
      interruptAt('read');
      expect(await cli('get', `${home}/f`, 'local')).toMatchObject({ exitCode, stderr: `vrfs: interrupted; '${join(directory, 'local')}' is as it was\n` });
    } finally {
      group.intercept = () => undefined;
    }
    expect(process.listenerCount(signal)).toBe(listeners);
    expect(await ok('ls', home)).toBe('f\n');
    expect(await readFile(join(directory, 'local'), 'utf8')).toBe('precious');
    expect((await readdir(directory)).filter((name) => name.includes('.vrfs-'))).toEqual([]);
  });

  it('that are interrupted without a majority say what stayed behind', async () => {
    const pipe = new Readable({ read: () => undefined });
    pipe.push(Buffer.alloc(5 << 20, 'A'));
    let gone = false;
    group.intercept = (_, m) => {
      if (operationOf(m)?.type === 'write' && !gone) {
        gone = true;
        process.emit('SIGINT', 'SIGINT');
      }
      return gone && m.type === 'request' ? null : undefined;
    };
    try {
      const result = await vrfs(['put', '--timeout', '200', '-', `${home}/x`], { servers: group.servers, stdin: pipe });
      expect(result.exitCode).toBe(130);
      expect(result.stderr).toMatch(new RegExp(`^vrfs: interrupted.*while '${home}/x' was written, and its temporary file '${home}/\\.vrfs-put-[0-9a-f]{16}' could not be removed`));
    } finally {
      group.intercept = () => undefined;
    }
  });

  it('are compared and set from standard input', async () => {
    const put = (stdin: string, ...args: string[]): Promise<CliResult> => vrfs(['put', ...args, '-', `${home}/f`], { servers: group.servers, stdin });
    expect((await put('one', '--if-version', '0', '--mode', '600')).exitCode).toBe(0);
    expect((await put('two', '--exclusive')).stderr).toContain('EEXIST');
    await ok('ln', '-s', 'nowhere', `${home}/l`);
    for (const option of [['--exclusive'], ['--if-version', '0']]) expect(await vrfs(['put', ...option, '-', `${home}/l`], { servers: group.servers, stdin: 'x' })).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('EEXIST') as string });
    const [stat] = JSON.parse(await ok('stat', '--json', `${home}/f`)) as { version: number; mode: string }[];
    expect(stat?.mode).toBe('0600');
    expect((await put('two', '--if-version', String(stat?.version))).exitCode).toBe(0);
    const [now] = JSON.parse(await ok('stat', '--json', `${home}/f`)) as { version: number }[];
    expect((await put('three', '--if-version', String(stat?.version))).stderr).toBe(`vrfs: EAGAIN: '${home}/f' is at version ${now?.version}, not ${stat?.version}\n`);
    expect((await put('three', '--if-version', '0')).stderr).toBe(`vrfs: EEXIST: '${home}/f' is at version ${now?.version}, not absent\n`);
    expect(await ok('cat', `${home}/f`)).toBe('two');
  });
});

describe('reads of a stated age', () => {
  it('may be answered by any replica, with --max-staleness', async () => {
    await vrfs(['put', '-', `${home}/f`], { servers: group.servers, stdin: 'content' });
    await ok('ln', '-s', `${home}/f`, `${home}/link`);
    await ok('xattr', 'set', `${home}/f`, 'user.note', 'x');
    const asked = new Set<string>();
    group.intercept = (_, m) => {
      if (m.type === 'read') asked.add(`${m.consistency} ${m.maxStalenessMs}`);
      return undefined;
    };
    try {
      const recent = (...args: string[]): Promise<string> => ok(...args, '--max-staleness', '2500');
      expect(await recent('cat', `${home}/f`)).toBe('content');
      expect(await recent('get', `${home}/f`, '-')).toBe('content');
      expect(await recent('ls', home)).toBe('f\nlink\n');
      expect(await recent('readlink', `${home}/link`)).toBe(`${home}/f\n`);
      expect(await recent('tree', home)).toContain('link');
      expect(await recent('du', home)).toContain(home);
      expect(await recent('stat', `${home}/f`)).toContain('Size: 7');
      expect(await recent('statfs')).not.toBe('');
      expect(await recent('xattr', 'list', `${home}/f`)).toContain('user.note');
      expect(await recent('xattr', 'get', `${home}/f`, 'user.note')).toContain('x');
      expect([...asked]).toEqual(['bounded 2500']);
      asked.clear();
      await ok('cat', `${home}/f`);
      expect([...asked]).toEqual(['linearizable 0']);
    } finally {
      group.intercept = () => undefined;
    }
  });

  it('are refused with an age that is none, or where there is no choice', async () => {
    expect(await cli('ls', home, '--max-staleness', 'soon')).toMatchObject({ exitCode: 2 });
    expect((await cli('ls', home, '--max-staleness', '86400001')).stderr).toContain('from 0 to 86400000');
    expect(await cli('ls', home, '--max-staleness', '86400001')).toMatchObject({ exitCode: 2 });
    expect((await cli('stat', home, '--verify', '--max-staleness', '5')).stderr).toContain('leave out --max-staleness');
    expect(await cli('rm', `${home}/f`, '--max-staleness', '5')).toMatchObject({ exitCode: 2 });
  });
});

describe('attributes', () => {
  it('change, also of whole trees', async () => {
    await ok('mkdir', '-p', '-m', '700', `${home}/d/e`);
    await ok('touch', `${home}/d/f`);
    await ok('ln', '-s', '/', `${home}/d/s`);
    await ok('chmod', '-R', 'go=,u+rwX', `${home}/d`);
    await ok('chown', '-R', '7:8', `${home}/d`);
    const stats = JSON.parse(await ok('stat', '--json', `${home}/d`, `${home}/d/e`, `${home}/d/f`, `${home}/d/s`, '/')) as { mode: string; uid: number; gid: number }[];
    expect(stats.map((s) => `${s.mode} ${s.uid} ${s.gid}`)).toEqual(['0700 7 8', '0700 7 8', '0600 7 8', '0777 7 8', '0755 0 0']);
    await ok('chown', ':9', `${home}/d/f`);
    expect(JSON.parse(await ok('stat', '--json', `${home}/d/f`))).toMatchObject([{ uid: 7, gid: 9 }]);
  });

  it('extend', async () => {
    await ok('xattr', 'set', home, 'user.note', 'grün');
    expect(await ok('xattr', 'get', home, 'user.note')).toBe('grün\n');
    expect(JSON.parse(await ok('xattr', 'get', '--json', home, 'user.note'))).toEqual({ name: 'user.note', value: 'grün' });
    expect(await ok('xattr', 'list', home)).toBe('user.note\n');
    await ok('xattr', 'rm', home, 'user.note');
    expect(await ok('xattr', 'list', home)).toBe('');
  });

  it('of the whole namespace', async () => {
    expect(JSON.parse(await ok('statfs', '--json'))).toMatchObject({ orphans: 0 });
    expect(await ok('statfs')).toContain('inodes');
  });
});

describe('the group', () => {
  it('has members', async () => {
    expect(JSON.parse(await ok('members', 'list', '--json'))).toMatchObject({ epoch: 0, durability: 'disk', members: [{ id: 1 }, { id: 2 }, { id: 3 }] });
    expect(await ok('members')).toContain('ADDRESS');
  });

  it('has replicas that may not answer', async () => {
    const status = await cli('status', '--timeout', '2000');
    expect(status.exitCode).toBe(1);
    expect(status.stdout).toContain('no answer');
    expect(status.stderr).toContain('http://127.0.0.1:1/v1/status does not answer');
    expect(JSON.parse((await cli('status', '--json', '--timeout', '2000')).stdout)).toMatchObject([{ id: 1, error: expect.stringContaining('does not answer') as string }, {}, {}]);
  });
});
