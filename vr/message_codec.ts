/**
 * The bytes of every message: one byte of kind, then the fields. Frames (length, checksum) are put around them by the
 * transport, envelopes by `encodeEnvelope`. Entries travel as the bytes that their primary made; a receiver
 * recomputes their chain from the parent hash in the message, so that a damaged or reordered entry cannot pass.
 */
import { decodeAll, DecodeError, type Decoded, Reader, Writer } from '../lib/bytes.ts';
import { digest, epoch, memberId, opNumber, sessionId, view, viewEpoch, viewNumber, type Digest, type Epoch, type OpNumber } from '../lib/ids.ts';
import { unreachable } from '../lib/assert.ts';
import { decodeIntervalChange, encodeIntervalChange } from './checkpoint_interval.ts';
import { decodeConfiguration, decodeMember, encodeConfiguration, encodeMember, type Member } from './configuration.ts';
import { decodeEntries, type Entry, type Header } from './entry.ts';
import type { Echo, Envelope, LogClaim, Message, Read, RefusedCode, RejectCode, ReplicaMessage } from './messages.ts';
import { decodeCheckpointId, decodeEpochStart, encodeCheckpointId, encodeEpochStart } from './superblock.ts';

const Kind = {
  hello: 1, welcome: 2, register: 3, registered: 4, request: 5, reply: 6, read: 7, readReply: 8, redirect: 9, reject: 10,
  endSession: 11, reconfigure: 12, checkEpoch: 13, newEpoch: 14, refused: 15, askInterval: 16, interval: 17,
  prepare: 32, prepareOk: 33, commit: 34, startViewChange: 35, doViewChange: 36, startView: 37, getView: 38,
  getState: 39, newState: 40, recovery: 41, recoveryResponse: 42, checkpointNotice: 43,
  startEpoch: 44, epochStarted: 45, keepLog: 46,
} as const satisfies Record<Message['type'], number>;

const REJECT_CODES: readonly RejectCode[] = ['busy', 'noSession', 'behind', 'invalid'];
const REFUSED_CODES: readonly RefusedCode[] = ['invalid', 'underWay', 'unready', 'busy'];
const CONSISTENCIES: readonly Read['consistency'][] = ['linearizable', 'causal', 'bounded'];
const NONCE_BYTES = 16;

export const ENVELOPE_BYTES = 4 + 4 + 6;

export function encodeEnvelope(w: Writer, e: Envelope): void {
  w.u32(e.epoch).u32(e.sender).u48(e.incarnation);
}

export function decodeEnvelope(r: Reader): Envelope {
  return { epoch: getEpoch(r), sender: memberId(r.u32()), incarnation: r.u48() };
}

function getEpoch(r: Reader): Epoch {
  const n = r.u32();
  if (n >= 2 ** 21) throw new DecodeError(`epoch ${n} is out of range`);
  return epoch(n);
}

function getMembers(r: Reader): Member[] {
  return Array.from({ length: r.u8() }, () => decodeMember(r));
}

function getEchoes(r: Reader): Echo[] {
  return Array.from({ length: r.u8() }, () => ({ member: memberId(r.u32()), stamp: r.u53() }));
}

function entriesLength(entries: readonly Entry[]): number {
  let length = 0;
  for (const e of entries) length += e.bytes.length;
  return length;
}

/** after | parent | count | entries */
function putEntries(w: Writer, after: OpNumber, parent: Digest, entries: readonly Entry[]): void {
  w.u48(after).latin1(parent).u32(entries.length);
  for (const e of entries) w.raw(e.bytes);
}

function getEntries(r: Reader): { after: OpNumber; parent: Digest; entries: Entry[] } {
  const after = opNumber(r.u48());
  const parent = digest(r.latin1(32));
  return { after, parent, entries: decodeEntries(r, after, parent) };
}

function putClaim(w: Writer, c: LogClaim): void {
  w.u48(c.base).latin1(c.baseHash).u32(c.headers.length);
  for (const h of c.headers) w.u53(h.view).latin1(h.hash);
  const first = c.entries[0];
  w.bool(first !== undefined);
  if (first !== undefined) putEntries(w, opNumber(first.op - 1), first.parent, c.entries);
}

