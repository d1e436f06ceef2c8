/**
 * Request bodies of file contents. What fits one operation (1 MiB) is gathered into one buffer; what is longer is handed on as a
 * stream with its beginning, so that no body is ever held in memory whole.
 */
import type { IncomingMessage } from 'node:http';
import { EMPTY } from '../../lib/bytes.ts';
import { Pieces } from '../../lib/pieces.ts';
import { READ_MAX } from '../../fsservice/operations.ts';
import { badRequest, problem, type ProblemError } from './problem.ts';
import { NO_ROOM, type Room } from './rooms.ts';

/** The most that one operation writes, bytes. */
export const WRITE_MAX = READ_MAX;

export type Body =
  | { readonly type: 'bytes'; readonly bytes: Buffer }
  /** More than WRITE_MAX. `rest` is paused. */
  | { readonly type: 'stream'; readonly first: readonly Buffer[]; readonly rest: IncomingMessage; readonly room: Room };

export const NO_BODY: Body = Object.freeze({ type: 'bytes', bytes: EMPTY });

const IN_PARTS = 'Send a shorter body. A file can be written in parts: PUT its beginning, then PATCH ?offset= for each further part.';

function tooLarge(limit: number, remedy: string): ProblemError {
  return problem(413, 'content-too-large', 'Content too large', `The body is longer than the limit of ${limit} bytes.`, remedy, { connection: 'close' });
}

function cutOff(): ProblemError {
  return badRequest('The body ended before its announced length.', 'Send the request again.');
}

/** Calls back once, with a problem or the body. `limit`: bytes. `remedy`: for a longer one, where it is no file's content. */
export function receiveBody(payload: IncomingMessage, limit: number, room: Room | null, done: (error: Error | null, body?: Body) => void, remedy: string = IN_PARTS): void {
  if (Number(payload.headers['content-length'] ?? 0) > limit) {
    done(tooLarge(limit, remedy));
    return;
  }
  const chunks: Buffer[] = [];
  let length = 0;
  const finish = (error: Error | null, body?: Body): void => {
    payload.removeListener('data', onData);
    payload.removeListener('end', onEnd);
    payload.removeListener('close', onClose);
    payload.removeListener('error', onClose);
    done(error, body);
  };
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    length += chunk.length;
    room?.theirs();
    if (length <= WRITE_MAX) return;
    payload.pause();
    finish(null, { type: 'stream', first: chunks, rest: payload, room: room ?? NO_ROOM });
  };
  const onEnd = (): void => {
    finish(null, { type: 'bytes', bytes: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length) });
  };
  const onClose = (): void => {
    finish(cutOff());
  };
  payload.on('data', onData);
  payload.on('end', onEnd);
  payload.on('close', onClose);
  payload.on('error', onClose);
}

/** The body in pieces of exactly WRITE_MAX (the last one shorter). Throws a problem past `limit`, or when it is cut off. */
export async function* pieces(body: Body, limit: number): AsyncGenerator<Buffer> {
  if (body.type === 'bytes') {
    if (body.bytes.length > 0) yield body.bytes;
    return;
  }
  const { room } = body;
  const gathered = new Pieces(WRITE_MAX);
  let total = 0;
  for await (const chunk of joined(body.first, body.rest)) {
    room.theirs();
    total += chunk.length;
    if (total > limit) throw tooLarge(limit, IN_PARTS);
    for (const piece of gathered.add(chunk)) {
      room.ours();
      yield piece;
      room.theirs();
    }
  }
  room.ours();
  if (!body.rest.complete) throw cutOff();
  const last = gathered.rest();
  if (last !== null) yield last;
}

async function* joined(first: readonly Buffer[], rest: IncomingMessage): AsyncGenerator<Buffer> {
  yield* first;
  try {
    for await (const chunk of rest) yield chunk as Buffer;
  } catch {
    // The sender has gone, which is no fault of this side.
    throw cutOff();
  }
}
