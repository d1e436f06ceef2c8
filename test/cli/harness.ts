/** Runs the command line in this process. */
import { Readable, Writable } from 'node:stream';
import { run } from '../../cli/run.ts';
import type { Io } from '../../cli/io.ts';

class Sink extends Writable {
  readonly chunks: Buffer[] = [];
  readonly #fails: Error | null;

  constructor(fails: Error | null = null) {
    super();
    this.#fails = fails;
    // As for the program itself: whoever writes is told, so the event is nobody's.
    this.on('error', () => undefined);
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#fails === null) this.chunks.push(Buffer.from(chunk));
    done(this.#fails);
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
  /** It said that it changes nothing. */
  readonly onlyReads: boolean;
}

export interface CliOptions {
  readonly servers?: readonly string[];
  /** A stream: as it is, to be fed by the test. */
  readonly stdin?: string | Buffer | Readable;
  readonly cwd?: string;
  /** Where the arguments are not these bytes' text. */
  readonly commandLine?: Buffer;
  /** What every write to the standard output fails with. */
  readonly stdoutFails?: Error;
  /** The same of the standard error. */
  readonly stderrFails?: Error;
}

export async function vrfs(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  let onlyReads = false;
  const stdout = new Sink(options.stdoutFails);
  const stderr = new Sink(options.stderrFails);
  const io: Io = {
    stdin: options.stdin instanceof Readable ? options.stdin : Readable.from(options.stdin === undefined ? [] : [options.stdin]),
    stdout,
    stderr,
    env: options.servers === undefined ? {} : { VRFS_SERVERS: options.servers.join(',') },
    cwd: options.cwd ?? process.cwd(),
    onlyReads: () => { onlyReads = true; },
    commandLine: options.commandLine ?? Buffer.from(args.join('\0')),
  };
  const exitCode = await run(args, io);
  return { exitCode, onlyReads, stdout: stdout.bytes.toString(), stdoutBytes: stdout.bytes, stderr: stderr.bytes.toString() };
}
