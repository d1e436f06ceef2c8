/**
 * The bytes of a result: errno 8 (0: success), and on success the value's fields. A failure is one byte whatever the
 * operation, so that it can be given where the operation could not even be decoded.
 */
import { putTimestamp, takeTimestamp } from './timestamp_codec.ts';
import { decodeAll, DecodeError, Writer, type Decoded, type Reader } from '../lib/bytes.ts';
import { defined } from '../lib/assert.ts';
import { ino as asIno, type Ino } from '../lib/ids.ts';
import { Errno, type ErrnoCode } from './errno.ts';
import { fileTypeCode, fileTypeOfCode } from './inode.ts';
import type { Attributes, DirectoryEntry, FileType, OperationType, Result, Results } from './operations.ts';

interface ValueCodec<V> {
  encode(w: Writer, v: V): void;
  decode(r: Reader): V;
}

// --- parts -----------------------------------------------------------------------------------------------------------

function takeIno(r: Reader): Ino {
  return asIno(r.u48());
}
function takeFileType(r: Reader): FileType {
  const code = r.u8();
  const type = fileTypeOfCode(code);
  if (type === undefined) throw new DecodeError(`unknown file type ${code}`);
  return type;
}
function putAttributes(w: Writer, a: Attributes): void {
  w.u48(a.ino).u8(fileTypeCode(a.type)).u16(a.mode).u32(a.nlink).u32(a.uid).u32(a.gid).u32(a.rdev).u53(a.size).u53(a.blocks);
  putTimestamp(w, a.atime);
  putTimestamp(w, a.mtime);
  putTimestamp(w, a.ctime);
  putTimestamp(w, a.birthtime);
  w.u48(a.version);
}
function takeAttributes(r: Reader): Attributes {
  return {
    ino: takeIno(r), type: takeFileType(r), mode: r.u16(), nlink: r.u32(), uid: r.u32(), gid: r.u32(), rdev: r.u32(), size: r.u53(), blocks: r.u53(),
    atime: takeTimestamp(r), mtime: takeTimestamp(r), ctime: takeTimestamp(r), birthtime: takeTimestamp(r), version: r.u48(),
  };
}

/** A name, not longer than NAME_MAX, behind an 8-bit length. */
function putEntry(w: Writer, e: DirectoryEntry): void {
  w.u8(e.name.length).raw(e.name).u48(e.ino).u8(fileTypeCode(e.type)).bool(e.attributes !== undefined);
  if (e.attributes !== undefined) putAttributes(w, e.attributes);
}
function takeEntry(r: Reader): DirectoryEntry {
  const name = r.raw(r.u8());
  const number = takeIno(r);
  const type = takeFileType(r);
  return r.bool() ? { name, ino: number, type, attributes: takeAttributes(r) } : { name, ino: number, type };
}

const attributesOnly: ValueCodec<{ readonly attributes: Attributes }> = {
  encode: (w, v) => { putAttributes(w, v.attributes); },
  decode: (r) => ({ attributes: takeAttributes(r) }),
};
const created: ValueCodec<Results['create']> = {
  encode(w, v) {
    w.bool(v.created);
    putAttributes(w, v.attributes);
  },
  decode(r) {
    const isNew = r.bool();
    return { attributes: takeAttributes(r), created: isNew };
  },
};
const nothing: ValueCodec<Record<string, never>> = {
  encode: () => { /* no fields */ },
  decode: () => ({}),
};
const inoOnly: ValueCodec<{ readonly ino: Ino }> = {
  encode: (w, v) => { w.u48(v.ino); },
  decode: (r) => ({ ino: takeIno(r) }),
};

