/** Over a real socket: what injection cannot show. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { request } from 'undici';
import { Prng } from '../../../lib/prng.ts';
import { ROOT_INO } from '../../../fsservice/operations.ts';
import type { JsonAttributes, JsonEntry } from '../../../server/http/json_views.ts';
import type { ProblemDetails } from '../../../server/http/problem.ts';
import { startHttp, type HttpServer } from '../../../server/http/server.ts';
import type { HttpLimits } from '../../../server/http/ports.ts';
import { FakeClient, FakeLog, FakeReplica } from './support.ts';

const MIB = 1 << 20;
let client: FakeClient;
let log: FakeLog;
let http: HttpServer;

async function start(limits: Partial<HttpLimits> = {}): Promise<void> {
  client = new FakeClient();
  log = new FakeLog();
  http = await startHttp({ running: new FakeReplica(), client, host: '127.0.0.1', port: 0, log, limits });
}
beforeEach(async () => {
  await start();
});
afterEach(async () => {
  await http.close();
});

type Options = Parameters<typeof request>[1];
const send = async (method: 'GET' | 'PUT' | 'PATCH' | 'DELETE', path: string, options: Options = {}) => await request(`http://${http.address}${path}`, { method, ...options });
const problemIn = async (response: { readonly body: { json(): Promise<unknown> } }): Promise<ProblemDetails> => (await response.body.json()) as ProblemDetails;
const names = async (): Promise<unknown[]> => ((await (await send('GET', '/v1/fs/')).body.json()) as { entries: JsonEntry[] }).entries.map((e) => e.name);
/** What goes out over a socket as it is, and all that comes back until it closes. */
async function raw(text: string): Promise<string> {
  const [host = '', port = ''] = http.address.split(':');
  return await new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(Number(port), host, () => socket.write(text, 'latin1'));
    socket.on('data', (data) => (answer += data.toString('latin1')));
    socket.on('close', () => { resolve(answer); });
    socket.on('error', reject);
  });
}

