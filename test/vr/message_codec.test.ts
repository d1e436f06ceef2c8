import { describe, expect, test } from 'vitest';
import { assert, defined } from '../../lib/assert.ts';
import { decodeAll, Reader, Writer } from '../../lib/bytes.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { digest, epoch, memberId, opNumber, sessionId, view, viewOf, type OpNumber } from '../../lib/ids.ts';
import { Log } from '../../vr/log.ts';
import { makeClaim } from '../../vr/log_claim.ts';
import { decodeEnvelope, decodeMessage, encodeEnvelope, encodeMessage, encodeRequest, ENVELOPE_BYTES } from '../../vr/message_codec.ts';
import type { LogClaim, Message, RefusedCode, RejectCode } from '../../vr/messages.ts';
import type { CheckpointId } from '../../vr/superblock.ts';
import { chain, testConfiguration } from './group.ts';

const nonce = Buffer.from('0123456789abcdef');
const entries = chain(5);
const at = (op: number): OpNumber => opNumber(op);
const hashOf = (op: number): ReturnType<typeof digest> => (op === 0 ? ZERO_DIGEST : defined(entries[op - 1], 'entry').hash);
const checkpoint: CheckpointId = { op: at(4_000), root: digest('r'.repeat(32)), entryHash: digest('h'.repeat(32)), view: view(3), time: 2 ** 50 + 7 };
const configuration = testConfiguration(3);

function claimOf(base: number, bodies: number): LogClaim {
  const log = new Log(at(0), ZERO_DIGEST);
  for (const e of entries) log.append(e);
  const claim = makeClaim(log, at(base));
  return { ...claim, entries: bodies === 0 ? [] : claim.entries.slice(-bodies) };
}

