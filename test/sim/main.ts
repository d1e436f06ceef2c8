/** `npm run simulate`: one seed with its trace, or a range of seeds with what they covered. */
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { Durability } from '../../vr/configuration.ts';
import { Coverage } from './coverage.ts';
import { applications, DEFAULT_SETTINGS, seedOutcome, type RunSettings, type SeedOutcome } from './run_seed.ts';
import type { Share } from './worker.ts';

const HELP = `npm run simulate -- [options]

  --seed N            one seed; with --trace everything that happens
  --seeds A..B        a range of seeds; stops at the first failure unless --keep-going
  --replicas 3|5      members with a vote at the beginning; default: drawn from the seed
  --durability disk|memory|random
                      default: random (drawn from the seed)
  --application ${Object.keys(applications).join('|')}
                      default: fs
  --members changing|fixed
                      whether members come, go and change their roles; default: ${DEFAULT_SETTINGS.fixedMembers ? 'fixed' : 'changing'}
  --ticks N           virtual milliseconds with faults, default 20000
  --ops N             operations that clients begin in that time, default 600
  --trace             print the trace (of one seed)
  --from T --to T     only the trace lines of these virtual milliseconds
  --keep-going        go on after a failure
  --jobs N            threads that share the range, default 1
`;

function fail(message: string): never {
  process.stderr.write(`simulate: ${message}\n\n${HELP}`);
  process.exit(2);
}

function text(value: string | boolean | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function natural(name: string, value: string | boolean | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  const n = Number(value);
  if (!Number.isInteger(n) || n < 0) fail(`--${name} takes a whole number, not '${String(value)}'`);
  return n;
}

interface Settings {
  readonly run: RunSettings;
  readonly first: number;
  readonly last: number;
  readonly trace: boolean;
  readonly keepGoing: boolean;
  readonly jobs: number;
  readonly from: number;
  readonly to: number;
}

function commandLine(): Partial<Record<string, string | boolean>> {
  const config = {
    options: {
      seed: { type: 'string' }, seeds: { type: 'string' }, replicas: { type: 'string' }, durability: { type: 'string' }, application: { type: 'string' }, members: { type: 'string' },
      ticks: { type: 'string' }, ops: { type: 'string' }, trace: { type: 'boolean' }, from: { type: 'string' }, to: { type: 'string' },
      'keep-going': { type: 'boolean' }, jobs: { type: 'string' }, help: { type: 'boolean' },
    },
  } as const;
  try {
    return parseArgs(config).values;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

function settings(): Settings {
  const values = commandLine();
  if (values.help === true) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const range = /^(\d+)\.\.(\d+)$/.exec(text(values.seeds) ?? '1..100');
  if (range === null) fail(`--seeds takes A..B, not '${String(values.seeds)}'`);
  if (Number(range[1]) > Number(range[2])) fail(`--seeds ${String(values.seeds)} is an empty range: the first seed comes first`);
  const one = values.seed === undefined ? undefined : natural('seed', values.seed, 1);
  const replicas = values.replicas === undefined ? null : natural('replicas', values.replicas, 3);
  if (replicas !== null && (replicas < 1 || replicas > 9)) fail('--replicas takes 1 to 9');
  const durability = text(values.durability) ?? 'random';
  if (durability !== 'disk' && durability !== 'memory' && durability !== 'random') fail(`--durability takes disk, memory or random, not '${durability}'`);
  const application = text(values.application) ?? 'fs';
  if (!(application in applications)) fail(`--application takes ${Object.keys(applications).join(' or ')}, not '${application}'`);
  const members = text(values.members) ?? (DEFAULT_SETTINGS.fixedMembers ? 'fixed' : 'changing');
  if (members !== 'fixed' && members !== 'changing') fail(`--members takes changing or fixed, not '${members}'`);
  return {
    run: {
      fixedMembers: members === 'fixed', replicas, durability: durability === 'random' ? null : (durability satisfies Durability), application,
      ticks: natural('ticks', values.ticks, DEFAULT_SETTINGS.ticks), operations: natural('ops', values.ops, DEFAULT_SETTINGS.operations),
    },
    first: one ?? Number(range[1]), last: one ?? Number(range[2]),
    trace: values.trace === true, jobs: Math.max(1, natural('jobs', values.jobs, 1)), keepGoing: values['keep-going'] === true, from: natural('from', values.from, 0), to: natural('to', values.to, Infinity),
  };
}

class Report {
  readonly #total = new Coverage();
  readonly #started = process.hrtime.bigint();
  #seeds = 0;
  failures = 0;

  add(o: SeedOutcome): void {
    this.#seeds++;
    for (const [what, n] of o.counts) this.#total.count(what, n);
    if (o.failure === null) return;
    this.failures++;
    process.stdout.write(`seed ${o.seed} FAILED at ${o.ticks} ms: ${o.failure}\n\nreplay it with\n  ${o.command}\n\n`);
  }

  end(): never {
    const minutes = Number(process.hrtime.bigint() - this.#started) / 60e9;
    process.stdout.write(`${this.#total.lines().join('\n')}\n${this.#seeds} seeds, ${Math.round(this.#seeds / minutes)} seeds a minute, ${this.failures} failed\n`);
    process.exit(this.failures === 0 ? 0 : 1);
  }
}

async function main(): Promise<void> {
  const { run, first, last, trace, keepGoing, jobs, from, to } = settings();
  const report = new Report();
  if (first === last) {
    const outcome = seedOutcome(first, run, trace ? (line): void => {
      const at = Number(line.slice(0, 7));
      if (at >= from && at <= to) process.stdout.write(`${line}\n`);
    } : undefined);
    process.stdout.write(`seed ${first}: fingerprint ${outcome.fingerprint.toString(16)}\n`);
    report.add(outcome);
    return report.end();
  }
  if (jobs === 1) {
    for (let seed = first; seed <= last && (keepGoing || report.failures === 0); seed++) report.add(seedOutcome(seed, run));
    return report.end();
  }
  const worker = (index: number): Promise<void> => new Promise((resolve, reject) => {
    const share: Share = { run, first: first + index, last, step: jobs };
    const thread = new Worker(new URL('./worker.js', import.meta.url), { workerData: share });
    thread.on('message', (outcome: SeedOutcome) => {
      report.add(outcome);
      if (report.failures > 0 && !keepGoing) report.end();
    });
    thread.on('error', reject);
    thread.on('exit', () => resolve());
  });
  await Promise.all(Array.from({ length: jobs }, (_, i) => worker(i)));
  return report.end();
}

await main();
