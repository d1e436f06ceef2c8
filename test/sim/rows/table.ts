/** The mutant table: for each row what its scenarios say without and with each mutant, and how many seeds kill the mutant. */
import { EXPECTATION, type Mutant, type Row } from './row.ts';
import { runScenario, runSeedAgainst, runSeedWithout, type Failure } from './run.ts';

/** What is wrong with the table itself: a fix that does not hold, a row that proves nothing. */
export type Fault = string;

export interface SeedCount {
  readonly first: number;
  readonly last: number;
  /** Seeds in which the mutant does the damage that it is expected to do. */
  readonly killed: number;
  /** Seeds in which something else goes wrong because of it, by invariant. */
  readonly otherwise: Readonly<Record<string, number>>;
}

export interface Line {
  readonly row: number | null;
  readonly title: string;
  readonly mutant: string;
  readonly scenario: string;
  /** Null: the scenario does not notice the mutant. */
  readonly killedBy: Failure | null;
  /** Null: no seeds were asked for. */
  readonly seeds: SeedCount | null;
}

/** All scenarios of the row, without a mutant. */
export function checkScenarios(row: Row): Fault[] {
  const faults: Fault[] = [];
  for (const scenario of row.scenarios) {
    const failure = runScenario(scenario, {});
    if (failure !== null) faults.push(`${nameOf(row)}, '${scenario.name}' fails without any mutant: ${failure.what}: ${failure.message}`);
  }
  return faults;
}

/** The mutant in its scenario. */
export function checkMutant(row: Row, mutant: Mutant): { readonly killedBy: Failure | null; readonly fault: Fault | null } {
  const killedBy = runScenario(mutant.scenario, mutant.breakage);
  const what = `${nameOf(row)}, mutant '${mutant.name}' in '${mutant.scenario.name}'`;
  if (killedBy === null) return { killedBy, fault: `${what} is not killed` };
  if (!mutant.killedBy.includes(killedBy.what)) return { killedBy, fault: `${what} is killed by ${killedBy.what} (${killedBy.message}), not by ${mutant.killedBy.join(' or ')}` };
  return { killedBy, fault: null };
}

/** A seed counts when the same world without the mutant is sound. */
export function countSeeds(row: Row, mutant: Mutant, first: number, last: number): { readonly count: SeedCount; readonly faults: readonly Fault[] } {
  let killed = 0;
  const otherwise: Record<string, number> = {};
  const faults: Fault[] = [];
  for (let seed = first; seed <= last; seed++) {
    const failure = runSeedAgainst(mutant, seed);
    if (failure === null) continue;
    const without = runSeedWithout(mutant, seed);
    if (without !== null) faults.push(`${nameOf(row)}, seed ${seed} of mutant '${mutant.name}' fails without the mutant: ${without.what}: ${without.message}`);
    else if (mutant.foundBy.includes(failure.what)) killed++;
    else otherwise[failure.what] = (otherwise[failure.what] ?? 0) + 1;
  }
  return { count: { first, last, killed, otherwise }, faults };
}

export function nameOf(row: Row): string {
  return row.row === null ? row.title : `row ${row.row}`;
}

/** One line for people; a scenario's own demand is told in its words. */
export function format(line: Line): string {
  const { killedBy, seeds } = line;
  const how = killedBy === null ? 'NOT KILLED' : killedBy.what === EXPECTATION ? (killedBy.message.split(';')[0] ?? '') : killedBy.what;
  const columns = [line.row === null ? '' : `${line.row}`, line.title, line.mutant, line.scenario, how];
  if (seeds !== null) columns.push(formatCount(seeds));
  return `| ${columns.join(' | ')} |`;
}

function formatCount({ first, last, killed, otherwise }: SeedCount): string {
  const others = Object.entries(otherwise).map(([what, n]) => `, ${n} ${what}`).join('');
  return `${killed} of ${last - first + 1}${others}`;
}

export function heading(seeds: boolean): string {
  const columns = ['Row', 'What', 'Mutant', 'Scenario', 'Killed by', ...(seeds ? ['Seeds that kill it'] : [])];
  return `| ${columns.join(' | ')} |\n|${columns.map(() => '---|').join('')}`;
}
