import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JsonAttributes } from '../../../server/http/json_views.ts';
import { as, openApi, problemOf, type Api } from './support.ts';

let api: Api;
beforeEach(async () => {
  api = await openApi();
  await api.request('PUT', '/v1/fs/f', { payload: 'hello' });
  await api.request('PUT', '/v1/fs/s?type=symlink', { payload: 'f' });
});
afterEach(async () => {
  await api.close();
});

const setattr = async (path: string, payload: object, headers: Record<string, string> = {}) => await api.request('PATCH', `/v1/stat/${path}`, { payload, headers });

describe('stat', () => {
  test('of a file, a link, the root', async () => {
    const stat = await api.request('GET', '/v1/stat/f');
    expect(stat.json()).toMatchObject({ type: 'file', mode: '0644', nlink: 1, uid: 0, gid: 0, size: 5 });
    expect(stat.headers.etag).toBe(`"${stat.json<JsonAttributes>().version}"`);
    expect(stat.json<JsonAttributes>().mtime).toEqual({ sec: expect.any(Number) as number, nsec: expect.any(Number) as number });
    expect((await api.request('GET', '/v1/stat/s')).json<JsonAttributes>().type).toBe('file');
    expect((await api.request('GET', '/v1/stat/s?follow=false')).json<JsonAttributes>().type).toBe('symlink');
    expect((await api.request('GET', '/v1/stat')).json<JsonAttributes>()).toMatchObject({ ino: 1, type: 'directory' });
    expect((await api.request('GET', '/v1/stat/')).json<JsonAttributes>().ino).toBe(1);
    expect(problemOf(await api.request('GET', '/v1/stat/none')).errno).toBe('ENOENT');
    expect(problemOf(await api.request('GET', '/v1/stat/f/x')).errno).toBe('ENOTDIR');
    expect(problemOf(await api.request('GET', `/v1/stat/${'n'.repeat(256)}`)).errno).toBe('ENAMETOOLONG');
    expect(problemOf(await api.request('GET', `/v1/stat/${'n/'.repeat(2049)}`)).errno).toBe('ENAMETOOLONG');
  });
});

describe('setattr', () => {
  test('chmod, chown, truncate, utimes in one', async () => {
    const set = await setattr('f', { mode: '4755', uid: 5, gid: 6, size: 2, atime: '2026-01-31T12:00:00.000000007Z', mtime: { sec: -5, nsec: 3 } });
    expect(set.statusCode).toBe(200);
    expect(set.json()).toMatchObject({ uid: 5, gid: 6, size: 2, atime: { sec: 1769860800, nsec: 7 }, mtime: { sec: -5, nsec: 3 } });
    expect((await api.request('GET', '/v1/fs/f')).body).toBe('he');
    expect((await setattr('f', { mode: 0o600 })).json<JsonAttributes>().mode).toBe('0600');
    expect((await setattr('f', { mtime: 'now' })).json<JsonAttributes>().mtime.sec).toBeGreaterThan(1_000_000_000);
  });
  test('the link itself', async () => {
    await api.request('PATCH', '/v1/stat/s?follow=false', { payload: { uid: 9 } });
    expect((await api.request('GET', '/v1/stat/s?follow=false')).json<JsonAttributes>().uid).toBe(9);
    expect((await api.request('GET', '/v1/stat/f')).json<JsonAttributes>().uid).toBe(0);
  });
  test('permissions', async () => {
    expect(problemOf(await setattr('f', { mode: '0777' }, as({ uid: 5, gid: 5, groups: [] })))).toMatchObject({ status: 403, errno: 'EPERM' });
  });
  test.each([
    [{}, 'at least one'],
    [{ mode: '0999' }, 'mode'],
    [{ mode: 65536 }, 'mode'],
    [{ uid: -1 }, 'uid'],
    [{ size: 'big' }, 'size'],
    [{ mtime: 'yesterday' }, 'mtime'],
    [{ mtime: '2026-02-30T12:00:00Z' }, 'mtime'],
    [{ atime: { sec: 1 } }, 'atime'],
    [{ colour: 'red' }, 'colour'],
    [[], 'body'],
  ])('%j is refused', async (body, named) => {
    const p = problemOf(await setattr('f', body));
    expect(p.status).toBe(400);
    expect(p.detail).toContain(named);
  });
});

