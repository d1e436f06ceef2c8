/**
 * The namespace as the state machine under the replica: bytes of a call in, bytes of a result out, everything that lasts in
 * the table. The same calls at the same ops with the same times give the same records and the same results.
 *
 * An operation checks everything before it changes anything; whatever fails has changed nothing.
 */
import { unreachable } from '../lib/assert.ts';
import { unboxed } from '../lib/bytes.ts';
import type { Table } from '../lib/table.ts';
import type { Entry } from '../vr/entry.ts';
import type { SESSION_HOLDS_OPENS } from '../vr/messages.ts';
import type { StateMachine } from '../vr/ports.ts';
import { access, getattr, setattr } from './attributes.ts';
import { TableBlocks, type BlockStore } from './block_store.ts';
import { collect, hasGarbage, removeTree } from './collect.ts';
import type { Context, Outcome } from './context.ts';
import { Counters } from './counters.ts';
import { putFile, read, write } from './data.ts';
import { create, link, mkdir, mknod, rmdir, symlink, unlink } from './directory_operations.ts';
import { Errno } from './errno.ts';
import { DEFAULT_LIMITS, type Limits } from './limits.ts';
import { decodeCall, encodeCall, encodeFailure, encodeResult, isWriteOperation } from './operation_codec.ts';
import type { Credentials, FileSystemStatistics, Operation, OperationType, Results } from './operations.ts';
import { holderEnded, holderStarted, keepAlive } from './orphans.ts';
import { readdir, readlink, statfs } from './read_operations.ts';
import { formatNamespace, Records } from './records.ts';
import { rename } from './rename.ts';
import { getxattr, listxattr, removexattr, setxattr } from './xattr.ts';

const HOLDS_OPENS: typeof SESSION_HOLDS_OPENS = 1;
const ROOT_CREDENTIALS: Credentials = Object.freeze({ uid: 0, gid: 0, groups: Object.freeze([]) });
const COLLECT: Buffer = encodeCall({ credentials: ROOT_CREDENTIALS, operation: { type: 'collect' } });
const UNDECODABLE: Buffer = encodeFailure(Errno.EINVAL);
const FORBIDDEN: Buffer = encodeFailure(Errno.EPERM);
const MICROSECONDS = 1_000_000;

function answer<T extends OperationType>(type: T, outcome: Outcome<Results[T]>): Buffer {
  return typeof outcome === 'number' ? encodeFailure(outcome) : encodeResult(type, { ok: true, value: outcome });
}

export class FileSystemService implements StateMachine {
  readonly #records: Records;
  readonly #blocks: BlockStore;
  readonly #limits: Limits;
  #checkpointAsked = false;

  /** `limits` have to be the same on every replica of the group. */
  constructor(table: Table, limits: Limits = DEFAULT_LIMITS, blocks: BlockStore = new TableBlocks(table)) {
    this.#records = new Records(table);
    this.#limits = limits;
    this.#blocks = blocks;
  }

  execute(entry: Entry): Buffer {
    this.#checkpointAsked = false;
    const call = decodeCall(entry.body);
    if (!call.ok) return UNDECODABLE;
    const { credentials, operation } = call.value;
    if (operation.type === 'collect' && entry.kind !== 'housekeeping') return FORBIDDEN;
    const ctx = this.#executing(entry, credentials);
    const result = dispatch(ctx, operation);
    this.#finish(ctx);
    this.#checkpointAsked = operation.type === 'checkpoint' && credentials.uid === 0;
    return result;
  }

  checkpointAsked(): boolean {
    return this.#checkpointAsked;
  }

  sessionStarted(entry: Entry, flags: number): void {
    const ctx = this.#executing(entry, ROOT_CREDENTIALS);
    // A session is named by the op-number of its registration.
    if ((flags & HOLDS_OPENS) !== 0) holderStarted(ctx, entry.op);
    this.#finish(ctx);
  }

