import { describe, expect, test } from 'vitest';
import { decodeAll, Writer } from '../../lib/bytes.ts';
import { epoch, memberId, view } from '../../lib/ids.ts';
import { configuration, decodeConfiguration, encodeConfiguration, isMember, primaryOf, quorum, type Configuration, type Member } from '../../vr/configuration.ts';
import { testConfiguration } from './group.ts';

const member = (id: number, address: string): Member => ({ id: memberId(id), role: 'voter' as const, address, httpAddress: `${address}0` });
function encoded(c: Configuration): Buffer {
  const w = new Writer();
  encodeConfiguration(w, c);
  return w.finish();
}

describe('quorum', () => {
  test('is floor(K/2)+1, also for an even K', () => {
    expect([1, 2, 3, 4, 5, 6, 7].map((k) => quorum(testConfiguration(k)))).toEqual([1, 2, 2, 3, 3, 4, 4]);
  });

  test('any two quorums share a member', () => {
    for (let k = 1; k <= 9; k++) expect(2 * quorum(testConfiguration(k))).toBeGreaterThan(k);
  });
});

describe('the primary of a view', () => {
  test('goes round by address, not by id, nor by the order given', () => {
    const c = configuration(epoch(0), [member(1, 'c:1'), member(2, 'a:1'), member(3, 'b:1')], 'disk');
    expect([0, 1, 2, 3, 4].map((v) => primaryOf(c, view(v)).id)).toEqual([2, 3, 1, 2, 3]);
  });

  test('addresses compare bytewise', () => {
    const c = configuration(epoch(0), [member(1, 'ä:1'), member(2, 'b:1'), member(3, 'B:1')], 'disk');
    expect(c.members.map((m) => m.id)).toEqual([3, 2, 1]);
  });
});

describe('a configuration', () => {
  test('knows its members', () => {
    expect(isMember(testConfiguration(3), memberId(3))).toBe(true);
    expect(isMember(testConfiguration(3), memberId(4))).toBe(false);
  });

  test('is never changed', () => {
    const c = testConfiguration(3);
    expect(Object.isFrozen(c)).toBe(true);
    expect(Object.isFrozen(c.members)).toBe(true);
  });

  test('has members, each once', () => {
    expect(() => configuration(epoch(0), [], 'disk')).toThrow(/at least one member/);
    expect(() => configuration(epoch(0), [member(1, 'a:1'), member(1, 'b:1')], 'disk')).toThrow(/ids are distinct/);
    expect(() => configuration(epoch(0), [member(1, 'a:1'), member(2, 'a:1')], 'disk')).toThrow(/addresses are distinct/);
  });

  test('round trip', () => {
    for (const c of [testConfiguration(1), testConfiguration(4, 'memory'), configuration(epoch(7), [member(900, 'höst:1')], 'disk')]) {
      expect(decodeAll(encoded(c), decodeConfiguration)).toEqual({ ok: true, value: c });
    }
  });

  test('golden bytes', () => {
    expect(encoded(configuration(epoch(3), [member(2, 'a:1')], 'memory')).toString('hex')).toBe('00000003010100000002000003613a310004613a3130');
  });

  test('every truncation has a reason', () => {
    const bytes = encoded(testConfiguration(3));
    for (let n = 0; n < bytes.length; n++) expect(decodeAll(bytes.subarray(0, n), decodeConfiguration)).toMatchObject({ ok: false });
    expect(decodeAll(Buffer.concat([bytes, Buffer.alloc(1)]), decodeConfiguration)).toMatchObject({ ok: false, reason: '1 bytes too many' });
  });

  test('what no configuration can be has a reason', () => {
    const none = encoded(testConfiguration(1));
    none[5] = 0;
    expect(decodeAll(none.subarray(0, 6), decodeConfiguration)).toMatchObject({ ok: false, reason: 'a configuration without members' });
    const mode = encoded(testConfiguration(1));
    mode[4] = 2;
    expect(decodeAll(mode, decodeConfiguration)).toMatchObject({ ok: false, reason: 'unknown durability 2' });
    const one = encoded(testConfiguration(1)).subarray(6);
    const twice = Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 2]), one, one]);
    expect(decodeAll(twice, decodeConfiguration)).toMatchObject({ ok: false, reason: 'a configuration with a member twice' });
  });
});
