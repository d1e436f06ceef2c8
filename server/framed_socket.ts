/**
 * A TCP connection as frames: payloads come in through one handler, which may change when the handshake is over, and
 * whatever is wrong ends the connection with a reason. Payloads are views of what the socket read, which Node
 * allocates anew for each read: they may be kept.
 */
import type { Socket } from 'node:net';
import { FrameDecoder, MAX_FRAME_BYTES } from '../lib/frame.ts';

/** What the other side has to read what was written to it last, milliseconds. */
const LINGER_MS = 2_000;

/** Handles a payload; returns why the connection has to end, or null. */
export type PayloadHandler = (payload: Buffer) => string | null;

export interface FramedSocketEvents {
  /** All payloads of one read have been handled. */
  onRead(): void;
  /** Once. `reason` is null when the other side closed in order. */
  onClosed(reason: string | null): void;
}

export class FramedSocket {
  readonly socket: Socket;
  readonly #decoder: FrameDecoder;
  readonly #events: FramedSocketEvents;
  #handler: PayloadHandler;
  /** Tells the other side why the connection ends, where the stream cannot be followed any further. */
  #onBroken: ((reason: string) => void) | null = null;
  #reason: string | null = null;
  #closed = false;
  receivedBytes = 0;
  sentBytes = 0;
  /** Milliseconds, monotonic. */
  lastReceived = performance.now();
  lastSent = performance.now();

  /** `maxBytes`: of a payload. A longer one ends the connection when it is announced, before there is memory for it. */
  constructor(socket: Socket, handler: PayloadHandler, events: FramedSocketEvents, maxBytes = MAX_FRAME_BYTES) {
    this.socket = socket;
    this.#decoder = new FrameDecoder(maxBytes);
    this.#handler = handler;
    this.#events = events;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on('data', (chunk: Buffer) => { this.#onData(chunk); });
    socket.on('error', (error) => { this.#reason ??= error.message; });
    socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      events.onClosed(this.#reason);
    });
    // The other side has said all it wanted: half-open connections are of no use here.
    socket.on('end', () => { socket.end(); });
  }

  /** `address:port` of the other side. */
  get remote(): string {
    return `${this.socket.remoteAddress ?? 'unknown'}:${this.socket.remotePort ?? 0}`;
  }
  /** Bytes that the socket has been given and the kernel has not. */
  get backlog(): number {
    return this.socket.writableLength;
  }

  /** From the next payload on. `onBroken`: instead of ending the connection without a word when a frame is damaged or too long. */
  handle(handler: PayloadHandler, maxBytes = MAX_FRAME_BYTES, onBroken: ((reason: string) => void) | null = null): void {
    this.#handler = handler;
    this.#decoder.maxBytes = maxBytes;
    this.#onBroken = onBroken;
  }

  /** Whole frames, in order, in one `writev`. */
  write(frames: readonly Buffer[]): void {
    const { socket } = this;
    if (socket.destroyed || socket.writableEnded) return;
    this.lastSent = performance.now();
    const [first] = frames;
    if (frames.length === 1 && first !== undefined) {
      this.sentBytes += first.length;
      socket.write(first);
      return;
    }
    socket.cork();
    for (const frame of frames) {
      this.sentBytes += frame.length;
      socket.write(frame);
    }
    socket.uncork();
  }

  /** Ends the connection now. What was written before may be lost. */
  destroy(reason: string): void {
    this.#reason ??= reason;
    this.socket.destroy();
  }

  /** Ends the connection when what was written has gone. */
  end(reason: string): void {
    this.#reason ??= reason;
    this.#handler = () => null;
    this.socket.end();
    // Not at once: closing over unread bytes would reset the connection, and the other side would not read the last words.
    this.socket.setTimeout(LINGER_MS, () => { this.socket.destroy(); });
  }

  /** The same from this side, which stops: the connection ends when what was written has gone, or the other side has had its time to take it. */
  finish(): void {
    const { socket } = this;
    if (socket.destroyed) return;
    socket.destroySoon();
    // One that takes nothing, or a byte now and then, must not keep the replica.
    const timer = setTimeout(() => { socket.destroy(); }, LINGER_MS);
    socket.once('close', () => { clearTimeout(timer); });
  }

  #onData(chunk: Buffer): void {
    this.receivedBytes += chunk.length;
    this.lastReceived = performance.now();
    const failure = this.#decoder.push(chunk, this.#onPayload);
    if (failure !== null && this.#reason === null) this.#broken(failure);
    this.#events.onRead();
  }

  #broken(failure: string): void {
    if (this.#onBroken === null) this.destroy(failure);
    else this.#onBroken(failure);
  }

  readonly #onPayload = (payload: Buffer): void => {
    if (this.#reason !== null) return;
    const reason = this.#handler(payload);
    if (reason !== null) this.destroy(reason);
  };
}
