/** What is said to the native half of fuse-native, in its own layout. */
import { describe, expect, it } from 'vitest';
import { ino } from '../../lib/ids.ts';
import type { Attributes } from '../../fsservice/operations.ts';
import { Op, statArray, statvfsArray, utimensOf } from '../../mount/fuse_native_addon.ts';
import { fuseOptions, mountOptions } from '../../mount/mount_options.ts';

const attributes: Attributes = {
  ino: ino(12), type: 'directory', mode: 0o1777, nlink: 3, uid: 1, gid: 2, rdev: 0, size: 2 ** 33 + 5, blocks: 7,
  atime: { sec: 1000, nsec: 1_999_999 }, mtime: { sec: 4_294_968, nsec: 0 }, ctime: { sec: -5, nsec: 0 }, birthtime: { sec: 0, nsec: 0 }, version: 1,
};

describe('statArray', () => {
  it('splits 64-bit numbers and gives times in whole milliseconds, none before 1970', () => {
    const out = [...statArray(attributes)];
    expect(out.slice(0, 5)).toEqual([0o041777, 1, 2, 5, 2]);
    expect(out.slice(6, 12)).toEqual([3, 12, 0, 131_072, 7, 0]);
    expect(out.slice(12)).toEqual([1_000_001, 0, 4_294_968_000 - 2 ** 32, 1, 0, 0]);
  });
});

describe('statvfsArray', () => {
  it('shows the largest count where one does not fit 32 bits', () => {
    const out = [...statvfsArray({ inodes: 1, maxInodes: 2 ** 40, bytes: 0, maxBytes: 2 ** 46, blockSize: 65_536, orphans: 0 })];
    expect(out).toEqual([65_536, 65_536, 2 ** 30, 2 ** 30, 2 ** 30, 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 0, 0, 255]);
  });
});

describe('utimensOf', () => {
  function locals(atime: bigint, mtime: bigint): Buffer {
    const out = Buffer.alloc(400);
    out.writeUInt32LE(Op.utimens, 8);
    out.writeBigInt64LE(atime, 104);
    out.writeBigInt64LE(mtime, 112);
    return out;
  }

  it('finds the modification time, which the addon does not pass', () => {
    expect(utimensOf(locals(1_500n, 999_123n), 1500)).toEqual({ atime: { sec: 1, nsec: 500_000_000 }, mtime: { sec: 999, nsec: 123_000_000 } });
    expect(utimensOf(locals(0n, -1n), 0)?.mtime).toEqual({ sec: -1, nsec: 999_000_000 });
  });

  it('refuses a structure that is laid out in another way', () => {
    expect(utimensOf(locals(1_500n, 999_123n), 1501)).toBeUndefined();
    expect(utimensOf(Buffer.alloc(64), 0)).toBeUndefined();
  });
});

describe('fuseOptions', () => {
  it('is strict unless asked otherwise', () => {
    expect(fuseOptions(mountOptions({ allowOther: true }))).toBe(
      `fsname=vrfs:${process.pid},subtype=vrfs,default_permissions,use_ino,big_writes,entry_timeout=0,attr_timeout=0,negative_timeout=0,direct_io,allow_other`,
    );
    expect(fuseOptions(mountOptions({ allowOther: false, cache: 'open', attributeCacheMs: 1500, readOnly: true }))).toBe(
      `fsname=vrfs:${process.pid},subtype=vrfs,default_permissions,use_ino,big_writes,entry_timeout=1.5,attr_timeout=1.5,negative_timeout=0,ro`,
    );
  });
});
