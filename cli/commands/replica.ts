/** A replica and a group from the operator's side: new-cluster, format, serve. */
import type { Command } from 'commander';
import { epoch, memberId } from '../../lib/ids.ts';
import { parseDestination } from '../../lib/address.ts';
import { configuration, type Durability, type Member } from '../../vr/configuration.ts';
import { positiveInteger } from '../connected.ts';
import { UsageError } from '../failure.ts';
import { print, write, type Io } from '../io.ts';
import { onTheDiskOf } from '../local_disk.ts';
import { collect, durabilityOption } from '../replica_options.ts';

export function replicaCommands(program: Command, io: Io): void {
  program.command('new-cluster').description('describe a new group; the output is the cluster file that each member is formatted from')
    .argument('<member...>', 'address/httpAddress of each, as 10.0.0.1:7101/10.0.0.1:7201')
    .addOption(durabilityOption().default('disk'))
    .addHelpText('after', '\nExample:\n  vrfs new-cluster 10.0.0.1:7101/10.0.0.1:7201 10.0.0.2:7101/10.0.0.2:7201 10.0.0.3:7101/10.0.0.3:7201 > cluster.json')
    .action(async (members: string[], options: { durability: Durability }) => {
      const { describeCluster, inBothRoles, MAX_MEMBERS } = await import('../../server/config.ts');
      const { newClusterId } = await import('../../server/data_directory.ts');
      const all = members.map(parseMember);
      for (const key of ['address', 'httpAddress'] as const) {
        if (new Set(all.map((m) => m[key])).size < all.length) throw new UsageError(`two members have the same ${key}`);
      }
      const both = inBothRoles(all);
      if (both !== undefined) throw new UsageError(`${both} is to be an address and an httpAddress: both are listened on, so give two ports`);
      if (all.length > MAX_MEMBERS) throw new UsageError(`${all.length} members: a group has ${MAX_MEMBERS} at most`);
      await write(io.stdout, describeCluster({ clusterId: newClusterId(), configuration: configuration(epoch(0), all, options.durability) }));
    });

  program.command('format').description('make the data directory of one member of a new group; an empty one is never taken for a fresh start')
    .requiredOption('--cluster <file>', 'what new-cluster printed').requiredOption('--member <id>', 'which of its members', positiveInteger).requiredOption('--data <directory>', 'absent or empty')
    .addHelpText('after', '\nExample:\n  vrfs format --cluster cluster.json --member 1 --data /var/lib/vrfs')
    .action(async (options: { cluster: string; member: number; data: string }) => {
      const { loadCluster } = await import('../../server/config.ts');
      const { format } = await import('../../server/data_directory.ts');
      const cluster = await loadCluster(options.cluster);
      await onTheDiskOf(options.data, () => format({ directory: options.data, clusterId: cluster.clusterId, memberId: memberId(options.member), configuration: cluster.configuration }));
      await print(io, `${options.data} is the data directory of member ${options.member} of group ${cluster.clusterId.toString('hex')}; start it with: vrfs serve --data ${options.data}`);
    });

  serveCommand(program, io);
}

function parseMember(text: string, index: number): Member {
  const [address = '', httpAddress = '', ...more] = text.split('/');
  const form = `'${text}' is not address/httpAddress, as 10.0.0.1:7101/10.0.0.1:7201`;
  if (more.length > 0) throw new UsageError(form);
  for (const a of [address, httpAddress]) {
    const parsed = parseDestination(a);
    if (!parsed.ok) throw new UsageError(`${form}: ${parsed.reason}`);
  }
  return { id: memberId(index + 1), role: 'voter', address, httpAddress };
}

function serveCommand(program: Command, io: Io): void {
  program.command('serve').description('run one replica in the foreground; SIGTERM stops it cleanly')
    .option('--config <file>', 'JSON; each key can also be given in the environment (VRFS_DATA, VRFS_CHECKPOINT_OPS, ...)')
    .option('--data <directory>', 'made by vrfs format')
    .option('--listen <address>', 'host:port for replicas and clients (default: the member\'s address in the group)')
    .option('--http-listen <address>', 'host:port of the HTTP API (default: the member\'s)')
    .option('--join <list>', 'members as host:port,host:port: in an empty data directory, make a node that the group can take in (vrfs members add)')
    .option('--address <address>', 'with --join: host:port under which the others find it')
    .option('--http-address <address>', 'with --join: host:port of its HTTP API for the others')
    .option('--transfer-rate <size>', 'what it gives to all that fetch its state together, bytes a second, as 64M; 0: no bound (default: 64M)')
    .option('--scrub-rate <size>', 'how fast the store is read in the background to look for damage, bytes a second, as 1M; 0: not at all (default: 256K)')
    .option('--no-http', 'without the HTTP API')
    .option('--log-level <level>', 'trace, debug, info, warn, error, fatal or silent (default: info)')
    .option('--log-file <file>', 'instead of standard output')
    .option('-o, --option <key=value>', 'any other key of the configuration, as checkpointOps=5000', collect, {})
    .addHelpText('after', '\nExample:\n  vrfs serve --data /var/lib/vrfs --log-level info')
    .action(async (options: Record<string, unknown> & { config?: string; join?: string; address?: string; httpAddress?: string; http: boolean; option: Readonly<Record<string, string>> }) => {
      const { config, http, option, join, address, httpAddress, ...rest } = options;
      const flags = { ...option, ...rest, ...(http ? {} : { http: false }) };
      const { serve } = await import('../serve.ts');
      await serve({ environment: io.env, flags, ...(config === undefined ? {} : { file: config }) }, joinOf(join, address, httpAddress));
    });
}

function joinOf(join: string | undefined, address: string | undefined, httpAddress: string | undefined): { readonly servers: readonly string[]; readonly addresses: { readonly address: string; readonly httpAddress: string } } | undefined {
  if (join === undefined) {
    if (address !== undefined || httpAddress !== undefined) throw new UsageError('--address and --http-address go with --join: a member keeps the addresses that it was made with');
    return undefined;
  }
  if (address === undefined || httpAddress === undefined) throw new UsageError('--join needs --address and --http-address: host:port under which the members and their clients will find this node');
  const servers = join.split(',').map((s) => s.trim()).filter((s) => s !== '');
  for (const text of [...servers, address, httpAddress]) {
    const parsed = parseDestination(text);
    if (!parsed.ok) throw new UsageError(parsed.reason);
  }
  if (address === httpAddress) throw new UsageError(`--address and --http-address are both ${address}: both are listened on, so give two ports`);
  if (servers.length === 0) throw new UsageError('--join is empty: give host:port of a member');
  return { servers, addresses: { address, httpAddress } };
}
