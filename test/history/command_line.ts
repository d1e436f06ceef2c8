/** The command line of `vrfs-test`: arguments in, exit code out. */
import { resolve } from 'node:path';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import type { Durability } from '../../vr/configuration.ts';
import { checkHistory } from './check_history.ts';
import { HistoryFormatError, readHistory } from './format.ts';
import { NamespaceError } from './namespaces.ts';
import { FAULT_KINDS, type FaultKind } from './nemesis.ts';
import { runHistory } from './run.ts';
import { operationLines, verdictLines } from './summary.ts';

/** As those of `vrfs` (cli/exit_codes.ts), as far as they go. */
const EXIT = { ok: 0, failed: 1, usage: 2, environment: 5 } as const;

export interface Output {
  out(text: string): void;
  error(text: string): void;
}

/** The file can be read and proves nothing. */
class EmptyHistory extends Error {
  override readonly name = 'EmptyHistory';
}

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

function build(output: Output, exit: (code: number) => void): Command {
  const program = new Command('vrfs-test').description('Tests of a whole group that are not part of the test suite.');
  // Inherited by the commands, so before they are made: errors become exit codes in one place.
  program.exitOverride().showHelpAfterError('(--help shows what there is)').configureOutput({ writeOut: (text) => { output.out(text); }, writeErr: (text) => { output.error(text); } });
  const history = program
    .command('history')
    .description('Runs a group of processes, each in a network namespace of its own, injects faults while clients use it over HTTP, writes what they saw into a file, and checks that it is linearizable, and causal and bounded reads no staler than they may be. Needs root. Exit code 1: it is not, or the run shows nothing; 2: the command line is wrong, or a file cannot be read.')
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
      output.out(`${f.replicas} replicas${f.witnesses === 0 ? '' : `, ${f.witnesses} of them witnesses`}, ${f.durability}, ${f.seconds} s, faults: ${f.faults.join(', ') || 'none'}, --seed ${seed}\n`);
      exit(await runHistory({ seconds: f.seconds, faults: f.faults, out: resolve(f.out), replicas: f.replicas, witnesses: f.witnesses, durability: f.durability, seed, loops: f.loops }, f.keep));
    });
  history
    .command('check <file>')
    .description('checks a history that is there already')
    .action((file: string) => {
      exit(check(file, output));
    });
  return program;
}

function check(file: string, output: Output): number {
  const { operations } = readHistory(file);
  if (operations.length === 0) throw new EmptyHistory(`the history ${file} has a header and no operation: there is nothing in it to check`);
  if (operations.every((o) => o.outcome !== 'ok')) throw new EmptyHistory(`none of the ${operations.length} operations in the history ${file} was answered: there is nothing in it to check`);
  const verdict = checkHistory(operations);
  output.out(`${[...operationLines(operations), ...verdictLines(verdict)].join('\n')}\n`);
  return verdict.linearizable ? EXIT.ok : EXIT.failed;
}

/** `args`: without the interpreter and the script. */
export async function runCommandLine(args: readonly string[], output: Output): Promise<number> {
  let code: number = EXIT.ok;
  try {
    await build(output, (given) => { code = given; }).parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    // Commander has said what it has to say: help, or what is wrong.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (!(error instanceof HistoryFormatError || error instanceof EmptyHistory || error instanceof NamespaceError)) throw error;
    output.error(`vrfs-test: ${error.message}\n`);
    return error instanceof NamespaceError ? EXIT.environment : EXIT.usage;
  }
}
