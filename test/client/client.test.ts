import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VrfsClient, type ConnectOptions } from '../../client/client.ts';
import { Behind, Busy, Closed, InvalidCall, NotReachable, OutcomeUnknown, TimedOut } from '../../client/errors.ts';
import { decodeCall, encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type Call, type Credentials, type WriteOperation } from '../../fsservice/operations.ts';
import { verifiedStat } from '../../client/verified_stat.ts';
import { ino, memberId, sessionId, view } from '../../lib/ids.ts';
import type { Message, Request } from '../../vr/messages.ts';
import { FakeGroup, until } from './fake_group.ts';

const credentials: Credentials = { uid: 0, gid: 0, groups: [] };
const at = (path: string): { dir: typeof ROOT_INO; path: Buffer } => ({ dir: ROOT_INO, path: Buffer.from(path) });
const mkdir = (path: string): Call<Extract<WriteOperation, { type: 'mkdir' }>> => ({ credentials, operation: { type: 'mkdir', at: at(path), mode: 0o755 } });

let group: FakeGroup;
const clients: VrfsClient[] = [];

async function connect(options: Partial<ConnectOptions> = {}): Promise<VrfsClient> {
  const client = await VrfsClient.connect({ servers: group.servers, requestTimeoutMs: 20_000, ...options });
  clients.push(client);
  return client;
}

beforeEach(async () => { group = await FakeGroup.start(); });
afterEach(async () => {
  for (const c of clients.splice(0)) await c.close();
  await group.stop();
});

