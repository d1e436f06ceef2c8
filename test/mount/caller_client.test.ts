/** Calls on behalf of processes that change their groups. */
import { beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../fsservice/errno.ts';
import { ROOT_INO } from '../../fsservice/operations.ts';
import type { At, Credentials } from '../../fsservice/operations.ts';
import { CallerClient } from '../../mount/caller_client.ts';
import { CallerCredentials } from '../../mount/caller_credentials.ts';
import { inode, Vfs } from '../../mount/vfs.ts';
import { MemoryGroup } from './memory_group.ts';
import type { MemoryClient } from './memory_group.ts';

const root: Credentials = { uid: 0, gid: 0, groups: [] };
const PID = 77;
const O_RDWR = 2;

let groups: string;
let asked: number;
let client: MemoryClient;
let callers: CallerCredentials;
let vfs: Vfs;

beforeEach(() => {
  groups = '';
  asked = 0;
  client = new MemoryGroup().client();
  // The clock stands still: what was looked up once is remembered.
  callers = new CallerCredentials(() => 0, () => {
    asked++;
    return `Groups: ${groups}`;
  });
  vfs = new Vfs(new CallerClient(client, callers));
});

function at(path: string): At {
  return { dir: ROOT_INO, path: Buffer.from(path) };
}

function caller(): Credentials {
  return callers.of(2001, 2001, PID);
}

async function makeFor(gid: number, path: string): Promise<void> {
  expect(await vfs.mkdir(root, at(path), 0o770)).toMatchObject({ ok: true });
  expect(await vfs.setattr(root, at(path), { gid })).toMatchObject({ ok: true });
}

describe('a caller whose groups have changed since they were looked up', () => {
  it('is refused nothing that its groups of now allow', async () => {
    await makeFor(4002, 'd');
    expect(caller().groups).toEqual([]);
    groups = '4002';
    expect(await vfs.mkdir(caller(), at('d/made'), 0o755)).toMatchObject({ ok: true });
    expect(await vfs.access(caller(), at('d'), 7)).toMatchObject({ ok: true });
    // EPERM, by which chown refuses a group that is not the caller's.
    groups = '4002 4003';
    expect(await vfs.setattr(caller(), at('d/made'), { gid: 4003 })).toMatchObject({ ok: true, value: { attributes: { gid: 4003 } } });
    expect(asked).toBe(3);
  });

  it('keeps the set-gid bits that its groups of now let it have', async () => {
    await makeFor(4002, 'd');
    expect(await vfs.setattr(root, at('d'), { mode: 0o2777 })).toMatchObject({ ok: true });
    const before = caller();
    groups = '4002';
    expect(await vfs.create(before, at('d/f'), 0o2775, O_RDWR)).toMatchObject({ ok: true, value: { attributes: { gid: 4002, mode: 0o2775 } } });
    expect(await vfs.mknod(before, at('d/g'), 'file', 0o2775, 0)).toMatchObject({ ok: true, value: { attributes: { mode: 0o2775 } } });
    expect(await vfs.setattr(before, at('d/f'), { mode: 0o755 })).toMatchObject({ ok: true, value: { attributes: { mode: 0o755 } } });
    expect(await vfs.setattr(before, at('d/f'), { mode: 0o2744 })).toMatchObject({ ok: true, value: { attributes: { mode: 0o2744 } } });
    expect(await vfs.setattr(before, at('d/f'), { gid: 4002 })).toMatchObject({ ok: true, value: { attributes: { mode: 0o2744 } } });
    expect(await vfs.setattr(before, at('d/f'), { size: 5 }, true)).toMatchObject({ ok: true, value: { attributes: { mode: 0o2744, size: 5 } } });
    expect(await vfs.chownNothing(before, at('d/f'))).toMatchObject({ ok: true, value: { attributes: { mode: 0o2744 } } });
  });

  it('is so in each of several calls at once', async () => {
    await makeFor(4002, 'd');
    const before = caller();
    groups = '4002';
    const made = await Promise.all(['d/a', 'd/b', 'd/c'].map((name) => vfs.mkdir(before, at(name), 0o755)));
    expect(made.map((each) => each.ok)).toEqual([true, true, true]);
  });

  it('is refused what its groups of now do not allow, after one more call', async () => {
    await makeFor(4002, 'd');
    caller();
    groups = '5000';
    expect(await vfs.mkdir(caller(), at('d/made'), 0o755)).toEqual({ ok: false, errno: Errno.EACCES });
    expect(client.counts.get('mkdir')).toBe(3);
  });
});

describe('a call that nothing is to be done about', () => {
  it("is made once: refused with the groups of now, failed for another reason, done, or the superuser's", async () => {
    await makeFor(4002, 'd');
    const mkdirs = client.counts.get('mkdir') ?? 0;
    expect(await vfs.mkdir(caller(), at('d/made'), 0o755)).toEqual({ ok: false, errno: Errno.EACCES });
    groups = '4002';
    expect(await vfs.mkdir(caller(), at('d'), 0o755)).toEqual({ ok: false, errno: Errno.EEXIST });
    expect(client.counts.get('mkdir')).toBe(mkdirs + 2);
    const lookups = asked;
    expect(await vfs.getattr(caller(), inode(ROOT_INO))).toMatchObject({ ok: true });
    expect(await vfs.link(root, at('d'), at('e'))).toEqual({ ok: false, errno: Errno.EPERM });
    expect(client.counts.get('link')).toBe(1);
    expect(asked).toBe(lookups);
  });

  it('nor when its groups were never looked up', async () => {
    await makeFor(4002, 'd');
    expect(await vfs.mkdir({ uid: 2001, gid: 2001, groups: [] }, at('d/made'), 0o755)).toEqual({ ok: false, errno: Errno.EACCES });
    expect(asked).toBe(0);
  });
});
