/** Whole contents: read and written in steps of at most 1 MiB, some of them under way at once. */
import { READ_MAX, type Attributes } from '../fsservice/operations.ts';
import { defined } from '../lib/assert.ts';
import { EMPTY } from '../lib/bytes.ts';
import { Pieces } from '../lib/pieces.ts';
import { chunksUntil } from './abort.ts';
import { atPath, type Caller } from './caller.ts';
import { FileChanged, InvalidCall, VrfsError } from './errors.ts';
import { FsError, isFsError } from './fs_error.ts';
import { printable } from './paths.ts';
import { replaceFile } from './replace_file.ts';

/** Up to here a file is written in one atomic operation. */
export const ATOMIC_BYTES = READ_MAX;
const STEP_BYTES = READ_MAX;
const STEPS_UNDER_WAY = 4;
/** A file that changes while it is read is begun anew so often. */
const READ_ATTEMPTS = 5;

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
  /** Nothing may be there, not even a symbolic link. */
  readonly exclusive: boolean;
  /** Compare-and-set: fail with EAGAIN unless the file is at this version (0: as `exclusive`). Only for up to 1 MiB. */
  readonly ifVersion: number | null;
  readonly signal?: AbortSignal | undefined;
}

/** Text is UTF-8. */
export type Content = string | Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export function contentBytes(content: string | Uint8Array): Buffer {
  return typeof content === 'string' ? Buffer.from(content, 'utf8') : Buffer.from(content.buffer, content.byteOffset, content.byteLength);
}

/**
 * Replaces the content of a file as one atomic step, whatever its length: readers see the old content or the new. Up to 1 MiB in one operation; what is longer,
 * as replace_file.ts says.
 */
export async function writeWhole(caller: Caller, path: Buffer, content: Content, options: WriteOptions): Promise<void> {
  const source = inSteps(content, options.signal);
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
    await caller.until(options.signal).submit({ type: 'putFile', at: atPath(path), mode: options.mode, data, ifVersion: options.exclusive ? 0 : options.ifVersion });
    return;
  }
  if (options.ifVersion !== null) throw new InvalidCall(`ifVersion is for contents of up to ${ATOMIC_BYTES} bytes: longer ones are not written in one operation`);
  await replaceFile(caller.operations, {
    path,
    mode: options.mode,
    exclusive: options.exclusive,
    signal: options.signal,
    pieces: joined([data, second.value], source),
    refusal: (errno) => new FsError(errno, 'putFile', path),
    leftBehind: (temporary, reason, error) => toldOfBoth(path, temporary, reason, error),
  });
}

/** `error`, which says in addition that the temporary file stayed. */
function toldOfBoth(path: Buffer, temporary: Buffer, reason: unknown, error: unknown): unknown {
  const left = `(while '${printable(path)}' was written, and its temporary file '${printable(temporary)}' could not be removed)`;
  // What the source of the bytes has thrown is not ours to change.
  if (!(error instanceof VrfsError || error instanceof FsError)) return Object.assign(new Error(`${error instanceof Error ? error.message : String(error)} ${left}`, { cause: error }), { suppressed: reason });
  error.message = `${error.message} ${left}`;
  return Object.assign(error, { suppressed: reason });
}

async function* joined(head: readonly Buffer[], rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield* head;
  yield* rest;
}

/** Any content as pieces of exactly 1 MiB, the last one shorter; none when it is empty. Throws the reason of `signal`, also while it waits for the content. */
async function* inSteps(content: Content, signal?: AbortSignal): AsyncGenerator<Buffer, void, void> {
  if (typeof content === 'string' || content instanceof Uint8Array) {
    const bytes = contentBytes(content);
    for (let at = 0; at < bytes.length; at += STEP_BYTES) {
      signal?.throwIfAborted();
      yield bytes.subarray(at, at + STEP_BYTES);
    }
    return;
  }
  const pieces = new Pieces(STEP_BYTES);
  for await (const chunk of signal !== undefined && Symbol.asyncIterator in content ? chunksUntil(signal, content) : content) {
    signal?.throwIfAborted();
    yield* pieces.add(chunk);
  }
  const rest = pieces.rest();
  if (rest !== null) yield rest;
}
