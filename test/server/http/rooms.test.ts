import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { beforeEach, describe, expect, test } from 'vitest';
import { keeping, Rooms, SMALL_BYTES, type Room } from '../../../server/http/rooms.ts';

const MIB = 1 << 20;
const NEVER_MS = 1 << 30;

class FakeResponse extends EventEmitter {
  destroyed = false;
  readonly socket = { remoteAddress: '127.0.0.1', remotePort: 4711, bytesRead: 0 };
  /** It has ended, or its connection has broken off. */
  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
}

let cut: string[];
let rooms: Rooms;
const make = (stallMs: number): void => {
  cut = [];
  rooms = new Rooms({ bytes: 2 * MIB, stallMs, onCut: (remote) => cut.push(remote) });
};
beforeEach(() => { make(NEVER_MS); });

const response = (): FakeResponse & ServerResponse => new FakeResponse() as unknown as FakeResponse & ServerResponse;
const take = async (bytes: number, of = response(), waitMs: number | null = null): Promise<Room> => await rooms.take(bytes, of, waitMs);
/** What has become of it when everything that is ready has run. */
async function stateOf(promise: Promise<Room>): Promise<unknown> {
  const waiting = new Promise((resolve) => { setImmediate(() => { resolve('waits'); }); });
  return await Promise.race([promise.then(() => 'has room', (error: unknown) => error), waiting]);
}

describe('room in memory', () => {
  test('is given to the first to come, and not to a later one that would fit', async () => {
    const [a] = [await take(MIB), await take(MIB)];
    const large = take(2 * MIB);
    const small = take(MIB);
    a.release();
    expect([await stateOf(large), await stateOf(small), rooms.held]).toEqual(['waits', 'waits', MIB]);
    a.release();
    expect(rooms.held).toBe(MIB);
  });

  test('is not needed by what is small, however many', async () => {
    await take(2 * MIB);
    for (let i = 0; i < 1000; i++) await take(SMALL_BYTES);
    expect(rooms.held).toBe(2 * MIB);
  });

  test('is there for what is larger than all of it, alone', async () => {
    const whole = await take(100 * MIB);
    expect(rooms.held).toBe(2 * MIB);
    whole.release();
    expect(rooms.held).toBe(0);
  });

  test('is given back when the response has ended or the connection has broken off', async () => {
    const of = response();
    (await take(MIB, of)).theirs();
    of.destroy();
    expect(rooms.held).toBe(0);
    expect(of.listenerCount('close')).toBe(0);
  });

  test('is kept until the replica has done with the bytes, also when the connection breaks off meanwhile and the work fails', async () => {
    const of = response();
    const room = await take(MIB, of);
    let heldMeanwhile = 0;
    await expect(keeping(room, async () => {
      of.destroy();
      heldMeanwhile = rooms.held;
      await Promise.reject(new Error('broken'));
    })).rejects.toThrow('broken');
    expect([heldMeanwhile, rooms.held]).toEqual([MIB, 0]);
  });

  test('is not waited for longer than that: 503, and when to come again', async () => {
    const all = await take(2 * MIB);
    const late = response();
    await expect(take(MIB, late, 1)).rejects.toMatchObject({ problem: { status: 503, detail: expect.stringContaining('2097152 bytes') as string }, headers: { 'retry-after': '1' } });
    expect(late.listenerCount('close')).toBe(0);
    all.release();
    expect(rooms.held).toBe(0);
  });

  test('is not waited for by a connection that has broken off', async () => {
    const all = await take(2 * MIB);
    const late = response();
    const waiting = take(MIB, late);
    late.destroy();
    await expect(waiting).rejects.toMatchObject({ problem: { status: 400 } });
    all.release();
    expect(rooms.held).toBe(0);
    await expect(take(MIB, late)).rejects.toMatchObject({ problem: { status: 400 } });
  });

  test('comes free for the others when the first of those that wait goes', async () => {
    await take(MIB);
    const first = response();
    const large = take(2 * MIB, first);
    const small = take(MIB);
    first.destroy();
    await expect(large).rejects.toThrow();
    expect(await stateOf(small)).toBe('has room');
  });

  test('is made by those that stand still, when somebody waits, and only by as many as it takes', async () => {
    make(0);
    const still = [response(), response()];
    for (const of of still) (await take(MIB, of)).theirs();
    expect(still.map((of) => of.destroyed)).toEqual([false, false]);
    await take(MIB);
    expect([still.map((of) => of.destroyed), cut, rooms.held]).toEqual([[true, false], ['127.0.0.1:4711'], 2 * MIB]);
  });

  test('is not made by those that have sent something since they were looked at', async () => {
    make(1);
    const moves = response();
    (await take(2 * MIB, moves)).theirs();
    // Of a body that is gathered elsewhere nobody says so: a part of it comes before each look.
    Object.defineProperty(moves.socket, 'bytesRead', { get: () => performance.now() });
    await expect(take(MIB, response(), 20)).rejects.toMatchObject({ problem: { status: 503 } });
    expect([moves.destroyed, cut]).toEqual([false, []]);
  });

  test('is never made by those for whom the replica has to go on', async () => {
    make(0);
    const busy = response();
    (await take(2 * MIB, busy)).ours();
    await expect(take(MIB, response(), 20)).rejects.toMatchObject({ problem: { status: 503 } });
    expect([busy.destroyed, cut]).toEqual([false, []]);
  });
});
