import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { sessionId } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { ClientTable, decodeExpireBody, decodeRegisterBody, encodeExpireBody, encodeRegisterBody, type RegisterBody, type Session } from '../../vr/client_table.ts';
import type { Entry } from '../../vr/entry.ts';
import { request } from './group.ts';

const nonceOf = (n: number): Buffer => Buffer.alloc(16, n);
function body(n: number, change: Partial<RegisterBody> = {}): RegisterBody {
  return { nonce: nonceOf(n), flags: 0, name: `client ${n}`, maxSessions: 3, ...change };
}
function entryAt(op: number, change: { readonly session?: number; readonly slot?: number; readonly seq?: number; readonly time?: number } = {}): Entry {
  return request(op, ZERO_DIGEST, 'x', { session: sessionId(change.session ?? 0), slot: change.slot ?? 0, seq: change.seq ?? 1, time: change.time ?? op * 1000 });
}
const noEviction = (): void => { throw new Error('nobody has to go'); };

/** What counts of a table: all but the primary's volatile fields, and slots that were never used. */
function durableOf(clients: ClientTable): unknown {
  return [...clients.sessions()].map((s: Session) => ({
    id: s.id, flags: s.flags, name: s.name, nonce: s.nonce, lastActive: s.lastActive,
    slots: [...s.slots.entries()].flatMap(([index, slot]) => (slot === undefined || slot.seq === 0 ? [] : [{ index, seq: slot.seq, op: slot.op, reply: slot.reply, id: slot.id }])),
  }));
}

describe('sessions', () => {
  test('a registration makes a session whose id is its op-number', () => {
    const clients = new ClientTable(new MemoryTable());
    expect(clients.register(entryAt(7), body(1, { flags: 5 }), noEviction)).toEqual({ session: 7, created: true });
    expect(clients.session(7)).toMatchObject({ id: 7, flags: 5, name: 'client 1', lastActive: 7000 });
    expect(clients.session(8)).toBeUndefined();
  });

  test('the same nonce finds the same session', () => {
    const clients = new ClientTable(new MemoryTable());
    clients.register(entryAt(7), body(1), noEviction);
    expect(clients.register(entryAt(8), body(1), noEviction)).toEqual({ session: 7, created: false });
    expect(clients.size).toBe(1);
  });

  test('the least recently active one makes room, by the logged limit', () => {
    const clients = new ClientTable(new MemoryTable());
    for (const n of [1, 2, 3]) clients.register(entryAt(n), body(n), noEviction);
    clients.record(entryAt(4, { session: 1 }), Buffer.from('r'));
    const evicted: number[] = [];
    clients.register(entryAt(5), body(5), (s) => { evicted.push(s); });
    expect(evicted).toEqual([2]);
    expect([...clients.sessions()].map((s) => s.id)).toEqual([1, 3, 5]);
    clients.register(entryAt(6), body(6, { maxSessions: 4 }), noEviction);
    expect(clients.size).toBe(4);
  });

  test('of equally old ones the lower id goes', () => {
    const clients = new ClientTable(new MemoryTable());
    for (const n of [3, 1, 2]) clients.register(entryAt(n, { time: 500 }), body(n), noEviction);
    const evicted: number[] = [];
    clients.register(entryAt(9), body(9), (s) => { evicted.push(s); });
    expect(evicted).toEqual([1]);
  });

  test('a repeated registration evicts nobody', () => {
    const clients = new ClientTable(new MemoryTable());
    for (const n of [1, 2, 3]) clients.register(entryAt(n), body(n), noEviction);
    expect(clients.register(entryAt(4), body(1), noEviction).created).toBe(false);
  });

  test('are silent when nothing of them was executed for longer than the time-out since the primary first looked, not at it; told once', () => {
    const clients = new ClientTable(new MemoryTable());
    clients.register(entryAt(1, { time: 1_000 }), body(1), noEviction);
    expect(clients.silent(70_000, 5_000)).toEqual([]);
    expect(clients.silent(75_000, 5_000)).toEqual([]);
    const [expiry] = clients.silent(75_001, 5_000);
    expect(expiry).toEqual({ session: 1, unlessSince: 1_000 });
    expect(clients.silent(99_000, 5_000)).toEqual([]);
    // It has spoken meanwhile: a new silence has to pass, and what was proposed does nothing.
    clients.record(entryAt(2, { session: 1, time: 4_000 }), Buffer.alloc(0));
    expect(clients.ends({ session: sessionId(1), unlessSince: 1_000 })).toBe(false);
    expect(clients.silent(99_001, 5_000)).toEqual([]);
    expect(clients.silent(104_002, 5_000)).toEqual([{ session: 1, unlessSince: 4_000 }]);
    // The next primary looks for itself.
    clients.clearVolatile();
    expect(clients.silent(200_000, 5_000)).toEqual([]);
  });

  test('end when they did nothing since, or say so themselves', () => {
    const clients = new ClientTable(new MemoryTable());
    clients.register(entryAt(1, { time: 1_000 }), body(1), noEviction);
    expect(clients.ends({ session: sessionId(1), unlessSince: 999 })).toBe(false);
    expect(clients.ends({ session: sessionId(1), unlessSince: 1_000 })).toBe(true);
    expect(clients.ends({ session: sessionId(1), unlessSince: null })).toBe(true);
    expect(clients.ends({ session: sessionId(99), unlessSince: null })).toBe(false);
  });

  test('an end leaves nothing in the table', () => {
    const table = new MemoryTable();
    const clients = new ClientTable(table);
    clients.register(entryAt(1), body(1), noEviction);
    for (const slot of [0, 5, 700]) clients.record(entryAt(2 + slot, { session: 1, slot }), Buffer.from('reply'));
    expect(table.size).toBe(5);
    clients.end(sessionId(1));
    expect(table.size).toBe(0);
    expect(clients.size).toBe(0);
    // The nonce is free again.
    expect(clients.register(entryAt(900), body(1), noEviction).created).toBe(true);
  });

  test('an end after a restart leaves nothing either', () => {
    const table = new MemoryTable();
    const before = new ClientTable(table);
    before.register(entryAt(1), body(1), noEviction);
    before.record(entryAt(2, { session: 1, slot: 9 }), Buffer.from('reply'));
    const after = new ClientTable(table);
    after.load();
    after.end(sessionId(1));
    expect(table.size).toBe(0);
  });
});

