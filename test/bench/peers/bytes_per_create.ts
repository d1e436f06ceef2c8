/** What a create costs in bytes, all replicas together: on the wire and in files, and for vrfs of what that consists. */
import { tmpdir } from 'node:os';
import { request } from 'undici';
import { until } from '../../support/process_group.ts';
import { deviceBytes, writtenBytesOf } from '../resources.ts';
import type { Subject } from './matrix.ts';
import { traffic } from './sockets.ts';
import { runMany } from './system.ts';
import { VrfsCluster } from './vrfs_cluster.ts';

export interface BytesRow {
  readonly system: string;
  readonly what: string;
  /** Bytes per create. */
  readonly value: number;
}

const IN_FLIGHT = 64;
const QUIET_MS = 60_000;

/** Bytes so far by what they are for. */
type Counters = ReadonlyMap<string, number>;

const WIRE = { replicas: 'wire, between replicas', requests: 'wire, from the client', replies: 'wire, to the client' } as const;
const FILES = 'files';
const JOURNAL = 'files, journal';
const REST = 'files, checkpoints (the rest)';
const DEVICE = 'device, for all programs of the machine';

async function metric(url: string, name: string): Promise<number> {
  const answer = await request(`${url}/metrics`);
  const text = await answer.body.text();
  const values = text.split('\n').flatMap((line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`) ? [Number(line.slice(line.lastIndexOf(' ') + 1))] : []));
  if (values.length === 0) throw new Error(`${url}/metrics has no ${name}`);
  return values.reduce((a, b) => a + b, 0);
}

async function counters(subject: Subject): Promise<Counters> {
  const { cluster } = subject;
  const wire = traffic(cluster.pids);
  const device = deviceBytes(tmpdir());
  const all = new Map<string, number>([
    [WIRE.replicas, wire.replicas], [WIRE.requests, wire.requests], [WIRE.replies, wire.replies],
    [FILES, writtenBytesOf(cluster.pids) - wire.replicas - wire.replies], ...(device === null ? [] : [[DEVICE, device] as const]),
  ]);
  if (cluster instanceof VrfsCluster) {
    const { group } = cluster;
    const journals = await Promise.all(group.servers.map((_, i) => metric(group.http(i), 'vrfs_journal_written_bytes_total')));
    all.set(JOURNAL, journals.reduce((a, b) => a + b, 0));
  }
  return all;
}

/** Until the servers write nothing any more: what is left to do behind the answers belongs to the creates. */
async function quiet(pids: readonly number[]): Promise<void> {
  let before = -1;
  let since = performance.now();
  await until('the servers have written what they had to', QUIET_MS, () => {
    const now = writtenBytesOf(pids);
    // Heart-beats, and a page now and then.
    if (now - before > 64 << 10) {
      before = now;
      since = performance.now();
    }
    return performance.now() - since > 1500 ? true : undefined;
  });
}

export async function bytesPerCreate(subject: Subject, creates: number): Promise<BytesRow[]> {
  const { cluster, driver, made } = subject;
  await quiet(cluster.pids);
  const before = await counters(subject);
  const end = made.create + creates;
  await runMany(driver, 'create', IN_FLIGHT, () => (made.create < end ? made.create++ : undefined));
  await quiet(cluster.pids);
  const after = await counters(subject);
  const rows = [...after].map(([what, value]) => ({ system: cluster.name, what, value: (value - (before.get(what) ?? 0)) / creates }));
  const of = (what: string): number | undefined => rows.find((r) => r.what === what)?.value;
  const [files, journal] = [of(FILES), of(JOURNAL)];
  if (files !== undefined && journal !== undefined) rows.push({ system: cluster.name, what: REST, value: files - journal });
  return rows;
}