describe('statfs', () => {
  test('counts', async () => {
    expect((await api.request('GET', '/v1/statfs')).json()).toMatchObject({ inodes: 3, blockSize: expect.any(Number) as number });
  });
});

describe('rename', () => {
  const rename = async (payload: object) => await api.request('POST', '/v1/rename', { payload });
  test('moves, replaces', async () => {
    expect((await rename({ from: '/f', to: 'g' })).statusCode).toBe(204);
    expect((await api.request('GET', '/v1/fs/g')).body).toBe('hello');
    expect(problemOf(await rename({ from: 'f', to: 'x' })).detail).toContain('/f');
  });
  test('noreplace and exchange', async () => {
    await api.request('PUT', '/v1/fs/g', { payload: 'other' });
    expect(problemOf(await rename({ from: 'f', to: 'g', flags: 'noreplace' }))).toMatchObject({ status: 409, errno: 'EEXIST' });
    expect((await rename({ from: 'f', to: 'g', flags: 'exchange' })).statusCode).toBe(204);
    expect((await api.request('GET', '/v1/fs/f')).body).toBe('other');
  });
  test('names that are not UTF-8', async () => {
    expect((await rename({ from: 'f', to: { base64: Buffer.from([0xff, 0x80]).toString('base64') } })).statusCode).toBe(204);
    expect((await api.request('GET', '/v1/fs/%FF%80')).body).toBe('hello');
  });
  test('below itself', async () => {
    await api.request('PUT', '/v1/fs/d?type=directory');
    expect(problemOf(await rename({ from: 'd', to: 'd/e' })).errno).toBe('EINVAL');
  });
  test('of the root, or to it', async () => {
    for (const [from, to] of [['/', 'x'], ['//', '/x'], ['f', '/'], [{ base64: Buffer.from('/').toString('base64') }, 'x']]) {
      expect(problemOf(await rename({ from, to })), JSON.stringify([from, to])).toMatchObject({ status: 409, errno: 'EBUSY' });
    }
    expect(problemOf(await rename({ from: 'f', to: '/', flags: 'noreplace' })).errno).toBe('EEXIST');
    // No path at all names nothing, as in rename(2).
    expect(problemOf(await rename({ from: '', to: 'x' })).errno).toBe('ENOENT');
  });
  test('bad bodies', async () => {
    expect(problemOf(await rename({ from: 'f' })).detail).toContain('to');
    expect(problemOf(await rename({ from: 'f', to: 'g', flags: 'maybe' })).detail).toContain('noreplace');
    expect(problemOf(await rename({ from: 'f', to: { base64: '!' } })).detail).toContain('to.base64');
    expect(problemOf(await rename({ from: 'f', to: 'a\0' })).detail).toContain('NUL');
    expect(problemOf(await api.request('POST', '/v1/rename', { payload: '{', headers: { 'content-type': 'application/json' } })).detail).toContain('JSON');
    expect(problemOf(await api.request('POST', '/v1/rename', { headers: { 'content-type': 'application/json' } })).detail).toContain('JSON');
    expect(problemOf(await api.request('POST', '/v1/rename', { payload: { from: 'x'.repeat(70_000), to: 'y' } })).status).toBe(413);
  });
  test.each(['{"from": "f", "to": "g", "__proto__": {"flags": "exchange"}}', '{"from": "f", "to": "g", "constructor": {"prototype": {}}}', '{"from": "f", "to": {"base64": "Zw==", "__proto__": {}}}'])('a field that is none: %s', async (payload) => {
    const p = problemOf(await api.request('POST', '/v1/rename', { payload, headers: { 'content-type': 'application/json' } }));
    expect(p.status).toBe(400);
    expect(p.detail).not.toContain('not JSON');
    expect((await api.request('GET', '/v1/fs/f')).body).toBe('hello');
  });
  test('a name that is not UTF-8 is refused, not changed to another', async () => {
    const send = async (text: string) => await api.request('POST', '/v1/rename', { payload: Buffer.from(text, 'latin1'), headers: { 'content-type': 'application/json' } });
    expect(problemOf(await send('{"from": "f", "to": "caf\xe9"}'))).toMatchObject({ status: 400, detail: expect.stringContaining('not UTF-8') as string, remedy: expect.stringContaining('base64') as string });
    expect(problemOf(await send('{"from": "f", "to": "a\\ud800b"}'))).toMatchObject({ status: 400, detail: expect.stringContaining('UTF-8') as string, remedy: expect.stringContaining('base64') as string });
    expect((await api.request('GET', '/v1/fs/f')).body).toBe('hello');
    // Its UTF-8, and a whole pair, are names.
    expect((await send('{"from": "f", "to": "caf\xc3\xa9"}')).statusCode).toBe(204);
    expect((await send('{"from": "caf\\u00e9", "to": "\\ud83d\\ude00"}')).statusCode).toBe(204);
    expect((await api.request('GET', '/v1/fs/%F0%9F%98%80')).body).toBe('hello');
  });
  test('only JSON: a web page elsewhere must not be able to send it', async () => {
    expect(problemOf(await api.request('POST', '/v1/rename', { payload: '{"from":"f","to":"g"}', headers: { 'content-type': 'text/plain' } })).status).toBe(415);
  });
});

