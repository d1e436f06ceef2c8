import { describe, expect, it } from 'vitest';
import type { Results } from '../../fsservice/operations.ts';
import { Prng } from '../../lib/prng.ts';
import { ALICE, at, World } from './harness.ts';

function page(w: World, after: string | Buffer, limit: number, attributes = false): Results['readdir'] {
  return w.ok<'readdir'>({ type: 'readdir', at: at('d'), after: Buffer.from(after), limit, attributes });
}

describe('readdir', () => {
  it('gives pages in the order of the names’ bytes, and says where it ends', () => {
    const w = new World();
    const d = w.mkdir('d');
    for (const name of ['b', 'a', 'aa', 'B', 'é']) w.create(`d/${name}`);
    const first = page(w, '', 2);
    expect([first.entries.map((e) => e.name.toString()), first.end, first.ino, first.parent]).toEqual([['B', 'a'], false, d.ino, 1]);
    const second = page(w, 'a', 3);
    expect([second.entries.map((e) => e.name.toString()), second.end]).toEqual([['aa', 'b', 'é'], true]);
    expect(page(w, 'é', 3)).toMatchObject({ entries: [], end: true });
    expect(page(w, '', 5).end).toBe(true);
    w.mkdir('d/sub');
    expect(w.ok<'readdir'>({ type: 'readdir', at: at('d/sub'), after: Buffer.alloc(0), limit: 1, attributes: false })).toMatchObject({ entries: [], parent: d.ino });
  });

  it('meets exactly once what neither came nor went, whatever else happens between pages', () => {
    const w = new World();
    w.mkdir('d');
    const rng = new Prng(1);
    for (let i = 0; i < 300; i++) w.create(`d/stay${i}`);
    for (let i = 0; i < 300; i++) w.create(`d/go${i}`);
    const seen: string[] = [];
    let after: Buffer = Buffer.alloc(0);
    for (let n = 0; ; n++) {
      const { entries, end } = page(w, after, 7);
      for (const entry of entries) seen.push(entry.name.toString());
      const last = entries.at(-1);
      if (last !== undefined) after = Buffer.from(last.name);
      if (end) break;
      if (w.exists(`d/go${n}`)) w.unlink(`d/go${n}`);
      w.create(`d/new${rng.below(1e6)}-${n}`);
      if (n % 3 === 0 && w.exists(`d/go${299 - n}`)) w.rename(`d/go${299 - n}`, `d/moved${n}`);
    }
    const stayed = seen.filter((name) => name.startsWith('stay'));
    expect(stayed.length).toBe(300);
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('is bounded', () => {
    const w = new World();
    w.mkdir('d');
    for (let i = 0; i < 1030; i++) w.create(`d/${i}`);
    const all = page(w, '', 0xffff_ffff);
    expect([all.entries.length, all.end]).toEqual([1024, false]);
    w.fails('EINVAL', { type: 'readdir', at: at('d'), after: Buffer.alloc(0), limit: 0, attributes: false });
    w.fails('ENAMETOOLONG', { type: 'readdir', at: at('d'), after: Buffer.alloc(256), limit: 1, attributes: false });
  });

  it('needs read permission; attributes need search permission too', () => {
    const w = new World();
    w.mkdir('d', 0o711);
    const f = w.create('d/f');
    const list = { type: 'readdir', at: at('d'), after: Buffer.alloc(0), limit: 10, attributes: true } as const;
    w.fails('EACCES', list, ALICE);
    w.setattr('d', { mode: 0o744 });
    expect(w.ok<'readdir'>(list, ALICE).entries).toEqual([{ name: Buffer.from('f'), ino: f.ino, type: 'file' }]);
    w.setattr('d', { mode: 0o755 });
    expect(w.ok<'readdir'>(list, ALICE).entries[0]?.attributes).toEqual(f);
    w.fails('ENOTDIR', { ...list, at: at('d/f') });
  });
});
