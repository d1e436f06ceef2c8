/**
 * The bytes of a call: what a client encodes once and every replica executes.
 *
 *   opcode 8 | uid 32 | gid 32 | groups 8 (up to GROUPS_MAX), 32 each | the operation's fields in the order of operations.ts
 *
 * Opcodes below READ_OPCODES change state. Results: result_codec.ts.
 */
import { putTimestamp, takeTimestamp } from './timestamp_codec.ts';
import { decodeAll, DecodeError, Writer, type Decoded, type Reader } from '../lib/bytes.ts';
import { ino as asIno, type Ino } from '../lib/ids.ts';
import { fileTypeCode, fileTypeOfCode } from './inode.ts';
import { KEEP_ALIVE_OPEN_MAX } from './limits.ts';
import {
  READ_MAX, type At, type Call, type Credentials, type FileType, type Operation, type OperationType, type SetAttributes, type WriteOperation,
} from './operations.ts';

export { decodeResult, encodeFailure, encodeResult } from './result_codec.ts';

const READ_OPCODES = 0x40;

/** Stable: they are in logs. New operations get new codes, codes are never used again. */
export const OPCODES: Readonly<Record<OperationType, number>> = {
  create: 0x01, mkdir: 0x02, mknod: 0x03, symlink: 0x04, link: 0x05, unlink: 0x06, rmdir: 0x07, rename: 0x08, setattr: 0x09,
  write: 0x0a, putFile: 0x0b, setxattr: 0x0c, removexattr: 0x0d, removeTree: 0x0e, keepAlive: 0x0f, collect: 0x10, checkpoint: 0x11,
  getattr: 0x40, read: 0x41, readdir: 0x42, readlink: 0x43, getxattr: 0x44, listxattr: 0x45, access: 0x46, statfs: 0x47,
};

/** With `dropSetId`, which takes no byte; codes as those above. */
export const DROPPING_OPCODES = { write: 0x12, setattr: 0x13 } as const;

export function isWriteOperation(operation: Operation): operation is WriteOperation {
  return OPCODES[operation.type] < READ_OPCODES;
}

/** The same of an encoded call, decodable or not. */
export function isWriteBody(body: Buffer): boolean {
  const opcode = body[0];
  return opcode !== undefined && opcode < READ_OPCODES;
}

type Of<T extends OperationType> = Extract<Operation, { type: T }>;
interface OperationCodec<T extends OperationType> {
  encode(w: Writer, o: Of<T>): void;
  decode(r: Reader): Of<T>;
}

const RENAME_FLAGS = ['none', 'noreplace', 'exchange'] as const;
const XATTR_MODES = ['any', 'create', 'replace'] as const;

const SET_MODE = 1;
const SET_UID = 2;
const SET_GID = 4;
const SET_SIZE = 8;
const SET_ATIME = 16;
const SET_ATIME_NOW = 32;
const SET_MTIME = 64;
const SET_MTIME_NOW = 128;

// --- parts -----------------------------------------------------------------------------------------------------------

function putAt(w: Writer, at: At): void {
  w.u48(at.dir).bytes16(at.path);
}
function takeAt(r: Reader): At {
  return { dir: takeIno(r), path: r.bytes16() };
}
function takeIno(r: Reader): Ino {
  return asIno(r.u48());
}
function takeMode(r: Reader): number {
  const mode = r.u16();
  if (mode > 0o7777) throw new DecodeError(`mode 0o${mode.toString(8)} has bits beyond 0o7777`);
  return mode;
}
function putFileType(w: Writer, type: FileType): void {
  w.u8(fileTypeCode(type));
}
function takeFileType(r: Reader): FileType {
  const code = r.u8();
  const type = fileTypeOfCode(code);
  if (type === undefined) throw new DecodeError(`unknown file type ${code}`);
  return type;
}
function takeChoice<C>(r: Reader, choices: readonly C[], what: string): C {
  const code = r.u8();
  const choice = choices[code];
  if (choice === undefined) throw new DecodeError(`unknown ${what} ${code}`);
  return choice;
}
/** At most `max` bytes behind a 32-bit length. */
function takeData(r: Reader, max: number): Buffer {
  const data = r.bytes32();
  if (data.length > max) throw new DecodeError(`${data.length} bytes where ${max} may be`);
  return data;
}