describe('VrfsClient', () => {
  it('refuses time-outs that no timer can wait for', async () => {
    for (const wrong of [2 ** 31, Infinity, NaN, -1]) {
      for (const name of ['requestTimeoutMs', 'connectTimeoutMs']) {
        await expect(VrfsClient.connect({ servers: group.servers, [name]: wrong })).rejects.toThrow(`${name} is ${wrong}: it is a number of milliseconds from 0 to 2147483647`);
        expect(() => VrfsClient.open({ servers: group.servers, [name]: wrong })).toThrow(RangeError);
      }
    }
    await connect({ requestTimeoutMs: 2 ** 31 - 1, connectTimeoutMs: 2 ** 31 - 1 });
  });

  it('refuses a name that no session can have, before anything is sent', async () => {
    await expect(VrfsClient.connect({ servers: group.servers, name: 'é'.repeat(129) })).rejects.toThrow('name: at most 256 bytes');
    expect(() => VrfsClient.open({ servers: group.servers, name: 'x'.repeat(70_000) })).toThrow(TypeError);
    const client = await connect({ name: 'é'.repeat(128) });
    expect(await client.submit(mkdir('/a'))).toMatchObject({ ok: true });
  });

  it('executes changes and reads', async () => {
    const client = await connect();
    const made = await client.submit(mkdir('/a'));
    expect(made).toMatchObject({ ok: true, value: { attributes: { type: 'directory', mode: 0o755 } } });
    expect(await client.submit(mkdir('/a'))).toEqual({ ok: false, errno: 17 });
    const read = await client.query({ credentials, operation: { type: 'getattr', at: at('/a'), follow: true } });
    expect(read).toEqual(made);
    expect(client.lastOp).toBe(3);
    expect(client.configuration?.members.length).toBe(3);
  });

  it('reads with a bound on the age of the answer, and refuses a bound that is none', async () => {
    const client = await connect();
    await client.submit(mkdir('/a'));
    const asked: Message[] = [];
    group.intercept = (_, m) => {
      if (m.type === 'read') asked.push(m);
      return undefined;
    };
    const call = { credentials, operation: { type: 'getattr', at: at('/a'), follow: true } } as const;
    expect(await client.query(call, { consistency: 'bounded', maxStalenessMs: 1500 })).toMatchObject({ ok: true });
    expect(asked).toMatchObject([{ consistency: 'bounded', maxStalenessMs: 1500, minOp: client.lastOp }]);
    const refused = [
      [{ consistency: 'bounded' }, 'needs maxStalenessMs'],
      [{ consistency: 'bounded', maxStalenessMs: -1 }, 'maxStalenessMs is -1'],
      [{ consistency: 'bounded', maxStalenessMs: 1.5 }, 'whole number'],
      [{ consistency: 'bounded', maxStalenessMs: 86_400_001 }, 'to 86400000'],
      [{ consistency: 'causal', maxStalenessMs: 1 }, 'goes with consistency \'bounded\''],
      [{ maxStalenessMs: 1 }, 'not with \'linearizable\''],
      [{ consistency: 'strong' as 'causal' }, 'consistency \'strong\' is not known'],
      [{ consistency: 'causal', minOp: 1.5 }, 'minOp is 1.5'],
      [{ minOp: 2 ** 48 }, 'below 2^48'],
      [{ minOp: NaN }, 'minOp is NaN'],
      [{ minOp: -1 }, 'minOp is -1'],
    ] as const;
    for (const [options, message] of refused) {
      const error: unknown = await client.query(call, options).then(() => null, (e: unknown) => e);
      expect(error).toBeInstanceOf(InvalidCall);
      expect(String(error)).toContain(message);
    }
    expect(asked).toHaveLength(1);
  });

  it('gives up a read of a state that no replica has after the time that it was given for it', async () => {
    const client = await connect({ requestTimeoutMs: 20_000 });
    group.intercept = (_, m) => (m.type === 'read' ? { type: 'reject', code: 'behind', reason: `op ${m.minOp} is not executed here yet`, retryAfterMs: 10, session: sessionId(0), slot: 0, seq: 0, id: m.id } : undefined);
    const read = client.query({ credentials, operation: { type: 'getattr', at: at('/'), follow: true } }, { consistency: 'causal', minOp: 99_999, behindMs: 100 });
    const error: unknown = await read.then(() => null, (e: unknown) => e);
    expect(error).toBeInstanceOf(Behind);
    expect(String(error)).toContain('op 99999 is not executed here yet');
  });

  it('needs only one address, and finds the primary itself', async () => {
    group.view = 2;
    const client = await connect({ servers: group.servers.slice(0, 1) });
    expect((await client.submit(mkdir('/a'))).ok).toBe(true);
    expect(client.primary).toBe(group.servers[group.primary]);
  });

  it('keeps many operations under way and sends those of one turn together', async () => {
    const client = await connect();
    await client.submit(mkdir('/first'));
    const [messages, chunks, op] = [group.messages, group.chunks, group.op];
    const results = await Promise.all(Array.from({ length: 200 }, (_, i) => client.submit(mkdir(`/d${i}`))));
    expect(results.every((r) => r.ok)).toBe(true);
    // Exactly 200, however slow the machine and however often something was sent again.
    expect(group.op - op).toBe(200);
    expect(group.messages - messages).toBeGreaterThan((group.chunks - chunks) * 5);
  });

  it('takes encoded calls and tells their outcome by callback', async () => {
    const client = await connect();
    const results: Buffer[] = [];
    const failures: Error[] = [];
    for (let i = 0; i < 100; i++) {
      client.submitEncoded(encodeCall(mkdir(`/d${i}`)), {
        completed: (result) => { results.push(result); },
        failed: (error) => { failures.push(error); },
      });
    }
    await until(() => results.length + failures.length === 100);
    expect(failures).toEqual([]);
    expect(client.outstanding).toBe(0);
  });

  it('goes on when the primary dies, and executes nothing twice', async () => {
    const client = await connect();
    await client.submit(mkdir('/before'));
    let lost = 0;
    // The primary executes, and dies before it has answered.
    const dying = group.primary;
    group.intercept = (member, m) => (member === dying && m.type === 'request' && ++lost > 0 ? null : undefined);
    const during = client.submit(mkdir('/during'));
    await until(() => lost > 0);
    group.view = 1;
    await group.kill(dying);
    expect((await during).ok).toBe(true);
    expect((await client.submit(mkdir('/after'))).ok).toBe(true);
    expect(await client.submit(mkdir('/during'))).toEqual({ ok: false, errno: 17 });
  });

  it('gets the stored reply when an answer was lost', async () => {
    const client = await connect();
    await client.submit(mkdir('/before'));
    const original = group.op;
    let dropped = false;
    group.intercept = (member, m) => {
      if (m.type !== 'request' || dropped) return undefined;
      dropped = true;
      // Executed, but the connection breaks under the reply.
      void group.kill(member).then(() => group.restart(member));
      return undefined;
    };
    expect((await client.submit(mkdir('/once'))).ok).toBe(true);
    expect(group.op).toBe(original + 1);
  });

  it('reconnects after all replicas were away', async () => {
    const client = await connect();
    await client.submit(mkdir('/a'));
    await group.stop();
    const waiting = client.submit(mkdir('/b'));
    for (let i = 0; i < 3; i++) await group.restart(i);
    expect((await waiting).ok).toBe(true);
  });

  it('begins a new session when the old one has ended', async () => {
    const client = await connect();
    await client.submit(mkdir('/a'));
    group.endSessions();
    const results = await Promise.all(['/b', '/c', '/d'].map((p) => client.submit(mkdir(p))));
    expect(results.every((r) => r.ok)).toBe(true);
    expect(group.registrations.length).toBe(2);
  });

  it('reads causally at any replica, after what it has seen', async () => {
    const client = await connect();
    await client.submit(mkdir('/a'));
    const readers = new Set<number>();
    group.intercept = (member, m) => {
      if (m.type === 'read') {
        readers.add(member);
        expect(m.minOp).toBe(2);
        expect(m.consistency).toBe('causal');
      }
      return undefined;
    };
    const r = await client.query({ credentials, operation: { type: 'getattr', at: at('/a'), follow: true } }, { consistency: 'causal' });
    expect(r.ok).toBe(true);
    expect(readers.size).toBe(1);
  });
});

