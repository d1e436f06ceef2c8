/**
 * A very small application: named registers with compare-and-set and house-keeping steps. Scenarios use it because its
 * results are easy to read, and long ranges of seeds because it leaves nearly all the time to the protocol.
 */
import { Writer, Reader } from '../../lib/bytes.ts';
import type { Prng } from '../../lib/prng.ts';
import type { Table } from '../../lib/table.ts';
import { systemKey, SystemKind } from '../../lib/system_keys.ts';
import type { Entry } from '../../vr/entry.ts';
import type { StateMachine } from '../../vr/ports.ts';
import type { SequentialModel } from '../checkers/sequential_model.ts';
import type { Application, Operation, Workload } from './application.ts';

const Kind = { set: 1, compareAndSet: 2, get: 3, keepAlive: 4, cleanUp: 5 } as const;
const REGISTERS = 6;
/** A register above this is reset by a house-keeping step. */
const LIMIT = 0xf000_0000;

/** kind u8 | register u8 | expected u32 | value u32 | unique u32 */
function encode(kind: number, register: number, expected: number, value: number, unique: number): Buffer {
  return new Writer(14).u8(kind).u8(register).u32(expected).u32(value).u32(unique).finish();
}

export function setRegister(register: number, value: number, unique: number): Buffer {
  return encode(Kind.set, register, 0, value, unique);
}
export function getRegister(register: number): Buffer {
  return encode(Kind.get, register, 0, 0, 0);
}

interface Registers {
  get(register: number): number;
  set(register: number, value: number): void;
}

/** Result: the register's value before (u32), and whether it was changed (u8). */
function apply(state: Registers, body: Buffer): Buffer {
  const r = new Reader(body);
  const kind = r.u8();
  const register = r.u8();
  const expected = r.u32();
  const value = r.u32();
  const before = state.get(register);
  const changes = kind === Kind.set || kind === Kind.cleanUp || (kind === Kind.compareAndSet && before === expected);
  if (changes) state.set(register, value);
  return new Writer(5).u32(before).bool(changes).finish();
}

class RegisterTable implements StateMachine, Registers {
  readonly #table: Table;

  constructor(table: Table) {
    this.#table = table;
  }

  get(register: number): number {
    return this.#table.get(key(register))?.readUInt32BE(0) ?? 0;
  }
  set(register: number, value: number): void {
    this.#table.put(key(register), new Writer(4).u32(value).finish());
  }
  execute(entry: Entry): Buffer {
    return apply(this, entry.body);
  }
  checkpointAsked(): boolean {
    return false;
  }
  sessionStarted(): void {
    // Registers belong to nobody.
  }
  sessionEnded(): void {
    // Registers belong to nobody.
  }
  query(body: Buffer): Buffer {
    return apply({ get: (r) => this.get(r), set: () => undefined }, body);
  }
  housekeeping(): Buffer | undefined {
    for (let i = 0; i < REGISTERS; i++) if (this.get(i) > LIMIT) return encode(Kind.cleanUp, i, 0, 0, 0);
    return undefined;
  }
}

function key(register: number): Buffer {
  return systemKey(SystemKind.application, Buffer.from([register]));
}

class RegisterModel implements SequentialModel, Registers {
  readonly #values = new Map<number, number>();

  get(register: number): number {
    return this.#values.get(register) ?? 0;
  }
  set(register: number, value: number): void {
    this.#values.set(register, value);
  }
  execute(entry: Entry, result: Buffer): string | null {
    return this.#compare(entry.body, result);
  }
  #compare(body: Buffer, result: Buffer): string | null {
    const expected = apply(this, body);
    return expected.equals(result) ? null : `kind ${body[0]} of register ${body[1]} gives ${result.toString('hex')}, not ${expected.toString('hex')}`;
  }
  sessionStarted(): void {
    // As above.
  }
  sessionEnded(): void {
    // As above.
  }
  query(body: Buffer, result: Buffer): string | null {
    return this.#compare(body, result);
  }
}

class RegisterWorkload implements Workload {
  #unique = 0;
  readonly #seen = new Map<number, number>();

  next(random: Prng): Operation {
    const register = random.below(REGISTERS);
    const unique = ++this.#unique;
    if (random.chance(0.3)) return { body: getRegister(register), read: random.chance(0.6) ? 'linearizable' : 'causal' };
    if (random.chance(0.5)) return { body: encode(Kind.compareAndSet, register, this.#seen.get(register) ?? 0, random.uint32(), unique), read: null };
    return { body: setRegister(register, random.uint32(), unique), read: null };
  }
  read(random: Prng): Buffer {
    return getRegister(random.below(REGISTERS));
  }
  keepAlive(): Buffer {
    return encode(Kind.keepAlive, 0, 0, 0, ++this.#unique);
  }
  answered(body: Buffer, result: Buffer): void {
    this.#seen.set(body.readUInt8(1), result.readUInt32BE(0));
  }
}

export const registers: Application = {
  format: () => [],
  stateMachine: (table) => new RegisterTable(table),
  model: () => new RegisterModel(),
  workload: () => new RegisterWorkload(),
};
