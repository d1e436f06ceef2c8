/** Bytes as linux/fuse.h has them. */
import { describe, expect, it } from 'vitest';
import { ino } from '../../lib/ids.ts';
import type { Attributes } from '../../fsservice/operations.ts';
import { ATTR_OUT_SIZE, BODY, direntSize, ENTRY_OUT_SIZE, FuseRequest, putAttrOut, putDirent, putEntryOut, putInitOut, putStatfsOut, REQUEST_MAX, setattrOf } from '../../mount/fuse_protocol.ts';

const attributes: Attributes = {
  ino: ino(2 ** 40 + 5), type: 'file', mode: 0o4755, nlink: 2, uid: 1000, gid: 1001, rdev: 0, size: 2 ** 33 + 1, blocks: 3,
  atime: { sec: 1, nsec: 2 }, mtime: { sec: -1, nsec: 999_999_999 }, ctime: { sec: 2 ** 32 + 7, nsec: 4 }, birthtime: { sec: 0, nsec: 0 }, version: 9,
};

function request(opcode: number, body: Buffer): FuseRequest {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(0xfedc_ba98_7654_3210n, 8);
  header.writeBigUInt64LE(2n ** 40n + 5n, 16);
  header.writeUInt32LE(1000, 24);
  header.writeUInt32LE(1001, 28);
  header.writeUInt32LE(4321, 32);
  return new FuseRequest(Buffer.concat([header, body]));
}

describe('a request', () => {
  it('has its header', () => {
    const q = request(3, Buffer.alloc(0));
    expect([q.opcode, q.nodeId, q.uid, q.gid, q.pid]).toEqual([3, 2 ** 40 + 5, 1000, 1001, 4321]);
  });

  it('has names that end with NUL, of any bytes', () => {
    const q = request(12, Buffer.concat([Buffer.alloc(8), Buffer.from('caf\xe9\0b\0', 'latin1')]));
    expect(q.names(8).map((name) => name.toString('latin1'))).toEqual(['caf\xe9', 'b']);
  });

  it('is answered under its own number, with length and error', () => {
    const out = request(3, Buffer.alloc(0)).reply(-2, 0);
    expect(out.readUInt32LE(0)).toBe(16);
    expect(out.readInt32LE(4)).toBe(-2);
    expect(out.readBigUInt64LE(8)).toBe(0xfedc_ba98_7654_3210n);
    expect(request(15, Buffer.alloc(0)).reply(0, 0, 5000).readUInt32LE(0)).toBe(5016);
  });
});

