import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import type { Ino } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { GROUPS_MAX } from '../../fsservice/limits.ts';
import { Errno } from '../../fsservice/errno.ts';
import { decodeInode, encodeInode, newInode } from '../../fsservice/inode.ts';
import { decodeCall, decodeResult, encodeCall, encodeResult, isWriteBody, isWriteOperation, DROPPING_OPCODES, OPCODES } from '../../fsservice/operation_codec.ts';
import type { Attributes, Call, Operation, OperationType, Result, Results } from '../../fsservice/operations.ts';
import { ALICE, at, ROOT } from './harness.ts';
import { randomOperation } from './random_calls.ts';

const b = (s: string): Buffer => Buffer.from(s);
const time = { sec: -5, nsec: 999_999_999 };

/** One of each operation, with every field different from its default. */
const OPERATIONS: readonly Operation[] = [
  { type: 'create', at: at('f'), mode: 0o640, exclusive: true, truncate: true },
  { type: 'mkdir', at: at('d'), mode: 0o1755 },
  { type: 'mknod', at: at('n'), fileType: 'character', mode: 0o600, rdev: 0x103 },
  { type: 'symlink', at: at('l'), target: b('../x') },
  { type: 'link', from: at('f'), to: at('g', 7 as Ino), follow: true },
  { type: 'unlink', at: at('f') },
  { type: 'rmdir', at: at('d') },
  { type: 'rename', from: at('f'), to: at('g'), flags: 'exchange' },
  { type: 'setattr', at: at('f'), follow: true, set: { mode: 0o7777, uid: 1, gid: 2, size: 2 ** 44, atime: time, mtime: 'now' } },
  { type: 'write', at: at('', 9 as Ino), offset: 2 ** 40, data: b('data') },
  { type: 'setattr', at: at('f'), follow: false, set: { size: 1 }, dropSetId: true },
  { type: 'write', at: at('f'), offset: 'end', data: b('data'), dropSetId: true },
  { type: 'putFile', at: at('p'), mode: 0o600, data: b('whole'), ifVersion: 77 },
  { type: 'setxattr', at: at('f'), follow: true, name: b('user.a'), value: b('v'), mode: 'replace' },
  { type: 'removexattr', at: at('f'), follow: true, name: b('user.a') },
  { type: 'removeTree', at: at('d') },
  { type: 'keepAlive', seenOp: 99, open: [3 as Ino, (2 ** 47) as Ino] },
  { type: 'collect' },
  { type: 'checkpoint' },
  { type: 'getattr', at: at('f'), follow: true },
  { type: 'read', at: at('f'), offset: 65_536, length: 4096 },
  { type: 'readdir', at: at('d'), after: b('m'), limit: 100, attributes: true },
  { type: 'readlink', at: at('l') },
  { type: 'getxattr', at: at('f'), follow: true, name: b('user.a') },
  { type: 'listxattr', at: at('f'), follow: true },
  { type: 'access', at: at('f'), mask: 5 },
  { type: 'statfs' },
];

const attributes: Attributes = {
  ino: 0x1234_5678_9abc as Ino, type: 'file', mode: 0o4755, nlink: 3, uid: 1000, gid: 100, rdev: 0, size: 2 ** 43 + 1, blocks: 8,
  atime: time, mtime: { sec: 2 ** 40, nsec: 1 }, ctime: { sec: 1, nsec: 2 }, birthtime: { sec: 3, nsec: 4 }, version: 42,
};
const RESULTS: { readonly [T in OperationType]: Results[T] } = {
  create: { attributes, created: true }, putFile: { attributes, created: false }, mkdir: { attributes }, mknod: { attributes }, symlink: { attributes },
  link: { attributes }, setattr: { attributes }, write: { attributes }, getattr: { attributes },
  rename: {}, setxattr: {}, removexattr: {}, access: {},
  unlink: { ino: 5 as Ino, nlink: 2 }, rmdir: { ino: 6 as Ino }, removeTree: { ino: 7 as Ino }, keepAlive: { orphans: 3 }, collect: { freed: 9 }, checkpoint: { op: 2 ** 47 },
  read: { data: b('some bytes'), size: 2 ** 41 },
  readdir: { entries: [{ name: b('a'), ino: 2 as Ino, type: 'directory' }, { name: b('b'), ino: 3 as Ino, type: 'file', attributes }], end: false, ino: 1 as Ino, parent: 1 as Ino },
  readlink: { target: b('../x') }, getxattr: { value: b('v') }, listxattr: { names: [b('user.a'), b('user.b')] },
  statfs: { inodes: 4, maxInodes: 5, bytes: 2 ** 45, maxBytes: 2 ** 46, blockSize: 65_536, orphans: 1 },
};

