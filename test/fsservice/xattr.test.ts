import { beforeEach, describe, expect, it } from 'vitest';
import { ALICE, at, BOB, World } from './harness.ts';

let w: World;
beforeEach(() => {
  w = new World();
  w.setattr('', { mode: 0o777 });
});

const b = (s: string): Buffer => Buffer.from(s);
const set = (path: string, name: string, value: string | Buffer = 'v', mode: 'any' | 'create' | 'replace' = 'any', follow = true) =>
  ({ type: 'setxattr', at: at(path), follow, name: b(name), value: Buffer.from(value), mode }) as const;
const get = (path: string, name: string, follow = true) => ({ type: 'getxattr', at: at(path), follow, name: b(name) }) as const;
const remove = (path: string, name: string) => ({ type: 'removexattr', at: at(path), follow: true, name: b(name) }) as const;
const list = (path: string, who = ALICE): string[] => w.ok<'listxattr'>({ type: 'listxattr', at: at(path), follow: true }, who).names.map((n) => n.toString());

describe('extended attributes', () => {
  it('are set, replaced, listed in order, removed; ctime says so', () => {
    const f = w.create('f', 0o644, ALICE);
    w.ok<'setxattr'>(set('f', 'user.b', 'one'), ALICE);
    w.ok<'setxattr'>(set('f', 'user.a', ''), ALICE);
    w.ok<'setxattr'>(set('f', 'user.b', 'three'), ALICE);
    expect(list('f')).toEqual(['user.a', 'user.b']);
    expect(w.ok<'getxattr'>(get('f', 'user.b')).value.toString()).toBe('three');
    expect(w.ok<'getxattr'>(get('f', 'user.a')).value.length).toBe(0);
    const after = w.stat('f');
    expect([after.mtime, after.version]).toEqual([f.mtime, w.op]);
    w.check();
    w.ok<'removexattr'>(remove('f', 'user.b'), ALICE);
    w.ok<'removexattr'>(remove('f', 'user.a'), ALICE);
    expect(list('f')).toEqual([]);
    w.check();
  });

  it('ENODATA, EEXIST, ERANGE, E2BIG, EINVAL, EOPNOTSUPP, ENOSPC', () => {
    w.create('f', 0o644, ALICE);
    w.fails('ENODATA', get('f', 'user.a'));
    w.fails('ENODATA', remove('f', 'user.a'));
    w.fails('ENODATA', set('f', 'user.a', 'v', 'replace'));
    w.ok<'setxattr'>(set('f', 'user.a'));
    w.fails('EEXIST', set('f', 'user.a', 'v', 'create'));
    w.fails('ERANGE', set('f', ''));
    w.fails('ERANGE', set('f', 'user.' + 'n'.repeat(251)));
    w.fails('EINVAL', set('f', 'user.'));
    w.fails('EOPNOTSUPP', set('f', 'system.posix_acl_access'));
    w.fails('EOPNOTSUPP', get('f', 'other.x'));
    const large = Buffer.alloc(65_536);
    w.fails('E2BIG', set('f', 'user.big', Buffer.alloc(65_537)));
    for (let i = 0; i < 3; i++) w.ok<'setxattr'>(set('f', `user.${i}`, large));
    w.fails('ENOSPC', set('f', 'user.3', large));
    w.check();
  });

  it('user.*: files and directories, by their mode; sticky directories: the owner', () => {
    w.create('f', 0o640, ALICE);
    w.fails('EACCES', set('f', 'user.a'), BOB);
    w.fails('EACCES', get('f', 'user.a'), BOB);
    w.symlink('f', 'l', ALICE);
    w.fails('EPERM', set('l', 'user.a', 'v', 'any', false), ALICE);
    w.fails('ENODATA', get('l', 'user.a', false), ALICE);
    w.mkdir('t', 0o1777, ALICE);
    w.fails('EPERM', set('t', 'user.a'), BOB);
    w.ok<'setxattr'>(set('t', 'user.a'), ALICE);
  });

  it('trusted.* is for root alone, security.* root writes and all read', () => {
    w.create('f', 0o666, ALICE);
    w.fails('EPERM', set('f', 'trusted.t'), ALICE);
    w.fails('EPERM', set('f', 'security.s'), ALICE);
    w.ok<'setxattr'>(set('f', 'trusted.t'));
    w.ok<'setxattr'>(set('f', 'security.s'));
    w.fails('ENODATA', get('f', 'trusted.t'), ALICE);
    expect(w.ok<'getxattr'>(get('f', 'security.s'), ALICE).value.toString()).toBe('v');
    expect(list('f')).toEqual(['security.s']);
    expect(list('f', { uid: 0, gid: 0, groups: [] })).toEqual(['security.s', 'trusted.t']);
  });

  it('go with the inode, in a step of their own', () => {
    w.create('f');
    w.ok<'setxattr'>(set('f', 'user.a'));
    w.unlink('f');
    expect(w.statfs().inodes).toBe(1);
    expect(w.collectAll()).toBe(1);
    w.check();
    expect(w.table.size).toBe(2);
  });
});
