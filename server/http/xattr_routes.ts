/** /v1/xattr/{path}: extended attributes. Values are raw bytes, names travel in ?name=. */
import type { FastifyInstance } from 'fastify';
import { XATTR_SIZE_MAX } from '../../fsservice/operations.ts';
import { receiveBody, NO_BODY, type Body } from './body.ts';
import { toJsonBytes } from './bytes_text.ts';
import type { GatewayOf } from './gateway.ts';
import { CONSISTENCY, FOLLOW, JSON_BYTES, query } from './openapi.ts';

const NAME = { type: 'string', minLength: 1, description: 'Name with its namespace, such as user.comment.' } as const;

interface XattrQuery {
  readonly name?: string;
  readonly follow?: boolean;
  readonly mode?: 'any' | 'create' | 'replace';
}

export function xattrRoutes(app: FastifyInstance, gatewayOf: GatewayOf): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request, payload, done) => {
    receiveBody(payload, XATTR_SIZE_MAX, request.room, done, `Send a shorter value: an extended attribute has at most ${XATTR_SIZE_MAX} bytes, and longer content belongs into a file.`);
  });

  app.get('/v1/xattr', {
    schema: {
      operationId: 'getxattr',
      summary: 'Value of an extended attribute, or without ?name= the names of all',
      tags: ['extended attributes'],
      querystring: query({ ...CONSISTENCY, follow: { ...FOLLOW, default: true }, name: NAME }),
    },
    config: { doc: { answers: { 200: { description: 'The value; or the names', media: 'application/octet-stream', json: { type: 'object', properties: { names: { type: 'array', items: JSON_BYTES } } } } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const { name, follow = true } = request.query as XattrQuery;
    if (name === undefined) {
      const { names } = await gateway.query({ type: 'listxattr', at: gateway.at, follow });
      return { names: names.map(toJsonBytes) };
    }
    const { value } = await gateway.query({ type: 'getxattr', at: gateway.at, follow, name: Buffer.from(name, 'latin1') });
    reply.header('content-type', 'application/octet-stream').header('x-content-type-options', 'nosniff');
    return reply.send(value);
  });

  app.put('/v1/xattr', {
    bodyLimit: XATTR_SIZE_MAX,
    schema: {
      operationId: 'setxattr',
      summary: 'Set an extended attribute to the body',
      tags: ['extended attributes'],
      querystring: {
        ...query({ follow: { ...FOLLOW, default: true }, name: NAME, mode: { type: 'string', enum: ['any', 'create', 'replace'], description: 'create: fail when it exists; replace: fail when it does not. Default any.' } }),
        required: ['name'],
      },
    },
    config: { doc: { bytesBody: `The value, at most ${XATTR_SIZE_MAX} bytes.`, answers: { 204: { description: 'Set' } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const { name = '', follow = true, mode = 'any' } = request.query as XattrQuery;
    const body = (request.body as Body | undefined) ?? NO_BODY;
    const value = body.type === 'bytes' ? body.bytes : Buffer.concat(body.first);
    await gateway.submit({ type: 'setxattr', at: gateway.at, follow, name: Buffer.from(name, 'latin1'), value, mode });
    return reply.code(204).send();
  });

  app.delete('/v1/xattr', {
    schema: {
      operationId: 'removexattr',
      summary: 'Remove an extended attribute',
      tags: ['extended attributes'],
      querystring: { ...query({ follow: { ...FOLLOW, default: true }, name: NAME }), required: ['name'] },
    },
    config: { doc: { answers: { 204: { description: 'Removed' } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const { name = '', follow = true } = request.query as XattrQuery;
    await gateway.submit({ type: 'removexattr', at: gateway.at, follow, name: Buffer.from(name, 'latin1') });
    return reply.code(204).send();
  });
}
