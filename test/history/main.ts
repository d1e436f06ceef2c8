#!/usr/bin/env node
/** `vrfs-test history`, `npm run history`: histories of a real group under faults, and whether they are linearizable. */
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import type { Durability } from '../../vr/configuration.ts';
import { checkHistory } from './check_history.ts';
import { HistoryFormatError, readHistory } from './format.ts';
import { NamespaceError } from './namespaces.ts';
import { FAULT_KINDS, type FaultKind } from './nemesis.ts';
import { runHistory } from './run.ts';
import { operationLines, verdictLines } from './summary.ts';

const ENVIRONMENT = 5;

function natural(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 0) throw new InvalidArgumentError('a whole number from 0 on');
  return n;
}
function seconds(text: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n < 1 || n > 3600) throw new InvalidArgumentError('seconds from 1 to 3600');
  return n;
}
function replicas(text: string): number {
  if (text !== '3' && text !== '5') throw new InvalidArgumentError('3 or 5');
  return Number(text);
}
function loops(text: string): number {
  const n = natural(text);
  if (n < 1 || n > 50) throw new InvalidArgumentError('1 to 50');
  return n;
}
function faults(text: string): FaultKind[] {
  if (text === 'none') return [];
  return text.split(',').map((kind) => {
    const known = FAULT_KINDS.find((k) => k === kind);
    if (known === undefined) throw new InvalidArgumentError(`${FAULT_KINDS.join(', ')}, some of them with commas, or none`);
    return known;
  });
}
function durability(text: string): Durability {
  if (text !== 'disk' && text !== 'memory') throw new InvalidArgumentError('disk or memory');
  return text;
}

interface Flags {
  readonly seconds: number;
  readonly faults: FaultKind[];
  readonly out: string;
  readonly replicas: number;
  readonly witnesses: number;
  readonly durability: Durability;
  readonly seed?: number;
  readonly loops: number;
  readonly keep: boolean;
}

const program = new Command('vrfs-test').description('Tests of a whole group that are not part of the test suite.');
const history = program
  .command('history')
  .description('Runs a group of processes, each in a network namespace of its own, injects faults while clients use it over HTTP, writes what they saw into a file, and checks that it is linearizable. Needs root. Exit code 1: it is not, or the run shows nothing.')
  .option('--seconds <n>', 'length of the load', seconds, 30)
  .option('--faults <kinds>', `${FAULT_KINDS.join(',')}, or none`, faults, ['kill', 'pause', 'partition'])
  .option('--out <file>', 'the history (docs/TESTING.md describes the format); the faults go to <file>.faults', 'history.jsonl')
  .option('--replicas <n>', '3 or 5', replicas, 3)
  .option('--witnesses <n>', 'how many of them are witnesses, which vote and keep no files', natural, 0)
  .option('--durability <mode>', 'disk or memory', durability, 'disk')
  .option('--seed <n>', 'what is drawn: calls and faults (when things happen is up to the machine)', natural)
  .option('--loops <n>', 'callers that do everything in each of the three client programs, beside some that only read', loops, 3)
  .option('--keep', 'keep data and logs of the replicas, also after a run that went well', false)
  .action(async (f: Flags) => {
    if (f.witnesses > f.replicas - 2) history.error(`error: --witnesses ${f.witnesses} leaves fewer than two of ${f.replicas} replicas that can be primary`);
    const seed = f.seed ?? Math.floor(Math.random() * 1e9);
    process.stdout.write(`${f.replicas} replicas${f.witnesses === 0 ? '' : `, ${f.witnesses} of them witnesses`}, ${f.durability}, ${f.seconds} s, faults: ${f.faults.join(', ') || 'none'}, --seed ${seed}\n`);
    process.exitCode = await runHistory({ seconds: f.seconds, faults: f.faults, out: resolve(f.out), replicas: f.replicas, witnesses: f.witnesses, durability: f.durability, seed, loops: f.loops }, f.keep);
  });
history
  .command('check <file>')
  .description('checks a history that is there already')
  .action((file: string) => {
    const { operations } = readHistory(file);
    const verdict = checkHistory(operations);
    process.stdout.write(`${[...operationLines(operations), ...verdictLines(verdict)].join('\n')}\n`);
    process.exitCode = verdict.linearizable ? 0 : 1;
  });

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof HistoryFormatError || error instanceof NamespaceError)) throw error;
  process.stderr.write(`vrfs-test: ${error.message}\n`);
  process.exitCode = error instanceof NamespaceError ? ENVIRONMENT : 1;
}
