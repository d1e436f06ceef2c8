/**
 * Why a call has no result. Told apart by `name` or class. A refusal of the file system (ENOENT and the like) is not among them:
 * for `submit` and `query` it is a value, and the FileSystem of file_system.ts throws it as FsError.
 */
import type { ClientFailure, PutOff } from '../vr/client_types.ts';
import type { Durability } from '../vr/configuration.ts';

/** What was passed is none of what the call takes: no path, no name of an attribute, no address. Nothing was sent. */
export class WrongArgument extends TypeError {
  override readonly name = 'WrongArgument';
}

export abstract class VrfsError extends Error {
  /** False is a promise: the operation was not executed and will not be; repeating it is safe. */
  abstract readonly mayHaveHappened: boolean;
  /** What failed too, when something was cleared up after this error. */
  declare readonly suppressed?: unknown;
}

/** No replica could be reached. Nothing was done. */
export class NotReachable extends VrfsError {
  override readonly name = 'NotReachable';
  readonly mayHaveHappened = false;
}

/** Replicas are there, but none answered as the primary in time. Nothing was done. */
export class TimedOut extends VrfsError {
  override readonly name = 'TimedOut';
  readonly mayHaveHappened = false;
}

/** The operation was sent, and whether it was executed is not known. Look before you repeat it. */
export class OutcomeUnknown extends VrfsError {
  override readonly name = 'OutcomeUnknown';
  readonly mayHaveHappened = true;
}

/** The group refuses the call as it is: too long, or not understood. Nothing was done. */
export class InvalidCall extends VrfsError {
  override readonly name = 'InvalidCall';
  readonly mayHaveHappened = false;
}

/** The group took nothing more until the time was over, or more operations wait in this client than it holds. Nothing was done. */
export class Busy extends VrfsError {
  override readonly name = 'Busy';
  readonly mayHaveHappened = false;
  /** When the group wants to be asked again, milliseconds; null: it was this client that had too much to do. */
  readonly retryAfterMs: number | null;
  constructor(message: string, retryAfterMs: number | null = null) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** A read asked for a state that no replica that answers has: newer than its newest op, or not older than a time that it cannot vouch for. */
export class Behind extends VrfsError {
  override readonly name = 'Behind';
  readonly mayHaveHappened = false;
}

/** A file changed while it was read, so that what was read is not one state of it. Read it again. */
export class FileChanged extends VrfsError {
  override readonly name = 'FileChanged';
  readonly mayHaveHappened = false;
  readonly code = 'EAGAIN';
  /** As it was asked for. */
  readonly path: string;
  constructor(path: string, options?: ErrorOptions) {
    super(`EAGAIN: '${path}' changed while it was read; read it again`, options);
    this.path = path;
  }
}

/** The client was closed. */
export class Closed extends VrfsError {
  override readonly name = 'Closed';
  readonly mayHaveHappened: boolean;
  constructor(message: string, mayHaveHappened: boolean) {
    super(message);
    this.mayHaveHappened = mayHaveHappened;
  }
}

/** The answer cannot be read: this client and the replicas are of different versions. The operation was executed. */
export class BadAnswer extends VrfsError {
  override readonly name = 'BadAnswer';
  readonly mayHaveHappened = true;
}

/** What a replica says could not be verified: no quorum agrees on a checkpoint in time, or ('refused') a proof is wrong, or is not given. */
export class NotVerified extends VrfsError {
  override readonly name = 'NotVerified';
  readonly mayHaveHappened = false;
  readonly code: 'noAgreement' | 'refused';
  constructor(code: NotVerified['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A checkpoint cannot be read at the replica where it should be: it has let go of it, or does not answer. */
export class CheckpointUnavailable extends VrfsError {
  override readonly name = 'CheckpointUnavailable';
  readonly mayHaveHappened = false;
}

/** What may be behind it in such a group, and is seen at its replicas alone. */
const IN_MEMORY = ' Its durability is memory: when too many of them have stopped at once it never comes back by itself; vrfs status then says how to go on.';

/** `unreachable`: what to say of the servers when none of them is connected; null when one is. */
export function errorOf(failure: ClientFailure, unreachable: string | null, durability: Durability = 'disk'): VrfsError {
  switch (failure.code) {
    case 'outcomeUnknown': return new OutcomeUnknown(`${failure.reason}. Read the present state before you repeat it.`);
    case 'invalid': return new InvalidCall(failure.reason);
    case 'overloaded': return new Busy(`${failure.reason}: wait for some of them before you send more`);
    case 'closed': return new Closed(failure.reason, failure.mayHaveHappened);
    case 'behind': return new Behind(`no replica has what was asked for: ${failure.reason}`);
    case 'timedOut': return ofTimeout(failure, unreachable, durability);
  }
}

function ofTimeout(failure: Extract<ClientFailure, { code: 'timedOut' }>, unreachable: string | null, durability: Durability): VrfsError {
  const { reason, putOff } = failure;
  if (failure.mayHaveHappened) {
    const now = [putOff === null ? null : ` The group was ${busy(putOff)}.`, unreachable === null ? null : ` Now ${unreachable}`].join('');
    return new OutcomeUnknown(`${reason}; the operation was sent and may have been carried out. Read the present state before you repeat it.${now}${durability === 'memory' ? IN_MEMORY : ''}`);
  }
  if (putOff?.code === 'behind') return new Behind(`${reason}: ${putOff.reason}`);
  if (putOff !== null) return new Busy(`${reason}, nothing was done: the group is ${busy(putOff)}. What it waits for is in vrfs status.`, putOff.retryAfterMs);
  if (unreachable !== null) return new NotReachable(unreachable);
  return new TimedOut(`${reason}: the replicas that can be reached have no primary. A majority of the group has to run and reach each other (vrfs status).${durability === 'memory' ? IN_MEMORY : ''}`);
}

function busy({ reason, retryAfterMs }: PutOff): string {
  return `busy, retry after ${retryAfterMs} ms: ${reason}`;
}
