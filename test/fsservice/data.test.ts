/** Contents: holes, truncation, limits, whole files. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ALICE, at, BOB, World } from './harness.ts';
import { BLOCK_SIZE, type SetAttributes } from '../../fsservice/operations.ts';

let w: World;
beforeEach(() => {
  w = new World();
});

const set = (path: string, s: SetAttributes) => ({ type: 'setattr', at: at(path), follow: true, set: s }) as const;
const write = (path: string, offset: number, data: string | Buffer) => ({ type: 'write', at: at(path), offset, data: Buffer.from(data) }) as const;
const put = (path: string, data: string | Buffer, ifVersion: number | null = null) => ({ type: 'putFile', at: at(path), mode: 0o644, data: Buffer.from(data), ifVersion }) as const;

describe('write and read', () => {
  it('across blocks, over what was there, short at the end', () => {
    w.create('f');
    const data = Buffer.alloc(3 * BLOCK_SIZE + 100, 'abc');
    w.write('f', 10, data);
    expect(w.read('f').equals(Buffer.concat([Buffer.alloc(10), data]))).toBe(true);
    w.write('f', BLOCK_SIZE - 2, 'WXYZ');
    expect(w.read('f', BLOCK_SIZE - 3, 6).toString()).toMatch(/^.WXYZ.$/);
    const end = w.stat('f').size;
    expect(w.read('f', end - 2, 100).length).toBe(2);
    expect(w.read('f', end, 100).length).toBe(0);
    expect(w.read('f', end + 1e9, 100).length).toBe(0);
    w.check();
  });

  it('appends where the file ends when it is executed', () => {
    const append = (data: string) => ({ type: 'write', at: at('f'), offset: 'end', data: Buffer.from(data) }) as const;
    w.create('f', 0o644);
    expect(w.ok<'write'>(append('one ')).attributes.size).toBe(4);
    expect(w.ok<'write'>(append('two ')).attributes.size).toBe(8);
    w.setattr('f', { size: BLOCK_SIZE - 1 });
    const { attributes } = w.ok<'write'>(append('across'));
    expect([attributes.size, attributes.mtime]).toEqual([BLOCK_SIZE + 5, attributes.ctime]);
    expect(w.read('f', 0, 9).toString()).toBe('one two \0');
    expect(w.read('f', BLOCK_SIZE - 1).toString()).toBe('across');
    expect(w.ok<'write'>(append('')).attributes).toEqual(attributes);
    w.fails('EACCES', append('x'), ALICE);
    w.check();
    const small = new World({ maxFileSize: 1000 });
    small.create('f');
    small.write('f', 998, 'x');
    small.ok<'write'>(append('y'));
    small.fails('EFBIG', append('z'));
  });

  it('holes read as zeros and take no room', () => {
    w.create('f');
    const a = w.write('f', 10 * BLOCK_SIZE, 'x');
    expect([a.size, a.blocks]).toEqual([10 * BLOCK_SIZE + 1, 1]);
    expect(w.read('f', 9 * BLOCK_SIZE, BLOCK_SIZE + 1).equals(Buffer.concat([Buffer.alloc(BLOCK_SIZE), Buffer.from('x')]))).toBe(true);
    expect(w.write('f', 513, 'y').blocks).toBe(3);
    expect(w.read('f', 0, 514).equals(Buffer.concat([Buffer.alloc(513), Buffer.from('y')]))).toBe(true);
    expect(w.statfs().bytes).toBe(3 * 512);
  });

  it('EISDIR, EINVAL, EACCES; nothing for no bytes', () => {
    w.mkdir('d');
    w.ok<'mknod'>({ type: 'mknod', at: at('p'), fileType: 'fifo', mode: 0o666, rdev: 0 });
    const f = w.create('f', 0o644);
    w.fails('EISDIR', write('d', 0, 'x'));
    w.fails('EINVAL', write('p', 0, 'x'));
    w.fails('EISDIR', { type: 'read', at: at('d'), offset: 0, length: 1 });
    w.fails('EACCES', write('f', 0, 'x'), ALICE);
    expect(w.ok<'write'>(write('f', 5, '')).attributes).toEqual(f);
    w.symlink('f', 'l');
    expect(w.ok<'write'>(write('l', 0, 'through')).attributes.ino).toBe(f.ino);
  });

  it('who opened a file goes on by its number, whatever its mode', () => {
    w.setattr('', { mode: 0o777 });
    const f = w.create('f', 0o444, ALICE);
    w.fails('EACCES', write('f', 0, 'x'), ALICE);
    expect(w.ok<'write'>({ type: 'write', at: at('', f.ino), offset: 0, data: Buffer.from('x') }, ALICE).attributes.size).toBe(1);
    expect(w.ok<'setattr'>({ type: 'setattr', at: at('', f.ino), follow: false, set: { size: 0 } }, ALICE).attributes.size).toBe(0);
    w.fails('EACCES', { type: 'write', at: at('', f.ino), offset: 0, data: Buffer.from('x') }, BOB);
  });

  it('takes set-id bits away, from others than root', () => {
    w.setattr('', { mode: 0o777 });
    w.create('f', 0o6777, ALICE);
    w.write('f', 0, 'x');
    expect(w.stat('f').mode).toBe(0o6777);
    w.write('f', 0, 'x', BOB);
    expect(w.stat('f').mode).toBe(0o777);
    w.setattr('f', { mode: 0o6777 });
    w.setattr('f', { size: 0 }, BOB);
    expect(w.stat('f').mode).toBe(0o777);
  });

  it('EFBIG and ENOSPC change nothing', () => {
    const small = new World({ maxFileSize: 1000, maxBytes: 1024 });
    small.create('f');
    small.fails('EFBIG', write('f', 999, 'xy'));
    small.fails('EFBIG', set('f', { size: 1001 }));
    small.fails('EFBIG', put('g', Buffer.alloc(1001)));
    small.write('f', 0, Buffer.alloc(513));
    small.create('g');
    small.fails('ENOSPC', write('g', 0, 'x'));
    small.fails('ENOSPC', put('g', 'x'));
    small.fails('ENOSPC', put('new', 'x'));
    small.write('f', 600, 'x');
    small.setattr('f', { size: 512 });
    small.write('g', 0, 'x');
    expect(small.statfs()).toMatchObject({ bytes: 1024, maxBytes: 1024 });
    small.check();
  });

  it('ENOSPC when the inodes are used up', () => {
    const small = new World({ maxInodes: 2 });
    small.create('f');
    small.fails('ENOSPC', { type: 'create', at: at('g'), mode: 0o600, exclusive: true, truncate: false });
    small.fails('ENOSPC', { type: 'mkdir', at: at('g'), mode: 0o700 });
    small.fails('ENOSPC', put('g', ''));
    small.link('f', 'g');
  });
});

describe('truncation', () => {
  it('what was cut off reads as zeros when the file grows again', () => {
    w.create('f');
    w.write('f', 0, Buffer.alloc(2 * BLOCK_SIZE, 'x'));
    expect(w.setattr('f', { size: 100 })).toMatchObject({ size: 100, blocks: 1 });
    w.setattr('f', { size: BLOCK_SIZE + 100 });
    expect(w.read('f').equals(Buffer.concat([Buffer.alloc(100, 'x'), Buffer.alloc(BLOCK_SIZE)]))).toBe(true);
    expect(w.stat('f').blocks).toBe(1);
    w.check();
  });

  it('EISDIR, EINVAL, EACCES', () => {
    w.mkdir('d');
    w.ok<'mknod'>({ type: 'mknod', at: at('p'), fileType: 'fifo', mode: 0o666, rdev: 0 });
    w.create('f', 0o644);
    w.fails('EISDIR', set('d', { size: 0 }));
    w.fails('EINVAL', set('p', { size: 0 }));
    w.fails('EACCES', set('f', { size: 0 }), ALICE);
  });

  it('of many blocks is done at once, and freed in bounded steps', () => {
    w.create('f');
    const block = Buffer.alloc(16 * BLOCK_SIZE, 'x');
    for (let i = 0; i < 8; i++) w.write('f', i * block.length, block);
    const before = w.statfs().bytes;
    expect(before).toBe(8 * block.length);
    w.setattr('f', { size: 100 });
    // Written behind the cut while the old blocks are still there.
    w.write('f', 50 * BLOCK_SIZE + 10, 'new');
    w.setattr('f', { size: 128 * BLOCK_SIZE });
    const expected = Buffer.alloc(60 * BLOCK_SIZE);
    expected.fill('x', 0, 100);
    expected.write('new', 50 * BLOCK_SIZE + 10);
    const readAll = (): Buffer => Buffer.concat([0, 1, 2, 3].map((i) => w.read('f', i * 15 * BLOCK_SIZE, 15 * BLOCK_SIZE)));
    expect(readAll().equals(expected)).toBe(true);
    expect(w.statfs().bytes).toBeGreaterThan(before / 2);
    expect(w.collectStep()).toBe(true);
    w.check();
    expect(readAll().equals(expected)).toBe(true);
    // A second cut, in front of the first one's work and behind its start.
    w.setattr('f', { size: 55 * BLOCK_SIZE });
    w.write('f', 100 * BLOCK_SIZE, 'end');
    w.setattr('f', { size: 60 * BLOCK_SIZE });
    expect(w.collectAll()).toBeGreaterThan(1);
    expect(readAll().equals(expected)).toBe(true);
    expect(w.statfs().bytes).toBe(w.stat('f').blocks * 512);
    expect(w.stat('f').blocks).toBe(2);
    w.check();
  });
});

describe('putFile', () => {
  it('makes, replaces, and compares versions', () => {
    const made = w.ok<'putFile'>(put('f', 'one', 0));
    expect([made.created, made.attributes.size]).toEqual([true, 3]);
    w.fails('EEXIST', put('f', 'two', 0));
    w.fails('EAGAIN', put('f', 'two', made.attributes.version + 1));
    const replaced = w.ok<'putFile'>(put('f', 'longer', made.attributes.version));
    expect([replaced.created, w.read('f').toString()]).toEqual([false, 'longer']);
    expect(w.ok<'putFile'>(put('f', '')).attributes).toMatchObject({ size: 0, blocks: 0 });
    w.fails('ENOENT', put('none', 'x', 5));
    w.mkdir('d');
    w.fails('EISDIR', put('d', 'x'));
    w.check();
  });

  it('makes nothing through a symbolic link when it is to make', () => {
    w.symlink('nowhere', 'l');
    w.symlink('l', 'second');
    w.mkdir('d');
    for (const path of ['l', 'second', 'd']) w.fails('EEXIST', put(path, 'x', 0));
    w.fails('ENOENT', { type: 'getattr', at: at('nowhere'), follow: false });
    // Links on the way are followed, and so is the last one where it need not make.
    w.symlink('d', 'way');
    w.ok(put('way/f', 'x', 0));
    w.ok(put('l', 'through'));
    expect([w.read('d/f').toString(), w.read('nowhere').toString()]).toEqual(['x', 'through']);
    w.fails('EEXIST', put('l', 'x', 0));
    w.check();
  });

  it('up to 1 MiB, also over a larger file', () => {
    w.create('f');
    for (let i = 0; i < 3; i++) w.write('f', i << 20, Buffer.alloc(1 << 20, 'x'));
    const whole = Buffer.alloc(1 << 20, 'y');
    expect(w.ok<'putFile'>(put('f', whole)).attributes.size).toBe(1 << 20);
    expect(w.read('f').equals(whole)).toBe(true);
    w.collectAll();
    expect(w.read('f').equals(whole)).toBe(true);
    expect(w.stat('f').blocks).toBe(2048);
    w.check();
  });
});
