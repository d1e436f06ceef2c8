/** Paths: the rules of path_resolution(7). */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Ino } from '../../lib/ids.ts';
import { ALICE, at, BOB, World } from './harness.ts';

let w: World;
beforeEach(() => {
  w = new World();
});

const getattr = (path: string, follow = false, dir?: Ino) => ({ type: 'getattr', at: at(path, dir), follow }) as const;

describe('path resolution', () => {
  it("walks '.', '..' and repeated slashes; '..' of the root is the root", () => {
    w.mkdir('a');
    w.mkdir('a/b');
    const f = w.create('a/b/f');
    for (const path of ['a/b/f', '/a/b/f', 'a//b///f', 'a/./b/../b/f', '../../a/b/f', './a/b/f']) expect(w.stat(path).ino).toBe(f.ino);
    expect(w.stat('/').ino).toBe(1);
    expect(w.stat('a/..').ino).toBe(1);
    expect(w.stat('a/b/..').ino).toBe(w.stat('a').ino);
  });

  it('an empty path names the inode itself', () => {
    const f = w.create('f');
    expect(w.stat(at('', f.ino)).ino).toBe(f.ino);
    w.fails('ENOTDIR', getattr('x', false, f.ino));
  });

  it('ESTALE for an inode number that is not (any more) there', () => {
    w.fails('ESTALE', getattr('', false, 999 as Ino));
    const f = w.create('f');
    w.unlink('f');
    w.fails('ESTALE', getattr('', false, f.ino));
  });

  it('ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL', () => {
    w.create('f');
    w.fails('ENOENT', getattr('none'));
    w.fails('ENOENT', getattr('none/x'));
    w.fails('ENOTDIR', getattr('f/x'));
    w.fails('ENOTDIR', getattr('f/'));
    w.fails('ENAMETOOLONG', getattr('n'.repeat(256)));
    w.fails('ENOENT', getattr('n'.repeat(255)));
    w.fails('ENAMETOOLONG', getattr('a/'.repeat(2049)));
    w.fails('ENOENT', getattr('a/'.repeat(2048)));
    w.fails('EINVAL', getattr('a\0b'));
  });

  it('names are bytes, not text', () => {
    const name = Buffer.from([0xff, 0xfe, 0x01, 0xc3]);
    const made = w.ok<'create'>({ type: 'create', at: at(name), mode: 0o600, exclusive: true, truncate: false });
    expect(w.stat(at(name)).ino).toBe(made.attributes.ino);
  });

  it('asks for search permission in every directory on the way', () => {
    w.mkdir('a', 0o700);
    w.create('a/f', 0o666);
    w.fails('EACCES', getattr('a/f'), ALICE);
    w.fails('EACCES', getattr('a/none'), ALICE);
    w.fails('EACCES', getattr('a/..'), ALICE);
    expect(w.ok<'getattr'>(getattr('a'), ALICE).attributes.mode).toBe(0o700);
    w.setattr('a', { mode: 0o711 });
    expect(w.ok<'getattr'>(getattr('a/f'), BOB).attributes.mode).toBe(0o666);
  });
});

