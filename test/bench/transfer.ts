/**
 * What a state transfer costs against what it has to move, over real sockets from a donor in a process of its own: changes of several shapes, nothing
 * changed, all of it; and what a donor's clients lose meanwhile (transfer_load.ts).
 *
 *   npm run bench -- transfer [--records N] [--rounds N] [--quick] [--json]
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digest, opNumber } from '../../lib/ids.ts';
import type { FetchReport } from '../../checkpoint/fetch_report.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { DonorClient } from '../../server/checkpoint_port.ts';
import type { DonorAnswer, DonorCommand, Shape } from './donor_process.ts';
import { Cleanup } from './peers/cleanup.ts';
import { report, row, type Report, type Row } from './report.ts';
import { donorLoss, type LossOptions } from './transfer_load.ts';

export interface TransferOptions {
  readonly records: number;
  /** Records changed at a time. */
  readonly changed: number;
  readonly rounds: number;
  readonly loss: LossOptions;
  /** Progress, for people. */
  readonly say: (line: string) => void;
}

class DonorProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }
  static async start(directory: string): Promise<DonorProcess> {
    const child = fork(fileURLToPath(new URL('./donor_process.js', import.meta.url)), [directory]);
    const donor = new DonorProcess(child);
    await donor.#answer();
    return donor;
  }
  async ask(command: DonorCommand): Promise<DonorAnswer> {
    this.#child.send(command);
    return (await this.#answer()) as DonorAnswer;
  }
  async #answer(): Promise<unknown> {
    const ended = new AbortController();
    const exit = once(this.#child, 'exit', { signal: ended.signal }).then(() => { throw new Error('the donor has ended'); });
    try {
      const [answer] = await Promise.race([once(this.#child, 'message'), exit]) as [unknown];
      return answer;
    } finally {
      exit.catch(() => undefined); // nobody waits for it any more: it was broken off here
      ended.abort();
    }
  }
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

interface Fetched extends FetchReport {
  readonly wireBytes: number;
}

function limited(what: string, unit: string, values: readonly number[], limit: number, relation: '<=' | '<' = '<='): Row {
  const measured = row(what, unit, values);
  return { ...measured, target: `${relation} ${limit}`, ok: relation === '<' ? measured.value < limit : measured.value <= limit };
}

async function fetchFrom(donor: DonorProcess, client: DonorClient, store: RecordStore, at: DonorAnswer): Promise<Fetched> {
  const before = (await donor.ask({ type: 'wire' })).wireBytes;
  const fetched = await store.fetch({ op: opNumber(at.op), root: digest(at.root) }, [client.connection('donor', `127.0.0.1:${at.port}`)]);
  if (store.checkpoint?.root !== at.root) throw new Error('the fetcher is not where the donor is');
  return { ...fetched, wireBytes: (await donor.ask({ type: 'wire' })).wireBytes - before };
}

/** All of it, into a new store each time; the last stays for what follows. */
async function whole(o: TransferOptions, donor: DonorProcess, client: DonorClient, root: string, at: DonorAnswer): Promise<{ rows: Row[]; store: RecordStore }> {
  const [ratio, seconds]: [number[], number[]] = [[], []];
  for (let round = 0; ; round++) {
    const directory = join(root, `fetcher-${round}`);
    const store = await RecordStore.open({ directory });
    const fetched = await fetchFrom(donor, client, store, at);
    ratio.push(fetched.wireBytes / fetched.recordBytes);
    seconds.push(fetched.milliseconds / 1000);
    o.say(`all ${at.records} records: ${(fetched.wireBytes / 2 ** 20).toFixed(1)} MiB, ${(fetched.milliseconds / 1000).toFixed(1)} s`);
    if (round + 1 === o.rounds) {
      return { store, rows: [limited('all of it: wire / record bytes', 'ratio', ratio, 1.1), limited('all of it: time', 's', seconds, 8)] };
    }
    await store.close();
    rmSync(directory, { recursive: true });
  }
}

async function changes(o: TransferOptions, donor: DonorProcess, client: DonorClient, store: RecordStore): Promise<Row[]> {
  const shapes: readonly (readonly [string, Shape, number])[] = [
    [`${o.changed} changes, clustered`, 'clustered', 1.2], [`${o.changed} changes, 50 directories x ${Math.round(o.changed / 100)} files`, 'spread', 1.3],
    [`${o.changed} changes, random`, 'random', 2.1], ['rm -r of 50 directories', 'removed', 1.2],
  ];
  const rows: Row[] = [];
  for (const [name, shape, limit] of shapes) {
    const ratio: number[] = [];
    const milliseconds: number[] = [];
    const trips: number[] = [];
    const records: number[] = [];
    for (let round = 0; round < o.rounds; round++) {
      const fetched = await fetchFrom(donor, client, store, await donor.ask({ type: 'change', shape, records: o.changed }));
      ratio.push(fetched.wireBytes / fetched.recordBytes);
      milliseconds.push(fetched.milliseconds);
      trips.push(fetched.requests);
      records.push(fetched.recordsChanged);
    }
    rows.push(limited(`${name}: wire / record bytes`, 'ratio', ratio, limit), row(`${name}: records`, 'count', records));
    rows.push(row(`${name}: time`, 'ms', milliseconds), row(`${name}: round trips`, 'count', trips));
    o.say(`${name}: done`);
  }
  return rows;
}

async function nothing(o: TransferOptions, donor: DonorProcess, client: DonorClient, store: RecordStore): Promise<Row[]> {
  const [trips, bytes]: [number[], number[]] = [[], []];
  for (let round = 0; round < o.rounds; round++) {
    const fetched = await fetchFrom(donor, client, store, await donor.ask({ type: 'change', shape: 'none', records: 0 }));
    trips.push(fetched.requests);
    bytes.push(fetched.wireBytes);
  }
  return [limited('nothing changed: round trips', 'count', trips, 1), limited('nothing changed: wire', 'bytes', bytes, 2048, '<')];
}

/** Targets are those of a million records. */
export async function benchTransfer(o: TransferOptions): Promise<Report> {
  const cleanup = new Cleanup();
  const root = mkdtempSync(join(tmpdir(), 'vrfs-bench-'));
  cleanup.add(() => { rmSync(root, { recursive: true, force: true }); return Promise.resolve(); });
  const rows: Row[] = [];
  try {
    const donor = await cleanup.started(() => DonorProcess.start(join(root, 'donor')), (d) => d.stop());
    const client = new DonorClient(Buffer.alloc(16));
    cleanup.add(() => client.close());
    o.say(`making ${o.records} records ...`);
    const filled = await donor.ask({ type: 'fill', records: o.records });
    const { store, rows: all } = await whole(o, donor, client, root, filled);
    cleanup.add(() => store.close());
    rows.push(...await changes(o, donor, client, store), ...await nothing(o, donor, client, store), ...all);
    await donor.stop();
    rows.push(...await donorLoss(o.loss, o.rounds, o.say));
  } finally {
    await cleanup.run();
  }
  return report({ records: o.records, rounds: o.rounds, fsync: true, ...o.loss, transport: 'HTTP over loopback, the donor in a process of its own; wire: all bytes of its sockets' }, rows);
}