describe('long files', () => {
  const content = new Prng(7).bytes(5 * MIB + 12345);

  test('go in and out whole, in bounded steps', async () => {
    const put = await send('PUT', '/v1/fs/long?mode=0640', { body: content });
    expect(put.statusCode).toBe(201);
    expect((await put.body.json()) as JsonAttributes).toMatchObject({ size: content.length, mode: '0640' });
    for (const { operation } of client.calls) {
      if (operation.type === 'write') expect(operation.data.length).toBeLessThanOrEqual(MIB);
    }
    expect(await names()).toEqual(['long']);
    const got = await send('GET', '/v1/fs/long');
    expect(got.headers['content-length']).toBe(String(content.length));
    expect(Buffer.from(await got.body.arrayBuffer()).equals(content)).toBe(true);
    const part = await send('GET', '/v1/fs/long', { headers: { range: `bytes=${MIB - 5}-${3 * MIB + 4}` } });
    expect(part.statusCode).toBe(206);
    expect(Buffer.from(await part.body.arrayBuffer()).equals(content.subarray(MIB - 5, 3 * MIB + 5))).toBe(true);
  });

  test('of unknown length too', async () => {
    const chunks = Array.from({ length: 40 }, (_, i) => content.subarray(i * 70_000, (i + 1) * 70_000));
    const put = await send('PUT', '/v1/fs/chunked', { body: Readable.from(chunks) });
    expect(put.statusCode).toBe(201);
    await put.body.dump();
    const got = await send('GET', '/v1/fs/chunked');
    expect(Buffer.from(await got.body.arrayBuffer()).equals(content.subarray(0, 40 * 70_000))).toBe(true);
  });

  test('replace an existing file with its mode and owner, through symbolic links', async () => {
    await (await send('PUT', '/v1/fs/d/f?parents=true', { body: 'small' })).body.dump();
    client.do({ type: 'setattr', at: { dir: ROOT_INO, path: Buffer.from('d/f') }, follow: true, set: { uid: 5, gid: 6, mode: 0o604 } });
    client.do({ type: 'symlink', at: { dir: ROOT_INO, path: Buffer.from('s') }, target: Buffer.from('/d/t') });
    client.do({ type: 'symlink', at: { dir: ROOT_INO, path: Buffer.from('d/t') }, target: Buffer.from('../d/f') });
    const put = await send('PUT', '/v1/fs/s', { body: content });
    expect(put.statusCode).toBe(200);
    expect((await put.body.json()) as JsonAttributes).toMatchObject({ uid: 5, gid: 6, mode: '0604', size: content.length });
    expect((await (await send('GET', '/v1/stat/s?follow=false')).body.json()) as JsonAttributes).toMatchObject({ type: 'symlink' });
    expect((await (await send('GET', '/v1/stat/d/f')).body.json()) as JsonAttributes).toMatchObject({ size: content.length });
  });

  test('keep the extended attributes of what they replace, which is a regular file', async () => {
    await (await send('PUT', '/v1/fs/a', { body: 'short' })).body.dump();
    await (await send('PUT', '/v1/xattr/a?name=user.team', { body: 'storage' })).body.dump();
    await (await send('PUT', '/v1/xattr/a?name=security.capability', { body: 'may what the old content may' })).body.dump();
    const put = await send('PUT', '/v1/fs/a', { body: content });
    expect(put.statusCode).toBe(200);
    await put.body.dump();
    expect(await (await send('GET', '/v1/xattr/a?name=user.team')).body.text()).toBe('storage');
    const capability = await send('GET', '/v1/xattr/a?name=security.capability');
    expect(capability.statusCode).toBe(404);
    await capability.body.dump();

    await (await send('PUT', '/v1/fs/pipe?type=fifo')).body.dump();
    const refused = await send('PUT', '/v1/fs/pipe', { body: content });
    expect(refused.statusCode).toBe(400);
    await refused.body.dump();
    expect((await (await send('GET', '/v1/stat/pipe')).body.json()) as JsonAttributes).toMatchObject({ type: 'fifo' });
  });

  test('do not let through what writing in place would not', async () => {
    client.do({ type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from('d') }, mode: 0o777 });
    await (await send('PUT', '/v1/fs/d/f', { body: 'mine' })).body.dump();
    const put = await send('PUT', '/v1/fs/d/f', { body: content, headers: { 'x-vrfs-uid': '5' } });
    expect((await problemIn(put)).errno).toBe('EACCES');
    const directory = await send('PUT', '/v1/fs/d', { body: content });
    expect((await problemIn(directory)).errno).toBe('EISDIR');
    const other = await send('PUT', '/v1/fs/d/own?mode=0444', { body: content, headers: { 'x-vrfs-uid': '5' } });
    expect((await other.body.json()) as JsonAttributes).toMatchObject({ uid: 5, mode: '0444' });
  });

  test('go to the longest path too', async () => {
    const path = `${Array.from({ length: 16 }, () => 'n'.repeat(255)).join('/')}`.replace('/', '//');
    expect(path.length).toBe(4096);
    const put = await send('PUT', `/v1/fs/${path}?parents=true`, { body: content });
    expect([put.statusCode, ((await put.body.json()) as JsonAttributes).size]).toEqual([201, content.length]);
  });

  test('keep owner and group for their owner, and are refused to whoever else may write', async () => {
    client.do({ type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from('d') }, mode: 0o777 });
    await (await send('PUT', '/v1/fs/d/f', { body: 'old' })).body.dump();
    client.do({ type: 'setattr', at: { dir: ROOT_INO, path: Buffer.from('d/f') }, follow: true, set: { uid: 5, gid: 50, mode: 0o666 } });
    const own = await send('PUT', '/v1/fs/d/f', { body: content, headers: { 'x-vrfs-uid': '5', 'x-vrfs-gid': '5', 'x-vrfs-groups': '50' } });
    expect((await own.body.json()) as JsonAttributes).toMatchObject({ uid: 5, gid: 50, mode: '0666', size: content.length });
    const stranger = await send('PUT', '/v1/fs/d/f', { body: content.subarray(1), headers: { 'x-vrfs-uid': '7' } });
    expect(await problemIn(stranger)).toMatchObject({ status: 403, errno: 'EPERM', detail: expect.stringContaining('put /d/f') as string });
    expect((await (await send('GET', '/v1/stat/d/f')).body.json()) as JsonAttributes).toMatchObject({ uid: 5, size: content.length });
    expect(client.calls.filter(({ credentials, operation }) => credentials.uid === 7 && operation.type === 'write')).toEqual([]);
  });

  test('conditions', async () => {
    const only = { 'if-none-match': '*' };
    expect((await send('PUT', '/v1/fs/once', { body: content, headers: only })).statusCode).toBe(201);
    const again = await send('PUT', '/v1/fs/once', { body: content, headers: only });
    expect([again.statusCode, (await problemIn(again)).errno]).toEqual([412, 'EEXIST']);
    const match = await send('PUT', '/v1/fs/once', { body: content, headers: { 'if-match': '"5"' } });
    expect((await problemIn(match)).status).toBe(413);
    // Someone makes it while it is being uploaded.
    client.before = (call) => {
      if (call.operation.type === 'rename') client.do({ type: 'create', at: { dir: ROOT_INO, path: Buffer.from('raced') }, mode: 0o644, exclusive: true, truncate: false });
    };
    const raced = await send('PUT', '/v1/fs/raced', { body: content, headers: only });
    expect((await problemIn(raced)).status).toBe(412);
    client.before = null;
    expect(await names()).toEqual(['once', 'raced']);
  });

  test('leave nothing behind when they fail', async () => {
    client.before = (call) => {
      if (call.operation.type === 'write' && Number(call.operation.offset) > 2 * MIB) throw new Error('broken');
    };
    const put = await send('PUT', '/v1/fs/broken', { body: content });
    expect((await problemIn(put)).status).toBe(500);
    expect(await names()).toEqual([]);
  });

  test('leave nothing behind when the sender goes', async () => {
    let gone: () => void = () => undefined;
    const discarded = new Promise<void>((resolve) => (gone = resolve));
    client.before = (call) => {
      if (call.operation.type === 'unlink') gone();
    };
    const [host = '', port = ''] = http.address.split(':');
    const socket = connect(Number(port), host, () => {
      socket.write('PUT /v1/fs/half HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4000000\r\n\r\n');
      socket.write(content.subarray(0, 2_000_000), () => { socket.destroy(); });
    });
    await discarded;
    client.before = null;
    expect(await names()).toEqual([]);
  });

  test('say so when not even the rest can be removed', async () => {
    client.before = (call) => {
      if (call.operation.type === 'write' || call.operation.type === 'unlink') throw new Error('broken');
    };
    await (await send('PUT', '/v1/fs/broken', { body: content })).body.dump();
    expect(log.lines).toContainEqual(expect.objectContaining({ level: 'warn', message: expect.stringContaining('remove it by hand') as string }));
  });

  test('are cut off, rather than mixed, when they change while they are read', async () => {
    await (await send('PUT', '/v1/fs/long', { body: content })).body.dump();
    let reads = 0;
    client.before = (call) => {
      if (call.operation.type === 'read' && ++reads === 3) client.do({ type: 'write', at: call.operation.at, offset: 0, data: Buffer.from('x') });
    };
    const got = await send('GET', '/v1/fs/long');
    await expect(got.body.arrayBuffer()).rejects.toThrow();
    expect(log.lines).toContainEqual(expect.objectContaining({ level: 'warn', message: 'a long read was broken off' }));
  });

  test('PATCH in steps', async () => {
    await (await send('PUT', '/v1/fs/p', { body: '0123456789' })).body.dump();
    const patched = await send('PATCH', '/v1/fs/p?offset=5', { body: content });
    expect((await patched.body.json()) as JsonAttributes).toMatchObject({ size: content.length + 5 });
    const got = Buffer.from(await (await send('GET', '/v1/fs/p')).body.arrayBuffer());
    expect(got.equals(Buffer.concat([Buffer.from('01234'), content]))).toBe(true);
    const appended = await send('PATCH', '/v1/fs/p?offset=end', { body: content });
    expect((await appended.body.json()) as JsonAttributes).toMatchObject({ size: 2 * content.length + 5 });
    const whole = Buffer.from(await (await send('GET', '/v1/fs/p')).body.arrayBuffer());
    expect(whole.equals(Buffer.concat([Buffer.from('01234'), content, content]))).toBe(true);
  });
});

