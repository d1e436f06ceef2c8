/**
 * What a checkpoint and a state transfer cost, for three shapes of change at about `--records N` records (default
 * 100 000): bytes on the wire against bytes of changed records, time, the longest hold of the event loop.
 *
 *   npm run bench -- checkpoint [--records N] [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { Dataset, type Change } from './dataset.ts';
import { report, row as measured, type Report, type Row } from './report.ts';

function apply(store: RecordStore, key: Buffer, value: Buffer | null): void {
  if (value === null) store.delete(key);
  else store.put(key, value);
}

function row(what: string, unit: string, values: readonly number[], target?: number): Row {
  const r = measured(what, unit, values);
  return target === undefined ? r : { ...r, target: `<= ${target}`, ok: r.value <= target };
}

const RUNS = 5;

/** Targets are those of the design, at a million records. */
export async function benchCheckpoint(records: number): Promise<Report> {
  const root = mkdtempSync(join(tmpdir(), 'vrfs-bench-'));
  const data = new Dataset();
  const donor = await RecordStore.open({ directory: join(root, 'donor') });
  const fetcher = await RecordStore.open({ directory: join(root, 'fetcher') });
  const rows: Row[] = [];
  try {
    for (const [k, v] of data.initial(records)) donor.put(k, v);
    await donor.take(opNumber(1), EMPTY);
    rows.push(row('full build', 'ms', [donor.status().lastTakeMs]));
    const connection = { name: 'donor', request: (body: Buffer) => donor.serve(body) };
    const first = donor.checkpoint;
    if (first === null) throw new Error('the donor has a checkpoint');
    const whole = await fetcher.fetch(first, [connection]);
    rows.push(row('full transfer', 'ms', [whole.milliseconds]));
    rows.push(row('full transfer: wire / record bytes', 'ratio', [(whole.bytesReceived + whole.bytesSent) / whole.recordBytes]));

    const shapes: [string, () => Change[], number][] = [
      ['500 files in one directory', () => data.clustered(500), 1.15],
      ['50 directories x 10 files', () => data.spread(50, 10), 1.25],
      ['1000 random inodes', () => data.random(1000), 2.0],
    ];
    let op = 1;
    for (const [name, changes, target] of shapes) {
      const figures = { wire: [] as number[], take: [] as number[], busy: [] as number[], longest: [] as number[], nodes: [] as number[], fetch: [] as number[], trips: [] as number[] };
      for (let run = 0; run < RUNS; run++) {
        for (const [k, v] of changes()) apply(donor, k, v);
        const info = await donor.take(opNumber(++op), EMPTY);
        const took = donor.status();
        const fetched = await fetcher.fetch(info, [connection]);
        figures.wire.push((fetched.bytesReceived + fetched.bytesSent) / fetched.recordBytes);
        figures.take.push(took.lastTakeMs);
        figures.busy.push(took.lastTakeBusyMs);
        figures.longest.push(took.lastTakeLongestMs);
        figures.nodes.push(took.lastTakeNodeBytes / fetched.recordBytes);
        figures.fetch.push(fetched.milliseconds);
        figures.trips.push(fetched.requests);
      }
      rows.push(row(`${name}: wire / record bytes`, 'ratio', figures.wire, target));
      rows.push(row(`${name}: node bytes written / record bytes`, 'ratio', figures.nodes));
      rows.push(row(`${name}: checkpoint, wall`, 'ms', figures.take));
      rows.push(row(`${name}: checkpoint, on the event loop`, 'ms', figures.busy));
      rows.push(row(`${name}: checkpoint, longest hold`, 'ms', figures.longest));
      rows.push(row(`${name}: transfer`, 'ms', figures.fetch));
      rows.push(row(`${name}: round trips`, 'count', figures.trips));
    }
    return report({ records, fsync: true, runs: RUNS }, rows);
  } finally {
    await donor.close();
    await fetcher.close();
    rmSync(root, { recursive: true, force: true });
  }
}
