/** Three replicas in this process, over real sockets and files. */
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { pino } from 'pino';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { configuration, type Configuration, type Durability } from '../../vr/configuration.ts';
import { VrfsClient } from '../../client/client.ts';
import { loadConfig } from '../../server/config.ts';
import { format, newClusterId } from '../../server/data_directory.ts';
import { startHttp } from '../../server/http/server.ts';
import { startReplica, type ReplicaProcess, type StartOptions } from '../../server/replica_process.ts';
import { parseAddress } from '../../lib/address.ts';
import { freePorts } from '../support/ports.ts';
import { temporaryDirectory } from './support.ts';

const groups: TestGroup[] = [];
afterEach(async () => {
  for (const group of groups.splice(0)) await group.stop();
});

export interface GroupOptions {
  readonly members?: number;
  readonly durability?: Durability;
  readonly flags?: Readonly<Record<string, unknown>>;
  /** The HTTP API answers for files too, as that of a real process does. */
  readonly files?: boolean;
}

export class TestGroup {
  readonly clusterId = newClusterId();
  readonly directory: string;
  readonly configuration: Configuration;
  readonly running: (ReplicaProcess | null)[] = [];
  readonly fatal: Error[] = [];
  readonly #flags: Readonly<Record<string, unknown>>;
  readonly #clients: VrfsClient[] = [];
  readonly #files: boolean;

  private constructor(directory: string, made: Configuration, flags: Readonly<Record<string, unknown>>, files: boolean) {
    this.#files = files;
    this.directory = directory;
    this.configuration = made;
    this.#flags = flags;
    groups.push(this);
  }

  /** Formatted, not started. */
  static async make(options: GroupOptions = {}): Promise<TestGroup> {
    const count = options.members ?? 3;
    const ports = (await freePorts(2 * count)).sort((a, b) => a - b).map((port) => `127.0.0.1:${port}`);
    const members = Array.from({ length: count }, (_, i) => ({
      id: memberId(i + 1), role: 'voter' as const, address: defined(ports[i], 'port'), httpAddress: defined(ports[count + i], 'port'),
    }));
    const made = configuration(epoch(0), members, options.durability ?? 'disk');
    const group = new TestGroup(await temporaryDirectory(), made, options.flags ?? {}, options.files ?? false);
    for (const m of made.members) {
      await format({ directory: group.data(m.id), clusterId: group.clusterId, memberId: m.id, configuration: made });
    }
    return group;
  }

  data(id: number): string {
    return join(this.directory, String(id));
  }

  replica(id: number): ReplicaProcess {
    return defined(this.running[id] ?? undefined, `replica ${id}`);
  }

  async start(id: number, flags: Readonly<Record<string, unknown>> = {}, disk?: StartOptions['disk']): Promise<ReplicaProcess> {
    const config = await loadConfig({ flags: { data: this.data(id), ...this.#flags, ...flags } });
    const log = pino({ level: process.env['VRFS_TEST_LOG'] ?? 'silent', base: { member: id } });
    const replica = await startReplica(config, log, {
      disk,
      onFatal: (error) => { this.fatal.push(error); },
      attachHttp: async (running) => {
        const member = defined(this.configuration.members.find((m) => m.id === id), 'member');
        const address = parseAddress(member.httpAddress);
        if (!address.ok) throw new Error(address.reason);
        // The transfer of checkpoints needs no client; the file API of most of these servers is not used.
        const files = this.#files ? VrfsClient.open({ servers: this.configuration.members.map((m) => m.address), clusterId: this.clusterId, name: `http ${id}` }) : null;
        const client = files ?? ({ submit: unused, query: unused, lastOp: 0 } as unknown as Parameters<typeof startHttp>[0]['client']);
        const http = await startHttp({ running, client, host: address.value.host, port: address.value.port, log: { error: noLog, warn: noLog, info: noLog } as unknown as Parameters<typeof startHttp>[0]['log'] });
        return { address: http.address, close: async () => {
          await http.close();
          await files?.close();
        } };
      },
    });
    this.running[id] = replica;
    return replica;
  }

  async startAll(): Promise<void> {
    for (const m of this.configuration.members) await this.start(m.id);
  }

  async stopOne(id: number): Promise<void> {
    const replica = this.replica(id);
    this.running[id] = null;
    await replica.stop();
  }

  async client(): Promise<VrfsClient> {
    const client = await VrfsClient.connect({ servers: this.configuration.members.map((m) => m.address), clusterId: this.clusterId, name: 'test' });
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients.splice(0)) await client.close();
    for (const m of this.configuration.members) {
      if (this.running[m.id]) await this.stopOne(m.id);
    }
    if (this.fatal.length > 0) throw new AggregateError(this.fatal, `replicas ended: ${this.fatal.map((e) => e.message).join('; ')}`);
  }
}

function unused(): Promise<never> {
  return Promise.reject(new Error('this server has no client'));
}
function noLog(): undefined {
  return undefined;
}
