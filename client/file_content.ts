/** Whole contents: read and written in steps of at most 1 MiB, some of them under way at once. */
import { randomBytes } from 'node:crypto';
import { Errno, type ErrnoName } from '../fsservice/errno.ts';
import { READ_MAX, SYMLINK_DEPTH_MAX, type At, type Attributes, type ReadOperation, type Results, type WriteOperation } from '../fsservice/operations.ts';
import type { Ino } from '../lib/ids.ts';
import { defined } from '../lib/assert.ts';
import { EMPTY } from '../lib/bytes.ts';
import { atPath, Caller } from './caller.ts';
import { FileChanged, InvalidCall, VrfsError } from './errors.ts';
import { FsError, isFsError } from './fs_error.ts';
import { joinPath, parentPath, printable } from './paths.ts';

/** Up to here a file is written in one atomic operation. */
export const ATOMIC_BYTES = READ_MAX;
const STEP_BYTES = READ_MAX;
const STEPS_UNDER_WAY = 4;
/** A file that changes while it is read is begun anew so often. */
const READ_ATTEMPTS = 5;
/** access(2) */
const MAY_WRITE = 2;
const CAPABILITY = Buffer.from('security.capability');

/** One state of the file. @throws FileChanged when it changed during each of some attempts */
export async function readWhole(caller: Caller, path: Buffer): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const first = await caller.query({ type: 'read', at: atPath(path), offset: 0, length: STEP_BYTES });
    if (first.data.length >= first.size) return first.data;
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of readStream(caller, path)) chunks.push(chunk);
      return Buffer.concat(chunks);
    } catch (error) {
      if (attempt === READ_ATTEMPTS || !(error instanceof FileChanged)) throw error;
    }
  }
}

/**
 * The bytes from `start` up to, not including, `end`: when it ends in order they are one state of the file. The last piece is
 * held back until that is certain. @throws FileChanged
 */
export async function* readStream(caller: Caller, path: Buffer, start = 0, end = Infinity): AsyncGenerator<Buffer, void, void> {
  for (let attempt = 1; attempt <= READ_ATTEMPTS; attempt++) {
    const { attributes } = await caller.query({ type: 'getattr', at: atPath(path), follow: true });
    if (Math.min(end, attributes.size) - start > STEP_BYTES) {
      yield* readInSteps(caller, path, attributes, start, Math.min(end, attributes.size));
      return;
    }
    // One read is one state. It is made even when nothing is due, so that what may not be read says so.
    const { data, size } = await caller.query({ type: 'read', at: atPath(path), offset: start, length: Math.max(0, Math.min(STEP_BYTES, end - start)) });
    if (start + data.length < Math.min(end, size)) continue;
    if (data.length > 0) yield data;
    return;
  }
  throw new FileChanged(printable(path));
}

/** Of one inode, and of one version of it: attributes first, the bytes by inode, and at the end a look whether the version is the same. */
async function* readInSteps(caller: Caller, path: Buffer, attributes: Attributes, start: number, stop: number): AsyncGenerator<Buffer, void, void> {
  const at = { dir: attributes.ino, path: EMPTY };
  const pending: Promise<Buffer>[] = [];
  const step = async (offset: number): Promise<Buffer> => {
    const length = Math.min(STEP_BYTES, stop - offset);
    const { data, size } = await stillThere(path, caller.query({ type: 'read', at, offset, length }));
    if (data.length !== length || size !== attributes.size) throw new FileChanged(printable(path));
    return data;
  };
  let next = start;
  try {
    while (next < stop || pending.length > 0) {
      while (next < stop && pending.length < STEPS_UNDER_WAY) {
        const read = step(next);
        // It is awaited in its turn, and throws there: a failure ahead of its turn is not an unhandled one.
        void read.catch(() => undefined);
        pending.push(read);
        next += STEP_BYTES;
      }
      const data = await defined(pending[0], 'the oldest step');
      void pending.shift();
      if (next >= stop && pending.length === 0) {
        const now = await stillThere(path, caller.query({ type: 'getattr', at, follow: true }));
        if (now.attributes.version !== attributes.version) throw new FileChanged(printable(path));
      }
      yield data;
    }
  } finally {
    // Who stops listening early leaves reads behind: their failures are nobody's concern any more.
    await Promise.allSettled(pending);
  }
}

/** An inode that has gone was replaced or removed. */
async function stillThere<T>(path: Buffer, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (isFsError(error, 'ENOENT', 'ESTALE')) throw new FileChanged(printable(path), { cause: error });
    throw error;
  }
}

