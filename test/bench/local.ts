/** `npm run bench -- local`: creates/s and stats/s of a group of three on this machine, in both durability modes. */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VrfsClient } from '../../client/client.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type Operation } from '../../fsservice/operations.ts';
import type { Durability } from '../../vr/configuration.ts';
import { ProcessGroup } from '../support/process_group.ts';
import { runLoad, type Workload } from './load.ts';
import { MOST_READ } from './peers/matrix.ts';
import { report, row, type Report, type Row } from './report.ts';
import { cpuMicrosecondsOf, ownCpuMicroseconds, threadMicrosecondsOf, threadShares } from './resources.ts';

export interface LocalOptions {
  readonly replicas: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly inFlight: readonly number[];
  readonly modes: readonly Durability[];
  /** Operations between checkpoints; undefined: the default. */
  readonly checkpointOps: number | undefined;
  /** For node, before the program of each replica. */
  readonly nodeArguments: readonly string[];
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

interface Cpu {
  readonly replicas: number;
  readonly threads: ReadonlyMap<string, number>;
  readonly client: number;
}

/** Microseconds of CPU so far: says what an operation costs, however busy the machine is. */
function cpuMicroseconds(pids: readonly number[]): Cpu {
  return { replicas: cpuMicrosecondsOf(pids), threads: threadMicrosecondsOf(pids), client: ownCpuMicroseconds() };
}

interface Series {
  readonly rate: number[];
  readonly p50: number[];
  readonly p99: number[];
  readonly replicaCpu: number[];
  readonly loopCpu: number[];
  readonly otherCpu: number[];
  readonly clientCpu: number[];
}
function series(): Series {
  return { rate: [], p50: [], p99: [], replicaCpu: [], loopCpu: [], otherCpu: [], clientCpu: [] };
}

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
    config: { logLevel: 'warn', ...(options.checkpointOps === undefined ? {} : { checkpointOps: options.checkpointOps, checkpointBytes: 2 ** 40 }) },
    nodeArguments: (i) => {
      if (profiles === undefined) return options.nodeArguments;
      mkdirSync(profiles, { recursive: true });
      return [...options.nodeArguments, '--cpu-prof', `--cpu-prof-dir=${join(profiles, `${mode}-${i + 1}`)}`];
    },
  });
  try {
    group.startAll();
    await group.normal(group.servers.map((_, i) => i));
    const client = await VrfsClient.connect({ servers: group.servers, name: 'bench' });
    await prepare(client);
    const rows: Row[] = [];
    const pids = group.servers.map((_, i) => group.pid(i));
    let next = (await runLoad(client, CREATES, 64, 2000, 0)).next; // warm-up
    for (const w of options.inFlight) {
      const creates = series();
      const stats = series();
      const run = async (into: Series, workload: Workload, first: number): Promise<number> => {
        const before = cpuMicroseconds(pids);
        const result = await runLoad(client, workload, w, options.seconds * 1000, first);
        const after = cpuMicroseconds(pids);
        const operations = result.next - first;
        const { loops, busiestOthers } = threadShares(pids, before.threads, after.threads);
        into.rate.push(result.perSecond);
        into.p50.push(result.p50);
        into.p99.push(result.p99);
        into.replicaCpu.push((after.replicas - before.replicas) / operations);
        into.loopCpu.push(loops / operations);
        into.otherCpu.push(busiestOthers / operations);
        into.clientCpu.push((after.client - before.client) / operations);
        return result.next;
      };
      for (let round = 0; round < options.rounds; round++) {
        next = await run(creates, CREATES, next);
        const existing = Math.min(next, MOST_READ);
        await run(stats, { write: false, body: (n) => call({ type: 'getattr', at: fileAt((n * 7919) % existing), follow: true }) }, 0);
      }
      for (const [what, r] of [['create', creates], ['stat', stats]] as const) {
        const name = `${mode} ${what} ${w} in flight`;
        rows.push(row(name, '1/s', r.rate), row(`${name} p50`, 'ms', r.p50), row(`${name} p99`, 'ms', r.p99));
        rows.push(row(`${name} CPU of all replicas`, 'µs per operation', r.replicaCpu));
        rows.push(row(`${name} CPU of the event loops`, 'µs per operation', r.loopCpu), row(`${name} CPU of each replica's busiest other thread`, 'µs per operation', r.otherCpu));
        rows.push(row(`${name} CPU of the client`, 'µs per operation', r.clientCpu));
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
  return report({ replicas: options.replicas, seconds: options.seconds, rounds: options.rounds, checkpointOps: options.checkpointOps ?? 1000, nodeArguments: options.nodeArguments.join(' '), transport: 'TCP, loopback, one client process' }, rows);
}
