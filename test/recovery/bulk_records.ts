/** An application for the simulator whose operations change many records at once, so that states are large and differ in every way. */
import { Reader, Writer } from '../../lib/bytes.ts';
import { systemKey, SystemKind } from '../../lib/system_keys.ts';
import type { Table } from '../../lib/table.ts';
import type { StateMachine } from '../../vr/ports.ts';
import type { SequentialModel } from '../checkers/sequential_model.ts';
import type { Application } from '../sim/application.ts';

/** The records `from`, `from + step`, .. of which there are `count` get this value; 0: they are deleted. */
export interface Bulk {
  readonly from: number;
  readonly step: number;
  readonly count: number;
  readonly value: number;
}

const NONE: Bulk = { from: 0, step: 1, count: 0, value: 1 };

/** No two bodies of a process are equal, so that one that is executed twice is noticed. */
let unique = 0;

export function encodeBulk({ from, step, count, value }: Bulk): Buffer {
  return new Writer(20).u32(from).u32(step).u32(count).u32(value).u32(++unique).finish();
}

function decodeBulk(body: Buffer): Bulk {
  const r = new Reader(body);
  return { from: r.u32(), step: r.u32(), count: r.u32(), value: r.u32() };
}

function keyOf(i: number): Buffer {
  return systemKey(SystemKind.application, new Writer(4).u32(i).finish());
}

const result = (count: number): Buffer => new Writer(4).u32(count).finish();
const NOTHING = (): void => undefined;

function stateMachine(table: Table): StateMachine {
  return {
    execute: ({ body }) => {
      const { from, step, count, value } = decodeBulk(body);
      for (let i = 0; i < count; i++) {
        const key = keyOf(from + i * step);
        if (value === 0) table.delete(key);
        else table.put(key, new Writer(8).u32(value).u32(i).finish());
      }
      return result(count);
    },
    checkpointAsked: () => false,
    sessionStarted: NOTHING,
    sessionEnded: NOTHING,
    query: () => result(0),
    housekeeping: () => undefined,
  };
}

/** The contents are compared by their roots. */
function model(): SequentialModel {
  return {
    execute: ({ body }, given) => (given.equals(result(decodeBulk(body).count)) ? null : 'another count'),
    sessionStarted: NOTHING,
    sessionEnded: NOTHING,
    query: () => null,
  };
}

export const bulkRecords: Application = {
  format: () => [],
  stateMachine,
  model,
  // Scenarios say themselves what is asked for.
  workload: () => ({ next: () => ({ body: encodeBulk(NONE), read: null }), read: () => encodeBulk(NONE), keepAlive: () => encodeBulk(NONE), answered: NOTHING }),
};