/** Of one kind, as the metrics have it. */
async function held(of: 'reads' | 'bodies'): Promise<number> {
  const text = await (await send('GET', '/metrics')).body.text();
  return Number(new RegExp(`^vrfs_http_held_bytes\\{of="${of}"\\} (\\d+)`, 'm').exec(text)?.[1]);
}
/** Each round is an HTTP request, so the loop yields by itself. */
async function eventually(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition()));
}

describe('readers that do not read', () => {
  const LONG = 32 * MIB;
  let sockets: Socket[];
  /** Asks for the long file, and takes nothing of it. */
  function reader(requests = 1): Socket {
    const [host = '', port = ''] = http.address.split(':');
    const socket = connect(Number(port), host, () => socket.write(`GET /v1/fs/long HTTP/1.1\r\nhost: ${http.address}\r\n\r\n`.repeat(requests)));
    socket.pause();
    sockets.push(socket);
    return socket;
  }
  async function startWith(limits: Partial<HttpLimits>): Promise<void> {
    await http.close();
    await start(limits);
    sockets = [];
    client.do({ type: 'putFile', at: { dir: ROOT_INO, path: Buffer.from('long') }, mode: 0o644, data: Buffer.alloc(MIB, 1), ifVersion: null });
    for (let i = 1; i < LONG / MIB; i++) client.do({ type: 'write', at: { dir: ROOT_INO, path: Buffer.from('long') }, offset: 'end', data: Buffer.alloc(MIB, i + 1) });
    client.do({ type: 'putFile', at: { dir: ROOT_INO, path: Buffer.from('short') }, mode: 0o644, data: Buffer.from('short'), ifVersion: null });
  }
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
  });
  const long = async (): Promise<number> => {
    const got = await send('GET', '/v1/fs/long', { headers: { range: `bytes=0-${MIB - 1}` } });
    await got.body.dump();
    return got.statusCode;
  };

  test('hold no more together than there is room for, and keep out nothing that is small; their room is free when they have gone', async () => {
    await startWith({ readBytes: 3 * MIB, roomWaitMs: 1 });
    for (let i = 0; i < 6; i++) reader(20);
    // The kernel takes the first of it.
    await eventually(async () => (await long()) === 503);
    const refused = await send('GET', '/v1/fs/long');
    expect(refused.headers['retry-after']).toBe('1');
    expect(await problemIn(refused)).toMatchObject({ status: 503, detail: expect.stringContaining('3145728 bytes') as string });
    for (const path of ['/v1/fs/short', '/v1/stat/long', '/v1/fs/', '/v1/health', '/v1/status', '/metrics']) {
      const got = await send('GET', path);
      await got.body.dump();
      expect([path, got.statusCode]).toEqual([path, 200]);
    }
    expect(await held('reads')).toBe(3 * MIB);
    for (const socket of sockets) socket.destroy();
    await eventually(async () => (await long()) === 206);
    await eventually(async () => (await held('reads')) === 0);
  });

  test('are cut off when others want to read', async () => {
    await startWith({ readBytes: MIB, stallMs: 1 });
    const still = reader();
    const ended = new Promise((resolve) => still.once('close', resolve));
    still.on('error', () => undefined);
    const cutOff = (): boolean => log.lines.some(({ level, message }) => level === 'warn' && message.includes('stood still'));
    // As long as the other one moves, which of the two stands still is a matter of a millisecond.
    await eventually(async () => (await long().catch(() => 0)) === 206 && cutOff());
    still.resume();
    await ended;
    await eventually(async () => (await held('reads')) === 0);
  });

  test('are waited for by nobody else: many share what one piece needs', async () => {
    await startWith({ readBytes: MIB });
    const got = await Promise.all(Array.from({ length: 5 }, async () => Buffer.from(await (await send('GET', '/v1/fs/long')).body.arrayBuffer())));
    for (const bytes of got) expect([bytes.length, bytes[0], bytes.at(-1)]).toEqual([LONG, 1, 32]);
    await eventually(async () => (await held('reads')) === 0);
  });
});