export interface WriteOptions {
  /** Of a new file, before the umask was taken off. */
  readonly mode: number;
  /** 'exclusive': the file must not exist. */
  readonly exclusive: boolean;
  /** Compare-and-set: fail with EAGAIN unless the file is at this version (0: unless it is absent, else EEXIST). Only for up to 1 MiB. */
  readonly ifVersion: number | null;
}

/** Text is UTF-8. */
export type Content = string | Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export function contentBytes(content: string | Uint8Array): Buffer {
  return typeof content === 'string' ? Buffer.from(content, 'utf8') : Buffer.from(content.buffer, content.byteOffset, content.byteLength);
}

/**
 * Replaces the content of a file as one atomic step, whatever its length: readers see the old content or the new. Up to 1 MiB in one operation. A longer one is
 * written into a temporary file beside it, which then takes its name: then it is another inode, with the old one's mode, owner and extended attributes. One that a
 * dying process leaves behind is called `.vrfs-put-<16 hex digits>`, as those of the HTTP API.
 */
export async function writeWhole(caller: Caller, path: Buffer, content: Content, options: WriteOptions): Promise<void> {
  const source = inSteps(content);
  try {
    await writeFrom(source, caller, path, options);
  } catch (error) {
    // What has more to give may hold a file or a pipe open. It is let go of, and how it takes that is not the error, as where `for await` is left.
    await source.return().catch(() => undefined);
    throw error;
  }
}

async function writeFrom(source: AsyncGenerator<Buffer, void, void>, caller: Caller, path: Buffer, options: WriteOptions): Promise<void> {
  const first = await source.next();
  const data = first.done === true ? EMPTY : first.value;
  const second = first.done === true ? first : await source.next();
  if (second.done === true) {
    await caller.submit({ type: 'putFile', at: atPath(path), mode: options.mode, data, ifVersion: options.exclusive ? 0 : options.ifVersion });
    return;
  }
  if (options.ifVersion !== null) throw new InvalidCall(`ifVersion is for contents of up to ${ATOMIC_BYTES} bytes: longer ones are not written in one operation`);
  await writeBeside(new PutCaller(caller, path), path, [data, second.value], source, options);
}

/** What it is refused, it is refused for the file that it is about; the steps and the temporary file are nobody's concern. */
class PutCaller extends Caller {
  readonly #path: Buffer;

  constructor(caller: Caller, path: Buffer) {
    super(caller.client, caller.credentials, caller.read);
    this.#path = path;
  }

  override async submit<O extends WriteOperation>(operation: O): Promise<Results[O['type']]> {
    return await this.#named(super.submit(operation));
  }

  override async query<O extends ReadOperation>(operation: O): Promise<Results[O['type']]> {
    return await this.#named(super.query(operation));
  }

  refusal(code: ErrnoName): FsError {
    return new FsError(Errno[code], 'putFile', this.#path);
  }

  async #named<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw error instanceof FsError ? this.refusal(error.code) : error;
    }
  }
}

async function writeBeside(caller: PutCaller, path: Buffer, head: readonly Buffer[], rest: AsyncIterator<Buffer>, options: WriteOptions): Promise<void> {
  const { target, existing } = await resolveTarget(caller, path);
  if (options.exclusive && existing !== null) throw caller.refusal('EEXIST');
  if (existing?.type === 'directory') throw caller.refusal('EISDIR');
  // A pipe, a socket or a device must not be replaced by a file.
  if (existing !== null && existing.type !== 'file') throw caller.refusal('EINVAL');
  // As open(2) would: replacing by rename must not let through what writing in place would not.
  if (existing !== null) await caller.query({ type: 'access', at: atPath(target), mask: MAY_WRITE });
  const temporary = joinPath(parentPath(target), Buffer.from(`.vrfs-put-${randomBytes(8).toString('hex')}`));
  // Nobody else's while it is half written, whatever the file itself allows.
  const created = await caller.submit({ type: 'create', at: atPath(temporary), mode: 0o600, exclusive: true, truncate: false });
  try {
    await writeSteps(caller, created.attributes.ino, 0, head, rest);
    await dress(caller, created.attributes, target, existing, options);
    await caller.submit({ type: 'rename', from: atPath(temporary), to: atPath(target), flags: options.exclusive ? 'noreplace' : 'none' });
  } catch (error) {
    throw await discarded(caller, temporary, path, error);
  }
}

