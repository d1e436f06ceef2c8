/** /v1/checkpoints/interval: how often the group takes checkpoints, and changing that while it runs. JSON in and out. */
import type { FastifyInstance } from 'fastify';
import { ChangeRefused, NoAnswer } from '../../client/administrator_errors.ts';
import { OutcomeUnknown } from '../../client/errors.ts';
import type { CheckpointInterval } from '../../vr/checkpoint_interval.ts';
import { IntervalBody, jsonSchemaOf, parseJson } from './json_bodies.ts';
import { rootOnly } from './maintenance_routes.ts';
import { query } from './openapi.ts';
import type { IntervalAdministrator } from './ports.ts';
import { problem, type ProblemError } from './problem.ts';

const INTERVAL = {
  type: 'object',
  description: 'A checkpoint every `ops` operations or after `bytes` of log. `since`: the operation that made it so; 0: as the primary is configured.',
  properties: { ops: { type: 'integer' }, bytes: { type: 'integer' }, since: { type: 'integer' } },
  required: ['ops', 'bytes', 'since'],
} as const;
const LOOK = 'Look: GET /v1/checkpoints/interval.';

export function intervalRoutes(app: FastifyInstance, administrator: () => IntervalAdministrator): void {
  // A page elsewhere may send text without asking, JSON it may not.
  app.removeContentTypeParser('text/plain');

  app.get('/v1/checkpoints/interval', {
    schema: { operationId: 'interval', summary: 'How often the group takes checkpoints', tags: ['service'], querystring: query({}) },
    config: { doc: { anonymous: true, answers: { 200: { description: 'The interval', json: INTERVAL } } } },
  }, async () => {
    try {
      return view(await administrator().interval());
    } catch (error) {
      throw problemOf(error);
    }
  });

  app.put('/v1/checkpoints/interval', {
    schema: { operationId: 'setinterval', summary: 'Change how often the group takes checkpoints, for all replicas at once', tags: ['service'], querystring: query({}) },
    config: { doc: { jsonBody: jsonSchemaOf(IntervalBody), answers: { 200: { description: 'The interval now', json: INTERVAL } } } },
  }, async (request) => {
    rootOnly(request);
    const { ops, bytes } = parseJson(IntervalBody, request.body);
    try {
      return view(await administrator().changeInterval({ ...(ops === undefined ? {} : { ops }), ...(bytes === undefined ? {} : { bytes }) }));
    } catch (error) {
      throw problemOf(error);
    }
  });
}

function view({ ops, bytes, since }: CheckpointInterval): object {
  return { ops, bytes, since };
}

function problemOf(error: unknown): ProblemError {
  if (error instanceof ChangeRefused) {
    return error.code === 'invalid'
      ? problem(400, 'bad-request', 'Bad request', `The group refuses it: ${error.message}.`, 'Give an interval within these bounds.')
      : problem(409, 'interval-changed', 'Changed meanwhile', `The group refuses it: ${error.message}.`, LOOK);
  }
  if (error instanceof NoAnswer) return problem(503, 'unavailable', 'Unavailable', 'No primary has answered in time. Nothing was changed.', 'Try again; see GET /v1/health.', { 'retry-after': '1' });
  if (error instanceof OutcomeUnknown) return problem(504, 'outcome-unknown', 'Outcome unknown', 'The change was asked for, and no answer came in time.', `${LOOK} Repeat it if it was not made.`);
  throw error;
}
