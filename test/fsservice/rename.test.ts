import { beforeEach, describe, expect, it } from 'vitest';
import { ALICE, at, BOB, World } from './harness.ts';

let w: World;
beforeEach(() => {
  w = new World();
});

const rename = (from: string, to: string, flags: 'none' | 'noreplace' | 'exchange' = 'none') => ({ type: 'rename', from: at(from), to: at(to), flags }) as const;

describe('rename', () => {
  it('moves, and replaces in one step', () => {
    const a = w.create('a');
    w.create('b');
    w.rename('a', 'b');
    expect(w.names('')).toEqual(['b']);
    expect(w.stat('b').ino).toBe(a.ino);
    expect(w.statfs().inodes).toBe(2);
    w.check();
  });

  it("moves directories: '..' and the parents' links follow", () => {
    w.mkdir('a');
    w.mkdir('b');
    const d = w.mkdir('a/d');
    w.create('a/d/f');
    w.rename('a/d', 'b/e');
    expect(w.stat('b/e/..').ino).toBe(w.stat('b').ino);
    expect([w.stat('a').nlink, w.stat('b').nlink]).toEqual([2, 3]);
    expect(w.stat('b/e').ino).toBe(d.ino);
    expect(w.names('b/e')).toEqual(['f']);
    w.check();
  });

  it('changes ctime of what moves, mtime and ctime of both directories', () => {
    w.mkdir('a');
    w.mkdir('b');
    const f = w.create('a/f');
    w.rename('a/f', 'b/f');
    const now = w.stat('b/f').ctime;
    expect(now).not.toEqual(f.ctime);
    expect(w.stat('b/f').mtime).toEqual(f.mtime);
    for (const dir of ['a', 'b']) expect([w.stat(dir).mtime, w.stat(dir).ctime]).toEqual([now, now]);
  });

  it('over itself or another link of the same inode does nothing', () => {
    w.create('a');
    w.link('a', 'b');
    const before = w.records();
    w.rename('a', 'b');
    w.rename('a', 'a');
    w.rename('a', 'b', 'exchange');
    expect(w.records()).toEqual(before);
  });

  it('directory over directory: only an empty one; never over another kind', () => {
    w.mkdir('d');
    w.mkdir('e');
    w.create('e/f');
    w.create('f');
    w.fails('ENOTEMPTY', rename('d', 'e'));
    w.fails('ENOTDIR', rename('d', 'f'));
    w.fails('EISDIR', rename('f', 'd'));
    w.rename('e', 'd');
    expect(w.names('d')).toEqual(['f']);
    expect(w.stat('').nlink).toBe(3);
    w.check();
  });

  it('EINVAL into its own subtree, ENOTEMPTY onto a directory above, EBUSY for dots', () => {
    w.mkdir('a');
    w.mkdir('a/b');
    w.mkdir('a/b/c');
    w.fails('EINVAL', rename('a', 'a/x'));
    w.fails('EINVAL', rename('a', 'a/b/c/x'));
    w.fails('ENOTEMPTY', rename('a/b/c', 'a'));
    w.fails('EINVAL', rename('a/b/c', 'a', 'exchange'));
    w.fails('EBUSY', rename('a/.', 'x'));
    w.fails('EBUSY', rename('a', 'a/..'));
    w.fails('EBUSY', rename('/', 'x'));
    w.fails('EEXIST', rename('a', '.', 'noreplace'));
    w.fails('ENOENT', rename('none', 'x'));
  });

  it('slashes behind a name ask for a directory', () => {
    w.create('f');
    w.mkdir('d');
    w.fails('ENOTDIR', rename('f/', 'g'));
    w.fails('ENOTDIR', rename('f', 'g/'));
    w.fails('ENOTDIR', rename('d', 'f/', 'exchange'));
    w.rename('d/', 'e/');
    expect(w.names('')).toEqual(['e', 'f']);
  });

  it('a link is renamed itself', () => {
    w.create('f');
    w.symlink('f', 'l');
    w.rename('l', 'm');
    expect(w.stat('m').type).toBe('symlink');
    w.rename('f', 'm');
    expect(w.stat('m').type).toBe('file');
    w.check();
  });

  it('NOREPLACE', () => {
    w.create('a');
    w.create('b');
    w.fails('EEXIST', rename('a', 'b', 'noreplace'));
    w.fails('EEXIST', rename('a', 'a', 'noreplace'));
    w.rename('a', 'c', 'noreplace');
    expect(w.names('')).toEqual(['b', 'c']);
  });

  it('EXCHANGE: a file and a directory, across directories', () => {
    w.mkdir('a');
    w.mkdir('b');
    const d = w.mkdir('a/d');
    const f = w.create('b/f');
    w.create('a/d/inner');
    w.rename('a/d', 'b/f', 'exchange');
    expect([w.stat('a/d').ino, w.stat('b/f').ino]).toEqual([f.ino, d.ino]);
    expect([w.stat('a').nlink, w.stat('b').nlink]).toEqual([2, 3]);
    expect(w.stat('b/f/..').ino).toBe(w.stat('b').ino);
    w.fails('ENOENT', rename('a/d', 'none', 'exchange'));
    w.check();
  });

  it('permissions: both directories, and a directory itself when its parent changes', () => {
    w.mkdir('mine', 0o777);
    w.mkdir('other', 0o755);
    w.mkdir('open', 0o777);
    w.create('mine/f', 0o644, ALICE);
    w.fails('EACCES', rename('mine/f', 'other/f'), ALICE);
    w.create('other/g');
    w.fails('EACCES', rename('other/g', 'mine/g'), ALICE);
    w.mkdir('mine/d', 0o755, ALICE);
    w.fails('EACCES', rename('mine/d', 'open/d'), BOB);
    w.rename('mine/d', 'mine/e', 'none', BOB);
    w.rename('mine/e', 'open/e', 'none', ALICE);
  });
});