/** On the wire, the offset 'end' of a write: no file reaches as far as 2^53 - 1. */
const OFFSET_END = Number.MAX_SAFE_INTEGER;

function putOffset(w: Writer, offset: number | 'end'): void {
  if (offset !== 'end' && !(offset >= 0 && offset < OFFSET_END)) throw new RangeError(`the offset ${offset} of a write is not below 2^53 - 1`);
  w.u53(offset === 'end' ? OFFSET_END : offset);
}
function takeOffset(r: Reader): number | 'end' {
  const offset = r.u53();
  return offset === OFFSET_END ? 'end' : offset;
}

/** A size, or an offset of a read. */
function putBytes(w: Writer, bytes: number): void {
  if (bytes > Number.MAX_SAFE_INTEGER) throw new RangeError(`${bytes} bytes are not below 2^53`);
  w.u53(bytes);
}

function putSetAttributes(w: Writer, s: SetAttributes): void {
  let mask = 0;
  if (s.mode !== undefined) mask |= SET_MODE;
  if (s.uid !== undefined) mask |= SET_UID;
  if (s.gid !== undefined) mask |= SET_GID;
  if (s.size !== undefined) mask |= SET_SIZE;
  if (s.atime !== undefined) mask |= s.atime === 'now' ? SET_ATIME_NOW : SET_ATIME;
  if (s.mtime !== undefined) mask |= s.mtime === 'now' ? SET_MTIME_NOW : SET_MTIME;
  w.u8(mask);
  if (s.mode !== undefined) w.u16(s.mode);
  if (s.uid !== undefined) w.u32(s.uid);
  if (s.gid !== undefined) w.u32(s.gid);
  if (s.size !== undefined) putBytes(w, s.size);
  if (s.atime !== undefined && s.atime !== 'now') putTimestamp(w, s.atime);
  if (s.mtime !== undefined && s.mtime !== 'now') putTimestamp(w, s.mtime);
}

function takeSetAttributes(r: Reader): SetAttributes {
  const mask = r.u8();
  const both = SET_ATIME | SET_ATIME_NOW;
  if ((mask & both) === both || ((mask >> 2) & both) === both) throw new DecodeError('a time that is both given and now');
  const set: { -readonly [K in keyof SetAttributes]: SetAttributes[K] } = {};
  if (mask & SET_MODE) set.mode = takeMode(r);
  if (mask & SET_UID) set.uid = r.u32();
  if (mask & SET_GID) set.gid = r.u32();
  if (mask & SET_SIZE) set.size = r.u53();
  if (mask & SET_ATIME) set.atime = takeTimestamp(r);
  else if (mask & SET_ATIME_NOW) set.atime = 'now';
  if (mask & SET_MTIME) set.mtime = takeTimestamp(r);
  else if (mask & SET_MTIME_NOW) set.mtime = 'now';
  return set;
}

function takeOpen(r: Reader): Ino[] {
  const count = r.u32();
  if (count > KEEP_ALIVE_OPEN_MAX) throw new DecodeError(`${count} open inodes where ${KEEP_ALIVE_OPEN_MAX} may be`);
  if (count * 6 > r.remaining) throw new DecodeError(`truncated: ${count} inode numbers`);
  const open: Ino[] = [];
  for (let i = 0; i < count; i++) open.push(takeIno(r));
  return open;
}

// --- operations ------------------------------------------------------------------------------------------------------