describe('bodies', () => {
  let sockets: Socket[];
  beforeEach(() => { sockets = []; });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
  });
  async function startWith(limits: Partial<HttpLimits>): Promise<void> {
    await http.close();
    await start(limits);
  }
  /** Begins to send, and stops. Resolves when room is held for it. */
  async function halfSent(headers = `content-length: ${MIB}`): Promise<Socket> {
    const before = await held('bodies');
    const [host = '', port = ''] = http.address.split(':');
    const socket = connect(Number(port), host, () => socket.write(`PUT /v1/fs/half HTTP/1.1\r\nhost: ${http.address}\r\n${headers}\r\n\r\n${headers.startsWith('content') ? '' : '4000\r\n'}${'x'.repeat(1000)}`));
    socket.on('error', () => undefined);
    sockets.push(socket);
    await eventually(async () => (await held('bodies')) > before);
    return socket;
  }
  const put = async (bytes: number) => await send('PUT', '/v1/fs/f', { body: Buffer.alloc(bytes) });
  const status = async (bytes: number): Promise<number> => {
    const response = await put(bytes);
    await response.body.dump();
    return response.statusCode;
  };
  const noneIsHeld = async (): Promise<void> => { await eventually(async () => (await held('bodies')) === 0); };

  test.each([`content-length: ${MIB}`, `content-length: ${50 * MIB}`, 'transfer-encoding: chunked'])('hold no more together than there is room for, and keep out nothing that is small: %s', async (headers) => {
    await startWith({ bodyBytes: 4 * MIB, roomWaitMs: 1 });
    const still = [await halfSent(headers), await halfSent(headers)];
    const refused = await put(MIB);
    expect(refused.headers['retry-after']).toBe('1');
    expect(await problemIn(refused)).toMatchObject({ status: 503, detail: expect.stringContaining('4194304 bytes') as string });
    expect([await status(1000), (await send('GET', '/v1/fs/f')).statusCode, (await send('GET', '/v1/health')).statusCode]).toEqual([201, 200, 200]);
    for (const socket of still) socket.destroy();
    await eventually(async () => (await status(MIB)) === 200);
    await noneIsHeld();
  });

  test('that do not go on are cut off when others want to send', async () => {
    await startWith({ bodyBytes: 2 * MIB, stallMs: 1 });
    const still = await halfSent();
    const ended = new Promise((resolve) => still.once('close', resolve));
    expect(await status(MIB)).toBe(201);
    await ended;
    await noneIsHeld();
  });

  test('give their room back, however the request ends', async () => {
    await startWith({ fileBytes: 2 * MIB });
    const big = Buffer.alloc(MIB);
    const requests: [string, Options, number][] = [
      ['/v1/fs/f', { body: big }, 201],
      ['/v1/fs/f', { body: Buffer.alloc(2 * MIB) }, 200],
      ['/v1/fs/f', { body: Buffer.alloc(2 * MIB + 1) }, 413],
      ['/v1/fs/f', { body: Readable.from(Array.from({ length: 48 }, () => Buffer.alloc(64 << 10))) }, 413],
      ['/v1/fs/none/f', { body: big }, 404],
      ['/v1/fs/f?unknown', { body: big }, 400],
      ['/v1/fs/f', { body: big, headers: { 'if-match': '"1000"' } }, 412],
      ['/v1/fs/d?type=directory', { body: big }, 400],
      ['/v1/none', { body: big }, 404],
      ['/v1/xattr/f?name=user.x', { body: Buffer.alloc(60_000) }, 204],
      ['/v1/xattr/f?name=user.x', { body: Buffer.alloc(70_000) }, 413],
    ];
    for (const [path, options, expected] of requests) {
      const response = await send('PUT', path, options);
      await response.body.dump();
      expect([path, response.statusCode]).toEqual([path, expected]);
      await noneIsHeld();
    }
    client.before = () => { throw new Error('broken'); };
    expect(await status(MIB)).toBe(500);
    await noneIsHeld();
  });

  test('are held until the group has answered, also when the sender goes away meanwhile', async () => {
    let release: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      client.before = async () => {
        resolve();
        await new Promise<void>((go) => (release = go));
      };
    });
    const socket = await halfSent();
    socket.write('x'.repeat(MIB - 1000));
    await arrived;
    socket.destroy();
    // What has happened to a connection before another request was sent is known when that is answered.
    for (let i = 0; i < 2; i++) expect(await held('bodies')).toBe(2 * MIB);
    release();
    await noneIsHeld();
  });
});

