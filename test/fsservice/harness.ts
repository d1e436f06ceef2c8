/** A service over a memory table, driven by calls as the replica would drive it: one op-number and one later time each. */
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import { assert, defined } from '../../lib/assert.ts';
import { Errno, type ErrnoCode, type ErrnoName } from '../../fsservice/errno.ts';
import { decodeInode, encodeInode } from '../../fsservice/inode.ts';
import { inodeKey } from '../../fsservice/keys.ts';
import { DEFAULT_LIMITS, type Limits } from '../../fsservice/limits.ts';
import { decodeResult, encodeCall } from '../../fsservice/operation_codec.ts';
import {
  ROOT_INO, type At, type Attributes, type Credentials, type Operation, type OperationType, type ReadOperation, type Result, type Results, type SetAttributes,
} from '../../fsservice/operations.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, opNumber, sessionId, view, type Ino } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import type { RecordValue } from '../../lib/table.ts';
import { makeEntry, type Entry, type EntryKind } from '../../vr/entry.ts';
import { checkInvariants } from './invariants.ts';

export const ROOT: Credentials = { uid: 0, gid: 0, groups: [] };
export const ALICE: Credentials = { uid: 1000, gid: 100, groups: [100, 200] };
export const BOB: Credentials = { uid: 1001, gid: 101, groups: [] };
/** In Alice's supplementary group. */
export const CAROL: Credentials = { uid: 1002, gid: 200, groups: [] };

export function at(path: string | Buffer, dir: Ino = ROOT_INO): At {
  return { dir, path: typeof path === 'string' ? Buffer.from(path) : path };
}

type Of<T extends OperationType> = Extract<Operation, { type: T }>;
export type OperationOf<T extends OperationType> = Of<T>;

export function nameOf(errno: ErrnoCode): ErrnoName {
  const found = (Object.keys(Errno) as ErrnoName[]).find((name) => Errno[name] === errno);
  return defined(found, `errno ${errno}`);
}

interface Shared {
  readonly value: RecordValue;
  readonly bytes: Buffer;
}

/**
 * Holds on to the decoded values that it gave and was given, as the table on disk does, and tells when somebody changed one that was not his any more.
 */
class WatchedTable extends MemoryTable {
  readonly #shared = new Map<string, Shared>();
  /** Since the last look. */
  readonly #used = new Map<string, Shared>();

  override find<T extends RecordValue>(id: string, decode: (bytes: Buffer) => T): T | undefined {
    const bytes = this.get(Buffer.from(id, 'latin1'));
    const shared = this.#shared.get(id);
    if (bytes === undefined) return undefined;
    if (shared?.bytes === bytes) {
      assert(isDeepStrictEqual(decode(bytes), shared.value), 'a value has nothing that its bytes do not have');
      this.#used.set(id, shared);
      return shared.value as T;
    }
    const value = decode(bytes);
    this.#share(id, { value, bytes });
    return value;
  }

  override store(id: string, value: RecordValue): void {
    const bytes = value.encode();
    assert(bytes.length === value.byteLength, 'a value is as long as it says');
    this.#share(id, { value, bytes });
    this.put(Buffer.from(id, 'latin1'), bytes);
  }

  #share(id: string, shared: Shared): void {
    this.#shared.set(id, shared);
    this.#used.set(id, shared);
  }

  /** After each operation. */
  check(): void {
    for (const [id, { value, bytes }] of this.#used) assert(value.encode().equals(bytes), () => `the value of ${Buffer.from(id, 'latin1').toString('hex')} was changed after it was put`);
    this.#used.clear();
  }
}

export class World {
  readonly table = new WatchedTable();
  readonly service: FileSystemService;
  op = 0;
  /** Microseconds. */
  time = 1_700_000_000_000_000;

  constructor(limits: Partial<Limits> = {}) {
    this.service = new FileSystemService(this.table, { ...DEFAULT_LIMITS, ...limits });
  }

  entry(kind: EntryKind, body: Buffer, session = 0): Entry {
    this.op++;
    this.time += 1_000_003;
    const fields = { kind, epoch: epoch(0), view: view(0), op: opNumber(this.op), time: this.time, session: sessionId(session), slot: 0, seq: 1, body };
    return makeEntry(fields, ZERO_DIGEST);
  }

  /** Executes (a read: asks) and decodes. */
  run<T extends OperationType>(operation: Of<T>, credentials: Credentials = ROOT, session = 0): Result<T> {
    const body = encodeCall({ credentials, operation });
    const type = operation.type as T;
    const bytes = READS.has(type) ? this.service.query(body, this.time) : this.service.execute(this.entry('request', body, session));
    this.table.check();
    const decoded = decodeResult(type, bytes);
    if (!decoded.ok) throw new Error(decoded.reason);
    return decoded.value;
  }

  /** The value of an operation that has to succeed. */
  ok<T extends OperationType>(operation: Of<T>, credentials: Credentials = ROOT, session = 0): Results[T] {
    const result: Result<OperationType> = this.run<T>(operation, credentials, session);
    if (!result.ok) throw new Error(`${operation.type} failed with ${nameOf(result.errno)}`);
    return result.value as Results[T];
  }

