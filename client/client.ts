/**
 * A client of a group: one session, many operations under way at once, over TCP to the replicas. Follows the primary by itself; an
 * operation simply takes longer while the group changes views.
 *
 *   const client = await VrfsClient.connect({ servers: ['127.0.0.1:7101', '127.0.0.1:7102', '127.0.0.1:7103'] });
 *   const result = await client.submit({ credentials, operation: { type: 'mkdir', at: { dir: ROOT_INO, path }, mode: 0o755 } });
 *   if (!result.ok) console.error(result.errno);
 *
 * `submit` and `query` reject with a VrfsError (errors.ts) when there is no answer; a refusal by the file system is a value.
 */
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { inspect } from 'node:util';
import { encodeCall, decodeResult } from '../fsservice/operation_codec.ts';
import type { Call, OperationType, ReadOperation, Result, WriteOperation } from '../fsservice/operations.ts';
import { parseDestination } from '../lib/address.ts';
import { opNumber, type OpNumber } from '../lib/ids.ts';
import { ClientSession, DEFAULT_CLIENT_OPTIONS, type ClientFailure, type Consistency } from '../vr/client.ts';
import type { Configuration } from '../vr/configuration.ts';
import { SESSION_HOLDS_OPENS, SESSION_NAME_BYTES, type ReplicaToClient } from '../vr/messages.ts';
import type { Completion } from './completion.ts';
import { Connection } from './connection.ts';
import { BadAnswer, errorOf, InvalidCall, NotReachable, WrongArgument, type VrfsError } from './errors.ts';
import { GroupPin } from './group_pin.ts';
import { KeepAlive } from './keep_alive.ts';
import { OpenFiles } from './open_files.ts';

export interface ConnectOptions {
  /** `host:port` of some or all replicas; the client learns of the others. */
  readonly servers: readonly string[];
  /** 16 bytes; a replica of another group is then refused. Default: whichever group answers first, and from then on no other. */
  readonly clusterId?: Buffer;
  /** The replica, as host:port, that 'causal' and 'bounded' reads are asked of as long as it is up to date: one at the same site. Default: any. */
  readonly readFrom?: string;
  /** For the group's list of sessions, at most 256 bytes. */
  readonly name?: string;
  /** The client tells which inodes it holds open (`openFiles`), and the group keeps them when they are unlinked. */
  readonly holdsOpens?: boolean;
  /** How long an operation may take before it fails, milliseconds, up to MAX_TIMEOUT_MS. Default 30,000. */
  readonly requestTimeoutMs?: number;
  /** How long `connect` waits for a first replica, milliseconds, up to MAX_TIMEOUT_MS. Default 10,000. */
  readonly connectTimeoutMs?: number;
}

export interface QueryOptions {
  /**
   * 'linearizable' (default): at the primary. 'causal': by any replica that has executed all that this client has seen. 'bounded': the same,
   * and the answer includes everything that was acknowledged to anybody `maxStalenessMs` before it.
   */
  readonly consistency?: Consistency;
  /** 'bounded', and only then: how old the answer may be, milliseconds, from 0 to MAX_STALENESS_MS. */
  readonly maxStalenessMs?: number;
  /** An op-number that the answer has to include, besides all that this client has seen. */
  readonly minOp?: number;
  /** Replicas that have not got so far are asked again for so long, milliseconds; then it fails as Behind. Default: as long as for any answer. */
  readonly behindMs?: number;
}

/** A day. */
export const MAX_STALENESS_MS = 86_400_000;

/** What a timer can wait for, some 24 days; with more it would not wait at all. */
export const MAX_TIMEOUT_MS = 2 ** 31 - 1;

const CONSISTENCIES: ReadonlySet<Consistency> = new Set(['linearizable', 'causal', 'bounded']);
/** An op-number is below. */
const OP_NUMBERS = 2 ** 48;
const TICK_MS = 20;
/** So many ticks without anything that is waited for, and the timer rests. */
const IDLE_TICKS = 50;
const RANDOM_BYTES = 4096;

