/**
 * What the clients ask for: loops that work on a few objects at once, so that they collide, and move on to new ones every few
 * seconds, so that what stays unknown of each object is little: the cost of checking grows with that.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import { HistoryClient, type Attempted, type ReplicaAddress, type Version, type Weak } from './client.ts';
import { isRead, kindOf, type Call, type Operation } from './operations.ts';

const PERIOD_MS = 4000;
const REGISTERS = 2;
const DIRECTORIES = 2;
const NAMES = ['a', 'b', 'c', 'd', 'e'];
const THINK_MS = 12;
/** How old the state may be that a bounded read is answered from. */
const STALENESS_MS = [60, 150, 400];
/** In each program, beside those that do everything. */
export const READERS = 2;
/** After a failure another replica is asked for so long. */
const ELSEWHERE_MS = 300;

export interface LoadSettings {
  readonly urls: readonly string[];
  readonly seed: number;
  /** process.hrtime at time 0 of the history. */
  readonly start: string;
  /** Of this program, from 0, and how many there are. */
  readonly index: number;
  readonly programs: number;
  readonly loops: number;
}

/** The objects of one period. */
export function objectsAt(period: number): string[] {
  return [
    ...Array.from({ length: REGISTERS }, (_, i) => `register/${period}-${i}`),
    ...Array.from({ length: DIRECTORIES }, (_, i) => `directory/${period}-${i}`),
  ];
}

export function periodsOf(milliseconds: number): number {
  return Math.floor(milliseconds / PERIOD_MS) + 1;
}

/** Numbers that nobody else in the run uses. */
export class Numbers {
  #next: number;
  readonly #stride: number;
  constructor(first: number, stride: number) {
    this.#next = first;
    this.#stride = stride;
  }
  take(): number {
    const taken = this.#next;
    this.#next += this.#stride;
    return taken;
  }
}

export interface LoopPorts {
  readonly client: HistoryClient;
  readonly replicas: readonly ReplicaAddress[];
  readonly prng: Prng;
  /** For processes. */
  readonly numbers: Numbers;
  /** A content that nothing had before. */
  fresh(): string;
  record(operation: Operation): void;
}

/**
 * One logical caller after the other: each ends with its first unknown outcome. `mixed` does everything. `reads` only reads: at a
 * replica that can commit nothing, as a primary that has been cut off, whoever writes is soon stuck, and it is a reader whom it might still serve.
 */
export class Loop {
  readonly #ports: LoopPorts;
  readonly #client: HistoryClient;
  readonly #prng: Prng;
  readonly #home: number;
  readonly #kind: 'mixed' | 'reads';
  #process: number;
  #elsewhereUntil = 0;
  /** The X-Vrfs-Op of the last answer to this process. */
  #token: string | undefined;
  /** What this loop wrote last into each register: content and ETag belong together. */
  readonly #written = new Map<string, Version>();
  /** What it has seen or made last of each file: the content may be newer than the ETag, unless the ETag is met again. */
  readonly #seen = new Map<string, Version>();
  /** The object that it worked on last. */
  #newest = '';

  constructor(ports: LoopPorts, home: number, kind: 'mixed' | 'reads') {
    this.#ports = ports;
    this.#client = ports.client;
    this.#prng = ports.prng;
    this.#home = home;
    this.#kind = kind;
    this.#process = ports.numbers.take();
  }