/** Checks that the bodies are those of the headers: same place, same hash. */
function getClaim(r: Reader): LogClaim {
  const base = opNumber(r.u48());
  const baseHash = digest(r.latin1(32));
  const count = r.u32();
  if (base + count >= 2 ** 48) throw new DecodeError(`headers behind op ${base}`);
  if (count * 40 > r.remaining) throw new DecodeError(`${count} headers in ${r.remaining} bytes`);
  const headers: Header[] = [];
  for (let i = 0; i < count; i++) headers.push({ op: opNumber(base + 1 + i), view: view(r.u53()), hash: digest(r.latin1(32)) });
  if (!r.bool()) return { base, baseHash, headers, entries: [] };
  const { after, parent, entries } = getEntries(r);
  const expectedParent = after === base ? baseHash : headers[after - base - 1]?.hash;
  if (after < base || parent !== expectedParent) throw new DecodeError('bodies that do not continue the headers');
  if (after + entries.length !== base + count) throw new DecodeError('bodies that do not end with the headers');
  for (const e of entries) {
    if (headers[e.op - base - 1]?.hash !== e.hash) throw new DecodeError(`the body of op ${e.op} is not its header's`);
  }
  return { base, baseHash, headers, entries };
}

/** A message that names its head and its commit-number has to agree with the log that it claims. */
function claimed<M extends { readonly op: OpNumber; readonly commit: OpNumber; readonly claim: LogClaim }>(m: M): M {
  if (m.op !== m.claim.base + m.claim.headers.length) throw new DecodeError(`head ${m.op} of a claim that ends at ${m.claim.base + m.claim.headers.length}`);
  if (m.commit > m.op) throw new DecodeError(`commit ${m.commit} beyond the head ${m.op}`);
  return m;
}

export function encodeMessage(m: Message): Buffer {
  switch (m.type) {
    case 'hello': return new Writer(17).u8(Kind.hello).raw(m.clusterId).finish();
    case 'welcome': {
      const w = new Writer().u8(Kind.welcome).u53(m.view).u32(m.self).string16(m.address).string16(m.httpAddress).raw(m.clusterId);
      encodeConfiguration(w, m.configuration);
      return w.finish();
    }
    case 'register': return new Writer(64).u8(Kind.register).raw(m.nonce).u32(m.flags).string16(m.name).finish();
    case 'registered': return new Writer(40).u8(Kind.registered).raw(m.nonce).u48(m.session).u16(m.slots).u32(m.timeoutMs).finish();
    case 'request': return encodeRequest(m.session, m.slot, m.seq, m.body);
    case 'reply': {
      const b = Buffer.allocUnsafe(27 + m.result.length);
      b[0] = Kind.reply;
      b.writeUIntBE(m.session, 1, 6);
      b.writeUInt16BE(m.slot, 7);
      b.writeUInt32BE(m.seq, 9);
      b.writeUInt32BE(viewEpoch(m.view), 13);
      b.writeUInt32BE(viewNumber(m.view), 17);
      b.writeUIntBE(m.op, 21, 6);
      m.result.copy(b, 27);
      return b;
    }
    case 'read': return new Writer(16 + m.body.length).u8(Kind.read).u32(m.id).u8(CONSISTENCIES.indexOf(m.consistency)).u48(m.minOp).u32(m.maxStalenessMs).raw(m.body).finish();
    case 'readReply': return new Writer(11 + m.result.length).u8(Kind.readReply).u32(m.id).u48(m.op).raw(m.result).finish();
    case 'redirect': {
      const w = new Writer().u8(Kind.redirect).u53(m.view);
      encodeConfiguration(w, m.configuration);
      return w.finish();
    }
    case 'reject':
      return new Writer(64).u8(Kind.reject).u8(REJECT_CODES.indexOf(m.code)).string16(m.reason).u32(m.retryAfterMs)
        .u48(m.session).u16(m.slot).u32(m.seq).u32(m.id).finish();
    case 'endSession': return new Writer(7).u8(Kind.endSession).u48(m.session).finish();
    case 'reconfigure': {
      const w = new Writer().u8(Kind.reconfigure).raw(m.nonce).u32(m.epoch).bool(m.force).u8(m.members.length);
      for (const member of m.members) encodeMember(w, member);
      return w.finish();
    }
    case 'checkEpoch': return new Writer(17).u8(Kind.checkEpoch).raw(m.nonce).finish();
    case 'newEpoch': {
      const w = new Writer().u8(Kind.newEpoch).raw(m.nonce).u53(m.view).bool(m.complete);
      encodeConfiguration(w, m.configuration);
      return w.finish();
    }
    case 'askInterval': {
      const w = new Writer(40).u8(Kind.askInterval).raw(m.nonce).bool(m.change !== null);
      if (m.change !== null) encodeIntervalChange(w, m.change);
      return w.finish();
    }
    case 'interval': return new Writer(40).u8(Kind.interval).raw(m.nonce).u32(m.ops).u53(m.bytes).u48(m.since).finish();
    case 'refused': return new Writer().u8(Kind.refused).raw(m.nonce).u8(REFUSED_CODES.indexOf(m.code)).string16(m.reason).finish();
    default: return encodeReplicaMessage(m);
  }
}

