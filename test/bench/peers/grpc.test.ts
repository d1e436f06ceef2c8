import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeCall, frame, GrpcConnection, Method } from './grpc.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const ECHO = new Method('/test.Echo/Echo');

describe('the bytes of a call', () => {
  it('frames', () => {
    expect(frame(6, 1, 0, hex('0102030405060708'))).toEqual(hex('000008 06 01 00000000 0102030405060708'));
    expect(encodeCall(3, hex('83'), Buffer.from('m'))).toEqual(hex('000001 01 04 00000003 83 000006 00 01 00000003 00 00000001 6d'));
  });
  it('headers: first by name and value, then by their places in the table', () => {
    const path = `04 0a ${Buffer.from('/a.B/Hello').toString('hex')}`;
    const method = new Method('/a.B/Hello');
    expect(method.first('h:1')).toEqual(hex(`83 86 ${path} 41 03 683a31 5f 10 ${Buffer.from('application/grpc').toString('hex')} 40 02 7465 08 ${Buffer.from('trailers').toString('hex')}`));
    expect(method.later).toEqual(hex(`83 86 ${path} c0 bf be`));
  });
});

/** Node's own implementation is the judge of ours. */
describe('against a server of node:http2', () => {
  let server: Http2Server | undefined;
  afterEach(() => { server?.close(); });

  async function connect(answer: (stream: ServerHttp2Stream, message: Buffer, headers: Record<string, unknown>) => void): Promise<GrpcConnection> {
    server = createServer();
    server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('data', (c: Buffer) => chunks.push(c));
      stream.on('end', () => { answer(stream, Buffer.concat(chunks), headers); });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
    return GrpcConnection.connect('127.0.0.1', address.port);
  }
  function call(c: GrpcConnection, message: Buffer): Promise<Buffer> {
    return new Promise((completed, failed) => { c.call(ECHO, message, { completed, failed }); });
  }
  function echo(stream: ServerHttp2Stream, message: Buffer): void {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => { stream.sendTrailers({ 'grpc-status': '0' }); });
    // The five bytes by themselves, as etcd sends them.
    stream.write(message.subarray(0, 5));
    stream.end(message.subarray(5));
  }

  it('the headers arrive, by the first call and by later ones', async () => {
    const seen: Record<string, unknown>[] = [];
    const c = await connect((stream, message, headers) => {
      seen.push({ ...headers });
      echo(stream, message);
    });
    for (const text of ['one', 'two', '']) expect((await call(c, Buffer.from(text))).toString()).toBe(text);
    for (const headers of seen) expect(headers).toMatchObject({ ':method': 'POST', ':path': ECHO.path, 'content-type': 'application/grpc', te: 'trailers' });
    expect(new Set(seen.map((h) => h[':authority'])).size).toBe(1);
    c.close();
  });

  it('many calls at once, more bytes than the window', async () => {
    const c = await connect(echo);
    const messages = Array.from({ length: 300 }, (_, i) => Buffer.alloc(i * 10, i));
    expect(await Promise.all(messages.map((m) => call(c, m)))).toEqual(messages);
    c.close();
  });

  it('a refused call fails with what the server says, others go on', async () => {
    const c = await connect((stream, message) => {
      if (message.length > 5) echo(stream, message);
      else stream.respond({ ':status': 200, 'grpc-status': '5' }, { endStream: true });
    });
    await expect(call(c, Buffer.alloc(0))).rejects.toThrow('refused');
    expect((await call(c, Buffer.from('x'))).toString()).toBe('x');
    c.close();
  });

  it('a reset call and a lost connection fail what waits', async () => {
    const c = await connect((stream, message) => {
      if (message.length > 5) stream.session?.destroy();
      else stream.close(8);
    });
    await expect(call(c, Buffer.alloc(0))).rejects.toThrow('code 8');
    await expect(call(c, Buffer.from('x'))).rejects.toThrow();
    await expect(call(c, Buffer.from('x'))).rejects.toThrow('closed');
  });
});
