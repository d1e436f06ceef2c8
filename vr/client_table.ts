/**
 * The client table (VRR 4.1) with sessions and slots: which request of each slot was executed last, and its reply.
 * It changes by execution only, never when a request is merely prepared (row 14), and its records lie in the
 * application's table, so that they are part of every checkpoint and its root (row 15).
 *
 * Beside the records each slot has volatile fields of the present primary: the request that is on its way through the
 * log, and the connection that waits for the reply. They are forgotten at a view change.
 */
import { defined } from '../lib/assert.ts';
import { decodeAll, Reader, Writer, type Decoded } from '../lib/bytes.ts';
import { opNumber, sessionId, type OpNumber, type SessionId } from '../lib/ids.ts';
import { systemKey, SystemKind } from '../lib/system_keys.ts';
import type { RecordValue, Table } from '../lib/table.ts';
import type { Entry } from './entry.ts';
import type { ConnectionId } from './ports.ts';

export interface Slot {
  /** The key as a latin1 string. */
  readonly id: string;
  /** Last executed. */
  seq: number;
  op: OpNumber;
  reply: Buffer;
  /** In the log, not executed yet; 0: none. */
  inFlight: number;
  connection: ConnectionId;
}

export interface Session {
  readonly id: SessionId;
  readonly flags: number;
  readonly name: string;
  readonly nonce: Buffer;
  /** Time of the last executed entry of this session, microseconds: no two entries have the same. */
  lastActive: number;
  /** At the present primary: what `lastActive` was when it looked last, since when, and whether the end was proposed. */
  seen: { readonly lastActive: number; readonly since: number; proposed: boolean } | null;
  readonly slots: (Slot | undefined)[];
}

export interface RegisterBody {
  readonly nonce: Buffer;
  readonly flags: number;
  readonly name: string;
  /** How many sessions there may be: the primary's limit, logged, so that all replicas evict alike. */
  readonly maxSessions: number;
}

export interface ExpireBody {
  readonly session: SessionId;
  /** It ends unless it has been active since this time, microseconds; null: it ends anyway, its client says so. */
  readonly unlessSince: number | null;
}

export function encodeRegisterBody(b: RegisterBody): Buffer {
  return new Writer(64).raw(b.nonce).u32(b.flags).string16(b.name).u32(b.maxSessions).finish();
}
export function decodeRegisterBody(bytes: Buffer): Decoded<RegisterBody> {
  return decodeAll(bytes, (r) => ({ nonce: Buffer.from(r.raw(16)), flags: r.u32(), name: r.string16(), maxSessions: r.u32() }));
}
export function encodeExpireBody(b: ExpireBody): Buffer {
  const w = new Writer(15).u48(b.session).bool(b.unlessSince !== null);
  return (b.unlessSince === null ? w : w.u53(b.unlessSince)).finish();
}
export function decodeExpireBody(bytes: Buffer): Decoded<ExpireBody> {
  return decodeAll(bytes, (r) => ({ session: sessionId(r.u48()), unlessSince: r.bool() ? r.u53() : null }));
}

function sessionKey(session: number): Buffer {
  return systemKey(SystemKind.session, new Writer(6).u48(session).finish());
}
function slotKey(session: number, slot: number): Buffer {
  return systemKey(SystemKind.slot, new Writer(8).u48(session).u16(slot).finish());
}
function registrationKey(nonce: Buffer): Buffer {
  return systemKey(SystemKind.registration, nonce);
}

/** Slot record: seq u32 | op u48 | time u53 | reply. */
class SlotRecord implements RecordValue {
  readonly #seq: number;
  readonly #op: OpNumber;
  readonly #time: number;
  readonly #reply: Buffer;

  constructor(seq: number, op: OpNumber, time: number, reply: Buffer) {
    this.#seq = seq;
    this.#op = op;
    this.#time = time;
    this.#reply = reply;
  }

  get byteLength(): number {
    return SLOT_HEAD + this.#reply.length;
  }

  encode(): Buffer {
    return new Writer(this.byteLength).u32(this.#seq).u48(this.#op).u53(this.#time).raw(this.#reply).finish();
  }
}

const SLOT_HEAD = 18;
const SCAN = 1024;

export class ClientTable {
  readonly #table: Table;
  #sessions = new Map<number, Session>();

  constructor(table: Table) {
    this.#table = table;
  }

  get size(): number {
    return this.#sessions.size;
  }
  sessions(): IterableIterator<Session> {
    return this.#sessions.values();
  }
  session(id: number): Session | undefined {
    return this.#sessions.get(id);
  }
  slot(session: Session, index: number): Slot {
    let slot = session.slots[index];
    if (slot === undefined) {
      slot = { id: slotKey(session.id, index).toString('latin1'), seq: 0, op: opNumber(0), reply: Buffer.alloc(0), inFlight: 0, connection: -1 };
      session.slots[index] = slot;
    }
    return slot;
  }