  sessionEnded(entry: Entry, session: number): void {
    const ctx = this.#executing(entry, ROOT_CREDENTIALS);
    holderEnded(ctx, session);
    this.#finish(ctx);
  }

  query(body: Buffer, time: number): Buffer {
    const call = decodeCall(body);
    if (!call.ok || isWriteOperation(call.value.operation)) return UNDECODABLE;
    const counters = this.#records.counters()?.draft() ?? new Counters();
    return dispatch(this.#context(call.value.credentials, counters, 0, 0, time), call.value.operation);
  }

  /** For its own process. */
  statistics(): FileSystemStatistics {
    return statfs(this.#context(ROOT_CREDENTIALS, this.#records.counters()?.draft() ?? new Counters(), 0, 0, 0));
  }

  housekeeping(): Buffer | undefined {
    const counters = this.#records.counters();
    return counters !== undefined && hasGarbage(counters) ? COLLECT : undefined;
  }

  #executing(entry: Entry, credentials: Credentials): Context {
    return this.#context(credentials, this.#counters(), entry.op, entry.session, entry.time);
  }

  #counters(): Counters {
    const counters = this.#records.counters();
    if (counters !== undefined) return counters.draft();
    formatNamespace(this.#records.table);
    return new Counters();
  }

  #context(credentials: Credentials, counters: Counters, op: number, session: number, time: number): Context {
    const sec = unboxed(Math.floor(time / MICROSECONDS));
    return {
      op, session, sec, nsec: unboxed((time - sec * MICROSECONDS) * 1000), credentials, counters, countersChanged: false,
      records: this.#records, blocks: this.#blocks, limits: this.#limits,
    };
  }

  #finish(ctx: Context): void {
    if (ctx.countersChanged) this.#records.putCounters(ctx.counters);
  }
}

function dispatch(ctx: Context, o: Operation): Buffer {
  switch (o.type) {
    case 'create':
      return answer('create', create(ctx, o));
    case 'mkdir':
      return answer('mkdir', mkdir(ctx, o));
    case 'mknod':
      return answer('mknod', mknod(ctx, o));
    case 'symlink':
      return answer('symlink', symlink(ctx, o));
    case 'link':
      return answer('link', link(ctx, o));
    case 'unlink':
      return answer('unlink', unlink(ctx, o));
    case 'rmdir':
      return answer('rmdir', rmdir(ctx, o));
    case 'rename':
      return answer('rename', rename(ctx, o));
    case 'setattr':
      return answer('setattr', setattr(ctx, o));
    case 'write':
      return answer('write', write(ctx, o));
    case 'putFile':
      return answer('putFile', putFile(ctx, o));
    case 'setxattr':
      return answer('setxattr', setxattr(ctx, o));
    case 'removexattr':
      return answer('removexattr', removexattr(ctx, o));
    case 'removeTree':
      return answer('removeTree', removeTree(ctx, o));
    case 'keepAlive':
      return answer('keepAlive', keepAlive(ctx, o));
    case 'collect':
      return answer('collect', collect(ctx));
    case 'checkpoint':
      // The replica takes it (checkpointAsked): the state has no part in it.
      return answer('checkpoint', ctx.credentials.uid === 0 ? { op: ctx.op } : Errno.EPERM);
    case 'getattr':
      return answer('getattr', getattr(ctx, o));
    case 'read':
      return answer('read', read(ctx, o));
    case 'readdir':
      return answer('readdir', readdir(ctx, o));
    case 'readlink':
      return answer('readlink', readlink(ctx, o));
    case 'getxattr':
      return answer('getxattr', getxattr(ctx, o));
    case 'listxattr':
      return answer('listxattr', listxattr(ctx, o));
    case 'access':
      return answer('access', access(ctx, o));
    case 'statfs':
      return answer('statfs', statfs(ctx));
    default:
      return unreachable(o);
  }
}
