import { Readable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { FileSystem, processCredentials } from '../../client/file_system.ts';
import { InvalidCall } from '../../client/errors.ts';
import { printable } from '../../client/paths.ts';
import { Prng } from '../../lib/prng.ts';
import { ann, client, codeOf, failure, fs, home, overGroup } from './file_system_support.ts';

overGroup();

describe('errors', () => {
  it('have the shape of Node\'s', async () => {
    const error = await failure(fs.stat(`${home}/absent`));
    expect(error).toMatchObject({ name: 'FsError', code: 'ENOENT', errno: -2, syscall: 'getattr', path: `${home}/absent` });
    expect(error.message).toBe(`ENOENT: no such file or directory, getattr '${home}/absent'`);
    expect((await failure(fs.rename(`${home}/x`, `${home}/y`))).message).toBe(`ENOENT: no such file or directory, rename '${home}/x' -> '${home}/y'`);
  });

  it('name bytes that are not text without spoiling a terminal', () => {
    expect(printable(Buffer.from('ä\n'))).toBe('ä\\x0a');
    expect(printable(Buffer.from([0xff, 0x41]))).toBe('\\xffA');
  });

  it('are TypeErrors for what can be no path', async () => {
    await expect(fs.stat('')).rejects.toThrow(TypeError);
    await expect(fs.stat('a\0b')).rejects.toThrow('NUL');
    await expect(fs.getxattr('/', 'note')).rejects.toThrow("'user.note'?");
  });
});

describe('directories', () => {
  it('are made with those above them', async () => {
    expect(await fs.mkdir(`${home}/a/b/c`, { recursive: true })).toBe(`${home}/a`);
    expect(await fs.mkdir(`${home}/a/b/c`, { recursive: true })).toBeUndefined();
    expect(await fs.mkdir(`${home}/a/b/d`, { recursive: true, mode: 0o700 })).toBe(`${home}/a/b/d`);
    expect((await fs.stat(`${home}/a/b/d`)).mode & 0o777).toBe(0o700);
    await fs.writeFile(`${home}/f`, '');
    expect(await codeOf(fs.mkdir(`${home}/f`, { recursive: true }))).toBe('EEXIST');
    expect(await codeOf(fs.mkdir(`${home}/f/g`, { recursive: true }))).toBe('ENOTDIR');
    expect(await codeOf(fs.mkdir(`${home}/n/m`))).toBe('ENOENT');
  });

  it('are listed page by page, with types and attributes', async () => {
    await Promise.all(Array.from({ length: 2500 }, (_, i) => fs.writeFile(`${home}/f${i}`, 'x')));
    await fs.symlink('f0', `${home}/link`);
    const names = await fs.readdir(home);
    expect(names.length).toBe(2501);
    expect(new Set(names).size).toBe(2501);
    const entries = await fs.readdir(home, { withFileTypes: true });
    expect(entries.find((e) => e.name === 'link')?.isSymbolicLink()).toBe(true);
    for await (const e of fs.opendir(home, { attributes: true })) {
      expect(e.stats?.size).toBe(e.isFile() ? 1 : 2);
    }
  });

  it('go with all that is in them', async () => {
    await fs.mkdir(`${home}/a/b`, { recursive: true });
    await fs.writeFile(`${home}/a/b/f`, 'x');
    expect(await codeOf(fs.rmdir(`${home}/a`))).toBe('ENOTEMPTY');
    expect(await codeOf(fs.rm(`${home}/a`))).toBe('EISDIR');
    await fs.rm(`${home}/a`, { recursive: true });
    expect(await fs.exists(`${home}/a`)).toBe(false);
    await fs.rm(`${home}/a`, { force: true });
    expect(await codeOf(fs.rm(`${home}/a`))).toBe('ENOENT');
  });

  it('of a user do not go with what others keep in them', async () => {
    await fs.mkdir(`${home}/ann/roots`, { recursive: true });
    await fs.writeFile(`${home}/ann/roots/f`, 'kept');
    await fs.chmod(home, 0o777);
    await fs.chown(`${home}/ann`, 1000, 1000);
    expect(await failure(ann.rm(`${home}/ann`, { recursive: true }))).toMatchObject({ code: 'EACCES', syscall: 'unlink', path: `${home}/ann/roots/f` });
    expect(await fs.readFile(`${home}/ann/roots/f`, 'utf8')).toBe('kept');
    await fs.chmod(`${home}/ann/roots`, 0o777);
    await ann.rm(`${home}/ann`, { recursive: true });
    expect(await fs.exists(`${home}/ann`)).toBe(false);
    await ann.rm(`${home}/ann`, { recursive: true, force: true });
    expect(await codeOf(ann.rm(`${home}/ann`, { recursive: true }))).toBe('ENOENT');
  });
});

describe('contents', () => {
  it('of every length come back as they were', async () => {
    const random = new Prng(5);
    for (const length of [0, 1, 1 << 20, (1 << 20) + 1, 5_300_000]) {
      const data = random.bytes(length);
      await fs.writeFile(`${home}/f`, data);
      expect((await fs.readFile(`${home}/f`)).equals(data)).toBe(true);
      expect((await fs.stat(`${home}/f`)).size).toBe(length);
    }
    expect(await fs.readdir(home)).toEqual(['f']);
  });

  it('can be streamed in and out, and read in part', async () => {
    const data = new Prng(6).bytes(3_000_000);
    await fs.writeFile(`${home}/f`, (function* () { for (let at = 0; at < data.length; at += 70_001) yield data.subarray(at, at + 70_001); })());
    const parts: Buffer[] = [];
    for await (const part of fs.readStream(`${home}/f`, { start: 1000, end: 2_500_000 })) parts.push(part);
    expect(Buffer.concat(parts).equals(data.subarray(1000, 2_500_000))).toBe(true);
    expect((await fs.read(`${home}/f`, 2_999_990, 100)).equals(data.subarray(2_999_990))).toBe(true);
    for await (const part of fs.readStream(`${home}/f`)) {
      expect(part.length).toBe(1 << 20);
      break;
    }
    await fs.chmod(`${home}/f`, 0o662);
    await fs.copyFile(`${home}/f`, `${home}/g`);
    expect((await fs.stat(`${home}/g`)).mode & 0o7777).toBe(0o662);
    expect((await fs.readFile(`${home}/g`)).equals(data)).toBe(true);
    expect(await codeOf(fs.copyFile(`${home}/f`, `${home}/g`, { exclusive: true }))).toBe('EEXIST');
  });

  it('may be bytes of any kind, as what TextEncoder and fetch give', async () => {
    const all = new Prng(8).bytes(2_500_000);
    const bytes = new Uint8Array(all.buffer, all.byteOffset + 7, all.length - 7);
    await fs.writeFile(`${home}/long`, bytes);
    expect((await fs.readFile(`${home}/long`)).equals(all.subarray(7))).toBe(true);
    await fs.writeFile(`${home}/f`, new TextEncoder().encode('é'));
    await fs.appendFile(`${home}/f`, new TextEncoder().encode('a'));
    await fs.writeFile(`${home}/f`, new TextEncoder().encode('b'), { flag: 'a' });
    await fs.write(`${home}/f`, 2, new TextEncoder().encode('A'));
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('éAb');
    await fs.writeFile(`${home}/f`, new Blob(['piece by piece']).stream());
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('piece by piece');
    await fs.setxattr(`${home}/f`, 'user.note', new TextEncoder().encode('n'));
    expect((await fs.getxattr(`${home}/f`, 'user.note')).toString()).toBe('n');
  });

  it('are replaced under a symbolic link, with mode and owner kept', async () => {
    await fs.mkdir(`${home}/d`);
    await fs.writeFile(`${home}/d/f`, 'old', { mode: 0o640 });
    await fs.chown(`${home}/d/f`, 1000, 1000);
    await fs.symlink('d/f', `${home}/link`);
    for (const length of [10, 2_000_000]) {
      await fs.writeFile(`${home}/link`, Buffer.alloc(length, 1));
      expect((await fs.lstat(`${home}/link`)).isSymbolicLink()).toBe(true);
      const stats = await fs.stat(`${home}/d/f`);
      expect([stats.size, stats.mode & 0o777, stats.uid, stats.gid]).toEqual([length, 0o640, 1000, 1000]);
    }
  });

  it('leave nothing behind when a long write fails', async () => {
    await fs.chmod(home, 0o777);
    const source = (function* () {
      yield Buffer.alloc(3 << 20);
      throw new Error('the source broke');
    })();
    await expect(fs.writeFile(`${home}/f`, source)).rejects.toThrow('the source broke');
    expect(await fs.readdir(home)).toEqual([]);
  });

  it('that are refused let go of what they come from, and say why they were refused', async () => {
    await fs.mkdir(`${home}/d`);
    let open = 0;
    const source = async function* (): AsyncGenerator<Buffer> {
      open++;
      try {
        for (;;) yield await Promise.resolve(Buffer.alloc(1 << 20));
      } finally {
        open--;
        // It is for who reads it to the end.
        if (open === 0) throw new Error('the source did not like to be left');
      }
    };
    expect(await codeOf(fs.writeFile(`${home}/d`, source()))).toBe('EISDIR');
    await expect(fs.writeFile(`${home}/f`, source(), { ifVersion: 7 })).rejects.toThrow(InvalidCall);
    expect(open).toBe(0);
    const stream = Readable.from(source());
    expect(await codeOf(fs.writeFile(`${home}/d`, stream))).toBe('EISDIR');
    expect(stream.destroyed).toBe(true);
  });

  it('are compared and set', async () => {
    await fs.writeFile(`${home}/f`, 'one', { ifVersion: 0 });
    expect(await codeOf(fs.writeFile(`${home}/f`, 'two', { ifVersion: 0 }))).toBe('EEXIST');
    const { version } = await fs.stat(`${home}/f`);
    await fs.writeFile(`${home}/f`, 'two', { ifVersion: version });
    expect(await codeOf(fs.writeFile(`${home}/f`, 'three', { ifVersion: version }))).toBe('EAGAIN');
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('two');
    expect(await codeOf(fs.writeFile(`${home}/f`, 'x', { flag: 'wx' }))).toBe('EEXIST');
    expect(await codeOf(fs.writeFile(`${home}/f`, Buffer.alloc(2 << 20), { flag: 'wx' }))).toBe('EEXIST');
    await expect(fs.writeFile(`${home}/f`, Buffer.alloc(2 << 20), { ifVersion: 1 })).rejects.toThrow(InvalidCall);
    for (const flag of ['a', 'wx'] as const) await expect(fs.writeFile(`${home}/f`, 'x', { ifVersion: 1, flag })).rejects.toThrow(InvalidCall);
    await expect(fs.writeFile(`${home}/new`, 'x', { ifVersion: 0, flag: 'a' })).rejects.toThrow("ifVersion goes with flag 'w', not with 'a'");
    await expect(fs.writeFile(`${home}/f`, 'x', { ifVersion: 2 ** 60 })).rejects.toThrow(InvalidCall);
    expect(await fs.exists(`${home}/new`)).toBe(false);
  });

  it('are not made through a symbolic link when they must not exist, as by open(2) with O_EXCL', async () => {
    await fs.symlink('nowhere', `${home}/l`);
    await fs.writeFile(`${home}/source`, 'x');
    for (const content of ['x', Buffer.alloc(2 << 20)]) {
      expect(await failure(fs.writeFile(`${home}/l`, content, { flag: 'wx' }))).toMatchObject({ code: 'EEXIST', path: `${home}/l` });
    }
    expect(await codeOf(fs.writeFile(`${home}/l`, 'x', { ifVersion: 0 }))).toBe('EEXIST');
    expect(await codeOf(fs.copyFile(`${home}/source`, `${home}/l`, { exclusive: true }))).toBe('EEXIST');
    expect((await fs.readdir(home)).sort()).toEqual(['l', 'source']);
    await fs.writeFile(`${home}/l`, Buffer.alloc(2 << 20));
    expect((await fs.stat(`${home}/nowhere`)).size).toBe(2 << 20);
  });

  it('are not made by a long write that finds a link there at its end', async () => {
    const source = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.alloc(2 << 20);
      await fs.symlink('nowhere', `${home}/f`);
    };
    expect(await codeOf(fs.writeFile(`${home}/f`, source(), { flag: 'wx' }))).toBe('EEXIST');
    expect(await fs.readdir(home)).toEqual(['f']);
  });

  it('are not replaced for a flag of Node\'s that is not known', async () => {
    await fs.writeFile(`${home}/f`, 'old');
    for (const flag of ['a+', 'ax', 'r+', 'w+'] as unknown as 'a'[]) await expect(fs.writeFile(`${home}/f`, 'new', { flag })).rejects.toThrow(InvalidCall);
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('old');
  });

  it('grow by many appenders without losing a line', async () => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => fs.appendFile(`${home}/log`, `line ${i}\n`)));
    const lines = (await fs.readFile(`${home}/log`, 'utf8')).trimEnd().split('\n');
    expect(lines.sort()).toEqual(Array.from({ length: 20 }, (_, i) => `line ${i}`).sort());
    await fs.writeFile(`${home}/long`, Buffer.alloc(1 << 20, 1));
    await fs.writeFile(`${home}/long`, 'end', { flag: 'a' });
    await fs.appendFile(`${home}/new`, Buffer.alloc(3 << 20, 2));
    expect((await fs.stat(`${home}/long`)).size).toBe((1 << 20) + 3);
    expect((await fs.stat(`${home}/new`)).size).toBe(3 << 20);
  });

  it('grow whole beyond 1 MiB too, and without the right to read them', async () => {
    await fs.writeFile(`${home}/log`, Buffer.alloc(1 << 20, '\n'), { mode: 0o666 });
    await fs.chmod(`${home}/log`, 0o222);
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`.repeat(i + 1));
    await Promise.all(texts.map((text, i) => (i % 2 === 0 ? ann : fs).appendFile(`${home}/log`, `${text}\n`)));
    expect((await fs.readFile(`${home}/log`, 'utf8')).trim().split('\n').sort()).toEqual([...texts].sort());
    await fs.symlink('made', `${home}/dangling`);
    await fs.appendFile(`${home}/dangling`, 'through');
    expect(await fs.readFile(`${home}/made`, 'utf8')).toBe('through');
    await fs.appendFile(`${home}/empty`, '');
    expect((await fs.stat(`${home}/empty`)).size).toBe(0);
    expect(await codeOf(fs.appendFile(`${home}/none/f`, 'x'))).toBe('ENOENT');
    expect(await codeOf(fs.appendFile(home, 'x'))).toBe('EISDIR');
  });

  it('are cut and written in place', async () => {
    await fs.writeFile(`${home}/f`, 'hello world');
    await fs.write(`${home}/f`, 6, Buffer.from('there'));
    await fs.truncate(`${home}/f`, 9);
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('hello the');
  });
});

describe('names and attributes', () => {
  it('are renamed, exchanged and linked', async () => {
    await fs.writeFile(`${home}/a`, 'a');
    await fs.writeFile(`${home}/b`, 'b');
    expect(await codeOf(fs.rename(`${home}/a`, `${home}/b`, { flags: 'noreplace' }))).toBe('EEXIST');
    await fs.rename(`${home}/a`, `${home}/b`, { flags: 'exchange' });
    expect(await fs.readFile(`${home}/a`, 'utf8')).toBe('b');
    await fs.rename(`${home}/a`, `${home}/b`);
    await fs.link(`${home}/b`, `${home}/c`);
    expect((await fs.stat(`${home}/c`)).nlink).toBe(2);
    await fs.symlink('nowhere', `${home}/s`);
    expect(await fs.readlink(`${home}/s`)).toBe('nowhere');
    expect(await fs.exists(`${home}/s`)).toBe(false);
    await fs.unlink(`${home}/s`);
  });

  it('are bytes when they are no text', async () => {
    const name = Buffer.concat([Buffer.from(`${home}/`), Buffer.from([0xff, 0xfe])]);
    await fs.writeFile(name, 'odd');
    const [entry] = await fs.readdir(home, { withFileTypes: true });
    expect(entry?.nameBytes).toEqual(Buffer.from([0xff, 0xfe]));
    expect(await fs.readFile(name, 'utf8')).toBe('odd');
  });

  it('have modes, owners and times', async () => {
    await fs.writeFile(`${home}/f`, '', { mode: 0o666 });
    expect((await fs.stat(`${home}/f`)).mode).toBe(0o100644);
    await fs.chmod(`${home}/f`, 0o600);
    await fs.chown(`${home}/f`, 7, -1);
    await fs.utimes(`${home}/f`, new Date(1001), 12.25);
    const stats = await fs.stat(`${home}/f`);
    expect([stats.mode & 0o777, stats.uid, stats.gid, stats.atimeMs, stats.mtimeMs]).toEqual([0o600, 7, 0, 1001, 12_250]);
    await fs.utimes(`${home}/f`, 'now', -0.5);
    expect((await fs.stat(`${home}/f`)).mtimeMs).toBe(-500);
    await fs.symlink('f', `${home}/s`);
    await fs.lchown(`${home}/s`, 9, 9);
    await fs.lutimes(`${home}/s`, 1, 1);
    expect((await fs.lstat(`${home}/s`)).uid).toBe(9);
    expect((await fs.stat(`${home}/s`)).uid).toBe(7);
    await fs.touch(`${home}/f`);
    expect((await fs.stat(`${home}/f`)).mtimeMs).toBeGreaterThan(1e12);
    await fs.touch(`${home}/g`);
    await fs.mknod(`${home}/p`, 'fifo');
    expect((await fs.stat(`${home}/p`)).isFIFO()).toBe(true);
    for (const name of ['p', 'd']) {
      if (name === 'd') await fs.mkdir(`${home}/d`);
      await fs.utimes(`${home}/${name}`, 1, 1);
      await fs.touch(`${home}/${name}`);
      expect((await fs.stat(`${home}/${name}`)).mtimeMs).toBeGreaterThan(1e12);
    }
    expect((await fs.stat(`${home}/g`)).size).toBe(0);
    await fs.symlink('made', `${home}/dangling`);
    await fs.touch(`${home}/dangling`);
    expect((await fs.stat(`${home}/made`)).isFile()).toBe(true);
  });

  it('have the mode that another has, as its attributes show it', async () => {
    await fs.writeFile(`${home}/f`, '', { mode: 0o640 });
    await fs.mkdir(`${home}/d`, { mode: 0o1750 });
    const [file, directory] = [(await fs.stat(`${home}/f`)).mode, (await fs.stat(`${home}/d`)).mode];
    expect([file, directory]).toEqual([0o100640, 0o041750]);
    await fs.writeFile(`${home}/g`, '', { mode: file });
    await fs.mknod(`${home}/p`, 'fifo', { mode: file });
    await fs.mkdir(`${home}/e`, { mode: directory });
    await fs.touch(`${home}/h`);
    await fs.chmod(`${home}/h`, file);
    for (const [name, mode] of [['g', 0o100640], ['p', 0o010640], ['e', 0o041750], ['h', 0o100640]] as const) expect((await fs.stat(`${home}/${name}`)).mode).toBe(mode);
    for (const wrong of ['644' as unknown as number, 1.5, -1, 0x10000, NaN]) {
      await expect(fs.chmod(`${home}/f`, wrong)).rejects.toThrow(InvalidCall);
      await expect(fs.writeFile(`${home}/new`, '', { mode: wrong })).rejects.toThrow(InvalidCall);
    }
    expect(await fs.exists(`${home}/new`)).toBe(false);
  });

  it('are checked on behalf of the caller', async () => {
    await fs.writeFile(`${home}/f`, 'secret', { mode: 0o600 });
    expect(await codeOf(ann.readFile(`${home}/f`))).toBe('EACCES');
    expect(await codeOf(ann.writeFile(`${home}/g`, 'x'))).toBe('EACCES');
    expect(await codeOf(ann.access(`${home}/f`, 4))).toBe('EACCES');
    await ann.access(`${home}/f`);
  });

  it('are checked for all the groups of a process that a call carries', async () => {
    await fs.writeFile(`${home}/f`, 'for the team', { mode: 0o640 });
    await fs.chown(`${home}/f`, 0, 5254);
    const groups = Array.from({ length: 300 }, (_, i) => 5000 + i);
    vi.spyOn(process, 'getgroups').mockReturnValue(groups);
    const { groups: own } = processCredentials();
    expect(own).toEqual(groups.slice(0, 255));
    expect(await new FileSystem(client, { credentials: { uid: 1000, gid: 1000, groups: own } }).readFile(`${home}/f`, 'utf8')).toBe('for the team');
  });

  it('extend', async () => {
    await fs.writeFile(`${home}/f`, '');
    await fs.setxattr(`${home}/f`, 'user.note', 'text');
    expect(await codeOf(fs.setxattr(`${home}/f`, 'user.note', 'x', { mode: 'create' }))).toBe('EEXIST');
    expect((await fs.getxattr(`${home}/f`, 'user.note')).toString()).toBe('text');
    expect(await fs.listxattr(`${home}/f`)).toEqual(['user.note']);
    await fs.removexattr(`${home}/f`, 'user.note');
    expect(await codeOf(fs.getxattr(`${home}/f`, 'user.note'))).toBe('ENODATA');
    expect((await fs.statfs()).inodes).toBeGreaterThan(1);
  });
});
