/** What a disk says to a command that works on a data directory. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StoreOpenError } from '../../checkpoint/key_value_store.ts';
import { openFailure } from '../../checkpoint/level_store.ts';
import { failureOf } from '../../cli/failure.ts';
import { onTheDiskOf } from '../../cli/local_disk.ts';
import { newClusterId } from '../../server/data_directory.ts';
import { describeCluster } from '../../server/config.ts';
import { configuration } from '../../vr/configuration.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { vrfs } from './harness.ts';

let directory: string;
beforeEach(async () => { directory = await mkdtemp(join(tmpdir(), 'vrfs-disk-')); });
afterEach(async () => { await rm(directory, { recursive: true }); });

const said = (error: unknown): Promise<unknown> => onTheDiskOf('/data/1', () => Promise.reject(error)).catch((e: unknown) => failureOf(e));
const system = (code: string, path?: string): Error => Object.assign(new Error(`${code}: it says so, open${path === undefined ? '' : ` '${path}'`}`), { code, ...(path === undefined ? {} : { path }) });
/** As LevelDB says it. */
const ofLevel = (detail: string): StoreOpenError => openFailure('/data/1/records', new Error('Database failed to open', { cause: Object.assign(new Error(`IO error: /data/1/records/000003.log: ${detail}`), { code: 'LEVEL_IO_ERROR' }) }));

describe('a data directory', () => {
  it('on a full disk: another start cures it once there is room', async () => {
    for (const full of [system('ENOSPC'), system('EDQUOT', '/data/1/LOCK.7'), ofLevel('No space left on device'), ofLevel('Disk quota exceeded')]) {
      expect(await said(full)).toMatchObject({
        exitCode: 1, code: 'ENOSPC', message: expect.stringMatching(/^the disk of \/data\/1 is full: /) as string, remedy: 'make room on the file system of /data/1, then start it again',
      });
    }
  });

  it('beside which the disk of the log file is full', async () => {
    expect(await said(system('ENOSPC', '/var/log/replica.log'))).toMatchObject({
      exitCode: 1, message: expect.stringMatching(/^the disk of \/var\/log\/replica\.log is full: /) as string, remedy: 'make room on the file system of /var/log/replica.log, then start it again',
    });
  });

  it('that may not be written to: no start cures it', async () => {
    for (const no of [system('EACCES', '/data/1/LOCK.7'), system('EPERM'), ofLevel('Permission denied'), ofLevel('Operation not permitted')]) {
      expect(await said(no)).toMatchObject({ exitCode: 5, message: expect.stringContaining('/data/1') as string, remedy: expect.stringMatching(/give the user that runs this the right to write to \/data\/1 \(chown/) as string });
    }
    for (const readOnly of [system('EROFS', '/data/1/LOCK.7'), ofLevel('Read-only file system')]) {
      expect(await said(readOnly)).toMatchObject({ exitCode: 5, remedy: expect.stringMatching(/mount the file system of \/data\/1(?:\/records)? for writing/) as string });
    }
  });

  it('that was given as a relative path is the one to change, not a file in it', async () => {
    const failure = await onTheDiskOf('data', () => Promise.reject(system('EACCES', join(process.cwd(), 'data', 'LOCK.7')))).catch((e: unknown) => failureOf(e));
    expect(failure).toMatchObject({ remedy: expect.stringContaining(`the right to write to ${join(process.cwd(), 'data')} (chown`) as string });
  });

  it('of which something else is wrong says so in its own words', async () => {
    for (const error of [system('EMFILE'), new Error('x'), Object.assign(new Error('port 80: EACCES'), { name: 'ListenError', code: 'EACCES' }), ofLevel('Input/output error'), 'no error']) {
      await expect(onTheDiskOf('/data/1', () => Promise.reject(error as Error))).rejects.toBe(error);
    }
    expect(failureOf(ofLevel('Input/output error'))).toMatchObject({ exitCode: 5 });
  });

  it('is not made, nor a group, where the system allows none: exit code 5, with the path', async () => {
    const cluster = join(directory, 'cluster.json');
    await writeFile(cluster, describeCluster({ clusterId: newClusterId(), configuration: configuration(epoch(0), [{ id: memberId(1), role: 'voter', address: '127.0.0.1:1', httpAddress: '127.0.0.1:2' }], 'disk') }));
    // Nobody makes a directory there, the superuser neither.
    const refused = { exitCode: 5, stderr: expect.stringMatching(/^vrfs: .*(?:EACCES|EPERM|EROFS).*\/sys\/.*\n {2}remedy: .*\/sys\//) as string };
    expect(await vrfs(['format', '--cluster', cluster, '--member', '1', '--data', '/sys/vrfs-none'])).toMatchObject(refused);
    expect(await vrfs(['start', '--no-mount', '--data', '/sys/vrfs-none'])).toMatchObject(refused);
    expect(await readdir(directory)).toEqual(['cluster.json']);
  });
});
