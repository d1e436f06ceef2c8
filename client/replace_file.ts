/**
 * A file's content that is longer than one operation can carry, replaced in one step all the same: it is written into a temporary file
 * beside the target, which then takes the target's name. Readers see the old content or the new, never a part. Afterwards it is another inode, with
 * the mode, the owner and the extended attributes of the one before.
 *
 * A write that fails removes its temporary file; one that a dying process leaves behind is called `.vrfs-put-<16 hex digits>`.
 */
import { randomBytes } from 'node:crypto';
import { Errno, type ErrnoCode } from '../fsservice/errno.ts';
import { SYMLINK_DEPTH_MAX, type At, type Attributes, type ReadOperation, type Result, type Results, type WriteOperation } from '../fsservice/operations.ts';
import { EMPTY } from '../lib/bytes.ts';
import type { Ino } from '../lib/ids.ts';
import { atPath, type CallerOperations } from './caller.ts';
import { VrfsError } from './errors.ts';
import { joinPath, parentPath } from './paths.ts';

/** Each at most as long as one operation can carry: enough at once to hide a round trip, few enough to bound memory. */
const PIECES_UNDER_WAY = 4;
/** access(2) */
const MAY_WRITE = 2;
const CAPABILITY = Buffer.from('security.capability');

export interface Replacement {
  readonly path: Buffer;
  /** Of a new file; an existing one keeps its own. */
  readonly mode: number;
  /** Refused with EEXIST when there is anything, a symbolic link too, at the beginning or at the end. */
  readonly exclusive: boolean;
  /** Nothing is sent any more once it is given, but for what removes the temporary file. What is under way then is awaited: it could come behind that. */
  readonly signal?: AbortSignal | undefined;
  /** The content, each piece at most READ_MAX bytes. */
  readonly pieces: AsyncIterable<Buffer>;
  /** What is thrown when a step is refused: it is about `path`, the steps are nobody's concern. */
  readonly refusal: (errno: ErrnoCode) => Error;
  /** What is thrown when a write failed with `error` and its temporary file could not be removed either. */
  readonly leftBehind: (temporary: Buffer, reason: unknown, error: unknown) => unknown;
}

export interface Replaced {
  readonly ino: Ino;
  /** There was no file. */
  readonly created: boolean;
}

/** Rejects with what `refusal` says, with the reason of `signal`, and as `operations` and `pieces` do; nothing has changed then, but for an answer that did not come. */
export async function replaceFile(operations: CallerOperations, replacement: Replacement): Promise<Replaced> {
  return await new FileReplacement(operations, replacement).run();
}

class FileReplacement {
  readonly #operations: CallerOperations;
  readonly #wanted: Replacement;

  constructor(operations: CallerOperations, wanted: Replacement) {
    this.#operations = operations;
    this.#wanted = wanted;
  }

  async run(): Promise<Replaced> {
    const { exclusive } = this.#wanted;
    const { target, existing } = await this.#resolve();
    if (existing !== null) await this.#checkReplaceable(target, existing);
    const temporary = joinPath(parentPath(target), Buffer.from(`.vrfs-put-${randomBytes(8).toString('hex')}`));
    const attributes = await this.#create(temporary);
    const at = { dir: attributes.ino, path: EMPTY };
    try {
      // Before the content: who may not give it to the owner is told so before all of it was sent.
      if (existing !== null) await this.#takeOwner(at, attributes, existing);
      await this.#write(at);
      if (existing !== null) await this.#copyExtendedAttributes(atPath(target), at);
      // Behind owner and content, which clear the set-id bits.
      await this.#submit({ type: 'setattr', at, follow: false, set: { mode: existing?.mode ?? this.#wanted.mode } });
      await this.#submit({ type: 'rename', from: atPath(temporary), to: atPath(target), flags: exclusive ? 'noreplace' : 'none' });
    } catch (error) {
      throw await this.#discarded(temporary, error);
    }
    return { ino: attributes.ino, created: existing === null };
  }

  /** Nobody else's while it is half written, whatever the file itself allows. */
  async #create(temporary: Buffer): Promise<Attributes> {
    try {
      return (await this.#submit({ type: 'create', at: atPath(temporary), mode: 0o600, exclusive: true, truncate: false })).attributes;
    } catch (error) {
      if (error instanceof VrfsError && error.mayHaveHappened) throw await this.#discarded(temporary, error, 'may come');
      throw error;
    }
  }

