/**
 * The few messages of ZooKeeper's client protocol that the benchmark speaks, in the encoding of its jute (big-endian; strings, buffers and vectors
 * behind a 32-bit length; field order: zookeeper.jute). Every message is a frame behind its length in 32 bits.
 */

export const OPCODE = { create: 1, getData: 4, setData: 5, sync: 9, ping: 11 } as const;
/** Of a ping and its answer. */
export const PING_XID = -2;
/** Of what the server sends by itself when a watched node changes. */
export const WATCH_XID = -1;

/** `vector<ACL>` with one element: all permissions for everybody. */
const OPEN_ACL = Buffer.concat([int(1), int(31), text('world'), text('anyone')]);

function int(n: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeInt32BE(n);
  return b;
}
function text(s: string): Buffer {
  return Buffer.concat([int(Buffer.byteLength(s)), Buffer.from(s)]);
}

/** ConnectRequest: protocolVersion, lastZxidSeen, timeOut, sessionId, passwd, readOnly. */
export function encodeConnect(timeoutMs: number): Buffer {
  const buffer = Buffer.alloc(4 + 4 + 8 + 4 + 8 + 4 + 16 + 1);
  buffer.writeInt32BE(buffer.length - 4, 0);
  buffer.writeInt32BE(timeoutMs, 16);
  buffer.writeInt32BE(16, 28);
  return buffer;
}

/** Length, xid, type and the path: `more` bytes stay free behind them. Paths are ASCII. */
function request(xid: number, type: number, path: string, more: number): { readonly buffer: Buffer; readonly at: number } {
  const at = 16 + path.length;
  const buffer = Buffer.allocUnsafe(at + more);
  buffer.writeInt32BE(buffer.length - 4, 0);
  buffer.writeInt32BE(xid, 4);
  buffer.writeInt32BE(type, 8);
  buffer.writeInt32BE(path.length, 12);
  buffer.latin1Write(path, 16);
  return { buffer, at };
}

/** CreateRequest: path, data, acl, flags (0: persistent). */
export function encodeCreate(xid: number, path: string, data: Buffer): Buffer {
  const { buffer, at } = request(xid, OPCODE.create, path, 4 + data.length + OPEN_ACL.length + 4);
  buffer.writeInt32BE(data.length, at);
  data.copy(buffer, at + 4);
  OPEN_ACL.copy(buffer, at + 4 + data.length);
  buffer.writeInt32BE(0, buffer.length - 4);
  return buffer;
}

/** GetDataRequest: path, watch (no). */
export function encodeGetData(xid: number, path: string): Buffer {
  const { buffer, at } = request(xid, OPCODE.getData, path, 1);
  buffer[at] = 0;
  return buffer;
}

/** SetDataRequest: path, data, version (-1: whichever it has). */
export function encodeSetData(xid: number, path: string, data: Buffer): Buffer {
  const { buffer, at } = request(xid, OPCODE.setData, path, 4 + data.length + 4);
  buffer.writeInt32BE(data.length, at);
  data.copy(buffer, at + 4);
  buffer.writeInt32BE(-1, buffer.length - 4);
  return buffer;
}

/** SyncRequest: path. */
export function encodeSync(xid: number, path: string): Buffer {
  return request(xid, OPCODE.sync, path, 0).buffer;
}

export function encodePing(): Buffer {
  return Buffer.concat([int(8), int(PING_XID), int(OPCODE.ping)]);
}

export interface ReplyHeader {
  readonly xid: number;
  /** 0: all is well. */
  readonly err: number;
}

/** ReplyHeader: xid, zxid (64 bits), err. `frame` without its length. */
export function decodeReplyHeader(frame: Buffer): ReplyHeader {
  return { xid: frame.readInt32BE(0), err: frame.readInt32BE(12) };
}

/** Of a ConnectResponse: protocolVersion, timeOut, sessionId, passwd. A time-out of 0: the server refuses the session. */
export function decodeConnected(frame: Buffer): { readonly timeoutMs: number } {
  return { timeoutMs: frame.readInt32BE(4) };
}

/** Cuts a stream into frames. */
export class FrameReader {
  #partial: Buffer | null = null;

  /** `each` frame without its length; the buffer may be kept. */
  push(chunk: Buffer, each: (frame: Buffer) => void): void {
    const bytes = this.#partial === null ? chunk : Buffer.concat([this.#partial, chunk]);
    let at = 0;
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readInt32BE(at);
      if (end > bytes.length) break;
      each(bytes.subarray(at + 4, end));
      at = end;
    }
    this.#partial = at < bytes.length ? bytes.subarray(at) : null;
  }
}
