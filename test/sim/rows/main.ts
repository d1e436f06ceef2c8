/** `npm run simulate:mutants`: prints the mutant table. */
import { parseArgs } from 'node:util';
import { ROWS } from './all.ts';
import { checkMutant, checkScenarios, countSeeds, format, heading, type Line } from './table.ts';

const HELP = `npm run simulate:mutants -- [options]

For each row of docs/PROTOCOL.md where the paper is wrong or silent: the scenarios without a mutant, each mutant in its scenario, and how
many random seeds kill it. Exit code 1 when a row has no killer, a mutant lives, or something fails without a mutant.

  --row N             one row only
  --seeds A..B        the seeds that are tried with each mutant, default 1..40; none: scenarios only
  --json              the table as JSON, with what was found word by word
`;

function fail(message: string): never {
  process.stderr.write(`simulate:mutants: ${message}\n\n${HELP}`);
  process.exit(2);
}

interface Settings {
  readonly row: number | null;
  readonly seeds: { readonly first: number; readonly last: number } | null;
  readonly json: boolean;
}

function commandLine(): { readonly row?: string; readonly seeds?: string; readonly json?: boolean; readonly help?: boolean } {
  try {
    return parseArgs({ options: { row: { type: 'string' }, seeds: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean' } } }).values;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

function range(text: string): Settings['seeds'] {
  if (text === 'none') return null;
  const parts = /^(\d+)\.\.(\d+)$/.exec(text);
  if (parts === null) fail(`--seeds takes A..B or none, not '${text}'`);
  const [first, last] = [Number(parts[1]), Number(parts[2])];
  if (first > last) fail(`--seeds ${text} is an empty range: the first seed comes first`);
  return { first, last };
}

function settings(): Settings {
  const values = commandLine();
  if (values.help === true) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const row = values.row === undefined ? null : Number(values.row);
  if (row !== null && !ROWS.some((r) => r.row === row)) fail(`--row takes 1 to ${Math.max(...ROWS.map((r) => r.row ?? 0))}, not '${String(values.row)}'`);
  return { row, seeds: range(values.seeds ?? '1..40'), json: values.json === true };
}

function main(): void {
  const { row: only, seeds, json } = settings();
  const lines: Line[] = [];
  const faults: string[] = [];
  if (!json) process.stdout.write(`${heading(seeds !== null)}\n`);
  for (const row of ROWS) {
    if (only !== null && row.row !== only) continue;
    faults.push(...checkScenarios(row));
    if (row.mutants.length === 0) faults.push(`row ${String(row.row)} has no mutant`);
    for (const mutant of row.mutants) {
      const { killedBy, fault } = checkMutant(row, mutant);
      if (fault !== null) faults.push(fault);
      const counted = seeds === null ? null : countSeeds(row, mutant, seeds.first, seeds.last);
      faults.push(...(counted?.faults ?? []));
      const line: Line = { row: row.row, title: row.title, mutant: mutant.name, scenario: mutant.scenario.name, killedBy, seeds: counted?.count ?? null };
      lines.push(line);
      if (!json) process.stdout.write(`${format(line)}\n`);
    }
  }
  process.stdout.write(json ? `${JSON.stringify({ lines, faults }, null, 2)}\n` : `\n${lines.length} mutants, ${faults.length} faults\n${faults.map((f) => `${f}\n`).join('')}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

main();
