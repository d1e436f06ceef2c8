/** On whose behalf operations are asked for, and through what. What `FileSystem` and its helpers stand on. */
import { ROOT_INO, type At, type Call, type Credentials, type OperationType, type ReadOperation, type Result, type Results, type WriteOperation } from '../fsservice/operations.ts';
import { unlessAborted } from './abort.ts';
import { FsError } from './fs_error.ts';
import type { QueryOptions } from './client.ts';

/** `VrfsClient` is one; a state machine in memory is another (tests). */
export interface OperationClient {
  submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>>;
  query<O extends ReadOperation>(call: Call<O>, options?: QueryOptions): Promise<Result<O['type']>>;
}

/** The operations of one caller, refusals as values. */
export interface CallerOperations {
  submit<O extends WriteOperation>(operation: O): Promise<Result<O['type']>>;
  query<O extends ReadOperation>(operation: O): Promise<Result<O['type']>>;
}

export class Caller {
  readonly client: OperationClient;
  readonly credentials: Credentials;
  readonly read: QueryOptions;

  constructor(client: OperationClient, credentials: Credentials, read: QueryOptions) {
    this.client = client;
    this.credentials = credentials;
    this.read = read;
  }

  /** The same, whose answers are awaited only until `signal` is given: its reason is thrown then. What was sent may be executed all the same. */
  until(signal: AbortSignal | undefined): Caller {
    if (signal === undefined) return this;
    const { client } = this;
    return new Caller({
      submit: (call) => unlessAborted(signal, () => client.submit(call)),
      query: (call, options) => unlessAborted(signal, () => client.query(call, options)),
    }, this.credentials, this.read);
  }

  get operations(): CallerOperations {
    const { client, credentials, read } = this;
    return {
      submit: (operation) => client.submit({ credentials, operation }),
      query: (operation) => client.query({ credentials, operation }, read),
    };
  }

  /** @throws FsError when it is refused */
  async submit<O extends WriteOperation>(operation: O): Promise<Results[O['type']]> {
    return value(await this.client.submit({ credentials: this.credentials, operation }), operation);
  }

  /** @throws FsError when it is refused */
  async query<O extends ReadOperation>(operation: O): Promise<Results[O['type']]> {
    return value(await this.client.query({ credentials: this.credentials, operation }, this.read), operation);
  }
}

function value<T extends OperationType>(result: Result<T>, operation: WriteOperation | ReadOperation): Results[T] {
  if (result.ok) return result.value;
  if ('from' in operation) throw new FsError(result.errno, operation.type, operation.from.path, operation.to.path);
  throw new FsError(result.errno, operation.type, 'at' in operation ? operation.at.path : undefined);
}

export function atPath(path: Buffer): At {
  return { dir: ROOT_INO, path };
}
