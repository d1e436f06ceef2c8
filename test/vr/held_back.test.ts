/** What a replica keeps of clients that it cannot answer yet is bounded, and who is turned away is told so. */
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId, opNumber, sessionId } from '../../lib/ids.ts';
import { busyAnswer, HeldBack } from '../../vr/held_back.ts';
import type { ClientRequest, Reject, Request } from '../../vr/messages.ts';
import { Cluster } from './cluster.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';

const NONCE = Buffer.alloc(16, 7);
const request = (session: number, seq: number, bytes = 1): Request => ({ type: 'request', session: sessionId(session), slot: 0, seq, body: Buffer.alloc(bytes) });

/** A primary that leads, and does not serve: its journal keeps it from opening its view. */
function notServing(): { cluster: Cluster; client: TestClient; next: Node } {
  const cluster = new Cluster();
  const client = new TestClient(cluster).register();
  const leader = cluster.untilServing();
  const next = cluster.byId(cluster.primaryOf(1));
  leader.crash();
  next.slowJournal = true;
  cluster.until(() => next.replica.isPrimary, 'the next one leads');
  expect(next.replica.normal.serving).toBe(false);
  return { cluster, client, next };
}
function rejects(cluster: Cluster, connection: number): Reject[] {
  return cluster.replies.flatMap((r) => (r.connection === connection && r.message.type === 'reject' ? [r.message] : []));
}

describe('held back', () => {
  test('in number and in bytes; what was taken leaves room', () => {
    const held = new HeldBack(3, 100);
    expect([60, 41, 40, 0, 0].map((bytes) => held.push({ connection: 1, message: request(1, 1, bytes) }))).toEqual([true, false, true, true, false]);
    expect(held.take()).toHaveLength(3);
    expect(held.length).toBe(0);
    expect(held.push({ connection: 1, message: request(1, 1, 100) })).toBe(true);
  });

  test('whatever of a message may be long counts', () => {
    const address = (n: number): string => `${'h'.repeat(60)}:${n}`;
    const members = [1, 2].map((id) => ({ id: memberId(id), role: 'voter' as const, address: address(id), httpAddress: address(id) }));
    const long: ClientRequest[] = [
      request(1, 1, 200),
      { type: 'read', id: 3, consistency: 'causal', minOp: opNumber(0), maxStalenessMs: 0, body: Buffer.alloc(200) },
      { type: 'register', nonce: NONCE, flags: 0, name: 'n'.repeat(200) },
      { type: 'reconfigure', nonce: NONCE, epoch: epoch(0), members, force: false },
    ];
    expect(long.map((message) => new HeldBack(10, 199).push({ connection: 1, message }))).toEqual([false, false, false, false]);
    expect(long.map((message) => new HeldBack(10, 300).push({ connection: 1, message }))).toEqual([true, true, true, true]);
  });

  test('a name that is too long is refused before it is held, by whoever is asked', () => {
    const { cluster, next } = notServing();
    const name = 'n'.repeat(257);
    next.replica.receive(502, { type: 'register', nonce: NONCE, flags: 0, name });
    expect(rejects(cluster, 502)).toMatchObject([{ code: 'invalid', reason: 'a session\'s name has at most 256 bytes, not 257' }]);
    const four = cluster.join(4);
    cluster.settle();
    four.replica.transition('transitioning');
    four.replica.receive(503, { type: 'register', nonce: NONCE, flags: 0, name });
    expect(rejects(cluster, 503)).toMatchObject([{ code: 'invalid' }]);
  });

  test('whoever waits for an answer gets one that says which of its messages is meant', () => {
    const of = (m: ClientRequest): unknown => busyAnswer(m, 'why');
    expect(of(request(5, 9))).toMatchObject({ type: 'reject', code: 'busy', reason: 'why', session: 5, slot: 0, seq: 9, id: 0 });
    expect(of({ type: 'read', id: 3, consistency: 'causal', minOp: opNumber(0), maxStalenessMs: 0, body: Buffer.alloc(0) })).toMatchObject({ type: 'reject', code: 'busy', session: 0, id: 3 });
    expect(of({ type: 'register', nonce: NONCE, flags: 0, name: 'n' })).toMatchObject({ type: 'reject', code: 'busy', session: 0, id: 0 });
    expect(of({ type: 'checkEpoch', nonce: NONCE })).toEqual({ type: 'refused', nonce: NONCE, code: 'busy', reason: 'why' });
    expect(of({ type: 'endSession', session: sessionId(5) })).toBeNull();
  });

  test('at a primary that does not serve yet: in bytes, and the reason is said', () => {
    const { cluster, client, next } = notServing();
    const body = Buffer.alloc(1 << 20);
    for (let seq = 1; seq <= 70; seq++) next.replica.receive(500, { type: 'request', session: client.session, slot: 0, seq, body });
    const turnedAway = rejects(cluster, 500);
    expect(turnedAway.map((m) => m.seq)).toEqual([65, 66, 67, 68, 69, 70]);
    expect(turnedAway[0]).toMatchObject({ code: 'busy', session: client.session, retryAfterMs: 50 });
    expect(turnedAway[0]?.reason).toContain('64 requests wait for it already');
  });

  test('and in number; what was held back is done when it serves', () => {
    const { cluster, client, next } = notServing();
    const before = defined(cluster.nodes.find((n) => n === next), 'next').application.executed.length;
    for (let i = 0; i < 100_001; i++) next.replica.receive(501, request(client.session, 1));
    expect(rejects(cluster, 501)).toHaveLength(1);
    next.slowJournal = false;
    cluster.until(() => next.replica.normal.serving, 'it serves');
    cluster.until(() => next.application.executed.length > before, 'the request is done');
  });
});

