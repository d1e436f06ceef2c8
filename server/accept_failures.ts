/**
 * Connections that cannot be accepted, as when the kernel has no memory or no descriptor for one more. Node tells of each by an 'error' of the
 * server that listens, which would end the process where nobody takes it; the next connection may find room.
 */
import type { Server } from 'node:net';

/** One line for as long, milliseconds: where one cannot be accepted, none can, and they come as quickly as clients try. */
const QUIET_MS = 1000;

/** For a server that listens: before, an 'error' says that it cannot. `tell` is called with what to log, once in a while. */
export function tellAcceptFailures(server: Server, tell: (reason: string) => void, now: () => number = () => performance.now()): void {
  let untold = 0;
  let toldAt = -Infinity;
  server.on('error', (error) => {
    if (now() - toldAt < QUIET_MS) {
      untold++;
      return;
    }
    tell(`it could not be accepted: ${error.message}${untold === 0 ? '' : ` (and ${untold} before it)`}`);
    untold = 0;
    toldAt = now();
  });
}
