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
import { Prng } from '../../lib/prng.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { report, row as measured, type Report, type Row } from './report.ts';

type Change = readonly [key: Buffer, value: Buffer];

function key(ino: number, kind: number, name = ''): Buffer {
  const bytes = Buffer.alloc(7 + name.length);
  bytes.writeUIntBE(ino, 0, 6);
  bytes[6] = kind;
  bytes.write(name, 7, 'latin1');
  return bytes;
}

class Dataset {
  readonly #r = new Prng(1);
  readonly directories: number[] = [];
  readonly inodes: number[] = [];
  nextIno = 1;

  attributes(): Buffer {
    const bytes = Buffer.alloc(96);
    this.#r.bytes(24).copy(bytes);
    return bytes;
  }
  *initial(records: number): Generator<Change> {
    for (let made = 0; made < records; ) {
      const directory = this.nextIno++;
      this.directories.push(directory);
      yield [key(directory, 0), this.attributes()];
      const files = 1 + this.#r.below(40);
      for (let i = 0; i < files; i++) {
        yield [key(directory, 1, `report_${this.#r.below(1000)}_${i}.json`), Buffer.alloc(9, i)];
        this.inodes.push(this.nextIno);
        yield [key(this.nextIno++, 0), this.attributes()];
      }
      made += 1 + 2 * files;
    }
  }
  /** Files made in one directory; in many; existing inodes changed. */
  clustered(files: number): Change[] {
    return this.#create(this.#r.pick(this.directories), files);
  }
  spread(directories: number, files: number): Change[] {
    const out: Change[] = [];
    for (let i = 0; i < directories; i++) out.push(...this.#create(this.#r.pick(this.directories), files));
    return out;
  }
  random(n: number): Change[] {
    return Array.from({ length: n }, () => [key(this.#r.pick(this.inodes), 0), this.attributes()] as const);
  }
  #create(directory: number, files: number): Change[] {
    const out: Change[] = [[key(directory, 0), this.attributes()]];
    for (let i = 0; i < files; i++) {
      out.push([key(directory, 1, `new-${this.nextIno}.dat`), Buffer.alloc(9, i)]);
      out.push([key(this.nextIno++, 0), this.attributes()]);
    }
    return out;
  }
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
        for (const [k, v] of changes()) donor.put(k, v);
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
