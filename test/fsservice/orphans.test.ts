/** Unlinked while open: what sessions say on their keep-alives decides when an inode goes. */
import { beforeEach, describe, expect, it } from 'vitest';
import { at, ROOT, World } from './harness.ts';
import type { Ino } from '../../lib/ids.ts';

let w: World;
beforeEach(() => {
  w = new World();
});

const has = (ino: Ino): boolean => w.run<'getattr'>({ type: 'getattr', at: at('', ino), follow: false }).ok;

describe('orphans', () => {
  it('without sessions that hold opens, an inode goes at once', () => {
    const session = w.startSession(0);
    const f = w.create('f');
    w.write('f', 0, 'data');
    w.unlink('f');
    expect([has(f.ino), w.service.housekeeping(), w.statfs().bytes]).toEqual([false, undefined, 0]);
    w.endSession(session);
    w.check();
  });

  it('an open file lives on, can be read and written, and goes when its holder lets go', () => {
    const session = w.startSession();
    const f = w.create('f');
    w.write('f', 0, 'data');
    w.unlink('f');
    expect(w.stat(at('', f.ino)).nlink).toBe(0);
    w.ok<'write'>({ type: 'write', at: at('', f.ino), offset: 4, data: Buffer.from(' more') });
    expect(w.ok<'read'>({ type: 'read', at: at('', f.ino), offset: 0, length: 100 }).data.toString()).toBe('data more');
    w.fails('ENOENT', { type: 'link', from: at('', f.ino), to: at('again'), follow: false });
    expect(w.statfs()).toMatchObject({ orphans: 1, inodes: 2 });
    expect(w.keepAlive(session, [f.ino])).toBe(1);
    w.collectAll();
    expect(has(f.ino)).toBe(true);
    w.check();
    w.keepAlive(session, []);
    w.collectAll();
    expect([has(f.ino), w.statfs().orphans, w.statfs().bytes]).toEqual([false, 0, 0]);
    w.check();
  });

  it('every live session has to have seen the unlink', () => {
    const one = w.startSession();
    const two = w.startSession();
    const f = w.create('f');
    const before = w.op;
    w.unlink('f');
    w.keepAlive(one, []);
    // This one says it holds nothing, but from before the unlink.
    w.keepAlive(two, [], before);
    w.collectAll();
    expect(has(f.ino)).toBe(true);
    w.check();
    w.keepAlive(two, []);
    w.collectAll();
    expect(has(f.ino)).toBe(false);
    w.check();
  });

  it('a session that began after the unlink cannot hold it', () => {
    const one = w.startSession();
    const f = w.create('f');
    w.unlink('f');
    const late = w.startSession();
    w.keepAlive(one, []);
    w.collectAll();
    expect(has(f.ino)).toBe(false);
    w.endSession(late);
    w.check();
  });

  it('the end of a session is the end of its holds', () => {
    const one = w.startSession();
    const two = w.startSession();
    const files = Array.from({ length: 200 }, (_v, i) => w.create(`f${i}`).ino);
    for (let i = 0; i < 200; i++) w.unlink(`f${i}`);
    w.keepAlive(one, files);
    w.keepAlive(two, files.slice(0, 50));
    w.collectAll();
    w.check();
    expect(w.statfs().orphans).toBe(200);
    w.endSession(one);
    expect(w.collectAll()).toBeGreaterThan(2);
    w.check();
    expect(w.statfs().orphans).toBe(50);
    w.endSession(two);
    w.collectAll();
    expect(w.statfs()).toMatchObject({ orphans: 0, inodes: 1 });
    w.check();
    expect(w.table.size).toBe(2);
  });

  it('a session that never spoke is waited for until it ends', () => {
    const silent = w.startSession();
    w.create('f');
    w.unlink('f');
    expect(w.service.housekeeping()).toBeUndefined();
    w.endSession(silent);
    expect(w.service.housekeeping()).toBeDefined();
    w.collectAll();
    expect(w.statfs()).toMatchObject({ orphans: 0, inodes: 1 });
    w.check();
  });

  it('replaced by rename, and removed directories, are orphans as well', () => {
    const session = w.startSession();
    const f = w.create('f');
    w.create('g');
    w.rename('g', 'f');
    const d = w.mkdir('d');
    w.ok<'rmdir'>({ type: 'rmdir', at: at('d') });
    expect([has(f.ino), has(d.ino), w.statfs().orphans]).toEqual([true, true, 2]);
    w.check();
    w.keepAlive(session, [d.ino]);
    w.collectAll();
    expect([has(f.ino), has(d.ino)]).toEqual([false, true]);
    w.check();
  });

  it('an overtaken keep-alive says nothing; one about the future or of another kind of session is refused', () => {
    const session = w.startSession();
    const f = w.create('f');
    w.unlink('f');
    const seen = w.op;
    w.keepAlive(session, [f.ino], seen);
    w.keepAlive(session, [], seen - 1);
    w.collectAll();
    expect(has(f.ino)).toBe(true);
    w.fails('EINVAL', { type: 'keepAlive', seenOp: w.op + 1, open: [] }, ROOT, session);
    w.fails('EINVAL', { type: 'keepAlive', seenOp: 1, open: [] }, ROOT, w.startSession(0));
    w.check();
  });

  it('large contents of a released orphan are freed in steps', () => {
    const session = w.startSession();
    const f = w.create('f');
    for (let i = 0; i < 5; i++) w.write('f', i << 20, Buffer.alloc(1 << 20, 'x'));
    w.unlink('f');
    expect(w.statfs().bytes).toBe(5 << 20);
    w.keepAlive(session, []);
    expect(w.collectAll()).toBeGreaterThan(2);
    expect([has(f.ino), w.statfs().bytes]).toEqual([false, 0]);
    w.check();
  });
});