const messages: Record<string, Message> = {
  hello: { type: 'hello', clusterId: nonce },
  welcome: { type: 'welcome', view: view(7), configuration, self: memberId(2), address: 'h:0', httpAddress: 'h:1', clusterId: nonce },
  register: { type: 'register', nonce, flags: 1, name: 'näme' },
  registered: { type: 'registered', nonce, session: sessionId(2 ** 40), slots: 1024, timeoutMs: 60_000 },
  request: { type: 'request', session: sessionId(5), slot: 1023, seq: 2 ** 32 - 1, body: Buffer.from('operation') },
  'request without a body': { type: 'request', session: sessionId(5), slot: 0, seq: 1, body: Buffer.alloc(0) },
  reply: { type: 'reply', session: sessionId(5), slot: 3, seq: 9, view: view(4), op: at(77), result: Buffer.from('result') },
  'read, linearizable': { type: 'read', id: 12, consistency: 'linearizable', minOp: at(0), maxStalenessMs: 0, body: Buffer.from('q') },
  'read, causal': { type: 'read', id: 2 ** 32 - 1, consistency: 'causal', minOp: at(2 ** 48 - 1), maxStalenessMs: 0, body: Buffer.alloc(0) },
  readReply: { type: 'readReply', id: 12, op: at(8), result: Buffer.from('answer') },
  redirect: { type: 'redirect', view: view(8), configuration },
  prepare: { type: 'prepare', view: view(2), commit: at(1), round: 6, after: at(2), parent: hashOf(2), entries: entries.slice(2) },
  'prepare, empty': { type: 'prepare', view: view(2), commit: at(1), round: 6, after: at(5), parent: hashOf(5), entries: [] },
  prepareOk: { type: 'prepareOk', view: view(2), op: at(5), round: 2 ** 48 - 1, leaseMs: 400, stamp: 2 ** 40 },
  commit: { type: 'commit', view: view(2), commit: at(4), head: at(5), round: 0, echoes: [] },
  'commit, under a lease': { type: 'commit', view: viewOf(epoch(3), 2), commit: at(4), head: at(5), round: 7, echoes: [{ member: memberId(2), stamp: 2 ** 45 }, { member: memberId(3), stamp: 0 }] },
  startViewChange: { type: 'startViewChange', view: view(3), left: null },
  'startViewChange, left': { type: 'startViewChange', view: view(3), left: view(2) },
  'doViewChange, all bodies': { type: 'doViewChange', view: view(3), logView: view(2), op: at(5), commit: at(1), claim: claimOf(1, 4) },
  'doViewChange, some bodies': { type: 'doViewChange', view: view(3), logView: view(2), op: at(5), commit: at(1), claim: claimOf(1, 2) },
  'doViewChange, no bodies': { type: 'doViewChange', view: view(3), logView: view(2), op: at(5), commit: at(1), claim: claimOf(1, 0) },
  'doViewChange, nothing uncommitted': { type: 'doViewChange', view: view(3), logView: view(2), op: at(5), commit: at(5), claim: claimOf(5, 0) },
  startView: { type: 'startView', view: view(3), op: at(5), commit: at(2), claim: claimOf(2, 3), nonce: Buffer.alloc(0) },
  'startView, asked for': { type: 'startView', view: view(3), op: at(5), commit: at(2), claim: claimOf(2, 1), nonce },
  getView: { type: 'getView', view: view(3), nonce },
  getState: { type: 'getState', view: view(3), nonce, after: at(3), parent: hashOf(3), repairHead: null },
  'getState, repair': { type: 'getState', view: view(3), nonce, after: at(3), parent: hashOf(3), repairHead: { op: at(5), view: view(0), hash: hashOf(5) } },
  'newState, entries': { type: 'newState', kind: 'entries', view: view(3), nonce, after: at(1), parent: hashOf(1), entries: entries.slice(1), op: at(5), commit: at(2) },
  'newState, checkpoint': { type: 'newState', kind: 'checkpoint', view: view(3), nonce, checkpoint },
  'newState, mismatch': { type: 'newState', kind: 'mismatch', view: view(3), nonce, after: at(3) },
  recovery: { type: 'recovery', nonce, checkpoint: at(9), floor: view(2) },
  'recoveryResponse of a backup': { type: 'recoveryResponse', view: view(3), nonce, state: null },
  'recoveryResponse of the primary': { type: 'recoveryResponse', view: view(3), nonce, state: { op: at(5), commit: at(4), checkpoint } },
  startEpoch: { type: 'startEpoch', start: { op: at(9), entryHash: hashOf(5), view: viewOf(epoch(4), 1), held: at(7), previous: configuration }, configuration: { ...configuration, epoch: epoch(4) } },
  epochStarted: { type: 'epochStarted', epoch: epoch(4) },
  'read, bounded': { type: 'read', id: 9, consistency: 'bounded', minOp: at(3), maxStalenessMs: 1500, body: Buffer.from('q') },
  endSession: { type: 'endSession', session: sessionId(77) },
  reconfigure: { type: 'reconfigure', nonce, epoch: epoch(4), members: configuration.members, force: true },
  askInterval: { type: 'askInterval', nonce, change: null },
  'askInterval, to change it': { type: 'askInterval', nonce, change: { after: at(9), ops: 1000, bytes: 2 ** 40 } },
  interval: { type: 'interval', nonce, ops: 1000, bytes: 64 << 20, since: at(9) },
  checkEpoch: { type: 'checkEpoch', nonce },
  newEpoch: { type: 'newEpoch', nonce, view: viewOf(epoch(4), 7), configuration: { ...configuration, epoch: epoch(4) }, complete: false },
  keepLog: { type: 'keepLog', after: at(9) },
  'keepLog, no more': { type: 'keepLog', after: null },
  checkpointNotice: { type: 'checkpointNotice', view: view(7), checkpoint },
};
for (const code of ['busy', 'noSession', 'behind', 'invalid'] satisfies RejectCode[]) {
  messages[`reject, ${code}`] = { type: 'reject', code, reason: 'because', retryAfterMs: 50, session: sessionId(5), slot: 2, seq: 3, id: 4 };
}
for (const code of ['invalid', 'underWay', 'unready', 'busy'] satisfies RefusedCode[]) messages[`refused, ${code}`] = { type: 'refused', nonce, code, reason: 'because' };
/** Ends with bytes of any length: a shorter one is another message, not a broken one. */
const openEnded = new Set<Message['type']>(['request', 'reply', 'read', 'readReply']);

