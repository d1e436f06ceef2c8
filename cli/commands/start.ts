/** The command line of `vrfs start`. */
import { Option, type Command } from 'commander';
import { LOG_LEVELS } from '../../server/log_levels.ts';
import type { Durability } from '../../vr/configuration.ts';
import { compiledMain } from '../compiled_main.ts';
import { nonNegativeSize, positiveInteger } from '../connected.ts';
import type { Io } from '../io.ts';
import { durabilityOption } from '../replica_options.ts';

interface StartOptions {
  readonly data: string;
  /** False: --no-mount. */
  readonly mount: string | false;
  readonly replicas?: number;
  readonly port?: number;
  readonly httpPort?: number;
  readonly durability?: Durability;
  readonly checkpointOps?: number;
  readonly transferRate?: number;
  readonly logLevel?: string;
}

const DEFAULT_MOUNTPOINT = './mnt';

export function startCommand(program: Command, io: Io): void {
  const command = program.command('start').description('run a whole group on this machine, mounted, until Ctrl-C; the first start makes it')
    .option('--data <directory>', 'where the group lives', './data')
    .option('--mount <directory>', 'where to mount it', DEFAULT_MOUNTPOINT)
    .option('--no-mount', 'do not mount')
    .option('--replicas <n>', 'of a new group (default: 3)', positiveInteger)
    .option('--port <port>', 'of the first replica of a new group; the others follow (default: 7101)', positiveInteger)
    .option('--http-port <port>', 'of the first HTTP API of a new group (default: 7201)', positiveInteger)
    .addOption(durabilityOption())
    .option('--checkpoint-ops <n>', 'a checkpoint every so many operations (default: 1000)', positiveInteger)
    .option('--transfer-rate <size>', 'what each replica gives to all that fetch its state together, bytes a second, as 64M; 0: no bound (default: 64M)', nonNegativeSize)
    .addOption(new Option('--log-level <level>', 'of the replicas\' logs (default: info)').choices(LOG_LEVELS))
    .addHelpText('after', '\nExamples:\n  vrfs start\n  vrfs start --data /tmp/try --mount /tmp/try-mnt --port 7301 --http-port 7401 --durability memory');
  command.action(async (options: StartOptions) => {
    const settings = {
      ...(options.checkpointOps === undefined ? {} : { checkpointOps: options.checkpointOps }),
      ...(options.transferRate === undefined ? {} : { transferRate: options.transferRate }),
      ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
    };
    const { start } = await import('../start/start.ts');
    await start({
      data: options.data,
      mountpoint: options.mount === false ? DEFAULT_MOUNTPOINT : options.mount,
      mountAsked: command.getOptionValueSource('mount') === 'cli',
      mount: options.mount !== false,
      settings,
      main: compiledMain(),
      ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
      ...(options.port === undefined ? {} : { port: options.port }),
      ...(options.httpPort === undefined ? {} : { httpPort: options.httpPort }),
      ...(options.durability === undefined ? {} : { durability: options.durability }),
    }, io);
  });
}