describe('a client whose group was replaced by another at the same addresses, as by one that was revived', () => {
  const NEW = Buffer.alloc(16, 8);
  const others = async (): Promise<void> => {
    await group.stop();
    group.clusterId = NEW;
    for (let i = 0; i < 3; i++) await group.restart(i);
  };

  it('does not go on there, and says why', async () => {
    const client = await connect({ requestTimeoutMs: 500 });
    await client.submit(mkdir('/a'));
    await others();
    const { op } = group;
    // It may have been sent on the old connection, before that was known to be broken.
    await expect(client.submit(mkdir('/b'))).rejects.toThrow(/this replica belongs to group/);
    const failed = await client.submit(mkdir('/c')).then(() => null, (e: unknown) => e);
    expect(failed).toBeInstanceOf(NotReachable);
    expect(String(failed)).toContain(`this replica belongs to group ${NEW.toString('hex')}, not to ${'07'.repeat(16)}`);
    const read = { credentials, operation: { type: 'getattr', at: at('/a'), follow: true } } as const;
    await expect(client.query(read, { consistency: 'causal' })).rejects.toThrow(NEW.toString('hex'));
    expect(group.op).toBe(op);
    expect((await (await connect()).submit(mkdir('/b'))).ok).toBe(true);
  });

  it('takes no member of it in either, when the replicas do not ask which one it wants', async () => {
    const { primary } = group;
    const members: number[] = [];
    group.intercept = (member, m) => {
      if (m.type !== 'hello') {
        members.push(member);
        return undefined;
      }
      return { type: 'welcome', view: view(group.view), configuration: group.configuration, self: memberId(member + 1), address: 'h:0', httpAddress: 'h:1', clusterId: member === primary ? group.clusterId : NEW };
    };
    const client = await connect({ servers: group.servers.slice(primary, primary + 1), requestTimeoutMs: 500 });
    await client.submit(mkdir('/a'));
    await group.kill(primary);
    await expect(client.submit(mkdir('/b'))).rejects.toThrow(`it belongs to group ${NEW.toString('hex')}, and this client to ${'07'.repeat(16)}: check the list of servers`);
    expect(new Set(members)).toEqual(new Set([primary]));
  });
});

