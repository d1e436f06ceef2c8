/** GET, POST /v1/checkpoints: what this replica holds, and taking one. GET /v1/proof/{path}: what a path leads to in a checkpoint, with its proof (docs/PROOFS.md). */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { proofToJson } from '../../checkpoint/proof_codec.ts';
import { Errno } from '../../fsservice/errno.ts';
import { namesOfPath } from '../../fsservice/proven_path.ts';
import { digestToHex } from '../../lib/hash.ts';
import { opNumber, type OpNumber } from '../../lib/ids.ts';
import type { KnownCheckpoint, RunningReplica } from '../running_replica.ts';
import { checkPath } from './bytes_text.ts';
import { atPath, type Gateway, type GatewayOf } from './gateway.ts';
import { jsonSchemaOf, parseJson } from './json_bodies.ts';
import { query } from './openapi.ts';
import { badRequest, problem } from './problem.ts';

interface ProofQuery {
  readonly path?: string;
  readonly op?: number;
}

const OP = { type: 'integer', minimum: 0, maximum: 2 ** 48 - 1, description: 'Op-number of the checkpoint, one of those under `held` of GET /v1/checkpoints. Default: the newest.' } as const;
const KNOWN = { op: { type: 'integer' }, root: { type: 'string' }, timeMicros: { type: 'integer' } } as const;
const LIST = {
  type: 'object',
  properties: {
    clusterId: { type: 'string' }, memberId: { type: 'integer' },
    held: { type: 'array', items: { type: 'object', properties: { ...KNOWN, records: { type: 'integer' }, bytes: { type: 'integer' }, readers: { type: 'integer' }, idleMs: { type: 'integer' } } } },
    known: { type: 'array', items: { type: 'object', properties: KNOWN } },
  },
} as const;

const NoBody = z.strictObject({});

export function proofRoutes(app: FastifyInstance, running: RunningReplica, gatewayOf: GatewayOf): void {
  // A page elsewhere may send text without asking, JSON it may not.
  app.removeContentTypeParser('text/plain');

  app.get('/v1/checkpoints', {
    schema: { operationId: 'checkpoints', summary: 'The checkpoints that can be read at this replica (held), and the roots of its last ones (known)', tags: ['service'], querystring: query({}) },
    config: { doc: { anonymous: true, answers: { 200: { description: 'Newest first', json: LIST } } } },
  }, () => {
    const { held, known } = running.checkpoints();
    return {
      clusterId: running.clusterId.toString('hex'), memberId: running.memberId,
      held: held.map(({ records, bytes, readers, idleMs, ...one }) => ({ ...view(one), records, bytes, readers, idleMs })),
      known: known.map(view),
    };
  });

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

  app.get('/v1/proof', {
    schema: {
      operationId: 'proof',
      summary: 'What a path leads to in a checkpoint of this replica, or that there is nothing, with proofs up to the checkpoint\'s root',
      description: 'The directory entries from the root directory on and the inode, as they were then; symbolic links are not followed. docs/PROOFS.md has the format and says how it is verified.',
      tags: ['attributes'],
      querystring: query({ op: OP, path: { type: 'string', description: 'The path, for those who leave it out of the URL\'s path.' } }),
    },
    config: { doc: { answers: { 200: { description: 'The proof', json: { type: 'object' } } } } },
  }, async (request) => {
    const asked = request.query as ProofQuery;
    const gateway = gatewayOf(request);
    if (asked.path !== undefined && gateway.path.length > 0) throw badRequest('The path stands in the URL and in ?path= too.', 'Give it once.');
    const path = asked.path === undefined ? gateway.path : checkPath(Buffer.from(asked.path, 'latin1'));
    const names = namesOfPath(path);
    if (names === null) throw badRequest("The path has '..' or a name of more than 255 bytes.", 'Name the file from the root directory on.');
    await mayLookUp(gateway, path);
    const op = asked.op === undefined ? null : opNumber(asked.op);
    const proof = await running.provePath(names, op);
    if (proof === null) throw notHeld(running, op);
    return proofToJson(proof);
  });
}

function view({ op, root, time }: KnownCheckpoint): { op: number; root: string; timeMicros: number } {
  return { op, root: digestToHex(root), timeMicros: time };
}

/** Whoever may not search a directory on the way now learns nothing of what was in it. */
async function mayLookUp(gateway: Gateway, path: Buffer): Promise<void> {
  if (gateway.credentials.uid === 0) return;
  const result = await gateway.tryQuery({ type: 'getattr', at: atPath(path), follow: false });
  if (!result.ok && (result.errno === Errno.EACCES || result.errno === Errno.EPERM)) throw gateway.refusal(result.errno, 'prove');
}

function notHeld(running: RunningReplica, op: OpNumber | null): Error {
  const held = running.checkpoints().held.map((one) => one.op);
  const which = op === null ? 'a checkpoint' : `the checkpoint of op ${op}`;
  return problem(404, 'no-checkpoint', 'No such checkpoint', `This replica does not hold ${which}; it holds ${held.length === 0 ? 'none at the moment' : held.join(', ')}.`, 'Ask GET /v1/checkpoints, and this or another replica again.', { 'retry-after': '1' });
}
