import { shownRole } from '../../cli/commands/group.ts';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseOwner } from '../../cli/commands/attributes.ts';
import { EnvironmentError, failureOf } from '../../cli/failure.ts';
import { WrongArgument } from '../../client/errors.ts';
import { JoinError } from '../../server/join_error.ts';
import { durationText, modeText, shortTime, sizeText, table, timeText } from '../../cli/format.ts';
import { changeMode } from '../../cli/mode.ts';
import { openGroup } from '../../cli/start/group_directory.ts';
import { StoreOpenError } from '../../checkpoint/key_value_store.ts';
import { ForeignJournalError } from '../../server/journal_scan.ts';
import { vrfs } from './harness.ts';

describe('modes', () => {
  it.each([
    ['644', 0o777, false, 0o644],
    ['u+x', 0o644, false, 0o744],
    ['go-rw', 0o666, false, 0o600],
    ['a=rX', 0o755, false, 0o555],
    ['a=rX', 0o600, false, 0o444],
    ['u=rwX,go=X', 0o600, true, 0o711],
    ['+t', 0o777, true, 0o1777],
    ['u+s,g+s', 0o755, false, 0o6755],
    ['g-s', 0o2755, true, 0o755],
    ['o=', 0o777, false, 0o770],
    ['u+x-w', 0o644, false, 0o544],
  ])('%s on %o', (text, mode, isDirectory, expected) => {
    expect(changeMode(text, mode, isDirectory)).toBe(expected);
  });

  it.each([
    ['+w', 0o444, 0o022, 0o644],
    ['a+w', 0o444, 0o022, 0o666],
    ['+rwx', 0o000, 0o077, 0o700],
    ['-w', 0o666, 0o022, 0o466],
    ['=rw', 0o777, 0o027, 0o640],
    ['=', 0o777, 0o022, 0o000],
    ['+st', 0o755, 0o022, 0o7755],
    ['+w,o+w', 0o444, 0o022, 0o646],
  ])('%s on %o has the bits that the umask %o allows', (text, mode, umask, expected) => {
    expect(changeMode(text, mode, false, umask)).toBe(expected);
  });

  it('have the umask of this process', () => {
    expect(changeMode('+w', 0, false)).toBe(0o222 & ~process.umask());
  });

  it.each(['', '8', '77777', 'u', 'u*x', 'rwx', 'u+q'])('refuses %j', (text) => {
    expect(() => changeMode(text, 0, false)).toThrow('is not a mode');
  });

  it('are shown as ls shows them', () => {
    expect(modeText('directory', 0o1777)).toBe('drwxrwxrwt');
    expect(modeText('file', 0o6644)).toBe('-rwSr-Sr--');
    expect(modeText('symlink', 0o4755)).toBe('lrwsr-xr-x');
  });
});