function decoded<T>(d: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string }): T {
  if (!d.ok) throw new Error(d.reason);
  return d.value;
}

describe('calls', () => {
  it('covers every operation', () => {
    expect([...new Set(OPERATIONS.map((o) => o.type))].sort()).toEqual(Object.keys(OPCODES).sort());
    expect(new Set([...Object.values(OPCODES), ...Object.values(DROPPING_OPCODES)]).size).toBe(OPERATIONS.length);
  });

  it.each(OPERATIONS.map((o) => [o.type, o] as const))('%s: there and back, and no truncation passes', (_type, operation) => {
    const call: Call = { credentials: ALICE, operation };
    const bytes = encodeCall(call);
    expect(decoded(decodeCall(bytes))).toEqual(call);
    for (let n = 0; n < bytes.length; n++) expect(decodeCall(bytes.subarray(0, n)).ok).toBe(false);
    expect(decodeCall(Buffer.concat([bytes, Buffer.from([0])]))).toMatchObject({ ok: false, reason: '1 bytes too many' });
    expect(isWriteBody(bytes)).toBe(isWriteOperation(operation));
  });

  it('random ones come back', () => {
    const rng = new Prng(5);
    for (let i = 0; i < 2000; i++) {
      const call: Call = { credentials: ROOT, operation: randomOperation(rng, { maxIno: 50, paths: ['a', 'a/b'], directories: ['', 'a'], bigFiles: true }) };
      const bytes = encodeCall(call);
      expect(encodeCall(decoded(decodeCall(bytes))).equals(bytes)).toBe(true);
    }
  });

  it('never throws at random bytes, nor at calls in which some are changed', () => {
    const rng = new Prng(6);
    const outcomes = { read: 0, refused: 0 };
    for (let i = 0; i < 5000; i++) {
      const call = (): Buffer => encodeCall({ credentials: ROOT, operation: randomOperation(rng, { maxIno: 50, paths: ['a', 'a/b'], directories: ['', 'a'], bigFiles: false }) });
      const bytes = Buffer.from(rng.chance(0.5) ? rng.bytes(rng.below(80)) : call());
      for (let n = 1 + rng.below(3); n > 0 && bytes.length > 0; n--) bytes[rng.below(bytes.length)] = rng.below(256);
      const d = decodeCall(bytes);
      if (d.ok) outcomes.read++;
      else {
        expect(d.reason).not.toBe('');
        outcomes.refused++;
      }
    }
    // Both: the changes reach beyond the first field.
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(500);
  });

  it('has the bytes that are in logs', () => {
    expect(encodeCall({ credentials: ALICE, operation: defined(OPERATIONS[0], 'create') }).toString('hex')).toBe(
      '01' + '000003e8' + '00000064' + '02' + '00000064' + '000000c8' + '000000000001' + '0001' + '66' + '01a0' + '01' + '01',
    );
    expect(encodeCall({ credentials: ROOT, operation: { type: 'rename', from: at('f'), to: at('g'), flags: 'noreplace' } }).toString('hex')).toBe(
      '08' + '00000000' + '00000000' + '00' + '000000000001' + '000166' + '000000000001' + '000167' + '01',
    );
    expect(encodeCall({ credentials: ROOT, operation: { type: 'setattr', at: at('f'), follow: false, set: { size: 5, mtime: time } } }).toString('hex')).toBe(
      '09' + '00000000' + '00000000' + '00' + '000000000001' + '000166' + '00' + '48' + '0000000000000005' + 'fffffffffffb' + '3b9ac9ff',
    );
  });

  it('has a code of its own where set-id bits go, and no byte more', () => {
    const write: Operation = { type: 'write', at: at('f'), offset: 0, data: b('x') };
    const bytes = encodeCall({ credentials: ROOT, operation: write });
    bytes[0] = 0x12;
    expect(encodeCall({ credentials: ROOT, operation: { ...write, dropSetId: true } })).toEqual(bytes);
  });

  it("has 2^53 - 1 for the end of a file, and takes it for nothing else", () => {
    const bytes = encodeCall({ credentials: ROOT, operation: { type: 'write', at: at('f'), offset: 'end', data: b('x') } });
    expect(bytes.toString('hex')).toBe('0a' + '00000000' + '00000000' + '00' + '000000000001' + '000166' + '001fffffffffffff' + '00000001' + '78');
    const write = (offset: number): Operation => ({ type: 'write', at: at('f'), offset, data: b('x') });
    expect(() => encodeCall({ credentials: ROOT, operation: write(Number.MAX_SAFE_INTEGER) })).toThrow(RangeError);
    expect(decoded(decodeCall(encodeCall({ credentials: ROOT, operation: write(Number.MAX_SAFE_INTEGER - 1) }))).operation).toEqual(write(Number.MAX_SAFE_INTEGER - 1));
  });

  it.each([2 ** 53, 2 ** 63, -1, 0.5, NaN])('throws at a size or an offset that nobody could decode: %s', (n) => {
    expect(() => encodeCall({ credentials: ROOT, operation: { type: 'setattr', at: at('f'), follow: false, set: { size: n } } })).toThrow(RangeError);
    expect(() => encodeCall({ credentials: ROOT, operation: { type: 'read', at: at('f'), offset: n, length: 1 } })).toThrow(RangeError);
  });

  it.each([2 ** 47, -(2 ** 47) - 1, NaN])('throws at a time that would come back as another one: %s s', (sec) => {
    expect(() => encodeCall({ credentials: ROOT, operation: { type: 'setattr', at: at('f'), follow: false, set: { mtime: { sec, nsec: 0 } } } })).toThrow(RangeError);
  });

  it('has as many groups of the caller as the byte that counts them can say', () => {
    const call = (count: number): Call => ({ credentials: { uid: 1, gid: 2, groups: Array.from({ length: count }, (_, i) => 70_000 + i) }, operation: { type: 'statfs' } });
    expect(decoded(decodeCall(encodeCall(call(GROUPS_MAX))))).toEqual(call(GROUPS_MAX));
    expect(GROUPS_MAX).toBe(255);
    expect(() => encodeCall(call(GROUPS_MAX + 1))).toThrow(RangeError);
  });

  it('refuses what is out of range, with a reason', () => {
    const good = encodeCall({ credentials: ROOT, operation: { type: 'mkdir', at: at('d'), mode: 0 } });
    const bad = Buffer.from(good);
    bad.writeUInt16BE(0o10000, bad.length - 2);
    expect(decodeCall(bad)).toEqual({ ok: false, reason: 'mode 0o10000 has bits beyond 0o7777' });
    expect(decodeCall(Buffer.from([0x3f]))).toEqual({ ok: false, reason: 'unknown operation 63' });
    expect(decodeCall(Buffer.alloc(0)).ok).toBe(false);
    expect(isWriteBody(Buffer.alloc(0))).toBe(false);
  });
});

