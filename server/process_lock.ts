/**
 * One process a data directory. The lock file names the process that holds it by pid, start time and boot of the
 * machine, so that what a killed process left behind is told from a living one whatever became of its pid. LevelDB's
 * own lock, which the kernel drops with the process, stands behind it where pids do not tell (other pid namespaces).
 */
import { link, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';

export const LOCK_NAME = 'LOCK';

const Holder = z.object({ pid: z.number().int().positive(), startTime: z.string(), bootId: z.string() });
type Holder = z.infer<typeof Holder>;

export class DirectoryLockedError extends Error {
  override readonly name = 'DirectoryLockedError';
  readonly pid: number;

  constructor(directory: string, pid: number) {
    super(`the data directory ${directory} is in use by the process with pid ${pid}; stop that one first (kill ${pid}), or give this replica a directory of its own`);
    this.pid = pid;
  }
}

async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // ESRCH: the process went while its file was being read.
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
}

/** In ticks since the boot; null: there is no such process, or none that can be seen. */
async function startTimeOf(pid: number): Promise<string | null> {
  const stat = await textOf(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The command name, in parentheses, may hold blanks; the start time is the 20th field behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? null : fields[19] ?? null;
}

async function bootId(): Promise<string> {
  return (await textOf('/proc/sys/kernel/random/boot_id'))?.trim() ?? '';
}

function parseHolder(text: string): Holder | null {
  try {
    const parsed = Holder.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch (error) {
    // Half written by a process that was killed: it holds nothing.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** The living process that holds the lock of `directory`; null: none. */
export async function lockHolder(directory: string): Promise<number | null> {
  return holderOf(await textOf(join(directory, LOCK_NAME)));
}

async function holderOf(text: string | null): Promise<number | null> {
  const holder = text === null ? null : parseHolder(text);
  if (holder === null || holder.bootId !== await bootId()) return null;
  return (await startTimeOf(holder.pid)) === holder.startTime ? holder.pid : null;
}

export interface ProcessLock {
  release(): Promise<void>;
}

/** In the name of the process `pid`, this one by default. Rejects with DirectoryLockedError while a living process holds it. */
export function lockDirectory(directory: string, pid = process.pid, write: WriteLock = writeLock): Promise<ProcessLock> {
  return lockFile(join(directory, LOCK_NAME), directory, pid, write);
}

/** Writes the lock aside, or a substitute that fails. */
export type WriteLock = (path: string, text: string) => Promise<void>;

function writeLock(path: string, text: string): Promise<void> {
  return writeFile(path, text, { mode: 0o600 });
}

async function lockFile(path: string, directory: string, pid: number, write: WriteLock): Promise<ProcessLock> {
  const own: Holder = { pid, startTime: (await startTimeOf(pid)) ?? '', bootId: await bootId() };
  const text = JSON.stringify(own);
  // Written aside and linked into place, so that nobody ever sees a lock without its holder's name.
  const aside = `${path}.${pid}`;
  try {
    // On a full disk the file is made all the same, and only what is to stand in it fails.
    await write(aside, text);
    while (!(await tryLink(aside, path))) {
      const seen = await textOf(path);
      const holder = await holderOf(seen);
      if (holder !== null) throw new DirectoryLockedError(directory, holder);
      if (seen !== null) await removeStale(path, seen, directory, pid, write);
    }
  } finally {
    // It may not be there: then the reason why it could not be made is what counts.
    await rm(aside, { force: true });
  }
  return {
    release: async () => {
      // One that was removed by hand is not there any more, or is somebody else's by now.
      if ((await textOf(path)) === text) await unlink(path);
    },
  };
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Of many processes that see the same stale lock only one may look again and remove it, or the slowest would remove the lock that the fastest
 * has taken since. So removing is itself locked, by a name that only this stale lock has: it never comes back once it has gone.
 */
async function removeStale(path: string, seen: string, directory: string, pid: number, write: WriteLock): Promise<void> {
  const removal = await lockFile(`${path}.stale-${createHash('sha256').update(seen).digest('hex').slice(0, 16)}`, directory, pid, write);
  try {
    if ((await textOf(path)) === seen) await unlink(path);
  } finally {
    await removal.release();
  }
}
