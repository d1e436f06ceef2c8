/**
 * `npm run bench -- wan`: replicas far from one another, in the simulator's virtual time: the product's replicas and clients, a network whose
 * one-way delay is given, disks that need a millisecond. What an operation takes is messages and nothing else, so the machine does not matter.
 */
import { DEFAULT_REPLICA_OPTIONS } from '../../vr/replica_types.ts';
import { Replica } from '../../vr/replica.ts';
import { Cluster } from '../sim/cluster.ts';
import { Coverage } from '../sim/coverage.ts';
import { FIRST_CLIENT } from '../sim/network.ts';
import { getRegister, registers, setRegister } from '../sim/registers.ts';
import { percentile, report, row, type Report, type Row } from './report.ts';

export interface WanOptions {
  /** One way between any two sites, milliseconds. */
  readonly delaysMs: readonly number[];
  readonly inFlight: number;
}

/** The client is in the first primary's site, or in one of its own. */
const PLACES = ['beside the primary', 'elsewhere'] as const;
type Place = (typeof PLACES)[number];
const LOCAL_MS = 1;
const RUN_MS = 20_000;

interface Measured { readonly perSecond: number; readonly latencies: readonly number[]; readonly views: number }

function run(replicas: number, delayMs: number, place: Place, isRead: boolean, inFlight: number): Measured {
  const coverage = new Coverage();
  const isNear = (from: number, to: number): boolean => place === 'beside the primary' && Math.max(from, to) >= FIRST_CLIENT && Math.min(from, to) === 0;
  const cluster = new Cluster({
    seed: 1, replicas, durability: 'disk', Replica, application: registers, print: null,
    replicaOptions: { ...DEFAULT_REPLICA_OPTIONS, sessionSlots: inFlight },
    clients: [{ flags: 0, inFlight, requestTimeoutMs: 600_000 }],
  }, () => ({ route: ({ from, to }) => [isNear(from, to) ? LOCAL_MS : delayMs], isBlocked: () => false }), coverage);
  const startedAt = new Map<number, number>();
  const latencies: number[] = [];
  const from = RUN_MS / 4;
  let begun = 0;
  cluster.driver = {
    nextOperation: () => {
      if (cluster.now >= RUN_MS) return null;
      startedAt.set(++begun, cluster.now);
      return { body: isRead ? getRegister(begun % 6) : setRegister(begun % 6, begun, begun), read: isRead ? 'linearizable' : null };
    },
    completed: (_client, invocation) => {
      const at = startedAt.get(invocation.id);
      if (at !== undefined && at >= from) latencies.push(cluster.now - at);
    },
  };
  for (const host of cluster.hosts) host.syncMs = [1, 0];
  cluster.start();
  cluster.queue.runTo(RUN_MS);
  latencies.sort((a, b) => a - b);
  return { perSecond: latencies.length / ((RUN_MS - from) / 1000), latencies, views: coverage.get('event view-change') };
}

export function wan({ delaysMs, inFlight }: WanOptions): Report {
  const rows: Row[] = [];
  for (const delay of delaysMs) {
    for (const place of PLACES) {
      for (const [what, isRead] of [['write', false], ['linearizable read', true]] as const) {
        const one = run(3, delay, place, isRead, 1);
        const many = run(3, delay, place, isRead, inFlight);
        const name = `${delay} ms one way, client ${place}, ${what}`;
        rows.push(row(`${name}, p50`, 'ms', [percentile(one.latencies, 0.5)]), row(`${name}, ${inFlight} in flight`, '1/s', [many.perSecond]));
        if (one.views + many.views > 0) rows.push(row(`${name}: view changes`, '', [one.views + many.views]));
      }
    }
  }
  return report({ replicas: 3, inFlight, virtualMs: RUN_MS, diskMs: 1 }, rows);
}
