/**
 * What the HTTP handlers ask of the group: operations in, results out. The SDK's client is one, a state machine in
 * memory is another (tests). The handlers know nothing else of the network.
 */
import type { CheckpointInterval } from '../../vr/checkpoint_interval.ts';
import type { Call, ReadOperation, Result, WriteOperation } from '../../fsservice/operations.ts';

export interface ReadOptions {
  /**
   * 'causal': any replica may answer that has executed at least `minOp` and all that this client has seen. 'bounded': and whose state has
   * everything that was acknowledged up to `maxStalenessMs` before.
   */
  readonly consistency?: 'linearizable' | 'causal' | 'bounded';
  readonly minOp?: number;
  readonly maxStalenessMs?: number;
  /** For how long replicas that have not got so far are asked again, milliseconds. */
  readonly behindMs?: number;
}

export interface FileSystemClient {
  /** Rejects when the outcome is not known or the group cannot be reached; a refusal of the file system is a value. */
  submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>>;
  query<O extends ReadOperation>(call: Call<O>, options?: ReadOptions): Promise<Result<O['type']>>;
  /** The newest op-number that any answer of this client reflected. */
  readonly lastOp: number;
}

/** How often checkpoints are taken; the client's Administrator is one. */
export interface IntervalAdministrator {
  /** Rejects when nobody answers in time. */
  interval(): Promise<CheckpointInterval>;
  /** What is not given stays. Rejects when it is refused, and when nobody answers in time: before it was asked for, or after. */
  changeInterval(wanted: Partial<Pick<CheckpointInterval, 'ops' | 'bytes'>>): Promise<CheckpointInterval>;
}

/** The little that the handlers need of a logger; pino's is one. */
export interface HttpLog {
  info(data: object, message: string): void;
  warn(data: object, message: string): void;
  error(data: object, message: string): void;
}

/** Bounds of what a request may cost. */
export interface HttpLimits {
  /** Longest body of a PUT or PATCH on a file, bytes. */
  readonly fileBytes: number;
  /** Longest JSON body, bytes. */
  readonly jsonBytes: number;
  /** A connection on which nothing moves for so long is closed, milliseconds. */
  readonly idleMs: number;
  /** A request must have arrived in full after so long, milliseconds. */
  readonly requestMs: number;
  readonly connections: number;
  /** What pieces of files on their way out may hold of memory, of all connections together, bytes. */
  readonly readBytes: number;
  /** The same of bodies on their way in; once more of those of replicas. */
  readonly bodyBytes: number;
  /** How long a request waits for room among them before it is turned away, milliseconds. */
  readonly roomWaitMs: number;
  /** A connection that has neither taken nor sent anything for so long makes room for those that wait, milliseconds. */
  readonly stallMs: number;
  /** How long `close` lets requests under way finish, milliseconds. */
  readonly closeMs: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = Object.freeze({
  fileBytes: 16 * 2 ** 30,
  jsonBytes: 64 << 10,
  idleMs: 60_000,
  requestMs: 3_600_000,
  connections: 4096,
  readBytes: 64 << 20,
  bodyBytes: 64 << 20,
  roomWaitMs: 10_000,
  stallMs: 5_000,
  closeMs: 5000,
});
