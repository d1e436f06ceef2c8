/** `npm run bench -- scale`: what a large tree costs: throughput beside an empty one, memory, stalls, start and fail-over. */
import { request } from 'undici';
import { VrfsClient } from '../../client/client.ts';
import { defined } from '../../lib/assert.ts';
import { ROOT_INO, type Operation } from '../../fsservice/operations.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ProcessGroup, until } from '../support/process_group.ts';
import { runLoad, type Workload } from './load.ts';
import { median, report, row, type Report, type Row } from './report.ts';
import { residentMegabytes } from './resources.ts';

export interface ScaleOptions {
  /** Files in the tree when it is measured. */
  readonly inodes: number;
  /** Length of a measurement of throughput. */
  readonly seconds: number;
  /** Starts and fail-overs; the median is reported. */
  readonly rounds: number;
  readonly say: (line: string) => void;
}

const credentials = { uid: 0, gid: 0, groups: [] };
const FILES_PER_DIRECTORY = 1000;
const IN_FLIGHT = 256;
const MEASURED_IN_FLIGHT = 64;
/** Measurements of throughput, of a small tree and of the large one each. */
const MEASUREMENTS = 3;
/** How long stalls are looked for: a replica looks at a hundred moments a second, and a thousandth of all shall be several. */
const STALL_SECONDS = 60;
/** More than are ever created in a second: each file needs its directory. */
const CREATES_PER_SECOND = 60_000;
const ALL = [0, 1, 2];

function call(operation: Operation): Buffer {
  return encodeCall({ credentials, operation });
}

/** Each file in the directory of its thousand. */
const CREATES: Workload = {
  write: true,
  body: (n) => call({ type: 'create', at: { dir: ROOT_INO, path: Buffer.from(`d${Math.floor(n / FILES_PER_DIRECTORY)}/f${n % FILES_PER_DIRECTORY}`) }, mode: 0o644, exclusive: true, truncate: false }),
};

async function makeDirectories(client: VrfsClient, from: number, to: number): Promise<void> {
  const workload: Workload = { write: true, body: (n) => call({ type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(`d${n}`) }, mode: 0o755 }) };
  for (let next = from; next < to; ) ({ next } = await runLoad(client, workload, Math.min(MEASURED_IN_FLIGHT, to - next), 1, next));
}

/** How long the event loop was held up since the last time that it was asked: 99.9th percentile and longest, milliseconds. */
async function stalls(group: ProcessGroup, index: number): Promise<{ readonly p999: number; readonly max: number }> {
  const text = await (await request(`${group.http(index)}/metrics`)).body.text();
  const value = (quantile: string): number =>
    Number(defined(new RegExp(`^vrfs_event_loop_stall_seconds\\{quantile="${quantile}"\\} (\\S+)$`, 'm').exec(text)?.[1], `quantile ${quantile}`)) * 1000;
  return { p999: value('0.999'), max: value('1') };
}

