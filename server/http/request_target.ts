/** The target of a request: a path, as clients send it, or a whole URL, as a proxy is sent it, which a server has to take too (RFC 9112, 3.2.2). */
import type { FastifyInstance } from 'fastify';
import { badRequest } from './problem.ts';

const ABSOLUTE = /^https?:\/\/([^/?#]*)/i;

/** Without scheme and host. */
export function originForm(target: string): string {
  const match = ABSOLUTE.exec(target);
  if (match === null) return target;
  const rest = target.slice(match[0].length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** The host that a whole URL names, with its port; undefined: Host says it. */
export function hostOf(target: string): string | undefined {
  return ABSOLUTE.exec(target)?.[1];
}

/**
 * Refuses a request that names two hosts (RFC 9112, 3.2): this server would go by the first, and what stands before it may have gone by the second. A
 * hook of all routes, so that none is forgotten. (Node has looked that there is one, in HTTP/1.1.)
 */
export function refuseTwoHosts(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const names = request.raw.rawHeaders.filter((_, i) => i % 2 === 0);
    if (names.filter((name) => name.length === 4 && name.toLowerCase() === 'host').length > 1) throw badRequest('The request has more than one Host.', 'Send it with one.');
    done();
  });
}