describe("a user's tree that is removed", () => {
  const FILES = 40;
  const headers = { host: '127.0.0.1', 'x-vrfs-uid': '1000' };
  const grow = async (): Promise<void> => {
    for (let i = 0; i < FILES; i++) await (await send('PUT', `/v1/fs/top/f${i}?parents=true`, { body: 'x' })).body.dump();
    for (const path of ['', 'top']) await (await send('PATCH', `/v1/stat/${path}`, { body: '{"mode": "0777"}', headers: { 'content-type': 'application/json' } })).body.dump();
  };

  test('may take longer than a connection may be idle', async () => {
    await http.close();
    await start({ idleMs: 100 });
    await grow();
    let waiting: Promise<string> | undefined;
    client.before = async (call) => {
      // Until a connection that was idle from now on has been closed for that.
      if (call.operation.type === 'unlink') await (waiting ??= raw(''));
    };
    expect((await send('DELETE', '/v1/fs/top?recursive=true', { headers })).statusCode).toBe(204);
    expect(waiting).toBeDefined();
    expect(await names()).toEqual([]);
  });

  test('is left as it is when the client goes', async () => {
    await grow();
    const [host = '', port = ''] = http.address.split(':');
    const socket = connect(Number(port), host, () => socket.write('DELETE /v1/fs/top?recursive=true HTTP/1.1\r\nhost: 127.0.0.1\r\nx-vrfs-uid: 1000\r\n\r\n'));
    const gone = new Promise((resolve) => socket.on('close', resolve));
    let asked = 0;
    client.before = async (call) => {
      if (call.operation.type !== 'unlink') return;
      asked++;
      socket.end();
      await gone;
    };
    await gone;
    // Turns in which all the others would have been asked for.
    for (let i = 0; i < 10 * FILES; i++) await new Promise((resolve) => setImmediate(resolve));
    client.before = null;
    expect(asked).toBeGreaterThan(0);
    const left = (await (await send('GET', '/v1/fs/top')).body.json()) as { entries: JsonEntry[] };
    expect(left.entries).toHaveLength(FILES - asked);
    expect(asked).toBeLessThan(FILES);
  });
});

