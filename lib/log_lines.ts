/**
 * Where the lines of a log go. A log is there to tell of trouble and must not be it: what cannot be written, as on a full disk, is left out and
 * counted, and lines are written again when they can be. Lines stay whole: of one that was written in part the rest goes in front of the next.
 *
 * Synchronous: what was logged before a crash is what one needs then.
 */
import { openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectories } from './make_directories.ts';

/** How often, and for how many milliseconds each time, a pipe may be full before a line is left out. */
const FULL_PIPE_TRIES = 20;
const FULL_PIPE_MS = 10;
const STANDARD_ERROR = 2;

export interface LogLinesOptions {
  /** For tests: writes what it can, as write(2). */
  readonly write?: (fd: number, bytes: Buffer) => number;
}

export class LogLines {
  readonly #fd: number;
  readonly #name: string;
  readonly #writeSome: (fd: number, bytes: Buffer) => number;
  /** What a line that was written in part lacks. */
  #rest: Buffer = Buffer.alloc(0);
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
    if (!this.#begin(line)) {
      this.#lost++;
      this.#tell();
      return;
    }
    if (this.#lost === 0 || this.#rest.length > 0) return;
    const lost = this.#lost;
    this.#lost = 0;
    this.#told = false;
    this.onResumed(lost, this.#reason);
    // It could not be said.
    if (this.#lost > 0) this.#lost += lost;
  }

  /** False: nothing of the line was written. */
  #begin(line: string): boolean {
    this.#rest = this.#put(this.#rest);
    if (this.#rest.length > 0) return false;
    const bytes = Buffer.from(line);
    const rest = this.#put(bytes);
    if (rest.length === bytes.length) return false;
    this.#rest = rest;
    return true;
  }

  /** Returns what could not be written. */
  #put(bytes: Buffer): Buffer {
    let rest = bytes;
    let tries = this.#lost > 0 ? 1 : FULL_PIPE_TRIES;
    while (rest.length > 0) {
      try {
        rest = rest.subarray(this.#writeSome(this.#fd, rest));
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        this.#reason = message;
        tries--;
        if (code !== 'EAGAIN' || tries === 0) return rest;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS);
      }
    }
    return rest;
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