const codecs: { readonly [T in OperationType]: ValueCodec<Results[T]> } = {
  create: created,
  putFile: created,
  mkdir: attributesOnly,
  mknod: attributesOnly,
  symlink: attributesOnly,
  link: attributesOnly,
  setattr: attributesOnly,
  write: attributesOnly,
  getattr: attributesOnly,
  rename: nothing,
  setxattr: nothing,
  removexattr: nothing,
  access: nothing,
  rmdir: inoOnly,
  removeTree: inoOnly,
  unlink: {
    encode: (w, v) => { w.u48(v.ino).u32(v.nlink); },
    decode: (r) => ({ ino: takeIno(r), nlink: r.u32() }),
  },
  keepAlive: { encode: (w, v) => { w.u48(v.orphans); }, decode: (r) => ({ orphans: r.u48() }) },
  collect: { encode: (w, v) => { w.u32(v.freed); }, decode: (r) => ({ freed: r.u32() }) },
  checkpoint: { encode: (w, v) => { w.u48(v.op); }, decode: (r) => ({ op: r.u48() }) },
  read: {
    encode: (w, v) => { w.u53(v.size).bytes32(v.data); },
    decode(r) {
      const size = r.u53();
      return { data: r.bytes32(), size };
    },
  },
  readdir: {
    encode(w, v) {
      w.u48(v.ino).u48(v.parent).bool(v.end).u16(v.entries.length);
      for (const entry of v.entries) putEntry(w, entry);
    },
    decode(r) {
      const number = takeIno(r);
      const parent = takeIno(r);
      const end = r.bool();
      const count = r.u16();
      const entries: DirectoryEntry[] = [];
      for (let i = 0; i < count; i++) entries.push(takeEntry(r));
      return { entries, end, ino: number, parent };
    },
  },
  readlink: { encode: (w, v) => { w.bytes16(v.target); }, decode: (r) => ({ target: r.bytes16() }) },
  getxattr: { encode: (w, v) => { w.bytes32(v.value); }, decode: (r) => ({ value: r.bytes32() }) },
  listxattr: {
    encode(w, v) {
      w.u16(v.names.length);
      for (const name of v.names) w.u8(name.length).raw(name);
    },
    decode(r) {
      const count = r.u16();
      const names: Buffer[] = [];
      for (let i = 0; i < count; i++) names.push(r.raw(r.u8()));
      return { names };
    },
  },
  statfs: {
    encode: (w, v) => { w.u48(v.inodes).u48(v.maxInodes).u53(v.bytes).u53(v.maxBytes).u32(v.blockSize).u48(v.orphans); },
    decode: (r) => ({ inodes: r.u48(), maxInodes: r.u48(), bytes: r.u53(), maxBytes: r.u53(), blockSize: r.u32(), orphans: r.u48() }),
  },
};

// --- results ---------------------------------------------------------------------------------------------------------

const failures = new Map<number, Buffer>(Object.values(Errno).map((code) => [code, Buffer.from([code])]));

/** The result of an operation that failed; shared, nobody writes into it. */
export function encodeFailure(errno: ErrnoCode): Buffer {
  return defined(failures.get(errno), 'an errno of errno.ts');
}

const ATTRIBUTES_BYTES = 87;

/** Exact for what is asked most: the result is then the writer's buffer itself. */
function sizeHint(type: OperationType, value: object): number {
  if (type === 'read') return 16 + (value as Results['read']).data.length;
  if (type === 'readdir') return 16 + (value as Results['readdir']).entries.length * 160;
  return type === 'create' || type === 'putFile' ? 2 + ATTRIBUTES_BYTES : 1 + ATTRIBUTES_BYTES;
}

export function encodeResult<T extends OperationType>(type: T, result: Result<T>): Buffer {
  if (!result.ok) return encodeFailure(result.errno);
  const codec: ValueCodec<Results[T]> = codecs[type];
  const w = new Writer(sizeHint(type, result.value));
  w.u8(0);
  codec.encode(w, result.value);
  return w.finish();
}

/** Buffers in the result are views of `bytes`. */
export function decodeResult<T extends OperationType>(type: T, bytes: Buffer): Decoded<Result<T>> {
  return decodeAll(bytes, (r): Result<T> => {
    const errno = r.u8();
    if (errno === 0) return { ok: true, value: codecs[type].decode(r) };
    if (!failures.has(errno)) throw new DecodeError(`unknown errno ${errno}`);
    return { ok: false, errno: errno as ErrnoCode };
  });
}