  /** An operation that has to fail, and to change nothing. */
  fails<T extends OperationType>(errno: ErrnoName, operation: Of<T>, credentials: Credentials = ROOT, session = 0): void {
    const before = READS.has(operation.type) ? null : this.records();
    const result: Result<OperationType> = this.run<T>(operation, credentials, session);
    expect(result.ok ? 'success' : nameOf(result.errno)).toBe(errno);
    if (before !== null && before.length > 0) expect(this.records()).toEqual(before);
  }

  // --- shorthands ----------------------------------------------------------------------------------------------------

  create(path: string, mode = 0o644, credentials: Credentials = ROOT): Attributes {
    return this.ok<'create'>({ type: 'create', at: at(path), mode, exclusive: true, truncate: false }, credentials).attributes;
  }
  mkdir(path: string, mode = 0o755, credentials: Credentials = ROOT): Attributes {
    return this.ok<'mkdir'>({ type: 'mkdir', at: at(path), mode }, credentials).attributes;
  }
  symlink(target: string, path: string, credentials: Credentials = ROOT): Attributes {
    return this.ok<'symlink'>({ type: 'symlink', at: at(path), target: Buffer.from(target) }, credentials).attributes;
  }
  link(from: string, to: string, credentials: Credentials = ROOT): Attributes {
    return this.ok<'link'>({ type: 'link', from: at(from), to: at(to), follow: false }, credentials).attributes;
  }
  unlink(path: string, credentials: Credentials = ROOT): Results['unlink'] {
    return this.ok<'unlink'>({ type: 'unlink', at: at(path) }, credentials);
  }
  rename(from: string, to: string, flags: Of<'rename'>['flags'] = 'none', credentials: Credentials = ROOT): void {
    this.ok<'rename'>({ type: 'rename', from: at(from), to: at(to), flags }, credentials);
  }
  setattr(path: string, set: SetAttributes, credentials: Credentials = ROOT): Attributes {
    return this.ok<'setattr'>({ type: 'setattr', at: at(path), follow: true, set }, credentials).attributes;
  }
  write(path: string, offset: number, data: Buffer | string, credentials: Credentials = ROOT): Attributes {
    return this.ok<'write'>({ type: 'write', at: at(path), offset, data: Buffer.from(data) }, credentials).attributes;
  }
  read(path: string, offset = 0, length = 1 << 20): Buffer {
    return this.ok<'read'>({ type: 'read', at: at(path), offset, length }).data;
  }
  stat(path: string | At, follow = false): Attributes {
    return this.ok<'getattr'>({ type: 'getattr', at: typeof path === 'string' ? at(path) : path, follow }).attributes;
  }
  exists(path: string): boolean {
    return this.run<'getattr'>({ type: 'getattr', at: at(path), follow: false }).ok;
  }
  names(path: string): string[] {
    const page = this.ok<'readdir'>({ type: 'readdir', at: at(path), after: Buffer.alloc(0), limit: 1024, attributes: false });
    return page.entries.map((e) => e.name.toString());
  }
  statfs(): Results['statfs'] {
    return this.ok<'statfs'>({ type: 'statfs' });
  }

  // --- sessions and house-keeping ------------------------------------------------------------------------------------

  startSession(flags = 1): number {
    const entry = this.entry('register', Buffer.alloc(0));
    this.service.sessionStarted(entry, flags);
    return entry.op;
  }
  endSession(session: number): void {
    this.service.sessionEnded(this.entry('expire', Buffer.alloc(0)), session);
  }
  keepAlive(session: number, open: readonly Ino[], seenOp = this.op): number {
    return this.ok<'keepAlive'>({ type: 'keepAlive', seenOp, open }, ROOT, session).orphans;
  }
  /** One step, if there is one to take. */
  collectStep(): boolean {
    const body = this.service.housekeeping();
    if (body === undefined) return false;
    const decoded = decodeResult('collect', this.service.execute(this.entry('housekeeping', body)));
    expect(decoded.ok && decoded.value.ok).toBe(true);
    return true;
  }
  /** All steps; returns how many. */
  collectAll(): number {
    let steps = 0;
    while (this.collectStep()) steps++;
    return steps;
  }

  /** As if it had that many links. */
  forceLinks(ino: Ino, nlink: number): void {
    const inode = decodeInode(ino, defined(this.table.get(inodeKey(ino)), 'inode'));
    inode.nlink = nlink;
    this.table.put(inodeKey(ino), encodeInode(inode));
  }

  records(): [string, string][] {
    return [...this.table.entries()].map(([key, value]) => [key.toString('hex'), value.toString('latin1')]);
  }
  check(): void {
    checkInvariants(this.table);
  }
}

const READS = new Set<OperationType>(['getattr', 'read', 'readdir', 'readlink', 'getxattr', 'listxattr', 'access', 'statfs'] satisfies ReadOperation['type'][]);
