/**
 * Numbers in a query are decimal digits. The check against the schema takes whatever JavaScript makes a number of (1e3, 0x10, +5, a space before it), and a write at 1e3 would go
 * to another place than its sender may think. A check of all routes that have such a parameter, so that none is forgotten.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { badRequest } from './problem.ts';

interface Schema {
  readonly type?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
}

/** Of the routes that are added from now on. */
export function decimalQueries(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    const { properties = {} } = (route.schema?.querystring ?? {}) as Schema;
    const names = Object.keys(properties).filter((name) => isInteger(properties[name] ?? {}));
    if (names.length === 0) return;
    route.preValidation = [route.preValidation ?? [], (request: FastifyRequest, _reply: unknown, done: () => void) => {
      for (const name of names) checkDecimal(name, (request.query as Readonly<Record<string, unknown>>)[name]);
      done();
    }].flat();
  });
}

function isInteger(schema: Schema): boolean {
  return schema.type === 'integer' || schema.anyOf?.some(isInteger) === true;
}

/** What is no number in any notation is left to the schema, which may have a word for it. */
function checkDecimal(name: string, value: unknown): void {
  if (typeof value !== 'string' || Number.isNaN(Number(value)) || /^\d+$/.test(value)) return;
  throw badRequest(`The query's '${name}' is '${value.slice(0, 40)}', which is not a number in decimal digits.`, 'Write it with the digits 0 to 9 alone.');
}
