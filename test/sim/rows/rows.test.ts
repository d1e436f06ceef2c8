/** The mutant table without its seeds: each row's scenarios hold, and each mutant is killed by its scenario, in the way that it is expected to be. */
import { describe, expect, it } from 'vitest';
import { ROWS } from './all.ts';
import { runScenario } from './run.ts';
import { checkMutant } from './table.ts';

const LAST_ROW = 22;

it('there is a row for each of PROTOCOL section 3, and each has a mutant', () => {
  expect(ROWS.flatMap((r) => (r.row === null ? [] : [r.row]))).toEqual(Array.from({ length: LAST_ROW }, (_, i) => i + 1));
  expect(ROWS.filter((r) => r.mutants.length === 0)).toEqual([]);
  const names = ROWS.flatMap((r) => r.mutants.map((m) => m.name));
  expect(new Set(names).size).toBe(names.length);
  for (const row of ROWS) for (const mutant of row.mutants) expect(row.scenarios).toContain(mutant.scenario);
});

describe.each(ROWS.map((r) => [`${r.row ?? '-'}: ${r.title}`, r] as const))('row %s', (_name, row) => {
  it.each(row.scenarios.map((s) => [s.name, s] as const))('%s', (_scenario, scenario) => {
    expect(runScenario(scenario, {})).toBeNull();
  });

  it.each(row.mutants.map((m) => [m.name, m] as const))('mutant: %s', (_mutant, mutant) => {
    expect(checkMutant(row, mutant).fault).toBeNull();
  });
});
