/** `npm run bench -- local`: creates/s and stats/s of a group of three on this machine, in both durability modes. */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VrfsClient } from '../../client/client.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type Operation } from '../../fsservice/operations.ts';
import type { Durability } from '../../vr/configuration.ts';
import { ProcessGroup } from '../support/process_group.ts';
import { runLoad, type Workload } from './load.ts';
import { report, row, type Report, type Row } from './report.ts';

export interface LocalOptions {
  readonly replicas: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly inFlight: readonly number[];
  readonly modes: readonly Durability[];
  readonly cpuProfiles: string | undefined;
}

const credentials = { uid: 0, gid: 0, groups: [] };
const FILES_PER_DIRECTORY = 1000;

function call(operation: Operation): Buffer {
  return encodeCall({ credentials, operation });
}
function fileAt(n: number): { dir: typeof ROOT_INO; path: Buffer } {
  return { dir: ROOT_INO, path: Buffer.from(`d${Math.floor(n / FILES_PER_DIRECTORY) % FILES_PER_DIRECTORY}/file-${String(n).padStart(8, '0')}`) };
}

const CREATES: Workload = { write: true, body: (n) => call({ type: 'create', at: fileAt(n), mode: 0o644, exclusive: true, truncate: false }) };

async function prepare(client: VrfsClient): Promise<void> {
  for (let d = 0; d < FILES_PER_DIRECTORY; d++) {
    const made = await client.submit({ credentials, operation: { type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(`d${d}`) }, mode: 0o755 } });
    if (!made.ok) throw new Error(`mkdir d${d}: errno ${made.errno}`);
  }
}

async function measure(mode: Durability, options: LocalOptions): Promise<Row[]> {
  const profiles = options.cpuProfiles === undefined ? undefined : resolve(options.cpuProfiles);
  const group = await ProcessGroup.create({
    replicas: options.replicas,
    durability: mode,
    config: { logLevel: 'warn' },
    nodeArguments: (i) => {
      if (profiles === undefined) return [];
      mkdirSync(profiles, { recursive: true });
      return ['--cpu-prof', `--cpu-prof-dir=${join(profiles, `${mode}-${i + 1}`)}`];
    },
  });
  try {
    group.startAll();
    await group.normal(group.servers.map((_, i) => i));
    const client = await VrfsClient.connect({ servers: group.servers, name: 'bench' });
    await prepare(client);
    const rows: Row[] = [];
    let next = (await runLoad(client, CREATES, 64, 2000, 0)).next; // warm-up
    for (const w of options.inFlight) {
      const creates = { rate: [] as number[], p50: [] as number[], p99: [] as number[] };
      const stats = { rate: [] as number[], p50: [] as number[], p99: [] as number[] };
      for (let round = 0; round < options.rounds; round++) {
        const c = await runLoad(client, CREATES, w, options.seconds * 1000, next);
        next = c.next;
        creates.rate.push(c.perSecond);
        creates.p50.push(c.p50);
        creates.p99.push(c.p99);
        const existing = next;
        const stat: Workload = { write: false, body: (n) => call({ type: 'getattr', at: fileAt((n * 7919) % existing), follow: true }) };
        const s = await runLoad(client, stat, w, options.seconds * 1000, 0);
        stats.rate.push(s.perSecond);
        stats.p50.push(s.p50);
        stats.p99.push(s.p99);
      }
      for (const [what, r] of [['create', creates], ['stat', stats]] as const) {
        rows.push(row(`${mode} ${what} ${w} in flight`, '1/s', r.rate), row(`${mode} ${what} ${w} in flight p50`, 'ms', r.p50), row(`${mode} ${what} ${w} in flight p99`, 'ms', r.p99));
      }
    }
    await client.close();
    // A clean stop, or node writes no profile.
    await Promise.all(group.servers.map((_, i) => group.signal(i, 'SIGTERM')));
    return rows;
  } finally {
    await group.destroy();
  }
}

export async function local(options: LocalOptions): Promise<Report> {
  const rows: Row[] = [];
  for (const mode of options.modes) rows.push(...(await measure(mode, options)));
  return report({ replicas: options.replicas, seconds: options.seconds, rounds: options.rounds, transport: 'TCP, loopback, one client process' }, rows);
}
