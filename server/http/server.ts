/**
 * The HTTP API of a replica, version 1. Any replica answers: the handlers are a client of the group like any other, so a request
 * reaches the primary whichever replica took it. docs/HTTP_API.md describes it; GET /openapi.json is the contract.
 */
import { isUtf8 } from 'node:buffer';
import { createServer, type RequestListener, type Server } from 'node:http';
import { LogController, fastify, type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import { Administrator } from '../../client/administrator.ts';
import { tellAcceptFailures } from '../accept_failures.ts';
import { connectionShares, descriptorLimit } from '../descriptors.ts';
import { listenError } from '../listener.ts';
import type { RunningReplica } from '../running_replica.ts';
import { attributeRoutes } from './attribute_routes.ts';
import { boundBodies } from './body_rooms.ts';
import { parseQuery } from './bytes_text.ts';
import { checkpointRoutes } from './checkpoint_routes.ts';
import { guardChanges } from './conditions.ts';
import { decimalQueries } from './decimals.ts';
import { answerError, answerMalformed, answerNotFound, routeTable } from './error_handler.ts';
import { Gateway, routedUrl, type GatewayOf } from './gateway.ts';
import { intervalRoutes } from './interval_routes.ts';
import { maintenanceRoutes } from './maintenance_routes.ts';
import { HttpMetrics } from './metrics.ts';
import { oneAtATime, type Answers } from './one_at_a_time.ts';
import { opToken } from './op_token.ts';
import { registerOpenApi } from './openapi.ts';
import { DEFAULT_HTTP_LIMITS, type FileSystemClient, type HttpLimits, type HttpLog, type IntervalAdministrator } from './ports.ts';
import { badRequest } from './problem.ts';
import { proofRoutes } from './proof_routes.ts';
import { readRoutes } from './read_routes.ts';
import { Rooms, type AllRooms } from './rooms.ts';
import { refuseTwoHosts } from './request_target.ts';
import { checkpointRoute, serviceRoutes } from './service_routes.ts';
import { sessionRoutes } from './session_routes.ts';
import { Uploads } from './uploads.ts';
import { writeRoutes } from './write_routes.ts';
import { xattrRoutes } from './xattr_routes.ts';

export interface HttpOptions {
  readonly running: RunningReplica;
  readonly client: FileSystemClient;
  /** A new one for each request: it has a deadline. Default: over the addresses of the group as the replica knows it. */
  readonly administrator?: () => IntervalAdministrator;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly log: HttpLog;
  readonly limits?: Partial<HttpLimits>;
}

export interface HttpServer {
  /** `host:port` as bound. */
  readonly address: string;
  /** Takes no more connections, lets those under way finish (at most `limits.closeMs`), closes; what was cut off tidies up. Leaves the client open. */
  close(): Promise<void>;
}

/** How long the group may take for what an administrator asks. */
const ADMINISTRATOR_MS = 10_000;
const HEADERS_MAX = 32 << 10;
/** For how long a connection may be there between two requests, milliseconds. */
const KEEP_ALIVE_MS = 72_000;
/** What uploads that were cut off have to remove their temporary files. */
const TIDY_UP_MS = 2_000;

/** The application without a port: `startHttp` listens with it, tests inject requests. */
export async function buildHttp(options: AppOptions, uploads = new Uploads()): Promise<FastifyInstance> {
  const { running, log } = options;
  const limits: HttpLimits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  const roomsOf = (bytes: number): Rooms => new Rooms({ bytes, stallMs: limits.stallMs, onCut: (remote) => { log.warn({ remote }, 'a connection that stood still was cut off, to make room in memory for others'); } });
  const rooms: AllRooms = { reads: roomsOf(limits.readBytes), bodies: roomsOf(limits.bodyBytes), transfers: roomsOf(limits.bodyBytes) };
  const metrics = new HttpMetrics(running, rooms);
  const app = application(limits, log);
  answerFailures(app, log);
  refuseTwoHosts(app);
  decimalQueries(app);
  guardChanges(app);
  boundBodies(app, rooms, limits.roomWaitMs);
  app.addHook('onResponse', (request, reply, done) => {
    metrics.observe(request.method, request.routeOptions.url ?? 'unknown', reply.statusCode, reply.elapsedTime);
    done();
  });
  app.addHook('onClose', (_app, done) => {
    metrics.close();
    done();
  });
  await registerOpenApi(app, running.status().version);
  fileRoutes(app, options, limits, rooms, uploads);
  operatorRoutes(app, options, metrics);
  await app.ready();
  return app;
}

function application(limits: HttpLimits, log: HttpLog): FastifyInstance {
  const answers: Answers = new WeakMap();
  const app = fastify({
    logger: false,
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    // A request that a connection brings while the server closes is answered like any other, and is its last.
    return503OnClosing: false,
    bodyLimit: limits.jsonBytes,
    // Names like any other: JSON.parse makes plain fields of them, and each schema refuses fields that it does not know, by name.
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
    serverFactory: (handle) => server(handle, limits, answers, log),
    rewriteUrl: (request) => routedUrl(request.url ?? '/'),
    routerOptions: { querystringParser: parseQuery },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, useDefaults: false, allErrors: false } },
    clientErrorHandler: (error, socket) => { answerMalformed(error, socket, answers.get(socket)); },
    frameworkErrors: (error, _request, reply) => {
      answerError(error, reply.request, reply as unknown as FastifyReply, log);
    },
  });
  exactJson(app);
  // The schemas of answers are documentation; JSON.stringify is quicker than checking against them.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  return app;
}