/** The hot one: made for each operation by its client. */
export function encodeRequest(session: number, slot: number, seq: number, body: Buffer): Buffer {
  const b = Buffer.allocUnsafe(13 + body.length);
  b[0] = Kind.request;
  b.writeUIntBE(session, 1, 6);
  b.writeUInt16BE(slot, 7);
  b.writeUInt32BE(seq, 9);
  body.copy(b, 13);
  return b;
}

function encodeReplicaMessage(m: ReplicaMessage): Buffer {
  switch (m.type) {
    case 'prepare': {
      const w = new Writer(64 + entriesLength(m.entries)).u8(Kind.prepare).u53(m.view).u48(m.commit).u48(m.round);
      putEntries(w, m.after, m.parent, m.entries);
      return w.finish();
    }
    case 'prepareOk': return new Writer(33).u8(Kind.prepareOk).u53(m.view).u48(m.op).u48(m.round).u32(m.leaseMs).u53(m.stamp).finish();
    case 'commit': {
      const w = new Writer(64).u8(Kind.commit).u53(m.view).u48(m.commit).u48(m.head).u48(m.round).u8(m.echoes.length);
      for (const e of m.echoes) w.u32(e.member).u53(e.stamp);
      return w.finish();
    }
    case 'startViewChange': {
      const w = new Writer(10).u8(Kind.startViewChange).u53(m.view).bool(m.left !== null);
      if (m.left !== null) w.u53(m.left);
      return w.finish();
    }
    case 'doViewChange': {
      const w = new Writer(1024).u8(Kind.doViewChange).u53(m.view).u53(m.logView).u48(m.op).u48(m.commit);
      putClaim(w, m.claim);
      return w.finish();
    }
    case 'startView': {
      const w = new Writer(1024).u8(Kind.startView).u53(m.view).u48(m.op).u48(m.commit).bytes16(m.nonce);
      putClaim(w, m.claim);
      return w.finish();
    }
    case 'getView': return new Writer(32).u8(Kind.getView).u53(m.view).raw(m.nonce).finish();
    case 'getState': {
      const w = new Writer(96).u8(Kind.getState).u53(m.view).raw(m.nonce).u48(m.after).latin1(m.parent).bool(m.repairHead !== null);
      if (m.repairHead !== null) w.u48(m.repairHead.op).u53(m.repairHead.view).latin1(m.repairHead.hash);
      return w.finish();
    }
    case 'newState': {
      const w = new Writer(m.kind === 'entries' ? 128 + entriesLength(m.entries) : 160).u8(Kind.newState).u53(m.view).raw(m.nonce);
      if (m.kind === 'entries') {
        w.u8(0).u48(m.op).u48(m.commit);
        putEntries(w, m.after, m.parent, m.entries);
      } else if (m.kind === 'checkpoint') {
        encodeCheckpointId(w.u8(1), m.checkpoint);
      } else {
        w.u8(2).u48(m.after);
      }
      return w.finish();
    }
    case 'recovery': return new Writer(32).u8(Kind.recovery).raw(m.nonce).u48(m.checkpoint).u53(m.floor).finish();
    case 'recoveryResponse': {
      const w = new Writer(160).u8(Kind.recoveryResponse).u53(m.view).raw(m.nonce).bool(m.state !== null);
      if (m.state !== null) encodeCheckpointId(w.u48(m.state.op).u48(m.state.commit), m.state.checkpoint);
      return w.finish();
    }
    case 'checkpointNotice': {
      const w = new Writer(128).u8(Kind.checkpointNotice).u53(m.view);
      encodeCheckpointId(w, m.checkpoint);
      return w.finish();
    }
    case 'keepLog': {
      const w = new Writer(8).u8(Kind.keepLog).bool(m.after !== null);
      if (m.after !== null) w.u48(m.after);
      return w.finish();
    }
    case 'startEpoch': {
      const w = new Writer().u8(Kind.startEpoch);
      encodeEpochStart(w, m.start);
      encodeConfiguration(w, m.configuration);
      return w.finish();
    }
    case 'epochStarted': return new Writer(5).u8(Kind.epochStarted).u32(m.epoch).finish();
    default: return unreachable(m);
  }
}

