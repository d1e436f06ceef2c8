import { describe, expect, it } from 'vitest';
import { decodeStatus, encodePut, encodeRange, fieldsOf, hasKey } from './protobuf.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('requests to etcd', () => {
  it('encode as protobuf does', () => {
    expect(encodePut(Buffer.from('foo'), Buffer.from('bar'))).toEqual(hex('0a 03 666f6f 12 03 626172'));
    expect(encodePut(Buffer.from('foo'), Buffer.alloc(0))).toEqual(hex('0a 03 666f6f'));
    expect(encodeRange(Buffer.from('foo'), false)).toEqual(hex('0a 03 666f6f'));
    expect(encodeRange(Buffer.from('foo'), true)).toEqual(hex('0a 03 666f6f 38 01'));
  });

  it('encode lengths of more than one byte', () => {
    for (const [length, varint] of [[127, '7f'], [128, '8001'], [300, 'ac02'], [16_384, '808001']] as const) {
      expect(encodePut(Buffer.alloc(length, 1), Buffer.alloc(0))).toEqual(Buffer.concat([hex(`0a ${varint}`), Buffer.alloc(length, 1)]));
    }
  });
});

describe('answers of etcd', () => {
  it('has a key when there is a kvs', () => {
    const header = '0a 06 08 ac02 10 96 01'; // 1: { 1: 300, 2: 150 }
    expect(hasKey(hex(`${header} 12 05 0a 03 666f6f 20 01`))).toBe(true);
    expect(hasKey(hex(`${header}`))).toBe(false);
    expect(hasKey(hex(`${header} 20 00`))).toBe(false);
  });

  it('a status says who answers, who leads, and how far it is', () => {
    // header { member_id 150, revision 7 }, version "3.4.23", dbSize 4096, leader 2^64 - 1, raftIndex 300, raftTerm 2, raftAppliedIndex 299
    const status = decodeStatus(hex('0a 05 10 9601 18 07 12 06 332e342e3233 18 8020 20 ffffffffffffffffff01 28 ac02 30 02 38 ab02'));
    expect(status).toEqual({ member: 150n, revision: 7n, version: '3.4.23', leader: 2n ** 64n - 1n, raftIndex: 300n, raftAppliedIndex: 299n });
  });

  it('whatever is cut off or of another kind is refused', () => {
    const whole = hex('0a 05 10 9601 18 07 28 ac02');
    // Behind a whole field there is nothing to miss.
    for (let end = 1; end < whole.length; end++) {
      if (end !== 7) expect(() => [...fieldsOf(whole.subarray(0, end))]).toThrow(RangeError);
    }
    expect(() => [...fieldsOf(hex('0d 00000000'))]).toThrow('wire type 5');
    expect(() => [...fieldsOf(hex('08 ffffffffffffffffffffff01'))]).toThrow('ten bytes');
  });
});