describe('symbolic links', () => {
  it('are followed on the way, and at the end when asked', () => {
    w.mkdir('d');
    const f = w.create('d/f');
    w.symlink('d', 'ld');
    w.symlink('d/f', 'lf');
    w.symlink('/d', 'abs');
    w.symlink('../lf', 'd/up');
    expect(w.stat('ld/f').ino).toBe(f.ino);
    expect(w.stat('abs/f').ino).toBe(f.ino);
    expect(w.stat('lf').type).toBe('symlink');
    expect(w.stat('lf', true).ino).toBe(f.ino);
    expect(w.stat('d/up', true).ino).toBe(f.ino);
    expect(w.stat('ld').type).toBe('symlink');
    expect(w.stat('ld/').type).toBe('directory');
    expect(w.stat('ld/.').type).toBe('directory');
    w.fails('ENOTDIR', getattr('lf/'));
  });

  it('ELOOP at the 41st', () => {
    w.create('l0');
    for (let i = 1; i <= 41; i++) w.symlink(`l${i - 1}`, `l${i}`);
    expect(w.stat('l40', true).type).toBe('file');
    w.fails('ELOOP', getattr('l41', true));
    w.symlink('self', 'self');
    w.fails('ELOOP', getattr('self', true));
    w.fails('ELOOP', getattr('self/x'));
    w.mkdir('d');
    w.symlink('d/../s1', 's2');
    w.symlink('s2/', 's1');
    w.fails('ELOOP', getattr('s1/x'));
  });

  it('have a target of 1 to 4095 bytes', () => {
    const make = (target: string) => ({ type: 'symlink', at: at('l'), target: Buffer.from(target) }) as const;
    w.fails('ENOENT', make(''));
    w.fails('ENAMETOOLONG', make('t'.repeat(4096)));
    w.fails('EINVAL', make('a\0'));
    const made = w.ok<'symlink'>(make('t'.repeat(4095))).attributes;
    expect([made.size, made.mode, made.nlink]).toEqual([4095, 0o777, 1]);
    expect(w.ok<'readlink'>({ type: 'readlink', at: at('l') }).target.length).toBe(4095);
    w.create('f');
    w.fails('EINVAL', { type: 'readlink', at: at('f') });
  });

  it('dangling: open(O_CREAT) makes the target, O_EXCL sees the link', () => {
    w.mkdir('d');
    w.symlink('d/new', 'l');
    w.fails('EEXIST', { type: 'create', at: at('l'), mode: 0o600, exclusive: true, truncate: false });
    expect(w.ok<'create'>({ type: 'create', at: at('l'), mode: 0o600, exclusive: false, truncate: false }).created).toBe(true);
    expect(w.names('d')).toEqual(['new']);
    w.symlink('none/x', 'far');
    w.fails('ENOENT', { type: 'create', at: at('far'), mode: 0o600, exclusive: false, truncate: false });
    w.fails('EEXIST', { type: 'mkdir', at: at('far'), mode: 0o700 });
  });
});

describe('trailing slashes and dots as last component', () => {
  beforeEach(() => {
    w.mkdir('d');
    w.create('f');
  });

  it('making', () => {
    w.mkdir('e/');
    expect(w.stat('e').type).toBe('directory');
    const create = (path: string, exclusive = false) => ({ type: 'create', at: at(path), mode: 0o600, exclusive, truncate: false }) as const;
    w.fails('EISDIR', create('new/'));
    w.fails('EISDIR', create('d'));
    w.fails('EISDIR', create('.'));
    w.fails('EEXIST', create('..', true));
    w.fails('ENOENT', create(''));
    w.fails('EEXIST', { type: 'mkdir', at: at('.'), mode: 0o700 });
    w.fails('EEXIST', { type: 'mkdir', at: at('/'), mode: 0o700 });
    w.fails('ENOENT', { type: 'mknod', at: at('n/'), fileType: 'fifo', mode: 0o600, rdev: 0 });
    w.fails('ENOENT', { type: 'symlink', at: at('n/'), target: Buffer.from('x') });
    w.fails('ENOENT', { type: 'link', from: at('f'), to: at('n/'), follow: false });
  });

  it('removing', () => {
    w.fails('ENOTDIR', { type: 'unlink', at: at('f/') });
    w.fails('EISDIR', { type: 'unlink', at: at('d/') });
    w.fails('EISDIR', { type: 'unlink', at: at('.') });
    w.fails('EISDIR', { type: 'unlink', at: at('d') });
    w.fails('EINVAL', { type: 'rmdir', at: at('d/.') });
    w.fails('ENOTEMPTY', { type: 'rmdir', at: at('d/..') });
    w.fails('EBUSY', { type: 'rmdir', at: at('/') });
    w.fails('ENOTDIR', { type: 'rmdir', at: at('f') });
    w.symlink('d', 'l');
    w.fails('ENOTDIR', { type: 'rmdir', at: at('l/') });
    w.ok<'rmdir'>({ type: 'rmdir', at: at('d/') });
  });
});
