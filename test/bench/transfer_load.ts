/**
 * What clients of a group lose while a replica fetches all of its state: creates and removals a second at the two that run without the third, against those while the third,
 * whose records are gone, fetches from the backup. Those two and the load have one core, the fetcher the other, as if it were another machine: what
 * the fetcher itself takes of its processor is nothing that a donor's clients lose.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { VrfsClient } from '../../client/client.ts';
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { defined } from '../../lib/assert.ts';
import { ROOT_INO, type Operation } from '../../fsservice/operations.ts';
import { LOOPBACK, ProcessGroup, until } from '../support/process_group.ts';
import { runLoad } from './load.ts';
import { row, type Row } from './report.ts';

export interface LossOptions {
  /** Files that there are to begin with; three records each. */
  readonly files: number;
  readonly inFlight: number;
  /** Length of a measurement without a transfer; longer than 20, so that no transfer is taken for one more of the same chase (checkpoint/pace.ts). */
  readonly seconds: number;
}

const BOUND_MS = 300_000;
const LOOK_MS = 50;
const FILES_PER_DIRECTORY = 1000;
const ALL = [0, 1, 2];
const FETCHER = 2;
const DONORS_CORE = '0';
const FETCHERS_CORE = '1';
const credentials = { uid: 0, gid: 0, groups: [] };

const call = (operation: Operation): Buffer => encodeCall({ credentials, operation });
const file = (n: number): { readonly dir: typeof ROOT_INO; readonly path: Buffer } => ({ dir: ROOT_INO, path: Buffer.from(`d${Math.floor(n / FILES_PER_DIRECTORY)}/file-${n}`) });
const create = (n: number): Buffer => call({ type: 'create', at: file(n), mode: 0o644, exclusive: true, truncate: false });

/** Creates files, and once there are enough of them removes the oldest for each that is made: what is fetched stays as large as it is. */
class Load {
  readonly #client: VrfsClient;
  readonly #inFlight: number;
  #made = 0;
  #removed = 0;
  #directories = 0;

  constructor(client: VrfsClient, inFlight: number) {
    this.#client = client;
    this.#inFlight = inFlight;
  }

  get made(): number {
    return this.#made;
  }

  /** Directories for so many more files. */
  async prepare(more: number): Promise<void> {
    for (; this.#directories * FILES_PER_DIRECTORY < this.#made + more; this.#directories++) {
      const made = await this.#client.submit({ credentials, operation: { type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(`d${this.#directories}`) }, mode: 0o755 } });
      if (!made.ok) throw new Error(`mkdir d${this.#directories}: errno ${made.errno}`);
    }
  }

