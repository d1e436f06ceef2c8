import type { IncomingMessage } from 'node:http';
import { hostname } from 'node:os';
import { PassThrough } from 'node:stream';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Errno } from '../../../fsservice/errno.ts';
import { pieces } from '../../../server/http/body.ts';
import { checkPath, fromJsonBytes, parseQuery, percentDecode, percentEncodePath, printable, toJsonBytes } from '../../../server/http/bytes_text.ts';
import { credentialsOf } from '../../../server/http/credentials.ts';
import { allows, directVersion, preconditionsOf } from '../../../server/http/etag.ts';
import { pathOfUrl, routedUrl } from '../../../server/http/gateway.ts';
import { timeOf } from '../../../server/http/json_views.ts';
import { parentOf } from '../../../server/http/parents.ts';
import { ERRNO_PROBLEMS, errnoName, ProblemError } from '../../../server/http/problem.ts';
import { NO_ROOM } from '../../../server/http/rooms.ts';
import { byteRange } from '../../../server/http/range.ts';
import { unavailable } from '../../../server/http/unavailable.ts';

/** The problem that `f` throws. */
function problemIn(f: () => unknown): ProblemError['problem'] {
  try {
    f();
  } catch (error) {
    if (error instanceof ProblemError) return error.problem;
    throw error;
  }
  throw new Error('no problem');
}

describe('bytes and text', () => {
  test('any path survives a URL', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (array) => {
      const path = Buffer.from(array);
      expect(percentDecode(percentEncodePath(path))).toEqual(path);
    }));
  });
  test('any name survives JSON', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (array) => {
      const name = Buffer.from(array);
      expect(fromJsonBytes(JSON.parse(JSON.stringify(toJsonBytes(name))) as ReturnType<typeof toJsonBytes>, 'name')).toEqual(name);
    }));
  });
  test('only names that are not UTF-8 are base64', () => {
    expect(toJsonBytes(Buffer.from('naïve'))).toBe('naïve');
    expect(toJsonBytes(Buffer.from([0x66, 0xff]))).toEqual({ base64: 'Zv8=' });
  });
  test('a broken escape is named', () => {
    expect(problemIn(() => percentDecode('a%4')).detail).toContain("'%4'");
    expect(problemIn(() => percentDecode('50%')).remedy).toContain('%25');
    expect(problemIn(() => fromJsonBytes({ base64: '***' }, 'from')).detail).toContain('from.base64');
  });
  test('paths lose their leading slashes, and nothing else', () => {
    expect(checkPath(Buffer.from('//a/b/')).toString()).toBe('a/b/');
    expect(checkPath(Buffer.from('/')).length).toBe(0);
    expect(problemIn(() => checkPath(Buffer.from('a\0b'))).detail).toContain('NUL');
    expect(problemIn(() => checkPath(Buffer.alloc(4097, 0x61))).errno).toBe('ENAMETOOLONG');
    expect(checkPath(Buffer.alloc(4096, 0x61)).length).toBe(4096);
  });
  test('messages never carry control characters', () => {
    expect(printable(Buffer.from('a\nb'))).toBe('/a\\nb');
    expect(printable(Buffer.from([0x61, 0xff]))).toBe('/a%FF');
  });
  test('queries keep bytes, and say when a key is given twice', () => {
    expect(parseQuery('name=user.%FF&a+b=1+2&flag&')).toEqual({ name: 'user.\xff', 'a+b': '1 2', flag: 'true' });
    expect(parseQuery('a=1&a=2')).toEqual({ a: ['1', '2'] });
  });
});