export class VrfsClient {
  readonly openFiles: OpenFiles;
  readonly #session: ClientSession<Completion>;
  readonly #connections = new Map<string, Connection>();
  readonly #group: GroupPin;
  readonly #keepAlive: KeepAlive;
  #timer: NodeJS.Timeout | undefined;
  #idleTicks = 0;
  #closed = false;
  #welcomed: (() => void) | null = null;
  #random = randomBytes(RANDOM_BYTES);
  #randomAt = 0;

  /** Resolves when a first replica has answered. @throws NotReachable with what each server said */
  static async connect(options: ConnectOptions): Promise<VrfsClient> {
    const client = new VrfsClient(options);
    try {
      await client.#firstWelcome(options.connectTimeoutMs ?? 10_000);
    } catch (error) {
      await client.close();
      throw error;
    }
    if (options.holdsOpens === true) client.#register();
    return client;
  }

  /** The same without waiting: operations wait for a replica themselves, up to their time-out. */
  static open(options: ConnectOptions): VrfsClient {
    const client = new VrfsClient(options);
    if (options.holdsOpens === true) client.#register();
    return client;
  }

  private constructor(options: ConnectOptions) {
    checkOptions(options);
    this.#group = new GroupPin(options.clusterId);
    this.#session = new ClientSession<Completion>(
      {
        send: (address, message) => this.#connection(address).send(message),
        uint32: () => this.#uint32(),
        bytes: (n) => randomBytes(n),
        completed: (token, result, op) => { token.completed(result, op); },
        failed: (token, failure) => { token.failed(this.#error(failure)); },
        sessionStarted: (_, timeoutMs) => { this.#keepAlive.sessionStarted(timeoutMs); },
      },
      {
        ...DEFAULT_CLIENT_OPTIONS,
        servers: options.servers,
        readFrom: options.readFrom ?? '',
        name: options.name ?? `node-${process.pid}`,
        flags: options.holdsOpens === true ? SESSION_HOLDS_OPENS : 0,
        requestTimeoutMs: options.requestTimeoutMs ?? DEFAULT_CLIENT_OPTIONS.requestTimeoutMs,
        deliveredOnce: true,
      },
      performance.now(),
    );
    this.openFiles = new OpenFiles(() => { this.#keepAlive.released(); });
    this.#keepAlive = new KeepAlive({
      holdsOpens: options.holdsOpens === true,
      due: () => this.#session.needsKeepAlive(performance.now()),
      seenOp: () => this.#session.lastOp,
      open: () => this.openFiles.list(),
      submit: (body, completion) => { this.submitEncoded(body, completion); },
    });
  }

  /** The causal token: the newest op-number that any answer has shown. */
  get lastOp(): OpNumber {
    return this.#session.lastOp;
  }
  /** The group as far as it is known; null before the first answer. */
  get configuration(): Configuration | null {
    return this.#session.configuration;
  }
  /** `host:port` of the presumed primary. */
  get primary(): string {
    return this.#session.primary;
  }
  /** Operations without an outcome yet. */
  get outstanding(): number {
    return this.#session.outstanding;
  }

  /** Executes a change exactly once, through the log; resolves when it is committed and executed. */
  submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>> {
    return new Promise((resolve, reject) => {
      this.submitEncoded(encoded(call), new PromisedResult<O['type']>(call.operation.type, resolve, reject));
    });
  }

  /** A read: linearizable unless the options say otherwise. */
  query<O extends ReadOperation>(call: Call<O>, options?: QueryOptions): Promise<Result<O['type']>> {
    return new Promise((resolve, reject) => {
      this.queryEncoded(encoded(call), new PromisedResult<O['type']>(call.operation.type, resolve, reject), options);
    });
  }

  /** `body`: a call as encodeCall gives it; not to be changed afterwards. */
  submitEncoded(body: Buffer, completion: Completion): void {
    if (this.#timer === undefined) this.#startTimer();
    this.#session.submit(body, completion);
  }

  queryEncoded(body: Buffer, completion: Completion, options: QueryOptions = {}): void {
    const wrong = wrongOptions(options);
    if (wrong !== null) {
      completion.failed(new InvalidCall(wrong));
      return;
    }
    const { consistency = 'linearizable', maxStalenessMs, behindMs, minOp = 0 } = options;
    const bounds = { minOp: opNumber(Math.max(minOp, this.#session.lastOp)), maxStalenessMs: maxStalenessMs ?? 0, behindMs: behindMs ?? Infinity };
    if (this.#timer === undefined) this.#startTimer();
    this.#session.read(body, consistency, completion, bounds);
  }

  /** Tells the group now what is open, instead of with the next keep-alive. */
  confirmOpenFiles(): void {
    this.#keepAlive.soon();
  }

  /** Fails what is outstanding and closes all connections. Idempotent. */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      clearInterval(this.#timer);
      this.#keepAlive.stop();
      this.#session.close();
      for (const c of this.#connections.values()) c.close();
    }
    return Promise.resolve();
  }

  #connection(address: string): Connection {
    let c = this.#connections.get(address);
    if (c === undefined) {
      c = new Connection(address, this.#group, {
        message: (from, message) => { this.#onMessage(from, message); },
        disconnected: (from) => {
          this.#session.disconnected(from, performance.now());
          // Until the first of them has answered, all are wanted.
          if (this.#welcomed !== null) this.#connection(from).dial();
        },
      });
      this.#connections.set(address, c);
    }
    return c;
  }

  #onMessage(from: string, message: ReplicaToClient): void {
    this.#session.receive(from, message, performance.now());
    if (message.type === 'welcome') this.#welcomed?.();
  }

  #firstWelcome(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { reject(new NotReachable(this.#unreachable() ?? `no replica answered within ${timeoutMs} ms`)); }, timeoutMs);
      this.#welcomed = () => {
        this.#welcomed = null;
        clearTimeout(timer);
        resolve();
      };
      for (const address of this.#session.peers) this.#connection(address).dial();
    });
  }

  /** Who holds files open needs a session before it asks for anything. */
  #register(): void {
    if (this.#timer === undefined) this.#startTimer();
    this.#session.register();
  }

  #startTimer(): void {
    if (this.#closed) return;
    this.#idleTicks = 0;
    this.#timer = setInterval(() => {
      this.#session.tick(performance.now());
      this.#idleTicks = this.#session.waits ? 0 : this.#idleTicks + 1;
      if (this.#idleTicks < IDLE_TICKS) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    }, TICK_MS);
    // While the timer rested, the session's clock stood still.
    this.#session.tick(performance.now());
  }

  #error(failure: ClientFailure): VrfsError {
    return errorOf(failure, this.#unreachable(), this.configuration?.durability);
  }

  /** What is wrong with each server; null when one is connected. */
  #unreachable(): string | null {
    const all = [...this.#connections.values()];
    if (all.some((c) => c.open)) return null;
    const each = all.map((c) => `${c.address}: ${c.lastFailure ?? 'no answer'}`).join('; ');
    return `no replica can be reached (${each}). Is the group running, and are these its addresses?`;
  }

  /** Four bytes of a pool: a call of randomBytes costs more than all the rest of an operation. */
  #uint32(): number {
    if (this.#randomAt === RANDOM_BYTES) {
      this.#random = randomBytes(RANDOM_BYTES);
      this.#randomAt = 0;
    }
    const n = this.#random.readUInt32BE(this.#randomAt);
    this.#randomAt += 4;
    return n;
  }
}

class PromisedResult<T extends OperationType> implements Completion {
  readonly #type: T;
  readonly #resolve: (result: Result<T>) => void;
  readonly #reject: (error: Error) => void;

  constructor(type: T, resolve: (result: Result<T>) => void, reject: (error: Error) => void) {
    this.#type = type;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  completed(bytes: Buffer): void {
    const decoded = decodeResult(this.#type, bytes);
    if (decoded.ok) this.#resolve(decoded.value);
    else this.#reject(new BadAnswer(`the answer to '${this.#type}' cannot be read: ${decoded.reason}. Are client and replicas of the same version?`));
  }

  failed(error: VrfsError): void {
    this.#reject(error);
  }
}

/** @throws InvalidCall for a number or a name that no call can carry */
function encoded(call: Call): Buffer {
  try {
    return encodeCall(call);
  } catch (error) {
    if (error instanceof RangeError) throw new InvalidCall(error.message, { cause: error });
    throw error;
  }
}

/** What is wrong with the options of a read, or null: what a message cannot carry would be thrown out of the timer that sends it again. */
function wrongOptions({ consistency = 'linearizable', maxStalenessMs, minOp = 0, behindMs = Infinity }: QueryOptions): string | null {
  if (!CONSISTENCIES.has(consistency)) return `consistency '${consistency}' is not known: there are ${[...CONSISTENCIES].join(', ')}`;
  if (!(Number.isInteger(minOp) && minOp >= 0 && minOp < OP_NUMBERS)) return `minOp is ${minOp}: it is an op-number, a whole number from 0 on and below 2^48`;
  if (!(typeof behindMs === 'number' && behindMs >= 0)) return `behindMs is ${inspect(behindMs)}: it is a number of milliseconds from 0 on`;
  return wrongStaleness(consistency, maxStalenessMs);
}

function wrongStaleness(consistency: Consistency, maxStalenessMs: number | undefined): string | null {
  if (consistency !== 'bounded') return maxStalenessMs === undefined ? null : `maxStalenessMs goes with consistency 'bounded', not with '${consistency}'`;
  if (maxStalenessMs === undefined) return 'consistency \'bounded\' needs maxStalenessMs: how old the answer may be, in milliseconds';
  if (Number.isSafeInteger(maxStalenessMs) && maxStalenessMs >= 0 && maxStalenessMs <= MAX_STALENESS_MS) return null;
  return `maxStalenessMs is ${maxStalenessMs}: it is a whole number of milliseconds from 0 to ${MAX_STALENESS_MS}`;
}

function checkOptions(options: ConnectOptions): void {
  if (options.servers.length === 0) throw new WrongArgument('servers: at least one host:port is needed');
  for (const s of options.servers) {
    const parsed = parseDestination(s);
    if (!parsed.ok) throw new WrongArgument(`servers: ${parsed.reason}`);
  }
  if (options.readFrom !== undefined) {
    const parsed = parseDestination(options.readFrom);
    if (!parsed.ok) throw new WrongArgument(`readFrom: ${parsed.reason}`);
  }
  if (options.clusterId !== undefined && options.clusterId.length !== 16) throw new WrongArgument('clusterId: 16 bytes');
  // Only a registration, of the first change, would find out.
  if (options.name !== undefined && Buffer.byteLength(options.name) > SESSION_NAME_BYTES) throw new WrongArgument(`name: at most ${SESSION_NAME_BYTES} bytes`);
  checkTimeout('requestTimeoutMs', options.requestTimeoutMs);
  checkTimeout('connectTimeoutMs', options.connectTimeoutMs);
}

/** @throws RangeError */
export function checkTimeout(name: string, ms: number | undefined): void {
  // From JavaScript a text may come, which would be appended to the time.
  if (ms === undefined || (typeof ms === 'number' && ms >= 0 && ms <= MAX_TIMEOUT_MS)) return;
  throw new RangeError(`${name} is ${inspect(ms)}: it is a number of milliseconds from 0 to ${MAX_TIMEOUT_MS}`);
}

export type { Completion, Consistency };
