/** The command line of `vrfs tune`. */
import { Option, type Command } from 'commander';
import { Administrator } from '../../client/administrator.ts';
import { compiledMain } from '../compiled_main.ts';
import { connectionOptions, jsonOption, nonNegativeInteger, positiveInteger, serversOf, type ConnectionOptions } from '../connected.ts';
import { UsageError } from '../failure.ts';
import type { Io } from '../io.ts';
import { collect, durabilityOption } from '../replica_options.ts';
import type { TuneFlags } from '../tune/settings.ts';
import { LOADS } from '../tune/workloads.ts';

export function tuneCommand(program: Command, io: Io): void {
  const command = program.command('tune').description('measure what checkpoint intervals cost and buy on this machine: runs a group of its own for each, and recommends one')
    .option('--ops <list>', 'values of O to compare: a checkpoint every so many operations; off: without', '250,500,1000,2000,4000,off')
    .option('--bytes <list>', 'values of B to compare: or after so many bytes of log, as 16M,64M', '64M')
    .addOption(new Option('--load <name>', 'what is done: creates of files; mixed, half of it reads; data, 16 KiB writes').choices(LOADS).default('creates'))
    .option('--in-flight <n>', 'operations under way at once', positiveInteger, 64)
    .option('--seconds <n>', 'how long each run is measured', positiveInteger, 5)
    .option('--repeats <n>', 'runs of each, taking turns', positiveInteger, 3)
    .option('--outage <time>', 'how long a backup is down before its recovery is measured, as 10s; 0: not at all', '10s')
    .option('--files <n>', 'files that there are before', nonNegativeInteger, 10_000)
    .option('--replicas <n>', '3 or 5', positiveInteger, 3)
    .addOption(durabilityOption().default('disk'))
    .option('-o, --option <key=value>', 'any other key of the replicas\' configuration, as retainEntries=5000', collect, {})
    .option('--recovery-under <time>', 'goal: the replica is up to date within this, as 5s')
    .option('--throughput-loss-under <percent>', 'goal: against the largest O measured, or off, as 5%')
    .option('--data <directory>', 'where the groups are made (and removed again): on the disk that is to be measured', '.')
    .option('--out <directory>', 'index.html, plots as SVG, tune.json', './vrfs-tune')
    .option('--set', 'set what is recommended on the running group of --server, when it is beyond the spread of the repeats');
  jsonOption(connectionOptions(command))
    .addHelpText('after', '\nExamples:\n  vrfs tune --recovery-under 5s --throughput-loss-under 5%\n  vrfs tune --ops 500,2000,8000 --bytes 16M,64M --load mixed --repeats 5 --data /srv --out report\n  vrfs tune --recovery-under 5s --set --server db1:7101,db2:7101,db3:7101')
    .action(async (flags: TuneFlags & ConnectionOptions & { readonly data: string; readonly out: string; readonly set?: boolean }) => {
      if (flags.server !== undefined && flags.set !== true) throw new UsageError('--server is the group that --set changes; what is measured is always a group made for it on this machine');
      const { tuneSettings } = await import('../tune/settings.ts');
      const settings = await tuneSettings(flags);
      const target = flags.set === true ? targets(serversOf(flags, io), flags.timeout) : null;
      const { tune } = await import('../tune/tune.ts');
      await tune({ settings, target, out: flags.out, parent: flags.data, json: flags.json === true, main: compiledMain() }, io);
    });
}

function targets(servers: readonly string[], timeoutMs: number): () => Administrator {
  return () => new Administrator(servers, timeoutMs);
}
