/** What an AbortSignal ends: waiting for an answer, and waiting for bytes. */
import { Readable } from 'node:stream';

/** What `act` gives, unless the signal is given first: then its reason is thrown, and nobody hears any more of what was begun. */
export async function unlessAborted<T>(signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
  if (signal === undefined) return await act();
  signal.throwIfAborted();
  let onAbort = (): void => undefined;
  const aborted = new Promise<null>((resolve) => { onAbort = (): void => { resolve(null); }; });
  signal.addEventListener('abort', onAbort);
  try {
    const first = await Promise.race([act().then((value) => ({ value })), aborted]);
    if (first !== null) return first.value;
    throw signal.reason;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The chunks of `content`. The signal's reason is thrown also while the next one is awaited, and `content` is let go of then. */
export async function* chunksUntil(signal: AbortSignal, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const chunks = content[Symbol.asyncIterator]();
  let awaited = true;
  try {
    for (;;) {
      const next = await unlessAborted(signal, () => chunks.next());
      if (next.done === true) return;
      awaited = false;
      yield next.value;
      awaited = true;
    }
  } finally {
    if (!awaited) await chunks.return?.();
    else if (signal.aborted) letGo(content, chunks);
  }
}

/** Of what may never give the next chunk, so without waiting: how it takes that is not the error. */
function letGo(content: AsyncIterable<Uint8Array>, chunks: AsyncIterator<Uint8Array>): void {
  // The iterator of a stream hears of `return` only behind the chunk that it waits for.
  if (content instanceof Readable) content.destroy();
  else void chunks.return?.().catch(() => undefined);
}
