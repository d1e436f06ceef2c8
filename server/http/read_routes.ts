/**
 * GET and HEAD of /v1/fs/{path}: the bytes of a file, or a page of a directory.
 *
 * Attributes are read before the bytes, and the bytes by inode: so the bytes are never older than the ETag that they are sent
 * with, and a compare-and-set with that tag cannot overwrite a change that its sender has not seen. When a file turns out to have changed in
 * between in a way that shows, the read is repeated; a long one is checked again before its last piece leaves (long_read.ts), so a body
 * that arrived whole is one version of the file.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { EMPTY } from '../../lib/bytes.ts';
import { Errno } from '../../fsservice/errno.ts';
import { READDIR_MAX } from '../../fsservice/limits.ts';
import { NAME_MAX, READ_MAX, type At, type Attributes } from '../../fsservice/operations.ts';
import { etag, matches, preconditionsOf } from './etag.ts';
import type { Gateway, GatewayOf } from './gateway.ts';
import { entryView, octal } from './json_views.ts';
import { longRead, SLICE_BYTES } from './long_read.ts';
import { CONSISTENCY, PAGE, query } from './openapi.ts';
import type { HttpLog } from './ports.ts';
import { badRequest, problem, type ProblemError } from './problem.ts';
import { byteRange } from './range.ts';
import { keeping, type Rooms } from './rooms.ts';

const ATTEMPTS = 8;
const PAGE_DEFAULT = 1000;

interface ListQuery {
  readonly cursor?: string;
  readonly limit?: number;
  readonly attributes?: boolean;
}

export interface ReadContext {
  readonly gatewayOf: GatewayOf;
  /** Of pieces of files. */
  readonly rooms: Rooms;
  /** For how long a read waits for room, milliseconds. */
  readonly roomWaitMs: number;
  readonly log: HttpLog;
}

export function readRoutes(app: FastifyInstance, context: ReadContext): void {
  const { gatewayOf } = context;
  app.get('/v1/fs', {
    schema: {
      operationId: 'read',
      summary: 'Read a file, or list a directory',
      description: 'A file: its bytes, with Range, If-None-Match, If-Range. A directory: one page of entries in JSON. Symbolic links are followed.',
      tags: ['files'],
      querystring: query({
        ...CONSISTENCY,
        cursor: { type: 'string', description: 'Directory: the cursor of the page before.' },
        limit: { type: 'integer', minimum: 1, maximum: READDIR_MAX, description: `Directory: entries a page, default ${PAGE_DEFAULT}.` },
        attributes: { type: 'boolean', description: 'Directory: attributes of each entry too.' },
      }),
    },
    config: {
      doc: {
        answers: {
          200: { description: 'The bytes of a file, or a page of a directory', media: 'application/octet-stream', json: PAGE },
          206: { description: 'The range asked for', media: 'application/octet-stream' },
          304: { description: 'The file still has the ETag of If-None-Match' },
        },
      },
    },
  }, async (request, reply) => await read(gatewayOf(request), context, request, reply));

  app.head('/v1/fs', {
    schema: { operationId: 'head', summary: 'Size, type, ETag and times of a file or directory as headers', tags: ['files'], querystring: query({ ...CONSISTENCY }) },
    config: { doc: { answers: { 200: { description: 'Exists' } } } },
  }, async (request, reply) => await head(gatewayOf(request), request, reply));
}

async function read(gateway: Gateway, { rooms, roomWaitMs, log }: ReadContext, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { attributes } = await gateway.query({ type: 'getattr', at: gateway.at, follow: true });
    if (attributes.type === 'directory') return await list(gateway, attributes, request.query as ListQuery, reply);
    if (attributes.type !== 'file') throw notContent(attributes);
    if (notModified(request, reply, attributes)) return reply;
    const whole = { offset: 0, length: attributes.size };
    const range = byteRange(rangeHeader(request, attributes), attributes.size);
    if (range.type === 'unsatisfiable') {
      throw problem(416, 'range-not-satisfiable', 'Range not satisfiable', `The file has ${attributes.size} bytes; the range '${request.headers.range}' holds none of them.`, 'Ask for a range that begins within the file.', { 'content-range': `bytes */${attributes.size}` });
    }
    const part = range.type === 'part' ? range : whole;
    const room = await rooms.take(Math.min(part.length, READ_MAX), reply.raw, roomWaitMs);
    const first = await keeping(room, () => firstPiece(gateway, attributes, part.offset, part.length));
    if (first === null) {
      room.release();
      continue;
    }
    fileHeaders(reply, attributes);
    if (range.type === 'part') {
      reply.code(206).header('content-range', `bytes ${part.offset}-${part.offset + part.length - 1}/${attributes.size}`);
    }
    if (part.length <= SLICE_BYTES) return reply.send(first);
    const bytes = longRead({ gateway, attributes, rooms, response: reply.raw }, part, { bytes: first, room });
    // The status has gone out: all that is left is to end the connection, which fastify does, and to say why.
    bytes.on('error', (err) => { log.warn({ err, url: request.originalUrl }, 'a long read was broken off'); });
    return reply.header('content-length', part.length).send(bytes);
  }
  throw problem(503, 'changing', 'The file keeps changing', `The file changed during each of ${ATTEMPTS} attempts to read it.`, 'Try again, when it is written less often.', { 'retry-after': '1' });
}

