/** The program itself, for the processes that a command starts. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EnvironmentError } from './failure.ts';

/**
 * For node, before the program of a replica: a young generation of 32 MB. What an operation makes lives until the next checkpoint; with the 16 MB of the default
 * twice as much of it is copied. And no full collection before the old generation, with the memory of its buffers, has 256 MB: what V8 allows beside a heap of
 * 30 MB is used up several times a second under load, and each collection goes through all of it (docs/PERFORMANCE.md, "Tried").
 */
export const REPLICA_NODE_ARGUMENTS: readonly string[] = ['--max-semi-space-size=32', '--initial-old-space-size=256'];

/** main.js as it was compiled: beside this file, or in dist/ when this file itself runs uncompiled (under a test runner). */
export function compiledMain(): string {
  for (const relative of ['./main.js', '../dist/cli/main.js']) {
    const path = fileURLToPath(new URL(relative, import.meta.url));
    if (existsSync(path)) return path;
  }
  throw new EnvironmentError('the compiled program is not there', 'build it: npm run build');
}