function reasonFor(bytes: Buffer): string {
  const decoded = decodeMessage(bytes);
  return decoded.ok ? 'decoded' : decoded.reason;
}

describe.each(Object.entries(messages))('%s', (_, message) => {
  test('round trip', () => {
    expect(decodeMessage(encodeMessage(message))).toEqual({ ok: true, value: message });
  });

  test('every truncation has a reason', () => {
    const bytes = encodeMessage(message);
    const fixed = openEnded.has(message.type) ? { request: 13, reply: 23, read: 12, readReply: 11 }[message.type as 'read'] : bytes.length;
    for (let n = 0; n < fixed; n++) expect(decodeMessage(bytes.subarray(0, n)).ok, `${n} of ${bytes.length} bytes`).toBe(false);
  });

  test('a byte too many has a reason', () => {
    if (openEnded.has(message.type)) return;
    expect(reasonFor(Buffer.concat([encodeMessage(message), Buffer.alloc(1)]))).toBe('1 bytes too many');
  });

  test('no damage of one byte is worse than a reason', () => {
    const bytes = encodeMessage(message);
    for (let i = 0; i < bytes.length; i++) {
      for (const flip of [0xff, 0x80, 0x01]) {
        const damaged = Buffer.from(bytes);
        damaged[i] = defined(damaged[i], 'byte') ^ flip;
        expect(() => decodeMessage(damaged)).not.toThrow();
      }
    }
  });
});

describe('golden bytes', () => {
  const hex = (m: Message | undefined): string => encodeMessage(defined(m, 'message')).toString('hex');
  const n = nonce.toString('hex');
  const zero = '00'.repeat(32);

  test('of clients\' messages', () => {
    expect(hex(messages['hello'])).toBe(`01${n}`);
    expect(hex(messages['register'])).toBe(`03${n}0000000100056ec3a46d65`);
    expect(hex(messages['registered'])).toBe(`04${n}01000000000004000000ea60`);
    expect(hex(messages['request'])).toBe(`0500000000000503ffffffffff${Buffer.from('operation').toString('hex')}`);
    expect(hex(messages['reply'])).toBe(`06000000000005000300000009000000000000000400000000004d${Buffer.from('result').toString('hex')}`);
    expect(hex(messages['read, linearizable'])).toBe('070000000c000000000000000000000071');
    expect(hex(messages['readReply'])).toBe('080000000c000000000008616e73776572');
    expect(hex(messages['askInterval'])).toBe(`10${n}00`);
    expect(hex(messages['askInterval, to change it'])).toBe(`10${n}01000000000009000003e80000010000000000`);
    expect(hex(messages['interval'])).toBe(`11${n}000003e80000000004000000000000000009`);
    expect(hex(messages['reject, noSession'])).toBe('0a010007626563617573650000003200000000000500020000000300000004');
  });

  test('of the replicas\' messages', () => {
    expect(hex(messages['prepareOk'])).toBe('210000000000000002000000000005ffffffffffff000001900000010000000000');
    expect(hex(messages['commit'])).toBe('22000000000000000200000000000400000000000500000000000000');
    expect(hex(messages['startViewChange'])).toBe('23000000000000000300');
    expect(hex(messages['startViewChange, left'])).toBe('230000000000000003010000000000000002');
    expect(hex(messages['getView'])).toBe(`260000000000000003${n}`);
    expect(hex(messages['recovery'])).toBe(`29${n}0000000000090000000000000002`);
    const [first] = entries;
    const e = defined(first, 'entry').bytes.toString('hex');
    expect(hex({ type: 'prepare', view: view(2), commit: at(0), round: 1, after: at(0), parent: ZERO_DIGEST, entries: entries.slice(0, 1) }))
      .toBe(`200000000000000002000000000000000000000001000000000000${zero}00000001${e}`);
    expect(hex({ type: 'newState', kind: 'mismatch', view: view(1), nonce, after: at(2) })).toBe(`280000000000000001${n}02000000000002`);
    expect(hex({ type: 'startView', view: view(1), op: at(0), commit: at(0), nonce: Buffer.alloc(0), claim: { base: at(0), baseHash: ZERO_DIGEST, headers: [], entries: [] } }))
      .toBe(`250000000000000001${'000000000000'.repeat(2)}0000000000000000${zero}0000000000`);
  });

  test('of an envelope', () => {
    const w = new Writer();
    encodeEnvelope(w, { epoch: epoch(1), sender: memberId(2), incarnation: 3 });
    const bytes = w.finish();
    expect(bytes.toString('hex')).toBe('0000000100000002000000000003');
    expect(bytes.length).toBe(ENVELOPE_BYTES);
    expect(decodeEnvelope(new Reader(bytes))).toEqual({ epoch: 1, sender: 2, incarnation: 3 });
    for (let i = 0; i < bytes.length; i++) expect(decodeAll(bytes.subarray(0, i), decodeEnvelope).ok).toBe(false);
  });

  test('the client\'s short way makes the same bytes', () => {
    const m = messages['request'];
    assert(m?.type === 'request', 'a request');
    expect(encodeRequest(m.session, m.slot, m.seq, m.body)).toEqual(encodeMessage(m));
  });
});

