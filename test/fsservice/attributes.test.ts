/** chmod, chown, utimes, access: who may, and what goes with it. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { SetAttributes, Credentials } from '../../fsservice/operations.ts';
import { ALICE, at, BOB, CAROL, ROOT, World } from './harness.ts';

let w: World;
beforeEach(() => {
  w = new World();
  w.setattr('', { mode: 0o777 });
});

const set = (path: string, s: SetAttributes, follow = true) => ({ type: 'setattr', at: at(path), follow, set: s }) as const;
const may = (path: string, mask: number, who: Credentials): boolean => w.run<'access'>({ type: 'access', at: at(path), mask }, who).ok;

describe('access', () => {
  it('one class of bits counts: owner, else group, else the rest', () => {
    w.create('f', 0o047, ALICE);
    w.setattr('f', { gid: 200 });
    expect([may('f', 4, ALICE), may('f', 4, CAROL), may('f', 2, CAROL), may('f', 7, BOB)]).toEqual([false, true, false, true]);
  });

  it('root may everything, but execute what nobody may', () => {
    w.create('f', 0o000, ALICE);
    expect([may('f', 6, ROOT), may('f', 1, ROOT), may('f', 0, BOB)]).toEqual([true, false, true]);
    w.setattr('f', { mode: 0o010 });
    expect(may('f', 1, ROOT)).toBe(true);
    w.mkdir('d', 0o000);
    expect(may('d', 7, ROOT)).toBe(true);
    w.fails('EINVAL', { type: 'access', at: at('f'), mask: 8 });
  });
});

describe('chmod', () => {
  it('is for the owner and root; a group that one is not in gets no set-gid', () => {
    w.create('f', 0o644, ALICE);
    w.fails('EPERM', set('f', { mode: 0o777 }), BOB);
    expect(w.setattr('f', { mode: 0o6755 }, ALICE).mode).toBe(0o6755);
    w.setattr('f', { gid: 101 });
    expect(w.setattr('f', { mode: 0o6755 }, ALICE).mode).toBe(0o4755);
    expect(w.setattr('f', { mode: 0o6755 }, ROOT).mode).toBe(0o6755);
  });

  it('not of a symbolic link', () => {
    w.create('f');
    w.symlink('f', 'l');
    w.fails('EOPNOTSUPP', set('l', { mode: 0o600 }, false));
    expect(w.setattr('l', { mode: 0o600 }).type).toBe('file');
  });
});

describe('chown', () => {
  it('uid: root only; gid: the owner, to its own groups', () => {
    w.create('f', 0o644, ALICE);
    w.fails('EPERM', set('f', { uid: BOB.uid }), ALICE);
    w.fails('EPERM', set('f', { gid: 101 }), ALICE);
    w.fails('EPERM', set('f', { gid: 101 }), BOB);
    expect(w.setattr('f', { uid: ALICE.uid, gid: 200 }, ALICE).gid).toBe(200);
    w.fails('EINVAL', set('f', { uid: 0xffff_ffff }));
    expect(w.setattr('f', { uid: 7, gid: 8 })).toMatchObject({ uid: 7, gid: 8 });
  });

  it('takes set-uid and set-gid away from files, by root too, not from directories', () => {
    w.create('f', 0o644, ALICE);
    w.setattr('f', { mode: 0o6755 });
    expect(w.setattr('f', { uid: 5 }).mode).toBe(0o755);
    w.setattr('f', { mode: 0o2644 });
    expect(w.setattr('f', { uid: 6 }).mode).toBe(0o2644);
    w.mkdir('d');
    w.setattr('d', { mode: 0o6755 });
    expect(w.setattr('d', { uid: 5 }).mode).toBe(0o6755);
  });

  // chown(-1, -1) on ext4 and tmpfs, Linux 6.18.
  it.each([
    ['6755', ROOT, 'root', '755'], ['6755', ALICE, 'the owner', '755'], ['2666', ROOT, 'root', '2666'], ['2666', ALICE, 'the owner', '2666'], ['2666', BOB, 'somebody outside of the group', '666'],
  ])('of neither owner nor group takes from a file of mode %s what the caller may not keep, and moves ctime: %j, %s, gives %s', (mode, who, _, after) => {
    w.create('f', 0o644, ALICE);
    const before = w.setattr('f', { mode: Number.parseInt(mode, 8) });
    const neither = w.ok<'setattr'>({ ...set('f', {}), dropSetId: true }, who).attributes;
    expect([neither.mode.toString(8), neither.version, neither.uid, neither.gid, neither.mtime]).toEqual([after, w.op, before.uid, before.gid, before.mtime]);
    expect(neither.ctime).not.toEqual(before.ctime);
    w.mkdir('d');
    w.setattr('d', { mode: 0o6777 });
    expect(w.ok<'setattr'>({ ...set('d', {}), dropSetId: true }, who).attributes.mode).toBe(0o6777);
  });

  it('and file capabilities', () => {
    w.create('f');
    w.ok<'setxattr'>({ type: 'setxattr', at: at('f'), follow: true, name: Buffer.from('security.capability'), value: Buffer.from('x'), mode: 'any' });
    w.setattr('f', { uid: 5 });
    expect(w.ok<'listxattr'>({ type: 'listxattr', at: at('f'), follow: true }).names).toEqual([]);
    w.check();
  });
});

describe('utimes', () => {
  const time = { sec: -100, nsec: 5 };
  it("explicit times are the owner's; a touch is for whoever may write", () => {
    w.create('f', 0o666, ALICE);
    w.fails('EPERM', set('f', { mtime: time }), BOB);
    w.fails('EPERM', set('f', { mtime: 'now' }), BOB);
    w.fails('EPERM', set('f', { atime: time, mtime: 'now' }), BOB);
    const touched = w.setattr('f', { atime: 'now', mtime: 'now' }, BOB);
    expect(touched.mtime).toEqual(touched.ctime);
    const moved = w.setattr('f', { atime: time, mtime: { sec: 2 ** 33, nsec: 0 } }, ALICE);
    expect([moved.atime, moved.mtime]).toEqual([time, { sec: 2 ** 33, nsec: 0 }]);
    w.setattr('f', { mode: 0o644 });
    w.fails('EACCES', set('f', { atime: 'now', mtime: 'now' }), BOB);
  });

  it('every change moves ctime and version; none at all moves nothing', () => {
    const f = w.create('f');
    const after = w.setattr('f', { mode: 0o600 });
    expect([after.version, after.ctime.sec]).toEqual([w.op, Math.floor(w.time / 1e6)]);
    expect(after.mtime).toEqual(f.mtime);
    expect(w.setattr('f', {})).toEqual(after);
  });

  it('reading changes nothing', () => {
    w.create('f');
    const before = w.records();
    w.read('f');
    w.names('');
    expect(w.records()).toEqual(before);
  });
});
