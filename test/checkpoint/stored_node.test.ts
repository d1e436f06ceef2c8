import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { sha256Bytes } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { childAt, decodeInner, hashInner, hashedInner, innerId, isInnerId, overwriteInner, sentInner, type InnerChild } from '../../checkpoint/inner_node.ts';
import { MAX_KEY_BYTES } from '../../checkpoint/key_bits.ts';
import { MemoryRecordStore, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { PAGE_RECORDS, hashedPart } from '../../checkpoint/page.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import { auditedNode, auditedNodeThere, checkedNode, nodeThere, sealNode, unsealNode } from '../../checkpoint/stored_node.ts';
import { sealed } from './store_support.ts';
import { fileKey, randomKey } from './tree_support.ts';

function filled(seed: number): MemoryCheckpoint {
  const r = new Prng(seed);
  const store = new MemoryRecordStore();
  for (let i = 0; i < 2000; i++) store.put(randomKey(r, 500), r.bytes(3));
  return store.take(opNumber(1), EMPTY);
}

/** As it is sent. */
function sent(node: Buffer | undefined): Buffer {
  return defined(sentInner(defined(node, 'a node')) ?? undefined, 'a node as it is sent');
}

function hashOf(id: string, bytes: Buffer): Buffer {
  return isInnerId(id) ? defined(hashInner(sent(bytes)) ?? undefined, 'a node').hash : sha256Bytes(hashedPart(bytes));
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
      const hash = hashOf(id, bytes);
      const stored = Buffer.from(sealNode(id, { bytes, hash }));
      expect(checkedNode(id, hash, stored)).toEqual(bytes);
      expect(auditedNode(id, hash, stored)).toEqual(bytes);
      expect(unsealNode(id, stored)).toEqual(isInnerId(id) ? sent(bytes) : bytes);
    }
  });

  test('comes back as it was in memory, and as it is sent, where no hashes were stored with it, as in records of format 2', () => {
    for (const [id, bytes] of filled(3).nodes) {
      const hash = hashOf(id, bytes);
      const inFormat2 = isInnerId(id) ? sent(bytes) : bytes;
      const stored = sealed(id, inFormat2);
      expect(checkedNode(id, hash, stored)).toEqual(bytes);
      expect(auditedNode(id, hash, stored)).toEqual(bytes);
      expect(unsealNode(id, stored)).toEqual(inFormat2);
    }
  });

  test.each([
    ['a key in a page', false, () => 5],
    ['the hash of a record in a page', false, (bytes: Buffer) => 3 + 2 + bytes.readUInt16BE(3)],
    ['the hash of a child', true, (bytes: Buffer) => (hashedInner(bytes).head.length)],
    ['the first hash between its slots and its root', true, (bytes: Buffer) => sent(bytes).length],
    ['the last hash between its slots and its root', true, (bytes: Buffer) => bytes.length - 1],
  ])('with another bit than its hash says is found damaged when all of it is compared, not otherwise: in %s', (_what, isInner, at) => {
    let nodes = 0;
    for (const [id, bytes] of filled(4).nodes) {
      if (isInnerId(id) !== isInner) continue;
      nodes++;
      const hash = hashOf(id, bytes);
      const other = Buffer.from(bytes);
      other[at(bytes)] = (other[at(bytes)] ?? 0) ^ 1;
      const stored = Buffer.from(sealNode(id, { bytes: other, hash }));
      expect(checkedNode(id, hash, stored)).toEqual(other);
      expect(() => auditedNode(id, hash, stored)).toThrow(StoreDamageError);
      expect(auditedNodeThere(id, hash, stored)).toBeNull();
    }
    expect(nodes).toBeGreaterThan(1);
  });

  test('of which only its own hash is another is that node, until all of it is compared', () => {
    for (const [id, bytes] of filled(5).nodes) {
      const hash = hashOf(id, bytes);
      const stored = Buffer.from(sealNode(id, { bytes, hash: sha256Bytes(hash) }));
      expect(checkedNode(id, hash, stored)).toEqual(bytes);
      expect(() => auditedNode(id, hash, stored)).toThrow(/has other hashes with it than its own/);
    }
  });

  test.each([['inner node', 2], ['inner node', 3], ['page', 2], ['page', 3]])('that has other bytes, and a right checksum over them, is found damaged when all of it is compared, or is damaged as it is sent: %s, format %i', (kind, format) => {
    const r = new Prng(7);
    const { nodes } = filled(2);
    const [id, whole] = defined([...nodes].find(([found]) => isInnerId(found) === (kind === 'inner node')), kind);
    const hash = hashOf(id, whole);
    const inFormat2 = isInnerId(id) ? sent(whole) : whole;
    const bytes = format === 2 ? inFormat2 : Buffer.concat([whole, hash]);
    const others = Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length)).filter(({ length }) => length !== inFormat2.length);
    for (let i = 0; i < 20_000; i++) {
      const other = Buffer.from(bytes.subarray(0, r.chance(0.5) ? bytes.length : r.below(bytes.length)));
      for (let n = r.below(4); n >= 0 && other.length > 0; n--) other[r.below(r.chance(0.5) ? Math.min(40, other.length) : other.length)] = r.below(256);
      others.push(other);
    }
    let hintsOnly = 0;
    for (const other of others) {
      const stored = sealed(id, other);
      // Whatever it is, it is told in one way.
      try {
        expect(unsealNode(id, stored).length).toBeLessThanOrEqual(other.length);
      } catch (error) {
        expect(error).toBeInstanceOf(StoreDamageError);
      }
      nodeThere(id, hash, stored);
      const found = auditedNodeThere(id, hash, stored);
      if (found === null) continue;
      // Stamps and counts are not hashed.
      hintsOnly++;
      expect(hashOf(id, found)).toEqual(hash);
      expect(found).toHaveLength(whole.length);
    }
    expect(hintsOnly).toBeLessThan(others.length / 4);
  });

  test('is another one where a slot has changed', () => {
    const store = new MemoryRecordStore();
    const r = new Prng(5);
    const keys = Array.from({ length: 2000 }, () => randomKey(r, 500));
    for (const key of keys) store.put(key, r.bytes(3));
    let last = store.take(opNumber(1), EMPTY);
    const id = innerId(last.top as InnerChild);
    for (let i = 0; i < 200; i++) {
      store.put(r.pick(keys), r.bytes(4));
      const next = store.take(opNumber(2 + i), EMPTY);
      const { hash } = last.top as InnerChild;
      const stored = sealNode(id, { bytes: defined(last.nodes.get(id), 'the top'), hash });
      expect(checkedNode(id, hash, stored)).toEqual(last.nodes.get(id));
      expect(() => checkedNode(id, (next.top as InnerChild).hash, stored)).toThrow(StoreDamageError);
      // What is stored with it counts, not what it would hash to.
      const relabelled = sealNode(id, { bytes: defined(next.nodes.get(id), 'the top'), hash });
      expect(checkedNode(id, hash, relabelled)).toEqual(next.nodes.get(id));
      last = next;
    }
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
