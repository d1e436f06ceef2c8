/** What is to be reached, as ratios between cells of one run. Pure. */
import type { Cell, Workload } from './matrix.ts';
import type { PoolName } from './pools.ts';

export interface Target {
  readonly what: string;
  readonly ratio: number;
  /** `>= 4` */
  readonly target: string;
  readonly met: boolean;
  /** The two figures. */
  readonly ours: number;
  readonly theirs: number;
  readonly unit: string;
}

type Figure = 'perSecond' | 'p50' | 'p99';
const UNITS: Readonly<Record<Figure, string>> = { perSecond: '1/s', p50: 'ms', p99: 'ms' };
const OURS = 'vrfs disk';
const PEERS = ['etcd', 'ZooKeeper'];

interface Wanted {
  readonly pool: PoolName;
  readonly what: string;
  readonly figure: Figure;
  readonly ours: readonly [system: string, workload: Workload];
  /** The best of them counts. */
  readonly theirs: readonly (readonly [system: string, workload: Workload])[];
  readonly inFlight: readonly number[];
  readonly bound: { readonly least: number } | { readonly most: number };
}

const both = (workload: Workload) => PEERS.map((p) => [p, workload] as const);

const WANTED: readonly Wanted[] = [
  { pool: 'peers', what: 'creates/s against the better of both', figure: 'perSecond', ours: [OURS, 'create'], theirs: both('create'), inFlight: [64, 256], bound: { least: 4 } },
  { pool: 'peers', what: 'creates with 64 bytes of content/s against the better of both', figure: 'perSecond', ours: [OURS, 'createFull'], theirs: both('createFull'), inFlight: [64, 256], bound: { least: 4 } },
  { pool: 'peers', what: 'creates, p50 against the better of both', figure: 'p50', ours: [OURS, 'create'], theirs: both('create'), inFlight: [1], bound: { most: 0.7 } },
  { pool: 'peers', what: 'creates, p99 against the better of both', figure: 'p99', ours: [OURS, 'create'], theirs: both('create'), inFlight: [64], bound: { most: 0.5 } },
  { pool: 'peers', what: 'linearizable reads/s against those of etcd', figure: 'perSecond', ours: [OURS, 'read'], theirs: [['etcd', 'read']], inFlight: [64, 256], bound: { least: 5 } },
  { pool: 'peers', what: 'linearizable reads/s against reads of ZooKeeper that are not', figure: 'perSecond', ours: [OURS, 'read'], theirs: [['ZooKeeper', 'readAny']], inFlight: [64, 256], bound: { least: 2 } },
  { pool: 'replicas', what: 'creates/s of 5 replicas against 3', figure: 'perSecond', ours: ['vrfs disk, 5 replicas', 'create'], theirs: [[OURS, 'create']], inFlight: [64, 256], bound: { least: 0.6 } },
  { pool: 'checkpoints', what: 'creates/s with checkpoints every 1000 against none', figure: 'perSecond', ours: [OURS, 'create'], theirs: [['vrfs disk, no checkpoints', 'create']], inFlight: [64, 256], bound: { least: 0.9 } },
  { pool: 'peers', what: 'creates/s against the probe of the ceiling, disk', figure: 'perSecond', ours: [OURS, 'create'], theirs: [['probe disk', 'create']], inFlight: [1, 16, 64, 256], bound: { least: 0.5 } },
  { pool: 'memory', what: 'creates/s against the probe of the ceiling, memory', figure: 'perSecond', ours: ['vrfs memory', 'create'], theirs: [['probe memory', 'create']], inFlight: [1, 16, 64, 256], bound: { least: 0.5 } },
];

function figureOf(cells: readonly Cell[], pool: PoolName, [system, workload]: readonly [string, Workload], inFlight: number, figure: Figure): number | undefined {
  return cells.find((c) => c.pool === pool && c.system === system && c.workload === workload && c.inFlight === inFlight)?.median[figure];
}

/** Those of which this run has measured all that they compare. */
export function targetsOf(cells: readonly Cell[]): Target[] {
  return WANTED.flatMap((w) => w.inFlight.flatMap((inFlight): Target[] => {
    const ours = figureOf(cells, w.pool, w.ours, inFlight, w.figure);
    const theirs = w.theirs.map((t) => figureOf(cells, w.pool, t, inFlight, w.figure));
    const known = theirs.filter((t) => t !== undefined);
    if (ours === undefined || known.length < theirs.length) return [];
    const best = w.figure === 'perSecond' ? Math.max(...known) : Math.min(...known);
    // Against a system that did nothing there is no ratio, and nothing is met.
    const ratio = ours / best;
    const [met, target] = 'least' in w.bound ? [Number.isFinite(ratio) && ratio >= w.bound.least, `>= ${w.bound.least}`] : [ratio <= w.bound.most, `<= ${w.bound.most}`];
    return [{ what: `${w.what}, ${inFlight} in flight`, ratio, target, met, ours, theirs: best, unit: UNITS[w.figure] }];
  }));
}
