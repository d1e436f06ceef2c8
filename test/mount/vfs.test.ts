/** The adapter over the state machine itself, without FUSE. */
import { beforeEach, describe, expect, it } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import type { Ino } from '../../lib/ids.ts';
import { Errno } from '../../fsservice/errno.ts';
import { KEEP_ALIVE_OPEN_MAX, PENDING_TRUNCATIONS_MAX } from '../../fsservice/limits.ts';
import { BLOCK_SIZE, ROOT_INO } from '../../fsservice/operations.ts';
import type { At, Credentials } from '../../fsservice/operations.ts';
import { TimedOut } from '../../client/errors.ts';
import { errnoOfRejection } from '../../mount/binding.ts';
import { inode, O_APPEND, O_EXCL, O_TRUNC, Vfs, WRITE_MAX } from '../../mount/vfs.ts';
import type { Opened, Outcome } from '../../mount/vfs.ts';
import { MemoryGroup } from './memory_group.ts';
import type { MemoryClient } from './memory_group.ts';

const root: Credentials = { uid: 0, gid: 0, groups: [] };
const user: Credentials = { uid: 1000, gid: 1000, groups: [4242] };
const O_RDWR = 2;

let group: MemoryGroup;
let client: MemoryClient;
let vfs: Vfs;

beforeEach(() => {
  group = new MemoryGroup();
  client = group.client();
  vfs = new Vfs(client);
});

function at(path: string): At {
  return { dir: ROOT_INO, path: Buffer.from(path) };
}

function value<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Error(`errno ${outcome.errno}`);
  return outcome.value;
}

async function create(path: string, mode = 0o644, flags = O_RDWR): Promise<Opened> {
  return value(await vfs.create(root, at(path), mode, flags));
}

async function contents(path: string): Promise<string> {
  const { handle, attributes } = value(await vfs.open(root, at(path), 0));
  const data = value(await vfs.read(handle, 0, attributes.size + 10));
  vfs.release(handle);
  return data.toString();
}

