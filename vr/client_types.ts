/** What the pure client (client.ts) is given, what it gives back, and what it keeps of an operation. */
import type { OpNumber, SessionId } from '../lib/ids.ts';
import type { ClientToReplica, Read } from './messages.ts';

export type Consistency = Read['consistency'];

/** What a replica said last instead of an answer: 'busy': it takes nothing at present; 'behind': its state is older than what was asked for. */
export interface PutOff {
  readonly code: 'busy' | 'behind';
  readonly reason: string;
  /** When it wants to be asked again. */
  readonly retryAfterMs: number;
}

/** What a read's answer has to include, and how long to ask for it. */
export interface ReadBounds {
  /** At least the state after this op-number; by default after everything that this client has seen. */
  readonly minOp?: OpNumber;
  /** 'bounded' only: and everything that was acknowledged to anybody so long before the answer. */
  readonly maxStalenessMs?: number;
  /** Replicas that answer 'behind' are asked again for so long; by default as long as for any answer. */
  readonly behindMs?: number;
}

/** Why an operation has no result. `mayHaveHappened` false is a promise: it was not and will not be executed. */
export type ClientFailure =
  /** The session ended between sending and answer, or one copy of several was refused. */
  | { readonly code: 'outcomeUnknown'; readonly mayHaveHappened: true; readonly reason: string }
  /** `putOff`: what was heard to the end in place of an answer; null: nothing. */
  | { readonly code: 'timedOut'; readonly mayHaveHappened: boolean; readonly reason: string; readonly putOff: PutOff | null }
  /** Nobody had the state that was asked for within `behindMs`. */
  | { readonly code: 'behind'; readonly mayHaveHappened: false; readonly reason: string; readonly putOff: PutOff }
  /** The group refuses it as it is; repeating it is no use. */
  | { readonly code: 'invalid'; readonly mayHaveHappened: false; readonly reason: string }
  /** Too much is waiting here already. */
  | { readonly code: 'overloaded'; readonly mayHaveHappened: false; readonly reason: string }
  | { readonly code: 'closed'; readonly mayHaveHappened: boolean; readonly reason: string };

/**
 * `Token` is the caller's name for an operation; it comes back with the outcome, exactly once. `completed`, `failed` and
 * `sessionStarted` may call `submit` and `read`; `send` may not call back.
 */
export interface ClientPorts<Token> {
  /** False: there is no connection to that address now, the message was certainly not sent. True: it may arrive. */
  send(address: string, message: ClientToReplica): boolean;
  /** Uniform in [0, 2^32). */
  uint32(): number;
  bytes(n: number): Buffer;
  /** `op`: the op-number at which a request was executed, or after which a read looked. */
  completed(token: Token, result: Buffer, op: OpNumber): void;
  failed(token: Token, failure: ClientFailure): void;
  /** A session has begun: the first, or one in place of a session that ended. */
  sessionStarted(session: SessionId, timeoutMs: number): void;
}

/** Times in milliseconds of the monotonic clock that `tick` and `receive` are given. */
export interface ClientOptions {
  /** `host:port` of some or all members; at least one. */
  readonly servers: readonly string[];
  /** Whom reads are asked of that need not be the primary's, by the address of the member or by how it is reached; '' or unknown: any. */
  readonly readFrom: string;
  readonly name: string;
  /** Session flags, see SESSION_HOLDS_OPENS. */
  readonly flags: number;
  /** An operation without an answer for so long fails as 'timedOut'. */
  readonly requestTimeoutMs: number;
  /** First interval of re-sends (a measured round trip may raise it; a third of requestTimeoutMs at most); grows by half each time up to the second. */
  readonly resendMs: number;
  readonly maxResendMs: number;
  /** Operations that wait for a slot; above it new ones fail as 'overloaded'. */
  readonly maxQueued: number;
  /** Reads under way at once. */
  readonly maxReads: number;
  /** The transport never delivers a message twice (TCP): a request sent once that is denied was not executed, and may go on under a new session. */
  readonly deliveredOnce: boolean;
}

export const DEFAULT_CLIENT_OPTIONS: Omit<ClientOptions, 'servers'> = Object.freeze({
  readFrom: '', name: 'client', flags: 0, requestTimeoutMs: 30_000, resendMs: 250, maxResendMs: 1000, maxQueued: 65_536, maxReads: 4096, deliveredOnce: false,
});

/** An operation from `submit` or `read` to its outcome. One shape for both, so that the hot paths stay monomorphic. */
export interface Pending<Token> {
  token: Token | undefined;
  readonly body: Buffer;
  /** Null: a request. */
  readonly consistency: Consistency | null;
  readonly minOp: OpNumber;
  readonly maxStalenessMs: number;
  readonly expires: number;
  /** A read that is told 'behind' after this fails. */
  readonly behindExpires: number;
  /** A read's id, or a request's slot and sequence number, once it is under way. */
  id: number;
  seq: number;
  /** How many sendings may have reached somebody; how many times its answer was overdue. */
  sends: number;
  overdue: number;
  /** The last sending was answered: not now. */
  postponed: boolean;
  /** With what; null: that was not the last that was heard. */
  putOff: PutOff | null;
  /** A replica that is not the primary was behind: the next one to ask is the primary. */
  turnedAway: boolean;
  /** The presumed primary was behind: the next time everybody is asked. */
  askOthers: boolean;
  /** To whom it went last ('': to nobody who is still connected); when; when to send it next. */
  sentTo: string;
  sentAt: number;
  due: number;
}

/** A read changes nothing; a request may have, once a copy of it left. */
export function mayHaveHappened<T>(p: Pending<T>): boolean {
  return p.consistency === null && p.sends > 0;
}
