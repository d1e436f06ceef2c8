/** The whole command line: arguments in, exit code out. */
import { isUtf8 } from 'node:buffer';
import { Command } from 'commander';
import { VERSION } from '../server/version.ts';
import { filesFor } from './commands.ts';
import { EXIT_CODES_HELP, ExitCode } from './exit_codes.ts';
import { failureOf, USAGE_REMEDY, UsageError, type Failure } from './failure.ts';
import { note, write, type Io } from './io.ts';
import { onlyReads } from './reading.ts';

/**
 * `args`: has the commands that these need; without any, all. `written`: the writes of help and version, which commander does not wait for. `json`: what is wrong with the
 * command line is left to `run`, which has commander's text otherwise.
 */
export async function buildProgram(io: Io, args: readonly string[] = [], written: Promise<void>[] = [], json = false): Promise<Command> {
  const program = new Command('vrfs')
    .description('A replicated file-system metadata service: a namespace on several replicas that one can mount.')
    .version(VERSION)
    .showHelpAfterError(json ? false : `(${USAGE_REMEDY})`)
    .addHelpText('after', `\n${EXIT_CODES_HELP}`);
  // Inherited by the commands, so before they are made: errors become exit codes in one place.
  program.exitOverride().configureOutput({
    writeOut: (text) => {
      const done = write(io.stdout, text);
      // It is awaited at the end, and throws there.
      void done.catch(() => undefined);
      written.push(done);
    },
    writeErr: (text) => { io.stderr.write(text); },
    outputError: (text, write) => { if (!json) write(text); },
  });
  program.hook('preAction', (_, command) => { if (onlyReads(command)) io.onlyReads?.(); });
  for (const register of await Promise.all(filesFor(args).map((file) => file.load()))) register(program, io);
  return program;
}

/** `args`: without the interpreter and the script. */
export async function run(args: readonly string[], io: Io): Promise<ExitCode> {
  const written: Promise<void>[] = [];
  const json = args.includes('--json');
  try {
    refuseSpoiltText(args, io);
    try {
      await (await buildProgram(io, args, written, json)).parseAsync([...args], { from: 'user' });
    } catch (error) {
      // Help and version end as an error of code 0; what nobody has read was not printed.
      if (failureOf(error).exitCode !== ExitCode.ok) throw error;
    }
    await Promise.all(written);
    return ExitCode.ok;
  } catch (error) {
    const failure = failureOf(error);
    if (json ? failure.said !== 'all' : failure.said === undefined) await note(io, json ? failureJson(failure) : failureText(failure));
    return failure.exitCode;
  }
}

/** Node makes U+FFFD of the bytes that are no UTF-8, so that many names become one, which is none of them. @throws UsageError */
function refuseSpoiltText(args: readonly string[], { commandLine }: Io): void {
  const spoilt = args.find((arg) => arg.includes('\ufffd'));
  if (spoilt === undefined || commandLine === null || isUtf8(commandLine)) return;
  throw new UsageError(`'${spoilt}' is not UTF-8, and the command line takes no other names. Nothing was done. A mount takes any bytes, and so does the HTTP API (caf%E9)`);
}

function failureText({ message, remedy }: Failure): string {
  return `vrfs: ${message}${remedy === undefined ? '' : `\n  remedy: ${remedy}`}`;
}

function failureJson({ code, message, remedy, exitCode }: Failure): string {
  return JSON.stringify({ error: { code, message, ...(remedy === undefined ? {} : { remedy }), exitCode } });
}
