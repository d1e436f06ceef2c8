/**
 * A directory with all that is below it, removed name by name, as rm -r does it. In the one operation that removes a whole tree nobody's
 * permissions are asked below its top, so it is root's alone; everybody else's trees go this way, where each
 * unlink and rmdir is refused or not by the state machine itself.
 *
 * Depth first and without recursion. A level holds one page of its directory, and a tree may be deeper than any path: directories are
 * listed by name once and by inode number from there on, and what was listed has to be the inode that was met, so that a symbolic link
 * that somebody puts in the place of a directory leads nowhere. It ends with the first refusal; what was removed before stays removed.
 */
import { Errno, type ErrnoCode } from '../fsservice/errno.ts';
import type { At, DirectoryEntry } from '../fsservice/operations.ts';
import { EMPTY } from '../lib/bytes.ts';
import { defined } from '../lib/assert.ts';
import type { Ino } from '../lib/ids.ts';
import { atPath, type CallerOperations } from './caller.ts';
import { baseName, joinPath, trimmedPath } from './paths.ts';

export interface TreeRefusal {
  readonly errno: ErrnoCode;
  /** What was refused, and of which path. */
  readonly syscall: 'unlink' | 'rmdir' | 'readdir' | 'getattr';
  readonly path: Buffer;
}

const PAGE = 1024;
/** Names of one directory that are unlinked at once. */
const WINDOW = 16;
/** A directory to which others add is listed so often before it counts as not empty. */
const PASSES_MAX = 16;

interface Level {
  /** The directory's name in the one above; of the top, its path. */
  readonly at: At;
  readonly ino: Ino;
  /** The last page's subdirectories that are still to be descended into. */
  directories: DirectoryEntry[];
  after: Buffer;
  stage: 'not listed' | 'listing' | 'listed';
  passes: number;
}

/** Rejects when `operations` do, that is when there is no answer. */
export async function removeTree(operations: CallerOperations, path: Buffer): Promise<TreeRefusal | null> {
  // Says all that can be wrong with the name itself before anything below it is touched.
  const removed = await operations.submit({ type: 'rmdir', at: atPath(path) });
  if (removed.ok) return null;
  if (removed.errno === Errno.ENOTDIR) {
    const unlinked = await operations.submit({ type: 'unlink', at: atPath(path) });
    return unlinked.ok ? null : { errno: unlinked.errno, syscall: 'unlink', path };
  }
  // Of '..' it is said whatever is in there.
  if (removed.errno !== Errno.ENOTEMPTY || baseName(path).equals(DOT_DOT)) return { errno: removed.errno, syscall: 'rmdir', path };
  // Behind a slash a symbolic link would be followed.
  const top = trimmedPath(path);
  const found = await operations.query({ type: 'getattr', at: atPath(top), follow: false });
  if (!found.ok) return { errno: found.errno, syscall: 'getattr', path };
  return await new TreeRemoval(operations, top, found.value.attributes.ino).run();
}

const DOT_DOT = Buffer.from('..');

class TreeRemoval {
  readonly #operations: CallerOperations;
  /** From the top down to where we are. */
  readonly #levels: Level[];

  constructor(operations: CallerOperations, top: Buffer, ino: Ino) {
    this.#operations = operations;
    this.#levels = [newLevel(atPath(top), ino)];
  }

