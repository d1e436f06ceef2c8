/**
 * One operation over HTTP, to its outcome. What counts as certain is what docs/HTTP_API.md promises: a status below 500 is the answer,
 * 503 says that nothing was done, a connection that was refused carried nothing; all else is unknown.
 */
import { Agent, request, type Dispatcher } from 'undici';
import { unreachable } from '../../lib/assert.ts';
import type { Call, Consistency, Content, Operation, Result } from './operations.ts';

export interface ReplicaAddress {
  readonly replica: number;
  readonly url: string;
}

/** How a read is asked for that any replica may answer. */
export interface Weak {
  readonly consistency: Consistency;
  readonly maxStalenessMs?: number;
}

interface Answer {
  readonly status: number;
  /** X-Vrfs-Op. */
  readonly token: string | undefined;
  readonly etag: string | undefined;
  readonly body: string;
}

interface Asked {
  readonly method: Dispatcher.HttpMethod;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** What a file is known to have held: by its ETag, which conditions of HTTP name. */
export interface Version {
  readonly content: Content;
  /** Null: there was no file. */
  readonly etag: string | null;
}

export interface Attempted {
  readonly operation: Operation;
  /** Of a file's change that was answered, or of a register's read; the content of a read may be newer than the ETag. */
  readonly version?: Version;
  /** What a read that has to see at least as much has to send along. */
  readonly token?: string | undefined;
}

/** A status that no operation of a history may get: the load or the service is wrong, and the run says nothing. */
export class UnexpectedAnswer extends Error {
  override readonly name = 'UnexpectedAnswer';
}

type Interpreted =
  | { readonly outcome: 'ok'; readonly result: Result }
  | { readonly outcome: 'fail'; readonly error: string }
  | { readonly outcome: 'info'; readonly error: string };

const CONNECT_MS = 1000;
const ANSWER_MS = 2500;

export class HistoryClient {
  readonly #agent = new Agent({ connect: { timeout: CONNECT_MS }, pipelining: 1, keepAliveTimeout: 30_000 });
  readonly #start: bigint;

  /** `start`: the reading of process.hrtime that counts as 0 in the history. */
  constructor(start: bigint) {
    this.#start = start;
  }

