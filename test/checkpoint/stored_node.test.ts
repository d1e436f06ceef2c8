import { describe, expect, test } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { crc32, sha256Bytes } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { childAt, decodeInner, hashInner, innerId, isInnerId, overwriteInner, storedInner, type InnerChild } from '../../checkpoint/inner_node.ts';
import { MAX_KEY_BYTES } from '../../checkpoint/key_bits.ts';
import { MemoryRecordStore, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { PAGE_RECORDS, hashedPart } from '../../checkpoint/page.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import { checkedNode, sealNode, unsealNode } from '../../checkpoint/stored_node.ts';
import { AssertionError } from '../../lib/assert.ts';
import { fileKey, randomKey } from './tree_support.ts';

function filled(seed: number): MemoryCheckpoint {
  const r = new Prng(seed);
  const store = new MemoryRecordStore();
  for (let i = 0; i < 2000; i++) store.put(randomKey(r, 500), r.bytes(3));
  return store.take(opNumber(1), EMPTY);
}

/** With a checksum that is right. */
function sealed(id: string, bytes: Buffer): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(bytes, crc32(Buffer.from(id, 'latin1'))));
  return Buffer.concat([bytes, crc]);
}

describe('a node that is stored', () => {
  test('comes back as it was in memory, whatever the lengths of others before it', () => {
    const store = new MemoryRecordStore();
    for (let i = 0; i < PAGE_RECORDS; i++) store.put(fileKey(i, 9, Buffer.alloc(MAX_KEY_BYTES - 7, i)), EMPTY);
    const [page] = [...store.take(opNumber(1), EMPTY).nodes];
    const nodes = [...filled(1).nodes];
    if (page === undefined) throw new Error('there is a page');
    expect(page[1].length).toBeGreaterThan(32 << 10);
    for (const [id, bytes] of [...nodes, page, ...nodes.reverse()]) {
      const stored = Buffer.from(sealNode(id, bytes));
      const hash = isInnerId(id) ? hashInner(storedInner(bytes))?.hash : sha256Bytes(hashedPart(bytes));
      expect(checkedNode(id, hash ?? EMPTY, stored)).toEqual(bytes);
      expect(unsealNode(id, stored)).toEqual(isInnerId(id) ? storedInner(bytes) : bytes);
    }
  });

  test('that has other bytes, and a right checksum over them, is damaged', () => {
    const r = new Prng(7);
    const { nodes, top } = filled(2);
    const { hash } = top as InnerChild;
    const id = innerId(top as InnerChild);
    const bytes = storedInner(nodes.get(id) as Buffer);
    expect(checkedNode(id, hash, sealed(id, bytes))).toEqual(nodes.get(id));
    const others = Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length));
    for (let i = 0; i < 20_000; i++) {
      const other = Buffer.from(bytes.subarray(0, r.chance(0.5) ? bytes.length : r.below(bytes.length)));
      for (let n = r.below(4); n >= 0 && other.length > 0; n--) other[r.below(r.chance(0.5) ? Math.min(40, other.length) : other.length)] = r.below(256);
      // Stamps and counts are not hashed.
      if (hashInner(other)?.hash.equals(hash) !== true) others.push(other);
    }
    for (const other of others) expect(() => checkedNode(id, hash, sealed(id, other))).toThrow(StoreDamageError);
  });

  test('is not made of one that was stored', () => {
    const { nodes, top } = filled(3);
    const id = innerId(top as InnerChild);
    expect(() => sealNode(id, storedInner(nodes.get(id) as Buffer))).toThrow(AssertionError);
  });
});

test('a node that is overwritten by a later version is that version, also where children of it were asked for before', () => {
  const r = new Prng(3);
  const store = new MemoryRecordStore();
  const keys = Array.from({ length: 4000 }, () => randomKey(r, 500));
  for (const key of keys) store.put(key, r.bytes(3));
  const before = store.take(opNumber(1), EMPTY).nodes;
  for (let i = 0; i < 300; i++) store.put(r.pick(keys), r.bytes(5));
  for (let i = 0; i < 100; i++) store.put(randomKey(r, 500), r.bytes(3));
  const after = store.take(opNumber(2), EMPTY).nodes;
  const children = (bytes: Buffer): unknown[] => Array.from({ length: 16 }, (_, slot) => childAt(bytes, slot));
  const count = { overwritten: 0, replaced: 0 };
  for (const [id, later] of after) {
    const was = before.get(id);
    if (!isInnerId(id) || was === undefined || was.equals(later)) continue;
    const bytes = Buffer.from(was);
    const known = children(bytes);
    const isSame = overwriteInner(bytes, later);
    expect(isSame ? bytes : was).toEqual(isSame ? later : bytes);
    expect(children(bytes)).toEqual(isSame ? decodeInner(later).slots : known);
    count[isSame ? 'overwritten' : 'replaced']++;
  }
  expect(count.overwritten).toBeGreaterThan(20);
  expect(count.replaced).toBeGreaterThan(0);
});