describe('a client that gets no answer', () => {
  it('says which servers it tried, and that nothing was done', async () => {
    const servers = group.servers;
    await group.stop();
    const failed = await connect({ servers, connectTimeoutMs: 300 }).then(() => null, (e: unknown) => e);
    expect(failed).toBeInstanceOf(NotReachable);
    for (const s of servers) expect(String(failed)).toContain(s);
    expect(String(failed)).toMatch(/ECONNREFUSED/);
    expect(failed).toMatchObject({ name: 'NotReachable', mayHaveHappened: false });
  });

  it('tells operations of a dead group from those without a primary', async () => {
    const client = await connect({ requestTimeoutMs: 300 });
    group.intercept = (_, m) => (m.type === 'register' ? null : undefined);
    await expect(client.submit(mkdir('/a'))).rejects.toBeInstanceOf(TimedOut);
    await group.stop();
    await expect(client.submit(mkdir('/a'))).rejects.toBeInstanceOf(NotReachable);
  });

  it('says that the group is busy and why, whether it refuses requests or the session', async () => {
    const of = (m: { readonly type: string }): { session: number; slot: number; seq: number } | null => {
      if (m.type === 'register') return { session: 0, slot: 0, seq: 0 };
      return m.type === 'request' ? m as Request : null;
    };
    for (const type of ['register', 'request']) {
      const client = await connect({ requestTimeoutMs: 300 });
      group.intercept = (_, m) => {
        const which = m.type === type ? of(m) : null;
        return which === null ? undefined : { type: 'reject', code: 'busy', reason: 'the log is long', retryAfterMs: 20, id: 0, session: sessionId(which.session), slot: which.slot, seq: which.seq };
      };
      const error: unknown = await client.submit(mkdir('/a')).then(() => null, (e: unknown) => e);
      expect(error).toBeInstanceOf(Busy);
      expect(error).toMatchObject({ mayHaveHappened: false, retryAfterMs: 20, message: expect.stringContaining('busy, retry after 20 ms: the log is long') as string });
    }
  });

  it('says when the outcome is not known', async () => {
    const client = await connect({ requestTimeoutMs: 300 });
    await client.submit(mkdir('/a'));
    group.intercept = (_, m) => (m.type === 'request' ? null : undefined);
    await expect(client.submit(mkdir('/b'))).rejects.toBeInstanceOf(OutcomeUnknown);
  });

  it('fails what is outstanding when it is closed', async () => {
    const client = await connect();
    group.intercept = () => null;
    const waiting = client.submit(mkdir('/a'));
    await client.close();
    await expect(waiting).rejects.toBeInstanceOf(Closed);
    await expect(client.submit(mkdir('/b'))).rejects.toBeInstanceOf(Closed);
  });

  it('passes on why a call is refused', async () => {
    const client = await connect();
    group.intercept = (_, m) => (m.type === 'request'
      ? { type: 'reject', code: 'invalid', reason: 'not like this', retryAfterMs: 0, session: m.session, slot: m.slot, seq: m.seq, id: 0 }
      : undefined);
    await expect(client.submit(mkdir('/a'))).rejects.toThrow(InvalidCall);
    await expect(client.submit(mkdir('/b'))).rejects.toThrow('not like this');
  });

  it('survives a server that speaks something else', async () => {
    const { createServer } = await import('node:net');
    const web = createServer((s) => s.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => { web.listen(0, '127.0.0.1', resolve); });
    const address = web.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const failed = await connect({ servers: [`127.0.0.1:${port}`], connectTimeoutMs: 200 }).then(() => null, (e: unknown) => e);
    expect(String(failed)).toContain('is the other side speaking this protocol?');
    const client = await connect({ servers: [`127.0.0.1:${port}`, ...group.servers] });
    expect((await client.submit(mkdir('/a'))).ok).toBe(true);
    await new Promise<void>((resolve) => { web.close(() => { resolve(); }); });
  });

  it.each(['5000', NaN, -1, null])('refuses a time-out of %j', (ms) => {
    const wrong = ms as number;
    const open = (more: object): VrfsClient => VrfsClient.open({ servers: group.servers, ...more });
    for (const name of ['requestTimeoutMs', 'connectTimeoutMs']) expect(() => open({ [name]: wrong })).toThrow(`${name} is ${typeof wrong === 'string' ? "'5000'" : String(wrong)}: it is a number of milliseconds`);
  });

  it.each(['5000', NaN])('refuses a time-out of a verified stat of %j', async (timeoutMs) => {
    await expect(verifiedStat(group.configuration, '/', { credentials, timeoutMs: timeoutMs as number })).rejects.toThrow(/timeoutMs is .*: it is a number of milliseconds/);
  });

  it.each(['5', NaN, -1])('refuses to wait %j ms for a state', async (behindMs) => {
    const client = await connect();
    await expect(client.query({ credentials, operation: { type: 'statfs' } }, { behindMs: behindMs as number })).rejects.toThrow(/behindMs is .*: it is a number of milliseconds from 0 on/);
  });

  it('refuses servers that are no addresses', async () => {
    await expect(VrfsClient.connect({ servers: [] })).rejects.toThrow('at least one');
    await expect(VrfsClient.connect({ servers: ['a:1'], readFrom: 'nowhere' })).rejects.toThrow(/readFrom: .*write host:port/);
    await expect(VrfsClient.connect({ servers: ['localhost'] })).rejects.toThrow('"localhost" is not an address: write host:port');
  });
});