  now(): number {
    return Number(process.hrtime.bigint() - this.#start);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #ask(at: ReplicaAddress, { method, path, headers, body }: Asked): Promise<Answer> {
    const answer = await request(`${at.url}${path}`, {
      method, body: body ?? null, headers: { 'x-vrfs-uid': '0', ...headers }, dispatcher: this.#agent, signal: AbortSignal.timeout(ANSWER_MS), idempotent: false,
    });
    const { etag, 'x-vrfs-op': token } = answer.headers;
    return { status: answer.statusCode, token: typeof token === 'string' ? token : undefined, etag: typeof etag === 'string' ? etag : undefined, body: await answer.body.text() };
  }

  async makeDirectory(at: ReplicaAddress, path: string): Promise<void> {
    const answer = await this.#ask(at, { method: 'PUT', path: `/v1/fs/${path}?type=directory&parents=true` });
    if (answer.status >= 300) throw new UnexpectedAnswer(`PUT ${path} as a directory: ${answer.status} ${answer.body}`);
  }

  /** The ETag that the register has now, null when there is no file, undefined when there is no answer. Not part of the history. */
  async etag(at: ReplicaAddress, object: string): Promise<string | null | undefined> {
    try {
      const answer = await this.#ask(at, { method: 'HEAD', path: `/v1/fs/${object}` });
      if (answer.status === 404) return null;
      return answer.status === 200 ? answer.etag : undefined;
    } catch {
      return undefined; // a fault is under way: the caller does something else
    }
  }

  /**
   * `version`: for a cas, the ETag that stands for its expected content. For a read or get, what may be asked for by its ETag alone: the answer that it
   * is still so takes one look at the state, where bytes take two, and the second would hide that the first was stale.
   * `weak`: for a read, with the token of what its process has seen.
   */
  async attempt(at: ReplicaAddress, process: number, object: string, call: Call, version?: Version, weak?: Weak & { readonly token: string | undefined }): Promise<Attempted> {
    const asked = weak === undefined ? askedOf(object, call, version) : weakened(askedOf(object, call, version), weak);
    const invoke = this.now();
    const common = { process, object, invoke, replica: at.replica, consistency: weak?.consistency, maxStalenessMs: weak?.maxStalenessMs, ...call };
    let answer: Answer;
    try {
      answer = await this.#ask(at, asked);
    } catch (error) {
      const { code, syscall, message } = error as NodeJS.ErrnoException;
      const text = `${code ?? (error as Error).name}: ${message}`;
      // Nothing was sent: there was no connection yet.
      const refused = syscall === 'connect' || code === 'UND_ERR_CONNECT_TIMEOUT';
      return { operation: refused ? { ...common, outcome: 'fail', error: text, return: this.now() } : { ...common, outcome: 'info', error: text, return: null } };
    }
    const end = this.now();
    const interpreted = interpret(call, answer, version);
    switch (interpreted.outcome) {
      case 'ok': return { operation: { ...common, ...interpreted, return: end }, version: versionAfter(call, interpreted.result, answer), token: answer.token };
      case 'fail': return { operation: { ...common, ...interpreted, return: end } };
      case 'info': return { operation: { ...common, ...interpreted, return: null } };
      default: return unreachable(interpreted);
    }
  }
}

function askedOf(object: string, call: Call, version: Version | undefined): Asked {
  const path = `/v1/fs/${object}`;
  switch (call.operation) {
    case 'read': return { method: 'GET', path, headers: unlessStill(version) };
    case 'write': return { method: 'PUT', path, body: call.arguments.value };
    case 'cas': {
      const etag = version?.etag ?? null;
      return { method: 'PUT', path, body: call.arguments.value, headers: etag === null ? { 'if-none-match': '*' } : { 'if-match': etag } };
    }
    case 'create': return { method: 'PUT', path: `${path}/${call.arguments.name}`, body: call.arguments.content, headers: { 'if-none-match': '*' } };
    case 'delete': return { method: 'DELETE', path: `${path}/${call.arguments.name}` };
    case 'rename': {
      const { from, to, replace } = call.arguments;
      const body = JSON.stringify({ from: `/${object}/${from}`, to: `/${object}/${to}`, flags: replace ? 'none' : 'noreplace' });
      return { method: 'POST', path: '/v1/rename', headers: { 'content-type': 'application/json' }, body };
    }
    case 'list': return { method: 'GET', path };
    case 'get': return { method: 'GET', path: `${path}/${call.arguments.name}`, headers: unlessStill(version) };
    default: return unreachable(call);
  }
}

function weakened(asked: Asked, { consistency, maxStalenessMs, token }: Weak & { readonly token: string | undefined }): Asked {
  const query = `consistency=${consistency}${maxStalenessMs === undefined ? '' : `&maxStalenessMs=${maxStalenessMs}`}`;
  const headers = token === undefined ? asked.headers : { ...asked.headers, 'x-vrfs-op': token };
  return { ...asked, path: `${asked.path}${asked.path.includes('?') ? '&' : '?'}${query}`, ...(headers === undefined ? {} : { headers }) };
}

function unlessStill(version: Version | undefined): Readonly<Record<string, string>> {
  const etag = version?.etag ?? null;
  return etag === null ? {} : { 'if-none-match': etag };
}

function errnoOf(answer: Answer): string | undefined {
  const problem = JSON.parse(answer.body) as { readonly errno?: string };
  return problem.errno;
}

function interpret(call: Call, answer: Answer, version: Version | undefined): Interpreted {
  const { status, body } = answer;
  if (status === 503) return { outcome: 'fail', error: `${status} ${body}` };
  if (status >= 500) return { outcome: 'info', error: `${status} ${body}` };
  if (status === 304 && version !== undefined) return { outcome: 'ok', result: version.content };
  const result = status < 300 ? resultOf(call, body) : refusalOf(call, status, errnoOf(answer));
  if (result === undefined) throw new UnexpectedAnswer(`${call.operation} ${JSON.stringify(call.arguments)}: ${status} ${body}`);
  return { outcome: 'ok', result };
}

function resultOf(call: Call, body: string): Result {
  switch (call.operation) {
    case 'read':
    case 'get': return body;
    case 'write': return null;
    case 'cas': return true;
    case 'list': {
      const { entries, cursor } = JSON.parse(body) as { readonly entries: readonly { readonly name: string }[]; readonly cursor: string | null };
      if (cursor !== null) throw new UnexpectedAnswer('a listing has more than one page, and only one page is atomic');
      return entries.map((e) => e.name).sort();
    }
    default: return 'ok';
  }
}

function refusalOf(call: Call, status: number, errno: string | undefined): Result | undefined {
  switch (call.operation) {
    case 'read':
    case 'get': return errno === 'ENOENT' ? null : undefined;
    // 412 with EAGAIN: another version; EEXIST: there is a file; ENOENT: there is none.
    case 'cas': return status === 412 ? false : undefined;
    case 'create': return errno === 'EEXIST' ? 'EEXIST' : undefined;
    case 'delete': return errno === 'ENOENT' ? 'ENOENT' : undefined;
    case 'rename': return errno === 'ENOENT' || errno === 'EEXIST' ? errno : undefined;
    default: return undefined;
  }
}

function versionAfter(call: Call, result: Result, answer: Answer): Version | undefined {
  if (answer.status === 304) return undefined;
  const etag = answer.etag ?? null;
  if (call.operation === 'read' || call.operation === 'get') return { content: result as Content, etag };
  if (call.operation === 'write' || (call.operation === 'cas' && result === true)) return { content: call.arguments.value, etag };
  if (call.operation === 'create' && result === 'ok') return { content: call.arguments.content, etag };
  return undefined;
}
