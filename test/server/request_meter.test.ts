import { beforeEach, describe, expect, it } from 'vitest';
import { opNumber, sessionId, view } from '../../lib/ids.ts';
import type { Message, Read, RejectCode, Request } from '../../vr/messages.ts';
import { RequestMeter, RequestTimes } from '../../server/request_meter.ts';

const SLOTS = 100;
const SESSION = 7;
let meter: RequestMeter;
let connection: RequestTimes;
beforeEach(() => {
  meter = new RequestMeter(SLOTS);
  connection = new RequestTimes();
});

function request(slot: number, seq: number, session = SESSION): Request {
  return { type: 'request', session: sessionId(session), slot, seq, body: Buffer.alloc(0) };
}
function reply(slot: number, seq: number, session = SESSION): Message {
  return { type: 'reply', session: sessionId(session), slot, seq, view: view(1), op: opNumber(1), result: Buffer.alloc(0) };
}
function reject(code: RejectCode, slot: number, seq: number): Message {
  return { type: 'reject', code, reason: 'because', retryAfterMs: 0, session: sessionId(SESSION), slot, seq, id: 0 };
}
/** How many requests were measured, and what they took together, milliseconds. */
function measured(): [number, number] {
  const { counts, seconds } = meter.latency;
  return [counts.reduce((sum, n) => sum + n), Math.round(seconds * 1e6) / 1e3];
}

describe('the meter of requests', () => {
  it('measures from when a request is taken in to the end of the turn in which it is answered', () => {
    meter.takenIn(connection, request(0, 1), 1000);
    meter.takenIn(connection, request(60, 1), 1002);
    expect(measured()).toEqual([0, 0]);
    meter.answered(connection, reply(60, 1));
    expect(meter.hasAnswers).toBe(true);
    meter.endTurn(1005);
    expect(meter.hasAnswers).toBe(false);
    expect(measured()).toEqual([1, 3]);
    meter.answered(connection, reply(0, 1));
    meter.takenIn(connection, request(0, 2), 1010);
    meter.answered(connection, reply(0, 2));
    meter.endTurn(1020);
    expect(measured()).toEqual([3, 3 + 20 + 10]);
    meter.endTurn(2000);
    expect(measured()[0]).toBe(3);
  });

  it('measures however many are answered in one turn, in the buckets of their own', () => {
    const connections = Array.from({ length: 50 }, () => new RequestTimes());
    for (const [i, c] of connections.entries()) {
      for (let slot = 0; slot < SLOTS; slot++) meter.takenIn(c, request(slot, 1, 1 + i), i % 2 === 0 ? 1000 : 1990);
    }
    for (const [i, c] of connections.entries()) for (let slot = 0; slot < SLOTS; slot++) meter.answered(c, reply(slot, 1, 1 + i));
    meter.endTurn(2000);
    const { bounds, counts } = meter.latency;
    expect([counts[bounds.indexOf(1)], counts[bounds.indexOf(0.01)]]).toEqual([2500, 2500]);
    expect(measured()).toEqual([5000, 2500 * 1010]);
  });

  it('counts a request that comes again while it waits once, from the first time on', () => {
    meter.takenIn(connection, request(3, 9), 1000);
    meter.takenIn(connection, request(3, 9), 1500);
    meter.answered(connection, reply(3, 9));
    meter.answered(connection, reply(3, 9));
    meter.endTurn(1600);
    expect(measured()).toEqual([1, 600]);
  });

  it('measures no request that was refused, and no reply to an earlier one or of another connection', () => {
    meter.takenIn(connection, request(3, 9), 1000);
    meter.answered(connection, reject('busy', 3, 9));
    meter.answered(connection, reply(3, 9));
    meter.takenIn(connection, request(3, 10), 1000);
    meter.answered(connection, reply(3, 9));
    meter.answered(connection, reply(4, 10));
    meter.answered(new RequestTimes(), reply(3, 10));
    meter.endTurn(1100);
    expect(measured()).toEqual([0, 0]);
    // It was refused and comes again: from then on.
    meter.takenIn(connection, request(5, 1), 2000);
    meter.answered(connection, reject('busy', 5, 1));
    meter.takenIn(connection, request(5, 1), 2050);
    meter.answered(connection, reply(5, 1));
    meter.endTurn(2060);
    expect(measured()).toEqual([1, 10]);
  });

  it('does not take a new session\'s request for one of the last, whose numbers it has again', () => {
    meter.takenIn(connection, request(0, 1, 7), 1000);
    meter.takenIn(connection, request(0, 1, 8), 9000);
    meter.answered(connection, reply(0, 1, 8));
    meter.takenIn(connection, request(0, 1, 7), 9003);
    meter.answered(connection, reply(0, 1, 7));
    meter.endTurn(9004);
    expect(measured()).toEqual([2, 4 + 1]);
  });

  it('keeps nothing of slots that there are not', () => {
    meter.takenIn(connection, request(SLOTS, 1), 1000);
    meter.takenIn(connection, request(65_535, 1), 1000);
    meter.takenIn(connection, request(SLOTS - 1, 1), 1000);
    meter.answered(connection, reply(SLOTS, 1));
    meter.answered(connection, reply(SLOTS - 1, 1));
    meter.endTurn(1001);
    expect(measured()).toEqual([1, 1]);
    expect(connection.since.length).toBe(SLOTS);
  });

  it('counts messages by type', () => {
    const read: Read = { type: 'read', id: 1, consistency: 'linearizable', minOp: opNumber(0), maxStalenessMs: 0, body: Buffer.alloc(0) };
    for (let i = 0; i < 3; i++) meter.takenIn(connection, request(i, 1), 1000);
    meter.takenIn(connection, read, 1000);
    expect(meter.messages).toEqual({ request: 3, read: 1, register: 0, endSession: 0, reconfigure: 0, checkEpoch: 0, askInterval: 0 });
  });
});
