import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { isInnerId } from '../../checkpoint/inner_node.ts';
import { commonNibbles, hasPrefix, keyNibble, KEY_NIBBLES, MAX_KEY_BYTES } from '../../checkpoint/key_bits.ts';
import { recordHash } from '../../checkpoint/hashes.ts';
import { MemoryRecordStore, rootOf, sourceOf, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { TreeDraft, applyChanges, deleteChange, putChange, type TreeUpdate } from '../../checkpoint/merkle_tree.ts';
import { PAGE_RECORDS, lastDelete, pageEntries, type Change } from '../../checkpoint/page.ts';
import { KeyCursor, locatePage } from '../../checkpoint/tree_walk.ts';
import { checkTree, fileKey, randomKey, u32 } from './tree_support.ts';

function scratchRoot(store: MemoryRecordStore): string {
  const c = store.checkpoint;
  return rootOf(c.records.entries(), c.op, c.extra);
}

/** Hints may say too much: what has changed since `before` they have to say. */
function checkStamps(nodes: ReadonlyMap<string, Buffer>, before: MemoryCheckpoint, changes: ReadonlyMap<string, Change>, stamp: number): void {
  const pages = [...nodes].filter(([id]) => !isInnerId(id));
  const removed = [...changes].filter(([, { key, entry }]) => entry === null && before.records.get(key) !== undefined).map(([, { key }]) => key);
  for (const [id, page] of pages) {
    for (const { key, hash, stamp: told } of pageEntries(page)) {
      const value = before.records.get(key);
      if (value === undefined || recordHash(key, value) !== hash.latin1Slice()) expect(told).toBe(stamp);
    }
    const bits = (id.charCodeAt(1) << 8) | id.charCodeAt(2);
    const prefix = Buffer.from(id.slice(3), 'latin1');
    if (removed.some((key) => hasPrefix(key, prefix, bits))) expect(lastDelete(page)).toBe(stamp);
  }
}

describe('bits of a key', () => {
  test('the padded reading keeps the order of the bytes, and no key is a prefix of another', () => {
    const bytes = fc.uint8Array({ maxLength: 6, max: 3 });
    fc.assert(
      fc.property(bytes, bytes, (left, right) => {
        const a = Buffer.from(left);
        const b = Buffer.from(right);
        const shared = commonNibbles(a, b, 0);
        const order = Buffer.compare(a, b);
        if (order === 0) return shared === KEY_NIBBLES;
        return shared < KEY_NIBBLES && Math.sign(keyNibble(a, shared) - keyNibble(b, shared)) === order;
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the shape of the tree', () => {
  test.each([0, 1, PAGE_RECORDS - 1, PAGE_RECORDS, PAGE_RECORDS + 1, 2 * PAGE_RECORDS + 1, 3000])('of %i records', (n) => {
    const store = new MemoryRecordStore();
    for (let i = 0; i < n; i++) store.put(fileKey(i + 1, 0), u32(i));
    checkTree(store.take(opNumber(1), EMPTY));
    expect(store.checkpoint.count).toBe(n);
    expect(store.checkpoint.root).toBe(scratchRoot(store));
    for (let i = 0; i < n; i++) store.delete(fileKey(i + 1, 0));
    checkTree(store.take(opNumber(2), EMPTY));
    expect(store.checkpoint.root).toBe(rootOf([], opNumber(2), EMPTY));
  });

  test('is independent of history', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const r = new Prng(seed);
      const store = new MemoryRecordStore();
      const inodes = 1 << r.between(1, 14);
      for (let round = 1; round <= 8; round++) {
        const keys = store.checkpoint.records;
        const known = [...keys.entries()].map(([k]) => k);
        const n = r.below(r.chance(0.3) ? 1500 : 60);
        for (let i = 0; i < n; i++) {
          if (known.length > 0 && r.chance(0.3)) store.delete(r.pick(known));
          else if (known.length > 0 && r.chance(0.2)) store.put(r.pick(known), r.bytes(r.below(40)));
          else store.put(randomKey(r, inodes), r.bytes(r.below(40)));
        }
        if (known.length > 0 && r.chance(0.3)) {
          const from = r.below(known.length);
          for (const key of known.slice(from, from + r.below(known.length))) store.delete(key);
        }
        const c = store.take(opNumber(round), EMPTY);
        checkTree(c);
        expect(c.root).toBe(scratchRoot(store));
      }
    }
  });

  test('is the same when changes are applied some at a time', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const r = new Prng(seed);
      const inodes = 1 << r.between(1, 12);
      const store = new MemoryRecordStore();
      for (let i = r.below(3000); i > 0; i--) store.put(randomKey(r, inodes), r.bytes(5));
      const before = store.take(opNumber(1), EMPTY);
      const known = [...before.records.entries()].map(([k]) => k);
      const changes = new Map<string, Change>();
      const values = new Map<string, Buffer>();
      for (let i = r.below(800); i > 0; i--) {
        const key = known.length > 0 && r.chance(0.5) ? r.pick(known) : randomKey(r, inodes);
        const id = key.latin1Slice();
        const value = r.chance(0.4) ? null : r.bytes(5);
        if (value === null) values.delete(id);
        else values.set(id, value);
        changes.set(id, value === null ? deleteChange(key) : putChange(key, value));
      }
      const sorted = [...changes.keys()].sort().map((id) => changes.get(id) as Change);
      const source = sourceOf(before.nodes);
      const since = r.below(2);
      const draft = new TreeDraft(source, before.top, 2, since);
      for (let from = 0; from < sorted.length;) {
        const to = r.chance(0.5) ? sorted.length : from + 1 + r.below(300);
        draft.begin(sorted.slice(from, to));
        while (draft.apply(1 + r.below(20)));
        from = to;
      }
      const nodes = (update: TreeUpdate): Map<string, Buffer> => {
        const all = new Map(before.nodes);
        for (const id of update.deletes) all.delete(id);
        for (const [id, { bytes }] of update.puts) all.set(id, bytes);
        return all;
      };
      // All that was there had changed at 1.
      const renewed = [...values].filter(([id, value]) => {
        const old = before.records.get(Buffer.from(id, 'latin1'));
        return old === undefined || (since === 1 && !old.equals(value));
      });
      expect(draft.renewed).toBe(renewed.length);
      const atOnce = applyChanges(source, before.top, sorted, 2);
      expect(draft.top?.hash).toEqual(atOnce.top?.hash);
      // Their hints may differ: what was deleted from where is known in less detail once ranges were joined.
      expect([...nodes(draft).keys()].sort()).toEqual([...nodes(atOnce).keys()].sort());
      expect(draft.apply(1)).toBe(false);
      for (const update of [draft, atOnce]) checkStamps(nodes(update), before, changes, 2);
      const after = new MemoryRecordStore(before);
      for (const { key, entry } of sorted) if (entry === null) after.delete(key);
      for (const [key, value] of values) after.put(Buffer.from(key, 'latin1'), value);
      checkTree({ ...after.take(opNumber(2), EMPTY), nodes: nodes(draft), top: draft.top });
    }
  });

  test('changes that change nothing leave every node as it was', () => {
    const store = new MemoryRecordStore();
    for (let i = 0; i < 500; i++) store.put(fileKey(i, 0), u32(i));
    const before = store.take(opNumber(1), EMPTY);
    for (let i = 0; i < 500; i += 3) store.put(fileKey(i, 0), u32(i));
    store.delete(fileKey(9999, 1));
    const after = store.take(opNumber(2), EMPTY);
    expect(after.top).toBe(before.top);
    expect([...after.nodes]).toEqual([...before.nodes]);
  });

  test('the root covers the op-number, the extra bytes, keys and values', () => {
    const records = (key: string, value: string): [Buffer, Buffer][] => [[Buffer.from(key), Buffer.from(value)]];
    const roots = [
      rootOf([], opNumber(1), EMPTY),
      rootOf(records('k', 'v'), opNumber(1), EMPTY),
      rootOf(records('k', 'v'), opNumber(2), EMPTY),
      rootOf(records('k', 'v'), opNumber(1), Buffer.from('x')),
      rootOf(records('kv', ''), opNumber(1), EMPTY),
      rootOf(records('', 'kv'), opNumber(1), EMPTY),
      rootOf(records('k', 'w'), opNumber(1), EMPTY),
    ];
    expect(new Set(roots).size).toBe(roots.length);
  });

  test('keys that differ in their NUL tails alone', () => {
    const store = new MemoryRecordStore();
    for (let i = 0; i <= 300; i++) store.put(fileKey(3, 9, Buffer.alloc(i)), u32(i));
    checkTree(store.take(opNumber(1), EMPTY));
    expect(store.checkpoint.root).toBe(scratchRoot(store));
    for (let i = 0; i <= 300; i += 2) store.delete(fileKey(3, 9, Buffer.alloc(i)));
    checkTree(store.take(opNumber(2), EMPTY));
    expect(store.checkpoint.root).toBe(scratchRoot(store));
  });

  test('names with long common beginnings make it deep, within the nibbles of a name', () => {
    const store = new MemoryRecordStore();
    const depthOf = (id: string): number => (id.charCodeAt(1) << 8) | id.charCodeAt(2);
    for (let length = 0; length <= 254; length++) {
      for (const end of ['b', 'q']) store.put(fileKey(1, 1, 'a'.repeat(length) + end), u32(length));
    }
    for (let i = 0; i < 200; i++) store.put(fileKey(1, 1, 'a'.repeat(252) + String(i)), u32(i));
    const c = store.take(opNumber(1), EMPTY);
    checkTree(c);
    expect(c.root).toBe(scratchRoot(store));
    expect(Math.max(...[...c.nodes.keys()].map(depthOf))).toBeLessThanOrEqual((7 + 255) * 8);
    store.put(fileKey(1, 1, 'a'.repeat(252) + '7'), u32(0));
    const before = c.nodes;
    const after = store.take(opNumber(2), EMPTY);
    let written = 0;
    for (const [id, bytes] of after.nodes) if (before.get(id) !== bytes) written++;
    expect(written).toBeLessThanOrEqual(2 * (7 + 255) + 1);
    expect(after.root).toBe(scratchRoot(store));
  });
});

describe('the deepest tree that there can be', () => {
  // A branch at every nibble of keys as long as they may be.
  const levels = (ends: readonly number[]): Buffer[] =>
    Array.from({ length: MAX_KEY_BYTES }, (_, length) => ends.map((end) => Buffer.concat([Buffer.alloc(length, 0x11), Buffer.of(end)]))).flat();

  function deep(ends: readonly number[]): MemoryRecordStore {
    const store = new MemoryRecordStore();
    for (const key of levels(ends)) store.put(key, u32(1));
    for (let i = 0; i < 100; i++) store.put(Buffer.concat([Buffer.alloc(MAX_KEY_BYTES - 1, 0x11), Buffer.of(0x20 + i)]), u32(i));
    const c = store.take(opNumber(1), EMPTY);
    checkTree(c);
    const bits = [...c.nodes.keys()].filter(isInnerId).map((id) => (id.charCodeAt(1) << 8) | id.charCodeAt(2));
    expect(Math.max(...bits)).toBeGreaterThan((MAX_KEY_BYTES - 2) * 8);
    return store;
  }

  // Records replaced, and new ones in empty slots behind the branch, before it, and where it parts in another place than before.
  test.each([
    ['replaced', [0x16, 0x71], [0x16, 0x71]], ['behind', [0x16, 0x71], [0x1a, 0xc1]], ['before', [0x16, 0x71], [0x01, 0x10]], ['parting', [0x71], [0x01, 0x10]],
  ])('changes at every level, and is taken down: %s', (_, ends, changed) => {
    const store = deep(ends);
    for (const key of levels(changed)) store.put(key, u32(2));
    expect(store.take(opNumber(2), EMPTY).root).toBe(scratchRoot(store));
    for (const key of levels(ends)) store.delete(key);
    const thinner = store.take(opNumber(3), EMPTY);
    checkTree(thinner);
    expect(thinner.root).toBe(scratchRoot(store));
    for (const key of levels(changed)) store.delete(key);
    expect(store.take(opNumber(4), EMPTY).root).toBe(scratchRoot(store));
  });
});

describe('walking the tree', () => {
  test('a cursor gives the keys from any start, and locatePage the page that holds a key', () => {
    for (let seed = 1; seed <= 15; seed++) {
      const r = new Prng(seed);
      const store = new MemoryRecordStore();
      for (let i = 0; i < r.below(3000); i++) store.put(randomKey(r, 500), r.bytes(3));
      const c = store.take(opNumber(1), EMPTY);
      const source = sourceOf(c.nodes);
      const all = [...c.records.entries()].map(([k]) => k.toString('latin1'));
      for (let i = 0; i < 60; i++) {
        const start = r.chance(0.5) && all.length > 0 ? Buffer.from(r.pick(all), 'latin1') : randomKey(r, 600);
        const cursor = new KeyCursor(source, c.top, start);
        const got: string[] = [];
        for (let key = cursor.next(); key !== undefined; key = cursor.next()) got.push(key);
        expect(got).toEqual(all.filter((key) => key >= start.toString('latin1')));
      }
      for (const key of all.slice(0, 300)) {
        const page = locatePage(source, c.top, Buffer.from(key, 'latin1'));
        expect(page).not.toBeNull();
        expect(pageEntries(source(page?.id ?? '', page?.hash ?? Buffer.alloc(0))).some((entry) => entry.key.toString('latin1') === key)).toBe(true);
      }
    }
  });
});