describe('open files', () => {
  it('are read and written at offsets; a read past the end is short', async () => {
    const { handle } = await create('f');
    expect(value(await vfs.write(handle, 3, Buffer.from('def')))).toBe(3);
    expect(value(await vfs.write(handle, 0, Buffer.from('abc')))).toBe(3);
    expect(value(await vfs.read(handle, 2, 2)).toString()).toBe('cd');
    expect(value(await vfs.read(handle, 4, 100)).toString()).toBe('ef');
    expect(value(await vfs.read(handle, 6, 1))).toHaveLength(0);
    for (const offset of [Number.MAX_SAFE_INTEGER, 2 ** 62]) expect(value(await vfs.read(handle, offset, 1))).toHaveLength(0);
  });

  it('take a write of any length in pieces, and give it back in one', async () => {
    const { handle } = await create('f');
    const data = Buffer.alloc(2 * (1 << 20) + 12_345, 'pattern');
    expect(value(await vfs.write(handle, 1, data))).toBe(data.length);
    expect(client.counts.get('write')).toBe(Math.ceil(data.length / WRITE_MAX));
    expect(value(await vfs.read(handle, 1, data.length + 99)).equals(data)).toBe(true);
  });

  it('report a write that fails midway as a short one', async () => {
    const { handle } = await create('f');
    const limit = 2 ** 44;
    expect(value(await vfs.write(handle, limit - WRITE_MAX, Buffer.alloc(WRITE_MAX + 1)))).toBe(WRITE_MAX);
    expect(await vfs.write(handle, limit, Buffer.alloc(1))).toEqual({ ok: false, errno: Errno.EFBIG });
  });

  it('append at the end as it is then, whatever another mount has added', async () => {
    const other = new Vfs(group.client());
    await create('log');
    const a = value(await vfs.open(root, at('log'), O_RDWR | O_APPEND)).handle;
    const b = value(await other.open(root, at('log'), O_RDWR | O_APPEND)).handle;
    for (const [mount, handle, text] of [[vfs, a, 'one '], [other, b, 'two '], [vfs, a, 'three']] as const) await mount.write(handle, 0, Buffer.from(text));
    expect(await contents('log')).toBe('one two three');
  });

  it('append from two mounts at the same moment, each piece whole', async () => {
    const other = new Vfs(group.client());
    await create('log');
    const flags = O_RDWR | O_APPEND;
    const a = value(await vfs.open(root, at('log'), flags)).handle;
    const b = value(await other.open(root, at('log'), flags)).handle;
    const lines = Array.from({ length: 20 }, (_, i) => `line ${i}\n`);
    const written = await Promise.all(lines.map((line, i) => (i % 2 === 0 ? vfs.write(a, 0, Buffer.from(line)) : other.write(b, 0, Buffer.from(line)))));
    expect(written.map(value)).toEqual(lines.map((line) => line.length));
    expect((await contents('log')).split(/(?<=\n)/).sort()).toEqual([...lines].sort());
    expect(value(await vfs.write(a, 0, Buffer.alloc(2 * WRITE_MAX + 1)))).toBe(2 * WRITE_MAX + 1);
    expect(value(await vfs.fgetattr(a)).attributes.size).toBe(lines.join('').length + 2 * WRITE_MAX + 1);
  });

  it("append or not as the kernel says of each write: F_SETFL changes it, and a mapped page has a place of its own", async () => {
    await create('f');
    const { handle } = value(await vfs.open(root, at('f'), O_RDWR | O_APPEND));
    await vfs.write(handle, 0, Buffer.from('abcdef'));
    await vfs.write(handle, 0, Buffer.from('XY'), { append: false });
    await vfs.write(handle, 0, Buffer.from('gh'), { append: true });
    expect(await contents('f')).toBe('XYcdefgh');
    const plain = value(await vfs.open(root, at('f'), O_RDWR)).handle;
    await vfs.write(plain, 0, Buffer.from('ij'), { append: true });
    expect(await contents('f')).toBe('XYcdefghij');
  });

  it('are copied from one to another, as far as there is something', async () => {
    const from = await create('from');
    const to = await create('to');
    value(await vfs.write(from.handle, 0, Buffer.from('0123456789')));
    expect(value(await vfs.copy({ handle: from.handle, offset: 2 }, { handle: to.handle, offset: 1 }, 3))).toBe(3);
    expect(value(await vfs.copy({ handle: from.handle, offset: 8 }, { handle: to.handle, offset: 4 }, 2 ** 40))).toBe(2);
    expect(value(await vfs.copy({ handle: from.handle, offset: 10 }, { handle: to.handle, offset: 6 }, 5))).toBe(0);
    expect(await contents('to')).toBe('\u0000' + '234' + '89');
    expect(await vfs.copy({ handle: 99, offset: 0 }, { handle: to.handle, offset: 0 }, 1)).toEqual({ ok: false, errno: Errno.EBADF });
  });

  it('are not written where no file can reach', async () => {
    const { handle } = await create('f');
    for (const offset of [Number.MAX_SAFE_INTEGER, 2 ** 60]) expect(await vfs.write(handle, offset, Buffer.from('x'))).toEqual({ ok: false, errno: Errno.EFBIG });
    expect(value(await vfs.fgetattr(handle)).attributes.size).toBe(0);
  });

  it('are not cut or grown to where no file can reach', async () => {
    const { handle } = await create('f');
    for (const size of [2 ** 44 + 1, 2 ** 53, 2 ** 63]) {
      expect(await vfs.ftruncate(handle, size)).toEqual({ ok: false, errno: Errno.EFBIG });
      expect(await vfs.setattr(root, at('f'), { size })).toEqual({ ok: false, errno: Errno.EFBIG });
    }
  });

  it('keep their inode while it has no name, until they are released', async () => {
    const { handle, attributes } = await create('f');
    await vfs.write(handle, 0, Buffer.from('still here'));
    value(await vfs.unlink(root, at('f')));
    expect(value(await vfs.read(handle, 0, 100)).toString()).toBe('still here');
    expect(value(await vfs.fgetattr(handle)).attributes.nlink).toBe(0);
    value(await vfs.ftruncate(handle, 5));
    expect(value(await vfs.read(handle, 0, 100)).toString()).toBe('still');
    vfs.release(handle);
    expect(await vfs.getattr(root, inode(attributes.ino))).toMatchObject({ ok: false });
  });

  it('are counted: an inode opened twice is held until both are released', async () => {
    const first = await create('f');
    const second = value(await vfs.open(root, at('f'), 0));
    value(await vfs.unlink(root, at('f')));
    vfs.release(first.handle);
    expect(value(await vfs.read(second.handle, 0, 1))).toHaveLength(0);
    vfs.release(second.handle);
    vfs.release(second.handle);
    expect(client.openFiles.size).toBe(0);
  });

  it('are let go all at once when the mount ends', async () => {
    await create('a');
    await create('b');
    expect(vfs.openHandles).toBe(2);
    vfs.releaseAll();
    expect([vfs.openHandles, client.openFiles.size]).toEqual([0, 0]);
  });

  it('that nobody opened are EBADF', async () => {
    const bad = { ok: false, errno: Errno.EBADF };
    expect(await vfs.read(77, 0, 1)).toEqual(bad);
    expect(await vfs.write(77, 0, EMPTY)).toEqual(bad);
    expect(await vfs.fgetattr(77)).toEqual(bad);
    expect(await vfs.ftruncate(77, 0)).toEqual(bad);
  });

  it('were permitted when they were opened: a later chmod changes nothing', async () => {
    value(await vfs.setattr(root, inode(ROOT_INO), { mode: 0o777 }));
    const { handle } = value(await vfs.create(user, at('mine'), 0o400, O_RDWR));
    value(await vfs.setattr(user, at('mine'), { mode: 0 }));
    expect(value(await vfs.write(handle, 0, Buffer.from('x')))).toBe(1);
  });

  it('beyond what a session may hold are ENFILE', () => {
    const full: Vfs = new Vfs({ ...client, submit: client.submit.bind(client), query: client.query.bind(client), close: client.close.bind(client), openFiles: { open: () => { throw new RangeError('full'); }, release: () => undefined, reserve: () => undefined, unreserve: () => undefined } });
    expect(full.openInode(ROOT_INO, 0)).toEqual({ ok: false, errno: 23 });
  });
});

