/** What is about the replica rather than about files: status, health, metrics, the OpenAPI document, the status page, bulk checkpoint transfer. */
import type { FastifyInstance } from 'fastify';
import { CHECKPOINT_PATH, CHECKPOINT_REQUEST_MAX, CLUSTER_ID_HEADER, type RunningReplica } from '../running_replica.ts';
import { statusView } from './json_views.ts';
import type { HttpMetrics } from './metrics.ts';
import { query } from './openapi.ts';
import type { HttpLog } from './ports.ts';
import { badRequest, problem } from './problem.ts';
import { STATUS_PAGE, STATUS_PAGE_POLICY } from './status_page.ts';

const HEALTH = { type: 'object', properties: { ok: { type: 'boolean' } } } as const;

export function serviceRoutes(app: FastifyInstance, running: RunningReplica, metrics: HttpMetrics, localAddress: () => string): void {
  app.get('/v1/status', {
    schema: { operationId: 'status', summary: 'State of this replica: view, primary, op-numbers, checkpoint and its root, peers, recovery', tags: ['service'], querystring: query({}) },
    config: { doc: { anonymous: true, answers: { 200: { description: 'The state', json: { type: 'object' } } } } },
  }, () => statusView(running.status(), running.health(), running.httpAddress ?? localAddress()));

  app.get('/v1/health', {
    schema: { operationId: 'health', summary: '200 when this replica is normal and a primary is reachable, else 503', tags: ['service'], querystring: query({}) },
    config: { doc: { anonymous: true, answers: { 200: { description: 'Healthy', json: HEALTH } } } },
  }, () => {
    const health = running.health();
    if (health.ok) return { ok: true };
    throw problem(503, 'unhealthy', 'Not healthy', health.reason, 'See GET /v1/status; a group of 2f+1 replicas serves while f+1 of them reach each other.', { 'retry-after': '1' });
  });

  app.get('/v1/health/live', {
    schema: { operationId: 'live', summary: '200 while the process answers', tags: ['service'], querystring: query({}) },
    config: { doc: { anonymous: true, answers: { 200: { description: 'Alive', json: HEALTH } } } },
  }, () => ({ ok: true }));

  app.get('/metrics', {
    schema: { operationId: 'metrics', summary: 'Metrics in the text format of Prometheus', tags: ['service'] },
    config: { doc: { anonymous: true, answers: { 200: { description: 'Metrics', media: 'text/plain' } } } },
  }, async (_request, reply) => {
    const text = await metrics.render();
    return reply.header('content-type', metrics.contentType).send(text);
  });

  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());

  app.get('/', { schema: { hide: true } }, (_request, reply) => {
    void reply
      .header('content-type', 'text/html; charset=utf-8')
      .header('content-security-policy', STATUS_PAGE_POLICY)
      .header('x-content-type-options', 'nosniff')
      .send(STATUS_PAGE);
  });
}

/** Between replicas alone; not in the OpenAPI document. */
export function checkpointRoute(app: FastifyInstance, running: RunningReplica, log: HttpLog): void {
  const clusterId = running.clusterId.toString('hex');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body);
  });
  // Before there is room for the body: who is no replica of the group shall not take that of those that are.
  app.addHook('onRequest', (request, _reply, done) => {
    const theirs = request.headers[CLUSTER_ID_HEADER];
    if (theirs === undefined) {
      throw badRequest(`A checkpoint request without the header ${CLUSTER_ID_HEADER}.`, 'Only replicas of the group ask for checkpoints; they name the group with it.');
    }
    if (theirs !== clusterId) {
      throw problem(409, 'other-group', 'Another group', `This replica belongs to group ${clusterId}, the request is of group ${String(theirs).slice(0, 64)}.`, 'Check the addresses in the configuration of the replica that asks.');
    }
    done();
  });
  app.post(CHECKPOINT_PATH, { schema: { hide: true }, bodyLimit: CHECKPOINT_REQUEST_MAX, config: { ofReplicas: true } }, async (request, reply) => {
    let answer: Buffer;
    try {
      answer = await running.serveCheckpoint(request.body instanceof Buffer ? request.body : Buffer.alloc(0));
    } catch (error) {
      log.warn({ err: error, from: request.ip }, 'a checkpoint request was refused');
      throw badRequest(`The checkpoint request was refused: ${error instanceof Error ? error.message : String(error)}`, 'Check that both replicas run the same version.');
    }
    return reply.header('content-type', 'application/octet-stream').send(answer);
  });
}