  async run(stopped: () => boolean): Promise<void> {
    while (!stopped()) {
      const objects = objectsAt(Math.floor(this.#client.now() / 1e6 / PERIOD_MS));
      const object = this.#prng.pick(objects);
      if (!objects.includes(this.#newest)) {
        this.#written.clear();
        this.#seen.clear();
      }
      this.#newest = object;
      if (this.#kind === 'reads') await this.#read(object);
      else if (kindOf(object) === 'register') await this.#onRegister(object);
      else await this.#onDirectory(object);
      await pause(this.#prng.below(THINK_MS));
    }
  }

  #at(): ReplicaAddress {
    const away = this.#client.now() < this.#elsewhereUntil;
    const index = away ? this.#home + this.#prng.between(1, this.#ports.replicas.length - 1) : this.#home;
    return defined(this.#ports.replicas[index % this.#ports.replicas.length], 'a replica');
  }

  async attempt(object: string, call: Call, version?: Version, weak?: Weak): Promise<Attempted> {
    const attempted = await this.#client.attempt(this.#at(), this.#process, object, call, version, weak === undefined ? undefined : { ...weak, token: this.#token });
    this.#token = attempted.token ?? this.#token;
    this.#ports.record(attempted.operation);
    if (attempted.operation.outcome !== 'ok') {
      if (attempted.operation.outcome === 'info') {
        this.#process = this.#ports.numbers.take();
        this.#token = undefined;
      }
      this.#elsewhereUntil = this.#client.now() + ELSEWHERE_MS * 1e6;
      await pause(this.#prng.between(10, 60));
    } else if (attempted.version !== undefined) {
      this.#seen.set(fileOf(object, call), attempted.version);
      if (kindOf(object) === 'register' && !isRead(call)) this.#written.set(object, attempted.version);
    }
    return attempted;
  }

  async #onRegister(object: string): Promise<void> {
    const kind = this.#prng.below(10);
    if (kind < 3) {
      await this.#read(object);
    } else if (kind < 6) {
      await this.attempt(object, { operation: 'write', arguments: { value: this.#ports.fresh() } });
    } else if (kind < 8) {
      // With what this loop wrote last: mostly somebody else has written since.
      await this.#compareAndSet(object, this.#written.get(object) ?? { content: null, etag: null });
    } else {
      await this.#readThenSet(object);
    }
  }

  async #readThenSet(object: string): Promise<void> {
    const { version } = await this.attempt(object, { operation: 'read', arguments: {} });
    if (version === undefined) return;
    // A body may be newer than its ETag; when the ETag is still the same afterwards, they belong together.
    if (version.etag !== null && await this.#client.etag(this.#at(), object) !== version.etag) return;
    await this.#compareAndSet(object, version);
  }

  async #compareAndSet(object: string, version: Version): Promise<void> {
    await this.attempt(object, { operation: 'cas', arguments: { expected: version.content, value: this.#ports.fresh() } }, version);
  }

  async #read(object: string): Promise<void> {
    const name = this.#prng.pick(NAMES);
    const call: Call = kindOf(object) === 'register' ? { operation: 'read', arguments: {} }
      : this.#prng.chance(0.6) ? { operation: 'get', arguments: { name } } : { operation: 'list', arguments: {} };
    const weak = this.#weakness();
    const known = weak === undefined && this.#prng.chance(0.7) ? this.#seen.get(fileOf(object, call)) : undefined;
    await this.attempt(object, call, known, weak);
  }

  /** Half of the reads that stand for themselves may be answered by any replica. */
  #weakness(): Weak | undefined {
    const kind = this.#prng.below(4);
    if (kind === 0) return { consistency: 'causal' };
    return kind === 1 ? { consistency: 'bounded', maxStalenessMs: this.#prng.pick(STALENESS_MS) } : undefined;
  }

  async #onDirectory(object: string): Promise<void> {
    const name = this.#prng.pick(NAMES);
    const kind = this.#prng.below(20);
    if (kind < 6) await this.attempt(object, { operation: 'create', arguments: { name, content: this.#ports.fresh() } });
    else if (kind < 10) {
      const other = this.#prng.pick(NAMES.filter((n) => n !== name));
      await this.attempt(object, { operation: 'rename', arguments: { from: name, to: other, replace: this.#prng.chance(0.5) } });
    } else if (kind < 15) await this.attempt(object, { operation: 'delete', arguments: { name } });
    else await this.#read(object);
  }
}

/** A file: the register itself, or an entry of a directory. */
function fileOf(object: string, call: Call): string {
  return 'name' in call.arguments ? `${object}/${call.arguments.name}` : object;
}

/** What every object is in the end, through every replica. For when all faults are over. */
export async function readEverything(client: HistoryClient, replicas: readonly ReplicaAddress[], periods: number, numbers: Numbers, record: (operation: Operation) => void): Promise<void> {
  const readOne = async (replica: ReplicaAddress): Promise<void> => {
    const process = numbers.take();
    const read = async (object: string, call: Call): Promise<Operation> => {
      const { operation } = await client.attempt(replica, process, object, call);
      record(operation);
      if (operation.outcome !== 'ok') throw new Error(`replica ${replica.replica} does not answer after all faults are over: ${operation.operation} of ${object}: ${operation.error}`);
      return operation;
    };
    for (let period = 0; period < periods; period++) {
      for (const object of objectsAt(period)) {
        if (kindOf(object) === 'register') {
          await read(object, { operation: 'read', arguments: {} });
          continue;
        }
        await read(object, { operation: 'list', arguments: {} });
        for (const name of NAMES) await read(object, { operation: 'get', arguments: { name } });
      }
    }
  };
  await Promise.all(replicas.map(readOne));
}
