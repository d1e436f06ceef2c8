/**
 * A condition that cannot be kept must not be passed over: whoever sends one would rather have nothing changed. So every request that may change something
 * is refused when it has one, but for those whose handler keeps it (PUT of a file). So is one whose body is not the content itself. A hook of all routes, so
 * that none is forgotten.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { badRequest, problem } from './problem.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The handler looks at the conditions itself. */
    keepsConditions?: boolean;
  }
}

// If-Modified-Since and If-Range mean nothing to a change, and are to be ignored there (RFC 9110, 13.1.3 and 13.1.5).
const CONDITIONS = ['if-match', 'if-none-match', 'if-unmodified-since'] as const;

export function guardChanges(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    if (!request.is404 && request.method !== 'GET' && request.method !== 'HEAD') {
      refusePart(request.headers);
      refuseCoding(request.headers);
      if (request.routeOptions.config.keepsConditions !== true) refuseConditions(request.headers);
    }
    done();
  });
}

export function refuseConditions(headers: IncomingHttpHeaders): void {
  if (CONDITIONS.every((name) => headers[name] === undefined)) return;
  throw problem(501, 'condition-not-supported', 'Condition not supported', 'If-Match and If-None-Match guard only a PUT of a file, and If-Unmodified-Since guards nothing.', 'Send the request without them, or replace the whole file with PUT and If-Match.');
}

/** Of a PUT of a file. Seconds are too coarse to compare and set by; beside If-Match the date does not count (RFC 9110, 13.1.4). */
export function refuseDate(headers: IncomingHttpHeaders): void {
  if (headers['if-match'] === undefined && headers['if-unmodified-since'] !== undefined) {
    throw problem(501, 'condition-not-supported', 'Condition not supported', 'If-Unmodified-Since guards nothing here.', 'Send the ETag of the file in If-Match.');
  }
}

/** A part that is taken for the whole would destroy the rest (RFC 9110, 14.5). */
function refusePart(headers: IncomingHttpHeaders): void {
  if (headers['content-range'] === undefined) return;
  throw badRequest('The request has a Content-Range: a part cannot be sent so.', 'Write a part of a file with PATCH ?offset=, without Content-Range.');
}

/** What is stored is what was sent, and whoever reads it is told of no coding (RFC 9110, 8.4 and 15.5.16). */
function refuseCoding(headers: IncomingHttpHeaders): void {
  const codings = headers['content-encoding'] ?? '';
  if (codings.split(',').every((coding) => ['', 'identity'].includes(coding.trim().toLowerCase()))) return;
  throw problem(415, 'encoded-content', 'Content-Encoding not supported', `The request has the Content-Encoding '${codings.slice(0, 80)}', and nothing is decoded here.`, 'Send the content itself, without Content-Encoding.', { 'accept-encoding': 'identity' });
}
