import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { PAGE, recordHash } from '../../checkpoint/hashes.ts';
import { innerId, isInnerId, nodeId, sentInner } from '../../checkpoint/inner_node.ts';
import { MemoryRecordStore, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { diffTrees, NO_RECORDS, readRecords, TreeSourceError, type DiffOptions, type RecordDifference, type TreeSource } from '../../checkpoint/tree_diff.ts';
import { change } from './store_support.ts';
import { fileKey, randomKey } from './tree_support.ts';

class Source implements TreeSource {
  readonly top: TreeSource['top'];
  nodesRead = 0;
  requests = 0;
  readonly #checkpoint: MemoryCheckpoint;
  readonly #spoil: (id: string, bytes: Buffer | null) => Buffer | null;

  constructor(checkpoint: MemoryCheckpoint, spoil: (id: string, bytes: Buffer | null) => Buffer | null = (_, bytes) => bytes) {
    const { top } = checkpoint;
    this.top = top === null ? null : { id: top.kind === 'page' ? nodeId(PAGE, EMPTY, 0) : innerId(top), hash: top.hash };
    this.#checkpoint = checkpoint;
    this.#spoil = spoil;
  }
  nodes(ids: readonly string[]): Promise<(Buffer | null)[]> {
    this.nodesRead += ids.length;
    this.requests++;
    return Promise.resolve(ids.map((id) => this.#spoil(id, this.#stored(id))));
  }
  #stored(id: string): Buffer | null {
    const bytes = this.#checkpoint.nodes.get(id) ?? null;
    return bytes !== null && isInnerId(id) ? sentInner(bytes) : bytes;
  }
  records(keys: readonly Buffer[]): Promise<(Buffer | null)[]> {
    return Promise.resolve(keys.map((key) => this.#spoil('', this.#checkpoint.records.get(key) ?? null)));
  }
}

async function diff(before: TreeSource, after: TreeSource, options?: DiffOptions): Promise<RecordDifference[]> {
  const all: RecordDifference[] = [];
  for await (const some of diffTrees(before, after, options)) all.push(...some);
  return all;
}

function text(differences: readonly RecordDifference[]): string[] {
  return differences.map(({ key, before, after }) => `${key.toString('hex')} ${before?.toString('hex') ?? '-'} ${after?.toString('hex') ?? '-'}`);
}

/** Record by record. */
function expected(before: MemoryTable, after: MemoryTable, within: Buffer = EMPTY): string[] {
  const hash = (key: Buffer, value: Buffer | undefined): string => (value === undefined ? '-' : Buffer.from(recordHash(key, value), 'latin1').toString('hex'));
  const keys = new Map([...before.entries(), ...after.entries()].map(([key]) => [key.toString('hex'), key]));
  return [...keys.values()].sort((a, b) => Buffer.compare(a, b))
    .filter((key) => key.subarray(0, within.length).equals(within))
    .map((key) => [key, hash(key, before.get(key)), hash(key, after.get(key))] as const)
    .filter(([, a, b]) => a !== b)
    .map(([key, a, b]) => `${key.toString('hex')} ${a} ${b}`);
}

function filled(seed: number, changes: number, from?: MemoryCheckpoint, op = 10): MemoryCheckpoint {
  const store = new MemoryRecordStore(from);
  const model = from?.records.clone() ?? new MemoryTable();
  change(new Prng(seed), [store], model, changes);
  return store.take(opNumber(op), EMPTY);
}

describe('the difference of two checkpoints', () => {
  test.each([[1, 0, 5], [2, 1, 1], [3, 50, 30], [4, 66, 5], [5, 500, 3], [6, 500, 700], [7, 4000, 40], [8, 4000, 4000]])('is what comparing every record finds (seed %d, %d changes, then %d)', async (seed, first, then) => {
    const before = filled(seed, first);
    const after = filled(seed + 100, then, before, 20);
    const found = await diff(new Source(before), new Source(after));
    expect(text(found)).toEqual(expected(before.records, after.records));
    expect(text(await diff(new Source(after), new Source(before)))).toEqual(expected(after.records, before.records));
  });

  test('of states that have nothing to do with each other, whatever their shapes', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const r = new Prng(seed);
      const [a, b] = [filled(seed, r.below(900)), filled(seed + 1000, r.below(900))];
      expect(text(await diff(new Source(a), new Source(b))), `seed ${seed}`).toEqual(expected(a.records, b.records));
    }
  });

  test('where one side has a page and the other a tree below the same range', async () => {
    const store = new MemoryRecordStore();
    for (let i = 0; i < 60; i++) store.put(fileKey(i, 1), Buffer.of(i));
    const page = store.take(opNumber(1), EMPTY);
    for (let i = 0; i < 3000; i++) store.put(fileKey(i, 2, `n${i}`), Buffer.of(i & 255));
    const tree = store.take(opNumber(2), EMPTY);
    expect(page.top?.kind).toBe('page');
    expect(text(await diff(new Source(page), new Source(tree)))).toEqual(expected(page.records, tree.records));
  });

  test('within a prefix alone, and of everything against nothing', async () => {
    const before = filled(11, 3000);
    const after = filled(12, 900, before, 20);
    const source = new Source(after);
    for (const prefix of [EMPTY, fileKey(3, 1), fileKey(1, 1, 'aaaa'), Buffer.of(0), Buffer.of(0, 0, 0, 0, 0, 9), Buffer.of(255)]) {
      expect(text(await diff(new Source(before), source, { within: prefix })), prefix.toString('hex')).toEqual(expected(before.records, after.records, prefix));
      expect(text(await diff(NO_RECORDS, source, { within: prefix }))).toEqual(expected(new MemoryTable(), after.records, prefix));
    }
    expect(await diff(NO_RECORDS, NO_RECORDS)).toEqual([]);
  });

  test('reads nodes in proportion to what differs, many at a time, and none when nothing does', async () => {
    const store = new MemoryRecordStore();
    for (let i = 0; i < 30_000; i++) store.put(fileKey(i, 1), Buffer.from(`${i}`));
    const before = store.take(opNumber(1), EMPTY);
    const same = store.take(opNumber(2), EMPTY);
    const untouched = new Source(before);
    expect(await diff(untouched, new Source(same))).toEqual([]);
    expect(untouched.nodesRead).toBe(0);

    store.put(fileKey(17_000, 1), Buffer.from('another'));
    store.delete(fileKey(4, 1));
    const after = store.take(opNumber(3), EMPTY);
    const [a, b] = [new Source(before), new Source(after)];
    expect(await diff(a, b)).toHaveLength(2);
    const depth = 5;
    expect(a.nodesRead).toBeLessThanOrEqual(2 * depth);
    expect(b.nodesRead).toBeLessThanOrEqual(2 * depth);

    const all = new Source(after);
    expect(await diff(NO_RECORDS, all)).toHaveLength(29_999);
    expect(all.nodesRead).toBe(after.nodes.size);
    expect(all.requests).toBeLessThan(after.nodes.size / 20);
  });
});

describe('a source that is damaged or lies', () => {
  const before = filled(21, 2000);
  const after = filled(22, 200, before, 20);

  test('is found out, whatever bit of whatever node it changes', async () => {
    const r = new Prng(5);
    const truth = text(await diff(new Source(before), new Source(after)));
    let refused = 0;
    for (let round = 0; round < 300; round++) {
      const victim = r.below(60);
      let seen = 0;
      const liar = new Source(after, (_, bytes) => {
        if (seen++ !== victim || bytes === null) return bytes;
        const other = Buffer.from(bytes);
        const at = r.below(other.length);
        other[at] = (other[at] ?? 0) ^ (1 << r.below(8));
        return r.chance(0.1) ? null : r.chance(0.1) ? r.bytes(r.below(80)) : other;
      });
      try {
        // Hints and counts are not hashed, and nothing that is found comes from them.
        expect(text(await diff(new Source(before), liar))).toEqual(truth);
      } catch (error) {
        expect(error).toBeInstanceOf(TreeSourceError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(150);
  });

  test('with its values', async () => {
    const key = [...after.records.entries()].map(([k]) => k)[3] ?? EMPTY;
    const hash = Buffer.from(recordHash(key, after.records.get(key) ?? EMPTY), 'latin1');
    expect((await readRecords(new Source(after), [{ key, hash }])).map((v) => v.toString('hex'))).toEqual([after.records.get(key)?.toString('hex')]);
    await expect(readRecords(new Source(after, () => Buffer.from('x')), [{ key, hash }])).rejects.toThrow(`the record with the key ${key.toString('hex')} is not what its page says`);
    await expect(readRecords(new Source(after), [{ key: randomKey(new Prng(99), 9), hash }])).rejects.toThrow(TreeSourceError);
  });
});