  /** Where a rename has to go so that a symbolic link at the path stays, and what is there now. */
  async #resolve(): Promise<{ readonly target: Buffer; readonly existing: Attributes | null }> {
    let target = this.#wanted.path;
    for (let depth = 0; depth <= SYMLINK_DEPTH_MAX; depth++) {
      const found = await this.#operations.query({ type: 'getattr', at: atPath(target), follow: false });
      if (!found.ok && found.errno === Errno.ENOENT) return { target, existing: null };
      const { attributes } = this.#value(found);
      if (this.#wanted.exclusive) throw this.#wanted.refusal(Errno.EEXIST);
      if (attributes.type !== 'symlink') return { target, existing: attributes };
      const link = (await this.#query({ type: 'readlink', at: atPath(target) })).target;
      target = link[0] === 0x2f ? link : joinPath(parentPath(target), link);
    }
    throw this.#wanted.refusal(Errno.ELOOP);
  }

  async #checkReplaceable(target: Buffer, existing: Attributes): Promise<void> {
    if (existing.type === 'directory') throw this.#wanted.refusal(Errno.EISDIR);
    // A pipe, a socket or a device must not be replaced by a file.
    if (existing.type !== 'file') throw this.#wanted.refusal(Errno.EINVAL);
    // As open(2) would: replacing by rename must not let through what writing in place would not.
    await this.#query({ type: 'access', at: atPath(target), mask: MAY_WRITE });
  }

  async #takeOwner(at: At, created: Attributes, { uid, gid }: Attributes): Promise<void> {
    if (created.uid === uid && created.gid === gid) return;
    await this.#submit({ type: 'setattr', at, follow: false, set: { uid, gid } });
  }

  /** Some pieces at once; the order of arrival does not matter, since each names its place. */
  async #write(at: At): Promise<void> {
    const underWay = new Set<Promise<unknown>>();
    let offset = 0;
    try {
      for await (const data of this.#wanted.pieces) {
        const step: Promise<unknown> = this.#submit({ type: 'write', at, offset, data });
        offset += data.length;
        underWay.add(step);
        // A failed step stays in the set, where it is awaited.
        void step.then(() => underWay.delete(step), () => undefined);
        if (underWay.size >= PIECES_UNDER_WAY) await Promise.race(underWay);
      }
    } finally {
      // The temporary file of a write that failed goes: what is still under way must have ended before.
      await Promise.allSettled(underWay);
    }
    await Promise.all(underWay);
  }

  async #copyExtendedAttributes(from: At, to: At): Promise<void> {
    const { names } = await this.#query({ type: 'listxattr', at: from, follow: false });
    for (const name of names) {
      // Capabilities were given to the old content: a write in place takes them away too.
      if (name.equals(CAPABILITY)) continue;
      const { value } = await this.#query({ type: 'getxattr', at: from, follow: false, name });
      await this.#submit({ type: 'setxattr', at: to, follow: false, name, value, mode: 'any' });
    }
  }

  /** What is to be thrown when the write failed with `error`. A temporary file whose making was not answered may be made after this has found none. */
  async #discarded(temporary: Buffer, error: unknown, made: 'made' | 'may come' = 'made'): Promise<unknown> {
    try {
      const removed = await this.#operations.submit({ type: 'unlink', at: atPath(temporary) });
      // It has the target's name already, or somebody has cleared it up.
      if (!removed.ok && (removed.errno !== Errno.ENOENT || made === 'may come')) throw this.#wanted.refusal(removed.errno);
    } catch (reason) {
      return this.#wanted.leftBehind(temporary, reason, error);
    }
    return error;
  }

  async #submit<O extends WriteOperation>(operation: O): Promise<Results[O['type']]> {
    this.#wanted.signal?.throwIfAborted();
    return this.#value(await this.#operations.submit(operation));
  }

  async #query<O extends ReadOperation>(operation: O): Promise<Results[O['type']]> {
    return this.#value(await this.#operations.query(operation));
  }

  #value<T extends keyof Results>(result: Result<T>): Results[T] {
    if (!result.ok) throw this.#wanted.refusal(result.errno);
    return result.value;
  }
}