describe('URLs', () => {
  test('the path below a collection is cut off before routing', () => {
    expect(routedUrl('/v1/fs/a/b%FF?type=file')).toBe('/v1/fs?type=file');
    expect(routedUrl('/v1/stat/a')).toBe('/v1/stat');
    expect(routedUrl('/v1/fs?from=/a/b')).toBe('/v1/fs?from=/a/b');
    expect(routedUrl('/v1/health/live')).toBe('/v1/health/live');
    expect(routedUrl('/v1/fsx/a')).toBe('/v1/fsx/a');
  });
  test('in absolute form, as a proxy gets them', () => {
    expect(routedUrl('http://127.0.0.1:7201/v1/fs/a?type=file')).toBe('/v1/fs?type=file');
    expect(routedUrl('HTTP://localhost/v1/stat/a/http://b')).toBe('/v1/stat');
    expect(routedUrl('http://127.0.0.1:7201')).toBe('/');
    expect(routedUrl('http://127.0.0.1:7201?x=/v1/fs/a')).toBe('/?x=/v1/fs/a');
    expect(pathOfUrl('http://127.0.0.1:7201/v1/fs/a/b%FF?x=/y')).toEqual(Buffer.from([0x61, 0x2f, 0x62, 0xff]));
    expect(pathOfUrl('/v1/fs/http://b').toString()).toBe('http://b');
  });
  test('in absolute form name their host', () => {
    // RFC 9112, 3.2.2: the Host beside it does not count.
    expect(credentialsOf({ host: 'evil.example' }, '127.0.0.1', 'http://127.0.0.1:7201/v1/fs/a').uid).toBe(0);
    for (const url of ['http://evil.example/v1/fs/a', 'http://evil.example', 'http:///v1/fs/a', 'http://x@evil.example/', 'http://evil.example?x=127.0.0.1']) {
      expect(problemIn(() => credentialsOf({ host: '127.0.0.1' }, '127.0.0.1', url)).status, url).toBe(421);
    }
  });
  test('the path of a URL', () => {
    expect(pathOfUrl('/v1/fs/a/b%FF?x=/y')).toEqual(Buffer.from([0x61, 0x2f, 0x62, 0xff]));
    expect(pathOfUrl('/v1/fs/a%2Fb').toString()).toBe('a/b');
    expect(pathOfUrl('/v1/fs').length).toBe(0);
    expect(pathOfUrl('/v1/fs?from=/a').length).toBe(0);
  });
  test('parents', () => {
    expect(parentOf(Buffer.from('a/b/c')).toString()).toBe('a/b/');
    expect(parentOf(Buffer.from('a/b//')).toString()).toBe('a/');
    expect(parentOf(Buffer.from('a')).length).toBe(0);
  });
});

describe('ranges', () => {
  test.each([
    [undefined, { type: 'whole' }],
    ['bytes=0-0', { type: 'part', offset: 0, length: 1 }],
    ['bytes=2-', { type: 'part', offset: 2, length: 8 }],
    ['bytes=2-99', { type: 'part', offset: 2, length: 8 }],
    ['bytes=-3', { type: 'part', offset: 7, length: 3 }],
    ['bytes=-99', { type: 'part', offset: 0, length: 10 }],
    ['bytes=10-', { type: 'unsatisfiable' }],
    ['bytes=-0', { type: 'unsatisfiable' }],
    ['bytes=5-2', { type: 'whole' }],
    ['bytes=0-1,4-5', { type: 'whole' }],
    ['lines=1-2', { type: 'whole' }],
    ['bytes=-', { type: 'whole' }],
  ])('%s of 10 bytes', (header, expected) => {
    expect(byteRange(header, 10)).toEqual(expected);
  });
});

describe('preconditions', () => {
  const of = (headers: Record<string, string>) => preconditionsOf(headers, true);
  test('what a compare-and-set alone decides', () => {
    expect(directVersion(of({ 'if-match': '"7"' }))).toBe(7);
    expect(directVersion(of({ 'if-none-match': '*' }))).toBe(0);
    expect(directVersion(of({ 'if-match': '*' }))).toBeNull();
    expect(directVersion(of({ 'if-match': '"7", "8"' }))).toBeNull();
  });
  test('"0" is no version: it must not turn into "the file may not exist"', () => {
    expect(directVersion(of({ 'if-match': '"0"' }))).toBeNull();
    expect(allows(of({ 'if-match': '"0"' }), null)).toBe(false);
  });
  test('what each allows', () => {
    expect(allows(of({ 'if-match': '*' }), 3)).toBe(true);
    expect(allows(of({ 'if-match': '*' }), null)).toBe(false);
    expect(allows(of({ 'if-match': 'W/"3"' }), 3)).toBe(false);
    expect(allows(of({ 'if-none-match': '"3"' }), 3)).toBe(false);
    expect(allows(of({ 'if-none-match': '"3"' }), 4)).toBe(true);
    expect(allows(of({ 'if-none-match': '"foreign"' }), 4)).toBe(true);
  });
  test('weak tags match where nothing is guarded', () => {
    expect(preconditionsOf({ 'if-none-match': 'W/"3"' }, false).ifNoneMatch).toEqual({ type: 'versions', versions: [3] });
    // The largest op-number.
    expect(preconditionsOf({ 'if-match': '"281474976710655"' }, true).ifMatch).toEqual({ type: 'versions', versions: [281474976710655] });
  });
  test('not a tag', () => {
    expect(problemIn(() => of({ 'if-match': '7' })).detail).toContain('If-Match');
  });
});

