/** /v1/stat/{path} (attributes: read, chmod, chown, truncate, utimes), /v1/readlink/{path}, /v1/statfs, /v1/rename. JSON in and out. */
import type { FastifyInstance } from 'fastify';
import type { At } from '../../fsservice/operations.ts';
import { checkPath, fromJsonBytes, toJsonBytes } from './bytes_text.ts';
import { etag } from './etag.ts';
import { atPath, type GatewayOf } from './gateway.ts';
import { jsonSchemaOf, parseJson, RenameBody, SetAttributesBody } from './json_bodies.ts';
import { attributesView, setAttributesOf } from './json_views.ts';
import { ATTRIBUTES, CONSISTENCY, FOLLOW, JSON_BYTES, query } from './openapi.ts';

const ROOT = Buffer.from('/');

interface FollowQuery {
  readonly follow?: boolean;
}

export function attributeRoutes(app: FastifyInstance, gatewayOf: GatewayOf): void {
  // A page elsewhere may send text without asking, JSON it may not.
  app.removeContentTypeParser('text/plain');

  app.get('/v1/stat', {
    schema: { operationId: 'stat', summary: 'Attributes of a file', tags: ['attributes'], querystring: query({ ...CONSISTENCY, follow: { ...FOLLOW, default: true } }) },
    config: { doc: { answers: { 200: { description: 'Attributes', json: ATTRIBUTES } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const { attributes } = await gateway.query({ type: 'getattr', at: gateway.at, follow: (request.query as FollowQuery).follow ?? true });
    reply.header('etag', etag(attributes.version));
    return attributesView(attributes);
  });

  app.patch('/v1/stat', {
    schema: {
      operationId: 'setattr',
      summary: 'Change mode, owner, size or times: chmod, chown, truncate, utimes in one atomic step',
      tags: ['attributes'],
      querystring: query({ follow: { ...FOLLOW, default: true } }),
    },
    config: { doc: { jsonBody: jsonSchemaOf(SetAttributesBody), answers: { 200: { description: 'The attributes afterwards', json: ATTRIBUTES } } } },
  }, async (request, reply) => {
    const gateway = gatewayOf(request);
    const set = setAttributesOf(parseJson(SetAttributesBody, request.body));
    const { attributes } = await gateway.submit({ type: 'setattr', at: gateway.at, follow: (request.query as FollowQuery).follow ?? true, set });
    reply.header('etag', etag(attributes.version));
    return attributesView(attributes);
  });

  app.get('/v1/readlink', {
    schema: { operationId: 'readlink', summary: 'Target of a symbolic link', tags: ['attributes'], querystring: query({ ...CONSISTENCY }) },
    config: { doc: { answers: { 200: { description: 'The target', json: { type: 'object', properties: { target: JSON_BYTES } } } } } },
  }, async (request) => {
    const gateway = gatewayOf(request);
    return { target: toJsonBytes((await gateway.query({ type: 'readlink', at: gateway.at })).target) };
  });

  app.get('/v1/statfs', {
    schema: { operationId: 'statfs', summary: 'Use and limits of the file system', tags: ['attributes'], querystring: query({ ...CONSISTENCY }) },
    config: { doc: { answers: { 200: { description: 'Counts and limits', json: { type: 'object', additionalProperties: { type: 'integer' } } } } } },
  }, async (request) => await gatewayOf(request).query({ type: 'statfs' }));

  app.post('/v1/rename', {
    schema: {
      operationId: 'rename',
      summary: 'Rename or move, atomically',
      description: 'flags: none replaces an existing target; noreplace fails with EEXIST where there is one; exchange swaps the two.',
      tags: ['files'],
      querystring: query({}),
    },
    config: { doc: { jsonBody: jsonSchemaOf(RenameBody), answers: { 204: { description: 'Renamed' } } } },
  }, async (request, reply) => {
    const { from, to, flags } = parseJson(RenameBody, request.body);
    await gatewayOf(request).submit({
      type: 'rename',
      from: renamedAt(fromJsonBytes(from, 'from')),
      to: renamedAt(fromJsonBytes(to, 'to')),
      flags: flags ?? 'none',
    });
    return reply.code(204).send();
  });
}

/** Slashes alone are the root directory, which cannot be renamed; no path at all names nothing. */
function renamedAt(path: Buffer): At {
  const checked = checkPath(path);
  return atPath(checked.length === 0 && path.length > 0 ? ROOT : checked);
}
