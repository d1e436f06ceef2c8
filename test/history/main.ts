#!/usr/bin/env node
/** `vrfs-test history`, `npm run history`: histories of a real group under faults, and whether they are what the group promises. */
import { runCommandLine } from './command_line.ts';

process.exitCode = await runCommandLine(process.argv.slice(2), {
  out: (text) => { process.stdout.write(text); },
  error: (text) => { process.stderr.write(text); },
});
