import { describe, expect, test } from 'vitest';
import { digest, epoch, opNumber, view, viewOf } from '../../lib/ids.ts';
import { decodeSuperblock, encodeSuperblock, SUPERBLOCK_VERSION, type Superblock } from '../../vr/superblock.ts';
import { freshSuperblock, testConfiguration } from './group.ts';

const full: Superblock = {
  ...freshSuperblock(testConfiguration(3, 'memory'), 2),
  incarnation: 9, view: view(8), promisedView: view(7), logView: view(6), instance: Buffer.alloc(16, 0xaa), retired: true,
  epochStart: { op: opNumber(4_999), entryHash: digest('s'.repeat(32)), view: viewOf(epoch(2), 1), held: opNumber(4_000), previous: testConfiguration(1) },
  heldByAll: opNumber(23), leaseMs: 400,
  checkpoint: { op: opNumber(5_000), root: digest('r'.repeat(32)), entryHash: digest('h'.repeat(32)), view: view(4), time: 2 ** 52 + 1 },
};

describe('the superblock', () => {
  test('round trip', () => {
    for (const s of [freshSuperblock(testConfiguration(1), 1), full]) expect(decodeSuperblock(encodeSuperblock(s))).toEqual({ ok: true, value: s });
  });

  test('golden bytes', () => {
    const group = '00000000' + '00' + '01' + '00000001' + '00' + '000d' + Buffer.from('10.0.0.1:7000').toString('hex') + '000d' + Buffer.from('10.0.0.1:8000').toString('hex');
    expect(encodeSuperblock({ ...full, configuration: testConfiguration(1) }).toString('hex')).toBe(
      '0003' + Buffer.from('vrfs-test-group!').toString('hex') + '00000002' + 'aa'.repeat(16)
      + group
      + '01' + '000000001387' + '73'.repeat(32) + '0000000200000001' + '000000000fa0' + group
      + '00000009' + '0000000000000008' + '0000000000000007' + '0000000000000006'
      + '000000001388' + '72'.repeat(32) + '68'.repeat(32) + '0000000000000004' + '0010000000000001' + '000000000017' + '00000190' + '01',
    );
  });

  test('every truncation and every addition has a reason', () => {
    const bytes = encodeSuperblock(full);
    for (let n = 0; n < bytes.length; n++) expect(decodeSuperblock(bytes.subarray(0, n))).toMatchObject({ ok: false });
    expect(decodeSuperblock(Buffer.concat([bytes, Buffer.alloc(1)]))).toMatchObject({ ok: false });
  });

  test('another version is named', () => {
    const bytes = encodeSuperblock(full);
    bytes.writeUInt16BE(SUPERBLOCK_VERSION + 1, 0);
    expect(decodeSuperblock(bytes)).toEqual({ ok: false, reason: `superblock version ${SUPERBLOCK_VERSION + 1}; this program reads version ${SUPERBLOCK_VERSION}` });
  });

  test('does not keep the buffer that it was read from', () => {
    const bytes = encodeSuperblock(full);
    const read = decodeSuperblock(bytes);
    bytes.fill(0);
    expect(read).toMatchObject({ ok: true, value: { clusterId: full.clusterId } });
  });
});
