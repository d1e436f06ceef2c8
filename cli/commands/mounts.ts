/** mount and unmount. */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { startMount, unmountPath, type MountHandle, type MountRequest } from '../../mount/start_mount.ts';
import type { MountLog } from '../../mount/binding.ts';
import { LOG_LEVELS } from '../../server/log_levels.ts';
import { nonNegativeInteger, serverOption, serversOf, timeoutMilliseconds, type ConnectionOptions } from '../connected.ts';
import { Failed } from '../failure.ts';
import { note, print, type Io } from '../io.ts';

interface MountCommandOptions extends ConnectionOptions {
  readonly binding?: 'auto' | 'kernel' | 'fuse-native';
  readonly cache?: 'strict' | 'open';
  readonly allowOther?: boolean;
  readonly readOnly?: boolean;
  /** Milliseconds. */
  readonly attributeCache?: number;
  readonly background?: boolean;
  readonly logFile?: string;
  readonly logLevel?: string;
}

/** `mountIt`: replaced in tests. */
export function mountCommands(program: Command, io: Io, mountIt: typeof startMount = startMount): void {
  const mount = program.command('mount').description('mount the namespace; Ctrl-C unmounts').argument('<directory>', 'made when absent, must be empty')
    .option('-b, --background', 'stay mounted when the command has returned')
    .addOption(new Option('--binding <kind>', 'how to speak to the kernel (default: auto)').choices(['auto', 'kernel', 'fuse-native']))
    .addOption(new Option('--cache <mode>', 'strict: what one mount has completed, every other sees; open: an open file may be read from the cache (default: strict)').choices(['strict', 'open']))
    .option('--attribute-cache <ms>', 'for so long the kernel may believe names and attributes without asking, milliseconds: fewer round trips, and no strict view (default: 0)', nonNegativeInteger)
    .option('--allow-other', 'other users may look in too (default for root)')
    .option('--read-only', 'no changes through this mount')
    .option('--log-file <file>', 'of the mount process (default: standard error; in the background: none)')
    .addOption(new Option('--log-level <level>', 'of the mount process (default: info)').choices(LOG_LEVELS))
    .option('--timeout <ms>', 'how long a call of a program may wait for the group, milliseconds', timeoutMilliseconds, 60_000);
  serverOption(mount).addHelpText('after', '\nExample:\n  vrfs mount ./mnt --server 127.0.0.1:7101').action(async (directory: string, options: MountCommandOptions) => {
    await mountUntilStopped(await mountIt(requestOf(directory, options, io)), directory, options, io);
  });

  program.command('unmount').alias('umount').description('take a mount away, also one whose process has died').argument('<directory>')
    .addHelpText('after', '\nExample:\n  vrfs unmount ./mnt')
    .action(async (directory: string) => {
      await unmountPath(resolve(io.cwd, directory), mountLog(io));
      await print(io, `unmounted ${directory}`);
    });
}

/** The mount's warnings as lines for people. */
export function mountLog(io: Io): MountLog {
  const line = (data: object, message: string): void => {
    const mountpoint = 'mountpoint' in data ? `${String(data.mountpoint)}: ` : '';
    void note(io, `vrfs: ${mountpoint}${message}`);
  };
  return { info: () => undefined, warn: line, error: line };
}

function requestOf(directory: string, options: MountCommandOptions, io: Io): MountRequest {
  const logFile = options.logFile ?? (options.background === true ? '/dev/null' : undefined);
  return {
    servers: serversOf(options, io),
    mountpoint: resolve(io.cwd, directory),
    options: {
      ...(options.binding === undefined ? {} : { binding: options.binding }),
      ...(options.cache === undefined ? {} : { cache: options.cache }),
      ...(options.allowOther === undefined ? {} : { allowOther: options.allowOther }),
      ...(options.readOnly === undefined ? {} : { readOnly: options.readOnly }),
      ...(options.attributeCache === undefined ? {} : { attributeCacheMs: options.attributeCache }),
    },
    requestTimeoutMs: options.timeout,
    background: options.background ?? false,
    log: mountLog(io),
    ...(logFile === undefined ? {} : { logFile }),
    ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
  };
}

async function mountUntilStopped(handle: MountHandle, directory: string, options: MountCommandOptions, io: Io): Promise<void> {
  await print(io, `mounted at ${handle.mountpoint} (${handle.binding}, pid ${handle.pid})`);
  if (options.background === true) return;
  let stopping = false;
  const stop = (): void => {
    stopping = true;
    void handle.unmount();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  const { code, signal } = await handle.exited;
  process.off('SIGINT', stop);
  process.off('SIGTERM', stop);
  if (stopping || code === 0) return;
  await note(io, `vrfs: the mount process ended (${signal ?? `code ${code}`}); the mount at ${handle.mountpoint} is gone. If its remains are in the way: vrfs unmount ${directory}`);
  throw new Failed('the mount process ended');
}