describe('slots', () => {
  function withSession(): ClientTable {
    const clients = new ClientTable(new MemoryTable());
    clients.register(entryAt(1), body(1), noEviction);
    return clients;
  }

  test('each keeps its last request and reply', () => {
    const clients = withSession();
    clients.record(entryAt(2, { session: 1, slot: 0, seq: 1 }), Buffer.from('a'));
    clients.record(entryAt(3, { session: 1, slot: 1, seq: 1 }), Buffer.from('b'));
    const slot = clients.record(entryAt(4, { session: 1, slot: 0, seq: 2 }), Buffer.from('c'));
    expect(slot).toMatchObject({ seq: 2, op: 4, reply: Buffer.from('c') });
    expect(clients.session(1)?.slots[1]).toMatchObject({ seq: 1, op: 3, reply: Buffer.from('b') });
  });

  test('an entry at or below a slot\'s last was executed before', () => {
    const clients = withSession();
    clients.record(entryAt(2, { session: 1, seq: 4 }), Buffer.from('a'));
    expect(clients.executed(entryAt(3, { session: 1, seq: 4 }))).toMatchObject({ op: 2 });
    expect(clients.executed(entryAt(3, { session: 1, seq: 3 }))).toBeDefined();
    expect(clients.executed(entryAt(3, { session: 1, seq: 5 }))).toBeUndefined();
    expect(clients.executed(entryAt(3, { session: 1, slot: 1, seq: 1 }))).toBeUndefined();
    expect(clients.executed(entryAt(3, { session: 2, seq: 1 }))).toBeUndefined();
  });

  test('a session that has ended records nothing', () => {
    const clients = withSession();
    expect(clients.record(entryAt(2, { session: 2 }), Buffer.from('a'))).toBeUndefined();
  });

  test('preparing changes nothing that lasts (row 14)', () => {
    const table = new MemoryTable();
    const clients = new ClientTable(table);
    clients.register(entryAt(1), body(1), noEviction);
    const records = table.size;
    clients.markInFlight(entryAt(2, { session: 1, slot: 3, seq: 8 }));
    expect(clients.session(1)?.slots[3]).toMatchObject({ inFlight: 8, seq: 0 });
    expect(table.size).toBe(records);
    expect(clients.executed(entryAt(2, { session: 1, slot: 3, seq: 8 }))).toBeUndefined();
    clients.clearVolatile();
    expect(clients.session(1)?.slots[3]).toMatchObject({ inFlight: 0, connection: -1 });
  });

  test('what is in flight of a session that is not there, or of no session, is nobody\'s', () => {
    const clients = withSession();
    clients.markInFlight(entryAt(2, { session: 2, slot: 3 }));
    clients.markInFlight({ ...entryAt(2, { session: 1, slot: 4 }), kind: 'housekeeping' });
    expect(clients.session(1)?.slots[4]).toBeUndefined();
    expect(clients.size).toBe(1);
  });
});

