#!/usr/bin/env node
/** `vrfs`. */
import { processIo } from './io.ts';
import { run } from './run.ts';

let onlyReads = false;

// `vrfs ls | head`: the reader has seen enough. A change goes on to its end all the same. Any other failure is thrown where it was written (io.ts), and told by `run`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE' && onlyReads) process.exit(0);
});
// Without a handler it would end the process in the midst of what it does. There is nobody left to tell.
process.stderr.on('error', () => undefined);

process.exitCode = await run(process.argv.slice(2), { ...processIo(), onlyReads: () => { onlyReads = true; } });
