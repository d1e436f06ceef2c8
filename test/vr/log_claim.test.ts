import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { MAX_FRAME_BYTES } from '../../lib/frame.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view, type Digest } from '../../lib/ids.ts';
import type { Entry } from '../../vr/entry.ts';
import { Log } from '../../vr/log.ts';
import { assemble, CLAIM_BODY_BYTES, CLAIM_HEADERS, claimHead, claimHeadHash, commonHead, extendBack, makeClaim } from '../../vr/log_claim.ts';
import { encodeMessage } from '../../vr/message_codec.ts';
import type { LogClaim } from '../../vr/messages.ts';
import { chain, request } from './group.ts';

function logOf(entries: readonly Entry[], base = 0, baseHash: Digest = ZERO_DIGEST): Log {
  const log = new Log(opNumber(base), baseHash);
  for (const e of entries) log.append(e);
  return log;
}
const NO_BODIES: ReadonlyMap<Digest, Entry> = new Map();
const ops = (entries: readonly Entry[]): number[] => entries.map((e) => e.op);
const without = (claim: LogClaim, keep: number): LogClaim => ({ ...claim, entries: claim.entries.slice(claim.entries.length - keep) });

const common = chain(10);
const hashAt = (op: number): Digest => (op === 0 ? ZERO_DIGEST : defined(common[op - 1], 'entry').hash);

describe('a claim', () => {
  test('names every entry above its base, with its view', () => {
    const claim = makeClaim(logOf(common), opNumber(6));
    expect(claim.base).toBe(6);
    expect(claim.baseHash).toBe(hashAt(6));
    expect(claim.headers).toEqual(common.slice(6).map((e) => ({ op: e.op, view: e.view, hash: e.hash })));
    expect(ops(claim.entries)).toEqual([7, 8, 9, 10]);
    expect(claimHead(claim)).toBe(10);
    expect(claimHeadHash(claim)).toBe(hashAt(10));
  });

  test('of nothing uncommitted is its base alone', () => {
    const claim = makeClaim(logOf(common), opNumber(10));
    expect(claim).toEqual({ base: 10, baseHash: hashAt(10), headers: [], entries: [] });
    expect(claimHead(claim)).toBe(10);
    expect(claimHeadHash(claim)).toBe(hashAt(10));
  });

  test('brings the last bodies that fit, and all the headers (row 4)', () => {
    const big: Entry[] = [];
    for (let op = 1, hash = ZERO_DIGEST; op <= 5; op++) {
      const e = request(op, hash, 'x'.repeat(CLAIM_BODY_BYTES / 2 - 100));
      big.push(e);
      hash = e.hash;
    }
    const claim = makeClaim(logOf(big), opNumber(0));
    expect(claim.headers.length).toBe(5);
    expect(ops(claim.entries)).toEqual([4, 5]);
  });

  test('names the last entries only of a log that is longer than it may be', () => {
    expect(makeClaim(logOf(common), opNumber(2), { bodyBytes: CLAIM_BODY_BYTES, headers: 3 })).toEqual(makeClaim(logOf(common), opNumber(7)));
    expect(makeClaim(logOf(common), opNumber(8), { bodyBytes: CLAIM_BODY_BYTES, headers: 3 })).toEqual(makeClaim(logOf(common), opNumber(8)));
  });

  test('fits into a frame, however long the log is', () => {
    const headers = Array.from({ length: CLAIM_HEADERS }, (_, i) => ({ op: opNumber(i + 1), view: view(1), hash: hashAt(1) }));
    const last = request(CLAIM_HEADERS, hashAt(1), 'x'.repeat(CLAIM_BODY_BYTES));
    const claim = { base: opNumber(0), baseHash: ZERO_DIGEST, headers, entries: [last] };
    const vote = encodeMessage({ type: 'doViewChange', view: view(1), logView: view(1), op: opNumber(CLAIM_HEADERS), commit: opNumber(0), claim });
    // Half of it is left to whatever else waits to be sent.
    expect(vote.length).toBeGreaterThan(CLAIM_HEADERS * 32);
    expect(vote.length).toBeLessThan(MAX_FRAME_BYTES * 0.6);
  });

  test('begins at the base of the log at the lowest', () => {
    const log = logOf(common);
    log.collect(opNumber(4));
    expect(makeClaim(log, opNumber(4)).baseHash).toBe(hashAt(4));
    expect(() => makeClaim(log, opNumber(3))).toThrow();
  });
});

