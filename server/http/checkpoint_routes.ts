/** The checkpoints of a replica: which it holds, taking one, holding on to one, and reading their parts (what `vrfs checkpoint` does). */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { digestToHex } from '../../lib/hash.ts';
import { opNumber, type OpNumber } from '../../lib/ids.ts';
import { KEEP_MAX_S, type KnownCheckpoint, type RunningReplica } from '../running_replica.ts';
import type { GatewayOf } from './gateway.ts';
import { jsonSchemaOf, parseJson } from './json_bodies.ts';
import { rootOnly } from './maintenance_routes.ts';
import { query } from './openapi.ts';
import { problem } from './problem.ts';

const KNOWN = { op: { type: 'integer' }, root: { type: 'string' }, timeMicros: { type: 'integer' } } as const;
const HELD = { ...KNOWN, records: { type: 'integer' }, bytes: { type: 'integer' }, readers: { type: 'integer' }, idleMs: { type: 'integer' }, keptMs: { type: 'integer' } } as const;
const LIST = {
  type: 'object',
  properties: {
    clusterId: { type: 'string' }, memberId: { type: 'integer' },
    held: { type: 'array', items: { type: 'object', properties: HELD } },
    known: { type: 'array', items: { type: 'object', properties: KNOWN } },
  },
} as const;
const PARTS = {
  type: 'object',
  properties: {
    checkpoint: {
      type: 'object',
      properties: { op: { type: 'integer' }, root: { type: 'string' }, records: { type: 'integer' }, extra: { type: 'string' }, top: { type: ['object', 'null'], properties: { id: { type: 'string' }, hash: { type: 'string' } } } },
    },
    nodes: { type: 'array', items: { type: ['string', 'null'] } },
    records: { type: 'array', items: { type: ['string', 'null'] } },
  },
} as const;

/** Nodes and records of one request. */
export const PARTS_MAX = 256;
const OP = z.int().min(0).max(2 ** 48 - 1).describe('One of those under `held` of GET /v1/checkpoints.');
const HEX = z.string().regex(/^(?:[0-9a-f]{2})*$/, 'has to be hexadecimal, in lower case').max(2 * 1024);
const NoBody = z.strictObject({});
const KeepBody = z.strictObject({ op: OP, seconds: z.int().min(0).max(KEEP_MAX_S).describe('From now on; 0: no longer than to any other.') });
const ReadBody = z.strictObject({
  op: OP,
  nodes: z.array(HEX.refine((id) => id.length >= 6, 'has to have a kind and a number of bits')).max(PARTS_MAX).describe('Ids of nodes (docs/DATA_LAYOUT.md).').optional(),
  records: z.array(HEX).max(PARTS_MAX).describe('Keys of records.').optional(),
});

export function checkpointRoutes(app: FastifyInstance, running: RunningReplica, gatewayOf: GatewayOf): void {
  // A page elsewhere may send text without asking, JSON it may not.
  app.removeContentTypeParser('text/plain');
  listRoute(app, running);
  takeRoute(app, gatewayOf);
  keepRoute(app, running);
  readRoute(app, running);
}

function listRoute(app: FastifyInstance, running: RunningReplica): void {
  app.get('/v1/checkpoints', {
    schema: { operationId: 'checkpoints', summary: 'The checkpoints that can be read at this replica (held), and the roots of its last ones (known)', tags: ['service'], querystring: query({}) },
    config: { doc: { anonymous: true, answers: { 200: { description: 'Newest first', json: LIST } } } },
  }, () => {
    const { held, known } = running.checkpoints();
    return {
      clusterId: running.clusterId.toString('hex'), memberId: running.memberId,
      held: held.map(({ records, bytes, readers, idleMs, keptMs, ...one }) => ({ ...view(one), records, bytes, readers, idleMs, keptMs })),
      known: known.map(view),
    };
  });
}

