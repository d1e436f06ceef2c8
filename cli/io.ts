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

/**
 * Writes and waits for room, so that a slow reader of a long output does not fill the memory. Rejects with OutputError; a reader that has
 * seen enough (EPIPE) is no failure of the output, and is left as it is (main.ts).
 */
export async function write(stream: Writable, data: string | Buffer): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      stream.write(data, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
  } catch (error) {
    if (error instanceof Error && !('code' in error && error.code === 'EPIPE')) throw new OutputError(error);
    throw error;
  }
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