describe('limits', () => {
  test('length of a body, announced or not', async () => {
    await http.close();
    await start({ fileBytes: 2 * MIB });
    const announced = await send('PUT', '/v1/fs/a', { body: Buffer.alloc(2 * MIB + 1) });
    expect(await problemIn(announced)).toMatchObject({ status: 413, detail: expect.stringContaining('2097152') as string });
    const chunked = await send('PUT', '/v1/fs/a', { body: Readable.from(Array.from({ length: 48 }, () => Buffer.alloc(64 << 10))) });
    expect((await problemIn(chunked)).status).toBe(413);
    expect(await names()).toEqual([]);
  });
  test('the longest path, every byte escaped', async () => {
    const path = Buffer.alloc(4095, 0xff);
    for (let i = 200; i < path.length; i += 200) path[i] = 0x2f;
    const url = `/v1/fs/${[...path].map((b) => (b === 0x2f ? '/' : '%FF')).join('')}`;
    const put = await send('PUT', `${url}?parents=true`, { body: 'deep' });
    expect(put.statusCode).toBe(201);
    await put.body.dump();
    expect(await (await send('GET', url)).body.text()).toBe('deep');
  });
  test('headers', async () => {
    const answer = await raw(`GET /v1/health HTTP/1.1\r\nhost: x\r\nx-long: ${'a'.repeat(40_000)}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 431 /);
    expect(answer).toContain('application/problem+json');
  });
  test('an answer to a request whose long body nobody wants is the last of its connection', async () => {
    const put = await send('PUT', '/v1/fs/gone', { body: 'x' });
    await put.body.dump();
    const chunk = `${(2 * MIB).toString(16)}\r\n${'a'.repeat(2 * MIB)}\r\n`;
    const answer = await raw(`DELETE /v1/fs/gone HTTP/1.1\r\nhost: ${http.address}\r\ntransfer-encoding: chunked\r\n\r\n${chunk}`);
    expect(answer).toMatch(/^HTTP\/1.1 204 /);
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
  });
  test('bytes that are no request, behind one that is being answered, end the connection and are not answered in the midst of that', async () => {
    /** What comes back when they are sent with the first bytes of the answer. */
    const after = async (path: string): Promise<string> => {
      const [host = '', port = ''] = http.address.split(':');
      const socket = connect(Number(port), host, () => socket.write(`GET ${path} HTTP/1.1\r\nhost: ${http.address}\r\n\r\n`));
      let received = '';
      socket.once('data', () => { socket.write('no request\r\n\r\n'); });
      socket.on('data', (data) => { received += data.toString('latin1'); });
      socket.on('error', () => undefined);
      await once(socket, 'close');
      return received;
    };
    const put = await send('PUT', '/v1/fs/big', { body: Buffer.alloc(24 * MIB, 'a') });
    await put.body.dump();
    expect((await after('/v1/fs/big')).match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200']);
    expect((await after('/v1/health')).match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400']);
  });
  test('headers, however many: none is passed over', async () => {
    client.do({ type: 'putFile', at: { dir: ROOT_INO, path: Buffer.from('secret') }, mode: 0o600, data: Buffer.from('of root'), ifVersion: null });
    const filler = Array.from({ length: 2500 }, (_, i) => `f${i}:\r\n`).join('');
    const got = await raw(`GET /v1/fs/secret HTTP/1.1\r\nhost: ${http.address}\r\nconnection: close\r\n${filler}x-vrfs-uid: 1000\r\n\r\n`);
    expect(got).toMatch(/^HTTP\/1.1 403 /);
    const put = await raw(`PUT /v1/fs/secret HTTP/1.1\r\nhost: ${http.address}\r\nconnection: close\r\ncontent-length: 1\r\n${filler}if-match: "1000"\r\n\r\nx`);
    expect(put).toMatch(/^HTTP\/1.1 412 /);
    expect(await raw(`GET /v1/fs/secret HTTP/1.1\r\nhost: ${http.address}\r\n${filler}${filler}${filler}x-vrfs-uid: 1000\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
  });
  test('a body that is announced and too long is refused before it is sent', async () => {
    await http.close();
    await start({ fileBytes: 2 * MIB });
    const expecting = (method: string, path: string, bytes: number, headers = ''): string => `${method} ${path} HTTP/1.1\r\nhost: ${http.address}\r\nexpect: 100-continue\r\ncontent-length: ${bytes}\r\n${headers}\r\n`;
    expect(await raw(expecting('PUT', '/v1/fs/a', 2 * MIB + 1))).toMatch(/^HTTP\/1.1 413 /);
    expect(await raw(expecting('PUT', '/v1/xattr/a?name=user.x', (64 << 10) + 1))).toMatch(/^HTTP\/1.1 413 /);
    expect(await raw(expecting('POST', '/v1/rename', (64 << 10) + 1, 'content-type: application/json\r\n'))).toMatch(/^HTTP\/1.1 413 /);
    expect(await raw(expecting('PATCH', '/v1/fs/a?offset=0', 1, 'if-match: "5"\r\n'))).toMatch(/^HTTP\/1.1 501 /);
    expect(await raw(`${expecting('PUT', '/v1/fs/a', 4, 'connection: close\r\n')}body`)).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 201 /);
    expect(await (await send('GET', '/v1/fs/a')).body.text()).toBe('body');
  });
  test('one host', async () => {
    const hosts = (...names: string[]): string => `GET /v1/health HTTP/1.1\r\n${names.map((name) => `${name}: ${http.address}\r\n`).join('')}connection: close\r\n\r\n`;
    expect(await raw(hosts('host'))).toMatch(/^HTTP\/1.1 200 /);
    expect(await raw(hosts('host', 'Host'))).toMatch(/^HTTP\/1.1 400 [^]*more than one Host/);
    expect(await raw(hosts())).toMatch(/^HTTP\/1.1 400 /);
  });
  test('not HTTP', async () => {
    const answer = await raw('\x16\x03\x01\x02\x00\x01\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain('HTTPS');
  });
  test('a URL in absolute form', async () => {
    await (await send('PUT', '/v1/fs/x', { body: 'content' })).body.dump();
    const absolute = async (host: string, path: string): Promise<string> => await raw(`GET http://${host}${path} HTTP/1.1\r\nhost: ${http.address}\r\nconnection: close\r\n\r\n`);
    expect(await absolute(http.address, '/v1/fs/x')).toMatch(/^HTTP\/1.1 200 [^]*content$/);
    expect(await absolute(http.address, '/v1/stat/x')).toMatch(/^HTTP\/1.1 200 /);
    expect(await absolute(http.address, '/v1/health')).toMatch(/^HTTP\/1.1 200 /);
    expect(await absolute('evil.example', '/v1/fs/x')).toMatch(/^HTTP\/1.1 421 /);
  });
  test('raw bytes in the URL', async () => {
    const answer = await raw('GET /v1/fs/\xffx HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain('Escape characters in the URL');
  });
});

describe('many at a time', () => {
  test('on one connection and on many', async () => {
    const puts = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
      const response = await send('PUT', `/v1/fs/n${i}`, { body: `content ${i}` });
      await response.body.dump();
      return response.statusCode;
    }));
    expect(new Set(puts)).toEqual(new Set([201]));
    const gets = await Promise.all(Array.from({ length: 200 }, async (_, i) => await (await send('GET', `/v1/fs/n${i}`)).body.text()));
    expect(gets).toEqual(Array.from({ length: 200 }, (_, i) => `content ${i}`));
  });
});

