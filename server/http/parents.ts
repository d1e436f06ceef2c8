/** `?parents=true`: the directories above a path, made as `mkdir -p` makes them. */
import { EMPTY } from '../../lib/bytes.ts';
import { Errno } from '../../fsservice/errno.ts';
import { atPath, type Gateway } from './gateway.ts';

const SLASH = 0x2f;
const PARENT_MODE = 0o755;

/** Everything up to the last component, with the slash: 'a/b' gives 'a/', 'a/b/' gives 'a/', 'a' gives ''. */
export function parentOf(path: Buffer): Buffer {
  let end = path.length;
  while (end > 0 && path[end - 1] === SLASH) end--;
  while (end > 0 && path[end - 1] !== SLASH) end--;
  return end === 0 ? EMPTY : path.subarray(0, end);
}

/**
 * Makes the missing directories above `path`; those that exist stay as they are. Goes up from the deepest until one is there, then down
 * again, so in the usual case it costs one operation for each that is missing, and one. Rejects with a problem.
 */
export async function makeParents(gateway: Gateway, path: Buffer): Promise<void> {
  const missing: Buffer[] = [];
  for (let directory = parentOf(path); directory.length > 0; directory = parentOf(directory)) {
    const result = await gateway.trySubmit({ type: 'mkdir', at: atPath(directory), mode: PARENT_MODE });
    if (result.ok || result.errno === Errno.EEXIST) break;
    if (result.errno !== Errno.ENOENT) throw gateway.refusal(result.errno, 'make the parents of');
    missing.push(directory);
  }
  for (const directory of missing.reverse()) {
    const result = await gateway.trySubmit({ type: 'mkdir', at: atPath(directory), mode: PARENT_MODE });
    // Another caller may have made it in between.
    if (!result.ok && result.errno !== Errno.EEXIST) throw gateway.refusal(result.errno, 'make the parents of');
  }
}