  async run(): Promise<TreeRefusal | null> {
    for (let level = this.#levels.at(-1); level !== undefined; level = this.#levels.at(-1)) {
      const next = level.directories.pop();
      if (next !== undefined) {
        this.#levels.push(newLevel({ dir: level.ino, path: next.name }, next.ino));
        continue;
      }
      const refusal = await (level.stage === 'listed' ? this.#leave(level) : this.#emptyPage(level));
      if (refusal !== null) return refusal;
    }
    return null;
  }

  /** Lists the next page and unlinks what is in it but for directories. */
  async #emptyPage(level: Level): Promise<TreeRefusal | null> {
    // By name first: who may not search the directory above may not get into this one by its number either.
    const at = level.stage === 'not listed' ? level.at : { dir: level.ino, path: EMPTY };
    const page = await this.#operations.query({ type: 'readdir', at, after: level.after, limit: PAGE, attributes: false });
    if (!page.ok) return page.errno === Errno.EACCES ? await this.#leaveUnread(level) : this.#replaced(level);
    if (page.value.ino !== level.ino) return this.#replaced(level);
    const { entries, end } = page.value;
    const refusal = await this.#unlinkAll(level, entries.filter((e) => e.type !== 'directory'));
    if (refusal !== null) return refusal;
    level.directories = entries.filter((e) => e.type === 'directory');
    level.after = entries.at(-1)?.name ?? EMPTY;
    level.stage = end ? 'listed' : 'listing';
    return null;
  }

  async #unlinkAll(level: Level, entries: readonly DirectoryEntry[]): Promise<TreeRefusal | null> {
    for (let i = 0; i < entries.length; i += WINDOW) {
      const window = entries.slice(i, i + WINDOW);
      const answers = await Promise.all(window.map((e) => this.#operations.submit({ type: 'unlink', at: { dir: level.ino, path: e.name } })));
      for (const [n, answer] of answers.entries()) {
        // What is a directory by now is found when the directory around it turns out not to be empty.
        if (answer.ok || isGone(answer.errno) || answer.errno === Errno.EISDIR) continue;
        return { errno: answer.errno, syscall: 'unlink', path: joinPath(this.#pathHere(), defined(window[n], 'the entry asked about').name) };
      }
    }
    return null;
  }

  /** Removes a directory that was emptied. */
  async #leave(level: Level): Promise<TreeRefusal | null> {
    const removed = await this.#operations.submit({ type: 'rmdir', at: level.at });
    if (removed.ok || isGone(removed.errno)) return this.#up();
    if (removed.errno === Errno.ENOTDIR) return this.#replaced(level);
    if (removed.errno === Errno.ENOTEMPTY && ++level.passes < PASSES_MAX) {
      // Something was added meanwhile.
      level.after = EMPTY;
      level.stage = 'not listed';
      return null;
    }
    return this.#refusal(removed.errno, 'rmdir');
  }

  /** One that may not be listed goes if it is empty. */
  async #leaveUnread(level: Level): Promise<TreeRefusal | null> {
    const removed = await this.#operations.submit({ type: 'rmdir', at: level.at });
    if (removed.ok || isGone(removed.errno)) return this.#up();
    return removed.errno === Errno.ENOTEMPTY ? this.#refusal(Errno.EACCES, 'readdir') : this.#refusal(removed.errno, 'rmdir');
  }

  /** Somebody removed, moved or replaced the directory: the one above finds out what has its name now, when it is not empty in the end. */
  #replaced(level: Level): TreeRefusal | null {
    if (this.#levels.length > 1) return this.#up();
    // Nothing is above the top: whatever has its name now, rmdir says what it thinks of it.
    if (level.stage === 'listed') return this.#refusal(Errno.ENOTDIR, 'rmdir');
    level.stage = 'listed';
    return null;
  }

  #up(): null {
    this.#levels.pop();
    return null;
  }

  #refusal(errno: ErrnoCode, syscall: TreeRefusal['syscall']): TreeRefusal {
    return { errno, syscall, path: this.#pathHere() };
  }

  #pathHere(): Buffer {
    return this.#levels.map((l) => l.at.path).reduce(joinPath);
  }
}

function newLevel(at: At, ino: Ino): Level {
  return { at, ino, directories: [], after: EMPTY, stage: 'not listed', passes: 0 };
}

/** By somebody else; that is what was wanted. */
function isGone(errno: ErrnoCode): boolean {
  return errno === Errno.ENOENT || errno === Errno.ESTALE;
}
