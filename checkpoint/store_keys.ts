/**
 * The keys of the database, and its one record about itself.
 *
 *   'm'             what the store is at (Meta)
 *   'n' | node id   a node of the Merkle tree
 *   'r' | key       a record
 */
import { DecodeError, Writer, decodeAll, type Decoded, type Reader } from '../lib/bytes.ts';
import { crc32 } from '../lib/hash.ts';
import { digest, opNumber, type OpNumber } from '../lib/ids.ts';
import type { CheckpointInfo } from './checkpoint_info.ts';
import { HASH_BYTES, INNER, PAGE, rootHash } from './hashes.ts';
import { MAX_KEY_BYTES } from './key_bits.ts';
import type { Child } from './inner_node.ts';
import type { Top } from './merkle_tree.ts';

export const META_KEY: Buffer = Buffer.from('m');
const NODE = 'n'.charCodeAt(0);
const RECORD = 'r'.charCodeAt(0);
/** All nodes lie from the one up to the other. */
export const NODES_START: Buffer = Buffer.of(NODE);
export const NODES_END: Buffer = Buffer.of(NODE + 1);
/** All records lie from the one up to the other. */
export const RECORDS_START: Buffer = Buffer.of(RECORD);
export const RECORDS_END: Buffer = Buffer.of(RECORD + 1);

export function nodeKey(id: string): Buffer {
  const key = Buffer.allocUnsafe(1 + id.length);
  key[0] = NODE;
  key.latin1Write(id, 1, id.length);
  return key;
}
export function recordKeyOf(key: Buffer): Buffer {
  const at = Buffer.allocUnsafe(1 + key.length);
  at[0] = RECORD;
  at.set(key, 1);
  return at;
}

/** The key of a record, by that of the database: a view. */
export function keyOfRecord(at: Buffer): Buffer {
  return at.subarray(1);
}

const copied = Buffer.alloc(1 + MAX_KEY_BYTES, RECORD);
const views: Buffer[] = Array.from({ length: 2 + MAX_KEY_BYTES }, (_, length) => copied.subarray(0, length));

/** The same until the next call, for who makes a copy anyway. */
export function recordKeyToCopy(key: Buffer): Buffer {
  copied.set(key, 1);
  return views[1 + key.length] as Buffer;
}

/** 2: nodes and the meta record have checksums. 3: nodes have their hash, inner ones those between their slots and their root; each becomes such when it is written the next time. */
const FORMAT_VERSION = 3;
export const READABLE_VERSIONS: readonly number[] = [2, FORMAT_VERSION];
/** The last version whose meta record had none. */
const UNCHECKED_VERSION = 1;
const MAGIC = 'vrfs records';

/** Always describes the records that lie beside it: it is written in one batch with them. */
export interface Meta {
  readonly top: Top;
  readonly state:
    | { readonly kind: 'checkpoint'; readonly info: CheckpointInfo }
    /** Some ranges are as a peer has them at a later checkpoint, the others as they were at `base`. */
    | { readonly kind: 'between'; readonly base: OpNumber };
}

export function encodeTop(w: Writer, top: Top): void {
  if (top === null) {
    w.u8(0);
    return;
  }
  w.u8(top.kind === 'page' ? PAGE : INNER).raw(top.hash).u48(top.records).u48(top.stamp).u48(top.recordBytes);
  if (top.kind === 'inner') w.u16(top.nibbles).raw(top.prefix);
}

export function decodeTop(r: Reader): Top {
  const kind = r.u8();
  if (kind === 0) return null;
  if (kind !== PAGE && kind !== INNER) throw new DecodeError(`unknown kind of node: ${kind}`);
  const common = { hash: Buffer.from(r.raw(HASH_BYTES)), records: r.u48(), stamp: r.u48(), recordBytes: r.u48() };
  if (kind === PAGE) return { kind: 'page', span: 1, ...common } satisfies Child;
  const nibbles = r.u16();
  return { kind: 'inner', nibbles, prefix: Buffer.from(r.raw((nibbles + 1) >> 1)), ...common };
}

export function encodeMeta(meta: Meta): Buffer {
  const w = new Writer(512);
  w.latin1(MAGIC).u16(FORMAT_VERSION);
  if (meta.state.kind === 'checkpoint') {
    const { op, root, extra } = meta.state.info;
    w.u8(0).u48(op).latin1(root).bytes16(extra);
  } else {
    w.u8(1).u48(meta.state.base);
  }
  encodeTop(w, meta.top);
  const bytes = w.finish();
  return Buffer.concat([bytes, new Writer(4).u32(crc32(bytes)).finish()]);
}

/** 'foreign': not ours; otherwise the version that it has, or the meta. */
export function decodeMeta(bytes: Buffer): 'foreign' | { readonly version: number } | Decoded<Meta> {
  if (bytes.length < MAGIC.length + 2 || bytes.latin1Slice(0, MAGIC.length) !== MAGIC) return 'foreign';
  const version = bytes.readUInt16BE(MAGIC.length);
  if (version === UNCHECKED_VERSION) return { version };
  const end = bytes.length - 4;
  const body = bytes.subarray(0, end);
  if (end < 0 || bytes.readUInt32BE(end) !== crc32(body)) return { ok: false, reason: 'the checksum of its description is wrong' };
  if (!READABLE_VERSIONS.includes(version)) return { version };
  return decodeAll(body, (r) => {
    r.raw(MAGIC.length + 2);
    const kind = r.u8();
    if (kind > 1) throw new DecodeError(`unknown state ${kind}`);
    if (kind === 1) return { state: { kind: 'between' as const, base: opNumber(r.u48()) }, top: decodeTop(r) };
    const op = opNumber(r.u48());
    const root = digest(r.latin1(32));
    const extra = Buffer.from(r.bytes16());
    const top = decodeTop(r);
    const count = top === null ? 0 : top.records;
    if (rootHash(op, count, extra, top?.hash ?? null) !== root) throw new DecodeError('the root does not match what it is the root of');
    return { state: { kind: 'checkpoint' as const, info: { op, root, extra, count } }, top };
  });
}