describe('extended attributes', () => {
  const xattr = (name: string, more = '') => `/v1/xattr/f?name=${name}${more}`;
  test('set, get, list, remove', async () => {
    const value = Buffer.from([0, 255, 1]);
    expect((await api.request('PUT', xattr('user.a'), { payload: value })).statusCode).toBe(204);
    const got = await api.request('GET', xattr('user.a'));
    expect(got.rawPayload).toEqual(value);
    expect(got.headers['content-type']).toBe('application/octet-stream');
    await api.request('PUT', xattr('user.%FF'));
    expect((await api.request('GET', xattr('user.%FF'))).rawPayload.length).toBe(0);
    expect((await api.request('GET', '/v1/xattr/f')).json()).toEqual({ names: ['user.a', { base64: Buffer.from('user.\xff', 'latin1').toString('base64') }] });
    expect((await api.request('DELETE', xattr('user.a'))).statusCode).toBe(204);
    expect(problemOf(await api.request('GET', xattr('user.a')))).toMatchObject({ status: 404, errno: 'ENODATA' });
    expect(problemOf(await api.request('DELETE', xattr('user.a'))).errno).toBe('ENODATA');
  });
  test('create and replace', async () => {
    expect(problemOf(await api.request('PUT', xattr('user.a', '&mode=replace'), { payload: 'x' })).errno).toBe('ENODATA');
    expect((await api.request('PUT', xattr('user.a', '&mode=create'), { payload: 'x' })).statusCode).toBe(204);
    expect(problemOf(await api.request('PUT', xattr('user.a', '&mode=create'), { payload: 'x' })).errno).toBe('EEXIST');
  });
  test('limits', async () => {
    expect((await api.request('PUT', xattr('user.big'), { payload: Buffer.alloc(64 << 10) })).statusCode).toBe(204);
    const tooLong = problemOf(await api.request('PUT', xattr('user.big'), { payload: Buffer.alloc((64 << 10) + 1) }));
    expect(tooLong).toMatchObject({ status: 413, detail: expect.stringContaining('65536') as string, remedy: expect.stringContaining('extended attribute') as string });
    expect(tooLong.remedy).not.toContain('PATCH');
    expect(problemOf(await api.request('PUT', '/v1/xattr/f', { payload: 'x' })).detail).toContain('name');
    expect(problemOf(await api.request('PUT', xattr('nonamespace'), { payload: 'x' }))).toMatchObject({ status: 422, errno: 'EOPNOTSUPP' });
    expect(problemOf(await api.request('PUT', xattr(`user.${'n'.repeat(300)}`), { payload: 'x' })).status).toBe(400);
  });
});