describe('what waits until the primary is certain to be one', () => {
  function isolated(): { cluster: Cluster; client: TestClient; leader: Node } {
    const cluster = new Cluster({ replica: { leaseMs: 0 } });
    const client = new TestClient(cluster).register();
    const leader = cluster.untilServing();
    cluster.isolate(leader.id);
    return { cluster, client, leader };
  }

  test('denials of unknown sessions are bounded', () => {
    const { cluster, leader } = isolated();
    for (let i = 0; i < 100_010; i++) leader.replica.receive(600, request(999_999, 1));
    const turnedAway = rejects(cluster, 600);
    expect(turnedAway).toHaveLength(10);
    expect(turnedAway[0]).toMatchObject({ code: 'busy', session: 999_999, seq: 1 });
    expect(turnedAway[0]?.reason).toContain('confirms who leads it');
  });

  test('so are questions of administrators, together with them', () => {
    const { cluster, leader } = isolated();
    for (let i = 0; i < 100_000; i++) leader.replica.receive(601, request(999_999, 1));
    leader.replica.receive(602, { type: 'checkEpoch', nonce: NONCE });
    leader.replica.receive(603, { type: 'askInterval', nonce: NONCE, change: null });
    const answers = cluster.replies.filter((r) => r.connection === 602 || r.connection === 603).map((r) => r.message);
    expect(answers).toMatchObject([{ type: 'refused', code: 'busy' }, { type: 'refused', code: 'busy' }]);
  });

  test('reads are bounded in bytes, and answered ones leave room', () => {
    const { cluster, client, leader } = isolated();
    const body = Buffer.alloc(1 << 20).toString('latin1');
    for (let id = 1; id <= 66; id++) client.read(leader, id, body);
    expect(rejects(cluster, client.connection).map((m) => m.id)).toEqual([65, 66]);
    cluster.heal();
    cluster.until(() => client.replies.filter((m) => m.type === 'readReply').length === 64, 'the others are answered');
    cluster.isolate(memberId(leader.id));
    for (let id = 101; id <= 166; id++) client.read(leader, id, body);
    expect(rejects(cluster, client.connection).map((m) => m.id)).toEqual([65, 66, 165, 166]);
  });
});

describe('requests that wait for a place in the log', () => {
  test('are bounded, and the reason is not that of a checkpoint', () => {
    const cluster = new Cluster();
    const client = new TestClient(cluster).register();
    const leader = cluster.untilServing();
    for (let seq = 1; seq <= 100_001; seq++) leader.replica.receive(700, request(client.session, seq));
    expect(rejects(cluster, 700)).toMatchObject([{ code: 'busy', seq: 100_001, reason: '100000 requests of 100000 bytes wait for a place in the log already' }]);
    leader.replica.receive(701, { type: 'askInterval', nonce: NONCE, change: { after: leader.replica.intervals.present.since, ops: 1000, bytes: 1 << 20 } });
    expect(cluster.replies.at(-1)?.message).toMatchObject({ type: 'refused', code: 'busy', reason: '100000 requests of 100000 bytes wait for a place in the log already' });
  });
});