describe('credentials', () => {
  const LOCAL = { host: '127.0.0.1:7201' };
  test('over loopback the host named has to be this machine: DNS rebinding', () => {
    for (const host of ['localhost:7201', '[::1]:7201', '127.0.0.1', 'vrfs.localhost', `${hostname()}:7201`]) expect(credentialsOf({ host }, '127.0.0.1').uid).toBe(0);
    for (const host of ['evil.example:7201', '127.0.0.1.evil.example', '', 'localhost.evil.example']) expect(problemIn(() => credentialsOf({ host, 'x-vrfs-uid': '0' }, '127.0.0.1')).status).toBe(421);
    expect(credentialsOf({ host: 'storage.example:7201', 'x-vrfs-uid': '7' }, '10.0.0.1').uid).toBe(7);
  });
  test('root from loopback, and only from there', () => {
    expect(credentialsOf(LOCAL, '127.0.0.1').uid).toBe(0);
    expect(credentialsOf(LOCAL, '::1').uid).toBe(0);
    expect(credentialsOf(LOCAL, '::ffff:127.0.0.1').uid).toBe(0);
    expect(problemIn(() => credentialsOf({}, '10.0.0.1')).status).toBe(401);
    expect(problemIn(() => credentialsOf({}, undefined)).status).toBe(401);
  });
  test('headers', () => {
    expect(credentialsOf({ 'x-vrfs-uid': '5', 'x-vrfs-gid': '6', 'x-vrfs-groups': '7, 8' }, '10.0.0.1')).toEqual({ uid: 5, gid: 6, groups: [7, 8] });
    expect(credentialsOf({ 'x-vrfs-uid': '5' }, '10.0.0.1')).toEqual({ uid: 5, gid: 5, groups: [] });
    expect(problemIn(() => credentialsOf({ ...LOCAL, 'x-vrfs-gid': '5' }, '127.0.0.1')).detail).toContain('X-Vrfs-Uid');
    expect(problemIn(() => credentialsOf({ ...LOCAL, 'x-vrfs-uid': 'bob' }, '127.0.0.1')).detail).toContain('bob');
    expect(problemIn(() => credentialsOf({ ...LOCAL, 'x-vrfs-uid': '4294967295' }, '127.0.0.1')).status).toBe(400);
    expect(problemIn(() => credentialsOf({ ...LOCAL, 'x-vrfs-uid': '1', 'x-vrfs-groups': Array.from({ length: 256 }, (_, i) => i).join(',') }, '127.0.0.1')).detail).toContain('256');
  });
  test('basic', () => {
    const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });
    expect(credentialsOf(basic('5:6,7'), '10.0.0.1')).toEqual({ uid: 5, gid: 6, groups: [7] });
    // As with X-Vrfs-Uid alone: never the group of root because nothing was said.
    expect(credentialsOf(basic('5:'), '10.0.0.1')).toEqual({ uid: 5, gid: 5, groups: [] });
    expect(problemIn(() => credentialsOf({ ...LOCAL, authorization: 'Bearer x' }, '127.0.0.1')).status).toBe(401);
    expect(problemIn(() => credentialsOf({ ...LOCAL, ...basic('bob:secret') }, '127.0.0.1')).status).toBe(400);
  });
});

