/** Everything that goes wrong on the way to an answer, as problem details. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { ConnectionError, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { HttpLog } from './ports.ts';
import { badRequest, problem, PROBLEM_TYPE, ProblemError, type ProblemDetails } from './problem.ts';

const METHODS: readonly string[] = ['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE'];

export function answerError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply, log: HttpLog): void {
  const p = problemOf(error, request);
  if (p.problem.status === 500) log.error({ err: error, method: request.method, url: request.originalUrl }, 'a request failed');
  // A body that was not read to its end would be taken for the next request.
  if (!request.raw.complete) reply.header('connection', 'close');
  send(reply, p);
}

/** The methods of each URL that has a route. The router cannot be asked: it takes the URL for a pattern, and throws at some. */
export type RouteTable = ReadonlyMap<string, ReadonlySet<string>>;

/** Of the routes that are added from now on. */
export function routeTable(app: FastifyInstance): RouteTable {
  const table = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const methods = table.get(url) ?? new Set();
    for (const one of [method].flat()) methods.add(one);
    table.set(url, methods);
  });
  return table;
}

export function answerNotFound(routes: RouteTable, request: FastifyRequest, reply: FastifyReply): void {
  const url = (request.raw.url ?? '/').split('?', 1)[0] ?? '/';
  const allowed = METHODS.filter((method) => routes.get(url)?.has(method) === true);
  send(reply, allowed.length > 0
    ? problem(405, 'method-not-allowed', 'Method not allowed', `${request.method} is not among the methods of ${url}.`, `Use one of ${allowed.join(', ')}; GET /openapi.json lists them.`, { allow: allowed.join(', ') })
    : problem(404, 'no-such-endpoint', 'No such endpoint', `There is nothing at ${url.slice(0, 200)}.`, 'Files are below /v1/fs/; GET /openapi.json lists every endpoint.'));
}

/** What the HTTP parser refused, before there was a request. `answer`: the newest of this connection. */
export function answerMalformed(error: ConnectionError, socket: Socket, answer: ServerResponse | undefined): void {
  // One that has begun and is not complete would have this one in its midst.
  const inTheMidst = answer !== undefined && answer.headersSent && !answer.writableEnded;
  if (!socket.writable || inTheMidst) {
    socket.destroy();
    return;
  }
  const p = malformed(error);
  const body = JSON.stringify(p);
  socket.end(`HTTP/1.1 ${p.status} ${p.title}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`);
}

function malformed(error: ConnectionError): ProblemDetails {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return problem(431, 'headers-too-large', 'Request header fields too large', 'URL and headers are longer than 32 KiB.', 'Send a shorter path (at most 4096 bytes) and fewer headers.').problem;
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return problem(408, 'request-timeout', 'Request timeout', 'The request did not arrive in time.', 'Send it without long pauses.').problem;
    default:
      return badRequest('This is not a well-formed HTTP/1.1 request.', 'Escape characters in the URL that are not allowed there; check that you speak HTTP, not HTTPS.').problem;
  }
}

function send(reply: FastifyReply, p: ProblemError): void {
  void reply.code(p.problem.status).headers(p.headers).header('content-type', PROBLEM_TYPE).send(JSON.stringify(p.problem));
}

function problemOf(error: FastifyError | Error, request: FastifyRequest): ProblemError {
  if (error instanceof ProblemError) return error;
  if ('validation' in error && error.validation !== undefined) return invalid(error, request);
  const code = 'code' in error ? error.code : '';
  switch (code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return problem(415, 'unsupported-media-type', 'Unsupported media type', `The body's Content-Type is '${String(request.headers['content-type'] ?? '').slice(0, 80)}'.`, 'Send JSON with Content-Type: application/json.');
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return problem(413, 'content-too-large', 'Content too large', 'The body is longer than this endpoint takes.', 'Send a shorter body.', { connection: 'close' });
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return badRequest('The body is not JSON.', 'Send a JSON object; GET /openapi.json shows its fields.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return badRequest('The body is shorter or longer than its Content-Length.', 'Send the request again.');
    case 'FST_ERR_BAD_URL':
      return badRequest(`'${request.originalUrl.slice(0, 200)}' is not a well-formed URL.`, 'Percent-encode each byte outside letters, digits and -._~ in it.');
    default:
  }
  const status = 'statusCode' in error ? error.statusCode : undefined;
  if (status !== undefined && status >= 400 && status < 500) {
    return problem(status, 'bad-request', 'Bad request', error.message, 'Compare the request with GET /openapi.json.');
  }
  return problem(500, 'internal', 'Internal error', `The replica failed to answer: ${error.message}`, 'This is a fault of vrfs: look at the log of the replica, and report it.');
}

function invalid(error: FastifyError, request: FastifyRequest): ProblemError {
  const first = error.validation?.[0];
  const where = error.validationContext === 'body' ? 'body' : 'query';
  const field = first?.instancePath.slice(1).replaceAll('/', '.') ?? '';
  const unknown = first?.keyword === 'additionalProperties' ? String(first.params.additionalProperty) : null;
  const allowed = first?.keyword === 'enum' ? `: ${(first.params.allowedValues as readonly unknown[]).join(', ')}` : '';
  const detail = unknown === null
    ? `The ${where}${field === '' ? '' : `'s '${field}'`} ${first?.message ?? 'is not valid'}${allowed}.`
    : `The ${where} has '${unknown.slice(0, 80)}', which ${unknown.includes('%') ? 'is not well percent-encoded' : 'this endpoint does not know'}.`;
  return badRequest(detail, `GET /openapi.json describes ${request.method} ${request.routeOptions.url ?? ''}.`);
}