function server(handle: RequestListener, limits: HttpLimits, answers: Answers, log: HttpLog): Server {
  // A path of 4096 bytes is 12288 characters when every byte is escaped.
  const inTurn = oneAtATime(handle, answers);
  const made = createServer({ maxHeaderSize: HEADERS_MAX }, inTurn);
  // Node would tell every client to go on with its body before anything has looked at the request (body_rooms.ts does).
  made.on('checkContinue', inTurn);
  made.keepAliveTimeout = KEEP_ALIVE_MS;
  made.requestTimeout = limits.requestMs;
  made.setTimeout(limits.idleMs);
  made.maxConnections = Math.min(limits.connections, connectionShares(descriptorLimit()).http);
  // The parser would pass over headers beyond a number without a word, credentials and conditions too. Their bytes are bounded above.
  made.maxHeadersCount = 0;
  // An 'error' before is fastify's: it cannot listen.
  made.once('listening', () => { tellAcceptFailures(made, (reason) => { log.warn({ reason }, 'an HTTP connection was refused'); }); });
  return made;
}

/** A name with other bytes than were sent would be another file's: what is not UTF-8 is refused, where the usual parser puts U+FFFD in its place. */
function exactJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('ignore', 'ignore');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (isUtf8(body as Buffer)) void parse(request, body.toString(), done);
    else done(badRequest('The body is not UTF-8, as JSON has to be.', 'Send a name that is not UTF-8 as {"base64": "..."}.'));
  });
}

function answerFailures(app: FastifyInstance, log: HttpLog): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    answerError(error, request, reply, log);
  });
  const routes = routeTable(app);
  app.setNotFoundHandler((request, reply) => {
    answerNotFound(routes, request, reply);
  });
}

type AppOptions = Omit<HttpOptions, 'host' | 'port'>;

/** The files, as their users see them. */
function fileRoutes(app: FastifyInstance, { running, client, log }: AppOptions, limits: HttpLimits, rooms: AllRooms, uploads: Uploads): void {
  const gatewayOf = gatewaysOf(running, client);
  // Each group of routes has its own idea of a body, hence its own scope.
  const files = (routes: (scope: FastifyInstance) => void): void => {
    app.register((scope, _options, done) => {
      scope.addHook('onSend', (_request, reply, payload, sent) => {
        reply.header('x-vrfs-op', opToken(client.lastOp, running.clusterId));
        sent(null, payload);
      });
      routes(scope);
      done();
    });
  };
  files((scope) => { readRoutes(scope, { gatewayOf, rooms: rooms.reads, roomWaitMs: limits.roomWaitMs, log }); });
  files((scope) => { writeRoutes(scope, { gatewayOf, limits, log, uploads }); });
  files((scope) => { attributeRoutes(scope, gatewayOf); });
  files((scope) => { xattrRoutes(scope, gatewayOf); });
}

/** The replica and the group, as their operators see them. */
function operatorRoutes(app: FastifyInstance, options: AppOptions, metrics: HttpMetrics): void {
  const { running, client, log } = options;
  const administrator = options.administrator ?? ((): Administrator => new Administrator([...new Set([running.address, ...running.configuration().members.map((m) => m.address)])], ADMINISTRATOR_MS));
  const gatewayOf = gatewaysOf(running, client);
  const scoped = (routes: (scope: FastifyInstance) => void): void => {
    app.register((scope, _options, done) => {
      routes(scope);
      done();
    });
  };
  scoped((scope) => { serviceRoutes(scope, running, metrics, () => addressOf(app)); });
  scoped((scope) => { checkpointRoutes(scope, running, gatewayOf); });
  scoped((scope) => { intervalRoutes(scope, administrator); });
  scoped((scope) => { proofRoutes(scope, running, gatewayOf); });
  scoped((scope) => { maintenanceRoutes(scope, running); });
  scoped((scope) => { sessionRoutes(scope, running); });
  scoped((scope) => { checkpointRoute(scope, running, log); });
}

function gatewaysOf(running: RunningReplica, client: FileSystemClient): GatewayOf {
  return (request) => new Gateway(client, running.clusterId, request);
}

/** Listens. Rejects with a message that names the address when it cannot. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const uploads = new Uploads();
  const app = await buildHttp(options, uploads);
  const { host, port, log } = options;
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw listenError(error as NodeJS.ErrnoException, { host, port }, '--http-listen');
  }
  const address = addressOf(app);
  log.info({ address }, 'HTTP API is up');
  let closing: Promise<void> | null = null;
  return {
    address,
    close: () => {
      closing ??= closeWithin(app, uploads, options.limits?.closeMs ?? DEFAULT_HTTP_LIMITS.closeMs);
      return closing;
    },
  };
}

async function closeWithin(app: FastifyInstance, uploads: Uploads, milliseconds: number): Promise<void> {
  const timer = setTimeout(() => {
    app.server.closeAllConnections();
  }, milliseconds);
  await app.close();
  clearTimeout(timer);
  // The client is closed next.
  await uploads.ended(TIDY_UP_MS);
}

function addressOf(app: FastifyInstance): string {
  const bound = app.server.address();
  if (bound === null || typeof bound === 'string') return bound ?? '';
  return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
}
