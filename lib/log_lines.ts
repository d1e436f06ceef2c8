/**
 * Where the lines of a log go. A log is there to tell of trouble and must not be it: what cannot be written, as on a full disk, is left out and
 * counted, and lines are written again when they can be. Lines stay whole: of one that was written in part the rest goes in front of the next.
 *
 * Synchronous: what was logged before a crash is what one needs then. Only a pipe that is full is not waited for: whoever reads it slowly must not slow
 * down who writes. Its lines wait, some of them, and the end of the process waits for a moment.
 */
import { openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectories } from './make_directories.ts';

/** Bytes that wait for a pipe that is full; what comes beyond is left out. */
const MAX_WAITING = 1 << 20;
/** When it is tried again, milliseconds. */
const AGAIN_MS = 20;
/** How often more at the end of the process. */
const LAST_TRIES = 20;
const STANDARD_ERROR = 2;

export interface LogLinesOptions {
  /** For tests: writes what it can, as write(2). */
  readonly write?: (fd: number, bytes: Buffer) => number;
}

export class LogLines {
  readonly #fd: number;
  readonly #name: string;
  readonly #writeSome: (fd: number, bytes: Buffer) => number;
  /** What is to be written before anything else: the rest of a line, and lines that wait for a full pipe. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** The last write was refused because a pipe is full, and will be possible by itself. */
  #isFull = false;
  #timer: NodeJS.Timeout | null = null;
  #waitsAtExit = false;
  #lost = 0;
  #reason = '';
  #told = false;
  /** Lines are written again after `lost` could not be. What it logs stands behind the first of them. */
  onResumed: (lost: number, reason: string) => void = () => undefined;

  /**
   * @param to a file, made with the directories that lead to it, or an open descriptor
   * @throws the system's error
   */
  constructor(to: string | number, { write = (fd, bytes) => writeSync(fd, bytes) }: LogLinesOptions = {}) {
    this.#writeSome = write;
    this.#name = typeof to === 'string' ? to : `descriptor ${to}`;
    if (typeof to === 'string') makeDirectories(dirname(to));
    this.#fd = typeof to === 'string' ? openSync(to, 'a') : to;
  }

  /** Never throws. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#drain()) {
      this.#push(bytes);
      if (this.#drain()) this.#resume();
      // All of it was refused: it is the same as if there had been something before it.
      else if (!this.#isFull && this.#waitingBytes === bytes.length) this.#leaveOut();
    } else if (this.#isFull && this.#waitingBytes + bytes.length <= MAX_WAITING) {
      this.#push(bytes);
    } else {
      this.#lost++;
      this.#tell();
    }
    if (this.#isFull && this.#waiting.length > 0) this.#tryAgain();
  }

  #push(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  #leaveOut(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#lost++;
    this.#tell();
  }

  /** True: nothing waits any more. */
  #drain(): boolean {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      try {
        const written = this.#writeSome(this.#fd, first);
        if (written === 0) throw new Error('a write of 0 bytes');
        this.#waitingBytes -= written;
        if (written < first.length) this.#waiting[0] = first.subarray(written);
        else this.#waiting.shift();
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        this.#reason = message;
        this.#isFull = code === 'EAGAIN';
        return false;
      }
    }
    return true;
  }

  /** Lines are written again: says how many were not. */
  #resume(): void {
    if (this.#lost === 0) return;
    const lost = this.#lost;
    this.#lost = 0;
    this.#told = false;
    this.onResumed(lost, this.#reason);
    // It could not be said.
    if (this.#lost > 0) this.#lost += lost;
  }

  #tryAgain(): void {
    if (!this.#waitsAtExit) process.once('exit', () => { this.#drainAtExit(); });
    this.#waitsAtExit = true;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (this.#drain()) this.#resume();
      else if (this.#isFull) this.#tryAgain();
    }, AGAIN_MS).unref();
  }

  #drainAtExit(): void {
    for (let tries = 0; !this.#drain() && this.#isFull && tries < LAST_TRIES; tries++) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, AGAIN_MS);
  }

  /** Once, where standard error can be written. */
  #tell(): void {
    if (this.#told) return;
    try {
      this.#writeSome(STANDARD_ERROR, Buffer.from(`vrfs: the log (${this.#name}) cannot be written: ${this.#reason}. Make room; lines are left out until it can be, and then it says how many\n`));
      this.#told = true;
    } catch {
      // It may be the same full disk. The number of lines is said in the log itself.
    }
  }
}
