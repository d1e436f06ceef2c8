/** Trees that are deeper than an operation walks up: each step is bounded, and whatever has come there can be taken away. */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { LEVELS_MAX } from '../../fsservice/limits.ts';
import type { Ino } from '../../lib/ids.ts';
import { at, World } from './harness.ts';

/** Look-ups that an operation may make: one walk, and a few of its own. */
const FINDS_MAX = LEVELS_MAX + 50;

let w: World;
/** By their level; 0 is 'top', which lies in the root directory. */
let levels: Ino[];

beforeEach(() => {
  w = new World();
  levels = [w.mkdir('top').ino];
  for (let i = 1; i <= LEVELS_MAX + 200; i++) levels.push(w.ok<'mkdir'>({ type: 'mkdir', at: at('d', level(i - 1)), mode: 0o755 }).attributes.ino);
});

function level(i: number): Ino {
  const found = levels.at(i);
  if (found === undefined) throw new Error(`no level ${i}`);
  return found;
}

/** How many look-ups it took. */
function finds(run: () => void): number {
  const find = vi.spyOn(w.table, 'find');
  run();
  const count = find.mock.calls.length;
  find.mockRestore();
  return count;
}

const rename = (from: ReturnType<typeof at>, to: ReturnType<typeof at>, flags: 'none' | 'exchange' = 'none') => ({ type: 'rename', from, to, flags }) as const;

describe('a directory deeper than a path can name', () => {
  it('takes no directory from elsewhere; one at the last level that a path can name does', () => {
    w.mkdir('moved');
    expect(finds(() => { w.fails('ENAMETOOLONG', rename(at('moved'), at('x', level(-1)))); })).toBeLessThan(FINDS_MAX);
    w.ok<'rename'>(rename(at('moved'), at('x', level(LEVELS_MAX - 1))));
    w.fails('ENAMETOOLONG', rename(at('x', level(LEVELS_MAX - 1)), at('x', level(LEVELS_MAX))));
    w.check();
  });

  it('takes what is no directory, new directories, and other names of what it has', () => {
    w.create('f');
    w.ok<'rename'>(rename(at('f'), at('f', level(-1))));
    w.ok<'mkdir'>({ type: 'mkdir', at: at('new', level(-1)), mode: 0o755 });
    w.ok<'rename'>(rename(at('new', level(-1)), at('renamed', level(-1))));
    w.check();
  });

  it('gives its directories away, also in place of an empty one, and is removed', () => {
    const moved = level(-1);
    w.mkdir('empty');
    w.ok<'rename'>(rename(at('d', level(-2)), at('empty')));
    expect(w.stat('empty').ino).toBe(moved);
    w.ok<'rename'>(rename(at('d', level(-3)), at('out')));
    w.ok<'rmdir'>({ type: 'rmdir', at: at('d', level(-4)) });
    w.check();
  });

  it('exchanges no directory for another elsewhere', () => {
    w.mkdir('other');
    w.fails('ENAMETOOLONG', rename(at('d', level(-2)), at('other'), 'exchange'));
    w.fails('ENAMETOOLONG', rename(at('other'), at('d', level(-2)), 'exchange'));
  });

  it('is still a part of itself where that is near', () => {
    w.fails('EINVAL', rename(at('d', level(-10)), at('x', level(-1))));
    w.ok<'create'>({ type: 'create', at: at('f', level(-1)), mode: 0o644, exclusive: true, truncate: false });
    w.fails('ENOTEMPTY', rename(at('f', level(-1)), at('d', level(-10))));
  });

  it('is used as ever, at a bounded cost, while a removed tree waits to be collected', () => {
    w.mkdir('doomed');
    w.create('doomed/f');
    w.ok<'removeTree'>({ type: 'removeTree', at: at('doomed') });
    const deep = level(-1);
    expect(finds(() => { w.ok<'create'>({ type: 'create', at: at('f', deep), mode: 0o644, exclusive: true, truncate: false }); })).toBeLessThan(FINDS_MAX);
    expect(finds(() => { w.ok<'getattr'>({ type: 'getattr', at: at('f', deep), follow: false }); })).toBeLessThan(FINDS_MAX);
    w.ok<'unlink'>({ type: 'unlink', at: at('f', deep) });
    w.ok<'rmdir'>({ type: 'rmdir', at: at('d', level(-2)) });
    w.check();
  });
});

describe('a removed tree that is deeper than that', () => {
  /** From the deepest directory: 1,365 levels up by the link, the rest by the path itself. */
  const beyondTheCut = `up/${'../'.repeat(LEVELS_MAX + 200 - 1365)}`;

  beforeEach(() => {
    w.ok<'symlink'>({ type: 'symlink', at: at('up', level(-1)), target: Buffer.from('../'.repeat(1365)) });
    w.ok<'removeTree'>({ type: 'removeTree', at: at('top') });
    while (w.run<'getattr'>({ type: 'getattr', at: at('', level(50)), follow: false }).ok) w.collectStep();
  });

  it("has no '..' beyond what was cut off, whose parent may be gone already", () => {
    w.ok<'getattr'>({ type: 'getattr', at: at('up', level(-1)), follow: true });
    w.fails('ENOENT', { type: 'getattr', at: at(`${beyondTheCut}`, level(-1)), follow: true });
    w.fails('ENOENT', { type: 'mkdir', at: at(`${beyondTheCut}x`, level(-1)), mode: 0o755 });
  });

  it('takes in no directory that is still there', () => {
    w.mkdir('alive');
    w.fails('ENOENT', rename(at('alive'), at('../'.repeat(1000) + 'x', level(-1))));
    w.fails('ENOENT', rename(at('alive'), at('x', level(1000))));
    w.fails('ENAMETOOLONG', rename(at('alive'), at('x', level(-1))));
  });

  it('is freed whole, with what was made in it meanwhile', () => {
    w.ok<'mkdir'>({ type: 'mkdir', at: at('late', level(-1)), mode: 0o755 });
    w.ok<'mkdir'>({ type: 'mkdir', at: at('up/late', level(-1)), mode: 0o755 });
    w.check();
    w.collectAll();
    w.check();
    expect(w.statfs()).toMatchObject({ inodes: 1, orphans: 0, bytes: 0 });
  });
});
