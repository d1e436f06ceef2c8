/**
 * Unary gRPC calls over one HTTP/2 connection, many at once, for as little CPU as can be. Node's own http2 module makes a stream object with
 * events for every call, several times the cost of a call of vrfs' client; measured with it, etcd would be held back by its client.
 *
 * The headers that are the same in every call are entered in the server's dynamic table by the first one (HPACK, RFC 7541), so that a call has
 * one short header block made in advance. Responses: the bytes of DATA frames; header blocks are not decoded, because a server sends a message only
 * with a call that went well, and a trailer alone otherwise.
 */
import { Fifo } from '../../../lib/fifo.ts';
import { TurnSocket } from './turn_socket.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const FRAME_HEADER = 9;
const GRPC_HEADER = 5;
const MOST_WINDOW = 0x7fff_ffff;
const FIRST_WINDOW = 65_535;
/** The window is opened again after so many bytes. */
const ACKNOWLEDGE_BYTES = 64 << 20;

const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;

export interface CallDone {
  completed(message: Buffer): void;
  failed(error: Error): void;
}

/** A path as `/package.Service/Method`, as it stands in a header block. */
export class Method {
  readonly path: string;
  /** With the names and values that a connection's first call enters in the table; and as entries 64, 63, 62 of it. */
  readonly first: (authority: string) => Buffer;
  readonly later: Buffer;

  constructor(path: string) {
    this.path = path;
    const fixed = Buffer.concat([Buffer.from([0x83, 0x86]), literal([0x04], null, path)]); // :method POST, :scheme http, :path without indexing
    this.first = (authority) => Buffer.concat([fixed, literal([0x41], null, authority), literal([0x5f], null, 'application/grpc'), literal([0x40], 'te', 'trailers')]);
    this.later = Buffer.concat([fixed, Buffer.from([0x80 | 64, 0x80 | 63, 0x80 | 62])]);
  }
}

/** `prefix` says whether the name is indexed and whether the field enters the table; strings are shorter than 127 bytes and not compressed. */
function literal(prefix: readonly number[], name: string | null, value: string): Buffer {
  const text = (s: string): Buffer => {
    if (s.length >= 127) throw new RangeError(`'${s}' is too long for a header of this client`);
    return Buffer.from([s.length, ...Buffer.from(s, 'latin1')]);
  };
  return Buffer.concat([Buffer.from(prefix), ...(name === null ? [] : [text(name)]), text(value)]);
}

function putFrameHeader(buffer: Buffer, at: number, length: number, type: number, flags: number, stream: number): number {
  buffer.writeUIntBE(length, at, 3);
  buffer[at + 3] = type;
  buffer[at + 4] = flags;
  buffer.writeUInt32BE(stream, at + 5);
  return at + FRAME_HEADER;
}
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const buffer = Buffer.allocUnsafe(FRAME_HEADER + payload.length);
  payload.copy(buffer, putFrameHeader(buffer, 0, payload.length, type, flags, stream));
  return buffer;
}

/** HEADERS and DATA of one call. */
export function encodeCall(stream: number, headers: Buffer, message: Buffer): Buffer {
  const buffer = Buffer.allocUnsafe(2 * FRAME_HEADER + GRPC_HEADER + headers.length + message.length);
  let at = putFrameHeader(buffer, 0, headers.length, TYPE.headers, END_HEADERS, stream);
  at += headers.copy(buffer, at);
  at = putFrameHeader(buffer, at, GRPC_HEADER + message.length, TYPE.data, END_STREAM, stream);
  buffer[at] = 0; // not compressed
  buffer.writeUInt32BE(message.length, at + 1);
  message.copy(buffer, at + GRPC_HEADER);
  return buffer;
}

interface Call {
  readonly done: CallDone;
  /** What came of the answer, the five bytes before the message included. */
  answer: Buffer | null;
}

export class GrpcConnection {
  readonly #authority: string;
  #socket: TurnSocket | null = null;
  #partial: Buffer | null = null;
  readonly #calls = new Map<number, Call>();
  #nextStream = 1;
  /** Bytes of DATA that the server still takes. */
  #window = FIRST_WINDOW;
  readonly #waiting = new Fifo<{ readonly method: Method; readonly message: Buffer; readonly done: CallDone }>();
  #unacknowledged = 0;

  private constructor(authority: string) {
    this.#authority = authority;
  }