  /** Reads everything anew from the table: at a start and when a checkpoint was installed. */
  load(): void {
    this.#sessions = new Map();
    this.#scan(SystemKind.session, (key, value) => {
      const id = sessionId(key.readUIntBE(7, 6));
      const r = new Reader(value);
      const session: Session = { lastActive: r.u53(), flags: r.u32(), nonce: Buffer.from(r.raw(16)), name: r.string16(), id, slots: [], seen: null };
      this.#sessions.set(id, session);
    });
    this.#scan(SystemKind.slot, (key, value) => {
      const session = defined(this.#sessions.get(key.readUIntBE(7, 6)), 'session of a slot');
      const slot = this.slot(session, key.readUInt16BE(13));
      const r = new Reader(value);
      slot.seq = r.u32();
      slot.op = opNumber(r.u48());
      session.lastActive = Math.max(session.lastActive, r.u53());
      slot.reply = r.raw(r.remaining);
    });
  }

  #scan(kind: number, each: (key: Buffer, value: Buffer) => void): void {
    let from = systemKey(kind, Buffer.alloc(0));
    const end = systemKey(kind + 1, Buffer.alloc(0));
    for (;;) {
      const page = this.#table.range(from, end, SCAN);
      for (const [key, value] of page) each(key, value);
      const last = page.at(-1);
      if (last === undefined || page.length < SCAN) return;
      from = Buffer.concat([last[0], Buffer.alloc(1)]);
    }
  }

  /** Forgets what the last primary had under way. */
  clearVolatile(): void {
    for (const session of this.#sessions.values()) {
      session.seen = null;
      for (const slot of session.slots) {
        if (slot === undefined) continue;
        slot.inFlight = 0;
        slot.connection = -1;
      }
    }
  }

  /** After a view change: what is in the log but not executed is in flight again (row 14). */
  markInFlight(entry: Entry): void {
    if (entry.kind !== 'request') return;
    const session = this.#sessions.get(entry.session);
    if (session !== undefined) this.slot(session, entry.slot).inFlight = entry.seq;
  }

  /** Was this request executed already? Then its reply. A guard: the primary does not log it twice. */
  executed(entry: Entry): Slot | undefined {
    const session = this.#sessions.get(entry.session);
    if (session === undefined) return undefined;
    const slot = this.slot(session, entry.slot);
    return entry.seq <= slot.seq ? slot : undefined;
  }

  /** The entry was executed: remembers its reply. Returns the slot, or undefined when the session has ended meanwhile. */
  record(entry: Entry, reply: Buffer): Slot | undefined {
    const session = this.#sessions.get(entry.session);
    if (session === undefined) return undefined;
    const slot = this.slot(session, entry.slot);
    slot.seq = entry.seq;
    slot.op = entry.op;
    slot.reply = reply;
    session.lastActive = entry.time;
    this.#table.store(slot.id, new SlotRecord(entry.seq, entry.op, entry.time, reply));
    return slot;
  }

  /** Executes a registration. `evict` ends a session that has to make room, before it is dropped here. */
  register(entry: Entry, body: RegisterBody, evict: (session: SessionId) => void): { session: SessionId; created: boolean } {
    const known = this.#table.get(registrationKey(body.nonce));
    if (known !== undefined) return { session: sessionId(known.readUIntBE(0, 6)), created: false };
    if (this.#sessions.size >= body.maxSessions) {
      const oldest = this.#leastRecentlyActive();
      evict(oldest);
      this.end(oldest);
    }
    const id = sessionId(entry.op);
    const session: Session = { id, flags: body.flags, name: body.name, nonce: body.nonce, lastActive: entry.time, slots: [], seen: null };
    this.#sessions.set(id, session);
    const w = new Writer(64).u53(entry.time).u32(body.flags).raw(body.nonce).string16(body.name);
    this.#table.put(sessionKey(id), w.finish());
    this.#table.put(registrationKey(body.nonce), new Writer(6).u48(id).finish());
    return { session: id, created: true };
  }

  #leastRecentlyActive(): SessionId {
    let oldest: Session | undefined;
    for (const s of this.#sessions.values()) {
      if (oldest === undefined || s.lastActive < oldest.lastActive || (s.lastActive === oldest.lastActive && s.id < oldest.id)) oldest = s;
    }
    return defined(oldest, 'a session to evict').id;
  }

  /**
   * At a primary, now and then: sessions that it has seen do nothing for `timeoutMs` of its own clock (`now`, milliseconds), each once.
   * The time in the log does not count: the clocks of the machines may be set, and it never goes back (row 19).
   */
  silent(now: number, timeoutMs: number): ExpireBody[] {
    const silent: ExpireBody[] = [];
    for (const s of this.#sessions.values()) {
      if (s.seen?.lastActive !== s.lastActive) s.seen = { lastActive: s.lastActive, since: now, proposed: false };
      else if (!s.seen.proposed && now - s.seen.since > timeoutMs) {
        s.seen.proposed = true;
        silent.push({ session: s.id, unlessSince: s.lastActive });
      }
    }
    return silent;
  }

  /** Whether an expire entry takes effect: decided at execution, since the session may have spoken meanwhile. */
  ends({ session, unlessSince }: ExpireBody): boolean {
    const s = this.#sessions.get(session);
    return s !== undefined && (unlessSince === null || s.lastActive <= unlessSince);
  }

  /** The session's records go. */
  end(id: SessionId): void {
    const session = defined(this.#sessions.get(id), () => `session ${id}`);
    for (const slot of session.slots) if (slot !== undefined && slot.seq > 0) this.#table.delete(Buffer.from(slot.id, 'latin1'));
    this.#table.delete(sessionKey(id));
    this.#table.delete(registrationKey(session.nonce));
    this.#sessions.delete(id);
  }
}
