/** Trees are gone at once and freed in bounded steps. */
import { beforeEach, describe, expect, it } from 'vitest';
import { COLLECT_RECORDS } from '../../fsservice/limits.ts';
import { decodeResult, encodeCall } from '../../fsservice/operation_codec.ts';
import type { Ino } from '../../lib/ids.ts';
import { ALICE, at, BOB, ROOT, World } from './harness.ts';

let w: World;
beforeEach(() => {
  w = new World();
});

const removeTree = (path: string) => ({ type: 'removeTree', at: at(path) }) as const;

function grow(world: World, path: string, depth: number, width: number): void {
  world.mkdir(path, 0o777);
  for (let i = 0; i < width; i++) {
    world.create(`${path}/f${i}`);
    if (depth > 0) grow(world, `${path}/d${i}`, depth - 1, width);
  }
}

describe('removeTree', () => {
  it('takes the whole tree away in one operation, and frees it step by step', () => {
    grow(w, 'tree', 3, 4);
    w.write('tree/d0/d1/f2', 0, Buffer.alloc(3 << 16, 'x'));
    w.create('other');
    const inodes = w.statfs().inodes;
    w.ok<'removeTree'>(removeTree('tree'));
    expect(w.names('')).toEqual(['other']);
    expect(w.stat('').nlink).toBe(2);
    w.check();
    let steps = 0;
    for (let before = inodes; w.collectStep(); steps++) {
      const after = w.statfs().inodes;
      expect(before - after).toBeLessThanOrEqual(COLLECT_RECORDS);
      before = after;
      w.check();
    }
    expect(steps).toBeGreaterThan(inodes / COLLECT_RECORDS / 2);
    expect(w.statfs()).toMatchObject({ inodes: 2, bytes: 0 });
    expect(w.table.size).toBe(4);
  });

  it('what is below is gone at once, also for those who know the inode number', () => {
    grow(w, 'tree', 2, 3);
    const inner = w.stat('tree/d0/d1').ino;
    w.ok<'removeTree'>(removeTree('tree'));
    w.fails('ENOENT', { type: 'getattr', at: at('f0', inner), follow: false });
    w.fails('ENOENT', { type: 'create', at: at('new', inner), mode: 0o600, exclusive: true, truncate: false });
    w.fails('ENOENT', { type: 'readdir', at: at('', inner), after: Buffer.alloc(0), limit: 10, attributes: false });
    w.fails('ENOENT', { type: 'rename', from: at('f0', inner), to: at('saved'), flags: 'none' });
    w.fails('ENOENT', { type: 'getattr', at: at('..', inner), follow: false });
    w.collectAll();
    w.fails('ESTALE', { type: 'getattr', at: at('f0', inner), follow: false });
    w.check();
  });

  it('keeps what has a link elsewhere, and what is open', () => {
    const session = w.startSession();
    grow(w, 'tree', 1, 2);
    w.link('tree/d0/f1', 'saved');
    const open = w.stat('tree/d1/f0').ino;
    w.ok<'removeTree'>(removeTree('tree'));
    w.collectAll();
    expect(w.stat('saved').nlink).toBe(1);
    expect(w.stat(at('', open)).nlink).toBe(0);
    w.check();
    w.keepAlive(session, [open]);
    w.collectAll();
    expect(w.statfs()).toMatchObject({ orphans: 1, inodes: 3 });
    w.keepAlive(session, []);
    w.collectAll();
    expect(w.statfs()).toMatchObject({ orphans: 0, inodes: 2 });
    w.check();
  });

  it('of a file, an empty directory, a link: just that', () => {
    w.create('f');
    w.mkdir('d');
    w.symlink('d', 'l');
    for (const path of ['f', 'l', 'd']) w.ok<'removeTree'>(removeTree(path));
    expect([w.names(''), w.service.housekeeping()]).toEqual([[], undefined]);
    w.fails('ENOENT', removeTree('f'));
    w.fails('EBUSY', removeTree('/'));
    w.check();
  });

  it("of a directory is for root alone: nobody's permissions are asked below it", () => {
    w.setattr('', { mode: 0o777 });
    w.mkdir('mine', 0o777, ALICE);
    w.fails('EPERM', removeTree('mine'), ALICE);
    w.mkdir('mine/roots', 0o755);
    w.create('mine/roots/f', 0o600);
    w.fails('EPERM', removeTree('mine'), ALICE);
    w.fails('EPERM', removeTree('mine/roots'), ALICE);
    w.ok<'removeTree'>(removeTree('mine'));
  });

  it('of anything else is for whoever may unlink it', () => {
    w.setattr('', { mode: 0o1777 });
    w.create('f', 0o600, ALICE);
    w.symlink('f', 'l', BOB);
    w.fails('EPERM', removeTree('f'), BOB);
    w.ok<'removeTree'>(removeTree('l'), BOB);
    w.setattr('', { mode: 0o755 });
    w.fails('EACCES', removeTree('f'), ALICE);
    w.setattr('', { mode: 0o777 });
    w.ok<'removeTree'>(removeTree('f'), BOB);
  });
});

describe('collect', () => {
  it("is the group's own: a client's is refused", () => {
    w.fails('EPERM', { type: 'collect' });
  });

  it('with nothing to do does nothing', () => {
    w.create('f');
    const before = w.records();
    const body = encodeCall({ credentials: ROOT, operation: { type: 'collect' } });
    const result = decodeResult('collect', w.service.execute(w.entry('housekeeping', body)));
    expect(result).toEqual({ ok: true, value: { ok: true, value: { freed: 0 } } });
    expect(w.records()).toEqual(before);
  });

  it('frees a large file in steps of bounded size', () => {
    const f = w.create('f');
    for (let i = 0; i < 10; i++) w.write('f', i << 20, Buffer.alloc(1 << 20, 'x'));
    w.unlink('f');
    w.fails('ESTALE', { type: 'getattr', at: at('', f.ino), follow: false });
    let bytes = w.statfs().bytes;
    expect(bytes).toBe(10 << 20);
    while (w.collectStep()) {
      expect(bytes - w.statfs().bytes).toBeLessThanOrEqual(64 << 16);
      bytes = w.statfs().bytes;
      w.check();
    }
    expect(bytes).toBe(0);
    expect(w.table.size).toBe(2);
  });

  it('a number that a tree held is not given out again', () => {
    grow(w, 'tree', 1, 3);
    const highest = w.create('last').ino;
    w.ok<'removeTree'>(removeTree('tree'));
    w.collectAll();
    expect(w.create('new').ino).toBe((highest + 1) as Ino);
  });
});
