/** Making and removing names, and what it does to the directory and to the links. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ALICE, at, BOB, ROOT, World } from './harness.ts';

let w: World;
beforeEach(() => {
  w = new World();
});

describe('making', () => {
  it('gives the caller what it made, at the predetermined time', () => {
    w.setattr('', { mode: 0o777 });
    const f = w.create('f', 0o4640, ALICE);
    const sec = Math.floor(w.time / 1e6);
    const now = { sec, nsec: (w.time % 1e6) * 1000 };
    expect(f).toEqual({
      ino: 2, type: 'file', mode: 0o4640, nlink: 1, uid: 1000, gid: 100, rdev: 0, size: 0, blocks: 0,
      atime: now, mtime: now, ctime: now, birthtime: now, version: w.op,
    });
    const root = w.stat('');
    expect([root.mtime, root.ctime, root.version, root.size]).toEqual([now, now, w.op, 32]);
    expect(root.atime).toEqual({ sec: 0, nsec: 0 });
  });

  it('counts links of directories: 2 and the subdirectories', () => {
    w.mkdir('a');
    w.mkdir('a/b');
    w.mkdir('a/c');
    w.create('a/f');
    expect(w.stat('a').nlink).toBe(4);
    w.ok<'rmdir'>({ type: 'rmdir', at: at('a/b') });
    expect(w.stat('a').nlink).toBe(3);
    expect(w.stat('').nlink).toBe(3);
  });

  it('mkdir takes permissions and the sticky bit only', () => {
    expect(w.mkdir('d', 0o7777).mode).toBe(0o1777);
  });

  it('set-gid directories give their group, and to directories the bit', () => {
    w.mkdir('g', 0o777);
    w.setattr('g', { gid: 200, mode: 0o2777 });
    expect(w.create('g/f', 0o644, BOB).gid).toBe(200);
    const d = w.mkdir('g/d', 0o755, BOB);
    expect([d.gid, d.mode]).toEqual([200, 0o2755]);
    // set-gid and group-execute for a group that the maker is not in goes; for one that it is in stays.
    expect(w.create('g/x', 0o2755, BOB).mode).toBe(0o755);
    expect(w.create('g/y', 0o2755, ALICE).mode).toBe(0o2755);
    expect(w.create('g/z', 0o2645, BOB).mode).toBe(0o2645);
  });

  it('mknod: devices are for root, directories and links are not made so', () => {
    w.setattr('', { mode: 0o777 });
    const node = (fileType: 'block' | 'fifo' | 'directory' | 'symlink' | 'socket') => ({ type: 'mknod', at: at(`n-${fileType}`), fileType, mode: 0o600, rdev: 0x801 }) as const;
    w.fails('EPERM', node('block'), ALICE);
    w.fails('EPERM', node('directory'));
    w.fails('EINVAL', node('symlink'));
    expect(w.ok<'mknod'>(node('block')).attributes.rdev).toBe(0x801);
    expect(w.ok<'mknod'>(node('fifo'), ALICE).attributes.rdev).toBe(0);
    expect(w.ok<'mknod'>(node('socket'), ALICE).attributes.type).toBe('socket');
  });

  it('needs write and search permission in the directory, EEXIST first', () => {
    w.mkdir('d', 0o755);
    w.create('d/f');
    w.fails('EACCES', { type: 'create', at: at('d/g'), mode: 0o600, exclusive: true, truncate: false }, ALICE);
    w.fails('EEXIST', { type: 'mkdir', at: at('d/f'), mode: 0o700 }, ALICE);
    w.fails('EACCES', { type: 'mkdir', at: at('d/g'), mode: 0o700 }, ALICE);
    w.fails('EACCES', { type: 'symlink', at: at('d/g'), target: Buffer.from('x') }, ALICE);
  });

  it('create of what exists returns it as it is, truncated when asked and permitted', () => {
    const f = w.create('f', 0o644);
    w.write('f', 0, 'hello');
    const again = w.ok<'create'>({ type: 'create', at: at('f'), mode: 0o777, exclusive: false, truncate: false }, BOB);
    expect([again.created, again.attributes.ino, again.attributes.mode, again.attributes.size]).toEqual([false, f.ino, 0o644, 5]);
    w.fails('EACCES', { type: 'create', at: at('f'), mode: 0o777, exclusive: false, truncate: true }, BOB);
    w.fails('EEXIST', { type: 'create', at: at('f'), mode: 0o777, exclusive: true, truncate: false });
    expect(w.ok<'create'>({ type: 'create', at: at('f'), mode: 0o777, exclusive: false, truncate: true }).attributes.size).toBe(0);
  });
});

describe('links', () => {
  it('share the inode; ctime says so, mtime does not', () => {
    const f = w.create('f');
    const linked = w.link('f', 'g');
    expect([linked.ino, linked.nlink, linked.mtime]).toEqual([f.ino, 2, f.mtime]);
    expect(linked.ctime).not.toEqual(f.ctime);
    expect(w.unlink('f')).toEqual({ ino: f.ino, nlink: 1 });
    expect(w.stat('g').nlink).toBe(1);
    expect(w.unlink('g')).toEqual({ ino: f.ino, nlink: 0 });
  });

  it('EPERM for directories, EEXIST, EMLINK at 65,000; a symbolic link itself unless followed', () => {
    w.mkdir('d');
    const f = w.create('f');
    w.fails('EPERM', { type: 'link', from: at('d'), to: at('e'), follow: false });
    w.fails('EEXIST', { type: 'link', from: at('f'), to: at('d'), follow: false });
    w.symlink('f', 's');
    expect(w.ok<'link'>({ type: 'link', from: at('s'), to: at('s2'), follow: false }).attributes.type).toBe('symlink');
    expect(w.ok<'link'>({ type: 'link', from: at('s'), to: at('f2'), follow: true }).attributes.ino).toBe(f.ino);
    w.forceLinks(f.ino, 64_999);
    w.link('f', 'f3');
    w.fails('EMLINK', { type: 'link', from: at('f'), to: at('f4'), follow: false });
  });

  it('EMLINK for the 64,999th subdirectory', () => {
    const d = w.mkdir('d');
    w.forceLinks(d.ino, 64_999);
    w.mkdir('d/a');
    w.fails('EMLINK', { type: 'mkdir', at: at('d/b'), mode: 0o755 });
    w.mkdir('b');
    w.fails('EMLINK', { type: 'rename', from: at('b'), to: at('d/b'), flags: 'none' });
    w.create('d/f');
  });
});

describe('removing', () => {
  it('sticky directories: the owner of the file, of the directory, or root', () => {
    w.mkdir('t', 0o1777);
    w.create('t/alice', 0o666, ALICE);
    w.fails('EPERM', { type: 'unlink', at: at('t/alice') }, BOB);
    w.fails('EPERM', { type: 'rename', from: at('t/alice'), to: at('t/mine'), flags: 'none' }, BOB);
    w.unlink('t/alice', ALICE);
    w.setattr('t', { uid: BOB.uid });
    w.create('t/alice', 0o666, ALICE);
    w.unlink('t/alice', BOB);
    w.create('t/alice', 0o666, ALICE);
    w.unlink('t/alice', ROOT);
  });

  it('rmdir: ENOTEMPTY, EACCES; what was made in a removed directory is not', () => {
    const d = w.mkdir('d');
    w.create('d/f');
    w.fails('ENOTEMPTY', { type: 'rmdir', at: at('d') });
    w.unlink('d/f');
    w.fails('EACCES', { type: 'rmdir', at: at('d') }, ALICE);
    const session = w.startSession();
    w.ok<'rmdir'>({ type: 'rmdir', at: at('d') });
    // Held open by a session, it is still there, but nothing can be made in it.
    expect(w.stat(at('', d.ino)).nlink).toBe(0);
    w.fails('ENOENT', { type: 'create', at: at('f', d.ino), mode: 0o600, exclusive: true, truncate: false });
    w.fails('ENOENT', { type: 'readdir', at: at('', d.ino), after: Buffer.alloc(0), limit: 10, attributes: false });
    w.endSession(session);
    w.check();
  });

  it('never gives an inode number again', () => {
    const seen = new Set<number>();
    for (let i = 0; i < 20; i++) {
      seen.add(w.create('f').ino);
      w.unlink('f');
    }
    expect(seen.size).toBe(20);
  });
});
