/** Three ZooKeeper servers with Debian's program and default settings: every transaction is in its log with fsync before it is acknowledged. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defined } from '../../../lib/assert.ts';
import { freePorts } from '../../support/ports.ts';
import { LOOPBACK, until, type GroupNetwork } from '../../support/process_group.ts';
import type { Endpoint } from './etcd_driver.ts';
import { ServerProcess } from './server_process.ts';
import type { Cluster, Driver } from './system.ts';
import { ZooKeeperDriver } from './zookeeper_driver.ts';

const SERVERS = 3;
const START_MS = 60_000;
/** Where Debian's package zookeeper has its program; the jar names those that it needs. */
const JAR = '/usr/share/java/zookeeper.jar';
const LOGGING = 'log4j.rootLogger=WARN, CONSOLE\nlog4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender\nlog4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout\nlog4j.appender.CONSOLE.layout.ConversionPattern=%d %p %c %m%n\n';

/** What `srvr` says of a server; undefined while it serves nobody. */
export interface Srvr {
  readonly version: string;
  readonly mode: 'leader' | 'follower';
  readonly zxid: bigint;
}

export class ZooKeeperCluster implements Cluster {
  readonly name = 'ZooKeeper';
  version = '';
  readonly directory: string;
  readonly endpoints: readonly Endpoint[];
  readonly #network: GroupNetwork;
  readonly #servers: (ServerProcess | undefined)[] = [];

  private constructor(network: GroupNetwork, ports: readonly number[]) {
    this.#network = network;
    this.directory = mkdtempSync(join(tmpdir(), 'vrfs-bench-zookeeper-'));
    this.endpoints = Array.from({ length: SERVERS }, (_, i) => ({ host: network.address(i), port: defined(ports[i], 'port') }));
    const servers = this.endpoints.map(({ host }, i) => `server.${i + 1}=${host}:${defined(ports[SERVERS + i], 'port')}:${defined(ports[2 * SERVERS + i], 'port')}`);
    writeFileSync(join(this.directory, 'log4j.properties'), LOGGING);
    for (const [i, { host, port }] of this.endpoints.entries()) {
      const data = join(this.directory, String(i + 1));
      mkdirSync(data);
      writeFileSync(join(data, 'myid'), String(i + 1));
      // tickTime, initLimit and syncLimit as in the package's example; admin.enableServer: all three would want port 8080.
      const lines = ['tickTime=2000', 'initLimit=10', 'syncLimit=5', 'admin.enableServer=false', `dataDir=${data}`, `clientPort=${port}`, `clientPortAddress=${host}`, ...servers];
      writeFileSync(join(this.directory, `${i + 1}.cfg`), `${lines.join('\n')}\n`);
    }
  }

  static async start(network: GroupNetwork = LOOPBACK): Promise<ZooKeeperCluster> {
    const cluster = new ZooKeeperCluster(network, await freePorts(3 * SERVERS));
    try {
      for (let i = 0; i < SERVERS; i++) cluster.startServer(i);
      cluster.version = (await cluster.states([0, 1, 2]))[0]?.version ?? '';
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
    this.#servers[i] = new ServerProcess(`ZooKeeper ${i + 1}`, [
      'java', '-cp', `${this.directory}:${JAR}`, `-Dlog4j.configuration=file:${join(this.directory, 'log4j.properties')}`,
      'org.apache.zookeeper.server.quorum.QuorumPeerMain', join(this.directory, `${i + 1}.cfg`),
    ], join(this.directory, `${i + 1}.out`), this.directory, i, this.#network);
  }

  async kill(i: number): Promise<void> {
    await this.#servers[i]?.stop('SIGKILL');
    this.#servers[i] = undefined;
  }

  /** Of these servers, once all of them serve and one leads. */
  async states(indexes: readonly number[]): Promise<Srvr[]> {
    return until('the servers of ZooKeeper serve', START_MS, async () => {
      for (const s of this.#servers) s?.check();
      const all = await Promise.all(indexes.map((i) => srvr(defined(this.endpoints[i], 'endpoint'))));
      const serving = all.flatMap((s) => (s === undefined ? [] : [s]));
      return serving.length === all.length && serving.some((s) => s.mode === 'leader') ? serving : undefined;
    });
  }

  /** Of one server; undefined while it serves nobody. */
  async state(i: number): Promise<Srvr | undefined> {
    this.#servers[i]?.check();
    return srvr(defined(this.endpoints[i], 'endpoint'));
  }

  async leader(indexes: readonly number[] = [0, 1, 2]): Promise<number> {
    return defined(indexes[(await this.states(indexes)).findIndex((s) => s.mode === 'leader')], 'leader');
  }

  async connect(connections: number, indexes: readonly number[] = [0, 1, 2]): Promise<Driver> {
    const endpoints = indexes.map((i) => defined(this.endpoints[i], 'endpoint'));
    return ZooKeeperDriver.connect(defined(this.endpoints[await this.leader(indexes)], 'leader'), endpoints, connections);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((s) => s?.stop('SIGTERM')));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One of ZooKeeper's four-letter words. Undefined: it does not listen, or serves nobody yet. */
function srvr({ host, port }: Endpoint): Promise<Srvr | undefined> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ host, port });
    socket.setTimeout(1000, () => { socket.destroy(); });
    socket.on('connect', () => { socket.write('srvr'); });
    socket.on('data', (chunk: Buffer) => { answer += chunk.toString(); });
    socket.on('error', () => undefined); // 'close' follows, with no answer
    socket.on('close', () => { resolve(parseSrvr(answer)); });
  });
}

export function parseSrvr(answer: string): Srvr | undefined {
  const version = /^Zookeeper version: ([^,\n]+)/m.exec(answer)?.[1];
  const mode = /^Mode: (leader|follower)$/m.exec(answer)?.[1];
  const zxid = /^Zxid: (0x[0-9a-f]+)$/m.exec(answer)?.[1];
  if (version === undefined || zxid === undefined || (mode !== 'leader' && mode !== 'follower')) return undefined;
  return { version: version.trim(), mode, zxid: BigInt(zxid) };
}
