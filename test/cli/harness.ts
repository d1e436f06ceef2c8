/** Runs the command line in this process. */
import { Readable, Writable } from 'node:stream';
import { run } from '../../cli/run.ts';
import type { Io } from '../../cli/io.ts';

class Sink extends Writable {
  readonly chunks: Buffer[] = [];
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(Buffer.from(chunk));
    done();
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

export interface CliOptions {
  readonly servers?: readonly string[];
  readonly stdin?: string | Buffer;
  readonly cwd?: string;
}

export async function vrfs(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const stdout = new Sink();
  const stderr = new Sink();
  const io: Io = {
    stdin: Readable.from(options.stdin === undefined ? [] : [options.stdin]),
    stdout,
    stderr,
    env: options.servers === undefined ? {} : { VRFS_SERVERS: options.servers.join(',') },
    cwd: options.cwd ?? process.cwd(),
  };
  const exitCode = await run(args, io);
  return { exitCode, stdout: stdout.bytes.toString(), stdoutBytes: stdout.bytes, stderr: stderr.bytes.toString() };
}
