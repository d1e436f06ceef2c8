/**
 * What a checkpoint and a state transfer cost, for three shapes of change at about `--records N` records (default
 * 100 000): bytes on the wire against bytes of changed records, time, the longest hold of the event loop.
 *
 *   node dist/test/bench/checkpoint.js [--records N] [--json]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';

interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
  readonly target?: number;
  readonly ok?: boolean;
}

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
  const sorted = [...values].sort((a, b) => a - b);
  const round = (n: number | undefined): number => Math.round((n ?? 0) * 1000) / 1000;
  const value = round(sorted[sorted.length >> 1]);
  const base = { what, value, unit, min: round(sorted[0]), max: round(sorted.at(-1)), runs: values.length };
  return target === undefined ? base : { ...base, target, ok: value <= target };
}

const RUNS = 5;

/** Targets are those of the design, at a million records. */
export async function benchCheckpoint(records: number): Promise<Row[]> {
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
        const report = await fetcher.fetch(info, [connection]);
        figures.wire.push((report.bytesReceived + report.bytesSent) / report.recordBytes);
        figures.take.push(took.lastTakeMs);
        figures.busy.push(took.lastTakeBusyMs);
        figures.longest.push(took.lastTakeLongestMs);
        figures.nodes.push(took.lastTakeNodeBytes / report.recordBytes);
        figures.fetch.push(report.milliseconds);
        figures.trips.push(report.requests);
      }
      rows.push(row(`${name}: wire / record bytes`, 'ratio', figures.wire, target));
      rows.push(row(`${name}: node bytes written / record bytes`, 'ratio', figures.nodes));
      rows.push(row(`${name}: checkpoint, wall`, 'ms', figures.take));
      rows.push(row(`${name}: checkpoint, on the event loop`, 'ms', figures.busy));
      rows.push(row(`${name}: checkpoint, longest hold`, 'ms', figures.longest));
      rows.push(row(`${name}: transfer`, 'ms', figures.fetch));
      rows.push(row(`${name}: round trips`, 'count', figures.trips));
    }
    return rows;
  } finally {
    await donor.close();
    await fetcher.close();
    rmSync(root, { recursive: true, force: true });
  }
}

function commit(): string {
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
}

async function main(args: readonly string[]): Promise<void> {
  const at = args.indexOf('--records');
  const records = at < 0 ? 100_000 : Number(args[at + 1]);
  if (!Number.isInteger(records) || records < 1) throw new Error('--records takes a number of records, such as 100000');
  const rows = await benchCheckpoint(records);
  if (args.includes('--json')) {
    const machine = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
    process.stdout.write(`${JSON.stringify({ machine, commit: commit(), conditions: `${records} records, fsync on`, rows })}\n`);
    return;
  }
  for (const { what, value, unit, min, max, target } of rows) {
    process.stdout.write(`${what.padEnd(64)} ${String(value).padStart(10)} ${unit.padEnd(6)} (${min} .. ${max})${target === undefined ? '' : `  target ${target}`}\n`);
  }
}

if (process.argv[1]?.endsWith('checkpoint.js') === true) await main(process.argv.slice(2));
