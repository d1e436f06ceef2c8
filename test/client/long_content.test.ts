/** Contents that are read and written in steps: signals, changes meanwhile, writes above 1 MiB. */
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { OperationClient } from '../../client/caller.ts';
import { FileSystem } from '../../client/file_system.ts';
import { VrfsClient } from '../../client/client.ts';
import { FileChanged, OutcomeUnknown } from '../../client/errors.ts';
import { SYMLINK_DEPTH_MAX, type Operation } from '../../fsservice/operations.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { operationOf } from './fake_group.ts';
import { ann, client, failure, fs, group, home, overGroup } from './file_system_support.ts';

overGroup();

describe('a signal', () => {
  const LONG = Buffer.alloc(5 << 20, 'L');
  const REASON = new Error('enough');

  /** A signal that is given when the first operation of that type arrives, which is then answered or lost. */
  function givenAt(type: Operation['type'], lost = false): AbortSignal {
    const stop = new AbortController();
    group.intercept = (_, m) => {
      if (operationOf(m)?.type !== type) return undefined;
      stop.abort(REASON);
      return lost ? null : undefined;
    };
    return stop.signal;
  }

  it('ends a write that waits for its source, and lets go of that', async () => {
    await fs.writeFile(`${home}/f`, 'old');
    const pipe = new Readable({ read: () => undefined });
    pipe.push(LONG);
    const stalled = async function* (): AsyncGenerator<Buffer> {
      yield LONG;
      await new Promise(() => undefined);
    };
    for (const source of [pipe, stalled()]) await expect(fs.writeFile(`${home}/f`, source, { signal: givenAt('write') })).rejects.toBe(REASON);
    expect(pipe.destroyed).toBe(true);
    expect(await fs.readdir(home)).toEqual(['f']);
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('old');
  });

  it.each(['getattr', 'create', 'write', 'setattr'] as const)('that is given at the %s of a long write leaves nothing behind', async (type) => {
    let open = 0;
    const source = async function* (): AsyncGenerator<Buffer> {
      open++;
      try {
        for (let i = 0; i < 5; i++) yield await Promise.resolve(Buffer.alloc(1 << 20));
      } finally {
        open--;
      }
    };
    for (const content of [LONG, source(), [LONG, LONG]]) await expect(fs.writeFile(`${home}/f`, content, { signal: givenAt(type) })).rejects.toBe(REASON);
    expect(open).toBe(0);
    expect(await fs.readdir(home)).toEqual([]);
  });

  it('that is given at the last step of a long write is too late', async () => {
    await fs.writeFile(`${home}/f`, LONG, { signal: givenAt('rename') });
    expect((await fs.stat(`${home}/f`)).size).toBe(LONG.length);
    expect(await fs.readdir(home)).toEqual(['f']);
  });

  it('that was given before sends nothing, and is nothing where it is not given', async () => {
    const operations: unknown[] = [];
    group.intercept = (_, m) => {
      operations.push(operationOf(m));
      return undefined;
    };
    for (const content of ['short', LONG]) await expect(fs.writeFile(`${home}/f`, content, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
    await expect(fs.readFile(`${home}/f`, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
    expect(operations.filter((o) => o !== undefined)).toEqual([]);
    const { signal } = new AbortController();
    await fs.writeFile(`${home}/f`, Readable.from([LONG]), { signal });
    await fs.writeFile(`${home}/f`, 'end', { flag: 'a', signal });
    expect(await fs.readFile(`${home}/f`, { encoding: 'utf8', signal })).toBe(`${LONG.toString()}end`);
  });

  it('ends the wait for an answer', async () => {
    await fs.writeFile(`${home}/long`, LONG);
    await expect(fs.writeFile(`${home}/f`, 'short', { signal: givenAt('putFile', true) })).rejects.toBe(REASON);
    await expect(fs.appendFile(`${home}/long`, 'more', { signal: givenAt('write', true) })).rejects.toBe(REASON);
    await expect(fs.readFile(`${home}/long`, { signal: givenAt('read', true) })).rejects.toBe(REASON);
    const read = async (): Promise<void> => { for await (const chunk of fs.readStream(`${home}/long`, { signal: givenAt('read', true) })) void chunk; };
    await expect(read()).rejects.toBe(REASON);
  });
});

describe('a file that changes while it is read', () => {
  const MIB = 1 << 20;
  const A = Buffer.alloc(8 * MIB, 'A');

  async function restOf(stream: AsyncIterable<Buffer>): Promise<unknown> {
    try {
      for await (const chunk of stream) void chunk;
    } catch (error) {
      return error;
    }
    return 'an orderly end';
  }

  /** Runs `change` when the read behind the first `n` arrives, and before it is answered; once, or each time when `always`. */
  function changeBeforeRead(n: number, change: (round: number) => void, always = false): void {
    let reads = 0;
    let rounds = 0;
    group.intercept = (_, m) => {
      if (operationOf(m)?.type === 'read' && ++reads === n + 1) {
        if (always) reads = 0;
        change(rounds++);
      }
      return undefined;
    };
  }

  it.each([
    ['a short one', () => fs.writeFile(`${home}/f`, Buffer.alloc(MIB, 'B'))],
    ['a long one', () => fs.writeFile(`${home}/f`, Buffer.alloc(9 * MIB, 'B'))],
    ['one byte of it, behind what was read', () => fs.write(`${home}/f`, 8 * MIB - 1, Buffer.from('B'))],
    ['one byte of it, before what was read', () => fs.write(`${home}/f`, 0, Buffer.from('B'))],
    ['nothing', () => fs.unlink(`${home}/f`)],
  ])('ends the stream with an error when it is replaced by %s', async (_, change) => {
    await fs.writeFile(`${home}/f`, A);
    const stream = fs.readStream(`${home}/f`);
    const first = await stream.next();
    expect(A.subarray(0, MIB).equals(first.value ?? EMPTY)).toBe(true);
    await change();
    const error = await restOf(stream);
    expect(error instanceof FileChanged).toBe(true);
    expect(error).toMatchObject({ name: 'FileChanged', code: 'EAGAIN', mayHaveHappened: false, message: `EAGAIN: '${home}/f' changed while it was read; read it again` });
  });

  it('does not disturb a stream of a part that one read fetches', async () => {
    await fs.writeFile(`${home}/f`, A);
    const stream = fs.readStream(`${home}/f`, { start: 10, end: MIB });
    expect(A.subarray(10, MIB).equals((await stream.next()).value ?? EMPTY)).toBe(true);
    await fs.writeFile(`${home}/f`, 'B');
    expect(await restOf(stream)).toBe('an orderly end');
  });

  it('is read anew by readFile', async () => {
    for (const size of [MIB, 3 * MIB]) {
      await fs.writeFile(`${home}/f`, A);
      let change: Promise<void> | undefined;
      changeBeforeRead(4, () => { change = fs.writeFile(`${home}/f`, Buffer.alloc(size, 'B')); });
      const data = await fs.readFile(`${home}/f`);
      await change;
      expect(change).toBeDefined();
      expect([A, Buffer.alloc(size, 'B')].some((state) => state.equals(data))).toBe(true);
    }
  });

  it('is read anew by a stream that has given nothing yet', async () => {
    await fs.writeFile(`${home}/f`, 'short');
    const { ino } = await fs.stat(`${home}/f`);
    // The file grows beyond one read between the look at its size and the read.
    changeBeforeRead(0, () => { group.execute({ type: 'write', at: { dir: ino, path: EMPTY }, offset: 2 * MIB, data: Buffer.from('end') }); });
    const parts: Buffer[] = [];
    for await (const part of fs.readStream(`${home}/f`)) parts.push(part);
    expect(Buffer.concat(parts).length).toBe(2 * MIB + 3);
  });

  it('is given up by readFile when it never stands still', async () => {
    await fs.writeFile(`${home}/f`, A);
    const { ino } = await fs.stat(`${home}/f`);
    let changes = 0;
    changeBeforeRead(0, () => {
      changes++;
      group.execute({ type: 'write', at: { dir: ino, path: EMPTY }, offset: 0, data: Buffer.from([changes]) });
    }, true);
    expect(await fs.readFile(`${home}/f`).then(() => 'content', (error: unknown) => error)).toMatchObject({ name: 'FileChanged' });
    expect(changes).toBeGreaterThan(8);
  });
});

describe('a write above 1 MiB', () => {
  const LONG = Buffer.alloc((2 << 20) + 1, 'L');

  /** The calls that change something, as they arrive. */
  function recorded(): Operation[] {
    const calls: Operation[] = [];
    group.intercept = (_, m) => {
      const operation = m.type === 'request' ? operationOf(m) : null;
      if (operation !== null) calls.push(operation);
      return undefined;
    };
    return calls;
  }

  it('keeps the extended attributes of the file that it replaces', async () => {
    await fs.writeFile(`${home}/f`, 'old');
    await fs.setxattr(`${home}/f`, 'user.note', 'kept');
    await fs.setxattr(`${home}/f`, 'trusted.note', 'kept too');
    // A write in place takes capabilities away.
    await fs.setxattr(`${home}/f`, 'security.capability', 'x');
    await fs.symlink('f', `${home}/link`);
    await fs.writeFile(`${home}/link`, LONG);
    expect((await fs.stat(`${home}/f`)).size).toBe(LONG.length);
    expect((await fs.listxattr(`${home}/f`)).sort()).toEqual(['trusted.note', 'user.note']);
    expect((await fs.getxattr(`${home}/f`, 'user.note')).toString()).toBe('kept');
  });

  it.each(['fifo', 'socket', 'block', 'character'] as const)('does not replace a %s', async (type) => {
    await fs.mknod(`${home}/f`, type);
    await fs.symlink('f', `${home}/link`);
    for (const content of ['short', LONG]) {
      for (const name of ['f', 'link']) {
        expect(await failure(fs.writeFile(`${home}/${name}`, content))).toMatchObject({ code: 'EINVAL', message: `EINVAL: invalid argument, putFile '${home}/${name}'` });
      }
    }
    expect((await fs.stat(`${home}/f`)).type).toBe(type);
    expect((await fs.readdir(home)).sort()).toEqual(['f', 'link']);
  });

  it('is refused where a short one is, in the same words and before anything is made', async () => {
    await fs.chmod(home, 0o777);
    await ann.writeFile(`${home}/mine`, 'read only');
    await ann.chmod(`${home}/mine`, 0o444);
    await fs.mkdir(`${home}/d`);
    await fs.symlink('round', `${home}/round`);
    await fs.mkdir(`${home}/closed`, { mode: 0o755 });
    const calls = recorded();
    for (const [name, code] of [['mine', 'EACCES'], ['d', 'EISDIR'], ['round', 'ELOOP'], ['none/f', 'ENOENT'], ['closed/f', 'EACCES']] as const) {
      const short = await failure(ann.writeFile(`${home}/${name}`, 'short'));
      const long = await failure(ann.writeFile(`${home}/${name}`, LONG));
      expect(short.code).toBe(code);
      expect(long).toMatchObject({ code, syscall: 'putFile', path: `${home}/${name}`, message: short.message });
    }
    await fs.writeFile(`${home}/there`, 'x');
    calls.length = 0;
    expect(await failure(fs.writeFile(`${home}/there`, LONG, { flag: 'wx' }))).toMatchObject({ code: 'EEXIST', message: `EEXIST: file already exists, putFile '${home}/there'` });
    expect(calls).toEqual([]);
    expect(await ann.readFile(`${home}/mine`, 'utf8')).toBe('read only');
    expect((await fs.readdir(home)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('goes through as many symbolic links as the namespace follows', async () => {
    await fs.writeFile(`${home}/s0`, 'old');
    for (let i = 1; i <= SYMLINK_DEPTH_MAX; i++) await fs.symlink(`s${i - 1}`, `${home}/s${i}`);
    await fs.writeFile(`${home}/s${SYMLINK_DEPTH_MAX}`, LONG);
    expect((await fs.lstat(`${home}/s${SYMLINK_DEPTH_MAX}`)).isSymbolicLink()).toBe(true);
    expect((await fs.stat(`${home}/s0`)).size).toBe(LONG.length);
  });

  it('goes into a temporary file that is private until it takes the name', async () => {
    await fs.writeFile(`${home}/f`, 'old');
    await fs.chown(`${home}/f`, 1000, 1000);
    await fs.chmod(`${home}/f`, 0o4755);
    const calls = recorded();
    await fs.writeFile(`${home}/f`, LONG);
    await fs.writeFile(`${home}/new`, LONG, { mode: 0o4777 });
    const made = calls.filter((c) => c.type === 'create');
    expect(made.map((c) => c.mode)).toEqual([0o600, 0o600]);
    for (const c of made) expect(c.at.path.toString()).toMatch(new RegExp(`^${home}/\\.vrfs-put-[0-9a-f]{16}$`));
    // The owner first, so that who may not give it away sends nothing; mode and name last, so that nothing half written has the mode of the file.
    expect(calls.map((c) => c.type)).toEqual(['create', 'setattr', 'write', 'write', 'write', 'setattr', 'rename', 'create', 'write', 'write', 'write', 'setattr', 'rename']);
    const stats = await fs.stat(`${home}/f`);
    expect([stats.mode & 0o7777, stats.uid, stats.gid, stats.size]).toEqual([0o4755, 1000, 1000, LONG.length]);
    expect((await fs.stat(`${home}/new`)).mode & 0o7777).toBe(0o4755);
  });

  it('keeps owner and group, and is refused before anything is sent where it cannot', async () => {
    await fs.chmod(home, 0o777);
    const bob = new FileSystem(client, { credentials: { uid: 2000, gid: 2000, groups: [50] } });
    await fs.writeFile(`${home}/f`, 'old');
    await fs.chown(`${home}/f`, 2000, 50);
    await fs.chmod(`${home}/f`, 0o666);
    await bob.writeFile(`${home}/f`, LONG);
    const stats = await fs.stat(`${home}/f`);
    expect([stats.uid, stats.gid, stats.mode & 0o777, stats.size]).toEqual([2000, 50, 0o666, LONG.length]);
    const calls = recorded();
    expect(await failure(ann.writeFile(`${home}/f`, Buffer.alloc(LONG.length, 'A')))).toMatchObject({ code: 'EPERM', syscall: 'putFile', path: `${home}/f` });
    expect(calls.map((c) => c.type)).toEqual(['create', 'setattr', 'unlink']);
    expect((await fs.readFile(`${home}/f`, 'utf8')).slice(0, 2)).toBe('LL');
    expect(await fs.readdir(home)).toEqual(['f']);
  });

  it('that loses the majority says what is not known, and what stayed behind', async () => {
    const hasty = await VrfsClient.connect({ servers: group.servers, requestTimeoutMs: 300 });
    const impatient = new FileSystem(hasty, { credentials: { uid: 0, gid: 0, groups: [] } });
    await fs.writeFile(`${home}/f`, 'old');
    const source = function* (): Generator<Buffer> {
      yield LONG;
      // Its message cannot be changed.
      throw new DOMException('the source broke', 'AbortError');
    };
    try {
      for (const lost of ['create', 'write', 'rename'] as const) {
        let gone = false;
        group.intercept = (_, m) => {
          gone ||= operationOf(m)?.type === lost;
          return gone && m.type === 'request' ? null : undefined;
        };
        const error: unknown = await impatient.writeFile(`${home}/f`, LONG).then(() => null, (e: unknown) => e);
        expect(error).toBeInstanceOf(OutcomeUnknown);
        expect(error).toMatchObject({ mayHaveHappened: true, suppressed: { name: 'OutcomeUnknown' } });
        expect(String(error)).toMatch(new RegExp(`Read the present state before you repeat it.*while '${home}/f' was written, and its temporary file '${home}/\\.vrfs-put-[0-9a-f]{16}' could not be removed`));
      }
      group.intercept = (_, m) => (operationOf(m)?.type === 'unlink' ? null : undefined);
      const broken: unknown = await impatient.writeFile(`${home}/g`, source()).then(() => null, (e: unknown) => e);
      expect(broken).toMatchObject({ name: 'Error', message: expect.stringContaining('the source broke') as string, cause: { name: 'AbortError' }, suppressed: { name: 'OutcomeUnknown' } });
    } finally {
      group.intercept = () => undefined;
      await hasty.close();
    }
  });

  it('removes its temporary file when the answer to its making was lost, and says so where none was found', async () => {
    for (const found of [true, false]) {
      const sent: string[] = [];
      const lossy: OperationClient = {
        query: (call) => client.query(call),
        submit: async (call) => {
          sent.push(call.operation.type);
          if (call.operation.type !== 'create') return await client.submit(call);
          if (found) await client.submit(call);
          throw new OutcomeUnknown('sent, and no answer');
        },
      };
      const error: unknown = await new FileSystem(lossy, { credentials: { uid: 0, gid: 0, groups: [] } }).writeFile(`${home}/f`, LONG).then(() => null, (e: unknown) => e);
      expect(error).toMatchObject({ name: 'OutcomeUnknown', message: found ? 'sent, and no answer' : expect.stringContaining('.vrfs-put-') as string });
      expect(sent).toEqual(['create', 'unlink']);
      expect(await fs.readdir(home)).toEqual([]);
    }
  });

  it('names its target in errors, and leaves those of the source alone', async () => {
    await fs.chmod(home, 0o777);
    await fs.writeFile(`${home}/f`, 'old');
    await fs.writeFile(`${home}/secret`, 'x', { mode: 0o600 });
    group.intercept = (_, m) => {
      const operation = operationOf(m);
      // Somebody clears up the directory meanwhile.
      if (operation?.type === 'rename') group.execute({ type: 'unlink', at: operation.from });
      return undefined;
    };
    expect(await failure(fs.writeFile(`${home}/f`, LONG))).toMatchObject({ code: 'ENOENT', path: `${home}/f`, dest: undefined, message: `ENOENT: no such file or directory, putFile '${home}/f'` });
    group.intercept = () => undefined;
    const source = async function* (): AsyncGenerator<Buffer> {
      yield LONG;
      yield await ann.readFile(`${home}/secret`);
    };
    expect(await failure(fs.writeFile(`${home}/f`, source()))).toMatchObject({ code: 'EACCES', path: `${home}/secret` });
    expect(await fs.readFile(`${home}/f`, 'utf8')).toBe('old');
  });
});
