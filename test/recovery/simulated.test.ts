/**
 * Replicas of the simulator that were down while the group went on: every size of state, every kind of change, good and bad donors, both modes. In the end the
 * records are those of a replica that was never down, and the checkers have compared all roots on the way.
 */
import { describe, expect, test } from 'vitest';
import { opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { PAGE_RECORDS } from '../../checkpoint/page.ts';
import { rootOfRecords } from '../sim/checkpoints.ts';
import { Scenario } from '../sim/scenario.ts';
import { bulkRecords, encodeBulk, type Bulk } from './bulk_records.ts';
import { sized } from './size.ts';

const SIZES = [0, 1, PAGE_RECORDS, PAGE_RECORDS + 1, sized(2000, 100_000)];
const EVERY = 5;
const DOWN = 4;
/** Donors are asked in the order of their member ids; who leads is another. */
const ASKED_FIRST = 0;
const LEADS = 1;

const CHANGES: Readonly<Record<string, (size: number) => readonly Bulk[]>> = {
  none: () => [],
  one: (size) => [{ from: size >> 1, step: 1, count: 1, value: 7 }],
  clustered: (size) => [{ from: size >> 2, step: 1, count: Math.min(1000, (size >> 2) + 1), value: 7 }],
  scattered: (size) => [{ from: 0, step: 7, count: Math.ceil(size / 7), value: 7 }, { from: 3, step: 11, count: Math.ceil(size / 11), value: 0 }],
  'rm -r': (size) => [{ from: size >> 1, step: 1, count: size >> 2, value: 0 }],
  everything: (size) => [{ from: 0, step: 1, count: size, value: 9 }, { from: 0, step: 3, count: Math.ceil(size / 3), value: 0 }, { from: size, step: 1, count: size, value: 9 }],
};

const DONORS: Readonly<Record<string, (s: Scenario) => void>> = {
  good: () => undefined,
  // In disk mode it has only stopped; in memory mode it has no log either, and the group of five goes on without both.
  'one vanishes': (s) => {
    s.until('records of a donor among the own', () => s.host(DOWN).checkpointDisk.durable === null);
    s.crash(ASKED_FIRST);
    s.until('the state', () => s.host(DOWN).running && s.status(DOWN).executed > 0 && !s.status(DOWN).transferring);
    s.restart(ASKED_FIRST);
    expect(s.coverage.get('interrupted transfers')).toBeGreaterThan(0);
  },
  'one has rotten records': (s) => {
    expect(s.host(ASKED_FIRST).checkpointDisk.rot(new Prng(5))).toBe(true);
  },
};

function submit(s: Scenario, bulk: Bulk): void {
  s.done(s.client().submit(encodeBulk(bulk)));
}
/** As many operations as are between two checkpoints and more, which change the same single record. */
function goOn(s: Scenario): void {
  for (let i = 0; i < 4 * EVERY; i++) submit(s, { from: 0, step: 1, count: 1, value: 100 + i });
}
function recordsOf(s: Scenario, index: number): string {
  return rootOfRecords(opNumber(1), s.host(index).checkpoints.records());
}

describe.each(['disk', 'memory'] as const)('durability %s', (durability) => {
  let met = 0;
  describe.each(SIZES)('%i records', (size) => {
    test.each(Object.keys(CHANGES).flatMap((change) => Object.keys(DONORS).map((donors) => [change, donors] as const)))('changed: %s; donors: %s', (change, donors) => {
      const s = new Scenario({ seed: donors === 'one has rotten records' ? 1 + size + change.length : 1, replicas: 5, durability, application: bulkRecords, replica: { checkpointOps: EVERY, retainEntries: 0 } });
      if (size > 0) submit(s, { from: 0, step: 1, count: size, value: 1 });
      goOn(s);
      s.makePrimary(LEADS);
      s.crash(DOWN);
      for (const bulk of CHANGES[change]?.(size) ?? []) submit(s, bulk);
      goOn(s);
      s.restart(DOWN);
      DONORS[donors]?.(s);
      s.converged();
      goOn(s);
      s.converged();
      met += s.coverage.get('rotten records met by a donor');
      const transfers = s.coverage.get('checkpoint transfers');
      expect(transfers).toBeGreaterThan(0);
      expect(new Set([0, 1, 2, 3, 4].map((i) => recordsOf(s, i))).size).toBe(1);
    });
  });

  // Whether a donor's rotten record is among those that are asked for is drawn by lot.
  test('some donors have met a rotten record, and others gave the state', () => {
    expect(met).toBeGreaterThan(0);
  });
});
