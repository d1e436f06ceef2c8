/** GET /v1/proof/{path}: what a path leads to in a checkpoint, with its proof (docs/PROOFS.md). */
import type { FastifyInstance } from 'fastify';
import { proofToJson } from '../../checkpoint/proof_codec.ts';
import { Errno } from '../../fsservice/errno.ts';
import { namesOfPath } from '../../fsservice/proven_path.ts';
import { opNumber } from '../../lib/ids.ts';
import type { RunningReplica } from '../running_replica.ts';
import { checkPath } from './bytes_text.ts';
import { notHeld } from './checkpoint_routes.ts';
import { atPath, type Gateway, type GatewayOf } from './gateway.ts';
import { query } from './openapi.ts';
import { badRequest } from './problem.ts';

interface ProofQuery {
  readonly path?: string;
  readonly op?: number;
}

const OP = { type: 'integer', minimum: 0, maximum: 2 ** 48 - 1, description: 'Op-number of the checkpoint, one of those under `held` of GET /v1/checkpoints. Default: the newest.' } as const;

export function proofRoutes(app: FastifyInstance, running: RunningReplica, gatewayOf: GatewayOf): void {
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

/** Whoever may not search a directory on the way now learns nothing of what was in it. */
async function mayLookUp(gateway: Gateway, path: Buffer): Promise<void> {
  if (gateway.credentials.uid === 0) return;
  const result = await gateway.tryQuery({ type: 'getattr', at: atPath(path), follow: false });
  if (!result.ok && (result.errno === Errno.EACCES || result.errno === Errno.EPERM)) throw gateway.refusal(result.errno, 'prove');
}
