/**
 * The TCP port of a replica. Replicas and clients come to the same one: the first frame tells which it is.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { formatAddress, type HostPort } from '../lib/address.ts';
import { assert } from '../lib/assert.ts';
import { tellAcceptFailures } from './accept_failures.ts';
import type { ClientLinks } from './client_links.ts';
import { FramedSocket } from './framed_socket.ts';
import { isPeerHello } from './peer_handshake.ts';
import type { PeerLinks } from './peer_links.ts';

/** A connection has to say what it is within this, milliseconds. */
const FIRST_FRAME_MS = 10_000;
/** The longest first frame, with room for hellos of later versions, which are to be told that they are refused. */
const FIRST_FRAME_BYTES = 4096;

export interface ListenerOptions {
  readonly peers: PeerLinks;
  readonly clients: ClientLinks;
  /** How many connections may be there that have not said yet what they are. */
  readonly maxStrangers: number;
  readonly requestTurn: () => void;
  /** A connection that was refused or broke before it was anyone's, for the log. */
  readonly onRefused: (remote: string, reason: string) => void;
}

/** The port is taken, or the address is not this machine's. The message names the remedy. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

export function listenError(error: NodeJS.ErrnoException, at: HostPort, option: string): Error {
  const address = formatAddress(at);
  switch (error.code) {
    case 'EADDRINUSE': return new ListenError(`${address} is in use by another process: stop that one, or choose another port (${option})`, { cause: error });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND': return new ListenError(`${address} is not an address of this machine: give one that is (${option})`, { cause: error });
    case 'EACCES': return new ListenError(`this user may not listen on ${address}: choose a port above 1023 (${option})`, { cause: error });
    default: return new ListenError(`cannot listen on ${address}: ${error.message} (${option})`, { cause: error });
  }
}

export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<FramedSocket>();
  /** Those that are nobody's yet, or have been refused and are not gone, the oldest first. */
  readonly #strangers = new Set<FramedSocket>();

  constructor(options: ListenerOptions, server = createServer({ noDelay: true })) {
    this.#options = options;
    this.#server = server;
    server.on('connection', (socket) => { this.#onConnection(socket); });
  }

  /** Resolves to the address as bound. Rejects with ListenError. */
  listen(at: HostPort): Promise<HostPort> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => { reject(listenError(error, at, '--listen')); };
      this.#server.once('error', failed);
      this.#server.listen({ host: at.host, port: at.port, backlog: 1024 }, () => {
        this.#server.off('error', failed);
        tellAcceptFailures(this.#server, (reason) => { this.#options.onRefused('unknown', reason); });
        const bound = this.#server.address() as AddressInfo | string | null;
        assert(bound !== null && typeof bound === 'object', 'a TCP server has an address');
        resolve({ host: at.host, port: bound.port });
      });
    });
  }

  /** No new connections. */
  stopAccepting(): void {
    this.#server.close();
  }

  /** Ends what is left, soon also where the other side does not read. Resolves when the port is free. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#server.listening && this.#sockets.size === 0) {
        resolve();
        return;
      }
      this.#server.once('close', () => { resolve(); });
      this.#server.close();
      for (const socket of this.#sockets) socket.finish();
    });
  }

  #onConnection(socket: Socket): void {
    let closed: (reason: string | null) => void = (reason) => {
      if (reason !== null) this.#options.onRefused(remote, reason);
    };
    const framed: FramedSocket = new FramedSocket(socket, (payload) => {
      closed = this.#opened(framed, payload, closed);
      return null;
    }, {
      onRead: this.#options.requestTurn,
      onClosed: (reason) => {
        this.#sockets.delete(framed);
        this.#strangers.delete(framed);
        closed(reason);
      },
    }, FIRST_FRAME_BYTES);
    const { remote } = framed;
    this.#sockets.add(framed);
    this.#meet(framed);
    socket.setTimeout(FIRST_FRAME_MS, () => { framed.destroy(`it said nothing for ${FIRST_FRAME_MS / 1000} s`); });
  }

  /** Who says at once what it is finds room; who only connects makes room. A connection costs a file descriptor, and the journal needs some. */
  #meet(framed: FramedSocket): void {
    this.#strangers.add(framed);
    const [oldest] = this.#strangers;
    if (this.#strangers.size <= this.#options.maxStrangers || oldest === undefined) return;
    this.#strangers.delete(oldest);
    oldest.destroy('it had not said what it is when others came');
  }

  /** The first frame. Returns what is to be done when the connection ends. */
  #opened(framed: FramedSocket, payload: Buffer, refused: (reason: string | null) => void): (reason: string | null) => void {
    const { peers, clients } = this.#options;
    framed.socket.setTimeout(0);
    if (isPeerHello(payload)) {
      const link = peers.accept(framed, payload);
      if (typeof link !== 'string') {
        this.#strangers.delete(framed);
        return (reason) => { link.lost(framed, reason); };
      }
      framed.end(link);
      return refused;
    }
    const id = clients.accept(framed, payload);
    if (typeof id === 'number') {
      this.#strangers.delete(framed);
      return () => { clients.gone(id); };
    }
    framed.end(id);
    return refused;
  }
}