describe('assembling the log of a claim', () => {
  test('equal logs: everything is kept', () => {
    const built = assemble(logOf(common), opNumber(3), makeClaim(logOf(common), opNumber(6)), NO_BODIES);
    expect(built).toEqual({ keep: 10, entries: [], complete: true, at: 10, hash: hashAt(10) });
  });

  test('the claim is ahead: own log stays, its bodies follow', () => {
    const built = assemble(logOf(common.slice(0, 7)), opNumber(6), makeClaim(logOf(common), opNumber(6)), NO_BODIES);
    expect(built).toEqual({ keep: 7, entries: common.slice(7), complete: true, at: 10, hash: hashAt(10) });
  });

  test('the claim is shorter: what is behind it goes', () => {
    const built = assemble(logOf(common), opNumber(5), makeClaim(logOf(common.slice(0, 8)), opNumber(5)), NO_BODIES);
    expect(built).toEqual({ keep: 8, entries: [], complete: true, at: 8, hash: hashAt(8) });
  });

  test('the logs part: the common part stays, the claim\'s follows', () => {
    const other = [...common.slice(0, 6), ...chain(3, 'other', 6, hashAt(6), 1)];
    const built = assemble(logOf(common), opNumber(5), makeClaim(logOf(other), opNumber(5)), NO_BODIES);
    expect(built.keep).toBe(6);
    expect(built.entries).toEqual(other.slice(6));
    expect(built.complete).toBe(true);
    expect(built.hash).toBe(other[8]?.hash);
  });

  test('the sender knows more committed than the receiver, who has it all: kept from the claim\'s base on', () => {
    const built = assemble(logOf(common.slice(0, 8)), opNumber(2), makeClaim(logOf(common), opNumber(8)), NO_BODIES);
    expect(built).toMatchObject({ keep: 8, complete: true, at: 10 });
    expect(ops(built.entries)).toEqual([9, 10]);
  });

  test('the receiver has collected what the claim starts with: its commit-number is the certain point', () => {
    const log = logOf(common);
    log.collect(opNumber(7));
    const built = assemble(log, opNumber(8), makeClaim(logOf(common), opNumber(2)), NO_BODIES);
    expect(built).toEqual({ keep: 10, entries: [], complete: true, at: 10, hash: hashAt(10) });
  });

  test('collected, and parted above the commit-number', () => {
    const log = logOf(common);
    log.collect(opNumber(7));
    const other = [...common.slice(0, 8), ...chain(1, 'other', 8, hashAt(8), 1)];
    const built = assemble(log, opNumber(8), makeClaim(logOf(other), opNumber(2)), NO_BODIES);
    expect(built).toMatchObject({ keep: 8, complete: true, at: 9 });
    expect(built.entries).toEqual(other.slice(8));
  });

  test('the claim starts beyond the receiver: all from its commit-number on is to be asked for', () => {
    const built = assemble(logOf(common.slice(0, 4)), opNumber(3), makeClaim(logOf(common), opNumber(8)), NO_BODIES);
    expect(built).toEqual({ keep: 3, entries: [], complete: false, at: 3, hash: hashAt(3) });
  });

  test('the receiver has another entry where the claim starts: the same', () => {
    const mine = [...common.slice(0, 3), ...chain(6, 'mine', 3, hashAt(3))];
    const built = assemble(logOf(mine), opNumber(3), makeClaim(logOf(common), opNumber(8)), NO_BODIES);
    expect(built).toEqual({ keep: 3, entries: [], complete: false, at: 3, hash: hashAt(3) });
  });

  test('bodies are missing: as far as they reach, and where to ask on', () => {
    const claim = without(makeClaim(logOf(common), opNumber(4)), 2);
    const built = assemble(logOf(common.slice(0, 6)), opNumber(4), claim, NO_BODIES);
    expect(built).toEqual({ keep: 6, entries: [], complete: false, at: 6, hash: hashAt(6) });
  });

  test('bodies of other claims are taken by their hash', () => {
    const claim = without(makeClaim(logOf(common), opNumber(4)), 2);
    const bodies = new Map(common.slice(6, 8).map((e) => [e.hash, e]));
    const built = assemble(logOf(common.slice(0, 6)), opNumber(4), claim, bodies);
    expect(built).toMatchObject({ keep: 6, complete: true });
    expect(built.entries).toEqual(common.slice(6));
  });

  test('a body of the same op but another hash is not taken', () => {
    const claim = without(makeClaim(logOf(common), opNumber(4)), 2);
    const bodies = new Map(chain(2, 'other', 6, hashAt(6)).map((e) => [e.hash, e]));
    expect(assemble(logOf(common.slice(0, 6)), opNumber(4), claim, bodies)).toMatchObject({ complete: false, at: 6 });
  });

  test('some bodies are there: the gap is where it stops', () => {
    const claim = without(makeClaim(logOf(common), opNumber(4)), 1);
    const bodies = new Map(common.slice(6, 8).map((e) => [e.hash, e]));
    const built = assemble(logOf(common.slice(0, 6)), opNumber(4), claim, bodies);
    expect(built).toMatchObject({ keep: 6, complete: false, at: 8, hash: hashAt(8) });
    expect(ops(built.entries)).toEqual([7, 8]);
  });

  test('an empty claim at the base of both', () => {
    const built = assemble(logOf([]), opNumber(0), makeClaim(logOf([]), opNumber(0)), NO_BODIES);
    expect(built).toEqual({ keep: 0, entries: [], complete: true, at: 0, hash: ZERO_DIGEST });
  });

  test('a claim that ends below what is committed here stops the replica', () => {
    const log = logOf(common);
    log.collect(opNumber(6));
    expect(() => assemble(log, opNumber(9), makeClaim(logOf(common.slice(0, 8)), opNumber(2)), NO_BODIES)).toThrow('op 9 is committed here');
  });

  test('another committed entry stops the replica', () => {
    const log = logOf(common);
    log.collect(opNumber(6));
    expect(() => assemble(log, opNumber(8), makeClaim(logOf(chain(10, 'other')), opNumber(2)), NO_BODIES)).toThrow('two committed entries at op 8');
  });
});

