/** What processes have used so far, from /proc: says what an operation costs, however busy the machine is. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

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

/** Microseconds of CPU of this process. */
export function ownCpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Bytes that these processes caused to be written to the disk, as /proc/PID/io counts them: whole pages of the page cache. */
export function diskBytesOf(pids: readonly number[]): number {
  let bytes = 0;
  for (const pid of pids) {
    const written = /^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1];
    if (written === undefined) throw new Error(`/proc/${pid}/io says nothing of write_bytes: it takes root, and a kernel that counts`);
    bytes += Number(written);
  }
  return bytes;
}
