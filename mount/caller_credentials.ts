/** On whose behalf the kernel calls: its request has uid, gid and pid (of the thread); the supplementary groups are in /proc/<pid>/status. */
import { readFileSync } from 'node:fs';
import { GROUPS_MAX } from '../fsservice/limits.ts';
import type { Credentials } from '../fsservice/operations.ts';

/** A process rarely changes its groups. Those of before it did allow nothing more: the kernel checks with the true ones in any case (default_permissions). What they refuse is for `anew`. */
const REMEMBER_MS = 1000;
const REMEMBER_PROCESSES = 1024;

interface Remembered {
  readonly credentials: Credentials;
  readonly until: number;
}

export class CallerCredentials {
  readonly #processes = new Map<number, Remembered>();
  /** Whose groups they are. */
  readonly #pids = new WeakMap<Credentials, number>();
  readonly #now: () => number;
  readonly #readStatus: (pid: number) => string;

  constructor(now: () => number = Date.now, readStatus: (pid: number) => string = statusOf) {
    this.#now = now;
    this.#readStatus = readStatus;
  }

  of(uid: number, gid: number, pid: number): Credentials {
    // Root needs no groups; a caller of another pid namespace has no pid here.
    if (uid === 0 || pid === 0) return { uid, gid, groups: [] };
    const known = this.#processes.get(pid);
    if (known !== undefined && known.until > this.#now() && known.credentials.uid === uid && known.credentials.gid === gid) return known.credentials;
    return this.#read(uid, gid, pid);
  }

  /**
   * What `of` gave, with the groups that the caller has now; undefined when they are the same, or were never looked up. While its call is not answered
   * the calling thread waits, and groups are a thread's own: those of now are those that it called with.
   */
  anew(used: Credentials): Credentials | undefined {
    const pid = this.#pids.get(used);
    if (pid === undefined) return undefined;
    const credentials = this.#read(used.uid, used.gid, pid);
    return sameGroups(used.groups, credentials.groups) ? undefined : credentials;
  }

  #read(uid: number, gid: number, pid: number): Credentials {
    const credentials = { uid, gid, groups: parseGroups(this.#readStatus(pid)) };
    if (this.#processes.size >= REMEMBER_PROCESSES) this.#processes.clear();
    this.#processes.set(pid, { credentials, until: this.#now() + REMEMBER_MS });
    this.#pids.set(credentials, pid);
    return credentials;
  }
}

function sameGroups(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((group, i) => group === b[i]);
}

/** The line "Groups:" of a status file, proc(5): the first GROUPS_MAX of them, which is what a call can carry. */
export function parseGroups(status: string): number[] {
  const line = /^Groups:(.*)$/m.exec(status)?.[1] ?? '';
  return line.split(' ').filter((word) => word.trim() !== '').map(Number).slice(0, GROUPS_MAX);
}

/** Empty for a process that has ended meanwhile: its call needs no more groups. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return '';
    throw error;
  }
}