/** Removes the temporary file of a write that failed with `error`; what is to be thrown, which is that error whatever becomes of the removal. */
async function discarded(caller: Caller, temporary: Buffer, path: Buffer, error: unknown): Promise<unknown> {
  try {
    await caller.submit({ type: 'unlink', at: atPath(temporary) });
  } catch (second) {
    // It has the target's name already, or somebody has cleared it up.
    if (isFsError(second, 'ENOENT')) return error;
    const left = `(while '${printable(path)}' was written, and its temporary file '${printable(temporary)}' could not be removed)`;
    // What the source of the bytes has thrown is not ours to change.
    if (!(error instanceof VrfsError || error instanceof FsError)) return Object.assign(new Error(`${error instanceof Error ? error.message : String(error)} ${left}`, { cause: error }), { suppressed: second });
    error.message = `${error.message} ${left}`;
    return Object.assign(error, { suppressed: second });
  }
  return error;
}

/** Writes behind `offset`, some steps at once; the order of arrival does not matter, since each names its place. */
async function writeSteps(caller: Caller, ino: Ino, offset: number, head: readonly Buffer[], rest: AsyncIterator<Buffer>): Promise<void> {
  const at = { dir: ino, path: EMPTY };
  const underWay = new Set<Promise<unknown>>();
  const write = async (data: Buffer): Promise<void> => {
    const step: Promise<unknown> = caller.submit({ type: 'write', at, offset, data });
    offset += data.length;
    underWay.add(step);
    // A failed step stays in the set, where it is awaited.
    void step.then(() => underWay.delete(step), () => undefined);
    if (underWay.size >= STEPS_UNDER_WAY) await Promise.race(underWay);
  };
  try {
    for (const data of head) await write(data);
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) await write(next.value);
  } finally {
    await Promise.allSettled(underWay);
  }
  await Promise.all(underWay);
}

/** Where a rename has to go so that a symbolic link at `path` stays, and what is there now. */
async function resolveTarget(caller: PutCaller, path: Buffer): Promise<{ target: Buffer; existing: Attributes | null }> {
  let target = path;
  for (let depth = 0; depth <= SYMLINK_DEPTH_MAX; depth++) {
    let attributes: Attributes;
    try {
      ({ attributes } = await caller.query({ type: 'getattr', at: atPath(target), follow: false }));
    } catch (error) {
      if (isFsError(error, 'ENOENT')) return { target, existing: null };
      throw error;
    }
    if (attributes.type !== 'symlink') return { target, existing: attributes };
    const link = (await caller.query({ type: 'readlink', at: atPath(target) })).target;
    target = link[0] === 0x2f ? link : joinPath(parentPath(target), link);
  }
  throw caller.refusal('ELOOP');
}

/** The new inode takes over what belongs to the file rather than to its content. */
async function dress(caller: Caller, created: Attributes, target: Buffer, existing: Attributes | null, options: WriteOptions): Promise<void> {
  const at = { dir: created.ino, path: EMPTY };
  if (existing !== null) {
    await copyExtendedAttributes(caller, atPath(target), at);
    // Owner first: changing it may clear mode bits.
    if (created.uid !== existing.uid || created.gid !== existing.gid) {
      await caller.submit({ type: 'setattr', at, follow: false, set: { uid: existing.uid, gid: existing.gid } });
    }
  }
  await caller.submit({ type: 'setattr', at, follow: false, set: { mode: existing?.mode ?? options.mode } });
}

async function copyExtendedAttributes(caller: Caller, from: At, to: At): Promise<void> {
  const { names } = await caller.query({ type: 'listxattr', at: from, follow: false });
  for (const name of names) {
    // Capabilities were given to the old content: a write in place takes them away too.
    if (name.equals(CAPABILITY)) continue;
    const { value } = await caller.query({ type: 'getxattr', at: from, follow: false, name });
    await caller.submit({ type: 'setxattr', at: to, follow: false, name, value, mode: 'any' });
  }
}

/** Any content as pieces of exactly 1 MiB, the last one shorter; none when it is empty. */
async function* inSteps(content: Content): AsyncGenerator<Buffer, void, void> {
  if (typeof content === 'string' || content instanceof Uint8Array) {
    const bytes = contentBytes(content);
    for (let at = 0; at < bytes.length; at += STEP_BYTES) yield bytes.subarray(at, at + STEP_BYTES);
    return;
  }
  let gathered: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of content) {
    gathered.push(chunk);
    length += chunk.length;
    if (length < STEP_BYTES) continue;
    const all = Buffer.concat(gathered, length);
    const whole = length - (length % STEP_BYTES);
    for (let at = 0; at < whole; at += STEP_BYTES) yield all.subarray(at, at + STEP_BYTES);
    gathered = whole < length ? [all.subarray(whole)] : [];
    length -= whole;
  }
  if (length > 0) yield Buffer.concat(gathered, length);
}