/** Buffers in the message are views of `bytes`. */
export function decodeMessage(bytes: Buffer): Decoded<Message> {
  return decodeAll(bytes, readMessage);
}

/** Reads the message that fills the rest of the reader. */
export function readMessage(r: Reader): Message {
  const kind = r.u8();
  switch (kind) {
    case Kind.hello: return { type: 'hello', clusterId: r.raw(16) };
    case Kind.welcome: return { type: 'welcome', view: view(r.u53()), self: memberId(r.u32()), address: r.string16(), httpAddress: r.string16(), clusterId: r.raw(16), configuration: decodeConfiguration(r) };
    case Kind.register: return { type: 'register', nonce: r.raw(NONCE_BYTES), flags: r.u32(), name: r.string16() };
    case Kind.registered: return { type: 'registered', nonce: r.raw(NONCE_BYTES), session: sessionId(r.u48()), slots: r.u16(), timeoutMs: r.u32() };
    case Kind.request: return { type: 'request', session: sessionId(r.u48()), slot: r.u16(), seq: r.u32(), body: r.raw(r.remaining) };
    case Kind.reply:
      return { type: 'reply', session: sessionId(r.u48()), slot: r.u16(), seq: r.u32(), view: view(r.u53()), op: opNumber(r.u48()), result: r.raw(r.remaining) };
    case Kind.read: {
      const id = r.u32();
      const consistency = CONSISTENCIES[r.u8()];
      if (consistency === undefined) throw new DecodeError('unknown consistency of a read');
      return { type: 'read', id, consistency, minOp: opNumber(r.u48()), maxStalenessMs: r.u32(), body: r.raw(r.remaining) };
    }
    case Kind.readReply: return { type: 'readReply', id: r.u32(), op: opNumber(r.u48()), result: r.raw(r.remaining) };
    case Kind.redirect: return { type: 'redirect', view: view(r.u53()), configuration: decodeConfiguration(r) };
    case Kind.reject: {
      const code = REJECT_CODES[r.u8()];
      if (code === undefined) throw new DecodeError('unknown reason of a reject');
      return { type: 'reject', code, reason: r.string16(), retryAfterMs: r.u32(), session: sessionId(r.u48()), slot: r.u16(), seq: r.u32(), id: r.u32() };
    }
    case Kind.endSession: return { type: 'endSession', session: sessionId(r.u48()) };
    case Kind.reconfigure: return { type: 'reconfigure', nonce: r.raw(NONCE_BYTES), epoch: getEpoch(r), force: r.bool(), members: getMembers(r) };
    case Kind.checkEpoch: return { type: 'checkEpoch', nonce: r.raw(NONCE_BYTES) };
    case Kind.newEpoch: return { type: 'newEpoch', nonce: r.raw(NONCE_BYTES), view: view(r.u53()), complete: r.bool(), configuration: decodeConfiguration(r) };
    case Kind.askInterval: return { type: 'askInterval', nonce: r.raw(NONCE_BYTES), change: r.bool() ? decodeIntervalChange(r) : null };
    case Kind.interval: return { type: 'interval', nonce: r.raw(NONCE_BYTES), ops: r.u32(), bytes: r.u53(), since: opNumber(r.u48()) };
    case Kind.refused: {
      const nonce = r.raw(NONCE_BYTES);
      const code = REFUSED_CODES[r.u8()];
      if (code === undefined) throw new DecodeError('unknown reason of a refusal');
      return { type: 'refused', nonce, code, reason: r.string16() };
    }
    default: return readReplicaMessage(kind, r);
  }
}

