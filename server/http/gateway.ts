/**
 * One file-system call of one HTTP request: credentials, path and consistency from the request, the operation to the group,
 * its result or a problem back. All handlers of /v1 go through here.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { CallerOperations } from '../../client/caller.ts';
import type { ErrnoCode } from '../../fsservice/errno.ts';
import { ROOT_INO, type At, type Credentials, type OperationType, type ReadOperation, type Result, type Results, type WriteOperation } from '../../fsservice/operations.ts';
import { checkPath, percentDecode, printable } from './bytes_text.ts';
import { credentialsOf } from './credentials.ts';
import { originForm } from './request_target.ts';
import { opOfToken } from './op_token.ts';
import type { FileSystemClient, ReadOptions } from './ports.ts';
import { badRequest, errnoProblem, ProblemError } from './problem.ts';
import { unavailable } from './unavailable.ts';

const LINEARIZABLE: ReadOptions = Object.freeze({ consistency: 'linearizable' });

/** Who takes an older state to be answered sooner does not want to wait for long: not for an op that there may never be, nor for a younger state. */
export const STATE_WAIT_MS = 2000;

/** Collections whose URLs go on with a path of bytes; router.ts strips it before the route is looked up. */
export const PATH_COLLECTIONS: ReadonlySet<string> = new Set(['/v1/fs', '/v1/stat', '/v1/readlink', '/v1/xattr', '/v1/proof']);

/** The URL that is routed: a path below a collection is cut off, so that it may hold any bytes. */
export function routedUrl(target: string): string {
  const url = originForm(target);
  if (!url.startsWith('/v1/')) return url;
  const question = url.indexOf('?');
  const slash = url.indexOf('/', 4);
  if (slash < 0 || (question >= 0 && question < slash)) return url;
  const collection = url.slice(0, slash);
  if (!PATH_COLLECTIONS.has(collection)) return url;
  return question < 0 ? collection : collection + url.slice(question);
}

/** The path behind the collection, of a URL as it came. */
export function pathOfUrl(target: string): Buffer {
  const url = originForm(target);
  const slash = url.indexOf('/', 4);
  const question = url.indexOf('?');
  if (slash < 0 || (question >= 0 && question < slash)) return Buffer.alloc(0);
  return checkPath(percentDecode(question < 0 ? url.slice(slash + 1) : url.slice(slash + 1, question)));
}

export function atPath(path: Buffer): At {
  return { dir: ROOT_INO, path };
}

function readOptionsOf(request: FastifyRequest, clusterId: Buffer): ReadOptions {
  const { consistency = 'linearizable', maxStalenessMs } = request.query as Pick<ReadOptions, 'consistency' | 'maxStalenessMs'>;
  if (consistency === 'bounded' && maxStalenessMs === undefined) throw badRequest('consistency=bounded without maxStalenessMs.', 'Say how old the state that answers may be, as with maxStalenessMs=500.');
  if (consistency !== 'bounded' && maxStalenessMs !== undefined) throw badRequest(`maxStalenessMs with consistency=${consistency}.`, 'It belongs to consistency=bounded.');
  if (consistency === 'linearizable') return LINEARIZABLE;
  const token = request.headers['x-vrfs-op'];
  return {
    consistency,
    behindMs: STATE_WAIT_MS,
    ...(maxStalenessMs === undefined ? {} : { maxStalenessMs }),
    ...(token === undefined ? {} : { minOp: opOfToken(String(token), clusterId) }),
  };
}

/** A request on behalf of someone. Made once per HTTP request. */
export class Gateway {
  readonly credentials: Credentials;
  /** Of the URL. */
  readonly path: Buffer;
  readonly #client: FileSystemClient;
  readonly #read: ReadOptions;

  constructor(client: FileSystemClient, clusterId: Buffer, request: FastifyRequest) {
    this.#client = client;
    this.credentials = credentialsOf(request.headers, request.raw.socket.remoteAddress, request.originalUrl);
    this.#read = readOptionsOf(request, clusterId);
    this.path = pathOfUrl(request.originalUrl);
  }

  get at(): At {
    return atPath(this.path);
  }

  /** Rejecting with a problem when the group did not answer. */
  get operations(): CallerOperations {
    return { submit: (operation) => this.trySubmit(operation), query: (operation) => this.tryQuery(operation) };
  }

  /** The result as a value; rejects with a problem when the group did not answer. */
  async trySubmit<O extends WriteOperation>(operation: O): Promise<Result<O['type']>> {
    try {
      return await this.#client.submit({ credentials: this.credentials, operation });
    } catch (error) {
      throw unavailable(error, operation.type);
    }
  }

  async tryQuery<O extends ReadOperation>(operation: O): Promise<Result<O['type']>> {
    try {
      return await this.#client.query({ credentials: this.credentials, operation }, this.#read);
    } catch (error) {
      throw unavailable(error, operation.type);
    }
  }

  /** As above, with a refusal as a problem too. */
  async submit<O extends WriteOperation>(operation: O): Promise<Results[O['type']]> {
    return valueOf(await this.trySubmit(operation), operation);
  }

  async query<O extends ReadOperation>(operation: O): Promise<Results[O['type']]> {
    return valueOf(await this.tryQuery(operation), operation);
  }

  refusal(errno: ErrnoCode, verb: string, status?: number): ProblemError {
    return errnoProblem(errno, `${verb} ${printable(this.path)}`, status);
  }
}

function valueOf<T extends OperationType>(result: Result<T>, operation: ReadOperation | WriteOperation): Results[T] {
  if (result.ok) return result.value;
  throw errnoProblem(result.errno, describe(operation));
}

/** 'rename /a to /b', for the detail of a problem. */
export function describe(operation: ReadOperation | WriteOperation): string {
  if ('from' in operation) return `${operation.type} ${named(operation.from)} to ${named(operation.to)}`;
  return 'at' in operation ? `${operation.type} ${named(operation.at)}` : operation.type;
}

function named(at: At): string {
  return at.dir === ROOT_INO ? printable(at.path) : `inode ${at.dir}`;
}

export type GatewayOf = (request: FastifyRequest) => Gateway;
export type Reply = FastifyReply;
