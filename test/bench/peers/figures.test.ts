import { describe, expect, it } from 'vitest';
import { median, percentile, row } from '../report.ts';
import { chart, logTicks } from './chart.ts';
import { measure, Samples, summary } from './closed_loop.ts';
import { cellOf, turns, type Cell, type Workload } from './matrix.ts';
import { medians, outageTargets, type OutageRow } from './outage.ts';
import { missing } from './packages.ts';
import { available } from './peers.ts';
import { POOLS, poolsOf, SYSTEMS } from './pools.ts';
import { parseSockets, trafficOf } from './sockets.ts';
import { NewContent, pathOf, runMany, type Done, type Driver, type Kind } from './system.ts';
import { targetsOf } from './targets.ts';
import { parseSrvr } from './zookeeper_cluster.ts';

function samples(values: readonly number[]): Samples {
  const s = new Samples();
  for (const v of values) s.add(v);
  return s;
}

describe('statistics', () => {
  it('median and percentiles', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([])).toBeNaN();
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
    expect([0, 0.5, 0.99, 1].map((p) => percentile(hundred, p))).toEqual([1, 51, 100, 100]);
    expect(row('x', 'ms', [1.23456, 3, 2])).toEqual({ what: 'x', unit: 'ms', value: 2, min: 1.23, max: 3, runs: 3 });
  });
  it('a summary of a window', () => {
    // 100,000 of them: the buffer grows.
    const s = summary(samples(Array.from({ length: 100_000 }, (_, i) => (100_000 - i) / 1000)), 2000, 500_000, 1_000_000);
    expect(s).toMatchObject({ operations: 100_000, perSecond: 50_000, p50: 50.001, p95: 95.001, p99: 99.001, p999: 99.901, max: 100, serverCpu: 5, loadCpu: 10, loadBusy: 0.5 });
  });
  it('a cell is the median of its rounds, figure by figure', () => {
    const rounds = [[1, 2], [5, 6], [3, 9]].map((v) => summary(samples(v), 1000 / (v[0] ?? 1), 0, 0));
    const cell = cellOf('peers', 'a', 'create', 1, rounds);
    expect([cell.leastPerSecond, cell.median.perSecond, cell.mostPerSecond]).toEqual([2, 6, 10]);
    expect(cell.median.max).toBe(6);
    expect(cell.roundsOfNothing).toBe(0);
  });
  it.each([[[], [0.5], [0.6]], [[0.5], [], [0.6]], [[0.6], [0.5], []]])('a round of nothing is a rate of 0 and no latency, whichever it is (%j, %j, %j)', (...values) => {
    const cell = cellOf('peers', 'a', 'create', 1, values.map((v) => summary(samples(v), 1000, 10, 20)));
    expect([cell.roundsOfNothing, cell.leastPerSecond, cell.median.perSecond]).toEqual([1, 0, 1]);
    expect(cell.median.p99).toBe(0.55);
    expect(cell.median.serverCpu).toBe(10);
  });
  it('what is under way at the end of a window has its latency and is no operation of it', () => {
    expect(summary(samples([1, 2, 900]), 1000, 4, 6, 2)).toMatchObject({ operations: 2, perSecond: 2, p99: 900, max: 900, serverCpu: 2, loadCpu: 3 });
  });
  it('rounds go in turns: nobody is behind the same other in all of them', () => {
    expect([0, 1, 2, 3, 4, 5, 6].map((round) => turns(['a', 'b', 'c'], round).join(''))).toEqual(['abc', 'cba', 'bca', 'acb', 'cab', 'bac', 'abc']);
    expect([0, 1, 2, 3].map((round) => turns(['a', 'b'], round).join(''))).toEqual(['ab', 'ba', 'ba', 'ab']);
  });
});

class FakeDriver implements Driver {
  running = 0;
  most = 0;
  readonly seen: number[] = [];
  readonly #failAt: number;