function notContent(attributes: Attributes): ProblemError {
  return problem(409, 'no-content', 'No content', `The file is a ${attributes.type}, which has no bytes of its own here.`, 'Read its attributes with GET /v1/stat/{path}.');
}

/** Range counts only if If-Range names the file as it is; a date there is never strong enough. */
function rangeHeader(request: FastifyRequest, attributes: Attributes): string | undefined {
  const ifRange = request.headers['if-range'];
  return ifRange === undefined || ifRange === etag(attributes.version) ? request.headers.range : undefined;
}

/** Answers 304 where the caller's copy is current. Throws 412 where If-Match fails, or without it If-Unmodified-Since (RFC 9110, 13.2.2). */
function notModified(request: FastifyRequest, reply: FastifyReply, attributes: Attributes): boolean {
  const conditions = preconditionsOf(request.headers, false);
  if (conditions.ifMatch !== null && !matches(conditions.ifMatch, attributes.version)) {
    throw problem(412, 'precondition-failed', 'Precondition failed', `The file has ETag ${etag(attributes.version)}, which If-Match does not name.`, 'Read it without If-Match to get the version of now.');
  }
  if (conditions.ifMatch === null && attributes.mtime.sec * 1000 > dateOf(request.headers['if-unmodified-since'])) {
    throw problem(412, 'precondition-failed', 'Precondition failed', 'The file was modified after the date of If-Unmodified-Since.', 'Read it without If-Unmodified-Since to get what it is now.');
  }
  let current = false;
  if (conditions.ifNoneMatch !== null) {
    current = matches(conditions.ifNoneMatch, attributes.version);
  } else {
    current = attributes.mtime.sec * 1000 <= dateOf(request.headers['if-modified-since']);
  }
  if (current) {
    fileHeaders(reply, attributes);
    void reply.code(304).send();
  }
  return current;
}

/** Milliseconds since 1970; NaN, which compares to nothing, where there is no date. */
function dateOf(header: string | undefined): number {
  return Date.parse(header ?? '');
}

function fileHeaders(reply: FastifyReply, attributes: Attributes): void {
  reply.header('content-type', attributes.type === 'directory' ? 'application/json; charset=utf-8' : 'application/octet-stream');
  // No browser may take a stored file for a page of this origin.
  reply.header('x-content-type-options', 'nosniff');
  reply.header('etag', etag(attributes.version));
  reply.header('accept-ranges', attributes.type === 'file' ? 'bytes' : 'none');
  const modified = new Date(attributes.mtime.sec * 1000);
  if (!Number.isNaN(modified.getTime())) reply.header('last-modified', modified.toUTCString());
  reply.header('x-vrfs-type', attributes.type);
}

function byInode(attributes: Attributes): At {
  return { dir: attributes.ino, path: EMPTY };
}

/** Null: the file is no longer what `attributes` say; look again. */
async function firstPiece(gateway: Gateway, attributes: Attributes, offset: number, length: number): Promise<Buffer | null> {
  if (length === 0) return await mayRead(gateway, attributes);
  const wanted = Math.min(length, READ_MAX);
  const result = await gateway.tryQuery({ type: 'read', at: byInode(attributes), offset, length: wanted });
  if (!result.ok) {
    if (result.errno === Errno.ENOENT || result.errno === Errno.ESTALE) return null;
    throw gateway.refusal(result.errno, 'read');
  }
  return result.value.size === attributes.size && result.value.data.length === wanted ? result.value.data : null;
}

/** An empty file is not read, but the caller must have been allowed to. */
async function mayRead(gateway: Gateway, attributes: Attributes): Promise<Buffer | null> {
  const result = await gateway.tryQuery({ type: 'access', at: byInode(attributes), mask: 4 });
  if (result.ok) return EMPTY;
  if (result.errno === Errno.ENOENT || result.errno === Errno.ESTALE) return null;
  throw gateway.refusal(result.errno, 'read');
}

async function head(gateway: Gateway, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { attributes } = await gateway.query({ type: 'getattr', at: gateway.at, follow: true });
  if (notModified(request, reply, attributes)) return reply;
  fileHeaders(reply, attributes);
  reply.header('x-vrfs-ino', attributes.ino);
  reply.header('x-vrfs-mode', octal(attributes.mode));
  reply.header('x-vrfs-owner', `${attributes.uid}:${attributes.gid}`);
  if (attributes.type === 'file') reply.header('content-length', attributes.size);
  return reply.send();
}

async function list(gateway: Gateway, directory: Attributes, asked: ListQuery, reply: FastifyReply): Promise<FastifyReply> {
  const after = asked.cursor === undefined ? EMPTY : Buffer.from(asked.cursor, 'base64url');
  if (asked.cursor !== undefined && (after.length === 0 || after.length > NAME_MAX || after.toString('base64url') !== asked.cursor)) {
    throw badRequest(`cursor '${asked.cursor.slice(0, 80)}' was not given by an earlier page.`, 'Send the cursor of the page before as it is, or none to begin at the start.');
  }
  const page = await gateway.query({ type: 'readdir', at: byInode(directory), after, limit: asked.limit ?? PAGE_DEFAULT, attributes: asked.attributes ?? false });
  const last = page.entries.at(-1);
  reply.header('x-vrfs-type', 'directory');
  return reply.send({ entries: page.entries.map(entryView), cursor: page.end || last === undefined ? null : last.name.toString('base64url') });
}

