/**
 * The few messages of etcd's API that the benchmark speaks, in protobuf's wire format
 * (https://protobuf.dev/programming-guides/encoding/; field numbers: etcd's rpc.proto).
 */

const VARINT = 0;
const BYTES = 2;

/** Of a length or a small number. */
function varintLength(n: number): number {
  let length = 1;
  for (let rest = Math.floor(n / 128); rest > 0; rest = Math.floor(rest / 128)) length++;
  return length;
}
function putVarint(buffer: Buffer, at: number, n: number): number {
  let rest = n;
  while (rest >= 128) {
    buffer[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  buffer[at++] = rest;
  return at;
}
function bytesLength(value: Buffer): number {
  return 1 + varintLength(value.length) + value.length;
}
function putBytes(buffer: Buffer, at: number, field: number, value: Buffer): number {
  buffer[at] = (field << 3) | BYTES;
  const start = putVarint(buffer, at + 1, value.length);
  value.copy(buffer, start);
  return start + value.length;
}

/** PutRequest: key = 1, value = 2; an empty value is not sent. */
export function encodePut(key: Buffer, value: Buffer): Buffer {
  const buffer = Buffer.allocUnsafe(bytesLength(key) + (value.length > 0 ? bytesLength(value) : 0));
  const at = putBytes(buffer, 0, 1, key);
  if (value.length > 0) putBytes(buffer, at, 2, value);
  return buffer;
}

/** RangeRequest of one key: key = 1, serializable = 7 (at the member that is asked, without the leader). */
export function encodeRange(key: Buffer, serializable: boolean): Buffer {
  const buffer = Buffer.allocUnsafe(bytesLength(key) + (serializable ? 2 : 0));
  const at = putBytes(buffer, 0, 1, key);
  if (serializable) {
    buffer[at] = (7 << 3) | VARINT;
    buffer[at + 1] = 1;
  }
  return buffer;
}

export type Field =
  | { readonly field: number; readonly type: 'varint'; readonly value: bigint }
  | { readonly field: number; readonly type: 'bytes'; readonly value: Buffer };

/** The fields of a message, in order. @throws RangeError when it ends in the middle of one, or has another wire type */
export function* fieldsOf(message: Buffer): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
      if (shift >= 63n) throw new RangeError('a varint of more than ten bytes');
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const field = tag >> 3;
    if ((tag & 7) === VARINT) {
      yield { field, type: 'varint', value: varint() };
    } else if ((tag & 7) === BYTES) {
      const length = Number(varint());
      if (at + length > message.length) throw new RangeError(`field ${field} of ${length} bytes goes beyond the message`);
      yield { field, type: 'bytes', value: message.subarray(at, at + length) };
      at += length;
    } else {
      throw new RangeError(`field ${field} has wire type ${tag & 7}`);
    }
  }
}

/** Whether a RangeResponse (header = 1, kvs = 2) has found the key. Looks no further than it must. */
export function hasKey(response: Buffer): boolean {
  for (const f of fieldsOf(response)) if (f.field === 2) return true;
  return false;
}

export interface Status {
  readonly member: bigint;
  readonly leader: bigint;
  readonly version: string;
  /** Newest entry of the log that is committed. */
  readonly raftIndex: bigint;
  readonly raftAppliedIndex: bigint;
  /** Of the store. */
  readonly revision: bigint;
}

/** StatusResponse: header = 1 (member_id = 2, revision = 3), version = 2, leader = 4, raftIndex = 5, raftAppliedIndex = 7. */
export function decodeStatus(message: Buffer): Status {
  const numbers = new Map<number, bigint>();
  let version = '';
  let header: Buffer = Buffer.alloc(0);
  for (const f of fieldsOf(message)) {
    if (f.type === 'varint') numbers.set(f.field, f.value);
    else if (f.field === 1) header = f.value;
    else if (f.field === 2) version = f.value.toString();
  }
  const inHeader = new Map<number, bigint>();
  for (const f of fieldsOf(header)) if (f.type === 'varint') inHeader.set(f.field, f.value);
  return {
    member: inHeader.get(2) ?? 0n, revision: inHeader.get(3) ?? 0n, version,
    leader: numbers.get(4) ?? 0n, raftIndex: numbers.get(5) ?? 0n, raftAppliedIndex: numbers.get(7) ?? 0n,
  };
}
