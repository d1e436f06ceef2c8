/**
 * One request of a connection after the other. Node hands on all that a client has sent without waiting for answers (pipelining), and keeps
 * the answers that come too early until it is their turn: what one connection made a replica hold grew with what it asked for. The order of the answers is the same.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Above this the connection is not read from until its turn has come to all but these. */
const PAUSE_AT = 8;
/** Above this it ends: there is no reading less than a chunk, and a chunk holds a thousand requests of a few bytes. */
const WAITING_MAX = 256;

interface Waiting {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** The newest answer of each connection. */
export type Answers = WeakMap<Socket, ServerResponse>;

/** `answers` is kept up to date. */
export function oneAtATime(handle: RequestListener, answers: Answers = new WeakMap()): RequestListener {
  /** Connections with a request under way, and the requests behind it. */
  const lines = new Map<Socket, Waiting[]>();

  const begin = (socket: Socket, line: Waiting[], { request, response }: Waiting): void => {
    response.once('close', () => { next(socket, line); });
    answers.set(socket, response);
    handle(request, response);
  };

  const next = (socket: Socket, line: Waiting[]): void => {
    const waiting = line.shift();
    // Nothing more can be answered when the connection has broken off, or the answer before was its last.
    if (waiting === undefined || socket.destroyed || !socket.writable) {
      lines.delete(socket);
      return;
    }
    if (line.length < PAUSE_AT && socket.isPaused()) socket.resume();
    begin(socket, line, waiting);
  };

  return (request, response) => {
    const { socket } = request;
    const line = lines.get(socket);
    if (line === undefined) {
      const empty: Waiting[] = [];
      lines.set(socket, empty);
      begin(socket, empty, { request, response });
      return;
    }
    line.push({ request, response });
    if (line.length > WAITING_MAX) socket.destroy();
    else if (line.length >= PAUSE_AT) socket.pause();
  };
}
