/**
 * The TCP connection to one replica: dialled when it is wanted, redialled with back-off, Hello first. Messages of one turn of
 * the event loop leave in one write; what comes is decoded a chunk at a time.
 */
import { connect, type Socket } from 'node:net';
import { FrameBatch, FrameDecoder } from '../lib/frame.ts';
import { decodeMessage, encodeMessage, encodeRequest } from '../vr/message_codec.ts';
import type { ClientToReplica, Message, ReplicaToClient } from '../vr/messages.ts';
import type { GroupPin } from './group_pin.ts';

export interface ConnectionEvents {
  message(from: string, message: ReplicaToClient): void;
  /** The connection has gone, or could not be made. */
  disconnected(from: string): void;
}

const CONNECT_MS = 3000;
const FIRST_REDIAL_MS = 50;
const MAX_REDIAL_MS = 1000;
/** Above so many bytes that the replica has not taken, messages are refused. */
const MAX_QUEUED_BYTES = 64 << 20;
/** A TCP keep-alive probe after so long finds out that the other machine has gone. */
const KEEP_ALIVE_MS = 10_000;

export class Connection {
  readonly address: string;
  readonly #group: GroupPin;
  readonly #events: ConnectionEvents;
  #socket: Socket | null = null;
  /** The replica has said Welcome. */
  #open = false;
  #closed = false;
  #batch = new FrameBatch();
  #flushing = false;
  #redial: NodeJS.Timeout | undefined;
  #failures = 0;
  /** Somebody asked for the connection while the back-off ran. */
  #wanted = false;
  #lastFailure: string | null = null;
  readonly #flush = (): void => { this.#flushNow(); };

  constructor(address: string, group: GroupPin, events: ConnectionEvents) {
    this.address = address;
    this.#group = group;
    this.#events = events;
  }

  get open(): boolean {
    return this.#open;
  }
  /** Why the newest attempt failed; null when there was none. */
  get lastFailure(): string | null {
    return this.#lastFailure;
  }

  /** Begins to connect, at once or when the back-off of the last failure is over. */
  dial(): void {
    if (this.#socket !== null || this.#closed) return;
    this.#wanted = true;
    if (this.#redial !== undefined) return;
    this.#wanted = false;
    const target = parseAddress(this.address);
    if (target === null) {
      this.#lastFailure = `'${this.address}' is not host:port`;
      return;
    }
    const socket = connect({ host: target.host, port: target.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS });
    this.#socket = socket;
    const decoder = new FrameDecoder();
    const timer = setTimeout(() => { socket.destroy(new Error(`no answer within ${CONNECT_MS} ms`)); }, CONNECT_MS);
    let failure: string | null = null;
    socket.on('connect', () => {
      this.#batch = new FrameBatch();
      this.#batch.add(encodeMessage({ type: 'hello', clusterId: this.#group.wanted }));
      this.#scheduleFlush();
    });
    socket.on('data', (chunk: Buffer) => {
      const reason = decoder.push(chunk, (payload) => { this.#onPayload(socket, timer, payload); });
      if (reason !== null) socket.destroy(new Error(reason));
    });
    socket.on('error', (error) => { failure = error.message; });
    socket.on('close', () => {
      clearTimeout(timer);
      this.#onClose(socket, failure);
    });
  }

  /** False: not connected (it is tried now), or too much is queued; the message was not sent and will not be. */
  send(message: ClientToReplica): boolean {
    if (!this.#open) {
      this.dial();
      return false;
    }
    if (this.#batch.length + (this.#socket?.writableLength ?? 0) > MAX_QUEUED_BYTES) return false;
    this.#batch.add(message.type === 'request' ? encodeRequest(message.session, message.slot, message.seq, message.body) : encodeMessage(message));
    this.#scheduleFlush();
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#open = false;
    clearTimeout(this.#redial);
    this.#socket?.destroy();
  }

  #scheduleFlush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(this.#flush);
  }

  #flushNow(): void {
    this.#flushing = false;
    const socket = this.#socket;
    if (socket === null || socket.destroyed) return;
    const buffers = this.#batch.take();
    if (buffers.length > 1) socket.cork();
    for (const b of buffers) socket.write(b);
    if (buffers.length > 1) socket.uncork();
  }

  #onPayload(socket: Socket, timer: NodeJS.Timeout, payload: Buffer): void {
    const decoded = decodeMessage(payload);
    if (!decoded.ok) {
      socket.destroy(new Error(`a message that cannot be read (${decoded.reason}): is it a vrfs replica of this version?`));
      return;
    }
    const message = decoded.value;
    if (!isForClients(message)) {
      socket.destroy(new Error(`a '${message.type}' message, which is not for clients: is this the address of a replica?`));
      return;
    }
    if (message.type === 'reject' && !this.#open) {
      // Instead of a welcome: this is all that it will ever say.
      socket.destroy(new Error(message.reason));
      return;
    }
    if (message.type === 'welcome') {
      const refusal = this.#group.refusal(message.clusterId);
      if (refusal !== null) {
        socket.destroy(new Error(refusal));
        return;
      }
      clearTimeout(timer);
      this.#open = true;
      this.#failures = 0;
      this.#lastFailure = null;
    }
    if (!this.#closed) this.#events.message(this.address, message);
  }

  #onClose(socket: Socket, failure: string | null): void {
    if (this.#socket !== socket) return;
    this.#lastFailure = failure ?? (this.#open ? 'the replica closed the connection' : 'it closed the connection without a welcome: is it of another group, or no vrfs replica?');
    this.#socket = null;
    this.#open = false;
    if (this.#closed) return;
    const nominal = Math.min(MAX_REDIAL_MS, FIRST_REDIAL_MS * 2 ** this.#failures++);
    // Jitter, so that the clients of a replica that restarts do not all come at once.
    this.#redial = setTimeout(() => {
      this.#redial = undefined;
      if (this.#wanted) this.dial();
    }, nominal * (0.75 + Math.random() / 2));
    this.#events.disconnected(this.address);
  }
}

function isForClients(m: Message): m is ReplicaToClient {
  switch (m.type) {
    case 'welcome': case 'registered': case 'reply': case 'readReply': case 'redirect': case 'reject': case 'newEpoch': case 'interval': case 'refused': return true;
    default: return false;
  }
}

/** `host:port`, the host perhaps an IPv6 address in brackets; null when it is neither. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(address);
  if (match === null) return null;
  const host = match[1] ?? match[2];
  const port = Number(match[3]);
  return host === undefined || port < 1 || port > 65_535 ? null : { host, port };
}
