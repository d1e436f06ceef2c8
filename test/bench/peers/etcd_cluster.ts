/** Three etcd servers with Debian's program and default settings: every entry is in its log with fsync before it is acknowledged. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defined } from '../../../lib/assert.ts';
import { freePorts } from '../../support/ports.ts';
import { LOOPBACK, until, type GroupNetwork } from '../../support/process_group.ts';
import { EtcdDriver, etcdStatus, type Endpoint } from './etcd_driver.ts';
import type { Status } from './protobuf.ts';
import { ServerProcess } from './server_process.ts';
import type { Cluster, Driver } from './system.ts';

const SERVERS = 3;
const START_MS = 30_000;

export class EtcdCluster implements Cluster {
  readonly name = 'etcd';
  version = '';
  readonly directory: string;
  readonly endpoints: readonly Endpoint[];
  readonly #peerPorts: readonly number[];
  readonly #network: GroupNetwork;
  readonly #servers: (ServerProcess | undefined)[] = [];

  private constructor(network: GroupNetwork, ports: readonly number[]) {
    this.#network = network;
    this.directory = mkdtempSync(join(tmpdir(), 'vrfs-bench-etcd-'));
    this.endpoints = Array.from({ length: SERVERS }, (_, i) => ({ host: network.address(i), port: defined(ports[i], 'port') }));
    this.#peerPorts = ports.slice(SERVERS);
  }

  static async start(network: GroupNetwork = LOOPBACK): Promise<EtcdCluster> {
    const cluster = new EtcdCluster(network, await freePorts(2 * SERVERS));
    try {
      for (let i = 0; i < SERVERS; i++) cluster.startServer(i);
      cluster.version = (await cluster.statuses([0, 1, 2])).map((s) => s.version)[0] ?? '';
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get pids(): number[] {
    return this.#servers.flatMap((s) => (s === undefined ? [] : [s.pid]));
  }

  startServer(i: number): void {
    const peerUrl = (k: number): string => `http://${this.#network.address(k)}:${defined(this.#peerPorts[k], 'port')}`;
    const { host, port } = defined(this.endpoints[i], 'endpoint');
    const client = `http://${host}:${port}`;
    this.#servers[i] = new ServerProcess(`etcd ${i + 1}`, [
      'etcd', '--name', `s${i + 1}`, '--data-dir', join(this.directory, String(i + 1)),
      '--listen-peer-urls', peerUrl(i), '--initial-advertise-peer-urls', peerUrl(i), '--listen-client-urls', client, '--advertise-client-urls', client,
      '--initial-cluster', this.endpoints.map((_, k) => `s${k + 1}=${peerUrl(k)}`).join(','), '--initial-cluster-state', 'new', '--logger', 'zap', '--log-level', 'warn',
    ], join(this.directory, `${i + 1}.out`), this.directory, i, this.#network);
  }

  async kill(i: number): Promise<void> {
    await this.#servers[i]?.stop('SIGKILL');
    this.#servers[i] = undefined;
  }

  /** Of these servers, once all of them know the same leader. */
  async statuses(indexes: readonly number[]): Promise<Status[]> {
    return until('the servers of etcd know a leader', START_MS, async () => {
      for (const s of this.#servers) s?.check();
      try {
        const all = await Promise.all(indexes.map((i) => etcdStatus(defined(this.endpoints[i], 'endpoint'))));
        return all.every((s) => s.leader !== 0n && s.leader === all[0]?.leader) ? all : undefined;
      } catch {
        return undefined; // it does not listen yet: asked again within the bound
      }
    });
  }

  /** The newest log entry that a server has executed; undefined while it does not answer. */
  async applied(i: number): Promise<bigint | undefined> {
    this.#servers[i]?.check();
    try {
      return (await etcdStatus(defined(this.endpoints[i], 'endpoint'))).raftAppliedIndex;
    } catch {
      return undefined; // not up yet: the caller asks again within a bound
    }
  }

  async leader(indexes: readonly number[] = [0, 1, 2]): Promise<number> {
    const all = await this.statuses(indexes);
    return defined(indexes[all.findIndex((s) => s.member === s.leader)], 'leader');
  }

  async connect(connections: number, indexes: readonly number[] = [0, 1, 2]): Promise<Driver> {
    const endpoints = indexes.map((i) => defined(this.endpoints[i], 'endpoint'));
    return EtcdDriver.connect(defined(this.endpoints[await this.leader(indexes)], 'leader'), endpoints, connections);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((s) => s?.stop('SIGTERM')));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
