/** PUT, PATCH and DELETE of /v1/fs/{path}: making, writing and removing files, directories and links. */
import { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { removeTree } from '../../client/remove_tree.ts';
import { Errno } from '../../fsservice/errno.ts';
import { PATH_MAX, type At, type Attributes, type FileType, type Result } from '../../fsservice/operations.ts';
import { NO_BODY, pieces, receiveBody, WRITE_MAX, type Body } from './body.ts';
import { checkPath, printable } from './bytes_text.ts';
import { refuseConditions, refuseDate } from './conditions.ts';
import { allows, directVersion, etag, NO_PRECONDITIONS, preconditionsOf, type Preconditions } from './etag.ts';
import { atPath, type Gateway, type GatewayOf } from './gateway.ts';
import { attributesView, modeOf } from './json_views.ts';
import { ATTRIBUTES, FOLLOW, MODE, PARENTS, query, U32, U53 } from './openapi.ts';
import { makeParents } from './parents.ts';
import type { HttpLimits, HttpLog } from './ports.ts';
import { badRequest, errnoProblem, problem, type ProblemError } from './problem.ts';
import { upload } from './upload.ts';
import type { Uploads } from './uploads.ts';

const CAS_ATTEMPTS = 16;
const ROOT = Buffer.from('/');
const PUT_TYPES = ['file', 'directory', 'symlink', 'hardlink', 'fifo', 'socket', 'block', 'character'] as const;

interface PutQuery {
  readonly type?: (typeof PUT_TYPES)[number];
  readonly mode?: string;
  readonly parents?: boolean;
  readonly from?: string;
  readonly follow?: boolean;
  readonly rdev?: number;
}

interface Made {
  readonly attributes: Attributes;
  readonly created: boolean;
}

export interface WriteContext {
  readonly gatewayOf: GatewayOf;
  readonly limits: HttpLimits;
  readonly log: HttpLog;
  readonly uploads: Uploads;
}

const PUT_SCHEMA = {
  operationId: 'put',
  summary: 'Make or replace a file, or make a directory, a link or a node',
  description: `type=file (default): the body becomes the whole content as it comes (Content-Encoding is refused), atomically; an existing file keeps its mode and owner. If-Match: "<version>" replaces only that version, If-None-Match: * only makes, and not through a symbolic link. Conditions with If-Match hold for bodies up to ${WRITE_MAX} bytes. type=symlink: the body is the target. type=hardlink: ?from= is the existing path.`,
  tags: ['files'],
  querystring: query({
    type: { type: 'string', enum: PUT_TYPES },
    mode: { ...MODE, description: 'Of what is made, octal. Default 0644, for directories 0755.' },
    parents: PARENTS,
    from: { type: 'string', description: 'hardlink: the path of the existing file.' },
    follow: { ...FOLLOW, description: 'hardlink: link to what the symbolic link `from` names. Default false.' },
    rdev: { ...U32, description: 'block, character: the device number.' },
  }),
};

/** One less than elsewhere: an operation has the last number for the end of the file. */
const OFFSET = { ...U53, maximum: U53.maximum - 1 };

const WRITE_SCHEMA = {
  operationId: 'write',
  summary: 'Write the body at an offset of an existing file, or append it',
  description: `The rest of the file stays; a gap reads as zeros. A body up to ${WRITE_MAX} bytes is written atomically, a longer one in steps of that size. offset=end appends each step whole and exactly once, however many append at the same time.`,
  tags: ['files'],
  querystring: { ...query({ offset: { anyOf: [OFFSET, { const: 'end' }], description: 'Byte offset, or "end".' } }), required: ['offset'] },
};

const REMOVE_SCHEMA = {
  operationId: 'remove',
  summary: 'Remove a file, a link or an empty directory; with recursive=true a whole tree',
  description: 'On behalf of root a tree vanishes at once, however large; its inodes are freed afterwards in bounded steps. On behalf of others it is removed name by name, up to the first that they may not remove. A symbolic link is removed itself.',
  tags: ['files'],
  querystring: query({ recursive: { type: 'boolean', description: 'Remove a directory with all that is in it.' } }),
};

export function writeRoutes(app: FastifyInstance, context: WriteContext): void {
  const { gatewayOf, limits } = context;
  // Contents are bytes, whatever type they claim.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request, payload, done) => {
    receiveBody(payload, limits.fileBytes, request.room, done);
  });

  app.put('/v1/fs', {
    schema: PUT_SCHEMA,
    bodyLimit: limits.fileBytes,
    config: {
      streamsBody: true,
      keepsConditions: true,
      doc: {
        bytesBody: 'The content of a file, or the target of a symbolic link.',
        answers: { 200: { description: 'It existed', json: ATTRIBUTES }, 201: { description: 'It was made', json: ATTRIBUTES } },
      },
    },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const made = await put(gateway, context, request);
    reply.code(made.created ? 201 : 200);
    return answer(reply, made.attributes);
  });

  app.patch('/v1/fs', {
    schema: WRITE_SCHEMA,
    bodyLimit: limits.fileBytes,
    config: { streamsBody: true, doc: { bytesBody: 'The bytes to write.', answers: { 200: { description: 'Written', json: ATTRIBUTES } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const { offset } = request.query as { readonly offset: number | 'end' };
    const body = bodyOf(request);
    return answer(reply, await writeAt(gateway, offset, body, limits.fileBytes));
  });

  app.delete('/v1/fs', {
    schema: REMOVE_SCHEMA,
    config: { doc: { answers: { 204: { description: 'Removed' } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    await remove(gateway, (request.query as { readonly recursive?: boolean }).recursive === true, request);
    // A body that nobody has read to its end would be taken for the next request.
    if (!request.raw.complete) reply.header('connection', 'close');
    return reply.code(204).send();
  });
}

function bodyOf(request: FastifyRequest): Body {
  return (request.body as Body | undefined) ?? NO_BODY;
}

function answer(reply: FastifyReply, attributes: Attributes): FastifyReply {
  reply.header('etag', etag(attributes.version));
  return reply.send(attributesView(attributes));
}

async function put(gateway: Gateway, context: WriteContext, request: FastifyRequest): Promise<Made> {
  const asked = request.query as PutQuery;
  const body = bodyOf(request);
  const type = asked.type ?? 'file';
  if (type === 'file') return await putFile(gateway, context, request, body, asked);
  refuseConditions(request.headers);
  if (body.type === 'stream' || (body.bytes.length > 0 && type !== 'symlink')) {
    throw badRequest(`PUT ?type=${type} with a body${type === 'symlink' ? ' that is longer than any path' : ''}.`, type === 'symlink' ? 'Send the target of the link as the body, at most 4095 bytes.' : 'Only files and symbolic links take a body.');
  }
  const make = async (): Promise<Result<'mkdir'>> => await makeNode(gateway, type, asked, body.bytes);
  let result = await make();
  if (!result.ok && result.errno === Errno.ENOENT && asked.parents === true) {
    await makeParents(gateway, gateway.path);
    result = await make();
  }
  if (!result.ok && result.errno === Errno.EEXIST && asked.parents === true && type === 'directory') {
    const { attributes } = await gateway.query({ type: 'getattr', at: gateway.at, follow: true });
    if (attributes.type === 'directory') return { attributes, created: false };
  }
  if (!result.ok) throw gateway.refusal(result.errno, `make the ${type}`);
  return { attributes: result.value.attributes, created: true };
}

/** What is to be made or removed. An empty path has no name, which is ENOENT; the root directory's is '/', which exists, and stays. */
function named(gateway: Gateway): At {
  return gateway.path.length === 0 ? atPath(ROOT) : gateway.at;
}

async function makeNode(gateway: Gateway, type: FileType | 'hardlink', asked: PutQuery, body: Buffer): Promise<Result<'mkdir'>> {
  const at = named(gateway);
  switch (type) {
    case 'directory':
      return await gateway.trySubmit({ type: 'mkdir', at, mode: modeOf(asked.mode ?? '0755') });
    case 'symlink':
      if (body.length >= PATH_MAX) throw errnoProblem(Errno.ENAMETOOLONG, `a target of ${body.length} bytes`);
      return await gateway.trySubmit({ type: 'symlink', at, target: body });
    case 'hardlink': {
      if (asked.from === undefined) throw badRequest('PUT ?type=hardlink without ?from=.', 'Name the existing file: ?type=hardlink&from=/path/of/it.');
      return await gateway.trySubmit({ type: 'link', from: atPath(checkPath(Buffer.from(asked.from, 'latin1'))), to: at, follow: asked.follow ?? false });
    }
    default:
      return await gateway.trySubmit({ type: 'mknod', at, fileType: type, mode: modeOf(asked.mode ?? '0644'), rdev: asked.rdev ?? 0 });
  }
}

async function putFile(gateway: Gateway, context: WriteContext, request: FastifyRequest, body: Body, asked: PutQuery): Promise<Made> {
  const mode = modeOf(asked.mode ?? '0644');
  refuseDate(request.headers);
  const conditions = preconditionsOf(request.headers, true);
  if (body.type === 'stream') return await putLarge(gateway, context, conditions, body, mode, asked.parents === true);
  const attempt = async (): Promise<Result<'putFile'>> => await putSmall(gateway, conditions, body.bytes, mode);
  let result = await attempt();
  if (!result.ok && result.errno === Errno.ENOENT && asked.parents === true && conditions.ifMatch === null) {
    await makeParents(gateway, gateway.path);
    result = await attempt();
  }
  if (result.ok) return result.value;
  const { errno } = result;
  const unmet = errno === Errno.EAGAIN || (errno === Errno.EEXIST && conditions.ifNoneMatch !== null) || (errno === Errno.ENOENT && conditions.ifMatch !== null);
  throw gateway.refusal(errno, 'put', unmet ? 412 : undefined);
}

/** One operation, unless the condition needs a look at the file first: then a look and a compare-and-set, until no one came in between. */
async function putSmall(gateway: Gateway, conditions: Preconditions, data: Buffer, mode: number): Promise<Result<'putFile'>> {
  const { at } = gateway;
  const direct = directVersion(conditions);
  if (conditions === NO_PRECONDITIONS || direct !== null) {
    return await gateway.trySubmit({ type: 'putFile', at, mode, data, ifVersion: direct });
  }
  for (let i = 0; i < CAS_ATTEMPTS; i++) {
    const now = await gateway.tryQuery({ type: 'getattr', at, follow: true });
    if (!now.ok && now.errno !== Errno.ENOENT) return now;
    const version = now.ok ? now.value.attributes.version : null;
    if (!allows(conditions, version)) return { ok: false, errno: Errno.EAGAIN };
    // A symbolic link that leads nowhere: what is only to be made is not made through it, however often it is tried.
    if (version === null && await isLink(gateway)) return { ok: false, errno: Errno.EEXIST };
    const result = await gateway.trySubmit({ type: 'putFile', at, mode, data, ifVersion: version ?? 0 });
    const overtaken = !result.ok && (result.errno === Errno.EAGAIN || (version === null && result.errno === Errno.EEXIST));
    if (!overtaken) return result;
  }
  throw keepsChanging();
}

async function isLink(gateway: Gateway): Promise<boolean> {
  const found = await gateway.tryQuery({ type: 'getattr', at: gateway.at, follow: false });
  return found.ok && found.value.attributes.type === 'symlink';
}

function keepsChanging(): ProblemError {
  return problem(503, 'changing', 'The file keeps changing', `Another change came first, ${CAS_ATTEMPTS} times in a row.`, 'Try again, when the file is written less often.', { 'retry-after': '1' });
}

async function putLarge(gateway: Gateway, context: WriteContext, conditions: Preconditions, body: Body, mode: number, parents: boolean): Promise<Made> {
  if (conditions !== NO_PRECONDITIONS && directVersion(conditions) !== 0) {
    throw problem(413, 'condition-too-large', 'Condition not supported for this size', `If-Match and tags in If-None-Match guard bodies up to ${WRITE_MAX} bytes.`, 'Send a smaller body, or PUT a new file with If-None-Match: * and rename it.', { connection: 'close' });
  }
  if (parents) await makeParents(gateway, gateway.path);
  return await context.uploads.watch(upload(gateway, context.log, { body, mode, exclusive: conditions !== NO_PRECONDITIONS, limit: context.limits.fileBytes }));
}

async function writeAt(gateway: Gateway, offset: number | 'end', body: Body, limit: number): Promise<Attributes> {
  let { at } = gateway;
  let attributes: Attributes | null = null;
  for await (const data of pieces(body, limit)) {
    ({ attributes } = await gateway.submit({ type: 'write', at, offset, data }));
    if (offset !== 'end') offset += data.length;
    // All steps go to the file that the first one found.
    at = { dir: attributes.ino, path: Buffer.alloc(0) };
  }
  attributes ??= (await gateway.submit({ type: 'write', at, offset, data: Buffer.alloc(0) })).attributes;
  return attributes;
}

/** On the caller's behalf. Root's trees go at once, others' name by name, since each directory may refuse. */
async function removeWhole(gateway: Gateway, at: At, request: FastifyRequest): Promise<void> {
  if (gateway.credentials.uid === 0) {
    await gateway.submit({ type: 'removeTree', at });
    return;
  }
  const { socket } = request.raw;
  // Nothing moves on the connection for as long as the tree is large. (What is injected has no connection.)
  if (socket instanceof Socket) socket.setTimeout(0);
  const refusal = await removeTree({
    submit: (operation) => {
      // As rm -r ends with its terminal.
      if (socket.destroyed) throw problem(400, 'client-gone', 'The client has gone', 'The connection broke before the whole tree was removed.', 'Send the request again.');
      return gateway.trySubmit(operation);
    },
    query: (operation) => gateway.tryQuery(operation),
  }, at.path);
  if (refusal !== null) throw errnoProblem(refusal.errno, `${refusal.syscall} ${printable(refusal.path)}`);
}

async function remove(gateway: Gateway, recursive: boolean, request: FastifyRequest): Promise<void> {
  const at = named(gateway);
  if (recursive) {
    await removeWhole(gateway, at, request);
    return;
  }
  const unlinked = await gateway.trySubmit({ type: 'unlink', at });
  if (unlinked.ok) return;
  if (unlinked.errno !== Errno.EISDIR) throw gateway.refusal(unlinked.errno, 'remove');
  const removed = await gateway.trySubmit({ type: 'rmdir', at });
  if (!removed.ok) throw gateway.refusal(removed.errno, 'remove');
}

