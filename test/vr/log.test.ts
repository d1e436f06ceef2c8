import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, type OpNumber } from '../../lib/ids.ts';
import type { Entry } from '../../vr/entry.ts';
import { Log } from '../../vr/log.ts';
import { chain, request } from './group.ts';

function logOf(entries: readonly Entry[]): Log {
  const log = new Log(opNumber(0), ZERO_DIGEST);
  for (const e of entries) log.append(e);
  return log;
}
const ops = (entries: readonly Entry[]): number[] => entries.map((e) => e.op);
const bytesOf = (entries: readonly Entry[]): number => entries.reduce((n, e) => n + e.bytes.length, 0);

describe('the log', () => {
  test('empty: the head is the base', () => {
    const log = new Log(opNumber(7), ZERO_DIGEST);
    expect([log.base, log.head, log.headHash, log.bytes]).toEqual([7, 7, ZERO_DIGEST, 0]);
    expect(log.at(7)).toBeUndefined();
    expect(log.at(8)).toBeUndefined();
    expect(log.hashAt(7)).toBe(ZERO_DIGEST);
    expect(log.hashAt(6)).toBeUndefined();
  });

  test('appends in order and in the chain only', () => {
    const entries = chain(3);
    const log = logOf(entries.slice(0, 1));
    const [, second, third] = entries as [Entry, Entry, Entry];
    expect(() => { log.append(third); }).toThrow('op 3 appended behind 1');
    expect(() => { log.append(chain(2, 'other')[1] as Entry); }).toThrow('does not continue the chain');
    log.append(second);
    expect(log.head).toBe(2);
    expect(log.headHash).toBe(second.hash);
    expect(log.at(2)).toBe(second);
  });

  test('truncates behind an op, which stays', () => {
    const entries = chain(5);
    const log = logOf(entries);
    log.truncate(opNumber(3));
    expect(log.head).toBe(3);
    expect(log.bytes).toBe(bytesOf(entries.slice(0, 3)));
    for (const e of chain(2, 'anew', 3, entries[2]?.hash)) log.append(e);
    expect(log.head).toBe(5);
    expect(() => { log.truncate(opNumber(6)); }).toThrow('truncate to 6 outside of 0..5');
  });

  test('is replaced behind an op, or behind what has been collected since', () => {
    const entries = chain(5);
    const others = chain(3, 'other', 2, entries[1]?.hash);
    const log = logOf(entries);
    expect(log.replaceBehind(opNumber(2), others)).toEqual({ keep: 2, hash: entries[1]?.hash, entries: others });
    expect([log.base, log.head, log.at(3)]).toEqual([0, 5, others[0]]);
    log.collect(opNumber(4));
    const longer = chain(4, 'other', 2, entries[1]?.hash);
    expect(log.replaceBehind(opNumber(2), longer)).toEqual({ keep: 4, hash: longer[1]?.hash, entries: longer.slice(2) });
    expect([log.base, log.head, log.headHash]).toEqual([4, 6, longer[3]?.hash]);
  });

  test('collects up to an op: its hash stays, to chain on', () => {
    const entries = chain(5);
    const log = logOf(entries);
    log.collect(opNumber(3));
    expect([log.base, log.head]).toEqual([3, 5]);
    expect(log.hashAt(3)).toBe(entries[2]?.hash);
    expect(log.at(3)).toBeUndefined();
    expect(log.at(4)).toBe(entries[3]);
    expect(log.bytes).toBe(bytesOf(entries.slice(3)));
    log.collect(opNumber(2));
    expect(log.base).toBe(3);
    expect(() => { log.truncate(opNumber(2)); }).toThrow('outside');
    log.collect(opNumber(5));
    expect([log.base, log.head, log.bytes]).toEqual([5, 5, 0]);
    for (const e of chain(1, 'on', 5, entries[4]?.hash)) log.append(e);
    expect(log.head).toBe(6);
  });

  test('does not collect what it does not have', () => {
    expect(() => { logOf(chain(2)).collect(opNumber(3)); }).toThrow('collect up to 3, head 2');
  });

  test('begins anew behind a checkpoint', () => {
    const log = logOf(chain(3));
    const [entry] = chain(10, 'x').slice(9);
    log.reset(opNumber(9), (entry as Entry).parent);
    expect([log.base, log.head, log.bytes]).toEqual([9, 9, 0]);
    log.append(entry as Entry);
    expect(log.head).toBe(10);
  });

  test('the bytes behind an op: of the entries that are held', () => {
    const log = new Log(opNumber(0), ZERO_DIGEST);
    const entries = chain(5);
    for (const e of entries) log.append(e);
    expect(log.bytesAfter(opNumber(5))).toBe(0);
    expect(log.bytesAfter(opNumber(3))).toBe(entries.slice(3).reduce((sum, e) => sum + e.bytes.length, 0));
    log.collect(opNumber(4));
    expect(log.bytesAfter(opNumber(3))).toBe(log.bytes);
  });

  test('a slice has at least one entry, then as many as fit', () => {
    const log = logOf(chain(5));
    const one = (log.at(1) as Entry).bytes.length;
    expect(ops(log.slice(opNumber(1), opNumber(5), Infinity))).toEqual([2, 3, 4, 5]);
    expect(ops(log.slice(opNumber(0), opNumber(5), one * 2))).toEqual([1, 2]);
    expect(ops(log.slice(opNumber(0), opNumber(5), 1))).toEqual([1]);
    expect(log.slice(opNumber(5), opNumber(5), 1)).toEqual([]);
  });

  test('a suffix ends at the head and may be empty', () => {
    const log = logOf(chain(5));
    const one = (log.at(5) as Entry).bytes.length;
    expect(ops(log.suffix(opNumber(0), Infinity))).toEqual([1, 2, 3, 4, 5]);
    expect(ops(log.suffix(opNumber(3), Infinity))).toEqual([4, 5]);
    expect(ops(log.suffix(opNumber(0), one * 2))).toEqual([4, 5]);
    expect(log.suffix(opNumber(0), one - 1)).toEqual([]);
    expect(log.suffix(opNumber(5), Infinity)).toEqual([]);
  });

  test('is what a plain array would be, whatever is done to it', () => {
    const command = fc.oneof(
      fc.record({ do: fc.constant('append' as const), n: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ do: fc.constantFrom('truncate' as const, 'collect' as const, 'pack' as const), n: fc.nat(100) }),
    );
    fc.assert(fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const log = new Log(opNumber(0), ZERO_DIGEST, 3);
      let model: Entry[] = [];
      let base = 0;
      let label = 0;
      for (const c of commands) {
        if (c.do === 'append') {
          for (const e of chain(c.n, `l${label++}`, log.head, log.headHash)) {
            log.append(e);
            model.push(e);
          }
        } else {
          const op = base + (c.n % (model.length + 1)) as OpNumber;
          if (c.do === 'truncate') {
            log.truncate(op);
            model.length = op - base;
          } else if (c.do === 'pack') {
            log.pack(op);
          } else {
            log.collect(op);
            model = model.slice(op - base);
            base = op;
          }
        }
        expect(log.slice(log.base, log.head, Infinity)).toEqual(model);
        expect([log.base, log.head, log.bytes]).toEqual([base, base + model.length, bytesOf(model)]);
        expect(log.suffix(log.base, 200)).toEqual(model.slice(model.length - log.suffix(log.base, 200).length));
        for (const [i, e] of model.entries()) expect([log.hashAt(e.op), log.bytesAfter(e.op)]).toEqual([e.hash, bytesOf(model.slice(i + 1))]);
        for (const limit of [0, 100, 1000]) {
          const first = [...model.keys()].find((i) => bytesOf(model.slice(i)) <= limit) ?? model.length;
          expect(log.firstWithin(limit, log.base, log.head)).toBe(base + first);
        }
        expect(log.hashAt(base - 1)).toBeUndefined();
      }
    }), { numRuns: 200 });
  });

  test('packs what is executed, some of it at a time: the entries are the same', () => {
    const entries = chain(1000);
    const log = logOf(entries);
    log.pack(opNumber(200));
    expect(log.at(1)).toBe(entries[0]);
    log.pack(opNumber(700));
    expect(log.at(1)).not.toBe(entries[0]);
    expect(log.at(700)).toBe(entries[699]);
    expect(log.slice(opNumber(0), opNumber(1000), Infinity)).toEqual(entries);
    expect(log.at(300)?.body).toEqual(entries[299]?.body);
  });

  test('packs large ones a few at a time, and none twice', () => {
    const large = [0, 1, 2].reduce<Entry[]>((all, n) => [...all, request(n + 1, all.at(-1)?.hash ?? ZERO_DIGEST, 'x'.repeat(200_000 + n))], []);
    const log = new Log(opNumber(0), ZERO_DIGEST, 2);
    for (const e of large) log.append(e);
    log.pack(opNumber(3));
    expect(log.slice(opNumber(0), opNumber(3), Infinity)).toEqual(large);
    expect(log.at(3)).toBe(large[2]);
  });
});
