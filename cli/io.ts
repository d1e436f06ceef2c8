/** What a command is given of the world, so that tests can run one without a process. */
import { readFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { OutputError } from './failure.ts';

export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** The command line as bytes, of which Node gives its arguments as text only. Null where they cannot be had. */
  readonly commandLine: Buffer | null;
  /** The command that begins changes nothing: when nobody reads what it prints any more, it may end at once. */
  readonly onlyReads?: () => void;
}

export function processIo(): Io {
  return { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env: process.env, cwd: process.cwd(), commandLine: ownCommandLine() };
}

function ownCommandLine(): Buffer | null {
  try {
    return readFileSync('/proc/self/cmdline');
  } catch {
    return null;
  }
}

/** The reader has seen enough, as `head`; what is written to it later on fails as the second. */
const NOBODY_READS: ReadonlySet<string | undefined> = new Set(['EPIPE', 'ERR_STREAM_DESTROYED']);

/**
 * Writes and waits for room, so that a slow reader of a long output does not fill the memory. Rejects with OutputError. A reader that has
 * seen enough is no failure: what is under way goes on to its end unheard, and what only reads ends (main.ts).
 */
export async function write(stream: Writable, data: string | Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    stream.write(data, (error: NodeJS.ErrnoException | null | undefined) => {
      if (error === null || error === undefined || NOBODY_READS.has(error.code)) resolve();
      else reject(new OutputError(error));
    });
  });
}

export function print(io: Io, line: string): Promise<void> {
  return write(io.stdout, `${line}\n`);
}

/** For what is not the command's result: notes and warnings. */
export function note(io: Io, line: string): Promise<void> {
  return write(io.stderr, `${line}\n`);
}

export function printJson(io: Io, value: unknown): Promise<void> {
  return print(io, JSON.stringify(value, null, 2));
}