describe('replies', () => {
  it('attributes: 64-bit numbers, nanoseconds, times before 1970 and after 2106', () => {
    const out = Buffer.alloc(BODY + ATTR_OUT_SIZE);
    putAttrOut(out, BODY, attributes, 1500);
    expect(out.readBigUInt64LE(16)).toBe(1n);
    expect(out.readUInt32LE(24)).toBe(500_000_000);
    const attr = out.subarray(32);
    expect(attr.readBigUInt64LE(0)).toBe(2n ** 40n + 5n);
    expect(attr.readBigUInt64LE(8)).toBe(2n ** 33n + 1n);
    expect([attr.readBigInt64LE(24), attr.readBigInt64LE(32), attr.readBigInt64LE(40)]).toEqual([1n, -1n, 2n ** 32n + 7n]);
    expect([attr.readUInt32LE(48), attr.readUInt32LE(52), attr.readUInt32LE(56)]).toEqual([2, 999_999_999, 4]);
    expect(attr.readUInt32LE(60)).toBe(0o104755);
    expect([attr.readUInt32LE(64), attr.readUInt32LE(68), attr.readUInt32LE(72)]).toEqual([2, 1000, 1001]);
  });

  it('an entry: node id is the inode number; never believed without asking by default', () => {
    const out = Buffer.alloc(ENTRY_OUT_SIZE);
    putEntryOut(out, 0, attributes, 0);
    expect(out.readBigUInt64LE(0)).toBe(2n ** 40n + 5n);
    expect(out.subarray(8, 40).every((byte) => byte === 0)).toBe(true);
    expect(out.readBigUInt64LE(40)).toBe(2n ** 40n + 5n);
  });

  it('statfs counts blocks', () => {
    const out = Buffer.alloc(80);
    putStatfsOut(out, 0, { inodes: 5, maxInodes: 100, bytes: 65_536, maxBytes: 65_536 * 10, blockSize: 65_536, orphans: 0 });
    expect([0, 8, 16, 24, 32].map((at) => Number(out.readBigUInt64LE(at)))).toEqual([10, 9, 9, 100, 95]);
  });

  it('init says 7, times to the nanosecond, and how large a write may be', () => {
    const out = Buffer.alloc(64);
    putInitOut(out, 0, { minor: 38, maxReadahead: 131_072, flags: 1 << 31, flags2: 16 });
    expect([out.readUInt32LE(0), out.readUInt32LE(4), out.readUInt32LE(12), out.readUInt32LE(20), out.readUInt32LE(24), out.readUInt32LE(32)]).toEqual([7, 38, 2 ** 31, 131_072, 1, 16]);
    // Such a write is one also from the middle of a page on, and in many small pieces.
    expect(out.readUInt16LE(28)).toBe(256);
    // The kernel reads no request into less than the largest write takes with its two headers.
    expect(REQUEST_MAX).toBeGreaterThanOrEqual(131_072 + 80);
  });

  it('a directory entry is padded to 8 bytes', () => {
    expect([1, 8, 9].map(direntSize)).toEqual([32, 32, 40]);
    const out = Buffer.alloc(direntSize(3));
    putDirent(out, 0, { ino: 7, offset: 3, type: 8, name: Buffer.from('abc') });
    expect([out.readBigUInt64LE(0), out.readBigUInt64LE(8), out.readUInt32LE(16), out.readUInt32LE(20), out.toString('latin1', 24)]).toEqual([7n, 3n, 3, 8, 'abc\0\0\0\0\0']);
  });
});

describe('setattr', () => {
  function setattr(valid: number, fill: (body: Buffer) => void = () => undefined): ReturnType<typeof setattrOf> {
    const body = Buffer.alloc(88);
    body.writeUInt32LE(valid, 0);
    fill(body);
    return setattrOf(request(4, body));
  }

  it('takes only what is marked', () => {
    expect(setattr(0)).toEqual({ set: {}, handle: undefined, kill: false });
    expect(setattr(1, (b) => b.writeUInt32LE(0o100644, 68)).set).toEqual({ mode: 0o644 });
    expect(setattr(6, (b) => { b.writeUInt32LE(5, 76); b.writeUInt32LE(6, 80); }).set).toEqual({ uid: 5, gid: 6 });
    expect(setattr(8 | 64 | 2048, (b) => { b.writeBigUInt64LE(9n, 8); b.writeBigUInt64LE(2n ** 33n, 16); })).toEqual({ set: { size: 2 ** 33 }, handle: 9, kill: true });
  });

  it('has one time without the other, the present, and times before 1970', () => {
    expect(setattr(32, (b) => { b.writeBigInt64LE(-2n, 40); b.writeUInt32LE(500, 60); }).set).toEqual({ mtime: { sec: -2, nsec: 500 } });
    expect(setattr(16 | 32 | 128 | 256).set).toEqual({ atime: 'now', mtime: 'now' });
  });

  it.each([[2n ** 47n - 1n, { sec: 2 ** 47 - 1, nsec: 5 }], [2n ** 47n, { sec: 2 ** 47 - 1, nsec: 0 }], [2n ** 62n, { sec: 2 ** 47 - 1, nsec: 0 }], [-(2n ** 47n), { sec: -(2 ** 47), nsec: 5 }],
    [-(2n ** 47n) - 1n, { sec: -(2 ** 47), nsec: 0 }], [-(2n ** 63n), { sec: -(2 ** 47), nsec: 0 }]])('takes the nearest time that an inode can have for %s s', (given, mtime) => {
    expect(setattr(32, (b) => { b.writeBigInt64LE(given, 40); b.writeUInt32LE(5, 60); }).set).toEqual({ mtime });
  });
});
