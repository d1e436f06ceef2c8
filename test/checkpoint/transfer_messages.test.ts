import { describe, expect, test } from 'vitest';
import { Writer } from '../../lib/bytes.ts';
import { digest, opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import {
  beginAnswer,
  decodeRequest,
  encodeGone,
  encodeRefused,
  encodeRequest,
  putInner,
  putMissing,
  putPage,
  type AnswerSlot,
  type NodeRequest,
  type PageAnswer,
  type TransferRequest,
} from '../../checkpoint/transfer_messages.ts';
import { decodeWhole } from './whole_answer.ts';

const hash = (n: number): Buffer => Buffer.alloc(32, n);

function request(items: NodeRequest[], top: TransferRequest['top'] = 'no'): TransferRequest {
  return { op: opNumber(7), root: digest('r'.repeat(32)), since: 5, maxBytes: 1000, top, items };
}
const inner: NodeRequest = { kind: 'inner', bits: 12, prefix: Buffer.from([0x12, 0x30]), full: true };
const page: NodeRequest = { kind: 'page', bits: 11, prefix: Buffer.from([0x12, 0x20]), full: true };

const slots: (AnswerSlot | null)[] = new Array<AnswerSlot | null>(16).fill(null);
slots[0] = { kind: 'page', span: 4, hash: hash(1) };
slots[4] = { kind: 'page', span: 1, hash: null };
slots[5] = { kind: 'inner', hash: null };
slots[6] = { kind: 'inner', hash: hash(2), nibbles: 5, prefix: Buffer.from([0x12, 0x36, 0x70]) };
slots[8] = { kind: 'page', span: 8, hash: hash(3) };

const pageAnswer: PageAnswer = {
  kind: 'page',
  records: [
    { key: Buffer.from([0x12, 0x21]), value: Buffer.alloc(0) },
    { key: Buffer.from([0x12, 0x21, 0]), value: Buffer.alloc(300, 7) },
    { key: Buffer.from([0x12, 0x2f, 9, 9]), value: Buffer.from('v') },
  ],
  complete: false,
  fingerprints: Buffer.alloc(16, 1),
};

function wholeAnswer(): Buffer {
  const w = new Writer();
  beginAnswer(w, { count: 99, extra: Buffer.from('extra'), top: { place: { kind: 'inner', bits: 0, prefix: Buffer.alloc(0) }, hash: hash(9) } });
  putInner(w, [...new Array<null>(15).fill(null), { kind: 'page', span: 1, hash: hash(4) }], 0);
  putInner(w, slots, 3);
  putPage(w, pageAnswer, page);
  putMissing(w);
  return w.finish();
}
const wholeRequest = request([inner, page, page], 'full');

describe('requests', () => {
  test('round trip', () => {
    const asked = request([inner, page, { ...page, full: false }, { kind: 'page', bits: 0, prefix: Buffer.alloc(0), full: false }], 'changed');
    expect(decodeRequest(encodeRequest(asked))).toEqual({ ok: true, value: asked });
  });
  test('golden bytes', () => {
    expect(encodeRequest(request([inner, page])).toString('hex')).toBe(
      `01${'000000000007'}${'72'.repeat(32)}${'000000000005'}${'000003e8'}0002${'1200030012' + '30'}${'11000b0120'}`,
    );
  });
  test('every truncation, and what is too much, is refused with a reason', () => {
    const bytes = encodeRequest(request([inner, page]));
    for (let n = 0; n < bytes.length; n++) expect(decodeRequest(bytes.subarray(0, n)).ok).toBe(false);
    expect(decodeRequest(Buffer.concat([bytes, Buffer.alloc(1)])).ok).toBe(false);
    expect(decodeRequest(Buffer.from([2]))).toEqual({ ok: false, reason: 'state transfer version 2; this replica speaks 1' });
  });
});

describe('answers', () => {
  test('round trip', () => {
    expect(decodeWhole(wholeAnswer(), wholeRequest)).toMatchObject({
      ok: true,
      value: {
        type: 'nodes',
        top: { count: 99, extra: Buffer.from('extra'), top: { place: { kind: 'inner', bits: 0 }, hash: hash(9) } },
        nodes: [{ kind: 'inner' }, { kind: 'inner', slots }, pageAnswer, { kind: 'missing' }],
      },
    });
    const gone = { type: 'gone', available: [{ op: opNumber(3), root: digest('x'.repeat(32)) }] } as const;
    expect(decodeWhole(encodeGone(gone.available), wholeRequest)).toEqual({ ok: true, value: gone });
    expect(decodeWhole(encodeRefused('no'), wholeRequest)).toEqual({ ok: true, value: { type: 'refused', reason: 'no' } });
  });
  test('of nodes asked for by what changed, their children may follow', () => {
    const asked = request([{ ...inner, full: false }]);
    const w = new Writer();
    beginAnswer(w, null);
    putInner(w, slots, 3);
    putPage(w, { kind: 'page', records: [{ key: Buffer.from([0x12, 0x30]), value: Buffer.from('a') }], complete: true, fingerprints: null }, { kind: 'page', bits: 14, prefix: Buffer.from([0x12, 0x30]) });
    const bytes = w.finish();
    const decoded = decodeWhole(bytes, asked);
    expect(decoded.ok && decoded.value.type === 'nodes' ? decoded.value.nodes.map(({ kind }) => kind) : []).toEqual(['inner', 'page']);
    expect(decodeWhole(bytes, request([inner])).ok).toBe(false);
  });
  test('keys of a page that do not ascend, or are not of the page, are refused', () => {
    const told = (...keys: string[]): unknown => {
      const w = new Writer();
      beginAnswer(w, null);
      putPage(w, { ...pageAnswer, records: keys.map((key) => ({ key: Buffer.from(key, 'hex'), value: Buffer.from('v') })) }, page);
      return decodeWhole(w.finish(), request([page]));
    };
    expect(told('1220', '1221', '122100')).toMatchObject({ ok: true });
    expect(told('1221', '1220')).toEqual({ ok: false, reason: 'keys of a page that do not ascend' });
    expect(told('1221', '1221')).toEqual({ ok: false, reason: 'keys of a page that do not ascend' });
    expect(told('1221', '1241')).toEqual({ ok: false, reason: 'a key outside of its page' });
    expect(told('1121')).toEqual({ ok: false, reason: 'a key outside of its page' });
  });
  test('nodes behind what was asked for, and a little more, are refused', () => {
    const answered = (values: number): unknown => {
      const w = new Writer();
      beginAnswer(w, null);
      for (let i = 0; i < 3; i++) putPage(w, { ...pageAnswer, records: [{ key: Buffer.from([0x12, 0x21]), value: Buffer.alloc(values) }] }, page);
      return decodeWhole(w.finish(), request([page, page, page]));
    };
    expect(answered(50_000)).toMatchObject({ ok: true });
    expect(answered(100_000)).toEqual({ ok: false, reason: 'more than 1000 bytes, which were asked for' });
  });
  test('no truncation and no flipped bit makes the decoder do anything but answer', () => {
    const bytes = wholeAnswer();
    for (let n = 0; n < bytes.length; n++) {
      const decoded = decodeWhole(bytes.subarray(0, n), wholeRequest);
      // An answer may end after any node.
      if (decoded.ok) expect(decoded.value.type).toBe('nodes');
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      decodeWhole(flipped, wholeRequest);
    }
    const r = new Prng(1);
    for (let i = 0; i < 3000; i++) {
      const noise = r.bytes(r.below(200));
      if (noise.length > 0) noise[0] = r.below(3);
      decodeWhole(noise, wholeRequest);
      decodeRequest(noise);
    }
  });
});