describe('requests that do not wait for the answers before them', () => {
  const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nhost: ${http.address}\r\n${headers}\r\n`;

  test('are answered one after the other, in order', async () => {
    let under = 0;
    let most = 0;
    client.before = async () => {
      most = Math.max(most, ++under);
      await new Promise((resolve) => { setImmediate(resolve); });
      under--;
    };
    for (let i = 0; i < 50; i++) client.do({ type: 'putFile', at: { dir: ROOT_INO, path: Buffer.from(`n${i}`) }, mode: 0o644, data: Buffer.from(`<${i}>`), ifVersion: null });
    const put = (i: number): string => `PUT /v1/fs/n${i} HTTP/1.1\r\nhost: ${http.address}\r\ncontent-length: 3\r\n\r\nnew`;
    const answer = await raw(Array.from({ length: 50 }, (_, i) => put(i) + get(`/v1/fs/n${i}`)).join('') + get('/v1/health/live', 'connection: close\r\n'));
    expect(answer.match(/HTTP\/1.1 \d+/g)).toEqual([...Array.from({ length: 50 }, () => ['HTTP/1.1 200', 'HTTP/1.1 200']).flat(), 'HTTP/1.1 200']);
    expect(answer.match(/new(?=HTTP)/g)).toHaveLength(50);
    expect(most).toBe(1);
  });

  test('are not gathered without bound: the connection ends', async () => {
    client.before = async () => { await new Promise(() => undefined); };
    expect(await raw(get('/v1/statfs').repeat(1000))).toBe('');
    expect(client.calls).toHaveLength(1);
  });

  test('are forgotten when the connection breaks off', async () => {
    let release: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      client.before = async () => {
        resolve();
        await new Promise<void>((go) => (release = go));
      };
    });
    const [host = '', port = ''] = http.address.split(':');
    const socket = connect(Number(port), host, () => socket.write(get('/v1/statfs').repeat(5)));
    await arrived;
    socket.destroy();
    // What has happened to a connection before another request was sent is known when that is answered.
    for (let i = 0; i < 2; i++) await (await send('GET', '/v1/health/live')).body.dump();
    client.before = null;
    release();
    await (await send('GET', '/v1/statfs')).body.dump();
    expect(client.calls).toHaveLength(2);
  });
});

describe('start and stop', () => {
  test('a port in use', async () => {
    const [, port = ''] = http.address.split(':');
    await expect(startHttp({ running: new FakeReplica(), client, host: '127.0.0.1', port: Number(port), log })).rejects.toThrow(/in use.*another port \(--http-listen\)/);
  });
  test('an address of another machine', async () => {
    await expect(startHttp({ running: new FakeReplica(), client, host: '203.0.113.1', port: 0, log })).rejects.toThrow(/^203\.0\.113\.1:0 is not an address of this machine: give one that is \(--http-listen\)$/);
  });
  test('close lets a request under way finish, and is idempotent', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let arrived: () => void = () => undefined;
    const under = new Promise<void>((resolve) => (arrived = resolve));
    client.before = async (call) => {
      if (call.operation.type !== 'statfs') return;
      arrived();
      await held;
    };
    const answer = send('GET', '/v1/statfs');
    await under;
    const closing = http.close();
    release();
    expect((await answer).statusCode).toBe(200);
    await closing;
    await http.close();
    await expect(send('GET', '/v1/statfs')).rejects.toThrow();
  });
  test('close does not wait for ever', async () => {
    await http.close();
    await start({ closeMs: 50 });
    let arrived: () => void = () => undefined;
    const under = new Promise<void>((resolve) => (arrived = resolve));
    client.before = async () => {
      arrived();
      await new Promise(() => undefined);
    };
    const answer = send('GET', '/v1/statfs').then(() => 'answered', () => 'cut off');
    await under;
    await http.close();
    expect(await answer).toBe('cut off');
  });
});