describe('load', () => {
  test('gives the same table from the records, whatever was done (row 15)', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('register' as const), nonce: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ do: fc.constant('record' as const), session: fc.nat(30), slot: fc.nat(3), reply: fc.uint8Array({ maxLength: 8 }) }),
      fc.record({ do: fc.constant('end' as const), session: fc.nat(30) }),
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const table = new MemoryTable();
      const live = new ClientTable(table);
      let op = 0;
      for (const s of steps) {
        op++;
        if (s.do === 'register') live.register(entryAt(op), body(s.nonce), () => undefined);
        else if (live.session(s.session) === undefined) continue;
        else if (s.do === 'end') live.end(sessionId(s.session));
        else live.record(entryAt(op, { session: s.session, slot: s.slot, seq: op }), Buffer.from(s.reply));
      }
      const loaded = new ClientTable(table.clone());
      loaded.load();
      expect(durableOf(loaded)).toEqual(durableOf(live));
      // And it decides alike from here on.
      const evictions = [live, loaded].map((clients) => {
        const evicted: number[] = [];
        for (let n = 10; n < 14; n++) clients.register(entryAt(op + n), body(n), (e) => { evicted.push(e); });
        return evicted;
      });
      expect(evictions[0]).toEqual(evictions[1]);
    }), { numRuns: 300 });
  });

  test('reads more sessions than one page', () => {
    const table = new MemoryTable();
    const live = new ClientTable(table);
    for (let op = 1; op <= 2_500; op++) {
      const nonce = Buffer.alloc(16);
      nonce.writeUInt32BE(op);
      live.register(entryAt(op), { ...body(1), nonce, maxSessions: 10_000 }, noEviction);
      live.record(entryAt(op, { session: op }), Buffer.from(String(op)));
    }
    const loaded = new ClientTable(table);
    loaded.load();
    expect(loaded.size).toBe(2_500);
    expect(durableOf(loaded)).toEqual(durableOf(live));
  });

  test('forgets what was there before', () => {
    const clients = new ClientTable(new MemoryTable());
    clients.register(entryAt(1), body(1), noEviction);
    const other = new ClientTable(new MemoryTable());
    other.load();
    expect(other.size).toBe(0);
  });

  test('leaves the application\'s records alone', () => {
    const table = new MemoryTable();
    table.put(Buffer.from([0, 0, 0, 0, 0, 0, 0x40, 1]), Buffer.from('application'));
    table.put(Buffer.from([0, 0, 0, 0, 0, 1, 0x10]), Buffer.from('an inode'));
    const clients = new ClientTable(table);
    clients.load();
    expect(clients.size).toBe(0);
  });
});

describe('bodies of session entries', () => {
  test('round trip, golden bytes, truncations', () => {
    const register = encodeRegisterBody({ nonce: nonceOf(0xaa), flags: 1, name: 'n', maxSessions: 4096 });
    expect(register.toString('hex')).toBe(`${'aa'.repeat(16)}0000000100016e00001000`);
    expect(decodeRegisterBody(register)).toEqual({ ok: true, value: { nonce: nonceOf(0xaa), flags: 1, name: 'n', maxSessions: 4096 } });
    for (let n = 0; n < register.length; n++) expect(decodeRegisterBody(register.subarray(0, n)).ok).toBe(false);
    for (const [unlessSince, hex] of [[60_000_000, '000000000009010000000003938700'], [null, '00000000000900']] as const) {
      const expire = encodeExpireBody({ session: sessionId(9), unlessSince });
      expect(expire.toString('hex')).toBe(hex);
      expect(decodeExpireBody(expire)).toEqual({ ok: true, value: { session: 9, unlessSince } });
      for (let n = 0; n < expire.length; n++) expect(decodeExpireBody(expire.subarray(0, n)).ok).toBe(false);
    }
  });
});
