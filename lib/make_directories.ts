/** Directories with all that lead to them. */
import { mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/**
 * Makes `directory`, and before it those on the way to it that are not there; returns those that it made, the uppermost first.
 *
 * Not `mkdir` with `recursive`: where a file system answers ENOENT to the making of a directory in one that is there, as /proc does, Node 20 tries for ever.
 *
 * @param mode of each that is made, as of mkdir(2)
 * @throws the system's error
 */
export function makeDirectories(directory: string, mode = 0o777): string[] {
  const missing: string[] = [];
  let at = resolve(directory);
  while (!isThere(at)) {
    missing.push(at);
    at = dirname(at);
  }
  return missing.reverse().filter((path) => makeOne(path, mode));
}

/** @throws ENOTDIR where something else has the name, or is on the way */
function isThere(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.isDirectory()) return found !== undefined;
  throw Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${path}'`), { code: 'ENOTDIR', syscall: 'mkdir', path });
}

function makeOne(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isThere(path)) throw error;
    return false;
  }
}