describe('a truncation beyond those that wait to be collected', () => {
  const REQUEST_TIMEOUT_MS = 60_000;
  let time: number;
  let pauses: number[];
  let collectAfter: number;

  beforeEach(() => {
    time = 5;
    pauses = [];
    collectAfter = Infinity;
    const pause = (ms: number): Promise<void> => {
      pauses.push(ms);
      time += ms;
      if (pauses.length === collectAfter) group.collect();
      return Promise.resolve();
    };
    vfs = new Vfs(client, { requestTimeoutMs: REQUEST_TIMEOUT_MS, now: () => time, pause });
  });

  /** A file with as many as may wait, each of which leaves more blocks than an operation removes itself. The size is what the next one would cut it to. */
  async function fill(): Promise<{ readonly handle: number; readonly size: number }> {
    const { handle } = await create('f');
    value(await vfs.write(handle, 0, Buffer.from('x')));
    group.collecting = false;
    for (let kept = 1; kept <= PENDING_TRUNCATIONS_MAX; kept++) await growAndCut(handle, kept);
    value(await vfs.ftruncate(handle, (PENDING_TRUNCATIONS_MAX + 100) * BLOCK_SIZE));
    return { handle, size: (PENDING_TRUNCATIONS_MAX + 1) * BLOCK_SIZE };
  }

  async function growAndCut(handle: number, kept: number): Promise<void> {
    value(await vfs.ftruncate(handle, (kept + 100) * BLOCK_SIZE));
    value(await vfs.ftruncate(handle, kept * BLOCK_SIZE));
  }

  it('is made again after pauses that grow, until there is room', async () => {
    const { handle, size } = await fill();
    expect(pauses).toEqual([]);
    collectAfter = 4;
    expect(value(await vfs.ftruncate(handle, size)).attributes.size).toBe(size);
    expect(pauses).toHaveLength(4);
    expect(pauses).toEqual([...new Set(pauses)].sort((a, b) => a - b));
  });

  it('waits where a file is truncated by name too', async () => {
    const { size } = await fill();
    collectAfter = 1;
    expect(value(await vfs.setattr(root, at('f'), { size })).attributes.size).toBe(size);
    expect(pauses).toHaveLength(1);
  });

  it('fails as a call without an answer when the time of a request is over, and has done nothing', async () => {
    const { handle, size } = await fill();
    const before = value(await vfs.fgetattr(handle)).attributes;
    const failure: unknown = await vfs.ftruncate(handle, size).then(() => undefined, (error: unknown) => error);
    expect(failure).toBeInstanceOf(TimedOut);
    expect(errnoOfRejection(failure)).toBe(Errno.ETIMEDOUT);
    expect(time - 5).toBe(REQUEST_TIMEOUT_MS);
    expect(value(await vfs.fgetattr(handle)).attributes).toEqual(before);
  });
});