describe('results', () => {
  it.each(Object.keys(RESULTS) as OperationType[])('%s: there and back, and no truncation passes', (type) => {
    const result = { ok: true, value: RESULTS[type] } as Result<typeof type>;
    const bytes = encodeResult(type, result);
    expect(decoded(decodeResult(type, bytes))).toEqual(result);
    for (let n = 0; n < bytes.length; n++) expect(decodeResult(type, bytes.subarray(0, n)).ok).toBe(false);
  });

  it('a failure is its errno, whatever the operation', () => {
    for (const errno of Object.values(Errno)) {
      const bytes = encodeResult('create', { ok: false, errno });
      expect([...bytes]).toEqual([errno]);
      expect(decoded(decodeResult('statfs', bytes))).toEqual({ ok: false, errno });
    }
    expect(decodeResult('create', Buffer.from([200]))).toEqual({ ok: false, reason: 'unknown errno 200' });
  });
});

describe('inode records', () => {
  it.each(['file', 'directory', 'symlink', 'fifo', 'socket', 'block', 'character'] as const)('%s: there and back', (type) => {
    const inode = newInode(9 as Ino, type, 0o4711, 1, 2, { op: 2 ** 40, sec: -1, nsec: 7 });
    if (type === 'directory') inode.parent = 3 as Ino;
    if (type === 'block' || type === 'character') inode.rdev = 77;
    if (type === 'file') {
      inode.size = 2 ** 44;
      inode.blocks = 2 ** 35;
      inode.generation = 3;
      inode.pending = [{ from: 4, generation: 2 }, { from: 9, generation: 3 }];
    }
    inode.unlinkedAt = 12;
    inode.xattrBytes = 1000;
    expect(decodeInode(9 as Ino, encodeInode(inode))).toEqual(inode);
  });

  it('has the bytes that are in checkpoints', () => {
    const inode = newInode(9 as Ino, 'file', 0o644, 1000, 100, { op: 17, sec: 1_700_000_000, nsec: 5000 });
    const moment = '00006553f10000001388';
    expect(encodeInode(inode).toString('hex')).toBe(
      '01' + '01a4' + '00000001' + '000003e8' + '00000064' + '0000000000000000' + moment.repeat(4) + '000000000011' + '000000000000' + '00000000' + '0000000000000000' + '00000000',
    );
  });
});