  static async connect(host: string, port: number): Promise<GrpcConnection> {
    const connection = new GrpcConnection(`${host}:${port}`);
    const socket = await TurnSocket.connect(host, port, (chunk) => { connection.#onData(chunk); }, (reason) => { connection.#onClose(reason ?? new Error('the connection was closed')); });
    connection.#socket = socket;
    const settings = Buffer.alloc(12);
    settings.writeUInt16BE(2, 0); // ENABLE_PUSH: 0
    settings.writeUInt16BE(4, 6); // INITIAL_WINDOW_SIZE
    settings.writeUInt32BE(MOST_WINDOW, 8);
    socket.write(PREFACE);
    socket.write(frame(TYPE.settings, 0, 0, settings));
    connection.#openWindow(MOST_WINDOW - FIRST_WINDOW);
    return connection;
  }

  call(method: Method, message: Buffer, done: CallDone): void {
    if (this.#socket === null) {
      done.failed(new Error(`${this.#authority}: the connection is closed`));
      return;
    }
    if (this.#waiting.length > 0 || this.#window < GRPC_HEADER + message.length) this.#waiting.push({ method, message, done });
    else this.#send(this.#socket, method, message, done);
  }

  close(): void {
    this.#socket?.close();
  }

  #send(socket: TurnSocket, method: Method, message: Buffer, done: CallDone): void {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    this.#window -= GRPC_HEADER + message.length;
    this.#calls.set(stream, { done, answer: null });
    socket.write(encodeCall(stream, stream === 1 ? method.first(this.#authority) : method.later, message));
  }

  #openWindow(bytes: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    this.#socket?.write(frame(TYPE.windowUpdate, 0, 0, payload));
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#partial === null ? chunk : Buffer.concat([this.#partial, chunk]);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER) {
      const length = bytes.readUIntBE(at, 3);
      const end = at + FRAME_HEADER + length;
      if (end > bytes.length) break;
      this.#onFrame(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, bytes.readUInt32BE(at + 5) & MOST_WINDOW, bytes.subarray(at + FRAME_HEADER, end));
      at = end;
    }
    this.#partial = at < bytes.length ? bytes.subarray(at) : null;
  }

  #onFrame(type: number, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case TYPE.data: {
        this.#unacknowledged += payload.length;
        if (this.#unacknowledged >= ACKNOWLEDGE_BYTES) {
          this.#openWindow(this.#unacknowledged);
          this.#unacknowledged = 0;
        }
        const call = this.#calls.get(stream);
        if (call !== undefined) call.answer = call.answer === null ? payload : Buffer.concat([call.answer, payload]);
        return;
      }
      case TYPE.headers:
        if ((flags & END_STREAM) !== 0) this.#end(stream, payload);
        return;
      case TYPE.reset:
        this.#fail(stream, `the server has reset the call, code ${payload.readUInt32BE(0)}`);
        return;
      case TYPE.settings:
        if ((flags & ACK) === 0) this.#socket?.write(frame(TYPE.settings, ACK, 0, Buffer.alloc(0)));
        return;
      case TYPE.ping:
        if ((flags & ACK) === 0) this.#socket?.write(frame(TYPE.ping, ACK, 0, payload));
        return;
      case TYPE.goAway:
        this.#onClose(new Error(`${this.#authority} ends the connection: ${payload.subarray(8).toString('latin1')}`));
        return;
      case TYPE.windowUpdate:
        if (stream === 0) this.#onWindow(payload.readUInt32BE(0));
        return;
      default: // PRIORITY and what the standard adds later may be passed over
    }
  }

  #onWindow(bytes: number): void {
    this.#window += bytes;
    for (let next = this.#waiting.peek(); next !== undefined && this.#socket !== null && this.#window >= GRPC_HEADER + next.message.length; next = this.#waiting.peek()) {
      this.#waiting.shift();
      this.#send(this.#socket, next.method, next.message, next.done);
    }
  }

  #end(stream: number, trailer: Buffer): void {
    const call = this.#calls.get(stream);
    if (call === undefined) return;
    if (call.answer === null || call.answer.length < GRPC_HEADER || call.answer.readUInt32BE(1) !== call.answer.length - GRPC_HEADER) {
      this.#fail(stream, `the call was refused; its trailer: ${trailer.toString('latin1').replace(/[^ -~]+/g, ' ')}`);
      return;
    }
    this.#calls.delete(stream);
    call.done.completed(call.answer.subarray(GRPC_HEADER));
  }

  #fail(stream: number, why: string): void {
    const call = this.#calls.get(stream);
    this.#calls.delete(stream);
    call?.done.failed(new Error(`${this.#authority}: ${why}`));
  }

  #onClose(reason: Error): void {
    this.#socket?.close();
    this.#socket = null;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const c of calls) c.done.failed(reason);
    for (let w = this.#waiting.shift(); w !== undefined; w = this.#waiting.shift()) w.done.failed(reason);
  }
}