describe('times', () => {
  test('RFC 3339 to the nanosecond', () => {
    expect(timeOf('1970-01-01T00:00:01.000000002Z', 'mtime')).toEqual({ sec: 1, nsec: 2 });
    expect(timeOf('1970-01-01T01:00:00.5+01:00', 'mtime')).toEqual({ sec: 0, nsec: 500_000_000 });
    expect(timeOf({ sec: -1, nsec: 5 }, 'mtime')).toEqual({ sec: -1, nsec: 5 });
    expect(timeOf('now', 'mtime')).toBe('now');
    expect(problemIn(() => timeOf('yesterday', 'atime')).detail).toContain('atime');
    expect(problemIn(() => timeOf('2026-13-01T00:00:00Z', 'atime')).detail).toContain('2026-13-01');
  });
  test.each(['2026-02-30T12:00:00Z', '2026-02-29T00:00:00Z', '2026-04-31T00:00:00+01:00', '2100-02-29t00:00:00z', '2026-01-31T24:00:00Z', '2026-01-31T12:60:00Z', '2026-01-31T12:00:00+24:00', '2026-01-31T12:00:00-01:60', '2026-00-10T12:00:00Z', '2026-01-00 12:00:00Z'])('there is no %s', (text) => {
    expect(problemIn(() => timeOf(text, 'mtime')).detail).toContain(text);
  });
  test('the days that there are, in all forms', () => {
    expect(timeOf('2024-02-29T23:59:59Z', 'mtime')).toEqual({ sec: 1_709_251_199, nsec: 0 });
    expect(timeOf('2024-03-01t00:59:59+01:00', 'mtime')).toEqual({ sec: 1_709_251_199, nsec: 0 });
    expect(timeOf('2024-02-29 00:29:59-23:30', 'mtime')).toEqual({ sec: 1_709_251_199, nsec: 0 });
    expect(timeOf('1969-12-31T23:59:59.25Z', 'mtime')).toEqual({ sec: -1, nsec: 250_000_000 });
    expect(timeOf('0000-01-01T00:00:00Z', 'mtime')).toEqual({ sec: -62_167_219_200, nsec: 0 });
  });
});

describe('problems', () => {
  test('every errno has a status and a remedy', () => {
    for (const code of Object.values(Errno)) {
      const entry = ERRNO_PROBLEMS[errnoName(code)];
      expect(entry.status).toBeGreaterThanOrEqual(400);
      expect(entry.remedy).toMatch(/\.$/);
    }
  });
  test('the common ones', () => {
    const status = (name: keyof typeof ERRNO_PROBLEMS) => ERRNO_PROBLEMS[name].status;
    expect([status('ENOENT'), status('EEXIST'), status('EACCES'), status('EPERM'), status('ENOTEMPTY'), status('EINVAL'), status('ENAMETOOLONG'), status('ENOSPC'), status('EAGAIN')])
      .toEqual([404, 409, 403, 403, 409, 400, 400, 507, 412]);
  });
  test('a fault of ours stays one', () => {
    const ours = new TypeError('x is not a function');
    expect(unavailable(ours, 'mkdir')).toBe(ours);
  });
});

describe('a body whose sender goes away in the midst of it', () => {
  const problemOfPieces = async (rest: PassThrough): Promise<unknown> => {
    try {
      for await (const piece of pieces({ type: 'stream', first: [Buffer.alloc(10)], rest: rest as unknown as IncomingMessage, room: NO_ROOM }, 1 << 20)) expect(piece.length).toBe(-1);
    } catch (error) {
      return error;
    }
    return null;
  };
  test.each([['resets the connection', new Error('aborted')], ['closes it', undefined]])('is no fault of the replica: it %s', async (_, error) => {
    const rest = new PassThrough();
    rest.write(Buffer.alloc(10));
    const thrown = problemOfPieces(rest);
    await new Promise((resolve) => { setImmediate(resolve); });
    rest.destroy(error);
    expect(await thrown).toMatchObject({ problem: { status: 400, detail: 'The body ended before its announced length.' } });
  });
});
