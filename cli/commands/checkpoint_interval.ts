/** How often the group takes checkpoints, shown and changed while it runs: vrfs checkpoint interval. */
import type { Command } from 'commander';
import { Administrator } from '../../client/administrator.ts';
import type { Interval } from '../../vr/messages.ts';
import { connectionOptions, jsonOption, positiveInteger, positiveSize, serversOf, type ConnectionOptions } from '../connected.ts';
import { sizeText } from '../format.ts';
import { print, printJson, type Io } from '../io.ts';

interface IntervalOptions extends ConnectionOptions {
  readonly ops?: number;
  readonly bytes?: number;
}

/** Below `vrfs checkpoint`. */
export function checkpointIntervalCommand(checkpoint: Command, io: Io): void {
  const command = checkpoint.command('interval')
    .description('how often checkpoints are taken; with --ops or --bytes: change it, for all replicas at once')
    .option('--ops <n>', 'a checkpoint every so many operations', positiveInteger)
    .option('--bytes <size>', 'or after so many bytes of log, as 16M', positiveSize);
  jsonOption(connectionOptions(command))
    .addHelpText('after', '\nExamples:\n  vrfs checkpoint interval\n  vrfs checkpoint interval --ops 2000 --bytes 64M')
    .action(async ({ ops, bytes, ...options }: IntervalOptions) => {
      const administrator = new Administrator(serversOf(options, io), options.timeout);
      const now = ops === undefined && bytes === undefined
        ? await administrator.interval()
        : await administrator.changeInterval({ ...(ops === undefined ? {} : { ops }), ...(bytes === undefined ? {} : { bytes }) });
      if (options.json === true) await printJson(io, { ops: now.ops, bytes: now.bytes, since: now.since });
      else await print(io, describe(now));
    });
}

function describe({ ops, bytes, since }: Interval): string {
  const from = since === 0 ? 'as the primary is configured; it was not changed while the group ran' : `for all replicas, since op ${since}`;
  return `a checkpoint every ${ops} operations or ${sizeText(bytes)} (${bytes} bytes) of log, ${from}`;
}