  async fill(milliseconds: number): Promise<void> {
    ({ next: this.#made } = await runLoad(this.#client, { write: true, body: create }, this.#inFlight, milliseconds, this.#made));
  }

  /** One is made, one is removed, for so long, or until `stop`. Operations a second. */
  async churn(milliseconds: number, stop?: AbortSignal): Promise<number> {
    const body = (n: number): Buffer => (n % 2 === 0 ? create(this.#made + n / 2) : call({ type: 'unlink', at: file(this.#removed + (n - 1) / 2) }));
    const { perSecond, next } = await runLoad(this.#client, { write: true, body }, this.#inFlight, milliseconds, 0, stop);
    // An even number, so that as many are there as before.
    const pairs = Math.ceil(next / 2);
    this.#made += pairs;
    this.#removed += pairs;
    return perSecond;
  }
}

/** Directories for a measurement of this many seconds, at any speed that is likely. */
const enough = (seconds: number): number => Math.ceil(seconds * 30_000);

/**
 * Operations a second while the third replica fetches, from when it begins until it has a state. How far it is, its log says: to ask it all the time would take processor
 * time of the load.
 */
async function whileFetching(group: ProcessGroup, load: Load): Promise<{ perSecond: number; bytes: number; ms: number }> {
  await load.prepare(enough(120));
  const before = group.log(FETCHER).length;
  const says = (message: string): boolean => group.log(FETCHER).includes(`"msg":"${message}"`, before);
  group.start(FETCHER);
  await until('a transfer', BOUND_MS, () => (says('state-transfer') ? true : undefined));
  // One load for all of it, as in the measurement that it is compared with: it ends with the transfer, to some LOOK_MS.
  const installed = new AbortController();
  const [perSecond] = await Promise.all([load.churn(BOUND_MS, installed.signal), until('a state', BOUND_MS, () => {
    if (!says('state-installed')) return undefined;
    installed.abort();
    return true;
  }, LOOK_MS)]);
  const { bytesReceived, milliseconds } = defined((await group.status(FETCHER))?.recovery.lastTransfer ?? undefined, 'a transfer that has ended');
  return { perSecond, bytes: bytesReceived, ms: milliseconds };
}

/** This process, with all its threads; undone by what is returned. */
function ownCore(core: string): () => void {
  const all = `0-${availableParallelism() - 1}`;
  const set = (cores: string): void => {
    const { status, stderr, error } = spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', cores, String(process.pid)], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`this benchmark gives each side a core of its own by taskset (Debian package util-linux): ${error?.message ?? stderr}`);
  };
  set(core);
  return () => { set(all); };
}

export async function donorLoss(o: LossOptions, rounds: number, say: (line: string) => void): Promise<Row[]> {
  const cores = availableParallelism();
  if (cores < 2) throw new Error(`the donors and the fetcher need a core each, and there is ${cores}`);
  const group = await ProcessGroup.create({
    config: { logLevel: 'info' },
    network: { ...LOOPBACK, launcher: (index) => ['taskset', '--cpu-list', index === FETCHER ? FETCHERS_CORE : DONORS_CORE] },
  });
  const restore = ownCore(DONORS_CORE);
  try {
    group.startAll();
    await group.normal(ALL);
    const client = await VrfsClient.connect({ servers: group.servers, name: 'bench', requestTimeoutMs: 60_000 });
    const load = new Load(client, o.inFlight);
    say(`making ${o.files} files ...`);
    while (load.made < o.files) {
      await load.prepare(enough(1));
      await load.fill(1000);
    }
    /** Of the two that are left when the third is killed. */
    const alone = async (): Promise<number> => {
      await group.signal(FETCHER, 'SIGKILL');
      await load.prepare(enough(o.seconds));
      return await load.churn(o.seconds * 1000);
    };
    const without = [await alone()];
    const fetched: { readonly perSecond: number; readonly bytes: number; readonly ms: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      rmSync(join(group.data(FETCHER), 'records'), { recursive: true });
      const one = await whileFetching(group, load);
      fetched.push(one);
      await group.normal(ALL, BOUND_MS);
      without.push(await alone());
      say(`${Math.round(without[round] ?? NaN)} operations/s, ${Math.round(one.perSecond)} while ${(one.bytes / 2 ** 20).toFixed(1)} MiB are fetched in ${(one.ms / 1000).toFixed(1)} s, then ${Math.round(without[round + 1] ?? NaN)}`);
    }
    // Against what there was before and what there is behind.
    const loss = fetched.map(({ perSecond }, round) => (1 - (2 * perSecond) / ((without[round] ?? NaN) + (without[round + 1] ?? NaN))) * 100);
    await client.close();
    const lost = row('throughput lost while all of it is given', '%', loss);
    return [
      { ...lost, target: '< 20', ok: lost.value < 20 },
      row('operations without a transfer', '1/s', without), row('operations during it', '1/s', fetched.map((f) => f.perSecond)), row('fetched', 'bytes', fetched.map((f) => f.bytes)), row('fetched in', 's', fetched.map((f) => f.ms / 1000)),
    ];
  } finally {
    restore();
    await group.destroy();
  }
}