const codecs: { readonly [T in OperationType]: OperationCodec<T> } = {
  create: {
    encode(w, o) {
      putAt(w, o.at);
      w.u16(o.mode).bool(o.exclusive).bool(o.truncate);
    },
    decode: (r) => ({ type: 'create', at: takeAt(r), mode: takeMode(r), exclusive: r.bool(), truncate: r.bool() }),
  },
  mkdir: {
    encode(w, o) {
      putAt(w, o.at);
      w.u16(o.mode);
    },
    decode: (r) => ({ type: 'mkdir', at: takeAt(r), mode: takeMode(r) }),
  },
  mknod: {
    encode(w, o) {
      putAt(w, o.at);
      putFileType(w, o.fileType);
      w.u16(o.mode).u32(o.rdev);
    },
    decode: (r) => ({ type: 'mknod', at: takeAt(r), fileType: takeFileType(r), mode: takeMode(r), rdev: r.u32() }),
  },
  symlink: {
    encode(w, o) {
      putAt(w, o.at);
      w.bytes16(o.target);
    },
    decode: (r) => ({ type: 'symlink', at: takeAt(r), target: r.bytes16() }),
  },
  link: {
    encode(w, o) {
      putAt(w, o.from);
      putAt(w, o.to);
      w.bool(o.follow);
    },
    decode: (r) => ({ type: 'link', from: takeAt(r), to: takeAt(r), follow: r.bool() }),
  },
  unlink: { encode: (w, o) => { putAt(w, o.at); }, decode: (r) => ({ type: 'unlink', at: takeAt(r) }) },
  rmdir: { encode: (w, o) => { putAt(w, o.at); }, decode: (r) => ({ type: 'rmdir', at: takeAt(r) }) },
  rename: {
    encode(w, o) {
      putAt(w, o.from);
      putAt(w, o.to);
      w.u8(RENAME_FLAGS.indexOf(o.flags));
    },
    decode: (r) => ({ type: 'rename', from: takeAt(r), to: takeAt(r), flags: takeChoice(r, RENAME_FLAGS, 'rename flag') }),
  },
  setattr: {
    encode(w, o) {
      putAt(w, o.at);
      w.bool(o.follow);
      putSetAttributes(w, o.set);
    },
    decode: (r) => ({ type: 'setattr', at: takeAt(r), follow: r.bool(), set: takeSetAttributes(r) }),
  },
  write: {
    encode(w, o) {
      putAt(w, o.at);
      putOffset(w, o.offset);
      w.bytes32(o.data);
    },
    decode: (r) => ({ type: 'write', at: takeAt(r), offset: takeOffset(r), data: takeData(r, READ_MAX) }),
  },
  putFile: {
    encode(w, o) {
      putAt(w, o.at);
      w.u16(o.mode).bytes32(o.data).bool(o.ifVersion !== null);
      if (o.ifVersion !== null) w.u48(o.ifVersion);
    },
    decode: (r) => ({ type: 'putFile', at: takeAt(r), mode: takeMode(r), data: takeData(r, READ_MAX), ifVersion: r.bool() ? r.u48() : null }),
  },
  setxattr: {
    encode(w, o) {
      putAt(w, o.at);
      w.bool(o.follow).bytes16(o.name).bytes32(o.value).u8(XATTR_MODES.indexOf(o.mode));
    },
    decode: (r) => ({
      type: 'setxattr', at: takeAt(r), follow: r.bool(), name: r.bytes16(), value: r.bytes32(), mode: takeChoice(r, XATTR_MODES, 'xattr mode'),
    }),
  },
  removexattr: {
    encode(w, o) {
      putAt(w, o.at);
      w.bool(o.follow).bytes16(o.name);
    },
    decode: (r) => ({ type: 'removexattr', at: takeAt(r), follow: r.bool(), name: r.bytes16() }),
  },
  removeTree: { encode: (w, o) => { putAt(w, o.at); }, decode: (r) => ({ type: 'removeTree', at: takeAt(r) }) },
  keepAlive: {
    encode(w, o) {
      w.u48(o.seenOp).u32(o.open.length);
      for (const open of o.open) w.u48(open);
    },
    decode: (r) => ({ type: 'keepAlive', seenOp: r.u48(), open: takeOpen(r) }),
  },
  collect: { encode: () => { /* no fields */ }, decode: () => ({ type: 'collect' }) },
  checkpoint: { encode: () => { /* no fields */ }, decode: () => ({ type: 'checkpoint' }) },
  getattr: {
    encode(w, o) {
      putAt(w, o.at);
      w.bool(o.follow);
    },
    decode: (r) => ({ type: 'getattr', at: takeAt(r), follow: r.bool() }),
  },
  read: {
    encode(w, o) {
      putAt(w, o.at);
      putBytes(w, o.offset);
      w.u32(o.length);
    },
    decode: (r) => ({ type: 'read', at: takeAt(r), offset: r.u53(), length: r.u32() }),
  },
  readdir: {
    encode(w, o) {
      putAt(w, o.at);
      w.bytes16(o.after).u32(o.limit).bool(o.attributes);
    },
    decode: (r) => ({ type: 'readdir', at: takeAt(r), after: r.bytes16(), limit: r.u32(), attributes: r.bool() }),
  },
  readlink: { encode: (w, o) => { putAt(w, o.at); }, decode: (r) => ({ type: 'readlink', at: takeAt(r) }) },
  getxattr: {
    encode(w, o) {
      putAt(w, o.at);
      w.bool(o.follow).bytes16(o.name);
    },
    decode: (r) => ({ type: 'getxattr', at: takeAt(r), follow: r.bool(), name: r.bytes16() }),
  },
  listxattr: {
    encode(w, o) {
      putAt(w, o.at);
      w.bool(o.follow);
    },
    decode: (r) => ({ type: 'listxattr', at: takeAt(r), follow: r.bool() }),
  },
  access: {
    encode(w, o) {
      putAt(w, o.at);
      w.u8(o.mask);
    },
    decode: (r) => ({ type: 'access', at: takeAt(r), mask: r.u8() }),
  },
  statfs: { encode: () => { /* no fields */ }, decode: () => ({ type: 'statfs' }) },
};

