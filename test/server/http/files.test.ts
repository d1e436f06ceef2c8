import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JsonAttributes, JsonEntry } from '../../../server/http/json_views.ts';
import type { Credentials } from '../../../fsservice/operations.ts';
import { as, openApi, problemOf, type Api } from './support.ts';

let api: Api;
beforeEach(async () => {
  api = await openApi();
});
afterEach(async () => {
  await api.close();
});

const ANN: Credentials = { uid: 1000, gid: 1000, groups: [] };
const put = async (path: string, payload: string | Buffer, headers: Record<string, string> = {}) => await api.request('PUT', `/v1/fs/${path}`, { payload, headers });

describe('PUT and GET of a file', () => {
  test('makes, reads, replaces', async () => {
    const made = await put('a', 'one', { 'content-type': 'application/json' });
    expect(made.statusCode).toBe(201);
    const attributes = made.json<JsonAttributes>();
    expect(attributes).toMatchObject({ type: 'file', mode: '0644', size: 3, uid: 0 });
    expect(made.headers.etag).toBe(`"${attributes.version}"`);
    expect(made.headers['x-vrfs-op']).toBe('1@0011223344556677');

    const read = await api.request('GET', '/v1/fs/a');
    expect(read.statusCode).toBe(200);
    expect(read.body).toBe('one');
    expect(read.headers).toMatchObject({ 'content-type': 'application/octet-stream', 'x-content-type-options': 'nosniff', 'accept-ranges': 'bytes', etag: made.headers.etag, 'x-vrfs-type': 'file' });
    expect(read.headers['last-modified']).toMatch(/GMT$/);

    const replaced = await put('a', 'three');
    expect(replaced.statusCode).toBe(200);
    expect(replaced.json<JsonAttributes>().ino).toBe(attributes.ino);
    expect((await api.request('GET', '/v1/fs/a')).body).toBe('three');
  });

  test('an empty file, with and without a Content-Type', async () => {
    expect((await api.request('PUT', '/v1/fs/e')).statusCode).toBe(201);
    expect((await put('f', '', { 'content-type': 'text/plain' })).statusCode).toBe(201);
    const read = await api.request('GET', '/v1/fs/e');
    expect([read.statusCode, read.body, read.headers['content-length']]).toEqual([200, '', '0']);
  });

  test('reading an empty file needs permission too', async () => {
    await api.request('PUT', '/v1/fs/e?mode=0600');
    expect(problemOf(await api.request('GET', '/v1/fs/e', { headers: as({ uid: 5, gid: 5, groups: [] }) })).errno).toBe('EACCES');
  });

  test('mode and parents', async () => {
    expect(problemOf(await put('x/y/f', '1')).errno).toBe('ENOENT');
    const made = await api.request('PUT', '/v1/fs/x/y/f?mode=600&parents', { payload: '1' });
    expect(made.json<JsonAttributes>().mode).toBe('0600');
    expect((await api.request('GET', '/v1/stat/x/y')).json<JsonAttributes>()).toMatchObject({ type: 'directory', mode: '0755' });
  });

  test('names that are not UTF-8 make the round trip', async () => {
    expect((await api.request('PUT', '/v1/fs/%FF%FE', { payload: 'raw' })).statusCode).toBe(201);
    expect((await api.request('GET', '/v1/fs/%ff%fe')).body).toBe('raw');
    const page = (await api.request('GET', '/v1/fs/')).json<{ entries: JsonEntry[] }>();
    expect(page.entries[0]?.name).toEqual({ base64: '//4=' });
  });

  test('as someone', async () => {
    await api.request('PUT', '/v1/fs/d?type=directory&mode=0777');
    const mine = await put('d/mine', 'x', as({ uid: 5, gid: 6, groups: [7] }));
    expect(mine.json<JsonAttributes>()).toMatchObject({ uid: 5, gid: 6 });
    expect(problemOf(await put('d/mine', 'y', as({ uid: 9, gid: 9, groups: [] })))).toMatchObject({ status: 403, errno: 'EACCES' });
    expect(problemOf(await api.request('GET', '/v1/fs/d/mine', { remoteAddress: '10.1.1.1' })).status).toBe(401);
  });
});

