/** What processes have used so far, from /proc: says what an operation costs, however busy the machine is. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { defined } from '../../lib/assert.ts';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** Microseconds of CPU of all these processes, to about 10,000. */
export function cpuMicrosecondsOf(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    // Behind the command's closing parenthesis: state is field 3, utime 14, stime 15.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return (ticks / TICKS_PER_SECOND) * 1e6;
}

/** Microseconds of CPU of each thread, by `pid/thread id`; of node the first thread, whose id is the process', is the event loop. */
export function threadMicrosecondsOf(pids: readonly number[]): Map<string, number> {
  const threads = new Map<string, number>();
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      // Nanoseconds on a core, nanoseconds of waiting for one, turns.
      const [nanoseconds] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      threads.set(`${pid}/${thread}`, Number(nanoseconds) / 1000);
    }
  }
  return threads;
}

/** What all event loops took between two such, and what the busiest other thread of each process did. */
export function threadShares(pids: readonly number[], before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): { readonly loops: number; readonly busiestOthers: number } {
  let loops = 0;
  let busiestOthers = 0;
  for (const pid of pids) {
    let busiest = 0;
    for (const [thread, microseconds] of after) {
      if (!thread.startsWith(`${pid}/`)) continue;
      const took = microseconds - (before.get(thread) ?? 0);
      if (thread === `${pid}/${pid}`) loops += took;
      else busiest = Math.max(busiest, took);
    }
    busiestOthers += busiest;
  }
  return { loops, busiestOthers };
}

/** Microseconds of CPU of this process. */
export function ownCpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * Bytes that these processes gave to `write` and its like so far, to files and to sockets. (write_bytes beside it in /proc/PID/io is of no use here: a kernel that keeps
 * a file in large folios counts a whole folio, up to megabytes, for each page of it that is made dirty.)
 */
export function writtenBytesOf(pids: readonly number[]): number {
  let bytes = 0;
  for (const pid of pids) {
    const written = /^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1];
    if (written === undefined) throw new Error(`/proc/${pid}/io says nothing of wchar: the kernel does not count`);
    bytes += Number(written);
  }
  return bytes;
}

const SECTOR = 512;

/** Bytes that the device below `directory` has written so far, for whomever; null: it has none of its own (a network, a layered file system). */
export function deviceBytes(directory: string): number | null {
  const { dev } = statSync(directory);
  // As glibc's gnu_dev_major and gnu_dev_minor, for numbers below 2^32.
  const file = `/sys/dev/block/${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}/stat`;
  if (!existsSync(file)) return null;
  return Number(readFileSync(file, 'utf8').trim().split(/\s+/)[6]) * SECTOR;
}

/** Megabytes of memory that the process has in use. */
export function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(defined(kilobytes, 'VmRSS')) / 1024;
}