type AnyDecoder = (r: Reader) => Operation;
const decoders: (AnyDecoder | undefined)[] = [];
for (const type of Object.keys(codecs) as OperationType[]) decoders[OPCODES[type]] = codecs[type].decode;
decoders[DROPPING_OPCODES.write] = (r) => ({ ...codecs.write.decode(r), dropSetId: true });
decoders[DROPPING_OPCODES.setattr] = (r) => ({ ...codecs.setattr.decode(r), dropSetId: true });

function opcodeOf(o: Operation): number {
  return (o.type === 'write' || o.type === 'setattr') && o.dropSetId === true ? DROPPING_OPCODES[o.type] : OPCODES[o.type];
}

// --- calls -----------------------------------------------------------------------------------------------------------

function encodeOperation<T extends OperationType>(w: Writer, type: T, operation: Of<T>): void {
  const codec: OperationCodec<T> = codecs[type];
  codec.encode(w, operation);
}

/** Room for the operation, so that the writer does not have to grow in front of a large one. */
function sizeHint(operation: Operation): number {
  if (operation.type === 'write' || operation.type === 'putFile') return 128 + operation.at.path.length + operation.data.length;
  return 128;
}

/**
 * The bytes of a call. The fields are to be within their documented ranges: anything else (a path beyond 65,535
 * bytes, a negative offset) throws a RangeError, since it would not be the same call on the other side.
 */
export function encodeCall(call: Call): Buffer {
  const { credentials, operation } = call;
  const w = new Writer(sizeHint(operation));
  w.u8(opcodeOf(operation)).u32(credentials.uid).u32(credentials.gid).u8(credentials.groups.length);
  for (const group of credentials.groups) w.u32(group);
  encodeOperation(w, operation.type, operation);
  return w.finish();
}

const NO_GROUPS: readonly number[] = Object.freeze([]);

function takeCredentials(r: Reader): Credentials {
  const uid = r.u32();
  const gid = r.u32();
  const count = r.u8();
  if (count === 0) return { uid, gid, groups: NO_GROUPS };
  const groups: number[] = [];
  for (let i = 0; i < count; i++) groups.push(r.u32());
  return { uid, gid, groups };
}

function takeCall(r: Reader): Call {
  const opcode = r.u8();
  const decode = decoders[opcode];
  if (decode === undefined) throw new DecodeError(`unknown operation ${opcode}`);
  return { credentials: takeCredentials(r), operation: decode(r) };
}

/** Buffers in the result are views of `bytes`. */
export function decodeCall(bytes: Buffer): Decoded<Call> {
  return decodeAll(bytes, takeCall);
}