describe('ranges', () => {
  beforeEach(async () => {
    await put('r', '0123456789');
  });
  test('a part', async () => {
    const part = await api.request('GET', '/v1/fs/r', { headers: { range: 'bytes=2-4' } });
    expect([part.statusCode, part.body, part.headers['content-range'], part.headers['content-length']]).toEqual([206, '234', 'bytes 2-4/10', '3']);
    expect((await api.request('GET', '/v1/fs/r', { headers: { range: 'bytes=-2' } })).body).toBe('89');
  });
  test('none of it', async () => {
    const none = await api.request('GET', '/v1/fs/r', { headers: { range: 'bytes=10-' } });
    expect([none.statusCode, none.headers['content-range']]).toEqual([416, 'bytes */10']);
    expect(problemOf(none).detail).toContain('10 bytes');
  });
  test('If-Range of an older version gives all', async () => {
    const tag = String((await api.request('HEAD', '/v1/fs/r')).headers.etag);
    expect((await api.request('GET', '/v1/fs/r', { headers: { range: 'bytes=0-1', 'if-range': tag } })).statusCode).toBe(206);
    expect((await api.request('GET', '/v1/fs/r', { headers: { range: 'bytes=0-1', 'if-range': '"999"' } })).body).toBe('0123456789');
  });
});

