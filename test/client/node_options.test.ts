/** What programs written for Node's fs/promises pass as the last argument: done as there, or refused. */
import { constants } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InvalidCall } from '../../client/errors.ts';
import { FileSystem } from '../../client/file_system.ts';
import { client, codeOf, fs, home, overGroup } from './file_system_support.ts';

overGroup();

/** As from JavaScript. */
const any = (value: unknown): never => value as never;

describe('Node\'s ways to call', () => {
  it('copyFile with COPYFILE_EXCL does not replace', async () => {
    await fs.writeFile(`${home}/a`, 'new');
    await fs.writeFile(`${home}/b`, 'old');
    for (const mode of [constants.COPYFILE_EXCL, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE]) expect(await codeOf(fs.copyFile(`${home}/a`, `${home}/b`, mode))).toBe('EEXIST');
    for (const mode of [constants.COPYFILE_FICLONE_FORCE, 1.5, -1, NaN, any('excl'), any({ excl: true })]) await expect(fs.copyFile(`${home}/a`, `${home}/b`, mode)).rejects.toThrow(InvalidCall);
    expect(await fs.readFile(`${home}/b`, 'utf8')).toBe('old');
    await fs.copyFile(`${home}/a`, `${home}/b`, 0);
    expect(await fs.readFile(`${home}/b`, 'utf8')).toBe('new');
  });

  it('mkdir takes the mode alone', async () => {
    await fs.mkdir(`${home}/d`, 0o700);
    expect((await fs.stat(`${home}/d`)).mode & 0o777).toBe(0o700);
    await expect(fs.mkdir(`${home}/e`, any('0700'))).rejects.toThrow(InvalidCall);
    expect(await fs.exists(`${home}/e`)).toBe(false);
  });

  it('readFile and writeFile take any encoding of Node\'s, alone or as an option', async () => {
    await fs.writeFile(`${home}/f`, 'é', 'latin1');
    expect(await fs.readFile(`${home}/f`)).toEqual(Buffer.from([0xe9]));
    expect(await fs.readFile(`${home}/f`, 'latin1')).toBe('é');
    await fs.appendFile(`${home}/f`, '2Q==', { encoding: 'base64' });
    expect(await fs.readFile(`${home}/f`, { encoding: 'hex' })).toBe('e9d9');
    await fs.writeFile(`${home}/f`, 'é', { encoding: 'utf-8' });
    for (const encoding of ['utf8', 'utf-8', 'UTF-8'] as 'utf8'[]) expect(await fs.readFile(`${home}/f`, { encoding })).toBe('é');
    expect(await fs.readFile(`${home}/f`, null)).toEqual(Buffer.from('é'));
    for (const wrong of ['utf9', { encoding: 'utf9' }, { encoding: 7 }]) await expect(fs.readFile(`${home}/f`, any(wrong))).rejects.toThrow(/encoding .* is not known/);
    await expect(fs.writeFile(`${home}/f`, 'x', any('utf9'))).rejects.toThrow(InvalidCall);
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('é');
  });

  it('readlink takes an encoding alone', async () => {
    await fs.symlink('é', `${home}/l`);
    expect(await fs.readlink(`${home}/l`, 'buffer')).toEqual(Buffer.from('é'));
    expect(await fs.readlink(`${home}/l`, 'utf-8')).toBe('é');
    expect(await fs.readlink(`${home}/l`, { encoding: 'hex' })).toBe('c3a9');
  });

  it('an option that is not known is refused, and one that asks for nothing is none', async () => {
    await fs.writeFile(`${home}/f`, 'old');
    await fs.mkdir(`${home}/d`);
    for (const refused of [
      fs.readdir(home, any({ recursive: true })), fs.readdir(home, any('hex')), fs.rmdir(`${home}/d`, any({ recursive: true })), fs.writeFile(`${home}/f`, 'x', any({ ifVerison: 1 })),
      fs.writeFile(`${home}/f`, 'x', any(0o600)), fs.rm(`${home}/f`, any(true)), fs.rename(`${home}/f`, `${home}/g`, any({ noreplace: true })), fs.stat(`${home}/f`, any({ bigint: true })),
      fs.readFile(`${home}/f`, any({ flag: 'w+' })), fs.rename(`${home}/f`, `${home}/g`, any({ flags: 'keep' })),
    ]) await expect(refused).rejects.toThrow(InvalidCall);
    expect(await fs.readdir(home, any('utf-8'))).toEqual(['d', 'f']);
    expect(await fs.readdir(home, any({ recursive: false, withFileTypes: undefined }))).toEqual(['d', 'f']);
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('old');
  });

  it('what is so anyway may be asked for', async () => {
    await fs.writeFile(`${home}/f`, 'one', any({ flush: true, flag: null, ifVersion: null }));
    await fs.appendFile(`${home}/f`, ' two', any({ flush: true, flag: 'a' }));
    expect(await fs.readFile(`${home}/f`, any({ encoding: 'utf8', flag: 'r' }))).toBe('one two');
    await fs.mkdir(`${home}/d`, null);
    expect((await Promise.all([`${home}/f`, `${home}/d`].map(fs.stat as (path: string) => ReturnType<typeof fs.stat>, fs))).map((s) => s.isDirectory())).toEqual([false, true]);
    const names = [];
    for await (const entry of fs.opendir(home, any({ bufferSize: 64, encoding: 'utf8' }))) names.push(entry.name);
    expect(names).toEqual(['d', 'f']);
    await fs.rm(`${home}/d`, any({ recursive: true, force: true, maxRetries: 3, retryDelay: 100 }));
    expect(await fs.exists(`${home}/d`)).toBe(false);
  });

  it('a umask is a number', () => {
    for (const umask of [NaN, -1, any('022')]) expect(() => new FileSystem(client, { umask })).toThrow(InvalidCall);
  });
});
