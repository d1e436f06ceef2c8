/** The state machine at its edges: bytes that are no calls, an empty table, what queries may. */
import { describe, expect, it } from 'vitest';
import { Prng } from '../../lib/prng.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Errno } from '../../fsservice/errno.ts';
import { decodeResult, encodeCall } from '../../fsservice/operation_codec.ts';
import { formatNamespace } from '../../fsservice/records.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { ALICE, at, ROOT, World } from './harness.ts';

describe('the state machine', () => {
  it('an empty table is an empty namespace, and a query does not write', () => {
    const table = new MemoryTable();
    const service = new FileSystemService(table);
    const ask = (operation: Parameters<typeof encodeCall>[0]['operation']): Buffer => service.query(encodeCall({ credentials: ALICE, operation }), 0);
    const root = decodeResult('getattr', ask({ type: 'getattr', at: at(''), follow: false }));
    expect(root).toMatchObject({ ok: true, value: { ok: true, value: { attributes: { ino: 1, type: 'directory', mode: 0o755, nlink: 2, uid: 0, gid: 0 } } } });
    expect(decodeResult('statfs', ask({ type: 'statfs' }))).toMatchObject({ value: { value: { inodes: 1, bytes: 0 } } });
    expect(service.statistics()).toMatchObject({ inodes: 1, bytes: 0 });
    expect(service.housekeeping()).toBeUndefined();
    expect(table.size).toBe(0);
  });

  it('tells its own process of its use and limits what it tells who asks', () => {
    const w = new World();
    w.create('f');
    w.mkdir('d');
    expect(w.service.statistics()).toEqual(w.statfs());
    expect(w.service.statistics()).toMatchObject({ inodes: 3, maxInodes: 2 ** 32, maxBytes: 2 ** 46 });
  });

  it('formatting before or by the first operation gives the same records', () => {
    const one = new World();
    const two = new World();
    formatNamespace(two.table);
    expect(two.table.size).toBe(2);
    for (const world of [one, two]) world.mkdir('d');
    expect(one.records()).toEqual(two.records());
  });

  it('answers EINVAL to what is no call, and to a change by way of a query', () => {
    const w = new World();
    w.create('f');
    const before = w.records();
    const rng = new Prng(3);
    for (let i = 0; i < 1000; i++) {
      const bytes = rng.bytes(rng.below(9));
      expect([...w.service.query(bytes, w.time)]).toEqual([Errno.EINVAL]);
      expect([...w.service.execute(w.entry('request', bytes))]).toEqual([Errno.EINVAL]);
    }
    const change = encodeCall({ credentials: ROOT, operation: { type: 'unlink', at: at('f') } });
    expect([...w.service.query(change, w.time)]).toEqual([Errno.EINVAL]);
    expect(w.records()).toEqual(before);
  });

  it('a checkpoint is asked for by root alone, and changes nothing', () => {
    const w = new World();
    w.create('f');
    const before = w.records();
    expect(w.service.checkpointAsked()).toBe(false);
    expect(w.run<'checkpoint'>({ type: 'checkpoint' })).toEqual({ ok: true, value: { op: w.op } });
    expect(w.service.checkpointAsked()).toBe(true);
    expect(w.run<'checkpoint'>({ type: 'checkpoint' }, ALICE)).toEqual({ ok: false, errno: Errno.EPERM });
    expect(w.service.checkpointAsked()).toBe(false);
    w.run<'checkpoint'>({ type: 'checkpoint' });
    w.service.execute(w.entry('request', Buffer.of(0x3f)));
    expect(w.service.checkpointAsked()).toBe(false);
    expect(w.records()).toEqual(before);
  });

  it('executes a read that came through the log', () => {
    const w = new World();
    const body = encodeCall({ credentials: ROOT, operation: { type: 'getattr', at: at(''), follow: false } });
    expect(decodeResult('getattr', w.service.execute(w.entry('request', body)))).toMatchObject({ ok: true, value: { ok: true } });
  });

  it('keeps nothing beside the table: another service over a copy goes on equally', () => {
    const w = new World();
    w.mkdir('d');
    w.create('d/f');
    const copy = w.table.clone();
    const other = new FileSystemService(copy);
    const body = encodeCall({ credentials: ROOT, operation: { type: 'create', at: at('d/g'), mode: 0o600, exclusive: true, truncate: false } });
    const entry = w.entry('request', body);
    expect(other.execute(entry).equals(w.service.execute(entry))).toBe(true);
    expect([...copy.entries()].map(String)).toEqual([...w.table.entries()].map(String));
  });

  it('does not keep the bytes that it was given', () => {
    const w = new World();
    const operations = [
      { type: 'symlink', at: at('link'), target: Buffer.from('target') },
      { type: 'putFile', at: at('file'), mode: 0o600, data: Buffer.from('data'), ifVersion: null },
      { type: 'setxattr', at: at('file'), follow: true, name: Buffer.from('user.a'), value: Buffer.from('value'), mode: 'any' },
    ] as const;
    for (const operation of operations) {
      const entry = w.entry('request', encodeCall({ credentials: ROOT, operation }));
      w.service.execute(entry);
      entry.bytes.fill(0xff);
    }
    expect(w.names('')).toEqual(['file', 'link']);
    expect(w.read('file').toString()).toBe('data');
    expect(w.ok<'readlink'>({ type: 'readlink', at: at('link') }).target.toString()).toBe('target');
    expect(w.ok<'getxattr'>({ type: 'getxattr', at: at('file'), follow: true, name: Buffer.from('user.a') }).value.toString()).toBe('value');
  });
});