describe('create', () => {
  it('with O_EXCL fails where the name is taken; without, it opens a file of the same user that another mount has made since the kernel looked', async () => {
    await create('f', 0o644, O_RDWR | O_EXCL);
    expect(await vfs.create(root, at('f'), 0o644, O_RDWR | O_EXCL)).toEqual({ ok: false, errno: Errno.EEXIST });
    const again = await create('f');
    await vfs.write(again.handle, 0, Buffer.from('kept'));
    expect((await create('f')).attributes.size).toBe(4);
    expect(await contents('f')).toBe('kept');
    expect((await create('f', 0o644, O_RDWR | O_TRUNC)).attributes.size).toBe(0);
    expect(await contents('f')).toBe('');
  });

  it("does not open the caller's own where its mode forbids it, and holds nothing then", async () => {
    value(await vfs.setattr(root, inode(ROOT_INO), { mode: 0o777 }));
    vfs.release(value(await vfs.create(user, at('f'), 0o400, O_EXCL)).handle);
    for (const flags of [O_RDWR, O_TRUNC]) expect(await vfs.create(user, at('f'), 0o644, flags)).toEqual({ ok: false, errno: Errno.EACCES });
    expect([vfs.openHandles, client.openFiles.size]).toEqual([0, 0]);
    expect((await vfs.create(user, at('f'), 0o644, 0)).ok).toBe(true);
  });

  it("cuts off the caller's own as the kernel would: set-uid goes", async () => {
    value(await vfs.setattr(root, inode(ROOT_INO), { mode: 0o777 }));
    value(await vfs.create(user, at('f'), 0o755, O_EXCL));
    value(await vfs.setattr(user, at('f'), { mode: 0o4755 }));
    expect(value(await vfs.create(user, at('f'), 0o644, O_RDWR | O_TRUNC)).attributes.mode).toBe(0o755);
  });

  it("leaves another's file to the kernel, which looks again and decides", async () => {
    value(await vfs.setattr(root, inode(ROOT_INO), { mode: 0o777 }));
    vfs.release((await create('readable', 0o666)).handle);
    for (const flags of [0, O_RDWR, O_RDWR | O_TRUNC]) expect(await vfs.create(user, at('readable'), 0o644, flags)).toEqual({ ok: false, errno: Errno.ESTALE });
    expect([vfs.openHandles, client.openFiles.size]).toEqual([0, 0]);
  });

  it('follows no symbolic link that has come in between', async () => {
    value(await vfs.symlink(root, at('link'), Buffer.from('/victim')));
    expect(await vfs.create(root, at('link'), 0o644, O_RDWR)).toEqual({ ok: false, errno: Errno.ESTALE });
    expect(await vfs.getattr(root, at('victim'))).toEqual({ ok: false, errno: Errno.ENOENT });
  });

  it.each(['fifo', 'socket', 'directory'] as const)('leaves no handle to a %s that has come in between', async (type) => {
    value(await (type === 'directory' ? vfs.mkdir(root, at('x'), 0o755) : vfs.mknod(root, at('x'), type, 0o644, 0)));
    expect(await vfs.create(root, at('x'), 0o644, O_RDWR)).toEqual({ ok: false, errno: Errno.ESTALE });
    expect([vfs.openHandles, client.openFiles.size]).toEqual([0, 0]);
  });

  /** Through a mount beside another, which makes this file before each create, so many times, and removes it before each look. */
  async function createInRace(times: number): Promise<{ outcome: Outcome<Opened>; made: number }> {
    const other = group.client();
    let made = 0;
    const racing = new Vfs({
      openFiles: client.openFiles,
      submit: async (call) => {
        if (made < times) await other.submit({ credentials: root, operation: { type: 'create', at: at('f'), mode: 0o644, exclusive: true, truncate: false } });
        if (made < times) made++;
        return client.submit(call);
      },
      query: async (call) => {
        await other.submit({ credentials: root, operation: { type: 'unlink', at: at('f') } });
        return client.query(call);
      },
      close: () => client.close(),
    });
    return { outcome: await racing.create(root, at('f'), 0o644, O_RDWR), made };
  }

  it('tries again when what had come to the name is gone', async () => {
    const { outcome } = await createInRace(3);
    expect(value(outcome).attributes).toMatchObject({ type: 'file', nlink: 1 });
  });

  it('of a name that another mount makes and removes all the time gives up with ESTALE, after which the kernel looks once more, and holds nothing', async () => {
    const { outcome, made } = await createInRace(1000);
    expect(outcome).toEqual({ ok: false, errno: Errno.ESTALE });
    expect(made).toBeLessThan(100);
    expect(client.openFiles.size).toBe(0);
  });

  it('beyond what a session may hold is ENFILE, and makes nothing', async () => {
    for (let i = 0; i < KEEP_ALIVE_OPEN_MAX - 1; i++) client.openFiles.open((i + 100) as Ino);
    const [last, none] = await Promise.all([vfs.create(root, at('last'), 0o600, O_EXCL), vfs.create(root, at('lock'), 0o600, O_EXCL)]);
    expect(none).toEqual({ ok: false, errno: 23 });
    expect(await vfs.getattr(root, at('lock'))).toEqual({ ok: false, errno: Errno.ENOENT });
    vfs.release(value(last).handle);
    const failed = await vfs.create(root, at('last'), 0o600, O_EXCL);
    expect(failed).toEqual({ ok: false, errno: Errno.EEXIST });
    expect((await vfs.create(root, at('lock'), 0o600, O_EXCL)).ok).toBe(true);
  });

  it('keeps no place for a call that got no answer', async () => {
    for (let i = 0; i < KEEP_ALIVE_OPEN_MAX - 1; i++) client.openFiles.open((i + 100) as Ino);
    client.failNext = new Error('no quorum');
    await expect(vfs.create(root, at('f'), 0o600, O_EXCL)).rejects.toThrow('no quorum');
    expect((await vfs.create(root, at('f'), 0o600, O_EXCL)).ok).toBe(true);
  });
});