describe('texts', () => {
  it('of sizes, times and tables', () => {
    expect([0, 119_999, 120_000, 7_199_999, 7_200_000, 172_799_999, 172_800_000].map(durationText)).toEqual(['0 s', '119 s', '2 min', '119 min', '2 h', '47 h', '2 d']);
    expect([0, 1023, 1024, 1536, 2 ** 40].map(sizeText)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '1.0 TiB']);
    expect(timeText({ sec: 0, nsec: 5 })).toBe('1970-01-01T00:00:00.000000005Z');
    expect(table([['A', 'LONG'], ['long', 'b']])).toBe('A     LONG\nlong  b');
  });

  it('of times that no Date can show, or not with four digits of a year', () => {
    const far = { sec: 8_640_000_000_001, nsec: 5 };
    expect([timeText(far), shortTime(far), timeText({ sec: -far.sec, nsec: 0 })]).toEqual(['@8640000000001', '@8640000000001', '@-8640000000001']);
    expect(timeText({ sec: 253_402_300_800, nsec: 5 })).toBe('+010000-01-01T00:00:00.000000005Z');
    expect(shortTime({ sec: 253_402_300_800, nsec: 5 })).toBe('+010000-01-01 00:00');
    expect(shortTime({ sec: 0, nsec: 0 })).toBe('1970-01-01 00:00');
  });

  it('of owners', () => {
    expect(parseOwner('7')).toEqual({ uid: 7, gid: -1 });
    expect(parseOwner('7:8')).toEqual({ uid: 7, gid: 8 });
    expect(parseOwner(':8')).toEqual({ uid: -1, gid: 8 });
    for (const wrong of ['', ':', 'ann', '7:', '-1', '4294967295']) expect(() => parseOwner(wrong)).toThrow(wrong === '' ? 'not an owner' : wrong);
  });

  it('of faults carry the trace', () => {
    expect(failureOf(new Error('oops'))).toMatchObject({ exitCode: 70, code: 'INTERNAL' });
    expect(failureOf(new RangeError('Maximum call stack size exceeded'))).toMatchObject({ exitCode: 70, code: 'INTERNAL' });
    expect(failureOf('odd')).toMatchObject({ exitCode: 70 });
  });

  it('of a fault are those of a TypeError too, unless it is the user\'s', () => {
    expect(failureOf(new TypeError("Cannot read properties of undefined (reading 'x')"))).toMatchObject({ exitCode: 70, code: 'INTERNAL', message: expect.stringMatching(/a fault of vrfs: TypeError: .*\n +at /) as string });
    expect(failureOf(new WrongArgument('a path has no NUL byte'))).toEqual({ exitCode: 2, code: 'USAGE', message: 'a path has no NUL byte' });
  });

  it.each(['EIO', 'EDQUOT', 'ENXIO', 'EFBIG', 'EBUSY', 'ETXTBSY', 'EINVAL', 'ENOENT'])('of this machine\'s system calls are no faults: %s', (code) => {
    expect(failureOf(Object.assign(new Error(`${code}: not so, read`), { code, syscall: 'read', errno: -5 }))).toEqual({ exitCode: 1, code, message: `${code}: not so, read` });
    expect(failureOf(Object.assign(new Error('ours'), { code: 'ERR_OURS' }))).toMatchObject({ exitCode: 70 });
  });

  it('of a directory that cannot be used do not', () => {
    const damaged = failureOf(new StoreOpenError('damaged', 'records is damaged'));
    expect(damaged).toEqual({ exitCode: 5, code: 'ENVIRONMENT', message: 'records is damaged' });
    expect(failureOf(new ForeignJournalError('segment 1'))).toEqual({ exitCode: 5, code: 'ENVIRONMENT', message: 'segment 1' });
    // Nobody answers yet: another start may cure it, and a supervisor that makes none for 5 must make one.
    expect(failureOf(new JoinError('nobody could be asked'))).toEqual({ exitCode: 3, code: 'NotReachable', message: 'nobody could be asked' });
  });
});