describe('conditions', () => {
  test('If-None-Match: * only makes', async () => {
    expect((await put('c', '1', { 'if-none-match': '*' })).statusCode).toBe(201);
    expect(problemOf(await put('c', '2', { 'if-none-match': '*' }))).toMatchObject({ status: 412, errno: 'EEXIST' });
  });
  test('If-None-Match makes nothing through a symbolic link', async () => {
    await api.request('PUT', '/v1/fs/l?type=symlink', { payload: 'nowhere' });
    for (const content of ['1', Buffer.alloc(2 << 20)]) expect(problemOf(await put('l', content, { 'if-none-match': '*' }))).toMatchObject({ status: 412, errno: 'EEXIST' });
    expect(problemOf(await put('l', '1', { 'if-none-match': '"999"' }))).toMatchObject({ status: 412, errno: 'EEXIST' });
    expect(problemOf(await api.request('GET', '/v1/fs/nowhere')).status).toBe(404);
    expect((await put('l', '1')).statusCode).toBe(201);
    expect((await put('l', '2', { 'if-none-match': '"999"' })).statusCode).toBe(200);
  });
  test('If-Match is a compare-and-set', async () => {
    const first = String((await put('c', '1')).headers.etag);
    const second = await put('c', '2', { 'if-match': first });
    expect(second.statusCode).toBe(200);
    expect(problemOf(await put('c', '3', { 'if-match': first }))).toMatchObject({ status: 412, errno: 'EAGAIN' });
    expect((await put('c', '3', { 'if-match': `"999", ${String(second.headers.etag)}` })).statusCode).toBe(200);
    expect((await put('c', '4', { 'if-match': '*' })).statusCode).toBe(200);
    expect((await api.request('GET', '/v1/fs/c')).body).toBe('4');
  });
  test('If-Match where there is nothing', async () => {
    expect(problemOf(await put('none', '1', { 'if-match': '"5"' })).status).toBe(412);
    expect(problemOf(await put('none', '1', { 'if-match': '*' })).status).toBe(412);
    expect(problemOf(await put('none', '1', { 'if-match': '"0"' })).status).toBe(412);
    expect(problemOf(await api.request('GET', '/v1/fs/none')).status).toBe(404);
  });
  test('If-None-Match with tags', async () => {
    const tag = String((await put('c', '1', { 'if-none-match': '"3"' })).headers.etag);
    expect(problemOf(await put('c', '2', { 'if-none-match': tag })).status).toBe(412);
    expect((await put('c', '2', { 'if-none-match': '"999"' })).statusCode).toBe(200);
  });
  test('someone comes in between: tried again', async () => {
    await put('c', '1');
    let intruders = 2;
    api.client.before = (call) => {
      if (call.operation.type === 'putFile' && intruders-- > 0) api.client.do({ type: 'putFile', at: call.operation.at, mode: 0o644, data: Buffer.from('intruder'), ifVersion: null });
    };
    expect((await put('c', '2', { 'if-match': '*' })).statusCode).toBe(200);
    expect((await api.request('GET', '/v1/fs/c')).body).toBe('2');
  });
  test('someone always comes in between', async () => {
    await put('c', '1');
    api.client.before = (call) => {
      if (call.operation.type === 'putFile') api.client.do({ type: 'putFile', at: call.operation.at, mode: 0o644, data: Buffer.from('intruder'), ifVersion: null });
    };
    const response = await put('c', '2', { 'if-match': '*' });
    expect(problemOf(response).status).toBe(503);
    expect(response.headers['retry-after']).toBe('1');
  });
  test('GET and HEAD', async () => {
    const tag = String((await put('c', '1')).headers.etag);
    const unchanged = await api.request('GET', '/v1/fs/c', { headers: { 'if-none-match': `"1000", W/${tag}` } });
    expect([unchanged.statusCode, unchanged.body, unchanged.headers.etag]).toEqual([304, '', tag]);
    const since = String(unchanged.headers['last-modified']);
    expect((await api.request('GET', '/v1/fs/c', { headers: { 'if-modified-since': since } })).statusCode).toBe(304);
    expect((await api.request('GET', '/v1/fs/c', { headers: { 'if-modified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' } })).statusCode).toBe(200);
    expect((await api.request('GET', '/v1/fs/c', { headers: { 'if-unmodified-since': since } })).statusCode).toBe(200);
    expect((await api.request('HEAD', '/v1/fs/c', { headers: { 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' } })).statusCode).toBe(412);
    expect((await api.request('GET', '/v1/fs/c', { headers: { 'if-unmodified-since': 'no date' } })).statusCode).toBe(200);
    expect(problemOf(await api.request('GET', '/v1/fs/c', { headers: { 'if-match': '"1000"' } })).status).toBe(412);
    expect((await api.request('HEAD', '/v1/fs/c', { headers: { 'if-none-match': tag } })).statusCode).toBe(304);
  });
  describe('never passed over where they cannot be kept', () => {
    const conditions = [{ 'if-match': '"5"' }, { 'if-match': '*' }, { 'if-none-match': '*' }, { 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }];
    const changes = [
      ['DELETE', '/v1/fs/c'],
      ['DELETE', '/v1/fs/c?recursive=true'],
      ['PATCH', '/v1/fs/c?offset=0'],
      ['PUT', '/v1/fs/c?type=directory'],
      ['PUT', '/v1/fs/c?type=symlink'],
      ['PATCH', '/v1/stat/c', { mode: '0600' }],
      ['POST', '/v1/rename', { from: 'c', to: 'd' }],
      ['PUT', '/v1/xattr/c?name=user.a'],
      ['DELETE', '/v1/xattr/c?name=user.a'],
      ['POST', '/v1/checkpoints', {}],
      ['POST', '/v1/checkpoints/keep', { op: 40, seconds: 1 }],
      ['PUT', '/v1/checkpoints/interval', { ops: 500 }],
      ['POST', '/v1/scrub', {}],
    ] as const;
    test.each(changes)('%s %s', async (method, url, payload: object | string = '') => {
      await put('c', 'as it was');
      api.client.calls.length = 0;
      for (const headers of conditions) expect(problemOf(await api.request(method, url, { headers, payload })).status, JSON.stringify(headers)).toBe(501);
      expect([api.client.calls, api.replica.kept, api.replica.scrubs]).toEqual([[], [], []]);
    });
    test('a date for a file', async () => {
      const headers = { 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' };
      const tag = String((await put('c', '1')).headers.etag);
      expect(problemOf(await put('c', '2', headers)).status).toBe(501);
      expect(problemOf(await put('c', '2', { ...headers, 'if-none-match': '*' })).status).toBe(501);
      // If-Match is the more exact of the two, and alone counts where both are (RFC 9110).
      expect((await put('c', '2', { ...headers, 'if-match': tag })).statusCode).toBe(200);
    });
    test('an endpoint that there is not stays one', async () => {
      expect(problemOf(await api.request('PUT', '/v1/none', { headers: { 'if-match': '*' } })).status).toBe(404);
      expect(problemOf(await api.request('POST', '/v1/fs/c', { headers: { 'if-match': '*' } })).status).toBe(405);
    });
  });
  test('a content that is encoded is not taken for what it encodes', async () => {
    await put('c', 'as it was');
    for (const coding of ['gzip', 'BR', 'identity, gzip', 'zstd']) {
      const headers = { 'content-encoding': coding };
      const refused = await put('c', 'X', headers);
      expect(problemOf(refused)).toMatchObject({ status: 415, detail: `The request has the Content-Encoding '${coding}', and nothing is decoded here.`, remedy: 'Send the content itself, without Content-Encoding.' });
      expect(refused.headers['accept-encoding']).toBe('identity');
      expect(problemOf(await api.request('PATCH', '/v1/fs/c?offset=0', { headers, payload: 'X' })).status).toBe(415);
      expect(problemOf(await api.request('PUT', '/v1/xattr/c?name=user.a', { headers, payload: 'X' })).status).toBe(415);
      expect(problemOf(await api.request('POST', '/v1/rename', { headers, payload: '{"from":"c","to":"d"}' })).status).toBe(415);
    }
    expect((await api.request('GET', '/v1/fs/c')).body).toBe('as it was');
    expect((await put('c', 'new', { 'content-encoding': 'Identity' })).statusCode).toBe(200);
    expect((await api.request('GET', '/v1/fs/c', { headers: { 'content-encoding': 'gzip' } })).body).toBe('new');
  });
  test('a part is not taken for the whole', async () => {
    await put('c', 'as it was');
    const headers = { 'content-range': 'bytes 0-0/9' };
    const refused = problemOf(await put('c', 'X', headers));
    expect([refused.status, refused.remedy]).toEqual([400, expect.stringContaining('PATCH')]);
    expect(problemOf(await api.request('PATCH', '/v1/fs/c?offset=0', { headers, payload: 'X' })).status).toBe(400);
    expect(problemOf(await api.request('PUT', '/v1/xattr/c?name=user.a', { headers, payload: 'X' })).status).toBe(400);
    expect((await api.request('GET', '/v1/fs/c')).body).toBe('as it was');
  });
});

describe('a file that changes while it is read', () => {
  test('is read again', async () => {
    await put('v', 'old');
    let once = true;
    api.client.before = (call) => {
      if (call.operation.type === 'read' && once) {
        once = false;
        api.client.do({ type: 'putFile', at: { dir: call.operation.at.dir, path: call.operation.at.path }, mode: 0o644, data: Buffer.from('newer'), ifVersion: null });
      }
    };
    const read = await api.request('GET', '/v1/fs/v');
    expect(read.body).toBe('newer');
    expect(read.headers.etag).toBe((await api.request('HEAD', '/v1/fs/v')).headers.etag);
  });
  test('is found again when it was replaced', async () => {
    await put('v', 'old');
    await put('w', 'new');
    let once = true;
    api.client.before = (call) => {
      if (call.operation.type === 'read' && once) {
        once = false;
        api.client.do({ type: 'rename', from: { dir: 1 as never, path: Buffer.from('w') }, to: { dir: 1 as never, path: Buffer.from('v') }, flags: 'none' });
      }
    };
    expect((await api.request('GET', '/v1/fs/v')).body).toBe('new');
  });
  test('gives up after some attempts', async () => {
    await put('v', 'old');
    let n = 0;
    api.client.before = (call) => {
      if (call.operation.type === 'read') api.client.do({ type: 'putFile', at: call.operation.at, mode: 0o644, data: Buffer.alloc(++n + 10), ifVersion: null });
    };
    expect(problemOf(await api.request('GET', '/v1/fs/v')).status).toBe(503);
  });
});

describe('PATCH', () => {
  test('writes at an offset', async () => {
    await put('p', '0123456789');
    const written = await api.request('PATCH', '/v1/fs/p?offset=8', { payload: 'abcd' });
    expect(written.json<JsonAttributes>().size).toBe(12);
    expect(written.headers.etag).toBe(`"${written.json<JsonAttributes>().version}"`);
    expect((await api.request('GET', '/v1/fs/p')).body).toBe('01234567abcd');
    await api.request('PATCH', '/v1/fs/p?offset=14', { payload: 'z' });
    expect((await api.request('GET', '/v1/fs/p')).rawPayload).toEqual(Buffer.from('01234567abcd\0\0z'));
    expect((await api.request('PATCH', '/v1/fs/p?offset=3')).json<JsonAttributes>().size).toBe(15);
  });
  test('appends, whoever else does, in one operation that needs no read', async () => {
    const ann = as(ANN);
    await put('log', '');
    await api.request('PATCH', '/v1/stat/log', { payload: { mode: '0222' } });
    api.client.before = (call) => {
      if (call.operation.type !== 'write' || api.client.calls.length > 3) return;
      api.client.do({ type: 'write', at: call.operation.at, offset: 0, data: Buffer.from('theirs;') });
    };
    const appended = await api.request('PATCH', '/v1/fs/log?offset=end', { payload: 'ours;', headers: ann });
    expect(appended.json<JsonAttributes>().size).toBe(12);
    expect(api.client.calls.map((c) => c.operation.type)).toEqual(['putFile', 'setattr', 'write']);
    await Promise.all(Array.from({ length: 5 }, async () => await api.request('PATCH', '/v1/fs/log?offset=end', { payload: 'x' })));
    expect((await api.request('GET', '/v1/fs/log')).body).toBe('theirs;ours;xxxxx');
    expect((await api.request('PATCH', '/v1/fs/log?offset=end')).json<JsonAttributes>().size).toBe(17);
  });
  test('errors', async () => {
    expect(problemOf(await api.request('PATCH', '/v1/fs/none?offset=0', { payload: 'x' })).errno).toBe('ENOENT');
    expect(problemOf(await api.request('PATCH', '/v1/fs/none?offset=end', { payload: 'x' })).errno).toBe('ENOENT');
    expect(problemOf(await api.request('PATCH', '/v1/fs/p', { payload: 'x' })).detail).toContain('offset');
    expect(problemOf(await api.request('PATCH', `/v1/fs/p?offset=${Number.MAX_SAFE_INTEGER}`, { payload: 'x' })).detail).toContain('offset');
    expect(problemOf(await api.request('PATCH', '/v1/fs/p?offset=-1', { payload: 'x' })).detail).toContain('offset');
    expect(problemOf(await api.request('PATCH', '/v1/fs/p?offset=somewhere', { payload: 'x' })).status).toBe(400);
  });
});

describe('numbers in a query', () => {
  test.each(['1e3', '0x10', '+5', '%205', '5%20', '-0', '5.0', ''])('are decimal digits: %s is none', async (text) => {
    await put('a', 'content');
    for (const [method, url] of [['PATCH', `/v1/fs/a?offset=${text}`], ['GET', `/v1/fs/?limit=${text}`], ['GET', `/v1/stat/a?consistency=bounded&maxStalenessMs=${text}`], ['PUT', `/v1/fs/b?type=block&rdev=${text}`]] as const) {
      expect([url, problemOf(await api.request(method, url)).status]).toEqual([url, 400]);
    }
    expect((await api.request('GET', '/v1/fs/a')).body).toBe('content');
  });
  test('are taken as they are', async () => {
    await put('a', 'content');
    expect((await api.request('PATCH', '/v1/fs/a?offset=0003', { payload: 'TENT' })).statusCode).toBe(200);
    expect((await api.request('PATCH', '/v1/fs/a?offset=end', { payload: '!' })).statusCode).toBe(200);
    expect((await api.request('GET', '/v1/fs/a')).body).toBe('conTENT!');
  });
});

describe('directories', () => {
  test('mkdir, with parents', async () => {
    expect((await api.request('PUT', '/v1/fs/d?type=directory&mode=0700')).json<JsonAttributes>()).toMatchObject({ type: 'directory', mode: '0700' });
    expect(problemOf(await api.request('PUT', '/v1/fs/d?type=directory'))).toMatchObject({ status: 409, errno: 'EEXIST' });
    expect((await api.request('PUT', '/v1/fs/d?type=directory&parents=true')).statusCode).toBe(200);
    expect(problemOf(await api.request('PUT', '/v1/fs/d/e/f/g?type=directory')).errno).toBe('ENOENT');
    expect((await api.request('PUT', '/v1/fs/d/e/f/g?type=directory&parents=true')).statusCode).toBe(201);
    await put('file', 'x');
    expect(problemOf(await api.request('PUT', '/v1/fs/file?type=directory&parents=true')).errno).toBe('EEXIST');
    expect(problemOf(await api.request('PUT', '/v1/fs/file/sub/d?type=directory&parents=true')).errno).toBe('ENOTDIR');
    expect(problemOf(await put('d', 'x')).errno).toBe('EISDIR');
  });
  test('parents that someone else makes at the same time', async () => {
    let once = true;
    api.client.before = (call) => {
      if (call.operation.type === 'mkdir' && call.operation.at.path.toString() === 'p/' && once) {
        once = false;
        api.client.do({ ...call.operation });
      }
    };
    expect((await api.request('PUT', '/v1/fs/p/q/f?parents=true', { payload: 'x' })).statusCode).toBe(201);
  });
  test('pages', async () => {
    const names = Array.from({ length: 7 }, (_, i) => `n${i}`);
    for (const name of names) await put(name, name);
    const seen: unknown[] = [];
    let cursor: string | null = '';
    let pages = 0;
    do {
      const url: string = `/v1/fs/?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`;
      const page: { entries: JsonEntry[]; cursor: string | null } = (await api.request('GET', url)).json();
      seen.push(...page.entries.map((e) => e.name));
      ({ cursor } = page);
      pages++;
    } while (cursor !== null);
    expect(seen.sort()).toEqual(names);
    expect(pages).toBeLessThanOrEqual(4);
  });
  test('attributes of entries', async () => {
    await put('n', 'abc');
    const plain = (await api.request('GET', '/v1/fs')).json<{ entries: JsonEntry[]; cursor: null }>();
    expect(plain).toEqual({ entries: [{ name: 'n', ino: expect.any(Number) as number, type: 'file' }], cursor: null });
    const full = (await api.request('GET', '/v1/fs?attributes=true')).json<{ entries: JsonEntry[] }>();
    expect(full.entries[0]?.attributes).toMatchObject({ size: 3, mode: '0644' });
  });
  test('cursors that no page gave', async () => {
    expect(problemOf(await api.request('GET', '/v1/fs/?cursor=***')).detail).toContain('cursor');
    expect(problemOf(await api.request('GET', '/v1/fs/?cursor=')).detail).toContain('cursor');
    expect(problemOf(await api.request('GET', `/v1/fs/?cursor=${Buffer.alloc(256, 97).toString('base64url')}`)).detail).toContain('cursor');
    expect(problemOf(await api.request('GET', '/v1/fs/?limit=0')).detail).toContain('limit');
    expect(problemOf(await api.request('GET', '/v1/fs/?limit=ten')).detail).toContain('limit');
  });
});

describe('links and nodes', () => {
  test('symbolic links', async () => {
    await put('t', 'target');
    expect((await api.request('PUT', '/v1/fs/s?type=symlink', { payload: 't' })).json<JsonAttributes>().type).toBe('symlink');
    expect((await api.request('GET', '/v1/fs/s')).body).toBe('target');
    expect((await api.request('GET', '/v1/readlink/s')).json()).toEqual({ target: 't' });
    await api.request('PUT', '/v1/fs/raw?type=symlink', { payload: Buffer.from([0xff]) });
    expect((await api.request('GET', '/v1/readlink/raw')).json()).toEqual({ target: { base64: '/w==' } });
    expect(problemOf(await api.request('GET', '/v1/readlink/t')).errno).toBe('EINVAL');
    await api.request('PUT', '/v1/fs/loop?type=symlink', { payload: 'loop' });
    expect(problemOf(await api.request('GET', '/v1/fs/loop'))).toMatchObject({ status: 409, errno: 'ELOOP' });
    expect(problemOf(await api.request('PUT', '/v1/fs/long?type=symlink', { payload: Buffer.alloc(5000, 97) })).errno).toBe('ENAMETOOLONG');
    expect(problemOf(await api.request('PUT', '/v1/fs/empty?type=symlink')).errno).toBe('ENOENT');
  });
  test('hard links', async () => {
    await put('t', 'target');
    const linked = await api.request('PUT', '/v1/fs/h?type=hardlink&from=/t');
    expect([linked.statusCode, linked.json<JsonAttributes>().nlink]).toEqual([201, 2]);
    expect(problemOf(await api.request('PUT', '/v1/fs/i?type=hardlink&from=/none')).errno).toBe('ENOENT');
    expect(problemOf(await api.request('PUT', '/v1/fs/h?type=hardlink&from=/t')).errno).toBe('EEXIST');
    expect(problemOf(await api.request('PUT', '/v1/fs/i?type=hardlink')).detail).toContain('from');
    await api.request('PUT', '/v1/fs/s?type=symlink', { payload: 't' });
    expect((await api.request('PUT', '/v1/fs/j?type=hardlink&from=s')).json<JsonAttributes>().type).toBe('symlink');
    expect((await api.request('PUT', '/v1/fs/k?type=hardlink&from=s&follow=true')).json<JsonAttributes>().type).toBe('file');
  });
  test('nodes', async () => {
    expect((await api.request('PUT', '/v1/fs/p?type=fifo')).json<JsonAttributes>()).toMatchObject({ type: 'fifo', mode: '0644' });
    expect((await api.request('PUT', '/v1/fs/c?type=character&rdev=259')).json<JsonAttributes>()).toMatchObject({ type: 'character', rdev: 259 });
    expect(problemOf(await api.request('GET', '/v1/fs/p')).detail).toContain('fifo');
  });
  test('a body where none belongs', async () => {
    expect(problemOf(await api.request('PUT', '/v1/fs/d?type=directory', { payload: 'x' })).detail).toContain('body');
    expect(problemOf(await api.request('PUT', '/v1/fs/d?type=folder')).detail).toContain('directory');
  });
});

describe('DELETE', () => {
  test('files, links and empty directories', async () => {
    await put('f', 'x');
    await api.request('PUT', '/v1/fs/d?type=directory');
    expect((await api.request('DELETE', '/v1/fs/f')).statusCode).toBe(204);
    expect((await api.request('DELETE', '/v1/fs/d')).statusCode).toBe(204);
    expect(problemOf(await api.request('DELETE', '/v1/fs/f'))).toMatchObject({ status: 404, errno: 'ENOENT', code: 2 });
  });
  test('a whole tree', async () => {
    await api.request('PUT', '/v1/fs/d/e/f?parents=true', { payload: 'x' });
    expect(problemOf(await api.request('DELETE', '/v1/fs/d'))).toMatchObject({ status: 409, errno: 'ENOTEMPTY' });
    expect((await api.request('DELETE', '/v1/fs/d?recursive=true')).statusCode).toBe(204);
    expect(problemOf(await api.request('GET', '/v1/fs/d')).status).toBe(404);
    expect(api.client.calls.filter((c) => c.operation.type === 'removeTree').length).toBe(1);
    await put('f', 'x');
    expect((await api.request('DELETE', '/v1/fs/f?recursive=true')).statusCode).toBe(204);
    expect(problemOf(await api.request('DELETE', '/v1/fs/f?recursive=true')).status).toBe(404);
  });
  test('never the root', async () => {
    for (const url of ['/v1/fs', '/v1/fs/', '/v1/fs//', '/v1/fs/?recursive=true', '/v1/fs?recursive=true']) {
      for (const headers of [{}, as(ANN)]) expect([url, problemOf(await api.request('DELETE', url, { headers }))]).toMatchObject([url, { status: 409, errno: 'EBUSY' }]);
    }
  });
  test("a whole tree on a user's behalf: what is in a directory that she may not change stays", async () => {
    await put('ann/roots/f?parents=true', 'x');
    await put('ann/mine/f?parents=true', 'x');
    for (const path of ['ann', 'ann/mine']) await api.request('PATCH', `/v1/stat/${path}`, { payload: { uid: 1000 } });
    const refused = problemOf(await api.request('DELETE', '/v1/fs/ann?recursive=true', { headers: as(ANN) }));
    expect(refused).toMatchObject({ status: 403, errno: 'EACCES' });
    expect(refused.detail).toContain('/ann');
    await api.request('PATCH', '/v1/stat/', { payload: { mode: '0777' } });
    const denied = problemOf(await api.request('DELETE', '/v1/fs/ann?recursive=true', { headers: as(ANN) }));
    expect(denied).toMatchObject({ status: 403, errno: 'EACCES' });
    expect(denied.detail).toContain('unlink /ann/roots/f');
    expect((await api.request('GET', '/v1/fs/ann/roots/f')).body).toBe('x');
    await api.request('PATCH', '/v1/stat/ann/roots', { payload: { mode: '0777' } });
    expect((await api.request('DELETE', '/v1/fs/ann?recursive=true', { headers: as(ANN) })).statusCode).toBe(204);
    expect((await api.request('HEAD', '/v1/fs/ann')).statusCode).toBe(404);
    expect(api.client.calls.filter((c) => c.operation.type === 'removeTree')).toEqual([]);
    expect(problemOf(await api.request('DELETE', '/v1/fs/ann?recursive=true', { headers: as(ANN) })).status).toBe(404);
  });
});

describe('HEAD', () => {
  test('says what the file is', async () => {
    await put('h', 'abc');
    const head = await api.request('HEAD', '/v1/fs/h');
    expect(head.headers).toMatchObject({ 'content-length': '3', 'x-vrfs-type': 'file', 'x-vrfs-mode': '0644', 'x-vrfs-owner': '0:0' });
    expect(head.body).toBe('');
    expect((await api.request('HEAD', '/v1/fs/')).headers['x-vrfs-type']).toBe('directory');
    expect((await api.request('HEAD', '/v1/fs/none')).statusCode).toBe(404);
  });
});

describe('making the root directory', () => {
  test.each(['/v1/fs/', '/v1/fs', '/v1/fs//'])('PUT %s', async (url) => {
    const there = await api.request('PUT', `${url}?type=directory&parents=true`);
    expect([there.statusCode, there.json<JsonAttributes>().ino]).toEqual([200, 1]);
    for (const type of ['directory', 'symlink', 'fifo', 'symlink&parents=true']) expect(problemOf(await api.request('PUT', `${url}?type=${type}`, { payload: type.startsWith('symlink') ? 'x' : '' })), type).toMatchObject({ status: 409, errno: 'EEXIST' });
  });
});