describe('open directories', () => {
  async function openDirectory(path: string): Promise<{ readonly ino: Ino; readonly handle: number }> {
    const { ino } = value(await vfs.mkdir(root, at(path), 0o755)).attributes;
    return { ino, handle: vfs.openDirectory(ino) };
  }

  it('keep their inode while it has no name, until they are released', async () => {
    const { ino, handle } = await openDirectory('d');
    value(await vfs.rmdir(root, at('d')));
    // What is let go makes the client say what it holds: from then on nothing else keeps the directory.
    vfs.release((await create('f')).handle);
    expect(value(await vfs.getattr(root, inode(ino))).attributes.nlink).toBe(0);
    // Which readdir(3) takes for the end, as on every Linux file system.
    expect(await vfs.readdirAll(root, inode(ino))).toEqual({ ok: false, errno: Errno.ENOENT });
    expect(await vfs.mkdir(root, { dir: ino, path: Buffer.from('below') }, 0o755)).toEqual({ ok: false, errno: Errno.ENOENT });
    vfs.release(handle);
    expect(await vfs.getattr(root, inode(ino))).toEqual({ ok: false, errno: Errno.ESTALE });
  });

  it('are read on whatever their mode says since, and by whomever the descriptor has come to', async () => {
    const { ino, handle } = await openDirectory('d');
    await create('d/f');
    value(await vfs.setattr(root, inode(ino), { mode: 0 }));
    expect(value(await vfs.readdirPage(handle, EMPTY, 10)).entries.map((e) => e.name.toString())).toEqual(['f']);
    vfs.release(handle);
    expect(await vfs.readdirPage(handle, EMPTY, 10)).toEqual({ ok: false, errno: Errno.EBADF });
  });

  it('are let go when the mount ends, and have numbers of their own beside the files', async () => {
    const { handle } = await openDirectory('d');
    expect((await create('f')).handle).not.toBe(handle);
    expect(client.openFiles.size).toBe(2);
    vfs.releaseAll();
    expect([vfs.openHandles, client.openFiles.size]).toEqual([0, 0]);
  });

  it('open beyond what a session may hold, and hold nothing then', async () => {
    const released: Ino[] = [];
    const full = new Vfs({
      submit: client.submit.bind(client), query: client.query.bind(client), close: client.close.bind(client),
      openFiles: { open: () => { throw new RangeError('full'); }, release: (ino) => { released.push(ino); }, reserve: () => undefined, unreserve: () => undefined },
    });
    const handle = full.openDirectory(ROOT_INO);
    expect(value(await full.readdirAll(root, inode(ROOT_INO))).entries).toEqual([]);
    full.release(handle);
    expect([released, full.openHandles]).toEqual([[], 0]);
  });
});