describe('several claims', () => {
  const claim = (from: number, to: number, entries = common): LogClaim => makeClaim(logOf(entries.slice(0, to)), opNumber(from));
  const other = [...common.slice(0, 5), request(6, hashAt(5), 'another')];

  test('are of one log up to the last op of which both name the same hash', () => {
    expect(commonHead(claim(2, 8), claim(4, 10))).toMatchObject({ op: 8, hash: hashAt(8) });
    expect(commonHead(claim(8, 10), claim(4, 8))).toMatchObject({ op: 8, hash: hashAt(8) });
    expect(commonHead(claim(3, 10), claim(2, 6, other))).toMatchObject({ op: 5, hash: hashAt(5) });
    expect(commonHead(claim(7, 10), claim(2, 6))).toBeNull();
    expect(commonHead(claim(5, 10), claim(5, 6, other))).toMatchObject({ op: 5, hash: hashAt(5) });
  });

  test('name together what is before the base of one', () => {
    const extended = extendBack(claim(8, 10), [claim(8, 10), claim(6, 9), claim(2, 6)]);
    expect(extended).toEqual({ ...claim(2, 10), entries: claim(8, 10).entries });
    expect(extendBack(claim(6, 10), [claim(2, 6, other), claim(3, 5)])).toEqual(claim(6, 10));
  });
});
