/** On whose behalf the kernel calls: its request has uid, gid and pid; the supplementary groups are in /proc/<pid>/status. */
import { readFileSync } from 'node:fs';
import type { Credentials } from '../fsservice/operations.ts';

const GROUPS_MAX = 64;
/** A process rarely changes its groups; the kernel checks with the true ones in any case (default_permissions). */
const REMEMBER_MS = 1000;
const REMEMBER_PROCESSES = 1024;

interface Remembered {
  readonly credentials: Credentials;
  readonly until: number;
}

export class CallerCredentials {
  readonly #processes = new Map<number, Remembered>();
  readonly #now: () => number;
  readonly #readStatus: (pid: number) => string;

  constructor(now: () => number = Date.now, readStatus: (pid: number) => string = statusOf) {
    this.#now = now;
    this.#readStatus = readStatus;
  }

  of(uid: number, gid: number, pid: number): Credentials {
    // Root needs no groups; a caller of another pid namespace has no pid here.
    if (uid === 0 || pid === 0) return { uid, gid, groups: [] };
    const now = this.#now();
    const known = this.#processes.get(pid);
    if (known !== undefined && known.until > now && known.credentials.uid === uid && known.credentials.gid === gid) return known.credentials;
    const credentials = { uid, gid, groups: parseGroups(this.#readStatus(pid)) };
    if (this.#processes.size >= REMEMBER_PROCESSES) this.#processes.clear();
    this.#processes.set(pid, { credentials, until: now + REMEMBER_MS });
    return credentials;
  }
}

/** The line "Groups:" of a status file, proc(5). */
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
