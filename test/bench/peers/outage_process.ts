/**
 * The inner half of `npm run bench -- transfer-peers`: runs in the hub of the network namespaces (outage.ts), where each server's cable ends, and counts
 * what goes through that of a follower that was down. The same way for every system, whatever connections it uses.
 *
 *   node outage_process.js OWNER OPTIONS     options and result: JSON
 */
import { readFileSync } from 'node:fs';
import { defined } from '../../../lib/assert.ts';
import { Namespaces } from '../../history/namespaces.ts';
import { until, type GroupNetwork } from '../../support/process_group.ts';
import { Cleanup } from './cleanup.ts';
import { EtcdCluster } from './etcd_cluster.ts';
import type { OutageOptions, OutageRow, OutageSystem } from './outage.ts';
import { runMany, type Cluster, type Driver } from './system.ts';
import { VrfsCluster } from './vrfs_cluster.ts';
import { ZooKeeperCluster } from './zookeeper_cluster.ts';

const IN_FLIGHT = 64;
const CAUGHT_UP_MS = 120_000;
const IDLE_MS = 3000;
/** How often a server is asked how far it is: the question and its answer go through its cable too. */
const ASK_MS = 200;

/** A group of three of which one can go and come back; by index from 0. */
interface Outage {
  readonly cluster: Cluster;
  readonly driver: Driver;
  leader(): Promise<number>;
  kill(i: number): Promise<void>;
  start(i: number): void;
  /** How far a server has executed the log, or undefined while it does not say. */
  progress(i: number): Promise<bigint | undefined>;
}

/** A cluster that cannot be reached is stopped again. */
async function connected(cluster: Cluster, driver: Promise<Driver>): Promise<Driver> {
  try {
    return await driver;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

async function etcd(network: GroupNetwork): Promise<Outage> {
  const cluster = await EtcdCluster.start(network);
  return {
    cluster, driver: await connected(cluster, cluster.leader().then((i) => cluster.connect(1, [i]))), leader: () => cluster.leader(), kill: (i) => cluster.kill(i), start: (i) => { cluster.startServer(i); },
    progress: (i) => cluster.applied(i),
  };
}

async function zooKeeper(network: GroupNetwork): Promise<Outage> {
  const cluster = await ZooKeeperCluster.start(network);
  return {
    cluster, driver: await connected(cluster, cluster.leader().then((i) => cluster.connect(1, [i]))), leader: () => cluster.leader(), kill: (i) => cluster.kill(i), start: (i) => { cluster.startServer(i); },
    progress: async (i) => (await cluster.state(i))?.zxid,
  };
}

async function vrfs(network: GroupNetwork, commit: string): Promise<Outage> {
  const cluster = await VrfsCluster.start(commit, { network });
  const { group } = cluster;
  return {
    cluster, driver: await connected(cluster, cluster.connect(1)), leader: () => group.primary(), kill: (i) => group.signal(i, 'SIGKILL'), start: (i) => { group.start(i); },
    progress: async (i) => {
      const s = await group.status(i);
      return s?.status === 'normal' ? BigInt(s.executed) : undefined;
    },
  };
}

function begin(system: OutageSystem, network: GroupNetwork, commit: string): Promise<Outage> {
  switch (system) {
    case 'etcd': return etcd(network);
    case 'zookeeper': return zooKeeper(network);
    case 'vrfs': return vrfs(network, commit);
  }
}

/** At the hub's end of the cable: what it receives, the server has sent. */
function cable(server: number): { readonly toServer: number; readonly fromServer: number } {
  const line = readFileSync('/proc/net/dev', 'utf8').split('\n').find((l) => l.trim().startsWith(`r${server + 1}:`));
  const fields = defined(line, 'interface').split(':')[1]?.trim().split(/\s+/).map(Number) ?? [];
  return { fromServer: defined(fields[0], 'bytes received'), toServer: defined(fields[8], 'bytes sent') };
}

/** Until server `i` has executed what `leader` has by now. */
async function caughtUp(o: Outage, i: number, leader: number): Promise<void> {
  const goal = await until('the leader says how far it is', CAUGHT_UP_MS, () => o.progress(leader));
  await until(`server ${i + 1} of ${o.cluster.name} has caught up`, CAUGHT_UP_MS, async () => {
    const at = await o.progress(i);
    return at !== undefined && at >= goal ? true : undefined;
  }, ASK_MS);
}

async function outage(o: Outage, options: OutageOptions, times: number): Promise<OutageRow> {
  const leader = await o.leader();
  const follower = (leader + 1) % 3;
  await caughtUp(o, follower, leader);
  await o.kill(follower);
  const step = Math.floor(options.entries / options.changed);
  let n = 0;
  await runMany(o.driver, 'update', IN_FLIGHT, () => (n < options.changed * times ? (n++ % options.changed) * step : undefined));
  const before = cable(follower);
  const startedAt = performance.now();
  o.start(follower);
  await caughtUp(o, follower, leader);
  const seconds = (performance.now() - startedAt) / 1000;
  const after = cable(follower);
  // What it costs to be there at all: heart-beats.
  await new Promise((resolve) => { setTimeout(resolve, IDLE_MS); });
  const idle = cable(follower);
  return {
    system: o.cluster.name, entries: options.entries, changed: options.changed, times, toFollower: after.toServer - before.toServer, fromFollower: after.fromServer - before.fromServer, seconds,
    idlePerSecond: (idle.toServer - after.toServer) / (IDLE_MS / 1000),
  };
}

async function measure(system: OutageSystem, network: GroupNetwork, options: OutageOptions, cleanup: Cleanup): Promise<OutageRow[]> {
  const o = await cleanup.started(() => begin(system, network, options.commit), async ({ cluster, driver }) => {
    await driver.close();
    await cluster.stop();
  });
  process.stderr.write(`${o.cluster.name}: making ${options.entries} entries ...\n`);
  let n = 0;
  await runMany(o.driver, 'createFull', IN_FLIGHT, () => (n < options.entries ? n++ : undefined));
  const rows: OutageRow[] = [];
  for (const times of options.times) for (let round = 0; round < options.rounds; round++) {
    process.stderr.write(`${o.cluster.name}: a follower is down while ${options.changed} entries are changed, ${times} times each ...\n`);
    rows.push(await outage(o, options, times));
  }
  return rows;
}

const [owner, text] = process.argv.slice(2);
const options = JSON.parse(defined(text, 'options')) as OutageOptions;
const namespaces = new Namespaces(Number(owner), 3);
const network: GroupNetwork = { address: (i) => namespaces.address(i + 1), launcher: (i) => ['ip', 'netns', 'exec', namespaces.of(i + 1), 'setpriv', '--pdeathsig', 'KILL'] };
const rows: OutageRow[] = [];
for (const system of options.systems) {
  const cleanup = new Cleanup();
  try {
    rows.push(...await measure(system, network, options, cleanup));
  } finally {
    await cleanup.run();
  }
}
process.stdout.write(JSON.stringify(rows));
