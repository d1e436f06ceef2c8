/**
 * `npm run bench -- soak`: full load for an hour. Files are made and removed again, so that the tree stays as it is; every minute the
 * rate and the views are looked at. A view that ends although all replicas run is a false view change.
 */
import { request } from 'undici';
import { VrfsClient } from '../../client/client.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type Operation } from '../../fsservice/operations.ts';
import { defined } from '../../lib/assert.ts';
import { ProcessGroup } from '../support/process_group.ts';
import { runLoad, type Workload } from './load.ts';
import { report, row, type Report } from './report.ts';
import { residentMegabytes } from './resources.ts';

export interface SoakOptions {
  readonly minutes: number;
  readonly inFlight: number;
  readonly say: (line: string) => void;
}

const credentials = { uid: 0, gid: 0, groups: [] };
const ALL = [0, 1, 2];
const DIRECTORIES = 100;
/** At least so many files are there at any time: far more than are in flight, so that each is made when it is removed. */
const FILES = 20_000;
const MINUTE_MS = 60_000;

function call(operation: Operation): Buffer {
  return encodeCall({ credentials, operation });
}
function fileAt(n: number): { readonly dir: typeof ROOT_INO; readonly path: Buffer } {
  return { dir: ROOT_INO, path: Buffer.from(`d${n % DIRECTORIES}/f${n}`) };
}
function create(n: number): Buffer {
  return call({ type: 'create', at: fileAt(n), mode: 0o644, exclusive: true, truncate: false });
}

const FILL: Workload = { write: true, body: create };
/** Makes a file, removes the oldest of those `there`, and so on. */
function churn(there: number): Workload {
  return { write: true, body: (n) => (n % 2 === 0 ? create(there + n / 2) : call({ type: 'unlink', at: fileAt((n - 1) / 2) })) };
}

async function viewOf(group: ProcessGroup, index: number): Promise<number> {
  const text = await (await request(`${group.http(index)}/metrics`)).body.text();
  return Number(defined(/^vrfs_view (\d+)$/m.exec(text)?.[1], 'the view'));
}

export async function soak({ minutes, inFlight, say }: SoakOptions): Promise<Report> {
  const group = await ProcessGroup.create({ replicas: 3, config: { logLevel: 'warn' } });
  try {
    group.startAll();
    await group.normal(ALL);
    const client = await VrfsClient.connect({ servers: group.servers, name: 'bench' });
    for (let d = 0; d < DIRECTORIES; d++) {
      const made = await client.submit({ credentials, operation: { type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(`d${d}`) }, mode: 0o755 } });
      if (!made.ok) throw new Error(`mkdir d${d}: errno ${made.errno}`);
    }
    let filled = 0;
    while (filled < FILES) ({ next: filled } = await runLoad(client, FILL, inFlight, 100, filled));
    const workload = churn(filled);
    const views = async (): Promise<number[]> => Promise.all(ALL.map((i) => viewOf(group, i)));
    const resident = (): number => Math.max(...ALL.map((i) => residentMegabytes(group.pid(i))));
    const before = Math.max(...(await views()));
    const rates: number[] = [];
    const p99: number[] = [];
    const memory: number[] = [];
    let next = 0;
    for (let minute = 1; minute <= minutes; minute++) {
      const result = await runLoad(client, workload, inFlight, MINUTE_MS, next);
      ({ next } = result);
      rates.push(result.perSecond);
      p99.push(result.p99);
      memory.push(resident());
      say(`minute ${minute} of ${minutes}: ${Math.round(result.perSecond)}/s, p99 ${result.p99.toFixed(1)} ms, ${Math.round(resident())} MB, views ${(await views()).join(' ')}`);
    }
    const changes = Math.max(...(await views())) - before;
    await client.close();
    return report({ minutes, inFlight, operations: next, replicas: 3, durability: 'disk', what: 'files made and removed again' }, [
      { ...row('false view changes', '', [changes]), target: '= 0', ok: changes === 0 },
      row('operations, by the minute', '1/s', rates),
      row('p99, by the minute', 'ms', p99),
      row('resident memory of the largest replica, by the minute', 'MB', memory),
      row('the same in the last minute', 'MB', [defined(memory.at(-1), 'a minute')]),
    ]);
  } finally {
    await group.destroy();
  }
}