describe('what is not a message', () => {
  test('an unknown kind', () => {
    expect(reasonFor(Buffer.from([0]))).toBe('unknown message kind 0');
    expect(reasonFor(Buffer.from([255]))).toBe('unknown message kind 255');
    expect(reasonFor(Buffer.alloc(0))).toMatch(/truncated/);
  });

  test('an unknown reason of a reject, an unknown variant, a boolean of 2', () => {
    const reject = encodeMessage(defined(messages['reject, busy'], 'message'));
    reject[1] = 9;
    expect(reasonFor(reject)).toBe('unknown reason of a reject');
    const newState = encodeMessage(defined(messages['newState, mismatch'], 'message'));
    newState[25] = 3;
    expect(reasonFor(newState)).toBe('unknown NewState 3');
    const refused = encodeMessage(defined(messages['refused, busy'], 'message'));
    refused[17] = 4;
    expect(reasonFor(refused)).toBe('unknown reason of a refusal');
    const read = encodeMessage(defined(messages['read, bounded'], 'message'));
    read[5] = 3;
    expect(reasonFor(read)).toBe('unknown consistency of a read');
    const started = encodeMessage(defined(messages['epochStarted'], 'message'));
    started[1] = 1;
    expect(reasonFor(started)).toMatch(/^epoch \d+ is out of range$/);
    const said = encodeMessage(defined(messages['startViewChange'], 'message'));
    said[9] = 2;
    expect(reasonFor(said)).toBe('a boolean is 0 or 1, not 2');
  });
});