describe('the directory of a group', () => {
  let data: string;
  let port: number;

  /** Ports that nobody listens on now: the kernel gave them out for the moment. */
  async function freePort(): Promise<number> {
    const server = createServer();
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    const address = server.address();
    await new Promise<void>((resolve) => { server.close(() => { resolve(); }); });
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  beforeEach(async () => {
    data = join(await mkdtemp(join(tmpdir(), 'vrfs-group-')), 'data');
    // Below the range that the kernel gives out, so that nothing takes the neighbours meanwhile.
    port = 22_000 + ((await freePort()) % 5000);
  });
  afterEach(async () => { await rm(join(data, '..'), { recursive: true }); });
  const request = (more: object = {}): Parameters<typeof openGroup>[0] => ({ data, replicas: 1, port, httpPort: port + 5000, ...more });
  /** As one `vrfs start` after the other does. */
  async function opened(...args: Parameters<typeof openGroup>): ReturnType<typeof openGroup> {
    const group = await openGroup(...args);
    await group.lock.release();
    return group;
  }
  async function refused(more: object = {}): Promise<EnvironmentError> {
    const error: unknown = await openGroup(request(more)).then(() => null, (e: unknown) => e);
    if (!(error instanceof EnvironmentError)) throw new Error(`an EnvironmentError was expected, not ${String(error)}`);
    return error;
  }

  it('is made once, and found again', async () => {
    const made = await opened(request());
    expect(made.created).toBe(true);
    expect((await readdir(data)).sort()).toEqual(['1', 'FORMATTED', 'cluster.json']);
    const again = await opened({ data });
    expect(again.created).toBe(false);
    expect(again.cluster).toEqual(made.cluster);
  });

  it('is taken up again when its making was interrupted', async () => {
    await opened(request());
    await rm(join(data, 'FORMATTED'));
    await rm(join(data, '1'), { recursive: true });
    expect((await opened(request())).created).toBe(true);
  });

  it('is never made anew where a replica has lost its data', async () => {
    await opened(request({ replicas: 2 }));
    await rm(join(data, '1'), { recursive: true });
    const gone = await refused({ replicas: 2 });
    expect(gone.message).toBe(`the data directory of replica 1, ${data}/1, is not there any more`);
    // Formatted anew it could vote against what it has acknowledged.
    expect(gone.remedy).toMatch(/put the directory back.*keep the group running on the other members\. Do not format it anew/);
    expect(gone.remedy).toContain(`vrfs serve --config ${data}/2/config.json`);
    expect(gone.remedy).not.toContain('vrfs format');
    await mkdir(join(data, '1'));
    expect((await refused({ replicas: 2 })).message).toContain('is empty');
    expect(await readdir(join(data, '1'))).toEqual([]);
  });

  it('is run by one at a time', async () => {
    const { lock } = await openGroup(request());
    expect((await refused()).message).toMatch(/is run by another 'vrfs start', pid \d+/);
    await lock.release();
    expect((await opened(request())).created).toBe(false);
  });

  it('has to fit what is asked for', async () => {
    await opened(request());
    expect((await refused({ replicas: 3 })).message).toContain('made with --replicas 1, not 3');
    expect((await refused({ port: 99 })).message).toContain('made with --port');
    expect((await refused({ durability: 'memory' })).message).toContain('made with --durability disk, not memory');
  });

  it('holds nothing else', async () => {
    await mkdir(data);
    await writeFile(join(data, 'thesis.tex'), '');
    expect((await refused()).message).toContain('holds other files (thesis.tex)');
    expect(await readdir(data)).toEqual(['thesis.tex']);
  });

  it('is of one group', async () => {
    await opened(request());
    const other = join(data, '..', 'other');
    await opened(request({ data: other }));
    await rm(join(data, '1'), { recursive: true });
    const { rename } = await import('node:fs/promises');
    await rename(join(other, '1'), join(data, '1'));
    expect((await refused()).message).toContain('belongs to group');
  });

  it('needs its ports', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => { server.listen(port, '127.0.0.1', resolve); });
    const error = await refused();
    expect(error.message).toBe(`port ${port} of replica 1 is in use by another process`);
    expect(error.remedy).toContain('--port');
    await new Promise<void>((resolve) => { server.close(() => { resolve(); }); });
    expect((await refused({ httpPort: port })).message).toContain('overlap');
  });

  it('is formatted by hand too', async () => {
    const cluster = await vrfs(['new-cluster', '127.0.0.1:7101/127.0.0.1:7201', '127.0.0.1:7102/127.0.0.1:7202', '--durability', 'memory']);
    expect(JSON.parse(cluster.stdout)).toMatchObject({ durability: 'memory', members: [{ id: 1 }, { id: 2 }] });
    await mkdir(data);
    await writeFile(join(data, 'cluster.json'), cluster.stdout);
    const made = await vrfs(['format', '--cluster', join(data, 'cluster.json'), '--member', '2', '--data', join(data, 'two')]);
    expect(made.exitCode).toBe(0);
    expect(await readdir(join(data, 'two'))).toContain('VERSION');
    const again = await vrfs(['format', '--cluster', join(data, 'cluster.json'), '--member', '2', '--data', join(data, 'two')]);
    expect(again).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('is not empty') as string });
    expect((await vrfs(['new-cluster', 'here'])).exitCode).toBe(2);
    expect((await vrfs(['new-cluster', 'a:1/a:2', 'a:1/a:3'])).stderr).toContain('the same address');
  });

  it.each([
    [['a:1/b:0'], 'is not an address to connect to: its port is 0'],
    [['a:7101/a:7101'], 'a:7101 is to be an address and an httpAddress'],
    [['a:7101/a:7201', 'b:1/a:7101'], 'a:7101 is to be an address and an httpAddress'],
    [Array.from({ length: 256 }, (_, i) => `h${i}:1/h${i}:2`), '256 members: a group has 255 at most'],
  ])('is not described with addresses that no member can have: %j', async (members, message) => {
    expect(await vrfs(['new-cluster', ...members])).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringContaining(message) as string });
  });

  it.each([[['a:0', 'a:2'], 'its port is 0'], [['a:1', 'a:0'], 'its port is 0'], [['a:1', 'a:1'], '--address and --http-address are both a:1']])('takes no node that could never be made a member: %j', async ([address = '', http = ''], message) => {
    expect(await vrfs(['serve', '--data', join(data, 'x'), '--join', '127.0.0.1:1', '--address', address, '--http-address', http])).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(message) as string });
  });

  it('has no more members than a group can have', async () => {
    expect((await refused({ replicas: 300 })).message).toBe('300 replicas: a group has 255 at most');
  });
});

describe('the role that vrfs status shows', () => {
  it.each([
    ['voter', 'normal', true, 'primary'], ['voter', 'normal', false, 'backup'], ['witness', 'normal', false, 'witness'], ['observer', 'normal', false, 'observer'],
    ['witness', 'recovering', false, 'recovering'],
  ] as const)('of a %s that is %s (primary: %s) is %s', (role, status, isPrimary, shown) => {
    expect(shownRole(role, { status, isPrimary })).toBe(shown);
  });
});