  constructor(failAt = -1) {
    this.#failAt = failAt;
  }
  run(_: Kind, n: number, done: Done): void {
    this.seen.push(n);
    this.most = Math.max(this.most, ++this.running);
    setImmediate(() => {
      this.running--;
      if (n === this.#failAt) done.failed(new Error('refused'));
      else done.completed();
    });
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

describe('load', () => {
  it('keeps so many under way, and lets all of them end', async () => {
    const driver = new FakeDriver();
    let n = 0;
    const m = await measure(driver, [process.pid], { inFlight: 7, warmUpMs: 5, measureMs: 20, next: () => ({ kind: 'create', n: n++ }) });
    expect(driver.most).toBe(7);
    expect(driver.running).toBe(0);
    expect(m.operations).toBeGreaterThan(0);
    expect(m.operations).toBeLessThan(n);
    expect(driver.seen).toEqual(Array.from({ length: n }, (_, i) => i));
  });
  it('a failed operation fails the measurement', async () => {
    let n = 0;
    await expect(measure(new FakeDriver(40), [process.pid], { inFlight: 4, warmUpMs: 5, measureMs: 60_000, next: () => ({ kind: 'create', n: n++ }) })).rejects.toThrow('refused');
  });
  it('runs a list of numbers, each once', async () => {
    const driver = new FakeDriver();
    let n = 0;
    await runMany(driver, 'update', 3, () => (n < 10 ? n++ : undefined));
    expect([driver.most, driver.seen.length, new Set(driver.seen).size]).toEqual([3, 10, 10]);
  });
  it('updates go to what createFull has made, with content that differs', () => {
    expect(pathOf('update', 12_345)).toBe(pathOf('createFull', 12_345));
    expect(pathOf('read', 5)).toBe(pathOf('create', 5));
    const content = new NewContent();
    const [a, b] = [content.next(), content.next()];
    expect([a.length, b.length]).toEqual([64, 64]);
    expect(a.equals(b)).toBe(false);
  });
});

function cell(pool: string, system: string, workload: Workload, inFlight: number, figures: { perSecond?: number; p50?: number; p99?: number }): Cell {
  const base = summary(samples([1]), 1000, 0, 0);
  return cellOf(pool, system, workload, inFlight, [{ ...base, ...figures }]);
}

describe('targets', () => {
  const peers = [
    cell('peers', 'etcd', 'create', 64, { perSecond: 8000, p99: 20 }), cell('peers', 'ZooKeeper', 'create', 64, { perSecond: 10_000, p99: 30 }),
    cell('peers', 'etcd', 'create', 1, { p50: 0.9 }), cell('peers', 'ZooKeeper', 'create', 1, { p50: 1 }),
  ];
  const met = (cells: readonly Cell[]): Record<string, boolean> => Object.fromEntries(targetsOf(cells).map((t) => [t.what, t.met]));

  it('compare with the better of both, at the bound it is met', () => {
    const at = [...peers, cell('peers', 'vrfs disk', 'create', 64, { perSecond: 40_000, p99: 10 }), cell('peers', 'vrfs disk', 'create', 1, { p50: 0.63 })];
    expect(met(at)).toEqual({
      'creates/s against the better of both, 64 in flight': true, 'creates, p50 against the better of both, 1 in flight': true, 'creates, p99 against the better of both, 64 in flight': true,
    });
    const below = [...peers, cell('peers', 'vrfs disk', 'create', 64, { perSecond: 39_999, p99: 10.01 }), cell('peers', 'vrfs disk', 'create', 1, { p50: 0.64 })];
    expect(Object.values(met(below))).toEqual([false, false, false]);
  });
  it('nothing is met against systems that did nothing', () => {
    const idle = ['etcd', 'ZooKeeper'].map((system) => cell('peers', system, 'create', 64, { perSecond: 0, p99: NaN }));
    expect(Object.values(met([...idle, cell('peers', 'vrfs disk', 'create', 64, { perSecond: 40_000, p99: 10 })]))).toEqual([false, false]);
  });
  it('not without all that they compare with, nor across pools', () => {
    const ours = cell('peers', 'vrfs disk', 'create', 64, { perSecond: 1, p99: 1 });
    expect(targetsOf(peers)).toEqual([]);
    expect(targetsOf([...peers.filter((c) => c.system !== 'etcd'), ours])).toEqual([]);
    expect(targetsOf([cell('replicas', 'vrfs disk, 5 replicas', 'create', 64, {}), ours])).toEqual([]);
  });
  it('of an outage: 60 times less when all changed often, no more when once', () => {
    const of = (system: string, times: number, toFollower: number): OutageRow => ({ system, times, toFollower, entries: 1, changed: 1, fromFollower: 0, seconds: 0, idlePerSecond: 0 });
    const rows = [of('etcd', 1, 600), of('ZooKeeper', 1, 240), of('vrfs disk', 1, 241), of('etcd', 100, 39_000), of('ZooKeeper', 100, 18_000), of('vrfs disk', 100, 300)];
    expect(outageTargets(rows).map((t) => [t.met, Number(t.ratio.toFixed(3))])).toEqual([[false, 0.996], [true, 60]]);
    expect(outageTargets(rows.filter((r) => r.system !== 'etcd'))).toEqual([]);
    expect(medians([of('etcd', 1, 9), of('vrfs disk', 1, 4), of('etcd', 100, 8), of('etcd', 1, 1), of('etcd', 1, 2)]).map((r) => [r.system, r.times, r.toFollower])).toEqual([['etcd', 1, 2], ['vrfs disk', 1, 4], ['etcd', 100, 8]]);
  });
});

describe('pools', () => {
  it('hold every system; those of two systems are the pools that compare them', () => {
    expect(new Set(POOLS.flatMap((p): readonly string[] => p.systems))).toEqual(new Set(SYSTEMS));
    expect(poolsOf(['vrfs'])).toEqual([{ name: 'peers', systems: ['vrfs'] }]);
    expect(poolsOf(['vrfs', 'vrfs-5'])).toEqual([{ name: 'peers', systems: ['vrfs'] }, { name: 'replicas', systems: ['vrfs', 'vrfs-5'] }]);
    expect(poolsOf([])).toEqual([]);
  });
});

describe('what other programs say', () => {
  it('ss: bytes between servers, and with clients', () => {
    const output = [
      'ESTAB 0 0 127.0.0.1:2380 127.0.0.1:50000 users:(("etcd",pid=11,fd=5)) cubic bytes_sent:100 bytes_acked:100 bytes_received:40 segs_out:3',
      'ESTAB 0 0 127.0.0.1:50000 127.0.0.1:2380 users:(("etcd",pid=12,fd=6)) cubic bytes_sent:40 bytes_acked:41 bytes_received:100',
      'ESTAB 0 0 [::ffff:127.0.0.1]:2379 [::ffff:127.0.0.1]:60000 users:(("etcd",pid=11,fd=7)) cubic bytes_sent:7 bytes_received:9',
      'ESTAB 0 0 127.0.0.1:60000 127.0.0.1:2379 users:(("node",pid=99,fd=7)) cubic bytes_sent:9 bytes_received:7',
      'TIME-WAIT 0 0 127.0.0.1:1 127.0.0.1:2', '',
    ].join('\n');
    const sockets = parseSockets(output);
    expect(sockets).toHaveLength(4);
    expect(trafficOf(sockets, [11, 12])).toEqual({ replicas: 140, requests: 9, replies: 7 });
  });
  it('srvr: who leads, and whether it serves at all', () => {
    const answer = (mode: string): string => `Zookeeper version: 3.8.0-11, built on 2024\nLatency min/avg/max: 0/0.0/0\nZxid: 0x100000002\nMode: ${mode}\nNode count: 5\n`;
    expect(parseSrvr(answer('leader'))).toEqual({ version: '3.8.0-11', mode: 'leader', zxid: 0x100000002n });
    expect(parseSrvr(answer('observer'))).toBeUndefined();
    expect(parseSrvr('This ZooKeeper instance is not currently serving requests\n')).toBeUndefined();
    expect(parseSrvr('')).toBeUndefined();
  });
  it('packages that are missing', () => {
    expect(missing(['etcd-server', 'default-jre-headless'], (file) => file === '/usr/bin/java')).toEqual(['etcd-server']);
    expect(missing(['nothing-of-ours'], () => true)).toEqual(['nothing-of-ours']);
  });
});

describe('systems that are not installed', () => {
  const run = (absent: string[]): { readonly systems: string[]; readonly leftOut: string[] } => {
    const leftOut: string[] = [];
    const systems = available({ systems: ['etcd', 'zookeeper', 'vrfs'], install: false, say: () => undefined }, leftOut, (packages) => packages.filter((p) => absent.includes(p)));
    return { systems, leftOut };
  };
  it('are left out, and it is said', () => {
    expect(run(['etcd-server'])).toEqual({ systems: ['zookeeper', 'vrfs'], leftOut: ['etcd: etcd-server is not installed, and this run installs nothing'] });
    expect(run(['zookeeper', 'default-jre-headless']).leftOut).toEqual(['zookeeper: zookeeper, default-jre-headless are not installed, and this run installs nothing']);
    expect(run([])).toEqual({ systems: ['etcd', 'zookeeper', 'vrfs'], leftOut: [] });
  });
});

describe('charts', () => {
  it('ticks hold the values', () => {
    expect(logTicks(3, 700)).toEqual([2, 5, 10, 20, 50, 100, 200, 500, 1000]);
    expect(logTicks(5, 5)).toEqual([5]);
    expect(logTicks(0.03, 0.2)).toEqual([0.02, 0.05, 0.1, 0.2]);
  });
  it('place a greater value higher, and names are escaped', () => {
    const svg = chart({ title: 'a < b', xLabel: 'x', yLabel: 'y', series: [{ name: '"q"', points: [{ x: 1, y: 10, least: 9, most: 20 }, { x: 64, y: 1000, least: 900, most: 1100 }] }] });
    const heights = [...svg.matchAll(/class="c0" transform="translate\(([\d.]+) ([\d.]+)\)"><title>/g)].map((m) => [Number(m[1]), Number(m[2])]);
    expect(heights).toHaveLength(2);
    const [[x1, y1], [x2, y2]] = heights as [[number, number], [number, number]];
    expect(x2).toBeGreaterThan(x1);
    expect(y2).toBeLessThan(y1);
    expect(svg).toContain('a &#60; b');
    expect(svg).not.toContain('"q"');
  });
  it('refuse what has no logarithm', () => {
    expect(() => chart({ title: 't', xLabel: '', yLabel: '', series: [] })).toThrow(RangeError);
    expect(() => chart({ title: 't', xLabel: '', yLabel: '', series: [{ name: 's', points: [{ x: 1, y: 0, least: 0, most: 1 }] }] })).toThrow(RangeError);
    expect(() => chart({ title: 't', xLabel: '', yLabel: '', series: [{ name: 's', points: [{ x: 1, y: NaN, least: NaN, most: 1 }] }] })).toThrow(RangeError);
  });

  it('draws a round of nothing down to the axis', () => {
    const svg = chart({ title: 't', xLabel: '', yLabel: '', series: [{ name: 's', points: [{ x: 1, y: 100, least: 0, most: 200 }, { x: 2, y: 100, least: 50, most: 200 }] }] });
    expect(svg).toContain('100 (0 to 200)');
    expect(svg).not.toMatch(/NaN|Infinity/);
    const [down] = /(?<=<path d="M0 )[\d.]+/.exec(svg) ?? [];
    expect(Number(down)).toBeGreaterThan(50);
  });
});
