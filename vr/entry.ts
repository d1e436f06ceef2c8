/**
 * A log entry. Its encoded bytes are made once, by the primary, and pass untouched through Prepare, the backups'
 * journals and NewState. Its hash chains it to its parent: hash = sha256(parent hash, encoded entry), so that equal
 * hashes at an op-number mean equal logs up to it. The hash is not part of the bytes; each replica computes it.
 *
 * Encoded: length u32 (of what follows) | kind u8 | epoch u32 | view u32 | op u48 | time u53 | session u48 | slot u16 | seq u32 | body
 */
import { DecodeError, putU16, putU32, putU48, type Reader } from '../lib/bytes.ts';
import { hashInput, sha256 } from '../lib/hash.ts';
import { epoch, opNumber, sessionId, viewNumber, viewOf, type Digest, type Epoch, type OpNumber, type SessionId, type View } from '../lib/ids.ts';

export type EntryKind =
  /** An operation of the application, from a client's session. */
  | 'request'
  /** Registers a session; the body is a RegisterBody (see client_table.ts). */
  | 'register'
  /** Ends a session that has been silent: by the primary, body = session id. */
  | 'expire'
  /** A step of the application's own house-keeping: by the primary, body = an application operation. */
  | 'housekeeping'
  /** Nothing: lets a new primary commit what it inherited. */
  | 'noop'
  /** The last entry of its epoch; the body is the new configuration. */
  | 'reconfiguration'
  /** Changes how often checkpoints are taken; the body is an IntervalBody (see checkpoint_interval.ts). */
  | 'checkpointInterval';

const KINDS: readonly EntryKind[] = ['request', 'register', 'expire', 'housekeeping', 'noop', 'reconfiguration', 'checkpointInterval'];

/** The session of entries that are of no client's. */
export const GROUP: SessionId = sessionId(0);

export const ENTRY_HEADER_BYTES = 4 + 1 + 4 + 4 + 6 + 8 + 6 + 2 + 4;
/** The longest operation that a client may send, in bytes: a 1 MiB write and its names. */
export const MAX_BODY_BYTES = (1 << 20) + (64 << 10);

export interface EntryFields {
  readonly kind: EntryKind;
  readonly epoch: Epoch;
  /** The view in which the entry was first proposed; it keeps it when a later view re-proposes it. */
  readonly view: View;
  readonly op: OpNumber;
  /** Predetermined by the primary: microseconds since 1970, larger than every earlier entry's. */
  readonly time: number;
  readonly session: SessionId;
  readonly slot: number;
  /** The slot's sequence number, from 1. */
  readonly seq: number;
  readonly body: Buffer;
}

export interface Entry extends EntryFields {
  readonly bytes: Buffer;
  readonly parent: Digest;
  readonly hash: Digest;
}

/** A log keeps many entries, and needs the body of each once: a view of its bytes is made when it is asked for. */
class LogEntry implements Entry {
  readonly kind: EntryKind;
  readonly epoch: Epoch;
  readonly view: View;
  readonly op: OpNumber;
  readonly time: number;
  readonly session: SessionId;
  readonly slot: number;
  readonly seq: number;
  readonly bytes: Buffer;
  readonly parent: Digest;
  readonly hash: Digest;

  constructor(kind: EntryKind, ofEpoch: Epoch, view: View, op: OpNumber, time: number, session: SessionId, slot: number, seq: number, bytes: Buffer, parent: Digest, hash: Digest) {
    this.kind = kind;
    this.epoch = ofEpoch;
    this.view = view;
    this.op = op;
    this.time = time;
    this.session = session;
    this.slot = slot;
    this.seq = seq;
    this.bytes = bytes;
    this.parent = parent;
    this.hash = hash;
  }

  get body(): Buffer {
    return this.bytes.subarray(ENTRY_HEADER_BYTES);
  }
}

/** sha256(parent, bytes). */
export function chainHash(parent: Digest, bytes: Buffer): Digest {
  const input = hashInput(32 + bytes.length);
  input.latin1Write(parent, 0, 32);
  input.set(bytes, 32);
  return sha256(input);
}

export function makeEntry(fields: EntryFields, parent: Digest): Entry {
  const { body } = fields;
  const bytes = Buffer.allocUnsafe(ENTRY_HEADER_BYTES + body.length);
  putU32(bytes, ENTRY_HEADER_BYTES - 4 + body.length, 0);
  bytes[4] = KINDS.indexOf(fields.kind);
  putU32(bytes, fields.epoch, 5);
  putU32(bytes, viewNumber(fields.view), 9);
  putU48(bytes, fields.op, 13);
  putU32(bytes, Math.floor(fields.time / 0x1_0000_0000), 19);
  putU32(bytes, fields.time % 0x1_0000_0000, 23);
  putU48(bytes, fields.session, 27);
  putU16(bytes, fields.slot, 33);
  putU32(bytes, fields.seq, 35);
  body.copy(bytes, ENTRY_HEADER_BYTES);
  const { kind, epoch: ofEpoch, view, op, time, session, slot, seq } = fields;
  return new LogEntry(kind, ofEpoch, view, op, time, session, slot, seq, bytes, parent, chainHash(parent, bytes));
}

/** Reads one encoded entry; its bytes are a view of the reader's buffer. `hash`: where it is known. */
export function decodeEntry(r: Reader, parent: Digest, hash?: Digest): Entry {
  const start = r.offset;
  const length = r.u32();
  if (length < ENTRY_HEADER_BYTES - 4) throw new DecodeError(`an entry of ${length} bytes`);
  if (length > ENTRY_HEADER_BYTES - 4 + MAX_BODY_BYTES) throw new DecodeError(`an entry of ${length} bytes is too long`);
  const kindCode = r.u8();
  const kind = KINDS[kindCode];
  if (kind === undefined) throw new DecodeError(`unknown entry kind ${kindCode}`);
  const epochNumber = r.u32();
  if (epochNumber >= 2 ** 21) throw new DecodeError(`epoch ${epochNumber} is out of range`);
  const ofEpoch = epoch(epochNumber);
  const view = viewOf(ofEpoch, r.u32());
  const op = opNumber(r.u48());
  const time = r.u53();
  const session = sessionId(r.u48());
  const slot = r.u16();
  const seq = r.u32();
  r.skip(length - (ENTRY_HEADER_BYTES - 4));
  const bytes = r.buffer.subarray(start, r.offset);
  return new LogEntry(kind, ofEpoch, view, op, time, session, slot, seq, bytes, parent, hash ?? chainHash(parent, bytes));
}

/** A count, then so many entries behind `after`, whose chain hash is `parent`: without gaps, each continuing the chain. */
export function decodeEntries(r: Reader, after: OpNumber, parent: Digest): Entry[] {
  const count = r.u32();
  if (count > r.remaining) throw new DecodeError(`${count} entries in ${r.remaining} bytes`);
  const entries: Entry[] = [];
  let hash = parent;
  for (let i = 0; i < count; i++) {
    const entry = decodeEntry(r, hash);
    if (entry.op !== after + 1 + i) throw new DecodeError(`entry ${entry.op} stands where ${after + 1 + i} was due`);
    hash = entry.hash;
    entries.push(entry);
  }
  return entries;
}

/** What a view change needs of an entry: its place in the chain, to ask for its bytes by. */
export interface Header {
  readonly op: OpNumber;
  readonly view: View;
  readonly hash: Digest;
}
