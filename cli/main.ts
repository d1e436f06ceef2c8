#!/usr/bin/env node
/** `vrfs`. */
import { processIo } from './io.ts';
import { run } from './run.ts';

// `vrfs ls | head`: the reader has seen enough. Any other failure is thrown where it was written (io.ts), and told by `run`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
});

process.exitCode = await run(process.argv.slice(2), processIo());
