/** `npm run simulate`: one seed with its trace, or a range of seeds with what they covered. */
import { parseArgs } from 'node:util';
import type { Durability } from '../../vr/configuration.ts';
import { Coverage } from './coverage.ts';
import { applications, DEFAULT_SETTINGS, runSeed, type RunSettings } from './run_seed.ts';

const HELP = `npm run simulate -- [options]

  --seed N            one seed; with --trace everything that happens
  --seeds A..B        a range of seeds; stops at the first failure unless --keep-going
  --replicas 3|5      default: drawn from the seed
  --durability disk|memory|random
                      default: random (drawn from the seed)
  --application ${Object.keys(applications).join('|')}
                      default: fs
  --ticks N           virtual milliseconds with faults, default 20000
  --ops N             operations that clients begin in that time, default 600
  --trace             print the trace (of one seed)
  --from T --to T     only the trace lines of these virtual milliseconds
  --keep-going        go on after a failure
`;

function fail(message: string): never {
  process.stderr.write(`simulate: ${message}\n\n${HELP}`);
  process.exit(2);
}

function natural(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const n = Number(text);
  if (!Number.isInteger(n) || n < 0) fail(`--${name} takes a whole number, not '${text}'`);
  return n;
}

function settings(): { run: RunSettings; first: number; last: number; trace: boolean; keepGoing: boolean; from: number; to: number } {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' }, seeds: { type: 'string' }, replicas: { type: 'string' }, durability: { type: 'string' }, application: { type: 'string' },
      ticks: { type: 'string' }, ops: { type: 'string' }, trace: { type: 'boolean' }, from: { type: 'string' }, to: { type: 'string' },
      'keep-going': { type: 'boolean' }, help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const range = /^(\d+)\.\.(\d+)$/.exec(values.seeds ?? '1..100');
  if (range === null) fail(`--seeds takes A..B, not '${values.seeds}'`);
  const one = values.seed === undefined ? undefined : natural('seed', values.seed, 1);
  const replicas = values.replicas === undefined ? null : natural('replicas', values.replicas, 3);
  if (replicas !== null && (replicas < 1 || replicas > 9)) fail('--replicas takes 1 to 9');
  const durability = values.durability ?? 'random';
  if (durability !== 'disk' && durability !== 'memory' && durability !== 'random') fail(`--durability takes disk, memory or random, not '${durability}'`);
  const application = values.application ?? 'fs';
  if (!(application in applications)) fail(`--application takes ${Object.keys(applications).join(' or ')}, not '${application}'`);
  return {
    run: {
      replicas, durability: durability === 'random' ? null : (durability satisfies Durability), application,
      ticks: natural('ticks', values.ticks, DEFAULT_SETTINGS.ticks), operations: natural('ops', values.ops, DEFAULT_SETTINGS.operations),
    },
    first: one ?? Number(range[1]), last: one ?? Number(range[2]),
    trace: values.trace === true, keepGoing: values['keep-going'] === true, from: natural('from', values.from, 0), to: natural('to', values.to, Infinity),
  };
}

function main(): void {
  const { run, first, last, trace, keepGoing, from, to } = settings();
  const total = new Coverage();
  const started = process.hrtime.bigint();
  let seeds = 0;
  let failures = 0;
  const print = trace ? (line: string): void => {
    const at = Number(line.slice(0, 7));
    if (at >= from && at <= to) process.stdout.write(`${line}\n`);
  } : undefined;
  for (let seed = first; seed <= last; seed++) {
    const { result, command } = runSeed(seed, run, print);
    seeds++;
    total.add(result.coverage);
    if (first === last) process.stdout.write(`seed ${seed}: fingerprint ${result.fingerprint.toString(16)}\n`);
    if (result.violation === null) continue;
    failures++;
    process.stdout.write(`seed ${seed} FAILED at ${result.ticks} ms: ${result.violation.message}\n${result.violation.stack ?? ''}\n\nreplay it with\n  ${command}\n\n`);
    if (!keepGoing) break;
  }
  const minutes = Number(process.hrtime.bigint() - started) / 60e9;
  process.stdout.write(`${total.lines().join('\n')}\n${seeds} seeds, ${Math.round(seeds / minutes)} seeds a minute, ${failures} failed\n`);
  process.exit(failures === 0 ? 0 : 1);
}

main();
