import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { ino } from '../../lib/ids.ts';
import { defined } from '../../lib/assert.ts';
import type { DirectoryEntry, Result } from '../../fsservice/operations.ts';
import { DirectoryStream } from '../../mount/directory_stream.ts';
import type { StreamEntry } from '../../mount/directory_stream.ts';

/** A directory that pages by name, as the namespace does; names may come and go. */
class FakeDirectory {
  readonly names = new Set<string>();
  pages = 0;

  fetch = (after: Buffer, limit: number): Promise<Result<'readdir'>> => {
    this.pages++;
    const behind = [...this.names].sort().filter((name) => name > after.toString());
    const entries: DirectoryEntry[] = behind.slice(0, limit).map((name) => ({ name: Buffer.from(name), ino: ino(100), type: 'file' }));
    return Promise.resolve({ ok: true, value: { entries, end: behind.length <= limit, ino: ino(7), parent: ino(1) } });
  };
}

function directory(count: number): FakeDirectory {
  const d = new FakeDirectory();
  for (let i = 0; i < count; i++) d.names.add(`n${String(i).padStart(6, '0')}`);
  return d;
}

async function entriesFrom(stream: DirectoryStream, position: number): Promise<readonly StreamEntry[]> {
  const part = await stream.from(position);
  if (!part.ok) throw new Error(`errno ${part.errno}`);
  return part.value;
}

/** Reads on from a position, `chunk` entries at a time, as a kernel buffer of some size would. */
async function readAll(stream: DirectoryStream, chunk: number, each: (name: string) => void = () => undefined): Promise<string[]> {
  const names: string[] = [];
  for (let position = 0; ; ) {
    const part = (await entriesFrom(stream, position)).slice(0, chunk);
    if (part.length === 0) return names;
    for (const entry of part) {
      names.push(entry.name.toString());
      each(entry.name.toString());
    }
    position += part.length;
  }
}

describe('a directory stream', () => {
  it.each([0, 1, 499, 500, 501, 1000, 3333])('gives . and .. and each of %i entries once', async (count) => {
    const d = directory(count);
    expect(await readAll(new DirectoryStream(d.fetch), 17)).toEqual(['.', '..', ...d.names]);
  });

  it('has the inode numbers of . and ..', async () => {
    const dots = await entriesFrom(new DirectoryStream(directory(0).fetch), 0);
    expect(dots.map((e) => [e.name.toString(), e.ino, e.type])).toEqual([['.', 7, 4], ['..', 1, 4]]);
  });

  it('meets what neither comes nor goes exactly once, while the rest is removed under it', async () => {
    const d = directory(2000);
    const before = [...d.names];
    const seen = await readAll(new DirectoryStream(d.fetch), 100, (name) => { d.names.delete(name); });
    expect(seen.slice(2)).toEqual(before);
    expect(d.names.size).toBe(0);
  });

  it('reads anew from position 0', async () => {
    const d = directory(3);
    const stream = new DirectoryStream(d.fetch);
    await readAll(stream, 10);
    d.names.add('late');
    expect(await readAll(stream, 10)).toContain('late');
  });

  it('goes back to any position that it gave out, also to pages that it no longer holds', async () => {
    const d = directory(3000);
    const stream = new DirectoryStream(d.fetch);
    const all = await readAll(stream, 1000);
    await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: 3001 }).filter((n) => n !== 0), async (position) => {
      const part = await entriesFrom(stream, position);
      expect(defined(part[0], 'an entry').name.toString()).toBe(all[position]);
    }));
  });

  it('goes to any position also when none of its pages is known: after it was read anew, and in a fresh stream', async () => {
    const d = directory(1700);
    const all = ['.', '..', ...d.names];
    for (const position of [1, 2, 501, 502, 503, 1001, 1002, 1500, 1701]) {
      const fresh = new DirectoryStream(d.fetch);
      expect(defined((await entriesFrom(fresh, position))[0], `the entry at ${position}`).name.toString()).toBe(all[position]);
      await entriesFrom(fresh, 0);
      expect(defined((await entriesFrom(fresh, position))[0], `the entry at ${position}, read anew`).name.toString()).toBe(all[position]);
    }
    const beyond = new DirectoryStream(d.fetch);
    expect(await entriesFrom(beyond, 1702)).toEqual([]);
    expect(await entriesFrom(beyond, 99_999)).toEqual([]);
  });

  it('passes an error on that it meets on the way to a position', async () => {
    const d = directory(1700);
    const stream = new DirectoryStream((after, limit) => (d.pages === 2 ? Promise.resolve({ ok: false, errno: 5 }) : d.fetch(after, limit)));
    expect(await stream.from(1500)).toEqual({ ok: false, errno: 5 });
  });

  it('is empty at and behind its end, without asking again', async () => {
    const d = directory(10);
    const stream = new DirectoryStream(d.fetch);
    await readAll(stream, 100);
    const asked = d.pages;
    expect(await entriesFrom(stream, 12)).toEqual([]);
    expect(await entriesFrom(stream, 500)).toEqual([]);
    expect(d.pages).toBe(asked);
  });

  it('passes an error on', async () => {
    const stream = new DirectoryStream(() => Promise.resolve({ ok: false, errno: 13 }));
    expect(await stream.from(0)).toEqual({ ok: false, errno: 13 });
  });
});