function takeRoute(app: FastifyInstance, gatewayOf: GatewayOf): void {
  app.post('/v1/checkpoints', {
    schema: {
      operationId: 'checkpoint',
      summary: 'Every replica takes a checkpoint now, at the same operation',
      description: 'Answers when the operation is executed. A replica that is still writing the checkpoint before leaves this one out; GET /v1/checkpoints of each shows which have it.',
      tags: ['service'],
      querystring: query({}),
    },
    config: { doc: { jsonBody: jsonSchemaOf(NoBody), answers: { 202: { description: 'Asked for', json: { type: 'object', properties: { op: { type: 'integer' } } } } } } },
  }, async (request, reply) => {
    parseJson(NoBody, request.body);
    return reply.code(202).send(await gatewayOf(request).submit({ type: 'checkpoint' }));
  });
}

function keepRoute(app: FastifyInstance, running: RunningReplica): void {
  app.post('/v1/checkpoints/keep', {
    schema: {
      operationId: 'keepcheckpoint',
      summary: 'Hold on to a checkpoint of this replica for some time, so that it can be read later',
      description: 'Not beyond the end of the process, or a state transfer. While it is held on to, what is overwritten takes room on the disk.',
      tags: ['service'],
      querystring: query({}),
    },
    config: { doc: { jsonBody: jsonSchemaOf(KeepBody), answers: { 200: { description: 'It stays', json: { type: 'object', properties: { op: { type: 'integer' }, seconds: { type: 'integer' } } } } } } },
  }, (request) => {
    rootOnly(request);
    const { op, seconds } = parseJson(KeepBody, request.body);
    const outcome = running.keepCheckpoint(opNumber(op), seconds * 1000);
    if (outcome === 'gone') throw notHeld(running, opNumber(op));
    if (outcome === 'too many') throw problem(409, 'too-many-kept', 'Too many checkpoints', 'This replica holds on to as many checkpoints as it may.', 'Let go of one of them: the same request with "seconds": 0.');
    return { op, seconds };
  });
}

function readRoute(app: FastifyInstance, running: RunningReplica): void {
  app.post('/v1/checkpoints/read', {
    schema: {
      operationId: 'readcheckpoint',
      summary: 'Nodes of the Merkle tree of a checkpoint of this replica, and values of its records',
      description: 'Whoever begins at the top and compares each node with the hash in the node above it, and each value with the hash in its page, needs to trust nothing but the root (docs/DATA_LAYOUT.md). Answers as many as fit, nodes first, at least one: ask for the rest again.',
      tags: ['service'],
      querystring: query({}),
    },
    config: { doc: { jsonBody: jsonSchemaOf(ReadBody), answers: { 200: { description: 'In base64, in the order asked for; null: there is none', json: PARTS } } } },
  }, async (request) => {
    rootOnly(request);
    const { op, nodes = [], records = [] } = parseJson(ReadBody, request.body);
    const parts = await running.readCheckpoint(opNumber(op), nodes.map((id) => Buffer.from(id, 'hex').latin1Slice()), records.map((key) => Buffer.from(key, 'hex')));
    if (parts === null) throw notHeld(running, opNumber(op));
    const { root, checkpoint: c, topId } = parts;
    return {
      checkpoint: {
        op: c.op, root: digestToHex(root), records: c.records, extra: c.extra.toString('hex'),
        top: c.top === null || topId === null ? null : { id: Buffer.from(topId, 'latin1').toString('hex'), hash: c.top.toString('hex') },
      },
      nodes: parts.nodes.map(base64), records: parts.records.map(base64),
    };
  });
}

function base64(bytes: Buffer | null): string | null {
  return bytes?.toString('base64') ?? null;
}

function view({ op, root, time }: KnownCheckpoint): { op: number; root: string; timeMicros: number } {
  return { op, root: digestToHex(root), timeMicros: time };
}

/** A problem; `op` null: the newest. */
export function notHeld(running: RunningReplica, op: OpNumber | null): Error {
  const held = running.checkpoints().held.map((one) => one.op);
  const which = op === null ? 'a checkpoint' : `the checkpoint of op ${op}`;
  return problem(404, 'no-checkpoint', 'No such checkpoint', `This replica does not hold ${which}; it holds ${held.length === 0 ? 'none at the moment' : held.join(', ')}.`, 'Ask GET /v1/checkpoints, and this or another replica again.', { 'retry-after': '1' });
}
