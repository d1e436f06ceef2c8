import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { decodeAll } from '../../lib/bytes.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { digest, epoch, opNumber, sessionId, viewOf } from '../../lib/ids.ts';
import { decodeEntry, ENTRY_HEADER_BYTES, makeEntry, MAX_BODY_BYTES, type EntryFields, type EntryKind } from '../../vr/entry.ts';
import { chain, request } from './group.ts';

const fields: EntryFields = {
  kind: 'housekeeping', epoch: epoch(1), view: viewOf(epoch(1), 2), op: opNumber(3), time: 2 ** 40 + 4, session: sessionId(5), slot: 6, seq: 7, body: Buffer.from('body'),
};

describe('an entry', () => {
  test('golden bytes', () => {
    expect(makeEntry(fields, ZERO_DIGEST).bytes.toString('hex')).toBe(
      '00000027' + '03' + '00000001' + '00000002' + '000000000003' + '0000010000000004' + '000000000005' + '0006' + '00000007' + '626f6479',
    );
  });

  test('its hash is sha256(parent, bytes)', () => {
    const parent = digest('p'.repeat(32));
    const e = makeEntry(fields, parent);
    expect(e.hash).toBe(createHash('sha256').update(Buffer.from(parent, 'latin1')).update(e.bytes).digest('binary'));
  });

  test('a chain: equal hashes mean equal logs below', () => {
    const [a, b] = [chain(3, 'a'), chain(3, 'b')];
    expect(a.map((e) => e.hash)).toEqual(chain(3, 'a').map((e) => e.hash));
    expect(request(3, a[1]?.hash ?? ZERO_DIGEST, 'same').hash).not.toBe(request(3, b[1]?.hash ?? ZERO_DIGEST, 'same').hash);
  });

  test('every field is under the hash', () => {
    const base = makeEntry(fields, ZERO_DIGEST).hash;
    const changes: Partial<EntryFields>[] = [
      { kind: 'request' }, { epoch: epoch(2) }, { view: viewOf(epoch(1), 3) }, { op: opNumber(4) }, { time: 5 }, { session: sessionId(6) }, { slot: 7 }, { seq: 8 }, { body: Buffer.from('bodz') },
    ];
    for (const change of changes) expect(makeEntry({ ...fields, ...change }, ZERO_DIGEST).hash).not.toBe(base);
  });

  test('round trip of every kind', () => {
    const kinds: EntryKind[] = ['request', 'register', 'expire', 'housekeeping', 'noop', 'reconfiguration', 'checkpointInterval'];
    for (const kind of kinds) {
      const e = makeEntry({ ...fields, kind, body: Buffer.alloc(kind === 'noop' ? 0 : 100, 1) }, digest('q'.repeat(32)));
      expect(decodeAll(e.bytes, (r) => decodeEntry(r, e.parent))).toEqual({ ok: true, value: e });
    }
  });

  test('a body larger than the scratch buffer hashes alike', () => {
    const e = makeEntry({ ...fields, body: Buffer.alloc(100_000, 7) }, ZERO_DIGEST);
    expect(e.hash).toBe(createHash('sha256').update(Buffer.alloc(32)).update(e.bytes).digest('binary'));
  });

  test('every truncation has a reason', () => {
    const { bytes } = makeEntry(fields, ZERO_DIGEST);
    for (let n = 0; n < bytes.length; n++) expect(decodeAll(bytes.subarray(0, n), (r) => decodeEntry(r, ZERO_DIGEST))).toMatchObject({ ok: false });
  });

  test('what no entry can be has a reason', () => {
    const decode = (change: (b: Buffer) => void): unknown => {
      const bytes = Buffer.concat([makeEntry(fields, ZERO_DIGEST).bytes, Buffer.alloc(64)]);
      change(bytes);
      return decodeAll(bytes, (r) => decodeEntry(r, ZERO_DIGEST));
    };
    expect(decode((b) => { b[4] = 99; })).toEqual({ ok: false, reason: 'unknown entry kind 99' });
    expect(decode((b) => b.writeUInt32BE(ENTRY_HEADER_BYTES - 5, 0))).toEqual({ ok: false, reason: `an entry of ${ENTRY_HEADER_BYTES - 5} bytes` });
    expect(decode((b) => b.writeUInt32BE(ENTRY_HEADER_BYTES - 4 + MAX_BODY_BYTES + 1, 0))).toMatchObject({ ok: false, reason: expect.stringContaining('too long') });
    expect(decode((b) => b.writeUInt32BE(0x20_0000, 19))).toMatchObject({ ok: false, reason: expect.stringContaining('2^53') });
  });

  test('the longest operation fits', () => {
    const e = makeEntry({ ...fields, body: Buffer.alloc(MAX_BODY_BYTES) }, ZERO_DIGEST);
    expect(decodeAll(e.bytes, (r) => decodeEntry(r, ZERO_DIGEST))).toMatchObject({ ok: true });
  });
});
