/** A group of vrfs at default settings, driven through VrfsClient as a program would that wants many operations under way: encoded calls, no promise for each. */
import { join } from 'node:path';
import { VrfsClient } from '../../../client/client.ts';
import type { Completion } from '../../../client/completion.ts';
import type { VrfsError } from '../../../client/errors.ts';
import { Errno } from '../../../fsservice/errno.ts';
import { encodeCall } from '../../../fsservice/operation_codec.ts';
import { ROOT_INO, type At, type Operation } from '../../../fsservice/operations.ts';
import type { ServerConfigInput } from '../../../server/config.ts';
import type { Durability } from '../../../vr/configuration.ts';
import { LOOPBACK, ProcessGroup, type GroupNetwork } from '../../support/process_group.ts';
import { CONTENT, DIRECTORIES, NewContent, nonEmpty, pathOf, RoundRobin, type Cluster, type Done, type Driver, type Kind } from './system.ts';

const CREDENTIALS = { uid: 0, gid: 0, groups: [] };

function at(path: string): At {
  return { dir: ROOT_INO, path: Buffer.from(path, 'latin1') };
}
function call(operation: Operation): Buffer {
  return encodeCall({ credentials: CREDENTIALS, operation });
}

class Outcome implements Completion {
  readonly #done: Done;

  constructor(done: Done) {
    this.#done = done;
  }
  completed(result: Buffer): void {
    // Results start with an errno.
    if (result[0] === 0) this.#done.completed();
    else this.#done.failed(new Error(`vrfs: result ${result.toString('hex').slice(0, 32)}`));
  }
  failed(error: VrfsError): void {
    this.#done.failed(error);
  }
}

class VrfsDriver implements Driver {
  readonly #clients: RoundRobin<VrfsClient>;
  readonly #readers: RoundRobin<VrfsClient>;
  readonly #all: readonly VrfsClient[];
  readonly #content = new NewContent();

  constructor(clients: readonly VrfsClient[], readers: readonly VrfsClient[]) {
    this.#clients = new RoundRobin(nonEmpty(clients, 'client'));
    this.#readers = new RoundRobin(nonEmpty(readers, 'client'));
    this.#all = [...clients, ...readers];
  }

  run(kind: Kind, n: number, done: Done): void {
    const where = at(pathOf(kind, n));
    const outcome = new Outcome(done);
    switch (kind) {
      case 'create': this.#clients.next().submitEncoded(call({ type: 'create', at: where, mode: 0o644, exclusive: true, truncate: false }), outcome); return;
      case 'createFull': this.#clients.next().submitEncoded(call({ type: 'putFile', at: where, mode: 0o644, data: CONTENT, ifVersion: 0 }), outcome); return;
      case 'update': this.#clients.next().submitEncoded(call({ type: 'putFile', at: where, mode: 0o644, data: this.#content.next(), ifVersion: null }), outcome); return;
      case 'read': this.#clients.next().queryEncoded(call({ type: 'getattr', at: where, follow: true }), outcome); return;
      case 'readAny': this.#readers.next().queryEncoded(call({ type: 'getattr', at: where, follow: true }), outcome, { consistency: 'causal' }); return;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((c) => c.close()));
  }
}

export interface VrfsOptions {
  readonly replicas?: number;
  readonly durability?: Durability;
  readonly config?: ServerConfigInput;
  /** What is unlike the defaults, for the name. */
  readonly note?: string;
  readonly network?: GroupNetwork;
  /** A directory: the replicas run with --cpu-prof, and end cleanly, so that their profiles come into folders of it by replica. */
  readonly cpuProfiles?: string;
}

/** Replicas that end with this process, however that ends. */
const OWN: GroupNetwork = { ...LOOPBACK, launcher: () => ['setpriv', '--pdeathsig', 'KILL'] };

/** A client reads at one replica, drawn by lot when it begins: so many clients reach all of them. */
const READERS = 4;

export class VrfsCluster implements Cluster {
  readonly name: string;
  readonly version: string;
  readonly group: ProcessGroup;
  readonly #profiled: boolean;

  private constructor(group: ProcessGroup, version: string, { note, cpuProfiles }: VrfsOptions) {
    this.name = [`vrfs ${group.configuration.durability}`, ...(group.size === 3 ? [] : [`${group.size} replicas`]), ...(note === undefined ? [] : [note])].join(', ');
    this.group = group;
    this.#profiled = cpuProfiles !== undefined;
    this.version = version;
  }

  static async start(version: string, options: VrfsOptions = {}): Promise<VrfsCluster> {
    const { replicas, durability, network = OWN, config, cpuProfiles } = options;
    const group = await ProcessGroup.create({
      replicas, durability, network, config: { logLevel: 'warn', ...config },
      nodeArguments: (i) => (cpuProfiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(cpuProfiles, String(i + 1))}`]),
    });
    try {
      group.startAll();
      await group.normal(group.servers.map((_, i) => i));
      return new VrfsCluster(group, version, options);
    } catch (error) {
      await group.destroy();
      throw error;
    }
  }

  get pids(): number[] {
    return this.group.servers.map((_, i) => this.group.pid(i));
  }

  async connect(connections: number): Promise<Driver> {
    const connect = (name: string): Promise<VrfsClient> => VrfsClient.connect({ servers: this.group.servers, name });
    const clients = await Promise.all(Array.from({ length: connections }, (_, i) => connect(`bench-${i}`)));
    const readers = await Promise.all(Array.from({ length: READERS * this.group.size * connections }, (_, i) => connect(`bench-reader-${i}`)));
    const [first] = nonEmpty(clients, 'client');
    const made = await Promise.all(Array.from({ length: DIRECTORIES }, (_, d) => first.submit({ credentials: CREDENTIALS, operation: { type: 'mkdir', at: at(`d${d}`), mode: 0o755 } })));
    const refused = made.find((m) => !m.ok && m.errno !== Errno.EEXIST);
    if (refused?.ok === false) throw new Error(`vrfs: mkdir: errno ${refused.errno}`);
    return new VrfsDriver(clients, readers);
  }

  async stop(): Promise<void> {
    if (this.#profiled) await Promise.all(this.group.servers.map((_, i) => this.group.signal(i, 'SIGTERM')));
    await this.group.destroy();
  }
}

