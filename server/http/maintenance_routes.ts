/** What an operator asks of one replica: a scrub. As root alone, and in JSON, which no page elsewhere may send without asking. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { RunningReplica } from '../running_replica.ts';
import { credentialsOf } from './credentials.ts';
import { jsonSchemaOf, parseJson } from './json_bodies.ts';
import { query } from './openapi.ts';
import { problem } from './problem.ts';

const ScrubBody = z.strictObject({
  rate: z.int().min(1).max(2 ** 40).describe('Bytes a second. Default: as fast as it goes beside the replica\'s other work.').optional(),
});

export function maintenanceRoutes(app: FastifyInstance, running: RunningReplica): void {
  // A page elsewhere may send text without asking, JSON it may not.
  app.removeContentTypeParser('text/plain');

  app.post('/v1/scrub', {
    schema: {
      operationId: 'scrub',
      summary: 'Read the whole store of this replica again, now, and look for damage',
      description: 'Answers at once; GET /v1/status shows under `scrub` how far it is, and what the pass of this number found.',
      tags: ['service'],
      querystring: query({}),
    },
    config: { doc: { jsonBody: jsonSchemaOf(ScrubBody), answers: { 202: { description: 'Begun', json: { type: 'object', properties: { pass: { type: 'integer' } } } } } } },
  }, (request, reply) => {
    rootOnly(request);
    const { rate } = parseJson(ScrubBody, request.body);
    return reply.code(202).send({ pass: running.scrub(rate) });
  });
}

export function rootOnly(request: FastifyRequest): void {
  const { uid } = credentialsOf(request.headers, request.raw.socket.remoteAddress, request.originalUrl);
  if (uid !== 0) throw problem(403, 'not-root', 'Not allowed', `User ${uid} asked for what only root may.`, 'Send X-Vrfs-Uid: 0.');
}
