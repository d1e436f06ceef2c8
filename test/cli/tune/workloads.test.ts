import { describe, expect, it } from 'vitest';
import { FILLING, MAX_IN_FLIGHT, preparation, wholeRounds, workload, type LoadName } from '../../../cli/tune/workloads.ts';
import { decodeCall } from '../../../fsservice/operation_codec.ts';
import { World } from '../../fsservice/harness.ts';

/** Files in it, and everything that the load of this name needs. */
function prepared(name: LoadName, files: number): World {
  const world = new World();
  for (const step of preparation(name)) for (const operation of step) expect(world.run(operation).ok).toBe(true);
  for (let n = 0; n < files; n++) expect(act(world, FILLING.next(n))).toBe(0);
  return world;
}

/** The errno that it is answered with. */
function act(world: World, { write, body }: ReturnType<typeof FILLING.next>): number {
  const result = write ? world.service.execute(world.entry('request', body)) : world.service.query(body, world.time);
  return result.readUInt8(0);
}

describe('a load', () => {
  // Each until everything in it has come round; mixed until it has removed files of before and of its own.
  it.each([['creates', 3000], ['mixed', 45_000], ['data', 5000]] as const)('%s is never refused, however many files there were', (name, operations) => {
    for (const wished of [0, 1, 45]) {
      const files = wholeRounds(wished);
      const world = prepared(name, files);
      const { next } = workload(name);
      for (let n = files; n < files + operations; n++) {
        const errno = act(world, next(n));
        if (errno !== 0) throw new Error(`operation ${n} after ${files} files: errno ${errno}`);
      }
    }
  });

  it('mixed is half reads, and removes only what was answered long ago', () => {
    const { next } = workload('mixed');
    const made = new Map<string, number>();
    let reads = 0;
    let removed = 0;
    for (let n = 0; n < 60_000; n++) {
      const { write, body } = next(n);
      if (!write) reads++;
      const call = decodeCall(body);
      if (!call.ok) throw new Error(call.reason);
      const { operation } = call.value;
      if (operation.type === 'create') made.set(operation.at.path.toString(), n);
      if (operation.type !== 'unlink') continue;
      removed++;
      expect(n - (made.get(operation.at.path.toString()) ?? NaN)).toBeGreaterThan(MAX_IN_FLIGHT);
    }
    expect(removed).toBe(1000);
    // Half, and those in whose place a file is removed later.
    expect(reads).toBe(30_000 + 2000);
  });

  it('begins after as many files as were asked for or a few more', () => {
    expect([0, 1, 20, 10_001].map(wholeRounds)).toEqual([0, 20, 20, 10_020]);
  });
});
