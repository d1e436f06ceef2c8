/**
 * The OpenAPI document. Each route carries its summary and query schema as fastify has them, and what fastify cannot know in
 * `config.doc`: a path of bytes (cut off before routing) and bodies that are not JSON.
 */
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import { MAX_STALENESS_MS } from '../../client/client.ts';
import { PATH_COLLECTIONS } from './gateway.ts';

export interface RouteDoc {
  /** A request body of raw bytes: what it is. */
  readonly bytesBody?: string;
  /** The JSON schema of a body that the handler checks itself. */
  readonly jsonBody?: object;
  /** Answers other than problems, by status: with a JSON schema, bytes of a media type, either, or no body. */
  readonly answers?: Readonly<Record<string, Answer>>;
  /** Not an operation on files: no credentials. */
  readonly anonymous?: boolean;
}

export interface Answer {
  readonly description: string;
  readonly json?: object;
  readonly media?: string;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    doc?: RouteDoc;
  }
}

const integer = { type: 'integer' } as const;
export const U32 = { type: 'integer', minimum: 0, maximum: 0xffff_fffe } as const;
export const U53 = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const timestamp = {
  type: 'object',
  description: 'Seconds since 1970 (may be negative) and nanoseconds.',
  properties: { sec: { type: 'integer', minimum: -(2 ** 47), maximum: 2 ** 47 - 1 }, nsec: { type: 'integer', minimum: 0, maximum: 999_999_999 } },
  required: ['sec', 'nsec'],
  additionalProperties: false,
} as const;
export const MODE = { type: 'string', pattern: '^0?[0-7]{1,4}$', description: 'Permission bits in octal, such as 0644.' } as const;
export const JSON_BYTES = {
  description: 'Text, or {"base64": ...} for bytes that are not UTF-8.',
  oneOf: [{ type: 'string' }, { type: 'object', properties: { base64: { type: 'string' } }, required: ['base64'], additionalProperties: false }],
} as const;
export const ATTRIBUTES = {
  type: 'object',
  description: 'The attributes of an inode. `mode` is octal; `version` grows with every change and is the ETag.',
  properties: {
    ino: integer, type: { type: 'string', enum: ['file', 'directory', 'symlink', 'fifo', 'socket', 'block', 'character'] }, mode: { type: 'string' },
    nlink: integer, uid: integer, gid: integer, rdev: integer, size: integer, blocks: integer,
    atime: timestamp, mtime: timestamp, ctime: timestamp, birthtime: timestamp, version: integer,
  },
} as const;
export const PAGE = {
  type: 'object',
  properties: {
    entries: { type: 'array', items: { type: 'object', properties: { name: JSON_BYTES, ino: integer, type: { type: 'string' }, attributes: ATTRIBUTES } } },
    cursor: { type: ['string', 'null'], description: 'What to send as ?cursor= for the next page; null: this was the last.' },
  },
} as const;
const PROBLEM = {
  type: 'object',
  description: 'RFC 9457 problem details.',
  properties: {
    type: { type: 'string' }, title: { type: 'string' }, status: integer, detail: { type: 'string' }, remedy: { type: 'string' },
    errno: { type: 'string', description: 'Linux errno name, when the file system refused.' }, code: integer,
  },
  required: ['type', 'title', 'status', 'detail', 'remedy'],
} as const;

/** Of every read: how old what it answers may be. */
export const CONSISTENCY = {
  consistency: {
    type: 'string', enum: ['linearizable', 'causal', 'bounded'],
    description: 'linearizable (default): at the primary. causal: any replica that has executed the op of the X-Vrfs-Op sent along, as an earlier answer had it; 409 when it is of another group. bounded: any that has, and whose state is at most maxStalenessMs old.',
  },
  maxStalenessMs: {
    type: 'integer', minimum: 0, maximum: MAX_STALENESS_MS,
    description: 'With consistency=bounded, and only there: the answer has everything that was acknowledged to anybody up to so many milliseconds before.',
  },
} as const;
export const FOLLOW = { type: 'boolean', description: 'Whether a symbolic link at the end of the path is followed.' } as const;
export const PARENTS = { type: 'boolean', description: 'Make missing parent directories, mode 0755.' } as const;

/** A query schema: unknown parameters are refused. */
export function query(properties: Readonly<Record<string, object>>): object {
  return { type: 'object', properties, additionalProperties: false };
}

const CREDENTIAL_HEADERS = {
  type: 'object',
  properties: {
    'x-vrfs-uid': { type: 'integer', description: 'User id that the request acts as. Default 0 from loopback.' },
    'x-vrfs-gid': { type: 'integer', description: 'Group id. Default: the user id given.' },
    'x-vrfs-groups': { type: 'string', description: 'Supplementary groups with commas, at most 255.' },
  },
};
const PATH_PARAMETER = {
  type: 'object',
  properties: { path: { type: 'string', description: 'Path from the root directory; any byte may be percent-encoded (not UTF-8 too), and %2F counts as a slash.' } },
  required: ['path'],
};

function answersOf(doc: RouteDoc): Record<string, object> {
  const out: Record<string, object> = { default: { description: 'A problem', content: { 'application/problem+json': { schema: PROBLEM } } } };
  for (const [status, answer] of Object.entries(doc.answers ?? {})) {
    const content = {
      ...(answer.json === undefined ? {} : { 'application/json': { schema: answer.json } }),
      ...(answer.media === undefined ? {} : { [answer.media]: { schema: { type: 'string', format: 'binary' } } }),
    };
    out[status] = { description: answer.description, ...(Object.keys(content).length === 0 ? {} : { content }) };
  }
  return out;
}

/** Registers the generator; every route added afterwards is in the document, but those with `schema.hide`. */
export async function registerOpenApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    exposeHeadRoutes: true,
    openapi: {
      openapi: '3.1.0',
      info: { title: 'vrfs', version, description: 'A replicated file-system metadata service. Any replica answers; docs/HTTP_API.md has examples.' },
    },
    transform: ({ schema, url, route }) => {
      const doc = route.config?.doc ?? {};
      const withPath = PATH_COLLECTIONS.has(url);
      return {
        url: withPath ? `${url}/:path` : url,
        schema: {
          ...schema,
          // The generator marks a HEAD, in case it shares its id with the GET.
          ...(schema.operationId === undefined ? {} : { operationId: schema.operationId.replace(/-head$/, '') }),
          ...(withPath ? { params: PATH_PARAMETER } : {}),
          ...(doc.anonymous === true ? {} : { headers: CREDENTIAL_HEADERS }),
          ...(doc.bytesBody === undefined ? {} : { body: { content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary', description: doc.bytesBody } } } } }),
          ...(doc.jsonBody === undefined ? {} : { body: doc.jsonBody }),
          response: answersOf(doc),
        },
      };
    },
  });
}