/** Milliseconds from the start of the process until it says that it is normal and has executed what the group had. */
async function startOf(group: ProcessGroup, index: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<number> {
  const { commit } = defined(await group.status((index + 1) % ALL.length), 'a replica that runs');
  await group.signal(index, signal);
  const started = performance.now();
  group.start(index);
  await until('it serves', 120_000, async () => {
    const status = await group.status(index);
    return status?.status === 'normal' && status.executed >= commit ? true : undefined;
  });
  return performance.now() - started;
}

/** Milliseconds without an acknowledged write around the end of the primary, by this signal; writers keep asking. */
async function failOver(group: ProcessGroup, client: VrfsClient, signal: 'SIGTERM' | 'SIGKILL', first: number): Promise<{ readonly gap: number; readonly next: number }> {
  let last = performance.now();
  let gap = 0;
  let next = first;
  let running = true;
  const writer = async (): Promise<void> => {
    while (running) {
      const made = await client.submit({ credentials, operation: { type: 'setattr', at: { dir: ROOT_INO, path: Buffer.from(`d${next++ % 10}`) }, follow: true, set: { mode: 0o755 } } });
      if (!made.ok) throw new Error(`a write failed: errno ${made.errno}`);
      const now = performance.now();
      gap = Math.max(gap, now - last);
      last = now;
    }
  };
  const writers = Array.from({ length: MEASURED_IN_FLIGHT }, writer);
  const primary = await group.primary();
  const { view } = defined(await group.status(primary), 'the primary');
  last = performance.now();
  gap = 0;
  await group.signal(primary, signal);
  const killedAt = performance.now();
  await until('a later view', 60_000, async () => (((await group.status((primary + 1) % ALL.length))?.view ?? 0) > view ? true : undefined));
  await until('writes go on', 60_000, () => (last > killedAt && performance.now() - last < 20 ? true : undefined));
  running = false;
  await Promise.all(writers);
  group.start(primary);
  await group.normal(ALL, 120_000);
  return { gap, next };
}

function target(r: Row, words: string, ok: boolean): Row {
  return { ...r, target: words, ok };
}

export async function scale({ inodes, seconds, rounds, say }: ScaleOptions): Promise<Report> {
  const group = await ProcessGroup.create({ replicas: 3, config: { logLevel: 'warn' } });
  try {
    group.startAll();
    await group.normal(ALL);
    const client = await VrfsClient.connect({ servers: group.servers, name: 'bench' });
    const stallSeconds = Math.max(STALL_SECONDS, MEASUREMENTS * seconds);
    const directories = Math.ceil((inodes + (MEASUREMENTS * seconds + stallSeconds) * CREATES_PER_SECOND) / FILES_PER_DIRECTORY);
    await makeDirectories(client, 0, directories + MEASURED_IN_FLIGHT);
    let { next } = await runLoad(client, CREATES, MEASURED_IN_FLIGHT, 3000, 0);
    const measure = async (): Promise<number[]> => {
      const rates: number[] = [];
      while (rates.length < MEASUREMENTS) {
        const result = await runLoad(client, CREATES, MEASURED_IN_FLIGHT, seconds * 1000, next);
        ({ next } = result);
        rates.push(result.perSecond);
      }
      return rates;
    };
    say(`${next} files: creating for ${MEASUREMENTS} times ${seconds} s`);
    const empty = await measure();
    while (next < inodes) {
      ({ next } = await runLoad(client, CREATES, IN_FLIGHT, 5000, next));
      say(`${next} of ${inodes} files`);
    }
    for (const i of ALL) await stalls(group, i);
    const full = await measure();
    const resident = ALL.map((i) => residentMegabytes(group.pid(i)));
    const more = stallSeconds - MEASUREMENTS * seconds;
    if (more > 0) {
      say(`${next} files: creating for ${more} s more`);
      ({ next } = await runLoad(client, CREATES, MEASURED_IN_FLIGHT, more * 1000, next));
    }
    const delays = await Promise.all(ALL.map((i) => stalls(group, i)));
    const clean: number[] = [];
    const killed: number[] = [];
    const gaps: number[] = [];
    const stops: number[] = [];
    let writes = 0;
    for (let round = 0; round < rounds; round++) {
      say(`starts and fail-over ${round + 1} of ${rounds}`);
      clean.push(await startOf(group, 2, 'SIGTERM'));
      killed.push(await startOf(group, 2, 'SIGKILL'));
      await group.normal(ALL, 120_000);
      const over = await failOver(group, client, 'SIGKILL', writes);
      gaps.push(over.gap);
      const stop = await failOver(group, client, 'SIGTERM', over.next);
      stops.push(stop.gap);
      writes = stop.next;
    }
    await client.close();
    const growth = median(full) / median(empty);
    return report({ inodes: next, seconds, stallSeconds, rounds, replicas: 3, durability: 'disk', inFlight: MEASURED_IN_FLIGHT }, [
      row('creates/s in a small tree', '1/s', empty),
      row(`creates/s with ${inodes} files in the tree`, '1/s', full),
      target(row('of that in a small tree', '', [growth]), '≥ 0.8', growth >= 0.8),
      target(row('resident memory of a replica', 'MB', resident), '≤ 600', Math.max(...resident) <= 600),
      target(row('stall of the event loop, p99.9, creates', 'ms', delays.map((d) => d.p999)), '≤ 10', Math.max(...delays.map((d) => d.p999)) <= 10),
      target(row('stall of the event loop, longest, creates', 'ms', delays.map((d) => d.max)), '≤ 25', Math.max(...delays.map((d) => d.max)) <= 25),
      target(row('start after a clean stop until it serves', 'ms', clean), '≤ 3000', median(clean) <= 3000),
      target(row('start after kill -9 until it serves', 'ms', killed), '≤ 3000', median(killed) <= 3000),
      target(row('kill -9 of the primary until the next acknowledged write', 'ms', gaps), '≤ 1000', median(gaps) <= 1000),
      row('the same when it is stopped with SIGTERM', 'ms', stops),
    ]);
  } finally {
    await group.destroy();
  }
}