function readReplicaMessage(kind: number, r: Reader): Message {
  switch (kind) {
    case Kind.prepare: return { type: 'prepare', view: view(r.u53()), commit: opNumber(r.u48()), round: r.u48(), ...getEntries(r) };
    case Kind.prepareOk: return { type: 'prepareOk', view: view(r.u53()), op: opNumber(r.u48()), round: r.u48(), leaseMs: r.u32(), stamp: r.u53() };
    case Kind.commit:
      return { type: 'commit', view: view(r.u53()), commit: opNumber(r.u48()), head: opNumber(r.u48()), round: r.u48(), echoes: getEchoes(r) };
    case Kind.startViewChange: return { type: 'startViewChange', view: view(r.u53()), left: r.bool() ? view(r.u53()) : null };
    case Kind.doViewChange:
      return claimed({ type: 'doViewChange' as const, view: view(r.u53()), logView: view(r.u53()), op: opNumber(r.u48()), commit: opNumber(r.u48()), claim: getClaim(r) });
    case Kind.startView:
      return claimed({ type: 'startView' as const, view: view(r.u53()), op: opNumber(r.u48()), commit: opNumber(r.u48()), nonce: r.bytes16(), claim: getClaim(r) });
    case Kind.getView: return { type: 'getView', view: view(r.u53()), nonce: r.raw(NONCE_BYTES) };
    case Kind.getState:
      return {
        type: 'getState', view: view(r.u53()), nonce: r.raw(NONCE_BYTES), after: opNumber(r.u48()), parent: digest(r.latin1(32)),
        repairHead: r.bool() ? { op: opNumber(r.u48()), view: view(r.u53()), hash: digest(r.latin1(32)) } : null,
      };
    case Kind.newState: {
      const head = { type: 'newState', view: view(r.u53()), nonce: r.raw(NONCE_BYTES) } as const;
      const variant = r.u8();
      if (variant === 0) return { ...head, kind: 'entries', op: opNumber(r.u48()), commit: opNumber(r.u48()), ...getEntries(r) };
      if (variant === 1) return { ...head, kind: 'checkpoint', checkpoint: decodeCheckpointId(r) };
      if (variant === 2) return { ...head, kind: 'mismatch', after: opNumber(r.u48()) };
      throw new DecodeError(`unknown NewState ${variant}`);
    }
    case Kind.recovery: return { type: 'recovery', nonce: r.raw(NONCE_BYTES), checkpoint: opNumber(r.u48()), floor: view(r.u53()) };
    case Kind.recoveryResponse: {
      const head = { type: 'recoveryResponse', view: view(r.u53()), nonce: r.raw(NONCE_BYTES) } as const;
      return { ...head, state: r.bool() ? { op: opNumber(r.u48()), commit: opNumber(r.u48()), checkpoint: decodeCheckpointId(r) } : null };
    }
    case Kind.checkpointNotice: return { type: 'checkpointNotice', view: view(r.u53()), checkpoint: decodeCheckpointId(r) };
    case Kind.keepLog: return { type: 'keepLog', after: r.bool() ? opNumber(r.u48()) : null };
    case Kind.startEpoch: return { type: 'startEpoch', start: decodeEpochStart(r), configuration: decodeConfiguration(r) };
    case Kind.epochStarted: return { type: 'epochStarted', epoch: getEpoch(r) };
    default: throw new DecodeError(`unknown message kind ${kind}`);
  }
}
