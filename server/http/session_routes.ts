/** GET /v1/sessions: who has a session of the group, in pages. */
import type { FastifyInstance } from 'fastify';
import type { RunningReplica } from '../running_replica.ts';
import { query } from './openapi.ts';
import { badRequest, problem } from './problem.ts';

/** Of one page, at most and by default. */
const PAGE_MAX = 1024;
/** Ids are op-numbers. */
const ID_MAX = 2 ** 48 - 1;
const LIST = {
  type: 'object',
  properties: {
    clusterId: { type: 'string' }, memberId: { type: 'integer' },
    executed: { type: 'integer', description: 'The newest operation that this replica has executed: the list is as of it.' },
    sessions: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          id: { type: 'integer' }, name: { type: 'string', description: 'What the client calls itself.' },
          lastActiveMicros: { type: 'integer', description: 'Time of its last operation, by the log, microseconds since 1970.' },
          holdsOpens: { type: 'boolean', description: 'It keeps files that are unlinked for as long as it has them open, as a mount does.' },
          slots: { type: 'integer', description: 'Slots that it has used: about the most operations that it had under way at once.' },
        },
      },
    },
    cursor: { type: ['string', 'null'], description: 'What to send as ?cursor= for the next page; null: this was the last.' },
  },
} as const;

interface Asked {
  readonly cursor?: string;
  readonly limit?: number;
}

export function sessionRoutes(app: FastifyInstance, running: RunningReplica): void {
  app.get<{ Querystring: Asked }>('/v1/sessions', {
    schema: {
      operationId: 'sessions',
      summary: 'The sessions of clients that this replica knows of, by what it has executed',
      tags: ['service'],
      querystring: query({
        cursor: { type: 'string', description: 'The cursor of the page before.' },
        limit: { type: 'integer', minimum: 1, maximum: PAGE_MAX, description: `Sessions a page, default ${PAGE_MAX}.` },
      }),
    },
    config: { doc: { anonymous: true, answers: { 200: { description: 'Those that were registered first come first', json: LIST } } } },
  }, ({ query: { cursor, limit } }) => {
    const page = running.sessions(cursor === undefined ? 0 : idOf(cursor), limit ?? PAGE_MAX);
    if (page === null) {
      throw problem(503, 'no-state', 'No state here', 'This replica has no state in which sessions are: it is a witness, or fetches its state from the others.', 'Ask another replica; GET /v1/status has their addresses.', { 'retry-after': '1' });
    }
    const { executed, sessions } = page;
    const end = page.last ? undefined : sessions.at(-1);
    return {
      clusterId: running.clusterId.toString('hex'), memberId: running.memberId, executed,
      sessions: sessions.map(({ id, name, lastActive, holdsOpens, slots }) => ({ id, name, lastActiveMicros: lastActive, holdsOpens, slots })),
      cursor: end === undefined ? null : String(end.id),
    };
  });
}

/** The id of the last session of the page before. */
function idOf(cursor: string): number {
  const id = Number(cursor);
  if (/^[1-9]\d{0,14}$/.test(cursor) && id <= ID_MAX) return id;
  throw badRequest(`cursor '${cursor.slice(0, 80)}' was not given by an earlier page.`, 'Send the cursor of the page before as it is, or none to begin at the start.');
}
