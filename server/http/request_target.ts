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
    if (hostsIn(request.raw.rawHeaders) > 1) throw badRequest('The request has more than one Host.', 'Send it with one.');
    done();
  });
}

/** `headers`: names and values in turn. Of each request, so without lists of their own. */
function hostsIn(headers: readonly string[]): number {
  let hosts = 0;
  for (let i = 0; i < headers.length; i += 2) if (headers[i]?.length === 4 && headers[i]?.toLowerCase() === 'host') hosts++;
  return hosts;
}