describe('forged logs', () => {
  const prepare = (): Extract<Message, { type: 'prepare' }> => ({ type: 'prepare', view: view(2), commit: at(1), round: 6, after: at(2), parent: hashOf(2), entries: entries.slice(2) });
  const vote = (claim: LogClaim): Buffer => encodeMessage({ type: 'doViewChange', view: view(3), logView: view(2), op: at(5), commit: at(1), claim });

  test('entries with a gap, out of order, or at another place', () => {
    const [third, fourth, fifth] = entries.slice(2);
    const p = prepare();
    expect(reasonFor(encodeMessage({ ...p, entries: [defined(third, '3'), defined(fifth, '5')] }))).toBe('entry 5 stands where 4 was due');
    expect(reasonFor(encodeMessage({ ...p, entries: [defined(fourth, '4'), defined(third, '3')] }))).toBe('entry 4 stands where 3 was due');
    expect(reasonFor(encodeMessage({ ...p, after: at(3) }))).toBe('entry 3 stands where 4 was due');
  });

  test('more entries than bytes', () => {
    const bytes = encodeMessage(prepare());
    bytes.writeUInt32BE(0xffffffff, 1 + 8 + 6 + 6 + 6 + 32);
    expect(reasonFor(bytes)).toMatch(/^4294967295 entries in/);
  });

  test('entries are chained anew by the receiver: another parent gives other hashes', () => {
    const decoded = decodeMessage(encodeMessage({ ...prepare(), parent: digest('x'.repeat(32)) }));
    assert(decoded.ok && decoded.value.type === 'prepare', 'decoded');
    expect(decoded.value.entries[0]?.parent).toBe('x'.repeat(32));
    expect(decoded.value.entries.map((e) => e.hash)).not.toEqual(entries.slice(2).map((e) => e.hash));
    expect(decoded.value.entries[2]?.parent).toBe(decoded.value.entries[1]?.hash);
  });

  test('a body that is not its header\'s', () => {
    const claim = claimOf(1, 4);
    const headers = claim.headers.map((h, i) => (i === 2 ? { ...h, hash: digest('x'.repeat(32)) } : h));
    expect(reasonFor(vote({ ...claim, headers }))).toBe('the body of op 4 is not its header\'s');
  });

  test('bodies that do not continue the headers', () => {
    const claim = claimOf(1, 2);
    const headers = claim.headers.map((h, i) => (i === 1 ? { ...h, hash: digest('x'.repeat(32)) } : h));
    expect(reasonFor(vote({ ...claim, headers }))).toBe('bodies that do not continue the headers');
    expect(reasonFor(vote({ ...claimOf(1, 4), baseHash: digest('x'.repeat(32)) }))).toBe('bodies that do not continue the headers');
    expect(reasonFor(vote({ ...claimOf(1, 4), entries: entries.slice(0, 4), headers: claimOf(0, 0).headers.slice(0, 4) }))).toBe('bodies that do not continue the headers');
  });

  test('bodies that do not end with the headers', () => {
    const claim = claimOf(1, 4);
    expect(reasonFor(vote({ ...claim, entries: claim.entries.slice(0, 3) }))).toBe('bodies that do not end with the headers');
    expect(reasonFor(vote({ ...claim, headers: claim.headers.slice(0, 3) }))).toMatch(/bodies that do not (end|continue)/);
  });

  test('more headers than bytes, and headers behind the last op-number', () => {
    const bytes = vote(claimOf(1, 0));
    const countAt = 1 + 8 + 8 + 6 + 6 + 6 + 32;
    bytes.writeUInt32BE(1_000_000, countAt);
    expect(reasonFor(bytes)).toMatch(/^1000000 headers in/);
    const beyond = vote(claimOf(1, 0));
    beyond.writeUIntBE(2 ** 48 - 2, countAt - 38, 6);
    expect(decodeMessage(beyond).ok).toBe(false);
  });

  test('a head or a commit-number that the claim does not have', () => {
    const claim = claimOf(1, 4);
    const m = { type: 'doViewChange', view: view(3), logView: view(2), op: at(5), commit: at(1), claim } as const;
    expect(reasonFor(encodeMessage({ ...m, op: at(6) }))).toBe('head 6 of a claim that ends at 5');
    expect(reasonFor(encodeMessage({ ...m, commit: at(6) }))).toBe('commit 6 beyond the head 5');
    expect(reasonFor(encodeMessage({ type: 'startView', view: view(3), op: at(4), commit: at(1), claim, nonce }))).toBe('head 4 of a claim that ends at 5');
  });
});
