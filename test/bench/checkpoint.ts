/**
 * What a checkpoint costs the replica that takes it, for three shapes of change at about `--records N` records: time on the event loop for
 * each changed record, the longest hold of the loop, what is written; and, with `--growth-from M`, how much more than with M records.
 *
 *   npm run bench -- checkpoint [--records N] [--growth-from M] [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber, type OpNumber } from '../../lib/ids.ts';
import { RecordStore, type RecordStoreStatus } from '../../checkpoint/record_store.ts';
import { Dataset, type Change } from './dataset.ts';
import { median, report, row, type Report, type Row } from './report.ts';

/** A store is filled in checkpoints of so many records: all at once would have to be in memory. */
const FILL = 500_000;

/** `cpu`: microseconds on the event loop for each changed record. `runs`: checkpoints. `of`: which of their longest holds of the event loop is to be short. */
interface Shape {
  readonly name: string;
  readonly changes: (data: Dataset) => Change[];
  readonly cpu: number;
  readonly runs: number;
  readonly of: 'longest' | 'p99';
}
const SHAPES: readonly Shape[] = [
  { name: 'clustered (500 files in one directory)', changes: (data) => data.clustered(500), cpu: 6, runs: 20, of: 'longest' },
  { name: 'mixed (50 directories x 10 files)', changes: (data) => data.spread(50, 10), cpu: 12, runs: 20, of: 'longest' },
  { name: 'random (1000 inodes)', changes: (data) => data.random(1000), cpu: 60, runs: 200, of: 'p99' },
];
const LONGEST_MS = 10;
const GROWTH = 2;

function atMost(measured: Row, limit: number): Row {
  return { ...measured, target: `<= ${limit}`, ok: measured.value <= limit };
}

class Filled {
  readonly #store: RecordStore;
  readonly #data: Dataset;
  #op: number;

  private constructor(store: RecordStore, data: Dataset, op: number) {
    this.#store = store;
    this.#data = data;
    this.#op = op;
  }

  /** What LevelDB has still to compact of so many records that were written in a minute is not what a checkpoint costs: it is let do so first. */
  static async make(directory: string, records: number): Promise<Filled> {
    const data = new Dataset(true);
    const filling = new Filled(await RecordStore.open({ directory }), data, 0);
    let gathered = 0;
    for (const [k, v] of data.initial(records)) {
      filling.#store.put(k, v);
      if (++gathered % FILL === 0) await filling.#take();
    }
    await filling.#take();
    await filling.close();
    const database = new ClassicLevel(directory);
    await database.compactRange('', '~');
    await database.close();
    return new Filled(await RecordStore.open({ directory }), data, filling.#op);
  }

  #next(): OpNumber {
    return opNumber(++this.#op);
  }
  async #take(): Promise<RecordStoreStatus> {
    await this.#store.take(this.#next(), EMPTY);
    return this.#store.status();
  }

  /** Checkpoints of this shape. */
  async runs(shape: Shape): Promise<RecordStoreStatus[]> {
    const taken: RecordStoreStatus[] = [];
    for (let run = 0; run < shape.runs; run++) {
      for (const [k, v] of shape.changes(this.#data)) {
        if (v === null) this.#store.delete(k);
        else this.#store.put(k, v);
      }
      taken.push(await this.#take());
    }
    return taken;
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

const perRecord = (taken: readonly RecordStoreStatus[]): number[] => taken.map((s) => s.lastTakeBusyMs * 1000 / s.lastTakeRecords);

function rowsOf(shape: Shape, taken: readonly RecordStoreStatus[]): Row[] {
  const { name, cpu, of } = shape;
  const longest = taken.map((s) => s.lastTakeLongestMs).sort((a, b) => a - b);
  const hold = longest[of === 'p99' ? Math.ceil(longest.length * 0.99) - 1 : longest.length - 1] ?? NaN;
  return [
    row(`${name}: records`, 'count', taken.map((s) => s.lastTakeRecords)),
    atMost(row(`${name}: on the event loop, for each record`, 'µs', perRecord(taken)), cpu),
    atMost(row(`${name}: ${of === 'p99' ? 'hold of the event loop, p99' : 'longest hold of the event loop'} of ${taken.length} checkpoints`, 'ms', [hold]), LONGEST_MS),
    ...(of === 'p99' ? [row(`${name}: longest hold of the event loop of ${taken.length} checkpoints`, 'ms', [longest.at(-1) ?? NaN])] : []),
    row(`${name}: checkpoint, wall`, 'ms', taken.map((s) => s.lastTakeMs)),
    row(`${name}: nodes written for each record`, 'bytes', taken.map((s) => s.lastTakeNodeBytes / s.lastTakeRecords)),
  ];
}

/** The cost of each shape with so many records: microseconds for each changed record. */
async function costs(directory: string, records: number, each: (shape: Shape, taken: readonly RecordStoreStatus[]) => void): Promise<number[]> {
  const filled = await Filled.make(directory, records);
  try {
    const medians: number[] = [];
    for (const shape of SHAPES) {
      const taken = await filled.runs(shape);
      each(shape, taken);
      medians.push(median(perRecord(taken)));
    }
    return medians;
  } finally {
    await filled.close();
    rmSync(directory, { recursive: true });
  }
}

/** Targets are those of a million records. `growthFrom`: null: no comparison. */
export async function benchCheckpoint(records: number, growthFrom: number | null, say: (line: string) => void): Promise<Report> {
  const root = mkdtempSync(join(tmpdir(), 'vrfs-bench-'));
  const rows: Row[] = [];
  try {
    const small = growthFrom === null ? null : await costs(join(root, 'small'), growthFrom, () => undefined);
    say(`making ${records} records ...`);
    const large = await costs(join(root, 'large'), records, (shape, taken) => { rows.push(...rowsOf(shape, taken)); });
    for (const [i, { name }] of SHAPES.entries()) {
      const before = small?.[i];
      if (before === undefined) continue;
      rows.push(atMost(row(`${name}: cost with ${records} records / with ${growthFrom ?? 0}`, 'ratio', [(large[i] ?? NaN) / before]), GROWTH));
    }
    return report({ records, ...(growthFrom === null ? {} : { growthFrom }), fsync: true }, rows);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
