/** Contents: cat, put, get, touch, truncate. */
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { connectionOptions, nonNegativeInteger, readingOptions, withFileSystem, type ConnectionOptions } from '../connected.ts';
import { write, type Io } from '../io.ts';
import type { FileSystem } from '../../client/file_system.ts';
import { isFsError, type FsError } from '../../client/fs_error.ts';
import { inTheWordsOf, Refused } from '../failure.ts';
import { interruptible } from '../interruptible.ts';
import { replaceLocalFile } from '../local_file.ts';
import { eachPath } from './namespace.ts';

export function contentCommands(program: Command, io: Io): void {
  const cat = program.command('cat').description('print files').argument('<path...>');
  readingOptions(cat).addHelpText('after', '\nExample:\n  vrfs cat /jobs/7/state').action(async (paths: string[], options: ConnectionOptions) => {
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => inTheWordsOf('cat', path, () => copyOut(fs, path, io))));
  });

  putCommand(program, io);

  const get = program.command('get').description('copy a file from the namespace to a local file, or to standard output (-)').argument('<path>').argument('<local>', 'local file, or -');
  readingOptions(get, ([, local]) => local === '-').addHelpText('after', '\nA new local file has the mode of the one that is copied, without the umask, as with cp; one that is there keeps its own.\n\nExample:\n  vrfs get /etc/app.conf ./app.conf').action(async (path: string, local: string, options: ConnectionOptions) => {
    await withFileSystem(options, io, async (fs) => {
      await inTheWordsOf('get', path, () => (local === '-' ? copyOut(fs, path, io) : replaceLocalFile(resolve(io.cwd, local), {
        content: (signal) => fs.readStream(path, signal === undefined ? {} : { signal }),
        mode: async () => (await fs.stat(path)).attributes.mode,
      })));
    });
  });

  const touch = program.command('touch').description('make empty files; set the times of present ones to now').argument('<path...>');
  connectionOptions(touch).addHelpText('after', '\nExample:\n  vrfs touch /jobs/7/done').action(async (paths: string[], options: ConnectionOptions) => {
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => fs.touch(path)));
  });

  const truncate = program.command('truncate').description('set the size of a file').argument('<size>', 'bytes', nonNegativeInteger).argument('<path...>');
  connectionOptions(truncate).addHelpText('after', '\nExample:\n  vrfs truncate 0 /jobs/7/log').action(async (size: number, paths: string[], options: ConnectionOptions) => {
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => fs.truncate(path, size)));
  });
}

async function copyOut(fs: FileSystem, path: string, io: Io): Promise<void> {
  for await (const chunk of fs.readStream(path)) await write(io.stdout, chunk);
}

function octalMode(text: string): number {
  if (!/^[0-7]{1,4}$/.test(text)) throw new InvalidArgumentError('octal digits are needed, as 644');
  return Number.parseInt(text, 8);
}

function putCommand(program: Command, io: Io): void {
  const command = program.command('put')
    .description('copy a local file, or standard input (-), into the namespace; atomic: readers see the old content or the new')
    .argument('<local>', 'local file, or -').argument('<path>')
    .option('-m, --mode <octal>', 'of a new file, whatever the umask is (default: as cp: that of the local file, or 666, without the umask)', octalMode)
    .option('-x, --exclusive', 'fail when something exists there, be it a symbolic link that leads nowhere')
    .addOption(new Option('--if-version <n>', 'only when the file is at this version (see stat); 0: when nothing is there; up to 1 MiB').argParser(nonNegativeInteger).conflicts('exclusive'));
  connectionOptions(command).addHelpText('after', '\nExamples:\n  vrfs put ./app.conf /etc/app.conf\n  echo running | vrfs put --if-version 17 - /jobs/7/state');
  command.action(async (local: string, path: string, options: ConnectionOptions & { mode?: number; exclusive?: boolean; ifVersion?: number }) => {
    // Opened first: a local file that is not there is no reason to connect.
    const { source, mode } = await sourceOf(local, io);
    await withFileSystem(options, io, async (fs) => {
      try {
        await interruptible({ signals: ['SIGINT', 'SIGTERM'], message: `interrupted; '${path}' is as it was, or written whole`, again: 'kills' }, (signal) => fs.writeFile(path, buffers(source), {
          mode: options.mode ?? mode & ~process.umask(),
          ...(options.ifVersion === undefined ? {} : { ifVersion: options.ifVersion }),
          flag: options.exclusive === true ? 'wx' : 'w',
          signal,
        }));
      } catch (error) {
        if (options.ifVersion !== undefined && isFsError(error, 'EAGAIN', 'EEXIST')) throw await otherVersion(fs, path, options.ifVersion, error);
        throw error;
      } finally {
        // One that waits for more keeps this process from ending.
        source.destroy();
      }
    }, 0);
  });
}

/** And the mode that a copy of it has, as of cp(1), before the umask. */
async function sourceOf(local: string, io: Io): Promise<{ readonly source: Readable; readonly mode: number }> {
  if (local === '-') return { source: io.stdin, mode: 0o666 };
  const file = await open(resolve(io.cwd, local));
  const stats = await file.stat();
  return { source: file.createReadStream({ highWaterMark: 1 << 20 }), mode: stats.isFile() ? stats.mode & 0o777 : 0o666 };
}

/** As of now: the version that it had when it was compared may be another. */
async function otherVersion(fs: FileSystem, path: string, wanted: number, error: FsError): Promise<Error> {
  try {
    const { attributes } = await fs.stat(path);
    return new Refused(error.code, `'${path}' is at version ${attributes.version}, not ${wanted === 0 ? 'absent' : wanted}`, { cause: error });
  } catch (second) {
    if (isFsError(second)) return error;
    throw second;
  }
}

async function* buffers(source: AsyncIterable<unknown>): AsyncGenerator<Buffer, void, void> {
  for await (const chunk of source) {
    if (Buffer.isBuffer(chunk)) yield chunk;
    else yield Buffer.from(String(chunk), 'utf8');
  }
}
