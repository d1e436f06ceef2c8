/**
 * What clients of a group lose while a replica fetches all of its state: creates/s of the two that run without the third, against those while the third,
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
import { runLoad, type Workload } from './load.ts';
import { row, type Row } from './report.ts';

export interface LossOptions {
  /** Files that there are to begin with; three records each. */
  readonly files: number;
  readonly inFlight: number;
  /** Length of a measurement without a transfer. */
  readonly seconds: number;
}

const BOUND_MS = 300_000;
const SLICE_MS = 1000;
const FILES_PER_DIRECTORY = 1000;
const ALL = [0, 1, 2];
const FETCHER = 2;
const DONORS_CORE = '0';
const FETCHERS_CORE = '1';
const credentials = { uid: 0, gid: 0, groups: [] };

const call = (operation: Operation): Buffer => encodeCall({ credentials, operation });
const CREATES: Workload = {
  write: true,
  body: (n) => call({ type: 'create', at: { dir: ROOT_INO, path: Buffer.from(`d${Math.floor(n / FILES_PER_DIRECTORY)}/file-${n}`) }, mode: 0o644, exclusive: true, truncate: false }),
};

class Load {
  readonly #client: VrfsClient;
  readonly #inFlight: number;
  #next = 0;
  #directories = 0;

  constructor(client: VrfsClient, inFlight: number) {
    this.#client = client;
    this.#inFlight = inFlight;
  }

  get files(): number {
    return this.#next;
  }

  /** Directories for so many more files. */
  async prepare(more: number): Promise<void> {
    for (; this.#directories * FILES_PER_DIRECTORY < this.#next + more; this.#directories++) {
      const made = await this.#client.submit({ credentials, operation: { type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(`d${this.#directories}`) }, mode: 0o755 } });
      if (!made.ok) throw new Error(`mkdir d${this.#directories}: errno ${made.errno}`);
    }
  }

  /** Creates a second. */
  async run(milliseconds: number): Promise<number> {
    const { perSecond, next } = await runLoad(this.#client, CREATES, this.#inFlight, milliseconds, this.#next);
    this.#next = next;
    return perSecond;
  }
}

/** Directories for a measurement of this many seconds, at any speed that is likely. */
const enough = (seconds: number): number => Math.ceil(seconds * 30_000);

/**
 * Creates a second while the third replica fetches, from when it begins until it has a state. How far it is, its log says: to ask it all the time would take processor
 * time of the load.
 */
async function whileFetching(group: ProcessGroup, load: Load): Promise<{ perSecond: number; bytes: number; ms: number }> {
  await load.prepare(enough(120));
  const before = group.log(FETCHER).length;
  const says = (message: string): boolean => group.log(FETCHER).includes(`"msg":"${message}"`, before);
  group.start(FETCHER);
  await until('a transfer', BOUND_MS, () => (says('state-transfer') ? true : undefined));
  const started = load.files;
  const began = performance.now();
  while (!says('state-installed')) {
    await load.run(SLICE_MS);
    if (performance.now() - began > BOUND_MS) throw new Error(`no state within ${BOUND_MS} ms`);
  }
  const perSecond = (load.files - started) * 1000 / (performance.now() - began);
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
    while (load.files < o.files) {
      await load.prepare(enough(1));
      await load.run(1000);
    }
    const [loss, before, during, bytes, seconds]: number[][] = [[], [], [], [], []];
    for (let round = 0; round < rounds; round++) {
      await group.signal(FETCHER, 'SIGKILL');
      rmSync(join(group.data(FETCHER), 'records'), { recursive: true });
      await load.prepare(enough(o.seconds));
      const without = await load.run(o.seconds * 1000);
      const fetching = await whileFetching(group, load);
      loss?.push((1 - fetching.perSecond / without) * 100);
      before?.push(without);
      during?.push(fetching.perSecond);
      bytes?.push(fetching.bytes);
      seconds?.push(fetching.ms / 1000);
      say(`${Math.round(without)} creates/s, ${Math.round(fetching.perSecond)} while ${(fetching.bytes / 2 ** 20).toFixed(1)} MiB are fetched in ${(fetching.ms / 1000).toFixed(1)} s`);
      await group.normal(ALL, BOUND_MS);
    }
    await client.close();
    const lost = row('throughput lost while all of it is given', '%', loss ?? []);
    return [
      { ...lost, target: '< 20', ok: lost.value < 20 },
      row('creates without a transfer', '1/s', before ?? []), row('creates during it', '1/s', during ?? []), row('fetched', 'bytes', bytes ?? []), row('fetched in', 's', seconds ?? []),
    ];
  } finally {
    restore();
    await group.destroy();
  }
}
