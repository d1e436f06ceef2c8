/**
 * A body is read when there is room for it (rooms.ts), and the client is told to go on (100 Continue) not before: one that is too long, or for
 * which there is no room, is refused without being sent. The room is held until there is an answer. Hooks of all routes, so that none is forgotten.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { WRITE_MAX } from './body.ts';
import type { Room, Rooms } from './rooms.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** For its body; null: it has none, or a small one. */
    room: Room | null;
  }
  interface FastifyContextConfig {
    /** Files: what is gathered at a time is one operation's worth. (As many as are being written at once are beside it: client/replace_file.ts.) */
    streamsBody?: boolean;
    /** Replicas ask: what clients send must not keep them out. */
    ofReplicas?: boolean;
  }
}

export interface BodyRooms {
  readonly bodies: Rooms;
  readonly transfers: Rooms;
}

const EXPECTS = /(?:^|\W)100-continue(?:$|\W)/i;

export function boundBodies(app: FastifyInstance, { bodies, transfers }: BodyRooms, roomWaitMs: number): void {
  app.decorateRequest('room', null);
  app.addHook('preParsing', (request, reply, payload, done) => {
    const bytes = heldBytes(request);
    if (bytes === 0) {
      done(null, payload);
      return;
    }
    const expects = request.raw.httpVersion === '1.1' && EXPECTS.test(request.headers.expect ?? '');
    const rooms = request.routeOptions.config.ofReplicas === true ? transfers : bodies;
    rooms.take(bytes, reply.raw, roomWaitMs).then((room) => {
      request.room = room;
      room.theirs();
      if (expects) reply.raw.writeContinue();
      done(null, payload);
    }, (error: unknown) => { done(error as Error, payload); });
  });
  app.addHook('preHandler', (request, _reply, done) => {
    request.room?.ours();
    done();
  });
  app.addHook('onSend', (request, _reply, payload, done) => {
    request.room?.release();
    done(null, payload);
  });
}

/** What the body will take of memory: as it comes, and once more when its parts are joined. 0: there is none, or the parser refuses it for its length. */
function heldBytes(request: FastifyRequest): number {
  const announced = request.headers['content-length'];
  const chunked = request.headers['transfer-encoding'] !== undefined;
  if (announced === undefined && !chunked) return 0;
  const { bodyLimit, config } = request.routeOptions;
  const length = chunked ? Infinity : Number(announced);
  return !chunked && length > bodyLimit ? 0 : 2 * Math.min(length, config.streamsBody === true ? WRITE_MAX : bodyLimit);
}
