/**
 * A file that is sent in pieces of one operation each (1 MiB). The next piece is asked for when the kernel has taken the one before, so a reader that does not read makes the
 * replica hold one piece, and with many readers as much as there is room for (rooms.ts).
 */
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { EMPTY } from '../../lib/bytes.ts';
import { READ_MAX, type At, type Attributes } from '../../fsservice/operations.ts';
import type { Gateway } from './gateway.ts';
import { problem, type ProblemError } from './problem.ts';
import { keeping, type Room, type Rooms } from './rooms.ts';

/** What is handed to the kernel at once: a reader that takes so much has moved. */
export const SLICE_BYTES = 64 << 10;

export interface Source {
  readonly gateway: Gateway;
  readonly attributes: Attributes;
  readonly rooms: Rooms;
  readonly response: ServerResponse;
}

/** Changed as the read goes on: nothing else may hold on to the bytes of a piece that has been sent. */
interface Piece {
  bytes: Buffer;
  room: Room;
}

/** `piece`: the first. A failure ends the stream before its announced length. */
export function longRead(source: Source, part: { readonly offset: number; readonly length: number }, piece: Piece): Readable {
  const slices = slicesOf(source, part.offset, part.offset + part.length, piece);
  return new Readable({
    // Nothing ahead: it is asked for more when the response has drained. (Readable.from would fetch two pieces ahead.)
    highWaterMark: 0,
    read() {
      slices.next().then(({ done, value }) => { this.push(done === true ? null : value); }, (error: unknown) => { this.destroy(error as Error); });
    },
  });
}

async function* slicesOf({ gateway, attributes, rooms, response }: Source, start: number, end: number, piece: Piece): AsyncGenerator<Buffer, void> {
  const at: At = { dir: attributes.ino, path: EMPTY };
  let offset = start + piece.bytes.length;
  const single = offset === end;
  for (;;) {
    if (offset === end && !single) {
      const now = await keeping(piece.room, () => gateway.query({ type: 'getattr', at, follow: true }));
      if (now.attributes.version !== attributes.version) throw changed();
    }
    for (let i = 0; i < piece.bytes.length; i += SLICE_BYTES) {
      piece.room.theirs();
      yield piece.bytes.subarray(i, i + SLICE_BYTES);
    }
    // The room of the last piece is given back when the response has ended: its last bytes may be still here.
    if (offset === end) return;
    piece.bytes = EMPTY;
    piece.room.release();
    const wanted = Math.min(READ_MAX, end - offset);
    piece.room = await rooms.take(wanted, response, null);
    piece.bytes = await keeping(piece.room, async () => await readPiece(gateway, at, offset, wanted));
    offset += wanted;
  }
}

async function readPiece(gateway: Gateway, at: At, offset: number, length: number): Promise<Buffer> {
  const result = await gateway.tryQuery({ type: 'read', at, offset, length });
  if (!result.ok) throw gateway.refusal(result.errno, 'read');
  if (result.value.data.length !== length) throw changed();
  return result.value.data;
}

function changed(): ProblemError {
  return problem(503, 'changing', 'The file changed', 'The file changed while it was read.', 'Read it again.', { 'retry-after': '1' });
}
