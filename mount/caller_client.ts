/**
 * A client that makes good for groups of a caller that were remembered and are no longer true: a call that was refused with them is made once more with
 * those that the caller has now. A refused operation has done nothing, so it may be repeated; calls that are not refused cost nothing more. What groups decide
 * without a refusal, a set-gid bit, is decided by those of now from the start.
 */
import { Errno } from '../fsservice/errno.ts';
import type { Call, Credentials, ReadOperation, Result, WriteOperation } from '../fsservice/operations.ts';
import { S_ISGID } from '../fsservice/permissions.ts';
import type { CallerCredentials } from './caller_credentials.ts';
import type { NamespaceClient } from './namespace_client.ts';
import type { Outcome } from './vfs.ts';

export class CallerClient implements NamespaceClient {
  readonly openFiles: NamespaceClient['openFiles'];
  readonly #client: NamespaceClient;
  readonly #callers: CallerCredentials;

  constructor(client: NamespaceClient, callers: CallerCredentials) {
    this.#client = client;
    this.#callers = callers;
    this.openFiles = client.openFiles;
  }

  submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>> {
    if (isPrivileged(call.credentials)) return this.#client.submit(call);
    const told = mayDropSetGid(call.operation) ? this.#anew(call) ?? call : call;
    return this.#orAnew(told, this.#client.submit(told), (anew) => this.#client.submit(anew));
  }

  query<O extends ReadOperation>(call: Call<O>): Promise<Result<O['type']>> {
    const answer = this.#client.query(call);
    return isPrivileged(call.credentials) ? answer : this.#orAnew(call, answer, (anew) => this.#client.query(anew));
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  async #orAnew<C extends Call, R extends Outcome<unknown>>(call: C, answer: Promise<R>, again: (call: C) => Promise<R>): Promise<R> {
    const first = await answer;
    if (first.ok || (first.errno !== Errno.EACCES && first.errno !== Errno.EPERM)) return first;
    const anew = this.#anew(call);
    return anew === undefined ? first : again(anew);
  }

  #anew<C extends Call>(call: C): C | undefined {
    const credentials = this.#callers.anew(call.credentials);
    return credentials === undefined ? undefined : { ...call, credentials };
  }
}

/** Groups change nothing for the superuser; reads and writes of open files go out as the superuser's. */
function isPrivileged(credentials: Credentials): boolean {
  return credentials.uid === 0;
}

/** chmod, chown, truncate and open drop a set-gid bit without a word for a group that the caller is not in, so that no refusal would tell that it is in it by now. */
function mayDropSetGid(operation: WriteOperation): boolean {
  switch (operation.type) {
    case 'setattr':
      return operation.set.uid !== undefined || operation.set.gid !== undefined || hasSetGid(operation.set.mode) || operation.dropSetId === true;
    case 'create':
    case 'mknod':
      return hasSetGid(operation.mode);
    default:
      return false;
  }
}

function hasSetGid(mode = 0): boolean {
  return (mode & S_ISGID) !== 0;
}