describe('directories', () => {
  it('are listed whole, over as many pages as it takes', async () => {
    value(await vfs.mkdir(root, at('d'), 0o755));
    const names = Array.from({ length: 2500 }, (_, i) => `entry-${i}`);
    for (const name of names) value(await vfs.mknod(root, at(`d/${name}`), 'file', 0o644, 0));
    const listing = value(await vfs.readdirAll(root, at('d')));
    expect(listing.entries.map((e) => e.name.toString()).sort()).toEqual([...names].sort());
    expect(listing.parent).toBe(ROOT_INO);
    expect(listing.ino).toBe(value(await vfs.getattr(root, at('d'))).attributes.ino);
  });
});

describe('set-uid and set-gid', () => {
  it.each([[0o6755, 0o755], [0o2745, 0o2745], [0o4711, 0o711], [0o644, 0o644]])('%o becomes %o when a writer may not keep them', async (before, after) => {
    const { handle, attributes } = await create('f');
    value(await vfs.setattr(root, inode(attributes.ino), { mode: before }));
    await vfs.write(handle, 0, Buffer.from('x'), { dropSetId: true });
    expect(value(await vfs.fgetattr(handle)).attributes.mode).toBe(after);
  });

  const outsider: Credentials = { uid: 1000, gid: 1000, groups: [] };
  it.each<[string, (handle: number, writer: () => Credentials) => Promise<Outcome<unknown>>]>([
    ['write', (handle, writer) => vfs.write(handle, 0, Buffer.from('x'), { dropSetId: true, writer })],
    ['copy', (handle, writer) => vfs.copy({ handle, offset: 0 }, { handle, offset: 0 }, 1, { dropSetId: true, writer })],
    ['truncation', (handle, writer) => vfs.ftruncate(handle, 0, true, writer)],
  ])('set-gid without group execute goes by the %s of somebody outside of the group', async (_, change) => {
    const { handle, attributes } = await create('f');
    await vfs.write(handle, 0, Buffer.from('content'));
    for (const [writer, after] of [[user, 0o2666], [root, 0o2666], [outsider, 0o666]] as const) {
      value(await vfs.setattr(root, inode(attributes.ino), { gid: 4242 }));
      value(await vfs.setattr(root, inode(attributes.ino), { mode: 0o2666 }));
      value(await change(handle, () => writer));
      expect(value(await vfs.fgetattr(handle)).attributes.mode).toBe(after);
    }
  });

  it('a write of which the bit was not seen to go is not one of which nothing was done', async () => {
    const { handle } = await create('f', 0o2666);
    const writer = (): Credentials => {
      client.failNext = new TimedOut('no quorum');
      return outsider;
    };
    const failure: unknown = await vfs.write(handle, 0, Buffer.from('x'), { dropSetId: true, writer }).catch((error: unknown) => error);
    expect([failure, errnoOfRejection(failure)]).toEqual([expect.objectContaining({ name: 'OutcomeUnknown' }), Errno.EIO]);
  });

  it('nobody is asked who writes where that makes no difference', async () => {
    const { handle } = await create('f', 0o2755);
    value(await vfs.write(handle, 0, Buffer.from('x'), { dropSetId: true, writer: () => { throw new Error('asked'); } }));
    expect(client.counts.get('setattr')).toBeUndefined();
  });

  it.each([[user, 0o755], [root, 0o755], [outsider, 0o6755]])("chown of neither owner nor group takes them where it is the owner's or root's: %j", async (who, after) => {
    const { attributes } = await create('f');
    value(await vfs.setattr(root, at('f'), { uid: user.uid + (who === outsider ? 1 : 0) }));
    const before = value(await vfs.setattr(root, at('f'), { mode: 0o6755 })).attributes;
    const chowned = value(await vfs.chownNothing(who, inode(attributes.ino))).attributes;
    expect([chowned.mode, chowned.uid, chowned.gid]).toEqual([after, before.uid, before.gid]);
    expect(value(await vfs.getattr(root, at('f'))).attributes).toEqual(chowned);
    expect(chowned.version === before.version).toBe(who === outsider);
  });

  it('chown of neither owner nor group moves the ctime of what has no such bits, whoever calls', async () => {
    const before = (await create('f')).attributes;
    expect(value(await vfs.chownNothing(outsider, at('f'))).attributes.ctime).not.toEqual(before.ctime);
  });

  it.each<[string, (handle: number) => Promise<Outcome<unknown>>]>([
    ['write', (handle) => vfs.write(handle, 0, Buffer.from('x'), { dropSetId: true })],
    ['truncation', (handle) => vfs.ftruncate(handle, 0, true)],
  ])('go by the same operation as the %s: a chmod of somebody else that comes behind it stands', async (_, change) => {
    const { handle, attributes } = await create('f');
    value(await vfs.setattr(root, inode(attributes.ino), { mode: 0o6777 }));
    // Both are under way at once, and executed in this order.
    const changed = change(handle);
    const revoked = vfs.setattr(root, inode(attributes.ino), { mode: 0o600 });
    value(await changed);
    value(await revoked);
    expect(value(await vfs.fgetattr(handle)).attributes.mode).toBe(0o600);
  });
});

