/**
 * A worker thread that waits in read(2) on /dev/fuse and hands each request to the main thread. A read there blocks until the kernel has something to ask: in the event
 * loop's own thread pool it would starve files and DNS (and is slower); here it holds nobody up.
 */
import { readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../lib/assert.ts';
import { hasNoReply, REQUEST_MAX } from './fuse_protocol.ts';

/** A request (its own memory, transferred), or how the mount ended. */
export type FromReader = Uint8Array | { readonly ended: string | null };

const port = parentPort;
assert(port !== null, 'a worker has a parent');
const { descriptor } = workerData as { readonly descriptor: number };
const buffer = Buffer.allocUnsafeSlow(REQUEST_MAX);

for (;;) {
  const length = next();
  if (length === undefined) break;
  // FORGET needs no bookkeeping of ours (inode numbers are never reused), and an INTERRUPT may be ignored.
  if (hasNoReply(buffer.readUInt32LE(4))) continue;
  const request = Uint8Array.prototype.slice.call(buffer, 0, length);
  port.postMessage(request, [request.buffer]);
}

function next(): number | undefined {
  for (;;) {
    try {
      return readSync(descriptor, buffer, 0, REQUEST_MAX, null);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      // ENOENT: the request was taken back while it was being read; EINTR, EAGAIN: nothing yet.
      if (code === 'ENOENT' || code === 'EINTR' || code === 'EAGAIN') continue;
      // ENODEV: unmounted. Everything else is told.
      port?.postMessage({ ended: code === 'ENODEV' ? null : String(error) } satisfies FromReader);
      return undefined;
    }
  }
}
