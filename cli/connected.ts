/** The options of every command that speaks to a group, and the connection they lead to. */
import { InvalidArgumentError, type Command } from 'commander';
import { MAX_TIMEOUT_MS, VrfsClient } from '../client/client.ts';
import { FileSystem } from '../client/file_system.ts';
import { parseDestination } from '../lib/address.ts';
import { parseSize, SIZE_EXAMPLES } from '../lib/size.ts';
import type { Io } from './io.ts';
import { UsageError } from './failure.ts';
import { markReading } from './reading.ts';

export const DEFAULT_SERVERS = '127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103';

export interface ConnectionOptions {
  readonly server?: string;
  /** Milliseconds. */
  readonly timeout: number;
  readonly json?: boolean;
  /** Milliseconds; of commands that only read. */
  readonly maxStaleness?: number;
}

export function serverOption(command: Command): Command {
  return command.option('--server <list>', `replicas as host:port,host:port (default: $VRFS_SERVERS, else ${DEFAULT_SERVERS})`);
}

export function connectionOptions(command: Command): Command {
  return serverOption(command)
    .option('--timeout <ms>', 'how long to wait for the group, milliseconds', timeoutMilliseconds, 10_000);
}

/** The options of commands that only read files. */
export function readingOptions(command: Command, when?: (args: readonly string[]) => boolean): Command {
  return connectionOptions(markReading(command, when))
    .option('--max-staleness <ms>', 'let any replica answer whose state is at most so old, milliseconds (default: nothing older than the newest state)', nonNegativeInteger);
}

export function jsonOption(command: Command): Command {
  return command.option('--json', 'print JSON for programs; errors too');
}

export function positiveInteger(text: string): number {
  const n = Number(text);
  if (!Number.isSafeInteger(n) || n < 1) throw new InvalidArgumentError('a positive integer is needed');
  return n;
}

/** 65536, 64K, 16M; in bytes, `least` at least. */
const sizeFrom = (least: number) => (text: string): number => {
  const n = parseSize(text);
  if (n === undefined || n < least) throw new InvalidArgumentError(`a number of bytes is needed, as ${SIZE_EXAMPLES}`);
  return n;
};
export const nonNegativeSize = sizeFrom(0);
export const positiveSize = sizeFrom(1);

export function timeoutMilliseconds(text: string): number {
  const n = positiveInteger(text);
  if (n > MAX_TIMEOUT_MS) throw new InvalidArgumentError(`at most ${MAX_TIMEOUT_MS} milliseconds (some 24 days)`);
  return n;
}

export function nonNegativeInteger(text: string): number {
  const n = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(n) || n < 0) throw new InvalidArgumentError('an integer from 0 on is needed');
  return n;
}

export function serversOf(options: Pick<ConnectionOptions, 'server'>, io: Io): string[] {
  const text = options.server ?? io.env['VRFS_SERVERS'] ?? DEFAULT_SERVERS;
  const servers = text.split(',').map((s) => s.trim()).filter((s) => s !== '');
  const source = options.server !== undefined ? '--server' : 'VRFS_SERVERS';
  if (servers.length === 0) throw new UsageError(`${source} is empty: give host:port,host:port`);
  for (const s of servers) {
    const parsed = parseDestination(s);
    if (!parsed.ok) throw new UsageError(`${source}: ${parsed.reason}`);
  }
  return servers;
}

/** Connects, runs `use`, and closes whatever happens. */
export async function withClient<T>(options: ConnectionOptions, io: Io, use: (client: VrfsClient) => Promise<T>): Promise<T> {
  const client = await VrfsClient.connect({
    servers: serversOf(options, io),
    name: `cli ${process.pid}`,
    requestTimeoutMs: options.timeout,
    connectTimeoutMs: options.timeout,
  });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

/** New files and directories have the umask of this process taken off their mode, unless `umask` says otherwise. */
export function withFileSystem<T>(options: ConnectionOptions, io: Io, use: (fs: FileSystem) => Promise<T>, umask = process.umask()): Promise<T> {
  const { maxStaleness } = options;
  return withClient(options, io, (client) => use(new FileSystem(client, { umask, ...(maxStaleness === undefined ? {} : { read: { consistency: 'bounded', maxStalenessMs: maxStaleness } }) })));
}
