import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { LogLines } from '../../lib/log_lines.ts';

const LOG = 7;
const STANDARD_ERROR = 2;

/** A file system with so much room, and a standard error. */
class Disk {
  room = Infinity;
  /** Thrown when there is no room. */
  code = 'ENOSPC';
  log = '';
  readonly standardError: string[] = [];
  standardErrorWorks = true;
  tries = 0;

  readonly write = (fd: number, bytes: Buffer): number => {
    if (fd === STANDARD_ERROR) {
      if (!this.standardErrorWorks) throw new Error('EIO: told by a test');
      this.standardError.push(bytes.toString());
      return bytes.length;
    }
    this.tries++;
    const count = Math.min(bytes.length, this.room);
    if (count === 0) throw Object.assign(new Error(`${this.code}: told by a test, write`), { code: this.code });
    this.room -= count;
    this.log += bytes.subarray(0, count).toString();
    return count;
  };
}

function lines(): { disk: Disk; log: LogLines } {
  const disk = new Disk();
  const log = new LogLines(LOG, disk);
  log.onResumed = (lost, reason) => { log.write(`(${lost} lost: ${reason})\n`); };
  return { disk, log };
}

describe('the lines of a log', () => {
  it('are left out while there is no room, and counted, and written again when there is', () => {
    const { disk, log } = lines();
    log.write('one\n');
    disk.room = 0;
    for (const line of ['two\n', 'three\n', 'four\n']) log.write(line);
    expect(disk.standardError).toEqual(['vrfs: the log (descriptor 7) cannot be written: ENOSPC: told by a test, write. Make room; lines are left out until it can be, and then it says how many\n']);
    disk.room = Infinity;
    log.write('five\n');
    log.write('six\n');
    expect(disk.log).toBe('one\nfive\n(3 lost: ENOSPC: told by a test, write)\nsix\n');
    disk.room = 0;
    log.write('seven\n');
    expect(disk.standardError).toHaveLength(2);
  });

  it('stay whole: the rest of one that was cut off goes in front of the next', () => {
    const { disk, log } = lines();
    disk.room = 6;
    for (const line of ['one\n', 'two\n', 'three\n']) log.write(line);
    expect(disk.log).toBe('one\ntw');
    disk.room = 1;
    log.write('four\n');
    disk.room = Infinity;
    log.write('five\n');
    expect(disk.log).toBe('one\ntwo\nfive\n(2 lost: ENOSPC: told by a test, write)\n');
  });

  it('are still counted when their number could not be said', () => {
    const { disk, log } = lines();
    disk.room = 0;
    log.write('one\n');
    disk.room = 4;
    log.write('two\n');
    disk.room = Infinity;
    log.write('six\n');
    // The first, and the one that was to say so.
    expect(disk.log).toBe('two\nsix\n(2 lost: ENOSPC: told by a test, write)\n');
  });

  it('are said to be left out as soon as standard error can be written', () => {
    const { disk, log } = lines();
    disk.room = 0;
    disk.standardErrorWorks = false;
    log.write('one\n');
    disk.standardErrorWorks = true;
    log.write('two\n');
    log.write('three\n');
    expect(disk.standardError).toHaveLength(1);
  });

  it('wait for a pipe that is full, and hold nobody up', () => {
    vi.useFakeTimers();
    onTestFinished(() => { vi.useRealTimers(); });
    const { disk, log } = lines();
    disk.room = 2;
    disk.code = 'EAGAIN';
    for (const line of ['one\n', 'two\n', 'three\n']) log.write(line);
    expect(disk.log).toBe('on');
    // One try for each line, and one when the time has come.
    expect(disk.tries).toBe(4);
    vi.advanceTimersByTime(1000);
    expect(disk.log).toBe('on');
    disk.room = Infinity;
    vi.advanceTimersByTime(100);
    expect(disk.log).toBe('one\ntwo\nthree\n');
    const before = disk.tries;
    vi.advanceTimersByTime(1000);
    expect(disk.tries).toBe(before);
    expect(disk.standardError).toEqual([]);
  });

  it('are left out when too many wait for a pipe, and counted', () => {
    vi.useFakeTimers();
    onTestFinished(() => { vi.useRealTimers(); });
    const { disk, log } = lines();
    disk.room = 0;
    disk.code = 'EAGAIN';
    const line = `${'x'.repeat(1023)}\n`;
    for (let i = 0; i < 1030; i++) log.write(line);
    disk.room = Infinity;
    vi.advanceTimersByTime(100);
    expect(disk.log).toBe(`${line.repeat(1024)}(6 lost: EAGAIN: told by a test, write)\n`);
  });

  it('that wait when the process ends are written then', () => {
    const { disk, log } = lines();
    disk.room = 0;
    disk.code = 'EAGAIN';
    const before = process.listeners('exit');
    log.write('fatal\n');
    const [atExit] = process.listeners('exit').filter((l) => !before.includes(l));
    disk.room = Infinity;
    atExit?.(0);
    expect(disk.log).toBe('fatal\n');
  });

  it('a write of nothing is an error, not tried for ever', () => {
    const written: string[] = [];
    const log = new LogLines(LOG, { write: (fd, bytes) => (fd === LOG ? 0 : written.push(bytes.toString()) && bytes.length) });
    log.write('one\n');
    expect(written).toEqual([expect.stringContaining('cannot be written: a write of 0 bytes')]);
  });

  it('go behind what is in the file, whose directories are made', () => {
    const directory = mkdtempSync(join(tmpdir(), 'vrfs-log-'));
    onTestFinished(() => { rmSync(directory, { recursive: true }); });
    const file = join(directory, 'a', 'b', 'log');
    new LogLines(file).write('one\n');
    new LogLines(file).write('two\n');
    expect(readFileSync(file, 'utf8')).toBe('one\ntwo\n');
    expect(() => new LogLines(directory)).toThrow(/EISDIR/);
  });
});
