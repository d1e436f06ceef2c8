/**
 * `npm run bench -- transfer-peers`: a follower is down while entries are changed, and comes back: how many bytes it is sent until it has caught up, in etcd, ZooKeeper and
 * vrfs. Each server has a network namespace and a cable of its own, at which all is counted, headers included: for every system the same.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Namespaces } from '../../history/namespaces.ts';
import { median, report, type Report } from '../report.ts';
import { REPOSITORY } from '../../support/process_group.ts';
import { Cleanup } from './cleanup.ts';
import { useDisk } from './disk.ts';
import { ETCD_PACKAGES, install, ZOOKEEPER_PACKAGES } from './packages.ts';

export const OUTAGE_SYSTEMS = ['etcd', 'zookeeper', 'vrfs'] as const;
export type OutageSystem = (typeof OUTAGE_SYSTEMS)[number];

export interface OutageOptions {
  readonly systems: readonly OutageSystem[];
  readonly entries: number;
  /** Evenly spread over all entries. */
  readonly changed: number;
  /** `rounds` outages each. */
  readonly times: readonly number[];
  readonly rounds: number;
  readonly commit: string;
}

export interface OutageRow {
  readonly system: string;
  readonly entries: number;
  readonly changed: number;
  readonly times: number;
  /** Bytes on its cable from its start until it has caught up. */
  readonly toFollower: number;
  readonly fromFollower: number;
  readonly seconds: number;
  /** Bytes a second to it when it has. */
  readonly idlePerSecond: number;
}

/** Of the rounds of each system and number of changes: the medians. */
export function medians(rows: readonly OutageRow[]): OutageRow[] {
  const rounds = new Map<string, OutageRow[]>();
  for (const one of rows) {
    const key = `${one.system} ${one.times}`;
    rounds.set(key, [...(rounds.get(key) ?? []), one]);
  }
  return [...rounds.values()].map((of) => {
    const middle = (value: (r: OutageRow) => number): number => median(of.map(value));
    return {
      ...(of[0] as OutageRow), toFollower: middle((r) => r.toFollower), fromFollower: middle((r) => r.fromFollower), seconds: middle((r) => r.seconds), idlePerSecond: middle((r) => r.idlePerSecond),
    };
  });
}

export interface OutageTarget {
  readonly what: string;
  readonly ratio: number;
  readonly target: string;
  readonly met: boolean;
}

export interface OutageReport extends Omit<Report, 'rows'> {
  readonly rows: readonly OutageRow[];
  readonly targets: readonly OutageTarget[];
}

const FEWER = 60;

/** Changed many times: the better of the others sends at least 60 times as much. Changed once: ours sends no more than each of them. */
export function outageTargets(rows: readonly OutageRow[]): OutageTarget[] {
  return [...new Set(rows.map((r) => r.times))].flatMap((times): OutageTarget[] => {
    const own = rows.find((r) => r.times === times && r.system.startsWith('vrfs'));
    const others = rows.filter((r) => r.times === times && !r.system.startsWith('vrfs'));
    if (own === undefined || others.length < 2) return [];
    const ratio = Math.min(...others.map((r) => r.toFollower)) / own.toFollower;
    const least = times === 1 ? 1 : FEWER;
    return [{ what: `changed ${times === 1 ? 'once' : `${times} times each`}: bytes to the follower, the better of both / vrfs`, ratio, target: `>= ${least}`, met: ratio >= least }];
  });
}

export async function transferPeers(options: Omit<OutageOptions, 'commit'>, directory: string | undefined, say: (line: string) => void): Promise<OutageReport> {
  useDisk(directory);
  install([...(options.systems.includes('etcd') ? ETCD_PACKAGES : []), ...(options.systems.includes('zookeeper') ? ZOOKEEPER_PACKAGES : [])], say);
  const { machine, commit } = report({}, []);
  const namespaces = new Namespaces(process.pid, 3);
  const cleanup = new Cleanup();
  try {
    cleanup.add(() => {
      namespaces.remove();
      return Promise.resolve();
    });
    namespaces.make();
    const child = spawn('ip', ['netns', 'exec', namespaces.hub, 'setpriv', '--pdeathsig', 'TERM', process.execPath, join(REPOSITORY, 'dist/test/bench/peers/outage_process.js'), String(process.pid), JSON.stringify({ ...options, commit })], { stdio: ['ignore', 'pipe', 'inherit'] });
    // Its servers end before their namespaces are removed.
    cleanup.add(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString(); });
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error('the measurement failed; what it said is above');
    const rows = medians(JSON.parse(output) as OutageRow[]);
    const { entries, changed, rounds } = options;
    return { machine, commit, conditions: { entries, changed, rounds, contentBytes: 64, counted: 'all on the cable of the follower, headers included' }, rows, targets: outageTargets(rows) };
  } finally {
    await cleanup.run();
  }
}

export function outageText(r: OutageReport): string {
  const kb = (n: number): string => (n / 1000).toLocaleString('en', { maximumFractionDigits: 1 });
  return [
    `${r.machine}; commit ${r.commit}`, JSON.stringify(r.conditions), '',
    '| system | changed | kB to the follower | kB from it | seconds, its start included | idle, bytes/s to it |', '| --- | --- | --- | --- | --- | --- |',
    ...r.rows.map((x) => `| ${x.system} | ${x.changed} of ${x.entries}, ${x.times === 1 ? 'once' : `${x.times} times each`} | ${kb(x.toFollower)} | ${kb(x.fromFollower)} | ${x.seconds.toFixed(1)} | ${Math.round(x.idlePerSecond)} |`), '',
    '| target | ratio | | |', '| --- | --- | --- | --- |',
    ...r.targets.map((t) => `| ${t.what} | ${Number(t.ratio.toPrecision(3))} | ${t.target.replace('>=', '≥')} | ${t.met ? 'met' : 'not met'} |`), '',
  ].join('\n');
}