describe('extended attributes', () => {
  it('are set, read, listed and removed', async () => {
    await create('f');
    value(await vfs.setxattr(root, at('f'), Buffer.from('user.a'), Buffer.from('1'), 'create'));
    expect(value(await vfs.getxattr(root, at('f'), Buffer.from('user.a'))).value.toString()).toBe('1');
    expect(value(await vfs.listxattr(root, at('f'))).names.map(String)).toEqual(['user.a']);
    value(await vfs.removexattr(root, at('f'), Buffer.from('user.a')));
    expect(await vfs.getxattr(root, at('f'), Buffer.from('user.a'))).toEqual({ ok: false, errno: Errno.ENODATA });
  });

  it('that the mount never keeps cost no round trip', async () => {
    await create('f');
    const before = client.counts.get('getxattr');
    expect(await vfs.getxattr(root, at('f'), Buffer.from('security.capability'))).toEqual({ ok: false, errno: Errno.ENODATA });
    expect(await vfs.getxattr(root, at('f'), Buffer.from('system.posix_acl_access'))).toEqual({ ok: false, errno: Errno.EOPNOTSUPP });
    expect(await vfs.setxattr(root, at('f'), Buffer.from('security.capability'), EMPTY, 'any')).toEqual({ ok: false, errno: Errno.EOPNOTSUPP });
    expect(client.counts.get('getxattr')).toBe(before);
  });
});

describe('a group that does not answer', () => {
  it('is a rejection, not a value: the caller does not know what happened', async () => {
    client.failNext = new Error('no quorum');
    await expect(vfs.mkdir(root, at('d'), 0o755)).rejects.toThrow('no quorum');
  });
});