describe('open files', () => {
  it('are told to the group with the session, when asked, and counted', async () => {
    const client = await connect({ holdsOpens: true });
    await until(() => group.keepAlives.length === 1);
    expect(group.registrations[0]?.flags).toBe(1);
    client.openFiles.open(ino(5));
    client.openFiles.open(ino(5));
    client.openFiles.open(ino(9));
    client.openFiles.release(ino(5));
    client.confirmOpenFiles();
    await until(() => group.keepAlives.length === 2);
    const call = decodeCall(group.keepAlives[1]?.body ?? Buffer.alloc(0));
    expect(call).toMatchObject({ ok: true, value: { operation: { type: 'keepAlive', open: [5, 9] } } });
    expect(() => { client.openFiles.release(ino(77)); }).toThrow('was not open');
    expect(() => { client.openFiles.unreserve(); }).toThrow('no place is reserved');
  });

  it('keep an unlinked file until it is released', async () => {
    const client = await connect({ holdsOpens: true });
    await until(() => group.keepAlives.length === 1);
    const made = await client.submit({ credentials, operation: { type: 'create', at: at('/f'), mode: 0o644, exclusive: true, truncate: false } });
    if (!made.ok) throw new Error('not made');
    const file = made.value.attributes.ino;
    client.openFiles.open(file);
    await client.submit({ credentials, operation: { type: 'write', at: { dir: file, path: Buffer.alloc(0) }, offset: 0, data: Buffer.from('kept') } });
    await client.submit({ credentials, operation: { type: 'unlink', at: at('/f') } });
    client.confirmOpenFiles();
    await until(() => group.keepAlives.length === 2);
    const read = await client.query({ credentials, operation: { type: 'read', at: { dir: file, path: Buffer.alloc(0) }, offset: 0, length: 10 } });
    expect(read).toMatchObject({ ok: true, value: { data: Buffer.from('kept') } });
    client.openFiles.release(file);
    client.confirmOpenFiles();
    await until(() => group.keepAlives.length === 3);
    await until(() => client.outstanding === 0);
    const gone = await client.query({ credentials, operation: { type: 'statfs' } });
    expect(gone).toMatchObject({ ok: true, value: { orphans: 0 } });
  });

  it.each(['connect', 'open'] as const)('are told also when the first registrations were lost or put off, and nothing else is asked for (%s)', async (how) => {
    let registers = 0;
    group.intercept = (_, message) => {
      if (message.type !== 'register' || ++registers > 4) return undefined;
      if (registers < 3) return null;
      return { type: 'reject', code: 'busy', reason: 'not now', retryAfterMs: 20, session: sessionId(0), slot: 0, seq: 0, id: 0 };
    };
    clients.push(await VrfsClient[how]({ servers: group.servers, holdsOpens: true }));
    await until(() => group.keepAlives.length === 1);
    expect(registers).toBeGreaterThan(4);
  });
});
